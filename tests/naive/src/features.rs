//! Features, and aggregates over the window at whose close a rule fires: both are written out where a rule names them, so that nothing else has
//! to know of them.

use std::collections::BTreeMap;

use lapwing_dsl::syntax::ast::{
    By, ClauseKind, Decl, ElementKind, Expr, ExprKind, File, InTarget, MessageClause, MessagePart, Pattern,
    PatternKind, Step, Window, WindowKind,
};

const AGGREGATES: [&str; 16] = [
    "count", "sum", "avg", "min", "max", "stddev", "distinct", "first", "last", "list", "median", "quantile", "ema",
    "rate", "topk", "corr",
];

type Features<'f> = BTreeMap<&'f str, &'f Expr>;

/// The files with every feature written out where it is named. A name that a field or a key has too is not meant for it here.
pub fn written_out(files: &[File]) -> Vec<File> {
    let decls = files.iter().flat_map(|f| &f.decls);
    let features: Features<'_> = decls
        .filter_map(|d| if let Decl::Feature(f) = d { Some((f.name.text.as_str(), &f.expr)) } else { None })
        .collect();
    let mut written = files.to_vec();
    for decl in written.iter_mut().flat_map(|f| &mut f.decls) {
        let Decl::Rule(rule) = decl else { continue };
        let window = rule.clauses.iter().find_map(|c| match &c.kind {
            ClauseKind::Window(w) => Some(w.window.clone()),
            _ => None,
        });
        if let Some(window) = window {
            rule.clauses.iter_mut().for_each(|c| each_expr(&mut c.kind, &mut |e| over_own(e, &window)));
        }
        rule.clauses.iter_mut().for_each(|clause| each_expr(&mut clause.kind, &mut |e| expr(e, &features)));
    }
    written
}

/// In a rule that fires when a window closes, an aggregate without a window is over that.
fn over_own(e: &mut Expr, window: &Window) {
    if let ExprKind::Call(call) = &mut e.kind
        && call.over.is_none()
        && AGGREGATES.contains(&call.name.text.as_str())
        && (call.args.len() == 1 || !matches!(call.name.text.as_str(), "min" | "max"))
    {
        call.over = Some(window.clone());
        return;
    }
    each_part(e, &mut |part| over_own(part, window));
}

/// Calls a function with each of the outermost expressions of a clause.
fn each_expr(clause: &mut ClauseKind, f: &mut dyn FnMut(&mut Expr)) {
    match clause {
        ClauseKind::Match(m) => pattern(&mut m.pattern, f),
        ClauseKind::When(e) | ClauseKind::Severity(e) | ClauseKind::Risk(e) => f(e),
        ClauseKind::Emit(emit) => emit.fields.iter_mut().for_each(|(_, e)| f(e)),
        ClauseKind::Suppress(s) => s.by.iter_mut().for_each(f),
        ClauseKind::Message(MessageClause::Expr(e)) => f(e),
        ClauseKind::Message(MessageClause::Template(parts, _)) => {
            for part in parts {
                if let MessagePart::Hole(e) = part {
                    f(e);
                }
            }
        }
        _ => {}
    }
}

fn pattern(p: &mut Pattern, f: &mut dyn FnMut(&mut Expr)) {
    match &mut p.kind {
        PatternKind::Step(s) => step(s, f),
        PatternKind::Group(group) => pattern(&mut group.body, f),
        PatternKind::All(sides) | PatternKind::Any(sides) => sides.iter_mut().for_each(|s| pattern(s, f)),
        PatternKind::Sequence(elements) => {
            for element in elements {
                match &mut element.kind {
                    ElementKind::Pattern(p) => pattern(p, f),
                    ElementKind::Absence(a) => a.steps.iter_mut().for_each(|s| step(s, f)),
                }
            }
        }
    }
}

fn step(s: &mut Step, f: &mut dyn FnMut(&mut Expr)) {
    s.filter.iter_mut().chain(&mut s.until).for_each(f);
}

fn expr(e: &mut Expr, features: &Features<'_>) {
    match &mut e.kind {
        ExprKind::Name(name) => {
            if let Some(feature) = features.get(name.as_str()) {
                let mut value = (*feature).clone();
                of_everybody(&mut value);
                expr(&mut value, features);
                *e = value;
            }
        }
        _ => each_part(e, &mut |part| expr(part, features)),
    }
}

/// A window of a feature that says not whose events it holds: those of the whole stream, and not of a rule's key.
fn of_everybody(e: &mut Expr) {
    if let ExprKind::Call(call) = &mut e.kind
        && call.over.is_some()
    {
        call.by.get_or_insert(By::Fields(Vec::new()));
        return;
    }
    each_part(e, &mut of_everybody);
}

fn each_part(e: &mut Expr, f: &mut dyn FnMut(&mut Expr)) {
    match &mut e.kind {
        ExprKind::Literal(_) | ExprKind::Name(_) => {}
        ExprKind::List(items) => items.iter_mut().for_each(f),
        ExprKind::Member(x, _) | ExprKind::Unary(_, x) | ExprKind::Is { item: x, .. } => f(x),
        ExprKind::Index(x, items) => {
            f(x);
            items.iter_mut().for_each(f);
        }
        ExprKind::Call(call) => {
            call.args.iter_mut().for_each(|a| f(&mut a.value));
            call.filter.iter_mut().for_each(|x| f(x));
            if let Some(WindowKind::Delta(of, _)) = call.over.as_mut().map(|w| &mut w.kind) {
                f(of);
            }
        }
        ExprKind::Binary(_, a, b) => {
            f(a);
            f(b);
        }
        ExprKind::In { item, within, .. } => {
            f(item);
            match &mut **within {
                InTarget::Expr(x) => f(x),
                InTarget::Range(a, b) => {
                    f(a);
                    f(b);
                }
            }
        }
    }
}
