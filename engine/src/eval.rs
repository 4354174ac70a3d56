//! Evaluates typed expressions: three-valued, total, without side effects but a count of faults.

use std::borrow::Cow;
use std::cell::Cell;
use std::net::IpAddr;

use lapwing_dsl::functions::EvalError;
use lapwing_dsl::ir::{Aggregate, Arithmetic, Comparison, Expr, ExprKind, Of, Pick, StepId, WindowId};
use lapwing_dsl::program::Program;
use lapwing_dsl::schema::FieldId;
use lapwing_dsl::value::{Type, Value};
use rust_decimal::{Decimal, RoundingStrategy};
use smallvec::SmallVec;

use crate::Millis;
use crate::aggregate::{aggregate, distinct};
use crate::asking::Asking;
use crate::batch::EventView;
use crate::bound::{BoundEvents, BoundRef};
use crate::data::Data;
use crate::planted::{Bug, bug};

/// Reads windows as of the current event.
pub trait Windows {
    /// The value of a rule's window. `last` is the last event bound, where a whole match is looked at.
    fn window(&self, window: WindowId, last: Option<BoundRef<'_>>) -> Value<'static>;
    /// The same of a window that is worth a float; none where that is missing.
    fn float(&self, window: WindowId, last: Option<BoundRef<'_>>) -> Option<f64> {
        self.window(window, last).as_float()
    }
    /// Whether one of the rule's windows has lost entries that would count now.
    fn lost(&self, last: Option<BoundRef<'_>>) -> bool;
}

/// No windows: where the check allows none.
pub struct NoWindows;

impl Windows for NoWindows {
    fn window(&self, _: WindowId, _: Option<BoundRef<'_>>) -> Value<'static> {
        Value::Missing
    }

    fn lost(&self, _: Option<BoundRef<'_>>) -> bool {
        false
    }
}

/// What an expression is evaluated over.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The rule; none for conditions on the event alone.
    pub program: Option<&'a Program>,
    /// The candidate event.
    pub event: Option<EventView<'a>>,
    /// Where the candidate is an event bound before (time completed the match, or a new rule judges it again): that.
    pub current: Option<BoundRef<'a>>,
    /// The step the candidate is judged for.
    pub step: StepId,
    /// The bound events of the key's group.
    pub bound: &'a BoundEvents,
    /// The run's last bound event.
    pub last: Option<BoundRef<'a>>,
    /// Inside an aggregate: the element and the one before.
    pub element: (Option<BoundRef<'a>>, Option<BoundRef<'a>>),
    /// The key.
    pub key: &'a [Value<'static>],
    /// Windows as of now.
    pub windows: &'a dyn Windows,
    /// Lists and tables.
    pub data: &'a Data,
    /// The time that entries of lists hold at.
    pub now: Millis,
    /// Counts faults.
    pub errors: &'a Cell<u64>,
    /// Whoever wants to know what models are asked.
    pub asking: Option<Asking<'a>>,
}

impl<'a> Scope<'a> {
    /// For expressions that read one event alone; `none` is an empty forest.
    pub fn of_event(event: EventView<'a>, none: &'a BoundEvents, data: &'a Data, errors: &'a Cell<u64>) -> Self {
        Scope {
            program: None,
            event: Some(event),
            current: None,
            step: StepId(0),
            bound: none,
            last: None,
            element: (None, None),
            key: &[],
            windows: &NoWindows,
            data,
            now: event.row.at,
            errors,
            asking: None,
        }
    }

    /// Whether all conditions hold.
    pub fn all_hold(&self, conditions: &[Expr]) -> bool {
        conditions.iter().all(|c| self.holds(c))
    }

    /// Whether a condition holds: missing does not.
    pub fn holds(&self, condition: &Expr) -> bool {
        self.truth(condition) == Some(true)
    }

    fn truth(&self, condition: &Expr) -> Option<bool> {
        match &condition.kind {
            ExprKind::And(terms) => {
                let mut all = Some(true);
                for term in terms {
                    match self.truth(term) {
                        Some(false) => return Some(false),
                        Some(true) => {}
                        None => all = None,
                    }
                }
                all
            }
            ExprKind::Or(terms) => {
                let mut any = Some(false);
                for term in terms {
                    match self.truth(term) {
                        Some(true) => return Some(true),
                        Some(false) => {}
                        None => any = None,
                    }
                }
                any
            }
            ExprKind::Not(inner) => self.truth(inner).map(|t| !t),
            ExprKind::Compare(op, a, b) if are_floats(a, b) => {
                let (a, b) = (self.float(a), self.float(b));
                Some(op.holds(a?.partial_cmp(&b?)?))
            }
            ExprKind::PrevOr(inner) => {
                if self.prev().is_none() {
                    Some(true)
                } else {
                    self.truth(inner)
                }
            }
            _ => self.value(condition).truth(),
        }
    }

    /// The value of an expression that is a float: what most thresholds are compared with needs no [`Value`] made of it.
    fn float(&self, expr: &'a Expr) -> Option<f64> {
        match &expr.kind {
            ExprKind::Const(Value::Float(v)) => Some(*v),
            ExprKind::Window(id) => self.windows.float(*id, self.current),
            ExprKind::Field(Of::Candidate, field) if let Some(event) = self.event => event.float(*field),
            ExprKind::Arithmetic(op, a, b) if are_floats(a, b) => {
                // What is wrong with either is counted.
                let (a, b) = (self.float(a), self.float(b));
                self.fault(float(*op, a?, b?)).as_float()
            }
            _ => self.value(expr).as_float(),
        }
    }

    /// The value of an expression; faults are counted and missing.
    pub fn value(&self, expr: &'a Expr) -> Value<'a> {
        use ExprKind as K;
        match &expr.kind {
            K::Const(v) => v.borrow(),
            K::Field(of, field) => self.field(*of, *field),
            K::Key(i) => self.key.get(*i as usize).map_or(Value::Missing, Value::borrow),
            K::Window(id) => self.windows.window(*id, self.current),
            K::Aggregate { aggregate, step, args } => self.aggregate(*aggregate, *step, args, expr),
            K::And(_) | K::Or(_) | K::Not(_) | K::PrevOr(_) => Value::from_truth(self.truth(expr)),
            K::Neg(a) => self.fault(negate(self.value(a))),
            K::Compare(op, a, b) => Value::from_truth(compare(*op, &self.value(a), &self.value(b))),
            K::Arithmetic(op, a, b) => self.fault(arithmetic(*op, &self.value(a), &self.value(b))),
            K::Like { item, pattern, fold } => match (self.value(item), self.value(pattern)) {
                (Value::Text(t), Value::Text(p)) => Value::Bool(like(&t, &p, *fold)),
                _ => Value::Missing,
            },
            K::Matches(a, regex) => match self.value(a) {
                Value::Text(t) => Value::Bool(regex.0.is_match(&t)),
                _ => Value::Missing,
            },
            K::InSet(a, set) => member(&self.value(a), set.iter().map(Value::borrow)),
            K::InList(a, list) => member(&self.value(a), list.iter().map(|e| self.value(e))),
            K::InValue(a, b) => match self.value(b) {
                Value::List(list) => member(&self.value(a), list.iter().map(Value::borrow)),
                _ => Value::Missing,
            },
            K::InCidr(a, b) => match (self.value(a), self.value(b)) {
                (Value::Ip(ip), Value::Cidr(net, bits)) => Value::Bool(in_cidr(ip, net, bits)),
                _ => Value::Missing,
            },
            K::InDeclared(a, list) => {
                Value::from_truth(self.data.lists[list.id.0 as usize].holds(&self.value(a), self.now))
            }
            K::Column { key, column } => {
                let key: SmallVec<[Value<'a>; 4]> = key.iter().map(|part| self.value(part)).collect();
                self.data.tables[column.table.0 as usize].column(&key, column.index)
            }
            K::Score { inputs, model } => self.score(inputs, model),
            K::Geoip(ip, field) => match (self.value(ip), &self.data.geoip) {
                (Value::Ip(ip), Some(geoip)) => geoip.find(ip, *field),
                _ => Value::Missing,
            },
            K::InRange(a, low, high) => {
                let a = self.value(a);
                let above = compare(Comparison::Ge, &a, &self.value(low));
                let below = compare(Comparison::Le, &a, &self.value(high));
                Value::from_truth(match (above, below) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                })
            }
            K::IsMissing(a) => Value::Bool(self.value(a).is_missing()),
            K::Coalesce(a, b) => match self.value(a) {
                Value::Missing => self.value(b),
                present => present,
            },
            K::If(c, a, b) => self.value(if self.holds(c) { a } else { b }),
            K::Call(function, args) => {
                let args: SmallVec<[Value<'a>; 4]> = args.iter().map(|a| self.value(a)).collect();
                self.fault(function.call(&args))
            }
            K::Widen(a) => self.fault(widen(self.value(a), &expr.ty)),
            K::List(items) => {
                let items: Vec<Value<'static>> = items.iter().map(|e| self.value(e).into_static()).collect();
                Value::List(Cow::Owned(items))
            }
        }
    }

    pub(crate) fn fault(&self, outcome: Result<Value<'a>, EvalError>) -> Value<'a> {
        outcome.unwrap_or_else(|_| {
            self.errors.set(self.errors.get() + 1);
            Value::Missing
        })
    }

    #[inline]
    fn field(&self, of: Of, field: FieldId) -> Value<'a> {
        match of {
            Of::Candidate => match self.event {
                Some(event) => event.field(field),
                None => self.bound_field(self.current, field),
            },
            Of::Step(step, pick) => self.bound_field(self.pick(step, pick), field),
            Of::Prev => self.bound_field(self.prev(), field),
            Of::Element => self.bound_field(self.element.0, field),
            Of::ElementPrev => self.bound_field(self.element.1, field),
        }
    }

    #[inline]
    fn bound_field(&self, event: Option<BoundRef<'a>>, field: FieldId) -> Value<'a> {
        let (Some(event), Some(program)) = (event, self.program) else { return Value::Missing };
        match program.capture(event.step(), field) {
            Some(i) => event.captured(i),
            None => Value::Missing,
        }
    }

    fn pick(&self, step: StepId, pick: Pick) -> Option<BoundRef<'a>> {
        let mut of_step = self.last?.newest_first(self.bound).filter(|e| e.step() == step);
        match pick {
            Pick::Last(n) => of_step.nth(n as usize),
            Pick::First(n) => {
                let all: SmallVec<[BoundRef<'a>; 8]> = of_step.collect();
                all.len().checked_sub(1 + n as usize).map(|i| all[i])
            }
        }
    }

    /// The element before the candidate; for a first element the event bound just before, if that is of the same type.
    fn prev(&self) -> Option<BoundRef<'a>> {
        let last = self.last?;
        let own = |e: &BoundRef<'a>| e.step() == self.step || bug(Bug::Prev);
        if let Some(event) = last.newest_first(self.bound).find(own) {
            return Some(event);
        }
        let steps = &self.program?.rule.steps;
        let event = |step: StepId| steps[step.0 as usize].event;
        (event(last.step()) == event(self.step)).then_some(last)
    }

    fn aggregate(&self, kind: Aggregate, step: StepId, args: &'a [Expr], expr: &Expr) -> Value<'a> {
        let Some(last) = self.last else {
            return self.fault(aggregate(kind, Vec::new(), &expr.ty));
        };
        if kind == Aggregate::Count && args.is_empty() {
            let n = last.newest_first(self.bound).filter(|e| e.step() == step).count();
            return Value::Int(n as i64);
        }
        let mut chain: Vec<BoundRef<'a>> = last.newest_first(self.bound).filter(|e| e.step() == step).collect();
        chain.reverse();
        let mut before = None;
        let mut values = Vec::new();
        for event in chain {
            let scope = Scope { element: (Some(event), before), ..*self };
            before = Some(event);
            values.push(match args {
                [one] => scope.value(one),
                several => tuple(several.iter().map(|a| scope.value(a))),
            });
        }
        if kind == Aggregate::Distinct {
            return Value::Int(distinct(values.into_iter().filter(|v| !v.is_missing()).collect()) as i64);
        }
        self.fault(aggregate(kind, values, &expr.ty))
    }
}

/// Several values as one; missing where one is.
pub fn tuple<'v>(values: impl Iterator<Item = Value<'v>>) -> Value<'static> {
    let parts: Vec<Value<'static>> = values.map(Value::into_static).collect();
    if parts.iter().any(Value::is_missing) { Value::Missing } else { Value::List(Cow::Owned(parts)) }
}

/// A comparison; `None` where a side is missing or the sides do not compare.
pub fn compare(op: Comparison, a: &Value<'_>, b: &Value<'_>) -> Option<bool> {
    Some(op.holds(a.compare(b)?))
}

fn are_floats(a: &Expr, b: &Expr) -> bool {
    matches!((&a.ty, &b.ty), (Type::Float, Type::Float))
}

/// SQL's `in`: a missing item is missing; a missing member makes a miss missing.
fn member<'v>(item: &Value<'_>, mut members: impl Iterator<Item = Value<'v>>) -> Value<'static> {
    if item.is_missing() {
        return Value::Missing;
    }
    let mut unknown = false;
    let found = members.any(|m| match compare(Comparison::Eq, item, &m) {
        Some(equal) => equal,
        None => {
            unknown = true;
            false
        }
    });
    if found || !unknown { Value::Bool(found) } else { Value::Missing }
}

/// Whether an address lies in a network.
pub fn in_cidr(ip: IpAddr, net: IpAddr, bits: u8) -> bool {
    match (ip, net) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let shift = 32 - u32::from(bits.min(32));
            u64::from(u32::from(a)) >> shift == u64::from(u32::from(b)) >> shift
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let shift = 128 - u32::from(bits.min(128));
            u128::from(a).checked_shr(shift) == u128::from(b).checked_shr(shift)
        }
        _ => false,
    }
}

/// `like`: `*` is any text, `?` one character; the whole string must fit.
pub fn like(text: &str, pattern: &str, fold: bool) -> bool {
    if fold {
        return like(&text.to_lowercase(), &pattern.to_lowercase(), false);
    }
    if let Some(prefix) = pattern.strip_suffix('*').filter(|p| !p.contains(['*', '?'])) {
        return text.starts_with(prefix);
    }
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    let (mut t, mut p) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                t += 1;
                p += 1;
            }
            // Let the last star take one character more.
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

fn negate(value: Value<'_>) -> Result<Value<'_>, EvalError> {
    Ok(match value {
        Value::Int(v) => Value::Int(v.checked_neg().ok_or(EvalError::Overflow)?),
        Value::Duration(v) => Value::Duration(v.checked_neg().ok_or(EvalError::Overflow)?),
        Value::Float(v) => Value::Float(-v),
        Value::Decimal(v) => Value::Decimal(-v),
        _ => Value::Missing,
    })
}

fn widen<'a>(value: Value<'a>, ty: &lapwing_dsl::value::Type) -> Result<Value<'a>, EvalError> {
    Ok(match (value, ty) {
        (Value::Int(v), Type::Float) => Value::Float(v as f64),
        (Value::Int(v), Type::Decimal) => Value::Decimal(Decimal::from(v)),
        (value, _) => value,
    })
}

/// `a op b` for any types that go together.
pub fn arithmetic(op: Arithmetic, a: &Value<'_>, b: &Value<'_>) -> Result<Value<'static>, EvalError> {
    use Value as V;
    match (a, b) {
        (V::Missing, _) | (_, V::Missing) => Ok(V::Missing),
        (V::Int(a), V::Int(b)) if op == Arithmetic::Div => float(op, *a as f64, *b as f64),
        (V::Int(a), V::Int(b)) => Ok(V::Int(int(op, *a, *b)?)),
        (V::Float(a), V::Float(b)) => float(op, *a, *b),
        (V::Int(a), V::Float(b)) => float(op, *a as f64, *b),
        (V::Float(a), V::Int(b)) => float(op, *a, *b as f64),
        (V::Decimal(a), V::Decimal(b)) => decimal(op, *a, *b),
        (V::Int(a), V::Decimal(b)) => decimal(op, Decimal::from(*a), *b),
        (V::Decimal(a), V::Int(b)) => decimal(op, *a, Decimal::from(*b)),
        (V::Timestamp(a), V::Timestamp(b)) if op == Arithmetic::Sub => Ok(V::Duration(int(op, *a, *b)?)),
        (V::Timestamp(a), V::Duration(b)) => Ok(V::Timestamp(int(op, *a, *b)?)),
        (V::Duration(a), V::Timestamp(b)) if op == Arithmetic::Add => Ok(V::Timestamp(int(op, *a, *b)?)),
        (V::Duration(a), V::Duration(b)) if op == Arithmetic::Div => float(op, *a as f64, *b as f64),
        (V::Duration(a), V::Duration(b)) => Ok(V::Duration(int(op, *a, *b)?)),
        (V::Duration(a), V::Int(b)) if op == Arithmetic::Div => {
            Ok(V::Duration(a.checked_div(*b).ok_or(EvalError::DivisionByZero)?))
        }
        (V::Duration(a), V::Int(b)) | (V::Int(a), V::Duration(b)) => Ok(V::Duration(int(op, *a, *b)?)),
        (V::Duration(a), V::Float(b)) => duration(float(op, *a as f64, *b)?),
        (V::Float(a), V::Duration(b)) => duration(float(op, *a, *b as f64)?),
        (V::Text(a), V::Text(b)) if op == Arithmetic::Add => Ok(V::text(format!("{a}{b}"))),
        _ => Err(EvalError::BadCast),
    }
}

fn int(op: Arithmetic, a: i64, b: i64) -> Result<i64, EvalError> {
    if b == 0 && matches!(op, Arithmetic::Div | Arithmetic::Rem) {
        return Err(EvalError::DivisionByZero);
    }
    match op {
        Arithmetic::Add => a.checked_add(b),
        Arithmetic::Sub => a.checked_sub(b),
        Arithmetic::Mul => a.checked_mul(b),
        Arithmetic::Div => a.checked_div(b),
        Arithmetic::Rem => a.checked_rem(b),
    }
    .ok_or(EvalError::Overflow)
}

fn float(op: Arithmetic, a: f64, b: f64) -> Result<Value<'static>, EvalError> {
    if b == 0.0 && matches!(op, Arithmetic::Div | Arithmetic::Rem) {
        return Err(EvalError::DivisionByZero);
    }
    let v = match op {
        Arithmetic::Add => a + b,
        Arithmetic::Sub => a - b,
        Arithmetic::Mul => a * b,
        Arithmetic::Div => a / b,
        Arithmetic::Rem => a % b,
    };
    if v.is_nan() || (v.is_infinite() && a.is_finite() && b.is_finite()) {
        return Err(EvalError::Overflow);
    }
    Ok(Value::Float(v))
}

fn decimal(op: Arithmetic, a: Decimal, b: Decimal) -> Result<Value<'static>, EvalError> {
    if b.is_zero() && matches!(op, Arithmetic::Div | Arithmetic::Rem) {
        return Err(EvalError::DivisionByZero);
    }
    let v = match op {
        Arithmetic::Add => a.checked_add(b),
        Arithmetic::Sub => a.checked_sub(b),
        Arithmetic::Mul => a.checked_mul(b),
        Arithmetic::Div => a.checked_div(b),
        Arithmetic::Rem => a.checked_rem(b),
    };
    let v = v.ok_or(EvalError::Overflow)?;
    Ok(Value::Decimal(v.round_dp_with_strategy(28, RoundingStrategy::MidpointNearestEven)))
}

fn duration(value: Value<'static>) -> Result<Value<'static>, EvalError> {
    match value {
        Value::Float(v) if v.abs() < i64::MAX as f64 => Ok(Value::Duration(v as i64)),
        _ => Err(EvalError::Overflow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_is_the_whole_string() {
        let check = |text, pattern, expected| assert_eq!(like(text, pattern, false), expected, "{text} like {pattern}");
        check("dead", "d*", true);
        check("dead", "d", false);
        check("dead", "*a?", true);
        check("dead", "**", true);
        check("", "*", true);
        check("", "?", false);
        check("a\\b", "a\\?", true);
        check("abcabd", "*ab?", true);
        check("äb", "?b", true);
        assert!(like("DEAD", "d*D", true));
    }

    #[test]
    fn networks() {
        let ip = |s: &str| s.parse::<IpAddr>().expect("an address");
        assert!(in_cidr(ip("10.2.3.4"), ip("10.0.0.0"), 8));
        assert!(!in_cidr(ip("11.2.3.4"), ip("10.0.0.0"), 8));
        assert!(in_cidr(ip("11.2.3.4"), ip("0.0.0.0"), 0));
        assert!(in_cidr(ip("fe80::1"), ip("fe80::"), 64));
        assert!(!in_cidr(ip("fe80::1"), ip("10.0.0.0"), 0));
    }
}
