//! Lists and tables: their declarations, and where rules ask them.

use super::expr::{truth_of, widen};
use super::names::{Names, suggest, unknown};
use super::reach::{Scope, Site};
use super::rule::RuleCheck;
use super::schema::{field, type_of};
use crate::diagnostics::{Code, Diagnostic};
use crate::ir::{ColumnRef, Expr, ExprKind, ListRef};
use crate::schema::{Field, ListType, Path, PathPart, TableType};
use crate::syntax::Span;
use crate::syntax::ast::{self, Ident, ListDecl, TableDecl};
use crate::value::Type;

/// The declared lists, in order of their names. One of a type that it cannot hold is left out.
pub(super) fn lists(names: &Names<'_>, found: &mut Vec<Diagnostic>) -> Vec<ListType> {
    names.lists.values().filter_map(|decl| list(decl, found)).collect()
}

fn list(decl: &ListDecl, found: &mut Vec<Diagnostic>) -> Option<ListType> {
    let ty = type_of(&decl.ty, found)?;
    if decl.ty.optional {
        let text = "an entry of a list is never missing";
        found.push(Diagnostic::new(Code::DataType, decl.ty.span, text).help("take away the `?`"));
    }
    match ty {
        Type::Bool | Type::Geo | Type::List(_) => {
            let text = format!("a list is not of {ty}");
            let help = "its entries are string, int, float, decimal, timestamp, duration, ip or cidr";
            found.push(Diagnostic::new(Code::DataType, decl.ty.span, text).help(help));
            None
        }
        ty => Some(ListType { name: decl.name.text.clone(), ty, span: decl.span }),
    }
}

/// The declared tables, in order of their names.
pub(super) fn tables(names: &Names<'_>, found: &mut Vec<Diagnostic>) -> Vec<TableType> {
    names.tables.values().map(|decl| table(decl, found)).collect()
}

fn table(decl: &TableDecl, found: &mut Vec<Diagnostic>) -> TableType {
    let mut key: Vec<Field> = Vec::new();
    for (name, written) in &decl.key {
        let ty = key_type(name, written.as_ref(), found);
        let paths = vec![Path(vec![PathPart::Member(name.text.clone())])];
        let column = Field { name: name.text.clone(), ty, optional: false, paths, span: name.span };
        if !is_twice(&column, name, &key, &[], found) {
            key.push(column);
        }
    }
    let mut columns: Vec<Field> = Vec::new();
    for column in &decl.columns {
        let typed = field(column, found);
        if matches!(typed.ty, Type::List(_)) {
            let text = format!("a column of a table is one value, not {}", typed.ty);
            let help = "make a row for each: `table devices key user, device { … }`";
            found.push(Diagnostic::new(Code::DataType, column.ty.span, text).help(help));
        } else if typed.ty == Type::Geo && typed.paths.len() != 2 {
            let text = format!("`{}` is a geo, which a table has in two columns", typed.name);
            let help = "write where they stand: `place geo from lat, lon`";
            found.push(Diagnostic::new(Code::DataType, column.span, text).help(help));
        } else if !is_twice(&typed, &column.name, &key, &columns, found) {
            columns.push(typed);
        }
    }
    TableType { name: decl.name.text.clone(), key, columns, span: decl.span }
}

/// The type of a part of a table's key: string where none is written.
fn key_type(name: &Ident, written: Option<&ast::TypeExpr>, found: &mut Vec<Diagnostic>) -> Type {
    let Some(written) = written else { return Type::String };
    let ty = type_of(written, found).unwrap_or(Type::String);
    let refuse = |text: String, help: &str| Diagnostic::new(Code::DataType, written.span, text).help(help);
    if written.optional {
        found.push(refuse(format!("`{}` names a row, so it is never missing", name.text), "take away the `?`"));
    }
    if matches!(ty, Type::Bool | Type::Float | Type::Cidr | Type::Geo | Type::List(_)) {
        let help = "a key is string, int, decimal, timestamp, duration or ip";
        found.push(refuse(format!("{ty} is no key of a table"), help));
        return Type::String;
    }
    ty
}

fn is_twice(column: &Field, name: &Ident, key: &[Field], columns: &[Field], found: &mut Vec<Diagnostic>) -> bool {
    let Some(first) = key.iter().chain(columns).find(|c| c.name == column.name) else { return false };
    let text = format!("the column `{}` is declared twice", column.name);
    found.push(Diagnostic::new(Code::Duplicate, name.span, text).label("here again").also(first.span, "first here"));
    true
}

impl RuleCheck<'_> {
    /// Whether a name behind `in` is a declared list or table, where no field or key has the name.
    pub fn is_data_name(&self, name: &str, scope: Scope) -> bool {
        let own = match scope.site {
            Site::Result | Site::Severity => self.key.names.iter().any(|n| n == name),
            _ => self.candidate(scope).is_some_and(|e| self.event_type(e).find(name).is_some()),
        };
        !own && (self.world.names.lists.contains_key(name) || self.world.names.tables.contains_key(name))
    }

    /// `item in blocked`.
    pub fn in_declared(&mut self, item: &ast::Expr, name: &str, at: Span, span: Span, scope: Scope) -> Option<Expr> {
        if !self.world.names.lists.contains_key(name) {
            self.expr(item, scope, None);
            let text = format!("`{name}` is a table, and `in` looks into a list, a network or a range");
            let help = format!("ask a column of its row: `{name}[{}].COLUMN is present`", self.text(item.span));
            self.error(Diagnostic::new(Code::DataMisuse, at, text).help(help));
            return None;
        }
        // One of a type that no list has was reported where it is declared.
        let list = self.world.schema.find_list(name).map(|id| (id, &self.world.schema.lists[id.0 as usize]));
        let item = self.expr(item, scope, list.map(|(_, list)| &list.ty))?;
        let (id, list) = list?;
        let reference = ListRef { id, name: name.to_owned(), of: list.ty.clone() };
        let (place, found, declared) = (item.span, item.ty.clone(), list.span);
        let item = match list.ty {
            Type::Cidr => Some(item).filter(|i| i.ty == Type::Ip),
            _ => widen(item, &list.ty),
        };
        let Some(item) = item else {
            let of = &reference.of;
            let text = format!("`{name}` is a list of {of}, and `{}` is {found}", self.text(place));
            let finding = Diagnostic::new(Code::TypesDiffer, place, text).also(declared, "declared here");
            self.error(match (of, &found) {
                (Type::Cidr, _) => finding.help("only an ip is in a network"),
                (Type::Ip, Type::Cidr) => finding.help("a list of networks is declared `of cidr`"),
                (Type::Float, Type::Decimal) => finding.help("write `float(x)`"),
                (Type::Decimal, Type::Float) => finding.help("write `decimal(x)`"),
                (Type::String, _) => finding.help("make a text of it with `string(x)`"),
                _ => finding,
            });
            return None;
        };
        Some(truth_of(ExprKind::InDeclared(Box::new(item), reference), span))
    }

    /// A declared list, table or model where a value is needed; false where the name is none of them.
    pub fn bare_data(&mut self, name: &str, span: Span) -> bool {
        let names = &self.world.names;
        let (kind, help) = if names.lists.contains_key(name) {
            ("list", format!("a list stands behind `in`: `x in {name}`"))
        } else if names.tables.contains_key(name) {
            ("table", format!("a table is asked for a column of a row: `{name}[key].column`"))
        } else if names.models.contains_key(name) {
            ("model", format!("a model is asked with its inputs: `{}`", self.example(name)))
        } else {
            return false;
        };
        let text = format!("`{name}` is a {kind}, and a value is needed here");
        self.error(Diagnostic::new(Code::DataMisuse, span, text).help(help));
        true
    }

    /// `profile[user]` without a column.
    pub fn whole_row(&mut self, e: &ast::Expr, scope: Scope) {
        let ast::ExprKind::Index(owner, key) = &e.kind else { return };
        key.iter().for_each(|part| drop(self.expr(part, scope, None)));
        if self.table_of(owner).is_some() {
            let row = self.text(e.span);
            let text = format!("`{row}` is a whole row, and a value is needed here");
            self.error(
                Diagnostic::new(Code::DataMisuse, e.span, text).help(format!("name a column of it: `{row}.column`")),
            );
        }
    }

    /// `profile[user].home`.
    pub fn column(&mut self, row: &ast::Expr, column: &Ident, span: Span, scope: Scope) -> Option<Expr> {
        let ast::ExprKind::Index(owner, parts) = &row.kind else { return None };
        let Some(table) = self.table_of(owner) else {
            parts.iter().for_each(|part| drop(self.expr(part, scope, None)));
            return None;
        };
        let world = self.world;
        let declared = &world.schema.tables[table.0 as usize];
        let key = self.row_key(declared, parts, row.span, scope);
        let Some(index) = declared.columns.iter().position(|c| c.name == column.text) else {
            let text = format!("`{}` has no column `{}`", declared.name, column.text);
            let finding = Diagnostic::new(Code::UnknownColumn, column.span, text);
            let names = declared.columns.iter().map(|c| c.name.as_str());
            self.error(if declared.key.iter().any(|k| k.name == column.text) {
                finding.help("it is the key, and stands between the brackets")
            } else {
                suggest(finding, &column.text, column.span, names)
            });
            return None;
        };
        let ty = declared.columns[index].ty.clone();
        let reference = ColumnRef {
            table,
            index: index as u16,
            name: declared.name.clone(),
            column: column.text.clone(),
            key: declared.key.iter().map(|k| k.ty.clone()).collect(),
            ty: ty.clone(),
        };
        Some(Expr { kind: ExprKind::Column { key: key?, column: reference }, ty, span })
    }

    /// The parts of a key, each of the type of the table's.
    fn row_key(&mut self, table: &TableType, parts: &[ast::Expr], span: Span, scope: Scope) -> Option<Vec<Expr>> {
        let types: Vec<&Type> = table.key.iter().map(|k| &k.ty).collect();
        let typed: Vec<Option<Expr>> =
            parts.iter().enumerate().map(|(i, part)| self.expr(part, scope, types.get(i).copied())).collect();
        if parts.len() != types.len() {
            let names: Vec<&str> = table.key.iter().map(|k| k.name.as_str()).collect();
            let whole = format!("{}[{}]", table.name, names.join(", "));
            let text = format!("a row of `{}` is named by {}, not {}", table.name, types.len(), parts.len());
            let finding = Diagnostic::new(Code::WrongArguments, span, text).also(table.span, "declared here");
            self.error(finding.help(format!("write `{whole}`")));
            return None;
        }
        let mut key = Vec::with_capacity(types.len());
        for (part, column) in typed.into_iter().zip(&table.key) {
            let part = part?;
            let (place, found) = (part.span, part.ty.clone());
            match widen(part, &column.ty) {
                Some(part) => key.push(part),
                None => {
                    let text = format!(
                        "`{}` of `{}` is {}, and `{}` is {found}",
                        column.name,
                        table.name,
                        column.ty,
                        self.text(place)
                    );
                    let finding = Diagnostic::new(Code::TypesDiffer, place, text).also(column.span, "declared here");
                    self.error(match column.ty {
                        Type::String => finding.help("make a text of it with `string(x)`"),
                        _ => finding,
                    });
                    return None;
                }
            }
        }
        Some(key)
    }

    /// The table before the brackets.
    fn table_of(&mut self, owner: &ast::Expr) -> Option<crate::schema::TableId> {
        let ast::ExprKind::Name(table) = &owner.kind else {
            let text = format!("only a table has rows, and `{}` is none", self.text(owner.span));
            self.error(Diagnostic::new(Code::DataMisuse, owner.span, text).help("write `profile[user].home`"));
            return None;
        };
        let id = self.world.schema.find_table(table);
        if id.is_none() {
            let names = self.world.names.tables.keys().copied();
            self.error(unknown(Code::UnknownName, "table", table, owner.span, names));
        }
        id
    }
}
