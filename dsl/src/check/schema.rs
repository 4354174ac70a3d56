//! Event types: their fields' types and paths, their event time. Lists and tables are `lookup`'s, models `models`'.

use super::names::{Names, unknown};
use super::{lookup, models};
use crate::diagnostics::{Code, Diagnostic};
use crate::schema::{EventType, Field, FieldId, Path, PathPart, Schema, Source};
use crate::syntax::ast::{EventDecl, FieldDecl, Ident, Literal, TypeExpr};
use crate::value::Type;

/// The types of the language by name, but for lists.
const SCALARS: [(&str, Type); 10] = [
    ("bool", Type::Bool),
    ("int", Type::Int),
    ("float", Type::Float),
    ("decimal", Type::Decimal),
    ("string", Type::String),
    ("timestamp", Type::Timestamp),
    ("duration", Type::Duration),
    ("ip", Type::Ip),
    ("cidr", Type::Cidr),
    ("geo", Type::Geo),
];

/// All event types, lists, tables and models, each in order of their names. One whose time cannot be told stays in, with its first field as time.
pub(super) fn schema(names: &Names<'_>, found: &mut Vec<Diagnostic>) -> Schema {
    Schema {
        events: names.events.values().map(|d| event(d, found)).collect(),
        lists: lookup::lists(names, found),
        tables: lookup::tables(names, found),
        models: models::models(names, found),
    }
}

fn event(decl: &EventDecl, found: &mut Vec<Diagnostic>) -> EventType {
    let mut fields: Vec<Field> = Vec::new();
    for f in &decl.fields {
        if let Some(first) = fields.iter().find(|g| g.name == f.name.text) {
            let text = format!("the field `{}` of `{}` is declared twice", f.name.text, decl.name.text);
            found.push(
                Diagnostic::new(Code::Duplicate, f.name.span, text).label("here again").also(first.span, "first here"),
            );
        } else {
            fields.push(field(f, found));
        }
    }
    let at = event_time(decl, &fields, found);
    EventType { name: decl.name.text.clone(), source: source(decl), fields, at, span: decl.span }
}

fn source(decl: &EventDecl) -> Source {
    let Some(source) = &decl.source else {
        return Source { path: Path::parse("type"), values: vec![decl.name.text.clone()] };
    };
    let text = |l: &Literal| match l {
        Literal::Text(t) | Literal::Number(t) => t.clone(),
        Literal::Int(n) => n.to_string(),
        Literal::Bool(b) => b.to_string(),
        Literal::Duration(ms) => crate::functions::duration_text(*ms),
        Literal::Timestamp(ms) => crate::functions::timestamp_text(*ms),
        Literal::Ip(ip) => ip.to_string(),
        Literal::Cidr(ip, bits) => format!("{ip}/{bits}"),
    };
    Source { path: Path::parse(&source.path.value), values: source.values.iter().map(text).collect() }
}

/// A field of an event, or a column of a table.
pub(super) fn field(decl: &FieldDecl, found: &mut Vec<Diagnostic>) -> Field {
    let ty = type_of(&decl.ty, found).unwrap_or(Type::String);
    let mut paths: Vec<Path> = decl.from.iter().map(|p| Path::parse(&p.value)).collect();
    if paths.is_empty() {
        paths.push(Path(vec![PathPart::Member(decl.name.text.clone())]));
    }
    check_paths(decl, &ty, &paths, found);
    Field { name: decl.name.text.clone(), ty, optional: decl.ty.optional, paths, span: decl.span }
}

fn check_paths(decl: &FieldDecl, ty: &Type, paths: &[Path], found: &mut Vec<Diagnostic>) {
    let name = &decl.name.text;
    let most = if *ty == Type::Geo { 2 } else { 1 };
    if paths.len() > most {
        let text = format!(
            "`{name}` is {ty} and is read from {most} path{}, not {}",
            if most == 1 { "" } else { "s" },
            paths.len()
        );
        let finding = Diagnostic::new(Code::BadPath, decl.from[most].span, text).label("one too many");
        found.push(finding.help("only a geo takes two: `from lat, lon`"));
    }
    let each = paths.iter().position(|p| p.0.contains(&PathPart::Each));
    if let Some(i) = each.filter(|_| !matches!(ty, Type::List(_))) {
        let text = format!("`{name}` is {ty}, and `[]` in a path gives many values");
        let span = decl.from.get(i).map_or(decl.span, |p| p.span);
        let help = format!("declare it `list<{ty}>`, or take one element: `.0`");
        found.push(Diagnostic::new(Code::BadPath, span, text).help(help));
    }
}

/// A type as written; `None` where there is no such type, which is reported.
pub(super) fn type_of(ty: &TypeExpr, found: &mut Vec<Diagnostic>) -> Option<Type> {
    match (&ty.element, ty.name.text.as_str()) {
        (Some(element), "list") => scalar(element, found).map(|t| Type::List(Box::new(t))),
        (None, "list") => {
            let text = "a list says what it is of";
            found.push(Diagnostic::new(Code::UnknownType, ty.span, text).help("write `list<string>`"));
            None
        }
        (Some(_), other) => {
            let text = format!("only a list is of something, not `{other}`");
            found.push(Diagnostic::new(Code::UnknownType, ty.span, text).help("write `list<string>`"));
            None
        }
        (None, _) => scalar(&ty.name, found),
    }
}

fn scalar(name: &Ident, found: &mut Vec<Diagnostic>) -> Option<Type> {
    let known = SCALARS.iter().find(|(n, _)| *n == name.text).map(|(_, t)| t.clone());
    if known.is_none() {
        found.push(match foreign(&name.text) {
            Some(ours) => {
                let text = format!("unknown type `{}`", name.text);
                Diagnostic::new(Code::UnknownType, name.span, text)
                    .help(format!("it is called `{ours}` here"))
                    .fix(name.span, ours)
            }
            None => unknown(Code::UnknownType, "type", &name.text, name.span, SCALARS.iter().map(|(n, _)| *n)),
        });
    }
    known
}

/// What other languages call our types.
fn foreign(name: &str) -> Option<&'static str> {
    Some(match name.to_lowercase().as_str() {
        "str" | "text" | "varchar" | "keyword" => "string",
        "integer" | "long" | "bigint" | "i64" | "int64" => "int",
        "double" | "real" | "f64" | "number" => "float",
        "boolean" => "bool",
        "time" | "date" | "datetime" | "instant" => "timestamp",
        "interval" => "duration",
        "money" | "numeric" => "decimal",
        "ipv4" | "ipv6" | "address" | "inet" => "ip",
        "network" | "subnet" => "cidr",
        "geopoint" | "point" | "location" => "geo",
        _ => return None,
    })
}

/// The field `at`, else the only timestamp that is never missing.
fn event_time(decl: &EventDecl, fields: &[Field], found: &mut Vec<Diagnostic>) -> FieldId {
    let times: Vec<usize> =
        (0..fields.len()).filter(|i| fields[*i].ty == Type::Timestamp && !fields[*i].optional).collect();
    let at = times.iter().find(|i| fields[**i].name == "at");
    match (at, times.as_slice()) {
        (Some(i), _) | (None, [i]) => FieldId(*i as u16),
        (None, several) => {
            found.push(no_time(decl, fields, several));
            FieldId(several.first().copied().unwrap_or(0) as u16)
        }
    }
}

fn no_time(decl: &EventDecl, fields: &[Field], several: &[usize]) -> Diagnostic {
    let name = &decl.name.text;
    if let [first, second, ..] = several {
        let text =
            format!("`{name}` has several timestamps, and none of them is called `at`: which is its event time?");
        return Diagnostic::new(Code::EventTime, fields[*first].span, text)
            .label("this one?")
            .also(fields[*second].span, "or this one?")
            .help("call the event time `at`, with `from` for its path: `at timestamp from \"created\"`");
    }
    let finding = Diagnostic::new(Code::EventTime, decl.name.span, format!("`{name}` has no event time"));
    match fields.iter().find(|f| f.ty == Type::Timestamp || f.name == "at") {
        Some(f) if f.optional && f.ty == Type::Timestamp => {
            finding.also(f.span, "this may be missing").help("an event time is never missing: take away the `?`")
        }
        Some(f) => finding.also(f.span, format!("this is {}", f.ty)).help("declare it `at timestamp`"),
        None => finding.help("add a field `at timestamp`"),
    }
}
