//! Event types: what an event of a stream holds and where in its JSON object that stands; lists and tables: what their entries and rows are; models: what they are asked with.

use serde::Serialize;

use crate::syntax::Span;
use crate::value::{Type, Value};

/// An event type of a rule set: an index into [`Schema::events`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct EventId(pub u16);

/// A field of an event type: an index into [`EventType::fields`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct FieldId(pub u16);

/// A list of a rule set: an index into [`Schema::lists`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ListId(pub u16);

/// A table of a rule set: an index into [`Schema::tables`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct TableId(pub u16);

/// A model of a rule set: an index into [`Schema::models`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ModelId(pub u16);

/// All event types, lists, tables and models of a rule set, each in order of their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schema {
    /// The types.
    pub events: Vec<EventType>,
    /// The lists.
    pub lists: Vec<ListType>,
    /// The tables.
    pub tables: Vec<TableType>,
    /// The models.
    pub models: Vec<ModelType>,
}

/// A declared list.
#[derive(Clone, Debug, PartialEq)]
pub struct ListType {
    /// Its name.
    pub name: String,
    /// What its entries are.
    pub ty: Type,
    /// Where it is declared.
    pub span: Span,
}

/// A declared table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableType {
    /// Its name.
    pub name: String,
    /// The columns that name a row, never missing.
    pub key: Vec<Field>,
    /// The others, in the order of the declaration.
    pub columns: Vec<Field>,
    /// Where it is declared.
    pub span: Span,
}

/// A declared model: what it is asked with; it answers with a float.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelType {
    /// Its name.
    pub name: String,
    /// Its inputs by name, in the order of the declaration: bool, int, float, decimal or string.
    pub inputs: Vec<(String, Type)>,
    /// Where it is declared.
    pub span: Span,
}

/// One event type.
#[derive(Clone, Debug, PartialEq)]
pub struct EventType {
    /// Its name.
    pub name: String,
    /// Which JSON objects it takes.
    pub source: Source,
    /// Its fields, in the order of the declaration.
    pub fields: Vec<Field>,
    /// The field that holds the event time.
    pub at: FieldId,
    /// Where it is declared.
    pub span: Span,
}

/// Which JSON objects are an event: the value at `path` is one of `values`.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Where to look.
    pub path: Path,
    /// As text; a number in the object is compared by its digits.
    pub values: Vec<String>,
}

/// A field.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// Whether it may be missing.
    pub optional: bool,
    /// Where it stands: one path, or two (latitude, longitude) for a `geo`.
    pub paths: Vec<Path>,
    /// Where it is declared.
    pub span: Span,
}

/// A path into a JSON object: `context.actor.id`, `target.0.id`, `target[].id`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(pub Vec<PathPart>);

/// One part of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathPart {
    /// An object's member, or the element of an array where the text is a number.
    Member(String),
    /// Every element of an array: `[]`.
    Each,
}

impl Path {
    /// Reads `target[].id`.
    pub fn parse(text: &str) -> Path {
        let mut parts = Vec::new();
        for part in text.split('.') {
            match part.strip_suffix("[]") {
                Some(name) => {
                    if !name.is_empty() {
                        parts.push(PathPart::Member(name.to_owned()));
                    }
                    parts.push(PathPart::Each);
                }
                None => parts.push(PathPart::Member(part.to_owned())),
            }
        }
        Path(parts)
    }
}

impl Schema {
    /// Whether it declares what another does, wherever that stands.
    pub fn declares_the_same(&self, other: &Schema) -> bool {
        self.without_places() == other.without_places()
    }

    fn without_places(&self) -> Schema {
        let nowhere = Span::default();
        let mut bare = self.clone();
        bare.events.iter_mut().for_each(|event| event.span = nowhere);
        bare.lists.iter_mut().for_each(|list| list.span = nowhere);
        bare.tables.iter_mut().for_each(|table| table.span = nowhere);
        bare.models.iter_mut().for_each(|model| model.span = nowhere);
        let fields = bare.events.iter_mut().flat_map(|event| &mut event.fields);
        let columns = bare.tables.iter_mut().flat_map(|table| table.key.iter_mut().chain(&mut table.columns));
        fields.chain(columns).for_each(|field| field.span = nowhere);
        bare
    }

    /// The type.
    pub fn event(&self, id: EventId) -> &EventType {
        &self.events[id.0 as usize]
    }

    /// The type of a name.
    pub fn find(&self, name: &str) -> Option<EventId> {
        self.events.iter().position(|e| e.name == name).map(|i| EventId(i as u16))
    }

    /// The list of a name.
    pub fn find_list(&self, name: &str) -> Option<ListId> {
        self.lists.iter().position(|l| l.name == name).map(|i| ListId(i as u16))
    }

    /// The table of a name.
    pub fn find_table(&self, name: &str) -> Option<TableId> {
        self.tables.iter().position(|t| t.name == name).map(|i| TableId(i as u16))
    }

    /// The model of a name.
    pub fn find_model(&self, name: &str) -> Option<ModelId> {
        self.models.iter().position(|m| m.name == name).map(|i| ModelId(i as u16))
    }
}

impl EventType {
    /// The field.
    pub fn field(&self, id: FieldId) -> &Field {
        &self.fields[id.0 as usize]
    }

    /// The field of a name.
    pub fn find(&self, name: &str) -> Option<FieldId> {
        self.fields.iter().position(|f| f.name == name).map(|i| FieldId(i as u16))
    }
}

/// A constant of the language, kept beside the schema for list and range conditions.
pub type Constant = Value<'static>;
