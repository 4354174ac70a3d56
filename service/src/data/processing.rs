//! Rules by processing time: a pipeline of their own behind that of the others.
//!
//! To such a rule an event has the time at which it came: the reading of the clock that the log keeps or, where there is none, the greatest
//! time of an event read so far. Readings do not go back, so nothing is late and nothing waits: these rules take events as they come, and
//! a change of them takes over at its place. What they give leaves with the event that was read, before what that lets the other rules give;
//! so the order of alerts does not depend on how the input was cut.

use std::collections::VecDeque;
use std::sync::Arc;

use lapwing_engine::Millis;
use lapwing_engine::batch::Origin;
use lapwing_engine::order::Order;
use lapwing_engine::output::Match;
use lapwing_engine::rule_set::RuleSet;
use lapwing_engine::store::codec::Corrupt;

use super::alert::Alert;
use super::lines::Input;
use super::pipeline::{Options, Pipeline, Rejected, Sink};

/// What events get in place of their times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Readings {
    /// The reading of the clock; none where it goes by the events.
    given: Option<Millis>,
    /// The latest so far.
    now: Millis,
    /// Events of later times of their own are put aside.
    limit: Millis,
}

impl Readings {
    /// Whether each depends on the events before it.
    pub fn go_by_events(&self) -> bool {
        self.given.is_none()
    }

    /// The reading at which an event of this time comes. What is too far ahead has none that is allowed.
    pub fn of(&mut self, at: Millis) -> Millis {
        if at > self.limit {
            return Millis::MAX;
        }
        self.now = self.now.max(self.given.unwrap_or(at));
        self.now
    }
}

/// What a rule by processing time gave, until it leaves.
pub(super) struct Said {
    /// The event that let it happen; none where time alone did.
    pub came: Option<Origin>,
    pub body: Match,
    pub suppressed: u64,
    pub rules: Arc<RuleSet>,
}

/// The rules by processing time with their state.
pub(super) struct Processing {
    pub lane: Box<Pipeline>,
    /// What they gave and has not left: for each time that the others are led on by, what it was.
    rounds: VecDeque<VecDeque<Said>>,
}

/// What events are put aside, the other rules say.
struct Nowhere;

impl Sink for Nowhere {
    fn alert(&mut self, _: &Alert<'_>) {}
    fn rejected(&mut self, _: Rejected) {}
}

impl Processing {
    /// Without state.
    pub fn new(rules: RuleSet, options: &Options, threads: usize) -> Processing {
        Processing::of(Pipeline::new(Arc::new(rules), options_of(options), threads))
    }

    /// As [`Pipeline::save`] of [`Processing::lane`] wrote it.
    pub fn load(rules: RuleSet, options: &Options, threads: usize, bytes: &[u8]) -> Result<Processing, Corrupt> {
        Ok(Processing::of(Pipeline::load(vec![Arc::new(rules)], options_of(options), threads, bytes)?))
    }

    /// Rules that come while events flow: time has come so far.
    pub fn begin(rules: &RuleSet, options: &Options, threads: usize, now: Option<Millis>) -> Processing {
        let mut processing = Processing::new(rules.without_rules(), options, threads);
        if let Some(now) = now {
            processing.lane.advance_to(now, &mut Nowhere);
        }
        processing
    }

    fn of(mut lane: Pipeline) -> Processing {
        lane.said = Some(VecDeque::new());
        lane.sequencer.note_arrivals(true);
        Processing { lane: Box::new(lane), rounds: VecDeque::new() }
    }

    /// Takes input as it comes, at a reading of the clock where there is one.
    pub fn take(&mut self, input: &Input<'_>, reading: Option<Millis>, limit: Millis) {
        let now = self.lane.sequencer.clock();
        self.lane.readings = Some(Readings { given: reading, now, limit });
        self.round(|lane| {
            lane.take(input.clone(), &mut Nowhere);
        });
    }

    /// Time passes without events.
    pub fn advance_to(&mut self, time: Millis) {
        self.round(|lane| lane.advance_to(time, &mut Nowhere));
    }

    /// The end of time.
    pub fn finish(&mut self) {
        self.round(|lane| lane.finish(&mut Nowhere));
    }

    /// Puts other rules in place.
    pub fn swap(&mut self, rules: RuleSet) {
        self.round(|lane| lane.swap(Arc::new(rules), &mut Nowhere));
    }

    fn round(&mut self, leads: impl FnOnce(&mut Pipeline)) {
        leads(&mut self.lane);
        let said = self.lane.said.as_mut().map(std::mem::take);
        self.rounds.push_back(said.unwrap_or_default());
    }

    /// Lets what came no later than an event leave, of what the others are at.
    pub fn leave(&mut self, came: Option<Origin>, sink: &mut dyn Sink) {
        let Some(round) = self.rounds.front_mut() else { return };
        // What time alone let happen comes behind all events.
        let no_later = |said: &mut Said| came.is_none_or(|came| said.came.is_some_and(|own| own <= came));
        while let Some(said) = round.pop_front_if(no_later) {
            let Said { body, suppressed, rules, .. } = said;
            let sources = &self.lane.options.sources;
            sink.alert(&Alert { body: &body, rules: &rules, sources, suppressed });
        }
    }

    /// The others are through with what they were at: all of it leaves.
    pub fn leave_round(&mut self, sink: &mut dyn Sink) {
        self.leave(None, sink);
        self.rounds.pop_front();
    }
}

/// Nothing waits for its place, and the readings are what is judged by.
fn options_of(options: &Options) -> Options {
    Options { order: Order::Arrival, lateness: 0, limit: Millis::MAX - 1, ..options.clone() }
}
