//! Text. Lengths and places count code points.

use super::{Definition, EvalError, Outcome, Signature};
use crate::value::{Type, Value};

fn one(args: &[Value<'_>], f: fn(&str) -> String) -> Outcome {
    match args {
        [Value::Text(t)] => Ok(Value::text(f(t))),
        _ => Err(EvalError::BadCast),
    }
}

fn two(args: &[Value<'_>], f: fn(&str, &str) -> bool) -> Outcome {
    match args {
        [Value::Text(a), Value::Text(b)] => Ok(Value::Bool(f(a, b))),
        _ => Err(EvalError::BadCast),
    }
}

fn length(args: &[Value<'_>]) -> Outcome {
    match args {
        [Value::Text(t)] => Ok(Value::Int(t.chars().count() as i64)),
        [Value::List(items)] => Ok(Value::Int(items.len() as i64)),
        _ => Err(EvalError::BadCast),
    }
}

fn split(args: &[Value<'_>]) -> Outcome {
    match args {
        [Value::Text(t), Value::Text(sign)] if sign.is_empty() => {
            Ok(Value::List(vec![Value::text(t.to_string())].into()))
        }
        [Value::Text(t), Value::Text(sign)] => {
            Ok(Value::List(t.split(sign.as_ref()).map(|p| Value::text(p.to_owned())).collect::<Vec<_>>().into()))
        }
        _ => Err(EvalError::BadCast),
    }
}

fn replace(args: &[Value<'_>]) -> Outcome {
    match args {
        [Value::Text(t), Value::Text(old), Value::Text(_)] if old.is_empty() => Ok(Value::text(t.to_string())),
        [Value::Text(t), Value::Text(old), Value::Text(new)] => {
            // A short text may grow by far: each sign of it by the whole of `new`.
            let grown = (t.len() / old.len()).saturating_mul(new.len()).saturating_add(t.len());
            if grown > super::TEXT_BYTES_MAX {
                Err(EvalError::Overflow)
            } else {
                Ok(Value::text(t.replace(old.as_ref(), new)))
            }
        }
        _ => Err(EvalError::BadCast),
    }
}

fn texts<const N: usize>(result: Type) -> Vec<Signature> {
    vec![Signature::new([const { Type::String }; N], result)]
}

/// The functions of this family.
pub(super) static ALL: &[Definition] = &[
    Definition {
        name: "lower",
        signatures: || texts::<1>(Type::String),
        eval: |args| one(args, str::to_lowercase),
        takes_missing: false,
        about: "the text in lower case",
        examples: &[("lower(\"ÄBc\")", "\"äbc\"")],
    },
    Definition {
        name: "upper",
        signatures: || texts::<1>(Type::String),
        eval: |args| one(args, str::to_uppercase),
        takes_missing: false,
        about: "the text in upper case",
        examples: &[("upper(\"äbC\")", "\"ÄBC\"")],
    },
    Definition {
        name: "trim",
        signatures: || texts::<1>(Type::String),
        eval: |args| one(args, |t| t.trim().to_owned()),
        takes_missing: false,
        about: "the text without white space at its ends",
        examples: &[("trim(\"  a b \\n\")", "\"a b\"")],
    },
    Definition {
        name: "length",
        signatures: || {
            let lists = super::SCALARS.iter().map(|t| Signature::new([Type::List(Box::new(t.clone()))], Type::Int));
            std::iter::once(Signature::new([Type::String], Type::Int)).chain(lists).collect()
        },
        eval: length,
        takes_missing: false,
        about: "how many code points a text has, or how many values a list",
        examples: &[("length(\"äb\")", "2"), ("length([1, 2, 3])", "3")],
    },
    Definition {
        name: "contains",
        signatures: || texts::<2>(Type::Bool),
        eval: |args| two(args, |t, part| t.contains(part)),
        takes_missing: false,
        about: "whether the second text stands somewhere in the first",
        examples: &[("contains(\"powershell.exe\", \"shell\")", "true"), ("contains(\"a\", \"A\")", "false")],
    },
    Definition {
        name: "starts_with",
        signatures: || texts::<2>(Type::Bool),
        eval: |args| two(args, |t, part| t.starts_with(part)),
        takes_missing: false,
        about: "whether the first text begins with the second",
        examples: &[("starts_with(\"admin_ann\", \"admin_\")", "true")],
    },
    Definition {
        name: "ends_with",
        signatures: || texts::<2>(Type::Bool),
        eval: |args| two(args, |t, part| t.ends_with(part)),
        takes_missing: false,
        about: "whether the first text ends with the second",
        examples: &[("ends_with(\"a.exe\", \".exe\")", "true")],
    },
    Definition {
        name: "split",
        signatures: || texts::<2>(Type::List(Box::new(Type::String))),
        eval: split,
        takes_missing: false,
        about: "the parts of a text between a separator",
        examples: &[
            ("split(\"a,b,,c\", \",\")", "[\"a\", \"b\", \"\", \"c\"]"),
            ("\"b\" in split(\"a b\", \" \")", "true"),
        ],
    },
    Definition {
        name: "replace",
        signatures: || texts::<3>(Type::String),
        eval: replace,
        takes_missing: false,
        about: "the text with every place of the second replaced by the third",
        examples: &[("replace(\"a-b-c\", \"-\", \"+\")", "\"a+b+c\"")],
    },
];
