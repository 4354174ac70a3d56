//! What a matcher judges comes from an event log, and what that gave is committed to one.
//!
//! There are two: the embedded one ([`super::log`]) and Kafka ([`super::kafka_log`]). Both say in which order records were read, and what the outside
//! world decided in between, so that what was committed can be judged again with the same result. An epoch is what was handed out between two
//! commits: its alerts, what was not taken, and the place up to which all is judged are committed together or not at all.

use std::time::Duration;

use lapwing_engine::Millis;

use super::pipeline::{Input, Rejected};

/// What comes next.
#[derive(Debug)]
pub enum Next<'a> {
    /// Records.
    Events {
        /// The records.
        input: Input<'a>,
        /// The clock when they came, in milliseconds since 1970.
        reading: Millis,
    },
    /// A change of the catalog takes over.
    Change(u64),
    /// Time goes on without events.
    Time {
        /// As if an event of this time had come.
        greatest: Millis,
        /// The clock then, in milliseconds since 1970.
        reading: Millis,
    },
    /// A partition of a source is known from here on.
    Partition(u16, u16),
    /// A partition of a source holds time back no more until its next event.
    Idle(u16, u16),
    /// Nothing has come.
    Nothing,
}

/// A place in an event log: everything before it is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Where the log is read on from.
    pub offset: u64,
    /// Whatever else the log has to know; nothing for the embedded one.
    pub more: Vec<u8>,
}

/// Why a log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It cannot be read or written any more, and says why.
    Failed(String),
    /// Another instance has taken over: nothing of this one counts any more.
    TakenOver,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Failed(why) => f.write_str(why),
            Ended::TakenOver => f.write_str("another instance has taken over"),
        }
    }
}

impl std::error::Error for Ended {}

/// A log of events and changes in one order, which keeps what judging them gave.
pub trait EventLog: Send {
    /// What comes next; waits for it so long at most.
    ///
    /// # Errors
    /// The log cannot be read, or is somebody else's now.
    fn next(&mut self, wait: Duration) -> Result<Next<'_>, Ended>;

    /// Whether events that came at other readings of the clock are handed out apart from here on.
    fn hand_out_by_reading(&mut self, apart: bool);

    /// Whether what comes next was committed before: its alerts are out.
    fn is_behind(&self) -> bool;

    /// A record of what came last was not taken. To be told before the next call of [`EventLog::next`].
    fn reject(&mut self, rejected: &Rejected);

    /// Bytes of what [`EventLog::reject`] was told and of epochs that failed, which go with the next commit.
    fn waiting(&self) -> usize;

    /// Whether what has alerts is committed as soon as nothing else is under way, because a commit costs little.
    fn commits_at_once(&self) -> bool;

    /// Whether something was handed out that is in no epoch yet.
    fn has_moved(&self) -> bool;

    /// Begins to commit everything that was handed out, and the alerts that it gave, as JSON lines. One commit at a time is under way.
    fn commit(&mut self, alerts: Vec<u8>);

    /// Whether no commit is under way. One that failed goes with the next.
    ///
    /// # Errors
    /// Nothing can be committed any more.
    fn poll(&mut self, wait: bool) -> Result<bool, Ended>;

    /// The place after everything that was handed out, which has to be committed.
    fn place(&self) -> Place;

    /// The state is saved up to a place: what is before it may leave the log.
    fn saved(&mut self, place: &Place);

    /// Where nothing comes, time is to go on as if an event of this time had come: [`EventLog::next`] says so when it is in the log.
    fn time_goes_on(&mut self, greatest: Millis);

    /// Only what others were told is in the log comes from now on; then nothing.
    fn stop(&mut self);
}
