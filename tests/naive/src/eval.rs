//! Expressions, read straight from the tree.
//!
//! A [`Scope`] says what the names in an expression mean at the place where it stands: a candidate in `where`, a
//! whole match in `when` and `emit`, one counted event inside a window's aggregate, one element inside an aggregate
//! over a step.

use std::cell::RefCell;
use std::rc::Rc;

use lapwing_dsl::syntax::ast::{
    BinaryOp, Call, EventDecl, Expr, ExprKind, InTarget, Literal, MessageClause, MessagePart, UnaryOp,
};

use crate::aggregates;
use crate::data::{Data, Used};
use crate::event::Event;
use crate::functions;
use crate::rule::{Key, Rule};
use crate::value::{self, Value};
use crate::windows::Since;

/// An event bound to a step.
#[derive(Clone, Debug)]
pub struct Bound<'a> {
    /// The step's name.
    pub label: &'a str,
    /// The event.
    pub event: Rc<Event>,
    /// What models answered to the step's condition.
    pub used: Vec<Used>,
}

/// What has happened so far, whatever the rule.
pub struct World<'a> {
    /// The declared event types.
    pub types: Vec<&'a EventDecl>,
    /// Every event processed so far, in order, the current one included.
    pub history: Vec<Rc<Event>>,
    /// What is due strictly before has happened.
    pub clock: i64,
    /// How far the clock stays behind the greatest time in order of arrival; in order of time 0.
    pub lateness: i64,
    /// From which place in the history on each window holds events.
    pub windows: Rc<Since>,
    /// Lists and tables as they are now.
    pub data: Rc<Data>,
}

/// What the names in an expression mean.
#[derive(Clone, Copy)]
pub struct Scope<'s> {
    /// The past.
    pub world: &'s World<'s>,
    /// The rule the expression belongs to.
    pub rule: &'s Rule<'s>,
    /// The key the rule runs for.
    pub key: &'s Key,
    /// The events bound so far.
    pub bound: &'s [Bound<'s>],
    /// In `where` and `until`: the event that is judged, and the name of the step that judges it.
    pub candidate: Option<(&'s Rc<Event>, &'s str)>,
    /// The current event, from which windows by another field take their value.
    pub current: &'s Rc<Event>,
    /// The time that windows end at.
    pub now: i64,
    /// Inside `AGG(…) over W`: the counted event.
    pub counted: Option<&'s Rc<Event>>,
    /// Inside an aggregate over a step: the element it is at.
    pub element: Option<ElementAt<'s>>,
    /// Where what models answer is written down, but for what windows count.
    pub used: Option<&'s RefCell<Vec<Used>>>,
}

/// One element of a step inside an aggregate over it.
#[derive(Clone, Copy)]
pub struct ElementAt<'s> {
    step: &'s str,
    event: &'s Rc<Event>,
    prev: Option<&'s Rc<Event>>,
}

const AGGREGATES: [&str; 10] = ["count", "sum", "avg", "min", "max", "stddev", "distinct", "list", "first", "last"];

impl Scope<'_> {
    /// Whether a condition holds: neither false nor missing. A term of its `and` that uses a `prev` that does not
    /// exist holds.
    pub fn holds(&self, condition: &Expr) -> bool {
        match &condition.kind {
            ExprKind::Binary(BinaryOp::And, a, b) => self.holds(a) && self.holds(b),
            _ if uses_prev(condition) && self.prev().is_none() => true,
            _ => self.eval(condition).truth() == Some(true),
        }
    }

    /// As [`Self::holds`]; no condition holds always.
    pub fn holds_if_any(&self, condition: Option<&Expr>) -> bool {
        condition.is_none_or(|c| self.holds(c))
    }

    /// The value of an expression.
    pub fn eval(&self, expr: &Expr) -> Value {
        match &expr.kind {
            ExprKind::Literal(literal) => literal_value(literal),
            ExprKind::List(items) => Value::List(items.iter().map(|i| self.eval(i)).collect()),
            ExprKind::Name(name) => self.name(name),
            ExprKind::Member(object, field) if matches!(object.kind, ExprKind::Index(..)) => {
                self.column(object, &field.text)
            }
            ExprKind::Member(object, field) if is_geoip(object).is_some() => {
                let ip = is_geoip(object).map_or(Value::Missing, |ip| self.eval(ip));
                self.data().0.place(&ip, &field.text)
            }
            ExprKind::Member(object, field) => match self.step_event(object) {
                Some(event) => event.map_or(Value::Missing, |e| e.field(&field.text)),
                None => Value::Missing,
            },
            ExprKind::Index(..) => Value::Missing,
            ExprKind::Call(call) => self.call(call),
            ExprKind::Unary(UnaryOp::Neg, x) => value::neg(&self.eval(x)),
            ExprKind::Unary(UnaryOp::Not, x) => Value::from_truth(self.eval(x).truth().map(|t| !t)),
            ExprKind::Binary(op, a, b) => self.binary(*op, a, b),
            ExprKind::In { item, within, negated } => {
                Value::from_truth(self.is_in(item, within).map(|found| found != *negated))
            }
            ExprKind::Is { item, missing } => Value::Bool(self.eval(item).is_missing() == *missing),
        }
    }

    /// A message with its holes filled.
    pub fn message(&self, message: &MessageClause) -> Option<String> {
        match message {
            MessageClause::Expr(e) => match self.eval(e) {
                Value::Missing => None,
                v => Some(v.to_text()),
            },
            MessageClause::Template(parts, _) => Some(
                parts
                    .iter()
                    .map(|part| match part {
                        MessagePart::Text(text) => text.clone(),
                        MessagePart::Hole(e) => self.eval(e).to_text(),
                    })
                    .collect(),
            ),
        }
    }

    fn name(&self, name: &str) -> Value {
        if let Some(event) = self.counted {
            let whole = event.ty == name && !event.fields.contains_key(name);
            return if whole { Value::Event(event.clone()) } else { event.field(name) };
        }
        if let Some((candidate, _)) = self.candidate
            && let Some(value) = candidate.fields.get(name)
        {
            return value.clone();
        }
        if self.candidate.is_none()
            && let Some(i) = self.rule.key_names().iter().position(|n| *n == name)
        {
            return self.key[i].clone();
        }
        match self.event(name) {
            Some(event) => event.map_or(Value::Missing, Value::Event),
            // A severity is the only bare name left.
            None => Value::Text(name.to_owned()),
        }
    }

    /// The event that an expression such as `a`, `prev` or `last(a, 2)` means. The outer option: whether it means one
    /// at all; the inner: whether there is one.
    fn step_event(&self, expr: &Expr) -> Option<Option<Rc<Event>>> {
        match &expr.kind {
            ExprKind::Name(name) => self.event(name),
            _ => Some(match self.eval(expr) {
                Value::Event(event) => Some(event),
                _ => None,
            }),
        }
    }

    fn event(&self, name: &str) -> Option<Option<Rc<Event>>> {
        if let Some(event) = self.counted {
            return (event.ty == name).then(|| Some(event.clone()));
        }
        if name == "prev" {
            return Some(self.prev());
        }
        if let Some(element) = self.element
            && element.step == name
        {
            return Some(Some(element.event.clone()));
        }
        if let Some((candidate, own)) = self.candidate
            && own == name
        {
            return Some(Some(candidate.clone()));
        }
        self.rule.step(name)?;
        Some(self.bound.iter().rev().find(|b| b.label == name).map(|b| b.event.clone()))
    }

    /// The element before the candidate, or the event bound just before the first, if it is of the same type.
    fn prev(&self) -> Option<Rc<Event>> {
        if let Some(element) = self.element {
            return element.prev.cloned();
        }
        let (candidate, own) = self.candidate?;
        let element = self.bound.iter().rev().find(|b| b.label == own);
        let before = self.bound.last().filter(|b| b.event.ty == candidate.ty);
        element.or(before).map(|b| b.event.clone())
    }

    fn binary(&self, op: BinaryOp, a: &Expr, b: &Expr) -> Value {
        match op {
            // What stands behind is asked only where it matters.
            BinaryOp::And => {
                let a = self.eval(a).truth();
                if a == Some(false) {
                    return Value::Bool(false);
                }
                return match (a, self.eval(b).truth()) {
                    (Some(false), _) | (_, Some(false)) => Value::Bool(false),
                    (Some(true), Some(true)) => Value::Bool(true),
                    _ => Value::Missing,
                };
            }
            BinaryOp::Or => {
                let a = self.eval(a).truth();
                if a == Some(true) {
                    return Value::Bool(true);
                }
                return match (a, self.eval(b).truth()) {
                    (Some(true), _) | (_, Some(true)) => Value::Bool(true),
                    (Some(false), Some(false)) => Value::Bool(false),
                    _ => Value::Missing,
                };
            }
            _ => {}
        }
        let quiet = Scope { used: None, ..*self };
        let unasked = op == BinaryOp::Coalesce && !quiet.eval(a).is_missing();
        let (x, y) = if unasked { (self.eval(a), quiet.pair(a, b).1) } else { self.pair(a, b) };
        let (x, y) = if unasked { value::widen(x, y) } else { (x, y) };
        if op == BinaryOp::Coalesce {
            return if x.is_missing() { y } else { x };
        }
        if x.is_missing() || y.is_missing() {
            return Value::Missing;
        }
        let ordered = |test: fn(std::cmp::Ordering) -> bool| Value::from_truth(value::compare(&x, &y).map(test));
        match op {
            BinaryOp::Eq => ordered(std::cmp::Ordering::is_eq),
            BinaryOp::Ne => ordered(std::cmp::Ordering::is_ne),
            BinaryOp::Lt => ordered(std::cmp::Ordering::is_lt),
            BinaryOp::Le => ordered(std::cmp::Ordering::is_le),
            BinaryOp::Gt => ordered(std::cmp::Ordering::is_gt),
            BinaryOp::Ge => ordered(std::cmp::Ordering::is_ge),
            BinaryOp::Add => value::add(&x, &y),
            BinaryOp::Sub => value::sub(&x, &y),
            BinaryOp::Mul => value::mul(&x, &y),
            BinaryOp::Div => value::div(&x, &y),
            BinaryOp::Rem => value::rem(&x, &y),
            BinaryOp::Like | BinaryOp::ILike | BinaryOp::Matches => match (&x, &y) {
                (Value::Text(t), Value::Text(p)) if op == BinaryOp::Matches => functions::matches(t, p),
                (Value::Text(t), Value::Text(p)) => Value::Bool(functions::like(t, p, op == BinaryOp::ILike)),
                _ => Value::Missing,
            },
            BinaryOp::And | BinaryOp::Or | BinaryOp::Coalesce => unreachable!("answered above"),
        }
    }

    /// Two operands of one type: a literal with a point is a decimal beside a decimal.
    fn pair(&self, a: &Expr, b: &Expr) -> (Value, Value) {
        let (x, y) = (self.eval(a), self.eval(b));
        match (&x, &y) {
            (Value::Decimal(_), Value::Float(_)) => (x, decimal_literal(b).unwrap_or(y)),
            (Value::Float(_), Value::Decimal(_)) => (decimal_literal(a).unwrap_or(x), y),
            _ => value::widen(x, y),
        }
    }

    fn is_in(&self, item: &Expr, target: &InTarget) -> Option<bool> {
        match target {
            InTarget::Range(low, high) => {
                let at_least = self.binary(BinaryOp::Ge, item, low).truth();
                let at_most = self.binary(BinaryOp::Le, item, high).truth();
                match (at_least, at_most) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                }
            }
            InTarget::Expr(Expr { kind: ExprKind::List(items), .. }) => {
                any_of(items.iter().map(|other| self.is_one(item, other)))
            }
            InTarget::Expr(Expr { kind: ExprKind::Name(list), .. }) if self.is_list(list) => {
                let (data, now) = self.data();
                data.is_on(list, &self.eval(item), now)
            }
            InTarget::Expr(list) => match (self.eval(item), self.eval(list)) {
                (Value::Missing, _) => None,
                (Value::Ip(ip), Value::Cidr(net, bits)) => Some(value::in_network(ip, net, bits)),
                (x, Value::List(items)) => any_of(items.iter().map(|i| contains(i, &x))),
                _ => None,
            },
        }
    }

    /// Whether a name means a declared list: a field or a key of the name comes before.
    fn is_list(&self, name: &str) -> bool {
        let event = self.counted.or(self.candidate.map(|(event, _)| event));
        let own = match event {
            Some(event) => event.fields.contains_key(name),
            None => self.rule.key_names().contains(&name),
        };
        !own && self.world.data.has_list(name)
    }

    /// Lists and tables, and the time that they are asked at: a window's condition on an event is judged when that event comes.
    fn data(&self) -> (&Data, i64) {
        match self.counted {
            Some(event) => (&event.data, event.at),
            None => (&self.world.data, self.now),
        }
    }

    /// `profile[user].home`
    fn column(&self, row: &Expr, column: &str) -> Value {
        let ExprKind::Index(table, key) = &row.kind else { return Value::Missing };
        let ExprKind::Name(table) = &table.kind else { return Value::Missing };
        let key: Vec<Value> = key.iter().map(|part| self.eval(part)).collect();
        self.data().0.column(table, &key, column)
    }

    fn is_one(&self, item: &Expr, other: &Expr) -> Option<bool> {
        let (x, y) = self.pair(item, other);
        contains(&y, &x)
    }

    fn call(&self, call: &Call) -> Value {
        let name = call.name.text.as_str();
        let arg = |i: usize| call.args.get(i).map_or(Value::Missing, |a| self.eval(&a.value));
        match name {
            "first_seen" => return self.first_seen(call),
            "lag" => return self.lag(call),
            _ if call.over.is_some() => return self.over(call),
            "if" => return arg(if arg(0).truth() == Some(true) { 1 } else { 2 }),
            _ => {}
        }
        if aggregates_a_step(call) {
            return self.aggregate(call);
        }
        if let Some(inputs) = self.data().0.inputs(name) {
            return self.score(call, inputs);
        }
        functions::call(name, &call.args.iter().map(|a| self.eval(&a.value)).collect::<Vec<_>>())
    }

    /// What a model answers; missing where an input is.
    fn score(&self, call: &Call, inputs: &[String]) -> Value {
        let input = |wanted: &String| {
            let arg = call.args.iter().find(|a| a.name.as_ref().is_some_and(|n| n.text == *wanted))?;
            match self.eval(&arg.value) {
                Value::Int(v) => Some(v as f64),
                Value::Float(v) => Some(v),
                _ => None,
            }
        };
        let inputs: Vec<Option<f64>> = inputs.iter().map(input).collect();
        let Some(inputs) = inputs.into_iter().collect::<Option<Vec<f64>>>() else { return Value::Missing };
        let Some(used) = self.data().0.score(&call.name.text, &inputs) else { return Value::Missing };
        let score = used.score;
        if let Some(all) = self.used.filter(|_| self.counted.is_none()) {
            all.borrow_mut().push(used);
        }
        Value::Float(score)
    }

    /// An aggregate over the elements of a step so far.
    fn aggregate(&self, call: &Call) -> Value {
        let name = call.name.text.as_str();
        let Some(step) = call.args.iter().find_map(|a| find_name(&a.value, &|n| self.rule.step(n).is_some())) else {
            return Value::Missing;
        };
        let elements: Vec<&Rc<Event>> = self.bound.iter().filter(|b| b.label == step).map(|b| &b.event).collect();
        if matches!(name, "first" | "last") {
            return self.nth(call, &elements);
        }
        let mut values = Vec::new();
        for (i, element) in elements.iter().enumerate() {
            let prev = i.checked_sub(1).map(|i| elements[i]);
            let scope = Scope { element: Some(ElementAt { step, event: element, prev }), ..*self };
            values.push(scope.counted_value(call));
        }
        aggregates::fold(name, values, self.zero(call))
    }

    /// `first(f)`, `last(f, n)`: n elements further in.
    fn nth(&self, call: &Call, elements: &[&Rc<Event>]) -> Value {
        let further = match call.args.get(1).map(|a| self.eval(&a.value)) {
            None => 0,
            Some(Value::Int(n)) if n >= 0 => n as usize,
            Some(_) => return Value::Missing,
        };
        let found = if call.name.text == "first" {
            elements.get(further)
        } else {
            elements.len().checked_sub(1 + further).map(|i| &elements[i])
        };
        let Some(event) = found else { return Value::Missing };
        match &call.args[0].value.kind {
            ExprKind::Name(_) => Value::Event((*event).clone()),
            _ => {
                let step = find_name(&call.args[0].value, &|n| self.rule.step(n).is_some()).unwrap_or_default();
                Scope { element: Some(ElementAt { step, event, prev: None }), ..*self }.eval(&call.args[0].value)
            }
        }
    }

    /// What one element or counted event contributes; several expressions together make a list.
    pub fn counted_value(&self, call: &Call) -> Value {
        let values = match call.name.text.as_str() {
            "list" | "quantile" | "ema" | "topk" => &call.args[..1],
            _ => call.args.as_slice(),
        };
        match values {
            [one] => self.eval(&one.value),
            several => {
                let values: Vec<Value> = several.iter().map(|a| self.eval(&a.value)).collect();
                if values.iter().any(Value::is_missing) { Value::Missing } else { Value::List(values) }
            }
        }
    }

    /// The sum of nothing: a zero of the type that the summed expression would have.
    pub fn zero(&self, call: &Call) -> Value {
        let mut fields = Vec::new();
        for arg in &call.args {
            collect_fields(&arg.value, &mut fields);
        }
        let type_of = |object: &str, field: &str| {
            let event = self.rule.step(object).map_or(object, |s| s.event.text.as_str());
            let decl = self.world.types.iter().find(|t| t.name.text == event)?;
            decl.fields.iter().find(|f| f.name.text == field).map(|f| f.ty.name.text.as_str())
        };
        let types: Vec<&str> = fields.iter().filter_map(|(object, field)| type_of(object, field)).collect();
        if types.contains(&"decimal") {
            Value::Decimal(rust_decimal::Decimal::ZERO)
        } else if types.contains(&"float") || call.args.iter().any(|a| divides(&a.value)) {
            Value::Float(0.0)
        } else if types.contains(&"duration") || types.contains(&"timestamp") {
            Value::Duration(0)
        } else {
            Value::Int(0)
        }
    }
}

/// Whether a call without a window goes over a step: `min` and `max` of several values do not.
pub fn aggregates_a_step(call: &Call) -> bool {
    let name = call.name.text.as_str();
    AGGREGATES.contains(&name) && (call.args.len() == 1 || !matches!(name, "min" | "max"))
}

fn contains(listed: &Value, item: &Value) -> Option<bool> {
    match (listed, item) {
        (Value::Cidr(net, bits), Value::Ip(ip)) => Some(value::in_network(*ip, *net, *bits)),
        _ => value::equal(listed, item),
    }
}

fn any_of(answers: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut answer = Some(false);
    for a in answers {
        match a {
            Some(true) => return Some(true),
            Some(false) => {}
            None => answer = None,
        }
    }
    answer
}

fn literal_value(literal: &Literal) -> Value {
    match literal {
        Literal::Bool(b) => Value::Bool(*b),
        Literal::Int(i) => Value::Int(*i),
        Literal::Number(text) => text.parse().map_or(Value::Missing, value::float),
        Literal::Text(t) => Value::Text(t.clone()),
        Literal::Duration(ms) => Value::Duration(*ms),
        Literal::Timestamp(ms) => Value::Timestamp(*ms),
        Literal::Ip(ip) => Value::Ip(*ip),
        Literal::Cidr(ip, bits) => Value::Cidr(*ip, *bits),
    }
}

pub fn decimal_literal(expr: &Expr) -> Option<Value> {
    match &expr.kind {
        ExprKind::Literal(Literal::Number(text)) => text.parse().ok().map(Value::Decimal),
        ExprKind::Literal(Literal::Int(i)) => Some(Value::Decimal((*i).into())),
        ExprKind::Unary(UnaryOp::Neg, x) => decimal_literal(x).map(|v| value::neg(&v)),
        ExprKind::Binary(op, a, b) => {
            let (a, b) = (decimal_literal(a)?, decimal_literal(b)?);
            match op {
                BinaryOp::Add => Some(value::add(&a, &b)),
                BinaryOp::Sub => Some(value::sub(&a, &b)),
                BinaryOp::Mul => Some(value::mul(&a, &b)),
                BinaryOp::Div => Some(value::div(&a, &b)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The parts of an expression, one level down.
pub fn parts(expr: &Expr) -> Vec<&Expr> {
    match &expr.kind {
        ExprKind::Literal(_) | ExprKind::Name(_) => Vec::new(),
        ExprKind::List(items) => items.iter().collect(),
        ExprKind::Member(x, _) | ExprKind::Unary(_, x) | ExprKind::Is { item: x, .. } => vec![x],
        ExprKind::Index(x, items) => std::iter::once(&**x).chain(items).collect(),
        ExprKind::Call(call) => call.args.iter().map(|a| &a.value).collect(),
        ExprKind::Binary(_, a, b) => vec![a, b],
        ExprKind::In { item, within, .. } => match &**within {
            InTarget::Expr(e) => vec![item, e],
            InTarget::Range(a, b) => vec![item, a, b],
        },
    }
}

/// Whether a condition asks for the element before the candidate, outside an aggregate.
fn uses_prev(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Name(name) => name == "prev",
        ExprKind::Call(call) if AGGREGATES.contains(&call.name.text.as_str()) => {
            // `min` and `max` of several values are no aggregates.
            matches!(call.name.text.as_str(), "min" | "max")
                && call.args.len() > 1
                && call.args.iter().any(|a| uses_prev(&a.value))
        }
        _ => parts(expr).into_iter().any(uses_prev),
    }
}

/// The address of `geoip(ip)`.
pub fn is_geoip(expr: &Expr) -> Option<&Expr> {
    match &expr.kind {
        ExprKind::Call(call) if call.name.text == "geoip" => call.args.first().map(|a| &a.value),
        _ => None,
    }
}

/// The first name in an expression that is wanted.
pub fn find_name<'e>(expr: &'e Expr, wanted: &dyn Fn(&str) -> bool) -> Option<&'e str> {
    match &expr.kind {
        ExprKind::Name(name) if wanted(name) => Some(name),
        _ => parts(expr).into_iter().find_map(|e| find_name(e, wanted)),
    }
}

fn collect_fields<'e>(expr: &'e Expr, fields: &mut Vec<(&'e str, &'e str)>) {
    if let ExprKind::Member(object, field) = &expr.kind
        && let ExprKind::Name(name) = &object.kind
    {
        fields.push((name, &field.text));
    }
    for part in parts(expr) {
        collect_fields(part, fields);
    }
}

fn divides(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::Binary(BinaryOp::Div, ..)) || parts(expr).into_iter().any(divides)
}
