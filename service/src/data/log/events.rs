//! The embedded log as a matcher reads it and commits to it.

use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use lapwing_engine::Millis;
use serde_json::json;

use super::embedded::{Commit, Epoch, Log, NotAppended};
use super::frame::Record;
use super::reached::Reached;
use super::segments::Reader;
use crate::data::event_log::{Ended, EventLog, Next, Place};
use crate::data::pipeline::{Input, Lines, Rejected};

/// Bytes of lines that are handed out at once.
const CHUNK: usize = 1 << 20;

/// How long it waits where a commit failed.
const RETRY: Duration = Duration::from_millis(100);

/// The embedded log for a matcher.
pub struct LogEvents {
    log: Log,
    reader: Reader,
    /// See [`EventLog::hand_out_by_reading`].
    by_reading: bool,
    /// Up to here everything was judged and committed before.
    committed: u64,
    /// The end of the last record that was handed out: what the matcher itself commits is none.
    judged: u64,
    /// The same when the last epoch was begun.
    begun: u64,
    /// What goes with the next epoch.
    epoch: Epoch,
    /// An epoch on its way.
    on_its_way: Option<Commit>,
    lines: Vec<u8>,
    /// What stands behind the lines that were handed out last, from where to where.
    behind: Option<(Other, Range<u64>)>,
    /// How far it has come, for others.
    reached: Arc<Reached>,
}

/// What comes between events.
enum Other {
    Change(u64),
    /// With the reading of the clock.
    Time(Millis, Millis),
}

impl LogEvents {
    /// From a place on, everything before `committed` was committed before.
    pub fn new(log: Log, place: u64, committed: u64) -> LogEvents {
        LogEvents {
            reader: log.read_from(place),
            log,
            by_reading: false,
            committed,
            judged: place.max(committed),
            begun: place.max(committed),
            epoch: Epoch::default(),
            on_its_way: None,
            lines: Vec::with_capacity(2 * CHUNK),
            behind: None,
            reached: Arc::new(Reached::new(place, committed)),
        }
    }

    /// How far it has come, from now on.
    pub fn reached(&self) -> Arc<Reached> {
        self.reached.clone()
    }

    /// Reads a stretch of records before `end`: the number of the first line and when they came, if there are lines.
    fn read(&mut self, end: u64) -> Result<Option<(u64, Millis)>, Ended> {
        self.lines.clear();
        let mut first = None;
        while self.lines.len() < CHUNK {
            let next = self.reader.next(end).map_err(|e| Ended::Failed(e.to_string()))?;
            let Some((place, frame)) = next else { break };
            let end = place + frame.length as u64;
            match frame.record {
                Record::Events(events) => {
                    self.judged = self.judged.max(end);
                    let (number, _) = first.unwrap_or((events.first, frame.reading));
                    first = Some((number, frame.reading));
                    self.lines.extend_from_slice(events.lines);
                    if self.by_reading {
                        break;
                    }
                }
                Record::Change { number } => {
                    self.behind = Some((Other::Change(number), place..end));
                    break;
                }
                Record::Time { greatest } => {
                    self.behind = Some((Other::Time(greatest, frame.reading), place..end));
                    break;
                }
                Record::Epoch(_) => {}
            }
        }
        Ok(first)
    }

    /// What could not be committed is committed with what came since.
    fn came_back(&mut self, result: Result<u64, (Box<Epoch>, NotAppended)>) -> Result<(), Ended> {
        match result {
            Ok(until) => {
                self.committed = self.committed.max(until);
                self.reached.has_committed(self.committed);
            }
            Err((_, NotAppended::Closed)) => return Err(Ended::Failed("the log is written no more".to_owned())),
            Err((epoch, why)) => {
                tracing::warn!(%why, "an epoch could not be committed; it is tried again");
                let since = mem::replace(&mut self.epoch, *epoch);
                self.epoch.alerts.extend_from_slice(&since.alerts);
                self.epoch.rejected.extend_from_slice(&since.rejected);
                std::thread::sleep(RETRY);
            }
        }
        Ok(())
    }
}

impl EventLog for LogEvents {
    fn next(&mut self, wait: Duration) -> Result<Next<'_>, Ended> {
        // Who asks for more has judged what was handed out.
        self.reached.has_judged(self.place().offset);
        if self.behind.is_none() {
            let durable = self.log.durable();
            let end = match self.is_behind() {
                true => self.committed,
                false => match durable.place() {
                    end if end == self.reader.place() => durable.wait_beyond(end, wait),
                    end => end,
                },
            };
            if let Some((first, reading)) = self.read(end)? {
                let input = Input::Lines(Lines { bytes: &self.lines, first });
                return Ok(Next::Events { input, reading });
            }
        }
        let Some((other, place)) = self.behind.take() else { return Ok(Next::Nothing) };
        self.judged = self.judged.max(place.end);
        Ok(match other {
            Other::Change(number) => Next::Change(number),
            Other::Time(greatest, reading) => Next::Time { greatest, reading },
        })
    }

    fn hand_out_by_reading(&mut self, apart: bool) {
        self.by_reading = apart;
    }

    fn is_behind(&self) -> bool {
        self.place().offset < self.committed
    }

    fn reject(&mut self, rejected: &Rejected) {
        let Rejected { origin, reason } = rejected;
        self.reached.has_rejected(reason.kind());
        let line = json!({"offset": origin.offset, "kind": reason.kind(), "reason": reason.to_string()});
        self.epoch.rejected.extend_from_slice(line.to_string().as_bytes());
        self.epoch.rejected.push(b'\n');
    }

    fn waiting(&self) -> usize {
        self.epoch.alerts.len() + self.epoch.rejected.len()
    }

    fn commits_at_once(&self) -> bool {
        true
    }

    fn has_moved(&self) -> bool {
        self.judged > self.begun
    }

    fn commit(&mut self, alerts: Vec<u8>) {
        let mut epoch = Epoch { until: self.judged, ..mem::take(&mut self.epoch) };
        match epoch.alerts.is_empty() {
            true => epoch.alerts = alerts,
            false => epoch.alerts.extend_from_slice(&alerts),
        }
        self.begun = self.judged;
        self.on_its_way = Some(self.log.commit(epoch));
    }

    fn poll(&mut self, wait: bool) -> Result<bool, Ended> {
        let Some(mut commit) = self.on_its_way.take() else { return Ok(true) };
        match commit.poll() {
            Some(result) => self.came_back(result)?,
            None if wait => self.came_back(commit.wait())?,
            None => self.on_its_way = Some(commit),
        }
        Ok(self.on_its_way.is_none())
    }

    fn place(&self) -> Place {
        let offset = self.behind.as_ref().map_or(self.reader.place(), |(_, place)| place.start);
        Place { offset, more: Vec::new() }
    }

    fn saved(&mut self, place: &Place) {
        self.reached.has_saved(place.offset);
        self.log.may_go_before(place.offset);
    }

    fn time_goes_on(&mut self, greatest: Millis) {
        self.log.time_goes_on(greatest);
    }

    /// What was acknowledged comes.
    fn stop(&mut self) {}
}
