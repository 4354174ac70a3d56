//! Typed rules: what `check` makes of the tree and `compile` makes programs of.
//!
//! Every name is resolved, every expression has a type that holds, every limit is in milliseconds.

use std::sync::Arc;

use rust_decimal::Decimal;

use crate::calendar::Calendar;
use crate::functions::Function;
use crate::schema::{EventId, FieldId, ListId, ModelId, Schema, TableId};
use crate::syntax::Span;
use crate::syntax::ast::{Contiguity, MatchMode, Report};
use crate::value::{Type, Value};

/// A checked rule set.
#[derive(Clone, Debug, Default)]
pub struct RuleSetIr {
    /// The event types.
    pub schema: Schema,
    /// The rules, in order of their names.
    pub rules: Vec<Rule>,
}

/// A step of a rule's pattern, or an absence: an index into [`Rule::steps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub u16);

/// One aggregate over a window (or `lag`, `first_seen`) of a rule: an index into [`Rule::windows`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowId(pub u16);

/// A checked rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// For people; empty where none is written.
    pub title: String,
    /// Of type string: `low`, `medium`, `high`, `critical`, `info`; the default is `medium`.
    pub severity: Expr,
    /// A number that adds up per entity.
    pub risk: Option<Expr>,
    /// Tags as written.
    pub tags: Vec<String>,
    /// What the rule is counted per.
    pub key: Key,
    /// Which matches are reported.
    pub mode: MatchMode,
    /// The steps and absences.
    pub steps: Vec<Step>,
    /// How the steps follow each other.
    pub pattern: Pattern,
    /// `last.at − first.at` at most, in milliseconds.
    pub within: Option<i64>,
    /// Checked on the complete match.
    pub when: Option<Expr>,
    /// Fields of the alert, or of the event that is derived.
    pub emit: Vec<(String, Expr)>,
    /// Where a match is an event for other rules and no alert.
    pub into: Option<Into>,
    /// Parts of the message, each of type string or any scalar; empty where there is none.
    pub message: Vec<Expr>,
    /// Holds back further alerts.
    pub suppress: Option<Suppress>,
    /// What a reported match ends.
    pub skip: Skip,
    /// When a match is reported.
    pub report: Report,
    /// Ends the key's runs.
    pub stop: Option<Stop>,
    /// For how long after a window closed, or an absence's time was up, a late event still counts, in milliseconds; 0 where nothing is revised.
    pub lateness: i64,
    /// Whether it goes by the clock's reading at which events came, and not by their own times.
    pub processing: bool,
    /// The window at whose close the rule fires. Its steps then are the event types that it counts, and its pattern says nothing more.
    pub closing: Option<Closing>,
    /// Aggregates over windows that its expressions read.
    pub windows: Vec<Window>,
    /// The rule's own text, for its version and for people.
    pub source: String,
    /// Where it stands.
    pub span: Span,
}

/// `emit into price_warning { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Into {
    /// The type of the derived event.
    pub event: EventId,
    /// The field that each of [`Rule::emit`] gives.
    pub fields: Vec<FieldId>,
}

impl Rule {
    /// The event types that it reads, ascending: of its steps and absences, of what its windows count, and of `stop on`.
    pub fn reads(&self) -> Vec<EventId> {
        let of_windows = self.windows.iter().map(|w| w.event);
        let mut types: Vec<EventId> =
            self.steps.iter().map(|s| s.event).chain(of_windows).chain(self.stop.iter().map(|s| s.event)).collect();
        types.sort_unstable();
        types.dedup();
        types
    }
}

/// When a rule fires that looks at windows as they close.
#[derive(Clone, Debug, PartialEq)]
pub struct Closing {
    /// Which windows: [`Reach::Aligned`] or [`Reach::Session`].
    pub reach: Reach,
    /// For each row of these, events or not; none: for each key that had an event in the window.
    pub rows: Option<Rows>,
}

/// A list or table each row of which is a key of the rule. Equal where they are called the same and are of the same types: numbers hold in one
/// rule set.
#[derive(Clone)]
pub enum Rows {
    /// The entries of a list.
    List {
        /// Its place in the schema that the rule was checked against.
        id: ListId,
        /// Its name.
        name: String,
        /// What its entries are.
        of: Type,
    },
    /// The rows of a table.
    Table {
        /// Its place in the schema that the rule was checked against.
        id: TableId,
        /// Its name.
        name: String,
        /// The types of its key.
        key: Vec<Type>,
    },
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Rows::List { name, of, .. } => write!(f, "list {name} of {of}"),
            Rows::Table { name, key, .. } => write!(f, "table {name}{key:?}"),
        }
    }
}

impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Rows::List { name: a, of: x, .. }, Rows::List { name: b, of: y, .. }) => (a, x) == (b, y),
            (Rows::Table { name: a, key: x, .. }, Rows::Table { name: b, key: y, .. }) => (a, x) == (b, y),
            _ => false,
        }
    }
}

/// The key of a rule or a window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Key {
    /// Names of the parts (where types differ, the first type's names). Empty: the whole stream is one key.
    pub names: Vec<String>,
    /// Types of the parts.
    pub types: Vec<Type>,
    /// Whether a missing part is a key of its own.
    pub optional: Vec<bool>,
    /// For each event type that the rule names: the fields that give the key.
    pub fields: Vec<(EventId, Vec<FieldId>)>,
}

impl Key {
    /// The fields that give the key of an event of this type.
    pub fn of(&self, event: EventId) -> Option<&[FieldId]> {
        self.fields.iter().find(|(e, _)| *e == event).map(|(_, f)| f.as_slice())
    }
}

/// A step or an absence.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Its event type.
    pub event: EventId,
    /// The fields that give the key for this step.
    pub key: Vec<FieldId>,
    /// The terms of its `where`, all of which must hold (the terms of the outermost `and`).
    pub filter: Vec<Expr>,
    /// Ends the repetition.
    pub until: Option<Expr>,
    /// Whether it forbids instead of binding.
    pub absence: bool,
    /// Where it stands.
    pub span: Span,
}

/// A pattern.
#[derive(Clone, Debug, PartialEq)]
pub enum Pattern {
    /// One event.
    Step(StepId),
    /// One after the other; at least one element binds.
    Sequence(Vec<Element>),
    /// Both, in any order.
    All(Vec<Pattern>),
    /// Either; the left is preferred.
    Any(Vec<Pattern>),
    /// Repeated, and/or limited. A step's quantifier and a group's are the same thing here.
    Loop(Box<Loop>),
}

/// A repetition, an option, or a group with a limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Loop {
    /// What is repeated.
    pub body: Pattern,
    /// Least number of passes.
    pub min: u32,
    /// Greatest number.
    pub max: Option<u32>,
    /// Prefers fewer.
    pub reluctant: bool,
    /// From one pass to the next.
    pub contiguity: Contiguity,
    /// From the last event of a pass to the first of the next, in milliseconds.
    pub apart: Option<i64>,
    /// From the first event of the first pass to the last of the last, in milliseconds.
    pub within: Option<i64>,
}

/// One element of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub enum Element {
    /// Something to bind.
    Bind {
        /// How it follows.
        contiguity: Contiguity,
        /// From the last event bound to the first of this, in milliseconds.
        within: Option<i64>,
        /// What.
        pattern: Pattern,
    },
    /// Something that must not happen.
    Absence {
        /// Any of these.
        steps: Vec<StepId>,
        /// Only the very next event is looked at.
        next: bool,
        /// How long, in milliseconds; only at the end of the pattern.
        within: Option<i64>,
    },
}

/// What a reported match ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in the syntax tree")]
pub enum Skip {
    PastLast,
    ToNext,
    ToFirst(StepId),
    ToLast(StepId),
    None,
}

/// `suppress 1h by …`
#[derive(Clone, Debug, PartialEq)]
pub struct Suppress {
    /// In milliseconds.
    pub duration: i64,
    /// For which value; `None`: the rule's key.
    pub by: Option<Vec<Expr>>,
}

/// `stop on logout where …`
#[derive(Clone, Debug, PartialEq)]
pub struct Stop {
    /// The event type.
    pub event: EventId,
    /// The fields that give its key.
    pub key: Vec<FieldId>,
    /// Which of its events.
    pub filter: Option<Expr>,
}

/// A value that is kept as events pass: an aggregate over a window, `lag`, `first_seen`.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// What is kept.
    pub kind: WindowKind,
    /// The event type that is counted.
    pub event: EventId,
    /// The key of the counted events.
    pub key: WindowKey,
    /// Which of them; reads only the counted event.
    pub filter: Option<Expr>,
    /// What is aggregated (several for `distinct(a, b)` and `first_seen(a, b)`), and then the value of [`Reach::Delta`]; reads only the
    /// counted event.
    pub args: Vec<Expr>,
    /// Type of the value.
    pub ty: Type,
    /// Where it stands.
    pub span: Span,
}

/// Whose events a window holds.
#[derive(Clone, Debug, PartialEq)]
pub enum WindowKey {
    /// Those of the rule's key; the fields give it for the counted type.
    Rule(Vec<FieldId>),
    /// Of the rule's key, at every event of the rule's input: what the arguments are worth then, which read other windows of the rule.
    Input,
    /// Those with equal values in fields named alike.
    Fields {
        /// In the counted type.
        counted: Vec<FieldId>,
        /// In each type that may be the current event where the value is read.
        reader: Vec<(EventId, Vec<FieldId>)>,
        /// Whether a missing value is a key of its own.
        optional: Vec<bool>,
    },
}

/// What a window keeps.
#[derive(Clone, Debug, PartialEq)]
pub enum WindowKind {
    /// `AGG(x) over W`
    Over {
        /// Which aggregate.
        aggregate: Aggregate,
        /// Of which events.
        reach: Reach,
    },
    /// `lag(x, n)`: of the rule's input.
    Lag {
        /// How many events of the type back; at least 1.
        n: u32,
    },
    /// `first_seen(x where c) over 30d`
    FirstSeen {
        /// Length in milliseconds.
        length: i64,
    },
}

/// Which events a window holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Reach {
    /// `over 10m [offset 1d]`
    Sliding {
        /// Length in milliseconds.
        length: i64,
        /// Distance from now in milliseconds.
        offset: i64,
    },
    /// `over 1h tumbling`, `over 1h every 5m`: of the windows that begin at `origin` and every `every` from there and hold now, the
    /// one that closes first.
    Aligned {
        /// Length in milliseconds.
        length: i64,
        /// From one beginning to the next; at most the length.
        every: i64,
        /// A time at which one begins.
        origin: i64,
        /// Distance from now in milliseconds.
        offset: i64,
        /// Where they begin by the clock of a zone; none for UTC. The length is then so many times `every`.
        calendar: Option<Arc<Calendar>>,
    },
    /// `over session 15m`: counted events that follow each other at no more than the gap.
    Session {
        /// In milliseconds.
        gap: i64,
    },
    /// `over last 100`: the last counted events, in the order of processing.
    Last {
        /// How many.
        n: u32,
    },
    /// `over delta(price, 5%)`: the counted events since a value last moved, in the order of processing. The value is the last of [`Window::args`].
    Delta {
        /// By how much it moves, in percent of what it was when the window began.
        percent: Decimal,
    },
}

/// An aggregate, over a window or over a step's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the language's own names")]
pub enum Aggregate {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    Stddev,
    Distinct,
    First,
    Last,
    List,
    /// Only over windows: `list(x, n)`, the last n.
    ListOf(u32),
    /// Only over windows: `quantile(x, q)`, `median(x)`.
    Quantile(Decimal),
    /// Only over windows.
    ApproxDistinct,
    /// Only over windows: `ema(x, alpha)`.
    Ema(Decimal),
    /// Only over windows: `rate(type)`.
    Rate,
    /// Only over windows: `topk(x, k)`.
    Topk(u32),
    /// Only over windows: `corr(x, y)`.
    Corr,
}

impl Reach {
    /// Whether its events stand in the order of their times, and not in that of processing.
    pub fn is_by_time(&self) -> bool {
        matches!(self, Reach::Sliding { .. } | Reach::Aligned { .. } | Reach::Session { .. })
    }
}

impl Window {
    /// Whether an event that comes late has its place among the others: by its time, and not by when it is processed.
    pub fn takes_late(&self) -> bool {
        match &self.kind {
            _ if self.key == WindowKey::Input => false,
            WindowKind::Over { reach, .. } => reach.is_by_time(),
            WindowKind::FirstSeen { .. } => true,
            WindowKind::Lag { .. } => false,
        }
    }

    /// The values that are aggregated, and the one whose moves begin the window anew.
    pub fn values(&self) -> (&[Expr], Option<&Expr>) {
        match (&self.kind, self.args.split_last()) {
            (WindowKind::Over { reach: Reach::Delta { .. }, .. }, Some((moves, values))) => (values, Some(moves)),
            _ => (&self.args, None),
        }
    }
}

/// A typed expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Its type.
    pub ty: Type,
    /// Where it stands.
    pub span: Span,
}

/// The kinds of expression.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A constant.
    Const(Value<'static>),
    /// A field of an event.
    Field(Of, FieldId),
    /// Part `n` of the rule's key.
    Key(u16),
    /// An aggregate over the elements a run has bound to a step, the candidate not included. In `arg`, [`Of::Element`] and
    /// [`Of::ElementPrev`] are the element and the one before it.
    Aggregate {
        /// Which; never [`Aggregate::First`] or [`Aggregate::Last`] (those are [`Of::Step`]).
        aggregate: Aggregate,
        /// The step.
        step: StepId,
        /// `None` for `count(f)`; several for `distinct`.
        args: Vec<Expr>,
    },
    /// The value of a window as of the current event.
    Window(WindowId),
    /// Holds where `prev` has no event, else as the inner condition: the term of an `and` that uses `prev`.
    PrevOr(Box<Expr>),
    /// `not x`
    Not(Box<Expr>),
    /// `-x`
    Neg(Box<Expr>),
    /// All of them, three-valued.
    And(Vec<Expr>),
    /// Any of them, three-valued.
    Or(Vec<Expr>),
    /// A comparison; both sides of types that compare.
    Compare(Comparison, Box<Expr>, Box<Expr>),
    /// Arithmetic; the sides' types say which.
    Arithmetic(Arithmetic, Box<Expr>, Box<Expr>),
    /// `x like "a*"`; `fold`: without regard to case.
    Like {
        /// What is looked at.
        item: Box<Expr>,
        /// The pattern.
        pattern: Box<Expr>,
        /// `ilike`.
        fold: bool,
    },
    /// `x matches "re"`: the expression is a constant that compiled.
    Matches(Box<Expr>, Regex),
    /// `x in [constants]`; missing members have no place in it.
    InSet(Box<Expr>, Vec<Value<'static>>),
    /// `x in [any, expressions]`
    InList(Box<Expr>, Vec<Expr>),
    /// `x in list_value`
    InValue(Box<Expr>, Box<Expr>),
    /// `ip in cidr`
    InCidr(Box<Expr>, Box<Expr>),
    /// `x in blocked`: a declared list, as of the event that is judged.
    InDeclared(Box<Expr>, ListRef),
    /// `profile[user].home`: a column of the row that a key names, as of the event that is judged.
    Column {
        /// The parts of the key, of the types of the table's key.
        key: Vec<Expr>,
        /// Which column of which table.
        column: ColumnRef,
    },
    /// `takeover(amount: w.amount, …)`: what the live version of a declared model answers, as of the event that is judged.
    Score {
        /// The inputs, of the declared types, in the order of the declaration.
        inputs: Vec<Expr>,
        /// Which model.
        model: ModelRef,
    },
    /// `geoip(ip).country`: what the databases of places say of an address.
    Geoip(Box<Expr>, GeoipField),
    /// `x in low..high`
    InRange(Box<Expr>, Box<Expr>, Box<Expr>),
    /// `x is missing`
    IsMissing(Box<Expr>),
    /// `a ?? b`
    Coalesce(Box<Expr>, Box<Expr>),
    /// `if(c, a, b)`
    If(Box<Expr>, Box<Expr>, Box<Expr>),
    /// A function.
    Call(Function, Vec<Expr>),
    /// An int as a float or decimal, where one is expected.
    Widen(Box<Expr>),
    /// `[a, b]`
    List(Vec<Expr>),
}

/// Whose field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Of {
    /// The event that is judged: in `where`, `until`, `stop on`, in a window's filter and arguments.
    Candidate,
    /// An event bound to a step.
    Step(StepId, Pick),
    /// The element before the candidate (in a repetition), or the event bound just before, of the same type.
    Prev,
    /// In an aggregate's argument: the element.
    Element,
    /// In an aggregate's argument: the element before.
    ElementPrev,
}

/// Which of a step's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pick {
    /// `first(f, n)`, n from 0.
    First(u32),
    /// `last(f, n)`, n from 0; also plain `f`.
    Last(u32),
}

/// `== != < <= > >=`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Comparison {
    /// Whether it holds of two values that stand in this order.
    #[inline]
    pub fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Comparison::Eq => order.is_eq(),
            Comparison::Ne => order.is_ne(),
            Comparison::Lt => order.is_lt(),
            Comparison::Le => order.is_le(),
            Comparison::Gt => order.is_gt(),
            Comparison::Ge => order.is_ge(),
        }
    }

    /// The comparison that says the same with its sides exchanged.
    pub fn mirrored(self) -> Comparison {
        match self {
            Comparison::Lt => Comparison::Gt,
            Comparison::Le => Comparison::Ge,
            Comparison::Gt => Comparison::Lt,
            Comparison::Ge => Comparison::Le,
            same => same,
        }
    }
}

/// `+ - * / %`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
}

/// A declared list. Its number holds in one rule set: lists are compared by what they are, so that rules of two rule sets can be.
#[derive(Clone)]
pub struct ListRef {
    /// Its place in the schema that the rule was checked against.
    pub id: ListId,
    /// Its name.
    pub name: String,
    /// What its entries are.
    pub of: Type,
}

impl PartialEq for ListRef {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.of) == (&other.name, &other.of)
    }
}

impl std::fmt::Debug for ListRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "list {} of {}", self.name, self.of)
    }
}

/// A column of a declared table, compared by what it is, as [`ListRef`] is.
#[derive(Clone)]
pub struct ColumnRef {
    /// The table's place in the schema that the rule was checked against.
    pub table: TableId,
    /// The column's place among those that are not the key.
    pub index: u16,
    /// The table's name.
    pub name: String,
    /// The column's name.
    pub column: String,
    /// The types of the table's key.
    pub key: Vec<Type>,
    /// The column's type.
    pub ty: Type,
}

impl PartialEq for ColumnRef {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.column, &self.key, &self.ty) == (&other.name, &other.column, &other.key, &other.ty)
    }
}

impl std::fmt::Debug for ColumnRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "table {}{:?}.{} {}", self.name, self.key, self.column, self.ty)
    }
}

/// A declared model, compared by what it is, as [`ListRef`] is.
#[derive(Clone)]
pub struct ModelRef {
    /// Its place in the schema that the rule was checked against.
    pub id: ModelId,
    /// Its name.
    pub name: String,
    /// Its inputs by name, in the order of the declaration.
    pub inputs: Vec<(String, Type)>,
}

impl PartialEq for ModelRef {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.inputs) == (&other.name, &other.inputs)
    }
}

impl std::fmt::Debug for ModelRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "model {}{:?}", self.name, self.inputs)
    }
}

/// What can be asked of the place of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GeoipField {
    /// The country's code of two letters.
    Country,
    /// The city's name in English.
    City,
    /// The number of the autonomous system.
    Asn,
    /// Latitude and longitude.
    Place,
}

impl GeoipField {
    /// All of them.
    pub const ALL: [GeoipField; 4] = [GeoipField::Country, GeoipField::City, GeoipField::Asn, GeoipField::Place];

    /// The name in rules.
    pub fn name(self) -> &'static str {
        match self {
            GeoipField::Country => "country",
            GeoipField::City => "city",
            GeoipField::Asn => "asn",
            GeoipField::Place => "place",
        }
    }

    /// The type of its values.
    pub fn ty(self) -> Type {
        match self {
            GeoipField::Country | GeoipField::City => Type::String,
            GeoipField::Asn => Type::Int,
            GeoipField::Place => Type::Geo,
        }
    }
}

/// A compiled regular expression, compared by its text.
#[derive(Clone, Debug)]
pub struct Regex(pub regex::Regex);

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}
