//! The matcher of a service: reads the log, judges, and commits what that gave.
//!
//! It reads what is on the disk, in order: lines go to the pipeline, a change puts its rule set in place. An epoch is what was judged since the last
//! one was committed; while one is on its way the next is gathered. What the log says was judged and committed before this process began is
//! judged again for the state alone: its alerts are not said twice.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lapwing_engine::Millis;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::alert::Alert;
use super::checkpoint::{Checkpoints, Place};
use super::log::embedded::{Commit, Epoch, Log, NotAppended};
use super::log::frame::Record;
use super::log::segments::{ReadError, Reader};
use super::pipeline::{Lines, OutsideError, Pipeline, Rejected, Sink};
use crate::control::rollout::Ready;

/// Bytes of lines judged at once.
const CHUNK: usize = 1 << 20;

/// How long it waits for the log before it looks whether there is something else to do.
const WAIT: Duration = Duration::from_millis(20);

/// How often time goes on while nothing comes.
const TICK: Duration = Duration::from_millis(500);

/// How long it waits where a commit failed.
const RETRY: Duration = Duration::from_millis(100);

/// How a matcher works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often progress is committed where there are no alerts.
    pub epoch_every: Duration,
    /// With so many bytes of alerts that are not committed it waits.
    pub epoch_bytes_max: usize,
    /// Events so far ahead of the clock are put aside; none: never.
    pub max_ahead: Option<Millis>,
    /// Where nothing comes for so long, time goes on as the clock does. In milliseconds.
    pub idle_after: Millis,
    /// The clock, in milliseconds since 1970.
    pub clock: fn() -> Millis,
}

/// Why a matcher stopped.
#[derive(Debug)]
pub enum Stopped {
    /// The log cannot be read.
    Read(ReadError),
    /// A change has no rule set.
    Change(u64),
    /// The log is written no more.
    Closed,
    /// Keys outside memory cannot be read or written.
    Outside(String),
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stopped::Read(e) => e.fmt(f),
            Stopped::Change(number) => {
                write!(f, "the log names change {number}, which the history of the catalog does not have")
            }
            Stopped::Closed => write!(f, "the log is written no more"),
            Stopped::Outside(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for Stopped {}

impl From<ReadError> for Stopped {
    fn from(e: ReadError) -> Stopped {
        Stopped::Read(e)
    }
}

/// The matcher.
pub struct Matcher {
    log: Log,
    reader: Reader,
    pipeline: Pipeline,
    ready: Arc<Ready>,
    settings: Settings,
    /// Up to here what is judged was committed before.
    committed: u64,
    /// The last change that took over.
    applied: u64,
    /// The end of the last record that was judged: what the matcher itself commits is none.
    judged: u64,
    /// The same when the state was saved last.
    saved_at: u64,
    gathered: Gathered,
    /// An epoch on its way.
    on_its_way: Option<Commit>,
    last_commit: Instant,
    checkpoints: Checkpoints,
    questions: Questions,
    /// When the last events came, and the greatest time then.
    last_events: Option<(Millis, Millis)>,
    last_tick: Instant,
    /// Lines that are judged next, and the number of the first.
    lines: Vec<u8>,
    first: u64,
}

/// What comes between events.
enum Other {
    Change(u64),
    /// As if an event of this time had come.
    Time(Millis),
}

/// What was judged since the last commit, and gave.
#[derive(Default)]
struct Gathered {
    epoch: Epoch,
    /// Whether what comes was said before.
    held_back: bool,
}

impl Gathered {
    fn bytes(&self) -> usize {
        self.epoch.alerts.len() + self.epoch.rejected.len()
    }
}

impl Sink for Gathered {
    fn alert(&mut self, alert: &Alert<'_>) {
        if !self.held_back {
            alert.write(&mut self.epoch.alerts);
        }
    }

    fn rejected(&mut self, rejected: Rejected) {
        if !self.held_back {
            let line =
                json!({"offset": rejected.line, "kind": rejected.reason.kind(), "reason": rejected.reason.to_string()});
            self.epoch.rejected.extend_from_slice(line.to_string().as_bytes());
            self.epoch.rejected.push(b'\n');
        }
    }
}

/// Questions to a matcher, each with where the answer goes: how many runs live, by the names of their rules.
pub type Questions = mpsc::Receiver<oneshot::Sender<BTreeMap<String, usize>>>;

/// What a matcher begins with.
pub struct Begin {
    /// The pipeline, as it was at `place`.
    pub pipeline: Pipeline,
    /// Everything before it is in the pipeline.
    pub place: u64,
    /// Everything before it was committed.
    pub committed: u64,
    /// The last change that took over before `place`.
    pub applied: u64,
    /// Where the state is saved.
    pub checkpoints: Checkpoints,
}

impl Matcher {
    /// Goes on from a place of the log.
    pub fn new(log: Log, ready: Arc<Ready>, settings: Settings, begin: Begin, questions: Questions) -> Matcher {
        let Begin { pipeline, place, committed, applied, checkpoints } = begin;
        Matcher {
            reader: log.read_from(place),
            log,
            pipeline,
            ready,
            settings,
            committed,
            applied,
            judged: place.max(committed),
            saved_at: place,
            gathered: Gathered { held_back: place < committed, ..Gathered::default() },
            on_its_way: None,
            last_commit: Instant::now(),
            checkpoints,
            questions,
            last_events: None,
            last_tick: Instant::now(),
            lines: Vec::with_capacity(2 * CHUNK),
            first: 0,
        }
    }

    /// Judges what is committed already, for the state alone: to be done before the first new event.
    pub fn catch_up(&mut self) -> Result<(), Stopped> {
        while self.reader.place() < self.committed {
            self.take(self.committed)?;
        }
        self.pipeline.settle(&mut self.gathered);
        self.gathered.held_back = false;
        self.last_events = self.pipeline.greatest().map(|greatest| ((self.settings.clock)(), greatest));
        self.failure()
    }

    /// Judges what comes, until `stop` says so and everything on the disk is judged, committed and saved.
    pub fn run(mut self, stop: &AtomicBool) -> Result<(), Stopped> {
        loop {
            let stopping = stop.load(Ordering::Acquire);
            let end = self.log.durable().place();
            let before = self.reader.place();
            self.take(end)?;
            let idle = self.reader.place() == before;
            if idle {
                self.pipeline.settle(&mut self.gathered);
            }
            self.failure()?;
            self.commit()?;
            while let Ok(answer) = self.questions.try_recv() {
                // Who does not wait any more is not told.
                let _ = answer.send(self.pipeline.runs_by_rule());
            }
            let ended = self.checkpoints.poll();
            self.saved(ended);
            // Where nothing came there is nothing new to save.
            if self.judged > self.saved_at && (self.checkpoints.is_due() || (stopping && idle)) {
                self.save()?;
            }
            if idle && stopping {
                let ended = self.checkpoints.wait();
                self.saved(ended);
                return Ok(());
            }
            if idle {
                self.tick();
                let most = if self.on_its_way.is_some() { Duration::from_millis(1) } else { WAIT };
                self.log.durable().wait_beyond(end, most);
            }
        }
    }

    fn failure(&self) -> Result<(), Stopped> {
        self.pipeline.failure().map_or(Ok(()), |e: &OutsideError| Err(Stopped::Outside(e.to_string())))
    }

    /// Where nothing comes and something waits for time, time goes on: that of events once it was quiet for long enough.
    fn tick(&mut self) {
        let Some((came, greatest)) = self.last_events else { return };
        if self.last_tick.elapsed() < TICK {
            return;
        }
        let reading = (self.settings.clock)();
        // Rules by processing time wait for nothing else.
        let is_read = self.pipeline.waits_for_reading().is_some_and(|due| due < reading);
        let quiet = reading.saturating_sub(came).saturating_sub(self.settings.idle_after).max(0);
        let now = greatest.saturating_add(quiet);
        if is_read || quiet > 0 && self.pipeline.waits_until().is_some_and(|due| due < self.pipeline.clock_at(now)) {
            self.last_tick = Instant::now();
            self.log.time_goes_on(now);
        }
    }

    /// Judges a stretch of records before `end`.
    fn take(&mut self, end: u64) -> Result<(), Stopped> {
        let mut limit = Millis::MAX;
        let mut reading = None;
        let mut other = None;
        while self.lines.len() < CHUNK {
            let Some((place, frame)) = self.reader.next(end)? else { break };
            if !matches!(frame.record, Record::Epoch(_)) {
                self.judged = place + frame.length as u64;
            }
            match frame.record {
                Record::Events(events) => {
                    if self.lines.is_empty() {
                        self.first = events.first;
                        limit =
                            self.settings.max_ahead.map_or(Millis::MAX, |ahead| frame.reading.saturating_add(ahead));
                    }
                    self.lines.extend_from_slice(events.lines);
                    reading = Some(frame.reading);
                    // Another reading of the clock allows other times, and is another time to some rules.
                    if self.settings.max_ahead.is_some() || self.pipeline.goes_by_readings() {
                        break;
                    }
                }
                Record::Change { number } => {
                    other = Some((frame.reading, Other::Change(number)));
                    break;
                }
                Record::Time { greatest } => {
                    other = Some((frame.reading, Other::Time(greatest)));
                    break;
                }
                Record::Epoch(_) => {}
            }
        }
        if !self.lines.is_empty() {
            self.pipeline.set_limit(limit);
            if let Some(reading) = reading {
                self.pipeline.set_reading(reading);
            }
            let lines = Lines { bytes: &self.lines, first: self.first };
            self.pipeline.take_ahead(&lines, &mut self.gathered);
            self.checkpoints.has_judged(self.lines.len());
            self.lines.clear();
        }
        if let Some(reading) = reading {
            self.last_events = self.pipeline.greatest().map(|greatest| (reading, greatest));
        }
        if let Some((reading, _)) = other {
            self.pipeline.set_reading(reading);
        }
        match other.map(|(_, other)| other) {
            Some(Other::Change(number)) => {
                let rules = self.ready.take(number).ok_or(Stopped::Change(number))?;
                self.pipeline.swap(rules, &mut self.gathered);
                self.applied = number;
            }
            Some(Other::Time(greatest)) => {
                self.pipeline.advance_to(self.pipeline.clock_at(greatest), &mut self.gathered);
            }
            None => {}
        }
        Ok(())
    }

    /// Commits what was gathered, where nothing is on its way and there is something to say.
    fn commit(&mut self) -> Result<(), Stopped> {
        let full = self.gathered.bytes() >= self.settings.epoch_bytes_max;
        if let Some(mut commit) = self.on_its_way.take() {
            match commit.poll() {
                Some(result) => self.came_back(result)?,
                None if full => self.came_back(commit.wait())?,
                None => self.on_its_way = Some(commit),
            }
        }
        let late = self.last_commit.elapsed() >= self.settings.epoch_every;
        if self.on_its_way.is_some() || (self.gathered.bytes() == 0 && !late) {
            return Ok(());
        }
        self.pipeline.settle(&mut self.gathered);
        if self.gathered.bytes() > 0 || self.judged > self.committed {
            let epoch = Epoch { until: self.judged, ..mem::take(&mut self.gathered.epoch) };
            self.last_commit = Instant::now();
            self.on_its_way = Some(self.log.commit(epoch));
        }
        Ok(())
    }

    /// What could not be committed is committed with what came since.
    fn came_back(&mut self, result: Result<u64, (Box<Epoch>, NotAppended)>) -> Result<(), Stopped> {
        match result {
            Ok(until) => {
                self.committed = until;
                Ok(())
            }
            Err((_, NotAppended::Closed)) => Err(Stopped::Closed),
            Err((epoch, why)) => {
                tracing::warn!(%why, "an epoch could not be committed; it is tried again");
                let since = mem::replace(&mut self.gathered.epoch, *epoch);
                self.gathered.epoch.alerts.extend_from_slice(&since.alerts);
                self.gathered.epoch.rejected.extend_from_slice(&since.rejected);
                std::thread::sleep(RETRY);
                Ok(())
            }
        }
    }

    /// Commits all that was gathered, and waits for it; whether that went well.
    fn commit_all(&mut self) -> Result<bool, Stopped> {
        self.pipeline.settle(&mut self.gathered);
        // One may be on its way, and what came since is one more.
        for _ in 0..2 {
            if let Some(commit) = self.on_its_way.take() {
                self.came_back(commit.wait())?;
            }
            if self.gathered.bytes() == 0 {
                return Ok(true);
            }
            self.commit()?;
        }
        Ok(false)
    }

    /// Begins to save the state, at a place where nothing waits to be committed; not where that cannot be.
    fn save(&mut self) -> Result<(), Stopped> {
        if !self.commit_all()? {
            return Ok(());
        }
        let ended = self.checkpoints.wait();
        self.saved(ended);
        let generations = self.pipeline.generations().count() as u64;
        let place = Place { log: self.reader.place(), applied: self.applied, generations };
        self.checkpoints.begin(place, &mut self.pipeline);
        self.saved_at = self.judged;
        Ok(())
    }

    /// What is saved may leave the log. Where a save failed, the next one holds what that should have.
    fn saved(&mut self, ended: Option<Result<u64, String>>) {
        match ended {
            None => {}
            Some(Ok(place)) => self.log.may_go_before(place),
            Some(Err(why)) => {
                tracing::warn!(why, "the state could not be saved; it is tried again");
                self.saved_at = 0;
            }
        }
    }
}
