//! `in`: lists as written, list values, networks, ranges; declared lists are `lookup`'s.

use super::expr::{is_number, truth_of, widen};
use super::operators::constant;
use super::reach::Scope;
use super::rule::RuleCheck;
use crate::diagnostics::{Code, Diagnostic};
use crate::ir::{Expr, ExprKind};
use crate::syntax::Span;
use crate::syntax::ast::{self, InTarget};
use crate::value::Type;

impl RuleCheck<'_> {
    /// `item in within`.
    pub fn membership(&mut self, item: &ast::Expr, within: &InTarget, span: Span, scope: Scope) -> Option<Expr> {
        match within {
            InTarget::Range(low, high) => self.in_range(item, low, high, span, scope),
            InTarget::Expr(target) => match &target.kind {
                ast::ExprKind::List(members) => self.in_list(item, members, span, scope),
                ast::ExprKind::Name(name) if self.is_data_name(name, scope) => {
                    self.in_declared(item, name, target.span, span, scope)
                }
                _ => self.in_value(item, target, span, scope),
            },
        }
    }

    fn in_range(
        &mut self,
        item: &ast::Expr,
        low: &ast::Expr,
        high: &ast::Expr,
        span: Span,
        scope: Scope,
    ) -> Option<Expr> {
        let parts = self.alike_range(item, low, high, scope)?;
        let [item, low, high] = <[Expr; 3]>::try_from(parts).ok()?;
        if matches!(item.ty, Type::Bool | Type::Geo | Type::List(_) | Type::Cidr) {
            let text = format!("{} has no order, so there is no range of it", item.ty);
            self.error(Diagnostic::new(Code::WrongType, span, text));
            return None;
        }
        Some(truth_of(ExprKind::InRange(Box::new(item), Box::new(low), Box::new(high)), span))
    }

    fn alike_range(&mut self, item: &ast::Expr, low: &ast::Expr, high: &ast::Expr, scope: Scope) -> Option<Vec<Expr>> {
        let parts = [item.clone(), low.clone(), high.clone()];
        self.alike(&parts, scope, None)
    }

    fn in_list(&mut self, item: &ast::Expr, members: &[ast::Expr], span: Span, scope: Scope) -> Option<Expr> {
        let item = self.expr(item, scope, None);
        let want = item.as_ref().map(|i| i.ty.clone());
        let members: Vec<Option<Expr>> = members.iter().map(|m| self.expr(m, scope, want.as_ref())).collect();
        let (item, members) = (item?, members.into_iter().collect::<Option<Vec<Expr>>>()?);
        if item.ty == Type::Ip && members.iter().any(|m| m.ty == Type::Cidr) {
            return self.in_networks(item, members, span);
        }
        // An int among floats or decimals is one of them.
        let widest =
            members.iter().map(|m| &m.ty).find(|t| item.ty == Type::Int && is_number(t) && **t != Type::Int).cloned();
        let item = match widest {
            Some(ty) => widen(item, &ty)?,
            None => item,
        };
        let ty = item.ty.clone();
        let mut typed = Vec::with_capacity(members.len());
        for member in members {
            let (span, found) = (member.span, member.ty.clone());
            match widen(member, &ty) {
                Some(m) => typed.push(m),
                None => self.differ(item.span, &ty, span, &found),
            }
        }
        Some(truth_of(in_these(item, typed), span))
    }

    /// `ip in [10.0.0.0/8, 192.0.2.1]`: any of them.
    fn in_networks(&mut self, item: Expr, members: Vec<Expr>, span: Span) -> Option<Expr> {
        let (networks, others): (Vec<Expr>, Vec<Expr>) = members.into_iter().partition(|m| m.ty == Type::Cidr);
        let mut terms: Vec<Expr> = networks
            .into_iter()
            .map(|n| truth_of(ExprKind::InCidr(Box::new(item.clone()), Box::new(n)), span))
            .collect();
        if !others.is_empty() {
            let others = others.into_iter().map(|o| self.as_type(o, &Type::Ip)).collect::<Option<Vec<_>>>()?;
            terms.push(truth_of(in_these(item, others), span));
        }
        Some(if terms.len() == 1 { terms.remove(0) } else { truth_of(ExprKind::Or(terms), span) })
    }

    fn in_value(&mut self, item: &ast::Expr, target: &ast::Expr, span: Span, scope: Scope) -> Option<Expr> {
        let item = self.expr(item, scope, None);
        let list = self.expr(target, scope, None)?;
        let item = item?;
        match &list.ty {
            Type::Cidr if item.ty == Type::Ip => Some(truth_of(ExprKind::InCidr(Box::new(item), Box::new(list)), span)),
            Type::List(of) => {
                let item = if item.ty == **of {
                    item
                } else {
                    let (place, found) = (item.span, item.ty.clone());
                    match widen(item, of) {
                        Some(item) => item,
                        None => {
                            self.differ(place, &found, list.span, &list.ty.clone());
                            return None;
                        }
                    }
                };
                Some(truth_of(ExprKind::InValue(Box::new(item), Box::new(list)), span))
            }
            other => {
                let text = format!(
                    "`in` looks into a list, a network or a range, and `{}` is {other}",
                    self.text(target.span)
                );
                let finding = Diagnostic::new(Code::WrongType, target.span, text);
                self.error(match other {
                    Type::String => finding.help("for a part of a text write `contains(text, part)`"),
                    Type::Cidr => finding.help("only an ip is in a network"),
                    _ => finding,
                });
                None
            }
        }
    }
}

/// A set where all members are constants.
fn in_these(item: Expr, members: Vec<Expr>) -> ExprKind {
    let constants: Option<Vec<_>> = members.iter().map(|m| constant(m).cloned()).collect();
    match constants {
        Some(set) => ExprKind::InSet(Box::new(item), set),
        None => ExprKind::InList(Box::new(item), members),
    }
}
