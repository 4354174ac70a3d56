//! Which dead letters were put in again: the log says so, by the keys under which they came.

use std::collections::HashMap;

use super::super::log::embedded::Log;
use super::super::log::frame::Record;
use super::super::log::segments::{ReadError, Reader};
use super::Id;

/// What a key begins with. No sender's key has a line's end.
const KEY: &str = "redrive\n";

/// The key under which a line is put in again.
pub(super) fn key(id: Id) -> String {
    format!("{KEY}{id}")
}

/// Which dead letters were put in again, as far as the log was looked through.
#[derive(Default)]
pub(super) struct Redrives {
    /// The log was looked through from here.
    from: u64,
    /// Until here.
    until: u64,
    /// Numbers of the lines that came.
    offsets: HashMap<Id, u64>,
}

impl Redrives {
    /// Number of the line that a dead letter was put in again as, where it was.
    pub(super) fn get(&self, id: Id) -> Option<u64> {
        self.offsets.get(&id).copied()
    }

    /// Looks through the log from a place on, as far as that was not done.
    pub(super) fn look(&mut self, log: &Log, from: u64) -> Result<(), ReadError> {
        let end = log.durable().place();
        let reader = log.read_from(0);
        // Of a file: nobody has said that a record begins at the place.
        let (oldest, from) = (reader.oldest(), reader.file_of(from));
        if self.until == 0 {
            (self.from, self.until) = (from, from);
        }
        if from < self.from {
            self.pass(log.read_from(from), self.from)?;
            self.from = from;
        }
        // A line is put in behind its dead letter: where that is left it is left too.
        self.pass(log.read_from(self.until.max(oldest)), end)?;
        self.until = end;
        self.offsets.retain(|id, _| id.place >= oldest);
        Ok(())
    }

    fn pass(&mut self, mut reader: Reader, end: u64) -> Result<(), ReadError> {
        while let Some((_, frame)) = reader.next(end)? {
            if let Record::Events(events) = frame.record
                && let Some(id) = events.key.and_then(|key| key.strip_prefix(KEY)?.parse().ok())
            {
                self.offsets.insert(id, events.first);
            }
        }
        Ok(())
    }
}
