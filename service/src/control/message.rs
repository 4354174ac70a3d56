//! Control messages: changes of the rule set as JSON, the same from a file, a topic or the REST API.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::models::golden::Golden;

/// One change.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// What to do.
    pub op: Op,
    /// With what kind of thing.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Of a rule or a model: the version; left out of a new one, one more than the last.
    #[serde(default)]
    pub version: Option<u32>,
    /// Of a rule: its text, with the declarations it needs.
    #[serde(default)]
    pub source: Option<String>,
    /// For `stage`: which.
    #[serde(default)]
    pub stage: Option<Stage>,
    /// Of a list: all its entries, in place of those that are there.
    #[serde(default)]
    pub entries: Option<Vec<Box<RawValue>>>,
    /// Of a list: entries that come.
    #[serde(default)]
    pub add: Option<Vec<Box<RawValue>>>,
    /// Of a table: all its rows, in place of those that are there.
    #[serde(default)]
    pub rows: Option<Vec<Box<RawValue>>>,
    /// Of a table: rows that come, in place of those of their keys.
    #[serde(default)]
    pub upsert: Option<Vec<Box<RawValue>>>,
    /// Of a list entries, of a table keys that go; before what comes.
    #[serde(default)]
    pub remove: Option<Vec<Box<RawValue>>>,
    /// Of a model: its file in base64.
    #[serde(default)]
    pub onnx: Option<String>,
    /// Of a model: its file's name in the folder of `--data`.
    #[serde(default)]
    pub file: Option<String>,
    /// Of a model: the SHA-256 of its file, which came in chunks before; of a chunk: of which file it is one.
    #[serde(default)]
    pub upload: Option<String>,
    /// Of a chunk: its number, from 0.
    #[serde(default)]
    pub chunk: Option<u32>,
    /// Of a chunk: how many there are.
    #[serde(default)]
    pub of: Option<u32>,
    /// Of a chunk: what it holds, in base64.
    #[serde(default)]
    pub bytes: Option<String>,
    /// Of a model: answers that it is known to give.
    #[serde(default)]
    pub golden: Option<Vec<Golden>>,
    /// Of `rules`: all rule files, in place of those that are there.
    #[serde(default)]
    pub files: Option<Vec<RuleFile>>,
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

/// A rule file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    /// Where it stands.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// What a message does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// A new version, or something new.
    Put,
    /// Another stage.
    Stage,
    /// It goes.
    Delete,
    /// All rules are to be as some files say.
    Apply,
    /// A piece of a model's file, which changes nothing until a `put` names the whole.
    Chunk,
}

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    Rule,
    List,
    Table,
    Model,
    Rules,
}

/// Where a rule, or a version of a model, stands on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Stage {
    Draft,
    Shadow,
    Live,
    Paused,
    Retired,
}

impl Stage {
    /// The word in a message.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Draft => "draft",
            Stage::Shadow => "shadow",
            Stage::Live => "live",
            Stage::Paused => "paused",
            Stage::Retired => "retired",
        }
    }
}

/// A line of a control file.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its number, from 1.
    pub number: usize,
    /// The input line before which it takes over.
    pub at_line: u64,
    /// The name of what it is about, as far as it can be read.
    pub name: String,
    /// What is written there.
    pub text: String,
    /// The message, or why it is none.
    pub message: Result<Message, String>,
}

/// What can be read of any line that is JSON.
#[derive(Default, Deserialize)]
struct Outline {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    at_line: Option<u64>,
}

/// Reads a control file: one message a line, each with its `at_line`, ascending. A line that is no message stands for itself: it is refused at
/// its place, or where the one before it stands.
pub fn read_file(text: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let before = lines.last().map_or(0, |l| l.at_line);
        let outline: Outline = serde_json::from_str(line).unwrap_or_default();
        let at = outline.at_line.unwrap_or(before);
        let message = match outline.at_line {
            Some(at) if at < before => Err(format!("`at_line` {at} is less than that of the line before, {before}")),
            _ => serde_json::from_str::<Message>(line).map_err(|e| format!("it is no message: {e}")),
        };
        let message = message.and_then(|message| match message.at_line {
            Some(_) => Ok(message),
            None => Err("`at_line` is missing: the input line before which it takes over".to_owned()),
        });
        let name = outline.name.unwrap_or_default();
        lines.push(Line { number: i + 1, at_line: at.max(before), name, text: line.to_owned(), message });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_message_is_refused_alone() {
        let text = [
            r#"{"op":"delete","kind":"rule","name":"a","at_line":5}"#,
            r#"{"op":"put","kind":"list","name":"b","entrees":["x"],"at_line":7}"#,
            "not JSON",
            "",
            r#"{"op":"delete","kind":"rule","name":"c"}"#,
            r#"{"op":"delete","kind":"rule","name":"d","at_line":6}"#,
            r#"{"op":"put","kind":"model","name":"e","onnx":"…","at_line":8}"#,
            r#"{"op":"put","kind":"list","name":"f","entries":[{"value":1,"until":2}],"at_line":9}"#,
        ];
        let lines = read_file(&text.join("\n"));
        let seen: Vec<(usize, u64, &str, &str)> = lines
            .iter()
            .map(|l| (l.number, l.at_line, l.name.as_str(), l.message.as_ref().err().map_or("", String::as_str)))
            .collect();
        let begins = [
            (1, 5, "a", ""),
            (2, 7, "b", "it is no message: unknown field `entrees`"),
            (3, 7, "", "it is no message: "),
            (5, 7, "c", "`at_line` is missing"),
            (6, 7, "d", "`at_line` 6 is less than that of the line before, 7"),
            (7, 8, "e", ""),
            (8, 9, "f", ""),
        ];
        assert_eq!(seen.len(), begins.len());
        for (found, wanted) in seen.iter().zip(begins) {
            assert_eq!((found.0, found.1, found.2), (wanted.0, wanted.1, wanted.2));
            assert!(found.3.starts_with(wanted.3) && found.3.is_empty() == wanted.3.is_empty(), "{found:?}");
        }
    }
}
