//! The files of the embedded log: one after the other, each named by the place where it begins.
//!
//! A place is a number of bytes since the log began, heads of files included. Files end whole: a new one is begun only behind records that are on the
//! disk. Only the last one can end within a record, where the machine or the process stopped while it was written: that rest was never
//! acknowledged, and is cut off. A record that does not read in front of one that was written later is damage, and refused.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use lapwing_engine::store::codec::Corrupt;

use super::frame::{self, Frame, Record, Unread};
use crate::faults;

/// What every file begins with.
const MAGIC: &[u8; 8] = b"LAPWLOG1";

/// Bytes of a file before its first record: magic, place, the progress there, checksum.
const HEAD: u64 = 8 + 6 * 8 + 4;

/// How far the log has come; the head of each file says how far it had come there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Lines taken: the number of the next one.
    pub lines: u64,
    /// Number of the last epoch; 0 before the first.
    pub epoch: u64,
    /// All records before this place are judged.
    pub judged: u64,
    /// Alerts of all epochs.
    pub alerts: u64,
    /// Number of the last change of the catalog; 0 before the first.
    pub change: u64,
}

impl Progress {
    /// Goes over a record.
    pub fn pass(&mut self, record: &Record<'_>) {
        match record {
            Record::Events(events) => self.lines = events.first + events.count,
            Record::Time { .. } => {}
            Record::Change { number } => self.change = *number,
            Record::Epoch(epoch) => {
                self.epoch = epoch.number;
                self.judged = epoch.until;
                self.alerts = epoch.alerts_before + memchr::memchr_iter(b'\n', epoch.alerts).count() as u64;
            }
        }
    }
}

/// Why a log cannot be used.
#[derive(Debug)]
pub enum LogError {
    /// The system said no.
    Io(PathBuf, io::Error),
    /// A file is not what was written.
    Damaged(PathBuf, u64, Corrupt),
    /// Another process uses the folder.
    InUse(PathBuf),
}

impl std::fmt::Display for LogError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LogError::Io(path, e) => write!(f, "`{}`: {e}", path.display()),
            LogError::Damaged(path, at, e) => write!(
                f,
                "`{}` is damaged at byte {at}: {e}; bring the file back from a copy, or move the folder away to begin anew",
                path.display()
            ),
            LogError::InUse(path) => {
                write!(f, "`{}` is in use by another process: stop that one first", path.display())
            }
        }
    }
}

impl std::error::Error for LogError {}

/// A file of the log.
#[derive(Debug)]
pub struct Segment {
    base: u64,
    /// Where it ends; the last one's end moves.
    end: u64,
    /// How far the log had come where it begins.
    progress: Progress,
    file: File,
    path: PathBuf,
}

/// The files, to be read by several while one writes.
pub type Shared = Arc<RwLock<Vec<Arc<Segment>>>>;

/// The files, for the one that writes.
pub struct Segments {
    folder: PathBuf,
    segment_bytes: u64,
    shared: Shared,
    tail: File,
    tail_path: PathBuf,
    tail_base: u64,
    /// The end of what is on the disk.
    end: u64,
    /// The end of what may stand in the file.
    dirty: bool,
    /// Held as long as the log is open.
    _lock: File,
}

/// What opening a log found.
#[derive(Debug)]
pub struct Opened {
    /// How far it has come.
    pub progress: Progress,
    /// Bytes at the end that were no whole record, and were cut off.
    pub torn: u64,
}

fn path_of(folder: &Path, base: u64) -> PathBuf {
    folder.join(format!("{base:020}.log"))
}

fn head(base: u64, progress: &Progress) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for n in [base, progress.lines, progress.epoch, progress.judged, progress.alerts, progress.change] {
        bytes.extend_from_slice(&n.to_le_bytes());
    }
    let sum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

fn read_head(bytes: &[u8], base: u64) -> Result<Progress, Corrupt> {
    let Some(bytes) = bytes.get(..HEAD as usize) else { return Err(Corrupt("its head is not whole")) };
    let (content, sum) = bytes.split_at(HEAD as usize - 4);
    if &content[..8] != MAGIC {
        return Err(Corrupt("it is no log of this version of Lapwing"));
    }
    if sum != crc32fast::hash(content).to_le_bytes() {
        return Err(Corrupt("the checksum of its head does not hold"));
    }
    let number = |i: usize| u64::from_le_bytes(content[8 + 8 * i..16 + 8 * i].try_into().expect("eight bytes"));
    if number(0) != base {
        return Err(Corrupt("it stands under the name of another"));
    }
    Ok(Progress { lines: number(1), epoch: number(2), judged: number(3), alerts: number(4), change: number(5) })
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Segments {
    /// Opens the log of a folder, or begins one. `seen` is shown the records of the last two files, in order.
    pub fn open(
        folder: &Path,
        segment_bytes: u64,
        mut seen: impl FnMut(&Record<'_>),
    ) -> Result<(Segments, Opened), LogError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |e: io::Error| LogError::Io(path.clone(), e)
        };
        fs::create_dir_all(folder).map_err(io(folder))?;
        let lock_path = folder.join("lock");
        let lock = File::create(&lock_path).map_err(io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(LogError::InUse(folder.to_owned())),
            Err(fs::TryLockError::Error(e)) => return Err(LogError::Io(lock_path, e)),
        }
        let mut bases = bases_in(folder)?;
        // One that was begun and got no whole head holds nothing.
        if let Some(last) = bases.last().copied()
            && fs::metadata(path_of(folder, last)).map_err(io(&path_of(folder, last)))?.len() < HEAD
        {
            fs::remove_file(path_of(folder, last)).map_err(io(&path_of(folder, last)))?;
            bases.pop();
        }
        if bases.is_empty() {
            begin_file(folder, 0, &Progress::default()).map_err(io(&path_of(folder, 0)))?;
            bases.push(0);
        }
        let (last, before) = bases.split_last().expect("there is a file");
        let mut list = Vec::new();
        for (i, base) in bases.iter().enumerate() {
            let path = path_of(folder, *base);
            let file = OpenOptions::new().read(true).write(true).open(&path).map_err(io(&path))?;
            let end = base + file.metadata().map_err(io(&path))?.len();
            if let Some(next) = bases.get(i + 1)
                && *next != end
            {
                let why = Corrupt("it does not end where the next file begins");
                return Err(LogError::Damaged(path, end - base, why));
            }
            let mut bytes = [0; HEAD as usize];
            file.read_exact_at(&mut bytes, 0).map_err(io(&path))?;
            let progress = read_head(&bytes, *base).map_err(|e| LogError::Damaged(path.clone(), 0, e))?;
            list.push(Segment { base: *base, end, progress, file, path });
        }
        if !before.is_empty() {
            let segment = &list[list.len() - 2];
            scan(segment, &mut seen)?;
        }
        let tail = list.last_mut().expect("there is a file");
        let (progress, whole) = scan(tail, &mut seen)?;
        let torn = tail.end - whole;
        if torn > 0 {
            tail.file.set_len(whole - tail.base).and_then(|()| tail.file.sync_all()).map_err(io(&tail.path))?;
            tail.end = whole;
        }
        let tail_path = tail.path.clone();
        let tail_file = tail.file.try_clone().map_err(io(&tail.path))?;
        let shared = Arc::new(RwLock::new(list.into_iter().map(Arc::new).collect()));
        let segments = Segments {
            folder: folder.to_owned(),
            segment_bytes,
            shared,
            tail: tail_file,
            tail_path,
            tail_base: *last,
            end: whole,
            dirty: false,
            _lock: lock,
        };
        Ok((segments, Opened { progress, torn }))
    }

    /// The end of what is on the disk: the place of the next record.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The files, to be read.
    pub fn shared(&self) -> Shared {
        self.shared.clone()
    }

    /// Where the next record comes to stand: where the last file is full, in a new one. `progress` says how far the log has come.
    pub fn make_room(&mut self, progress: &Progress) -> io::Result<u64> {
        self.mend()?;
        if self.end - self.tail_base >= self.segment_bytes {
            faults::at("log-roll")?;
            let file = begin_file(&self.folder, self.end, progress)?;
            let path = path_of(&self.folder, self.end);
            let (base, end, progress) = (self.end, self.end + HEAD, *progress);
            let segment = Segment { base, end, progress, file: file.try_clone()?, path: path.clone() };
            self.shared.write().expect("no writer panics").push(Arc::new(segment));
            (self.tail, self.tail_path, self.tail_base) = (file, path, self.end);
            self.end += HEAD;
        }
        Ok(self.end)
    }

    /// Writes records behind the last one, and returns once they are on the disk. After a failure nothing of them is there.
    pub fn append(&mut self, frames: &[u8]) -> io::Result<()> {
        self.mend()?;
        self.dirty = true;
        faults::at("log-write")?;
        let at = self.end - self.tail_base;
        if faults::at("log-torn").is_err() {
            self.tail.write_all_at(&frames[..frames.len() / 2], at)?;
            return Err(io::Error::other("half was written"));
        }
        self.tail.write_all_at(frames, at)?;
        faults::at("log-sync")?;
        self.tail.sync_data()?;
        self.dirty = false;
        self.end += frames.len() as u64;
        Ok(())
    }

    /// After a failed write: cuts off what may stand behind the records that are on the disk.
    pub fn mend(&mut self) -> io::Result<()> {
        if self.dirty {
            faults::at("log-mend")?;
            self.tail.set_len(self.end - self.tail_base)?;
            self.tail.sync_all()?;
            self.dirty = false;
        }
        Ok(())
    }

    /// Removes files that end at or before a place and that `old` gives up, oldest first; it is given the time of the last change of the file and
    /// the bytes of all files from it on. The last file stays. Returns how many went.
    pub fn remove_before(
        &mut self,
        place: u64,
        mut old: impl FnMut(std::time::SystemTime, u64) -> bool,
    ) -> io::Result<usize> {
        let mut gone = 0;
        loop {
            let first = {
                let list = self.shared.read().expect("no writer panics");
                match list.as_slice() {
                    [first, next, ..] if next.base <= place => first.clone(),
                    _ => return Ok(gone),
                }
            };
            if !old(first.file.metadata()?.modified()?, self.end - first.base) {
                return Ok(gone);
            }
            fs::remove_file(&first.path)?;
            self.shared.write().expect("no writer panics").remove(0);
            gone += 1;
        }
    }
}

/// The places where the files of a folder begin, in order.
fn bases_in(folder: &Path) -> Result<Vec<u64>, LogError> {
    let io = |e: io::Error| LogError::Io(folder.to_owned(), e);
    let mut bases = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let base = name.to_str().and_then(|n| n.strip_suffix(".log")).and_then(|n| n.parse::<u64>().ok());
        bases.extend(base);
    }
    bases.sort_unstable();
    Ok(bases)
}

/// A log that is only looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// The place that it is kept from.
    pub oldest: u64,
    /// The place of the next record.
    pub end: u64,
    /// How far it has come.
    pub progress: Progress,
}

/// Looks at the log of a folder, which somebody may be writing to; none where there is none yet.
///
/// # Errors
/// It cannot be read, or is damaged.
pub fn look(folder: &Path) -> Result<Option<Looked>, LogError> {
    if !folder.exists() {
        return Ok(None);
    }
    let bases = bases_in(folder)?;
    let mut found = None;
    // The last file may just have been begun.
    for base in bases.iter().rev().take(2) {
        let path = path_of(folder, *base);
        let io = |e: io::Error| LogError::Io(path.clone(), e);
        let file = File::open(&path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        if length < HEAD {
            continue;
        }
        let mut bytes = [0; HEAD as usize];
        file.read_exact_at(&mut bytes, 0).map_err(io)?;
        let progress = read_head(&bytes, *base).map_err(|e| LogError::Damaged(path.clone(), 0, e))?;
        let segment = Segment { base: *base, end: base + length, progress, file, path: path.clone() };
        let (progress, end) = scan(&segment, &mut |_| {})?;
        found = Some(Looked { oldest: bases[0], end, progress });
        break;
    }
    Ok(found)
}

/// Makes a file with its head, on the disk.
fn begin_file(folder: &Path, base: u64, progress: &Progress) -> io::Result<File> {
    let path = path_of(folder, base);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    file.write_all_at(&head(base, progress), 0)?;
    file.sync_all()?;
    sync_folder(folder)?;
    Ok(file)
}

/// Reads a file to its end: how far the log has come there, and where its last whole record ends.
fn scan(segment: &Segment, seen: &mut impl FnMut(&Record<'_>)) -> Result<(Progress, u64), LogError> {
    let damaged = |at: u64, e| LogError::Damaged(segment.path.clone(), at, e);
    let mut bytes = vec![0; (segment.end - segment.base) as usize];
    segment.file.read_exact_at(&mut bytes, 0).map_err(|e| LogError::Io(segment.path.clone(), e))?;
    let mut progress = segment.progress;
    let mut at = HEAD as usize;
    while at < bytes.len() {
        match frame::read(&bytes[at..]) {
            Ok(frame) => {
                progress.pass(&frame.record);
                seen(&frame.record);
                at += frame.length;
            }
            Err(why) => {
                if was_acknowledged(&bytes, at) {
                    let e = match why {
                        Unread::Short(_) => Corrupt("a record of impossible length"),
                        Unread::Damaged(e) => e,
                    };
                    return Err(damaged(at as u64, e));
                }
                break;
            }
        }
    }
    Ok((progress, segment.base + at as u64))
}

/// Whether behind a record that does not read stands one that was written when that was on the disk.
fn was_acknowledged(bytes: &[u8], bad: usize) -> bool {
    let mut at = bad + 1;
    while at + frame::HEAD <= bytes.len() {
        match frame::read(&bytes[at..]) {
            Ok(frame) if frame.behind as usize <= at && at - frame.behind as usize > bad => return true,
            Ok(frame) => at += frame.length,
            Err(_) => at += 1,
        }
    }
    false
}

/// Reads records from a place on.
pub struct Reader {
    segments: Shared,
    /// The file read from.
    current: Option<Arc<Segment>>,
    place: u64,
    buffer: Vec<u8>,
    /// The place of the buffer's first byte.
    buffered_at: u64,
}

/// How much is read at once.
const CHUNK: usize = 1 << 20;

/// Why nothing can be read at a place.
#[derive(Debug)]
pub enum ReadError {
    /// The files with it are gone.
    Gone {
        /// The oldest place that is still there.
        oldest: u64,
    },
    /// It is not the place of a record, or the record is damaged.
    Damaged(u64, Corrupt),
    /// The system said no.
    Io(io::Error),
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReadError::Gone { oldest } => write!(f, "the log is kept from place {oldest} on; what was before is gone"),
            ReadError::Damaged(place, e) => write!(f, "the log is damaged at place {place}: {e}"),
            ReadError::Io(e) => write!(f, "the log cannot be read: {e}"),
        }
    }
}

impl std::error::Error for ReadError {}

impl From<io::Error> for ReadError {
    fn from(e: io::Error) -> ReadError {
        ReadError::Io(e)
    }
}

impl Reader {
    /// Reads from a place on, which is that of a record or of a file.
    pub fn new(segments: Shared, place: u64) -> Reader {
        Reader { segments, current: None, place, buffer: Vec::new(), buffered_at: 0 }
    }

    /// The oldest place that is still there.
    pub fn oldest(&self) -> u64 {
        self.began().0
    }

    /// The oldest place that is still there, and how far the log had come there.
    pub fn began(&self) -> (u64, Progress) {
        self.segments.read().expect("no writer panics").first().map_or_else(Default::default, |s| (s.base, s.progress))
    }

    /// Where the file begins that has a place; the oldest where that is gone.
    pub fn file_of(&self, place: u64) -> u64 {
        let list = self.segments.read().expect("no writer panics");
        let behind = list.partition_point(|s| s.base <= place);
        list.get(behind.saturating_sub(1)).map_or(0, |s| s.base)
    }

    /// Where the file begins that has the line with this number, or will have it; none where that is gone.
    pub fn file_of_line(&self, line: u64) -> Option<u64> {
        let list = self.segments.read().expect("no writer panics");
        let behind = list.partition_point(|s| s.progress.lines <= line);
        behind.checked_sub(1).map(|last| list[last].base)
    }

    /// Goes on from another place, which is that of a record or of a file.
    pub fn go_to(&mut self, place: u64) {
        *self = Reader::new(self.segments.clone(), place);
    }

    /// The place of the next record.
    pub fn place(&self) -> u64 {
        self.place
    }

    /// The next record before `end`, with its place; none where that is reached.
    pub fn next(&mut self, end: u64) -> Result<Option<(u64, Frame<'_>)>, ReadError> {
        if !self.fill(frame::HEAD, end)? {
            return Ok(None);
        }
        let place = self.place;
        let damaged = |e: Unread| match e {
            Unread::Damaged(e) => ReadError::Damaged(place, e),
            Unread::Short(_) => ReadError::Damaged(place, Corrupt("a record is not whole")),
        };
        let length = frame::length(&self.buffer[(place - self.buffered_at) as usize..]).map_err(damaged)?;
        if !self.fill(length, end)? {
            return Err(damaged(Unread::Short(length)));
        }
        let at = (place - self.buffered_at) as usize;
        self.place += length as u64;
        frame::read(&self.buffer[at..at + length]).map(|frame| Some((place, frame))).map_err(damaged)
    }

    /// Sees to it that so many bytes behind the place are in the buffer; whether there are so many before `end`.
    fn fill(&mut self, bytes: usize, end: u64) -> Result<bool, ReadError> {
        let buffered_until = self.buffered_at + self.buffer.len() as u64;
        if self.place >= self.buffered_at && self.place + bytes as u64 <= buffered_until {
            return Ok(self.place + bytes as u64 <= end);
        }
        if self.place >= end || !self.find_file()? {
            return Ok(false);
        }
        let Some(segment) = &self.current else { return Ok(false) };
        // The last file grows: how far is known by `end` alone.
        let length = segment.file.metadata()?.len();
        let until = end.min(segment.base + length);
        if self.place + bytes as u64 > until {
            return Ok(false);
        }
        let want = (bytes.max(CHUNK) as u64).min(until - self.place) as usize;
        self.buffer.resize(want, 0);
        segment.file.read_exact_at(&mut self.buffer, self.place - segment.base)?;
        self.buffered_at = self.place;
        Ok(true)
    }

    /// Finds the file of the place; whether there is one. Past a head.
    fn find_file(&mut self) -> Result<bool, ReadError> {
        let list = self.segments.read().expect("no writer panics");
        let Some(oldest) = list.first().map(|s| s.base) else { return Ok(false) };
        if self.place < oldest {
            return Err(ReadError::Gone { oldest });
        }
        let at = list.partition_point(|s| s.base <= self.place) - 1;
        let segment = list[at].clone();
        drop(list);
        self.place = self.place.max(segment.base + HEAD);
        self.current = Some(segment);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{EpochRecord, Events};
    use super::*;

    /// An empty folder of a test's own.
    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("lapwing-log-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    /// Opens a log of small files.
    fn open(folder: &Path) -> Result<(Segments, Opened), LogError> {
        Segments::open(folder, 256, |_| {})
    }

    /// Appends lines, each record by itself; how far the log has come then.
    fn write(segments: &mut Segments, mut progress: Progress, count: u64) -> Progress {
        for _ in 0..count {
            segments.make_room(&progress).expect("there is room");
            let lines = format!("line {}\n", progress.lines);
            let events = Events { first: progress.lines, count: 1, key: None, lines: lines.as_bytes() };
            let mut frames = Vec::new();
            for record in [
                Record::Events(events),
                Record::Change { number: progress.change + 1 },
                Record::Epoch(EpochRecord {
                    number: progress.epoch + 1,
                    until: segments.end(),
                    alerts_before: progress.alerts,
                    alerts: b"a\nb\n",
                    rejected: b"",
                }),
            ] {
                record.frame(7, 0, &mut frames);
                progress.pass(&record);
            }
            segments.append(&frames).expect("it can be written");
        }
        progress
    }

    fn lines(segments: &Segments, from: u64) -> Result<Vec<u64>, ReadError> {
        let mut reader = Reader::new(segments.shared(), from);
        let mut found = Vec::new();
        while let Some((_, frame)) = reader.next(segments.end())? {
            if let Record::Events(events) = frame.record {
                found.push(events.first);
            }
        }
        Ok(found)
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            fs::read_dir(folder).expect("it is there").map(|e| e.expect("it can be read").path()).collect();
        files.retain(|path| path.extension().is_some_and(|e| e == "log"));
        files.sort();
        files
    }

    #[test]
    fn what_was_written_is_read_over_files_and_openings() {
        let folder = folder("read");
        let (mut segments, opened) = open(&folder).expect("it opens");
        let progress = write(&mut segments, opened.progress, 20);
        assert!(files(&folder).len() > 5);
        assert!(matches!(open(&folder), Err(LogError::InUse(_))));
        drop(segments);
        let (mut segments, opened) = open(&folder).expect("it opens");
        assert_eq!((opened.progress, opened.torn), (progress, 0));
        let progress = write(&mut segments, opened.progress, 1);
        assert_eq!((progress.lines, progress.epoch, progress.alerts, progress.change), (21, 21, 42, 21));
        assert_eq!(lines(&segments, 0).expect("all is there"), (0..21).collect::<Vec<_>>());

        // Old files go, but none that is needed, and never the last.
        let half = files(&folder).len() / 2;
        let place: u64 = files(&folder)[half].file_stem().and_then(|n| n.to_str()?.parse().ok()).expect("a place");
        assert_eq!(segments.remove_before(place, |_, _| false).expect("it can"), 0);
        assert_eq!(segments.remove_before(place, |_, _| true).expect("it can"), half);
        assert!(matches!(lines(&segments, 0), Err(ReadError::Gone { oldest }) if oldest == place));
        let left = lines(&segments, place).expect("the rest is there");
        assert!(left.len() > 1 && left.last() == Some(&20));
        segments.remove_before(u64::MAX, |_, _| true).expect("it can");
        assert_eq!(files(&folder).len(), 1);
        let _ = fs::remove_dir_all(folder);
    }

    #[test]
    fn a_torn_end_is_cut_off_and_damage_is_refused() {
        let folder = folder("damage");
        let (mut segments, opened) = open(&folder).expect("it opens");
        let before = write(&mut segments, opened.progress, 1);
        let whole = segments.end();
        let after = write(&mut segments, before, 1);
        let length = segments.end();
        drop(segments);
        let path = files(&folder).pop().expect("a file");
        let sound = fs::read(&path).expect("it can be read");
        assert_eq!((files(&folder).len(), sound.len() as u64), (1, length));
        // Cut anywhere in what was written last, what was written before stays: of three records those that are whole.
        for cut in whole as usize..sound.len() {
            fs::write(&path, &sound[..cut]).expect("it can be written");
            let (segments, opened) = open(&folder).expect("it opens");
            assert_eq!(opened.torn > 0, segments.end() != cut as u64, "cut at {cut}");
            assert!(opened.progress.lines >= before.lines && opened.progress.epoch <= after.epoch);
            assert!(segments.end() >= whole);
        }
        // A byte that changed in what was written first was on the disk when the second was written.
        for at in HEAD as usize..whole as usize {
            let mut damaged = sound.clone();
            damaged[at] ^= 0x40;
            fs::write(&path, &damaged).expect("it can be written");
            let refused = open(&folder).map(|_| ()).expect_err("it is damaged").to_string();
            assert!(refused.contains("is damaged at byte"), "{refused}");
        }
        let mut damaged = sound.clone();
        damaged[9] ^= 1;
        fs::write(&path, &damaged).expect("it can be written");
        assert!(matches!(open(&folder), Err(LogError::Damaged(_, 0, _))));
        let _ = fs::remove_dir_all(folder);
    }
}
