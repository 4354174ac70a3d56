//! What a decoder looks for: which objects are which events, and where their fields stand.

use std::collections::BTreeMap;
use std::sync::Arc;

use lapwing_dsl::schema::{EventId, FieldId, Path, PathPart};
use lapwing_dsl::value::Type;
use lapwing_engine::batch::Layout;
use lapwing_engine::rule_set::RuleSet;

/// A decoder's plan for one rule set.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The columns to fill.
    pub layout: Arc<Layout>,
    /// The places that say which event an object is.
    pub discriminators: Vec<Discriminator>,
    /// For each event type.
    pub events: Vec<EventPlan>,
    /// Whether something is read of what a record has beside its value: a path that begins with `kafka`.
    pub reads_beside: bool,
}

/// The first part of the paths of what a record of Kafka has beside its value.
pub const BESIDE: &str = "kafka";

/// A place whose value says which events an object is.
#[derive(Clone, Debug)]
pub struct Discriminator {
    /// The place.
    pub path: Place,
    /// Value (as text) to events.
    pub values: BTreeMap<String, Vec<EventId>>,
}

/// What is read of one event type.
#[derive(Clone, Debug)]
pub struct EventPlan {
    /// Its name.
    pub name: String,
    /// Whether any rule uses it at all.
    pub used: bool,
    /// Its time.
    pub at: FieldPlan,
    /// Its other fields.
    pub fields: Vec<FieldPlan>,
}

/// How one field is read.
#[derive(Clone, Debug)]
pub struct FieldPlan {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// Whether it may be missing.
    pub optional: bool,
    /// Where it stands: one place, or latitude and longitude.
    pub places: Vec<Place>,
    /// Where it goes; none: it is only checked.
    pub column: Option<u16>,
}

/// A path, with the text under which a flat object may hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The whole path as one name: `winlog.event_id` may stand flat.
    pub flat: String,
    /// The path.
    pub path: Path,
}

impl Place {
    fn new(path: &Path) -> Place {
        let mut flat = String::new();
        for part in &path.0 {
            match part {
                PathPart::Member(name) => {
                    if !flat.is_empty() {
                        flat.push('.');
                    }
                    flat.push_str(name);
                }
                PathPart::Each => flat.push_str("[]"),
            }
        }
        Place { flat, path: path.clone() }
    }
}

impl Plan {
    /// The plan for a rule set.
    pub fn new(rules: &RuleSet) -> Plan {
        let mut discriminators: Vec<Discriminator> = Vec::new();
        let mut events = Vec::new();
        for (e, event) in rules.schema.events.iter().enumerate() {
            let id = EventId(e as u16);
            let place = Place::new(&event.source.path);
            let at = discriminators.iter().position(|d| d.path == place).unwrap_or_else(|| {
                discriminators.push(Discriminator { path: place, values: BTreeMap::new() });
                discriminators.len() - 1
            });
            for value in &event.source.values {
                discriminators[at].values.entry(value.clone()).or_default().push(id);
            }
            let field = |f: usize| {
                let field = &event.fields[f];
                FieldPlan {
                    name: field.name.clone(),
                    ty: field.ty.clone(),
                    optional: field.optional,
                    places: field.paths.iter().map(Place::new).collect(),
                    column: rules.layout.events[e].column_of[f],
                }
            };
            let others = (0..event.fields.len()).filter(|f| FieldId(*f as u16) != event.at);
            events.push(EventPlan {
                name: event.name.clone(),
                used: rules.events[e].always,
                at: field(event.at.0 as usize),
                fields: others.map(field).collect(),
            });
        }
        let is_beside = |place: &Place| matches!(place.path.0.first(), Some(PathPart::Member(name)) if name == BESIDE);
        let of_event = |e: &EventPlan| e.fields.iter().chain([&e.at]).flat_map(|f| &f.places).any(is_beside);
        let reads_beside = discriminators.iter().any(|d| is_beside(&d.path)) || events.iter().any(of_event);
        Plan { layout: rules.layout.clone(), discriminators, events, reads_beside }
    }
}
