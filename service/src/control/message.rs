//! Control messages: changes of the rule set as JSON, the same from a file, a topic or the REST API.

use serde::Deserialize;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// What to do.
    pub op: Op,
    /// With what kind of thing.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Of a rule: the new version; left out, one more than the last.
    #[serde(default)]
    pub version: Option<u32>,
    /// Of a rule: its text, with the declarations it needs.
    #[serde(default)]
    pub source: Option<String>,
    /// For `stage`: which.
    #[serde(default)]
    pub stage: Option<Stage>,
    /// Who changed it.
    #[serde(default)]
    pub author: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// In a file: the input line, from 0, before which it takes over.
    #[serde(default)]
    pub at_line: Option<u64>,
}

/// What a message does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// A new version, or something new.
    Put,
    /// Another stage.
    Stage,
    /// It goes.
    Delete,
}

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    Rule,
    List,
    Table,
    Model,
}

/// Where a rule stands on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Stage {
    Draft,
    Shadow,
    Live,
    Paused,
    Retired,
}

/// Reads a control file: one message a line, each with its `at_line`, ascending.
pub fn read_file(text: &str) -> Result<Vec<(usize, Message)>, String> {
    let mut messages: Vec<(usize, Message)> = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let message: Message = serde_json::from_str(line).map_err(|e| format!("control line {}: {e}", i + 1))?;
        let Some(at) = message.at_line else {
            return Err(format!(
                "control line {}: `at_line` is missing: the input line before which it takes over",
                i + 1
            ));
        };
        if messages.last().is_some_and(|(_, before)| before.at_line > Some(at)) {
            return Err(format!("control line {}: `at_line` {at} is less than that of the line before", i + 1));
        }
        messages.push((i + 1, message));
    }
    Ok(messages)
}
