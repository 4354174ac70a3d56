//! The history of a service's catalog: every change that took effect, with its author, time and reason, in a file that only grows.
//!
//! A JSON line a change. The first names the rule files that the service began with, the others hold control messages. What numbers the
//! log gives places to is the number of a line. A line is written before its place is; one that got none has changed nothing and is cut off.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lapwing_engine::rule_set::RuleSet;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::catalog::{Catalog, Refusal};
use super::files::Rules;
use super::uploads::Begun;
use crate::faults;
use crate::tables::folder;

/// A change of the catalog.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Change {
    /// Its number, from 0.
    pub number: u64,
    /// When it was taken, RFC 3339.
    pub at: String,
    /// Its offset in the control topic, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The uploads that were open when it was taken, where it comes from a control topic: their chunks stand before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uploads: Vec<Begun>,
    /// What it is.
    pub what: What,
}

impl Change {
    /// The digest of a model that came in chunks, where it put one.
    fn upload(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Named {
            upload: Option<String>,
        }
        match &self.what {
            What::Message(message) => serde_json::from_str::<Named>(message.get()).ok()?.upload,
            What::Begin(_) => None,
        }
    }
}

/// What a change is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// What a service began with.
    Begin(Begin),
    /// A control message.
    Message(Box<RawValue>),
}

/// What a service began with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Begin {
    /// Rule files: path and text.
    pub files: Vec<(String, String)>,
    /// The secret of the key hash: state that is made anew from the log is the same.
    pub secret: u64,
}

/// The files of a folder with what lists, tables and models hold, by name.
///
/// # Errors
/// One of them cannot be read, or its name is no text.
pub fn data_files(folder: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let name = entry
                .file_name()
                .into_string()
                .map_err(|name| io::Error::other(format!("the name of the file {} is not UTF-8", name.display())))?;
            files.push((name, fs::read(entry.path())?));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// The file of a history.
pub struct History {
    folder: PathBuf,
    file: File,
    /// Bytes of whole lines.
    length: u64,
    changes: Vec<Change>,
}

/// The name of the file in its folder.
const FILE: &str = "history.jsonl";

/// The name of the folder with the lists, tables and models that the service began with.
const DATA: &str = "data";

/// The name of the folder with the models that came in chunks.
const MODELS: &str = "models";

impl History {
    /// Opens the history of a folder; one that was never begun is empty.
    pub fn open(folder: &Path) -> Result<History, String> {
        let path = folder.join(FILE);
        let cannot = |e: io::Error| format!("`{}`: {e}", path.display());
        fs::create_dir_all(folder).map_err(cannot)?;
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).open(&path).map_err(cannot)?;
        let (mut history, torn) = History::read(folder, &path, file)?;
        if torn {
            history.cut().map_err(cannot)?;
        }
        Ok(history)
    }

    /// The history of a folder, only to be looked at: a service may be writing to it.
    pub fn look(folder: &Path) -> Result<History, String> {
        let path = folder.join(FILE);
        let file = File::open(&path).map_err(|e| format!("`{}`: {e}", path.display()))?;
        Ok(History::read(folder, &path, file)?.0)
    }

    /// Reads all changes; and whether there is more, which was not wholly written.
    fn read(folder: &Path, path: &Path, file: File) -> Result<(History, bool), String> {
        let text = fs::read(path).map_err(|e| format!("`{}`: {e}", path.display()))?;
        let whole = memchr::memrchr(b'\n', &text).map_or(0, |i| i + 1);
        let mut changes: Vec<Change> = Vec::new();
        for (i, line) in text[..whole].split(|b| *b == b'\n').filter(|l| !l.is_empty()).enumerate() {
            let change: Change = serde_json::from_slice(line)
                .map_err(|e| format!("`{}`, line {}: it is damaged: {e}", path.display(), i + 1))?;
            if change.number != i as u64 {
                return Err(format!("`{}`, line {}: change {} stands there", path.display(), i + 1, change.number));
            }
            changes.push(change);
        }
        let history = History { folder: folder.to_owned(), file, length: whole as u64, changes };
        Ok((history, text.len() > whole))
    }

    /// The changes.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether its changes come from a control topic.
    pub fn is_of_topic(&self) -> bool {
        self.changes.first().is_some_and(|begin| begin.offset.is_some())
    }

    /// Looks only at the changes up to one.
    pub fn look_up_to(&mut self, last: u64) {
        self.changes.truncate(usize::try_from(last).unwrap_or(usize::MAX).saturating_add(1));
    }

    /// The secret of the key hash.
    pub fn secret(&self) -> Option<u64> {
        self.changes.iter().find_map(|change| match &change.what {
            What::Begin(begin) => Some(begin.secret),
            What::Message(_) => None,
        })
    }

    /// The number of the next change.
    pub fn next(&self) -> u64 {
        self.changes.len() as u64
    }

    /// The offset that is read next in the control topic.
    pub fn next_offset(&self) -> u64 {
        self.changes.iter().rev().find_map(|change| change.offset).map_or(0, |offset| offset + 1)
    }

    /// What was open of uploads before an offset of the control topic, as far as a change says so, and the offset behind that change.
    pub fn uploads_before(&self, offset: u64) -> (&[Begun], u64) {
        let before = self.changes.iter().rev().find(|change| change.offset.is_some_and(|at| at < offset));
        before.map_or((&[], 0), |change| (&change.uploads, change.offset.map_or(0, |at| at + 1)))
    }

    /// The folder of the models that came in chunks.
    pub fn models(&self) -> PathBuf {
        self.folder.join(MODELS)
    }

    /// The digests of the models that came in chunks.
    pub fn uploaded(&self) -> BTreeSet<String> {
        self.changes.iter().filter_map(Change::upload).collect()
    }

    /// The digest of the model of the last change, where that came in chunks.
    pub fn last_uploaded(&self) -> Option<String> {
        self.changes.last().and_then(Change::upload)
    }

    /// Begins with rules, and files with what lists, tables and models hold.
    pub fn begin(
        &mut self,
        begin: Begin,
        data: &[(String, Vec<u8>)],
        at: String,
        offset: Option<u64>,
    ) -> io::Result<()> {
        let own = self.folder.join(DATA);
        if own.exists() {
            fs::remove_dir_all(&own)?;
        }
        if !data.is_empty() {
            fs::create_dir_all(&own)?;
            for (name, bytes) in data {
                let mut file = File::create(own.join(name))?;
                file.write_all(bytes)?;
                file.sync_all()?;
            }
            File::open(&own)?.sync_all()?;
        }
        self.write(Change { number: self.next(), at, offset, uploads: Vec::new(), what: What::Begin(begin) })?;
        File::open(&self.folder)?.sync_all()
    }

    /// Writes a change behind the others, to the disk. After a failure it is not there.
    pub fn write(&mut self, change: Change) -> io::Result<()> {
        let mut line = serde_json::to_vec(&change).map_err(io::Error::other)?;
        line.push(b'\n');
        let written = faults::at("history-write")
            .and_then(|()| self.file.write_all(&line))
            .and_then(|()| faults::at("history-sync"))
            .and_then(|()| self.file.sync_data());
        if written.is_err() {
            self.cut()?;
            return written;
        }
        self.length += line.len() as u64;
        self.changes.push(change);
        Ok(())
    }

    /// Takes the last change back, which got no place in the log.
    pub fn take_back(&mut self) -> io::Result<()> {
        let Some(last) = self.changes.pop() else { return Ok(()) };
        self.length -= serde_json::to_vec(&last).map_err(io::Error::other)?.len() as u64 + 1;
        self.cut()
    }

    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.sync_all()
    }

    /// The catalog at the end of the history, and the rule sets of all its changes in their order.
    pub fn told(&self) -> Result<(Catalog, Vec<Arc<RuleSet>>), Refusal> {
        self.told_by(&self.changes)
    }

    /// The catalog before an offset of the control topic, and the number of the change that came next.
    pub fn before(&self, offset: u64) -> Result<(Catalog, u64), Refusal> {
        let before = |change: &&Change| change.number == 0 || change.offset.is_some_and(|at| at < offset);
        let count = self.changes.iter().take_while(before).count();
        Ok((self.told_by(&self.changes[..count])?.0, count as u64))
    }

    fn told_by(&self, changes: &[Change]) -> Result<(Catalog, Vec<Arc<RuleSet>>), Refusal> {
        let mut sets = Vec::new();
        let mut catalog: Option<Catalog> = None;
        for change in changes {
            let set = match (&change.what, &mut catalog) {
                (What::Begin(begin), now) => {
                    let first = self.begun(&begin.files)?;
                    now.insert(first).rule_set()
                }
                (What::Message(message), Some(catalog)) => {
                    let message = serde_json::from_str(message.get()).map_err(|e| Refusal::new(e.to_string()))?;
                    catalog.apply(&message)?
                }
                (What::Message(_), None) => return Err(Refusal::new("the history does not begin with rule files")),
            };
            sets.push(Arc::new(set));
        }
        Ok((catalog.ok_or_else(|| Refusal::new("the history is empty"))?, sets))
    }

    fn begun(&self, files: &[(String, String)]) -> Result<Catalog, Refusal> {
        let rules = Rules::of(files.iter().map(|(path, text)| (path.as_str(), text.as_str())));
        if !rules.compiles() {
            return Err(Refusal::new(
                "the rules that the service began with do not compile with this version of Lapwing",
            ));
        }
        let data = self.folder.join(DATA);
        let contents = match data.is_dir() {
            true => folder::read(&data, &rules.loaded.schema).map_err(|mistakes| {
                Refusal::new(mistakes.iter().map(|m| m.to_string()).collect::<Vec<_>>().join("\n"))
            })?,
            false => crate::tables::contents::Contents::default(),
        };
        let mut catalog = Catalog::new(&rules, contents)?;
        if data.is_dir() {
            catalog.name_files_in(&data);
        }
        catalog.keep_uploads_in(&self.models());
        Ok(catalog)
    }
}
