//! Visits expressions: their children, all of a rule's, and what they read.

use std::collections::BTreeSet;

use crate::ir::{Expr, ExprKind, Of, Rows, Rule};

/// Calls a function with each direct child, by reference or, where the list's iterator is `iter_mut`, to change it.
macro_rules! each_child {
    ($kind:expr, $iter:ident, $f:ident) => {{
        use ExprKind as K;
        match $kind {
            K::Const(_) | K::Field(..) | K::Key(_) | K::Window(_) => {}
            K::PrevOr(a)
            | K::Not(a)
            | K::Neg(a)
            | K::Matches(a, _)
            | K::InSet(a, _)
            | K::InDeclared(a, _)
            | K::Geoip(a, _)
            | K::IsMissing(a)
            | K::Widen(a) => $f(a),
            K::Compare(_, a, b) | K::Arithmetic(_, a, b) | K::InValue(a, b) | K::InCidr(a, b) | K::Coalesce(a, b) => {
                $f(a);
                $f(b);
            }
            K::Like { item, pattern, .. } => {
                $f(item);
                $f(pattern);
            }
            K::InRange(a, b, c) | K::If(a, b, c) => {
                $f(a);
                $f(b);
                $f(c);
            }
            K::InList(a, list) => {
                $f(a);
                list.$iter().for_each($f);
            }
            K::And(list)
            | K::Or(list)
            | K::List(list)
            | K::Call(_, list)
            | K::Aggregate { args: list, .. }
            | K::Column { key: list, .. }
            | K::Score { inputs: list, .. } => list.$iter().for_each($f),
        }
    }};
}

/// Calls `f` with each direct child.
pub fn children<'e>(expr: &'e Expr, f: &mut dyn FnMut(&'e Expr)) {
    each_child!(&expr.kind, iter, f);
}

/// Calls `f` with each direct child, to change it.
pub fn children_mut(expr: &mut Expr, f: &mut dyn FnMut(&mut Expr)) {
    each_child!(&mut expr.kind, iter_mut, f);
}

/// Calls `f` with an expression and all below it, outermost first.
pub fn walk<'e>(expr: &'e Expr, f: &mut dyn FnMut(&'e Expr)) {
    f(expr);
    children(expr, &mut |c| walk(c, f));
}

fn walk_mut(expr: &mut Expr, f: &mut dyn FnMut(&mut Expr)) {
    f(expr);
    children_mut(expr, &mut |c| walk_mut(c, f));
}

/// The outermost expressions of a rule outside its steps: `when`, `emit`, `message`, `severity`, `risk`, `suppress by`.
pub fn result_exprs(rule: &Rule) -> impl Iterator<Item = &Expr> {
    rule.when
        .iter()
        .chain(rule.emit.iter().map(|(_, e)| e))
        .chain(&rule.message)
        .chain([&rule.severity])
        .chain(&rule.risk)
        .chain(rule.suppress.iter().flat_map(|s| s.by.iter().flatten()))
}

/// Calls `f` with every expression of a rule, to change it.
pub fn each_expr_mut(rule: &mut Rule, f: &mut dyn FnMut(&mut Expr)) {
    for step in &mut rule.steps {
        step.filter.iter_mut().chain(&mut step.until).for_each(|e| walk_mut(e, f));
    }
    for window in &mut rule.windows {
        window.filter.iter_mut().chain(&mut window.args).for_each(|e| walk_mut(e, f));
    }
    let suppress = rule.suppress.iter_mut().flat_map(|s| s.by.iter_mut().flatten());
    let stop = rule.stop.iter_mut().flat_map(|s| s.filter.iter_mut());
    rule.when
        .iter_mut()
        .chain(rule.emit.iter_mut().map(|(_, e)| e))
        .chain(&mut rule.message)
        .chain([&mut rule.severity])
        .chain(&mut rule.risk)
        .chain(suppress)
        .chain(stop)
        .for_each(|e| walk_mut(e, f));
}

/// Calls `f` with every expression of a rule and all below it.
pub fn each_expr<'e>(rule: &'e Rule, f: &mut dyn FnMut(&'e Expr)) {
    let steps = rule.steps.iter().flat_map(|s| s.filter.iter().chain(&s.until));
    let windows = rule.windows.iter().flat_map(|w| w.filter.iter().chain(&w.args));
    let stop = rule.stop.iter().flat_map(|s| &s.filter);
    steps.chain(windows).chain(result_exprs(rule)).chain(stop).for_each(|e| walk(e, f));
}

/// The lists, tables and models that a rule reads, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataRead<'r> {
    /// The lists.
    pub lists: BTreeSet<&'r str>,
    /// The tables.
    pub tables: BTreeSet<&'r str>,
    /// The models.
    pub models: BTreeSet<&'r str>,
    /// Whether it asks for the places of addresses.
    pub geoip: bool,
}

/// What a rule reads besides events.
pub fn data_read(rule: &Rule) -> DataRead<'_> {
    let mut read = DataRead::default();
    match rule.closing.as_ref().and_then(|c| c.rows.as_ref()) {
        Some(Rows::List { name, .. }) => drop(read.lists.insert(name)),
        Some(Rows::Table { name, .. }) => drop(read.tables.insert(name)),
        None => {}
    }
    each_expr(rule, &mut |e| match &e.kind {
        ExprKind::InDeclared(_, list) => drop(read.lists.insert(&list.name)),
        ExprKind::Column { column, .. } => drop(read.tables.insert(&column.name)),
        ExprKind::Score { model, .. } => drop(read.models.insert(&model.name)),
        ExprKind::Geoip(..) => read.geoip = true,
        _ => {}
    });
    read
}

/// Whether an expression asks a model.
pub fn asks_model(expr: &Expr) -> bool {
    let mut asks = false;
    walk(expr, &mut |e| asks |= matches!(e.kind, ExprKind::Score { .. }));
    asks
}

/// What an expression reads besides the candidate event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Events that the run has bound.
    pub run: bool,
    /// Windows, `lag`, `first_seen`.
    pub windows: bool,
}

impl Reads {
    /// What an expression and all below it read.
    pub fn of(expr: &Expr) -> Reads {
        let mut reads = Reads::default();
        walk(expr, &mut |e| match &e.kind {
            ExprKind::Window(_) => reads.windows = true,
            ExprKind::Field(Of::Candidate, _) => {}
            ExprKind::Field(..) | ExprKind::Aggregate { .. } | ExprKind::PrevOr(_) => reads.run = true,
            _ => {}
        });
        reads
    }
}
