//! JSON lines to rows.
//!
//! An object is each declared event whose discriminator it meets. A required field that is missing or unreadable rejects the
//! line with the reason; an optional one that is unreadable counts as missing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use lapwing_dsl::schema::{EventId, PathPart};
use lapwing_dsl::value::{Type, Value};
use lapwing_engine::batch::{Batch, Origin};
use serde_json::value::RawValue;

use super::field::{self, Unreadable};
use super::plan::{EventPlan, FieldPlan, Place, Plan};

/// Why a line was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reject {
    /// There is nothing: a record without a value.
    Empty,
    /// It is not a JSON object.
    NotJson(String),
    /// A required field is not there.
    Missing {
        /// The event type.
        event: String,
        /// The field.
        field: String,
    },
    /// A required field is not of its type.
    Unreadable {
        /// The event type.
        event: String,
        /// The field.
        field: String,
        /// Its type.
        ty: String,
        /// What stands there, cut to a few characters.
        found: String,
    },
    /// The line is longer than the limit.
    TooLong {
        /// Its bytes.
        given: usize,
        /// The limit.
        limit: usize,
    },
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reject::Empty => write!(f, "it has no value"),
            Reject::NotJson(why) => write!(f, "not a JSON object: {why}"),
            Reject::Missing { event, field } => write!(f, "event `{event}`: required field `{field}` is missing"),
            Reject::Unreadable { event, field, ty, found } => {
                write!(f, "event `{event}`: field `{field}` is not a {ty}: {found}")
            }
            Reject::TooLong { given, limit } => write!(f, "the line has {given} bytes, the limit is {limit}"),
        }
    }
}

/// What a line gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Rows added to the batch.
    pub rows: u32,
    /// Optional fields that were unreadable.
    pub unreadable: u32,
}

/// The most bytes of one line.
pub const LINE_BYTES_MAX: usize = 8 << 20;

/// Members of an object by name, their values as raw text.
type Members<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// Adds the events that a line holds to the batch; nothing where it is rejected.
pub fn decode(plan: &Plan, line: &[u8], origin: Origin, batch: &mut Batch) -> Result<Decoded, Reject> {
    if line.len() > LINE_BYTES_MAX {
        return Err(Reject::TooLong { given: line.len(), limit: LINE_BYTES_MAX });
    }
    let line =
        std::str::from_utf8(line).map_err(|e| Reject::NotJson(format!("not UTF-8 at byte {}", e.valid_up_to())))?;
    let members: Members<'_> = serde_json::from_str(line).map_err(|e| Reject::NotJson(e.to_string()))?;
    let mut decoded = Decoded::default();
    let mut events: Vec<EventId> = Vec::new();
    for discriminator in &plan.discriminators {
        let Some(raw) = find(&members, &discriminator.path) else { continue };
        let value =
            if raw.starts_with('"') { field::text(&raw).unwrap_or_default().into_owned() } else { raw.into_owned() };
        events.extend(discriminator.values.get(&value).into_iter().flatten());
    }
    events.sort_unstable();
    for event in events {
        let wanted = &plan.events[event.0 as usize];
        let result = read_event(wanted, event, &members, origin, batch);
        match result {
            Ok(unreadable) => {
                decoded.rows += 1;
                decoded.unreadable += unreadable;
            }
            Err(reject) => {
                for _ in 0..=decoded.rows {
                    batch.pop();
                }
                return Err(reject);
            }
        }
    }
    Ok(decoded)
}

/// Adds one event. On an error its row is still there, for the caller to take back.
fn read_event(
    plan: &EventPlan,
    event: EventId,
    members: &Members<'_>,
    origin: Origin,
    batch: &mut Batch,
) -> Result<u32, Reject> {
    batch.push(event, 0, origin);
    let mut unreadable = 0;
    if let Value::Timestamp(at) = read_field(plan, &plan.at, members, &mut unreadable)? {
        batch.set_at(at);
    }
    for field in plan.fields.iter().filter(|f| f.column.is_some() || !f.optional) {
        let value = read_field(plan, field, members, &mut unreadable)?;
        if let Some(column) = field.column {
            batch.set(column, value);
        }
    }
    Ok(unreadable)
}

fn read_field(
    event: &EventPlan,
    field: &FieldPlan,
    members: &Members<'_>,
    unreadable: &mut u32,
) -> Result<Value<'static>, Reject> {
    let (value, found) = match field.places.as_slice() {
        [lat, lon] if field.ty == Type::Geo => {
            let (lat, lon) = (find(members, lat), find(members, lon));
            match (&lat, &lon) {
                (Some(a), Some(b)) => (field::geo(a, b), format!("{a}, {b}")),
                _ => (Ok(Value::Missing), String::new()),
            }
        }
        [place, ..] => match find(members, place) {
            Some(raw) => (field::read(&raw, &field.ty).map(Value::into_static), raw.chars().take(40).collect()),
            None => (Ok(Value::Missing), String::new()),
        },
        [] => (Ok(Value::Missing), String::new()),
    };
    match value {
        Ok(Value::Missing) if !field.optional => {
            Err(Reject::Missing { event: event.name.clone(), field: field.name.clone() })
        }
        Ok(value) => Ok(value),
        Err(Unreadable) if field.optional => {
            *unreadable += 1;
            Ok(Value::Missing)
        }
        Err(Unreadable) => Err(Reject::Unreadable {
            event: event.name.clone(),
            field: field.name.clone(),
            ty: field.ty.to_string(),
            found,
        }),
    }
}

/// The raw value at a place: under its whole path as one name, or inside nested objects and arrays.
fn find<'a>(members: &Members<'a>, place: &Place) -> Option<Cow<'a, str>> {
    if let Some(value) = members.get(place.flat.as_str()) {
        return Some(Cow::Borrowed(value.get()));
    }
    let (PathPart::Member(first), rest) = place.path.0.split_first()? else { return None };
    if rest.is_empty() {
        return None;
    }
    inside(members.get(first.as_str())?.get(), rest)
}

fn inside<'a>(raw: &'a str, path: &[PathPart]) -> Option<Cow<'a, str>> {
    let Some((part, rest)) = path.split_first() else { return Some(Cow::Borrowed(raw)) };
    match (part, raw.as_bytes().first()) {
        (PathPart::Member(name), Some(b'{')) => {
            let members: Members<'a> = serde_json::from_str(raw).ok()?;
            inside(members.get(name.as_str())?.get(), rest)
        }
        (PathPart::Member(name), Some(b'[')) => {
            let items: Vec<&'a RawValue> = serde_json::from_str(raw).ok()?;
            inside(items.get(name.parse::<usize>().ok()?)?.get(), rest)
        }
        (PathPart::Each, Some(b'[')) => {
            let items: Vec<&'a RawValue> = serde_json::from_str(raw).ok()?;
            let found: Vec<Cow<'a, str>> = items.iter().filter_map(|i| inside(i.get(), rest)).collect();
            Some(Cow::Owned(format!("[{}]", found.join(","))))
        }
        _ => None,
    }
}
