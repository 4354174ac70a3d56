//! What was given, before anybody knows what it means: a tree of tables and values, each with its origin. A file makes one; environment
//! variables and flags are laid over it, a value at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Origin};

/// The prefix of the environment variables that are configuration: those with a `__` behind it.
const PREFIX: &str = "LAPWING_";

/// A value or a table, and where it comes from.
#[derive(Clone, Debug)]
pub struct Node {
    pub given: Given,
    pub origin: Origin,
}

/// What was given.
#[derive(Clone, Debug)]
pub enum Given {
    /// Text without quotes, from outside of a file: the kind of the key decides how it is read.
    Text(String),
    String(String),
    Integer(String),
    Float(String),
    Boolean(bool),
    Time(String),
    List(Vec<Node>),
    Table(BTreeMap<String, Entry>),
}

/// A key's value, and where the key stands.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: Origin,
    pub node: Node,
}

impl Given {
    /// What it is, in an error's words.
    pub fn kind(&self) -> &'static str {
        match self {
            Given::Text(_) | Given::String(_) => "a string",
            Given::Integer(_) => "a whole number",
            Given::Float(_) => "a number with a fraction",
            Given::Boolean(_) => "true or false",
            Given::Time(_) => "a time",
            Given::List(_) => "a list",
            Given::Table(_) => "a table",
        }
    }
}

impl Node {
    /// Of a table of which nothing is given.
    pub fn empty(origin: Origin) -> Node {
        Node { given: Given::Table(BTreeMap::new()), origin }
    }

    /// Text from outside of a file.
    pub fn text(text: &str, origin: Origin) -> Node {
        Node { given: Given::Text(text.to_owned()), origin }
    }

    /// The node with text in the notation of TOML (`["a", "b"]`, `{ a = "b" }`) or with commas (`a, b`) taken apart where a list or a
    /// table is wanted.
    pub fn taken_apart(&self) -> Result<Node, String> {
        let Given::Text(text) = &self.given else { return Ok(self.clone()) };
        let trimmed = text.trim();
        if trimmed.starts_with(['[', '{']) {
            let value = DeValue::parse(trimmed)
                .map_err(|e| format!("`{text}` cannot be read as TOML: {}", e.message().replace('\n', ", ")))?;
            return Ok(node(value.get_ref(), &|_| self.origin.clone(), self.origin.clone()));
        }
        let parts = trimmed.split(',').map(str::trim).filter(|part| !part.is_empty());
        let given = Given::List(parts.map(|part| Node::text(part, self.origin.clone())).collect());
        Ok(Node { given, origin: self.origin.clone() })
    }

    /// Lays a value over what stands at a path. Numbers in the path are places in lists; the one after the last makes a new entry.
    fn lay(&mut self, path: &[String], value: Node) -> Result<(), String> {
        let Some((first, rest)) = path.split_first() else {
            *self = value;
            return Ok(());
        };
        let origin = value.origin.clone();
        *self = self.taken_apart()?;
        if let (Given::Table(_), Ok(0)) = (&self.given, first.parse::<usize>())
            && self.is_empty()
        {
            self.given = Given::List(Vec::new());
        }
        match &mut self.given {
            Given::Table(entries) => {
                let entry = entries
                    .entry(first.clone())
                    .or_insert_with(|| Entry { key: origin.clone(), node: Node::empty(origin.clone()) });
                entry.key = origin;
                entry.node.lay(rest, value)
            }
            Given::List(nodes) => match first.parse::<usize>() {
                Ok(at) if at < nodes.len() => nodes[at].lay(rest, value),
                Ok(at) if at == nodes.len() => {
                    nodes.push(Node::empty(origin));
                    nodes[at].lay(rest, value)
                }
                _ => Err(format!("`{first}` is no place in the list: write a number from 0 to {}", nodes.len())),
            },
            given => Err(format!("`{first}` cannot be set: what holds it is {}, from {}", given.kind(), self.origin)),
        }
    }

    fn is_empty(&self) -> bool {
        matches!(&self.given, Given::Table(entries) if entries.is_empty())
    }
}

/// Reads a file's text. What of it can be read is in the tree, whatever else is wrong with it.
pub fn file(name: &str, text: &str, faults: &mut Vec<Fault>) -> Node {
    let name: Arc<str> = name.into();
    let place = |offset: usize| {
        let before = &text[..text.floor_char_boundary(offset)];
        let line = before.matches('\n').count() as u32 + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() as u32 + 1;
        Origin::File { name: name.clone(), line, column }
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    faults.extend(errors.into_iter().map(|error| Fault {
        origin: place(error.span().map_or(text.len(), |span| span.start)),
        message: format!("this is not TOML: {}", error.message().replace('\n', ", ")),
    }));
    Node { given: entries(table.get_ref(), &place), origin: Origin::File { name, line: 0, column: 0 } }
}

fn entries(table: &DeTable<'_>, place: &dyn Fn(usize) -> Origin) -> Given {
    let entry = |key: &Spanned<_>, value: &Spanned<DeValue<'_>>| Entry {
        key: place(key.span().start),
        node: node(value.get_ref(), place, place(value.span().start)),
    };
    Given::Table(table.iter().map(|(key, value)| (key.get_ref().to_string(), entry(key, value))).collect())
}

fn node(value: &DeValue<'_>, place: &dyn Fn(usize) -> Origin, origin: Origin) -> Node {
    let given = match value {
        DeValue::String(text) => Given::String(text.to_string()),
        DeValue::Integer(number) => Given::Integer(number.to_string()),
        DeValue::Float(number) => Given::Float(number.to_string()),
        DeValue::Boolean(yes) => Given::Boolean(*yes),
        DeValue::Datetime(time) => Given::Time(time.to_string()),
        DeValue::Array(values) => {
            Given::List(values.iter().map(|v| node(v.get_ref(), place, place(v.span().start))).collect())
        }
        DeValue::Table(table) => entries(table, place),
    };
    Node { given, origin }
}

/// Lays the environment over the tree: `LAPWING_ENGINE__THREADS` is `engine.threads`.
pub fn environment(tree: &mut Node, variables: impl Iterator<Item = (String, String)>, faults: &mut Vec<Fault>) {
    let ours = variables.filter(|(name, _)| name.strip_prefix(PREFIX).is_some_and(|rest| rest.contains("__")));
    let mut ours: Vec<_> = ours.collect();
    ours.sort();
    for (name, value) in ours {
        let path: Vec<String> = name[PREFIX.len()..].to_lowercase().split("__").map(str::to_owned).collect();
        lay(tree, &path, &value, Origin::Environment(name.into()), faults);
    }
}

/// Lays the flags over the tree: `--set engine.threads=2`.
pub fn sets(tree: &mut Node, sets: &[String], faults: &mut Vec<Fault>) {
    for set in sets {
        match set_path(set) {
            Ok((path, value)) => {
                let key = set[..set.len() - value.len() - 1].trim().into();
                lay(tree, &path, value, Origin::Set(key), faults);
            }
            Err(message) => faults.push(Fault { origin: Origin::Set(set.as_str().into()), message }),
        }
    }
}

/// Cuts `KEY=VALUE`; parts of the key with dots of their own stand in quotes: `kafka.properties."client.id"=lapwing`.
fn set_path(set: &str) -> Result<(Vec<String>, &str), String> {
    let mut quoted = false;
    let equals = set.find(|c| {
        quoted ^= c == '"';
        c == '=' && !quoted
    });
    let (key, value) = equals.map(|at| (&set[..at], &set[at + 1..])).ok_or("write KEY=VALUE: engine.threads=2")?;
    let line = format!("{key} = 0");
    let wrong = |_| format!("`{key}` is no key: write names with dots between them, as in engine.threads=2");
    let table = DeTable::parse(&line).map_err(wrong)?.into_inner();
    let mut path = Vec::new();
    let mut table = &table;
    while let Some((name, value)) = table.iter().next() {
        path.push(name.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    Ok((path, value))
}

fn lay(tree: &mut Node, path: &[String], value: &str, origin: Origin, faults: &mut Vec<Fault>) {
    if let Err(message) = tree.lay(path, Node::text(value, origin.clone())) {
        faults.push(Fault { origin, message });
    }
}
