//! Uploads: a model's file in chunks, for what is larger than a message.
//!
//! Chunks come in any order, and each names the upload by the SHA-256 of the whole file; a message that puts the model names it then. What is open is
//! bounded, and the oldest goes first: what becomes of a chunk depends on the chunks before it alone, so that all instances and every replay come to
//! the same. Chunks are files: over the embedded log they are what is known after a start; over Kafka they are gathered anew from the control topic,
//! from where the history says that the oldest open one began. A file that a change has taken is kept beside the history under its digest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::catalog::{Refusal, refuse_stray};
use super::message::{Kind, Message};
use crate::data::replace::replace;
use crate::faults;
use crate::models::deploy::BYTES_MAX;

/// How many uploads are open at once; beyond that the oldest is forgotten.
pub const OPEN_MAX: usize = 16;

/// How many bytes all open uploads have together: two of the largest models. Beyond that the oldest is forgotten.
pub const OPEN_BYTES_MAX: u64 = 2 * BYTES_MAX as u64;

/// How many chunks an upload has at most: with chunks of 64 KiB that is the largest model.
pub const CHUNKS_MAX: u32 = 4096;

/// What is open at once at most.
#[derive(Clone, Copy, Debug)]
struct Limits {
    open: usize,
    bytes: u64,
    /// Of one upload.
    upload_bytes: u64,
}

const LIMITS: Limits = Limits { open: OPEN_MAX, bytes: OPEN_BYTES_MAX, upload_bytes: BYTES_MAX as u64 };

/// An open upload, as the history keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// The SHA-256 of the whole, in hexadecimal digits.
    pub upload: String,
    /// How many chunks it has.
    pub of: u32,
    /// The offset in the control topic of its first chunk.
    pub from: u64,
}

/// How far an upload has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// So many chunks are there.
    pub chunks: u32,
    /// Of so many.
    pub of: u32,
}

/// Why nothing was done.
#[derive(Debug)]
pub enum NotTaken {
    /// It is refused.
    Refused(Refusal),
    /// The disk fails.
    Disk(io::Error),
}

impl From<io::Error> for NotTaken {
    fn from(e: io::Error) -> NotTaken {
        NotTaken::Disk(e)
    }
}

fn refused(why: String) -> NotTaken {
    NotTaken::Refused(Refusal::new(why))
}

/// An upload that no change has taken yet.
#[derive(Debug)]
struct Open {
    begun: Begun,
    /// How many bytes each chunk has that is there.
    sizes: BTreeMap<u32, u64>,
    /// Whether it is whole and was found to be what it is named by.
    is_sound: bool,
}

/// The open uploads, and the files that changes have taken.
#[derive(Debug)]
pub struct Uploads {
    folder: PathBuf,
    /// Where the files are kept that changes have taken, each named by its digest.
    kept_in: PathBuf,
    kept: BTreeSet<String>,
    /// In the order in which they began.
    open: Vec<Open>,
    limits: Limits,
}

/// A chunk, as a message says it.
struct Chunk<'m> {
    upload: &'m str,
    number: u32,
    of: u32,
    bytes: Vec<u8>,
}

impl Uploads {
    /// Those whose chunks are in a folder, but the one that the last change has taken. What changes have taken is `kept`, in a folder of its own.
    ///
    /// # Errors
    /// A folder cannot be read or written.
    pub fn load(
        folder: &Path,
        kept_in: &Path,
        kept: BTreeSet<String>,
        last_taken: Option<&str>,
    ) -> io::Result<Uploads> {
        let mut uploads = Uploads::new(folder, kept_in, kept)?;
        fs::create_dir_all(folder)?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match Open::read(&entry.path())? {
                Some(open) if Some(open.begun.upload.as_str()) != last_taken => uploads.open.push(open),
                // It was on its way out.
                _ => fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()))?,
            }
        }
        uploads.open.sort_by_key(|open| open.begun.from);
        // One whose last chunk came and that was not looked at any more.
        let whole: Vec<String> = uploads.open.iter().filter(|o| o.is_whole()).map(|o| o.begun.upload.clone()).collect();
        for upload in whole {
            uploads.look_at(&upload)?;
        }
        Ok(uploads)
    }

    /// Those that a history says were open; their chunks are gathered again.
    ///
    /// # Errors
    /// A folder cannot be read or written.
    pub fn again(folder: &Path, kept_in: &Path, kept: BTreeSet<String>, begun: &[Begun]) -> io::Result<Uploads> {
        let mut uploads = Uploads::new(folder, kept_in, kept)?;
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        uploads.open = begun.iter().cloned().map(Open::new).collect();
        Ok(uploads)
    }

    fn new(folder: &Path, kept_in: &Path, kept: BTreeSet<String>) -> io::Result<Uploads> {
        let uploads =
            Uploads { folder: folder.to_owned(), kept_in: kept_in.to_owned(), kept, open: Vec::new(), limits: LIMITS };
        uploads.tidy()?;
        Ok(uploads)
    }

    /// Removes files that no change has taken: the process ended in between.
    fn tidy(&self) -> io::Result<()> {
        let entries = match fs::read_dir(&self.kept_in) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        for entry in entries {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(|name| self.kept.contains(name)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// The open ones but one, in the order in which they began.
    pub fn begun_but(&self, upload: Option<&str>) -> Vec<Begun> {
        let others = self.open.iter().filter(|open| Some(open.begun.upload.as_str()) != upload);
        others.map(|open| open.begun.clone()).collect()
    }

    /// The place of one that begins behind all others.
    pub fn next_place(&self) -> u64 {
        self.open.last().map_or(0, |open| open.begun.from + 1)
    }

    /// Takes a chunk.
    ///
    /// # Errors
    /// It does not fit, or cannot be written.
    pub fn take(&mut self, message: &Message, place: u64) -> Result<Progress, NotTaken> {
        let chunk = Chunk::of(message).map_err(refused)?;
        let at = self.open.iter().position(|open| open.begun.upload == chunk.upload);
        if !self.is_there(at, &chunk)? {
            self.add(at, &chunk, place)?;
        }
        self.make_room(chunk.upload)?;
        let open = self.find(chunk.upload).expect("what has just come is not what goes");
        let (progress, whole) = (open.progress(), open.is_whole() && !open.is_sound);
        if whole && !self.look_at(chunk.upload)? {
            return Err(refused(format!(
                "the {} chunks of the upload `{}` are there, and together they have another SHA-256 than that: they are forgotten; send all of \
                 them again, under the digest of the file that they are of",
                chunk.of, chunk.upload
            )));
        }
        Ok(progress)
    }

    /// Adds a chunk that is not there; after a failure nothing has changed.
    fn add(&mut self, at: Option<usize>, chunk: &Chunk<'_>, place: u64) -> io::Result<()> {
        let Some(at) = at else {
            let begun = Begun { upload: chunk.upload.to_owned(), of: chunk.of, from: place };
            let mut open = Open::new(begun);
            self.write(&open, chunk)?;
            open.sizes.insert(chunk.number, chunk.bytes.len() as u64);
            self.open.push(open);
            return Ok(());
        };
        self.write(&self.open[at], chunk)?;
        self.open[at].sizes.insert(chunk.number, chunk.bytes.len() as u64);
        Ok(())
    }

    /// Takes a chunk again that was judged before a change was taken: only those count whose uploads were open then.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn gather(&mut self, message: &Message, place: u64) -> Result<(), NotTaken> {
        let upload = message.upload.as_deref().unwrap_or_default();
        match self.find(upload) {
            Some(open) if open.begun.from <= place => self.take(message, place).map(drop),
            _ => Ok(()),
        }
    }

    /// Keeps the file of an upload that a change is about to take: it is there, whole, when this returns.
    ///
    /// # Errors
    /// It is not whole, or cannot be written.
    pub fn keep(&self, upload: &str) -> Result<(), NotTaken> {
        let Some(open) = self.find(upload) else {
            let why = "send its chunks first: `\"op\": \"chunk\"`; one that was taken by a change, or that had to make room for newer ones, is gone";
            return Err(refused(format!("there is no upload `{upload}`; {why}")));
        };
        if !open.is_whole() {
            let Progress { chunks, of } = open.progress();
            let missing: Vec<String> =
                (0..of).filter(|n| !open.sizes.contains_key(n)).take(10).map(|n| n.to_string()).collect();
            let more = if of - chunks > 10 { " and more" } else { "" };
            return Err(refused(format!(
                "the upload `{upload}` has {chunks} of {of} chunks: send {}{more} first",
                missing.join(", ")
            )));
        }
        let mut bytes = Vec::new();
        for number in 0..open.begun.of {
            bytes.extend(fs::read(self.path(open).join(number.to_string()))?);
        }
        if hex(&Sha256::digest(&bytes)) != upload {
            let folder = self.path(open);
            let why = format!("the chunks in `{}` are not what was written there", folder.display());
            return Err(NotTaken::Disk(io::Error::other(why)));
        }
        if !self.kept_in.exists() {
            fs::create_dir_all(&self.kept_in)?;
            sync(self.kept_in.parent())?;
        }
        faults::at("upload-kept")?;
        replace(&self.kept_in.join(upload), &bytes)?;
        Ok(())
    }

    /// The change that was about to take an upload was refused.
    pub fn let_go(&self, upload: &str) {
        if !self.kept.contains(upload) {
            // What cannot be removed now is when the service starts.
            let _ = fs::remove_file(self.kept_in.join(upload));
        }
    }

    /// A change has taken an upload: it is open no more.
    pub fn taken(&mut self, upload: &str) {
        self.kept.insert(upload.to_owned());
        if let Err(error) = self.forget(upload) {
            tracing::warn!(%error, upload, "the chunks of an upload that was taken cannot be removed; the next start does");
            self.open.retain(|open| open.begun.upload != upload);
        }
    }

    fn find(&self, upload: &str) -> Option<&Open> {
        self.open.iter().find(|open| open.begun.upload == upload)
    }

    /// Whether an upload has a chunk already.
    fn is_there(&self, at: Option<usize>, chunk: &Chunk<'_>) -> Result<bool, NotTaken> {
        let open = at.map(|at| &self.open[at]);
        let has = open.map_or(0, Open::bytes);
        let upload = chunk.upload;
        if let Some(open) = open {
            let of = open.begun.of;
            if of != chunk.of {
                let said = chunk.of;
                return Err(refused(format!("the upload `{upload}` has {of} chunks, and this one is one of {said}")));
            }
            if open.sizes.contains_key(&chunk.number) {
                let number = chunk.number;
                return match fs::read(self.path(open).join(number.to_string()))? == chunk.bytes {
                    true => Ok(true),
                    false => {
                        Err(refused(format!("chunk {number} of the upload `{upload}` came before, with other bytes")))
                    }
                };
            }
        }
        let limit = self.limits.upload_bytes;
        if has + chunk.bytes.len() as u64 > limit {
            let given = has + chunk.bytes.len() as u64;
            return Err(refused(format!(
                "with this chunk the upload `{upload}` has {given} bytes, and a model has at most {limit}"
            )));
        }
        Ok(false)
    }

    fn write(&self, open: &Open, chunk: &Chunk<'_>) -> io::Result<()> {
        let path = self.path(open);
        faults::at("upload-write")?;
        if !path.exists() {
            fs::create_dir_all(&path)?;
            sync(Some(&self.folder))?;
        }
        replace(&path.join(chunk.number.to_string()), &chunk.bytes)
    }

    /// Where there are too many, the oldest goes, but never the one that is being added to.
    fn make_room(&mut self, present: &str) -> io::Result<()> {
        let is_too_much = |uploads: &Uploads| {
            uploads.open.len() > uploads.limits.open
                || uploads.open.iter().map(Open::bytes).sum::<u64>() > uploads.limits.bytes
        };
        while is_too_much(self) {
            let oldest = self.open.iter().find(|open| open.begun.upload != present);
            let Some(oldest) = oldest.map(|open| open.begun.upload.clone()) else { break };
            tracing::warn!(upload = oldest, "too much is uploaded and not taken: the oldest upload is forgotten");
            self.forget(&oldest)?;
        }
        Ok(())
    }

    /// Forgets an upload; after a failure it is as before.
    fn forget(&mut self, upload: &str) -> io::Result<()> {
        let Some(at) = self.open.iter().position(|open| open.begun.upload == upload) else { return Ok(()) };
        let (path, going) = (self.path(&self.open[at]), self.folder.join(format!("{GOING}{upload}")));
        if path.exists() {
            if going.exists() {
                fs::remove_dir_all(&going)?;
            }
            // In one step: half an upload would be one that misses chunks.
            fs::rename(path, &going)?;
        }
        self.open.remove(at);
        // What is still there then is removed at the next start.
        let _ = fs::remove_dir_all(going);
        Ok(())
    }

    /// Whether the chunks of an upload, all of them there, make the file that it is named by; else it is forgotten.
    fn look_at(&mut self, upload: &str) -> io::Result<bool> {
        let Some(open) = self.open.iter().find(|open| open.begun.upload == upload) else { return Ok(false) };
        let mut digest = Sha256::new();
        for number in 0..open.begun.of {
            digest.update(fs::read(self.path(open).join(number.to_string()))?);
        }
        let is_sound = hex(&digest.finalize()) == upload;
        match self.open.iter_mut().find(|open| open.begun.upload == upload) {
            Some(open) if is_sound => open.is_sound = true,
            _ => self.forget(upload)?,
        }
        Ok(is_sound)
    }

    fn path(&self, open: &Open) -> PathBuf {
        let Begun { upload, of, from } = &open.begun;
        self.folder.join(format!("{from:020}-{of}-{upload}"))
    }
}

/// How the name of a folder begins that is being removed.
const GOING: &str = "going-";

impl Open {
    fn new(begun: Begun) -> Open {
        Open { begun, sizes: BTreeMap::new(), is_sound: false }
    }

    /// What a folder holds; none where it is no upload.
    fn read(path: &Path) -> io::Result<Option<Open>> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let mut parts = name.split('-');
        let (Some(Ok(from)), Some(Ok(of)), Some(upload), None) = (
            parts.next().map(str::parse),
            parts.next().map(str::parse),
            parts.next().filter(|upload| is_digest(upload)),
            parts.next(),
        ) else {
            return Ok(None);
        };
        let begun = Begun { upload: upload.to_owned(), of, from };
        let mut sizes = BTreeMap::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let number = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
            if let Some(number) = number.filter(|number| *number < of) {
                sizes.insert(number, entry.metadata()?.len());
            }
        }
        Ok((!sizes.is_empty()).then_some(Open { sizes, ..Open::new(begun) }))
    }

    fn bytes(&self) -> u64 {
        self.sizes.values().sum()
    }

    fn is_whole(&self) -> bool {
        self.sizes.len() == self.begun.of as usize
    }

    fn progress(&self) -> Progress {
        Progress { chunks: self.sizes.len() as u32, of: self.begun.of }
    }
}

impl Chunk<'_> {
    fn of(message: &Message) -> Result<Chunk<'_>, String> {
        refuse_stray(message).map_err(|refusal| refusal.message)?;
        if message.kind != Kind::Model {
            return Err("only a model comes in chunks: `\"kind\": \"model\"`".to_owned());
        }
        let upload = message.upload.as_deref().ok_or("`upload` is missing: the SHA-256 of the whole file")?;
        if !is_digest(upload) {
            return Err(format!("`upload` is the SHA-256 of the whole file, 64 digits of 0-9 and a-f, not `{upload}`"));
        }
        let number = message.chunk.ok_or("`chunk` is missing: the number of the chunk, from 0")?;
        let of = message.of.ok_or("`of` is missing: how many chunks the file has")?;
        if of == 0 || of > CHUNKS_MAX {
            return Err(format!("`of` is {of}, and an upload has 1 to {CHUNKS_MAX} chunks: make them larger"));
        }
        if number >= of {
            return Err(format!("`chunk` is {number}, and the chunks of {of} have the numbers 0 to {}", of - 1));
        }
        let text = message.bytes.as_deref().ok_or("`bytes` is missing: what the chunk holds, in base64")?;
        let bytes = BASE64_STANDARD.decode(text).map_err(|e| format!("`bytes` of chunk {number} is no base64: {e}"))?;
        if bytes.is_empty() {
            return Err(format!("`bytes` of chunk {number} is empty: a chunk holds something"));
        }
        Ok(Chunk { upload, number, of, bytes })
    }
}

/// Whether a text is a SHA-256 as it is written here.
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sync(folder: Option<&Path>) -> io::Result<()> {
    let folder = folder.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Test {
        root: PathBuf,
        uploads: Uploads,
        place: u64,
    }

    impl Test {
        fn new(name: &str, limits: Limits) -> Test {
            let root = std::env::temp_dir().join(format!("lapwing-uploads-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            let mut uploads = Uploads::load(&root.join("uploads"), &root.join("models"), BTreeSet::new(), None)
                .expect("a folder can be made");
            uploads.limits = limits;
            Test { root, uploads, place: 0 }
        }

        fn send(&mut self, upload: &str, chunk: u32, of: u32, bytes: &[u8]) -> Result<(u32, u32), String> {
            self.place += 1;
            let progress = self.uploads.take(&message(upload, chunk, of, bytes), self.place);
            said(progress.map(|Progress { chunks, of }| (chunks, of)))
        }

        fn keep(&self, upload: &str) -> Result<(), String> {
            said(self.uploads.keep(upload))
        }
    }

    impl Drop for Test {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.root);
        }
    }

    fn said<T>(result: Result<T, NotTaken>) -> Result<T, String> {
        result.map_err(|why| match why {
            NotTaken::Refused(refusal) => refusal.message,
            NotTaken::Disk(e) => panic!("the disk is well: {e}"),
        })
    }

    fn message(upload: &str, chunk: u32, of: u32, bytes: &[u8]) -> Message {
        let bytes = BASE64_STANDARD.encode(bytes);
        let message = json!({"op": "chunk", "kind": "model", "name": "m", "upload": upload, "chunk": chunk, "of": of, "bytes": bytes});
        serde_json::from_value(message).expect("a message")
    }

    fn of(parts: &[&[u8]]) -> String {
        hex(&Sha256::digest(parts.concat()))
    }

    #[track_caller]
    fn refuses<T: std::fmt::Debug>(result: Result<T, String>, words: &str) {
        let why = result.expect_err("it is refused");
        assert!(why.contains(words), "it does not say {words:?}: {why}");
    }

    #[test]
    fn chunks_come_in_any_order_and_more_than_once() {
        let mut test = Test::new("order", LIMITS);
        let upload = of(&[b"ab", b"c", b"def"]);
        assert_eq!(test.send(&upload, 2, 3, b"def"), Ok((1, 3)));
        assert_eq!(test.send(&upload, 0, 3, b"ab"), Ok((2, 3)));
        assert_eq!(test.send(&upload, 2, 3, b"def"), Ok((2, 3)));
        refuses(test.keep(&upload), "has 2 of 3 chunks: send 1 first");
        refuses(test.send(&upload, 2, 3, b"deg"), "chunk 2 of the upload");
        refuses(test.send(&upload, 1, 4, b"c"), "has 3 chunks, and this one is one of 4");
        refuses(test.send(&upload, 3, 3, b"c"), "have the numbers 0 to 2");
        refuses(test.send("abc", 1, 3, b"c"), "64 digits");
        refuses(test.send(&upload, 0, 5_000, b"c"), "1 to 4096 chunks");
        refuses(test.send(&upload, 1, 3, b""), "is empty");
        refuses(test.keep(&of(&[b"other"])), "there is no upload");
        assert_eq!(test.send(&upload, 1, 3, b"c"), Ok((3, 3)));
        assert_eq!(test.keep(&upload), Ok(()));
        assert_eq!(fs::read(test.root.join("models").join(&upload)).expect("it is kept"), b"abcdef");
        test.uploads.let_go(&upload);
        assert!(!test.root.join("models").join(&upload).exists());
        assert_eq!(test.keep(&upload), Ok(()));
        test.uploads.taken(&upload);
        refuses(test.keep(&upload), "there is no upload");
        assert_eq!(fs::read_dir(test.root.join("uploads")).expect("there is one").count(), 0);
    }

    #[test]
    fn another_digest_forgets_the_chunks() {
        let mut test = Test::new("digest", LIMITS);
        let upload = of(&[b"ab", b"c"]);
        assert_eq!(test.send(&upload, 0, 2, b"ab"), Ok((1, 2)));
        refuses(test.send(&upload, 1, 2, b"d"), "another SHA-256");
        assert_eq!(test.send(&upload, 1, 2, b"c"), Ok((1, 2)));
        assert_eq!(test.send(&upload, 0, 2, b"ab"), Ok((2, 2)));
    }

    #[test]
    fn the_oldest_goes_first_and_never_the_present_one() {
        let mut test = Test::new("room", Limits { open: 2, bytes: 10, upload_bytes: 8 });
        let uploads: Vec<String> = (0..4_u8).map(|n| of(&[&[n]])).collect();
        assert_eq!(test.send(&uploads[0], 0, 9, b"123"), Ok((1, 9)));
        assert_eq!(test.send(&uploads[1], 0, 9, b"123"), Ok((1, 9)));
        assert_eq!(test.send(&uploads[2], 0, 9, b"123"), Ok((1, 9)));
        let begun = |test: &Test| test.uploads.begun_but(None).into_iter().map(|b| b.upload).collect::<Vec<_>>();
        assert_eq!(begun(&test), uploads[1..3]);
        assert_eq!(test.send(&uploads[1], 1, 9, b"12345"), Ok((2, 9)));
        assert_eq!(begun(&test), uploads[1..2], "eleven bytes are too many, and the present one stays");
        refuses(test.send(&uploads[1], 2, 9, b"1"), "has 9 bytes, and a model has at most 8");
        assert_eq!(begun(&test), uploads[1..2]);
    }

    #[test]
    fn what_is_open_is_known_after_a_start_and_gathered_again() {
        let mut test = Test::new("again", LIMITS);
        let (one, two) = (of(&[b"ab", b"c"]), of(&[b"xy"]));
        let sent = [(&one, 0, 2, b"ab".as_slice()), (&two, 0, 1, b"xy"), (&one, 1, 2, b"c")];
        let all: Vec<_> = sent.iter().map(|(upload, n, of, bytes)| message(upload, *n, *of, bytes)).collect();
        for (upload, number, of, bytes) in sent {
            test.send(upload, number, of, bytes).expect("it is taken");
        }
        let begun = test.uploads.begun_but(None);
        let (folder, models) = (test.root.join("uploads"), test.root.join("models"));
        let load = |taken| Uploads::load(&folder, &models, BTreeSet::new(), taken).expect("it can be read");
        test.uploads = load(None);
        assert_eq!(test.uploads.begun_but(None), begun);
        assert_eq!((test.keep(&one), test.keep(&two)), (Ok(()), Ok(())));
        test.uploads = load(Some(&one));
        assert_eq!(test.uploads.begun_but(None), begun[1..]);
        // The same from messages, where only the second was open.
        test.uploads = Uploads::again(&folder, &models, BTreeSet::new(), &begun[1..]).expect("it can be read");
        for (place, message) in (1..).zip(&all) {
            said(test.uploads.gather(message, place)).expect("it is taken");
        }
        refuses(test.keep(&one), "there is no upload");
        assert_eq!(test.keep(&two), Ok(()));
    }
}
