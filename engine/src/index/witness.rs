//! Chooses the one condition under which a step is filed: the one that the fewest events are likely to meet.

use lapwing_dsl::ir::{Comparison, Expr, ExprKind, Of};
use lapwing_dsl::schema::FieldId;
use lapwing_dsl::value::{Type, Value};

/// A necessary condition on one field.
#[derive(Clone, Debug, PartialEq)]
pub enum Witness {
    /// It is one of these.
    OneOf(FieldId, Vec<Value<'static>>),
    /// It lies within these bounds.
    Within(FieldId, Bounds),
    /// It begins with this.
    Prefix(FieldId, String),
    /// One of these literals stands in it.
    Substring {
        /// In which text.
        field: FieldId,
        /// Whether in the text in lower case.
        folded: bool,
        /// None is empty.
        literals: Vec<String>,
    },
}

/// Bounds of a number. Conversion to a float keeps the order, so that no value that lies within is lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// At least (or, if open, more than) this.
    pub low: f64,
    /// Whether `low` itself is outside.
    pub low_open: bool,
    /// At most (or, if open, less than) this.
    pub high: f64,
    /// Whether `high` itself is outside.
    pub high_open: bool,
}

impl Bounds {
    /// Those of what lies within both.
    pub fn and(self, other: Bounds) -> Bounds {
        let (low, low_open) = match self.low.total_cmp(&other.low) {
            std::cmp::Ordering::Less => (other.low, other.low_open),
            std::cmp::Ordering::Equal => (self.low, self.low_open || other.low_open),
            std::cmp::Ordering::Greater => (self.low, self.low_open),
        };
        let (high, high_open) = match self.high.total_cmp(&other.high) {
            std::cmp::Ordering::Less => (self.high, self.high_open),
            std::cmp::Ordering::Equal => (self.high, self.high_open || other.high_open),
            std::cmp::Ordering::Greater => (other.high, other.high_open),
        };
        Bounds { low, low_open, high, high_open }
    }
}

/// The bounds of a field, where a term says just that the field lies within them.
pub fn bounds(term: &Expr) -> Option<(FieldId, Bounds)> {
    match witness(term)? {
        (Witness::Within(field, bounds), true) => Some((field, bounds)),
        _ => None,
    }
}

/// The best witness of a condition's terms: which term, the witness, and whether it says just what the term says.
pub fn choose(terms: &[Expr]) -> Option<(usize, Witness, bool)> {
    let witnesses = terms.iter().enumerate().filter_map(|(i, t)| {
        let (witness, exact) = witness(t)?;
        Some((i, share(&witness), witness, exact))
    });
    witnesses.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(i, _, witness, exact)| (i, witness, exact))
}

/// A guess at the share of events that meet a witness.
fn share(witness: &Witness) -> f64 {
    match witness {
        Witness::OneOf(_, values) if matches!(values.first(), Some(Value::Bool(_))) => 0.5,
        Witness::OneOf(_, values) => (0.005 * values.len() as f64).min(0.45),
        Witness::Prefix(_, prefix) => (0.5f64).powi(2 * prefix.len().min(8) as i32).max(0.006),
        Witness::Substring { literals, .. } => {
            let each = |literal: &String| (0.5f64).powi(literal.len().min(8) as i32).max(0.008);
            literals.iter().map(each).sum::<f64>().min(0.45)
        }
        Witness::Within(_, b) if b.low.is_finite() && b.high.is_finite() => 0.04,
        Witness::Within(..) => 0.4,
    }
}

fn witness(term: &Expr) -> Option<(Witness, bool)> {
    Some(match &term.kind {
        ExprKind::Field(Of::Candidate, field) if term.ty == Type::Bool => (one(*field, Value::Bool(true)), true),
        ExprKind::Not(inner) => match &inner.kind {
            ExprKind::Field(Of::Candidate, field) if inner.ty == Type::Bool => (one(*field, Value::Bool(false)), true),
            _ => return None,
        },
        ExprKind::Compare(op, a, b) => compared(*op, a, b)?,
        ExprKind::InSet(item, values) => {
            let (field, plain) = field_of(item)?;
            let indexable = plain && values.iter().all(|v| is_exact(v) && !v.is_missing());
            indexable.then(|| (Witness::OneOf(field, values.clone()), true))?
        }
        ExprKind::InRange(item, low, high) => {
            let (field, _) = field_of(item)?;
            let (low, exact_low) = number(low)?;
            let (high, exact_high) = number(high)?;
            let bounds = Bounds { low, low_open: false, high, high_open: false };
            (Witness::Within(field, bounds), exact_low && exact_high && is_plain_number(&item.ty))
        }
        ExprKind::Like { item, pattern, fold } => {
            let ExprKind::Const(Value::Text(pattern)) = &pattern.kind else { return None };
            like(text_of(item)?, pattern, *fold)?
        }
        ExprKind::Matches(item, regex) => {
            let (field, folded) = text_of(item)?;
            let literals = lapwing_dsl::regex::literals(regex.0.as_str())?;
            (Witness::Substring { field, folded, literals }, false)
        }
        ExprKind::Call(function, args) => {
            let [item, literal] = args.as_slice() else { return None };
            let ExprKind::Const(Value::Text(literal)) = &literal.kind else { return None };
            let (field, folded) = text_of(item)?;
            let inside = || Witness::Substring { field, folded, literals: vec![literal.to_string()] };
            match function.0.name {
                _ if literal.is_empty() => return None,
                "starts_with" if !folded => (Witness::Prefix(field, literal.to_string()), true),
                "contains" => (inside(), true),
                "starts_with" | "ends_with" => (inside(), false),
                _ => return None,
            }
        }
        _ => return None,
    })
}

/// The witness of a pattern: how it begins, or else the longest literal in it.
fn like((field, lower): (FieldId, bool), pattern: &str, fold: bool) -> Option<(Witness, bool)> {
    let folded = fold || lower;
    let pattern = if fold { pattern.to_lowercase() } else { pattern.to_owned() };
    let literals = || pattern.split(['*', '?']);
    let prefix = literals().next().unwrap_or("");
    if !folded && !prefix.is_empty() {
        return Some((Witness::Prefix(field, prefix.to_owned()), pattern.strip_prefix(prefix) == Some("*")));
    }
    let longest = literals().max_by_key(|literal| literal.len()).filter(|literal| !literal.is_empty())?;
    let whole = pattern == format!("*{longest}*");
    Some((Witness::Substring { field, folded, literals: vec![longest.to_owned()] }, whole))
}

/// The candidate's text, and whether in lower case.
fn text_of(expr: &Expr) -> Option<(FieldId, bool)> {
    match &expr.kind {
        ExprKind::Field(Of::Candidate, field) => Some((*field, false)),
        ExprKind::Call(function, args) if function.0.name == "lower" => match &args.as_slice() {
            [Expr { kind: ExprKind::Field(Of::Candidate, field), .. }] => Some((*field, true)),
            _ => None,
        },
        _ => None,
    }
}

fn one(field: FieldId, value: Value<'static>) -> Witness {
    Witness::OneOf(field, vec![value])
}

fn compared(op: Comparison, a: &Expr, b: &Expr) -> Option<(Witness, bool)> {
    let (item, constant, op) = match (&a.kind, &b.kind) {
        (_, ExprKind::Const(_)) => (a, b, op),
        (ExprKind::Const(_), _) => (b, a, op.mirrored()),
        _ => return None,
    };
    let (field, plain) = field_of(item)?;
    let ExprKind::Const(value) = &constant.kind else { return None };
    if op == Comparison::Eq && plain && is_exact(value) {
        return Some((one(field, value.clone()), true));
    }
    let (v, exact) = number(constant)?;
    let (inf, neg) = (f64::INFINITY, f64::NEG_INFINITY);
    let bounds = match op {
        Comparison::Eq => Bounds { low: v, low_open: false, high: v, high_open: false },
        Comparison::Lt => Bounds { low: neg, low_open: false, high: v, high_open: exact },
        Comparison::Le => Bounds { low: neg, low_open: false, high: v, high_open: false },
        Comparison::Gt => Bounds { low: v, low_open: exact, high: inf, high_open: false },
        Comparison::Ge => Bounds { low: v, low_open: false, high: inf, high_open: false },
        Comparison::Ne => return None,
    };
    let exact = exact && is_plain_number(&item.ty);
    // Where the bounds are not exact, nothing at them may be lost.
    let bounds = if exact { bounds } else { Bounds { low_open: false, high_open: false, ..bounds } };
    Some((Witness::Within(field, bounds), exact))
}

/// The candidate's field, and whether it stands there unchanged (not widened).
fn field_of(expr: &Expr) -> Option<(FieldId, bool)> {
    match &expr.kind {
        ExprKind::Field(Of::Candidate, field) => Some((*field, true)),
        ExprKind::Widen(inner) => field_of(inner).map(|(field, _)| (field, false)),
        _ => None,
    }
}

/// Whether equal values have equal bytes and nothing else equals them.
fn is_exact(value: &Value<'_>) -> bool {
    matches!(
        value,
        Value::Bool(_) | Value::Int(_) | Value::Text(_) | Value::Ip(_) | Value::Timestamp(_) | Value::Duration(_)
    )
}

/// Whether numbers of a type convert to floats without loss near a constant of less than 2^53.
fn is_plain_number(ty: &Type) -> bool {
    matches!(ty, Type::Int | Type::Float | Type::Timestamp | Type::Duration)
}

/// A constant number as a float, and whether that is just the number.
fn number(expr: &Expr) -> Option<(f64, bool)> {
    let ExprKind::Const(value) = &expr.kind else { return None };
    Some(match value {
        Value::Int(v) | Value::Timestamp(v) | Value::Duration(v) => (*v as f64, v.unsigned_abs() < 1 << 53),
        Value::Float(v) if !v.is_nan() => (*v + 0.0, v.abs() < (1u64 << 53) as f64),
        Value::Decimal(v) => (f64::try_from(*v).ok()?, false),
        _ => return None,
    })
}
