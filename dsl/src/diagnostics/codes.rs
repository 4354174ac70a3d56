//! The registry of diagnostic codes. E is refused, W is warned of. A number is never reused: E0901 was a part of the language that
//! was not executed yet.

use serde::{Serialize, Serializer};

use super::Severity;

macro_rules! codes {
    ($($name:ident = $code:literal, $doc:literal;)*) => {
        /// A stable code of a finding.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $(#[doc = $doc] $name,)* }

        impl Code {
            /// Every code, in order.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The code as text, `E0101`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $code,)* }
            }

            /// What it stands for, one sentence.
            pub fn about(self) -> &'static str {
                match self { $(Code::$name => $doc,)* }
            }
        }
    };
}

codes! {
    NotUtf8 = "E0001", "the file is not UTF-8";
    TooLarge = "E0002", "the file or a rule is larger than the limit";
    Syntax = "E0003", "the text does not follow the grammar";
    NestingTooDeep = "E0004", "more than 64 levels of nesting";
    UnknownClause = "E0005", "a line of a rule begins with a word that is no clause";
    UnknownDeclaration = "E0006", "a file holds something that is no declaration";
    SingleEquals = "E0007", "`=` where two values are compared";
    Unclosed = "E0008", "a bracket that is not closed";
    UnclosedText = "E0009", "a text without its closing quote";
    MixedJoins = "E0010", "`then`, `&` and `|` side by side without parentheses";
    BadLiteral = "E0011", "a literal that cannot be read";
    BadEscape = "E0012", "an unknown escape in a text";
    ClauseNotOnOwnLine = "E0013", "a clause that does not begin its own line";
    StrayClose = "E0014", "a closing bracket without its opening one";
    MisplacedAbsence = "E0015", "`not` where a pattern cannot forbid something";
    BadHole = "E0016", "a hole of a message that cannot be read";
    ForeignOperator = "E0017", "an operator of another language";
    UnknownName = "E0101", "a name that nothing in reach has";
    UnknownEvent = "E0102", "an event type that is not declared";
    UnknownField = "E0103", "a field that the event type does not have";
    UnknownType = "E0104", "a type that the language does not have";
    UnknownFunction = "E0105", "a function that the language does not have";
    UnknownStep = "E0106", "a step that the pattern does not have";
    UnknownRule = "E0107", "a test of a rule that is not there";
    Duplicate = "E0108", "a name that is declared twice";
    DuplicateStep = "E0109", "two steps of one name";
    DoubledClause = "E0110", "a clause that stands twice in a rule";
    NoMatch = "E0111", "a rule without a pattern";
    EventTime = "E0112", "an event type whose event time is missing or ambiguous";
    BadPath = "E0113", "a field whose path does not fit its type";
    UnknownColumn = "E0114", "a column that the table does not have";
    TypesDiffer = "E0201", "values of types that do not go together";
    WrongType = "E0202", "a value of another type than is asked for";
    WrongArguments = "E0203", "a function whose arguments do not fit";
    FloatMeetsDecimal = "E0204", "float and decimal in one operation without a cast";
    WholeEvent = "E0205", "an event where a value is needed";
    BadRegex = "E0206", "a regular expression that cannot be read";
    PlaceOfEvent = "E0207", "an event without exactly one geo field where its place is asked for";
    NotConstant = "E0208", "an expression where a constant is needed";
    NoWithin = "E0301", "a pattern that can hold more than one event, without `within`";
    PrevOutside = "E0302", "`prev` outside a repetition";
    OwnName = "E0303", "a step's own field written with the step's name";
    OtherSide = "E0304", "a condition in `&` that reads another side";
    BoundLater = "E0305", "a condition that reads a step which is bound only later";
    AbsenceLimit = "E0307", "an absence whose limit is missing or misplaced";
    AbsenceRead = "E0308", "an absence read as if it bound an event";
    BadRepetition = "E0309", "a repetition that cannot be";
    LooseLink = "E0310", "`next`, `any`, `apart` or `by` where it says nothing";
    PatternTooLarge = "E0311", "a pattern with more states than the limit";
    Unreachable = "E0312", "a step that can never be reached, and that every match needs";
    ModeClash = "E0313", "a clause that does not go with `match each` or `match last`";
    WindowClash = "E0314", "a clause that does not go with `window`";
    LatenessClash = "E0315", "a clause that does not go with `lateness`";
    NeverHolds = "E0401", "a condition that never holds";
    KeyField = "E0501", "a key whose fields are missing or differ";
    KeyType = "E0502", "a key of a type that gives no key";
    WindowMisuse = "E0503", "a value over a window that is not written as one";
    AggregateMisuse = "E0504", "an aggregate that is not over one step";
    DataMisuse = "E0505", "a list or a table that is not asked as one";
    DataType = "E0506", "a list or a table of a type that it cannot hold";
    FeatureCycle = "E0507", "a feature that is made of itself";
    DerivedEvent = "E0510", "a derived event that cannot be made";
    DerivedCycle = "E0511", "rules that build on each other in a circle";
    DerivedTime = "E0512", "a rule that builds on one that goes by another time";
    TestFailed = "E0801", "a test whose rule does not do what it expects";
    NoKey = "W0101", "a rule without a key";
    UnusedBinding = "W0102", "a named step that nothing reads";
    UnboundedEach = "W0103", "`match each` with an unbounded repetition";
    UnguardedRegex = "W0104", "a regular expression that no literal guards";
    CoveredRule = "W0105", "a rule whose every match another rule finds too";
    DeadStep = "W0106", "a way of several that is never taken";
    IdleLateness = "W0107", "a `lateness` that revises nothing";
}

impl Code {
    /// `E…` is an error, `W…` a warning.
    pub fn severity(self) -> Severity {
        if self.as_str().starts_with('E') { Severity::Error } else { Severity::Warning }
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}
