//! How alike two texts are: typing errors, look-alike names.

use super::{Definition, EvalError, Outcome, Signature};
use crate::value::{Type, Value};

/// The most cells of the table that one call fills: two texts of a thousand signs. Longer ones are a fault.
const CELLS_MAX: usize = 1 << 20;

/// Levenshtein distance in code points: insertions, deletions and replacements, each 1. One row at a time.
fn distance(a: &[char], b: &[char]) -> Result<usize, EvalError> {
    if (a.len() + 1).saturating_mul(b.len() + 1) > CELLS_MAX {
        return Err(EvalError::Overflow);
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    Ok(row[b.len()])
}

fn both(args: &[Value<'_>]) -> Result<(Vec<char>, Vec<char>), EvalError> {
    match args {
        [Value::Text(a), Value::Text(b)] => Ok((a.chars().collect(), b.chars().collect())),
        _ => Err(EvalError::BadCast),
    }
}

fn edit_distance(args: &[Value<'_>]) -> Outcome {
    let (a, b) = both(args)?;
    Ok(Value::Int(distance(&a, &b)? as i64))
}

fn similarity(args: &[Value<'_>]) -> Outcome {
    let (a, b) = both(args)?;
    let longer = a.len().max(b.len());
    if longer == 0 {
        return Ok(Value::Float(1.0));
    }
    Ok(Value::Float(1.0 - distance(&a, &b)? as f64 / longer as f64))
}

/// The functions of this family.
pub(super) static ALL: &[Definition] = &[
    Definition {
        name: "edit_distance",
        signatures: || vec![Signature::new([Type::String, Type::String], Type::Int)],
        eval: edit_distance,
        takes_missing: false,
        about: "how many code points must be put in, taken out or replaced to make one text of the other (Levenshtein)",
        examples: &[("edit_distance(\"kitten\", \"sitting\")", "3"), ("edit_distance(\"\", \"äb\")", "2")],
    },
    Definition {
        name: "similarity",
        signatures: || vec![Signature::new([Type::String, Type::String], Type::Float)],
        eval: similarity,
        takes_missing: false,
        about: "1 less the edit distance divided by the longer text's length: 1 for equal texts, 0 for texts without anything in common",
        examples: &[
            ("similarity(\"paypal\", \"paypa1\") > 0.8", "true"),
            ("similarity(\"\", \"\")", "1.0"),
            ("similarity(\"ab\", \"cd\")", "0.0"),
        ],
    },
];
