//! The folder of `--data`: `NAME.txt`, `NAME.csv` or `NAME.json` for each declared list, `NAME.csv` or `NAME.json` for each table.
//!
//! - `.txt`: an entry a line. Blanks around it do not count; empty lines, and lines that begin with `#`, are passed over.
//! - `.csv`: the first line names the columns. A list has `value`, and `until` where entries end. A table's columns are found by the names
//!   (or the `from`) that the declaration gives them; all must be there, further ones are passed over. An empty cell is missing.
//! - `.json`: an array of entries, or of rows.

use std::fmt;
use std::path::{Path, PathBuf};

use csv::{ByteRecord, ReaderBuilder};
use lapwing_dsl::diagnostics::nearest;
use lapwing_dsl::schema::{ListType, Path as FieldPath, Schema, TableType};
use lapwing_engine::data::list::{List, ListChange};
use lapwing_engine::data::table::{Table, TableChange};
use serde_json::value::RawValue;

use super::contents::{Contents, Kept, digest_on};
use super::{entry, row};

/// The most mistakes of one file that are told.
const MISTAKES_MAX: usize = 10;

/// A mistake in a file of data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file, or the folder.
    pub path: PathBuf,
    /// The line, from 1; none where it is about the whole.
    pub line: Option<u64>,
    /// A sentence, with the mend.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Reads what a folder holds for the declared lists, tables and models, and its databases of places; what has no file stays unfilled.
pub fn read(folder: &Path, schema: &Schema) -> Result<Contents, Vec<Mistake>> {
    let mut contents = Contents::default();
    let mut mistakes = Vec::new();
    if !folder.is_dir() {
        let message = "there is no such folder".to_owned();
        return Err(vec![Mistake { path: folder.to_owned(), line: None, message }]);
    }
    for list in &schema.lists {
        match find(folder, &list.name, &["txt", "csv", "json"]).and_then(|file| file.map(|f| f.list(list)).transpose())
        {
            Ok(Some(kept)) => contents.put_list(&list.name, kept),
            Ok(None) => {}
            Err(found) => mistakes.extend(found),
        }
    }
    for table in &schema.tables {
        match find(folder, &table.name, &["csv", "json"]).and_then(|file| file.map(|f| f.table(table)).transpose()) {
            Ok(Some(kept)) => contents.put_table(&table.name, kept),
            Ok(None) => {}
            Err(found) => mistakes.extend(found),
        }
    }
    contents.set_folder(folder);
    crate::models::folder::fill(folder, schema, &mut contents, &mut mistakes);
    match crate::geoip::read(folder) {
        Ok(Some(databases)) => contents.put_geoip(databases),
        Ok(None) => {}
        Err(mistake) => mistakes.push(mistake),
    }
    if mistakes.is_empty() { Ok(contents) } else { Err(mistakes) }
}

/// The one file of a name, read.
fn find(folder: &Path, name: &str, endings: &[&str]) -> Result<Option<File>, Vec<Mistake>> {
    let there: Vec<(&str, PathBuf)> = ["txt", "csv", "json"]
        .iter()
        .map(|ending| (*ending, folder.join(format!("{name}.{ending}"))))
        .filter(|(_, path)| path.exists())
        .collect();
    let mistake = |path: &Path, message: String| vec![Mistake { path: path.to_owned(), line: None, message }];
    let (ending, path) = match there.as_slice() {
        [] => return Ok(None),
        [one] => one,
        [one, other, ..] => {
            let message = format!("there is also `{}`: which of them is `{name}`? leave one", other.1.display());
            return Err(mistake(&one.1, message));
        }
    };
    if !endings.contains(ending) {
        return Err(mistake(path, format!("`{name}` is a table, whose file is `{name}.csv` or `{name}.json`")));
    }
    let bytes = std::fs::read(path).map_err(|e| mistake(path, format!("it cannot be read: {e}")))?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let line = Some(line_of(e.as_bytes(), at));
        vec![Mistake { path: path.clone(), line, message: "the file is not UTF-8; save it as UTF-8".to_owned() }]
    })?;
    Ok(Some(File { path: path.clone(), ending: (*ending).to_owned(), text, mistakes: Vec::new() }))
}

/// The line of a place, from 1.
fn line_of(bytes: &[u8], at: usize) -> u64 {
    1 + memchr::memchr_iter(b'\n', &bytes[..at]).count() as u64
}

/// A file that is read.
struct File {
    path: PathBuf,
    ending: String,
    text: String,
    mistakes: Vec<Mistake>,
}

impl File {
    fn list(mut self, list: &ListType) -> Result<Kept<List>, Vec<Mistake>> {
        let lines = memchr::memchr_iter(b'\n', self.text.as_bytes()).count();
        let mut change = ListChange::with_capacity(&list.ty, lines + 1, self.text.len() + 2 * lines);
        let text = std::mem::take(&mut self.text);
        match self.ending.as_str() {
            "txt" => self.text_list(&text, list, &mut change),
            "csv" => self.csv_list(&text, list, &mut change),
            _ => self.json_list(&text, list, &mut change),
        }
        let content = List::new(&list.ty).with(change).map_err(|e| e.to_string());
        self.kept(content, &text)
    }

    fn table(mut self, table: &TableType) -> Result<Kept<Table>, Vec<Mistake>> {
        let lines = memchr::memchr_iter(b'\n', self.text.as_bytes()).count();
        let mut change = TableChange::with_capacity(table, lines + 1, 2 * self.text.len());
        let text = std::mem::take(&mut self.text);
        match self.ending.as_str() {
            "csv" => self.csv_table(&text, table, &mut change),
            _ => self.json_table(&text, table, &mut change),
        }
        let content = Table::new(table).with(change).map_err(|e| e.to_string());
        self.kept(content, &text)
    }

    fn kept<T>(mut self, content: Result<T, String>, text: &str) -> Result<Kept<T>, Vec<Mistake>> {
        match content {
            Ok(content) if self.mistakes.is_empty() => {
                let digest = digest_on(None, &[self.ending.as_bytes(), text.as_bytes()]);
                Ok(Kept { content: content.into(), digest })
            }
            Ok(_) => Err(self.mistakes),
            Err(message) => {
                self.mistake(None, message);
                Err(self.mistakes)
            }
        }
    }

    /// Notes a mistake; false where there are too many to go on.
    fn mistake(&mut self, line: Option<u64>, message: impl Into<String>) -> bool {
        self.mistakes.push(Mistake { path: self.path.clone(), line, message: message.into() });
        self.mistakes.len() < MISTAKES_MAX
    }

    fn text_list(&mut self, text: &str, list: &ListType, change: &mut ListChange) {
        for (i, line) in text.lines().enumerate() {
            let entry = line.trim_start_matches('\u{feff}').trim();
            if entry.is_empty() || entry.starts_with('#') {
                continue;
            }
            let added = entry::from_text(entry, &list.ty)
                .and_then(|value| change.add(&value, None).map_err(|full| full.to_string()));
            if let Err(message) = added
                && !self.mistake(Some(i as u64 + 1), message)
            {
                return;
            }
        }
    }

    fn csv_list(&mut self, text: &str, list: &ListType, change: &mut ListChange) {
        self.csv(text, |header, file| {
            let at = |name: &str| header.iter().position(|h| *h == name);
            let (Some(value), until) = (at("value"), at("until")) else {
                let names = "a list has the column `value`, and `until` where entries end";
                file.mistake(Some(1), format!("there is no column `value`: {names}"));
                return None;
            };
            Some(move |cells: &[&str]| {
                let end = until.map_or(Ok(None), |i| entry::until(cells[i]))?;
                if cells[value].is_empty() {
                    return Err("`value` is empty: an entry of a list is never missing".to_owned());
                }
                let value = entry::from_text(cells[value], &list.ty)?;
                change.add(&value, end).map_err(|full| full.to_string())
            })
        });
    }

    fn csv_table(&mut self, text: &str, table: &TableType, change: &mut TableChange) {
        self.csv(text, |header, file| {
            let mut places: Vec<(FieldPath, usize)> = Vec::new();
            for column in table.key.iter().chain(&table.columns) {
                for path in &column.paths {
                    let name = row::path_text(path);
                    match header.iter().position(|h| *h == name) {
                        Some(at) => places.push((path.clone(), at)),
                        None => {
                            let near = nearest(&name, header.iter().copied());
                            let mend = match near {
                                Some(near) => format!(
                                    "`{near}` is there: `{} {} from \"{near}\"` reads that",
                                    column.name, column.ty
                                ),
                                None => format!("there is {}", header.join(", ")),
                            };
                            file.mistake(
                                Some(1),
                                format!("there is no column `{name}`, which `{}` declares; {mend}", table.name),
                            );
                        }
                    }
                }
            }
            if !file.mistakes.is_empty() {
                return None;
            }
            Some(move |cells: &[&str]| {
                let cell = |path: &FieldPath| {
                    let place = places.iter().find(|(p, _)| p == path).map(|(_, at)| *at);
                    cells[place.expect("every column was found")]
                };
                let row = row::from_cells(table, cell)?;
                add_row(change, &row)
            })
        });
    }

    /// Reads CSV: `begin` sees the names of the columns and gives what reads each record.
    fn csv<R>(&mut self, text: &str, begin: impl FnOnce(&[&str], &mut File) -> Option<R>)
    where
        R: FnMut(&[&str]) -> Result<(), String>,
    {
        let mut reader =
            ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.trim_start_matches('\u{feff}').as_bytes());
        let header = match reader.headers() {
            Ok(header) => header.clone(),
            Err(error) => {
                self.mistake(Some(1), format!("it cannot be read as CSV: {error}"));
                return;
            }
        };
        let names: Vec<&str> = header.iter().collect();
        let Some(mut take) = begin(&names, self) else { return };
        let mut record = ByteRecord::new();
        loop {
            let outcome = match reader.read_byte_record(&mut record) {
                Ok(false) => return,
                Ok(true) => {
                    let cells: Vec<&str> =
                        record.iter().map(|c| std::str::from_utf8(c).expect("the whole file is UTF-8")).collect();
                    take(&cells)
                }
                Err(error) => Err(match error.kind() {
                    csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                        format!("it has {len} cells, and the first line has {expected_len}")
                    }
                    _ => format!("it cannot be read as CSV: {error}"),
                }),
            };
            let line = record.position().map(|p| p.line());
            if let Err(message) = outcome
                && !self.mistake(line, message)
            {
                return;
            }
        }
    }

    fn json_list(&mut self, text: &str, list: &ListType, change: &mut ListChange) {
        self.json(text, "an array of entries", |raw| {
            let (value, until) = entry::from_json(raw, &list.ty)?;
            change.add(&value, until).map_err(|full| full.to_string())
        });
    }

    fn json_table(&mut self, text: &str, table: &TableType, change: &mut TableChange) {
        self.json(text, "an array of rows", |raw| add_row(change, &row::from_json(table, raw)?));
    }

    fn json(&mut self, text: &str, what: &str, mut take: impl FnMut(&RawValue) -> Result<(), String>) {
        let items: Vec<&RawValue> = match serde_json::from_str(text) {
            Ok(items) => items,
            Err(error) => {
                self.mistake(Some(error.line() as u64), format!("it is not {what} as JSON: {error}"));
                return;
            }
        };
        for item in items {
            if let Err(message) = take(item) {
                let at = item.get().as_ptr() as usize - text.as_ptr() as usize;
                if !self.mistake(Some(line_of(text.as_bytes(), at)), message) {
                    return;
                }
            }
        }
    }
}

/// Puts a row into a table that does not have its key yet.
pub(super) fn add_row(change: &mut TableChange, row: &row::Row<'_>) -> Result<(), String> {
    match change.set(&row.key, &row.columns) {
        Ok(true) => Ok(()),
        Ok(false) => {
            let key: Vec<String> = row.key.iter().map(key_text).collect();
            Err(format!("there is a row for {} already; leave one of them", key.join(", ")))
        }
        Err(full) => Err(full.to_string()),
    }
}

fn key_text(value: &lapwing_dsl::value::Value<'_>) -> String {
    match lapwing_dsl::functions::text_of(value) {
        Ok(lapwing_dsl::value::Value::Text(text)) => format!("`{text}`"),
        _ => "this key".to_owned(),
    }
}
