//! Which fields a rule keeps of the events that its runs bind: those that it reads of a step elsewhere than of the candidate in the
//! step's own condition. The event's time is always kept and not listed.

use std::collections::BTreeSet;

use lapwing_dsl::syntax::ast::{By, Call, EventDecl, Expr, ExprKind, Step};

use crate::eval::{aggregates_a_step, find_name, is_geoip, parts};
use crate::rule::{Rule, optional_parts};
use crate::windows;

/// Names of steps with fields.
pub type Fields = BTreeSet<(String, String)>;

/// What the rule keeps.
pub fn kept(rule: &Rule<'_>, types: &[&EventDecl]) -> Fields {
    let mut reader = Reader { rule, types, own: None, kept: Fields::new(), asked: Fields::new() };
    for (expr, own) in windows::expressions(rule) {
        reader.own = own;
        reader.read(expr, None);
    }
    reader.kept
}

/// What is known of bound events: what is kept, and what the key tells. Numbers that are equal as keys may be written with other digits.
pub fn known(rule: &Rule<'_>, types: &[&EventDecl]) -> Fields {
    let mut known = kept(rule, types);
    for step in &rule.steps {
        let exact = |field: &String| {
            let decl = types.iter().find(|t| t.name.text == step.event.text);
            let ty =
                decl.and_then(|d| d.fields.iter().find(|f| f.name.text == *field)).map(|f| f.ty.name.text.as_str());
            !matches!(ty, Some("float" | "decimal"))
        };
        let fields = key_fields(rule, step).into_iter().filter(exact);
        known.extend(fields.map(|field| (step.label().text.clone(), field)));
    }
    known
}

/// The fields of the candidate that a term of a step's condition asks for; none where it looks at a window.
pub fn asked(rule: &Rule<'_>, types: &[&EventDecl], step: &Step, term: &Expr) -> Option<Fields> {
    if !windows::calls(term).is_empty() {
        return None;
    }
    let mut reader = Reader { rule, types, own: Some(step), kept: Fields::new(), asked: Fields::new() };
    reader.read(term, None);
    Some(reader.asked)
}

struct Reader<'r, 'a> {
    rule: &'r Rule<'a>,
    types: &'r [&'r EventDecl],
    /// The step whose condition it is.
    own: Option<&'r Step>,
    kept: Fields,
    asked: Fields,
}

impl Reader<'_, '_> {
    /// `element`: the step that an aggregate around the expression goes over.
    fn read(&mut self, expr: &Expr, element: Option<&str>) {
        match &expr.kind {
            ExprKind::Name(name) => {
                if let Some(own) = self.own.filter(|own| self.decl(&own.event.text).is_some_and(|d| has(d, name))) {
                    self.note_asked(&own.label().text, name);
                }
            }
            ExprKind::Member(object, field) => match &object.kind {
                // A row of a table: its key is read.
                ExprKind::Index(_, key) => key.iter().for_each(|part| self.read(part, element)),
                ExprKind::Name(name) => self.member(name, &field.text, element),
                _ if is_geoip(object).is_some() => parts(object).into_iter().for_each(|ip| self.read(ip, element)),
                _ => {
                    if let Some(step) = find_name(object, &|n| self.rule.step(n).is_some()) {
                        self.keep(step, &field.text);
                    }
                }
            },
            ExprKind::Call(window) if windows::is_window(window) => {
                windows::calls(expr).into_iter().for_each(|call| self.window(call));
            }
            ExprKind::Call(call) if call.name.text == "speed_kmh" => {
                for arg in &call.args {
                    self.places(&arg.value, element);
                }
            }
            ExprKind::Call(call) if aggregates_a_step(call) => {
                let step = call.args.iter().find_map(|a| find_name(&a.value, &|n| self.rule.step(n).is_some()));
                for arg in &call.args {
                    self.read(&arg.value, step.or(element));
                }
            }
            _ => parts(expr).into_iter().for_each(|part| self.read(part, element)),
        }
    }

    fn member(&mut self, name: &str, field: &str, element: Option<&str>) {
        let own = self.own.map(|own| own.label().text.as_str());
        if name == "prev" {
            let step = element.and_then(|e| self.rule.step(e)).or(self.own);
            if let Some(ty) = step.map(|s| s.event.text.clone()) {
                self.keep_of_type(&ty, field);
            }
        } else if own == Some(name) && element != Some(name) {
            self.note_asked(name, field);
        } else if self.rule.step(name).is_some() {
            self.keep(name, field);
        }
    }

    /// Where the events of `speed_kmh(a, b)` were.
    fn places(&mut self, event: &Expr, element: Option<&str>) {
        let name = match &event.kind {
            ExprKind::Name(name) => Some(name.as_str()),
            _ => find_name(event, &|n| self.rule.step(n).is_some()),
        };
        let step = name.and_then(|n| if n == "prev" { self.own } else { self.rule.step(n) });
        let Some(decl) = step.and_then(|s| self.decl(&s.event.text)) else { return self.read(event, element) };
        let fields: Vec<String> =
            decl.fields.iter().filter(|f| f.ty.name.text == "geo").map(|f| f.name.text.clone()).collect();
        for field in fields {
            match &event.kind {
                ExprKind::Name(name) => self.member(name, &field, element),
                _ => self.keep(name.unwrap_or_default(), &field),
            }
        }
    }

    /// The last event of a match may be the one that a window by other fields is asked for.
    fn window(&mut self, call: &Call) {
        if let Some(by) = call.by.as_ref().filter(|by| !is_own_key(self.rule, call, by)) {
            for step in self.rule.steps.clone() {
                let fields: Vec<String> = fields_of(by, &step.event.text);
                let has_all = self.decl(&step.event.text).is_some_and(|d| fields.iter().all(|f| has(d, f)));
                for field in fields.iter().filter(|_| has_all) {
                    self.keep(&step.label().text, field);
                }
            }
        }
    }

    fn decl(&self, ty: &str) -> Option<&EventDecl> {
        self.types.iter().find(|t| t.name.text == ty).copied()
    }

    fn keep_of_type(&mut self, ty: &str, field: &str) {
        for step in self.rule.steps.clone() {
            if step.event.text == ty {
                self.keep(&step.label().text, field);
            }
        }
    }

    fn keep(&mut self, step: &str, field: &str) {
        let ty = self.rule.step(step).map_or("", |s| s.event.text.as_str());
        if !self.decl(ty).is_some_and(|d| is_time(d, field)) {
            self.kept.insert((step.to_owned(), field.to_owned()));
        }
    }

    fn note_asked(&mut self, step: &str, field: &str) {
        let ty = self.own.map_or("", |s| s.event.text.as_str());
        if !self.decl(ty).is_some_and(|d| is_time(d, field)) {
            self.asked.insert((step.to_owned(), field.to_owned()));
        }
    }
}

/// The fields that a `by` names for a type.
pub fn fields_of(by: &By, ty: &str) -> Vec<String> {
    let fields = match by {
        By::Fields(fields) => Some(fields),
        By::PerType(types) => types.iter().find(|(t, _)| t.text == ty).or(types.first()).map(|(_, fields)| fields),
    };
    fields.into_iter().flatten().map(|f| f.name.text.clone()).collect()
}

fn has(decl: &EventDecl, field: &str) -> bool {
    decl.fields.iter().any(|f| f.name.text == field)
}

fn is_time(decl: &EventDecl, field: &str) -> bool {
    let times: Vec<&str> =
        decl.fields.iter().filter(|f| f.ty.name.text == "timestamp").map(|f| f.name.text.as_str()).collect();
    if times.contains(&"at") { field == "at" } else { times.first() == Some(&field) }
}

/// A step's key, as names of fields.
pub fn key_fields(rule: &Rule<'_>, step: &Step) -> Vec<String> {
    step.by.as_ref().or(rule.by).map_or(Vec::new(), |by| fields_of(by, &step.event.text))
}

/// Whether a window's `by` says just what the rule's does, for every event that the rule may ask with.
pub fn is_own_key(rule: &Rule<'_>, call: &Call, by: &By) -> bool {
    let nobody = By::Fields(Vec::new());
    let own = rule.by.unwrap_or(&nobody);
    let all = || rule.steps.iter().chain(&rule.absent);
    let types = all().map(|s| s.event.text.clone()).chain(counted_types(call));
    all().all(|s| s.by.is_none())
        && optional_parts(&[by]) == optional_parts(&[own])
        && types.into_iter().all(|ty| says(by, &ty) && says(own, &ty) && fields_of(by, &ty) == fields_of(own, &ty))
}

/// Whether a `by` says anything of a type.
fn says(by: &By, ty: &str) -> bool {
    match by {
        By::Fields(_) => true,
        By::PerType(types) => types.iter().any(|(t, _)| t.text == ty),
    }
}

/// What stands before fields, or alone: of a window's aggregate the counted type.
fn counted_types(call: &Call) -> Vec<String> {
    let mut names = Vec::new();
    for arg in &call.args {
        collect_owners(&arg.value, &mut names);
    }
    names
}

fn collect_owners(expr: &Expr, names: &mut Vec<String>) {
    match &expr.kind {
        ExprKind::Name(name) => names.push(name.clone()),
        ExprKind::Member(owner, _) => collect_owners(owner, names),
        _ => parts(expr).into_iter().for_each(|part| collect_owners(part, names)),
    }
}

/// What a key is made of.
pub type KeyShape = (Vec<String>, Vec<bool>, bool);

/// What the rule's own key is made of: names, which parts may be missing, and whether it has windows by another key, beside which it
/// then lives.
pub fn key_shape(rule: &Rule<'_>) -> KeyShape {
    let beside =
        windows::of(rule).iter().any(|(call, _)| call.by.as_ref().is_some_and(|by| !is_own_key(rule, call, by)));
    (rule.key_names().into_iter().map(str::to_owned).collect(), rule.optional.clone(), beside)
}
