//! Compiling: typed rules to programs that the engine runs.
//!
//! `automaton` turns the pattern into states, `captures` finds what must be kept of bound events, `walk` visits the
//! expressions of a rule.

pub mod automaton;
mod captures;
pub mod walk;

use std::hash::{Hash, Hasher};

use crate::ir::{Rule, StepId};
use crate::nfa::{Fork, Leaf, Nfa, State, StateId};
use crate::program::{Condition, Program};
use crate::syntax::ast::Report;
use walk::Reads;

/// Compiles a checked rule. It fails only where the automaton is too large.
pub fn compile(rule: Rule) -> Result<Program, automaton::TooLarge> {
    let nfa = match rule.closing {
        Some(_) => closing(&rule),
        None => automaton::build(&rule.pattern, rule.report == Report::Final)?,
    };
    let mut first_steps: Vec<StepId> =
        nfa.starts.iter().flat_map(|s| nfa.state(*s).leaves.iter().map(|l| l.step)).collect();
    first_steps.sort_unstable();
    first_steps.dedup();
    let mut inputs: Vec<_> = rule.steps.iter().map(|s| s.event).collect();
    inputs.sort_unstable();
    inputs.dedup();
    let conditions = rule.steps.iter().map(|s| split(&s.filter)).collect();
    let captures = captures::captures(&rule);
    let scored = rule.steps.iter().map(|s| !s.absence && s.filter.iter().any(walk::asks_model)).collect();
    let asks_models = !walk::data_read(&rule).models.is_empty();
    let fingerprint = fingerprint(&rule);
    Ok(Program { conditions, captures, scored, asks_models, inputs, first_steps, fingerprint, nfa, rule })
}

/// An event of a type that is counted opens a window, which then waits for its close; windows that close for rows are held by no run.
fn closing(rule: &Rule) -> Nfa {
    let of_rows = rule.closing.as_ref().is_some_and(|c| c.rows.is_some());
    let waits = StateId(1);
    let leaf = |i: usize| Leaf {
        step: StepId(i as u16),
        stays: false,
        again: false,
        forks: vec![Fork { instructions: Vec::new(), target: Some(waits) }],
    };
    let leaves = if of_rows { Vec::new() } else { (0..rule.steps.len()).map(leaf).collect() };
    let opens = State { leaves, ..State::default() };
    Nfa {
        states: vec![opens, State::default()],
        starts: if of_rows { Vec::new() } else { vec![StateId(0)] },
        loops: Vec::new(),
        registers: 0,
    }
}

fn split(terms: &[crate::ir::Expr]) -> Condition {
    let mut condition = Condition::default();
    for term in terms {
        let reads = Reads::of(term);
        let part = if reads.run {
            &mut condition.run
        } else if reads.windows {
            &mut condition.key
        } else {
            &mut condition.event
        };
        part.push(term.clone());
    }
    // What others say of the event spares most events the models.
    condition.event.sort_by_key(walk::asks_model);
    condition
}

/// Spans, title, tags and message do not change what a rule matches.
fn fingerprint(rule: &Rule) -> u64 {
    let mut bare = rule.clone();
    walk::each_expr_mut(&mut bare, &mut |e| e.span = Default::default());
    bare.span = Default::default();
    bare.source.clear();
    bare.title.clear();
    bare.tags.clear();
    bare.message.clear();
    for step in &mut bare.steps {
        step.span = Default::default();
    }
    for window in &mut bare.windows {
        window.span = Default::default();
    }
    // The debug text is a faithful picture of the tree; a hash of it needs no code that could forget a field.
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    format!("{bare:?}").hash(&mut hasher);
    hasher.finish()
}

/// FNV-1a, 64 bits: the same on every machine and in every release.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = (self.0 ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
