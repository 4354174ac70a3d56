//! Conditions on one event alone, each once for all rules, judged at most once an event.

use std::cell::Cell;
use std::collections::BTreeMap;

use lapwing_dsl::ir::{Comparison, Expr, ExprKind, Of};
use lapwing_dsl::schema::{EventId, FieldId};
use lapwing_dsl::value::Value;

use crate::batch::EventView;
use crate::bound::BoundEvents;
use crate::data::Data;
use crate::eval::{Scope, compare};
use crate::rule_set::{RuleSet, Wait};

/// The conditions of a rule set.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    all: Vec<Term>,
}

/// One condition. What most are is told apart, so that no tree is walked for it.
#[derive(Clone, Debug)]
enum Term {
    /// A field that is `true`, or `false`.
    Is(FieldId, bool),
    /// A field against a constant of its type.
    Compared(FieldId, Comparison, Value<'static>),
    /// Anything else.
    Any(Expr),
}

impl Term {
    fn new(expr: Expr) -> Term {
        let field = |e: &Expr| match e.kind {
            ExprKind::Field(Of::Candidate, field) => Some(field),
            _ => None,
        };
        match &expr.kind {
            ExprKind::Field(Of::Candidate, field) => return Term::Is(*field, true),
            ExprKind::Not(inner) => {
                if let Some(field) = field(inner) {
                    return Term::Is(field, false);
                }
            }
            ExprKind::Compare(op, a, b) => match (field(a), &b.kind, field(b), &a.kind) {
                (Some(field), ExprKind::Const(value), ..) => return Term::Compared(field, *op, value.clone()),
                (.., Some(field), ExprKind::Const(value)) => {
                    return Term::Compared(field, op.mirrored(), value.clone());
                }
                _ => {}
            },
            _ => {}
        }
        Term::Any(expr)
    }

    fn holds(&self, event: EventView<'_>, data: &Data, errors: &Cell<u64>) -> bool {
        match self {
            Term::Is(field, wanted) => event.field(*field) == Value::Bool(*wanted),
            Term::Compared(field, op, value) => compare(*op, &event.field(*field), value) == Some(true),
            Term::Any(expr) => {
                let none = BoundEvents::default();
                Scope::of_event(event, &none, data, errors).holds(expr)
            }
        }
    }
}

/// Collects the conditions of a rule set.
#[derive(Debug, Default)]
pub struct TermsBuilder {
    terms: Terms,
    /// By event type and a faithful picture.
    numbers: BTreeMap<(EventId, String), u32>,
}

impl TermsBuilder {
    /// The number of a condition on events of a type.
    pub fn add(&mut self, event: EventId, expr: &Expr) -> u32 {
        let mut bare = expr.clone();
        strip_spans(&mut bare);
        let all = &mut self.terms.all;
        *self.numbers.entry((event, format!("{:?}", bare.kind))).or_insert_with(|| {
            all.push(Term::new(bare));
            all.len() as u32 - 1
        })
    }

    /// The conditions.
    pub fn finish(self) -> Terms {
        self.terms
    }
}

/// Takes the places in the text out of an expression.
pub fn strip_spans(expr: &mut Expr) {
    expr.span = Default::default();
    lapwing_dsl::compile::walk::children_mut(expr, &mut strip_spans);
}

/// What is known of the conditions for the event at hand.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    event: u64,
    /// For each condition twice the event for which it was judged, and one more where it held.
    of: Vec<Cell<u64>>,
}

impl Judged {
    /// Goes on to the next event, of a rule set with these conditions.
    pub fn next_event(&mut self, terms: &Terms) {
        self.event += 1;
        if self.of.len() != terms.all.len() {
            self.of = vec![Cell::new(0); terms.all.len()];
        }
    }

    /// Forgets everything: the rule set has changed.
    pub fn forget(&mut self) {
        self.of.clear();
    }

    /// Whether the event at hand meets all conditions on the event alone of what a run waits for.
    #[inline]
    pub fn all_hold(&self, rules: &RuleSet, wait: &Wait, event: EventView<'_>, errors: &Cell<u64>) -> bool {
        let terms = &rules.wait_terms[wait.terms.0 as usize..wait.terms.1 as usize];
        terms.iter().all(|t| self.holds(rules, *t, event, errors))
    }

    #[inline]
    fn holds(&self, rules: &RuleSet, number: u32, event: EventView<'_>, errors: &Cell<u64>) -> bool {
        let known = &self.of[number as usize];
        if known.get() >> 1 != self.event {
            let holds = rules.terms.all[number as usize].holds(event, &rules.data, errors);
            known.set(self.event << 1 | u64::from(holds));
        }
        known.get() & 1 == 1
    }
}
