//! Runs `test` blocks of rule files in virtual time.
//!
//! A test is judged by the real engine with the one rule it names, and the rules that derive the events it reads. Its clock begins at [`START`]; events happen at the clock, `after` and
//! `repeat … every` move it, `watermark` lets time pass so that timers fire. An event behind the clock's greatest reading is late;
//! to a rule by processing time it has that reading, and nothing is late.

mod coverage;
mod given;
mod literal;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lapwing_dsl::diagnostics::{Code, Diagnostic};
use lapwing_dsl::functions::text_of;
use lapwing_dsl::ir::GeoipField;
use lapwing_dsl::program::Program;
use lapwing_dsl::schema::Schema;
use lapwing_dsl::syntax::Span;
use lapwing_dsl::syntax::ast::{Expr, ExprKind, Ident, TestDecl, TestEvent, TestStep, TestStepKind};
use lapwing_dsl::value::{Type, Value};
use lapwing_engine::Millis;
use lapwing_engine::batch::{Batch, Origin};
use lapwing_engine::data::Data;
use lapwing_engine::data::list::{List, ListChange};
use lapwing_engine::data::table::{Table, TableChange};
use lapwing_engine::limits::Limits;
use lapwing_engine::order::{Ordered, OrderedEvent};
use lapwing_engine::output::{Match, Output};
use lapwing_engine::rule_set::{LiveRule, RuleSet};
use lapwing_engine::run::step::Transition;
use lapwing_engine::shard::Shard;
use lapwing_engine::slot::KeyHasher;
use lapwing_engine::strata::Strata;
use lapwing_engine::suppress::{Suppressor, Verdict};

pub use coverage::gaps;

/// Where a test's clock begins: 2026-01-05T00:00:00Z, a Monday.
pub const START: Millis = 1_767_571_200_000;

/// What a test gave.
pub struct Outcome {
    /// Nothing: it passed. Otherwise where it failed, and how.
    pub failure: Option<Diagnostic>,
    /// The transitions of the rule's automaton that it took.
    pub taken: BTreeSet<Transition>,
}

/// Runs a test of a rule, which is one of `programs`.
pub fn run(test: &TestDecl, program: &Arc<Program>, programs: &[Arc<Program>], schema: &Schema) -> Outcome {
    let live = with_makers(program, programs).into_iter().map(|p| LiveRule { program: p.clone(), version: 1 });
    let rules = match RuleSet::new(1, schema.clone(), live.collect()) {
        Ok(rules) => Arc::new(rules),
        Err(refused) => {
            let failure = Diagnostic::new(Code::TestFailed, test.span, refused.to_string());
            return Outcome { failure: Some(failure), taken: BTreeSet::new() };
        }
    };
    let rule = rules.find(&program.rule.name).expect("the rule is one of the set");
    let sources = Arc::new(vec!["test".to_owned()]);
    let mut shard = Shard::new(rules.clone(), Limits::default(), KeyHasher::new(0), sources, 0, 1);
    shard.trace(rule);
    let mut bench = Bench {
        rule,
        rules,
        shard,
        strata: Strata::default(),
        suppressor: Suppressor::default(),
        clock: START,
        since: None,
        greatest: Millis::MIN,
        sequence: 0,
        defaults: BTreeMap::new(),
        alerts: Vec::new(),
        late: 0,
    };
    let failure = bench.steps(&test.steps).err().map(|f| *f);
    Outcome { failure, taken: bench.shard.traced() }
}

/// A rule with those that derive the events it reads, and so on.
fn with_makers<'p>(program: &'p Arc<Program>, programs: &'p [Arc<Program>]) -> Vec<&'p Arc<Program>> {
    let mut live = vec![program];
    let mut next = 0;
    while let Some(reader) = live.get(next) {
        let reads = reader.rule.reads();
        let makes = |p: &&Arc<Program>| p.rule.into.as_ref().is_some_and(|into| reads.contains(&into.event));
        let makers: Vec<_> = programs.iter().filter(makes).collect();
        live.extend(makers.into_iter().filter(|m| !live.iter().any(|p| Arc::ptr_eq(p, m))).collect::<Vec<_>>());
        next += 1;
    }
    live
}

/// A test while it runs.
struct Bench<'t> {
    /// The rule that is tested.
    rule: u32,
    rules: Arc<RuleSet>,
    shard: Shard,
    strata: Strata,
    suppressor: Suppressor,
    clock: Millis,
    /// The earliest time that there is.
    since: Option<Millis>,
    greatest: Millis,
    sequence: u64,
    defaults: BTreeMap<&'t str, &'t TestEvent>,
    /// Alerts since the last `expect`, with how many were held back before each.
    alerts: Vec<(Match, u64)>,
    /// Late events since the last `expect late`.
    late: u32,
}

type Step = Result<(), Box<Diagnostic>>;

impl<'t> Bench<'t> {
    fn steps(&mut self, steps: &'t [TestStep]) -> Step {
        steps.iter().try_for_each(|step| self.step(step))
    }

    fn step(&mut self, step: &'t TestStep) -> Step {
        match &step.kind {
            TestStepKind::Event(event) => self.event(event),
            TestStepKind::Default(event) => {
                self.defaults.insert(&event.event.text, event);
                Ok(())
            }
            TestStepKind::After(duration, steps) => {
                self.clock = self.clock.saturating_add(duration.ms);
                self.steps(steps)
            }
            TestStepKind::At(time, steps) => {
                self.clock = *time;
                self.steps(steps)
            }
            TestStepKind::Repeat { count, every, steps } => {
                for i in 0..*count {
                    if i > 0 {
                        self.clock = self.clock.saturating_add(every.map_or(0, |d| d.ms));
                    }
                    self.steps(steps)?;
                }
                Ok(())
            }
            TestStepKind::Watermark(duration) => {
                self.clock = self.clock.saturating_add(duration.ms);
                self.pass(Ordered { until: self.clock, next_sequence: self.sequence, ..Ordered::default() });
                self.greatest = self.greatest.max(self.clock);
                Ok(())
            }
            TestStepKind::Expect { count, fields } => self.expect(*count, fields, step.span),
            TestStepKind::ExpectLate(count) => {
                let late = std::mem::take(&mut self.late);
                if late == *count {
                    return Ok(());
                }
                fail(step.span, format!("expected {count} late events, found {late}"))
            }
            TestStepKind::GivenList(name, entries) => self.given_list(name, entries),
            TestStepKind::GivenTable(name, rows) => self.given_table(name, rows),
            TestStepKind::GivenModel(name, score) => self.given_model(name, score),
            TestStepKind::GivenGeoip(rows) => self.given_geoip(rows),
        }
    }

    /// From here on a list holds just these entries.
    fn given_list(&mut self, name: &Ident, entries: &Expr) -> Step {
        let ExprKind::List(entries) = &entries.kind else { return Ok(()) };
        let Some(id) = self.rules.schema.find_list(&name.text) else {
            return fail(name.span, format!("there is no list `{}`", name.text));
        };
        let ty = &self.rules.schema.lists[id.0 as usize].ty;
        let mut change = ListChange::new(ty);
        for entry in entries {
            let value = match literal::value(entry, ty) {
                None if *ty == Type::Cidr => literal::network(entry),
                value => value.filter(|v| !v.is_missing()),
            };
            let Some(value) = value else { return fail(entry.span, format!("`{}` is a list of {ty}", name.text)) };
            change.add(&value, None).map_err(|full| failed(entry.span, full.to_string()))?;
        }
        let list = List::new(ty).with(change).map_err(|full| failed(name.span, full.to_string()))?;
        let mut data = Data::clone(&self.rules.data);
        data.lists[id.0 as usize] = Arc::new(list);
        self.take_over(data);
        Ok(())
    }

    /// From here on a table has just these rows.
    fn given_table(&mut self, name: &Ident, rows: &[(Vec<Expr>, Vec<(Ident, Expr)>)]) -> Step {
        let Some(id) = self.rules.schema.find_table(&name.text) else {
            return fail(name.span, format!("there is no table `{}`", name.text));
        };
        let ty = &self.rules.schema.tables[id.0 as usize];
        let mut change = TableChange::new(ty);
        for (key, columns) in rows {
            let mut parts = Vec::new();
            for (part, column) in key.iter().zip(&ty.key) {
                let Some(value) = literal::value(part, &column.ty).filter(|v| !v.is_missing()) else {
                    return fail(part.span, format!("`{}` of `{}` is {}", column.name, ty.name, column.ty));
                };
                parts.push(value);
            }
            let mut row = vec![Value::Missing; ty.columns.len()];
            for (column, value) in columns {
                let Some(i) = ty.columns.iter().position(|c| c.name == column.text) else {
                    return fail(column.span, format!("table `{}` has no column `{}`", ty.name, column.text));
                };
                let declared = &ty.columns[i].ty;
                let Some(read) = literal::value(value, declared) else {
                    return fail(value.span, format!("`{}` of `{}` is {declared}", column.text, ty.name));
                };
                row[i] = read;
            }
            let place = key.first().map_or(name.span, |k| k.span);
            if !change.set(&parts, &row).map_err(|full| failed(place, full.to_string()))? {
                return fail(place, format!("`{}` is given two rows of this key", ty.name));
            }
        }
        let table = Table::new(ty).with(change).map_err(|full| failed(name.span, full.to_string()))?;
        let mut data = Data::clone(&self.rules.data);
        data.tables[id.0 as usize] = Arc::new(table);
        self.take_over(data);
        Ok(())
    }

    /// From here on a model answers with one score, whatever it is asked.
    fn given_model(&mut self, name: &Ident, score: &Expr) -> Step {
        let Some(id) = self.rules.schema.find_model(&name.text) else {
            return fail(name.span, format!("there is no model `{}`", name.text));
        };
        let Some(Value::Float(score)) = literal::value(score, &Type::Float) else {
            return fail(score.span, format!("what `{}` answers is a float", name.text));
        };
        let mut data = Data::clone(&self.rules.data);
        data.models[id.0 as usize].live = Some(given::model(score));
        self.take_over(data);
        Ok(())
    }

    /// From here on just these places are known.
    fn given_geoip(&mut self, rows: &[(Vec<Expr>, Vec<(Ident, Expr)>)]) -> Step {
        let mut places = given::Places::default();
        for (key, fields) in rows {
            let Some((net, length)) = key.first().and_then(given::network) else {
                let span = key.first().map_or_else(Span::default, |k| k.span);
                return fail(span, "`geoip` knows addresses and networks".to_owned());
            };
            for (field, value) in fields {
                let known = GeoipField::ALL.into_iter().find(|f| f.name() == field.text);
                let Some((known, said)) = known.and_then(|f| Some((f, literal::value(value, &f.ty())?))) else {
                    return fail(value.span, format!("`{}` of `geoip` is of another type", field.text));
                };
                places.add((net, length), known, said.into_static());
            }
        }
        let mut data = Data::clone(&self.rules.data);
        data.geoip = Some(Arc::new(places));
        self.take_over(data);
        Ok(())
    }

    fn take_over(&mut self, data: Data) {
        self.rules = Arc::new(self.rules.with_data(self.rules.generation + 1, Arc::new(data)));
        self.shard.swap_data(self.rules.clone());
    }

    fn event(&mut self, event: &'t TestEvent) -> Step {
        let processing = self.rules.rules[self.rule as usize].program.rule.processing;
        let late = self.clock < self.greatest && !processing;
        if late {
            self.late += 1;
        }
        self.greatest = self.greatest.max(self.clock);
        let time = if processing { self.greatest } else { self.clock };
        let rules = self.rules.clone();
        let Some(id) = rules.schema.find(&event.event.text) else {
            return fail(event.event.span, format!("there is no event `{}`", event.event.text));
        };
        let mut batch = Batch::new(rules.layout.clone());
        batch.push(id, time, Origin { source: 0, partition: 0, offset: self.sequence });
        let given = self.defaults.get(event.event.text.as_str()).into_iter().flat_map(|d| &d.fields);
        let ty = rules.schema.event(id);
        for (name, value) in given.chain(&event.fields) {
            let Some(field) = ty.find(&name.text) else {
                let known = ty.fields.iter().map(|f| f.name.as_str());
                let mut failure = Diagnostic::new(
                    Code::TestFailed,
                    name.span,
                    format!("event `{}` has no field `{}`", ty.name, name.text),
                );
                if let Some(near) = lapwing_dsl::diagnostics::nearest(&name.text, known) {
                    failure = failure.help(format!("did you mean `{near}`?"));
                }
                return Err(Box::new(failure));
            };
            let wanted = &ty.field(field).ty;
            let Some(value) = literal::value(value, wanted) else {
                return fail(value.span, format!("field `{}` of `{}` is a {wanted}", name.text, ty.name));
            };
            if field == ty.at {
                if let Value::Timestamp(at) = value
                    && !processing
                {
                    batch.set_at(at);
                }
            } else if let Some(column) = rules.layout.events[id.0 as usize].column_of[field.0 as usize] {
                batch.set(column, value);
            }
        }
        let errors = std::cell::Cell::new(0);
        rules.index.look_up(&mut batch, 0, &mut rules.index.scratch(), &rules.data, &errors);
        let event = OrderedEvent { batch: 0, row: 0, sequence: self.sequence, clock: self.greatest, late };
        self.sequence += 1;
        self.pass(Ordered {
            batches: vec![Arc::new(batch)],
            events: vec![event],
            until: self.greatest,
            next_sequence: self.sequence,
            ..Ordered::default()
        });
        Ok(())
    }

    fn pass(&mut self, ordered: Ordered) {
        // A test's time begins with its clock.
        let since = *self.since.get_or_insert(START.min(self.clock));
        let ordered = Ordered { since: Some(since), newest: Some(self.greatest.max(self.clock)), ..ordered };
        let shard = &mut self.shard;
        let mut climbed = self.strata.lead(&self.rules, &ordered, &mut self.suppressor, |input| {
            let mut outputs: Vec<Output> = Vec::new();
            shard.step(input, &mut outputs);
            Some(outputs)
        });
        climbed.outputs.sort_by(|a, b| a.place.cmp(&b.place));
        let own = |body: &Match| body.rule == self.rule;
        self.alerts.extend(climbed.derived.into_iter().filter(|(body, _)| own(body)));
        for output in climbed.outputs.into_iter().filter(|o| own(&o.body)) {
            if let Verdict::Passes(held) = self.suppressor.judge(&output.body, &self.rules) {
                self.alerts.push((output.body, held));
            }
        }
    }

    fn expect(&mut self, count: u32, fields: &[(Ident, Expr)], span: Span) -> Step {
        let alerts = std::mem::take(&mut self.alerts);
        if alerts.len() != count as usize {
            let found = match alerts.len() {
                0 => "none".to_owned(),
                n => format!("{n}: {}", alerts.iter().map(|(m, _)| self.describe(m)).collect::<Vec<_>>().join("; ")),
            };
            let wanted = match count {
                0 => "no alert".to_owned(),
                1 => "1 alert".to_owned(),
                n => format!("{n} alerts"),
            };
            return fail(span, format!("expected {wanted}, found {found}"));
        }
        let Some((last, held)) = alerts.last() else { return Ok(()) };
        for (name, wanted) in fields {
            let found = self.alert_value(last, *held, &name.text);
            let Some((found, ty)) = found else {
                return fail(name.span, format!("the alert has no field `{}`: {}", name.text, self.describe(last)));
            };
            if !equal(&found, wanted, ty.as_ref()) {
                return fail(wanted.span, format!("`{}` is {}", name.text, shown(&found)));
            }
        }
        Ok(())
    }

    /// An emitted field, a part of the key, or a property of the alert.
    fn alert_value(&self, alert: &Match, held: u64, name: &str) -> Option<(Value<'static>, Option<Type>)> {
        let rule = &self.rules.rules[self.rule as usize].program.rule;
        if let Some(i) = rule.emit.iter().position(|(n, _)| n == name) {
            return Some((alert.fields[i].clone(), Some(rule.emit[i].1.ty.clone())));
        }
        if let Some(i) = rule.key.names.iter().position(|n| n == name) {
            return Some((alert.key[i].clone(), Some(rule.key.types[i].clone())));
        }
        let value = match name {
            "severity" => Value::text(alert.severity.clone()),
            "message" => alert.message.clone().map_or(Value::Missing, Value::text),
            "risk" => alert.risk.clone().unwrap_or_default(),
            "status" => Value::text(alert.status.as_str()),
            "revision" => Value::Int(alert.revision.into()),
            "suppressed" => Value::Int(held as i64),
            "at" => Value::Timestamp(alert.at),
            "first_at" => Value::Timestamp(alert.first_at),
            _ => return None,
        };
        Some((value, None))
    }

    fn describe(&self, alert: &Match) -> String {
        let rule = &self.rules.rules[self.rule as usize].program.rule;
        let fields = rule.key.names.iter().zip(&alert.key).chain(rule.emit.iter().map(|(n, _)| n).zip(&alert.fields));
        let parts: Vec<String> = fields.map(|(n, v)| format!("{n}: {}", shown(v))).collect();
        format!("{{ {} }}", parts.join(", "))
    }
}

fn fail(span: Span, message: String) -> Step {
    Err(failed(span, message))
}

fn failed(span: Span, message: String) -> Box<Diagnostic> {
    Box::new(Diagnostic::new(Code::TestFailed, span, message))
}

fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Missing => "missing".to_owned(),
        Value::Text(t) => format!("{t:?}"),
        other => match text_of(other) {
            Ok(Value::Text(t)) => t.into_owned(),
            _ => "missing".to_owned(),
        },
    }
}

/// Whether an alert's value is what a test expects, read as the value's type.
fn equal(found: &Value<'_>, wanted: &Expr, ty: Option<&Type>) -> bool {
    let kind = match found {
        Value::Float(_) => Some(Type::Float),
        Value::Decimal(_) => Some(Type::Decimal),
        Value::Text(_) => Some(Type::String),
        _ => ty.cloned(),
    };
    let wanted = kind.and_then(|ty| literal::value(wanted, &ty)).or_else(|| literal::plain(wanted));
    match wanted {
        Some(Value::Missing) => found.is_missing(),
        Some(wanted) => found.compare(&wanted).is_some_and(|o| o.is_eq()),
        None => false,
    }
}
