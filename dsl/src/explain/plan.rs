//! How the engine goes about a rule: what is judged when, what is kept, and how much that can be at worst.

use rust_decimal::Decimal;

use super::words::Words;
use super::{Caps, Worst};
use crate::functions::duration_text;
use crate::ir::{Aggregate, Expr, Pattern, Reach, StepId, Window, WindowKind};
use crate::program::Program;
use crate::schema::EventId;
use crate::syntax::ast::MatchMode;
use crate::value::Type;

/// The plan, a fact a line.
pub fn plan(program: &Program, words: &Words<'_>) -> Vec<String> {
    let inputs: Vec<_> = program.inputs.iter().map(|e| format!("`{}`", words.event(*e))).collect();
    let mut lines = vec![format!("input: {}", inputs.join(", "))];
    let key = &program.rule.key;
    for (event, fields) in &key.fields {
        let fields: Vec<_> = fields.iter().map(|f| format!("`{}`", words.field(*event, *f))).collect();
        if !fields.is_empty() {
            lines.push(format!("key of a `{}`: {}", words.event(*event), fields.join(", ")));
        }
    }
    for (i, step) in program.rule.steps.iter().enumerate() {
        let kind = if step.absence { "forbidden" } else { "awaited" };
        lines.push(format!("step `{}`: {kind}, a `{}`", step.name, words.event(step.event)));
        let condition = &program.conditions[i];
        terms(&mut lines, "on the event alone", &condition.event, words, step.event);
        terms(&mut lines, "with the key's windows", &condition.key, words, step.event);
        terms(&mut lines, "with what the run has bound", &condition.run, words, step.event);
        let scores = program.scored[i].then(|| "what the models answered".to_owned());
        let fields = program.captures[i].iter().map(|f| format!("`{}`", words.field(step.event, *f)));
        let kept: Vec<_> = fields.chain(scores).collect();
        if !step.absence {
            lines.push(format!(
                "  keeps: time and place{}{}",
                if kept.is_empty() { "" } else { ", " },
                kept.join(", ")
            ));
        }
    }
    lines
}

fn terms(lines: &mut Vec<String>, when: &str, terms: &[Expr], words: &Words<'_>, event: EventId) {
    for term in terms {
        lines.push(format!("  {when}: {}", words.term(term, event)));
    }
}

/// How an event finds each first step.
pub fn index(program: &Program, words: &Words<'_>, witness: super::Witness<'_>) -> Vec<String> {
    let line = |id: &StepId| {
        let event = program.rule.steps[id.0 as usize].event;
        let terms = &program.conditions[id.0 as usize].event;
        let found = witness(terms).map_or("its type".to_owned(), |i| words.term(&terms[i], event));
        let terms: Vec<_> = terms.iter().map(|t| words.term(t, event)).collect();
        let terms = if terms.is_empty() { "all of them".to_owned() } else { terms.join(" and ") };
        format!("`{}` begins a run: `{}` events, {terms}; found by {found}", words.step(*id), words.event(event))
    };
    program.first_steps.iter().map(line).collect()
}

/// The worst case for one key.
pub fn state(program: &Program, words: &Words<'_>, caps: &Caps) -> Vec<String> {
    let mut lines = vec![in_words(program, caps), format!("key: its own bytes and {} more", caps.key_bytes)];
    for (i, window) in program.rule.windows.iter().enumerate() {
        let (most, bytes) = entries(window, caps);
        let id = crate::ir::WindowId(i as u16);
        let ends = match &window.kind {
            WindowKind::Over { reach: Reach::Last { .. } | Reach::Delta { .. }, .. } => "; time does not end it",
            _ => "",
        };
        lines.push(format!("window: {}; at most {most} entries of {bytes} bytes{ends}", words.window(id)));
    }
    lines
}

/// What a rule may hold for one key at worst, beside the key's own bytes: the sum of what [`state`] says.
pub fn worst(program: &Program, caps: &Caps) -> Worst {
    let windows = program.rule.windows.iter().map(|window| {
        let (most, bytes) = entries(window, caps);
        (most as u64).saturating_mul(bytes as u64)
    });
    let beside = windows.fold(caps.key_bytes as u64, u64::saturating_add);
    let runs = runs(program, caps);
    let of_runs = runs.as_ref().map_or(0, |runs| runs.most.saturating_mul(runs.one));
    Worst { bytes: beside.saturating_add(of_runs), bounded: runs.is_none_or(|runs| runs.bounded) }
}

/// How many entries a window has at most, and the bytes of one.
fn entries(window: &Window, caps: &Caps) -> (usize, usize) {
    let most = match &window.kind {
        WindowKind::Over { reach: Reach::Last { n }, .. } => caps.window_entries_max.min(*n as usize),
        _ => caps.window_entries_max,
    };
    (most, caps.entry_bytes + value_bytes(window, caps))
}

/// Bytes that the value of a window's entry takes, with what is carried along for it.
fn value_bytes(window: &Window, caps: &Caps) -> usize {
    let WindowKind::Over { aggregate, reach } = &window.kind else { return caps.value_bytes * window.args.len() };
    let (values, _) = window.values();
    let number = |ty: &Type| match ty {
        Type::Int | Type::Float | Type::Duration | Type::Timestamp => Some(size_of::<u64>()),
        Type::Decimal => Some(size_of::<Decimal>()),
        _ => None,
    };
    let sparse = matches!(reach, Reach::Session { .. } | Reach::Last { .. } | Reach::Delta { .. });
    let kept = || values.iter().map(|v| number(&v.ty).filter(|_| !sparse).unwrap_or(caps.value_bytes)).sum::<usize>();
    match aggregate {
        Aggregate::Count if !sparse => 0,
        Aggregate::Corr => 2 * size_of::<f64>(),
        // The number of the value, and the value itself as if no other entry had it: it, two counts and its place in a table.
        Aggregate::Distinct | Aggregate::ApproxDistinct | Aggregate::Topk(_) => {
            let value =
                if values.iter().all(|v| number(&v.ty).is_some()) { 8 } else { caps.value_bytes * values.len() };
            3 * size_of::<u32>() + value + 8
        }
        // A place among the candidates, or in the order of the values.
        Aggregate::Min | Aggregate::Max => kept() + size_of::<u64>(),
        Aggregate::Quantile(_) => 2 * kept(),
        _ => kept(),
    }
}

/// The runs of a rule for one key.
struct Runs {
    most: u64,
    /// Bytes of one; where a repetition has no end, of one that has bound nothing.
    one: u64,
    bounded: bool,
}

/// None where every match is complete with its first event.
fn runs(program: &Program, caps: &Caps) -> Option<Runs> {
    let waits = program.nfa.states.iter().any(|s| s.is_pending())
        || program
            .nfa
            .states
            .iter()
            .flat_map(|s| &s.leaves)
            .any(|l| l.stays || l.forks.iter().any(|f| f.target.is_some()));
    if !waits {
        return None;
    }
    let most = match program.rule.mode {
        MatchMode::Last => {
            let counters = |s: &crate::nfa::State| {
                s.counted.iter().map(|l| u64::from(program.nfa.loops[l.0 as usize]) + 1).product::<u64>()
            };
            let waited = |i: usize| {
                let forks = program.nfa.states.iter().flat_map(|s| &s.leaves).flat_map(|l| &l.forks);
                forks.filter_map(|f| f.target).any(|t| usize::from(t.0) == i)
            };
            let places = program.nfa.states.iter().enumerate().filter(|(i, _)| waited(*i));
            places.map(|(_, s)| counters(s)).sum::<u64>().min(caps.runs_per_key_max as u64)
        }
        _ => caps.runs_per_key_max as u64,
    };
    let event = |id: StepId| {
        let values = caps.value_bytes * program.kept(id);
        (caps.event_bytes + values) as u64
    };
    let run = caps.run_bytes as u64;
    let bytes = bound(&program.rule.pattern, &event);
    Some(Runs { most, one: run + bytes.unwrap_or_default(), bounded: bytes.is_some() })
}

fn in_words(program: &Program, caps: &Caps) -> String {
    let Some(Runs { most, one, bounded }) = runs(program, caps) else {
        return "no runs: every match is complete with its first event".to_owned();
    };
    let life = program
        .rule
        .within
        .map(|w| format!(", each ended {} after its first event", duration_text(w)))
        .unwrap_or_default();
    match bounded {
        true => format!("at most {most} runs of {one} bytes{life}: {} bytes", most.saturating_mul(one)),
        false => format!(
            "at most {most} runs of {one} bytes and what they bind{life}; a repetition without end binds as many events as fit into that time"
        ),
    }
}

/// Bytes of all events that a pattern can bind; `None` where there is no end to them.
fn bound(pattern: &Pattern, event: &dyn Fn(StepId) -> u64) -> Option<u64> {
    match pattern {
        Pattern::Step(id) => Some(event(*id)),
        Pattern::All(sides) => sides.iter().map(|s| bound(s, event)).sum(),
        Pattern::Any(sides) => sides.iter().map(|s| bound(s, event)).try_fold(0, |most, b| b.map(|b| most.max(b))),
        Pattern::Loop(l) => Some(bound(&l.body, event)?.saturating_mul(u64::from(l.max?))),
        Pattern::Sequence(elements) => {
            let parts = elements.iter().filter_map(|e| match e {
                crate::ir::Element::Bind { pattern, .. } => Some(bound(pattern, event)),
                crate::ir::Element::Absence { .. } => None,
            });
            parts.sum()
        }
    }
}
