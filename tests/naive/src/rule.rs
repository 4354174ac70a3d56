//! A rule as the matcher reads it: its clauses by name, and who stands in which key's input.

use std::sync::LazyLock;

use lapwing_dsl::syntax::Span;
use lapwing_dsl::syntax::ast::{
    By, Call, ClauseKind, ElementKind, EmitClause, Expr, KeyField, MatchMode, MessageClause, Pattern, PatternKind,
    Report, RuleDecl, Skip, Step, StopClause, SuppressClause, WindowClause,
};

use crate::eval::find_name;
use crate::event::Event;
use crate::value::{self, Value};
use crate::windows;

/// The values of a key, in the order of its fields.
pub type Key = Vec<Value>;

/// The clauses of one rule.
#[derive(Clone)]
pub struct Rule<'a> {
    /// Its name.
    pub name: &'a str,
    /// Which matches are reported.
    pub mode: MatchMode,
    /// What is looked for.
    pub pattern: &'a Pattern,
    /// The rule's key.
    pub by: Option<&'a By>,
    /// Which parts of the key may be missing: wherever a `?` stands, it is the part's.
    pub optional: Vec<bool>,
    /// `within`, in milliseconds.
    pub within: Option<i64>,
    /// `when`
    pub when: Option<&'a Expr>,
    /// `emit`
    pub emit: Option<&'a EmitClause>,
    /// `message`
    pub message: Option<&'a MessageClause>,
    /// `severity`
    pub severity: Option<&'a Expr>,
    /// `risk`
    pub risk: Option<&'a Expr>,
    /// `suppress`
    pub suppress: Option<&'a SuppressClause>,
    /// `skip`
    pub skip: &'a Skip,
    /// `report`
    pub report: Report,
    /// `stop on`
    pub stop: Option<&'a StopClause>,
    /// For how long after a window closed, or an absence held, a late event still counts; 0 where it never does.
    pub lateness: i64,
    /// Whether events have the time at which they come.
    pub processing: bool,
    /// The steps that bind events, in the order of the text.
    pub steps: Vec<&'a Step>,
    /// The steps of its absences.
    pub absent: Vec<&'a Step>,
    /// `window`: the rule fires when one closes, and has no pattern.
    pub closing: Option<&'a WindowClause>,
    /// The whole tree as text.
    tree: String,
}

/// The pattern of a rule that has none.
static NOTHING: LazyLock<Pattern> =
    LazyLock::new(|| Pattern { kind: PatternKind::Any(Vec::new()), span: Span::default() });

impl<'a> Rule<'a> {
    /// Reads the clauses; `None` for a rule without a pattern.
    pub fn new(decl: &'a RuleDecl) -> Option<Rule<'a>> {
        let matching =
            decl.clauses.iter().find_map(|c| if let ClauseKind::Match(m) = &c.kind { Some(m) } else { None });
        let closing =
            decl.clauses.iter().find_map(|c| if let ClauseKind::Window(w) = &c.kind { Some(w) } else { None });
        if matching.is_none() && closing.is_none() {
            return None;
        }
        let mut rule = Rule {
            name: &decl.name.text,
            mode: matching.map_or(MatchMode::One, |m| m.mode),
            pattern: matching.map_or(&*NOTHING, |m| &m.pattern),
            closing,
            by: None,
            optional: Vec::new(),
            within: None,
            when: None,
            emit: None,
            message: None,
            severity: None,
            risk: None,
            suppress: None,
            skip: &Skip::PastLast,
            report: Report::Early,
            stop: None,
            lateness: 0,
            processing: false,
            steps: Vec::new(),
            absent: Vec::new(),
            tree: format!("{:?}", decl.clauses),
        };
        for clause in &decl.clauses {
            match &clause.kind {
                ClauseKind::By(by) => rule.by = Some(by),
                ClauseKind::Within(d) => rule.within = Some(d.ms),
                ClauseKind::When(e) => rule.when = Some(e),
                ClauseKind::Emit(e) => rule.emit = Some(e),
                ClauseKind::Message(m) => rule.message = Some(m),
                ClauseKind::Severity(e) => rule.severity = Some(e),
                ClauseKind::Risk(e) => rule.risk = Some(e),
                ClauseKind::Suppress(s) => rule.suppress = Some(s),
                ClauseKind::Skip(s) => rule.skip = s,
                ClauseKind::Report(r) => rule.report = *r,
                ClauseKind::StopOn(s) => rule.stop = Some(s),
                ClauseKind::Lateness(d) => rule.lateness = d.ms,
                ClauseKind::TimeProcessing => rule.processing = true,
                _ => {}
            }
        }
        collect_steps(rule.pattern, &mut rule.steps, &mut rule.absent);
        let of_steps = rule.steps.iter().filter_map(|s| s.by.as_ref());
        rule.optional = optional_parts(&rule.by.into_iter().chain(of_steps).collect::<Vec<_>>());
        Some(rule)
    }

    /// The names under which the key appears in alerts.
    pub fn key_names(&self) -> Vec<&'a str> {
        match self.by {
            None => Vec::new(),
            Some(By::Fields(fields)) => fields.iter().map(|f| f.name.text.as_str()).collect(),
            Some(By::PerType(types)) => {
                types.first().map_or(Vec::new(), |(_, fields)| fields.iter().map(|f| f.name.text.as_str()).collect())
            }
        }
    }

    /// The key the rule's own `by` gives an event; `None` where a part is missing and must not be.
    pub fn key(&self, event: &Event) -> Option<Key> {
        self.by.map_or(Some(Vec::new()), |by| self.key_by(by, event))
    }

    fn key_by(&self, by: &By, event: &Event) -> Option<Key> {
        key_by(by, &self.optional, event)
    }

    /// The key that a step gives an event.
    pub fn step_key(&self, step: &Step, event: &Event) -> Option<Key> {
        match &step.by {
            Some(by) => self.key_by(by, event),
            None => self.key(event),
        }
    }

    /// The keys in whose input the event stands, in order.
    pub fn keys(&self, event: &Event) -> Vec<Key> {
        let of_type = |step: &&&Step| step.event.text == event.ty;
        let bound = self.steps.iter().filter(of_type).filter_map(|step| self.step_key(step, event));
        let absent = self.absent.iter().filter(of_type).filter_map(|_| self.key(event));
        let mut keys: Vec<Key> = bound.chain(absent).collect();
        keys.sort_by(|a, b| value::key_order(a, b));
        keys.dedup();
        keys
    }

    /// Whether the pattern names the type.
    pub fn names(&self, ty: &str) -> bool {
        self.steps.iter().chain(&self.absent).any(|step| step.event.text == ty)
    }

    /// Whether it reads events of the type: in its pattern, in `stop on`, or by name in an expression, as windows do.
    pub fn reads(&self, ty: &str) -> bool {
        // A step of that name hides the type, but from windows, which count types alone.
        let hidden = self.step(ty).is_some();
        let counts = |call: &Call| call.args.iter().any(|arg| find_name(&arg.value, &|name| name == ty).is_some());
        self.names(ty)
            || self.stop.is_some_and(|s| s.event.text == ty)
            || (!hidden && self.tree.contains(&format!("Name({ty:?})")))
            || windows::of(self).iter().any(|(call, _)| call.over.is_some() && counts(call))
    }

    /// The step of that name.
    pub fn step(&self, label: &str) -> Option<&'a Step> {
        self.steps.iter().find(|step| step.label().text == label).copied()
    }
}

/// Of each part of a key, whether a `?` stands at it anywhere.
pub fn optional_parts(all: &[&By]) -> Vec<bool> {
    let mut lists: Vec<&[KeyField]> = Vec::new();
    for by in all {
        match by {
            By::Fields(fields) => lists.push(fields),
            By::PerType(types) => lists.extend(types.iter().map(|(_, fields)| fields.as_slice())),
        }
    }
    let parts = lists.iter().map(|l| l.len()).max().unwrap_or(0);
    (0..parts).map(|i| lists.iter().any(|l| l.get(i).is_some_and(|f| f.optional))).collect()
}

/// The key that a `by` gives an event.
pub fn key_by(by: &By, optional: &[bool], event: &Event) -> Option<Key> {
    let fields: &[KeyField] = match by {
        By::Fields(fields) => fields,
        // A type that is not named has the fields of the first one's names.
        By::PerType(types) => &types.iter().find(|(ty, _)| ty.text == event.ty).or(types.first())?.1,
    };
    // Equal keys are one key, however their numbers were written.
    let plain = |value: Value| if let Value::Decimal(d) = value { Value::Decimal(d.normalize()) } else { value };
    let value = |(f, optional): (&KeyField, &bool)| {
        Some(plain(event.field(&f.name.text))).filter(|v| *optional || !v.is_missing())
    };
    fields.iter().zip(optional).map(value).collect()
}

fn collect_steps<'a>(pattern: &'a Pattern, steps: &mut Vec<&'a Step>, absent: &mut Vec<&'a Step>) {
    match &pattern.kind {
        PatternKind::Step(step) => steps.push(step),
        PatternKind::Group(group) => collect_steps(&group.body, steps, absent),
        PatternKind::All(sides) | PatternKind::Any(sides) => {
            for side in sides {
                collect_steps(side, steps, absent);
            }
        }
        PatternKind::Sequence(elements) => {
            for element in elements {
                match &element.kind {
                    ElementKind::Pattern(p) => collect_steps(p, steps, absent),
                    ElementKind::Absence(a) => absent.extend(&a.steps),
                }
            }
        }
    }
}
