//! Files of JSON lines as input of the embedded log: each line is taken once, whenever the process ends.
//!
//! Before lines are appended it is kept which bytes of which file they are, and they are appended under a key that says the same. Whoever finds that after a
//! start appends them again under the same key: the log knows whether it has them. A file is known by its place on the disk or its name, and by how it
//! begins: one that is renamed goes on where it was, one that is written anew is another.
//!
//! Lines are not held against the rules first, since nobody waits for an answer: what is no event is a dead letter.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::log::embedded::{Log, NotAppended};
use super::replace::replace;
use crate::faults;

/// How long it waits before it looks for more, and after a failure before it tries again.
const WAIT: Duration = Duration::from_millis(200);

/// About so many bytes are appended together.
const CHUNK: usize = 1 << 20;

/// So many bytes of a file's beginning tell it from another.
const HEAD: u64 = 1_024;

/// So many files are known at most: those that are gone are forgotten first.
const KNOWN_MAX: usize = 4_096;

/// A file or a folder that events are read from.
pub struct FileSource {
    path: PathBuf,
    cursor_path: PathBuf,
    line_bytes_max: usize,
    known: Vec<Known>,
    log: Log,
    standing: Shared,
}

/// How far a file was read.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Known {
    /// Its own, never given twice.
    id: String,
    /// Its path.
    name: PathBuf,
    /// Where it is on the disk.
    device: u64,
    inode: u64,
    /// The digest of so many of its first bytes.
    head_bytes: u64,
    head: String,
    /// Lines up to this byte are in the log.
    taken: u64,
    /// Those up to this byte may be: they were about to be appended.
    asked: u64,
}

/// How a source is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Standing {
    /// The file or folder.
    pub path: String,
    /// How many files there are.
    pub files: usize,
    /// Lines taken since the start.
    pub lines: u64,
    /// Bytes that are not taken yet, an unfinished last line among them.
    pub bytes_behind: u64,
    /// Lines since the start that were longer than a line may be, and left out.
    pub too_long: u64,
    /// What is wrong now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a source is, for those who ask.
pub type Shared = Arc<Mutex<Standing>>;

/// What was read of a file.
struct Chunk {
    /// Lines, each with its end, without those that are blank or too long.
    lines: Vec<u8>,
    count: u64,
    too_long: u64,
    /// The byte behind it.
    to: u64,
}

impl FileSource {
    /// Opens a source; in `folder` it is kept how far each of its files was read.
    ///
    /// # Errors
    /// There is no such file or folder, or what was kept cannot be read.
    pub fn open(path: &Path, folder: &Path, line_bytes_max: usize, log: Log) -> Result<FileSource, String> {
        fs::metadata(path).map_err(|e| {
            format!("`log.source.path`: `{}`: {e}; make the file or folder, or take the source away", path.display())
        })?;
        fs::create_dir_all(folder).map_err(|e| format!("`{}`: {e}", folder.display()))?;
        let digits = hex(&Sha256::digest(path.as_os_str().as_encoded_bytes())[..8]);
        let cursor_path = folder.join(format!("{digits}.json"));
        let known = match fs::read(&cursor_path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| format!("`{}`: {e}", cursor_path.display()))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(format!("`{}`: {e}", cursor_path.display())),
        };
        let standing = Standing { path: path.display().to_string(), ..Standing::default() };
        let standing = Arc::new(Mutex::new(standing));
        Ok(FileSource { path: path.to_owned(), cursor_path, line_bytes_max, known, log, standing })
    }

    /// How it is, from now on.
    pub fn standing(&self) -> Shared {
        self.standing.clone()
    }

    /// Takes lines until it is told to stop.
    pub fn run(mut self, is_over: impl Fn() -> bool) {
        let mut said = None;
        while !is_over() {
            let wrong = self.take(&is_over).err();
            // Once is enough, however often it is tried.
            if let Some(why) = wrong.as_ref().filter(|_| wrong != said) {
                tracing::warn!(%why, "a file is not read; it is tried again");
            }
            self.tell(|standing| standing.error.clone_from(&wrong));
            said = wrong;
            std::thread::sleep(WAIT);
        }
    }

    fn tell(&self, what: impl FnOnce(&mut Standing)) {
        what(&mut self.standing.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Takes all that is there; the first thing that is wrong.
    fn take(&mut self, is_over: &impl Fn() -> bool) -> Result<(), String> {
        let files = files_of(&self.path).map_err(|e| format!("`{}`: {e}", self.path.display()))?;
        self.forget(&files);
        let (mut behind, mut wrong) = (0, Ok(()));
        for name in &files {
            // One that cannot be read holds no other back.
            match self.take_file(name, is_over) {
                Ok(left) => behind += left,
                Err(why) => wrong = wrong.and(Err(format!("`{}`: {why}", name.display()))),
            }
        }
        self.tell(|standing| (standing.files, standing.bytes_behind) = (files.len(), behind));
        wrong
    }

    /// Takes all whole lines of a file; the bytes that are left.
    fn take_file(&mut self, name: &Path, is_over: &impl Fn() -> bool) -> Result<u64, String> {
        let file = match File::open(name) {
            // It was moved away meanwhile.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
            file => file.map_err(|e| e.to_string())?,
        };
        let length = file.metadata().map_err(|e| e.to_string())?.len();
        let at = self.find(name, &file)?;
        loop {
            let Known { taken, asked, .. } = self.known[at];
            if asked > length {
                return Err(format!(
                    "it has {length} bytes, and had {asked}: files that are read only grow; write what comes anew under another name"
                ));
            }
            if is_over() || taken == length {
                return Ok(length - taken);
            }
            // What was about to be appended is read again as it was.
            let most = match asked > taken {
                true => asked - taken,
                false => (length - taken).min(CHUNK.max(self.line_bytes_max + 1) as u64),
            };
            let chunk = read(&file, taken, most, length, self.line_bytes_max).map_err(|e| e.to_string())?;
            let Some(chunk) = chunk else { return Ok(length - taken) };
            self.append(at, &file, chunk)?;
        }
    }

    /// Appends lines, which may be in the log already, and goes on behind them.
    fn append(&mut self, at: usize, file: &File, chunk: Chunk) -> Result<(), String> {
        let Chunk { lines, count, too_long, to } = chunk;
        if self.known[at].asked <= self.known[at].taken {
            let (head_bytes, head) = head_of(file, to.min(HEAD)).map_err(|e| e.to_string())?;
            let known = &mut self.known[at];
            (known.asked, known.head_bytes, known.head) = (to, head_bytes, head);
            if let Err(e) = self.keep() {
                self.known[at].asked = self.known[at].taken;
                return Err(format!("how far it was read cannot be kept: {e}"));
            }
        }
        let _ = faults::at("file-kept");
        let Known { id, name, taken, asked, .. } = &self.known[at];
        if too_long > 0 {
            tracing::warn!(file = %name.display(), too_long, from = taken, to = asked, "lines are longer than `http.line_bytes_max`, and left out");
        }
        let mut again = false;
        if count > 0 {
            let key = format!("file:{id}:{taken}-{asked}");
            again = self.log.append_and_wait(lines, count, key).map_err(|why: NotAppended| why.to_string())?.again;
        }
        let _ = faults::at("file-taken");
        self.known[at].taken = to;
        self.tell(|standing| {
            standing.lines += if again { 0 } else { count };
            standing.too_long += too_long;
        });
        Ok(())
    }

    /// Which of those that are known a file is; a new one where it is none of them.
    fn find(&mut self, name: &Path, file: &File) -> Result<usize, String> {
        let meta = file.metadata().map_err(|e| e.to_string())?;
        let (device, inode) = (meta.dev(), meta.ino());
        let same = |known: &Known| {
            let head = head_of(file, known.head_bytes).map_err(|e| e.to_string())?;
            Ok::<bool, String>(head == (known.head_bytes, known.head.clone()))
        };
        let all = || self.known.iter().enumerate();
        let by_place = all().filter(|(_, known)| (known.device, known.inode) == (device, inode));
        let by_name = all().filter(|(_, known)| known.name == name);
        let candidates: Vec<usize> = by_place.chain(by_name).map(|(at, _)| at).collect();
        for at in candidates {
            if same(&self.known[at])? {
                let known = &mut self.known[at];
                (known.name, known.device, known.inode) = (name.to_owned(), device, inode);
                return Ok(at);
            }
        }
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(|e| format!("the system gives no random numbers: {e}"))?;
        let (head_bytes, head) = head_of(file, 0).map_err(|e| e.to_string())?;
        let known = Known { id: hex(&id), name: name.to_owned(), device, inode, head_bytes, head, taken: 0, asked: 0 };
        // What is written anew under the name of one that was read is another.
        self.known.retain(|old| (old.device, old.inode) != (device, inode) || old.name != name);
        self.known.push(known);
        Ok(self.known.len() - 1)
    }

    fn forget(&mut self, files: &[PathBuf]) {
        while self.known.len() > KNOWN_MAX {
            let gone = self.known.iter().position(|known| !files.contains(&known.name));
            self.known.remove(gone.unwrap_or(0));
        }
    }

    fn keep(&self) -> io::Result<()> {
        replace(&self.cursor_path, &serde_json::to_vec(&self.known).map_err(io::Error::other)?)
    }
}

/// The files of a folder but hidden ones, in the order of their names; a file alone.
fn files_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && entry.path().is_file() {
            files.push(entry.path());
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Whole lines of a file from a byte on, of so many bytes; none where not one is whole.
fn read(file: &File, from: u64, most: u64, length: u64, line_bytes_max: usize) -> io::Result<Option<Chunk>> {
    let mut bytes = Vec::new();
    At { file, at: from }.take(most).read_to_end(&mut bytes)?;
    let Some(last) = memchr::memrchr(b'\n', &bytes) else {
        if bytes.len() <= line_bytes_max {
            return Ok(None);
        }
        let end = end_of_line(file, from + bytes.len() as u64, length)?;
        return Ok(end.map(|to| Chunk { lines: Vec::new(), count: 0, too_long: 1, to }));
    };
    bytes.truncate(last + 1);
    let mut chunk =
        Chunk { lines: Vec::with_capacity(bytes.len()), count: 0, too_long: 0, to: from + bytes.len() as u64 };
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        if line.len() > line_bytes_max + 1 {
            chunk.too_long += 1;
        } else if !line.iter().all(u8::is_ascii_whitespace) {
            chunk.lines.extend_from_slice(line);
            chunk.count += 1;
        }
    }
    Ok(Some(chunk))
}

/// The byte behind the end of the line that goes on at a byte; none where it has none yet.
fn end_of_line(file: &File, mut at: u64, before: u64) -> io::Result<Option<u64>> {
    let mut bytes = vec![0; CHUNK];
    while at < before {
        let most = usize::try_from(before - at).unwrap_or(CHUNK).min(CHUNK);
        let read = file.read_at(&mut bytes[..most], at)?;
        if read == 0 {
            break;
        }
        if let Some(end) = memchr::memchr(b'\n', &bytes[..read]) {
            return Ok(Some(at + end as u64 + 1));
        }
        at += read as u64;
    }
    Ok(None)
}

/// The digest of the first bytes of a file, and of how many.
fn head_of(file: &File, most: u64) -> io::Result<(u64, String)> {
    let mut bytes = Vec::new();
    At { file, at: 0 }.take(most).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64, hex(&Sha256::digest(&bytes)[..16])))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a file from a place on.
struct At<'f> {
    file: &'f File,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::log::embedded::Settings;

    fn log(folder: &Path) -> (Log, crate::data::log::embedded::Writing) {
        let settings = Settings {
            segment_bytes: 1 << 20,
            retain_for: Duration::MAX,
            retain_bytes: u64::MAX,
            sync_every: Duration::ZERO,
            clock: || 0,
        };
        let (log, writing, _) = Log::open(folder, settings).expect("it can be opened");
        (log, writing)
    }

    /// Opens the source anew, takes all that is there, and gives how it is.
    fn taken(root: &Path, path: &Path) -> Standing {
        let (log, writing) = log(&root.join("log"));
        let mut source = FileSource::open(path, &root.join("files"), 20, log).expect("it can be opened");
        let error = source.take(&|| false).err();
        let mut standing = source.standing().lock().expect("nobody panics with it").clone();
        standing.error = error;
        drop(source);
        writing.join();
        standing
    }

    #[test]
    fn lines_are_taken_once_as_files_grow_move_and_begin_anew() {
        let root = std::env::temp_dir().join(format!("lapwing-files-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let folder = root.join("in");
        fs::create_dir_all(&folder).expect("a folder can be made");
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("a file can be written");
        let seen = |lines: u64, files: usize, behind: u64| {
            let Standing { lines: l, files: f, bytes_behind, error, .. } = taken(&root, &folder);
            assert_eq!((l, f, bytes_behind, error), (lines, files, behind, None));
        };
        write("a", "{1}\n{2}\n\n{3");
        write(".hidden", "{}\n");
        seen(2, 1, 2);
        seen(0, 1, 2);
        write("a", "{1}\n{2}\n\n{3}\n");
        write("b", "{4}\n");
        seen(2, 2, 0);
        // One that is moved goes on where it was; another takes its name.
        fs::rename(folder.join("a"), folder.join("a.1")).expect("it can be moved");
        write("a", "{5}\n{6}\n");
        seen(2, 3, 0);
        // A copy under the same name with the same beginning is the same file.
        fs::copy(folder.join("b"), folder.join("c.new")).expect("it can be copied");
        fs::rename(folder.join("c.new"), folder.join("b")).expect("it can be moved");
        seen(0, 3, 0);
        // Cut back and written anew it is another.
        write("b", "{7}\n{8}\n");
        seen(2, 3, 0);
        // What is too long is left out, also where it has no end yet.
        let long = "x".repeat(30);
        write("d", &format!("{long}\n{{9}}\n{long}"));
        let standing = taken(&root, &folder);
        assert_eq!((standing.lines, standing.too_long, standing.bytes_behind), (1, 1, 30));
        fs::remove_dir_all(&root).expect("it can be removed");
    }

    #[test]
    fn one_that_became_shorter_is_told_and_holds_no_other_back() {
        let root = std::env::temp_dir().join(format!("lapwing-files-shorter-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let folder = root.join("in");
        fs::create_dir_all(&folder).expect("a folder can be made");
        let line = format!("{}\n", "y".repeat(19)).repeat(100);
        fs::write(folder.join("a"), &line).expect("a file can be written");
        assert_eq!(taken(&root, &folder).lines, 100);
        fs::write(folder.join("a"), &line[..1_500]).expect("a file can be written");
        fs::write(folder.join("b"), "{1}\n").expect("a file can be written");
        let Standing { lines, error, .. } = taken(&root, &folder);
        assert_eq!(lines, 1);
        assert!(
            error.is_some_and(|why| why.contains("it has 1500 bytes, and had 2000: files that are read only grow"))
        );
        let (log, writing) = log(&root.join("log"));
        let why = FileSource::open(&root.join("none"), &root.join("files"), 20, log).err().expect("there is none");
        assert!(why.starts_with("`log.source.path`: ") && why.contains("make the file or folder"), "{why}");
        writing.join();
        fs::remove_dir_all(&root).expect("it can be removed");
    }
}
