//! Events: what a JSON object becomes under the declarations of its type.

use std::collections::BTreeMap;
use std::rc::Rc;

use lapwing_dsl::syntax::ast::{EventDecl, FieldDecl, Literal};
use rust_decimal::Decimal;
use serde_json::Value as Json;

use crate::data::Data;
use crate::value::Value;

/// From this line number on events are derived.
pub const DERIVED: usize = 1 << 40;

/// One event of one type.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its type.
    pub ty: String,
    /// Its time in milliseconds.
    pub at: i64,
    /// The input line it came from; for a derived event its number from [`DERIVED`] on.
    pub line: usize,
    /// Time once it has come.
    pub clock: i64,
    /// Whether it came behind the watermark: only rules with a `lateness` see it.
    pub late: bool,
    /// Its place in the order of processing.
    pub place: usize,
    /// Lists and tables as of its place.
    pub data: Rc<Data>,
    /// Its fields, missing ones included.
    pub fields: BTreeMap<String, Value>,
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        crate::value::same(self, other)
    }
}

impl Event {
    /// A field's value; missing where there is no such field.
    pub fn field(&self, name: &str) -> Value {
        self.fields.get(name).cloned().unwrap_or(Value::Missing)
    }
}

impl Event {
    /// The same at another time.
    pub fn moved_to(mut self, decl: &EventDecl, at: i64) -> Event {
        let is_time = |f: &&FieldDecl| f.ty.name.text == "timestamp";
        let named = decl.fields.iter().filter(is_time).find(|f| f.name.text == "at");
        if let Some(field) = named.or_else(|| decl.fields.iter().find(is_time)) {
            self.fields.insert(field.name.text.clone(), Value::Timestamp(at));
        }
        Event { at, clock: at, ..self }
    }
}

/// What a JSON object is under one declaration.
pub enum Decoded {
    /// Not this type.
    Other,
    /// This type, but a required field is missing or unreadable.
    Rejected,
    /// An event, its place not yet known.
    Event(Event),
}

/// Reads a JSON object as an event of the declared type.
pub fn decode(decl: &EventDecl, json: &Json, line: usize) -> Decoded {
    if !is_of_type(decl, json) {
        return Decoded::Other;
    }
    let mut fields = BTreeMap::new();
    let mut at = None;
    for field in &decl.fields {
        let value = read_field(field, json);
        if value.is_missing() && !field.ty.optional {
            return Decoded::Rejected;
        }
        if let (None, "timestamp", Value::Timestamp(ms)) = (at, field.ty.name.text.as_str(), &value) {
            at = Some(*ms);
        }
        fields.insert(field.name.text.clone(), value);
    }
    if let Some(Value::Timestamp(ms)) = fields.get("at") {
        at = Some(*ms);
    }
    let Some(at) = at else { return Decoded::Rejected };
    Decoded::Event(Event {
        ty: decl.name.text.clone(),
        at,
        line,
        clock: at,
        late: false,
        place: 0,
        data: Rc::default(),
        fields,
    })
}

fn is_of_type(decl: &EventDecl, json: &Json) -> bool {
    let Some(source) = &decl.source else {
        return json.get("type").and_then(Json::as_str) == Some(&decl.name.text);
    };
    let Some(found) = at_path(json, &source.path.value) else { return false };
    source.values.iter().any(|wanted| match (wanted, found) {
        (Literal::Bool(b), Json::Bool(f)) => b == f,
        (Literal::Bool(b), Json::String(f)) => b.to_string() == *f,
        (Literal::Int(i), Json::Number(f)) => f.as_i64() == Some(*i),
        (Literal::Int(i), Json::String(f)) => i.to_string() == *f,
        (Literal::Text(t), Json::String(f)) => t == f,
        (Literal::Text(t), Json::Number(f)) => *t == f.to_string(),
        (Literal::Text(t), Json::Bool(f)) => *t == f.to_string(),
        _ => false,
    })
}

/// A field of an event, or a column of a row.
pub fn read_field(field: &FieldDecl, json: &Json) -> Value {
    let ty = field.ty.name.text.as_str();
    if ty == "geo" && field.from.len() == 2 {
        let part = |i: usize| at_path(json, &field.from[i].value).and_then(|j| scalar("float", j));
        return match (part(0), part(1)) {
            (Some(Value::Float(lat)), Some(Value::Float(lon))) => geo(lat, lon),
            _ => Value::Missing,
        };
    }
    let path = field.from.first().map_or(&field.name.text, |p| &p.value);
    if ty == "list" {
        let element = field.ty.element.as_ref().map_or("string", |e| e.text.as_str());
        return read_list(json, path, element).map_or(Value::Missing, Value::List);
    }
    at_path(json, path).and_then(|j| scalar(ty, j)).unwrap_or(Value::Missing)
}

/// `target[].id` collects from every element; an element that is unreadable makes the whole list so.
fn read_list(json: &Json, path: &str, element: &str) -> Option<Vec<Value>> {
    let (before, after) = match path.split_once("[]") {
        Some((before, after)) => (before, after.trim_start_matches('.')),
        None => (path, ""),
    };
    let items = at_path(json, before)?.as_array()?;
    let read = |item: &Json| {
        let item = if after.is_empty() { Some(item) } else { at_path(item, after) };
        item.and_then(|j| scalar(element, j))
    };
    items.iter().map(read).collect()
}

/// The value at a dotted path. A name with dots in it is tried whole first.
fn at_path<'j>(json: &'j Json, path: &str) -> Option<&'j Json> {
    if let Some(whole) = json.get(path) {
        return Some(whole).filter(|j| !j.is_null());
    }
    let mut here = json;
    for part in path.split('.') {
        here = match here {
            Json::Array(items) => items.get(part.parse::<usize>().ok()?)?,
            _ => here.get(part)?,
        };
    }
    Some(here).filter(|j| !j.is_null())
}

/// A JSON value as one of a type.
pub fn scalar(ty: &str, json: &Json) -> Option<Value> {
    let text = match json {
        Json::String(t) => t.clone(),
        Json::Number(n) => n.to_string(),
        Json::Bool(b) => b.to_string(),
        _ if ty == "geo" => String::new(),
        _ => return None,
    };
    Some(match ty {
        "string" => Value::Text(text),
        "bool" => Value::Bool(text.parse().ok()?),
        "int" => Value::Int(text.parse().ok()?),
        "float" => Value::Float(text.parse::<f64>().ok().filter(|f| f.is_finite())?),
        "decimal" => Value::Decimal(decimal(&text)?),
        "ip" => Value::Ip(text.parse().ok()?),
        "cidr" => {
            let (ip, bits) = text.split_once('/')?;
            Value::Cidr(ip.parse().ok()?, bits.parse().ok()?)
        }
        "timestamp" => Value::Timestamp(timestamp(json)?),
        "duration" => Value::Duration(text.parse().ok()?),
        "geo" => return geo_of(json),
        _ => return None,
    })
}

fn decimal(text: &str) -> Option<Decimal> {
    text.parse().ok().or_else(|| Decimal::from_scientific(text).ok())
}

/// RFC 3339, UTC where no zone is written, or whole milliseconds.
pub fn timestamp(json: &Json) -> Option<i64> {
    match json {
        Json::Number(n) => n.as_i64(),
        Json::String(t) => {
            if let Ok(t) = t.parse::<jiff::Timestamp>() {
                return Some(t.as_millisecond());
            }
            let civil: jiff::civil::DateTime = t.parse().ok()?;
            Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
        }
        _ => None,
    }
}

fn geo_of(json: &Json) -> Option<Value> {
    let number = |j: &Json| scalar("float", j).and_then(|v| v.as_float());
    let (lat, lon) = match json {
        Json::Array(pair) if pair.len() == 2 => (number(&pair[0])?, number(&pair[1])?),
        Json::Object(_) => (number(json.get("lat")?)?, number(json.get("lon")?)?),
        _ => return None,
    };
    Some(geo(lat, lon))
}

fn geo(lat: f64, lon: f64) -> Value {
    if (-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon) { Value::Geo(lat, lon) } else { Value::Missing }
}
