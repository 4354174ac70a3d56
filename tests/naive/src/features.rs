//! Features: where a rule names one, its value is written out, so that nothing else has to know of them.

use std::collections::BTreeMap;

use lapwing_dsl::syntax::ast::{
    By, ClauseKind, Decl, ElementKind, Expr, ExprKind, File, InTarget, MessageClause, MessagePart, Pattern,
    PatternKind, Step, WindowKind,
};

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
        rule.clauses.iter_mut().for_each(|clause| clause_of(&mut clause.kind, &features));
    }
    written
}

fn clause_of(clause: &mut ClauseKind, features: &Features<'_>) {
    match clause {
        ClauseKind::Match(m) => pattern(&mut m.pattern, features),
        ClauseKind::When(e) | ClauseKind::Severity(e) | ClauseKind::Risk(e) => expr(e, features),
        ClauseKind::Emit(emit) => emit.fields.iter_mut().for_each(|(_, e)| expr(e, features)),
        ClauseKind::Suppress(s) => s.by.iter_mut().for_each(|e| expr(e, features)),
        ClauseKind::Message(MessageClause::Expr(e)) => expr(e, features),
        ClauseKind::Message(MessageClause::Template(parts, _)) => {
            for part in parts {
                if let MessagePart::Hole(e) = part {
                    expr(e, features);
                }
            }
        }
        _ => {}
    }
}

fn pattern(p: &mut Pattern, features: &Features<'_>) {
    match &mut p.kind {
        PatternKind::Step(s) => step(s, features),
        PatternKind::Group(group) => pattern(&mut group.body, features),
        PatternKind::All(sides) | PatternKind::Any(sides) => sides.iter_mut().for_each(|s| pattern(s, features)),
        PatternKind::Sequence(elements) => {
            for element in elements {
                match &mut element.kind {
                    ElementKind::Pattern(p) => pattern(p, features),
                    ElementKind::Absence(a) => a.steps.iter_mut().for_each(|s| step(s, features)),
                }
            }
        }
    }
}

fn step(s: &mut Step, features: &Features<'_>) {
    s.filter.iter_mut().chain(&mut s.until).for_each(|e| expr(e, features));
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
