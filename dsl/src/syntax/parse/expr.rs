//! Expressions, keys and windows.

use pest::iterators::Pair;

use super::Rule;
use super::build::{Builder, all, find, last, must, only};
use crate::syntax::ast::{
    Arg, BinaryOp, By, Call, DurationLit, Expr, ExprKind, InTarget, KeyField, NumberLit, UnaryOp, Window, WindowKind,
};

/// A chain of `and` or `or` with more terms than this is flattened and balanced, so that no chain of
/// conditions makes a deep tree. The printer relies on it: it writes such a chain without parentheses.
pub(in crate::syntax) const CHAIN_MAX: usize = 16;

impl Builder<'_> {
    /// `expr`
    pub fn expr(&mut self, pair: Pair<Rule>) -> Expr {
        let terms = all(&pair, Rule::and_expr).map(|p| self.and_expr(p)).collect();
        chain(BinaryOp::Or, terms)
    }

    fn and_expr(&mut self, pair: Pair<Rule>) -> Expr {
        let terms = all(&pair, Rule::not_expr).map(|p| self.not_expr(p)).collect();
        chain(BinaryOp::And, terms)
    }

    fn not_expr(&mut self, pair: Pair<Rule>) -> Expr {
        let span = self.span(&pair);
        let inner = last(pair);
        match inner.as_rule() {
            Rule::not_expr => {
                let kind = ExprKind::Unary(UnaryOp::Not, Box::new(self.not_expr(inner)));
                Expr { kind, span }
            }
            _ => self.comparison(inner),
        }
    }

    fn comparison(&mut self, pair: Pair<Rule>) -> Expr {
        let span = self.span(&pair);
        let mut inner = pair.into_inner();
        let left = self.left(inner.next().expect("a comparison has a left side"));
        let Some(op) = inner.next() else { return left };
        let kind = match op.as_rule() {
            Rule::in_op => self.in_op(left, op),
            Rule::is_op => {
                let missing = find(&op, Rule::k_missing).is_some();
                ExprKind::Is { item: Box::new(left), missing }
            }
            _ => {
                let right = self.left(inner.next().expect("a comparison has a right side"));
                ExprKind::Binary(binary_op(op.as_str()), Box::new(left), Box::new(right))
            }
        };
        Expr { kind, span }
    }

    fn in_op(&mut self, item: Expr, pair: Pair<Rule>) -> ExprKind {
        let negated = find(&pair, Rule::negated).is_some();
        let mut ends = all(&pair, Rule::coalesce);
        let low = self.left(ends.next().expect("`in` has a right side"));
        let within = match ends.next() {
            Some(high) => InTarget::Range(low, self.left(high)),
            None => InTarget::Expr(low),
        };
        ExprKind::In { item: Box::new(item), within: Box::new(within), negated }
    }

    /// A level of operators that lean to the left: `coalesce`, `sum`, `product`, and below them `unary`.
    fn left(&mut self, pair: Pair<Rule>) -> Expr {
        if pair.as_rule() == Rule::unary {
            return self.unary(pair);
        }
        let mut inner = pair.into_inner();
        let mut value = self.left(inner.next().expect("a level has an operand"));
        while let Some(op) = inner.next() {
            let right = self.left(inner.next().expect("an operator has a right side"));
            value = binary(binary_op(op.as_str()), value, right);
        }
        value
    }

    fn unary(&mut self, pair: Pair<Rule>) -> Expr {
        let span = self.span(&pair);
        let inner = last(pair);
        match inner.as_rule() {
            Rule::unary => Expr { kind: ExprKind::Unary(UnaryOp::Neg, Box::new(self.unary(inner))), span },
            _ => self.postfix(inner),
        }
    }

    fn postfix(&mut self, pair: Pair<Rule>) -> Expr {
        let start = self.span(&pair);
        let mut inner = pair.into_inner();
        let mut value = self.primary(inner.next().expect("a postfix expression has an operand"));
        for suffix in inner {
            let span = start.to(self.span(&suffix));
            let end = self.span(&suffix).end;
            let kind = match suffix.as_rule() {
                Rule::member => ExprKind::Member(Box::new(value), self.ident(&only(suffix))),
                _ => ExprKind::Index(Box::new(value), suffix.into_inner().map(|p| self.expr(p)).collect()),
            };
            value = Expr { kind, span: crate::syntax::Span { end, ..span } };
        }
        value
    }

    fn primary(&mut self, pair: Pair<Rule>) -> Expr {
        let span = self.span(&pair);
        let kind = match pair.as_rule() {
            Rule::literal => ExprKind::Literal(self.literal(pair)),
            Rule::list => return self.list(pair),
            Rule::paren => return self.expr(only(pair)),
            Rule::call => ExprKind::Call(self.call(pair)),
            _ => ExprKind::Name(pair.as_str().to_owned()),
        };
        Expr { kind, span }
    }

    /// `list`
    pub fn list(&mut self, pair: Pair<Rule>) -> Expr {
        let span = self.span(&pair);
        Expr { kind: ExprKind::List(pair.into_inner().map(|p| self.expr(p)).collect()), span }
    }

    fn call(&mut self, pair: Pair<Rule>) -> Call {
        let name = self.ident(&must(&pair, Rule::name));
        let args = all(&pair, Rule::arg).map(|p| self.arg(p)).collect();
        let filter = find(&pair, Rule::where_part).map(|p| Box::new(self.expr(last(p))));
        let over = find(&pair, Rule::over_part);
        let by = over.as_ref().and_then(|p| find(p, Rule::by)).map(|p| self.by(p));
        let over = over.map(|p| self.window(must(&p, Rule::window)));
        Call { name, args, filter, by, over }
    }

    fn arg(&mut self, pair: Pair<Rule>) -> Arg {
        let name = find(&pair, Rule::arg_name).map(|p| self.ident(&only(p)));
        Arg { name, value: self.expr(last(pair)) }
    }

    /// `window`
    pub fn window(&mut self, pair: Pair<Rule>) -> Window {
        let span = self.span(&pair);
        let offset = find(&pair, Rule::duration).map(|p| self.duration(&p));
        let zone = find(&pair, Rule::string).map(|p| self.string(&p));
        let kind = only(pair);
        let lengths: Vec<DurationLit> = all(&kind, Rule::duration).map(|p| self.duration(&p)).collect();
        let kind = match kind.as_rule() {
            Rule::w_session => WindowKind::Session(lengths[0]),
            Rule::w_tumbling => WindowKind::Tumbling(lengths[0]),
            Rule::w_hopping => WindowKind::Hopping(lengths[0], lengths[1]),
            Rule::w_last => WindowKind::Last(self.int(&must(&kind, Rule::int)).unsigned_abs()),
            Rule::w_delta => {
                let number = only(must(&kind, Rule::percent));
                let percent = NumberLit { text: number.as_str().to_owned(), span: self.span(&number) };
                WindowKind::Delta(Box::new(self.expr(must(&kind, Rule::expr))), percent)
            }
            _ => WindowKind::Sliding(lengths[0]),
        };
        Window { kind, zone, offset, span }
    }

    /// `by`
    pub fn by(&mut self, pair: Pair<Rule>) -> By {
        match find(&pair, Rule::by_types) {
            Some(types) => {
                By::PerType(types.into_inner().map(|p| (self.ident(&only(p.clone())), self.key_fields(&p))).collect())
            }
            None => By::Fields(self.key_fields(&pair)),
        }
    }

    fn key_fields(&mut self, pair: &Pair<Rule>) -> Vec<KeyField> {
        all(pair, Rule::key_field)
            .map(|p| KeyField {
                name: self.ident(&must(&p, Rule::ident)),
                optional: find(&p, Rule::optional).is_some(),
            })
            .collect()
    }
}

fn binary(op: BinaryOp, left: Expr, right: Expr) -> Expr {
    let span = left.span.to(right.span);
    Expr { kind: ExprKind::Binary(op, Box::new(left), Box::new(right)), span }
}

/// `a and b and c`: leaning to the left, or balanced where it is long.
fn chain(op: BinaryOp, terms: Vec<Expr>) -> Expr {
    let total: usize = terms.iter().map(|t| term_count(op, t)).sum();
    if terms.len() == 1 || total <= CHAIN_MAX {
        return terms.into_iter().reduce(|a, b| binary(op, a, b)).expect("a chain has a term");
    }
    let mut flat = Vec::with_capacity(total);
    terms.into_iter().for_each(|t| flatten(op, t, &mut flat));
    balanced(op, flat)
}

/// How many terms a chain of `op` has, counted through both sides.
pub(in crate::syntax) fn term_count(op: BinaryOp, expr: &Expr) -> usize {
    match &expr.kind {
        ExprKind::Binary(found, a, b) if *found == op => term_count(op, a) + term_count(op, b),
        _ => 1,
    }
}

fn flatten(op: BinaryOp, expr: Expr, into: &mut Vec<Expr>) {
    match expr.kind {
        ExprKind::Binary(found, a, b) if found == op => {
            flatten(op, *a, into);
            flatten(op, *b, into);
        }
        _ => into.push(expr),
    }
}

fn balanced(op: BinaryOp, mut terms: Vec<Expr>) -> Expr {
    if terms.len() == 1 {
        return terms.pop().expect("a chain has a term");
    }
    let right = terms.split_off(terms.len() / 2);
    binary(op, balanced(op, terms), balanced(op, right))
}

fn binary_op(text: &str) -> BinaryOp {
    match text.trim() {
        "==" => BinaryOp::Eq,
        "!=" => BinaryOp::Ne,
        "<" => BinaryOp::Lt,
        "<=" => BinaryOp::Le,
        ">" => BinaryOp::Gt,
        ">=" => BinaryOp::Ge,
        "like" => BinaryOp::Like,
        "ilike" => BinaryOp::ILike,
        "matches" => BinaryOp::Matches,
        "??" => BinaryOp::Coalesce,
        "+" => BinaryOp::Add,
        "-" => BinaryOp::Sub,
        "*" => BinaryOp::Mul,
        "/" => BinaryOp::Div,
        "%" => BinaryOp::Rem,
        other => unreachable!("the grammar knows no operator `{other}`"),
    }
}
