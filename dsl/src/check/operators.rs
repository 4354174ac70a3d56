//! Operators: which types go together and what they give.

use super::expr::{is_flexible, is_number, truth_of, widen};
use super::reach::Scope;
use super::rule::RuleCheck;
use crate::diagnostics::{Code, Diagnostic};
use crate::ir::{Arithmetic, Comparison, Expr, ExprKind, Regex};
use crate::syntax::Span;
use crate::syntax::ast::{self, BinaryOp};
use crate::value::{Type, Value};

impl RuleCheck<'_> {
    /// Any infix operator but `and`, `or`, `in`, `is`.
    pub fn binary(
        &mut self,
        op: BinaryOp,
        a: &ast::Expr,
        b: &ast::Expr,
        span: Span,
        scope: Scope,
        want: Option<&Type>,
    ) -> Option<Expr> {
        match op {
            BinaryOp::Like | BinaryOp::ILike => self.like(a, b, op == BinaryOp::ILike, span, scope),
            BinaryOp::Matches => self.matches(a, b, span, scope),
            BinaryOp::Coalesce => {
                let (a, b) = self.pair(a, b, scope, want)?;
                let (a, b) = self.unify(a, b)?;
                let ty = a.ty.clone();
                Some(Expr { kind: ExprKind::Coalesce(Box::new(a), Box::new(b)), ty, span })
            }
            _ => match comparison(op) {
                Some(comparison) => self.comparison(comparison, a, b, span, scope),
                None => {
                    let (a, b) = self.pair(a, b, scope, want)?;
                    self.arithmetic(arithmetic(op), a, b, span)
                }
            },
        }
    }

    /// Both sides; a side of literals alone takes the other's type.
    pub fn pair(&mut self, a: &ast::Expr, b: &ast::Expr, scope: Scope, want: Option<&Type>) -> Option<(Expr, Expr)> {
        let from = |other: &Option<Expr>| match other.as_ref().map(|e| &e.ty) {
            Some(ty @ (Type::Float | Type::Decimal)) => Some(ty.clone()),
            _ => want.cloned(),
        };
        if is_flexible(a) && !is_flexible(b) {
            let right = self.expr(b, scope, want);
            let left = self.expr(a, scope, from(&right).as_ref());
            return Some((left?, right?));
        }
        let left = self.expr(a, scope, want);
        let right = self.expr(b, scope, from(&left).as_ref());
        Some((left?, right?))
    }

    /// Two values of one type, an int widened to the other's, or a finding.
    pub fn unify(&mut self, a: Expr, b: Expr) -> Option<(Expr, Expr)> {
        if a.ty == b.ty {
            return Some((a, b));
        }
        let (left, right) = (a.ty.clone(), b.ty.clone());
        let (a_span, b_span) = (a.span, b.span);
        if left == Type::Int && is_number(&right) {
            return Some((widen(a, &right)?, b));
        }
        if right == Type::Int && is_number(&left) {
            let b = widen(b, &left)?;
            return Some((a, b));
        }
        self.differ(a_span, &left, b_span, &right);
        None
    }

    /// Says that two values are of types that do not go together.
    pub fn differ(&mut self, a: Span, a_type: &Type, b: Span, b_type: &Type) {
        let place = if a == b { b } else { a.to(b) };
        if matches!((a_type, b_type), (Type::Float, Type::Decimal) | (Type::Decimal, Type::Float)) {
            let finding = Diagnostic::new(Code::FloatMeetsDecimal, place, "float and decimal do not mix by themselves");
            let finding =
                if a == b { finding } else { finding.also(a, a_type.to_string()).also(b, b_type.to_string()) };
            self.error(finding.help("cast one of them: `decimal(x)` is exact, `float(x)` is fast"));
            return;
        }
        let text = if a == b {
            format!("{a_type} is needed here, and `{}` is {b_type}", self.text(b))
        } else {
            format!("`{}` is {a_type} and `{}` is {b_type}: they do not go together", self.text(a), self.text(b))
        };
        let finding = Diagnostic::new(Code::TypesDiffer, place, text);
        let mend = self.mend(a, a_type, b_type).or_else(|| self.mend(b, b_type, a_type));
        self.error(match mend {
            Some((span, text)) => {
                let wanted = if span == a { b_type } else { a_type };
                let article = if matches!(wanted, Type::Int | Type::Ip) { "an" } else { "a" };
                finding.help(format!("{article} {wanted} is written `{text}`")).fix(span, text)
            }
            None => finding,
        });
    }

    /// A quoted literal of a type that is written without quotes, or a number that should be a text.
    fn mend(&self, span: Span, found: &Type, wanted: &Type) -> Option<(Span, String)> {
        let written = self.world.sources.slice(span);
        let inner = written.strip_prefix('"').and_then(|w| w.strip_suffix('"'));
        let better = match (found, wanted, inner) {
            (Type::String, Type::Ip, Some(t)) => t.parse::<std::net::IpAddr>().ok()?.to_string(),
            (Type::String, Type::Int, Some(t)) => t.parse::<i64>().ok()?.to_string(),
            (Type::String, Type::Bool, Some(t @ ("true" | "false"))) => t.to_owned(),
            (Type::String, Type::Timestamp, Some(t)) => t.parse::<jiff::Timestamp>().ok().map(|_| t.to_owned())?,
            (Type::Int, Type::String, None) if written.bytes().all(|b| b.is_ascii_digit()) => format!("\"{written}\""),
            (Type::Int, Type::Duration, None) if written.bytes().all(|b| b.is_ascii_digit()) => format!("{written}s"),
            _ => return None,
        };
        Some((span, better))
    }

    fn comparison(&mut self, op: Comparison, a: &ast::Expr, b: &ast::Expr, span: Span, scope: Scope) -> Option<Expr> {
        let (a, b) = self.pair(a, b, scope, None)?;
        if let (Type::Ip, Type::Cidr) = (&a.ty, &b.ty) {
            let text = format!("`{}` is a network: an address is in it or not", self.text(b.span));
            let better = format!("{} in {}", self.text(a.span), self.text(b.span));
            self.error(Diagnostic::new(Code::TypesDiffer, span, text).help("ask with `in`").fix(span, better));
            return None;
        }
        let (a, b) = self.unify(a, b)?;
        let ordered = matches!(op, Comparison::Eq | Comparison::Ne)
            || !matches!(a.ty, Type::Bool | Type::Geo | Type::List(_) | Type::Cidr);
        if !ordered {
            let text = format!("{} has no order: only `==` and `!=` compare it", a.ty);
            self.error(Diagnostic::new(Code::WrongType, span, text));
            return None;
        }
        Some(truth_of(ExprKind::Compare(op, Box::new(a), Box::new(b)), span))
    }

    fn arithmetic(&mut self, op: Arithmetic, a: Expr, b: Expr, span: Span) -> Option<Expr> {
        let both_numbers = is_number(&a.ty) && is_number(&b.ty);
        let (a, b) = if both_numbers && a.ty != b.ty { self.unify(a, b)? } else { (a, b) };
        let Some(ty) = result_type(op, &a.ty, &b.ty) else {
            let text = format!(
                "`{}` is {} and `{}` is {}: `{}` does not take them",
                self.text(a.span),
                a.ty,
                self.text(b.span),
                b.ty,
                sign(op)
            );
            let finding = Diagnostic::new(Code::TypesDiffer, span, text);
            self.error(match help(op, &a.ty, &b.ty) {
                Some(text) => finding.help(text),
                None => finding,
            });
            return None;
        };
        Some(Expr { kind: ExprKind::Arithmetic(op, Box::new(a), Box::new(b)), ty, span })
    }

    fn like(&mut self, a: &ast::Expr, b: &ast::Expr, fold: bool, span: Span, scope: Scope) -> Option<Expr> {
        let word = if fold { "what `ilike` compares" } else { "what `like` compares" };
        let item = self.typed(a, scope, &Type::String, word);
        let pattern = self.typed(b, scope, &Type::String, "the pattern");
        let kind = ExprKind::Like { item: Box::new(item?), pattern: Box::new(pattern?), fold };
        Some(truth_of(kind, span))
    }

    fn matches(&mut self, a: &ast::Expr, b: &ast::Expr, span: Span, scope: Scope) -> Option<Expr> {
        let item = self.typed(a, scope, &Type::String, "what `matches` looks at");
        let ast::ExprKind::Literal(ast::Literal::Text(text)) = &b.kind else {
            let finding = Diagnostic::new(
                Code::NotConstant,
                b.span,
                "the expression of `matches` is a text as written: it is compiled before any event comes",
            );
            self.error(finding.help("for a pattern from an event, use `like` or `contains(…)`"));
            return None;
        };
        match regex::RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build() {
            Ok(regex) => {
                super::lints::unguarded(text, b.span, &mut self.found);
                Some(truth_of(ExprKind::Matches(Box::new(item?), Regex(regex)), span))
            }
            Err(why) => {
                let finding = Diagnostic::new(Code::BadRegex, b.span, "this regular expression cannot be read");
                let why = why.to_string();
                let reason = why.lines().last().unwrap_or_default().trim_start_matches("error: ").trim().to_owned();
                self.error(finding.label(reason.clone()).help(regex_help(&reason)));
                None
            }
        }
    }
}

/// The most memory that a compiled expression may take.
const REGEX_BYTES_MAX: usize = 1 << 20;

fn regex_help(reason: &str) -> &'static str {
    if reason.contains("look-around") || reason.contains("backreference") {
        "expressions run in linear time: no look-around and no back-references; use two conditions"
    } else if reason.contains("size") {
        "make its repetitions smaller"
    } else {
        "a sign that stands for itself takes a `\\` before it, in a text `\\\\`"
    }
}

fn comparison(op: BinaryOp) -> Option<Comparison> {
    Some(match op {
        BinaryOp::Eq => Comparison::Eq,
        BinaryOp::Ne => Comparison::Ne,
        BinaryOp::Lt => Comparison::Lt,
        BinaryOp::Le => Comparison::Le,
        BinaryOp::Gt => Comparison::Gt,
        BinaryOp::Ge => Comparison::Ge,
        _ => return None,
    })
}

fn arithmetic(op: BinaryOp) -> Arithmetic {
    match op {
        BinaryOp::Sub => Arithmetic::Sub,
        BinaryOp::Mul => Arithmetic::Mul,
        BinaryOp::Div => Arithmetic::Div,
        BinaryOp::Rem => Arithmetic::Rem,
        _ => Arithmetic::Add,
    }
}

fn sign(op: Arithmetic) -> &'static str {
    match op {
        Arithmetic::Add => "+",
        Arithmetic::Sub => "-",
        Arithmetic::Mul => "*",
        Arithmetic::Div => "/",
        Arithmetic::Rem => "%",
    }
}

/// The type of `a op b`, numbers being of one type already.
fn result_type(op: Arithmetic, a: &Type, b: &Type) -> Option<Type> {
    use Arithmetic as A;
    use Type as T;
    Some(match (op, a, b) {
        (A::Div, T::Int, T::Int) => T::Float,
        (_, T::Int, T::Int) => T::Int,
        (_, T::Float, T::Float) => T::Float,
        (_, T::Decimal, T::Decimal) => T::Decimal,
        (A::Sub, T::Timestamp, T::Timestamp) => T::Duration,
        (A::Add | A::Sub, T::Timestamp, T::Duration) | (A::Add, T::Duration, T::Timestamp) => T::Timestamp,
        (A::Add | A::Sub | A::Rem, T::Duration, T::Duration) => T::Duration,
        (A::Div, T::Duration, T::Duration) => T::Float,
        (A::Mul | A::Div, T::Duration, T::Int | T::Float) | (A::Mul, T::Int | T::Float, T::Duration) => T::Duration,
        (A::Add, T::String, T::String) => T::String,
        _ => return None,
    })
}

fn help(op: Arithmetic, a: &Type, b: &Type) -> Option<&'static str> {
    match (op, a, b) {
        (Arithmetic::Add | Arithmetic::Sub, Type::Timestamp | Type::Duration, Type::Int) => {
            Some("say of what: `10s`, `5m`")
        }
        (Arithmetic::Add, Type::String, _) | (Arithmetic::Add, _, Type::String) => {
            Some("make a text of it with `string(x)`")
        }
        (_, Type::Geo, Type::Geo) => Some("`distance_km(a, b)` is the distance of two places"),
        _ => None,
    }
}

/// A constant, if the expression is one.
pub(super) fn constant(e: &Expr) -> Option<&Value<'static>> {
    if let ExprKind::Const(v) = &e.kind { Some(v) } else { None }
}
