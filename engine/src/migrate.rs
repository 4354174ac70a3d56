//! Swaps the rule set under live state and keeps what can be kept.
//!
//! A run lives on when the new rule has the same key, steps and automaton, keeps no field that the old one did not, and every
//! condition that is new holds for the events the run has bound, judged by the fields that were kept of them. Its limits
//! are the new ones. Otherwise the run goes, and the rule starts anew. A window lives on where the new rule set has the
//! same one.

use std::cell::Cell as Count;
use std::sync::Arc;

use lapwing_dsl::ir::{Expr, ExprKind, Of, StepId, WindowKey};
use lapwing_dsl::program::Program;
use lapwing_dsl::schema::{EventId, Schema};

use crate::Millis;
use crate::bound::{BoundEvents, BoundId, BoundRef};
use crate::eval::{NoWindows, Scope};
use crate::limits::Cap;
use crate::rule_set::{RuleEntry, RuleSet, WindowEntry};
use crate::run::{Memory, Run};
use crate::shard::Shard;
use crate::slot::Cell;
use crate::state::starts::Starts;

/// What happens to the runs of a rule at a swap.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// The rule is gone.
    Removed,
    /// Runs are kept as they are.
    Kept,
    /// Runs are judged again: these conditions are new, by step.
    Judged(Vec<Vec<Expr>>),
    /// The rule starts anew.
    Restarted,
}

/// Decides what happens to a rule's runs.
pub fn fate(old: &RuleEntry, old_set: &RuleSet, new_set: &RuleSet) -> (Fate, Option<u32>) {
    let name = &old.program.rule.name;
    let Some(index) = new_set.find(name) else { return (Fate::Removed, None) };
    let new = &new_set.rules[index as usize];
    let (a, b) = (&*old.program, &*new.program);
    let same_space = old_set.spaces[old.space as usize] == new_set.spaces[new.space as usize];
    let same_shape = a.nfa == b.nfa
        && a.rule.mode == b.rule.mode
        && a.rule.report == b.rule.report
        && a.rule.steps.len() == b.rule.steps.len()
        && a.rule.steps.iter().zip(&b.rule.steps).all(|(x, y)| {
            x.name == y.name
                && x.absence == y.absence
                && x.key == y.key
                && same_event(&old_set.schema, x.event, &new_set.schema, y.event)
        });
    if !same_space || !same_shape {
        return (Fate::Restarted, Some(index));
    }
    let kept = a.captures == b.captures;
    let mut conditions = Vec::new();
    for (x, y) in a.rule.steps.iter().zip(&b.rule.steps) {
        let mut fresh: Vec<Expr> =
            y.filter.iter().filter(|t| !x.filter.iter().any(|u| same_expr(u, t))).cloned().collect();
        if let Some(until) = &y.until
            && !x.until.as_ref().is_some_and(|u| same_expr(u, until))
        {
            // An event for which it holds is never an element.
            let not = ExprKind::Not(Box::new(until.clone()));
            fresh.push(Expr { kind: not, ty: lapwing_dsl::value::Type::Bool, span: until.span });
        }
        conditions.push(fresh);
    }
    let reads_window = |e: &Expr| lapwing_dsl::compile::walk::Reads::of(e).windows;
    if !kept || conditions.iter().flatten().any(reads_window) {
        return (Fate::Restarted, Some(index));
    }
    let unchanged = conditions.iter().all(Vec::is_empty) && a.rule.within == b.rule.within;
    (if unchanged { Fate::Kept } else { Fate::Judged(conditions) }, Some(index))
}

/// Whether two rule sets read the same event, as far as the old one knew it.
fn same_event(old: &Schema, a: EventId, new: &Schema, b: EventId) -> bool {
    let (a, b) = (old.event(a), new.event(b));
    a.name == b.name
        && a.at == b.at
        && a.fields.len() <= b.fields.len()
        && a.fields.iter().zip(&b.fields).all(|(x, y)| x.name == y.name && x.ty == y.ty)
}

fn same_expr(a: &Expr, b: &Expr) -> bool {
    let bare = |e: &Expr| {
        let mut e = e.clone();
        strip(&mut e);
        e
    };
    bare(a) == bare(b)
}

fn strip(expr: &mut Expr) {
    expr.span = Default::default();
    lapwing_dsl::compile::walk::children_mut(expr, &mut strip);
}

/// Whether a window's state serves the new rule set's window.
fn same_window(old: &WindowEntry, old_set: &RuleSet, new: &WindowEntry, new_set: &RuleSet) -> bool {
    let (a, b) = (&old.spec, &new.spec);
    let same_key = match (&a.key, &b.key) {
        (WindowKey::Rule(_), WindowKey::Rule(_)) => true,
        (WindowKey::Fields { counted: x, optional: o, .. }, WindowKey::Fields { counted: y, optional: p, .. }) => {
            x == y && o == p
        }
        _ => false,
    };
    same_key
        && a.kind == b.kind
        && a.args == b.args
        && a.filter == b.filter
        && a.ty == b.ty
        && old.keys == new.keys
        && same_event(&old_set.schema, a.event, &new_set.schema, b.event)
        && old_set.spaces[old.space as usize] == new_set.spaces[new.space as usize]
}

/// How many runs a swap kept, and how many it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swapped {
    /// Runs that live on.
    pub kept: u64,
    /// Runs that went.
    pub ended: u64,
}

impl Shard {
    /// Puts `new` in place of the rule set.
    pub fn swap(&mut self, new: Arc<RuleSet>) -> Swapped {
        let old = std::mem::replace(&mut self.rules, new.clone());
        self.judged.forget();
        let fates: Vec<(Fate, Option<u32>)> = old.rules.iter().map(|r| fate(r, &old, &new)).collect();
        let spaces: Vec<Option<u16>> =
            old.spaces.iter().map(|s| new.spaces.iter().position(|t| t == s).map(|i| i as u16)).collect();
        let mut windows: Vec<Option<u32>> = Vec::new();
        for window in &old.windows {
            // Windows that differ in what reads them only hold the same: each new one goes on from one of them.
            let goes_on = |(i, v): &(usize, &WindowEntry)| {
                !windows.contains(&Some(*i as u32)) && same_window(window, &old, v, &new)
            };
            let found = new.windows.iter().enumerate().find(goes_on).map(|(i, _)| i as u32);
            windows.push(found);
        }
        let mut swapped = Swapped::default();
        let clock = self.clock;
        let mut moved: Vec<Cell> = Vec::new();
        let mut gathered: Vec<(u32, Starts)> = Vec::new();
        let runs_max = self.limits.runs_per_key_max;
        for group in &mut self.groups {
            let capped =
                group.all_capped().iter().filter_map(|(rule, c)| Some((fates[*rule as usize].1?, *c))).collect();
            group.set_capped(capped);
            for mut i in group.in_order() {
                let space = spaces[group.space(i) as usize];
                for rule in group.rules(i) {
                    let (fate, index) = &fates[rule as usize];
                    let entry = &old.rules[rule as usize];
                    let target = index.filter(|_| space.is_some());
                    let mut cell = group.take_cell(i, rule, &old, Vec::new());
                    if let Some(mut starts) = group.take_starts(i, rule) {
                        let index = index
                            .filter(|i| target.is_some() && *fate == Fate::Kept && new.gathers[*i as usize].is_some());
                        if let Some(index) = index {
                            if entry.version != new.rules[index as usize].version {
                                starts.began_under(entry.version);
                            }
                            swapped.kept += starts.len() as u64;
                            gathered.push((index, starts));
                        } else if let Some(begin) = &old.begins[rule as usize] {
                            // What is to be judged anew are runs again, as many as may be.
                            let too_many = starts.len().saturating_sub(runs_max);
                            let runs = starts.iter().skip(too_many).map(|start| group.run_of_start(begin, &start));
                            cell.runs.splice(0..0, runs);
                            cell.runs.sort_by_key(|run| run.first_sequence);
                            if too_many > 0 {
                                cell.more.get_or_insert_default().capped(Cap::RunsPerKey, Millis::MAX);
                            }
                        }
                    }
                    let bound = &mut group.bound;
                    let before = cell.runs.len();
                    cell.runs.retain_mut(|run| {
                        let new = target.map(|i| &new.rules[i as usize]);
                        let lives = new.is_some_and(|new| survives(run, fate, entry, new, bound, clock));
                        if !lives {
                            bound.release(run.last);
                        }
                        lives
                    });
                    swapped.kept += cell.runs.len() as u64;
                    swapped.ended += (before - cell.runs.len()) as u64;
                    if let Some(index) = target.filter(|_| matches!(fate, Fate::Kept | Fate::Judged(_))) {
                        cell.rule = index;
                        if let Some(more) = &mut cell.more {
                            let candidates = more.candidates.iter_mut().map(|c| &mut c.body);
                            candidates.chain(more.open.iter_mut().map(|o| &mut o.body)).for_each(|b| b.rule = index);
                        }
                        moved.push(cell);
                    }
                }
                if let Some(more) = group.more_mut(i) {
                    more.windows.retain_mut(|w| match windows[w.window as usize] {
                        Some(index) if space.is_some() => {
                            w.window = index;
                            true
                        }
                        _ => false,
                    });
                }
                group.tidy(i);
                i = group.renumber_small(i, |window| windows[window as usize].filter(|_| space.is_some()));
                if let Some(space) = space {
                    group.set_space(i, space);
                }
                for cell in moved.drain(..) {
                    i = group.put_cell(i, cell).0;
                }
                if !gathered.is_empty() {
                    group.more_or_add(i).starts.append(&mut gathered);
                }
                if group.holds_nothing(i) {
                    group.remove(i);
                }
            }
        }
        self.plan_all();
        swapped
    }
}

/// Whether a run lives on under the new rule; its limits and version are set.
fn survives(run: &mut Run, fate: &Fate, old: &RuleEntry, new: &RuleEntry, bound: &BoundEvents, clock: Millis) -> bool {
    match fate {
        Fate::Removed | Fate::Restarted => return false,
        Fate::Kept => {}
        Fate::Judged(conditions) => {
            if !judge(run.last, conditions, &old.program, bound) {
                return false;
            }
            if old.program.rule.within != new.program.rule.within {
                let state = new.program.nfa.state(run.state);
                let last_at = bound.get(run.last).at;
                let within = new.program.rule.within.map_or(Millis::MAX, |w| run.first_at.saturating_add(w));
                run.deadline = Memory::of(run).deadline(&new.program, state, run.first_at, last_at);
                if last_at > within || run.deadline < clock {
                    return false;
                }
            }
        }
    }
    if old.version != new.version && run.started_version().is_none() {
        run.more.get_or_insert_default().started_version = Some(old.version);
    }
    true
}

/// Whether every bound event meets the new conditions of its step, as far as what was kept of it tells.
fn judge(last: BoundId, conditions: &[Vec<Expr>], program: &Program, bound: &BoundEvents) -> bool {
    let errors = Count::new(0);
    bound.newest_first(last).all(|(_, node)| {
        conditions[node.step.0 as usize].iter().all(|condition| {
            if !is_kept(condition, node.step, program) {
                return false;
            }
            let scope = Scope {
                program: Some(program),
                event: None,
                current: Some(BoundRef::Shared(node)),
                step: node.step,
                bound,
                last: node.before.map(|b| BoundRef::Shared(bound.get(b))),
                element: (None, None),
                key: &[],
                windows: &NoWindows,
                errors: &errors,
            };
            scope.holds(condition)
        })
    })
}

/// Whether the fields of the candidate that a condition reads were kept.
fn is_kept(condition: &Expr, step: StepId, program: &Program) -> bool {
    let mut kept = true;
    lapwing_dsl::compile::walk::walk(condition, &mut |e| {
        if let ExprKind::Field(Of::Candidate, field) = e.kind {
            kept &= program.capture(step, field).is_some();
        }
    });
    kept
}
