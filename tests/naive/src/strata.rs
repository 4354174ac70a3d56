//! Derived events: which rules stand above which, and where what the lower ones derive stands among the events of the log.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::Alert;
use crate::eval::World;
use crate::event::{DERIVED, Event};
use crate::rule::Rule;
use crate::run::Matcher;
use crate::select::Reported;
use crate::value::Value;

/// Where something stands: before or at an event of the log, and there in the order of these fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    /// The event of the log.
    pub index: usize,
    /// The deadline that comes before it; the greatest number for the event itself.
    pub deadline: i64,
    /// The change of rules that comes right after the deadline, counted from 1; 0 for none.
    pub change: usize,
    /// The stratum of the rule.
    pub stratum: u8,
    /// What the stratum is given there: the event, then what is derived, with even numbers for what time completes in between.
    pub given: u32,
}

impl Default for Tag {
    fn default() -> Self {
        Tag { index: 0, deadline: i64::MAX, change: 0, stratum: 0, given: 0 }
    }
}

/// An event as a stratum is given it.
pub struct Item {
    /// The generation that judges it.
    pub generation: usize,
    /// The event.
    pub event: Event,
    /// Where it stands.
    pub tag: Tag,
    /// Time, once it has come.
    pub clock: i64,
}

/// What a stratum makes.
#[derive(Default)]
pub struct Made {
    /// Alerts, each with its place.
    pub alerts: Vec<(Tag, Alert)>,
    /// Events.
    pub derived: Vec<Item>,
}

/// The events of the log.
pub fn of_the_log(events: Vec<(usize, Event)>, lateness: i64) -> Vec<Item> {
    let mut clock = i64::MIN;
    let item = |(index, (generation, event)): (usize, (usize, Event))| {
        // A late one carries the time at which it comes.
        clock = clock.max(event.clock.saturating_sub(lateness));
        Item { generation, event, tag: Tag { index, ..Tag::default() }, clock }
    };
    events.into_iter().enumerate().map(item).collect()
}

/// Puts derived events among the others: directly after what completed their match.
pub fn with(mut items: Vec<Item>, mut derived: Vec<Item>) -> Vec<Item> {
    for (item, number) in derived.iter_mut().zip(items.len()..) {
        item.event.line = DERIVED + number;
    }
    items.append(&mut derived);
    // Stable: the event of the log stands before what it completes, what is derived first before what is derived then.
    items.sort_by_key(|item| (item.tag.index, item.tag.deadline, item.tag.stratum, item.tag.given));
    items
}

/// What each event is in its place: 1, 3, 5, …
pub fn given(items: &[Item]) -> Vec<u32> {
    let mut all: Vec<u32> = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let same = |before: &Item| (before.tag.index, before.tag.deadline) == (item.tag.index, item.tag.deadline);
        let before = i.checked_sub(1).filter(|b| same(&items[*b]));
        all.push(before.map_or(1, |b| all[b] + 2));
    }
    all
}

/// The stratum of each rule.
pub fn of_rules(rules: &[Rule<'_>]) -> Vec<u8> {
    let mut strata = vec![0u8; rules.len()];
    // As often as there are rules: no chain is longer.
    for _ in rules {
        for (i, rule) in rules.iter().enumerate() {
            for (j, maker) in rules.iter().enumerate() {
                let makes = maker.emit.and_then(|emit| emit.into.as_ref());
                if makes.is_some_and(|ty| rule.reads(&ty.text)) {
                    strata[i] = strata[i].max(strata[j] + 1);
                }
            }
        }
    }
    strata
}

/// The event that a match becomes; none where a field that must be there is missing. `past` is the world as it was when it was complete.
pub fn derive(matcher: Matcher<'_, '_>, reported: &Reported<'_>, past: &World<'_>) -> Option<Event> {
    let emit = matcher.rule.emit?;
    let ty = emit.into.as_ref()?;
    let decl = past.types.iter().find(|t| t.name.text == ty.text)?;
    let done = &reported.done;
    let matcher = Matcher { world: past, ..matcher };
    let scope = matcher.match_scope(&done.bound, done.now);
    let mut fields = BTreeMap::new();
    for field in &decl.fields {
        let given = emit.fields.iter().find(|(name, _)| name.text == field.name.text);
        let value = given.map_or(Value::Missing, |(_, expr)| scope.eval(expr));
        let value = match (field.ty.name.text.as_str(), value) {
            ("float", Value::Int(v)) => Value::Float(v as f64),
            ("decimal", Value::Int(v)) => Value::Decimal(v.into()),
            // Only a literal can be a float there; it stands for itself.
            ("decimal", Value::Float(v)) => v.to_string().parse().map_or(Value::Missing, Value::Decimal),
            ("timestamp", Value::Missing) if given.is_none() => Value::Timestamp(done.at),
            (_, value) => value,
        };
        if value.is_missing() && !field.ty.optional {
            return None;
        }
        fields.insert(field.name.text.clone(), value);
    }
    Some(Event {
        ty: ty.text.clone(),
        at: done.at,
        line: 0,
        clock: done.at,
        late: false,
        place: 0,
        data: Rc::default(),
        fields,
    })
}
