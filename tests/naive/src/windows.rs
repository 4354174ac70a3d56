//! Windows as the rule set's own: each has a name that says what it holds, and holds events since a rule set first had it.
//!
//! Two rules that ask for the same share it; it lives on for as long as each following rule set has one of that name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use lapwing_dsl::syntax::ast::{
    Call, EventDecl, Expr, ExprKind, Literal, MessageClause, MessagePart, Step, WindowKind,
};
use regex::{Captures, Regex};

use crate::eval::{find_name, parts};
use crate::kept::{fields_of, is_own_key, key_fields, key_shape};
use crate::migrate::{meaning, plain};
use crate::rule::{Rule, optional_parts};

/// What each window holds, by its whole name.
pub type Since = BTreeMap<String, Held>;

/// What a window holds.
#[derive(Clone, Debug)]
pub struct Held {
    name: Name,
    /// The place in the history from which on it holds events.
    pub from: usize,
    /// Where its length was changed: of the events before a place those before a time are forgotten.
    pub forgotten: Vec<(usize, i64)>,
}

/// The windows of some rules; those that were there before go on. Time stands at `clock`.
pub fn carried_over(before: &Since, rules: &[Rule<'_>], types: &[&EventDecl], now: usize, clock: i64) -> Since {
    let mut since = Since::new();
    let mut left: Vec<Name> = Vec::new();
    for rule in rules {
        for (call, own) in of(rule) {
            let candidate = own.map(|step| step.event.text.as_str());
            let name = name(rule, call, candidate, types);
            match before.get(&name.whole()) {
                Some(held) => drop(since.insert(name.whole(), held.clone())),
                None => left.push(name),
            }
        }
    }
    // One of another length goes on from one that nobody asks for any more: the shortest that is as long, else the longest.
    left.sort_by_key(|name| name.sliding);
    let mut free: Vec<&Held> = before.iter().filter(|(name, _)| !since.contains_key(*name)).map(|(_, h)| h).collect();
    for name in left {
        if since.contains_key(&name.whole()) {
            continue;
        }
        let mut held = Held { name: name.clone(), from: now, forgotten: Vec::new() };
        let wanted = name.sliding.map_or(0, |(length, _)| length);
        let of = |held: &&Held| held.name.sliding.map_or(0, |(length, _)| length);
        let alike =
            |held: &&&Held| held.name.sliding.is_some() == name.sliding.is_some() && held.name.rest == name.rest;
        let order = |h: &&&Held| (of(h) < wanted, (of(h) - wanted).abs(), -h.name.lateness);
        if let Some(before) = free.iter().filter(alike).min_by_key(order).copied() {
            free.retain(|held| !std::ptr::eq(*held, before));
            held.from = before.from;
            held.forgotten.clone_from(&before.forgotten);
            if let Some((length, offset)) = before.name.sliding {
                let past = length.saturating_add(offset).saturating_add(before.name.lateness);
                held.forgotten.push((now, clock.saturating_sub(past)));
            }
        }
        since.insert(name.whole(), held);
    }
    since
}

/// Whether what a call looks at goes by the times of events, and not by the order of processing.
pub fn goes_by_time(call: &Call) -> bool {
    !matches!(call.over.as_ref().map(|w| &w.kind), None | Some(WindowKind::Last(_) | WindowKind::Delta(..)))
}

/// Whether a call looks at a window.
pub fn is_window(call: &Call) -> bool {
    call.over.is_some() || call.name.text == "lag"
}

/// The windows of a rule, each with the step in whose condition it stands.
pub fn of<'a>(rule: &Rule<'a>) -> Vec<(&'a Call, Option<&'a Step>)> {
    expressions(rule).into_iter().flat_map(|(expr, own)| calls(expr).into_iter().map(move |c| (c, own))).collect()
}

/// Whether a call samples what other windows are worth: `corr` of two features.
pub fn is_sampled(call: &Call) -> bool {
    call.name.text == "corr" && call.args.iter().any(|a| !calls(&a.value).is_empty())
}

/// The windows in an expression.
pub fn calls(expr: &Expr) -> Vec<&Call> {
    match &expr.kind {
        ExprKind::Call(call) if is_window(call) => {
            let inner = call.args.iter().filter(|_| call.name.text == "corr").flat_map(|a| calls(&a.value));
            std::iter::once(call).chain(inner).collect()
        }
        _ => parts(expr).into_iter().flat_map(calls).collect(),
    }
}

/// All expressions of a rule but that of `stop on`, which reads the event alone; each with the step in whose condition it stands.
pub fn expressions<'a>(rule: &Rule<'a>) -> Vec<(&'a Expr, Option<&'a Step>)> {
    let steps = rule.steps.iter().chain(&rule.absent);
    let mut all: Vec<(&Expr, Option<&Step>)> =
        steps.flat_map(|s| s.filter.iter().chain(&s.until).map(|e| (e, Some(*s)))).collect();
    let message = rule.message.into_iter().flat_map(|m| match m {
        MessageClause::Expr(e) => vec![e],
        MessageClause::Template(parts, _) => {
            parts.iter().filter_map(|p| if let MessagePart::Hole(e) = p { Some(e) } else { None }).collect()
        }
    });
    let emit = rule.emit.into_iter().flat_map(|emit| emit.fields.iter().map(|(_, e)| e));
    let suppress = rule.suppress.into_iter().flat_map(|s| &s.by);
    let results =
        rule.when.into_iter().chain(emit).chain(message).chain(rule.severity).chain(rule.risk).chain(suppress);
    all.extend(results.map(|e| (e, None)));
    all
}

/// The type whose events a window counts.
pub fn counted<'t>(call: &'t Call, candidate: Option<&'t str>, types: &[&EventDecl]) -> Option<&'t str> {
    let named = || {
        let is_type = |name: &str| types.iter().any(|t| t.name.text == name);
        call.args.iter().find_map(|a| find_name(&a.value, &is_type))
    };
    match call.name.text.as_str() {
        "lag" => candidate,
        "first_seen" => candidate.or_else(named),
        _ => named(),
    }
}

/// What a window holds, as text.
#[derive(Clone, Debug)]
pub struct Name {
    /// Of a sliding window its length and its offset.
    sliding: Option<(i64, i64)>,
    /// That of the rules that look.
    lateness: i64,
    rest: String,
}

impl Name {
    /// All of it.
    pub fn whole(&self) -> String {
        format!("{:?} {} {}", self.sliding, self.lateness, self.rest)
    }
}

/// The name of a window.
pub fn name(rule: &Rule<'_>, call: &Call, candidate: Option<&str>, types: &[&EventDecl]) -> Name {
    if is_sampled(call) {
        // What a rule samples is its own, and begins anew when it means something else.
        return Name {
            sliding: None,
            lateness: 0,
            rest: format!("{} samples {} for {}", rule.name, plain(call), meaning(rule)),
        };
    }
    let ty = counted(call, candidate, types).unwrap_or_default();
    let offset = call.over.as_ref().and_then(|w| w.offset).map_or(0, |o| o.ms);
    let length = match call.over.as_ref().map(|w| &w.kind) {
        // `first_seen` remembers each value once.
        Some(WindowKind::Sliding(length)) if call.name.text == "first_seen" => format!("{}", length.ms),
        Some(WindowKind::Sliding(_)) => String::new(),
        // A window that begins whenever one ends is one and the same thing, but that weeks begin on Mondays.
        Some(WindowKind::Tumbling(length)) if length.ms % 604_800_000 == 0 => format!("{} weeks", length.ms),
        Some(WindowKind::Tumbling(length)) => format!("{} every {}", length.ms, length.ms),
        Some(WindowKind::Hopping(length, every)) => format!("{} every {}", length.ms, every.ms),
        Some(WindowKind::Session(gap)) => format!("session {}", gap.ms),
        Some(WindowKind::Last(n)) => format!("last {n}"),
        Some(WindowKind::Delta(of, percent)) => {
            let percent: rust_decimal::Decimal = percent.text.parse().unwrap_or_default();
            format!("delta {} {}", field(of, ty), percent.normalize())
        }
        None => steps_back(call).to_string(),
    };
    let args: Vec<String> = match call.name.text.as_str() {
        "count" => call
            .args
            .iter()
            .filter(|a| !matches!(a.value.kind, ExprKind::Name(_)))
            .map(|a| field(&a.value, ty))
            .collect(),
        "lag" => call.args.iter().take(1).map(|a| field(&a.value, ty)).collect(),
        _ => call.args.iter().map(|a| field(&a.value, ty)).collect(),
    };
    let filter = call.filter.as_ref().map(|f| field(f, ty));
    let key = match call.by.as_ref().filter(|by| !is_own_key(rule, call, by)) {
        Some(by) => plain(&(fields_of(by, ty), optional_parts(&[by]))),
        None => {
            let named: BTreeSet<Vec<String>> = rule
                .steps
                .iter()
                .chain(&rule.absent)
                .filter(|s| s.event.text == ty)
                .map(|s| key_fields(rule, s))
                .collect();
            let own = || BTreeSet::from([rule.by.map_or(Vec::new(), |by| fields_of(by, ty))]);
            plain(&(key_shape(rule), if named.is_empty() { own() } else { named }))
        }
    };
    let zone = call.over.as_ref().and_then(|w| w.zone.as_ref()).map_or("", |z| z.value.as_str());
    let sliding = match call.over.as_ref().map(|w| &w.kind) {
        Some(WindowKind::Sliding(length)) if call.name.text != "first_seen" => Some((length.ms, offset)),
        _ => None,
    };
    let lateness = if goes_by_time(call) { rule.lateness } else { 0 };
    Name {
        sliding,
        lateness,
        rest: format!("{} {ty} {args:?} {filter:?} {length} {zone} {offset} {key}", call.name.text),
    }
}

fn steps_back(call: &Call) -> i64 {
    match call.args.get(1).map(|a| &a.value.kind) {
        Some(ExprKind::Literal(Literal::Int(n))) => *n,
        _ => 1,
    }
}

/// An expression on the counted event as text: `login.user` and `user` are one thing.
fn field(expr: &Expr, ty: &str) -> String {
    static NAMED: LazyLock<Regex> = LazyLock::new(|| {
        let named = r#"Member\(Expr \{ kind: Name\("([^"]*)"\), span:  \}, Ident \{ text: "([^"]*)", span:  \}\)"#;
        Regex::new(named).expect("the expression is well formed")
    });
    let bare = |found: &Captures<'_>| {
        if &found[1] == ty { format!("Name({:?})", &found[2]) } else { found[0].to_owned() }
    };
    NAMED.replace_all(&plain(expr), bare).into_owned()
}
