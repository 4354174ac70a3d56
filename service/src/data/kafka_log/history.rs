//! History before the present: files of JSON lines that are judged before a topic is read.
//!
//! Each file is a source with one partition; the offset of an event is its line, from 0. The files of a folder are read one after the other, in the
//! order of their names, as they are at the first start.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use lapwing_engine::batch::Origin;

use crate::data::event_log::Ended;
use crate::data::pipeline::{Record, Records};

/// Bytes of lines that are handed out at once.
const CHUNK: usize = 1 << 20;

/// Whether a source is a file: no topic has such a name.
pub fn is_file(name: &str) -> bool {
    name.contains('/')
}

/// The files of a folder, in the order of their names.
///
/// # Errors
/// The folder cannot be read.
pub fn files(folder: &Path) -> Result<Vec<String>, String> {
    let failed = |e: std::io::Error| format!("`kafka.source.history`: `{}`: {e}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_file() {
            // A path of two parts at least.
            let path = if folder.components().count() == 0 { Path::new(".") } else { folder };
            files.push(path.join(entry.file_name()).display().to_string());
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Lines of a file that were read together.
#[derive(Default)]
pub struct Lines {
    source: u16,
    first: u64,
    bytes: Vec<u8>,
    /// Where each ends, without its line end.
    ends: Vec<usize>,
}

impl Lines {
    /// The number of the line that comes next.
    pub fn next(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    /// The line of a place.
    pub fn find(&self, origin: Origin) -> Option<&[u8]> {
        let index = origin.offset.checked_sub(self.first).filter(|_| origin.source == self.source)?;
        ((index as usize) < self.ends.len()).then(|| self.line(index as usize))
    }

    fn line(&self, index: usize) -> &[u8] {
        let begin = index.checked_sub(1).map_or(0, |before| self.ends[before] + 1);
        &self.bytes[begin..self.ends[index]]
    }
}

impl Records for Lines {
    fn count(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, index: usize) -> Record<'_> {
        let origin = Origin { source: self.source, partition: 0, offset: self.first + index as u64 };
        Record { origin, bytes: self.line(index) }
    }
}

/// Reads a file from a line on.
pub struct FileReader {
    name: String,
    reader: BufReader<File>,
    lines: Lines,
}

impl FileReader {
    /// Opens a file, at a line.
    ///
    /// # Errors
    /// It cannot be read, or has fewer lines.
    pub fn open(name: &str, source: u16, line: u64) -> Result<FileReader, Ended> {
        let failed = |e: std::io::Error| Ended::Failed(format!("`{name}`: {e}"));
        let mut reader = BufReader::with_capacity(CHUNK, File::open(name).map_err(failed)?);
        for _ in 0..line {
            if reader.skip_until(b'\n').map_err(failed)? == 0 {
                return Err(Ended::Failed(format!("`{name}` has no line {line}: it is not what was judged before")));
            }
        }
        Ok(FileReader { name: name.to_owned(), reader, lines: Lines { source, first: line, ..Lines::default() } })
    }

    /// Its source.
    pub fn source(&self) -> u16 {
        self.lines.source
    }

    /// What was read last.
    pub fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Reads on: up to a line where one is given, else a good deal. Whether there was anything.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&mut self, until: Option<u64>) -> Result<bool, Ended> {
        let lines = &mut self.lines;
        lines.first = lines.next();
        lines.bytes.clear();
        lines.ends.clear();
        while until.map_or(lines.bytes.len() < CHUNK, |until| lines.next() < until) {
            let before = lines.bytes.len();
            let read = self.reader.read_until(b'\n', &mut lines.bytes);
            if read.map_err(|e| Ended::Failed(format!("`{}`: {e}", self.name)))? == 0 {
                break;
            }
            if lines.bytes.last() != Some(&b'\n') {
                lines.bytes.push(b'\n');
            }
            debug_assert!(lines.bytes.len() > before);
            lines.ends.push(lines.bytes.len() - 1);
        }
        Ok(!lines.ends.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_from_a_line_on_and_up_to_one() {
        let folder = std::env::temp_dir().join(format!("lapwing-history-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder can be made");
        let path = folder.join("a.jsonl");
        fs::write(&path, "a\nbb\n\nc").expect("a file can be written");
        let names = files(&folder).expect("it can be read");
        assert!(names.len() == 1 && is_file(&names[0]), "{names:?}");
        let mut reader = FileReader::open(&names[0], 3, 1).expect("it has two lines");
        assert!(reader.read(Some(3)).expect("it can be read"));
        let texts = |reader: &FileReader| -> Vec<(u64, String)> {
            let all = (0..reader.lines().count()).map(|i| reader.lines().get(i));
            all.map(|r| (r.origin.offset, String::from_utf8_lossy(r.bytes).into_owned())).collect()
        };
        assert_eq!(texts(&reader), [(1, "bb".to_owned()), (2, String::new())]);
        assert!(reader.read(None).expect("it can be read"));
        assert_eq!(texts(&reader), [(3, "c".to_owned())]);
        assert_eq!(reader.lines().find(Origin { source: 3, partition: 0, offset: 3 }), Some(&b"c"[..]));
        assert!(!reader.read(None).expect("it can be read"));
        assert!(FileReader::open(&names[0], 3, 9).is_err());
        fs::remove_dir_all(&folder).expect("it can go");
    }
}
