//! The texts of a rule set. A [`FileId`] is an index into them.

use super::{FileId, Span};

/// One file's name and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What diagnostics call it.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Where its lines begin.
    lines: Vec<u32>,
    /// So many lines of the file stand before the text.
    before: usize,
}

/// A line and a column, both counted from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
}

/// The files of a rule set in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    list: Vec<Source>,
}

impl Sources {
    /// No files yet.
    pub fn new() -> Self {
        Sources::default()
    }

    /// Adds a file and gives its id.
    pub fn add(&mut self, path: impl Into<String>, text: impl Into<String>) -> FileId {
        self.add_behind(0, path, text)
    }

    /// Adds a part of a file that so many of its lines stand before. What is said of it names the lines of the file.
    pub fn add_behind(&mut self, before: usize, path: impl Into<String>, text: impl Into<String>) -> FileId {
        let text = text.into();
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at as u32 + 1)).collect();
        self.list.push(Source { path: path.into(), text, lines, before });
        FileId(self.list.len() as u32 - 1)
    }

    /// The file of this id.
    pub fn get(&self, file: FileId) -> Option<&Source> {
        self.list.get(file.0 as usize)
    }

    /// All files with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (FileId, &Source)> {
        self.list.iter().enumerate().map(|(i, source)| (FileId(i as u32), source))
    }

    /// The text of a place; empty where there is none.
    pub fn slice(&self, span: Span) -> &str {
        self.get(span.file).and_then(|s| s.text.get(span.start as usize..span.end as usize)).unwrap_or("")
    }
}

impl Source {
    /// Line and column of a byte. One past the text is its end.
    pub fn position(&self, offset: u32) -> Position {
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines[line - 1] as usize;
        let before = self.text.get(start..(offset as usize).min(self.text.len())).unwrap_or("");
        Position { line: self.before + line, column: before.chars().count() + 1 }
    }

    /// A line, counted from 1, without its end; empty where there is none.
    pub fn line(&self, line: usize) -> &str {
        let Some(start) = line.checked_sub(self.before + 1).and_then(|i| self.lines.get(i)) else { return "" };
        self.text[*start as usize..].lines().next().unwrap_or("")
    }
}
