//! `--state DIR`: where a run was, so that it goes on exactly there.
//!
//! The state is saved between two batches of lines: first the outputs are brought to the disk, then one file with the place in
//! the input, the lengths of the outputs and the engine's state takes the place of the last one. A run that was
//! killed cuts its outputs back to those lengths and reads on from that place.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lapwing_engine::store::codec::{Corrupt, Writer as Bytes};
use lapwing_engine::store::seal;
use sha2::{Digest, Sha256};

use super::writer::Written;
use crate::control::story::Story;

/// How much of the input's beginning tells whether it is the same file.
const HEAD_BYTES: u64 = 4_096;

/// The name of the state in its folder.
pub const FILE: &str = "run.state";

/// The folder of a run's state.
pub struct StateFolder {
    path: PathBuf,
    interval: Duration,
    last: Instant,
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
    /// The engine's state.
    pub pipeline: Vec<u8>,
}

impl StateFolder {
    /// Opens the folder, and makes it where there is none.
    pub fn open(path: &Path, interval: Duration) -> io::Result<StateFolder> {
        fs::create_dir_all(path)?;
        Ok(StateFolder { path: path.to_owned(), interval, last: Instant::now() })
    }

    fn file(&self) -> PathBuf {
        self.path.join(FILE)
    }

    /// What was saved last; none where nothing was.
    pub fn load(&self) -> Result<Option<Saved>, String> {
        read(&self.file())
    }

    /// Whether it is time to save.
    pub fn is_due(&self) -> bool {
        self.last.elapsed() >= self.interval
    }

    /// Puts a state in place of the last one.
    pub fn save(&mut self, saved: &Saved) -> io::Result<()> {
        replace(&self.file(), &encode(saved))?;
        self.last = Instant::now();
        Ok(())
    }
}

/// The state in a file; none where there is no such file.
pub fn read(path: &Path) -> Result<Option<Saved>, String> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read `{}`: {error}", path.display())),
    };
    decode(&bytes).map(Some).map_err(|e| format!("`{}`: {e}", path.display()))
}

/// Puts bytes in place of a file, at once or not at all.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
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
