//! Expressions, patterns and clauses read aloud: every constant, field and quantifier of the rule is said.

use rust_decimal::Decimal;

use crate::calendar::Calendar;
use crate::functions::{duration_text, text_of};
use crate::ir::{
    Aggregate, Arithmetic, Closing, Comparison, Element, Expr, ExprKind, Loop, Of, Pattern, Pick, Reach, Rows, Rule,
    Skip, StepId, WindowId, WindowKey, WindowKind,
};
use crate::schema::{EventId, FieldId, Schema};
use crate::syntax::ast::{Contiguity, MatchMode, Report};
use crate::value::{Type, Value};

/// Reads one rule.
pub struct Words<'r> {
    pub rule: &'r Rule,
    pub schema: &'r Schema,
}

impl Words<'_> {
    /// The rule, a sentence a line.
    pub fn reading(&self) -> Vec<String> {
        let rule = self.rule;
        let mut lines = Vec::new();
        if !rule.title.is_empty() {
            lines.push(format!("Title: {}.", rule.title));
        }
        if !rule.tags.is_empty() {
            lines.push(format!("Tags: {}.", rule.tags.join(", ")));
        }
        lines.push(match rule.key.names.is_empty() {
            true => "It looks at the whole stream as one.".to_owned(),
            false => format!("For each {}:", self.key()),
        });
        match &rule.closing {
            Some(closing) => lines.push(self.closing(closing)),
            None => lines.push(format!("It looks for {}.", self.pattern(&rule.pattern))),
        }
        if let Some(within) = rule.within {
            lines.push(format!("From the first to the last of these events it is at most {}.", duration_text(within)));
        }
        if let Some(when) = &rule.when {
            let what = if rule.closing.is_some() { "It is reported when" } else { "Such a match counts when" };
            lines.push(format!("{what} {}.", self.expr(when)));
        }
        if let Some(stop) = &rule.stop {
            let filter = stop.filter.as_ref().map(|f| format!(" where {}", self.expr(f))).unwrap_or_default();
            lines.push(format!("Every `{}` event{filter} ends what has begun.", self.event(stop.event)));
        }
        if rule.closing.is_none() {
            lines.push(self.mode());
        }
        match &rule.into {
            Some(into) => {
                let ty = &self.schema.event(into.event).name;
                lines.push(format!("A match is no alert but an event `{ty}`, for the rules that read these."));
            }
            None => lines.push(format!("The alert is of severity {}.", self.expr(&rule.severity))),
        }
        if let Some(risk) = &rule.risk {
            lines.push(format!("It adds the risk {}.", self.expr(risk)));
        }
        for (name, value) in &rule.emit {
            lines.push(format!("It carries `{name}`: {}.", self.expr(value)));
        }
        if !rule.message.is_empty() {
            let parts: Vec<_> = rule.message.iter().map(|e| self.message_part(e)).collect();
            lines.push(format!("It says: {}", parts.concat()));
        }
        if let Some(suppress) = &rule.suppress {
            let by = suppress
                .by
                .as_ref()
                .map_or("the same key".to_owned(), |by| format!("the same {}", self.list(by, " and ")));
            lines.push(format!(
                "For {} after an alert, further ones for {by} are held back.",
                duration_text(suppress.duration)
            ));
        }
        if rule.processing {
            lines.push(
                "The time of an event is the clock's reading when it came, wherever a time is asked for.".to_owned(),
            );
        }
        if rule.lateness > 0 {
            lines.push(format!(
                "For {} after a window has closed or an absence has held, a late event still counts: the alert is corrected, or taken back.",
                duration_text(rule.lateness)
            ));
        }
        lines
    }

    /// What a rule looks at that fires when a window closes.
    fn closing(&self, closing: &Closing) -> String {
        let window = match &closing.reach {
            Reach::Aligned { length, every, calendar, .. } if length == every => {
                format!("window of {}{}", duration_text(*length), by_clock(calendar.as_deref()))
            }
            Reach::Aligned { length, every, calendar, .. } => format!(
                "window of {}, of which one begins every {}{},",
                duration_text(*length),
                duration_text(*every),
                by_clock(calendar.as_deref())
            ),
            Reach::Session { gap } => format!("session with gaps of at most {}", duration_text(*gap)),
            Reach::Sliding { .. } | Reach::Last { .. } | Reach::Delta { .. } => "window".to_owned(),
        };
        let types: Vec<_> = self.rule.steps.iter().map(|s| format!("`{}`", self.event(s.event))).collect();
        match &closing.rows {
            None => format!("It looks at each {window} that had an event of {}, when it closes.", types.join(" or ")),
            Some(Rows::List { name, .. }) => {
                format!("It looks at each {window} for each entry of the list `{name}`, when it closes, events or not.")
            }
            Some(Rows::Table { name, .. }) => {
                format!("It looks at each {window} for each row of the table `{name}`, when it closes, events or not.")
            }
        }
    }

    fn key(&self) -> String {
        let key = &self.rule.key;
        let parts = key
            .names
            .iter()
            .zip(&key.optional)
            .map(|(n, o)| if *o { format!("`{n}` (a missing one is a key of its own)") } else { format!("`{n}`") });
        parts.collect::<Vec<_>>().join(" and ")
    }

    fn mode(&self) -> String {
        let rule = self.rule;
        match rule.mode {
            MatchMode::Each => return "Every distinct match is reported.".to_owned(),
            MatchMode::Last => return "Of runs that wait at the same place only the newest is kept.".to_owned(),
            MatchMode::One => {}
        }
        let skip = match rule.skip {
            Skip::PastLast => "what began at or before its last event ends".to_owned(),
            Skip::ToNext => "what began with the same event ends".to_owned(),
            Skip::ToFirst(s) => format!("what began before its first `{}` ends", self.step(s)),
            Skip::ToLast(s) => format!("what began before its last `{}` ends", self.step(s)),
            Skip::None => "nothing else ends".to_owned(),
        };
        let report = match rule.report {
            Report::Early => "as soon as it is complete",
            Report::Final => "once nothing can change it",
            Report::Updates => "at once, and again as it grows",
        };
        format!("One match at a time is reported, {report}; then {skip}.")
    }

    /// Name of a step.
    pub fn step(&self, id: StepId) -> &str {
        &self.rule.steps[id.0 as usize].name
    }

    /// Name of an event type.
    pub fn event(&self, id: EventId) -> &str {
        &self.schema.event(id).name
    }

    /// Name of a field.
    pub fn field(&self, event: EventId, id: FieldId) -> &str {
        &self.schema.event(event).field(id).name
    }

    /// `a` is a `login` event where …
    pub fn awaited(&self, id: StepId) -> String {
        let step = &self.rule.steps[id.0 as usize];
        let event = self.event(step.event);
        let named = if step.name == event { String::new() } else { format!(" (`{}`)", step.name) };
        let mut text = format!("`{event}` event{named}");
        if self.rule.key.of(step.event).is_some_and(|k| k != step.key.as_slice()) {
            let by: Vec<_> = step.key.iter().map(|f| format!("`{}`", self.field(step.event, *f))).collect();
            text.push_str(&format!(" by its {}", by.join(" and ")));
        }
        if !step.filter.is_empty() {
            let terms: Vec<_> = step.filter.iter().map(|t| self.term(t, step.event)).collect();
            text.push_str(&format!(" where {}", terms.join(" and ")));
        }
        if let Some(until) = &step.until {
            text.push_str(&format!(", up to the first where {}", self.term(until, step.event)));
        }
        text
    }

    fn pattern(&self, pattern: &Pattern) -> String {
        match pattern {
            Pattern::Step(id) => format!("a {}", self.awaited(*id)),
            Pattern::Sequence(elements) => {
                elements.iter().enumerate().map(|(i, e)| self.element(i, e)).collect::<Vec<_>>().concat()
            }
            Pattern::All(sides) => self.sides(sides, ", and in any order "),
            Pattern::Any(sides) => self.sides(sides, ", or else "),
            Pattern::Loop(l) => self.repetition(l),
        }
    }

    fn sides(&self, sides: &[Pattern], between: &str) -> String {
        sides.iter().map(|s| format!("({})", self.pattern(s))).collect::<Vec<_>>().join(between)
    }

    fn element(&self, i: usize, element: &Element) -> String {
        match element {
            Element::Bind { contiguity, within, pattern } => {
                let how = match contiguity {
                    _ if i == 0 => "",
                    Contiguity::Relaxed => ", then ",
                    Contiguity::Strict => ", then as the very next event ",
                    Contiguity::Any => ", then (also leaving the chance for a later one) ",
                };
                let within = within.map(|w| format!("within {} ", duration_text(w))).unwrap_or_default();
                format!("{how}{within}{}", self.pattern(pattern))
            }
            Element::Absence { steps, next, within } => {
                let names: Vec<_> = steps.iter().map(|s| self.awaited(*s)).collect();
                let within = within.map(|w| format!(" for {}", duration_text(w))).unwrap_or_default();
                let what = if *next { "with the very next event no" } else { "with no" };
                format!(", {what} {} meanwhile{within}", names.join(" and no "))
            }
        }
    }

    fn repetition(&self, l: &Loop) -> String {
        let times = match (l.min, l.max) {
            (1, Some(1)) => "once".to_owned(),
            (0, Some(1)) => "once or not at all".to_owned(),
            (min, Some(max)) if min == max => format!("{min} times"),
            (min, Some(max)) => format!("{min} to {max} times"),
            (min, None) => format!("{min} times or more"),
        };
        let mut text = format!("{times} ({})", self.pattern(&l.body));
        if l.reluctant {
            text.push_str(", as few as will do");
        }
        match l.contiguity {
            Contiguity::Relaxed => {}
            Contiguity::Strict => text.push_str(", each the very next event"),
            Contiguity::Any => text.push_str(", each also leaving the chance for a later one"),
        }
        if let Some(apart) = l.apart {
            text.push_str(&format!(", at most {} from one to the next", duration_text(apart)));
        }
        if let Some(within) = l.within {
            text.push_str(&format!(", all within {}", duration_text(within)));
        }
        text
    }

    /// One term that may read a candidate of an event type.
    pub fn term(&self, expr: &Expr, candidate: EventId) -> String {
        Reader { words: self, candidate: Some(candidate) }.truth(expr)
    }

    /// An expression that reads no candidate, or whose candidate's type the rule makes plain.
    pub fn expr(&self, expr: &Expr) -> String {
        Reader { words: self, candidate: None }.expr(expr)
    }

    fn list(&self, exprs: &[Expr], between: &str) -> String {
        exprs.iter().map(|e| self.expr(e)).collect::<Vec<_>>().join(between)
    }

    fn message_part(&self, expr: &Expr) -> String {
        match &expr.kind {
            ExprKind::Const(Value::Text(t)) => t.to_string(),
            _ => format!("[{}]", self.expr(expr)),
        }
    }

    /// A window's value.
    pub fn window(&self, id: WindowId) -> String {
        let window = &self.rule.windows[id.0 as usize];
        let counted = Reader { words: self, candidate: Some(window.event) };
        let (values, moves) = window.values();
        let args: Vec<_> = values.iter().map(|a| counted.expr(a)).collect();
        let args = args.join(" and ");
        let filter =
            window.filter.as_ref().map(|f| format!(" where {}", self.term(f, window.event))).unwrap_or_default();
        let event = self.event(window.event);
        let by = match &window.key {
            WindowKey::Rule(_) | WindowKey::Input => String::new(),
            WindowKey::Fields { counted, .. } => {
                let names: Vec<_> = counted.iter().map(|f| format!("`{}`", self.field(window.event, *f))).collect();
                format!(" of the same {}", names.join(" and "))
            }
        };
        match &window.kind {
            WindowKind::Over { aggregate, reach } if window.key == WindowKey::Input => {
                format!("{}, sampled at every event of the rule, {}", aggregated(*aggregate, &args), held(reach, ""))
            }
            WindowKind::Over { aggregate, reach } => {
                let what = match (aggregate, args.is_empty()) {
                    (Aggregate::Count, _) => "the number".to_owned(),
                    (Aggregate::Rate, _) => "the number a second".to_owned(),
                    (a, _) => aggregated(*a, &args),
                };
                let moves = moves.map(|m| counted.expr(m)).unwrap_or_default();
                format!("{what} of `{event}` events{by}{filter} {}", held(reach, &moves))
            }
            WindowKind::Lag { n } => format!("{args} of the `{event}` event {n} before"),
            WindowKind::FirstSeen { length } => {
                format!(
                    "{args} is seen for the first time in {} among `{event}` events{by}{filter}",
                    duration_text(*length)
                )
            }
        }
    }
}

struct Reader<'a, 'r> {
    words: &'a Words<'r>,
    candidate: Option<EventId>,
}

impl Reader<'_, '_> {
    fn expr(&self, e: &Expr) -> String {
        use ExprKind as K;
        let two = |a: &Expr, sign: &str, b: &Expr| format!("{} {sign} {}", self.inner(a), self.inner(b));
        let all = |list: &[Expr], between: &str| list.iter().map(|e| self.expr(e)).collect::<Vec<_>>().join(between);
        match &e.kind {
            K::Const(value) => constant(value),
            K::Field(of, field) => self.field_of(*of, *field),
            K::Key(n) => format!("`{}`", self.words.rule.key.names[*n as usize]),
            K::Aggregate { aggregate: Aggregate::Count, step, .. } => {
                format!("the number of `{}`", self.words.step(*step))
            }
            K::Aggregate { aggregate, step, args } => {
                let inner = Reader { words: self.words, candidate: Some(self.words.rule.steps[step.0 as usize].event) };
                let args: Vec<_> = args.iter().map(|a| inner.expr(a)).collect();
                format!("{} of all `{}`", aggregated(*aggregate, &args.join(" and ")), self.words.step(*step))
            }
            K::Window(id) => self.words.window(*id),
            K::PrevOr(a) => format!("({}, or there is none before)", self.expr(a)),
            K::Not(a) => match &a.kind {
                K::Field(..) => format!("{} is false", self.expr(a)),
                K::IsMissing(of) => format!("{} is present", self.inner(of)),
                _ => format!("not ({})", self.expr(a)),
            },
            K::Neg(a) => format!("minus {}", self.inner(a)),
            K::And(list) => list.iter().map(|e| self.side(e)).collect::<Vec<_>>().join(" and "),
            K::Or(list) => list.iter().map(|e| self.side(e)).collect::<Vec<_>>().join(" or "),
            K::Compare(op, a, b) => two(a, comparison(*op), b),
            K::Arithmetic(op, a, b) => two(a, arithmetic(*op), b),
            K::Like { item, pattern, fold } => {
                two(item, if *fold { "is, in capitals or not, like" } else { "is like" }, pattern)
            }
            K::Matches(a, regex) => format!("{} matches the expression {:?}", self.inner(a), regex.0.as_str()),
            K::InSet(a, values) => {
                let values: Vec<_> = values.iter().map(constant).collect();
                format!("{} is one of {}", self.inner(a), values.join(", "))
            }
            K::InList(a, list) => format!("{} is one of {}", self.inner(a), all(list, ", ")),
            K::InValue(a, b) => two(a, "is in", b),
            K::InCidr(a, b) => two(a, "lies in", b),
            K::InDeclared(a, list) => match list.of {
                Type::Cidr => format!("{} lies in a network of the list `{}`", self.inner(a), list.name),
                _ => format!("{} is on the list `{}`", self.inner(a), list.name),
            },
            K::Column { key, column } => {
                format!("`{}` of {} in the table `{}`", column.column, all(key, " and "), column.name)
            }
            K::Score { inputs, model } => {
                let named = model.inputs.iter().zip(inputs).map(|((name, _), e)| format!("{name} {}", self.inner(e)));
                format!("what the model `{}` makes of {}", model.name, named.collect::<Vec<_>>().join(", "))
            }
            K::Geoip(ip, field) => format!("the {} of {} by geoip", field.name(), self.inner(ip)),
            K::InRange(a, low, high) => {
                format!("{} lies in {} to {}", self.inner(a), self.inner(low), self.inner(high))
            }
            K::IsMissing(a) => format!("{} is missing", self.inner(a)),
            K::Coalesce(a, b) => format!("{} (or, where it is missing, {})", self.inner(a), self.inner(b)),
            K::If(c, a, b) => format!("{} if {}, else {}", self.inner(a), self.expr(c), self.inner(b)),
            K::Call(function, args) => format!("{}({})", function.0.name, all(args, ", ")),
            K::Widen(a) => self.expr(a),
            K::List(items) => format!("[{}]", all(items, ", ")),
        }
    }

    /// A condition as a sentence of its own.
    fn truth(&self, e: &Expr) -> String {
        match &e.kind {
            ExprKind::Field(..) => format!("{} is true", self.expr(e)),
            _ => self.expr(e),
        }
    }

    fn side(&self, e: &Expr) -> String {
        if matches!(e.kind, ExprKind::Field(..)) { self.truth(e) } else { self.inner(e) }
    }

    /// In parentheses where it has parts of its own.
    fn inner(&self, e: &Expr) -> String {
        use ExprKind as K;
        match &e.kind {
            K::And(_) | K::Or(_) | K::Arithmetic(..) | K::If(..) => format!("({})", self.expr(e)),
            _ => self.expr(e),
        }
    }

    fn field_of(&self, of: Of, field: FieldId) -> String {
        let name = |event: EventId| self.words.field(event, field);
        match of {
            Of::Candidate | Of::Element => self.candidate.map_or("a field".to_owned(), |e| format!("`{}`", name(e))),
            Of::Prev | Of::ElementPrev => {
                self.candidate.map_or("a field".to_owned(), |e| format!("the `{}` of the one before", name(e)))
            }
            Of::Step(step, pick) => {
                let (step, event) = (self.words.step(step), self.words.rule.steps[step.0 as usize].event);
                match pick {
                    Pick::Last(0) => format!("`{step}.{}`", name(event)),
                    Pick::First(0) => format!("the `{}` of the first `{step}`", name(event)),
                    Pick::First(n) => format!("the `{}` of `{step}` {n} after the first", name(event)),
                    Pick::Last(n) => format!("the `{}` of `{step}` {n} before the last", name(event)),
                }
            }
        }
    }
}

fn constant(value: &Value<'_>) -> String {
    match value {
        Value::Text(t) => format!("{t:?}"),
        Value::Missing => "nothing".to_owned(),
        other => match text_of(other) {
            Ok(Value::Text(t)) => t.to_string(),
            _ => "nothing".to_owned(),
        },
    }
}

fn comparison(op: Comparison) -> &'static str {
    match op {
        Comparison::Eq => "is",
        Comparison::Ne => "is not",
        Comparison::Lt => "is less than",
        Comparison::Le => "is at most",
        Comparison::Gt => "is more than",
        Comparison::Ge => "is at least",
    }
}

fn arithmetic(op: Arithmetic) -> &'static str {
    match op {
        Arithmetic::Add => "plus",
        Arithmetic::Sub => "minus",
        Arithmetic::Mul => "times",
        Arithmetic::Div => "divided by",
        Arithmetic::Rem => "modulo",
    }
}

/// By which clock windows begin, where it is not UTC.
fn by_clock(calendar: Option<&Calendar>) -> String {
    calendar.map(|c| format!(" by the clock of {}", c.zone())).unwrap_or_default()
}

/// Which events a window holds.
fn held(reach: &Reach, moves: &str) -> String {
    let time = duration_text;
    let ago = |offset: i64| if offset == 0 { String::new() } else { format!(", as it was {} ago", time(offset)) };
    match reach {
        Reach::Sliding { length, offset: 0 } => format!("in the last {}", time(*length)),
        Reach::Sliding { length, offset } => format!("in the {} that ended {} ago", time(*length), time(*offset)),
        Reach::Aligned { length, every, offset, calendar, .. } if length == every => {
            let zone = calendar.as_ref().map_or("UTC", |c| c.zone());
            format!("in the calendar's {} so far ({zone}){}", time(*length), ago(*offset))
        }
        Reach::Aligned { length, every, offset, calendar, .. } => {
            format!(
                "in that window of {} which closes next, of those that begin every {}{}{}",
                time(*length),
                time(*every),
                by_clock(calendar.as_deref()),
                ago(*offset)
            )
        }
        Reach::Session { gap } => format!("since the last gap of more than {}", time(*gap)),
        Reach::Last { n } => format!("among the last {n} of them"),
        Reach::Delta { percent } => format!("since {moves} last moved by {percent} %"),
    }
}

fn aggregated(aggregate: Aggregate, args: &str) -> String {
    match aggregate {
        Aggregate::Count => format!("the number of {args}"),
        Aggregate::Sum => format!("the sum of {args}"),
        Aggregate::Avg => format!("the average {args}"),
        Aggregate::Min => format!("the smallest {args}"),
        Aggregate::Max => format!("the largest {args}"),
        Aggregate::Stddev => format!("the standard deviation of {args}"),
        Aggregate::Distinct => format!("how many different {args}"),
        Aggregate::ApproxDistinct => format!("how many different {args}, told apart by their hashes,"),
        Aggregate::First => format!("the first {args}"),
        Aggregate::Last => format!("the last {args}"),
        Aggregate::List => format!("the list of {args}"),
        Aggregate::ListOf(n) => format!("the last {n} {args}"),
        Aggregate::Quantile(q) if q == Decimal::new(5, 1) => format!("the median of {args}"),
        Aggregate::Quantile(q) => format!("the {q} quantile of {args}"),
        Aggregate::Ema(alpha) => format!("the exponential moving average (the newest counts {alpha}) of {args}"),
        Aggregate::Rate => "the number a second".to_owned(),
        Aggregate::Topk(k) => format!("the {k} most frequent {args}"),
        Aggregate::Corr => format!("the correlation of {args}"),
    }
}
