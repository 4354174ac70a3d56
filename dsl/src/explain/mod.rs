//! What a compiled rule does, in words: for its author, its reviewer, and whoever pays for the memory.
//!
//! `words` reads expressions and patterns aloud, `plan` tells how the engine goes about it, `picture` draws the automaton.
//! Everything is made from the typed rule and its automaton, not from the text, so it says what will run.

mod picture;
mod plan;
mod words;

use serde::Serialize;

use crate::ir::Expr;
use crate::program::Program;
use crate::schema::Schema;

/// The engine's caps, which bound what a rule may hold, and what it holds takes.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// Bytes of a run with the time and place of its last event.
    pub run_bytes: usize,
    /// Bytes of the time and place of an event bound before the last.
    pub event_bytes: usize,
    /// Bytes of one kept value; text takes its length beside.
    pub value_bytes: usize,
    /// Bytes of a key beside its text and what rules hold of it.
    pub key_bytes: usize,
    /// Bytes of a window's entry that has no value.
    pub entry_bytes: usize,
    /// Live runs of one rule for one key.
    pub runs_per_key_max: usize,
    /// Entries of one window for one key.
    pub window_entries_max: usize,
}

/// A rule explained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// Its name.
    pub rule: String,
    /// What it says, a sentence a line.
    pub reading: Vec<String>,
    /// How the engine goes about it.
    pub plan: Vec<String>,
    /// How an event finds each first step.
    pub index: Vec<String>,
    /// What it may hold for one key at worst.
    pub state: Vec<String>,
    /// The automaton, a transition a line.
    pub automaton: Vec<String>,
}

/// What a rule may hold for one key at worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Worst {
    /// Bytes, beside the key's own.
    pub bytes: u64,
    /// Whether there is an end to what it binds; else `bytes` is what it takes beside that.
    pub bounded: bool,
}

/// What a rule may hold for one key at worst: the numbers that [`explain`] tells, as one.
pub fn worst(program: &Program, caps: &Caps) -> Worst {
    plan::worst(program, caps)
}

/// Which term of a condition the engine's index finds a first step by.
pub type Witness<'w> = &'w dyn Fn(&[Expr]) -> Option<usize>;

/// Explains a rule.
pub fn explain(program: &Program, schema: &Schema, caps: &Caps, witness: Witness<'_>) -> Explanation {
    let words = words::Words { rule: &program.rule, schema };
    Explanation {
        rule: program.rule.name.clone(),
        reading: words.reading(),
        plan: plan::plan(program, &words),
        index: plan::index(program, &words, witness),
        state: plan::state(program, &words, caps),
        automaton: picture::text(program, &words),
    }
}

/// The automaton in the DOT language of Graphviz.
pub fn dot(program: &Program, schema: &Schema) -> String {
    picture::dot(program, &words::Words { rule: &program.rule, schema })
}

/// The automaton as a drawing.
pub fn svg(program: &Program, schema: &Schema) -> String {
    picture::svg(program, &words::Words { rule: &program.rule, schema })
}

impl std::fmt::Display for Explanation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "rule {}", self.rule)?;
        let parts = [
            ("Reading", &self.reading),
            ("Plan", &self.plan),
            ("Index", &self.index),
            ("State", &self.state),
            ("Automaton", &self.automaton),
        ];
        for (title, lines) in parts {
            writeln!(f, "\n{title}")?;
            for line in lines {
                writeln!(f, "  {line}")?;
            }
        }
        Ok(())
    }
}
