//! Expressions, keys and windows as text, with parentheses only where the tree needs them.

use super::{Printer, escaped, is_name, quoted};
use crate::syntax::Span;
use crate::syntax::ast::{
    BinaryOp, By, Call, DurationLit, Expr, ExprKind, Ident, InTarget, KeyField, Literal, MessagePart, UnaryOp, Window,
    WindowKind,
};
use crate::syntax::parse::{CHAIN_MAX, term_count};

// How tightly a kind of expression holds together; the grammar's levels.
const OR: u8 = 1;
const AND: u8 = 2;
const NOT: u8 = 3;
const COMPARE: u8 = 4;
const COALESCE: u8 = 5;
const SUM: u8 = 6;
const PRODUCT: u8 = 7;
const UNARY: u8 = 8;
const POSTFIX: u8 = 9;
const PRIMARY: u8 = 10;

impl Printer<'_> {
    /// An expression.
    pub fn expr(&self, expr: &Expr) -> String {
        self.at_level(expr, OR)
    }

    /// The expression, in parentheses if it holds together less tightly than `least`.
    fn at_level(&self, expr: &Expr, least: u8) -> String {
        let text = self.bare(expr);
        if level(expr) < least { format!("({text})") } else { text }
    }

    fn bare(&self, expr: &Expr) -> String {
        match &expr.kind {
            ExprKind::Literal(literal) => self.literal(literal, expr.span),
            ExprKind::List(items) => format!("[{}]", self.exprs(items)),
            ExprKind::Name(name) => name.clone(),
            ExprKind::Member(of, field) => format!("{}.{}", self.at_level(of, POSTFIX), field.text),
            ExprKind::Index(of, keys) => format!("{}[{}]", self.at_level(of, POSTFIX), self.exprs(keys)),
            ExprKind::Call(call) => self.call(call),
            ExprKind::Unary(UnaryOp::Neg, of) => format!("-{}", self.at_level(of, UNARY)),
            ExprKind::Unary(UnaryOp::Not, of) => format!("not {}", self.at_level(of, NOT)),
            ExprKind::Binary(op, left, right) => self.binary(expr, *op, left, right),
            ExprKind::In { item, within, negated } => {
                let target = match &**within {
                    InTarget::Expr(target) => self.at_level(target, COALESCE),
                    InTarget::Range(low, high) => {
                        format!("{}..{}", self.at_level(low, COALESCE), self.at_level(high, COALESCE))
                    }
                };
                format!("{} {}in {target}", self.at_level(item, COALESCE), if *negated { "not " } else { "" })
            }
            ExprKind::Is { item, missing } => {
                format!("{} is {}", self.at_level(item, COALESCE), if *missing { "missing" } else { "present" })
            }
        }
    }

    fn binary(&self, expr: &Expr, op: BinaryOp, left: &Expr, right: &Expr) -> String {
        let (sign, own) = operator(op);
        // A long chain is balanced in the tree; flat, it reads back as the same tree.
        if matches!(op, BinaryOp::And | BinaryOp::Or) && term_count(op, expr) > CHAIN_MAX {
            return self.terms(op, expr).join(&format!(" {sign} "));
        }
        let left_least = if own == COMPARE { own + 1 } else { own };
        format!("{} {sign} {}", self.at_level(left, left_least), self.at_level(right, own + 1))
    }

    /// The terms of a chain of `and` or `or`: flat where it is long, else what leans to the left.
    pub fn terms(&self, op: BinaryOp, expr: &Expr) -> Vec<String> {
        let own = operator(op).1;
        let long = term_count(op, expr) > CHAIN_MAX;
        match &expr.kind {
            ExprKind::Binary(found, left, right) if *found == op && long => {
                let mut terms = self.flat(op, left);
                terms.extend(self.flat(op, right));
                terms
            }
            ExprKind::Binary(found, left, right) if *found == op => {
                let mut terms = self.terms(op, left);
                terms.push(self.at_level(right, own + 1));
                terms
            }
            _ => vec![self.at_level(expr, own)],
        }
    }

    fn flat(&self, op: BinaryOp, expr: &Expr) -> Vec<String> {
        match &expr.kind {
            ExprKind::Binary(found, left, right) if *found == op => {
                let mut terms = self.flat(op, left);
                terms.extend(self.flat(op, right));
                terms
            }
            _ => vec![self.at_level(expr, operator(op).1 + 1)],
        }
    }

    fn exprs(&self, list: &[Expr]) -> String {
        list.iter().map(|e| self.expr(e)).collect::<Vec<_>>().join(", ")
    }

    fn call(&self, call: &Call) -> String {
        let args: Vec<String> = call
            .args
            .iter()
            .map(|a| match &a.name {
                Some(name) => format!("{}: {}", name.text, self.expr(&a.value)),
                None => self.expr(&a.value),
            })
            .collect();
        let mut text = format!("{}({}", call.name.text, args.join(", "));
        if let Some(filter) = &call.filter {
            text.push_str(&format!("{}where {}", if args.is_empty() { "" } else { " " }, self.expr(filter)));
        }
        text.push(')');
        if let Some(window) = &call.over {
            if let Some(by) = &call.by {
                text.push_str(&format!(" by {}", by_text(by)));
            }
            text.push_str(&format!(" over {}", self.window(window)));
        }
        text
    }

    /// A window.
    pub fn window(&self, window: &Window) -> String {
        let kind = match &window.kind {
            WindowKind::Sliding(d) => self.duration(d),
            WindowKind::Tumbling(d) => format!("{} tumbling", self.duration(d)),
            WindowKind::Hopping(d, step) => format!("{} every {}", self.duration(d), self.duration(step)),
            WindowKind::Session(d) => format!("session {}", self.duration(d)),
            WindowKind::Last(n) => format!("last {n}"),
            WindowKind::Delta(expr, percent) => format!("delta({}, {}%)", self.expr(expr), percent.text),
        };
        let zone = window.zone.as_ref().map(|zone| format!(" {}", quoted(&zone.value))).unwrap_or_default();
        let offset = window.offset.as_ref().map(|offset| format!(" offset {}", self.duration(offset)));
        format!("{kind}{zone}{}", offset.unwrap_or_default())
    }

    /// A duration, in the unit it was written in.
    pub fn duration(&self, duration: &DurationLit) -> String {
        self.written(duration.span).unwrap_or_else(|| duration_text(duration.ms))
    }

    /// A literal as it was written, if it is one word of digits.
    fn written(&self, span: Span) -> Option<String> {
        let raw = self.slice(span.start, span.end)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | ':' | '.');
        (raw.starts_with(|c: char| c.is_ascii_digit()) && raw.chars().all(plain)).then(|| raw.to_owned())
    }

    /// A literal that stands at `span`.
    pub fn literal(&self, literal: &Literal, span: Span) -> String {
        match literal {
            Literal::Bool(value) => value.to_string(),
            Literal::Int(value) => value.to_string(),
            Literal::Number(text) => text.clone(),
            Literal::Text(text) => quoted(text),
            Literal::Duration(ms) => self.written(span).unwrap_or_else(|| duration_text(*ms)),
            Literal::Timestamp(ms) => self.written(span).unwrap_or_else(|| timestamp_text(*ms)),
            Literal::Ip(ip) => ip.to_string(),
            Literal::Cidr(ip, bits) => format!("{ip}/{bits}"),
        }
    }

    /// `{ a: x, b: y }`
    pub fn pairs(&self, pairs: &[(Ident, Expr)]) -> String {
        if pairs.is_empty() {
            return "{}".to_owned();
        }
        let pairs: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{}: {}", name.text, self.expr(value))).collect();
        format!("{{ {} }}", pairs.join(", "))
    }

    /// A message's text with its holes.
    pub fn template(&self, parts: &[MessagePart]) -> String {
        let mut text = String::from("\"");
        for part in parts {
            match part {
                MessagePart::Text(plain) => text.push_str(&escaped(&plain.replace('{', "{{").replace('}', "}}"))),
                MessagePart::Hole(expr) => text.push_str(&format!("{{{}}}", escaped(&self.expr(expr)))),
            }
        }
        text.push('"');
        text
    }
}

/// A key.
pub(super) fn by_text(by: &By) -> String {
    match by {
        By::Fields(fields) => key_fields(fields),
        By::PerType(types) => {
            let types: Vec<String> = types
                .iter()
                .map(|(event, fields)| match fields.as_slice() {
                    [_] => format!("{}: {}", event.text, key_fields(fields)),
                    _ => format!("{}: ({})", event.text, key_fields(fields)),
                })
                .collect();
            format!("{{ {} }}", types.join(", "))
        }
    }
}

fn key_fields(fields: &[KeyField]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|f| format!("{}{}", f.name.text, if f.optional { "?" } else { "" })).collect();
    fields.join(", ")
}

/// A length of time in the largest unit that divides it.
fn duration_text(ms: i64) -> String {
    let units = [(604_800_000, "w"), (86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let unit = units.into_iter().find(|(size, _)| ms != 0 && ms % size == 0);
    unit.map_or_else(|| format!("{ms}ms"), |(size, name)| format!("{}{name}", ms / size))
}

/// An instant in UTC.
pub(super) fn timestamp_text(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |t| t.to_string())
}

/// A key of a table in a test: a bare word where it can be one.
pub(super) fn key_part(printer: &Printer, expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Literal(Literal::Text(text)) if is_name(text) && !matches!(text.as_str(), "true" | "false") => {
            text.clone()
        }
        _ => printer.expr(expr),
    }
}

fn operator(op: BinaryOp) -> (&'static str, u8) {
    match op {
        BinaryOp::Or => ("or", OR),
        BinaryOp::And => ("and", AND),
        BinaryOp::Eq => ("==", COMPARE),
        BinaryOp::Ne => ("!=", COMPARE),
        BinaryOp::Lt => ("<", COMPARE),
        BinaryOp::Le => ("<=", COMPARE),
        BinaryOp::Gt => (">", COMPARE),
        BinaryOp::Ge => (">=", COMPARE),
        BinaryOp::Like => ("like", COMPARE),
        BinaryOp::ILike => ("ilike", COMPARE),
        BinaryOp::Matches => ("matches", COMPARE),
        BinaryOp::Coalesce => ("??", COALESCE),
        BinaryOp::Add => ("+", SUM),
        BinaryOp::Sub => ("-", SUM),
        BinaryOp::Mul => ("*", PRODUCT),
        BinaryOp::Div => ("/", PRODUCT),
        BinaryOp::Rem => ("%", PRODUCT),
    }
}

fn level(expr: &Expr) -> u8 {
    match &expr.kind {
        ExprKind::Binary(op, ..) => operator(*op).1,
        ExprKind::Unary(UnaryOp::Not, _) => NOT,
        ExprKind::Unary(UnaryOp::Neg, _) => UNARY,
        ExprKind::In { .. } | ExprKind::Is { .. } => COMPARE,
        ExprKind::Member(..) | ExprKind::Index(..) => POSTFIX,
        // `(first(x) over 10m).at`: without parentheses it would read as the window's.
        ExprKind::Call(call) if call.over.is_some() => UNARY,
        _ => PRIMARY,
    }
}
