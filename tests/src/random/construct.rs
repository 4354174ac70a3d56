//! The constructs of the language that the random rules have to reach, by name.

use std::collections::BTreeSet;

/// All of them.
pub const ALL: &[&str] = &[
    "then", "then next", "then any", "then within", "choice", "choice in a sequence", "&", "& in a sequence", "group",
    "group repeated", "group in a group's place", "group within", "group apart", "group contiguity", "not in the middle",
    "not at the end", "next not", "not a choice", "not after not", "not within", "greedy", "reluctant", "repeated",
    "optional", "unbounded", "repeated next", "repeated any", "apart", "until", "step by", "where another step", "prev",
    "prev of time", "own aggregate", "first n in where", "last n in where",
    "count", "sum", "avg", "min", "max", "stddev", "distinct", "list", "first", "last", "first n", "last n", "sum of a product",
    "stddev of gaps", "match", "match each", "match last", "skip past last", "skip to next", "skip to first", "skip to last",
    "skip none", "report early", "report final", "report updates", "when", "when over", "emit", "emit over", "message", "severity if",
    "severity", "suppress", "suppress by", "stop on", "stop on where", "no key", "key", "optional key", "composite key",
    "per type key", "lag", "lag n", "first_seen", "first_seen where", "over", "over by", "over where", "offset", "over sum",
    "over avg", "over min", "over max", "over stddev", "over distinct", "??", "is missing", "is present", "in list", "not in", "in range", "in network",
    "like", "ilike", "matches", "if", "arithmetic", "division", "decimal", "float", "text function", "duration", "or", "not",
    "several rules",
];

/// The constructs of one rule.
#[derive(Clone, Debug, Default)]
pub struct Used(pub BTreeSet<&'static str>);

impl Used {
    /// Notes one.
    pub fn mark(&mut self, name: &'static str) {
        debug_assert!(ALL.contains(&name), "{name} is listed");
        self.0.insert(name);
    }
}
