//! How a section is declared, once for all: `section!` makes of a list of keys the typed struct, its reading and its description, from
//! which the schema and the page of keys are made.

use std::cell::RefCell;

use lapwing_dsl::diagnostics::nearest;
use serde_json::{Map, Value as Json, json};

use super::fault::{Fault, Origin};
use super::tree::{Given, Node};

/// A value that was put in force, for `config show`.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// `engine.threads`; in lists with the place, from 0: `kafka.source.0.topic`.
    pub key: String,
    /// The value; null where there is none, `***` for a secret.
    pub value: Json,
    /// Where it comes from.
    pub origin: Origin,
}

/// What reading leaves beside the values.
#[derive(Default)]
pub struct Notes {
    pub faults: RefCell<Vec<Fault>>,
    pub settings: RefCell<Vec<Setting>>,
}

/// A key while it is read.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    /// Its full name; empty for the whole.
    pub name: &'a str,
    pub notes: &'a Notes,
}

impl Key<'_> {
    /// Notes a fault.
    pub fn fault(&self, origin: &Origin, message: impl Into<String>) {
        self.notes.faults.borrow_mut().push(Fault { origin: origin.clone(), message: message.into() });
    }

    /// Notes a value that is in force.
    pub fn setting(&self, value: Json, origin: &Origin) {
        let setting = Setting { key: self.name.to_owned(), value, origin: origin.clone() };
        self.notes.settings.borrow_mut().push(setting);
    }

    /// The full name of a key below this one.
    pub fn below(&self, name: impl std::fmt::Display) -> String {
        if self.name.is_empty() { name.to_string() } else { format!("{}.{name}", self.name) }
    }
}

/// A kind of value: how it is read, and how it is described.
pub trait Kind {
    /// What is read.
    type Value;

    /// Reads what was given. Where it is wrong, that was noted, and nothing comes back.
    fn read(&self, node: &Node, key: Key<'_>) -> Option<Self::Value>;

    /// What holds where nothing was given, the key of the table around it standing at `origin`.
    fn absent(&self, key: Key<'_>, origin: &Origin) -> Option<Self::Value> {
        key.fault(origin, format!("`{}` is missing, and there is no default: give it", key.name));
        None
    }

    /// Whether it may be left out.
    fn may_be_absent(&self) -> bool {
        false
    }

    /// As JSON Schema.
    fn schema(&self) -> Json;
}

/// A key as it is declared.
pub struct Declared {
    pub name: &'static str,
    pub text: &'static str,
    pub schema: Json,
    pub required: bool,
}

/// Describes a key whose values have a type.
pub fn declared<T>(name: &'static str, text: &'static str, kind: impl Kind<Value = T>) -> Declared {
    Declared { name, text, schema: kind.schema(), required: !kind.may_be_absent() }
}

/// A table of declared keys.
pub trait Section: Sized {
    /// Reads the table.
    fn read(reader: &Reader<'_>) -> Option<Self>;

    /// What the table is.
    fn text() -> &'static str;

    /// Its keys, in their order.
    fn keys() -> Vec<Declared>;
}

/// A table while it is read.
pub struct Reader<'a> {
    node: &'a Node,
    key: Key<'a>,
}

impl Reader<'_> {
    /// Reads a key of the table.
    pub fn key<K: Kind>(&self, name: &'static str, kind: &K) -> Option<K::Value> {
        let full = self.key.below(name);
        let key = Key { name: &full, notes: self.key.notes };
        match &self.node.given {
            Given::Table(entries) if entries.contains_key(name) => kind.read(&entries[name].node, key),
            _ => kind.absent(key, &self.node.origin),
        }
    }
}

/// Reads a table, and notes the keys in it that nobody knows.
pub fn read<S: Section>(node: &Node, key: Key<'_>) -> Option<S> {
    let taken_apart = node.taken_apart().ok();
    let Some(Node { given: Given::Table(entries), .. }) = &taken_apart else {
        let name = if key.name.is_empty() { "the configuration" } else { key.name };
        key.fault(&node.origin, format!("`{name}` is {}, and must be a table: [{name}]", node.given.kind()));
        return None;
    };
    let keys = S::keys();
    let names = || keys.iter().map(|key| key.name);
    for (name, entry) in entries.iter().filter(|(name, _)| !names().any(|known| known == *name)) {
        let mend = match nearest(name, names()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("known here: {}", names().collect::<Vec<_>>().join(", ")),
        };
        let what = if matches!(entry.node.given, Given::Table(_)) { "section" } else { "key" };
        key.fault(&entry.key, format!("there is no {what} `{}`: {mend}", key.below(name)));
    }
    S::read(&Reader { node: taken_apart.as_ref()?, key })
}

/// The JSON Schema of a table.
pub fn schema<S: Section>() -> Json {
    let keys = S::keys();
    let required: Vec<_> = keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut properties = Map::new();
    for Declared { name, text, mut schema, .. } in keys {
        if schema.get("description").is_none() {
            schema["description"] = json!(text);
        }
        properties.insert(name.to_owned(), schema);
    }
    let mut schema = json!({"type": "object", "description": S::text(), "additionalProperties": false});
    schema["properties"] = Json::Object(properties);
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// Declares a section: `/// text`, `name: Type = kind;`.
macro_rules! section {
    (
        $(#[doc = $text:literal])+
        $section:ident {
            $( $(#[doc = $key_text:literal])+ $key:ident: $type:ty = $kind:expr; )+
        }
    ) => {
        $(#[doc = $text])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $section {
            $( $(#[doc = $key_text])+ pub $key: $type, )+
        }

        impl $crate::config::section::Section for $section {
            fn read(reader: &$crate::config::section::Reader<'_>) -> Option<Self> {
                // All are read before any is missed: faults are told together.
                $( let $key = reader.key(stringify!($key), &$kind); )+
                Some($section { $( $key: $key?, )+ })
            }

            fn text() -> &'static str {
                concat!($($text),+).trim_ascii()
            }

            fn keys() -> Vec<$crate::config::section::Declared> {
                vec![$(
                    $crate::config::section::declared::<$type>(
                        stringify!($key),
                        concat!($($key_text),+).trim_ascii(),
                        $kind,
                    )
                ),+]
            }
        }
    };
}
