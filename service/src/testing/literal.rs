//! Values as tests write them.

use lapwing_dsl::syntax::ast::{Expr, ExprKind, Literal, UnaryOp};
use lapwing_dsl::value::{Type, Value};

use crate::data::decode::field;

/// The value of an expression as a field of a type; `None` where it is none.
pub fn value(expr: &Expr, ty: &Type) -> Option<Value<'static>> {
    let plain = plain(expr)?;
    Some(match (plain, ty) {
        (Value::Missing, _) => Value::Missing,
        (Value::Int(v), Type::Float) => Value::Float(v as f64),
        (Value::Int(v), Type::Decimal) => Value::Decimal(v.into()),
        (Value::Int(v), Type::Timestamp) => Value::Timestamp(v),
        (Value::Float(_), Type::Decimal) => Value::Decimal(number(expr)?.parse().ok()?),
        (Value::Text(t), Type::Ip) => Value::Ip(field::ip(&t)?),
        (Value::Text(t), Type::Timestamp) => Value::Timestamp(field::timestamp(&t)?),
        (Value::List(items), Type::List(_)) => Value::List(items),
        (v @ Value::Bool(_), Type::Bool)
        | (v @ Value::Int(_), Type::Int)
        | (v @ Value::Float(_), Type::Float)
        | (v @ Value::Text(_), Type::String)
        | (v @ Value::Timestamp(_), Type::Timestamp)
        | (v @ Value::Duration(_), Type::Duration)
        | (v @ Value::Ip(_), Type::Ip)
        | (v @ Value::Cidr(..), Type::Cidr)
        | (v @ Value::Geo(..), Type::Geo) => v,
        _ => return None,
    })
}

/// An entry of a list of networks that is written as a text, or as an address.
pub fn network(expr: &Expr) -> Option<Value<'static>> {
    match plain(expr)? {
        Value::Text(text) => {
            field::plain(&text, &Type::Cidr).or_else(|_| field::plain(&text, &Type::Ip)).ok().map(Value::into_static)
        }
        ip @ Value::Ip(_) => Some(ip),
        _ => None,
    }
}

/// The digits of a number as written, with its sign.
fn number(expr: &Expr) -> Option<String> {
    match &expr.kind {
        ExprKind::Literal(Literal::Number(digits)) => Some(digits.clone()),
        ExprKind::Unary(UnaryOp::Neg, inner) => Some(format!("-{}", number(inner)?)),
        _ => None,
    }
}

/// The value of a literal, a list of them, a negative number, `geo(lat, lon)` or `missing`.
pub fn plain(expr: &Expr) -> Option<Value<'static>> {
    Some(match &expr.kind {
        ExprKind::Literal(literal) => of_literal(literal)?,
        ExprKind::Name(name) if name == "missing" => Value::Missing,
        // A severity and the like.
        ExprKind::Name(name) => Value::text(name.clone()),
        ExprKind::List(items) => Value::List(items.iter().map(plain).collect::<Option<Vec<_>>>()?.into()),
        ExprKind::Unary(UnaryOp::Neg, inner) => match plain(inner)? {
            Value::Int(v) => Value::Int(v.checked_neg()?),
            Value::Float(v) => Value::Float(-v),
            Value::Duration(v) => Value::Duration(-v),
            _ => return None,
        },
        ExprKind::Call(call) if call.name.text == "geo" && call.args.len() == 2 => {
            let degrees = |i: usize| match plain(&call.args[i].value)? {
                Value::Int(v) => Some(v as f64),
                Value::Float(v) => Some(v),
                _ => None,
            };
            Value::Geo(degrees(0)?, degrees(1)?)
        }
        _ => return None,
    })
}

fn of_literal(literal: &Literal) -> Option<Value<'static>> {
    Some(match literal {
        Literal::Bool(v) => Value::Bool(*v),
        Literal::Int(v) => Value::Int(*v),
        Literal::Number(digits) => Value::Float(digits.parse().ok()?),
        Literal::Text(v) => Value::text(v.clone()),
        Literal::Duration(v) => Value::Duration(*v),
        Literal::Timestamp(v) => Value::Timestamp(*v),
        Literal::Ip(v) => Value::Ip(*v),
        Literal::Cidr(v, n) => Value::Cidr(*v, *n),
    })
}
