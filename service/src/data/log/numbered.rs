//! Lines of the log by their numbers. Each file of the log knows the number of its first line: no more than one file is read for a line, and lines
//! that are asked for in order are found in one pass.

use super::embedded::Log;
use super::frame::Record;
use super::segments::{ReadError, Reader};

/// Finds lines by their numbers.
pub struct NumberedLines {
    log: Log,
    reader: Reader,
    /// The number behind the last line that was read.
    passed: u64,
    /// The number of the first line of the last record with lines, the lines, and where each of them begins.
    first: u64,
    lines: Vec<u8>,
    starts: Vec<usize>,
}

impl NumberedLines {
    /// Those of a log.
    pub fn new(log: &Log) -> NumberedLines {
        let reader = log.read_from(0);
        NumberedLines { log: log.clone(), reader, passed: 0, first: 0, lines: Vec::new(), starts: Vec::new() }
    }

    /// The line with a number, without its end; none where it went from the log, or has not come.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn get(&mut self, number: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let end = self.log.durable().place();
        if number < self.first {
            self.reader.go_to(0);
            (self.first, self.passed) = (0, 0);
        }
        while number >= self.passed {
            let Some(file) = self.reader.file_of_line(number) else { return Ok(None) };
            if file > self.reader.place() {
                self.reader.go_to(file);
            }
            match self.reader.next(end) {
                Ok(Some((_, frame))) => {
                    let Record::Events(events) = frame.record else { continue };
                    self.lines = events.lines.to_vec();
                    self.starts = starts(&self.lines);
                    (self.first, self.passed) = (events.first, events.first + events.count);
                }
                Ok(None) => return Ok(None),
                // It went meanwhile; the next look at the files tells.
                Err(ReadError::Gone { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(self.line(number))
    }

    fn line(&self, number: u64) -> Option<Vec<u8>> {
        let i = number.checked_sub(self.first)? as usize;
        let begin = *self.starts.get(i)?;
        let rest = &self.lines[begin..];
        Some(rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())].to_vec())
    }
}

/// Where lines begin.
fn starts(lines: &[u8]) -> Vec<usize> {
    let behind = memchr::memchr_iter(b'\n', lines).map(|end| end + 1).filter(|start| *start < lines.len());
    std::iter::once(0).chain(behind).collect()
}
