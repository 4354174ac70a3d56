//! Finds which fields of a bound event must be kept.

use super::walk::{result_exprs, walk};
use crate::ir::{Expr, ExprKind, Of, Rule, StepId, WindowKey};
use crate::schema::{EventId, FieldId};

/// For each step the fields to keep, ascending; the event's time is kept anyway and left out here.
pub fn captures(rule: &Rule) -> Vec<Vec<FieldId>> {
    let mut kept = Kept { rule, fields: vec![Vec::new(); rule.steps.len()] };
    for (i, step) in rule.steps.iter().enumerate() {
        for expr in step.filter.iter().chain(&step.until) {
            kept.add(expr, StepId(i as u16));
        }
    }
    for expr in result_exprs(rule) {
        // `prev` stands only in a step's own condition or inside an aggregate.
        kept.add(expr, StepId(0));
    }
    // When time completes a match, the current event of its windows is the last one bound.
    for window in &rule.windows {
        if let WindowKey::Fields { reader, .. } = &window.key {
            for (event, fields) in reader {
                fields.iter().for_each(|f| kept.keep_for_event(*event, *f));
            }
        }
    }
    for fields in &mut kept.fields {
        fields.sort_unstable();
        fields.dedup();
    }
    kept.fields
}

struct Kept<'r> {
    rule: &'r Rule,
    fields: Vec<Vec<FieldId>>,
}

impl Kept<'_> {
    /// Adds what an expression reads of bound events; `home` is the step whose condition it is, or that an aggregate runs over.
    fn add(&mut self, expr: &Expr, home: StepId) {
        walk(expr, &mut |e| match &e.kind {
            ExprKind::Field(Of::Step(step, _), field) => self.keep(*step, *field),
            ExprKind::Field(Of::Prev, field) => self.keep_for_type(home, *field),
            ExprKind::Aggregate { step, args, .. } => args.iter().for_each(|a| self.add_element(a, *step)),
            _ => {}
        });
    }

    fn add_element(&mut self, expr: &Expr, step: StepId) {
        walk(expr, &mut |e| match &e.kind {
            ExprKind::Field(Of::Element, field) => self.keep(step, *field),
            ExprKind::Field(Of::ElementPrev, field) => self.keep_for_type(step, *field),
            _ => {}
        });
    }

    /// The event before may belong to any step of the same type.
    fn keep_for_type(&mut self, step: StepId, field: FieldId) {
        self.keep_for_event(self.rule.steps[step.0 as usize].event, field);
    }

    fn keep_for_event(&mut self, event: EventId, field: FieldId) {
        for i in 0..self.rule.steps.len() {
            if self.rule.steps[i].event == event && !self.rule.steps[i].absence {
                self.keep(StepId(i as u16), field);
            }
        }
    }

    fn keep(&mut self, step: StepId, field: FieldId) {
        self.fields[step.0 as usize].push(field);
    }
}
