//! The automaton as text, as DOT and as a drawing: states stand in columns by their distance from the start.

use std::fmt::Write;

use super::words::Words;
use crate::functions::duration_text;
use crate::nfa::{Absence, Instruction, StateId};
use crate::program::Program;

/// One arrow.
struct Arrow {
    from: usize,
    /// `None`: the match is complete.
    to: Option<usize>,
    label: String,
}

fn arrows(program: &Program, words: &Words<'_>) -> Vec<Arrow> {
    let mut arrows = Vec::new();
    for (from, state) in program.nfa.states.iter().enumerate() {
        if state.is_pending() {
            arrows.push(Arrow { from, to: None, label: "time passes".to_owned() });
        }
        for leaf in &state.leaves {
            for fork in &leaf.forks {
                let guards: Vec<_> = fork.instructions.iter().filter_map(guard).collect();
                let guards = if guards.is_empty() { String::new() } else { format!(" [{}]", guards.join(", ")) };
                let label = format!("{}{guards}", words.step(leaf.step));
                arrows.push(Arrow { from, to: fork.target.map(|t| usize::from(t.0)), label });
            }
            if leaf.stays {
                arrows.push(Arrow { from, to: Some(from), label: format!("{} (stays too)", words.step(leaf.step)) });
            }
        }
    }
    arrows
}

fn guard(instruction: &Instruction) -> Option<String> {
    match instruction {
        Instruction::Below(l, n) => Some(format!("fewer than {n} passes of loop {}", l.0)),
        Instruction::AtLeast(l, n) => Some(format!("at least {n} passes of loop {}", l.0)),
        Instruction::Count(_) | Instruction::Leave(_) | Instruction::Start(_) | Instruction::Clear(_) => None,
    }
}

fn absence(absence: &Absence, words: &Words<'_>) -> String {
    let steps: Vec<_> = absence.steps.iter().map(|s| words.step(*s)).collect();
    let within = absence.within.map(|w| format!(" for {}", duration_text(w))).unwrap_or_default();
    format!("no {}{}{within}", if absence.next { "next " } else { "" }, steps.join(" or "))
}

/// What holds while a run waits in a state.
fn holds(program: &Program, state: usize, words: &Words<'_>) -> Vec<String> {
    let state = &program.nfa.states[state];
    let mut holds = Vec::new();
    if state.strict {
        holds.push("the very next event".to_owned());
    }
    holds.extend(state.gap.map(|g| format!("within {} of the last", duration_text(g))));
    holds.extend(state.groups.iter().map(|(_, w)| format!("within {} of the group's first", duration_text(*w))));
    holds.extend(state.absences.iter().map(|a| absence(a, words)));
    holds
}

/// A transition a line.
pub fn text(program: &Program, words: &Words<'_>) -> Vec<String> {
    let starts: Vec<_> = program.nfa.starts.iter().map(|s| s.0.to_string()).collect();
    let mut lines = vec![format!("begins in state {}", starts.join(" or "))];
    let arrows = arrows(program, words);
    for state in 0..program.nfa.states.len() {
        let holds = holds(program, state, words);
        if !holds.is_empty() {
            lines.push(format!("{state} waits: {}", holds.join(", ")));
        }
        for arrow in arrows.iter().filter(|a| a.from == state) {
            let to = arrow.to.map_or("complete".to_owned(), |t| t.to_string());
            lines.push(format!("{state} -- {} --> {to}", arrow.label));
        }
    }
    lines
}

/// The DOT language.
pub fn dot(program: &Program, words: &Words<'_>) -> String {
    let mut out = format!(
        "digraph {:?} {{\n  rankdir=LR;\n  node [shape=circle];\n  complete [shape=doublecircle];\n",
        program.rule.name
    );
    for (i, start) in program.nfa.starts.iter().enumerate() {
        let _ = writeln!(out, "  start{i} [shape=point];\n  start{i} -> {};", start.0);
    }
    for state in 0..program.nfa.states.len() {
        let label = [vec![state.to_string()], holds(program, state, words)].concat().join("\n");
        let _ = writeln!(out, "  {state} [label={label:?}];");
    }
    for arrow in arrows(program, words) {
        let to = arrow.to.map_or("complete".to_owned(), |t| t.to_string());
        let _ = writeln!(out, "  {} -> {to} [label={:?}];", arrow.from, arrow.label);
    }
    out.push_str("}\n");
    out
}

/// Distance of a column and of a row, and the radius of a state.
const COLUMN: usize = 220;
const ROW: usize = 110;
const RADIUS: usize = 22;

/// Where each state stands, the end last: column by its distance from the starts, row by its turn in the column.
fn places(program: &Program, arrows: &[Arrow]) -> Vec<(usize, usize)> {
    let end = program.nfa.states.len();
    let mut column = vec![None; end + 1];
    let mut queue: Vec<usize> = program.nfa.starts.iter().map(|StateId(s)| usize::from(*s)).collect();
    queue.iter().for_each(|s| column[*s] = Some(0));
    let mut next = 0;
    while let Some(&state) = queue.get(next) {
        next += 1;
        for to in arrows.iter().filter(|a| a.from == state).filter_map(|a| a.to) {
            if column[to].is_none() {
                column[to] = column[state].map(|c: usize| c + 1);
                queue.push(to);
            }
        }
    }
    let last = column.iter().flatten().max().map_or(0, |c| c + 1);
    column[end] = Some(last);
    let mut rows = vec![0; last + 1];
    let place = |c: &Option<usize>| {
        let c = c.unwrap_or(0);
        rows[c] += 1;
        (60 + c * COLUMN, 80 + (rows[c] - 1) * ROW)
    };
    column.iter().map(place).collect()
}

/// A drawing.
pub fn svg(program: &Program, words: &Words<'_>) -> String {
    let arrows = arrows(program, words);
    let places = places(program, &arrows);
    let end = program.nfa.states.len();
    let width = places.iter().map(|p| p.0).max().unwrap_or(0) + 80;
    let height = places.iter().map(|p| p.1).max().unwrap_or(0) + 80;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <title>{}</title>\n\
         <defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/></marker></defs>\n",
        escaped(&program.rule.name)
    );
    for (i, arrow) in arrows.iter().enumerate() {
        let lane = arrows[..i].iter().filter(|a| a.from == arrow.from && a.to == arrow.to).count();
        out.push_str(&curve(places[arrow.from], places[arrow.to.unwrap_or(end)], lane, &arrow.label));
    }
    for (state, (x, y)) in places.iter().enumerate() {
        let label = if state == end { "match".to_owned() } else { state.to_string() };
        let double = if state == end {
            format!("<circle cx=\"{x}\" cy=\"{y}\" r=\"{}\" fill=\"none\" stroke=\"black\"/>", RADIUS - 4)
        } else {
            String::new()
        };
        let _ = writeln!(
            out,
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"{RADIUS}\" fill=\"white\" stroke=\"black\"/>{double}<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
            y + 4
        );
        if state < end {
            for (line, hold) in holds(program, state, words).iter().enumerate() {
                let _ = writeln!(
                    out,
                    "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" fill=\"gray\">{}</text>",
                    y + RADIUS + 14 + 13 * line,
                    escaped(hold)
                );
            }
        }
    }
    out.push_str("</svg>\n");
    out
}

/// An arrow with its label; a loop above the state where it leads back to it.
fn curve(from: (usize, usize), to: (usize, usize), lane: usize, label: &str) -> String {
    let label = escaped(label);
    if from == to {
        let ((x, y), high) = (from, 30 + 14 * lane);
        let top = y - RADIUS;
        return format!(
            "<path d=\"M{} {top}C{} {} {} {} {} {top}\" fill=\"none\" stroke=\"black\" marker-end=\"url(#head)\"/><text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{label}</text>\n",
            x - 10,
            x - 30,
            top.saturating_sub(high),
            x + 30,
            top.saturating_sub(high),
            x + 10,
            top.saturating_sub(high) + 4
        );
    }
    let (x1, x2) = if from.0 < to.0 { (from.0 + RADIUS, to.0 - RADIUS) } else { (from.0, to.0) };
    let (y1, y2) = (from.1, to.1);
    let (mx, my) = ((x1 + x2) / 2, (y1 + y2) / 2 + 16 * lane);
    format!(
        "<path d=\"M{x1} {y1}Q{mx} {my} {x2} {y2}\" fill=\"none\" stroke=\"black\" marker-end=\"url(#head)\"/><text x=\"{mx}\" y=\"{}\" text-anchor=\"middle\">{label}</text>\n",
        my.saturating_sub(6)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
