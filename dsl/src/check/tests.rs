//! Test declarations: the rule they test, the events they send, the fields they expect.

use super::World;
use super::clauses::Clauses;
use super::names::{suggest, unknown};
use super::reach::Scope;
use super::rule::RuleCheck;
use crate::diagnostics::{Code, Diagnostic};
use crate::ir::ExprKind;
use crate::syntax::ast::{By, Decl, Expr, Ident, RuleDecl, TestDecl, TestEvent, TestStep, TestStepKind};
use crate::value::{Type, Value};

/// What every alert has besides its key and its emitted fields.
const ALERT_FIELDS: [&str; 5] = ["severity", "message", "risk", "status", "suppressed"];

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
                TestStepKind::GivenList(name, _) => self.given(name, "lists"),
                TestStepKind::GivenTable(name, _) => self.given(name, "tables"),
                TestStepKind::GivenModel(name, _) => self.given(name, "models"),
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
                Some(field) => self.test_value(name, value, &ty.field(field).ty.clone()),
                None => {
                    let text = format!("`{}` has no field `{}`", ty.name, name.text);
                    let finding = Diagnostic::new(Code::UnknownField, name.span, text);
                    self.error(suggest(finding, &name.text, name.span, ty.fields.iter().map(|f| f.name.as_str())));
                }
            }
        }
    }

    /// A value of the field's type; as in an event's JSON, an address or a time may stand as text.
    fn test_value(&mut self, name: &Ident, value: &Expr, ty: &Type) {
        let Some(typed) = self.expr(value, Scope::result(), Some(ty)) else { return };
        let as_text = match &typed.kind {
            ExprKind::Const(Value::Text(t)) => match ty {
                Type::Ip => t.parse::<std::net::IpAddr>().is_ok(),
                Type::Timestamp => t.parse::<jiff::Timestamp>().is_ok(),
                Type::Cidr => t
                    .split_once('/')
                    .is_some_and(|(ip, n)| ip.parse::<std::net::IpAddr>().is_ok() && n.parse::<u8>().is_ok()),
                _ => false,
            },
            ExprKind::List(items) => items.is_empty(),
            _ => false,
        };
        let found = typed.ty.clone();
        if !as_text && super::expr::widen(typed, ty).is_none() {
            let text = format!("`{}` is {ty}, and `{}` is {found}", name.text, self.text(value.span));
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

    fn given(&mut self, name: &Ident, what: &str) {
        let names = &self.world.names;
        let known: Vec<&str> = match what {
            "lists" => names.lists.keys().copied().collect(),
            "tables" => names.tables.keys().copied().collect(),
            _ => names.models.keys().copied().collect(),
        };
        if !known.contains(&name.text.as_str()) {
            let kind = what.trim_end_matches('s');
            self.error(unknown(Code::UnknownName, kind, &name.text, name.span, known));
        }
    }
}
