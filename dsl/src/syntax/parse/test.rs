//! Test declarations and their steps.

use pest::iterators::Pair;

use super::Rule;
use super::build::{Builder, all, find, last, must, only};
use crate::syntax::ast::{Expr, ExprKind, Ident, Literal, TestDecl, TestEvent, TestStep, TestStepKind, UnaryOp};

impl Builder<'_> {
    /// `test_decl`
    pub fn test_decl(&mut self, pair: Pair<Rule>) -> TestDecl {
        TestDecl {
            rule: self.ident(&must(&pair, Rule::ident)),
            name: self.string(&must(&pair, Rule::string)),
            steps: self.steps(&pair),
            span: self.span(&pair),
        }
    }

    fn steps(&mut self, pair: &Pair<Rule>) -> Vec<TestStep> {
        all(&must(pair, Rule::steps), Rule::test_step).map(|p| self.test_step(p)).collect()
    }

    fn test_step(&mut self, pair: Pair<Rule>) -> TestStep {
        let span = self.span(&pair);
        let p = only(pair);
        let length = find(&p, Rule::duration);
        let kind = match p.as_rule() {
            Rule::t_after => TestStepKind::After(self.duration(&must(&p, Rule::duration)), self.steps(&p)),
            Rule::t_at => TestStepKind::At(self.timestamp(&must(&p, Rule::timestamp)), self.steps(&p)),
            Rule::t_repeat => TestStepKind::Repeat {
                count: self.count(&must(&p, Rule::int)),
                every: length.map(|p| self.duration(&p)),
                steps: self.steps(&p),
            },
            Rule::t_watermark => TestStepKind::Watermark(self.duration(&must(&p, Rule::duration))),
            Rule::t_default => TestStepKind::Default(self.test_event(last(p))),
            Rule::t_late => TestStepKind::ExpectLate(self.count(&must(&p, Rule::int))),
            Rule::t_expect => TestStepKind::Expect {
                count: find(&p, Rule::int).map_or(0, |n| self.count(&n)),
                fields: find(&p, Rule::pairs).map_or_else(Vec::new, |f| self.pairs(f)),
            },
            Rule::t_list => TestStepKind::GivenList(self.given_name(&p), self.list(last(p))),
            Rule::t_table => {
                let rows = all(&p, Rule::table_row).map(|row| self.table_row(row)).collect();
                TestStepKind::GivenTable(self.given_name(&p), rows)
            }
            Rule::t_geoip => {
                TestStepKind::GivenGeoip(all(&p, Rule::table_row).map(|row| self.table_row(row)).collect())
            }
            Rule::t_model => TestStepKind::GivenModel(self.given_name(&p), self.expr(last(p))),
            _ => TestStepKind::Event(self.test_event(p)),
        };
        TestStep { kind, span }
    }

    fn given_name(&self, pair: &Pair<Rule>) -> Ident {
        self.ident(&must(pair, Rule::ident))
    }

    fn test_event(&mut self, pair: Pair<Rule>) -> TestEvent {
        TestEvent {
            event: self.ident(&must(&pair, Rule::ident)),
            fields: self.pairs(must(&pair, Rule::pairs)),
            span: self.span(&pair),
        }
    }

    fn table_row(&mut self, pair: Pair<Rule>) -> (Vec<Expr>, Vec<(Ident, Expr)>) {
        let key = must(&pair, Rule::table_key).into_inner().map(|p| self.key_part(p)).collect();
        (key, self.pairs(must(&pair, Rule::pairs)))
    }

    /// A bare word is a text: `{ ann: { … } }`.
    fn key_part(&mut self, pair: Pair<Rule>) -> Expr {
        let span = self.span(&pair);
        let negative = find(&pair, Rule::minus).is_some();
        let inner = last(pair);
        let place = self.span(&inner);
        let literal = match inner.as_rule() {
            Rule::literal => self.literal(inner),
            _ => Literal::Text(inner.as_str().to_owned()),
        };
        let value = Expr { kind: ExprKind::Literal(literal), span: place };
        if negative { Expr { kind: ExprKind::Unary(UnaryOp::Neg, Box::new(value)), span } } else { value }
    }

    /// `pairs`: `{ name: expr, … }`
    pub fn pairs(&mut self, pair: Pair<Rule>) -> Vec<(Ident, Expr)> {
        pair.into_inner()
            .map(|p| {
                let name = self.ident(&must(&p, Rule::ident));
                (name, self.expr(last(p)))
            })
            .collect()
    }
}
