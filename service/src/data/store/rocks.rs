//! How a save stands in RocksDB.
//!
//! ```text
//! k  epoch 8  group 2  space 2  the key's bytes  →  when it ends 8, what is held of it
//! p                                              →  sealed: epoch, place, the state beside the keys
//! w  epoch 8  group 2  space 2  the key's bytes  →  nothing: this key has to be in memory
//! ```
//!
//! Numbers are written with the highest byte first, so that names stand in their order. Nothing is ever put one by one: each save is a file that RocksDB takes in
//! whole, so that there is no log and nothing to replay. A save of all keys begins an epoch; what is of an older one is dropped when files are
//! merged, as are keys that have ended.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use lapwing_engine::Millis;
use lapwing_engine::shard::outside::KeyName;
use lapwing_engine::shard::saving::Change;
use lapwing_engine::slot::Known;
use lapwing_engine::store::codec::{Corrupt, Writer};
use lapwing_engine::store::seal;
use rocksdb::compaction_filter::Decision;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Direction, IngestExternalFileOptions, IteratorMode, LogLevel,
    Options as Settings, ReadOptions, SstFileWriter,
};

use super::{Changes, Options, Saved, Step, StoreError};

const KEY: u8 = b'k';
const PLACE: &[u8] = b"p";
const STAYS: u8 = b'w';

/// Bytes before a key's own: the kind, the epoch, the group, the space.
const HEAD: usize = 13;

/// Bytes before what is held of a key.
const ENDS: usize = 8;

/// The keys that are read at once when those are taken in that have to be in memory.
const READ_AT_ONCE: usize = 4_096;

/// Many keys are read by so many threads, since a disk does several things at once; each has at least so many keys.
const READERS_MAX: usize = 16;
const READ_BY_ONE: usize = 64;

/// The file of a save on its way, beside RocksDB's own.
const NEXT: &str = "next.save";

pub(super) struct Rocks {
    db: DB,
    /// How files of saves are written.
    settings: Settings,
    folder: PathBuf,
    /// The epoch of the last save, and the time that it is of.
    epoch: Arc<AtomicU64>,
    clock: Arc<AtomicI64>,
}

impl Rocks {
    pub fn open(folder: &Path, options: &Options) -> Result<(Rocks, Option<Saved>), StoreError> {
        let (epoch, clock) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicI64::new(Millis::MIN)));
        let settings = settings(options, epoch.clone(), clock.clone());
        let opened = if options.read_only {
            DB::open_for_read_only(&settings, folder, false).map_err(io::Error::other)
        } else {
            fs::create_dir_all(folder).and_then(|()| DB::open(&settings, folder).map_err(io::Error::other))
        };
        let db = opened.map_err(|source| StoreError::Unusable { folder: folder.to_owned(), source })?;
        let settings = settings_of_file(&Options { cache: 0, ..options.clone() });
        let rocks = Rocks { db, settings, folder: folder.to_owned(), epoch, clock };
        let saved = rocks.saved()?;
        Ok((rocks, saved))
    }

    fn unusable(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
        StoreError::Unusable { folder: self.folder.clone(), source: io::Error::other(source) }
    }

    /// What it holds is no state.
    pub fn corrupt(&self, source: Corrupt) -> StoreError {
        StoreError::Corrupt { folder: self.folder.clone(), source }
    }

    fn saved(&self) -> Result<Option<Saved>, StoreError> {
        let Some(bytes) = self.db.get(PLACE).map_err(|e| self.unusable(e))? else { return Ok(None) };
        let read = || -> Result<(u64, Saved), Corrupt> {
            let mut r = seal::open(&bytes)?;
            let (epoch, place, rest) = (r.u64()?, r.slice()?.to_vec(), r.slice()?.to_vec());
            r.end()?;
            Ok((epoch, Saved { place, rest }))
        };
        let (epoch, saved) = read().map_err(|e| self.corrupt(e))?;
        self.epoch.store(epoch, Ordering::Relaxed);
        Ok(Some(saved))
    }

    /// Writes a save as a file and takes that in; gives its length.
    pub fn write(
        &self,
        changes: &Changes,
        place: &[u8],
        watch: &dyn Fn(Step) -> io::Result<()>,
    ) -> Result<u64, StoreError> {
        let written = self.write_file(changes, place, watch);
        if written.is_err() {
            // A full disk has room again; what cannot be removed now goes before the next save.
            let _ = fs::remove_file(self.folder.join(NEXT));
        }
        written
    }

    fn write_file(
        &self,
        changes: &Changes,
        place: &[u8],
        watch: &dyn Fn(Step) -> io::Result<()>,
    ) -> Result<u64, StoreError> {
        let unusable = |e: rocksdb::Error| self.unusable(e);
        let told = |step| watch(step).map_err(|e| self.unusable(e));
        let epoch = self.epoch.load(Ordering::Relaxed) + u64::from(changes.all);
        told(Step::Begins)?;
        let file = self.folder.join(NEXT);
        // One that a save left when its process ended may be RocksDB's by now, under two names: its content must stay.
        match fs::remove_file(&file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(self.unusable(e)),
            _ => {}
        }
        let mut writer = SstFileWriter::create(&self.settings);
        writer.open(&file).map_err(unusable)?;
        let mut name = Vec::new();
        let mut value = Vec::new();
        for (i, Change { name: key, now, .. }) in changes.keys.iter().enumerate() {
            if i == changes.keys.len() / 2 {
                told(Step::Writes)?;
            }
            named(&mut name, KEY, epoch, key);
            match now {
                Some(held) => {
                    // What has to be in memory ends when the engine says so.
                    let ends = if held.stays { Millis::MAX } else { held.ends };
                    value.clear();
                    value.extend_from_slice(&ends.to_be_bytes());
                    value.extend_from_slice(&held.bytes);
                    writer.put(&name, &value).map_err(unusable)?;
                }
                None => writer.delete(&name).map_err(unusable)?,
            }
        }
        let mut w = Writer::default();
        w.u64(epoch);
        w.slice(place);
        w.slice(&changes.rest);
        writer.put(PLACE, seal::seal(&w.bytes)).map_err(unusable)?;
        for change in &changes.keys {
            let stays = change.now.as_ref().is_some_and(|held| held.stays);
            named(&mut name, STAYS, epoch, &change.name);
            match (change.before == Known::Stays, stays) {
                (false, true) => writer.put(&name, []).map_err(unusable)?,
                (true, false) => writer.delete(&name).map_err(unusable)?,
                _ => {}
            }
        }
        writer.finish().map_err(unusable)?;
        let bytes = writer.file_size();
        told(Step::Written)?;
        let mut how = IngestExternalFileOptions::default();
        how.set_move_files(true);
        how.set_snapshot_consistency(false);
        self.db.ingest_external_file_opts(&how, vec![&file]).map_err(unusable)?;
        self.epoch.store(epoch, Ordering::Relaxed);
        self.clock.store(changes.clock, Ordering::Relaxed);
        if changes.all {
            self.drop_older_than(epoch).map_err(unusable)?;
        }
        told(Step::TakenIn)?;
        Ok(bytes)
    }

    /// Files that hold nothing but older epochs go at once.
    fn drop_older_than(&self, epoch: u64) -> Result<(), rocksdb::Error> {
        for kind in [KEY, STAYS] {
            self.db.delete_file_in_range(prefix(kind, 0), prefix(kind, epoch))?;
        }
        Ok(())
    }

    /// What is held of those of the keys that are there. The names are ascending.
    pub fn get(&self, names: &[KeyName]) -> Result<Vec<(KeyName, Vec<u8>)>, StoreError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let share = names.len().div_ceil(READERS_MAX).max(READ_BY_ONE);
        let mut parts = names.chunks(share);
        let first = parts.next().unwrap_or_default();
        std::thread::scope(|scope| {
            let others: Vec<_> = parts.map(|part| scope.spawn(|| self.get_in_turn(part))).collect();
            let mut there = self.get_in_turn(first)?;
            for other in others {
                there.extend(other.join().expect("a thread that reads does not panic")?);
            }
            Ok(there)
        })
    }

    fn get_in_turn(&self, names: &[KeyName]) -> Result<Vec<(KeyName, Vec<u8>)>, StoreError> {
        let epoch = self.epoch.load(Ordering::Relaxed);
        let keys: Vec<Vec<u8>> = names
            .iter()
            .map(|name| {
                let mut key = Vec::new();
                named(&mut key, KEY, epoch, name);
                key
            })
            .collect();
        let mut there = Vec::new();
        for (name, value) in names.iter().zip(self.db.multi_get(&keys)) {
            if let Some(value) = value.map_err(|e| self.unusable(e))? {
                there.push((name.clone(), self.held(&value)?.to_vec()));
            }
        }
        Ok(there)
    }

    fn held<'v>(&self, value: &'v [u8]) -> Result<&'v [u8], StoreError> {
        value.get(ENDS..).ok_or_else(|| self.corrupt(Corrupt("a key ends too early")))
    }

    /// Reads all keys, ascending.
    pub fn each(&self, each: &mut dyn FnMut(&KeyName, &[u8]) -> Result<(), Corrupt>) -> Result<(), StoreError> {
        self.scan(KEY, &mut |name, value| each(&name, self.held(value)?).map_err(|e| self.corrupt(e)))
    }

    /// Reads the keys that have to be in memory, ascending.
    pub fn each_that_stays(
        &self,
        each: &mut dyn FnMut(&KeyName, &[u8]) -> Result<(), Corrupt>,
    ) -> Result<(), StoreError> {
        let mut names = Vec::new();
        let mut read = |names: &mut Vec<KeyName>| {
            for (name, bytes) in self.get(names)? {
                each(&name, &bytes).map_err(|e| self.corrupt(e))?;
            }
            names.clear();
            Ok(())
        };
        self.scan(STAYS, &mut |name, _| {
            names.push(name);
            if names.len() == READ_AT_ONCE { read(&mut names) } else { Ok(()) }
        })?;
        read(&mut names)
    }

    fn scan(&self, kind: u8, each: &mut dyn FnMut(KeyName, &[u8]) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let epoch = self.epoch.load(Ordering::Relaxed);
        let (from, to) = (prefix(kind, epoch), prefix(kind, epoch + 1));
        let mut how = ReadOptions::default();
        how.set_iterate_upper_bound(to);
        // It is read once, from the beginning to the end.
        how.fill_cache(false);
        how.set_readahead_size(4 << 20);
        for entry in self.db.iterator_opt(IteratorMode::From(&from, Direction::Forward), how) {
            let (key, value) = entry.map_err(|e| self.unusable(e))?;
            each(self.name_of(&key)?, &value)?;
        }
        Ok(())
    }

    fn name_of(&self, key: &[u8]) -> Result<KeyName, StoreError> {
        let number = |at: usize| Some(u16::from_be_bytes(key.get(at..at + 2)?.try_into().ok()?));
        let name =
            || Some(KeyName { group: number(HEAD - 4)?, space: number(HEAD - 2)?, key: key.get(HEAD..)?.into() });
        name().ok_or_else(|| self.corrupt(Corrupt("a key has no name")))
    }
}

fn prefix(kind: u8, epoch: u64) -> Vec<u8> {
    let mut prefix = vec![kind];
    prefix.extend_from_slice(&epoch.to_be_bytes());
    prefix
}

fn named(into: &mut Vec<u8>, kind: u8, epoch: u64, name: &KeyName) {
    into.clear();
    into.push(kind);
    into.extend_from_slice(&epoch.to_be_bytes());
    into.extend_from_slice(&name.group.to_be_bytes());
    into.extend_from_slice(&name.space.to_be_bytes());
    into.extend_from_slice(&name.key);
}

/// Of another epoch than the last save's, or ended before the time that it is of.
fn may_go(key: &[u8], value: &[u8], epoch: u64, clock: Millis) -> bool {
    let is = |kind| key.first() == Some(&kind);
    if !is(KEY) && !is(STAYS) {
        return false;
    }
    let of = key.get(1..9).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
    let ends = value.get(..ENDS).and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes);
    of.is_some_and(|of| of < epoch) || is(KEY) && ends.is_some_and(|ends| ends < clock)
}

/// How a file of a save is written.
fn settings_of_file(options: &Options) -> Settings {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(options.cache));
    blocks.set_cache_index_and_filter_blocks(true);
    // Keys are read one here, one there.
    blocks.set_block_size(4 << 10);
    // Most keys that are asked for are new: the filter says so without a look at the disk.
    blocks.set_bloom_filter(10.0, false);
    let mut settings = Settings::default();
    settings.set_block_based_table_factory(&blocks);
    settings.set_compression_type(DBCompressionType::Lz4);
    settings
}

fn settings(options: &Options, epoch: Arc<AtomicU64>, clock: Arc<AtomicI64>) -> Settings {
    let mut settings = settings_of_file(options);
    settings.create_if_missing(true);
    // What has come to the last level is rarely written again.
    settings.set_bottommost_compression_type(DBCompressionType::Zstd);
    settings.set_compaction_filter("ended", move |_, key, value| {
        match may_go(key, value, epoch.load(Ordering::Relaxed), clock.load(Ordering::Relaxed)) {
            true => Decision::Remove,
            false => Decision::Keep,
        }
    });
    // Nothing goes through memory.
    settings.set_write_buffer_size(1 << 20);
    settings.set_max_background_jobs(2);
    settings.set_keep_log_file_num(2);
    settings.set_log_level(LogLevel::Warn);
    settings
}
