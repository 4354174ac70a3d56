//! Calls: functions, `if`, and where the other calls are checked.

use jiff::tz::TimeZone;

use super::expr::{is_flexible, widen};
use super::names::unknown;
use super::reach::{Scope, Site};
use super::rule::RuleCheck;
use crate::calendar;
use crate::diagnostics::{Code, Diagnostic, nearest};
use crate::functions::{self, Definition, Function, Signature};
use crate::ir::{Expr, ExprKind, Of};
use crate::schema::EventId;
use crate::syntax::Span;
use crate::syntax::ast::{self, Arg, Call};
use crate::value::{Type, Value};

/// Calls that are no function of the registry.
pub(super) const FORMS: [&str; 21] = [
    "if",
    "geoip",
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "stddev",
    "distinct",
    "list",
    "first",
    "last",
    "lag",
    "first_seen",
    "approx_distinct",
    "median",
    "quantile",
    "corr",
    "ema",
    "rate",
    "topk",
];

impl RuleCheck<'_> {
    /// Any call.
    pub fn call(&mut self, call: &Call, span: Span, scope: Scope, want: Option<&Type>) -> Option<Expr> {
        let name = call.name.text.as_str();
        if scope.site == Site::Feature {
            self.fits_a_feature(call)?;
        }
        if let Some(window) = call.over.as_ref().or_else(|| self.own_window(call, scope)) {
            return self.over(call, window, span, scope);
        }
        match (name, call.args.len()) {
            ("lag", _) => self.lag(call, span, scope),
            ("first_seen", _) => self.needs_over(call),
            ("count" | "sum" | "avg" | "stddev" | "distinct" | "list", _) | ("min" | "max", 1) => {
                self.aggregate(call, span, scope)
            }
            ("first" | "last", _) => {
                self.picked(call, scope)?;
                let text = format!("`{}` is a whole event, and a value is needed here", self.text(span));
                let finding = Diagnostic::new(Code::WholeEvent, span, text);
                self.error(finding.help("write one of its fields behind it: `first(f).at`"));
                None
            }
            ("approx_distinct" | "median" | "quantile" | "corr" | "ema" | "rate" | "topk", _) => self.needs_over(call),
            ("geoip", _) => {
                self.whole_place(call, span, scope);
                None
            }
            _ if self.world.names.models.contains_key(name) => self.score(call, span, scope),
            _ => {
                self.no_filter(call)?;
                if name == "if" { self.choice(call, span, scope, want) } else { self.function(call, span, scope, want) }
            }
        }
    }

    fn needs_over(&mut self, call: &Call) -> Option<Expr> {
        let text = format!("`{}` is a value over a window, and no window is written", call.name.text);
        self.error(
            Diagnostic::new(Code::WindowMisuse, call.name.span, text)
                .help(format!("write `{}(…) over 1h`", call.name.text)),
        );
        None
    }

    /// A `where` inside parentheses belongs to values over windows.
    pub fn no_filter(&mut self, call: &Call) -> Option<()> {
        let Some(filter) = &call.filter else { return Some(()) };
        let text = format!("`{}` takes no `where` here: it is no value over a window", call.name.text);
        self.error(
            Diagnostic::new(Code::WindowMisuse, filter.span, text)
                .help("say over which time: `count(login where success) over 1h`"),
        );
        None
    }

    /// `if(cond, a, b)`
    fn choice(&mut self, call: &Call, span: Span, scope: Scope, want: Option<&Type>) -> Option<Expr> {
        let [cond, a, b] = call.args.as_slice() else {
            let text = format!("`if` takes a condition and two values, not {} arguments", call.args.len());
            self.error(Diagnostic::new(Code::WrongArguments, call.name.span, text).help("write `if(cond, a, b)`"));
            return None;
        };
        let cond = self.truth(&cond.value, scope);
        let (a, b) = self.pair(&a.value, &b.value, scope, want)?;
        let (a, b) = self.unify(a, b)?;
        let ty = a.ty.clone();
        Some(Expr { kind: ExprKind::If(Box::new(cond?), Box::new(a), Box::new(b)), ty, span })
    }

    fn function(&mut self, call: &Call, span: Span, scope: Scope, want: Option<&Type>) -> Option<Expr> {
        let Some(function) = functions::find(&call.name.text) else {
            self.unknown_function(call);
            return None;
        };
        let args = self.positional(call)?;
        if function.name == "speed_kmh" && (args.len() == 2 || args.len() == 3) {
            return self.speed_of_events(function, &args, span, scope);
        }
        let want = if function.name == "decimal" { Some(&Type::Decimal) } else { want };
        let values = self.arguments(&args, scope, want)?;
        if matches!(function.name, "hour" | "weekday" | "date") {
            self.known_zone(values.get(1));
        }
        self.apply(function, values, &call.name).map(|(args, ty)| Expr {
            kind: ExprKind::Call(Function(function), args),
            ty,
            span,
        })
    }

    fn unknown_function(&mut self, call: &Call) {
        let name = &call.name;
        let known = functions::all().map(|f| f.name).chain(FORMS).chain(self.world.names.models.keys().copied());
        self.error(unknown(Code::UnknownFunction, "function", &name.text, name.span, known.collect::<Vec<_>>()));
    }

    /// Arguments by place. Only `accuracy_km` of `speed_kmh` has a name.
    fn positional<'c>(&mut self, call: &'c Call) -> Option<Vec<&'c ast::Expr>> {
        let allowed = |arg: &Arg, last: bool| match &arg.name {
            None => true,
            Some(name) => last && call.name.text == "speed_kmh" && name.text == "accuracy_km",
        };
        for (i, arg) in call.args.iter().enumerate() {
            if !allowed(arg, i + 1 == call.args.len()) {
                let name = arg.name.as_ref().expect("only a named argument is refused");
                let text = format!("`{}` takes its arguments by place, without names", call.name.text);
                self.error(
                    Diagnostic::new(Code::WrongArguments, name.span, text).help("only a model takes named arguments"),
                );
                return None;
            }
        }
        Some(call.args.iter().map(|a| &a.value).collect())
    }

    /// A zone as written is one that is known.
    fn known_zone(&mut self, zone: Option<&Expr>) {
        if let Some(Expr { kind: ExprKind::Const(Value::Text(name)), span, .. }) = zone {
            self.zone(name, *span);
        }
    }

    /// The zone of a name.
    pub fn zone(&mut self, name: &str, span: Span) -> Option<TimeZone> {
        let found = calendar::zone(name);
        if found.is_none() {
            let finding = Diagnostic::new(Code::UnknownName, span, format!("unknown time zone `{name}`"));
            let zones = calendar::zones();
            // `Paris` is the zone that ends with it.
            let city = zones.iter().find(|z| z.rsplit('/').next().is_some_and(|last| last.eq_ignore_ascii_case(name)));
            let near = city.map(String::as_str).or_else(|| nearest(name, zones.iter().map(String::as_str)));
            self.error(match near {
                Some(near) => finding.help(format!("did you mean `{near}`?")).fix(span, format!("\"{near}\"")),
                None => finding.help("zones are named as in `Europe/Paris`; without one it is UTC"),
            });
        }
        found
    }

    /// Typed arguments, literals with a point last: they take what the others are.
    fn arguments(&mut self, args: &[&ast::Expr], scope: Scope, want: Option<&Type>) -> Option<Vec<Expr>> {
        let mut done: Vec<Option<Expr>> = args.iter().map(|_| None).collect();
        let mut hint = want.cloned();
        for flexible in [false, true] {
            for (i, arg) in args.iter().enumerate().filter(|(_, a)| is_flexible(a) == flexible) {
                done[i] = self.expr(arg, scope, if flexible { hint.as_ref() } else { None });
                if let Some(Type::Decimal | Type::Float) = done[i].as_ref().map(|e| &e.ty) {
                    hint = done[i].as_ref().map(|e| e.ty.clone());
                }
            }
        }
        done.into_iter().collect()
    }

    /// The first way to call a function that the arguments fit: exactly, or with ints widened.
    fn apply(&mut self, function: &Definition, args: Vec<Expr>, name: &ast::Ident) -> Option<(Vec<Expr>, Type)> {
        let signatures = (function.signatures)();
        let fits = |s: &Signature, exact: bool| {
            args.len() <= s.params.len()
                && args.len() + s.optional >= s.params.len()
                && args.iter().zip(&s.params).all(|(a, p)| a.ty == *p || (!exact && widen(a.clone(), p).is_some()))
        };
        let chosen = signatures.iter().find(|s| fits(s, true)).or_else(|| signatures.iter().find(|s| fits(s, false)));
        let Some(signature) = chosen else {
            let given = args.iter().map(|a| a.ty.to_string()).collect::<Vec<_>>().join(", ");
            let text = format!("`{}` does not take ({given})", function.name);
            let ways: Vec<String> = signatures.iter().take(4).map(|s| describe(function.name, s)).collect();
            let more = if signatures.len() > 4 { ", …" } else { "" };
            self.error(
                Diagnostic::new(Code::WrongArguments, name.span, text).help(format!("it is {}{more}", ways.join(", "))),
            );
            return None;
        };
        let args = args.into_iter().zip(&signature.params).map(|(a, p)| widen(a, p)).collect::<Option<Vec<_>>>()?;
        Some((args, signature.result.clone()))
    }

    /// `speed_kmh(a, b)` of events: over the one place and the time of each.
    fn speed_of_events(
        &mut self,
        function: &'static Definition,
        args: &[&ast::Expr],
        span: Span,
        scope: Scope,
    ) -> Option<Expr> {
        let first = self.event(args[0], scope);
        let second = self.event(args[1], scope);
        let ((a, a_type), (b, b_type)) = (first?, second?);
        let mut values = self.place_and_time(a, a_type, args[0].span)?;
        values.extend(self.place_and_time(b, b_type, args[1].span)?);
        if let Some(accuracy) = args.get(2) {
            values.push(self.typed(accuracy, scope, &Type::Float, "`accuracy_km`")?);
        }
        Some(Expr { kind: ExprKind::Call(Function(function), values), ty: Type::Float, span })
    }

    /// An argument that is a whole event.
    fn event(&mut self, e: &ast::Expr, scope: Scope) -> Option<(Of, EventId)> {
        match &e.kind {
            ast::ExprKind::Name(name) => {
                if let Some(step) = self.find_step(name, scope.reader()) {
                    if scope.reader() == Some(step) && scope.element != Some(step) {
                        self.read.push(step);
                        return Some((Of::Candidate, self.step(step).event?));
                    }
                    return self.bound(step, e.span, scope);
                }
                if name == "prev" {
                    return self.prev(e.span, scope);
                }
                self.error(unknown(
                    Code::UnknownStep,
                    "step",
                    name,
                    e.span,
                    self.steps.iter().filter(|s| !s.absence).map(|s| s.name),
                ));
                None
            }
            ast::ExprKind::Call(call) if matches!(call.name.text.as_str(), "first" | "last") => {
                self.picked(call, scope)
            }
            _ => {
                let text = format!("`speed_kmh` takes two events, and `{}` is none", self.text(e.span));
                self.error(
                    Diagnostic::new(Code::WrongArguments, e.span, text)
                        .help("write the names of two steps, or all four: `speed_kmh(a.place, a.at, b.place, b.at)`"),
                );
                None
            }
        }
    }

    fn place_and_time(&mut self, of: Of, event: EventId, span: Span) -> Option<Vec<Expr>> {
        let ty = self.event_type(event);
        let places: Vec<usize> = (0..ty.fields.len()).filter(|i| ty.fields[*i].ty == Type::Geo).collect();
        let [place] = places.as_slice() else {
            let names: Vec<String> = places.iter().map(|i| format!("`{}`", ty.fields[*i].name)).collect();
            let text = match names.as_slice() {
                [] => format!("`{}` has no geo field: where was it?", ty.name),
                several => format!("`{}` has several geo fields, {}: which of them?", ty.name, several.join(" and ")),
            };
            self.error(
                Diagnostic::new(Code::PlaceOfEvent, span, text)
                    .also(ty.span, "declared here")
                    .help("write all four: `speed_kmh(a.place, a.at, b.place, b.at)`"),
            );
            return None;
        };
        let field =
            |id: crate::schema::FieldId| Expr { kind: ExprKind::Field(of, id), ty: ty.field(id).ty.clone(), span };
        Some(vec![field(crate::schema::FieldId(*place as u16)), field(ty.at)])
    }
}

/// `round(float)`
fn describe(name: &str, signature: &Signature) -> String {
    let required = signature.params.len() - signature.optional;
    let params = signature.params.iter().enumerate();
    let list: Vec<String> = params.map(|(i, p)| if i < required { p.to_string() } else { format!("{p}?") }).collect();
    format!("`{name}({})`", list.join(", "))
}
