//! The saved state of a service's matcher, with its place in the log.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lapwing_engine::store::codec::{Corrupt, Writer};
use lapwing_engine::store::seal;

use crate::cli::run::state::replace;
use crate::faults;

/// A state with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Everything in the log before it is in the state.
    pub place: u64,
    /// The number of the last change that took over before it.
    pub applied: u64,
    /// How many rule sets the state belongs to: those of the last changes.
    pub generations: u64,
    /// The pipeline's state.
    pub pipeline: Vec<u8>,
}

/// Where states are saved: the last one stays.
pub struct Checkpoints {
    path: PathBuf,
    every: Duration,
    last: Instant,
}

impl Checkpoints {
    /// Those of a folder, and the last one, if there is any.
    pub fn open(folder: &Path, every: Duration) -> Result<(Checkpoints, Option<Checkpoint>), String> {
        let path = folder.join("matcher.state");
        let at = |e: &dyn std::fmt::Display| format!("`{}`: {e}", path.display());
        fs::create_dir_all(folder).map_err(|e| at(&e))?;
        let last = match fs::read(&path) {
            Ok(bytes) => Some(decode(&bytes).map_err(|e| at(&e))?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(at(&e)),
        };
        Ok((Checkpoints { path, every, last: Instant::now() }, last))
    }

    /// Whether it is time to save.
    pub fn is_due(&self) -> bool {
        self.last.elapsed() >= self.every
    }

    /// Puts a state in place of the last one.
    pub fn save(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        self.last = Instant::now();
        let mut w = Writer::default();
        [checkpoint.place, checkpoint.applied, checkpoint.generations].into_iter().for_each(|n| w.u64(n));
        w.slice(&checkpoint.pipeline);
        faults::at("save")?;
        replace(&self.path, &seal::seal(&w.bytes))
    }
}

fn decode(bytes: &[u8]) -> Result<Checkpoint, Corrupt> {
    let mut r = seal::open(bytes)?;
    let checkpoint =
        Checkpoint { place: r.u64()?, applied: r.u64()?, generations: r.u64()?, pipeline: r.slice()?.to_vec() };
    r.end()?;
    Ok(checkpoint)
}
