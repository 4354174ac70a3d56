//! One row of a table, as cells of text or as a JSON object.

use std::borrow::Cow;
use std::collections::BTreeMap;

use lapwing_dsl::diagnostics::nearest;
use lapwing_dsl::schema::{Field, Path, PathPart, TableType};
use lapwing_dsl::value::Value;
use serde_json::value::RawValue;

use super::{shown, such};
use crate::data::decode::field::{self, Unreadable};

/// The values of a row: its key, and all other columns in the order of the declaration.
pub struct Row<'a> {
    /// The key, no part of which is missing.
    pub key: Vec<Value<'a>>,
    /// The columns.
    pub columns: Vec<Value<'a>>,
}

/// How a path stands in a file: `geo.country`.
pub fn path_text(path: &Path) -> String {
    let parts = path.0.iter().map(|part| match part {
        PathPart::Member(name) => name.as_str(),
        PathPart::Each => "[]",
    });
    parts.collect::<Vec<_>>().join(".")
}

/// Reads a row whose cells `cell` gives by the places of their columns; an empty cell is missing. The error is a sentence.
pub fn from_cells<'a>(table: &TableType, mut cell: impl FnMut(&Path) -> &'a str) -> Result<Row<'a>, String> {
    let mut value = |column: &Field| {
        let cells: Vec<&'a str> = column.paths.iter().map(&mut cell).collect();
        if cells.iter().all(|cell| cell.is_empty()) {
            return Ok(Value::Missing);
        }
        let value = match cells.as_slice() {
            [lat, lon] => field::geo(lat, lon),
            _ => field::plain(cells[0], &column.ty),
        };
        value.map_err(|Unreadable| wrong(column, &cells.join(", ")))
    };
    let key = table.key.iter().map(&mut value).collect::<Result<Vec<_>, _>>()?;
    let columns = table.columns.iter().map(&mut value).collect::<Result<Vec<_>, _>>()?;
    whole(table, Row { key, columns })
}

/// Reads a row from JSON. The error is a sentence.
pub fn from_json(table: &TableType, raw: &RawValue) -> Result<Row<'static>, String> {
    let members = members(raw.get())
        .ok_or_else(|| format!("`{}` is no row: write an object, {}", shown(raw.get()), example(table)))?;
    for name in members.keys() {
        let known = || table.key.iter().chain(&table.columns).flat_map(|c| &c.paths);
        let begins = |path: &Path| {
            path_text(path) == **name || matches!(path.0.first(), Some(PathPart::Member(m)) if *m == **name)
        };
        if !known().any(begins) {
            let names: Vec<String> = known().map(path_text).collect();
            let near = nearest(name, names.iter().map(String::as_str)).map(|n| format!("; did you mean `{n}`?"));
            return Err(format!("table `{}` has no column `{name}`{}", table.name, near.unwrap_or_default()));
        }
    }
    let value = |column: &Field| {
        let raws: Vec<&str> = column.paths.iter().map(|path| at_path(&members, &path.0).unwrap_or("null")).collect();
        let value = match raws.as_slice() {
            [lat, lon] => field::geo(lat, lon),
            _ => field::read(raws[0], &column.ty),
        };
        value.map(Value::into_static).map_err(|Unreadable| wrong(column, &raws.join(", ")))
    };
    let key = table.key.iter().map(value).collect::<Result<Vec<_>, _>>()?;
    let columns = table.columns.iter().map(value).collect::<Result<Vec<_>, _>>()?;
    whole(table, Row { key, columns })
}

/// Reads the key of a row from JSON: the value itself where one column is the key, else an array, or an object with the key's columns.
pub fn key_from_json(table: &TableType, raw: &RawValue) -> Result<Vec<Value<'static>>, String> {
    let text = raw.get();
    let raws: Option<Vec<&str>> = if text.starts_with('{') {
        let members = members(text).unwrap_or_default();
        let parts = table.key.iter().map(|part| at_path(&members, &part.paths[0].0));
        parts.collect::<Option<Vec<_>>>().filter(|parts| parts.len() == members.len())
    } else if text.starts_with('[') {
        let parts: Result<Vec<&RawValue>, _> = serde_json::from_str(text);
        parts.ok().map(|parts| parts.into_iter().map(RawValue::get).collect())
    } else {
        Some(vec![text])
    };
    let names: Vec<&str> = table.key.iter().map(|k| k.name.as_str()).collect();
    let Some(raws) = raws.filter(|raws| raws.len() == table.key.len()) else {
        let text = format!("`{}` names no row of `{}`: its key is {}", shown(text), table.name, names.join(", "));
        return Err(text);
    };
    let part = |(part, raw): (&Field, &str)| match field::read(raw, &part.ty) {
        Ok(Value::Missing) => Err(format!("`{}` is the key of `{}` and is never null", part.name, table.name)),
        Ok(value) => Ok(value.into_static()),
        Err(Unreadable) => Err(wrong(part, raw)),
    };
    table.key.iter().zip(raws).map(part).collect()
}

fn wrong(column: &Field, found: &str) -> String {
    format!("`{}` is {}, and `{}` is none", column.name, such(&column.ty), shown(found))
}

/// Refuses a row without what is never missing.
fn whole<'a>(table: &TableType, row: Row<'a>) -> Result<Row<'a>, String> {
    let parts = table.key.iter().zip(&row.key).chain(table.columns.iter().zip(&row.columns));
    for (column, value) in parts {
        if value.is_missing() && !column.optional {
            let mend = if table.key.iter().any(|k| k.name == column.name) {
                "it is the key".to_owned()
            } else {
                format!("give it, or declare it `{}?`", column.ty)
            };
            return Err(format!("`{}` is missing: {mend}", column.name));
        }
    }
    Ok(row)
}

fn example(table: &TableType) -> String {
    let names = table.key.iter().chain(&table.columns).map(|c| format!("{:?}: …", path_text(&c.paths[0])));
    format!("{{{}}}", names.collect::<Vec<_>>().join(", "))
}

type Members<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

fn members(raw: &str) -> Option<Members<'_>> {
    serde_json::from_str(raw).ok()
}

/// The raw value at a path; a name with dots in it is tried whole first.
fn at_path<'a>(members: &Members<'a>, path: &[PathPart]) -> Option<&'a str> {
    let whole = path_text(&Path(path.to_vec()));
    if let Some(raw) = members.get(whole.as_str()) {
        return Some(raw.get());
    }
    let (PathPart::Member(first), rest) = path.split_first()? else { return None };
    let inner: Members<'a> = self::members(members.get(first.as_str())?.get())?;
    if rest.is_empty() { None } else { at_path(&inner, rest) }
}
