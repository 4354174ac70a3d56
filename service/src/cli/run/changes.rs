//! The changes of a control file, each at its place in the input.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use lapwing_engine::rule_set::RuleSet;
use serde_json::json;

use crate::control::catalog::{Catalog, Refusal};
use crate::control::message::{Kind, Line, Op, read_file};
use crate::control::story::Story;
use crate::data::pipeline::{Pipeline, Sink};

/// The changes that are still to come, and the catalog that they change.
pub struct Changes {
    catalog: Catalog,
    story: Story,
    /// The lines of the control file, the next one last.
    waiting: Vec<Line>,
    applied: usize,
    status: Option<BufWriter<File>>,
}

impl Changes {
    /// Reads the control file, if there is one.
    pub fn open(
        (catalog, story): (Catalog, Story),
        control: Option<&Path>,
        status: Option<&Path>,
    ) -> Result<Changes, String> {
        let mut waiting = Vec::new();
        if let Some(path) = control {
            let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read `{}`: {e}", path.display()))?;
            waiting = read_file(&text);
            waiting.reverse();
        }
        let create = |path: &Path| File::create(path).map_err(|e| format!("cannot write `{}`: {e}", path.display()));
        let status = status.map(create).transpose()?.map(BufWriter::new);
        Ok(Changes { catalog, story, waiting, applied: 0, status })
    }

    /// The catalog as it is now.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// How the catalog came to be what it is.
    pub fn story(&self) -> &Story {
        &self.story
    }

    /// How many messages were carried out or refused.
    pub fn applied(&self) -> usize {
        self.applied
    }

    /// Applies all changes that take over before line `number` or earlier.
    pub fn apply_until(&mut self, number: u64, pipeline: &mut Pipeline, sink: &mut dyn Sink) {
        while self.waiting.last().is_some_and(|line| line.at_line <= number) {
            if let Some(rule_set) = self.apply_next(true) {
                pipeline.swap(Arc::new(rule_set), sink);
            }
        }
    }

    /// Applies the next `count` messages again, as a run that was stopped had; gives the rule sets they made.
    pub fn replay(&mut self, count: usize) -> Vec<RuleSet> {
        (0..count).filter_map(|_| self.apply_next(false)).collect()
    }

    /// The lists and tables that some message to come puts, by their names.
    pub fn puts(&self) -> impl Iterator<Item = (Kind, &str)> {
        let messages = self.waiting.iter().filter_map(|line| line.message.as_ref().ok());
        messages.filter(|m| m.op == Op::Put).map(|m| (m.kind, m.name.as_str()))
    }

    fn apply_next(&mut self, loud: bool) -> Option<RuleSet> {
        let line = self.waiting.pop()?;
        self.applied += 1;
        let result = match &line.message {
            Ok(message) => self.catalog.apply(message),
            Err(why) => Err(Refusal::new(why)),
        };
        if let (Err(refusal), true) = (&result, loud) {
            errln!("control line {}: refused: {}\n{}", line.number, refusal.message, refusal.drawn);
        }
        if let (Ok(message), Ok(_)) = (&line.message, &result) {
            self.story.tell(message, &line.text);
        }
        self.tell(&line, result.as_ref().err());
        result.ok()
    }

    fn tell(&mut self, line: &Line, refusal: Option<&Refusal>) {
        let Some(file) = &mut self.status else { return };
        let mut status = json!({
            "control_line": line.number, "name": line.name, "at_line": line.at_line,
            "generation": self.catalog.generation(),
        });
        if let Some(refusal) = refusal {
            status["refused"] = json!(refusal.message);
            status["diagnostics"] = json!(refusal.diagnostics);
        }
        // What cannot be told here was told on the terminal.
        let _ = writeln!(file, "{status}").and_then(|()| file.flush());
    }

    /// How many bytes of whole lines, the first of which is `number`, come before the next change.
    pub fn cut(&self, lines: &[u8], number: u64) -> usize {
        let Some(at) = self.waiting.last().map(|line| line.at_line) else { return lines.len() };
        let before = (at - number) as usize;
        memchr::memchr_iter(b'\n', lines).nth(before - 1).map_or(lines.len(), |i| i + 1)
    }
}
