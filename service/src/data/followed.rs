//! The alerts of committed epochs, for those who hand them on: a follower keeps its place, and goes on from there after a restart.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::log::embedded::{Durable, Log};
use super::log::frame::Record;
use super::log::segments::{ReadError, Reader};

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The alerts of an epoch, at least one, as JSON lines. From the same place on these are always the same.
    Alerts(Vec<u8>),
    /// All that is committed was given.
    Nothing,
    /// Alerts went before they were given; next come the oldest that are left.
    Gone {
        /// How many, where that is known.
        lost: Option<u64>,
    },
}

/// Where alerts are read that were committed.
pub trait Followed: Send + 'static {
    /// Where a follower stands.
    type Place: Copy + Debug + Serialize + DeserializeOwned + Send + 'static;

    /// The place in front of all that are kept.
    fn oldest(&self) -> Self::Place;

    /// The place behind all that is committed now.
    fn newest(&self) -> Self::Place;

    /// The place behind what was given last.
    fn place(&self) -> Self::Place;

    /// Goes on from a place.
    fn go_on_from(&mut self, place: Self::Place);

    /// What comes next; where there is nothing it waits, at most about so long.
    ///
    /// # Errors
    /// It cannot be read now; the text says why. The place stays.
    fn next(&mut self, wait: Duration) -> Result<Next, String>;
}

/// Reads the embedded log. It holds nobody up: the log may end while it is there.
pub struct FollowedLog {
    reader: Reader,
    durable: Arc<Durable>,
    /// How many alerts the log had before the reader's place, where that is known.
    alerts: Option<u64>,
}

/// A place in the embedded log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct LogPlace {
    /// Everything in the log before it was given.
    place: u64,
    /// How many alerts that were since the log began, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alerts: Option<u64>,
}

impl FollowedLog {
    /// Reads a log, from the oldest that it has.
    pub fn new(log: &Log) -> FollowedLog {
        let (place, progress) = log.read_from(0).began();
        FollowedLog { reader: log.read_from(place), durable: log.durable().clone(), alerts: Some(progress.alerts) }
    }

    /// Alerts of the next epoch before `end` that has any.
    fn before(&mut self, end: u64) -> Result<Option<Next>, String> {
        loop {
            match self.reader.next(end) {
                Ok(Some((_, frame))) => {
                    let Record::Epoch(epoch) = frame.record else { continue };
                    let count = memchr::memchr_iter(b'\n', epoch.alerts).count() as u64;
                    self.alerts = Some(epoch.alerts_before + count);
                    if count > 0 {
                        return Ok(Some(Next::Alerts(epoch.alerts.to_vec())));
                    }
                }
                Ok(None) => return Ok(None),
                Err(ReadError::Gone { .. }) => {
                    let (place, progress) = self.reader.began();
                    let lost = self.alerts.map(|alerts| progress.alerts.saturating_sub(alerts));
                    self.go_on_from(LogPlace { place, alerts: Some(progress.alerts) });
                    // What went may have been events alone.
                    if lost != Some(0) {
                        return Ok(Some(Next::Gone { lost }));
                    }
                }
                Err(e) => return Err(e.to_string()),
            }
        }
    }
}

impl Followed for FollowedLog {
    type Place = LogPlace;

    fn oldest(&self) -> LogPlace {
        let (place, progress) = self.reader.began();
        LogPlace { place, alerts: Some(progress.alerts) }
    }

    fn newest(&self) -> LogPlace {
        LogPlace { place: self.durable.place(), alerts: None }
    }

    fn place(&self) -> LogPlace {
        LogPlace { place: self.reader.place(), alerts: self.alerts }
    }

    fn go_on_from(&mut self, place: LogPlace) {
        self.reader.go_to(place.place);
        self.alerts = place.alerts;
    }

    fn next(&mut self, wait: Duration) -> Result<Next, String> {
        let end = self.durable.place();
        if let Some(next) = self.before(end)? {
            return Ok(next);
        }
        let end = self.durable.wait_beyond(end, wait);
        Ok(self.before(end)?.unwrap_or(Next::Nothing))
    }
}
