//! Dead letters: lines that were taken and gave no event, each with the reason, and the way back into the log.
//!
//! Epochs say which lines they are, by number; the lines themselves stand in the log where they came. A line that is put in again comes under a key that
//! names its dead letter, so that it comes once: the log knows keys for a while, and `redrives` finds in the log what is older.

mod redrives;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use lapwing_engine::Millis;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex as AsyncMutex;

use self::redrives::{Redrives, key};
use super::log::embedded::{Log, NotAppended};
use super::log::frame::{Frame, Record};
use super::log::numbered::NumberedLines;
use super::log::segments::ReadError;

/// So many bytes of the log are read for a page at most; what is behind comes with the next.
const SCAN_MAX: u64 = 256 << 20;

/// With so many bytes of lines a page ends.
const LINES_MAX: usize = 16 << 20;

/// Which dead letter: the place of its epoch, and its number there, from 1. With the number 0 it is the place before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    place: u64,
    number: u64,
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Id, String> {
        let parts = text.split_once('.').and_then(|(place, number)| Some((place.parse().ok()?, number.parse().ok()?)));
        let (place, number) =
            parts.ok_or_else(|| format!("`{text}` is no id of a dead letter; take one of the list"))?;
        Ok(Id { place, number })
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.place, self.number)
    }
}

/// Why a line gave no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It could not be read by the rules that judged it.
    Bad,
    /// Its time had passed.
    Late,
    /// Its time was too far ahead.
    Ahead,
}

/// All kinds with their names.
pub const KINDS: [(&str, Kind); 3] = [("bad", Kind::Bad), ("late", Kind::Late), ("ahead", Kind::Ahead)];

/// What an epoch says of a line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Said {
    offset: u64,
    kind: Kind,
    reason: String,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Which.
    pub id: Id,
    /// The clock when that was committed, in milliseconds since 1970.
    pub at: Millis,
    /// Number of the line.
    pub offset: u64,
    /// Why it gave no event, in a word.
    pub kind: Kind,
    /// The same in a sentence.
    pub reason: String,
    /// The line, without its end; none where it went from the log.
    pub line: Option<Vec<u8>>,
}

/// Which dead letters a page has.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Those behind this one; else from the oldest on.
    pub after: Option<Id>,
    /// Those before this place in the log.
    pub until: u64,
    /// Those of a kind.
    pub kind: Option<Kind>,
    /// At most so many.
    pub limit: usize,
}

/// Some dead letters, the newest last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// They.
    pub letters: Vec<DeadLetter>,
    /// The next page is behind this.
    pub next: Id,
    /// Whether there may be more now.
    pub more: bool,
}

/// What became of a dead letter that was to be put in again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Redriven {
    /// It is in the log again.
    Taken {
        /// Number of the line there.
        offset: u64,
    },
    /// It was put in again before.
    Already {
        /// Number of the line then.
        offset: u64,
    },
    /// It cannot be put in.
    Refused {
        /// Why.
        reason: String,
    },
}

/// Why dead letters cannot be had.
#[derive(Debug)]
pub enum Failure {
    /// There is none with this id.
    None(Id),
    /// The log cannot be read, or no longer has the place.
    Read(ReadError),
    /// The log cannot be written.
    NotAppended(NotAppended),
}

impl From<ReadError> for Failure {
    fn from(e: ReadError) -> Failure {
        Failure::Read(e)
    }
}

/// The dead letters of a log.
pub struct DeadLetters {
    log: Log,
    redriven: AsyncMutex<Redrives>,
}

impl DeadLetters {
    /// Those of a log.
    pub fn new(log: Log) -> DeadLetters {
        DeadLetters { log, redriven: AsyncMutex::default() }
    }

    /// The place behind all that there are now.
    pub fn end(&self) -> u64 {
        self.log.durable().place()
    }

    /// Some of them.
    ///
    /// # Errors
    /// `after` is no id, or its place went from the log, or that cannot be read.
    pub fn page(&self, wanted: &Wanted) -> Result<Page, Failure> {
        let mut page = self.without_lines(wanted)?;
        let mut lines = NumberedLines::new(&self.log);
        let mut bytes = 0;
        for i in 0..page.letters.len() {
            if bytes > LINES_MAX {
                page.letters.truncate(i);
                page.next = page.letters[i - 1].id;
                page.more = true;
                break;
            }
            let letter = &mut page.letters[i];
            letter.line = lines.get(letter.offset)?;
            bytes += letter.line.as_ref().map_or(0, Vec::len);
        }
        Ok(page)
    }

    /// One of them.
    ///
    /// # Errors
    /// There is none with this id, or it went from the log, or that cannot be read.
    pub fn get(&self, id: Id) -> Result<DeadLetter, Failure> {
        self.with_line(id, &mut NumberedLines::new(&self.log))
    }

    fn with_line(&self, id: Id, lines: &mut NumberedLines) -> Result<DeadLetter, Failure> {
        let mut reader = self.log.read_from(id.place);
        let none = |e| if matches!(e, ReadError::Damaged(..)) { Failure::None(id) } else { e.into() };
        let found = reader.next(self.end()).map_err(none)?;
        let (place, frame) = found.filter(|(place, _)| *place == id.place).ok_or(Failure::None(id))?;
        let mut letter = letters(place, &frame).find(|letter| letter.id == id).ok_or(Failure::None(id))?;
        letter.line = lines.get(letter.offset)?;
        Ok(letter)
    }

    /// Puts lines into the log again that `refusal` has nothing against. Each comes once, however often this is done.
    ///
    /// # Errors
    /// The log cannot be read or written. What was put in by then is told as such the next time.
    pub async fn redrive(
        &self,
        mut ids: Vec<Id>,
        refusal: impl Fn(&[u8]) -> Option<String>,
    ) -> Result<Vec<(Id, Redriven)>, Failure> {
        ids.sort_unstable();
        ids.dedup();
        let mut redriven = self.redriven.lock().await;
        if let Some(first) = ids.first() {
            tokio::task::block_in_place(|| redriven.look(&self.log, first.place))?;
        }
        let mut lines = NumberedLines::new(&self.log);
        let mut results = Vec::with_capacity(ids.len());
        for id in ids {
            let result = match redriven.get(id) {
                Some(offset) => Redriven::Already { offset },
                None => match tokio::task::block_in_place(|| self.line_of(id, &mut lines))? {
                    Err(reason) => Redriven::Refused { reason },
                    Ok(line) => match refusal(&line) {
                        Some(reason) => Redriven::Refused { reason },
                        None => self.put_in(id, line).await?,
                    },
                },
            };
            results.push((id, result));
        }
        Ok(results)
    }

    async fn put_in(&self, id: Id, mut line: Vec<u8>) -> Result<Redriven, Failure> {
        line.push(b'\n');
        let appended = self.log.append(line, 1, Some(key(id))).await.map_err(Failure::NotAppended)?;
        let offset = appended.first;
        Ok(if appended.again { Redriven::Already { offset } } else { Redriven::Taken { offset } })
    }

    /// The line of a dead letter, or why there is none.
    fn line_of(&self, id: Id, lines: &mut NumberedLines) -> Result<Result<Vec<u8>, String>, Failure> {
        match self.with_line(id, lines) {
            Ok(letter) => Ok(letter.line.ok_or_else(|| "its line went from the log".to_owned())),
            Err(Failure::None(_)) => Ok(Err("there is no dead letter with this id".to_owned())),
            Err(Failure::Read(ReadError::Gone { .. })) => Ok(Err("it went from the log".to_owned())),
            Err(failure) => Err(failure),
        }
    }

    fn without_lines(&self, wanted: &Wanted) -> Result<Page, Failure> {
        let end = wanted.until.min(self.end());
        let mut reader = self.log.read_from(0);
        let begin = wanted.after.map_or_else(|| reader.oldest(), |after| after.place);
        if let Some(after) = wanted.after.filter(|after| after.place > self.end()) {
            return Err(Failure::None(after));
        }
        reader.go_to(begin);
        let mut page = Page { letters: Vec::new(), next: Id { place: begin, number: 0 }, more: false };
        loop {
            let is_first = reader.place() == begin;
            let found = match (reader.next(end), wanted.after) {
                (Err(ReadError::Damaged(..)), Some(after)) if is_first => return Err(Failure::None(after)),
                (found, _) => found?,
            };
            let Some((place, frame)) = found else { break };
            for letter in letters(place, &frame) {
                let is_passed = wanted.after.is_some_and(|after| letter.id <= after);
                if is_passed || wanted.kind.is_some_and(|kind| kind != letter.kind) {
                    continue;
                }
                if page.letters.len() == wanted.limit {
                    page.more = true;
                    return Ok(page);
                }
                page.next = letter.id;
                page.letters.push(letter);
            }
            page.next = Id { place: reader.place(), number: 0 };
            if reader.place() - begin > SCAN_MAX {
                page.more = true;
                return Ok(page);
            }
        }
        Ok(page)
    }
}

/// The dead letters of a record, without their lines.
fn letters(place: u64, frame: &Frame<'_>) -> impl Iterator<Item = DeadLetter> {
    let rejected = if let Record::Epoch(epoch) = &frame.record { epoch.rejected } else { b"" };
    let at = frame.reading;
    let lines = rejected.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    (1..).zip(lines).filter_map(move |(number, line)| {
        let Said { offset, kind, reason } = serde_json::from_slice(line).ok()?;
        Some(DeadLetter { id: Id { place, number }, at, offset, kind, reason, line: None })
    })
}
