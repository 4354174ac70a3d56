//! The saved state of a service's matcher, with its place in the log.
//!
//! Saves are written beside the matcher ([`super::store`]). What was not touched for longest is on the disk alone, so that the state takes about as much
//! memory as it may.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapwing_engine::order::Order;
use lapwing_engine::rule_set::RuleSet;
use lapwing_engine::store::codec::{Corrupt, Writer};
use lapwing_engine::store::seal;

use super::event_log;
use super::pipeline::{Options as Of, Pipeline};
use super::store::{Options, Store};

/// What the store reads is kept in memory up to so many bytes, and up to this share of what the state may take.
const CACHE_MAX: usize = 64 << 20;
const CACHE_SHARE: usize = 8;

/// Of what the state may take in memory, this share of lines is judged before cold keys leave again.
const JUDGED_SHARE: usize = 8;

/// Where a saved state stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Everything in the log before it is in the state.
    pub log: event_log::Place,
    /// The number of the last change that took over before it.
    pub applied: u64,
    /// How many rule sets the state belongs to: those of the last changes.
    pub generations: u64,
}

/// A state that was saved.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Where it stands.
    pub place: Place,
    /// What it is beside the keys.
    rest: Vec<u8>,
}

/// Where states are saved: the last one stays.
pub struct Checkpoints {
    store: Store,
    every: Duration,
    last: Instant,
    memory: usize,
    /// Bytes of lines judged since the last save.
    judged: usize,
    /// The place in the log of the save that is under way.
    under_way: Option<event_log::Place>,
}

impl Checkpoints {
    /// Those of a folder, and the last one, if there is any. The state may take about so many bytes of memory.
    pub fn open(folder: &Path, every: Duration, memory: u64) -> Result<(Checkpoints, Option<Checkpoint>), String> {
        let memory = usize::try_from(memory).unwrap_or(usize::MAX);
        let options = Options { cache: (memory / CACHE_SHARE).min(CACHE_MAX), ..Options::default() };
        let (store, last) = open(folder, options)?;
        let checkpoints = Checkpoints { store, every, last: Instant::now(), memory, judged: 0, under_way: None };
        Ok((checkpoints, last))
    }

    /// The pipeline of the last state, under the rule sets that it belongs to.
    pub fn load(&self, last: &Checkpoint, sets: Vec<Arc<RuleSet>>, of: Of, threads: usize) -> Result<Pipeline, String> {
        let mut pipeline = self.store.load(sets, of, threads, &last.rest, false).map_err(|e| e.to_string())?;
        pipeline.keep_outside(Some(self.store.outside()));
        Ok(pipeline)
    }

    /// Saves a pipeline that begins.
    pub fn keep(&self, pipeline: &mut Pipeline) {
        pipeline.note_changes();
        pipeline.keep_outside(Some(self.store.outside()));
    }

    /// So many bytes of lines were judged.
    pub fn has_judged(&mut self, bytes: usize) {
        self.judged += bytes;
    }

    /// Whether it is time to save: that was long ago, or much may have come into memory since.
    pub fn is_due(&self) -> bool {
        self.under_way.is_none() && (self.judged > self.memory / JUDGED_SHARE || self.last.elapsed() >= self.every)
    }

    /// Begins to save what has changed since the last save, which has ended. Cold keys leave memory.
    pub fn begin(&mut self, place: Place, pipeline: &mut Pipeline) {
        self.store.save(pipeline.changes(), encode(&place));
        self.under_way = Some(place.log);
        (self.last, self.judged) = (Instant::now(), 0);
        // What comes in before the next save has to find room as well.
        pipeline.drop_saved(self.memory / 4 * 3);
    }

    /// What became of the save that was under way, once that is known: the place in the log up to which all is saved.
    pub fn poll(&mut self) -> Option<Result<event_log::Place, String>> {
        let done = self.store.poll()?;
        Some(self.ended(done.map(|_| ()).map_err(|e| e.to_string())))
    }

    /// Waits for the save that is under way, and gives the same.
    pub fn wait(&mut self) -> Option<Result<event_log::Place, String>> {
        let done = self.store.wait()?;
        Some(self.ended(done.map(|_| ()).map_err(|e| e.to_string())))
    }

    fn ended(&mut self, done: Result<(), String>) -> Result<event_log::Place, String> {
        let place = self.under_way.take().unwrap_or_default();
        done.map(|()| place)
    }
}

/// A state that is only looked at: a service may be writing to its folder.
pub struct Looked {
    store: Store,
    /// The last one that was saved.
    pub last: Checkpoint,
}

impl Looked {
    /// The last state of a folder; none where none was saved.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(folder: &Path) -> Result<Option<Looked>, String> {
        if !Store::is_in(folder) {
            return Ok(None);
        }
        let (store, last) = open(folder, Options { read_only: true, ..Options::default() })?;
        Ok(last.map(|last| Looked { store, last }))
    }

    /// The pipeline with all its keys, under the rule sets that it belongs to.
    ///
    /// # Errors
    /// What is there does not belong to them, or is damaged.
    pub fn load(&self, sets: Vec<Arc<RuleSet>>, of: Of) -> Result<Pipeline, String> {
        self.store.load(sets, of, 1, &self.last.rest, true).map_err(|e| e.to_string())
    }

    /// The order of events that it was saved under.
    ///
    /// # Errors
    /// It is damaged.
    pub fn order(&self) -> Result<Order, String> {
        Pipeline::order_of(&self.last.rest).map_err(|e| e.to_string())
    }
}

fn open(folder: &Path, options: Options) -> Result<(Store, Option<Checkpoint>), String> {
    let (store, saved) = Store::open(folder, options).map_err(|e| e.to_string())?;
    let last = saved.map(|saved| Ok(Checkpoint { place: decode(&saved.place)?, rest: saved.rest })).transpose();
    let last = last.map_err(|e: Corrupt| format!("the state in `{}`: {e}", folder.display()))?;
    Ok((store, last))
}

fn encode(place: &Place) -> Vec<u8> {
    let mut w = Writer::default();
    [place.log.offset, place.applied, place.generations].into_iter().for_each(|n| w.u64(n));
    if !place.log.more.is_empty() {
        w.slice(&place.log.more);
    }
    seal::seal(&w.bytes)
}

fn decode(bytes: &[u8]) -> Result<Place, Corrupt> {
    let mut r = seal::open(bytes)?;
    let (offset, applied, generations) = (r.u64()?, r.u64()?, r.u64()?);
    let more = if r.is_empty() { Vec::new() } else { r.slice()?.to_vec() };
    r.end()?;
    Ok(Place { log: event_log::Place { offset, more }, applied, generations })
}
