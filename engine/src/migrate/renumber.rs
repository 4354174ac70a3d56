//! An old rule set in the field numbers of a new one, where fields of event types were added, taken away or put in another order: fields are
//! told apart by their names.

use std::borrow::Cow;

use lapwing_dsl::compile::walk::children_mut;
use lapwing_dsl::ir::{Expr, ExprKind, Of, Rule, WindowKey};
use lapwing_dsl::program::Program;
use lapwing_dsl::schema::{EventId, EventType, FieldId, Schema};

use crate::rule_set::RuleSet;

/// The old rule set with the fields of each event type that is still there under the numbers that they have now. Those that are gone have
/// numbers behind all others.
pub fn in_numbers_of<'o>(old: &'o RuleSet, new: &Schema) -> Cow<'o, RuleSet> {
    let fields: Vec<Vec<FieldId>> = old.schema.events.iter().map(|event| numbers(event, new)).collect();
    let same = |of_event: &Vec<FieldId>| of_event.iter().enumerate().all(|(i, f)| usize::from(f.0) == i);
    if fields.iter().all(same) {
        return Cow::Borrowed(old);
    }
    let renumber = Renumber { fields };
    Cow::Owned(old.with_programs(|programs| {
        for (event, now) in programs.schema.events.iter_mut().zip(&renumber.fields) {
            renumbered(event, now, new);
        }
        for entry in &mut programs.rules {
            let mut program = Program::clone(&entry.program);
            renumber.program(&mut program);
            entry.program = program.into();
        }
        for window in &mut programs.windows {
            renumber.window(&mut window.spec);
            let event = window.spec.event;
            window.keys.iter_mut().for_each(|key| renumber.all(key, event));
        }
    }))
}

/// For each field of an event type its number in the new schema.
fn numbers(event: &EventType, new: &Schema) -> Vec<FieldId> {
    let now = new.find(&event.name).map(|id| new.event(id));
    let mut next = now.map_or(0, |now| now.fields.len());
    let number = |(i, field): (usize, &lapwing_dsl::schema::Field)| match now {
        None => FieldId(i as u16),
        Some(now) => now.find(&field.name).unwrap_or_else(|| {
            next += 1;
            FieldId(next as u16 - 1)
        }),
    };
    event.fields.iter().enumerate().map(number).collect()
}

/// The event type with its fields at their new places. What is new stands there as it is declared now: nothing old reads it.
fn renumbered(event: &mut EventType, now: &[FieldId], new: &Schema) {
    let Some(declared) = new.find(&event.name).map(|id| new.event(id)) else { return };
    let mut fields = declared.fields.clone();
    event.at = now[usize::from(event.at.0)];
    for (field, number) in event.fields.drain(..).zip(now) {
        match fields.get_mut(usize::from(number.0)) {
            Some(place) => *place = field,
            None => fields.push(field),
        }
    }
    event.fields = fields;
}

struct Renumber {
    /// For each event type and field.
    fields: Vec<Vec<FieldId>>,
}

impl Renumber {
    fn all(&self, fields: &mut [FieldId], event: EventId) {
        fields.iter_mut().for_each(|field| *field = self.fields[usize::from(event.0)][usize::from(field.0)]);
    }

    fn program(&self, program: &mut Program) {
        let steps: Vec<EventId> = program.rule.steps.iter().map(|s| s.event).collect();
        self.rule(&mut program.rule, &steps);
        for (i, condition) in program.conditions.iter_mut().enumerate() {
            let terms = condition.event.iter_mut().chain(&mut condition.key).chain(&mut condition.run);
            terms.for_each(|e| self.expr(e, Some(steps[i]), None, &steps));
        }
        for (fields, event) in program.captures.iter_mut().zip(&steps) {
            self.all(fields, *event);
        }
    }

    fn rule(&self, rule: &mut Rule, steps: &[EventId]) {
        rule.key.fields.iter_mut().for_each(|(event, fields)| self.all(fields, *event));
        for step in &mut rule.steps {
            self.all(&mut step.key, step.event);
            let exprs = step.filter.iter_mut().chain(&mut step.until);
            exprs.for_each(|e| self.expr(e, Some(step.event), None, steps));
        }
        rule.windows.iter_mut().for_each(|window| self.window(window));
        if let Some(stop) = &mut rule.stop {
            self.all(&mut stop.key, stop.event);
            stop.filter.iter_mut().for_each(|e| self.expr(e, Some(stop.event), None, steps));
        }
        if let Some(into) = &mut rule.into {
            self.all(&mut into.fields, into.event);
        }
        let emit = rule.emit.iter_mut().map(|(_, e)| e);
        let suppress = rule.suppress.iter_mut().flat_map(|s| s.by.iter_mut().flatten());
        let results = rule.when.iter_mut().chain(emit).chain(&mut rule.message).chain([&mut rule.severity]);
        results.chain(&mut rule.risk).chain(suppress).for_each(|e| self.expr(e, None, None, steps));
    }

    fn window(&self, window: &mut lapwing_dsl::ir::Window) {
        let event = window.event;
        window.filter.iter_mut().chain(&mut window.args).for_each(|e| self.expr(e, Some(event), None, &[]));
        match &mut window.key {
            WindowKey::Rule(fields) => self.all(fields, event),
            WindowKey::Input => {}
            WindowKey::Fields { counted, reader, .. } => {
                self.all(counted, event);
                reader.iter_mut().for_each(|(event, fields)| self.all(fields, *event));
            }
        }
    }

    /// `candidate` is the type of the event that is judged, `element` that of the aggregate around.
    fn expr(&self, expr: &mut Expr, candidate: Option<EventId>, element: Option<EventId>, steps: &[EventId]) {
        let mut element = element;
        match &mut expr.kind {
            ExprKind::Field(of, field) => {
                let event = match of {
                    Of::Step(step, _) => Some(steps[usize::from(step.0)]),
                    Of::Candidate => candidate,
                    Of::Prev => candidate.or(element),
                    Of::Element | Of::ElementPrev => element,
                };
                if let Some(event) = event {
                    self.all(std::slice::from_mut(field), event);
                }
            }
            ExprKind::Aggregate { step, .. } => element = Some(steps[usize::from(step.0)]),
            _ => {}
        }
        children_mut(expr, &mut |e| self.expr(e, candidate, element, steps));
    }
}
