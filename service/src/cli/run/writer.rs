//! Where alerts and rejected lines go.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use crate::data::alert::Alert;
use crate::data::pipeline::{Rejected, Sink};

/// Alerts and rejected lines, written in order. The first failure is kept, and ends the run.
pub struct Writer {
    alerts: Target,
    rejects: Option<BufWriter<File>>,
    line: Vec<u8>,
    error: Option<io::Error>,
}

enum Target {
    File(BufWriter<File>),
    Standard(BufWriter<io::Stdout>),
}

/// How much of the output files was written when a state was saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes of alerts.
    pub alerts: u64,
    /// Bytes of rejected lines.
    pub rejects: u64,
}

impl Writer {
    /// Opens the outputs; `from` says how much of what they hold is to stay.
    pub fn open(output: &Path, rejects: Option<&Path>, from: Written) -> Result<Writer, String> {
        let alerts = if output == Path::new("-") {
            Target::Standard(BufWriter::new(io::stdout()))
        } else {
            Target::File(open(output, from.alerts)?)
        };
        let rejects = rejects.map(|path| open(path, from.rejects)).transpose()?;
        Ok(Writer { alerts, rejects, line: Vec::new(), error: None })
    }

    /// Takes the first failure.
    pub fn failure(&mut self) -> Option<io::Error> {
        self.error.take()
    }

    /// Brings all that was written to the disk, and says how much it is.
    pub fn sync(&mut self) -> io::Result<Written> {
        let mut written = Written::default();
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        match &mut self.alerts {
            Target::Standard(out) => out.flush()?,
            Target::File(file) => written.alerts = sync(file)?,
        }
        if let Some(file) = &mut self.rejects {
            written.rejects = sync(file)?;
        }
        Ok(written)
    }

    fn keep(&mut self, result: io::Result<()>) {
        if let (Err(error), None) = (result, &self.error) {
            self.error = Some(error);
        }
    }
}

fn open(path: &Path, from: u64) -> Result<BufWriter<File>, String> {
    let open = || -> io::Result<File> {
        let mut file = OpenOptions::new().create(true).write(true).truncate(false).open(path)?;
        if file.metadata()?.len() < from {
            return Err(io::Error::other("it is shorter than when the state was saved"));
        }
        file.set_len(from)?;
        file.seek(SeekFrom::Start(from))?;
        Ok(file)
    };
    open().map(BufWriter::new).map_err(|e| format!("cannot write `{}`: {e}", path.display()))
}

fn sync(file: &mut BufWriter<File>) -> io::Result<u64> {
    file.flush()?;
    file.get_ref().sync_data()?;
    file.get_mut().stream_position()
}

impl Sink for Writer {
    fn alert(&mut self, alert: &Alert<'_>) {
        self.line.clear();
        alert.write(&mut self.line);
        let result = match &mut self.alerts {
            Target::File(file) => file.write_all(&self.line),
            Target::Standard(out) => out.write_all(&self.line),
        };
        self.keep(result);
    }

    fn rejected(&mut self, rejected: Rejected) {
        let Some(file) = &mut self.rejects else { return };
        let line = serde_json::json!({"line": rejected.origin.offset, "kind": rejected.reason.kind(), "reason": rejected.reason.to_string()});
        let result = writeln!(file, "{line}");
        self.keep(result);
    }
}
