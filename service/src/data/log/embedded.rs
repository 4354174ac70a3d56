//! The log on this machine's disk.
//!
//! One thread writes. What was asked of it while it waited for the disk is written together next, and each is answered once it is on the disk.
//! Events, changes of the catalog, and what was judged of them are records of one log: what an epoch gave is committed by one append.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use lapwing_engine::Millis;
use tokio::sync::{mpsc, oneshot, watch};

use super::frame::{EpochRecord, Events, Record};
use super::segments::{LogError, Opened, Progress, Reader, Segments, Shared};

/// The most bytes written together.
const TOGETHER: usize = 8 << 20;

/// How many requests wait at most; who comes then waits outside.
const WAITING: usize = 4_096;

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A file of so many bytes is full.
    pub segment_bytes: u64,
    /// Files of this age go, once they are judged and saved.
    pub retain_for: Duration,
    /// The oldest files go while all have more bytes, once they are judged and saved.
    pub retain_bytes: u64,
    /// The longest that an append waits for others to be written together with.
    pub sync_every: Duration,
    /// The clock, in milliseconds since 1970.
    pub clock: fn() -> Millis,
}

/// Where lines came to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Number of the first line.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// Whether they were there already, under the same key.
    pub again: bool,
}

/// Why something was not appended. Nothing of it is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAppended {
    /// The disk is full.
    Full(PathBuf),
    /// The disk failed otherwise.
    Failed(PathBuf, String),
    /// The log is closed.
    Closed,
}

impl std::fmt::Display for NotAppended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NotAppended::Full(path) => {
                write!(
                    f,
                    "the disk of `{}` is full; nothing of this was taken, send it again when there is space",
                    path.display()
                )
            }
            NotAppended::Failed(path, why) => {
                write!(
                    f,
                    "`{}` cannot be written: {why}; nothing of this was taken, send it again later",
                    path.display()
                )
            }
            NotAppended::Closed => write!(f, "the service is stopping; nothing of this was taken, send it again later"),
        }
    }
}

impl std::error::Error for NotAppended {}

/// What an epoch gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epoch {
    /// All records before this place are judged.
    pub until: u64,
    /// Alerts as JSON lines.
    pub alerts: Vec<u8>,
    /// Events that were not taken, as JSON lines.
    pub rejected: Vec<u8>,
}

enum Request {
    Events { lines: Vec<u8>, count: u64, key: Option<String>, reply: oneshot::Sender<Result<Appended, NotAppended>> },
    Change { number: u64, reply: oneshot::Sender<Result<u64, NotAppended>> },
    Epoch { epoch: Box<Epoch>, reply: oneshot::Sender<Result<u64, (Box<Epoch>, NotAppended)>> },
    Mend { reply: oneshot::Sender<Result<(), NotAppended>> },
    Time { greatest: Millis },
    Retain { place: u64 },
}

/// How far the log is on the disk; readers wait for it.
pub struct Durable {
    place: Mutex<u64>,
    moved: Condvar,
    watch: watch::Sender<u64>,
}

impl Durable {
    fn new(place: u64) -> Durable {
        Durable { place: Mutex::new(place), moved: Condvar::new(), watch: watch::Sender::new(place) }
    }

    /// All records before it are on the disk.
    pub fn place(&self) -> u64 {
        *self.place.lock().expect("nobody panics with it")
    }

    fn move_to(&self, place: u64) {
        *self.place.lock().expect("nobody panics with it") = place;
        self.moved.notify_all();
        self.watch.send_replace(place);
    }

    /// Waits until the log goes beyond a place, at most so long. Returns how far it goes.
    pub fn wait_beyond(&self, place: u64, most: Duration) -> u64 {
        let guard = self.place.lock().expect("nobody panics with it");
        let (guard, _) =
            self.moved.wait_timeout_while(guard, most, |now| *now <= place).expect("nobody panics with it");
        *guard
    }

    /// The same for what is not a thread.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.watch.subscribe()
    }
}

/// A log, for those who append to it and read from it.
#[derive(Clone)]
pub struct Log {
    requests: mpsc::Sender<Request>,
    durable: Arc<Durable>,
    segments: Shared,
}

/// The thread that writes.
pub struct Writing(JoinHandle<()>);

impl Writing {
    /// Waits until all that was asked is written; all handles on the log have to be gone.
    pub fn join(self) {
        let _ = self.0.join();
    }
}

impl Log {
    /// Opens the log of a folder, or begins one.
    pub fn open(folder: &Path, settings: Settings) -> Result<(Log, Writing, Opened), LogError> {
        let mut keys = Keys::default();
        let (segments, opened) = Segments::open(folder, settings.segment_bytes, |record| {
            if let Record::Events(Events { first, count, key: Some(key), .. }) = record {
                keys.put((*key).to_owned(), *first, *count);
            }
        })?;
        let durable = Arc::new(Durable::new(segments.end()));
        let (requests, incoming) = mpsc::channel(WAITING);
        let shared = segments.shared();
        let progress = opened.progress;
        let writer = Writer { segments, progress, keys, durable: durable.clone(), settings, folder: folder.to_owned() };
        let thread = std::thread::Builder::new().name("log".to_owned());
        let thread = thread.spawn(move || writer.run(incoming)).map_err(|e| LogError::Io(folder.to_owned(), e))?;
        Ok((Log { requests, durable, segments: shared }, Writing(thread), opened))
    }

    /// How far it is on the disk.
    pub fn durable(&self) -> &Arc<Durable> {
        &self.durable
    }

    /// Reads from a place on.
    pub fn read_from(&self, place: u64) -> Reader {
        Reader::new(self.segments.clone(), place)
    }

    /// Appends whole lines, `count` of them, each with its end. Lines under a key that was seen not long ago (in this file of the log, or the
    /// one before) are not appended again.
    pub async fn append(&self, lines: Vec<u8>, count: u64, key: Option<String>) -> Result<Appended, NotAppended> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Events { lines, count, key, reply };
        self.requests.send(request).await.map_err(|_| NotAppended::Closed)?;
        answer.await.unwrap_or(Err(NotAppended::Closed))
    }

    /// The same for who is no task: waits until they are on the disk.
    pub fn append_and_wait(&self, lines: Vec<u8>, count: u64, key: String) -> Result<Appended, NotAppended> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Events { lines, count, key: Some(key), reply };
        self.requests.blocking_send(request).map_err(|_| NotAppended::Closed)?;
        answer.blocking_recv().unwrap_or(Err(NotAppended::Closed))
    }

    /// Appends that a change of the catalog takes over; returns its place.
    pub async fn change(&self, number: u64) -> Result<u64, NotAppended> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Change { number, reply }).await.map_err(|_| NotAppended::Closed)?;
        answer.await.unwrap_or(Err(NotAppended::Closed))
    }

    /// Makes sure that of what was not appended nothing stands in the log, whatever happens to this process next.
    pub async fn mend(&self) -> Result<(), NotAppended> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Mend { reply }).await.map_err(|_| NotAppended::Closed)?;
        answer.await.unwrap_or(Err(NotAppended::Closed))
    }

    /// Begins to commit an epoch, and returns what tells how that went; one that failed comes back.
    pub fn commit(&self, epoch: Epoch) -> Commit {
        let (reply, answer) = oneshot::channel();
        let _ = self.requests.blocking_send(Request::Epoch { epoch: Box::new(epoch), reply });
        Commit(answer)
    }

    /// Appends that time goes on without events, as if one of this time had come. Where that fails it is just not so.
    pub fn time_goes_on(&self, greatest: Millis) {
        let _ = self.requests.blocking_send(Request::Time { greatest });
    }

    /// Says that everything before a place is judged and saved: it may go when it is old.
    pub fn may_go_before(&self, place: u64) {
        let _ = self.requests.blocking_send(Request::Retain { place });
    }
}

/// A commit under way.
pub struct Commit(oneshot::Receiver<Result<u64, (Box<Epoch>, NotAppended)>>);

impl Commit {
    /// How it went, if it is over: all before a place is committed.
    pub fn poll(&mut self) -> Option<Result<u64, (Box<Epoch>, NotAppended)>> {
        match self.0.try_recv() {
            Ok(result) => Some(result),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err((Box::default(), NotAppended::Closed))),
        }
    }

    /// Waits until it is over.
    pub fn wait(self) -> Result<u64, (Box<Epoch>, NotAppended)> {
        self.0.blocking_recv().unwrap_or(Err((Box::default(), NotAppended::Closed)))
    }
}

/// Keys under which lines came, those of the last file and of the one before.
#[derive(Default)]
struct Keys {
    known: HashMap<String, (u64, u64)>,
    order: VecDeque<String>,
}

/// The most keys remembered.
const KEYS_MAX: usize = 1 << 20;

impl Keys {
    fn put(&mut self, key: String, first: u64, count: u64) {
        if self.known.insert(key.clone(), (first, count)).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > KEYS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    fn find(&self, key: &str) -> Option<Appended> {
        self.known.get(key).map(|(first, count)| Appended { first: *first, count: *count, again: true })
    }
}

struct Writer {
    segments: Segments,
    progress: Progress,
    keys: Keys,
    durable: Arc<Durable>,
    settings: Settings,
    folder: PathBuf,
}

/// How those who wait are told.
enum Told {
    Appended(oneshot::Sender<Result<Appended, NotAppended>>, Appended),
    Changed(oneshot::Sender<Result<u64, NotAppended>>, u64),
    Committed(oneshot::Sender<Result<u64, (Box<Epoch>, NotAppended)>>, Box<Epoch>),
    Mended(oneshot::Sender<Result<(), NotAppended>>),
}

impl Writer {
    fn run(mut self, mut incoming: mpsc::Receiver<Request>) {
        let mut frames = Vec::new();
        while let Some(request) = incoming.blocking_recv() {
            frames.clear();
            if !self.settings.sync_every.is_zero() {
                std::thread::sleep(self.settings.sync_every);
            }
            self.together(request, &mut incoming, &mut frames);
        }
    }

    /// Writes what is asked, as far as it was asked by now.
    fn together(&mut self, first: Request, incoming: &mut mpsc::Receiver<Request>, frames: &mut Vec<u8>) {
        let reading = (self.settings.clock)();
        let begin = self.segments.make_room(&self.progress);
        let place = *begin.as_ref().unwrap_or(&0);
        let mut progress = self.progress;
        let write = |record: Record<'_>, progress: &mut Progress, frames: &mut Vec<u8>| {
            record.frame(reading, 0, frames);
            progress.pass(&record);
        };
        let mut told = Vec::new();
        let mut keys: Vec<(String, Appended)> = Vec::new();
        let mut next = Some(first);
        while let Some(request) = next {
            let at = place + frames.len() as u64;
            match request {
                Request::Events { lines, count, key, reply } => {
                    let name = key.as_deref().unwrap_or_default();
                    if let Some(appended) = self.keys.find(name) {
                        let _ = reply.send(Ok(appended));
                    } else if let Some((_, appended)) = keys.iter().find(|(key, _)| key == name) {
                        told.push(Told::Appended(reply, Appended { again: true, ..*appended }));
                    } else {
                        let events = Events { first: progress.lines, count, key: key.as_deref(), lines: &lines };
                        let appended = Appended { first: progress.lines, count, again: false };
                        write(Record::Events(events), &mut progress, frames);
                        keys.extend(key.map(|key| (key, appended)));
                        told.push(Told::Appended(reply, appended));
                    }
                }
                Request::Change { number, reply } => {
                    write(Record::Change { number }, &mut progress, frames);
                    told.push(Told::Changed(reply, at));
                }
                Request::Epoch { epoch, reply } => {
                    let record = Record::Epoch(EpochRecord {
                        number: progress.epoch + 1,
                        until: epoch.until,
                        alerts_before: progress.alerts,
                        alerts: &epoch.alerts,
                        rejected: &epoch.rejected,
                    });
                    write(record, &mut progress, frames);
                    told.push(Told::Committed(reply, epoch));
                }
                Request::Mend { reply } => told.push(Told::Mended(reply)),
                Request::Time { greatest } => write(Record::Time { greatest }, &mut progress, frames),
                Request::Retain { place } => self.retain(place),
            }
            next = if frames.len() < TOGETHER { incoming.try_recv().ok() } else { None };
        }
        let written = match begin {
            Ok(_) if frames.is_empty() => Ok(()),
            Ok(_) => self.segments.append(frames),
            Err(e) => Err(e),
        };
        match written {
            Ok(()) => {
                self.progress = progress;
                keys.into_iter().for_each(|(key, a)| self.keys.put(key, a.first, a.count));
                self.durable.move_to(self.segments.end());
                told.into_iter().for_each(Told::well);
            }
            Err(e) => {
                let why = self.not_appended(&e);
                told.into_iter().for_each(|t| t.failed(why.clone()));
            }
        }
    }

    fn not_appended(&self, e: &io::Error) -> NotAppended {
        match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => NotAppended::Full(self.folder.clone()),
            _ => NotAppended::Failed(self.folder.clone(), e.to_string()),
        }
    }

    /// Lets old files go. What fails is tried again with the next save.
    fn retain(&mut self, place: u64) {
        let (age, bytes) = (self.settings.retain_for, self.settings.retain_bytes);
        let old = |changed: std::time::SystemTime, all: u64| all > bytes || changed.elapsed().is_ok_and(|e| e > age);
        let _ = self.segments.remove_before(place, old);
    }
}

impl Told {
    fn well(self) {
        // Who does not wait any more is not told.
        match self {
            Told::Appended(reply, appended) => drop(reply.send(Ok(appended))),
            Told::Changed(reply, place) => drop(reply.send(Ok(place))),
            Told::Committed(reply, epoch) => drop(reply.send(Ok(epoch.until))),
            Told::Mended(reply) => drop(reply.send(Ok(()))),
        }
    }

    fn failed(self, why: NotAppended) {
        match self {
            Told::Appended(reply, _) => drop(reply.send(Err(why))),
            Told::Changed(reply, _) => drop(reply.send(Err(why))),
            Told::Committed(reply, epoch) => drop(reply.send(Err((epoch, why)))),
            Told::Mended(reply) => drop(reply.send(Err(why))),
        }
    }
}
