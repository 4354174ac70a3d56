//! Columnar batches: the fields that live rules read, one column a field, one row an event.

use std::borrow::Cow;
use std::sync::Arc;

use lapwing_dsl::schema::{EventId, FieldId, Schema};
use lapwing_dsl::value::{Type, Value};

use crate::Millis;
use crate::asking::Scores;
use crate::store::codec::{Corrupt, Reader, Writer};

/// Where an event came from; with its time it gives the event its place in the one total order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Number of the topic or file, ascending by name.
    pub source: u16,
    /// Partition of the topic; 0 for a file.
    pub partition: u16,
    /// Offset in the partition; for a file the line, from 0.
    pub offset: u64,
}

/// Which fields of which event types are kept, and in which column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// For each event type.
    pub events: Vec<EventLayout>,
}

/// The columns of one event type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventLayout {
    /// For each field its column, or none where no rule reads it.
    pub column_of: Vec<Option<u16>>,
    /// For each column its field.
    pub columns: Vec<(FieldId, Type)>,
    /// The field that is the event's time.
    pub at: FieldId,
}

impl Layout {
    /// A layout that keeps the fields for which `read` says so, and no time column: a row has its time.
    pub fn new(schema: &Schema, read: impl Fn(EventId, FieldId) -> bool) -> Self {
        let events = schema.events.iter().enumerate().map(|(e, event)| {
            let mut layout = EventLayout { at: event.at, ..EventLayout::default() };
            for (f, field) in event.fields.iter().enumerate() {
                let id = FieldId(f as u16);
                let keep = id != event.at && read(EventId(e as u16), id);
                layout.column_of.push(keep.then_some(layout.columns.len() as u16));
                if keep {
                    layout.columns.push((id, field.ty.clone()));
                }
            }
            layout
        });
        Layout { events: events.collect() }
    }
}

/// One event of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Its type.
    pub event: EventId,
    /// Its row in the columns of that type.
    pub index: u32,
    /// Its time.
    pub at: Millis,
    /// Where it came from.
    pub origin: Origin,
    /// Its entries in [`Batch::hits`].
    pub hits: (u32, u32),
    /// Whether a rule can use it; otherwise it has no fields, and only its time counts.
    pub used: bool,
}

impl Row {
    /// Whether the index has found no step that it may begin.
    pub fn begins_nothing(&self) -> bool {
        self.hits.0 == self.hits.1
    }
}

/// A rule's step whose condition on the event alone holds: a run may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// Index of the rule in its rule set.
    pub rule: u32,
    /// The step.
    pub step: u16,
}

/// Events of one rule set's layout.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Which columns there are.
    pub layout: Arc<Layout>,
    /// The events, in the order in which they were read.
    pub rows: Vec<Row>,
    /// For each event type its columns.
    columns: Vec<Vec<Column>>,
    /// For each event type how many rows its columns have.
    lengths: Vec<u32>,
    /// Text of all rows.
    text: Vec<u8>,
    /// Filled by the index: which first steps each row meets.
    pub hits: Vec<Hit>,
    /// What models have answered of the rows.
    pub scores: Scores,
}

/// The values of one field. It may be shorter than the rows: what stands beyond its end is missing, so that a row costs a
/// column nothing until it has a value.
#[derive(Clone, Debug)]
enum Column {
    /// 0, 1, or 2 for missing.
    Bool(Vec<u8>),
    Int(Vec<Option<i64>>),
    Float(Vec<Option<f64>>),
    /// Start and length in the batch's text; a length of `u32::MAX` is missing.
    Text(Vec<(u32, u32)>),
    Geo(Vec<Option<(f64, f64)>>),
    Other(Vec<Value<'static>>),
}

const MISSING: u32 = u32::MAX;

impl Column {
    fn new(ty: &Type) -> Column {
        match ty {
            Type::Bool => Column::Bool(Vec::new()),
            Type::Int | Type::Timestamp | Type::Duration => Column::Int(Vec::new()),
            Type::Float => Column::Float(Vec::new()),
            Type::String => Column::Text(Vec::new()),
            Type::Geo => Column::Geo(Vec::new()),
            _ => Column::Other(Vec::new()),
        }
    }

    fn truncate(&mut self, len: usize) {
        match self {
            Column::Bool(v) => v.truncate(len),
            Column::Int(v) => v.truncate(len),
            Column::Float(v) => v.truncate(len),
            Column::Text(v) => v.truncate(len),
            Column::Geo(v) => v.truncate(len),
            Column::Other(v) => v.truncate(len),
        }
    }
}

/// Puts a cell at `row`, the last there is.
#[inline]
fn put<T: Clone>(column: &mut Vec<T>, row: usize, value: T, missing: T) {
    if column.len() > row {
        column[row] = value;
        return;
    }
    if column.len() < row {
        column.resize(row, missing);
    }
    column.push(value);
}

/// The cells of a row that was just pushed, to set.
pub struct Cells<'b> {
    columns: &'b mut [Column],
    text: &'b mut Vec<u8>,
    row: usize,
}

impl Cells<'_> {
    /// Sets a bool.
    #[inline]
    pub fn set_bool(&mut self, column: u16, value: bool) {
        if let Column::Bool(v) = &mut self.columns[column as usize] {
            put(v, self.row, u8::from(value), 2);
        }
    }

    /// Sets an int, timestamp or duration.
    #[inline]
    pub fn set_int(&mut self, column: u16, value: i64) {
        if let Column::Int(v) = &mut self.columns[column as usize] {
            put(v, self.row, Some(value), None);
        }
    }

    /// Sets a float.
    #[inline]
    pub fn set_float(&mut self, column: u16, value: f64) {
        if let Column::Float(v) = &mut self.columns[column as usize] {
            put(v, self.row, Some(value), None);
        }
    }

    /// Sets a latitude and a longitude.
    #[inline]
    pub fn set_geo(&mut self, column: u16, lat: f64, lon: f64) {
        if let Column::Geo(v) = &mut self.columns[column as usize] {
            put(v, self.row, Some((lat, lon)), None);
        }
    }

    /// Sets a text.
    #[inline]
    pub fn set_text(&mut self, column: u16, value: &str) {
        let cell = (self.text.len() as u32, value.len() as u32);
        append(self.text, value.as_bytes());
        if let Column::Text(v) = &mut self.columns[column as usize] {
            put(v, self.row, cell, (0, MISSING));
        }
    }

    /// Sets a field of any type.
    pub fn set(&mut self, column: u16, value: Value<'_>) {
        match value {
            Value::Missing => {}
            Value::Text(v) => self.set_text(column, &v),
            Value::Bool(v) => self.set_bool(column, v),
            Value::Int(v) | Value::Timestamp(v) | Value::Duration(v) => self.set_int(column, v),
            Value::Float(v) => self.set_float(column, v),
            Value::Geo(lat, lon) => self.set_geo(column, lat, lon),
            value => match &mut self.columns[column as usize] {
                Column::Other(v) => put(v, self.row, value.into_static(), Value::Missing),
                _ => debug_assert!(false, "a decoder sets a field by its declared type"),
            },
        }
    }
}

/// Appends bytes. Most texts are short: two overlapping pieces of fixed length need no call to copy them.
#[inline]
fn append(text: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        4..8 => append_as::<4>(text, bytes),
        8..=16 => append_as::<8>(text, bytes),
        _ => text.extend_from_slice(bytes),
    }
}

/// Appends `N` to `2 N` bytes.
#[inline]
fn append_as<const N: usize>(text: &mut Vec<u8>, bytes: &[u8]) {
    if let (Some(head), Some(tail)) = (bytes.first_chunk::<N>(), bytes.last_chunk::<N>()) {
        let end = text.len() + bytes.len();
        text.extend_from_slice(head);
        text.truncate(end - N);
        text.extend_from_slice(tail);
    }
}

impl Batch {
    /// An empty batch.
    pub fn new(layout: Arc<Layout>) -> Self {
        let columns = layout.events.iter().map(|e| e.columns.iter().map(|(_, ty)| Column::new(ty)).collect()).collect();
        let lengths = vec![0; layout.events.len()];
        Batch { layout, columns, lengths, ..Batch::default() }
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.text.clear();
        self.hits.clear();
        self.scores.clear();
        self.lengths.fill(0);
        self.columns.iter_mut().flatten().for_each(|c| c.truncate(0));
    }

    /// Adds a row whose fields are all missing, and gives its cells to set.
    #[inline]
    pub fn push(&mut self, event: EventId, at: Millis, origin: Origin) -> Cells<'_> {
        let e = event.0 as usize;
        let index = self.lengths[e];
        self.lengths[e] = index + 1;
        let hits = self.hits.len() as u32;
        self.rows.push(Row { event, index, at, origin, hits: (hits, hits), used: true });
        Cells { columns: &mut self.columns[e], text: &mut self.text, row: index as usize }
    }

    /// Takes the last row back: it was unreadable.
    pub fn pop(&mut self) {
        let Some(row) = self.rows.pop() else { return };
        self.forget(&row);
    }

    /// Of the last row only its time and place stay: no rule can use it.
    pub fn pass_over(&mut self) {
        let Some(row) = self.rows.last_mut() else { return };
        row.used = false;
        let row = *row;
        self.forget(&row);
    }

    /// No rule can use a row: its time and place alone count from here on.
    pub fn set_unused(&mut self, row: usize) {
        self.rows[row].used = false;
    }

    /// The fields of the last row go.
    fn forget(&mut self, row: &Row) {
        let e = row.event.0 as usize;
        self.lengths[e] = row.index;
        self.columns[e].iter_mut().for_each(|c| c.truncate(row.index as usize));
        self.hits.truncate(row.hits.0 as usize);
    }

    /// Sets the last row's time.
    pub fn set_at(&mut self, at: Millis) {
        if let Some(row) = self.rows.last_mut() {
            row.at = at;
        }
    }

    /// Sets a field of the last row.
    pub fn set(&mut self, column: u16, value: Value<'_>) {
        let row = self.rows.last().expect("a row was pushed before its fields are set");
        let columns = &mut self.columns[row.event.0 as usize];
        Cells { columns, text: &mut self.text, row: row.index as usize }.set(column, value);
    }

    /// A field of an event. A field that no rule reads is missing.
    #[inline]
    pub fn value(&self, row: &Row, field: FieldId) -> Value<'_> {
        let layout = &self.layout.events[row.event.0 as usize];
        if field == layout.at {
            return Value::Timestamp(row.at);
        }
        let Some(column) = layout.column_of[field.0 as usize] else { return Value::Missing };
        let i = row.index as usize;
        match &self.columns[row.event.0 as usize][column as usize] {
            Column::Bool(v) => match v.get(i) {
                Some(0) => Value::Bool(false),
                Some(1) => Value::Bool(true),
                _ => Value::Missing,
            },
            Column::Int(v) => match (v.get(i), &layout.columns[column as usize].1) {
                (None | Some(None), _) => Value::Missing,
                (Some(Some(x)), Type::Int) => Value::Int(*x),
                (Some(Some(x)), Type::Timestamp) => Value::Timestamp(*x),
                (Some(Some(x)), _) => Value::Duration(*x),
            },
            Column::Float(v) => v.get(i).copied().flatten().map_or(Value::Missing, Value::Float),
            Column::Text(v) => match v.get(i) {
                None | Some((_, MISSING)) => Value::Missing,
                Some((start, len)) => Value::Text(Cow::Borrowed(self.text_at(*start, *len))),
            },
            Column::Geo(v) => v.get(i).copied().flatten().map_or(Value::Missing, |(lat, lon)| Value::Geo(lat, lon)),
            Column::Other(v) => v.get(i).map_or(Value::Missing, Value::borrow),
        }
    }

    /// A field of an event that is a float.
    #[inline]
    pub fn float(&self, row: &Row, field: FieldId) -> Option<f64> {
        let column = self.layout.events[row.event.0 as usize].column_of[field.0 as usize]?;
        match &self.columns[row.event.0 as usize][column as usize] {
            Column::Float(v) => v.get(row.index as usize).copied().flatten(),
            _ => None,
        }
    }

    /// Writes a row with those of its fields that are kept and present.
    pub fn save_row(&self, row: &Row, w: &mut Writer) {
        w.u64(row.event.0.into());
        w.i64(row.at);
        w.origin(row.origin);
        let columns = &self.layout.events[row.event.0 as usize].columns;
        let present: Vec<(FieldId, Value<'_>)> = columns
            .iter()
            .map(|(field, _)| (*field, self.value(row, *field)))
            .filter(|(_, value)| !value.is_missing())
            .collect();
        w.list(present.into_iter(), |w, (field, value)| {
            w.u64(field.0.into());
            w.value(&value);
        });
    }

    /// Reads a row that [`Batch::save_row`] wrote under the same layout.
    pub fn load_row(&mut self, r: &mut Reader<'_>) -> Result<(), Corrupt> {
        let event = EventId(r.u16()?);
        let layout = self.layout.clone();
        let layout = layout.events.get(event.0 as usize).ok_or(Corrupt("an event of an unknown type"))?;
        self.push(event, r.i64()?, r.origin()?);
        for _ in 0..r.len()? {
            let (field, value) = (r.u16()?, r.value()?);
            let column = layout.column_of.get(field as usize).copied().flatten();
            let column = column.ok_or(Corrupt("a field that no rule reads"))?;
            if !value.is_of(&layout.columns[column as usize].1) {
                return Err(Corrupt("a field holds a value of another type"));
            }
            self.set(column, value);
        }
        Ok(())
    }

    #[inline]
    fn text_at(&self, start: u32, len: u32) -> &str {
        let bytes = &self.text[start as usize..(start + len) as usize];
        debug_assert!(std::str::from_utf8(bytes).is_ok());
        // SAFETY: `text` grows only by whole `&str`s (`set_text`), and a cell spans exactly one of them.
        unsafe { std::str::from_utf8_unchecked(bytes) }
    }
}

/// One event of a batch, to read.
#[derive(Clone, Copy)]
pub struct EventView<'b> {
    /// Its batch.
    pub batch: &'b Batch,
    /// Its row.
    pub row: &'b Row,
}

impl<'b> EventView<'b> {
    /// A field of it.
    #[inline]
    pub fn field(&self, field: FieldId) -> Value<'b> {
        self.batch.value(self.row, field)
    }

    /// A field of it that is a float.
    #[inline]
    pub fn float(&self, field: FieldId) -> Option<f64> {
        self.batch.float(self.row, field)
    }

    /// The rules' steps that may begin with it.
    pub fn hits(&self) -> &'b [Hit] {
        &self.batch.hits[self.row.hits.0 as usize..self.row.hits.1 as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_any_length() {
        let whole = "abcdefghijklmnopqrstuvwxyz";
        let layout =
            EventLayout { column_of: vec![None, Some(0)], columns: vec![(FieldId(1), Type::String)], at: FieldId(0) };
        let mut batch = Batch::new(Arc::new(Layout { events: vec![layout] }));
        for length in 0..=whole.len() {
            batch.push(EventId(0), 0, Origin::default()).set_text(0, &whole[..length]);
            // A row between has no text, and one that is taken back leaves none.
            batch.push(EventId(0), 0, Origin::default());
            batch.push(EventId(0), 0, Origin::default()).set_text(0, "gone");
            batch.pop();
        }
        for (i, row) in batch.rows.iter().enumerate() {
            let expected = if i % 2 == 0 { Value::text(&whole[..i / 2]) } else { Value::Missing };
            assert_eq!(batch.value(row, FieldId(1)), expected);
        }
    }
}
