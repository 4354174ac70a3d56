//! What windows are worth: the counted events of each, picked out of all that were processed.

use std::rc::Rc;

use lapwing_dsl::syntax::ast::{By, Call, Expr, Window, WindowKind};

use crate::aggregates;
use crate::calendar::Shape;
use crate::eval::{Scope, World, decimal_literal, find_name};
use crate::event::Event;
use crate::kept::is_own_key;
use crate::rule::{Key, key_by, optional_parts};
use crate::value::{self, Value};
use crate::windows;

impl Scope<'_> {
    /// `AGG(type.expr where COND) by field over W`
    pub fn over(&self, call: &Call) -> Value {
        let window = call.over.as_ref().expect("the caller saw it");
        if windows::is_sampled(call) {
            let input = |e: &&Rc<Event>| !e.late && self.rule.names(&e.ty) && self.rule.keys(e).contains(self.key);
            let inside = self.inside(window, self.held(call).into_iter().filter(input).collect());
            return aggregates::correlation(inside.into_iter().map(|event| self.sample(call, event)).collect());
        }
        let is_type = |name: &str| self.world.types.iter().any(|t| t.name.text == name);
        let Some(ty) = call.args.iter().find_map(|a| find_name(&a.value, &is_type)) else { return Value::Missing };
        let own = |by: &&By| is_own_key(self.rule, call, by);
        let by = call.by.as_ref().filter(|by| !own(by)).map(|by| (by, by_values(by, self.current)));
        if by.as_ref().is_some_and(|(_, values)| values.is_none()) {
            return Value::Missing;
        }
        let counts = |event: &&Rc<Event>| {
            let in_key = match &by {
                Some((by, wanted)) => by_values(by, event).is_some() && by_values(by, event) == *wanted,
                None => self.stands_in_key(event),
            };
            let scope = Scope { counted: Some(event), ..*self };
            event.ty == ty && in_key && call.filter.as_ref().is_none_or(|c| scope.eval(c).truth() == Some(true))
        };
        let counted: Vec<&Rc<Event>> = self.held(call).into_iter().filter(counts).collect();
        let inside = self.inside(window, counted);
        if call.name.text == "rate" {
            return self.rate(&inside, window);
        }
        let values = inside.iter().map(|event| Scope { counted: Some(event), ..*self }.counted_value(call)).collect();
        let number = call.args.get(1).map(|a| self.eval(&a.value)).unwrap_or(Value::Missing);
        match call.name.text.as_str() {
            "list" => aggregates::last_of(values, &number),
            "median" => aggregates::quantile(values, rust_decimal::Decimal::new(5, 1)),
            "quantile" => aggregates::quantile(values, written(&call.args[1].value)),
            "ema" => aggregates::moving_average(values, &number),
            "topk" => aggregates::most_frequent(values, &number),
            "corr" => aggregates::correlation(values),
            "approx_distinct" => aggregates::fold("distinct", values, Value::Missing),
            name => aggregates::fold(name, values, self.zero(call)),
        }
    }

    /// Those of the counted events that a window holds.
    fn inside<'e>(&self, window: &Window, counted: Vec<&'e Rc<Event>>) -> Vec<&'e Rc<Event>> {
        match &window.kind {
            WindowKind::Sliding(length) => self.sliding(counted, length.ms, window.offset.map(|o| o.ms)),
            WindowKind::Tumbling(_) | WindowKind::Hopping(..) => self.aligned(counted, window),
            WindowKind::Session(gap) => self.session(counted, gap.ms),
            WindowKind::Last(n) => counted[counted.len().saturating_sub(*n as usize)..].to_vec(),
            WindowKind::Delta(of, percent) => {
                self.since_it_moved(counted, of, percent.text.parse().unwrap_or_default())
            }
        }
    }

    /// What the arguments of a call were worth when an event had come.
    fn sample(&self, call: &Call, event: &Rc<Event>) -> Value {
        let World { types, history, lateness, windows, .. } = self.world;
        let past = World {
            types: types.clone(),
            history: history[..=event.place].to_vec(),
            clock: self.clock_of(event.place),
            lateness: *lateness,
            windows: windows.clone(),
            data: event.data.clone(),
        };
        let nothing = Scope { bound: &[], candidate: None, counted: None, element: None, used: None, ..*self };
        Scope { world: &past, current: event, now: event.at, ..nothing }.counted_value(call)
    }

    /// Up to so long ago, in order of time.
    fn sliding<'e>(&self, counted: Vec<&'e Rc<Event>>, length: i64, offset: Option<i64>) -> Vec<&'e Rc<Event>> {
        let in_time = |event: &&'e Rc<Event>| {
            let age = self.now - event.at;
            let near = match offset {
                None => age <= length,
                Some(offset) => offset < age && age <= offset + length,
            };
            near && !self.has_gone(event, offset.unwrap_or(0) + length)
        };
        in_order_of_time(counted.into_iter().filter(in_time).collect())
    }

    /// In that window which closes first of those that hold now, or the clock where that is ahead.
    fn aligned<'e>(&self, counted: Vec<&'e Rc<Event>>, window: &Window) -> Vec<&'e Rc<Event>> {
        let shape = Shape::of(window).expect("a window of the calendar");
        let (begin, end) = self.calendar_window(&shape, window);
        let past = |at: i64| window.offset.is_none_or(|offset| at < shape.ago(self.now, offset.ms));
        let inside = |event: &&'e Rc<Event>| begin <= event.at && event.at < end && past(event.at);
        in_order_of_time(counted.into_iter().filter(inside).collect())
    }

    fn calendar_window(&self, shape: &Shape, window: &Window) -> (i64, i64) {
        let latest = self.now.max(self.clock_of(self.current.place));
        shape.holding(shape.ago(latest, window.offset.map_or(0, |o| o.ms)))[0]
    }

    /// Events a second.
    fn rate(&self, events: &[&Rc<Event>], window: &Window) -> Value {
        let (n, time) = match (&window.kind, events) {
            (WindowKind::Sliding(length), _) => (events.len(), length.ms),
            (WindowKind::Tumbling(_) | WindowKind::Hopping(..), _) => {
                let shape = Shape::of(window).expect("a window of the calendar");
                let (begin, end) = self.calendar_window(&shape, window);
                (events.len(), end - begin)
            }
            (_, [first, .., last]) => (events.len() - 1, last.at - first.at),
            _ => return Value::Missing,
        };
        if time > 0 { Value::Float(n as f64 * 1000.0 / time as f64) } else { Value::Missing }
    }

    /// The session that now stands in. Event by event, as they were processed: what the clock has passed is gone.
    fn session<'e>(&self, counted: Vec<&'e Rc<Event>>, gap: i64) -> Vec<&'e Rc<Event>> {
        let mut held: Vec<&'e Rc<Event>> = Vec::new();
        let live = |held: Vec<&'e Rc<Event>>, clock: i64| -> Vec<Vec<&'e Rc<Event>>> {
            let held = in_order_of_time(held);
            let sessions = held.chunk_by(|a, b| b.at - a.at <= gap).map(<[_]>::to_vec);
            sessions.filter(|s| s[s.len() - 1].at + gap >= clock).collect()
        };
        for event in counted {
            held = live(held, self.clock_of(event.place)).concat();
            held.push(event);
        }
        let sessions = live(held, self.clock_of(self.current.place));
        // The last event up to now, else the next one.
        let before = sessions.iter().flatten().rfind(|e| e.at <= self.now && self.now - e.at <= gap);
        let next = sessions.iter().flatten().find(|e| e.at > self.now && e.at - self.now <= gap);
        let of = |event: &Rc<Event>| sessions.iter().find(|s| s.iter().any(|e| e.place == event.place)).cloned();
        before.or(next).and_then(|event| of(event)).unwrap_or_default()
    }

    /// The events since a value last moved, the one with which it did included.
    fn since_it_moved<'e>(
        &self,
        counted: Vec<&'e Rc<Event>>,
        of: &Expr,
        percent: rust_decimal::Decimal,
    ) -> Vec<&'e Rc<Event>> {
        let mut since: Vec<&'e Rc<Event>> = Vec::new();
        let mut began_with = Value::Missing;
        for event in counted {
            let value = Scope { counted: Some(event), ..*self }.eval(of);
            if aggregates::has_moved(&began_with, &value, percent) {
                since.clear();
                began_with = Value::Missing;
            }
            if began_with.is_missing() {
                began_with = value;
            }
            since.push(event);
        }
        since
    }

    /// The clock once the event of this place had come, by which windows go: it stands the rule's lateness behind.
    fn clock_of(&self, place: usize) -> i64 {
        let clock = self.world.history.iter().take(place + 1).map(|e| e.clock).max().unwrap_or(i64::MIN);
        clock.saturating_sub(self.rule.lateness)
    }

    /// Whether the clock had passed an event's end in a window of this length when the current event came, which may be behind the clock.
    fn has_gone(&self, event: &Event, length: i64) -> bool {
        self.clock_of(self.current.place).saturating_sub(event.at) > length
    }

    /// The events that a window holds, whatever their types and keys.
    fn held(&self, call: &Call) -> Vec<&Rc<Event>> {
        let candidate = self.candidate.map(|(event, _)| event.ty.as_str());
        let name = windows::name(self.rule, call, candidate, &self.world.types);
        let held = self.world.windows.get(&name.whole()).expect("the rule set has the windows of its rules");
        let history = self.world.history.get(held.from..).unwrap_or_default();
        let forgotten = |e: &&Rc<Event>| held.forgotten.iter().any(|(place, at)| e.place < *place && e.at < *at);
        // What goes by the order of processing takes no event that came late.
        let seen = |e: &&Rc<Event>| !e.late || windows::goes_by_time(call) && self.rule.lateness > 0;
        history.iter().filter(|e| !forgotten(e) && seen(e)).collect()
    }

    /// Whether the event counts for the rule's key.
    fn stands_in_key(&self, event: &Event) -> bool {
        if self.rule.names(&event.ty) {
            self.rule.keys(event).contains(self.key)
        } else {
            self.rule.key(event).as_ref() == Some(self.key)
        }
    }

    /// `first_seen(country where success) over 30d`
    pub fn first_seen(&self, call: &Call) -> Value {
        let event = self.candidate.map_or(self.current, |(candidate, _)| candidate);
        let Some(WindowKind::Sliding(length)) = call.over.as_ref().map(|w| &w.kind) else { return Value::Missing };
        let wanted = Scope { counted: Some(event), ..*self }.counted_value(call);
        if wanted.is_missing() {
            return Value::Missing;
        }
        let seen = self.held(call).into_iter().any(|earlier| {
            let scope = Scope { counted: Some(earlier), ..*self };
            earlier.place < event.place
                && earlier.ty == event.ty
                && self.now - earlier.at <= length.ms
                && !self.has_gone(earlier, length.ms)
                && self.stands_in_key(earlier)
                && call.filter.as_ref().is_none_or(|c| scope.eval(c).truth() == Some(true))
                && value::same(&scope.counted_value(call), &wanted)
        });
        Value::Bool(!seen)
    }

    /// `lag(amount, n)`
    pub fn lag(&self, call: &Call) -> Value {
        let event = self.candidate.map_or(self.current, |(candidate, _)| candidate);
        let back = match call.args.get(1).map(|a| self.eval(&a.value)) {
            None => 1,
            Some(Value::Int(n)) if n >= 0 => n as usize,
            Some(_) => return Value::Missing,
        };
        let mut earlier = self
            .held(call)
            .into_iter()
            .rev()
            .filter(|e| e.place <= event.place && e.ty == event.ty && self.rule.keys(e).contains(self.key));
        earlier.nth(back).map_or(Value::Missing, |e| Scope { counted: Some(e), ..*self }.eval(&call.args[0].value))
    }
}

fn in_order_of_time(mut events: Vec<&Rc<Event>>) -> Vec<&Rc<Event>> {
    events.sort_by_key(|e| e.at);
    events
}

fn written(number: &Expr) -> rust_decimal::Decimal {
    match decimal_literal(number) {
        Some(Value::Decimal(d)) => d,
        _ => rust_decimal::Decimal::ZERO,
    }
}

fn by_values(by: &By, event: &Event) -> Option<Key> {
    key_by(by, &optional_parts(&[by]), event)
}
