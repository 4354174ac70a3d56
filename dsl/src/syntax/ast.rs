//! The syntax tree: what was written, with a span on every part and no meaning yet.
//!
//! Equality of trees ignores nothing: spans are part of a node. [`crate::syntax`] offers a printer; to
//! compare trees of differently laid out text, print both.

use super::Span;

/// A name as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Ident {
    /// The name.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// A `//` comment, without its slashes and surrounding blanks.
#[derive(Clone, Debug, PartialEq)]
pub struct Comment {
    /// What it says.
    pub text: String,
    /// Where it stands, slashes included.
    pub span: Span,
    /// Whether something other than blanks stands before it on its line.
    pub trailing: bool,
}

/// One `.lap` file.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// Declarations in the order of the text.
    pub decls: Vec<Decl>,
    /// All comments in the order of the text; the printer puts them back.
    pub comments: Vec<Comment>,
}

/// One declaration.
#[derive(Clone, Debug, PartialEq)]
pub enum Decl {
    /// `event login { … }`
    Event(EventDecl),
    /// `list sanctioned of string`
    List(ListDecl),
    /// `table profile key user { … }`
    Table(TableDecl),
    /// `model takeover(amount float) -> float`
    Model(ModelDecl),
    /// `feature card_avg = …`
    Feature(FeatureDecl),
    /// `rule failed_logins { … }`
    Rule(RuleDecl),
    /// `test failed_logins "…" { … }`
    Test(TestDecl),
}

impl Decl {
    /// The whole declaration.
    pub fn span(&self) -> Span {
        match self {
            Decl::Event(d) => d.span,
            Decl::List(d) => d.span,
            Decl::Table(d) => d.span,
            Decl::Model(d) => d.span,
            Decl::Feature(d) => d.span,
            Decl::Rule(d) => d.span,
            Decl::Test(d) => d.span,
        }
    }
}

/// An event type.
#[derive(Clone, Debug, PartialEq)]
pub struct EventDecl {
    /// Its name.
    pub name: Ident,
    /// Which JSON objects are this event; none: `"type"` equals the event's name.
    pub source: Option<EventSource>,
    /// Its fields.
    pub fields: Vec<FieldDecl>,
    /// The whole declaration.
    pub span: Span,
}

/// `from "EventID" = 4624, 4625`
#[derive(Clone, Debug, PartialEq)]
pub struct EventSource {
    /// The JSON path whose value decides.
    pub path: StringLit,
    /// The values taken (string, int, bool literals); any of them.
    pub values: Vec<Literal>,
    /// The whole clause.
    pub span: Span,
}

/// A text literal.
#[derive(Clone, Debug, PartialEq)]
pub struct StringLit {
    /// The text, escapes resolved.
    pub value: String,
    /// Where it stands, quotes included.
    pub span: Span,
}

/// `country string? from "geo.country"`, `place geo? from lat, lon`
#[derive(Clone, Debug, PartialEq)]
pub struct FieldDecl {
    /// The field's name.
    pub name: Ident,
    /// Its type.
    pub ty: TypeExpr,
    /// JSON paths it is read from (bare names are stored as text too); none: its name.
    pub from: Vec<StringLit>,
    /// The whole field.
    pub span: Span,
}

/// A type as written: `string`, `list<ip>`, `geo?`.
#[derive(Clone, Debug, PartialEq)]
pub struct TypeExpr {
    /// `string`, `list`, …
    pub name: Ident,
    /// Of `list<T>`, the name of T.
    pub element: Option<Ident>,
    /// Whether `?` follows.
    pub optional: bool,
    /// The whole type.
    pub span: Span,
}

/// `list blocked of ip`
#[derive(Clone, Debug, PartialEq)]
pub struct ListDecl {
    /// Its name.
    pub name: Ident,
    /// The type of its entries.
    pub ty: TypeExpr,
    /// The whole declaration.
    pub span: Span,
}

/// `table fx key currency, day { rate decimal }`
#[derive(Clone, Debug, PartialEq)]
pub struct TableDecl {
    /// Its name.
    pub name: Ident,
    /// The key columns, with a type where one is written (`key user string`).
    pub key: Vec<(Ident, Option<TypeExpr>)>,
    /// The value columns.
    pub columns: Vec<FieldDecl>,
    /// The whole declaration.
    pub span: Span,
}

/// `model takeover(amount float, hour int) -> float`
#[derive(Clone, Debug, PartialEq)]
pub struct ModelDecl {
    /// Its name.
    pub name: Ident,
    /// Inputs: name and type.
    pub inputs: Vec<(Ident, TypeExpr)>,
    /// The type of the score.
    pub output: TypeExpr,
    /// The whole declaration.
    pub span: Span,
}

/// `feature card_avg = avg(withdrawal.amount) by card over 30d`
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureDecl {
    /// Its name.
    pub name: Ident,
    /// Its value.
    pub expr: Expr,
    /// The whole declaration.
    pub span: Span,
}

/// `rule NAME { clauses }`
#[derive(Clone, Debug, PartialEq)]
pub struct RuleDecl {
    /// Its name.
    pub name: Ident,
    /// Its clauses in the order of the text. Doubled clauses are kept: the check refuses them.
    pub clauses: Vec<Clause>,
    /// The whole declaration.
    pub span: Span,
}

/// One clause of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Clause {
    /// Which, with its content.
    pub kind: ClauseKind,
    /// From its keyword to its end.
    pub span: Span,
    /// The keyword alone.
    pub keyword: Span,
}

/// The content of a clause.
#[derive(Clone, Debug, PartialEq)]
pub enum ClauseKind {
    /// `title "…"`
    Title(StringLit),
    /// `severity high` (a bare name) or an expression such as `if(…, critical, high)`.
    Severity(Expr),
    /// `risk 20`
    Risk(Expr),
    /// `tags [attack.t1110.001, fraud]`: the tags as written, dots included.
    Tags(Vec<StringLit>),
    /// `by user, country?` or `by { login: user, payment: holder }`
    By(By),
    /// `match [each|last] PATTERN`
    Match(MatchClause),
    /// `window 1h tumbling [for agents]`: a rule that fires when a window closes.
    Window(WindowClause),
    /// `within 10m`
    Within(DurationLit),
    /// `when COND`
    When(Expr),
    /// `emit [into TYPE] { name: expr, … }`
    Emit(EmitClause),
    /// `message "…"` or an expression. A text literal holds `{expr}` parts.
    Message(MessageClause),
    /// `suppress 1h [by expr, …]`
    Suppress(SuppressClause),
    /// `skip past last`, …
    Skip(Skip),
    /// `report early|final|updates`
    Report(Report),
    /// `stop on logout [where COND]`
    StopOn(StopClause),
    /// `lateness 10m`
    Lateness(DurationLit),
    /// `time processing`
    TimeProcessing,
}

/// The key of a rule, a step, an aggregate.
#[derive(Clone, Debug, PartialEq)]
pub enum By {
    /// `by user, country?`
    Fields(Vec<KeyField>),
    /// `by { login: user, payment: holder }`; several fields of one type: `{ login: user, country }` is not
    /// written this way but `{ login: (user, country) }`.
    PerType(Vec<(Ident, Vec<KeyField>)>),
}

/// One field of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyField {
    /// The event's field.
    pub name: Ident,
    /// `?`: a missing value is a key of its own.
    pub optional: bool,
}

/// `match …`
#[derive(Clone, Debug, PartialEq)]
pub struct MatchClause {
    /// Which matches are reported.
    pub mode: MatchMode,
    /// The pattern.
    pub pattern: Pattern,
}

/// Which matches are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchMode {
    /// `match`: one at a time.
    One,
    /// `match each`: every distinct match.
    Each,
    /// `match last`: the newest run of each place.
    Last,
}

/// A pattern or part of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    /// What kind.
    pub kind: PatternKind,
    /// The whole of it.
    pub span: Span,
}

/// The kinds of pattern.
#[derive(Clone, Debug, PartialEq)]
pub enum PatternKind {
    /// One step, perhaps repeated.
    Step(Step),
    /// `A then B then not C …`: two or more elements. The first element's link is empty.
    Sequence(Vec<Element>),
    /// `A & B & …`
    All(Vec<Pattern>),
    /// `A | B | …`
    Any(Vec<Pattern>),
    /// `( … )` with what may follow it.
    Group(Group),
}

/// One element of a sequence with what stands between it and the element before.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// `then within D next`; of the first element of a sequence the default.
    pub link: Link,
    /// What is awaited or forbidden.
    pub kind: ElementKind,
    /// From `then` on.
    pub span: Span,
}

/// What stands after `then`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Link {
    /// `then within 5m …` (of something awaited; an absence has its limit behind it).
    pub within: Option<DurationLit>,
    /// Relaxed where nothing is written.
    pub contiguity: Contiguity,
}

/// Which events may lie in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Contiguity {
    /// Any that do not match: skip till next match.
    #[default]
    Relaxed,
    /// None: `next`.
    Strict,
    /// Any, also ones that match: `any`.
    Any,
}

/// An element of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub enum ElementKind {
    /// Something to bind.
    Pattern(Pattern),
    /// `not N`, `not (N | M) within 5m`
    Absence(Absence),
}

/// `not N`, with its choices and its limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Absence {
    /// What must not happen; one or more choices. Never quantified.
    pub steps: Vec<Step>,
    /// `within 5m` behind it.
    pub within: Option<DurationLit>,
    /// From `not` on.
    pub span: Span,
}

/// `f: login{3,5} next apart 30s by user where not success until country == "XX"`
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The name before the colon; left out, it is the event type's.
    pub name: Option<Ident>,
    /// The event type.
    pub event: Ident,
    /// How often.
    pub repeat: Option<Quantifier>,
    /// Contiguity between the repeated elements.
    pub contiguity: Contiguity,
    /// `apart 30s`
    pub apart: Option<DurationLit>,
    /// `by parent_id`
    pub by: Option<By>,
    /// `where COND`
    pub filter: Option<Expr>,
    /// `until COND`
    pub until: Option<Expr>,
    /// The whole step.
    pub span: Span,
}

impl Step {
    /// The name the step goes by.
    pub fn label(&self) -> &Ident {
        self.name.as_ref().unwrap_or(&self.event)
    }
}

/// `( … ){2,3}? next apart 1m within 5m`
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// What stands between the parentheses.
    pub body: Box<Pattern>,
    /// How often.
    pub repeat: Option<Quantifier>,
    /// Contiguity between the passes.
    pub contiguity: Contiguity,
    /// From the last event of a pass to the first of the next.
    pub apart: Option<DurationLit>,
    /// Over all its passes.
    pub within: Option<DurationLit>,
}

/// `{2,5}?`, `+`, `*`, `?`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantifier {
    /// Least number.
    pub min: u32,
    /// Greatest number; `None`: no bound.
    pub max: Option<u32>,
    /// Whether a `?` made it reluctant.
    pub reluctant: bool,
    /// Where it stands.
    pub span: Span,
}

/// `window 1h tumbling for agents`
#[derive(Clone, Debug, PartialEq)]
pub struct WindowClause {
    /// The window.
    pub window: Window,
    /// `for agents`: a table or list; one result for each row.
    pub rows: Option<Ident>,
}

/// `emit into price_warning { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct EmitClause {
    /// The derived event's type.
    pub into: Option<Ident>,
    /// Fields and their values.
    pub fields: Vec<(Ident, Expr)>,
}

/// A message: text with holes, or an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum MessageClause {
    /// `"{user}: {count(f)} failed logins"`; `{{` and `}}` are braces.
    Template(Vec<MessagePart>, Span),
    /// Any other expression, of type string.
    Expr(Expr),
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum MessagePart {
    /// As it stands.
    Text(String),
    /// `{expr}`
    Hole(Expr),
}

/// `suppress 1h by ip`
#[derive(Clone, Debug, PartialEq)]
pub struct SuppressClause {
    /// How long.
    pub duration: DurationLit,
    /// For which value instead of the key; empty: the key.
    pub by: Vec<Expr>,
}

/// `stop on logout where …`
#[derive(Clone, Debug, PartialEq)]
pub struct StopClause {
    /// The event type.
    pub event: Ident,
    /// Which of its events; a bare field is that event's.
    pub filter: Option<Expr>,
}

/// Which runs a reported match ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Skip {
    /// `skip past last`
    PastLast,
    /// `skip to next`
    ToNext,
    /// `skip to first x`
    ToFirst(Ident),
    /// `skip to last x`
    ToLast(Ident),
    /// `skip none`
    None,
}

/// When a match is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// As soon as it is complete.
    Early,
    /// Once nothing can change it.
    Final,
    /// At once, and again as it grows.
    Updates,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
}

/// The kinds of expression.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// `10`, `"text"`, `10m`, …
    Literal(Literal),
    /// `[a, b]`
    List(Vec<Expr>),
    /// A bare name: a field, a step, `prev`, a feature, a list, a severity.
    Name(String),
    /// `a.country`, `geoip(ip).country`, `profile[user].home`
    Member(Box<Expr>, Ident),
    /// `profile[user]`, `fx[currency, day]`
    Index(Box<Expr>, Vec<Expr>),
    /// A function, an aggregate over a step, a model, `if`, `lag`, and aggregates over windows.
    Call(Call),
    /// `-x`, `not x`
    Unary(UnaryOp, Box<Expr>),
    /// `a + b`, `a and b`, `a ?? b`, `a like b`, …
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `x in y`, `x not in y`
    In {
        /// What is looked for.
        item: Box<Expr>,
        /// Where: a list literal, a list, a cidr, a range, any list value.
        within: Box<InTarget>,
        /// `not in`.
        negated: bool,
    },
    /// `x is missing`, `x is present`
    Is {
        /// What is asked about.
        item: Box<Expr>,
        /// `is missing`, else `is present`.
        missing: bool,
    },
}

/// The right side of `in`.
#[derive(Clone, Debug, PartialEq)]
pub enum InTarget {
    /// An expression.
    Expr(Expr),
    /// `18..22`, both ends included.
    Range(Expr, Expr),
}

/// `name(args) [by field] [over W [offset D]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The function's name.
    pub name: Ident,
    /// Its arguments.
    pub args: Vec<Arg>,
    /// `where COND` inside the parentheses: `count(share where external)`.
    pub filter: Option<Box<Expr>>,
    /// `by ip` after the parentheses; only with `over`.
    pub by: Option<By>,
    /// `over W`; with it the call is an aggregate over a window.
    pub over: Option<Window>,
}

/// One argument, perhaps named (`amount: w.amount`).
#[derive(Clone, Debug, PartialEq)]
pub struct Arg {
    /// The name before the colon.
    pub name: Option<Ident>,
    /// The value.
    pub value: Expr,
}

/// A window: `10m`, `1h tumbling`, `1h every 5m`, `session 15m`, `last 100`, `delta(price, 5%)`, each with a zone and with `offset D`.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Which.
    pub kind: WindowKind,
    /// `"Europe/Paris"`
    pub zone: Option<StringLit>,
    /// `offset 1d`
    pub offset: Option<DurationLit>,
    /// The whole window.
    pub span: Span,
}

/// The kinds of window.
#[derive(Clone, Debug, PartialEq)]
pub enum WindowKind {
    /// `over 10m`
    Sliding(DurationLit),
    /// `over 1h tumbling`
    Tumbling(DurationLit),
    /// `over 1h every 5m`
    Hopping(DurationLit, DurationLit),
    /// `over session 15m`
    Session(DurationLit),
    /// `over last 100`
    Last(u64),
    /// `over delta(price, 5%)`: the expression and the number of percent, as written.
    Delta(Box<Expr>, NumberLit),
}

/// A number as written.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberLit {
    /// Its digits.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// A length of time as written, with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurationLit {
    /// In milliseconds.
    pub ms: i64,
    /// Where it stands.
    pub span: Span,
}

/// Prefix operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    /// `-x`
    Neg,
    /// `not x`
    Not,
}

/// Infix operators but `in` and `is`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum BinaryOp {
    Or,
    And,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Like,
    ILike,
    Matches,
    Coalesce,
    Add,
    Sub,
    Mul,
    Div,
    Rem,
}

/// A literal.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `true`
    Bool(bool),
    /// `10`
    Int(i64),
    /// `0.5`: the digits as written; decimal where one is expected, else float.
    Number(String),
    /// `"text"`, escapes resolved.
    Text(String),
    /// `10m`, in milliseconds.
    Duration(i64),
    /// `2026-01-31T10:00:00Z`, in milliseconds since 1970.
    Timestamp(i64),
    /// `10.0.0.1`
    Ip(std::net::IpAddr),
    /// `10.0.0.0/8`
    Cidr(std::net::IpAddr, u8),
}

/// `test RULE "name" { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct TestDecl {
    /// The rule it tests.
    pub rule: Ident,
    /// What it shows.
    pub name: StringLit,
    /// Its steps.
    pub steps: Vec<TestStep>,
    /// The whole declaration.
    pub span: Span,
}

/// One step of a test.
#[derive(Clone, Debug, PartialEq)]
pub struct TestStep {
    /// What it does.
    pub kind: TestStepKind,
    /// The whole step.
    pub span: Span,
}

/// The steps a test can take.
#[derive(Clone, Debug, PartialEq)]
pub enum TestStepKind {
    /// `login { user: "ann" }`
    Event(TestEvent),
    /// `after 30s { … }`: the clock moves on, then the steps.
    After(DurationLit, Vec<TestStep>),
    /// `at 2026-01-31T10:00:00Z { … }`
    At(i64, Vec<TestStep>),
    /// `repeat 10 every 30s { … }`: the steps at now, now + 30 s, …; the clock stays at the last.
    Repeat {
        /// How often.
        count: u32,
        /// The time between; none: all at once.
        every: Option<DurationLit>,
        /// What.
        steps: Vec<TestStep>,
    },
    /// `watermark 10m`: time passes, and timers fire.
    Watermark(DurationLit),
    /// `default login { user: "ann" }`: what later events leave out.
    Default(TestEvent),
    /// `expect none`, `expect 1 { failures: 11 }`: alerts since the `expect` before.
    Expect {
        /// How many.
        count: u32,
        /// Values of the last alert's emitted fields, key, `severity`, `message`, `risk`, `status`, `revision`, `suppressed`.
        fields: Vec<(Ident, Expr)>,
    },
    /// `expect late 2`: late events since the `expect late` before.
    ExpectLate(u32),
    /// `given list blocked ["1.2.3.4"]`
    GivenList(Ident, Expr),
    /// `given table profile { ann: { home: "DE" } }`: the key as text or literal, then the columns.
    GivenTable(Ident, Vec<(Vec<Expr>, Vec<(Ident, Expr)>)>),
    /// `given model takeover -> 0.95`
    GivenModel(Ident, Expr),
    /// `given geoip { "1.2.3.4": { country: "DE" } }`: addresses or networks, each with what is known of it.
    GivenGeoip(Vec<(Vec<Expr>, Vec<(Ident, Expr)>)>),
}

/// An event in a test.
#[derive(Clone, Debug, PartialEq)]
pub struct TestEvent {
    /// Its type.
    pub event: Ident,
    /// Field values; a `geo` is `geo(lat, lon)`.
    pub fields: Vec<(Ident, Expr)>,
    /// The whole event.
    pub span: Span,
}
