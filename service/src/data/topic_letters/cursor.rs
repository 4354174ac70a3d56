//! Places in the topics of dead letters, as text: ids, and how far a list was read.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Which of the two topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// That of messages that are no event.
    Dead,
    /// That of events that came late or too far ahead.
    Late,
}

/// A partition of one of the topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The topic.
    pub which: Which,
    /// The partition.
    pub partition: i32,
}

/// A dead letter: `late.0.17` has the offset 17 in the partition 0 of the topic of late events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// Its partition.
    pub place: Place,
    /// Its offset.
    pub offset: i64,
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Id, String> {
        let read = || {
            let (which, rest) = text.split_once('.')?;
            let which = match which {
                "dead" => Which::Dead,
                "late" => Which::Late,
                _ => return None,
            };
            let (partition, offset) = rest.split_once('.')?;
            let (partition, offset) = (partition.parse::<u16>().ok()?, offset.parse::<u64>().ok()?);
            let place = Place { which, partition: i32::from(partition) };
            Some(Id { place, offset: i64::try_from(offset).ok().filter(|offset| *offset < i64::MAX)? })
        };
        read().ok_or_else(|| format!("`{text}` is no id of a dead letter; take one of the list"))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let which = match self.place.which {
            Which::Dead => "dead",
            Which::Late => "late",
        };
        write!(f, "{which}.{}.{}", self.place.partition, self.offset)
    }
}

/// How far each partition was read: the ids of the last messages, with commas between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor(BTreeMap<Place, i64>);

impl Cursor {
    /// The offset of the last message that was read of a partition.
    pub fn get(&self, place: Place) -> Option<i64> {
        self.0.get(&place).copied()
    }

    /// A partition was read to before an offset.
    pub fn pass(&mut self, place: Place, next: i64) {
        if next > 0 {
            self.0.insert(place, next - 1);
        }
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Cursor, String> {
        let ids = text.split(',').filter(|id| !id.is_empty());
        let places = ids.map(|id| id.parse::<Id>().map(|id| (id.place, id.offset))).collect::<Result<_, _>>()?;
        Ok(Cursor(places))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (place, offset)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", Id { place: *place, offset: *offset })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        for text in ["", "dead.0.17", "dead.0.17,dead.3.0,late.1.2"] {
            assert_eq!(text.parse::<Cursor>().expect("a place").to_string(), text);
        }
        for text in
            ["7.1", "dead.0", "dead.0.-1", "dead.x.1", "late.70000.1", "other.0.1", "dead.0.99999999999999999999"]
        {
            assert!(text.parse::<Id>().is_err(), "{text}");
        }
    }
}
