//! A dead letter as it stands in its topic: the message byte for byte, and behind its headers those that say why it is there.

use lapwing_engine::Millis;

use super::Id;
use crate::data::dead_letters::{KINDS, Kind};
use crate::data::kafka::Message;

/// The header that names the dead letter: of a marker, and of a message that was put in again.
pub(super) const REDRIVEN: &str = "lapwing_redriven";

/// A message that was read and gave no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Which.
    pub id: Id,
    /// When that was committed, in milliseconds since 1970.
    pub at: Millis,
    /// Why it gave no event, in a word.
    pub kind: Kind,
    /// The same in a sentence.
    pub reason: String,
    /// The topic it came from, or the file.
    pub topic: String,
    /// The partition it came from.
    pub partition: i32,
    /// Its offset there, or the number of its line.
    pub offset: u64,
    /// Its time, where it has one.
    pub timestamp: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub payload: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// How many bytes its value has where only the first of them are here.
    pub whole: Option<u64>,
}

impl Letter {
    /// A message as a dead letter, where it is one.
    pub(super) fn read(id: Id, message: &Message<'_>) -> Option<Letter> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut headers: Vec<(String, Option<Vec<u8>>)> =
            message.headers().map(|(name, value)| (text(name), value.map(<[u8]>::to_vec))).collect();
        // Behind its own: what it pretends itself does not count.
        let begin = headers.iter().rposition(|(name, _)| name == "lapwing_kind")?;
        let told = headers.split_off(begin);
        let header = |name: &str| {
            let found = told.iter().find(|(known, _)| known == name);
            found.and_then(|(_, value)| std::str::from_utf8(value.as_deref()?).ok())
        };
        let kind = header("lapwing_kind")?;
        Some(Letter {
            id,
            at: message.timestamp().unwrap_or(0),
            kind: KINDS.iter().find(|(name, _)| *name == kind)?.1,
            reason: header("lapwing_reason")?.to_owned(),
            topic: header("lapwing_topic")?.to_owned(),
            partition: header("lapwing_partition")?.parse().ok()?,
            offset: header("lapwing_offset")?.parse().ok()?,
            timestamp: header("lapwing_timestamp").and_then(|time| time.parse().ok()),
            key: message.key().map(<[u8]>::to_vec),
            payload: message.payload().map(<[u8]>::to_vec),
            headers,
            whole: header("lapwing_bytes").and_then(|bytes| bytes.parse().ok()),
        })
    }

    /// About how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        let of = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + of(value)).sum();
        of(&self.key) + of(&self.payload) + headers + self.reason.len() + 256
    }
}

/// The dead letter that a marker tells of, where a message is one.
pub(super) fn marked(message: &Message<'_>) -> Option<Id> {
    let mut found = None;
    for (name, value) in message.headers() {
        match name {
            b"lapwing_kind" => return None,
            _ if name == REDRIVEN.as_bytes() => found = std::str::from_utf8(value?).ok()?.parse().ok(),
            _ => {}
        }
    }
    found
}
