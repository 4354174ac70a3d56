//! Declarations other than rules.

use pest::iterators::Pair;

use super::Rule;
use super::build::{Builder, all, find, last, must, only, run};
use super::explain::explain;
use super::scan::{Scan, TokenKind};
use super::split::Piece;
use crate::diagnostics::Diagnostic;
use crate::syntax::ast::{
    Decl, EventDecl, EventSource, FeatureDecl, FieldDecl, ListDecl, ModelDecl, StringLit, TableDecl, TypeExpr,
};

/// Reads a declaration that is no rule.
pub(super) fn read(scan: &Scan, piece: Piece, diagnostics: &mut Vec<Diagnostic>) -> Option<Decl> {
    let tokens = &scan.tokens[piece.from..piece.to];
    if tokens.iter().any(|t| t.kind == TokenKind::OpenText) {
        return None;
    }
    let mut text = String::from(piece.keyword);
    text.push_str(&scan.text[scan.tokens[piece.from].end..scan.tokens[piece.to - 1].end]);
    let base = scan.tokens[piece.from].end as isize - piece.keyword.len() as isize;
    match run(Rule::decl_entry, &text) {
        Ok(entry) => {
            let mut builder = Builder::slice(scan, base);
            let decl = builder.decl(only(entry));
            diagnostics.append(&mut builder.diagnostics);
            Some(decl)
        }
        Err(failure) => {
            let offset = (failure.offset as isize + base) as usize;
            let at_end = offset >= scan.tokens[piece.to - 1].end;
            if !(piece.broken && at_end) {
                diagnostics.push(explain(scan, piece.from, piece.to, offset, &failure.expected, piece.keyword));
            }
            None
        }
    }
}

impl Builder<'_> {
    fn decl(&mut self, pair: Pair<Rule>) -> Decl {
        match pair.as_rule() {
            Rule::event_decl => Decl::Event(self.event_decl(pair)),
            Rule::list_decl => Decl::List(ListDecl {
                name: self.ident(&must(&pair, Rule::ident)),
                ty: self.type_expr(&must(&pair, Rule::type_expr)),
                span: self.span(&pair),
            }),
            Rule::table_decl => Decl::Table(self.table_decl(pair)),
            Rule::model_decl => Decl::Model(self.model_decl(pair)),
            Rule::feature_decl => Decl::Feature(FeatureDecl {
                name: self.ident(&must(&pair, Rule::ident)),
                span: self.span(&pair),
                expr: self.expr(last(pair)),
            }),
            _ => Decl::Test(self.test_decl(pair)),
        }
    }

    fn event_decl(&mut self, pair: Pair<Rule>) -> EventDecl {
        EventDecl {
            name: self.ident(&must(&pair, Rule::ident)),
            source: find(&pair, Rule::event_source).map(|p| self.event_source(p)),
            fields: all(&pair, Rule::field).map(|p| self.field(p)).collect(),
            span: self.span(&pair),
        }
    }

    fn event_source(&mut self, pair: Pair<Rule>) -> EventSource {
        EventSource {
            path: self.string(&must(&pair, Rule::string)),
            values: all(&pair, Rule::literal).map(|p| self.literal(p)).collect(),
            span: self.span(&pair),
        }
    }

    fn field(&mut self, pair: Pair<Rule>) -> FieldDecl {
        let from = find(&pair, Rule::field_from);
        FieldDecl {
            name: self.ident(&must(&pair, Rule::ident)),
            ty: self.type_expr(&must(&pair, Rule::type_expr)),
            from: from.map_or_else(Vec::new, |p| all(&p, Rule::path).map(|p| self.path(p)).collect()),
            span: self.span(&pair),
        }
    }

    fn path(&mut self, pair: Pair<Rule>) -> StringLit {
        let inner = only(pair);
        match inner.as_rule() {
            Rule::string => self.string(&inner),
            _ => StringLit { value: inner.as_str().to_owned(), span: self.span(&inner) },
        }
    }

    fn type_expr(&mut self, pair: &Pair<Rule>) -> TypeExpr {
        TypeExpr {
            name: self.ident(&must(pair, Rule::ident)),
            element: find(pair, Rule::element_type).map(|p| self.ident(&only(p))),
            optional: find(pair, Rule::optional).is_some(),
            span: self.span(pair),
        }
    }

    fn table_decl(&mut self, pair: Pair<Rule>) -> TableDecl {
        let key = all(&pair, Rule::key_column).map(|p| {
            let ty = find(&p, Rule::type_expr).map(|t| self.type_expr(&t));
            (self.ident(&must(&p, Rule::ident)), ty)
        });
        TableDecl {
            key: key.collect(),
            name: self.ident(&must(&pair, Rule::ident)),
            columns: all(&pair, Rule::field).map(|p| self.field(p)).collect(),
            span: self.span(&pair),
        }
    }

    fn model_decl(&mut self, pair: Pair<Rule>) -> ModelDecl {
        let inputs = all(&pair, Rule::model_input)
            .map(|p| (self.ident(&must(&p, Rule::ident)), self.type_expr(&must(&p, Rule::type_expr))));
        ModelDecl {
            inputs: inputs.collect(),
            name: self.ident(&must(&pair, Rule::ident)),
            output: self.type_expr(&must(&pair, Rule::type_expr)),
            span: self.span(&pair),
        }
    }
}
