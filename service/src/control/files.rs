//! Rule files from disk: a file, or every `.lap` file below a folder, in order of their paths.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lapwing_dsl::diagnostics::{Code, Diagnostic};
use lapwing_dsl::syntax::{FileId, Sources, Span};
use lapwing_dsl::{Loaded, load};
use lapwing_engine::rule_set::{LiveRule, RuleSet};

/// Rule files, read and compiled.
pub struct Rules {
    /// The texts.
    pub sources: Sources,
    /// What they compiled to, with all findings.
    pub loaded: Loaded,
}

/// A path that could not be read.
#[derive(Debug)]
pub struct Unreadable {
    /// The path.
    pub path: PathBuf,
    /// Why.
    pub cause: std::io::Error,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot read rules from `{}`: {}", self.path.display(), self.cause)
    }
}

impl std::error::Error for Unreadable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// Reads and compiles all rule files of the paths.
pub fn read(paths: &[PathBuf]) -> Result<Rules, Unreadable> {
    let mut sources = Sources::default();
    let mut findings = Vec::new();
    for path in rule_files(paths)? {
        let bytes = fs::read(&path).map_err(|cause| Unreadable { path: path.clone(), cause })?;
        let name = path.display().to_string();
        match String::from_utf8(bytes) {
            Ok(text) => {
                sources.add(name, text);
            }
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                let file = sources.add(name, text);
                findings.push(not_utf8(file, at));
            }
        }
    }
    let mut loaded = load(&sources);
    if !findings.is_empty() {
        // Whatever else was found in a file that is not text is noise.
        let broken: Vec<FileId> = findings.iter().map(|d| d.primary.span.file).collect();
        loaded.diagnostics.retain(|d| !broken.contains(&d.primary.span.file));
        loaded.diagnostics.splice(0..0, findings);
    }
    Ok(Rules { sources, loaded })
}

fn not_utf8(file: FileId, at: usize) -> Diagnostic {
    Diagnostic::new(Code::NotUtf8, Span::new(file, at, at + 1), "the file is not UTF-8")
        .label("the first byte that is not")
        .help("save the file as UTF-8; `file NAME` tells what it is now")
}

/// The `.lap` files of the paths, sorted; a file that is named is taken whatever it is called.
pub fn rule_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Unreadable> {
    let mut files = Vec::new();
    for path in paths {
        collect(path, true, &mut files).map_err(|cause| Unreadable { path: path.clone(), cause })?;
    }
    files.sort();
    files.dedup();
    Ok(files)
}

fn collect(path: &Path, named: bool, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if fs::metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), false, files)?;
        }
    } else if named || path.extension().is_some_and(|e| e == "lap") {
        files.push(path.to_owned());
    }
    Ok(())
}

impl Rules {
    /// Compiles texts, each with its path.
    pub fn of<'t>(texts: impl IntoIterator<Item = (&'t str, &'t str)>) -> Rules {
        let mut sources = Sources::default();
        for (path, text) in texts {
            sources.add(path, text);
        }
        Rules { loaded: load(&sources), sources }
    }

    /// The path and the text of each file.
    pub fn texts(&self) -> Vec<(String, String)> {
        self.sources.iter().map(|(_, source)| (source.path.clone(), source.text.clone())).collect()
    }

    /// Whether nothing stands against running them.
    pub fn compiles(&self) -> bool {
        !self.loaded.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// The rule set of all of them, at version 1; its lists and tables are empty.
    pub fn rule_set(&self, generation: u64) -> Result<RuleSet, lapwing_engine::rule_set::Refused> {
        let rules = self.loaded.programs.iter().map(|p| LiveRule { program: Arc::clone(p), version: 1 }).collect();
        RuleSet::new(generation, self.loaded.schema.clone(), rules)
    }
}
