//! The versions of a rule: texts that never change, each at a stage. At most one is in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use lapwing_dsl::program::Program;
use lapwing_dsl::syntax::{Source, Sources};

use super::message::Stage;

/// A file that pieces are of.
#[derive(Debug)]
pub(super) struct File {
    path: String,
    /// How many characters each line has.
    widths: Vec<u32>,
}

impl File {
    /// What is kept of a source.
    pub fn of(source: &Source) -> Arc<File> {
        let widths = source.text.split('\n').map(|line| line.chars().count() as u32).collect();
        Arc::new(File { path: source.path.clone(), widths })
    }
}

/// A piece of a file.
#[derive(Clone, Debug)]
pub(super) struct Text {
    file: Arc<File>,
    /// So many lines stand before it there.
    before: usize,
    /// Its text, with blanks for what stands before it on its line.
    text: Arc<str>,
}

impl Text {
    /// The piece of a source from a byte up to another.
    pub fn of(file: &Arc<File>, source: &Source, (start, end): (usize, usize)) -> Text {
        let begins = source.position(start as u32);
        let blanks = std::iter::repeat_n(' ', begins.column - 1);
        let text: String = blanks.chain(source.text[start..end].chars()).collect();
        Text { file: file.clone(), before: begins.line - 1, text: text.into() }
    }

    /// The text alone.
    pub fn text(&self) -> &str {
        self.text.trim()
    }

    /// Whether it says the same, wherever it stands.
    pub fn says(&self, other: &Text) -> bool {
        self.text() == other.text()
    }

    /// Puts it among those that are compiled: what is found in it is told by its place in its file.
    pub fn add_to(&self, sources: &mut Sources) {
        sources.add_behind(self.before, self.file.path.as_str(), &*self.text);
    }

    /// The text with blanks for all that stands before it in its file, as a literal: what digests up to format 8 of states were made of.
    pub fn blanked(&self) -> String {
        let mut literal = String::from('"');
        for width in &self.file.widths[..self.before] {
            literal.extend(std::iter::repeat_n(' ', *width as usize));
            literal.push_str("\\n");
        }
        literal.push_str(&format!("{:?}", &*self.text)[1..]);
        literal
    }
}

/// A version of a rule.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub text: Text,
    pub stage: Stage,
    /// Who put it.
    pub author: Option<Arc<str>>,
}

/// A rule with all its versions.
#[derive(Clone, Debug, Default)]
pub(super) struct Versions {
    all: Arc<BTreeMap<u32, Version>>,
    /// What the version in force compiled to.
    pub program: Option<Arc<Program>>,
}

/// Whether at most one version of a rule is at a stage.
fn is_in_force(stage: Stage) -> bool {
    matches!(stage, Stage::Live | Stage::Paused)
}

impl Versions {
    /// A rule with its first version.
    pub fn first(version: u32, text: Text, stage: Stage) -> Versions {
        let mut versions = Versions::default();
        versions.put(version, text, stage);
        versions
    }

    /// The version that is live or paused.
    pub fn in_force(&self) -> Option<(u32, &Version)> {
        self.all.iter().find(|(_, v)| is_in_force(v.stage)).map(|(number, v)| (*number, v))
    }

    /// The version in force, where there is none the newest.
    pub fn present(&self) -> (u32, &Version) {
        let newest = || self.all.last_key_value().map(|(number, v)| (*number, v));
        self.in_force().or_else(newest).expect("a rule has a version")
    }

    /// The number of the newest version.
    pub fn newest(&self) -> u32 {
        self.all.last_key_value().map_or(0, |(number, _)| *number)
    }

    /// All versions, ascending.
    pub fn all(&self) -> impl Iterator<Item = (u32, &Version)> {
        self.all.iter().map(|(number, v)| (*number, v))
    }

    /// Adds a version. What was in force retires where this one is to be.
    pub fn put(&mut self, version: u32, text: Text, stage: Stage) {
        Arc::make_mut(&mut self.all).insert(version, Version { text, stage: Stage::Draft, author: None });
        self.set_stage(version, stage);
    }

    /// Notes who put a version.
    pub fn set_author(&mut self, version: u32, author: Option<Arc<str>>) {
        if let Some(version) = Arc::make_mut(&mut self.all).get_mut(&version) {
            version.author = author;
        }
    }

    /// Puts a version at a stage; none where there is no such version.
    pub fn set_stage(&mut self, version: u32, stage: Stage) -> Option<()> {
        let before = self.in_force().map(|(number, _)| number);
        let all = Arc::make_mut(&mut self.all);
        all.get_mut(&version)?.stage = stage;
        if is_in_force(stage) {
            let others = all.iter_mut().filter(|(number, v)| **number != version && is_in_force(v.stage));
            others.for_each(|(_, v)| v.stage = Stage::Retired);
        }
        if self.in_force().map(|(number, _)| number) != before {
            self.program = None;
        }
        Some(())
    }
}
