//! Lists, tables, models and places of addresses: what rules look up besides events.
//!
//! They belong to a generation of the rule set, as programs do: they are immutable, shared, and a change makes new ones that share what
//! has not changed. `layers` is the map that lists and tables are, `list` and `table` say what its keys and values mean. What `model` and
//! `geoip` ask is behind a trait of each.

pub mod geoip;
pub mod layers;
pub mod list;
pub mod model;
mod ranges;
pub mod table;

use std::sync::Arc;

use lapwing_dsl::schema::Schema;

use self::geoip::Geoip;
use self::list::List;
use self::model::Versions;
use self::table::Table;

/// The lists, tables and models of a rule set, each in the order of its schema.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// The lists.
    pub lists: Vec<Arc<List>>,
    /// The tables.
    pub tables: Vec<Arc<Table>>,
    /// The models.
    pub models: Vec<Versions>,
    /// Where addresses are; none: nobody knows.
    pub geoip: Option<Arc<dyn Geoip>>,
}

impl Data {
    /// All lists and tables of a schema, without an entry and without a row, and its models without a version.
    pub fn empty(schema: &Schema) -> Data {
        Data {
            lists: schema.lists.iter().map(|l| Arc::new(List::new(&l.ty))).collect(),
            tables: schema.tables.iter().map(|t| Arc::new(Table::new(t))).collect(),
            models: vec![Versions::default(); schema.models.len()],
            geoip: None,
        }
    }
}
