//! What a message has beside its value, as members of its object.
//!
//! The key of a message is read under the path `kafka.key`, a header under `kafka.headers.NAME`, and `kafka.topic`, `kafka.partition`, `kafka.offset`
//! and `kafka.timestamp` (milliseconds since 1970) too. They are written behind what the value has, flat, so that nobody who writes values can
//! pretend others. A header that names the type of an event stands in front: the value's own `type` counts before it.

use serde::Serialize;

use crate::data::decode::plan::BESIDE;
use crate::data::kafka::Message;

/// Writes the object of a message with what it has beside it: `all` of it, or only the type that a header names. Not where its value is no object.
pub fn dress(message: &Message<'_>, topic: &str, type_header: Option<&str>, all: bool, into: &mut Vec<u8>) -> bool {
    let value = message.payload().unwrap_or_default().trim_ascii();
    let Some(members) = value.strip_prefix(b"{").and_then(|value| value.strip_suffix(b"}")) else { return false };
    into.push(b'{');
    let mut first = true;
    if let Some(kind) = type_header.and_then(|name| header(message, name)) {
        push(into, &mut first, "type", kind);
    }
    if !members.trim_ascii().is_empty() {
        if !first {
            into.push(b',');
        }
        first = false;
        into.extend_from_slice(members);
    }
    if all {
        member(into, &mut first, "topic", topic);
        member(into, &mut first, "partition", &message.partition());
        member(into, &mut first, "offset", &message.offset());
        if let Some(time) = message.timestamp() {
            member(into, &mut first, "timestamp", &time);
        }
        if let Some(key) = message.key().and_then(text) {
            member(into, &mut first, "key", key);
        }
        for (name, value) in message.headers() {
            if let (Some(name), Some(value)) = (text(name), value.and_then(text)) {
                member(into, &mut first, &format!("headers.{name}"), value);
            }
        }
    }
    into.push(b'}');
    true
}

/// Writes what stands beside a value.
fn member(into: &mut Vec<u8>, first: &mut bool, name: &str, value: &(impl Serialize + ?Sized)) {
    push(into, first, &format!("{BESIDE}.{name}"), value);
}

fn push(into: &mut Vec<u8>, first: &mut bool, name: &str, value: &(impl Serialize + ?Sized)) {
    if !std::mem::take(first) {
        into.push(b',');
    }
    serde_json::to_writer(&mut *into, name).expect("a text can be written");
    into.push(b':');
    serde_json::to_writer(&mut *into, value).expect("numbers and texts can be written");
}

/// The last header of a name.
fn header<'m>(message: &Message<'m>, wanted: &str) -> Option<&'m str> {
    message.headers().filter(|(name, _)| *name == wanted.as_bytes()).last().and_then(|(_, value)| text(value?))
}

/// What is not UTF-8 is missing.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
