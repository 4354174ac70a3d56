//! The scalar functions of the language, one file a family, and the registry that names them.
//!
//! A function is pure: the same arguments give the same value. A missing argument gives a missing value
//! unless the definition says otherwise; a fault (overflow, a bad cast, a logarithm of a negative number) is an
//! [`EvalError`], which the engine counts and reads as missing.

use std::fmt;

use crate::value::{Type, Value};

/// Why an expression gave no value. It is counted as a rule error; the value is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EvalError {
    /// A number left its type's range.
    Overflow,
    /// Division by zero.
    DivisionByZero,
    /// A value that cannot be cast or is outside a function's domain.
    BadCast,
}

/// What an evaluation gives.
pub type Outcome = Result<Value<'static>, EvalError>;

/// One way to call a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    /// Types of the parameters.
    pub params: Vec<Type>,
    /// How many of them, from the end, may be left out.
    pub optional: usize,
    /// Type of the result.
    pub result: Type,
}

/// A function of the language.
pub struct Definition {
    /// Its name in rules.
    pub name: &'static str,
    /// The ways to call it.
    pub signatures: fn() -> Vec<Signature>,
    /// Its value for arguments that fit a signature, none of which is missing (or `takes_missing`).
    pub eval: fn(&[Value<'_>]) -> Outcome,
    /// Whether it is called with missing arguments too.
    pub takes_missing: bool,
    /// One sentence for the reference.
    pub about: &'static str,
    /// Expressions and what they give, run as tests: `("lower(\"Ab\")", "\"ab\"")`.
    pub examples: &'static [(&'static str, &'static str)],
}

/// A function in a typed expression.
#[derive(Clone, Copy)]
pub struct Function(pub &'static Definition);

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl Function {
    /// The value for these arguments; missing where one is missing.
    pub fn call(self, args: &[Value<'_>]) -> Outcome {
        if !self.0.takes_missing && args.iter().any(Value::is_missing) {
            return Ok(Value::Missing);
        }
        (self.0.eval)(args)
    }
}
