//! A table: rows that a key names, each with the values of the declared columns.

use lapwing_dsl::schema::TableType;
use lapwing_dsl::value::Value;

use super::layers::{Full, Layer, Layers};
use crate::store::codec::{Reader, Writer};

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Layers,
    /// Whether a row is named by one text, which is then its own key.
    by_text: bool,
}

/// What changes a table, or fills it. The last word on a row counts.
#[derive(Clone, Debug, Default)]
pub struct TableChange {
    layer: Layer,
    by_text: bool,
}

impl Table {
    /// A table without a row.
    pub fn new(ty: &TableType) -> Table {
        Table { rows: Layers::default(), by_text: is_by_text(ty) }
    }

    /// The table with a change put over it. What has not changed is shared.
    pub fn with(&self, change: TableChange) -> Result<Table, Full> {
        Ok(Table { rows: self.rows.with(change.layer)?, by_text: self.by_text })
    }

    /// The keys of its rows, as keys of rules, ascending.
    pub fn keys(&self) -> Vec<Vec<u8>> {
        let key = |key: &[u8]| if self.by_text { crate::key::of_text(key) } else { key.to_vec() };
        let mut keys: Vec<Vec<u8>> = self.rows.entries().map(|(k, _)| key(k)).collect();
        keys.sort_unstable();
        keys
    }

    fn row(&self, key: &[Value<'_>]) -> Option<&[u8]> {
        match key {
            [Value::Text(text)] if self.by_text => self.rows.get(text.as_bytes()),
            parts => bytes(parts).and_then(|bytes| self.rows.get(&bytes)),
        }
    }

    /// Whether there is a row of a key.
    pub fn holds(&self, key: &[Value<'_>]) -> bool {
        self.row(key).is_some()
    }

    /// A column of the row of a key: missing where a part of the key is, where there is no such row, and where the row has none there.
    pub fn column<'a>(&'a self, key: &[Value<'_>], column: u16) -> Value<'a> {
        let Some(row) = self.row(key) else { return Value::Missing };
        let mut reader = Reader::new(row);
        let value = (0..=column).try_fold(Value::Missing, |_, _| reader.value_here());
        value.expect("a row has all columns of its table")
    }
}

impl TableChange {
    /// Nothing yet, with room for so many rows of so many bytes in all.
    pub fn with_capacity(ty: &TableType, rows: usize, bytes: usize) -> TableChange {
        TableChange { layer: Layer::with_capacity(rows, bytes), by_text: is_by_text(ty) }
    }

    /// Nothing yet.
    pub fn new(ty: &TableType) -> TableChange {
        TableChange::with_capacity(ty, 0, 0)
    }

    /// Puts a row in the table, in place of the one of its key if there is one. `columns` are all that the table declares, in order. Returns
    /// whether this change did not know the key before.
    pub fn set(&mut self, key: &[Value<'_>], columns: &[Value<'_>]) -> Result<bool, Full> {
        let mut row = Writer::default();
        columns.iter().for_each(|value| row.value(value));
        self.put(key, Some(&row.bytes))
    }

    /// Takes the row of a key out.
    pub fn remove(&mut self, key: &[Value<'_>]) -> Result<(), Full> {
        self.put(key, None).map(drop)
    }

    fn put(&mut self, key: &[Value<'_>], row: Option<&[u8]>) -> Result<bool, Full> {
        match key {
            [Value::Text(text)] if self.by_text => self.layer.set(text.as_bytes(), row),
            parts => {
                let bytes = bytes(parts);
                debug_assert!(bytes.is_some(), "a key is never missing");
                self.layer.set(&bytes.unwrap_or_default(), row)
            }
        }
    }

    /// How many rows it names.
    pub fn len(&self) -> usize {
        self.layer.len()
    }

    /// Whether it names no row.
    pub fn is_empty(&self) -> bool {
        self.layer.is_empty()
    }
}

fn is_by_text(ty: &TableType) -> bool {
    matches!(ty.key.as_slice(), [one] if one.ty == lapwing_dsl::value::Type::String)
}

/// A key as bytes; none where a part is missing.
fn bytes(parts: &[Value<'_>]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(32);
    parts.iter().all(|part| crate::key::push(&mut bytes, part, false)).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapwing_dsl::schema::Field;
    use lapwing_dsl::syntax::Span;
    use lapwing_dsl::value::Type;

    fn table_type(key: &[Type]) -> TableType {
        let field = |ty: &Type| Field {
            name: "f".to_owned(),
            ty: ty.clone(),
            optional: false,
            paths: Vec::new(),
            span: Span::default(),
        };
        TableType {
            name: "t".to_owned(),
            key: key.iter().map(field).collect(),
            columns: Vec::new(),
            span: Span::default(),
        }
    }

    fn check(ty: &TableType, keys: [&[Value<'static>]; 2]) {
        let mut change = TableChange::new(ty);
        let row = [Value::text("DE"), Value::Missing, Value::Float(1.5)];
        assert_eq!(change.set(keys[0], &[Value::Missing, Value::Missing, Value::Missing]), Ok(true));
        assert_eq!(change.set(keys[0], &row), Ok(false), "the last word counts");
        let table = Table::new(ty).with(change).expect("one row");
        assert_eq!(table.column(keys[0], 0), Value::text("DE"));
        assert_eq!(table.column(keys[0], 1), Value::Missing);
        assert_eq!(table.column(keys[0], 2), Value::Float(1.5));
        assert_eq!(table.column(keys[1], 0), Value::Missing);
        let mut gone = TableChange::new(ty);
        gone.remove(keys[0]).expect("room");
        assert_eq!(table.with(gone).expect("room").column(keys[0], 0), Value::Missing);
        assert_eq!(table.column(keys[0], 0), Value::text("DE"), "the one before is what it was");
    }

    #[test]
    fn rows_are_named_by_one_or_several_fields() {
        check(&table_type(&[Type::String]), [&[Value::text("ann")], &[Value::text("bob")]]);
        check(&table_type(&[Type::Int]), [&[Value::Int(1)], &[Value::Int(-1)]]);
        let several = table_type(&[Type::String, Type::String]);
        // Where one part ends and the next begins counts.
        check(&several, [&[Value::text("a"), Value::text("bc")], &[Value::text("ab"), Value::text("c")]]);
        check(&several, [&[Value::text("a"), Value::text("b")], &[Value::text("a"), Value::Missing]]);
        let decimal = |text: &str| Value::Decimal(text.parse().expect("a decimal"));
        check(&table_type(&[Type::Decimal]), [&[decimal("1.0")], &[decimal("10")]]);
    }
}
