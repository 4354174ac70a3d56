//! The data path as one loop: decode → order → shards → merge → suppress → alert.
//!
//! With one thread all of it runs in the caller. With more, each thread owns a shard. A round moves the shards over what the round before put
//! in order, and decodes the next lines: a thread that is through with its shard takes the next piece of lines that nobody has taken, so that
//! none waits for another twice a round. Then the caller merges, and puts in order. No result depends on the number of threads.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use lapwing_dsl::functions::timestamp_text;
use lapwing_engine::Millis;
use lapwing_engine::batch::{Batch, Origin};
use lapwing_engine::limits::Limits;
use lapwing_engine::order::{Aside, Order, Ordered, OrderedEvent, Part, PutAside, Sequencer};
use lapwing_engine::output::{Output, Place};
use lapwing_engine::rule_set::RuleSet;
use lapwing_engine::shard::outside::{Cold, KeyName};
use lapwing_engine::shard::{Counters, Shard};
use lapwing_engine::slot::KeyHasher;
use lapwing_engine::store::codec::Corrupt;
use lapwing_engine::strata::Strata;
use lapwing_engine::suppress::{Suppressor, Verdict};

use super::alert::Alert;
use super::decode::json::Reject;
use super::decode::shape::Decoder;
use super::lines::{Decoded, Decoding, Generation, Hands, Jobs, PIECES_MAX, numbered, split};
pub use super::lines::{Input, Lines, Record, Records};
use super::processing::{Processing, Readings, Said};
use super::totals::{Counted, Size, Stages, Times, Totals};

/// How a pipeline runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// How events are put in order.
    pub order: Order,
    /// In milliseconds.
    pub lateness: Millis,
    /// Events later than this are put aside.
    pub limit: Millis,
    /// Names of the sources; line input is the first.
    pub sources: Vec<String>,
    /// The engine's caps.
    pub limits: Limits,
    /// Secret of the key hash.
    pub secret: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            order: Order::EventTime,
            lateness: 0,
            limit: Millis::MAX,
            sources: vec!["input".to_owned()],
            limits: Limits::default(),
            secret: 0x6c61_7077_696e_6721,
        }
    }
}

/// A line or record that gave no event, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Where it stands; the offset of a line is its number, from 0.
    pub origin: Origin,
    /// Why.
    pub reason: Reason,
}

/// Why a line gave no event, or a late one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It could not be read.
    Bad(Reject),
    /// It came too late or too far ahead.
    Aside(PutAside),
}

impl Reason {
    /// One word: `bad`, `late` or `ahead`.
    pub fn kind(&self) -> &'static str {
        match self {
            Reason::Bad(_) => "bad",
            Reason::Aside(put) => match put.reason {
                Aside::Late { .. } => "late",
                Aside::Ahead { .. } => "ahead",
            },
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::Bad(reject) => reject.fmt(f),
            Reason::Aside(PutAside { at, reason: Aside::Late { watermark }, .. }) => {
                write!(f, "its time {} is behind the watermark {}", timestamp_text(*at), timestamp_text(*watermark))
            }
            Reason::Aside(PutAside { at, reason: Aside::Ahead { limit }, .. }) => {
                write!(f, "its time {} is ahead of {}, the latest allowed", timestamp_text(*at), timestamp_text(*limit))
            }
        }
    }
}

/// Where a pipeline's results go.
pub trait Sink {
    /// An alert as it leaves.
    fn alert(&mut self, alert: &Alert<'_>);
    /// A line that was not taken.
    fn rejected(&mut self, rejected: Rejected);
}

/// Keeps keys that are not in memory: one value a key.
pub trait Outside: Send {
    /// Takes out those of the named keys that are there. The names are ascending. What saves keep ([`super::store`]) stays there as well.
    fn take(&mut self, names: &[KeyName]) -> Result<Vec<(KeyName, Vec<u8>)>, OutsideError>;
    /// Takes out all keys.
    fn take_all(&mut self) -> Result<Vec<(KeyName, Vec<u8>)>, OutsideError>;
    /// Keeps keys, ascending, of which none is there. Time is at `now`: of what is there, that which has ended may be forgotten.
    fn put(&mut self, cold: Vec<Cold>, now: Millis) -> Result<(), OutsideError>;
}

/// Why keys could not be kept outside memory, or not be taken back.
#[derive(Debug)]
pub enum OutsideError {
    /// What was taken out is not what was put there.
    Corrupt(Corrupt),
    /// It could not be read or written.
    Io(std::io::Error),
}

impl std::fmt::Display for OutsideError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OutsideError::Corrupt(e) => e.fmt(f),
            OutsideError::Io(e) => write!(f, "keys outside memory cannot be read or written: {e}"),
        }
    }
}

impl std::error::Error for OutsideError {}

impl From<Corrupt> for OutsideError {
    fn from(e: Corrupt) -> Self {
        OutsideError::Corrupt(e)
    }
}

impl From<std::io::Error> for OutsideError {
    fn from(e: std::io::Error) -> Self {
        OutsideError::Io(e)
    }
}

/// The data path.
pub struct Pipeline {
    pub(super) options: Options,
    /// The live rule set, and behind it those that take over once time has passed their cut.
    pub(super) generations: VecDeque<Generation>,
    pub(super) sequencer: Sequencer,
    pub(super) shards: Vec<Shard>,
    pub(super) suppressor: Suppressor,
    pub(super) strata: Strata,
    pub(super) totals: Totals,
    /// What was counted outside the shards, or before they were made.
    pub(super) counted: Counters,
    outputs: Vec<Output>,
    /// What is in order and the shards have not seen.
    ahead: Option<Ordered>,
    stages: Stages,
    /// Batches whose memory is used again: fresh memory would cost more than decoding into it.
    spare: Vec<Batch>,
    spare_events: Vec<OrderedEvent>,
    /// Decoders that know shapes, and memory for look-ups.
    decoders: Vec<Decoding>,
    /// Where keys are that are not in memory; none where all are.
    outside: Option<Box<dyn Outside>>,
    /// Whether a key may be there: as long as none has left memory, none is asked for.
    pub(super) is_split: bool,
    pub(super) size: Size,
    failure: Option<OutsideError>,
    /// The rules by processing time.
    pub(super) processing: Option<Processing>,
    /// The reading of the clock, where the caller knows one.
    pub(super) reading: Option<Millis>,
    /// Of rules by processing time: what events get in place of their times, and what leaves.
    pub(super) readings: Option<Readings>,
    pub(super) said: Option<VecDeque<Said>>,
}

impl Pipeline {
    /// A pipeline without state, with a shard for each thread.
    pub fn new(rules: Arc<RuleSet>, options: Options, threads: usize) -> Pipeline {
        let sources = Arc::new(options.sources.clone());
        let hasher = KeyHasher::new(options.secret);
        let mut sequencer = Sequencer::new(options.order, options.lateness);
        sequencer.add_partition((0, 0));
        let processing = rules.by_processing_time().map(|own| Processing::new(own, &options, threads));
        let live = Generation::new(rules, Millis::MIN);
        let rules = &live.rules;
        let shards = (0..threads.max(1))
            .map(|i| Shard::new(rules.clone(), options.limits, hasher, sources.clone(), i, threads.max(1)))
            .collect();
        sequencer.revise(rules.revises());
        sequencer.note_arrivals(processing.is_some());
        Pipeline {
            generations: VecDeque::from([live]),
            sequencer,
            shards,
            suppressor: Suppressor::default(),
            strata: Strata::default(),
            totals: Totals::default(),
            counted: Counters::default(),
            outputs: Vec::new(),
            ahead: None,
            stages: Stages::default(),
            spare: Vec::new(),
            spare_events: Vec::new(),
            decoders: Vec::new(),
            outside: None,
            is_split: false,
            size: Size::default(),
            failure: None,
            processing,
            reading: None,
            readings: None,
            said: None,
            options,
        }
    }

    /// What it has counted.
    pub fn totals(&self) -> Totals {
        let (alerts, suppressed) = self.lane().map_or((0, 0), |lane| (lane.totals.alerts, lane.totals.suppressed));
        Totals { alerts: self.totals.alerts + alerts, suppressed: self.totals.suppressed + suppressed, ..self.totals }
    }

    /// That of the rules by processing time.
    fn lane(&self) -> Option<&Pipeline> {
        self.processing.as_ref().map(|processing| &*processing.lane)
    }

    /// All that it has counted.
    pub fn counted(&self) -> Counted {
        Counted { totals: self.totals(), counters: self.counters() }
    }

    /// How events stand in time.
    pub fn times(&self) -> Times {
        let known = |at: Millis| (at > Millis::MIN).then_some(at);
        Times { watermark: known(self.sequencer.clock()), newest: self.greatest(), waiting: self.sequencer.waiting() }
    }

    /// What its shards have counted.
    pub fn counters(&self) -> Counters {
        plus(self.own_counters(), self.lane().map(Pipeline::counters).unwrap_or_default())
    }

    /// The same without the rules by processing time.
    pub(super) fn own_counters(&self) -> Counters {
        self.shards.iter().map(Shard::counters).fold(self.counted, plus)
    }

    /// Where the time went.
    pub fn stages(&self) -> Stages {
        let (own, lane) = (self.stages, self.lane().map_or(Stages::default(), Pipeline::stages));
        Stages {
            decode: own.decode + lane.decode,
            order: own.order + lane.order,
            step: own.step + lane.step,
            alert: own.alert + lane.alert,
        }
    }

    /// What is taken from here on comes at this reading of the clock, or the latest before where it goes back: rules by processing time go by it.
    /// Without any they go by the greatest time of an event taken so far.
    pub fn set_reading(&mut self, reading: Millis) {
        self.reading = self.reading.max(Some(reading));
    }

    /// Whether rules go by the readings of the clock.
    pub fn goes_by_readings(&self) -> bool {
        self.processing.is_some()
    }

    /// The reading of the clock that a rule by processing time waits for, the least: once that is past it is due.
    pub fn waits_for_reading(&self) -> Option<Millis> {
        self.lane().and_then(Pipeline::waits_until)
    }

    /// Events later than this are put aside from here on.
    pub fn set_limit(&mut self, limit: Millis) {
        self.options.limit = limit;
    }

    /// Keys that hold state in memory.
    pub fn keys(&self) -> usize {
        self.shards.iter().map(Shard::keys).sum::<usize>() + self.lane().map_or(0, Pipeline::keys)
    }

    /// The greatest time of an event taken so far; none before the first.
    pub fn greatest(&self) -> Option<Millis> {
        match self.options.order {
            Order::Arrival => self.sequencer.newest(),
            Order::EventTime => Some(self.sequencer.greatest()).filter(|greatest| *greatest > Millis::MIN),
        }
    }

    /// Where time stands once an event of time `greatest` is the latest.
    pub fn clock_at(&self, greatest: Millis) -> Millis {
        greatest.saturating_sub(self.options.lateness)
    }

    /// The time that something waits for: once that is past it is due. An event that waits for its place, a run that time ends or fires, a window
    /// that closes.
    pub fn waits_until(&self) -> Option<Millis> {
        let timers = self.shards.iter().filter_map(Shard::waits_until).min();
        let event = self.sequencer.waits_until();
        timers.into_iter().chain(event).min()
    }

    /// How events are put in order.
    pub fn order(&self) -> Order {
        self.options.order
    }

    /// Runs that live in memory, by the names of their rules; gathered ones too.
    pub fn runs_by_rule(&self) -> BTreeMap<String, usize> {
        let mut runs = self.lane().map(Pipeline::runs_by_rule).unwrap_or_default();
        for shard in &self.shards {
            for (rule, count) in shard.runs_by_rule().into_iter().enumerate().filter(|(_, count)| *count > 0) {
                *runs.entry(self.generations[0].rules.rules[rule].program.rule.name.clone()).or_default() += count;
            }
        }
        runs
    }

    /// The live rule set, and behind it those that wait for time to pass their cut.
    pub fn generations(&self) -> impl Iterator<Item = &Arc<RuleSet>> {
        self.generations.iter().map(|g| &g.all)
    }

    /// Whether a change of the rule set waits for time to pass its cut.
    pub fn is_changing(&self) -> bool {
        self.generations.len() > 1
    }

    /// Keeps keys outside memory from here on, or none any more; gives what kept them before. What [`Pipeline::save`] writes is what is in
    /// memory: with what was outside at that moment, it is the whole state.
    ///
    /// What was taken has to be settled: see [`Pipeline::settle`].
    pub fn keep_outside(&mut self, outside: Option<Box<dyn Outside>>) -> Option<Box<dyn Outside>> {
        assert!(self.is_settled(), "the shards have seen what was taken");
        std::mem::replace(&mut self.outside, outside)
    }

    /// Why keys could not be put outside memory or taken back. From then on the pipeline moves no further: what it gave would be wrong.
    pub fn failure(&self) -> Option<&OutsideError> {
        self.failure.as_ref()
    }

    /// Puts keys outside memory that `cold` chooses by the time of the newest event that their state remembers; see [`Shard::evict`]. Returns how
    /// many; none where nothing keeps them.
    pub fn evict(&mut self, mut cold: impl FnMut(Millis) -> bool) -> usize {
        if self.failure.is_some() {
            return 0;
        }
        let Some(outside) = &mut self.outside else { return 0 };
        let mut keys: Vec<Cold> = self.shards.iter_mut().flat_map(|shard| shard.evict(&mut cold)).collect();
        keys.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let count = keys.len();
        self.is_split |= count > 0;
        self.failure = outside.put(keys, self.sequencer.clock()).err();
        count
    }

    /// Takes the keys in that the shards need, or all. Returns whether all is well.
    fn take_in(&mut self, needed_by: Option<&Ordered>) -> bool {
        if self.failure.is_some() {
            return false;
        }
        let Some(outside) = self.outside.as_mut().filter(|_| self.is_split) else { return true };
        self.is_split = needed_by.is_some();
        let taken = match needed_by {
            Some(ready) => {
                let mut names: Vec<KeyName> = self.shards.iter().flat_map(|shard| shard.needs(ready)).collect();
                names.sort_unstable();
                outside.take(&names)
            }
            None => outside.take_all().map(|mut keys| {
                // What is kept outside may still be there of keys that are in memory, or have gone from there.
                keys.retain(|(name, _)| !self.shards.iter().any(|shard| shard.knows(name)));
                keys
            }),
        };
        let load = |keys: Vec<(KeyName, Vec<u8>)>| {
            for shard in &mut self.shards {
                let own = keys.iter().filter(|(name, _)| shard.owns(name.group.into()));
                shard.load_keys(own.map(|(name, bytes)| (name, &**bytes)).collect::<Vec<_>>())?;
            }
            Ok(())
        };
        self.failure = taken.and_then(load).err();
        self.failure.is_none()
    }

    /// Puts a rule set in place of the live one from here on. In event-time order events up to the greatest time taken so
    /// far still belong to the old one, whenever they arrive; to rules by processing time only what comes from here on belongs to the new one.
    /// What waits to be reported of rules that changed leaves.
    pub fn swap(&mut self, rules: Arc<RuleSet>, sink: &mut dyn Sink) {
        self.settle(sink);
        self.swap_processing(&rules, sink);
        match self.sequencer.order() {
            Order::Arrival => {
                self.push_generation(rules, Millis::MIN);
                self.put_next_in_force(None, sink);
            }
            Order::EventTime => self.push_generation(rules, self.sequencer.greatest()),
        }
    }

    /// Puts the rules by processing time in place. Where there were none, time has come as far as it was read.
    fn swap_processing(&mut self, rules: &RuleSet, sink: &mut dyn Sink) {
        let next = rules.by_processing_time();
        if next.is_some() && self.processing.is_none() {
            let now = self.reading.or(self.sequencer.newest());
            self.processing = Some(Processing::begin(rules, &self.options, self.shards.len(), now));
        }
        if let Some(processing) = &mut self.processing {
            processing.swap(next.clone().unwrap_or_else(|| rules.without_rules()));
            processing.leave_round(sink);
        }
        if next.is_none() {
            let of_lane = self.lane().map(Pipeline::counters).unwrap_or_default();
            (self.totals, self.counted) = (self.totals(), plus(self.counted, of_lane));
            self.processing = None;
        }
        self.sequencer.note_arrivals(self.processing.is_some() || self.said.is_some());
    }

    fn push_generation(&mut self, rules: Arc<RuleSet>, above: Millis) {
        let newest = self.generations.back().expect("there is a live generation");
        let next = newest.next(rules, above);
        self.generations.push_back(next);
        self.revise();
    }

    /// Late events are for the rules of all generations.
    pub(super) fn revise(&mut self) {
        self.sequencer.revise(self.generations.iter().any(|g| g.rules.revises()));
    }

    /// Hands the next generation to the shards.
    fn put_next_in_force(&mut self, came: Option<Origin>, sink: &mut dyn Sink) {
        let next = &self.generations[1].rules;
        if next.shares_programs(&self.generations[0].rules) {
            self.shards.iter_mut().for_each(|shard| shard.swap_data(next.clone()));
            self.generations.pop_front();
            return;
        }
        // The new rule set has other numbers than those under which keys went out.
        if !self.take_in(None) {
            return;
        }
        let next = self.generations[1].rules.clone();
        for shard in &mut self.shards {
            shard.swap(next.clone(), &mut self.outputs);
        }
        // What leaves now is still the old one's.
        self.merge(|_| came, sink);
        let old = self.generations.pop_front().expect("the live generation is the first");
        self.suppressor.keep_rules(&old.rules, &next);
    }

    /// Takes whole lines or records in their order. Returns how many there were, empty ones too.
    pub fn take<'a>(&mut self, input: impl Into<Input<'a>>, sink: &mut dyn Sink) -> u64 {
        let taken = self.take_ahead(input, sink);
        self.settle(sink);
        taken
    }

    /// As [`Pipeline::take`], but with several threads what the input gave may leave with the next call, or with [`Pipeline::settle`].
    pub fn take_ahead<'a>(&mut self, input: impl Into<Input<'a>>, sink: &mut dyn Sink) -> u64 {
        let input = input.into();
        let crosses = |ahead: &Ordered| self.generations.get(1).is_some_and(|next| ahead.until > next.above);
        if self.ahead.as_ref().is_some_and(crosses) {
            self.settle(sink);
        }
        if let Some(processing) = &mut self.processing {
            processing.take(&input, self.reading, self.options.limit);
        }
        let generations: Vec<Generation> = self.generations.iter().cloned().collect();
        // Generations that differ in lists and tables alone read the same of a line.
        let families: Vec<&[Generation]> = generations.chunk_by(|a, b| a.rules.shares_programs(&b.rules)).collect();
        let (decoded, stepped) = self.round(&families, &input);
        if let Some(stepped) = stepped {
            self.climb(&stepped);
            self.merge(|place| stepped.came(place.sequence, place.deadline), sink);
            self.recycle(stepped);
            self.leave_round(sink);
        }
        let decoded_at = Instant::now();
        let mut ready = Ordered { events: std::mem::take(&mut self.spare_events), ..Ordered::default() };
        let mut aside = Vec::new();
        let mut taken = 0;
        let mut parts = Vec::new();
        let mut rejected = Vec::new();
        let newest = families.len() - 1;
        for (f, pieces) in decoded.into_iter().enumerate() {
            // What is older than all of them is the live one's, which finds it late.
            let above = if f == 0 { Millis::MIN } else { families[f][0].above };
            let up_to = families.get(f + 1).map_or(Millis::MAX, |next| next[0].above);
            for piece in pieces {
                self.counted.rule_errors += piece.errors;
                if f == newest {
                    taken += piece.taken;
                    self.totals.lines += piece.lines;
                    self.totals.unknown += piece.unknown;
                    self.totals.unused += piece.unused;
                    self.totals.unreadable_fields += piece.unreadable;
                    rejected.extend(piece.rejected);
                }
                parts.push(Part { batch: Arc::new(piece.batch), above, up_to });
            }
        }
        if newest > 0 {
            // A line that an older rule set can read is not lost.
            let old = parts.iter().filter(|p| p.up_to != Millis::MAX);
            let read: BTreeSet<Origin> =
                old.flat_map(|p| p.batch.rows.iter().filter(|r| r.at <= p.up_to).map(|r| r.origin)).collect();
            rejected.retain(|r| !read.contains(&r.origin));
        }
        self.totals.rejected += rejected.len() as u64;
        rejected.into_iter().for_each(|r| sink.rejected(r));
        self.totals.events += self.sequencer.take(parts, self.options.limit, &mut ready, &mut aside);
        self.totals.aside += aside.len() as u64;
        for put in aside {
            sink.rejected(Rejected { origin: put.origin, reason: Reason::Aside(put) });
        }
        self.stages.order += decoded_at.elapsed().as_secs_f64();
        self.ahead = Some(ready);
        if self.shards.len() == 1 || self.outside.is_some() {
            self.settle(sink);
        }
        taken
    }

    /// Moves the shards over all that was taken.
    pub fn settle(&mut self, sink: &mut dyn Sink) {
        if let Some(ready) = self.ahead.take() {
            self.advance(ready, sink);
        }
    }

    /// Whether the shards have seen all that was taken.
    pub fn is_settled(&self) -> bool {
        self.ahead.is_none()
    }

    /// Time passes without events.
    pub fn advance_to(&mut self, time: Millis, sink: &mut dyn Sink) {
        self.settle(sink);
        if let Some(processing) = &mut self.processing {
            processing.advance_to(self.reading.unwrap_or(time));
        }
        let mut ready = Ordered::default();
        self.sequencer.advance_to(time, &mut ready);
        self.advance(ready, sink);
    }

    /// Makes a partition of a source known, which holds time back until its first event.
    pub fn add_partition(&mut self, source: u16, partition: u16) {
        self.sequencer.add_partition((source, partition));
    }

    /// Declares a partition idle: until its next event it holds time back no more.
    pub fn set_idle(&mut self, source: u16, partition: u16, sink: &mut dyn Sink) {
        self.settle(sink);
        self.sequencer.set_idle((source, partition));
        let mut ready = Ordered::default();
        self.sequencer.take(Vec::new(), self.options.limit, &mut ready, &mut Vec::new());
        self.advance(ready, sink);
    }

    /// The end of the input is the end of time.
    pub fn finish(&mut self, sink: &mut dyn Sink) {
        self.settle(sink);
        if let Some(processing) = &mut self.processing {
            processing.finish();
        }
        let mut ready = Ordered::default();
        self.sequencer.finish(&mut ready);
        self.advance(ready, sink);
    }

    /// Moves the shards' lowest stratum over what is in order, which is given back, and decodes lines by each family of generations that
    /// have the same programs.
    fn round(&mut self, families: &[&[Generation]], input: &Input<'_>) -> (Vec<Vec<Decoded>>, Option<Ordered>) {
        let started = Instant::now();
        // Where readings go by the events, each depends on all before it.
        let pieces = split(input, if self.reads_one_by_one() { 1 } else { self.shards.len() });
        let jobs = Jobs { families, pieces: &pieces, next: AtomicUsize::new(0), readings: self.readings };
        let mut batches = std::mem::take(&mut self.spare);
        let share = batches.len().div_ceil(self.shards.len());
        let mut hands: Vec<Hands> = Vec::with_capacity(self.shards.len());
        for _ in 0..self.shards.len() {
            let decoding = families.iter().map(|family| self.decoding(&family[0])).collect();
            hands.push(Hands { decoding, batches: batches.split_off(batches.len().saturating_sub(share)) });
        }
        let ahead = self.ahead.take();
        let work = |shard: &mut Shard, hands: Hands| {
            let mut outputs = Vec::new();
            if let Some(ready) = &ahead {
                shard.step(ready, &mut outputs);
            }
            (outputs, Instant::now(), jobs.decode(hands))
        };
        let mut hands = hands.into_iter();
        let (stepped, done) = std::thread::scope(|scope| {
            let (first, others) = self.shards.split_first_mut().expect("there is at least one shard");
            let own = hands.next().expect("each shard has a pair");
            let handles: Vec<_> =
                others.iter_mut().zip(hands).map(|(shard, hands)| scope.spawn(|| work(shard, hands))).collect();
            let (outputs, stepped, decoded) = work(first, own);
            let mut done = vec![(outputs, decoded)];
            for handle in handles {
                let (outputs, _, decoded) = handle.join().expect("a shard's thread does not panic");
                done.push((outputs, decoded));
            }
            (stepped, done)
        });
        let mut decoded: Vec<(usize, Decoded)> = Vec::with_capacity(families.len() * pieces.len());
        for (outputs, (own, hands)) in done {
            self.outputs.extend(outputs);
            decoded.extend(own);
            self.decoders.extend(hands.decoding);
            self.spare.extend(hands.batches);
        }
        decoded.sort_unstable_by_key(|(job, _)| *job);
        let mut decoded = decoded.into_iter().map(|(_, lines)| lines);
        let lines = matches!(input, Input::Lines(_));
        let mut of_family = |_| -> Vec<Decoded> {
            let pieces = decoded.by_ref().take(pieces.len()).collect();
            if lines { numbered(pieces) } else { pieces }
        };
        let by_family = families.iter().map(&mut of_family).collect();
        self.stages.step += (stepped - started).as_secs_f64();
        self.stages.decode += stepped.elapsed().as_secs_f64();
        (by_family, ahead)
    }

    /// A decoder for a rule set: one that has decoded for it before, if there is one.
    fn decoding(&mut self, generation: &Generation) -> Decoding {
        let known = self.decoders.iter().position(|d| Arc::ptr_eq(d.decoder.plan(), &generation.plan));
        match known {
            Some(i) => self.decoders.swap_remove(i),
            None => {
                let live = &self.generations;
                self.decoders.retain(|d| live.iter().any(|g| Arc::ptr_eq(&g.plan, d.decoder.plan())));
                let decoder = Decoder::new(generation.plan.clone());
                let rules = &generation.rules;
                Decoding {
                    decoder,
                    begins: rules.index.scratch(),
                    uses: rules.uses.scratch(),
                    asks: rules.asks.scratch(),
                }
            }
        }
    }

    /// Keeps the memory of batches that nothing waits in.
    fn recycle(&mut self, ready: Ordered) {
        for batch in ready.batches {
            if let Some(mut batch) =
                Arc::into_inner(batch).filter(|_| self.spare.len() < 2 * PIECES_MAX * self.shards.len())
            {
                batch.clear();
                self.spare.push(batch);
            }
        }
        self.spare_events = ready.events;
        self.spare_events.clear();
    }

    fn reads_one_by_one(&self) -> bool {
        self.readings.is_some_and(|readings| readings.go_by_events())
    }

    /// What the rules by processing time gave of what the others are through with leaves.
    fn leave_round(&mut self, sink: &mut dyn Sink) {
        if let Some(processing) = &mut self.processing {
            processing.leave_round(sink);
        }
    }

    /// Moves the shards over what is ready; where time passes the cut of a new rule set, that takes over there.
    fn advance(&mut self, mut ready: Ordered, sink: &mut dyn Sink) {
        while let Some(cut) = self.generations.get(1).map(|g| g.above)
            && ready.until > cut
            && self.failure.is_none()
        {
            let old = ready.events.partition_point(|e| e.clock <= cut);
            let rest = ready.events.split_off(old);
            let next_sequence = rest.first().map_or(ready.next_sequence, |e| e.sequence);
            let until = cut.saturating_add(1);
            let (batches, arrivals) = (ready.batches.clone(), ready.arrivals.clone());
            let Ordered { since, newest, stratum, .. } = ready;
            let events = ready.events;
            let before = Ordered { batches, events, until, next_sequence, since, newest, arrivals, stratum };
            self.step(&before, sink);
            self.put_next_in_force(before.came(0, cut), sink);
            ready.events = rest;
        }
        self.step(&ready, sink);
        self.recycle(ready);
        self.leave_round(sink);
    }

    fn step(&mut self, ready: &Ordered, sink: &mut dyn Sink) {
        let started = Instant::now();
        let Some(outputs) = self.step_shards(ready) else { return };
        self.outputs.extend(outputs);
        self.climb(ready);
        let stepped = Instant::now();
        self.merge(|place| ready.came(place.sequence, place.deadline), sink);
        self.stages.step += (stepped - started).as_secs_f64();
        self.stages.alert += stepped.elapsed().as_secs_f64();
    }

    /// Leads the strata above the lowest over what that was led over, and gave.
    fn climb(&mut self, ready: &Ordered) {
        let rules = self.generations[0].rules.clone();
        if !rules.derives {
            return;
        }
        let first = std::mem::take(&mut self.outputs);
        let mut strata = std::mem::take(&mut self.strata);
        let mut suppressor = std::mem::take(&mut self.suppressor);
        let climbed = strata.climb(&rules, ready, first, &mut suppressor, |input| self.step_shards(input));
        self.strata = strata;
        self.suppressor = suppressor;
        self.totals.suppressed += climbed.held;
        self.counted.rule_errors += climbed.errors;
        self.outputs = climbed.outputs;
    }

    /// Moves one stratum of all shards; none where keys could not be taken in.
    fn step_shards(&mut self, ready: &Ordered) -> Option<Vec<Output>> {
        if !self.take_in(Some(ready)) {
            return None;
        }
        let mut outputs = Vec::new();
        if let [shard] = self.shards.as_mut_slice() {
            shard.step(ready, &mut outputs);
        } else {
            std::thread::scope(|scope| {
                let (first, others) = self.shards.split_first_mut().expect("there is at least one shard");
                let handles: Vec<_> = others
                    .iter_mut()
                    .map(|shard| {
                        scope.spawn(move || {
                            let mut own = Vec::new();
                            shard.step(ready, &mut own);
                            own
                        })
                    })
                    .collect();
                first.step(ready, &mut outputs);
                for handle in handles {
                    outputs.extend(handle.join().expect("a shard's thread does not panic"));
                }
            });
        }
        Some(outputs)
    }

    /// Puts what the shards gave in one order and lets what is not held back leave. `came` tells which event that was read let something happen.
    fn merge(&mut self, came: impl Fn(&Place) -> Option<Origin>, sink: &mut dyn Sink) {
        let mut outputs = std::mem::take(&mut self.outputs);
        outputs.sort_by(|a, b| a.place.cmp(&b.place));
        let rules = self.generations[0].rules.clone();
        for output in outputs.drain(..) {
            match self.suppressor.judge(&output.body, &rules) {
                Verdict::Held => self.totals.suppressed += 1,
                Verdict::Passes(suppressed) => {
                    self.totals.alerts += 1;
                    if let Some(processing) = &mut self.processing {
                        processing.leave(came(&output.place), sink);
                    }
                    if let Some(said) = &mut self.said {
                        let came = came(&output.place);
                        said.push_back(Said { came, body: output.body, suppressed, rules: rules.clone() });
                        continue;
                    }
                    let alert = Alert { body: &output.body, rules: &rules, sources: &self.options.sources, suppressed };
                    sink.alert(&alert);
                }
            }
        }
        self.outputs = outputs;
    }
}

fn plus(a: Counters, b: Counters) -> Counters {
    Counters {
        rule_errors: a.rule_errors + b.rule_errors,
        missing_keys: a.missing_keys + b.missing_keys,
        runs_capped: a.runs_capped + b.runs_capped,
    }
}
