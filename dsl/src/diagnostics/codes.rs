//! The registry of diagnostic codes. E is refused, W is warned of. A number is never reused.

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
