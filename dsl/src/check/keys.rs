//! The key of a rule and of its steps: which fields of which event type give it.

use super::names::suggest;
use super::rule::RuleCheck;
use crate::diagnostics::{Code, Diagnostic};
use crate::schema::{EventId, FieldId};
use crate::syntax::Span;
use crate::syntax::ast::{By, Ident, KeyField};
use crate::value::Type;

impl<'a> RuleCheck<'a> {
    /// Names and types of the key, from the first event type that gives it, then the fields of each step's type.
    pub fn rule_key(&mut self) {
        let Some(by) = self.by else { return };
        let first = match by {
            By::Fields(fields) => fields,
            By::PerType(types) => match types.first() {
                Some((_, fields)) => fields,
                None => return,
            },
        };
        self.key.names = first.iter().map(|f| f.name.text.clone()).collect();
        self.key.optional = first.iter().map(|f| f.optional).collect();
        self.refuse_doubled(first);
        if let By::PerType(types) = by {
            for (name, fields) in types {
                self.mapping(name, fields);
            }
        }
        for i in 0..self.steps.len() {
            let step = &self.steps[i];
            // Where every step of a type says itself what its key is, the rule's need not fit.
            if let (Some(event), true) = (step.event, step.step.by.is_none() || step.absence) {
                self.key_of(event, step.step.event.span);
            }
        }
    }

    fn refuse_doubled(&mut self, fields: &[KeyField]) {
        for (i, f) in fields.iter().enumerate() {
            if let Some(first) = fields[..i].iter().find(|g| g.name.text == f.name.text) {
                let text = format!("`{}` stands twice in the key", f.name.text);
                self.error(Diagnostic::new(Code::KeyField, f.name.span, text).also(first.name.span, "first here"));
            }
        }
    }

    /// `login: user`, in braces.
    fn mapping(&mut self, name: &Ident, fields: &[KeyField]) {
        let Some(event) = self.event_of(name) else { return };
        if fields.len() != self.key.names.len() {
            let text = format!(
                "the key has {} here and {} for the first type",
                count(fields.len()),
                count(self.key.names.len())
            );
            self.error(Diagnostic::new(Code::KeyField, name.span, text));
            self.keyless.push(event);
            return;
        }
        for (i, f) in fields.iter().enumerate() {
            self.key.optional[i] |= f.optional;
        }
        self.take_key(event, &fields.iter().map(|f| (f.name.text.as_str(), f.name.span)).collect::<Vec<_>>(), None);
    }

    /// The fields that give the rule's key for an event type, found once per type. `span` is where the type is named.
    pub fn key_of(&mut self, event: EventId, span: Span) -> Option<Vec<FieldId>> {
        let Some(by) = self.by else {
            self.add_key(event, Vec::new());
            return Some(Vec::new());
        };
        if let Some(fields) = self.key.of(event) {
            return Some(fields.to_vec());
        }
        if self.keyless.contains(&event) {
            return None;
        }
        let names = self.key.names.clone();
        let place = match by {
            By::Fields(fields) => fields.iter().map(|f| f.name.span).collect(),
            By::PerType(_) => vec![span; names.len()],
        };
        let fields: Vec<(&str, Span)> = names.iter().map(String::as_str).zip(place).collect();
        self.take_key(event, &fields, Some(span))
    }

    fn take_key(&mut self, event: EventId, fields: &[(&str, Span)], named_at: Option<Span>) -> Option<Vec<FieldId>> {
        let ids: Option<Vec<FieldId>> = fields
            .iter()
            .enumerate()
            .map(|(i, (name, span))| self.key_field(event, i, name, *span, named_at))
            .collect();
        match ids {
            Some(ids) => self.add_key(event, ids.clone()),
            None => self.keyless.push(event),
        }
        self.key.of(event).map(<[FieldId]>::to_vec)
    }

    fn add_key(&mut self, event: EventId, fields: Vec<FieldId>) {
        if self.key.of(event).is_none() {
            self.key.fields.push((event, fields));
        }
    }

    /// Part `i` of the key in an event type, of the type that this part has elsewhere.
    fn key_field(
        &mut self,
        event: EventId,
        i: usize,
        name: &str,
        span: Span,
        named_at: Option<Span>,
    ) -> Option<FieldId> {
        let ty = self.event_type(event);
        let Some(id) = ty.find(name) else {
            let text = format!("`{}` has no field `{name}`, so it gives no key", ty.name);
            let mut finding = Diagnostic::new(Code::KeyField, span, text);
            if let Some(at) = named_at.filter(|at| *at != span) {
                finding = finding.also(at, format!("`{}` is named here", ty.name));
            }
            let finding = suggest(finding, name, span, ty.fields.iter().map(|f| f.name.as_str()));
            let finding = if self.key.fields.is_empty() { finding } else { self.help_mapping(finding, event, name) };
            self.error(finding);
            return None;
        };
        let field = &ty.field(id).ty;
        if let Type::List(_) | Type::Geo = field {
            let text = format!("`{name}` of `{}` is {field}: a key is one value that can be compared", ty.name);
            self.error(Diagnostic::new(Code::KeyType, span, text));
            return None;
        }
        match self.key.types.get(i) {
            None => self.key.types.push(field.clone()),
            Some(known) if known != field => {
                let text = format!("the key is {known} elsewhere, but `{name}` of `{}` is {field}", ty.name);
                self.error(Diagnostic::new(Code::KeyType, span, text).help("declare the fields with one type"));
                return None;
            }
            Some(_) => {}
        }
        Some(id)
    }

    /// Some types have the field: the others may call it differently.
    fn help_mapping(&self, mut finding: Diagnostic, event: EventId, name: &str) -> Diagnostic {
        let Some((other, fields)) = self.key.fields.first() else { return finding };
        let (other, field) = (self.event_type(*other), fields.first());
        let theirs = field.map_or(name, |f| &other.field(*f).name);
        finding.fix = None;
        finding.help(format!(
            "where types call it differently, write `by {{ {}: {theirs}, {}: … }}`",
            other.name,
            self.event_type(event).name
        ))
    }

    /// The key fields of each step: its own, or the rule's.
    pub fn step_keys(&mut self) -> Vec<Vec<FieldId>> {
        (0..self.steps.len()).map(|i| self.step_key(i).unwrap_or_default()).collect()
    }

    fn step_key(&mut self, i: usize) -> Option<Vec<FieldId>> {
        let (step, event, absence) = (self.steps[i].step, self.steps[i].event?, self.steps[i].absence);
        let Some(by) = &step.by else { return self.key_of(event, step.event.span) };
        if absence {
            let finding = Diagnostic::new(Code::LooseLink, step.span, "an absence goes by the rule's key");
            self.error(finding.help("take its `by` away"));
            return None;
        }
        let fields = match by {
            By::Fields(fields) => fields,
            By::PerType(types) => match types.iter().find(|(n, _)| n.text == step.event.text) {
                Some((_, fields)) => fields,
                None => {
                    let text = format!("the step's `by` says nothing of `{}`", step.event.text);
                    self.error(Diagnostic::new(Code::KeyField, step.span, text));
                    return None;
                }
            },
        };
        self.own_key(event, fields, step.span)
    }

    fn own_key(&mut self, event: EventId, fields: &[KeyField], span: Span) -> Option<Vec<FieldId>> {
        if fields.len() != self.key.names.len() {
            let text =
                format!("the step's key has {}, the rule's has {}", count(fields.len()), count(self.key.names.len()));
            let finding = Diagnostic::new(Code::KeyField, fields.first().map_or(span, |f| f.name.span), text);
            self.error(if self.by.is_none() {
                finding.help("give the rule a `by` too: it names the key")
            } else {
                finding
            });
            return None;
        }
        for (i, f) in fields.iter().enumerate() {
            self.key.optional[i] |= f.optional;
        }
        let list = fields.iter().enumerate();
        let ids: Option<Vec<FieldId>> =
            list.map(|(i, f)| self.key_field(event, i, &f.name.text, f.name.span, None)).collect();
        // The type has an entry even if the rule's own key says nothing of it.
        if let Some(ids) = &ids {
            let rules: Option<Vec<FieldId>> = self.key.names.iter().map(|n| self.event_type(event).find(n)).collect();
            self.add_key(event, rules.unwrap_or_else(|| ids.clone()));
        }
        ids
    }
}

fn count(n: usize) -> String {
    match n {
        1 => "1 field".to_owned(),
        n => format!("{n} fields"),
    }
}
