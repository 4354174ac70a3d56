//! Alerts appended to a file, each once: a thread follows the log, and keeps beside it how far it has come and how long the file was then.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::log::embedded::Log;
use super::log::frame::Record;
use super::log::segments::ReadError;
use super::replace::replace;
use crate::faults;

/// How long it waits for the log before it looks whether it is to end, and after a failure before it tries again.
const WAIT: Duration = Duration::from_millis(100);

/// How far the file has come.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    /// Everything in the log before it is in the file.
    place: u64,
    /// Bytes of the file then.
    bytes: u64,
}

/// The file of alerts.
pub struct AlertFile {
    path: PathBuf,
    cursor_path: PathBuf,
    cursor: Cursor,
    file: File,
    log: Log,
}

impl AlertFile {
    /// Opens the file; `cursor_path` is where it is kept how far it has come. What was written behind that is cut off, and written again.
    pub fn open(path: &Path, cursor_path: &Path, log: Log) -> Result<AlertFile, String> {
        let at = |path: &Path, e: &dyn std::fmt::Display| format!("`{}`: {e}", path.display());
        let is_new = !path.exists();
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path).map_err(|e| at(path, &e))?;
        let length = file.metadata().map_err(|e| at(path, &e))?.len();
        let mut cursor = match fs::read(cursor_path) {
            Ok(bytes) => serde_json::from_slice::<Cursor>(&bytes).map_err(|e| at(cursor_path, &e))?,
            // What others wrote there before stays.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Cursor { place: 0, bytes: length },
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
        let opened = AlertFile { path: path.to_owned(), cursor_path: cursor_path.to_owned(), cursor, file, log };
        // Before the first alert: else nobody knows which of what stands there was written by whom.
        opened.keep(cursor).map_err(|e| at(cursor_path, &e))?;
        Ok(opened)
    }

    /// Follows the log until it is told to stop and everything is written.
    pub fn run(mut self, stop: &Arc<AtomicBool>) {
        loop {
            let stopping = stop.load(Ordering::Acquire);
            let end = self.log.durable().place();
            match self.follow(end) {
                Ok(()) if stopping => return,
                Ok(()) => drop(self.log.durable().wait_beyond(end, WAIT)),
                Err(why) => {
                    tracing::warn!(file = %self.path.display(), %why, "alerts could not be written; it is tried again");
                    if stopping {
                        // The next start goes on from where it is kept that the file is.
                        return;
                    }
                    std::thread::sleep(WAIT);
                }
            }
        }
    }

    fn keep(&self, cursor: Cursor) -> io::Result<()> {
        faults::at("alert-file-kept")?;
        replace(&self.cursor_path, &serde_json::to_vec(&cursor).map_err(io::Error::other)?)
    }

    /// Writes the alerts of all epochs before `end`, to the disk.
    fn follow(&mut self, end: u64) -> io::Result<()> {
        let Cursor { place, bytes } = self.cursor;
        let mut reader = self.log.read_from(place);
        let mut alerts = Vec::new();
        loop {
            match reader.next(end) {
                Ok(None) => break,
                Ok(Some((_, frame))) => {
                    if let Record::Epoch(epoch) = frame.record {
                        alerts.extend_from_slice(epoch.alerts);
                    }
                }
                Err(ReadError::Gone { oldest }) => {
                    tracing::warn!(file = %self.path.display(), place, oldest, "alerts went from the log before they were written");
                    reader = self.log.read_from(oldest);
                }
                Err(e) => return Err(io::Error::other(e.to_string())),
            }
        }
        if reader.place() == place {
            return Ok(());
        }
        if !alerts.is_empty() {
            faults::at("alert-file-write")?;
            self.file.seek(SeekFrom::Start(bytes))?;
            self.file.write_all(&alerts)?;
            self.file.sync_data()?;
        }
        let cursor = Cursor { place: reader.place(), bytes: bytes + alerts.len() as u64 };
        // Where nothing was written, it costs less to read it again than to keep how far it has come.
        if !alerts.is_empty() {
            self.keep(cursor)?;
        }
        self.cursor = cursor;
        Ok(())
    }
}
