//! What a condition says of the values it reads: which it leaves, whether any are left, and whether another condition follows.
//!
//! The terms of an `and` are read as facts: for each subject (a field, an aggregate, any expression) the values that
//! equalities, sets and ranges with constants leave, and for two subjects which of them is greater. What is not of this form is only
//! compared as a whole. So a finding is always right, and some are not made.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::rule::RuleCheck;
use super::windows::erase;
use crate::diagnostics::{Code, Diagnostic};
use crate::ir::{Aggregate, Comparison, Expr, ExprKind};
use crate::syntax::Span;
use crate::value::{Type, Value};

/// The facts that the terms of a condition state.
#[derive(Clone, Default)]
pub(super) struct Facts {
    domains: BTreeMap<String, Domain>,
    /// For two subjects: less, equal, greater.
    orders: BTreeMap<(String, String), ([bool; 3], Span)>,
    /// All terms without their places, for comparing as a whole.
    terms: Vec<String>,
}

/// Two places that contradict each other; one and the same where a term contradicts itself.
pub(super) type Conflict = (Span, Span);

/// The values that a subject may have.
#[derive(Clone, Default)]
struct Domain {
    low: Option<Bound>,
    high: Option<Bound>,
    among: Option<Vec<Value<'static>>>,
    not: Vec<Value<'static>>,
    missing: bool,
    present: bool,
    first: Option<Span>,
}

#[derive(Clone)]
struct Bound {
    value: Value<'static>,
    closed: bool,
}

/// What one term says of its subject.
enum Constraint {
    Compare(Comparison, Value<'static>),
    Range(Value<'static>, Value<'static>),
    Among(Vec<Value<'static>>),
    Outside(Vec<Value<'static>>),
    Missing,
    Present,
}

impl RuleCheck<'_> {
    /// Refuses terms that cannot hold together, and branches of an `or` that cannot hold by themselves.
    pub fn refuse_never(&mut self, terms: &[Expr]) {
        match Facts::of(terms) {
            Err(conflict) => self.never(conflict),
            Ok(facts) => {
                for term in terms {
                    self.refuse_dead_branches(term, &facts);
                }
            }
        }
    }

    fn refuse_dead_branches(&mut self, term: &Expr, facts: &Facts) {
        match &term.kind {
            ExprKind::Or(branches) => {
                let dead: Vec<Conflict> =
                    branches.iter().filter_map(|b| Facts::of(std::slice::from_ref(b)).err()).collect();
                if !dead.is_empty() {
                    dead.into_iter().for_each(|d| self.never(d));
                    return;
                }
                let with = |b: &Expr| facts.clone().add(b).err();
                let conflicts: Option<Vec<Conflict>> = branches.iter().map(with).collect();
                if let Some(first) = conflicts.and_then(|c| c.first().copied()) {
                    self.never((term.span, first.1));
                }
            }
            ExprKind::And(parts) => parts.iter().for_each(|p| self.refuse_dead_branches(p, facts)),
            ExprKind::PrevOr(inner) => self.refuse_never(std::slice::from_ref(inner)),
            _ => {}
        }
    }

    fn never(&mut self, (place, other): Conflict) {
        if self.found.iter().any(|d| d.code == Code::NeverHolds && d.primary.span == place) {
            return;
        }
        let finding = if place == other {
            Diagnostic::new(Code::NeverHolds, place, format!("`{}` never holds", self.text(place)))
        } else {
            let text = format!("`{}` and `{}` never hold together", self.text(other), self.text(place));
            Diagnostic::new(Code::NeverHolds, place, text).also(other, "this asks for something else")
        };
        self.error(finding.help("no event meets this: take one of them away, or join them with `or`"));
    }
}

impl Facts {
    /// The facts of terms that shall all hold, or two that cannot.
    pub fn of(terms: &[Expr]) -> Result<Facts, Conflict> {
        let mut facts = Facts::default();
        terms.iter().try_for_each(|t| facts.add(t))?;
        facts.terms.sort_unstable();
        Ok(facts)
    }

    fn add(&mut self, term: &Expr) -> Result<(), Conflict> {
        self.terms.push(subject(term));
        if let Some(truth) = constant_truth(term) {
            return if truth { Ok(()) } else { Err((term.span, term.span)) };
        }
        match &term.kind {
            ExprKind::And(parts) => return parts.iter().try_for_each(|p| self.add(p)),
            ExprKind::Compare(op, a, b) if !is_const(a) && !is_const(b) => return self.order(*op, a, b, term.span),
            _ => {}
        }
        let Some((on, constraint)) = constraint(term) else { return Ok(()) };
        let domain = self.domains.entry(subject(on)).or_insert_with(|| natural(on));
        domain.apply(constraint, &on.ty);
        let first = *domain.first.get_or_insert(term.span);
        if domain.is_empty(&on.ty) { Err((term.span, first)) } else { Ok(()) }
    }

    /// Two subjects compared: which of less, equal and greater is left.
    fn order(&mut self, op: Comparison, a: &Expr, b: &Expr, span: Span) -> Result<(), Conflict> {
        let (left, right) = (subject(a), subject(b));
        let mut allowed = outcomes(op);
        if left == right {
            return if allowed[1] { Ok(()) } else { Err((span, span)) };
        }
        let key = if left < right {
            (left, right)
        } else {
            allowed.reverse();
            (right, left)
        };
        let (known, first) = self.orders.entry(key).or_insert(([true; 3], span));
        for (k, a) in known.iter_mut().zip(allowed) {
            *k &= a;
        }
        if known.contains(&true) { Ok(()) } else { Err((span, *first)) }
    }

    /// Whether a condition holds wherever these do.
    pub fn implies(&self, term: &Expr) -> bool {
        if constant_truth(term) == Some(true) || self.terms.binary_search(&subject(term)).is_ok() {
            return true;
        }
        match &term.kind {
            ExprKind::And(parts) => return parts.iter().all(|p| self.implies(p)),
            ExprKind::Or(parts) if parts.iter().any(|p| self.implies(p)) => return true,
            ExprKind::PrevOr(inner) => return self.implies(inner),
            _ => {}
        }
        let Some((on, constraint)) = constraint(term) else { return false };
        self.domains.get(&subject(on)).is_some_and(|d| d.within(&constraint))
    }
}

impl Domain {
    fn apply(&mut self, constraint: Constraint, ty: &Type) {
        if !matches!(constraint, Constraint::Missing) {
            self.present = true;
        }
        match constraint {
            Constraint::Missing => self.missing = true,
            Constraint::Present => {}
            Constraint::Among(values) => self.keep(|v| values.iter().any(|w| equal(v, w)), Some(&values)),
            Constraint::Outside(values) => self.not.extend(values),
            Constraint::Range(low, high) => {
                self.raise(low, true);
                self.lower(high, true);
            }
            Constraint::Compare(op, value) => self.compare(op, value, ty),
        }
    }

    fn compare(&mut self, op: Comparison, value: Value<'static>, ty: &Type) {
        // Whole numbers have a next one: `> 5` is `>= 6`.
        let step = |v: &Value<'static>, by: i64| match (v, ty) {
            (Value::Int(n), Type::Int) => n.checked_add(by).map(Value::Int),
            (Value::Duration(n), Type::Duration) => n.checked_add(by).map(Value::Duration),
            (Value::Timestamp(n), Type::Timestamp) => n.checked_add(by).map(Value::Timestamp),
            _ => None,
        };
        match op {
            Comparison::Eq => self.keep(|v| equal(v, &value), Some(std::slice::from_ref(&value))),
            Comparison::Ne => self.not.push(value),
            Comparison::Ge => self.raise(value, true),
            Comparison::Le => self.lower(value, true),
            Comparison::Gt => match step(&value, 1) {
                Some(next) => self.raise(next, true),
                None => self.raise(value, false),
            },
            Comparison::Lt => match step(&value, -1) {
                Some(next) => self.lower(next, true),
                None => self.lower(value, false),
            },
        }
    }

    fn keep(&mut self, wanted: impl Fn(&Value<'static>) -> bool, all: Option<&[Value<'static>]>) {
        match &mut self.among {
            Some(known) => known.retain(wanted),
            None => self.among = all.map(<[_]>::to_vec),
        }
    }

    fn raise(&mut self, value: Value<'static>, closed: bool) {
        let tighter = |b: &Bound| match value.compare(&b.value) {
            Some(Ordering::Greater) => true,
            Some(Ordering::Equal) => b.closed && !closed,
            _ => false,
        };
        if self.low.as_ref().is_none_or(tighter) {
            self.low = Some(Bound { value, closed });
        }
    }

    fn lower(&mut self, value: Value<'static>, closed: bool) {
        let tighter = |b: &Bound| match value.compare(&b.value) {
            Some(Ordering::Less) => true,
            Some(Ordering::Equal) => b.closed && !closed,
            _ => false,
        };
        if self.high.as_ref().is_none_or(tighter) {
            self.high = Some(Bound { value, closed });
        }
    }

    fn above_low(&self, v: &Value<'static>) -> bool {
        self.low.as_ref().is_none_or(|b| match v.compare(&b.value) {
            Some(Ordering::Greater) => true,
            Some(Ordering::Equal) => b.closed,
            _ => false,
        })
    }

    fn below_high(&self, v: &Value<'static>) -> bool {
        self.high.as_ref().is_none_or(|b| match v.compare(&b.value) {
            Some(Ordering::Less) => true,
            Some(Ordering::Equal) => b.closed,
            _ => false,
        })
    }

    fn holds(&self, v: &Value<'static>) -> bool {
        self.above_low(v)
            && self.below_high(v)
            && !self.not.iter().any(|n| equal(v, n))
            && self.among.as_ref().is_none_or(|a| a.iter().any(|w| equal(v, w)))
    }

    fn is_empty(&self, ty: &Type) -> bool {
        if self.missing && self.present {
            return true;
        }
        if let Some(values) = &self.among {
            return !values.iter().any(|v| self.holds(v));
        }
        if *ty == Type::Bool {
            return ![true, false].into_iter().any(|b| self.holds(&Value::Bool(b)));
        }
        let (Some(low), Some(high)) = (&self.low, &self.high) else { return false };
        match low.value.compare(&high.value) {
            Some(Ordering::Greater) => true,
            Some(Ordering::Equal) => !(low.closed && high.closed && self.holds(&low.value)),
            _ => false,
        }
    }

    /// Whether every value that is left meets a constraint.
    fn within(&self, constraint: &Constraint) -> bool {
        if self.missing || !self.present {
            return self.missing && matches!(constraint, Constraint::Missing);
        }
        if let Some(values) = &self.among {
            return values.iter().filter(|v| self.holds(v)).all(|v| meets(v, constraint));
        }
        // An open bound that equals the value is beyond it.
        let bounded = |bound: &Option<Bound>, op: Comparison, value: &Value<'static>| {
            bound.as_ref().is_some_and(|b| truth(op, &b.value, value) || (!b.closed && equal(&b.value, value)))
        };
        match constraint {
            Constraint::Present => true,
            Constraint::Missing | Constraint::Among(_) => false,
            Constraint::Outside(values) => values.iter().all(|v| !self.holds(v)),
            Constraint::Range(low, high) => {
                bounded(&self.low, Comparison::Ge, low) && bounded(&self.high, Comparison::Le, high)
            }
            Constraint::Compare(op, value) => match op {
                Comparison::Eq => false,
                Comparison::Ne => !self.holds(value),
                Comparison::Ge => bounded(&self.low, Comparison::Ge, value),
                Comparison::Le => bounded(&self.high, Comparison::Le, value),
                Comparison::Gt => bounded(&self.low, Comparison::Gt, value),
                Comparison::Lt => bounded(&self.high, Comparison::Lt, value),
            },
        }
    }
}

fn meets(v: &Value<'static>, constraint: &Constraint) -> bool {
    match constraint {
        Constraint::Present => true,
        Constraint::Missing => false,
        Constraint::Among(values) => values.iter().any(|w| equal(v, w)),
        Constraint::Outside(values) => !values.iter().any(|w| equal(v, w)),
        Constraint::Range(low, high) => truth(Comparison::Ge, v, low) && truth(Comparison::Le, v, high),
        Constraint::Compare(op, value) => truth(*op, v, value),
    }
}

/// What a term says of one subject, if it is of this form.
fn constraint(term: &Expr) -> Option<(&Expr, Constraint)> {
    let constant = super::operators::constant;
    Some(match &term.kind {
        ExprKind::Compare(op, a, b) => match (constant(a), constant(b)) {
            (None, Some(v)) => (a, Constraint::Compare(*op, v.clone())),
            (Some(v), None) => (b, Constraint::Compare(op.mirrored(), v.clone())),
            _ => return None,
        },
        ExprKind::InSet(a, set) => (a, Constraint::Among(set.clone())),
        ExprKind::InRange(a, low, high) => (a, Constraint::Range(constant(low)?.clone(), constant(high)?.clone())),
        ExprKind::IsMissing(a) => (a, Constraint::Missing),
        ExprKind::Not(inner) => match &inner.kind {
            ExprKind::Compare(op, a, b) => match (constant(a), constant(b)) {
                (None, Some(v)) => (a, Constraint::Compare(opposite(*op), v.clone())),
                (Some(v), None) => (b, Constraint::Compare(opposite(op.mirrored()), v.clone())),
                _ => return None,
            },
            ExprKind::InSet(a, set) => (a, Constraint::Outside(set.clone())),
            ExprKind::IsMissing(a) => (a, Constraint::Present),
            _ if is_compound(inner) => return None,
            _ => (inner, Constraint::Among(vec![Value::Bool(false)])),
        },
        _ if is_compound(term) => return None,
        _ => (term, Constraint::Among(vec![Value::Bool(true)])),
    })
}

/// Whether a condition has parts that are conditions; else it is itself a subject that is true or false.
fn is_compound(term: &Expr) -> bool {
    use ExprKind as K;
    matches!(
        term.kind,
        K::And(_) | K::Or(_) | K::Not(_) | K::PrevOr(_) | K::Const(_) | K::Compare(..) | K::InRange(..) | K::If(..)
    )
}

/// What is known of a subject before any term: counts are not negative, an hour is below 24.
fn natural(on: &Expr) -> Domain {
    let mut domain = Domain::default();
    match &on.kind {
        ExprKind::Aggregate { aggregate: Aggregate::Count | Aggregate::Distinct, .. } => {
            domain.raise(Value::Int(0), true)
        }
        ExprKind::Call(function, _) => match function.0.name {
            "hour" => {
                domain.raise(Value::Int(0), true);
                domain.lower(Value::Int(23), true);
            }
            "weekday" => {
                domain.raise(Value::Int(1), true);
                domain.lower(Value::Int(7), true);
            }
            "length" | "edit_distance" | "hash" => domain.raise(Value::Int(0), true),
            "distance_km" | "speed_kmh" => domain.raise(Value::Float(0.0), true),
            "similarity" => {
                domain.raise(Value::Float(0.0), true);
                domain.lower(Value::Float(1.0), true);
            }
            _ => {}
        },
        _ => {}
    }
    domain
}

/// The truth of a condition that reads nothing.
fn constant_truth(term: &Expr) -> Option<bool> {
    let constant = super::operators::constant;
    match &term.kind {
        ExprKind::Const(v) => v.truth(),
        ExprKind::Compare(op, a, b) => {
            let (a, b) = (constant(a)?, constant(b)?);
            a.compare(b).map(|order| op.holds(order))
        }
        ExprKind::InSet(_, set) if set.is_empty() => Some(false),
        ExprKind::InList(_, list) if list.is_empty() => Some(false),
        ExprKind::InRange(_, low, high) => match constant(low)?.compare(constant(high)?) {
            Some(Ordering::Greater) => Some(false),
            _ => None,
        },
        ExprKind::Not(inner) => constant_truth(inner).map(|t| !t),
        _ => None,
    }
}

/// An expression without its places, as text: equal for equal expressions.
fn subject(e: &Expr) -> String {
    let mut bare = e.clone();
    erase(&mut bare);
    format!("{:?}", bare.kind)
}

fn is_const(e: &Expr) -> bool {
    matches!(e.kind, ExprKind::Const(_))
}

fn equal(a: &Value<'_>, b: &Value<'_>) -> bool {
    a.compare(b) == Some(Ordering::Equal)
}

fn truth(op: Comparison, a: &Value<'_>, b: &Value<'_>) -> bool {
    a.compare(b).is_some_and(|order| op.holds(order))
}

/// Whether a comparison holds for less, equal and greater.
fn outcomes(op: Comparison) -> [bool; 3] {
    [Ordering::Less, Ordering::Equal, Ordering::Greater].map(|order| op.holds(order))
}

/// `not (x > 5)` is `x <= 5`: of a missing value neither holds.
fn opposite(op: Comparison) -> Comparison {
    match op {
        Comparison::Eq => Comparison::Ne,
        Comparison::Ne => Comparison::Eq,
        Comparison::Lt => Comparison::Ge,
        Comparison::Le => Comparison::Gt,
        Comparison::Gt => Comparison::Le,
        Comparison::Ge => Comparison::Lt,
    }
}
