//! One key group as bytes.

use std::collections::BTreeSet;

use lapwing_dsl::ir::StepId;
use lapwing_dsl::nfa::StateId;
use lapwing_dsl::program::Program;

use super::FORMAT_VERSION;
use super::codec::{Corrupt, Reader, Writer};
use crate::bound::{BoundEvent, BoundEvents, BoundId};
use crate::output::{AlertId, Evidence, Match, Status};
use crate::planted::{Bug, bug};
use crate::rule_set::RuleSet;
use crate::run::{Run, RunMore};
use crate::slot::{Candidate, Cell, CellMore, Group, KeyHasher, OpenAlert, WindowCell};
use crate::window::WindowState;

/// Writes a group.
pub fn save(group: &Group) -> Vec<u8> {
    let mut w = Writer::default();
    w.u64(FORMAT_VERSION.into());
    save_bound(&mut w, &group.bound);
    // In order of the keys, so that equal state gives equal bytes.
    w.list(group.in_order().into_iter(), |w, i| save_slot(w, group, i));
    w.bytes
}

/// Reads a group that was saved under `rules`.
pub fn load(bytes: &[u8], rules: &RuleSet, hasher: KeyHasher) -> Result<Group, Corrupt> {
    let mut r = Reader::new(bytes);
    if r.u16()? != FORMAT_VERSION {
        return Err(Corrupt("the format's version is not known to this engine"));
    }
    let mut group = Group::default();
    group.bound = load_bound(&mut r)?;
    for _ in 0..r.len()? {
        load_slot(&mut r, rules, &mut group, hasher)?;
    }
    r.end()?;
    check_holders(&group)?;
    Ok(group)
}

fn save_bound(w: &mut Writer, bound: &BoundEvents) {
    w.list(bound.raw().places(), |w, node| w.option(node, save_node));
    w.list(bound.raw().free().iter(), |w, i| w.u64((*i).into()));
}

fn save_node(w: &mut Writer, node: &BoundEvent) {
    w.option(node.before, |w, b| w.u64(b.0.into()));
    w.u64(node.step.0.into());
    w.u64(node.rank.into());
    w.origin(node.origin);
    w.i64(node.at);
    w.u64(node.sequence);
    w.list(node.captured.iter(), |w, v| w.value(v));
    w.u64(node.holders().into());
}

fn load_bound(r: &mut Reader<'_>) -> Result<BoundEvents, Corrupt> {
    let nodes = r.list(|r| r.option(load_node))?;
    let free = r.list(|r| r.u32())?;
    BoundEvents::from_raw(nodes, free).ok_or(Corrupt("bound events do not fit together"))
}

fn load_node(r: &mut Reader<'_>) -> Result<BoundEvent, Corrupt> {
    let before = r.option(|r| r.u32().map(BoundId))?;
    let (step, rank, origin) = (StepId(r.u16()?), r.u16()?, r.origin()?);
    let (at, sequence) = (r.i64()?, r.u64()?);
    let captured = r.list(|r| r.value())?.into_boxed_slice();
    Ok(BoundEvent::from_parts(before, step, rank, origin, at, sequence, captured, r.u32()?))
}

fn save_slot(w: &mut Writer, group: &Group, i: u32) {
    let slot = group.slot(i);
    w.u64(slot.space.into());
    w.slice(&slot.key);
    w.list(group.rules(i).into_iter(), |w, rule| {
        let runs: Vec<&Run> = group.runs(i).filter(|(r, _)| *r == rule).map(|(_, run)| run).collect();
        let more = slot.more.iter().flat_map(|m| &m.cells).find(|(r, _)| *r == rule).map(|(_, more)| more);
        save_cell(w, rule, &runs, more);
    });
    w.list(slot.windows().iter(), |w, window| {
        w.u64(window.window.into());
        w.i64(window.lost_until);
        save_window(w, &window.state);
    });
}

fn load_slot(r: &mut Reader<'_>, rules: &RuleSet, group: &mut Group, hasher: KeyHasher) -> Result<(), Corrupt> {
    let space = r.u16()?;
    if space as usize >= rules.spaces.len() {
        return Err(Corrupt("a key is of an unknown space"));
    }
    let key = r.slice()?;
    let hash = hasher.hash(rules.seeds[space as usize], key);
    if group.find(space, hash, key).is_some() {
        return Err(Corrupt("a key stands there twice"));
    }
    let slot = group.find_or_add(space, hash, key);
    let mut seen = BTreeSet::new();
    let cells = r.list(|r| load_cell(r, rules, &group.bound))?;
    let windows = r.list(|r| {
        let window = r.u32()?;
        let entry = rules.windows.get(window as usize).ok_or(Corrupt("a window that no rule has"))?;
        let lost_until = r.i64()?;
        let state = load_window(r)?;
        let fresh = WindowState::new(&entry.spec.kind, !entry.spec.args.is_empty());
        if std::mem::discriminant(&fresh) != std::mem::discriminant(&state) {
            return Err(Corrupt("a window holds what its kind does not"));
        }
        Ok(WindowCell { window, state, lost_until })
    })?;
    if !windows.is_empty() {
        group.slot_mut(slot).more.get_or_insert_default().windows = windows;
    }
    for cell in cells {
        if !seen.insert(cell.rule) {
            return Err(Corrupt("a rule stands twice with one key"));
        }
        group.put_cell(slot, cell);
    }
    if group.slot(slot).is_empty() { Err(Corrupt("a key holds nothing")) } else { Ok(()) }
}

fn save_cell(w: &mut Writer, rule: u32, runs: &[&Run], more: Option<&CellMore>) {
    w.u64(rule.into());
    w.list(runs.iter(), |w, run| save_run(w, run));
    w.option(more, |w, more| {
        w.list(more.candidates.iter(), save_candidate);
        w.list(more.open.iter(), |w, open| {
            w.u64(open.tag.into());
            save_match(w, &open.body);
        });
        w.u64(more.caps.into());
        w.i64(more.caps_until);
    });
}

fn load_cell(r: &mut Reader<'_>, rules: &RuleSet, bound: &BoundEvents) -> Result<Cell, Corrupt> {
    let rule = r.u32()?;
    let entry = rules.rules.get(rule as usize).ok_or(Corrupt("a rule that is not in the rule set"))?;
    let runs = r.list(|r| load_run(r, &entry.program, bound))?;
    let more = r.option(|r| {
        let candidates = r.list(|r| load_candidate(r, rule))?;
        let open = r.list(|r| Ok(OpenAlert { tag: r.u32()?, body: Box::new(load_match(r, rule)?) }))?;
        let caps = r.u64()? as u8;
        Ok(CellMore { candidates, open, caps, caps_until: r.i64()? })
    })?;
    Ok(Cell { rule, runs, more })
}

fn save_run(w: &mut Writer, run: &Run) {
    w.u64(run.state.0.into());
    w.u64(run.rank.into());
    w.bool(run.fresh);
    w.u64(run.last.0.into());
    w.u64(if bug(Bug::Snapshot) { 0 } else { run.count.into() });
    w.i64(run.first_at);
    w.u64(run.first_sequence);
    w.i64(run.deadline);
    w.option(run.more.as_deref(), |w, more| {
        w.list(more.counts.iter(), |w, c| w.u64((*c).into()));
        w.list(more.registers.iter(), |w, r| w.option(*r, Writer::i64));
        w.u64(more.tag.into());
        w.option(more.started_version, |w, v| w.u64(v.into()));
    });
}

fn load_run(r: &mut Reader<'_>, program: &Program, bound: &BoundEvents) -> Result<Run, Corrupt> {
    let run = Run {
        state: StateId(r.u16()?),
        rank: r.u16()?,
        fresh: r.bool()?,
        last: BoundId(r.u32()?),
        count: r.u32()?,
        first_at: r.i64()?,
        first_sequence: r.u64()?,
        deadline: r.i64()?,
        more: r.option(|r| {
            let counts = r.list(|r| r.u32())?;
            let registers = r.list(|r| r.option(|r| r.i64()))?;
            Ok(Box::new(RunMore { counts, registers, tag: r.u32()?, started_version: r.option(|r| r.u32())? }))
        })?,
    };
    let nfa = &program.nfa;
    let simple = nfa.loops.len() <= 1 && nfa.registers == 0;
    let fits = match &run.more {
        None => simple,
        Some(more) if simple => more.counts.is_empty() && more.registers.is_empty(),
        Some(more) => more.counts.len() == nfa.loops.len() && more.registers.len() == nfa.registers,
    };
    if run.state.0 as usize >= nfa.states.len() || !fits || !chain_fits(bound, run.last, program) {
        return Err(Corrupt("a run does not fit its rule"));
    }
    Ok(run)
}

/// Whether all events a run has bound are there and hold what the rule keeps of them.
fn chain_fits(bound: &BoundEvents, last: BoundId, program: &Program) -> bool {
    bound.has(last)
        && bound
            .newest_first(last)
            .all(|(_, n)| program.captures.get(n.step.0 as usize).is_some_and(|c| c.len() == n.captured.len()))
}

fn save_candidate(w: &mut Writer, c: &Candidate) {
    w.u64(c.first_sequence);
    w.u64(c.last_sequence);
    w.list(c.ranks.iter(), |w, r| w.u64((*r).into()));
    w.list(c.bindings.iter(), |w, (step, sequence)| {
        w.u64((*step).into());
        w.u64(*sequence);
    });
    save_match(w, &c.body);
}

fn load_candidate(r: &mut Reader<'_>, rule: u32) -> Result<Candidate, Corrupt> {
    Ok(Candidate {
        first_sequence: r.u64()?,
        last_sequence: r.u64()?,
        ranks: r.list(|r| r.u16())?,
        bindings: r.list(|r| Ok((r.u16()?, r.u64()?)))?,
        body: Box::new(load_match(r, rule)?),
    })
}

fn save_match(w: &mut Writer, m: &Match) {
    w.option(m.started_version, |w, v| w.u64(v.into()));
    w.slice(&m.id.0);
    w.u64(m.revision.into());
    w.u64(m.status as u64);
    w.list(m.key.iter(), |w, v| w.value(v));
    w.i64(m.first_at);
    w.i64(m.at);
    w.list(m.evidence.iter(), |w, e| {
        w.u64(e.step.0.into());
        w.origin(e.origin);
        w.i64(e.at);
    });
    w.list(m.fields.iter(), |w, v| w.value(v));
    w.str(&m.severity);
    w.option(m.risk.as_ref(), |w, v| w.value(v));
    w.option(m.message.as_deref(), Writer::str);
    w.option(m.suppress_by.as_deref(), Writer::slice);
    w.u64(m.caps.into());
}

fn load_match(r: &mut Reader<'_>, rule: u32) -> Result<Match, Corrupt> {
    Ok(Match {
        rule,
        started_version: r.option(|r| r.u32())?,
        id: AlertId(r.slice()?.try_into().map_err(|_| Corrupt("an id has not 16 bytes"))?),
        revision: r.u32()?,
        status: match r.u64()? {
            0 => Status::Open,
            1 => Status::Updated,
            2 => Status::Closed,
            3 => Status::Retracted,
            _ => return Err(Corrupt("an unknown status")),
        },
        key: r.list(|r| r.value())?,
        first_at: r.i64()?,
        at: r.i64()?,
        evidence: r.list(|r| Ok(Evidence { step: StepId(r.u16()?), origin: r.origin()?, at: r.i64()? }))?,
        fields: r.list(|r| r.value())?,
        severity: r.str()?.to_owned(),
        risk: r.option(|r| r.value())?,
        message: r.option(|r| r.str().map(str::to_owned))?,
        suppress_by: r.option(|r| r.slice().map(<[u8]>::to_vec))?,
        caps: r.u64()? as u8,
    })
}

fn save_window(w: &mut Writer, state: &WindowState) {
    match state {
        WindowState::Times(times) => {
            w.bytes.push(0);
            w.list(times.iter(), |w, t| w.i64(*t));
        }
        WindowState::Values(values) => {
            w.bytes.push(1);
            w.list(values.iter(), |w, (t, v)| {
                w.i64(*t);
                w.value(v);
            });
        }
        WindowState::Lag(values) => {
            w.bytes.push(2);
            w.list(values.iter(), |w, v| w.value(v));
        }
        WindowState::Seen(seen) => {
            w.bytes.push(3);
            w.list(seen.iter(), |w, (k, t)| {
                w.slice(k);
                w.i64(*t);
            });
        }
    }
}

fn load_window(r: &mut Reader<'_>) -> Result<WindowState, Corrupt> {
    Ok(match r.u8()? {
        0 => WindowState::Times(r.list(|r| r.i64())?.into()),
        1 => WindowState::Values(r.list(|r| Ok((r.i64()?, r.value()?)))?.into()),
        2 => WindowState::Lag(r.list(|r| r.value())?.into()),
        3 => WindowState::Seen(r.list(|r| Ok((r.slice()?.into(), r.i64()?)))?.into_iter().collect()),
        _ => return Err(Corrupt("a window of an unknown kind")),
    })
}

/// Every bound event is held as often as it says.
fn check_holders(group: &Group) -> Result<(), Corrupt> {
    let bound = &group.bound;
    let mut held = vec![0u32; bound.raw().end() as usize];
    for node in bound.raw().places().flatten() {
        if let Some(before) = node.before {
            held[before.0 as usize] += 1;
        }
    }
    for slot in group.in_order() {
        for (_, run) in group.runs(slot) {
            held[run.last.0 as usize] += 1;
        }
    }
    let right = bound.raw().places().zip(&held).all(|(node, held)| node.map_or(0, BoundEvent::holders) == *held);
    if right { Ok(()) } else { Err(Corrupt("a bound event is not held as often as it says")) }
}
