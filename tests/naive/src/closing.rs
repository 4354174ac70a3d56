//! Rules that fire when a window closes, by lists of the windows that are open.

use std::collections::BTreeMap;
use std::rc::Rc;

use lapwing_dsl::syntax::ast::{Call, Expr, WindowClause, WindowKind};

use crate::Alert;
use crate::calendar::Shape;
use crate::eval::{Scope, World, find_name};
use crate::event::Event;
use crate::kept::fields_of;
use crate::rule::{Key, Rule};
use crate::value;
use crate::windows::{calls, expressions};

/// What such a rule holds.
#[derive(Clone, Debug, Default)]
pub struct Closes {
    /// Windows with an event, and those that closed and that a late event may still change.
    pub windows: Vec<Looked>,
    /// Of a rule for rows: the window that closes next, once that is known.
    pub next: Option<(i64, i64)>,
    /// Of a rule for rows that came while events flowed: its first window begins no earlier.
    pub begins: Option<i64>,
    /// Of a rule for rows: the time of the latest event that it counts, whatever its key.
    pub counted: Option<i64>,
    /// Whether its windows do not close before there is another.
    pub stopped: bool,
}

/// For so many windows in which nobody had an event, windows close for rows.
const SILENT_WINDOWS: i64 = 1_000;

/// A window of a key.
#[derive(Clone, Debug)]
pub struct Looked {
    /// The key.
    pub key: Key,
    /// The first moment.
    pub first: i64,
    /// The last moment.
    pub last: i64,
    /// Whether it has closed.
    pub closed: bool,
    /// The last revision of its alert, and whether the alert is held back.
    pub said: Option<(Alert, bool)>,
}

/// What an event changes of windows that closed before.
#[derive(Default)]
pub struct Changed {
    /// Windows that are part of a longer session now.
    pub withdrawn: Vec<Looked>,
    /// The key, the first and the last moment of windows that are looked at again.
    pub again: Vec<(Key, i64, i64)>,
}

/// What the rule's windows are, as text: rules of which it is the same look at the same.
pub fn looks_at(rule: &Rule<'_>, types: &[&lapwing_dsl::syntax::ast::EventDecl]) -> String {
    let Some(clause) = rule.closing else { return String::new() };
    let mut counted = counted(rule, types);
    counted.sort();
    let gap = if let WindowKind::Session(gap) = &clause.window.kind { gap.ms } else { 0 };
    let asked = if gap > 0 { own_calls(rule).first().map(|c| crate::migrate::plain(&c.filter)) } else { None };
    let keys: Vec<_> = counted.iter().map(|ty| rule.by.map(|by| fields_of(by, ty))).collect();
    let rows = clause.rows.as_ref().map(|r| &r.text);
    format!("{:?} {gap} {rows:?} {counted:?} {keys:?} {asked:?}", Shape::of(&clause.window))
}

/// The aggregates over the rule's own window.
fn own_calls<'a>(rule: &Rule<'a>) -> Vec<&'a Call> {
    let Some(clause) = rule.closing else { return Vec::new() };
    let all: Vec<&Expr> = expressions(rule).into_iter().map(|(e, _)| e).collect();
    let own = |call: &&Call| {
        call.over.as_ref().is_some_and(|over| {
            over.kind == clause.window.kind && over.zone == clause.window.zone && over.offset.is_none()
        })
    };
    all.into_iter().flat_map(calls).filter(own).collect()
}

/// The types that the rule's own aggregates count.
fn counted(rule: &Rule<'_>, types: &[&lapwing_dsl::syntax::ast::EventDecl]) -> Vec<String> {
    let is_type = |name: &str| types.iter().any(|t| t.name.text == name);
    let mut counted: Vec<String> = own_calls(rule)
        .into_iter()
        .filter_map(|call| call.args.iter().find_map(|a| find_name(&a.value, &is_type)))
        .map(str::to_owned)
        .collect();
    counted.sort();
    counted.dedup();
    counted
}

impl Closes {
    /// An event came; some windows that closed before are other than they were.
    pub fn event(
        &mut self,
        rule: &Rule<'_>,
        clause: &WindowClause,
        world: &World<'_>,
        event: &Rc<Event>,
        (since, newest): (i64, i64),
    ) -> Changed {
        let mut changed = Changed::default();
        let past = world.clock.saturating_sub(rule.lateness);
        self.windows.retain(|w| !w.closed || w.last >= past);
        if !counted(rule, &world.types).contains(&event.ty) || event.late && rule.lateness == 0 {
            return changed;
        }
        if !event.late {
            self.counted = self.counted.max(Some(event.at));
            if std::mem::take(&mut self.stopped) {
                self.plan(clause, world.clock.max(event.at), (since, newest));
            }
        }
        let Some(key) = rule.key(event) else { return changed };
        if let Some(shape) = Shape::of(&clause.window) {
            for (first, end) in shape.holding(event.at).into_iter().filter(|(_, end)| *end > past) {
                let last = end - 1;
                let known = self.windows.iter().any(|w| w.key == key && w.first == first);
                let closed = last < world.clock;
                let counts = match &clause.rows {
                    None => true,
                    Some(rows) => {
                        let is_row = world.data.keys(&rows.text, last).contains(&key);
                        let begun = self.begins.is_none_or(|begins| first >= begins);
                        closed && (known || is_row && begun && first >= shape.holding(since)[0].0)
                    }
                };
                if counts && !known {
                    self.windows.push(Looked { key: key.clone(), first, last, closed, said: None });
                }
                if counts && closed {
                    changed.again.push((key.clone(), first, last));
                }
            }
            return changed;
        }
        let WindowKind::Session(gap) = &clause.window.kind else { return changed };
        let scope = Scope { counted: Some(event), ..scope(rule, &key, world, event, event.at) };
        let meets = own_calls(rule)[0].filter.as_ref().is_none_or(|c| scope.eval(c).truth() == Some(true));
        let (mut first, mut last) = (event.at, event.at + gap.ms);
        if !meets || last < past {
            return changed;
        }
        let joins = |w: &Looked| w.key == key && w.first - gap.ms <= event.at && event.at <= w.last;
        let (joined, others) = std::mem::take(&mut self.windows).into_iter().partition(joins);
        self.windows = others;
        let mut joined: Vec<Looked> = joined;
        first = joined.iter().map(|w| w.first).min().unwrap_or(first).min(first);
        last = joined.iter().map(|w| w.last).max().unwrap_or(last).max(last);
        let closed = last < world.clock;
        let same = joined.iter().position(|w| w.first == first).map(|i| joined.remove(i));
        changed.withdrawn = joined;
        let said = same.and_then(|w| w.said);
        self.windows.push(Looked { key: key.clone(), first, last, closed, said });
        if closed {
            changed.again.push((key, first, last));
        }
        changed
    }

    /// Finds the first window that closes for rows, at or after a time.
    pub fn plan(&mut self, clause: &WindowClause, from: i64, (since, newest): (i64, i64)) {
        let Some(shape) = Shape::of(&clause.window).filter(|_| clause.rows.is_some()) else { return };
        let mut at = from;
        self.next = loop {
            let (first, end) = shape.holding(at)[0];
            if first > newest {
                break None;
            }
            let counted = since.max(self.begins.unwrap_or(since)).max(self.counted.unwrap_or(since));
            if end - 1 - counted > SILENT_WINDOWS * shape.every {
                self.stopped = true;
                break None;
            }
            if self.begins.is_none_or(|begins| first >= begins) {
                break Some((first, end - 1));
            }
            at = end;
        };
    }

    /// When the next window closes, and for which key; the empty one stands for all rows.
    pub fn timer(&self) -> Option<(i64, Key)> {
        let of_rows = self.next.map(|(_, last)| (last, Key::new()));
        let open = self.windows.iter().filter(|w| !w.closed).map(|w| (w.last, w.key.clone()));
        let mut all: Vec<(i64, Key)> = open.chain(of_rows).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| value::key_order(&a.1, &b.1)));
        all.into_iter().next()
    }
}

/// What the names mean when a window closes.
pub fn scope<'s>(
    rule: &'s Rule<'s>,
    key: &'s Key,
    world: &'s World<'s>,
    current: &'s Rc<Event>,
    now: i64,
) -> Scope<'s> {
    Scope { world, rule, key, bound: &[], candidate: None, current, now, counted: None, element: None, used: None }
}

/// No event is at hand: the last one that came tells where in the stream it is.
pub fn at_hand(world: &World<'_>) -> Rc<Event> {
    let nothing = || {
        let (ty, data) = (String::new(), world.data.clone());
        Rc::new(Event {
            ty,
            at: i64::MIN,
            line: 0,
            clock: i64::MIN,
            late: false,
            place: 0,
            data,
            fields: BTreeMap::new(),
        })
    };
    world.history.last().cloned().unwrap_or_else(nothing)
}
