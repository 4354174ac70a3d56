//! The audit log: who asked for which change, and what became of that, one JSON object a line.
//!
//! Each line holds the hash of the one before and its own, SHA-256 over the rest of the line: whoever changes a line, takes one out or puts one in
//! has to write all later ones anew, and their last hash is another then (a hash chain, as in Haber and Stornetta, "How to Time-Stamp a Digital
//! Document", 1991). What was cut off at the end shows where somebody has kept the last hash elsewhere: the service tells it when it starts and ends.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use lapwing_dsl::functions::timestamp_text;
use lapwing_engine::Millis;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::Principal;

/// The hash that the first line names as that of the one before.
const BEGIN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What stands before a line's own hash, at its end.
const HASH: &str = ",\"hash\":\"";

/// A line without its hash.
#[derive(Serialize, Deserialize)]
struct Line {
    number: u64,
    at: String,
    principal: String,
    role: String,
    /// What was asked, or which line it is the outcome of.
    #[serde(flatten)]
    what: What,
    before: String,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Somebody asked for a change, by this method and path.
    Asked(String),
    /// What became of what was asked in the line of a number.
    Answered {
        /// That number.
        number: u64,
        /// The status of the answer.
        status: u16,
        /// What was changed.
        #[serde(skip_serializing_if = "Json::is_null", default)]
        change: Json,
    },
    /// Somebody asked for what is not allowed to them, by this method and path.
    Denied(String),
}

/// The log.
pub struct Audit {
    path: PathBuf,
    end: Mutex<End>,
    clock: fn() -> Millis,
}

struct End {
    file: File,
    /// How many lines there are.
    lines: u64,
    /// Their bytes.
    length: u64,
    hash: String,
}

/// How a log is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// How many lines it has.
    pub lines: u64,
    /// The hash of the last one.
    pub hash: String,
}

/// What does not hold.
#[derive(Debug)]
pub enum Broken {
    /// It cannot be read.
    Io(io::Error),
    /// No line has a hash that was kept: lines were cut off, or all were written anew.
    Shorter,
    /// A line, counted from 1, is not what was written.
    Line {
        /// Which.
        number: u64,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Broken::Io(e) => write!(f, "the audit log cannot be read: {e}"),
            Broken::Shorter => {
                f.write_str("no line of the audit log has that hash: lines were cut off, or all were written anew")
            }
            Broken::Line { number, why } => write!(f, "line {number} of the audit log is not what was written: {why}"),
        }
    }
}

impl Audit {
    /// The log in a file, which is made where it is not there. A last line without its end was never acknowledged, and is cut off.
    ///
    /// # Errors
    /// The file cannot be used, or is not what was written.
    pub fn open(path: &Path, clock: fn() -> Millis) -> Result<Audit, String> {
        let failed = |e: &dyn std::fmt::Display| format!("`{}`: {e}", path.display());
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(path);
        let file = file.as_mut().map_err(|e| failed(e))?;
        let (verified, length) = read(file, |_| ()).map_err(|e| failed(&e))?;
        let ends = file.metadata().map_err(|e| failed(&e))?.len();
        if ends > length {
            tracing::warn!(bytes = ends - length, "the audit log ended within a line, which was never acknowledged");
            file.set_len(length).and_then(|()| file.sync_all()).map_err(|e| failed(&e))?;
        }
        let file = file.try_clone().map_err(|e| failed(&e))?;
        let Verified { lines, hash } = verified;
        tracing::info!(lines, hash, "the audit log");
        Ok(Audit { path: path.to_owned(), end: Mutex::new(End { file, lines, length, hash }), clock })
    }

    /// Writes a line; it is on the disk when this returns. Gives its number, from 1.
    ///
    /// # Errors
    /// It could not be written; then it is not there.
    pub fn write(&self, principal: &Principal, what: What) -> io::Result<u64> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let number = end.lines + 1;
        let line = Line {
            number,
            at: timestamp_text((self.clock)()),
            principal: principal.name.clone(),
            role: principal.role.as_str().to_owned(),
            what,
            before: end.hash.clone(),
        };
        let text = serde_json::to_string(&line)?;
        let hash = hash_of(&text);
        let text = format!("{}{HASH}{hash}\"}}\n", &text[..text.len() - 1]);
        let length = end.length;
        end.file.seek(SeekFrom::Start(length))?;
        let written = end.file.write_all(text.as_bytes()).and_then(|()| end.file.sync_data());
        if let Err(e) = written {
            // What is half there is written over by the next one.
            let _ = end.file.set_len(length);
            return Err(e);
        }
        *end = End { lines: number, length: length + text.len() as u64, hash, file: end.file.try_clone()? };
        Ok(number)
    }

    /// How many lines there are, and the hash of the last.
    pub fn head(&self) -> Verified {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        Verified { lines: end.lines, hash: end.hash.clone() }
    }

    /// Reads the whole log and looks whether it is what was written.
    ///
    /// # Errors
    /// It is not, or cannot be read.
    pub fn verify(&self, head: Option<&str>) -> Result<Verified, Broken> {
        verify(&self.path, head)
    }

    /// Up to so many lines behind one, as they were written.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn lines(&self, behind: u64, limit: usize) -> io::Result<Vec<Json>> {
        let lines = BufReader::new(File::open(&self.path)?).lines();
        let lines = lines.skip(usize::try_from(behind).unwrap_or(usize::MAX)).take(limit);
        lines.map(|line| Ok(serde_json::from_str(&line?)?)).collect()
    }
}

/// Looks whether a log is what was written. Where the hash of a line was kept elsewhere, that line has to be there.
///
/// # Errors
/// It is not, or cannot be read.
pub fn verify(path: &Path, head: Option<&str>) -> Result<Verified, Broken> {
    let mut file = File::open(path).map_err(Broken::Io)?;
    let length = fs::metadata(path).map_err(Broken::Io)?.len();
    let mut found = head.is_none() || head == Some(BEGIN);
    let (verified, whole) = read(&mut file, |hash| found |= head == Some(hash))?;
    if whole != length {
        return Err(Broken::Line { number: verified.lines + 1, why: "it has no end" });
    }
    if found { Ok(verified) } else { Err(Broken::Shorter) }
}

/// Reads a log from its beginning; how long its lines are that have an end.
fn read(file: &mut File, mut each: impl FnMut(&str)) -> Result<(Verified, u64), Broken> {
    let mut reader = BufReader::new(file);
    let mut verified = Verified { lines: 0, hash: BEGIN.to_owned() };
    let mut length = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        reader.read_until(b'\n', &mut line).map_err(Broken::Io)?;
        let Some(text) = line.strip_suffix(b"\n") else { return Ok((verified, length)) };
        let number = verified.lines + 1;
        verified.hash = follows(text, number, &verified.hash).map_err(|why| Broken::Line { number, why })?;
        each(&verified.hash);
        verified.lines = number;
        length += line.len() as u64;
    }
}

/// The hash of a line that stands behind one of another hash.
fn follows(text: &[u8], number: u64, before: &str) -> Result<String, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "it is no text")?;
    let (said, rest) = text.rsplit_once(HASH).ok_or("it has no hash")?;
    let hash = rest.strip_suffix("\"}").ok_or("it has no hash")?;
    let said = format!("{said}}}");
    if hash_of(&said) != hash {
        return Err("its hash is another");
    }
    let line: Line = serde_json::from_str(&said).map_err(|_| "it is no line of this log")?;
    match (line.number == number, line.before == before) {
        (true, true) => Ok(hash.to_owned()),
        (false, _) => Err("its number is another: lines were taken out or put in"),
        (true, false) => Err("it does not follow the line before"),
    }
}

fn hash_of(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Audit, What, verify};
    use crate::auth::{Principal, Role};

    #[test]
    fn what_is_not_as_it_was_written_is_found() {
        let path = std::env::temp_dir().join(format!("lapwing-audit-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let audit = Audit::open(&path, || 0).expect("it is new");
        let ann = Principal { name: "ann \"the\" analyst".to_owned(), role: Role::Analyst };
        for number in 1..=20 {
            let what = match number % 3 {
                0 => What::Asked("POST /v1/control".to_owned()),
                1 => What::Answered { number, status: 200, change: json!({"name": "r", "hash": "x"}) },
                _ => What::Denied("POST /v1/tokens".to_owned()),
            };
            assert_eq!(audit.write(&ann, what).expect("it is written"), number);
        }
        let head = audit.head();
        assert_eq!((verify(&path, None).expect("it is sound"), head.lines), (head.clone(), 20));
        drop(audit);
        let text = std::fs::read_to_string(&path).expect("it is there");
        let lines: Vec<&str> = text.lines().collect();
        // One byte anywhere, a line less, a line twice, two lines in another order.
        let mut others: Vec<Vec<u8>> = (0..text.len()).step_by(7).map(|at| flipped(text.as_bytes(), at)).collect();
        let joined = |lines: &[&str]| format!("{}\n", lines.join("\n")).into_bytes();
        others.push(joined(&[&lines[..4], &lines[5..]].concat()));
        others.push(joined(&[&lines[..4], &lines[3..]].concat()));
        others.push(joined(&[&lines[..4], &[lines[5], lines[4]], &lines[6..]].concat()));
        others.push(joined(&lines[1..]));
        for other in others {
            std::fs::write(&path, &other).expect("it can be written");
            assert!(verify(&path, None).is_err(), "{}", String::from_utf8_lossy(&other));
        }
        // What was cut off at the end shows by the last hash.
        std::fs::write(&path, joined(&lines[..12])).expect("it can be written");
        assert_ne!(verify(&path, None).expect("what is left is sound"), head);
        assert!(verify(&path, Some(&head.hash)).is_err());
        // A torn line was never acknowledged.
        std::fs::write(&path, format!("{text}{{\"number\":21")).expect("it can be written");
        assert!(verify(&path, None).is_err());
        assert_eq!(Audit::open(&path, || 0).expect("it goes on").head(), head);
        assert_eq!(verify(&path, Some(&head.hash)).expect("it was cut"), head);
        std::fs::remove_file(&path).expect("it is ours");
    }

    fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
        let mut other = bytes.to_vec();
        other[at] ^= 1;
        other
    }
}
