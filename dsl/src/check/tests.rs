//! Test declarations: the rule they test, the events they send, the fields they expect.

use super::World;
use super::clauses::Clauses;
use super::names::{suggest, unknown};
use super::reach::Scope;
use super::rule::RuleCheck;
use crate::diagnostics::{Code, Diagnostic};
use crate::ir;
use crate::schema::Field;
use crate::syntax::ast::{
    By, Decl, Expr, ExprKind, Ident, Literal, RuleDecl, TestDecl, TestEvent, TestStep, TestStepKind,
};
use crate::value::{Type, Value};

/// What every alert has besides its key and its emitted fields.
const ALERT_FIELDS: [&str; 6] = ["severity", "message", "risk", "status", "revision", "suppressed"];

/// The tests in the order of the files, with their rules' names.
pub(super) fn tests(world: &World<'_>, decls: &[&Decl], found: &mut Vec<Diagnostic>) -> Vec<(String, TestDecl)> {
    let mut tests: Vec<(String, TestDecl)> = Vec::new();
    for decl in decls {
        let Decl::Test(test) = decl else { continue };
        let name = &test.rule;
        let rule = world.names.rules.get(name.text.as_str());
        if rule.is_none() {
            found.push(unknown(Code::UnknownRule, "rule", &name.text, name.span, world.names.rules.keys().copied()));
        }
        let fields = rule.map(|r| alert_fields(r));
        let mut check = RuleCheck::new(world);
        check.test_steps(&test.steps, fields.as_deref());
        found.append(&mut check.found);
        if let Some((_, first)) = tests.iter().find(|(r, t)| *r == name.text && t.name.value == test.name.value) {
            let text = format!("`{}` has two tests of this name", name.text);
            found.push(Diagnostic::new(Code::Duplicate, test.name.span, text).also(first.name.span, "first here"));
        }
        tests.push((name.text.clone(), test.clone()));
    }
    tests
}

/// The names that an alert of a rule has.
fn alert_fields(rule: &RuleDecl) -> Vec<&str> {
    let clauses = Clauses::read(rule, &mut Vec::new());
    let emitted = clauses.emit.iter().flat_map(|(e, _)| e.fields.iter().map(|(n, _)| n.text.as_str()));
    let key = match clauses.by {
        Some(By::Fields(fields)) => fields.as_slice(),
        Some(By::PerType(types)) => types.first().map_or(&[][..], |(_, f)| f.as_slice()),
        None => &[],
    };
    emitted.chain(key.iter().map(|f| f.name.text.as_str())).chain(ALERT_FIELDS).collect()
}

impl RuleCheck<'_> {
    fn test_steps(&mut self, steps: &[TestStep], fields: Option<&[&str]>) {
        for step in steps {
            match &step.kind {
                TestStepKind::Event(event) | TestStepKind::Default(event) => self.test_event(event),
                TestStepKind::After(_, steps) | TestStepKind::At(_, steps) | TestStepKind::Repeat { steps, .. } => {
                    self.test_steps(steps, fields);
                }
                TestStepKind::Expect { fields: expected, .. } => self.expected(expected, fields),
                TestStepKind::GivenList(name, entries) => self.given_list(name, entries),
                TestStepKind::GivenTable(name, rows) => self.given_table(name, rows),
                TestStepKind::GivenModel(name, score) => {
                    let known: Vec<&str> = self.world.names.models.keys().copied().collect();
                    if self.declared("model", name, &known) {
                        self.test_value(&format!("what `{}` answers", name.text), score, &Type::Float);
                    }
                }
                TestStepKind::GivenGeoip(rows) => self.given_geoip(rows),
                TestStepKind::Watermark(_) | TestStepKind::ExpectLate(_) => {}
            }
        }
    }

    fn test_event(&mut self, event: &TestEvent) {
        let Some(id) = self.event_of(&event.event) else { return };
        let ty = self.event_type(id);
        for (i, (name, value)) in event.fields.iter().enumerate() {
            if let Some((first, _)) = event.fields[..i].iter().find(|(n, _)| n.text == name.text) {
                let text = format!("the field `{}` is given twice", name.text);
                self.error(Diagnostic::new(Code::Duplicate, name.span, text).also(first.span, "first here"));
            }
            match ty.find(&name.text) {
                Some(field) => self.test_value(&format!("`{}`", name.text), value, &ty.field(field).ty),
                None => {
                    let text = format!("`{}` has no field `{}`", ty.name, name.text);
                    let finding = Diagnostic::new(Code::UnknownField, name.span, text);
                    self.error(suggest(finding, &name.text, name.span, ty.fields.iter().map(|f| f.name.as_str())));
                }
            }
        }
    }

    /// A value of the field's type; as in an event's JSON, an address or a time may stand as text.
    pub(super) fn test_value(&mut self, what: &str, value: &Expr, ty: &Type) {
        let Some(typed) = self.expr(value, Scope::result(), Some(ty)) else { return };
        let as_text = match &typed.kind {
            ir::ExprKind::Const(Value::Text(t)) => match ty {
                Type::Ip => t.parse::<std::net::IpAddr>().is_ok(),
                Type::Timestamp => t.parse::<jiff::Timestamp>().is_ok(),
                Type::Cidr => is_network_text(t),
                _ => false,
            },
            ir::ExprKind::List(items) => items.is_empty(),
            _ => false,
        };
        let found = typed.ty.clone();
        if !as_text && super::expr::widen(typed, ty).is_none() {
            let text = format!("{what} is {ty}, and `{}` is {found}", self.text(value.span));
            self.error(Diagnostic::new(Code::WrongType, value.span, text));
        }
    }

    fn expected(&mut self, expected: &[(Ident, Expr)], fields: Option<&[&str]>) {
        for (name, value) in expected {
            self.expr(value, Scope::result(), None);
            let Some(fields) = fields.filter(|f| !f.contains(&name.text.as_str())) else { continue };
            let text = format!("an alert of this rule has no field `{}`", name.text);
            let finding = Diagnostic::new(Code::UnknownField, name.span, text);
            self.error(suggest(finding, &name.text, name.span, fields.iter().copied()));
        }
    }

    /// Whether something of the name is declared.
    fn declared(&mut self, kind: &str, name: &Ident, known: &[&str]) -> bool {
        let is = known.contains(&name.text.as_str());
        if !is {
            self.error(unknown(Code::UnknownName, kind, &name.text, name.span, known.iter().copied()));
        }
        is
    }

    fn given_list(&mut self, name: &Ident, entries: &Expr) {
        let known: Vec<&str> = self.world.names.lists.keys().copied().collect();
        if !self.declared("list", name, &known) {
            return;
        }
        let world = self.world;
        let ExprKind::List(entries) = &entries.kind else { return };
        let Some(list) = world.schema.find_list(&name.text) else { return };
        let what = format!("an entry of `{}`", name.text);
        let ty = &world.schema.lists[list.0 as usize].ty;
        for entry in entries {
            // In a list of networks an address is the network of itself.
            if *ty != Type::Cidr || !is_address(entry) {
                self.test_value(&what, entry, ty);
            }
        }
    }

    fn given_table(&mut self, name: &Ident, rows: &[(Vec<Expr>, Vec<(Ident, Expr)>)]) {
        let known: Vec<&str> = self.world.names.tables.keys().copied().collect();
        if !self.declared("table", name, &known) {
            return;
        }
        let world = self.world;
        let Some(table) = world.schema.find_table(&name.text) else { return };
        let table = &world.schema.tables[table.0 as usize];
        for (key, columns) in rows {
            if key.len() != table.key.len() {
                let names: Vec<&str> = table.key.iter().map(|k| k.name.as_str()).collect();
                let text = format!("a row of `{}` is named by {}", table.name, names.join(" and "));
                let span = key.first().map_or(name.span, |k| k.span);
                let help = match names.as_slice() {
                    [one] => format!("write the {one} alone: `ann: {{ … }}`"),
                    several => format!("write `({}): {{ … }}`", several.join(", ")),
                };
                self.error(Diagnostic::new(Code::WrongArguments, span, text).help(help));
            }
            for (part, column) in key.iter().zip(&table.key) {
                // A bare name is a text.
                if !matches!((&part.kind, &column.ty), (ExprKind::Name(_), Type::String)) {
                    self.test_value(&format!("`{}`", column.name), part, &column.ty);
                }
            }
            for (column, value) in columns {
                match table.columns.iter().find(|c| c.name == column.text) {
                    Some(c) => self.test_value(&format!("`{}`", c.name), value, &c.ty),
                    None => {
                        let text = format!("`{}` has no column `{}`", table.name, column.text);
                        let finding = Diagnostic::new(Code::UnknownColumn, column.span, text);
                        let names = table.columns.iter().map(|c| c.name.as_str());
                        self.error(suggest(finding, &column.text, column.span, names));
                    }
                }
            }
            let left_out = |c: &&Field| !c.optional && !columns.iter().any(|(n, _)| n.text == c.name);
            for column in table.columns.iter().filter(left_out) {
                let text =
                    format!("the row has no `{}`, which `{}` declares as never missing", column.name, table.name);
                let span = key.first().map_or(name.span, |k| k.span);
                let finding = Diagnostic::new(Code::UnknownColumn, span, text).also(column.span, "declared here");
                self.error(finding.help(format!("give it, or declare it `{}?`", column.ty)));
            }
        }
    }
}

/// Whether it is a network, as a literal or as text.
pub(super) fn is_network(e: &Expr) -> bool {
    match &e.kind {
        ExprKind::Literal(Literal::Cidr(..)) => true,
        ExprKind::Literal(Literal::Text(text)) => is_network_text(text),
        _ => false,
    }
}

fn is_network_text(text: &str) -> bool {
    let parts = text.split_once('/');
    parts.is_some_and(|(ip, n)| ip.parse::<std::net::IpAddr>().is_ok() && n.parse::<u8>().is_ok())
}

/// Whether it is an address, as a literal or as text.
pub(super) fn is_address(e: &Expr) -> bool {
    match &e.kind {
        ExprKind::Literal(Literal::Ip(_)) => true,
        ExprKind::Literal(Literal::Text(text)) => text.parse::<std::net::IpAddr>().is_ok(),
        _ => false,
    }
}
