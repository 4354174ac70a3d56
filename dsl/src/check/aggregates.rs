//! Aggregates over the elements of a step, and the types of all aggregates.

use super::reach::{Scope, Site};
use super::rule::RuleCheck;
use crate::diagnostics::{Code, Diagnostic};
use crate::ir::{Aggregate, Expr, ExprKind, StepId};
use crate::syntax::Span;
use crate::syntax::ast::{self, Call};
use crate::value::Type;

/// The aggregate of a name.
pub(super) fn by_name(name: &str) -> Option<Aggregate> {
    Some(match name {
        "count" => Aggregate::Count,
        "sum" => Aggregate::Sum,
        "avg" => Aggregate::Avg,
        "min" => Aggregate::Min,
        "max" => Aggregate::Max,
        "stddev" => Aggregate::Stddev,
        "distinct" => Aggregate::Distinct,
        "first" => Aggregate::First,
        "last" => Aggregate::Last,
        "list" => Aggregate::List,
        _ => return None,
    })
}

impl RuleCheck<'_> {
    /// `count(f)`, `sum(f.price * f.amount)`.
    pub fn aggregate(&mut self, call: &Call, span: Span, scope: Scope) -> Option<Expr> {
        self.no_filter(call)?;
        let aggregate = by_name(&call.name.text)?;
        if !self.fitting_count(call, aggregate) {
            return None;
        }
        if let (Aggregate::Count, ast::ExprKind::Name(name)) = (aggregate, &call.args[0].value.kind) {
            return self.count_step(name, call.args[0].value.span, span, scope);
        }
        let step = self.aggregated_step(call, span, scope)?;
        self.readable(step, span, scope)?;
        let inner = Scope { element: Some(step), ..scope };
        let args: Vec<Option<Expr>> = call.args.iter().map(|a| self.expr(&a.value, inner, None)).collect();
        let args: Vec<Expr> = args.into_iter().collect::<Option<_>>()?;
        let ty = self.aggregate_type(aggregate, &args, call)?;
        Some(Expr { kind: ExprKind::Aggregate { aggregate, step, args }, ty, span })
    }

    fn count_step(&mut self, name: &str, place: Span, span: Span, scope: Scope) -> Option<Expr> {
        let step =
            self.find_step(name, scope.reader()).filter(|_| !matches!(scope.site, Site::Counted(_) | Site::Stop(_)));
        let Some(step) = step else {
            self.no_step_to_count(name, place);
            return None;
        };
        self.readable(step, place, scope)?;
        let kind = ExprKind::Aggregate { aggregate: Aggregate::Count, step, args: Vec::new() };
        Some(Expr { kind, ty: Type::Int, span })
    }

    fn no_step_to_count(&mut self, name: &str, place: Span) {
        let steps: Vec<&str> = self.steps.iter().filter(|s| !s.absence).map(|s| s.name).collect();
        let finding = super::names::unknown(Code::UnknownStep, "step", name, place, steps);
        self.error(match self.world.schema.find(name) {
            Some(_) => Diagnostic::new(
                Code::UnknownStep,
                place,
                format!("`{name}` is an event type, and no step has this name"),
            )
            .help(format!("over a time write `count({name}) over 1h`")),
            None => finding,
        });
    }

    pub fn fitting_count(&mut self, call: &Call, aggregate: Aggregate) -> bool {
        let fits = match aggregate {
            Aggregate::Distinct => !call.args.is_empty(),
            _ => call.args.len() == 1,
        };
        if self.without_names(call).is_none() {
            return false;
        }
        if !fits {
            let text = format!("`{}` takes one argument, not {}", call.name.text, call.args.len());
            self.error(Diagnostic::new(Code::WrongArguments, call.name.span, text));
        }
        fits
    }

    /// Aggregates take their arguments by place.
    pub fn without_names(&mut self, call: &Call) -> Option<()> {
        let Some(name) = call.args.iter().find_map(|a| a.name.as_ref()) else { return Some(()) };
        let text = format!("`{}` takes its arguments by place, without names", call.name.text);
        self.error(Diagnostic::new(Code::WrongArguments, name.span, text));
        None
    }

    /// The one step whose elements the arguments read.
    fn aggregated_step(&mut self, call: &Call, span: Span, scope: Scope) -> Option<StepId> {
        if matches!(scope.site, Site::Counted(_) | Site::Stop(_)) || scope.element.is_some() {
            let text = format!("`{}` stands inside of another aggregate, or where no run is", call.name.text);
            self.error(Diagnostic::new(Code::AggregateMisuse, span, text).help("an aggregate runs over single events"));
            return None;
        }
        let mut names = Vec::new();
        for arg in &call.args {
            step_names(&arg.value, &mut names);
        }
        let mut steps: Vec<StepId> = names.iter().filter_map(|n| self.find_step(n, scope.reader())).collect();
        steps.sort_unstable();
        steps.dedup();
        match steps.as_slice() {
            [step] => Some(*step),
            [] => {
                self.no_step_in(call, &names);
                None
            }
            [a, b, ..] => {
                let (a, b) = (self.step(*a).name, self.step(*b).name);
                let text =
                    format!("`{}` runs over the elements of one step, and this reads `{a}` and `{b}`", call.name.text);
                let finding = Diagnostic::new(Code::AggregateMisuse, span, text);
                self.error(finding.help(format!("take one event of the other: `last({b}).field`")));
                None
            }
        }
    }

    fn no_step_in(&mut self, call: &Call, names: &[&str]) {
        let place = call.args[0].value.span;
        let event = names.iter().find(|n| self.world.schema.find(n).is_some());
        let text =
            format!("`{}` runs over the elements of a step, and `{}` names none", call.name.text, self.text(place));
        let help = match event {
            Some(event) => format!("`{event}` is an event type: over a time write `{}(…) over 1h`", call.name.text),
            None => match self.steps.iter().find(|s| !s.absence) {
                Some(step) => format!("write the field with its step: `{}({}.field)`", call.name.text, step.name),
                None => "write the field with its step".to_owned(),
            },
        };
        self.error(Diagnostic::new(Code::AggregateMisuse, place, text).help(help));
    }

    /// The type of an aggregate of these arguments.
    pub fn aggregate_type(&mut self, aggregate: Aggregate, args: &[Expr], call: &Call) -> Option<Type> {
        let Some(arg) = args.first() else { return Some(Type::Int) };
        let number = |t: &Type| matches!(t, Type::Int | Type::Float | Type::Decimal);
        // Of `corr` the second may be the wrong one.
        let arg = args.iter().find(|a| aggregate == Aggregate::Corr && !number(&a.ty)).unwrap_or(arg);
        let ty = match (aggregate, &arg.ty) {
            (Aggregate::ApproxDistinct, _) => Some(Type::Int),
            (Aggregate::Quantile(_), t) if number(t) || matches!(t, Type::Duration | Type::Timestamp) => {
                Some(t.clone())
            }
            (Aggregate::Ema(_), Type::Int | Type::Float) => Some(Type::Float),
            (Aggregate::Corr, t) if number(t) => Some(Type::Float),
            (Aggregate::ListOf(_), t) if !matches!(t, Type::List(_)) => Some(Type::List(Box::new(t.clone()))),
            (Aggregate::Topk(_), t) if !matches!(t, Type::List(_) | Type::Geo) => Some(Type::List(Box::new(t.clone()))),
            (Aggregate::Count | Aggregate::Distinct, _) => Some(Type::Int),
            (Aggregate::Sum, t @ (Type::Int | Type::Float | Type::Decimal | Type::Duration)) => Some(t.clone()),
            (Aggregate::Avg | Aggregate::Stddev, Type::Int | Type::Float) => Some(Type::Float),
            (Aggregate::Avg | Aggregate::Stddev, t @ (Type::Decimal | Type::Duration)) => Some(t.clone()),
            (Aggregate::Min | Aggregate::Max, t)
                if !matches!(t, Type::Bool | Type::Geo | Type::Cidr | Type::List(_)) =>
            {
                Some(t.clone())
            }
            (Aggregate::First | Aggregate::Last, t) => Some(t.clone()),
            (Aggregate::List, t) if !matches!(t, Type::List(_)) => Some(Type::List(Box::new(t.clone()))),
            _ => None,
        };
        if ty.is_none() {
            let text = format!("`{}` does not take {}", call.name.text, arg.ty);
            let help = match aggregate {
                Aggregate::Sum | Aggregate::Avg | Aggregate::Stddev => "it takes numbers and durations",
                Aggregate::Ema(_) => "it takes ints and floats; of a decimal write `float(x)`",
                Aggregate::Corr => "it takes numbers",
                Aggregate::Quantile(_) => "it takes numbers and times",
                Aggregate::Min | Aggregate::Max => "it takes what has an order",
                _ => "it takes single values",
            };
            self.error(Diagnostic::new(Code::WrongArguments, arg.span, text).help(help));
        }
        ty
    }
}

/// The names before a field, and whole events in functions that take them; not those inside `first(…)` or a window.
fn step_names<'e>(e: &'e ast::Expr, names: &mut Vec<&'e str>) {
    use ast::ExprKind as K;
    match &e.kind {
        K::Member(owner, _) => {
            if let K::Name(name) = &owner.kind {
                names.push(name);
            }
        }
        K::Call(call) if call.over.is_some() || matches!(call.name.text.as_str(), "first" | "last") => {}
        K::Call(call) => {
            for arg in &call.args {
                match &arg.value.kind {
                    K::Name(name) if call.name.text == "speed_kmh" => names.push(name),
                    _ => step_names(&arg.value, names),
                }
            }
        }
        K::List(items) => items.iter().for_each(|i| step_names(i, names)),
        K::Unary(_, a) | K::Is { item: a, .. } => step_names(a, names),
        K::Binary(_, a, b) => {
            step_names(a, names);
            step_names(b, names);
        }
        K::In { item, within, .. } => {
            step_names(item, names);
            match &**within {
                ast::InTarget::Expr(e) => step_names(e, names),
                ast::InTarget::Range(low, high) => {
                    step_names(low, names);
                    step_names(high, names);
                }
            }
        }
        K::Index(a, _) => step_names(a, names),
        K::Literal(_) | K::Name(_) => {}
    }
}
