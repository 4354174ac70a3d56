//! The matcher of a service: judges what comes from a log, and commits what that gave.
//!
//! Records go to the pipeline in the order of the log, a change puts its rule set in place. An epoch is what was judged since the last one was
//! committed; while one is on its way the next is gathered. What was judged and committed before this process began is judged again for the state
//! alone: its alerts are not said twice.

use std::collections::BTreeMap;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lapwing_engine::Millis;
use tokio::sync::{mpsc, oneshot};

use super::alert::Alert;
use super::checkpoint::{Checkpoints, Place};
use super::event_log::{self, Ended, EventLog, Next};
use super::pipeline::{OutsideError, Pipeline, Rejected, Sink};
use super::totals::Counted;
use crate::control::rollout::Ready;
use crate::metrics::{Labels, Metrics};

/// How long it waits for the log before it looks whether there is something else to do.
const WAIT: Duration = Duration::from_millis(20);

/// The same while an epoch is on its way.
const SHORT_WAIT: Duration = Duration::from_millis(1);

/// How often time goes on while nothing comes.
const TICK: Duration = Duration::from_millis(500);

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
    /// Its log has ended.
    Log(Ended),
    /// A change has no rule set.
    Change(u64),
    /// Keys outside memory cannot be read or written.
    Outside(String),
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stopped::Log(e) => e.fmt(f),
            Stopped::Change(number) => {
                write!(f, "the log names change {number}, which the history of the catalog does not have")
            }
            Stopped::Outside(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for Stopped {}

impl From<Ended> for Stopped {
    fn from(e: Ended) -> Stopped {
        Stopped::Log(e)
    }
}

/// The matcher.
pub struct Matcher<L> {
    log: L,
    pipeline: Pipeline,
    ready: Arc<Ready>,
    settings: Settings,
    /// The last change that took over.
    applied: u64,
    /// Whether something was judged that no save holds.
    unsaved: bool,
    gathered: Gathered,
    last_commit: Instant,
    checkpoints: Checkpoints,
    questions: Questions,
    /// When the last events came, and the greatest time then.
    last_events: Option<(Millis, Millis)>,
    last_tick: Instant,
    measured: Measured,
}

/// What was told of how it goes, and what is to be told.
#[derive(Default)]
struct Measured {
    counted: Counted,
    /// When the first of what is in no epoch yet was read.
    read: Option<Instant>,
    /// The epoch under way: when it was begun, and when the first of it was read.
    epoch: Option<(Instant, Option<Instant>)>,
    /// When the save under way was begun.
    save: Option<Instant>,
    labels: Labels,
}

/// What was judged since the last commit gave.
#[derive(Default)]
struct Gathered {
    alerts: Vec<u8>,
    /// What was not taken of the input that came last.
    rejected: Vec<Rejected>,
    /// Whether what comes was said before.
    held_back: bool,
    metrics: Arc<Metrics>,
    labels: Labels,
}

impl Sink for Gathered {
    fn alert(&mut self, alert: &Alert<'_>) {
        if !self.held_back {
            alert.write(&mut self.alerts);
            let rule = &alert.rules.rules[alert.body.rule as usize].program.rule.name;
            self.metrics.matching.alert(&mut self.labels, rule, &alert.body.severity);
        }
    }

    fn rejected(&mut self, rejected: Rejected) {
        if !self.held_back {
            self.metrics.matching.rejected(rejected.reason.kind());
            self.rejected.push(rejected);
        }
    }
}

/// Questions to a matcher, each with where the answer goes: how many runs live, by the names of their rules.
pub type Questions = Arc<Mutex<mpsc::Receiver<oneshot::Sender<BTreeMap<String, usize>>>>>;

/// Answers the questions that wait.
pub fn answer(questions: &Questions, live: impl Fn() -> BTreeMap<String, usize>) {
    let mut questions = questions.lock().unwrap_or_else(PoisonError::into_inner);
    while let Ok(answer) = questions.try_recv() {
        // Who does not wait any more is not told.
        let _ = answer.send(live());
    }
}

/// What a matcher begins with.
pub struct Begin {
    /// The pipeline, as it was at the place of the log that is read next.
    pub pipeline: Pipeline,
    /// The last change that took over before.
    pub applied: u64,
    /// Where the state is saved.
    pub checkpoints: Checkpoints,
}

impl<L: EventLog> Matcher<L> {
    /// Goes on with a log.
    pub fn new(
        log: L,
        ready: Arc<Ready>,
        settings: Settings,
        begin: Begin,
        questions: Questions,
        metrics: Arc<Metrics>,
    ) -> Matcher<L> {
        let Begin { pipeline, applied, checkpoints } = begin;
        let held_back = log.is_behind();
        // What it counted before this process began is not of this process.
        let measured = Measured { counted: pipeline.counted(), ..Measured::default() };
        let live = pipeline.generations().next().map_or(0, |rules| rules.generation);
        metrics.matching.generation(live);
        Matcher {
            gathered: Gathered { held_back, metrics, ..Gathered::default() },
            measured,
            log,
            pipeline,
            ready,
            settings,
            applied,
            unsaved: false,
            last_commit: Instant::now(),
            checkpoints,
            questions,
            last_events: None,
            last_tick: Instant::now(),
        }
    }

    /// Judges what is committed already, for the state alone: to be done before the first new event. Whether it came to the end before `stop`
    /// said so.
    ///
    /// # Errors
    /// The log or the state cannot be read.
    pub fn catch_up(&mut self, stop: &AtomicBool) -> Result<bool, Stopped> {
        while self.log.is_behind() {
            if stop.load(Ordering::Acquire) {
                return Ok(false);
            }
            self.step(WAIT)?;
            self.failure()?;
        }
        self.pipeline.settle(&mut self.gathered);
        self.gathered.held_back = false;
        self.last_events = self.pipeline.greatest().map(|greatest| ((self.settings.clock)(), greatest));
        self.failure()?;
        Ok(true)
    }

    /// Judges what comes, until `stop` says so and everything that the log then has to give is judged, committed and saved.
    ///
    /// # Errors
    /// The log or the state cannot be read or written.
    pub fn run(mut self, stop: &AtomicBool) -> Result<(), Stopped> {
        let mut idle = false;
        loop {
            let stopping = stop.load(Ordering::Acquire);
            if stopping {
                self.log.stop();
            }
            // What was judged has to leave before anything is waited for.
            let wait = match idle {
                false => Duration::ZERO,
                true if !self.log.poll(false)? => SHORT_WAIT,
                true => WAIT,
            };
            idle = !self.step(wait)?;
            if idle {
                self.pipeline.settle(&mut self.gathered);
            }
            self.failure()?;
            self.commit()?;
            self.measure(idle);
            answer(&self.questions, || self.pipeline.runs_by_rule());
            let ended = self.checkpoints.poll();
            self.saved(ended);
            // Where nothing came there is nothing new to save.
            if self.unsaved && (self.checkpoints.is_due() || (stopping && idle)) {
                self.save()?;
            }
            if idle && stopping {
                let ended = self.checkpoints.wait();
                self.saved(ended);
                return Ok(());
            }
            if idle {
                self.tick();
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

    /// Judges what comes next. Whether something came.
    fn step(&mut self, wait: Duration) -> Result<bool, Stopped> {
        // Another reading of the clock allows other times, and is another time to some rules.
        let by_reading = self.settings.max_ahead.is_some() || self.pipeline.goes_by_readings();
        self.log.hand_out_by_reading(by_reading);
        match self.log.next(wait)? {
            Next::Nothing => return Ok(false),
            Next::Events { input, reading } => {
                let limit = self.settings.max_ahead.map_or(Millis::MAX, |ahead| reading.saturating_add(ahead));
                self.pipeline.set_limit(limit);
                self.pipeline.set_reading(reading);
                self.checkpoints.has_judged(input.bytes());
                let begun = Instant::now();
                self.measured.read.get_or_insert(begun);
                self.pipeline.take_ahead(input, &mut self.gathered);
                self.gathered.metrics.matching.batch(begun.elapsed());
                self.last_events = self.pipeline.greatest().map(|greatest| (reading, greatest));
                self.gathered.rejected.drain(..).for_each(|rejected| self.log.reject(&rejected));
            }
            Next::Change(number) => {
                let rules = self.ready.take(number).ok_or(Stopped::Change(number))?;
                self.gathered.metrics.matching.changed(rules.generation);
                self.pipeline.swap(rules, &mut self.gathered);
                self.applied = number;
            }
            Next::Time { greatest, reading } => {
                self.pipeline.set_reading(reading);
                self.pipeline.advance_to(self.pipeline.clock_at(greatest), &mut self.gathered);
            }
            Next::Partition(source, partition) => self.pipeline.add_partition(source, partition),
            Next::Idle(source, partition) => self.pipeline.set_idle(source, partition, &mut self.gathered),
        }
        self.unsaved = true;
        Ok(true)
    }

    /// Commits what was gathered, where nothing is on its way and there is something to say.
    fn commit(&mut self) -> Result<(), Stopped> {
        let bytes = self.gathered.alerts.len() + self.log.waiting();
        let full = bytes >= self.settings.epoch_bytes_max;
        let late = self.last_commit.elapsed() >= self.settings.epoch_every;
        let has_alerts = bytes > 0 && self.log.commits_at_once();
        if !self.committed(full)? || !(full || late || has_alerts) {
            return Ok(());
        }
        self.pipeline.settle(&mut self.gathered);
        self.begin_commit();
        Ok(())
    }

    /// Begins to commit what was gathered, where there is anything.
    fn begin_commit(&mut self) {
        if !self.gathered.alerts.is_empty() || self.log.waiting() > 0 || self.log.has_moved() {
            self.last_commit = Instant::now();
            self.measured.epoch = Some((self.last_commit, self.measured.read.take()));
            self.log.commit(mem::take(&mut self.gathered.alerts));
        }
    }

    /// Whether no epoch is on its way.
    fn committed(&mut self, wait: bool) -> Result<bool, Stopped> {
        let committed = self.log.poll(wait)?;
        if committed && let Some((begun, read)) = self.measured.epoch.take() {
            self.gathered.metrics.matching.epoch(begun.elapsed(), read.map(|read| read.elapsed()));
        }
        Ok(committed)
    }

    /// Tells how it goes.
    fn measure(&mut self, idle: bool) {
        let matching = &self.gathered.metrics.matching;
        let counted = self.pipeline.counted();
        if counted != self.measured.counted || idle {
            matching.add(&self.measured.counted, &counted);
            matching.times(self.pipeline.times());
            self.measured.counted = counted;
        }
    }

    /// Commits all that was gathered, and waits for it; whether that went well.
    fn commit_all(&mut self) -> Result<bool, Stopped> {
        self.pipeline.settle(&mut self.gathered);
        self.committed(true)?;
        self.begin_commit();
        self.committed(true)?;
        Ok(self.log.waiting() == 0)
    }

    /// Begins to save the state, at a place where nothing waits to be committed; not where that cannot be.
    fn save(&mut self) -> Result<(), Stopped> {
        if !self.commit_all()? {
            return Ok(());
        }
        let ended = self.checkpoints.wait();
        self.saved(ended);
        let generations = self.pipeline.generations().count() as u64;
        let place = Place { log: self.log.place(), applied: self.applied, generations };
        self.checkpoints.begin(place, &mut self.pipeline);
        self.measured.save = Some(Instant::now());
        let (size, runs) = (self.pipeline.size(), self.pipeline.runs_by_rule());
        self.gathered.metrics.matching.state(&mut self.measured.labels, size, &runs);
        self.unsaved = false;
        Ok(())
    }

    /// What is saved may leave the log. Where a save failed, the next one holds what that should have.
    fn saved(&mut self, ended: Option<Result<event_log::Place, String>>) {
        if let Some(ended) = &ended {
            let took = self.measured.save.take().map(|begun| begun.elapsed()).unwrap_or_default();
            self.gathered.metrics.matching.saved(ended.is_ok(), took);
        }
        match ended {
            None => {}
            Some(Ok(place)) => self.log.saved(&place),
            Some(Err(why)) => {
                tracing::warn!(why, "the state could not be saved; it is tried again");
                self.unsaved = true;
            }
        }
    }
}
