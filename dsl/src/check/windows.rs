//! Values over windows: aggregates with `over`, `first_seen`, `lag`.

use std::sync::Arc;

use rust_decimal::Decimal;

use super::aggregates::by_name;
use super::reach::{Scope, Site};
use super::rule::RuleCheck;
use crate::calendar::Calendar;
use crate::diagnostics::{Code, Diagnostic};
use crate::ir::{Aggregate, Expr, ExprKind, Reach, Window, WindowId, WindowKey, WindowKind};
use crate::schema::{EventId, FieldId};
use crate::syntax::Span;
use crate::syntax::ast::{self, By, Call};
use crate::value::Type;

const WEEK: i64 = 7 * 24 * 3_600_000;
/// Weeks begin on Mondays, and 1970 began on a Thursday.
const FIRST_MONDAY: i64 = 4 * 24 * 3_600_000;
/// The most events of `over last`: as many as a window of one key holds by default.
const LAST_MAX: u32 = 1_000_000;
/// The most values of `list(x, n)`: it is written into an alert.
const LIST_MAX: u32 = 1_000;
/// The most values of `topk(x, k)`.
const TOPK_MAX: u32 = 100;

impl RuleCheck<'_> {
    /// `AGG(…) [by …] over W`, `first_seen(…) over W`; in a rule that fires when a window closes also `AGG(…)` over that.
    pub fn over(&mut self, call: &Call, window: &ast::Window, span: Span, scope: Scope) -> Option<Expr> {
        self.stands_alone(call, span, scope)?;
        let offset = window.offset.map_or(0, |o| o.ms);
        if call.name.text == "first_seen" {
            self.without_zone(window)?;
            let ast::WindowKind::Sliding(length) = &window.kind else {
                let finding = Diagnostic::new(Code::WindowMisuse, window.span, "`first_seen` looks back over a time");
                self.error(finding.help("write `first_seen(country) over 30d`"));
                return None;
            };
            self.some_time(*length)?;
            return self.first_seen(call, length.ms, offset, span, scope);
        }
        if self.is_of_features(call) {
            return self.samples(call, window, span);
        }
        let (aggregate, values) = self.windowed(call)?;
        let event = self.counted_event(call, scope)?;
        let counted = Scope::at(Site::Counted(event));
        let (mut args, ty) = self.counted_args(call, aggregate, values, counted)?;
        let filter = self.counted_filter(call, counted);
        let key = self.window_key(call, event, span, scope)?;
        let (reach, moves) = self.reach(window, counted)?;
        args.extend(moves);
        if call.over.is_none() {
            self.counts_in_window(event);
        }
        let kind = WindowKind::Over { aggregate, reach };
        Some(self.window(Window { kind, event, key, filter: filter.ok()?, args, ty, span }))
    }

    /// Which events a window holds, and the value whose moves begin it anew.
    pub fn reach(&mut self, window: &ast::Window, counted: Scope) -> Option<(Reach, Option<Expr>)> {
        use ast::WindowKind as K;
        let offset = window.offset.map_or(0, |o| o.ms);
        if let (Some(offset), K::Session(_) | K::Last(_) | K::Delta(..)) = (window.offset, &window.kind) {
            let text = "only a window of a fixed length has an `offset`";
            let finding = Diagnostic::new(Code::WindowMisuse, offset.span, text);
            self.error(finding.help("`over 1h`, `over 1h tumbling` and `over 1h every 5m` have one"));
            return None;
        }
        if !matches!(window.kind, K::Tumbling(_) | K::Hopping(..)) {
            self.without_zone(window)?;
        }
        let reach = match &window.kind {
            K::Sliding(length) => {
                self.some_time(*length)?;
                Reach::Sliding { length: length.ms, offset }
            }
            K::Tumbling(length) => {
                self.some_time(*length)?;
                let origin = if length.ms % WEEK == 0 { FIRST_MONDAY } else { 0 };
                let calendar = self.calendar(window, length.ms, origin)?;
                Reach::Aligned { length: length.ms, every: length.ms, origin, offset, calendar }
            }
            K::Hopping(length, every) => {
                self.some_time(*length)?;
                self.some_time(*every)?;
                if every.ms > length.ms {
                    let text = "events between two of these windows would be in none";
                    let finding = Diagnostic::new(Code::WindowMisuse, every.span, text);
                    self.error(finding.help("what stands behind `every` is at most the window's length"));
                    return None;
                }
                if window.zone.is_some() && length.ms % every.ms != 0 {
                    let text = "with a time zone the length is so many times what stands behind `every`";
                    let finding = Diagnostic::new(Code::WindowMisuse, every.span, text);
                    self.error(finding.help("as in `7d every 1d \"Europe/Paris\"`, which are seven local days"));
                    return None;
                }
                let calendar = self.calendar(window, every.ms, 0)?;
                Reach::Aligned { length: length.ms, every: every.ms, origin: 0, offset, calendar }
            }
            K::Session(gap) => {
                self.some_time(*gap)?;
                Reach::Session { gap: gap.ms }
            }
            K::Last(n) => match u32::try_from(*n) {
                Ok(n @ 1..=LAST_MAX) => Reach::Last { n },
                _ => {
                    let text = format!("a window of the last {n} events");
                    let finding = Diagnostic::new(Code::WindowMisuse, window.span, text);
                    self.error(finding.help(format!("it holds from 1 to {LAST_MAX} events")));
                    return None;
                }
            },
            K::Delta(of, percent) => {
                let of = self.expr(of, counted, None)?;
                if !matches!(of.ty, Type::Int | Type::Float | Type::Decimal | Type::Duration) {
                    let text =
                        format!("`delta` takes a number or a duration, and `{}` is {}", self.text(of.span), of.ty);
                    self.error(Diagnostic::new(Code::WrongArguments, of.span, text));
                    return None;
                }
                let Some(percent) = percent.text.parse().ok().filter(|p: &Decimal| !p.is_zero()) else {
                    let finding = Diagnostic::new(Code::WindowMisuse, percent.span, "every value moves by 0 %");
                    self.error(finding.help("say by how much it has to move: `over delta(price, 5%)`"));
                    return None;
                };
                return Some((Reach::Delta { percent }, Some(of)));
            }
        };
        Some((reach, None))
    }

    /// Where windows begin by the clock of the zone that is written; the outer none where the zone is unknown.
    #[expect(clippy::option_option, reason = "no zone is no mistake")]
    fn calendar(&mut self, window: &ast::Window, every: i64, origin: i64) -> Option<Option<Arc<Calendar>>> {
        let Some(name) = &window.zone else { return Some(None) };
        let zone = self.zone(&name.value, name.span)?;
        Some(Some(Calendar::new(&zone, every, origin)))
    }

    /// Refuses a zone where no calendar is.
    fn without_zone(&mut self, window: &ast::Window) -> Option<()> {
        let Some(zone) = &window.zone else { return Some(()) };
        let finding = Diagnostic::new(Code::WindowMisuse, zone.span, "only a calendar window has a time zone");
        self.error(
            finding.help(format!("`over 1d tumbling \"{0}\"` and `over 1h every 5m \"{0}\"` have one", zone.value)),
        );
        None
    }

    fn some_time(&mut self, length: ast::DurationLit) -> Option<()> {
        if length.ms > 0 {
            return Some(());
        }
        let finding = Diagnostic::new(Code::WindowMisuse, length.span, "a window of no length");
        self.error(finding.help("say how far back it goes: `over 10m`"));
        None
    }

    /// The aggregate of a call over a window, and how many of its arguments are values.
    fn windowed(&mut self, call: &Call) -> Option<(Aggregate, usize)> {
        let name = call.name.text.as_str();
        let (values, what) = match name {
            "list" => (2, "a value and how many of the last: `list(login.country, 5)`"),
            "quantile" => (2, "a value and a part of 1: `quantile(login.amount, 0.95)`"),
            "ema" => (2, "a value and the weight of the newest: `ema(login.amount, 0.1)`"),
            "topk" => (2, "a value and how many: `topk(login.country, 3)`"),
            "corr" => (2, "two values of one event: `corr(trade.price, trade.volume)`"),
            "median" => (1, "one value: `median(login.amount)`"),
            "rate" => (1, "an event type: `rate(login)`"),
            "approx_distinct" => (call.args.len().max(1), "the values to count: `approx_distinct(login.ip)`"),
            _ => {
                let Some(aggregate) = by_name(name) else {
                    let text = format!("`{name}` is no aggregate, and only an aggregate has a window");
                    let finding = Diagnostic::new(Code::WindowMisuse, call.name.span, text);
                    self.error(super::names::suggest(finding, name, call.name.span, super::calls::FORMS));
                    return None;
                };
                return self.fitting_count(call, aggregate).then_some((aggregate, call.args.len()));
            }
        };
        self.without_names(call)?;
        if call.args.len() != values {
            let text = format!("`{name}` over a window takes {what}");
            self.error(Diagnostic::new(Code::WrongArguments, call.name.span, text));
            return None;
        }
        let last = &call.args[values - 1].value;
        Some(match name {
            "list" => (Aggregate::ListOf(self.whole_up_to(last, LIST_MAX)?), 1),
            "topk" => (Aggregate::Topk(self.whole_up_to(last, TOPK_MAX)?), 1),
            "quantile" => (Aggregate::Quantile(self.part(last, Decimal::ZERO)?), 1),
            "median" => (Aggregate::Quantile(Decimal::new(5, 1)), 1),
            "ema" => (Aggregate::Ema(self.part(last, Decimal::new(1, 3))?), 1),
            "corr" => (Aggregate::Corr, 2),
            "rate" => (Aggregate::Rate, 1),
            _ => (Aggregate::ApproxDistinct, values),
        })
    }

    /// A whole number as written, from 1 on.
    fn whole_up_to(&mut self, e: &ast::Expr, most: u32) -> Option<u32> {
        let n = self.whole(e, 1)?;
        if n > most {
            let text = format!("{n} values are too many for one result");
            self.error(Diagnostic::new(Code::WrongArguments, e.span, text).help(format!("at most {most}")));
            return None;
        }
        Some(n)
    }

    /// A part of 1 as written.
    fn part(&mut self, e: &ast::Expr, least: Decimal) -> Option<Decimal> {
        let written = match &e.kind {
            ast::ExprKind::Literal(ast::Literal::Int(n)) => Some(Decimal::from(*n)),
            ast::ExprKind::Literal(ast::Literal::Number(text)) => text.parse().ok(),
            _ => None,
        };
        if let Some(part) = written.filter(|p| (least..=Decimal::ONE).contains(p)) {
            return Some(part);
        }
        let text = format!("a number from {least} to 1 is needed here, as written, not `{}`", self.text(e.span));
        self.error(Diagnostic::new(Code::NotConstant, e.span, text));
        None
    }

    /// A value over a window stands in a condition of its own, not inside another aggregate.
    fn stands_alone(&mut self, call: &Call, span: Span, scope: Scope) -> Option<()> {
        let inside = match scope.site {
            Site::Counted(_) => "another window",
            Site::Stop(_) => "`stop on`",
            _ if scope.element.is_some() => "an aggregate over a step",
            _ => return Some(()),
        };
        let text = format!("`{}` over a window stands inside of {inside}", call.name.text);
        self.error(Diagnostic::new(Code::WindowMisuse, span, text).help("an aggregate reads single events only"));
        None
    }

    fn counted_args(
        &mut self,
        call: &Call,
        aggregate: Aggregate,
        values: usize,
        scope: Scope,
    ) -> Option<(Vec<Expr>, Type)> {
        match (aggregate, &call.args[0].value.kind) {
            (Aggregate::Count, ast::ExprKind::Name(_)) => return Some((Vec::new(), Type::Int)),
            (Aggregate::Rate, ast::ExprKind::Name(_)) => return Some((Vec::new(), Type::Float)),
            (Aggregate::Rate, _) => {
                let place = call.args[0].value.span;
                let text = format!("`rate` takes an event type, and `{}` is none", self.text(place));
                self.error(Diagnostic::new(Code::WrongArguments, place, text));
                return None;
            }
            _ => {}
        }
        let args: Vec<Option<Expr>> = call.args[..values].iter().map(|a| self.expr(&a.value, scope, None)).collect();
        let args: Vec<Expr> = args.into_iter().collect::<Option<_>>()?;
        let ty = self.aggregate_type(aggregate, &args, call)?;
        Some((args, ty))
    }

    /// The condition on the counted event; the error has been reported.
    fn counted_filter(&mut self, call: &Call, scope: Scope) -> Result<Option<Expr>, ()> {
        match &call.filter {
            None => Ok(None),
            Some(filter) => {
                let typed = self.condition(filter, scope).ok_or(())?;
                self.refuse_never(std::slice::from_ref(&typed));
                Ok(Some(typed))
            }
        }
    }

    /// The event type that is counted: `count(share)`, `sum(share.size)`.
    fn counted_event(&mut self, call: &Call, scope: Scope) -> Option<EventId> {
        let mut names = Vec::new();
        for arg in &call.args {
            match &arg.value.kind {
                ast::ExprKind::Name(name) if matches!(call.name.text.as_str(), "count" | "rate") => {
                    names.push((name.as_str(), arg.value.span));
                }
                _ => owners(&arg.value, &mut names),
            }
        }
        let Some((name, span)) = names.first().copied() else {
            self.no_counted_event(call, scope);
            return None;
        };
        if let Some(event) = self.world.schema.find(name) {
            return Some(event);
        }
        if let Some(step) = self.find_step(name, scope.reader()).map(|s| self.step(s)) {
            let event = &step.step.event.text;
            let text = format!("`{name}` is a step, and a window counts an event type");
            let finding = Diagnostic::new(Code::WindowMisuse, span, text);
            self.error(finding.help(format!("write `{event}` for all events of the type")).fix(span, event));
            return None;
        }
        let events = self.world.names.events.keys().copied();
        self.error(super::names::unknown(Code::UnknownEvent, "event type", name, span, events));
        None
    }

    fn no_counted_event(&mut self, call: &Call, scope: Scope) {
        let Some(arg) = call.args.first().map(|a| &a.value) else { return };
        let text = format!("a window counts events of a type, and `{}` names none", self.text(arg.span));
        let finding = Diagnostic::new(Code::WindowMisuse, arg.span, text);
        let event = self.candidate(scope).map_or("login", |e| &self.event_type(e).name);
        let help = format!("write the field with its type: `{}({event}.field) over 1h`", call.name.text);
        self.error(finding.help(help));
    }

    /// `first_seen(country where success) over 30d`: of the candidate's type, or of the type that is named.
    fn first_seen(&mut self, call: &Call, length: i64, offset: i64, span: Span, scope: Scope) -> Option<Expr> {
        if offset != 0 {
            self.error(Diagnostic::new(Code::WindowMisuse, span, "`first_seen` takes no `offset`"));
            return None;
        }
        if call.args.is_empty() {
            self.error(
                Diagnostic::new(Code::WrongArguments, call.name.span, "`first_seen` of what?")
                    .help("write a field: `first_seen(country) over 30d`"),
            );
            return None;
        }
        let event = match (self.candidate(scope), self.ends_in_absence) {
            (Some(event), _) => event,
            (None, Some(absence)) => {
                let text = "`first_seen` asks about the event at hand, and an absence completes this match later";
                let finding = Diagnostic::new(Code::WindowMisuse, span, text).also(absence, "an absence at the end");
                self.error(finding.help("ask in the step's `where`: `a: login where first_seen(country) over 30d`"));
                return None;
            }
            (None, None) => self.counted_event(call, scope)?,
        };
        let counted = Scope::at(Site::Counted(event));
        let args: Vec<Option<Expr>> = call.args.iter().map(|a| self.expr(&a.value, counted, None)).collect();
        let filter = self.counted_filter(call, counted);
        let args: Vec<Expr> = args.into_iter().collect::<Option<_>>()?;
        let key = self.window_key(call, event, span, scope)?;
        let kind = WindowKind::FirstSeen { length };
        Some(self.window(Window { kind, event, key, filter: filter.ok()?, args, ty: Type::Bool, span }))
    }

    /// `lag(amount, n)`
    pub fn lag(&mut self, call: &Call, span: Span, scope: Scope) -> Option<Expr> {
        self.no_filter(call)?;
        let Site::Where(step) = scope.site else {
            let finding =
                Diagnostic::new(Code::WindowMisuse, span, "`lag` looks back from the event that a step judges");
            self.error(finding.help("write it in the step's `where`"));
            return None;
        };
        if scope.element.is_some() {
            self.error(Diagnostic::new(Code::WindowMisuse, span, "`lag` stands inside of an aggregate"));
            return None;
        }
        let (value, n) = match call.args.as_slice() {
            [value] => (value, 1),
            [value, n] => (value, self.whole(&n.value, 1)?),
            _ => {
                let finding = Diagnostic::new(
                    Code::WrongArguments,
                    call.name.span,
                    "`lag` takes a field and, if wanted, how many events back",
                );
                self.error(finding.help("write `lag(amount)` or `lag(amount, 2)`"));
                return None;
            }
        };
        let event = self.step(step).event?;
        let value = self.expr(&value.value, Scope::at(Site::Counted(event)), None)?;
        let key = match &self.step(step).step.by {
            Some(_) => self.own_fields(step)?,
            None => self.key_of(event, span)?,
        };
        let ty = value.ty.clone();
        let kind = WindowKind::Lag { n };
        Some(self.window(Window { kind, event, key: WindowKey::Rule(key), filter: None, args: vec![value], ty, span }))
    }

    /// The fields of a step's own `by`; what is wrong with them has been reported.
    fn own_fields(&self, step: crate::ir::StepId) -> Option<Vec<FieldId>> {
        let info = self.step(step);
        let event = self.event_type(info.event?);
        let fields = match info.step.by.as_ref()? {
            By::Fields(fields) => fields,
            By::PerType(types) => &types.iter().find(|(n, _)| n.text == info.step.event.text)?.1,
        };
        fields.iter().map(|f| event.find(&f.name.text)).collect()
    }

    /// Whose events a window holds.
    fn window_key(&mut self, call: &Call, event: EventId, span: Span, scope: Scope) -> Option<WindowKey> {
        if self.feature.is_some() {
            return self.feature_key(call.by.as_ref(), event, span);
        }
        let Some(by) = &call.by else {
            return self.key_of(event, span).map(WindowKey::Rule);
        };
        if let Some(key) = self.as_rules_key(by, event, span) {
            return Some(key);
        }
        if self.closing.is_some() {
            self.nobody_asks(span);
            return None;
        }
        let counted = self.fields_by(by, event, span).map_err(|finding| self.error(finding)).ok()?;
        let types = self.types_of(event, &counted);
        // The candidate must have them; elsewhere any step's event may be the current one.
        if let Some(candidate) = self.candidate(scope) {
            let help = "the candidate's event is the one that asks; where types call it differently, write `by { login: ip, payment: addr }`";
            let asked = self.fields_by(by, candidate, span).map_err(|finding| self.error(finding.help(help))).ok()?;
            if self.types_of(candidate, &asked) != types {
                let text = format!(
                    "`{}` and `{}` do not have these fields with one type",
                    self.event_type(candidate).name,
                    self.event_type(event).name
                );
                self.error(Diagnostic::new(Code::KeyType, span, text));
                return None;
            }
        }
        self.window_of_fields(by, counted, event, scope, span)
    }

    /// The window of a key of its own, with all types that may ask for it.
    pub fn window_of_fields(
        &mut self,
        by: &By,
        counted: Vec<FieldId>,
        event: EventId,
        scope: Scope,
        span: Span,
    ) -> Option<WindowKey> {
        let types = self.types_of(event, &counted);
        let mut readers: Vec<EventId> =
            self.steps.iter().filter_map(|s| s.event).chain(self.candidate(scope)).collect();
        readers.sort_unstable();
        readers.dedup();
        let with_fields = readers.into_iter().filter_map(|e| Some((e, self.fields_by(by, e, span).ok()?)));
        let reader: Vec<_> = with_fields.filter(|(e, f)| self.types_of(*e, f) == types).collect();
        if reader.is_empty() {
            let text = "no step of this rule has the fields that the window is counted by";
            self.error(Diagnostic::new(Code::KeyField, span, text));
            return None;
        }
        Some(WindowKey::Fields { reader, optional: optional(by, counted.len()), counted })
    }

    /// The fields of an event type that a window's `by` names, or what is wrong with them.
    pub fn fields_by(&self, by: &By, event: EventId, span: Span) -> Result<Vec<FieldId>, Diagnostic> {
        let ty = self.event_type(event);
        let named: Vec<&ast::KeyField> = match by {
            By::Fields(fields) => fields.iter().collect(),
            By::PerType(types) => types.iter().filter(|(n, _)| n.text == ty.name).flat_map(|(_, f)| f).collect(),
        };
        if named.is_empty() && matches!(by, By::PerType(_)) {
            let text = format!("the window's `by` says nothing of `{}`", ty.name);
            return Err(Diagnostic::new(Code::KeyField, span, text));
        }
        let id = |f: &&ast::KeyField| {
            let text = || format!("`{}` has no field `{}`", ty.name, f.name.text);
            let id = ty.find(&f.name.text).ok_or_else(|| Diagnostic::new(Code::KeyField, f.name.span, text()))?;
            match &ty.field(id).ty {
                bad @ (Type::List(_) | Type::Geo) => {
                    let text = format!("`{}` is {bad}: a key is one value that can be compared", f.name.text);
                    Err(Diagnostic::new(Code::KeyType, f.name.span, text))
                }
                _ => Ok(id),
            }
        };
        named.iter().map(id).collect()
    }

    pub fn types_of(&self, event: EventId, fields: &[FieldId]) -> Vec<Type> {
        fields.iter().map(|f| self.event_type(event).field(*f).ty.clone()).collect()
    }

    /// The value of a window; equal windows of a rule are one.
    pub fn window(&mut self, window: Window) -> Expr {
        let (ty, span) = (window.ty.clone(), window.span);
        let bare = |w: &Window| {
            let mut w = w.clone();
            w.span = Span::default();
            w.filter.iter_mut().chain(&mut w.args).for_each(erase);
            w
        };
        let wanted = bare(&window);
        let known = self.windows.iter().position(|w| bare(w) == wanted);
        let id = known.unwrap_or(self.windows.len());
        if known.is_none() {
            self.windows.push(window);
        }
        Expr { kind: ExprKind::Window(WindowId(id as u16)), ty, span }
    }
}

/// For each part of a window's key, whether a missing value is a key of its own.
pub(super) fn optional(by: &By, parts: usize) -> Vec<bool> {
    match by {
        By::Fields(fields) => fields.iter().map(|f| f.optional).collect(),
        By::PerType(types) => {
            (0..parts).map(|i| types.iter().any(|(_, f)| f.get(i).is_some_and(|f| f.optional))).collect()
        }
    }
}

/// Takes the places out of an expression, to compare it with another.
pub(super) fn erase(e: &mut Expr) {
    e.span = Span::default();
    crate::compile::walk::children_mut(e, &mut erase);
}

/// What stands before a field.
pub(super) fn owners<'e>(e: &'e ast::Expr, names: &mut Vec<(&'e str, Span)>) {
    use ast::ExprKind as K;
    match &e.kind {
        K::Member(owner, _) => {
            if let K::Name(name) = &owner.kind {
                names.push((name, owner.span));
            }
        }
        K::Unary(_, a) => owners(a, names),
        K::Binary(_, a, b) => {
            owners(a, names);
            owners(b, names);
        }
        K::Call(call) => call.args.iter().for_each(|a| owners(&a.value, names)),
        _ => {}
    }
}
