//! Changes of lists and tables, as control messages bring them: all of it takes effect, or nothing.

use lapwing_dsl::schema::{ListType, TableType};
use lapwing_engine::data::list::{List, ListChange};
use lapwing_engine::data::table::{Table, TableChange};
use serde_json::value::RawValue;

use super::contents::{Kept, digest_on};
use super::folder::add_row;
use super::{entry, row};

/// What a message says of a list's entries or a table's rows, as JSON.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// All of it, in place of what is there.
    pub whole: Option<&'a [Box<RawValue>]>,
    /// What comes, or is changed.
    pub add: &'a [Box<RawValue>],
    /// What goes; before what comes.
    pub remove: &'a [Box<RawValue>],
}

impl Said<'_> {
    fn digest(&self, before: Option<[u8; 32]>) -> [u8; 32] {
        let before = before.filter(|_| self.whole.is_none());
        let parts = [("put", self.whole.unwrap_or_default()), ("remove", self.remove), ("add", self.add)];
        parts.into_iter().fold(digest_on(before, &[]), |digest, (what, items)| {
            let items: Vec<&[u8]> =
                std::iter::once(what.as_bytes()).chain(items.iter().map(|i| i.get().as_bytes())).collect();
            digest_on(Some(digest), &items)
        })
    }
}

/// The list after a message. The error is a sentence.
pub fn list(declared: &ListType, before: Option<&Kept<List>>, said: &Said<'_>) -> Result<Kept<List>, String> {
    let entries = said.whole.unwrap_or(said.add);
    let mut change = ListChange::with_capacity(&declared.ty, entries.len() + said.remove.len(), 0);
    let each = |items: &[Box<RawValue>], what: &str, take: &mut dyn FnMut(entry::Entry<'_>) -> Result<(), String>| {
        for (i, raw) in items.iter().enumerate() {
            let taken = entry::from_json(raw, &declared.ty).and_then(&mut *take);
            taken.map_err(|message| format!("{what}, entry {}: {message}", i + 1))?;
        }
        Ok::<(), String>(())
    };
    each(said.remove, "remove", &mut |(value, _)| change.remove(&value).map_err(|full| full.to_string()))?;
    let what = if said.whole.is_some() { "entries" } else { "add" };
    each(entries, what, &mut |(value, until)| change.add(&value, until).map_err(|full| full.to_string()))?;
    let empty = List::new(&declared.ty);
    let base = before.filter(|_| said.whole.is_none()).map_or(&empty, |kept| &kept.content);
    let content = base.with(change).map_err(|full| full.to_string())?;
    Ok(Kept { content: content.into(), digest: said.digest(before.map(|kept| kept.digest)) })
}

/// The table after a message. The error is a sentence.
pub fn table(declared: &TableType, before: Option<&Kept<Table>>, said: &Said<'_>) -> Result<Kept<Table>, String> {
    let empty = Table::new(declared);
    let mut base = before.filter(|_| said.whole.is_none()).map_or(&empty, |kept| &kept.content).clone();
    let mut gone = TableChange::with_capacity(declared, said.remove.len(), 0);
    for (i, raw) in said.remove.iter().enumerate() {
        let key = row::key_from_json(declared, raw).map_err(|message| format!("remove, row {}: {message}", i + 1))?;
        gone.remove(&key).map_err(|full| full.to_string())?;
    }
    if !gone.is_empty() {
        base = base.with(gone).map_err(|full| full.to_string())?;
    }
    let rows = said.whole.unwrap_or(said.add);
    let what = if said.whole.is_some() { "rows" } else { "upsert" };
    let mut change = TableChange::with_capacity(declared, rows.len(), 0);
    for (i, raw) in rows.iter().enumerate() {
        let added = row::from_json(declared, raw).and_then(|row| add_row(&mut change, &row));
        added.map_err(|message| format!("{what}, row {}: {message}", i + 1))?;
    }
    let content = base.with(change).map_err(|full| full.to_string())?;
    Ok(Kept { content: content.into(), digest: said.digest(before.map(|kept| kept.digest)) })
}
