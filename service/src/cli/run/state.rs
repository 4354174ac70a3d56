//! `--state DIR`: where a run was, so that it goes on exactly there.
//!
//! The state is saved between two batches of lines: first the outputs are brought to the disk, then the place in the input, the lengths of the
//! outputs and what has changed of the engine's state go to the store ([`crate::data::store`]), whose thread saves them all at once while the run
//! goes on. A run that was killed cuts its outputs back to the lengths that were saved last and reads on from that place.
//!
//! Copies, and what earlier versions saved, are one file with the place and the whole state. Where a folder holds one, a run goes on from it; the
//! first save takes its place.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapwing_engine::rule_set::RuleSet;
use lapwing_engine::store::codec::{Corrupt, Writer as Bytes};
use lapwing_engine::store::seal;
use sha2::{Digest, Sha256};

use super::writer::Written;
use crate::control::story::Story;
use crate::data::pipeline::{Options as Of, Pipeline};
use crate::data::replace::replace;
use crate::data::store::{Options, Store};

/// How much of the input's beginning tells whether it is the same file.
const HEAD_BYTES: u64 = 4_096;

/// The name of a whole state in its folder.
const FILE: &str = "run.state";

/// The name of the store in the folder.
const STORE: &str = "store";

/// What the store reads is kept in memory up to so many bytes, and up to this share of what the state may take.
const CACHE_MAX: usize = 64 << 20;
const CACHE_SHARE: usize = 8;

/// Of a bound of the memory, this share of the input is read before cold keys leave again.
const READ_SHARE: usize = 8;

/// The folder of a run's state.
pub struct StateFolder {
    path: PathBuf,
    interval: Duration,
    last: Instant,
    store: Store,
    saved: Option<Saved>,
    /// Whether there is a state of an earlier version, in whose place the first save is put.
    replaces: bool,
    /// Bytes that the state may take in memory, and those of the input since the last save.
    memory: Option<usize>,
    read: usize,
}

/// A run's place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Bytes of the input that were judged.
    pub offset: u64,
    /// Lines of the input that were judged.
    pub lines: u64,
    /// What the outputs held.
    pub written: Written,
    /// Whether the end of the input was judged too.
    pub done: bool,
    /// Control messages carried out or refused.
    pub applied: u64,
    /// Digest of the rules.
    pub rules: Vec<u8>,
    /// Digest of the input's beginning.
    pub head: Vec<u8>,
    /// How many rule sets the engine's state belongs to: the last ones.
    pub generations: u64,
    /// How these came to be; empty where the format kept none.
    pub story: Story,
    /// The engine's state; where a store holds the keys, all but those.
    pub pipeline: Vec<u8>,
}

impl StateFolder {
    /// Opens the folder, and makes it where there is none. `memory` is how many bytes the state may take there.
    pub fn open(path: &Path, interval: Duration, memory: Option<usize>) -> Result<StateFolder, String> {
        fs::create_dir_all(path).map_err(|e| format!("cannot use the state folder `{}`: {e}", path.display()))?;
        let cache = memory.map_or(CACHE_MAX, |memory| (memory / CACHE_SHARE).min(CACHE_MAX));
        let (store, saved) = open_store(path, Options { cache, ..Options::default() })?;
        let (saved, replaces) = match saved {
            Some(saved) => (Some(saved), false),
            None => (read(&path.join(FILE))?, path.join(FILE).exists()),
        };
        let path = path.to_owned();
        Ok(StateFolder { path, interval, last: Instant::now(), store, saved, replaces, memory, read: 0 })
    }

    /// What was saved last; none where nothing was.
    pub fn saved(&self) -> Option<&Saved> {
        self.saved.as_ref()
    }

    /// The pipeline as it was saved. With a bound of its memory, keys come in when they are needed.
    pub fn load(&self, saved: &Saved, sets: Vec<Arc<RuleSet>>, of: Of, threads: usize) -> Result<Pipeline, String> {
        match self.replaces {
            true => Pipeline::load(sets, of, threads, &saved.pipeline).map_err(|e| e.to_string()),
            false => {
                let all = self.memory.is_none();
                self.store.load(sets, of, threads, &saved.pipeline, all).map_err(|e| e.to_string())
            }
        }
    }

    /// Keeps what a pipeline saves and, where its memory is bounded, its cold keys.
    pub fn keep(&self, pipeline: &mut Pipeline) {
        if self.replaces || self.saved.is_none() {
            pipeline.note_changes();
        }
        if self.memory.is_some() {
            pipeline.keep_outside(Some(self.store.outside()));
        }
    }

    /// So many bytes of the input were judged.
    pub fn has_read(&mut self, bytes: usize) {
        self.read += bytes;
    }

    /// Whether it is time to save: that was long ago, or much may have come into memory since.
    pub fn is_due(&self) -> bool {
        let much = self.memory.is_some_and(|memory| self.read > memory / READ_SHARE);
        self.store.is_idle() && (much || self.last.elapsed() >= self.interval)
    }

    /// Begins to put what has changed in place of the last save; what became of the save before is told now. Cold keys leave memory.
    pub fn save(&mut self, saved: &Saved, pipeline: &mut Pipeline) -> Result<(), String> {
        self.settle()?;
        self.store.save(pipeline.changes(), encode(saved));
        (self.last, self.read) = (Instant::now(), 0);
        if let Some(memory) = self.memory {
            // What comes in before the next save has to find room as well.
            pipeline.drop_saved(memory / 4 * 3);
        }
        Ok(())
    }

    /// Waits until what was begun is saved.
    pub fn settle(&mut self) -> Result<(), String> {
        if let Some(done) = self.store.wait() {
            done.map_err(|e| e.to_string())?;
            if std::mem::take(&mut self.replaces) {
                let file = self.path.join(FILE);
                fs::remove_file(&file).map_err(|e| format!("cannot remove `{}`: {e}", file.display()))?;
            }
        }
        Ok(())
    }
}

/// The store of a folder, with what was saved there last.
fn open_store(folder: &Path, options: Options) -> Result<(Store, Option<Saved>), String> {
    let (store, saved) = Store::open(&folder.join(STORE), options).map_err(|e| e.to_string())?;
    let saved = saved.map(|saved| {
        let place = decode(&saved.place).map_err(|e| format!("the state in `{}`: {e}", folder.display()))?;
        Ok::<_, String>(Saved { pipeline: saved.rest, ..place })
    });
    Ok((store, saved.transpose()?))
}

/// A state that is only looked at: that of a folder, which a run may be writing to, or of a file.
pub struct Kept {
    /// The place.
    pub saved: Saved,
    store: Option<Store>,
}

impl Kept {
    /// Reads a state; none where there is none.
    pub fn read(path: &Path) -> Result<Option<Kept>, String> {
        if Store::is_in(&path.join(STORE)) {
            let (store, saved) = open_store(path, Options { read_only: true, ..Options::default() })?;
            if let Some(saved) = saved {
                return Ok(Some(Kept { saved, store: Some(store) }));
            }
        }
        let file = if path.is_dir() { path.join(FILE) } else { path.to_owned() };
        Ok(read(&file)?.map(|saved| Kept { saved, store: None }))
    }

    /// Whether a folder holds a state.
    pub fn is_in(folder: &Path) -> bool {
        !matches!(Kept::read(folder), Ok(None))
    }

    /// Whether it is one file, with the keys.
    pub fn is_whole(&self) -> bool {
        self.store.is_none()
    }

    /// The pipeline that it is of, under the rule sets that it was saved under.
    pub fn load(&self, sets: Vec<Arc<RuleSet>>, of: Of) -> Result<Pipeline, String> {
        match &self.store {
            Some(store) => store.load(sets, of, 1, &self.saved.pipeline, true).map_err(|e| e.to_string()),
            None => Pipeline::load(sets, of, 1, &self.saved.pipeline).map_err(|e| e.to_string()),
        }
    }
}

/// Puts a whole state into a folder, in place of what is there. A run that finds it goes on from it.
pub fn put(saved: &Saved, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    match fs::remove_dir_all(folder.join(STORE)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => replace(&folder.join(FILE), &encode(saved)),
    }
}

/// The state in a file; none where there is no such file.
fn read(path: &Path) -> Result<Option<Saved>, String> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read `{}`: {error}", path.display())),
    };
    decode(&bytes).map(Some).map_err(|e| format!("`{}`: {e}", path.display()))
}

/// A state as bytes.
pub fn encode(saved: &Saved) -> Vec<u8> {
    let mut w = Bytes::default();
    [saved.offset, saved.lines, saved.written.alerts, saved.written.rejects, saved.applied, saved.generations]
        .into_iter()
        .for_each(|n| w.u64(n));
    w.bool(saved.done);
    w.slice(&saved.rules);
    w.slice(&saved.head);
    w.slice(&saved.pipeline);
    saved.story.save(&mut w);
    seal::seal(&w.bytes)
}

fn decode(bytes: &[u8]) -> Result<Saved, Corrupt> {
    let mut r = seal::open(bytes)?;
    let (offset, lines) = (r.u64()?, r.u64()?);
    let written = Written { alerts: r.u64()?, rejects: r.u64()? };
    let (applied, generations, done) = (r.u64()?, r.u64()?, r.bool()?);
    let (rules, head, pipeline) = (r.slice()?.to_vec(), r.slice()?.to_vec(), r.slice()?.to_vec());
    let story = if r.version() >= 5 { Story::load(&mut r)? } else { Story::default() };
    r.end()?;
    Ok(Saved { offset, lines, written, done, applied, rules, head, generations, story, pipeline })
}

/// Digest of the input's first bytes, as many of them as `offset` allows.
pub fn head(input: &mut File, offset: u64) -> io::Result<Vec<u8>> {
    input.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    input.take(offset.min(HEAD_BYTES)).read_to_end(&mut bytes)?;
    Ok(Sha256::digest(&bytes).to_vec())
}
