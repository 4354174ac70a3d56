//! Lists and tables: what rules look up besides events.
//!
//! They belong to a generation of the rule set, as programs do: they are immutable, shared, and a change makes new ones that share what
//! has not changed. `layers` is the map that both are, `list` and `table` say what its keys and values mean.

pub mod layers;
pub mod list;
pub mod table;

use std::sync::Arc;

use lapwing_dsl::schema::Schema;

use self::list::List;
use self::table::Table;

/// The lists and tables of a rule set, in the order of its schema.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// The lists.
    pub lists: Vec<Arc<List>>,
    /// The tables.
    pub tables: Vec<Arc<Table>>,
}

impl Data {
    /// All lists and tables of a schema, without an entry and without a row.
    pub fn empty(schema: &Schema) -> Data {
        Data {
            lists: schema.lists.iter().map(|l| Arc::new(List::new(&l.ty))).collect(),
            tables: schema.tables.iter().map(|t| Arc::new(Table::new(t))).collect(),
        }
    }
}
