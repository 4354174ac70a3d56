//! One entry of a list, as text or as JSON.

use lapwing_dsl::value::{Type, Value};
use lapwing_engine::Millis;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{shown, such};
use crate::data::decode::field;

/// A value, and up to when it is on the list.
pub type Entry<'a> = (Value<'a>, Option<Millis>);

/// An entry with an end, as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WithEnd<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(borrow)]
    until: Option<&'a RawValue>,
}

/// Reads an entry as plain text. The error is a sentence.
pub fn from_text<'a>(text: &'a str, ty: &Type) -> Result<Value<'a>, String> {
    let wrong = || format!("`{}` is no {}", shown(text), such(ty));
    match (field::plain(text, ty), ty) {
        (Ok(value), _) => Ok(value),
        // An address is the network of itself.
        (Err(_), Type::Cidr) => field::plain(text, &Type::Ip).map_err(|_| wrong()),
        (Err(_), Type::Ip) if field::plain(text, &Type::Cidr).is_ok() => {
            Err(format!("{}; a list of networks is declared `of cidr`", wrong()))
        }
        _ => Err(wrong()),
    }
}

/// Reads an entry from JSON: a value, or `{"value":…,"until":…}`. The error is a sentence.
pub fn from_json<'a>(raw: &'a RawValue, ty: &Type) -> Result<Entry<'a>, String> {
    let text = raw.get();
    if !text.starts_with('{') {
        return Ok((value(text, ty)?, None));
    }
    let entry: WithEnd<'_> = serde_json::from_str(text).map_err(|_| {
        format!(
            "`{}` is no entry: write the value, or {{\"value\": …, \"until\": \"2026-01-31T10:00:00Z\"}}",
            shown(text)
        )
    })?;
    let until = entry.until.map(|raw| until_json(raw.get())).transpose()?.flatten();
    Ok((value(entry.value.get(), ty)?, until))
}

fn value<'a>(raw: &'a str, ty: &Type) -> Result<Value<'a>, String> {
    match field::read(raw, ty) {
        Ok(Value::Missing) => Err("an entry of a list is never null".to_owned()),
        Ok(value) => Ok(value),
        Err(_) => match field::text(raw) {
            // What is said of a text is said of the same in quotes.
            Ok(text) if raw.starts_with('"') => from_text(&text, ty).map(Value::into_static),
            _ => Err(format!("`{}` is no {}", shown(raw), such(ty))),
        },
    }
}

fn until_json(raw: &str) -> Result<Option<Millis>, String> {
    match field::read(raw, &Type::Timestamp) {
        Ok(Value::Timestamp(until)) => Ok(Some(until)),
        Ok(_) => Ok(None),
        Err(_) => Err(format!("`until` is a time, and `{}` is none: write 2026-01-31T10:00:00Z", shown(raw))),
    }
}

/// Reads the end of an entry; empty text is none.
pub fn until(text: &str) -> Result<Option<Millis>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    match field::plain(text, &Type::Timestamp) {
        Ok(Value::Timestamp(until)) => Ok(Some(until)),
        _ => Err(format!("`until` is a time, and `{}` is none: write 2026-01-31T10:00:00Z", shown(text))),
    }
}
