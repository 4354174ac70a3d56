//! Patterns as text.

use super::Printer;
use super::expr::by_text;
use crate::syntax::ast::{Absence, Contiguity, Element, ElementKind, Group, Pattern, PatternKind, Quantifier, Step};

impl Printer<'_> {
    /// A pattern on one line.
    pub fn pattern(&self, pattern: &Pattern) -> String {
        self.pattern_parts(pattern).join(" ")
    }

    /// A pattern cut where it may be wrapped: before each `then`, `&` or `|` of its outermost group.
    pub fn pattern_parts(&self, pattern: &Pattern) -> Vec<String> {
        let joined = |parts: &[Pattern], sign: &str| {
            let part = |(i, p)| if i == 0 { self.pattern(p) } else { format!("{sign} {}", self.pattern(p)) };
            parts.iter().enumerate().map(part).collect()
        };
        match &pattern.kind {
            PatternKind::Step(step) => vec![self.step(step)],
            PatternKind::Sequence(elements) => {
                elements.iter().enumerate().map(|(i, e)| self.element(e, i == 0)).collect()
            }
            PatternKind::All(parts) => joined(parts, "&"),
            PatternKind::Any(parts) => joined(parts, "|"),
            PatternKind::Group(group) => vec![self.group(group)],
        }
    }

    fn element(&self, element: &Element, first: bool) -> String {
        let mut words = Vec::new();
        if !first {
            words.push("then".to_owned());
            words.extend(element.link.within.iter().map(|d| format!("within {}", self.duration(d))));
            words.extend(contiguity(element.link.contiguity));
        }
        words.push(match &element.kind {
            ElementKind::Pattern(pattern) => self.pattern(pattern),
            ElementKind::Absence(absence) => self.absence(absence),
        });
        words.join(" ")
    }

    fn absence(&self, absence: &Absence) -> String {
        let steps: Vec<String> = absence.steps.iter().map(|s| self.step(s)).collect();
        let steps = if steps.len() == 1 { steps.concat() } else { format!("({})", steps.join(" | ")) };
        let limit = absence.within.as_ref().map(|d| format!(" within {}", self.duration(d)));
        format!("not {steps}{}", limit.unwrap_or_default())
    }

    fn group(&self, group: &Group) -> String {
        let mut words = vec![format!("({}){}", self.pattern(&group.body), quantifier(group.repeat))];
        words.extend(contiguity(group.contiguity));
        words.extend(group.apart.iter().map(|d| format!("apart {}", self.duration(d))));
        words.extend(group.within.iter().map(|d| format!("within {}", self.duration(d))));
        words.join(" ")
    }

    fn step(&self, step: &Step) -> String {
        let name = step.name.as_ref().map(|n| format!("{}: ", n.text)).unwrap_or_default();
        let mut words = vec![format!("{name}{}{}", step.event.text, quantifier(step.repeat))];
        words.extend(contiguity(step.contiguity));
        words.extend(step.apart.iter().map(|d| format!("apart {}", self.duration(d))));
        words.extend(step.by.iter().map(|by| format!("by {}", by_text(by))));
        words.extend(step.filter.iter().map(|e| format!("where {}", self.expr(e))));
        words.extend(step.until.iter().map(|e| format!("until {}", self.expr(e))));
        words.join(" ")
    }
}

fn contiguity(contiguity: Contiguity) -> Option<String> {
    match contiguity {
        Contiguity::Relaxed => None,
        Contiguity::Strict => Some("next".to_owned()),
        Contiguity::Any => Some("any".to_owned()),
    }
}

fn quantifier(repeat: Option<Quantifier>) -> String {
    let Some(Quantifier { min, max, reluctant, .. }) = repeat else { return String::new() };
    let times = match (min, max) {
        (0, Some(1)) => "?".to_owned(),
        (0, None) => "*".to_owned(),
        (1, None) => "+".to_owned(),
        (min, None) => format!("{{{min},}}"),
        (min, Some(max)) if min == max => format!("{{{min}}}"),
        (min, Some(max)) => format!("{{{min},{max}}}"),
    };
    format!("{times}{}", if reluctant { "?" } else { "" })
}
