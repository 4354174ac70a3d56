//! Expressions: what each kind means and which type it has.

use super::reach::{Scope, Site};
use super::rule::RuleCheck;
use crate::diagnostics::{Code, Diagnostic};
use crate::ir::{Expr, ExprKind, Of};
use crate::syntax::Span;
use crate::syntax::ast::{self, BinaryOp, Literal, UnaryOp};
use crate::value::{Type, Value};

impl RuleCheck<'_> {
    /// A typed expression. `want` is the type that the place asks for: a literal with a point takes it, nothing else does.
    pub fn expr(&mut self, e: &ast::Expr, scope: Scope, want: Option<&Type>) -> Option<Expr> {
        let typed = self.kind(e, scope, want);
        // Also where the finding stands elsewhere: a rule that lost a condition is not the rule that was meant.
        self.broken |= typed.is_none();
        typed
    }

    fn kind(&mut self, e: &ast::Expr, scope: Scope, want: Option<&Type>) -> Option<Expr> {
        use ast::ExprKind as K;
        match &e.kind {
            K::Literal(literal) => Some(self.literal(literal, e.span, want)),
            K::List(items) => self.list(items, e.span, scope, want),
            K::Name(name) => self.bare(name, e.span, scope),
            K::Member(owner, field) => self.member(owner, field, e.span, scope),
            K::Index(..) => {
                self.whole_row(e, scope);
                None
            }
            K::Call(call) => self.call(call, e.span, scope, want),
            K::Unary(UnaryOp::Not, inner) => {
                let inner = self.truth(inner, scope)?;
                Some(truth_of(ExprKind::Not(Box::new(inner)), e.span))
            }
            K::Unary(UnaryOp::Neg, inner) => self.negated(inner, e.span, scope, want),
            K::Binary(BinaryOp::And | BinaryOp::Or, ..) => self.junction(e, scope),
            K::Binary(op, a, b) => self.binary(*op, a, b, e.span, scope, want),
            K::In { item, within, negated } => {
                let inner = self.membership(item, within, e.span, scope)?;
                Some(if *negated { truth_of(ExprKind::Not(Box::new(inner)), e.span) } else { inner })
            }
            K::Is { item, missing } => {
                let item = self.expr(item, scope, None)?;
                let asked = truth_of(ExprKind::IsMissing(Box::new(item)), e.span);
                Some(if *missing { asked } else { truth_of(ExprKind::Not(Box::new(asked)), e.span) })
            }
        }
    }

    /// An expression of one type; an int may stand for a float or decimal.
    pub fn typed(&mut self, e: &ast::Expr, scope: Scope, want: &Type, what: &str) -> Option<Expr> {
        let found = self.expr(e, scope, Some(want))?;
        let ty = found.ty.clone();
        let span = found.span;
        widen(found, want).or_else(|| {
            let text = format!("{what} is {want}, and `{}` is {ty}", self.text(span));
            self.error(Diagnostic::new(Code::WrongType, span, text));
            None
        })
    }

    /// A part of a condition.
    pub fn truth(&mut self, e: &ast::Expr, scope: Scope) -> Option<Expr> {
        let found = self.expr(e, scope, Some(&Type::Bool))?;
        if found.ty == Type::Bool {
            return Some(found);
        }
        let text = format!("a condition is true or false, and `{}` is {}", self.text(e.span), found.ty);
        self.error(Diagnostic::new(Code::WrongType, e.span, text).help("compare it with something"));
        None
    }

    /// A whole condition, terms and all, as one expression.
    pub fn condition(&mut self, e: &ast::Expr, scope: Scope) -> Option<Expr> {
        self.truth(e, scope)
    }

    /// The terms of a `where`; those that use `prev` hold where there is none.
    pub fn terms(&mut self, e: &ast::Expr, scope: Scope) -> Vec<Expr> {
        let mut terms = Vec::new();
        let mut parts = Vec::new();
        flatten(e, BinaryOp::And, &mut parts);
        for part in parts {
            let Some(term) = self.truth(part, scope) else { continue };
            let span = term.span;
            terms.push(match (uses_prev(&term), scope.site) {
                (true, Site::Where(_)) => truth_of(ExprKind::PrevOr(Box::new(term)), span),
                _ => term,
            });
        }
        terms
    }

    /// `a and b and c`, in one node.
    fn junction(&mut self, e: &ast::Expr, scope: Scope) -> Option<Expr> {
        let ast::ExprKind::Binary(op, ..) = &e.kind else { return None };
        let mut parts = Vec::new();
        flatten(e, *op, &mut parts);
        let terms: Vec<Option<Expr>> = parts.into_iter().map(|p| self.truth(p, scope)).collect();
        let terms: Vec<Expr> = terms.into_iter().collect::<Option<_>>()?;
        let kind = if *op == BinaryOp::And { ExprKind::And(terms) } else { ExprKind::Or(terms) };
        Some(truth_of(kind, e.span))
    }

    fn negated(&mut self, inner: &ast::Expr, span: Span, scope: Scope, want: Option<&Type>) -> Option<Expr> {
        let inner = self.expr(inner, scope, want)?;
        if !matches!(inner.ty, Type::Int | Type::Float | Type::Decimal | Type::Duration) {
            let text = format!("`-` takes a number or a duration, and `{}` is {}", self.text(inner.span), inner.ty);
            self.error(Diagnostic::new(Code::WrongType, inner.span, text));
            return None;
        }
        let ty = inner.ty.clone();
        let constant = match &inner.kind {
            ExprKind::Const(Value::Int(v)) => v.checked_neg().map(Value::Int),
            ExprKind::Const(Value::Float(v)) => Some(Value::Float(-v)),
            ExprKind::Const(Value::Decimal(v)) => Some(Value::Decimal(-v)),
            ExprKind::Const(Value::Duration(v)) => v.checked_neg().map(Value::Duration),
            _ => None,
        };
        let kind = constant.map_or_else(|| ExprKind::Neg(Box::new(inner)), ExprKind::Const);
        Some(Expr { kind, ty, span })
    }

    fn literal(&mut self, literal: &Literal, span: Span, want: Option<&Type>) -> Expr {
        let (value, ty) = match literal {
            Literal::Bool(b) => (Value::Bool(*b), Type::Bool),
            Literal::Int(n) => (Value::Int(*n), Type::Int),
            Literal::Number(text) => return self.number(text, span, want),
            Literal::Text(text) => (Value::text(text.clone()), Type::String),
            Literal::Duration(ms) => (Value::Duration(*ms), Type::Duration),
            Literal::Timestamp(ms) => (Value::Timestamp(*ms), Type::Timestamp),
            Literal::Ip(ip) => (Value::Ip(*ip), Type::Ip),
            Literal::Cidr(ip, bits) => (Value::Cidr(*ip, *bits), Type::Cidr),
        };
        Expr { kind: ExprKind::Const(value), ty, span }
    }

    /// `0.5`: a decimal where one is expected, else a float.
    fn number(&mut self, text: &str, span: Span, want: Option<&Type>) -> Expr {
        let wants_decimal = matches!(want, Some(Type::Decimal));
        let value = match rust_decimal::Decimal::from_str_exact(text) {
            Ok(exact) if wants_decimal => Value::Decimal(exact),
            Err(_) if wants_decimal => {
                self.error(Diagnostic::new(Code::BadLiteral, span, format!("`{text}` has more than 28 digits")));
                Value::Decimal(rust_decimal::Decimal::ZERO)
            }
            _ => Value::Float(text.parse().unwrap_or(f64::INFINITY)),
        };
        let ty = if wants_decimal { Type::Decimal } else { Type::Float };
        Expr { kind: ExprKind::Const(value), ty, span }
    }

    fn list(&mut self, items: &[ast::Expr], span: Span, scope: Scope, want: Option<&Type>) -> Option<Expr> {
        let want = match want {
            Some(Type::List(of)) => Some(&**of),
            _ => None,
        };
        if items.is_empty() && want.is_none() {
            self.error(Diagnostic::new(Code::WrongType, span, "an empty list has no type here"));
            return None;
        }
        let items = self.alike(items, scope, want)?;
        let ty = items.first().map(|e| e.ty.clone()).or_else(|| want.cloned())?;
        Some(Expr { kind: ExprKind::List(items), ty: Type::List(Box::new(ty)), span })
    }

    /// Expressions of one type, ints widened where others are floats or decimals.
    pub fn alike(&mut self, items: &[ast::Expr], scope: Scope, want: Option<&Type>) -> Option<Vec<Expr>> {
        // Fixed types first, so that literals with a point know what they are.
        let mut ty: Option<Type> = want.cloned();
        let mut done: Vec<Option<Expr>> = items.iter().map(|_| None).collect();
        for flexible in [false, true] {
            for (i, e) in items.iter().enumerate().filter(|(_, e)| is_flexible(e) == flexible) {
                done[i] = self.expr(e, scope, ty.as_ref());
                let Some(found) = &done[i] else { continue };
                match &ty {
                    None => ty = Some(found.ty.clone()),
                    Some(Type::Int) if is_number(&found.ty) => ty = Some(found.ty.clone()),
                    Some(_) => {}
                }
            }
        }
        let ty = ty?;
        let items: Vec<Expr> = done.into_iter().collect::<Option<_>>()?;
        items.into_iter().map(|e| self.as_type(e, &ty)).collect()
    }

    /// The same value as `ty`, or a finding.
    pub fn as_type(&mut self, e: Expr, ty: &Type) -> Option<Expr> {
        let (found, span) = (e.ty.clone(), e.span);
        widen(e, ty).or_else(|| {
            self.differ(span, ty, span, &found);
            None
        })
    }
}

/// A node of type bool.
pub(super) fn truth_of(kind: ExprKind, span: Span) -> Expr {
    Expr { kind, ty: Type::Bool, span }
}

/// Int, float or decimal.
pub(super) fn is_number(ty: &Type) -> bool {
    matches!(ty, Type::Int | Type::Float | Type::Decimal)
}

/// The expression as a value of `ty`: itself, or an int as a float or decimal; `None` where it is neither.
pub(super) fn widen(e: Expr, ty: &Type) -> Option<Expr> {
    if e.ty == *ty {
        return Some(e);
    }
    if e.ty != Type::Int || !is_number(ty) {
        return None;
    }
    let span = e.span;
    let kind = match (&e.kind, ty) {
        (ExprKind::Const(Value::Int(n)), Type::Float) => ExprKind::Const(Value::Float(*n as f64)),
        (ExprKind::Const(Value::Int(n)), Type::Decimal) => ExprKind::Const(Value::Decimal((*n).into())),
        _ => ExprKind::Widen(Box::new(e)),
    };
    Some(Expr { kind, ty: ty.clone(), span })
}

/// The parts of a chain of one operator.
pub(super) fn flatten<'e>(e: &'e ast::Expr, op: BinaryOp, parts: &mut Vec<&'e ast::Expr>) {
    match &e.kind {
        ast::ExprKind::Binary(found, a, b) if *found == op => {
            flatten(a, op, parts);
            flatten(b, op, parts);
        }
        _ => parts.push(e),
    }
}

/// Whether only literals with a point decide its type: they take the other side's.
pub(super) fn is_flexible(e: &ast::Expr) -> bool {
    use ast::ExprKind as K;
    let is_int = |e: &ast::Expr| matches!(e.kind, K::Literal(Literal::Int(_)));
    match &e.kind {
        K::Literal(Literal::Number(_)) => true,
        K::Unary(UnaryOp::Neg, a) => is_flexible(a),
        K::Binary(
            BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem | BinaryOp::Coalesce,
            a,
            b,
        ) => (is_flexible(a) && (is_flexible(b) || is_int(b))) || (is_int(a) && is_flexible(b)),
        K::List(items) => items.iter().any(is_flexible) && items.iter().all(|i| is_flexible(i) || is_int(i)),
        K::Call(call) if call.name.text == "if" => {
            call.args.iter().skip(1).all(|a| is_flexible(&a.value) || is_int(&a.value))
                && call.args.iter().skip(1).any(|a| is_flexible(&a.value))
        }
        _ => false,
    }
}

/// Whether a condition reads the element before, other than inside an aggregate.
fn uses_prev(e: &Expr) -> bool {
    if let ExprKind::Field(Of::Prev, _) = e.kind {
        return true;
    }
    let mut found = false;
    crate::compile::walk::children(e, &mut |c| found |= uses_prev(c));
    found
}
