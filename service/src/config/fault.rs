//! Where a value comes from, and what is wrong with it.

use std::fmt;
use std::sync::Arc;

/// Where a value comes from. Of several, the later kind wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave it.
    Default,
    /// A file; `line` and `column` count from 1, and are 0 where the whole file is meant.
    File {
        /// As it was named.
        name: Arc<str>,
        /// The line.
        line: u32,
        /// The column, in characters.
        column: u32,
    },
    /// An environment variable, by its name.
    Environment(Arc<str>),
    /// A flag `--set`, by the key that it sets.
    Set(Arc<str>),
}

/// The origin as `config show` names it: `default`, `lapwing.toml:12`, `LAPWING_ENGINE__THREADS`, `--set`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { name, line: 0, .. } => f.write_str(name),
            Origin::File { name, line, .. } => write!(f, "{name}:{line}"),
            Origin::Environment(name) => f.write_str(name),
            Origin::Set(_) => f.write_str("--set"),
        }
    }
}

/// Something wrong with the configuration: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it stands.
    pub origin: Origin,
    /// What is wrong, and the mend.
    pub message: String,
}

/// One line: `lapwing.toml:12:11: …`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => {}
            Origin::File { column, line: 1.., .. } => write!(f, "{}:{column}: ", self.origin)?,
            Origin::Set(key) => write!(f, "--set {key}: ")?,
            origin => write!(f, "{origin}: ")?,
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}
