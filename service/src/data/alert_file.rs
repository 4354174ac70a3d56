//! Alerts appended to a file, each once: a thread follows what is committed, and keeps beside the file how far it has come and how long the file was then.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::followed::{Followed, Next};
use super::replace::replace;
use crate::faults;

/// How long it waits for alerts before it looks whether it is to end, and after a failure before it tries again.
const WAIT: Duration = Duration::from_millis(100);

/// About so many bytes of alerts are written at once.
const TOGETHER: usize = 8 << 20;

/// How far the file has come.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Cursor<P> {
    /// All alerts before it are in the file.
    #[serde(flatten)]
    place: P,
    /// Bytes of the file then.
    bytes: u64,
}

/// The file of alerts.
pub struct AlertFile<F: Followed> {
    path: PathBuf,
    cursor_path: PathBuf,
    cursor: Cursor<F::Place>,
    file: File,
    followed: F,
}

impl<F: Followed> AlertFile<F> {
    /// Opens the file; `cursor_path` is where it is kept how far it has come. What was written behind that is cut off, and written again.
    pub fn open(path: &Path, cursor_path: &Path, mut followed: F) -> Result<AlertFile<F>, String> {
        let at = |path: &Path, e: &dyn std::fmt::Display| format!("`{}`: {e}", path.display());
        let is_new = !path.exists();
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path).map_err(|e| at(path, &e))?;
        let length = file.metadata().map_err(|e| at(path, &e))?.len();
        let mut cursor = match fs::read(cursor_path) {
            Ok(bytes) => serde_json::from_slice::<Cursor<_>>(&bytes).map_err(|e| at(cursor_path, &e))?,
            // What others wrote there before stays.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Cursor { place: followed.oldest(), bytes: length },
            Err(e) => return Err(at(cursor_path, &e)),
        };
        // Who moved the file away wants a new one.
        if is_new {
            cursor.bytes = 0;
        }
        if length < cursor.bytes {
            let why = format!(
                "it has {length} bytes, and had {} when alerts were written last; remove `{}` to write all that the log has again",
                cursor.bytes,
                cursor_path.display()
            );
            return Err(at(path, &why));
        }
        file.set_len(cursor.bytes).map_err(|e| at(path, &e))?;
        followed.go_on_from(cursor.place);
        let opened = AlertFile { path: path.to_owned(), cursor_path: cursor_path.to_owned(), cursor, file, followed };
        // Before the first alert: else nobody knows which of what stands there was written by whom.
        opened.keep(cursor).map_err(|e| at(cursor_path, &e))?;
        Ok(opened)
    }

    /// Writes what is committed until it is told to stop and everything is written.
    pub fn run(mut self, stop: &AtomicBool) {
        loop {
            let stopping = stop.load(Ordering::Acquire);
            match self.follow(if stopping { Duration::ZERO } else { WAIT }) {
                Ok(written) if stopping && written == 0 => return,
                Ok(_) => {}
                Err(why) => {
                    tracing::warn!(file = %self.path.display(), %why, "alerts could not be written; it is tried again");
                    if stopping {
                        // The next start goes on from where it is kept that the file is.
                        return;
                    }
                    self.followed.go_on_from(self.cursor.place);
                    std::thread::sleep(WAIT);
                }
            }
        }
    }

    fn keep(&self, cursor: Cursor<F::Place>) -> io::Result<()> {
        faults::at("alert-file-kept")?;
        replace(&self.cursor_path, &serde_json::to_vec(&cursor).map_err(io::Error::other)?)
    }

    /// Writes what comes next to the disk; how many bytes. Where nothing comes, it waits for so long.
    fn follow(&mut self, wait: Duration) -> io::Result<usize> {
        let mut alerts = Vec::new();
        while alerts.len() < TOGETHER {
            let wait = if alerts.is_empty() { wait } else { Duration::ZERO };
            match self.followed.next(wait).map_err(io::Error::other)? {
                Next::Alerts(more) => alerts.extend_from_slice(&more),
                Next::Nothing => break,
                Next::Gone { lost } => {
                    tracing::warn!(file = %self.path.display(), lost, "alerts went from the log before they were written");
                }
            }
        }
        // Where nothing was written, it costs less to read it again than to keep how far it has come.
        if alerts.is_empty() {
            return Ok(0);
        }
        let Cursor { bytes, .. } = self.cursor;
        faults::at("alert-file-write")?;
        self.file.seek(SeekFrom::Start(bytes))?;
        self.file.write_all(&alerts)?;
        self.file.sync_data()?;
        let cursor = Cursor { place: self.followed.place(), bytes: bytes + alerts.len() as u64 };
        self.keep(cursor)?;
        self.cursor = cursor;
        Ok(alerts.len())
    }
}
