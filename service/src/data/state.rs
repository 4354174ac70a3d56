//! A pipeline as bytes: all that the next events can depend on, and the totals. Whole, or what has changed since the last save.
//!
//! The bytes name rules and fields by their index in the rule sets they were saved under: the caller keeps the texts of
//! [`Pipeline::generations`] beside them, and hands in the same sets. What does not fit is refused, not guessed.

use std::sync::Arc;

use lapwing_engine::order::Order;
use lapwing_engine::rule_set::RuleSet;
use lapwing_engine::shard::outside::KeyName;
use lapwing_engine::shard::saving::Change;
use lapwing_engine::shard::{Counters, Shard};
use lapwing_engine::slot::GROUPS;
use lapwing_engine::store::codec::{Corrupt, Reader, Writer};
use lapwing_engine::store::rest::{Judge, load_sequencer, load_suppressor, save_sequencer, save_suppressor};
use lapwing_engine::store::seal;
use lapwing_engine::strata::Strata;

use super::lines::Generation;
use super::pipeline::{Options, Pipeline};
use super::processing::Processing;
use super::store::Changes;
use super::totals::{Size, Totals};

/// From this version of the format on there are rules by processing time.
const READINGS_VERSION: u16 = 8;

impl Pipeline {
    /// The state between two calls, as bytes. They do not depend on the number of threads. What was taken has to be settled: see
    /// [`Pipeline::settle`].
    pub fn save(&self) -> Vec<u8> {
        self.save_with(Shard::save_group)
    }

    /// Notes from here on what changes, for [`Pipeline::changes`]. As of now no save knows anything: all has changed.
    pub fn note_changes(&mut self) {
        self.shards.iter_mut().for_each(Shard::note_changes);
    }

    /// What a save has to write that follows the last one, which it is from here on. What was taken has to be settled.
    pub fn changes(&mut self) -> Changes {
        let rest = self.save_with(Shard::save_group_without_keys);
        let all = self.shards.iter().any(Shard::saves_all);
        let mut keys: Vec<Change> = self.shards.iter_mut().flat_map(Shard::changes).collect();
        keys.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Changes { all, keys, rest, clock: self.sequencer.clock() }
    }

    /// Drops keys from memory that the last save holds, the longest untouched first, until the state takes about `most` bytes: not below that while more
    /// has to stay. Returns how many went. They are taken back from what [`Pipeline::keep_outside`] was given.
    pub fn drop_saved(&mut self, most: usize) -> usize {
        let (mut size, mut cold) = (Size::default(), Vec::new());
        for shard in &self.shards {
            shard.sizes(|newest, bytes| {
                size.keys += 1;
                size.bytes += bytes;
                cold.extend(newest.map(|newest| (newest, bytes)));
            });
        }
        self.size = size;
        let mut all = size.bytes;
        if all <= most || self.failure().is_some() {
            return 0;
        }
        cold.sort_unstable();
        let mut until = None;
        for (newest, bytes) in cold {
            if all <= most {
                break;
            }
            all -= bytes;
            until = Some(newest);
        }
        let Some(until) = until else { return 0 };
        let dropped = self.shards.iter_mut().map(|shard| shard.drop_saved(|newest| newest <= until)).sum();
        self.is_split |= dropped > 0;
        self.size = Size { keys: size.keys - dropped, bytes: all };
        dropped
    }

    /// How much was in memory when [`Pipeline::drop_saved`] last looked.
    pub fn size(&self) -> Size {
        self.size
    }

    fn save_with(&self, save_group: impl Fn(&Shard, usize) -> Option<Vec<u8>>) -> Vec<u8> {
        assert!(self.is_settled(), "the shards have seen what was taken");
        let mut w = Writer::default();
        w.bool(self.options.order == Order::EventTime);
        w.list(self.generations.iter(), |w, g| {
            w.i64(g.above);
            save_names(w, &g.all);
        });
        save_totals(&mut w, &self.totals);
        save_counters(&mut w, &self.own_counters());
        w.slice(&save_sequencer(&self.sequencer));
        w.slice(&save_suppressor(&self.suppressor));
        let group = |g: usize| self.shards.iter().find_map(|shard| save_group(shard, g)).map(|bytes| (g, bytes));
        let groups: Vec<(usize, Vec<u8>)> = (0..=GROUPS).filter_map(group).collect();
        w.list(groups.iter(), |w, (number, bytes)| {
            w.len(*number);
            w.slice(bytes);
        });
        self.strata.save(&mut w);
        w.option(self.reading, |w, reading| w.i64(reading));
        w.option(self.processing.as_ref(), |w, processing| w.slice(&processing.lane.save()));
        seal::seal(&w.bytes)
    }

    /// The order of events that a pipeline was saved under.
    pub fn order_of(bytes: &[u8]) -> Result<Order, Corrupt> {
        Ok(if seal::open(bytes)?.bool()? { Order::EventTime } else { Order::Arrival })
    }

    /// A pipeline that goes on from where one was saved. `rules` are the sets that [`Pipeline::generations`] gave then; the number
    /// of threads is free.
    pub fn load(rules: Vec<Arc<RuleSet>>, options: Options, threads: usize, bytes: &[u8]) -> Result<Pipeline, Corrupt> {
        let mut pipeline = Pipeline::load_groups(rules, options, threads, bytes)?;
        pipeline.resume();
        Ok(pipeline)
    }

    /// A pipeline that goes on from the last save of a store: `rest` is what that holds beside the keys, `read` hands its keys in. Those that it
    /// does not are outside.
    pub fn load_saved<E: From<Corrupt>>(
        rules: Vec<Arc<RuleSet>>,
        options: Options,
        threads: usize,
        rest: &[u8],
        read: impl FnOnce(&mut dyn FnMut(&KeyName, &[u8]) -> Result<(), Corrupt>) -> Result<(), E>,
    ) -> Result<Pipeline, E> {
        let mut pipeline = Pipeline::load_groups(rules, options, threads, rest)?;
        let shards = &mut pipeline.shards;
        shards.iter_mut().for_each(Shard::go_on_saving);
        read(&mut |name, bytes| {
            let shard = shards.iter_mut().find(|shard| shard.owns(name.group.into()));
            shard.ok_or(Corrupt("a key group is nobody's"))?.load_saved(name, bytes)
        })?;
        pipeline.resume();
        Ok(pipeline)
    }

    fn resume(&mut self) {
        let clock = self.sequencer.clock();
        self.shards.iter_mut().for_each(|shard| shard.resume(clock));
    }

    fn load_groups(
        rules: Vec<Arc<RuleSet>>,
        options: Options,
        threads: usize,
        bytes: &[u8],
    ) -> Result<Pipeline, Corrupt> {
        let mut r = seal::open(bytes)?;
        if r.bool()? != (options.order == Order::EventTime) {
            return Err(Corrupt("it was saved under another order of events"));
        }
        let cuts = load_generations(&mut r, &rules)?;
        let live = rules.first().ok_or(Corrupt("it belongs to no rule set"))?.clone();
        let mut pipeline = Pipeline::new(live, options, threads);
        // What was saved may lie in two places.
        pipeline.is_split = true;
        pipeline.generations.clear();
        for (rules, above) in rules.into_iter().zip(cuts) {
            let next = match pipeline.generations.back() {
                Some(before) => before.next(rules, above),
                None => Generation::new(rules, above),
            };
            pipeline.generations.push_back(next);
        }
        pipeline.totals = load_totals(&mut r)?;
        pipeline.counted = load_counters(&mut r)?;
        pipeline.revise();
        let judges: Vec<Judge> = pipeline.generations.iter().map(judge).collect();
        load_sequencer(r.slice()?, &judges, &mut pipeline.sequencer)?;
        pipeline.suppressor = load_suppressor(r.slice()?)?;
        for _ in 0..r.len()? {
            let number = r.u64()? as usize;
            let shard = pipeline.shards.iter_mut().find(|shard| shard.owns(number));
            shard.ok_or(Corrupt("a key group is nobody's"))?.load_group(number, r.slice()?)?;
        }
        if r.version() >= 5 {
            pipeline.strata = Strata::load(&mut r)?;
        }
        let newest = pipeline.generations.back().expect("there is a live generation").all.clone();
        if r.version() >= READINGS_VERSION {
            pipeline.reading = r.option(|r| r.i64())?;
            let own = newest.by_processing_time();
            let bytes = r.option(|r| r.slice())?;
            if own.is_some() != bytes.is_some() {
                return Err(Corrupt("rules by processing time and their state do not go together"));
            }
            let load = |(own, bytes)| Processing::load(own, &pipeline.options, threads, bytes);
            pipeline.processing = own.zip(bytes).map(load).transpose()?;
            pipeline.sequencer.note_arrivals(pipeline.processing.is_some());
        }
        r.end()?;
        Ok(pipeline)
    }
}

fn judge(generation: &Generation) -> Judge {
    Judge { rules: generation.rules.clone(), layout: generation.plan.layout.clone(), above: generation.above }
}

fn save_names(w: &mut Writer, rules: &RuleSet) {
    w.list(rules.rules.iter(), |w, rule| {
        w.str(&rule.program.rule.name);
        w.u64(rule.version.into());
    });
}

/// The cuts of the rule sets, which have to be those that were saved.
fn load_generations(r: &mut Reader<'_>, rules: &[Arc<RuleSet>]) -> Result<Vec<i64>, Corrupt> {
    let mut given = rules.iter();
    let cuts = r.list(|r| {
        let above = r.i64()?;
        let saved = r.list(|r| Ok((r.str()?.to_owned(), r.u32()?)))?;
        let same = given.next().is_some_and(|set| {
            saved.len() == set.rules.len()
                && saved
                    .iter()
                    .zip(&set.rules)
                    .all(|((name, version), rule)| *name == rule.program.rule.name && *version == rule.version)
        });
        if same { Ok(above) } else { Err(Corrupt("it was saved under other rules")) }
    })?;
    if given.next().is_some() { Err(Corrupt("it was saved under fewer rule sets")) } else { Ok(cuts) }
}

fn save_totals(w: &mut Writer, t: &Totals) {
    let Totals { lines, events, rejected, aside, unknown, unused, unreadable_fields, alerts, suppressed } = *t;
    let all = [lines, events, rejected, aside, unknown, unused, unreadable_fields, alerts, suppressed];
    all.into_iter().for_each(|n| w.u64(n));
}

fn load_totals(r: &mut Reader<'_>) -> Result<Totals, Corrupt> {
    Ok(Totals {
        lines: r.u64()?,
        events: r.u64()?,
        rejected: r.u64()?,
        aside: r.u64()?,
        unknown: r.u64()?,
        unused: r.u64()?,
        unreadable_fields: r.u64()?,
        alerts: r.u64()?,
        suppressed: r.u64()?,
    })
}

fn save_counters(w: &mut Writer, c: &Counters) {
    let Counters { rule_errors, missing_keys, runs_capped } = *c;
    [rule_errors, missing_keys, runs_capped].into_iter().for_each(|n| w.u64(n));
}

fn load_counters(r: &mut Reader<'_>) -> Result<Counters, Corrupt> {
    Ok(Counters { rule_errors: r.u64()?, missing_keys: r.u64()?, runs_capped: r.u64()? })
}
