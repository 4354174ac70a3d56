//! The last save of a pipeline, on disk, and writing the next one beside the matcher.
//!
//! A save is what has changed since the one before: [`Pipeline::changes`] copies it at the barrier, a thread writes
//! it as one sorted file, and RocksDB takes that file in at once, together with the place that the caller was at: there is the last save or the
//! next one, and nothing between. The caller goes on meanwhile. While a save is under way it is looked up first, so that nobody has to wait for it.
//!
//! The same store is what keeps cold keys: what a save holds may leave memory, and [`Store::outside`] reads it back.

mod rocks;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lapwing_engine::Millis;
use lapwing_engine::rule_set::RuleSet;
use lapwing_engine::shard::outside::{Cold, KeyName};
use lapwing_engine::shard::saving::Change;
use lapwing_engine::slot::Known;
use lapwing_engine::store::codec::Corrupt;

use self::rocks::Rocks;
use super::pipeline::{Outside, OutsideError, Pipeline};
use crate::faults;

/// What a save writes: what has changed of the keys, and all else.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Whether what was saved before is nothing worth: then these are all keys.
    pub all: bool,
    /// The keys, ascending.
    pub keys: Vec<Change>,
    /// The state beside the keys.
    pub rest: Vec<u8>,
    /// The time that the state is of: what ended before it may be forgotten.
    pub clock: Millis,
}

/// What a save holds beside keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The caller's place.
    pub place: Vec<u8>,
    /// The state beside the keys.
    pub rest: Vec<u8>,
}

/// Why a save could not be loaded.
enum Unread {
    Store(StoreError),
    State(Corrupt),
}

impl From<Corrupt> for Unread {
    fn from(e: Corrupt) -> Unread {
        Unread::State(e)
    }
}

/// How much a save wrote, and how long that took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Keys, those that have gone too.
    pub keys: usize,
    /// Bytes of the file.
    pub bytes: u64,
    /// From the barrier to the end.
    pub took: Duration,
}

/// Why a store cannot be used.
#[derive(Debug)]
pub enum StoreError {
    /// It could not be read or written, or is damaged.
    Unusable {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What it holds is not what was put there, or of another version.
    Corrupt {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: Corrupt,
    },
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StoreError::Unusable { folder, source } => {
                write!(f, "the state in `{}` cannot be read or written: {source}", folder.display())
            }
            StoreError::Corrupt { folder, source } => write!(f, "the state in `{}`: {source}", folder.display()),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StoreError::Unusable { source, .. } => Some(source),
            StoreError::Corrupt { .. } => None,
        }
    }
}

/// How far a save has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing is written.
    Begins,
    /// Half of the file is written.
    Writes,
    /// The file is written and on the disk.
    Written,
    /// RocksDB has taken it in.
    TakenIn,
}

impl Step {
    /// The place of this name in [`crate::faults`].
    fn place(self) -> &'static str {
        match self {
            Step::Begins => "store-begins",
            Step::Writes => "store-writes",
            Step::Written => "store-written",
            Step::TakenIn => "store-taken-in",
        }
    }
}

/// Is told of each step of a save, and may let it fail there: for tests of what a failure or the end of the process leaves behind.
pub type Watch = Arc<dyn Fn(Step) -> io::Result<()> + Send + Sync>;

/// How a store runs.
#[derive(Clone)]
pub struct Options {
    /// Bytes of memory for what is read.
    pub cache: usize,
    /// Whether nothing is to be written: another process may be at it.
    pub read_only: bool,
    /// Is told of each step of a save.
    pub watch: Option<Watch>,
}

impl Default for Options {
    fn default() -> Self {
        Options { cache: 32 << 20, read_only: false, watch: None }
    }
}

/// The last save, and the one that is under way.
pub struct Store {
    shared: Arc<Shared>,
    under_way: Option<JoinHandle<Result<Written, StoreError>>>,
    watch: Option<Watch>,
}

/// What the store, the thread that writes and those who read share.
struct Shared {
    rocks: Rocks,
    late: Mutex<Late>,
}

/// What RocksDB does not know yet.
#[derive(Default)]
struct Late {
    /// The save that is under way, or has failed.
    save: Option<Arc<Save>>,
    /// Whether all keys were taken out: what is there is of another rule set.
    emptied: bool,
}

/// A save to be written.
struct Save {
    changes: Changes,
    place: Vec<u8>,
}

impl Shared {
    fn late(&self) -> MutexGuard<'_, Late> {
        self.late.lock().expect("nothing panics with it in hand")
    }
}

impl Store {
    /// Opens the store in a folder, or makes it, and gives what was saved last.
    pub fn open(folder: &Path, options: Options) -> Result<(Store, Option<Saved>), StoreError> {
        let (rocks, saved) = Rocks::open(folder, &options)?;
        let shared = Arc::new(Shared { rocks, late: Mutex::default() });
        Ok((Store { shared, under_way: None, watch: options.watch }, saved))
    }

    /// Whether there is a store in a folder.
    pub fn is_in(folder: &Path) -> bool {
        folder.join("CURRENT").exists()
    }

    /// Reads the keys of the last save, ascending: all, or those that have to be in memory.
    pub fn read(
        &self,
        all: bool,
        mut each: impl FnMut(&KeyName, &[u8]) -> Result<(), Corrupt>,
    ) -> Result<(), StoreError> {
        let rocks = &self.shared.rocks;
        if all { rocks.each(&mut each) } else { rocks.each_that_stays(&mut each) }
    }

    /// The pipeline of the last save, under the rule sets that it was saved under; `rest` is what that save holds beside the keys. With all keys in
    /// memory, or those that have to be there: then others come in by [`Store::outside`].
    pub fn load(
        &self,
        sets: Vec<Arc<RuleSet>>,
        of: super::pipeline::Options,
        threads: usize,
        rest: &[u8],
        all: bool,
    ) -> Result<Pipeline, StoreError> {
        let read =
            |each: &mut dyn FnMut(&KeyName, &[u8]) -> Result<(), Corrupt>| self.read(all, each).map_err(Unread::Store);
        Pipeline::load_saved(sets, of, threads, rest, read).map_err(|e| match e {
            Unread::Store(e) => e,
            Unread::State(e) => self.shared.rocks.corrupt(e),
        })
    }

    /// Whether no save is under way.
    pub fn is_idle(&self) -> bool {
        self.under_way.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// What became of a save, once that is known.
    pub fn poll(&mut self) -> Option<Result<Written, StoreError>> {
        if !self.is_idle() {
            return None;
        }
        self.wait()
    }

    /// What becomes of the save that is under way; none where none is.
    pub fn wait(&mut self) -> Option<Result<Written, StoreError>> {
        let done = self.under_way.take()?.join().expect("a thread that saves does not panic");
        if done.is_ok() {
            self.shared.late().save = None;
        }
        Some(done)
    }

    /// Begins to save what has changed since the last save, with the caller's place. The save before must have ended; if it failed, this one holds what
    /// that one should have.
    pub fn save(&mut self, changes: Changes, place: Vec<u8>) {
        assert!(self.under_way.is_none(), "one save at a time, and its end is looked at");
        let began = Instant::now();
        let mut late = self.shared.late();
        let failed = late.save.take().map(|save| save.changes.clone());
        let changes = match failed {
            Some(failed) => after(failed, changes),
            None => changes,
        };
        late.emptied &= !changes.all;
        let save = Arc::new(Save { changes, place });
        late.save = Some(save.clone());
        drop(late);
        let (shared, watch) = (self.shared.clone(), self.watch.clone());
        self.under_way = Some(std::thread::spawn(move || {
            let watch = |step: Step| {
                faults::at(step.place())?;
                watch.as_ref().map_or(Ok(()), |watch| watch(step))
            };
            let bytes = shared.rocks.write(&save.changes, &save.place, &watch)?;
            Ok(Written { keys: save.changes.keys.len(), bytes, took: began.elapsed() })
        }));
    }

    /// Reads keys that are not in memory, for [`Pipeline::keep_outside`].
    pub fn outside(&self) -> Box<dyn Outside> {
        Box::new(Reads(self.shared.clone()))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // What was begun is brought to its end.
        self.wait();
    }
}

/// What a save has to write that takes the place of one that failed and of the next.
fn after(failed: Changes, next: Changes) -> Changes {
    if next.all {
        return next;
    }
    let mut keys: std::collections::BTreeMap<KeyName, Change> =
        failed.keys.into_iter().map(|change| (change.name.clone(), change)).collect();
    for mut change in next.keys {
        if let Some(failed) = keys.get(&change.name) {
            change.before = failed.before;
        } else if failed.all {
            change.before = Known::Nothing;
        }
        keys.insert(change.name.clone(), change);
    }
    Changes { all: failed.all, keys: keys.into_values().collect(), ..next }
}

/// The keys of a store that are not in memory.
struct Reads(Arc<Shared>);

impl Outside for Reads {
    fn take(&mut self, names: &[KeyName]) -> Result<Vec<(KeyName, Vec<u8>)>, OutsideError> {
        let late = self.0.late();
        if late.emptied {
            return Ok(Vec::new());
        }
        let save = late.save.clone();
        drop(late);
        let Some(save) = save else { return Ok(self.0.rocks.get(names)?) };
        let changes = &save.changes;
        let (mut taken, mut older) = (Vec::new(), Vec::new());
        for name in names {
            match changes.keys.binary_search_by(|change| change.name.cmp(name)) {
                Ok(i) => taken.extend(changes.keys[i].now.as_ref().map(|held| (name.clone(), held.bytes.clone()))),
                Err(_) if changes.all => {}
                Err(_) => older.push(name.clone()),
            }
        }
        taken.extend(self.0.rocks.get(&older)?);
        Ok(taken)
    }

    fn take_all(&mut self) -> Result<Vec<(KeyName, Vec<u8>)>, OutsideError> {
        let mut late = self.0.late();
        if std::mem::replace(&mut late.emptied, true) {
            return Ok(Vec::new());
        }
        let mut all = std::collections::BTreeMap::new();
        let save = late.save.clone();
        if save.as_ref().is_none_or(|save| !save.changes.all) {
            self.0.rocks.each(&mut |name, bytes| {
                all.insert(name.clone(), bytes.to_vec());
                Ok(())
            })?;
        }
        for change in save.iter().flat_map(|save| &save.changes.keys) {
            match &change.now {
                Some(held) => drop(all.insert(change.name.clone(), held.bytes.clone())),
                None => drop(all.remove(&change.name)),
            }
        }
        Ok(all.into_iter().collect())
    }

    fn put(&mut self, _cold: Vec<Cold>, _now: Millis) -> Result<(), OutsideError> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a key goes there with a save, and only so").into())
    }
}

impl From<StoreError> for OutsideError {
    fn from(e: StoreError) -> Self {
        match e {
            StoreError::Corrupt { source, .. } => OutsideError::Corrupt(source),
            StoreError::Unusable { source, .. } => OutsideError::Io(source),
        }
    }
}
