//! The kinds of values that keys have.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use lapwing_dsl::diagnostics::nearest;
use serde_json::{Value as Json, json};

use super::fault::Origin;
use super::secret::Secret;
use super::section::{self, Key, Kind, Section};
use super::tree::{Given, Node};
use super::units;

/// A value that is read from one piece of text or one number.
pub trait Leaf {
    /// What is read.
    type Value;
    /// Reads it; an error says what is wrong and what to write.
    fn read(&self, given: &Given) -> Result<Self::Value, String>;
    /// As `config show` has it.
    fn show(&self, value: &Self::Value) -> Json;
    /// As JSON Schema.
    fn schema(&self) -> Json;
}

impl<L: Leaf> Kind for L {
    type Value = L::Value;

    fn read(&self, node: &Node, key: Key<'_>) -> Option<L::Value> {
        match Leaf::read(self, &node.given) {
            Ok(value) => {
                key.setting(self.show(&value), &node.origin);
                Some(value)
            }
            Err(message) => {
                key.fault(&node.origin, format!("`{}`: {message}", key.name));
                None
            }
        }
    }

    fn schema(&self) -> Json {
        Leaf::schema(self)
    }
}

/// The text of a string, quoted or from outside of a file.
pub fn string_of<'g>(given: &'g Given, write: &str) -> Result<&'g str, String> {
    match given {
        Given::Text(text) | Given::String(text) => Ok(text),
        given => Err(format!("this is {}; write {write}", given.kind())),
    }
}

/// A whole number within a range.
pub struct Whole<T>(RangeInclusive<T>);

/// A whole number within a range.
pub fn whole<T>(range: RangeInclusive<T>) -> Whole<T> {
    Whole(range)
}

impl<T: Copy + PartialOrd + Into<u64> + TryFrom<u64>> Leaf for Whole<T> {
    type Value = T;

    fn read(&self, given: &Given) -> Result<T, String> {
        let (least, most): (u64, u64) = ((*self.0.start()).into(), (*self.0.end()).into());
        let write = format!("write a whole number from {least} to {most}");
        let text = match given {
            Given::Text(text) | Given::Integer(text) => text,
            given => return Err(format!("this is {}; {write}", given.kind())),
        };
        let number = text.parse::<u64>().ok().and_then(|number| T::try_from(number).ok());
        number.filter(|number| self.0.contains(number)).ok_or_else(|| format!("`{text}` is out of range; {write}"))
    }

    fn show(&self, value: &T) -> Json {
        let number: u64 = (*value).into();
        json!(number)
    }

    fn schema(&self) -> Json {
        let (least, most): (u64, u64) = ((*self.0.start()).into(), (*self.0.end()).into());
        json!({"type": "integer", "minimum": least, "maximum": most})
    }
}

/// A length of time within bounds.
pub struct Time(RangeInclusive<u64>);

/// A length of time within bounds in milliseconds.
pub fn time(ms: RangeInclusive<u64>) -> Time {
    Time(ms)
}

impl Leaf for Time {
    type Value = Duration;

    fn read(&self, given: &Given) -> Result<Duration, String> {
        let text = string_of(given, "a length of time in quotes: \"30s\"")?;
        let ms = units::duration(text)?.unsigned_abs();
        if !self.0.contains(&ms) {
            let [least, most] = [self.0.start(), self.0.end()].map(|ms| units::duration_text(u128::from(*ms)));
            return Err(format!("`{text}` is out of range; write a length of time from {least} to {most}"));
        }
        Ok(Duration::from_millis(ms))
    }

    fn show(&self, value: &Duration) -> Json {
        json!(units::duration_text(value.as_millis()))
    }

    fn schema(&self) -> Json {
        json!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d|w)$"})
    }
}

/// A size in bytes within bounds.
pub struct Size(RangeInclusive<u64>);

/// A size within bounds in bytes.
pub fn size(bytes: RangeInclusive<u64>) -> Size {
    Size(bytes)
}

impl Leaf for Size {
    type Value = u64;

    fn read(&self, given: &Given) -> Result<u64, String> {
        let text = string_of(given, "a size in quotes: \"512MiB\"")?;
        let bytes = units::size(text)?;
        if !self.0.contains(&bytes) {
            let [least, most] = [self.0.start(), self.0.end()].map(|bytes| units::size_text(*bytes));
            return Err(format!("`{text}` is out of range; write a size from {least} to {most}"));
        }
        Ok(bytes)
    }

    fn show(&self, value: &u64) -> Json {
        json!(units::size_text(*value))
    }

    fn schema(&self) -> Json {
        json!({"type": "string", "pattern": "^[0-9]+(B|[KMGT]iB|[kMGT]B)$"})
    }
}

/// Text that is not empty and that a check takes.
pub struct Text {
    check: fn(&str) -> Result<(), String>,
    write: &'static str,
}

/// Text that a check takes; the check's error says what is wrong, `write` what to write.
pub fn text(write: &'static str, check: fn(&str) -> Result<(), String>) -> Text {
    Text { check, write }
}

/// Any text but the empty one.
pub fn any_text() -> Text {
    text("text in quotes", |_| Ok(()))
}

impl Leaf for Text {
    type Value = String;

    fn read(&self, given: &Given) -> Result<String, String> {
        let text = string_of(given, self.write)?;
        if text.is_empty() {
            return Err(format!("it is empty; write {}", self.write));
        }
        (self.check)(text).map_err(|wrong| format!("{wrong}; write {}", self.write))?;
        Ok(text.to_owned())
    }

    fn show(&self, value: &String) -> Json {
        json!(value)
    }

    fn schema(&self) -> Json {
        json!({"type": "string", "minLength": 1})
    }
}

/// `true` or `false`.
pub struct Boolean;

/// `true` or `false`.
pub fn boolean() -> Boolean {
    Boolean
}

impl Leaf for Boolean {
    type Value = bool;

    fn read(&self, given: &Given) -> Result<bool, String> {
        match given {
            Given::Boolean(value) => Ok(*value),
            Given::Text(text) if text == "true" => Ok(true),
            Given::Text(text) if text == "false" => Ok(false),
            _ => Err("write true or false, without quotes".to_owned()),
        }
    }

    fn show(&self, value: &bool) -> Json {
        json!(value)
    }

    fn schema(&self) -> Json {
        json!({"type": "boolean"})
    }
}

/// A path, relative to the folder in which the process was started.
pub struct Path;

/// A path.
pub fn path() -> Path {
    Path
}

impl Leaf for Path {
    type Value = PathBuf;

    fn read(&self, given: &Given) -> Result<PathBuf, String> {
        Leaf::read(&any_text(), given).map(PathBuf::from)
    }

    fn show(&self, value: &PathBuf) -> Json {
        json!(value.to_string_lossy())
    }

    fn schema(&self) -> Json {
        Leaf::schema(&any_text())
    }
}

/// One of some words.
pub struct OneOf<T: 'static>(pub &'static [(&'static str, T)]);

impl<T: Copy + PartialEq> Leaf for OneOf<T> {
    type Value = T;

    fn read(&self, given: &Given) -> Result<T, String> {
        let words = || self.0.iter().map(|(word, _)| *word);
        let all = || words().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        let text = string_of(given, &format!("one of {}", all()))?;
        if let Some((_, value)) = self.0.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        Err(match nearest(text, words()) {
            Some(meant) => format!("there is no `{text}`: did you mean \"{meant}\"?"),
            None => format!("there is no `{text}`; write one of {}", all()),
        })
    }

    fn show(&self, value: &T) -> Json {
        let word = self.0.iter().find(|(_, known)| known == value).map(|(word, _)| *word);
        json!(word)
    }

    fn schema(&self) -> Json {
        json!({"enum": self.0.iter().map(|(word, _)| *word).collect::<Vec<_>>()})
    }
}

/// A value that stands where none is given.
pub struct Or<K> {
    kind: K,
    default: &'static str,
}

/// What is given, or else a default, written as on the command line.
pub fn or<K: Kind>(kind: K, default: &'static str) -> Or<K> {
    Or { kind, default }
}

impl<K: Kind> Kind for Or<K> {
    type Value = K::Value;

    fn read(&self, node: &Node, key: Key<'_>) -> Option<K::Value> {
        self.kind.read(node, key)
    }

    fn absent(&self, key: Key<'_>, _: &Origin) -> Option<K::Value> {
        self.kind.read(&Node::text(self.default, Origin::Default), key)
    }

    fn may_be_absent(&self) -> bool {
        true
    }

    fn schema(&self) -> Json {
        let mut schema = self.kind.schema();
        let notes = section::Notes::default();
        self.absent(Key { name: "", notes: &notes }, &Origin::Default);
        let settings = notes.settings.into_inner();
        schema["default"] = settings.into_iter().next().map_or(json!([]), |setting| setting.value);
        schema
    }
}

/// A value that may be left out; on the command line the empty text takes it away.
pub struct Optional<K>(K);

/// A value that may be left out.
pub fn optional<K: Kind>(kind: K) -> Optional<K> {
    Optional(kind)
}

impl<K: Kind> Kind for Optional<K> {
    type Value = Option<K::Value>;

    fn read(&self, node: &Node, key: Key<'_>) -> Option<Self::Value> {
        match &node.given {
            Given::Text(text) if text.is_empty() => {
                key.setting(Json::Null, &node.origin);
                Some(None)
            }
            _ => self.0.read(node, key).map(Some),
        }
    }

    fn absent(&self, key: Key<'_>, _: &Origin) -> Option<Self::Value> {
        key.setting(Json::Null, &Origin::Default);
        Some(None)
    }

    fn may_be_absent(&self) -> bool {
        true
    }

    fn schema(&self) -> Json {
        self.0.schema()
    }
}

/// A table of declared keys.
pub struct Table<S>(PhantomData<S>);

/// A table of declared keys.
pub fn table<S: Section>() -> Table<S> {
    Table(PhantomData)
}

impl<S: Section> Kind for Table<S> {
    type Value = S;

    fn read(&self, node: &Node, key: Key<'_>) -> Option<S> {
        section::read(node, key)
    }

    fn absent(&self, key: Key<'_>, _: &Origin) -> Option<S> {
        section::read(&Node::empty(Origin::Default), key)
    }

    fn may_be_absent(&self) -> bool {
        S::keys().iter().all(|key| !key.required)
    }

    fn schema(&self) -> Json {
        section::schema::<S>()
    }
}

/// A list of tables: `[[alerts.webhook]]`.
pub struct Tables<S>(PhantomData<S>);

/// A list of tables.
pub fn tables<S: Section>() -> Tables<S> {
    Tables(PhantomData)
}

impl<S: Section> Kind for Tables<S> {
    type Value = Vec<S>;

    fn read(&self, node: &Node, key: Key<'_>) -> Option<Vec<S>> {
        each(node, key, &format!("write [[{}]] before each", key.name), |node, key| section::read(node, key))
    }

    fn absent(&self, _: Key<'_>, _: &Origin) -> Option<Vec<S>> {
        Some(Vec::new())
    }

    fn may_be_absent(&self) -> bool {
        true
    }

    fn schema(&self) -> Json {
        json!({"type": "array", "items": section::schema::<S>(), "description": S::text()})
    }
}

/// A list of values of one kind, shown as one.
pub struct List<L>(L);

/// A list of values of one kind: `["a", "b"]`, outside of a file also `a,b`.
pub fn list<L: Leaf>(leaf: L) -> List<L> {
    List(leaf)
}

impl<L: Leaf> Kind for List<L> {
    type Value = Vec<L::Value>;

    fn read(&self, node: &Node, key: Key<'_>) -> Option<Self::Value> {
        let values = each(node, key, "write [\"…\", \"…\"]", |node, key| {
            Leaf::read(&self.0, &node.given)
                .map_err(|message| key.fault(&node.origin, format!("`{}`: {message}", key.name)))
                .ok()
        })?;
        key.setting(values.iter().map(|value| self.0.show(value)).collect(), &node.origin);
        Some(values)
    }

    fn schema(&self) -> Json {
        json!({"type": "array", "items": Leaf::schema(&self.0)})
    }
}

/// Reads all entries of a list, and gives them up only where one was wrong.
fn each<T>(node: &Node, key: Key<'_>, write: &str, read: impl Fn(&Node, Key<'_>) -> Option<T>) -> Option<Vec<T>> {
    let nodes = match node.taken_apart() {
        Ok(Node { given: Given::List(nodes), .. }) => nodes,
        Ok(Node { given, .. }) => {
            key.fault(&node.origin, format!("`{}` is {}, and must be a list: {write}", key.name, given.kind()));
            return None;
        }
        Err(message) => {
            key.fault(&node.origin, format!("`{}`: {message}", key.name));
            return None;
        }
    };
    let read = |(at, node): (usize, &Node)| read(node, Key { name: &key.below(at), notes: key.notes });
    let values: Vec<_> = nodes.iter().enumerate().map(read).collect();
    values.into_iter().collect()
}

/// A table of names that are not ours to list, each with a text.
pub struct Named<F>(pub F);

/// What a [`Named`] table makes of a name, a text and its origin; an error says what is wrong and what to write.
pub trait Entries {
    /// What is kept of a text.
    type Value;
    /// Reads an entry; gives also what is shown.
    fn read(&self, name: &str, text: &str, origin: &Origin) -> Result<(Self::Value, Json), String>;
}

/// The text of a value whose type somebody else knows: `5` and `true` may stand without quotes.
fn plain_text(given: &Given) -> Result<String, String> {
    match given {
        Given::Text(text) | Given::String(text) | Given::Integer(text) | Given::Float(text) => Ok(text.clone()),
        Given::Boolean(yes) => Ok(yes.to_string()),
        given => Err(format!("this is {}; write text in quotes", given.kind())),
    }
}

impl<F: Entries> Kind for Named<F> {
    type Value = BTreeMap<String, F::Value>;

    fn read(&self, node: &Node, key: Key<'_>) -> Option<Self::Value> {
        let Ok(Node { given: Given::Table(entries), .. }) = node.taken_apart() else {
            key.fault(&node.origin, format!("`{}` must be a table: write {{ \"name\" = \"value\" }}", key.name));
            return None;
        };
        let mut values = BTreeMap::new();
        let mut whole = true;
        for (name, entry) in entries {
            // Names in the environment have no dots.
            let outside = matches!(entry.key, Origin::Environment(_));
            let name = if outside { name.replace('_', ".") } else { name };
            let full = key.below(&name);
            let read = plain_text(&entry.node.given).and_then(|text| self.0.read(&name, &text, &entry.node.origin));
            match read {
                Ok((value, shown)) => {
                    Key { name: &full, notes: key.notes }.setting(shown, &entry.node.origin);
                    values.insert(name, value);
                }
                Err(message) => {
                    key.fault(&entry.node.origin, format!("`{full}`: {message}"));
                    whole = false;
                }
            }
        }
        whole.then_some(values)
    }

    fn absent(&self, _: Key<'_>, _: &Origin) -> Option<Self::Value> {
        Some(BTreeMap::new())
    }

    fn may_be_absent(&self) -> bool {
        true
    }

    fn schema(&self) -> Json {
        json!({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}, "default": {}})
    }
}

/// A secret that only the environment may give.
pub struct FromEnvironment;

/// A secret that only the environment may give: a file would keep it, a flag would show it to everybody on the machine.
pub fn from_environment() -> FromEnvironment {
    FromEnvironment
}

impl Kind for FromEnvironment {
    type Value = Secret;

    fn read(&self, node: &Node, key: Key<'_>) -> Option<Secret> {
        match (&node.given, &node.origin) {
            (Given::Text(text), Origin::Environment(_)) => {
                key.setting(json!("***"), &node.origin);
                Some(Secret::new(text.clone()))
            }
            _ => {
                let variable = super::variable(key.name);
                let message = format!(
                    "`{0}` is a secret: write it into a file and name that in `{0}_file`, or set the environment variable {variable}",
                    key.name
                );
                key.fault(&node.origin, message);
                None
            }
        }
    }

    fn schema(&self) -> Json {
        // No file may have it.
        json!({"not": {}})
    }
}

/// A secret in a file whose path is given. The path is shown, the secret is not.
pub struct SecretFile;

/// A secret in a file whose path is given.
pub fn secret_file() -> SecretFile {
    SecretFile
}

impl Kind for SecretFile {
    type Value = Secret;

    fn read(&self, node: &Node, key: Key<'_>) -> Option<Secret> {
        let secret = string_of(&node.given, "the path of a file in quotes").and_then(Secret::read);
        match secret {
            Ok(secret) => {
                key.setting(json!(string_of(&node.given, "").unwrap_or_default()), &node.origin);
                Some(secret)
            }
            Err(message) => {
                key.fault(&node.origin, format!("`{}`: {message}", key.name));
                None
            }
        }
    }

    fn schema(&self) -> Json {
        Leaf::schema(&any_text())
    }
}
