//! Answers that a model is known to give: where it gives others, it is not the model that was meant.

use std::collections::BTreeMap;

use lapwing_dsl::diagnostics::nearest;
use lapwing_dsl::schema::ModelType;
use lapwing_dsl::value::Value;
use lapwing_engine::data::model::Row;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::data::decode::field;

/// How far an answer may be from the one that is known, where that is 1 or less; else in proportion.
pub const TOLERANCE: f64 = 1e-5;

/// Inputs with the answer to them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// All inputs by name.
    pub inputs: BTreeMap<String, Box<RawValue>>,
    /// The answer.
    pub output: f64,
}

/// Reads the inputs as the declaration has them. The error is a sentence.
pub fn row(model: &ModelType, golden: &Golden) -> Result<Row<'static>, String> {
    let names = || model.inputs.iter().map(|(name, _)| name.as_str());
    if let Some(stray) = golden.inputs.keys().find(|name| !names().any(|n| n == name.as_str())) {
        let near = nearest(stray, names()).map_or(String::new(), |n| format!("; did you mean `{n}`?"));
        return Err(format!("`{}` has no input `{stray}`{near}", model.name));
    }
    let value = |(name, ty): &(String, lapwing_dsl::value::Type)| {
        let raw = golden.inputs.get(name).ok_or_else(|| format!("the input `{name}` is left out"))?;
        match field::read(raw.get(), ty) {
            Ok(Value::Missing) => Err(format!("the input `{name}` is null: a model is asked with all its inputs")),
            Ok(value) => Ok(value.into_static()),
            Err(_) => Err(format!("the input `{name}` is {ty}, and `{}` is none", raw.get())),
        }
    };
    model.inputs.iter().map(value).collect()
}

/// Whether an answer is the one that is known. The error is a sentence.
pub fn holds(golden: &Golden, answer: Option<f64>) -> Result<(), String> {
    let known = golden.output;
    match answer {
        Some(answer) if (answer - known).abs() <= TOLERANCE * known.abs().max(1.0) => Ok(()),
        Some(answer) => Err(format!("it answers {answer}, and {known} is expected: is it the model that was trained?")),
        None => Err(format!("it fails, and {known} is expected")),
    }
}
