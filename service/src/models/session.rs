//! A model behind the engine's trait: sessions of the library, one for each thread that is at it.
//!
//! The engine relies on equal rows giving equal scores. The library keeps that promise for rows asked in batches of any size, but for one: some
//! kernels add up a single row in another order. So a row alone is asked twice, side by side; and a model that a trial finds to depend on its
//! batch after all is asked row by row, each that way.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use lapwing_dsl::value::Value;
use lapwing_engine::data::model::{Model, ROWS_MAX, Row};
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynMap, DynMapValueType, DynSequenceValueType, Tensor, TensorElementType, ValueType};
use rust_decimal::prelude::ToPrimitive;

use super::library;
use super::proto::Element;
use super::signature::{Input, Inputs, Place, Signature};

/// A model that the library runs.
pub struct Onnx {
    bytes: Arc<[u8]>,
    signature: Signature,
    /// Sessions that nobody is at. One is made when none is there: so there are as many as threads.
    idle: Mutex<Vec<Session>>,
    /// Whether rows are asked one by one.
    alone: bool,
}

impl std::fmt::Debug for Onnx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Onnx").field("bytes", &self.bytes.len()).field("signature", &self.signature).finish()
    }
}

impl Onnx {
    /// Starts a model. The error is a sentence.
    pub fn start(bytes: Arc<[u8]>, signature: Signature) -> Result<Onnx, String> {
        let onnx = Onnx { bytes, signature, idle: Mutex::default(), alone: false };
        let session = onnx.session()?;
        onnx.put_back(session);
        Ok(onnx)
    }

    /// Asks a few rows together and one by one: whether each gives the same to the last bit decides how rows are asked. The error is a sentence.
    pub fn try_out(&mut self, rows: &[Row<'_>]) -> Result<(), String> {
        let together = self.run(rows)?;
        let same = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
        for size in [1, 7] {
            let mut apart = Vec::with_capacity(rows.len());
            for some in rows.chunks(size) {
                apart.extend(self.run(some)?);
            }
            self.alone |= !same(&together, &apart);
        }
        Ok(())
    }

    fn session(&self) -> Result<Session, String> {
        if let Some(session) = self.idle.lock().expect("nobody panics with it").pop() {
            return Ok(session);
        }
        let environment = library::environment()?;
        let build = || {
            Session::builder(environment)?
                .with_intra_threads(1)?
                .with_inter_threads(1)?
                .with_optimization_level(GraphOptimizationLevel::All)?
                .with_deterministic_compute(true)?
                .with_memory_pattern(false)?
                .with_log_level(ort::logging::LogLevel::Fatal)?
                .commit_from_memory(&self.bytes)
        };
        build().map_err(|e: ort::Error| format!("onnxruntime does not take it: {}", plain(&e)))
    }

    fn put_back(&self, session: Session) {
        self.idle.lock().expect("nobody panics with it").push(session);
    }

    /// The scores of rows. The error is a sentence.
    fn run(&self, rows: &[Row<'_>]) -> Result<Vec<f64>, String> {
        let mut session = self.session()?;
        let scores = match rows {
            [one] => self.run_in(&mut session, &[one, one]).map(|mut scores| {
                scores.truncate(1);
                scores
            }),
            rows => self.run_in(&mut session, &rows.iter().collect::<Vec<_>>()),
        };
        self.put_back(session);
        scores
    }

    fn run_in(&self, session: &mut Session, rows: &[&Row<'_>]) -> Result<Vec<f64>, String> {
        let inputs = self.inputs(rows).map_err(|e| plain(&e))?;
        let outputs = session.run(inputs).map_err(|e| plain(&e))?;
        let name = &self.signature.output.name;
        let output = outputs.get(name).ok_or_else(|| format!("it gave no `{name}`"))?;
        let scores = match self.signature.output.place {
            Place::Tensor { double: false } => {
                let (_, numbers) = output.try_extract_tensor::<f32>().map_err(|e| plain(&e))?;
                last_of_each(&numbers.iter().map(|n| f64::from(*n)).collect::<Vec<_>>(), rows.len())
            }
            Place::Tensor { double: true } => {
                let (_, numbers) = output.try_extract_tensor::<f64>().map_err(|e| plain(&e))?;
                last_of_each(numbers, rows.len())
            }
            Place::Maps => {
                let sequence = output.view().downcast::<DynSequenceValueType>().map_err(|e| plain(&e))?;
                let maps = sequence.try_extract_sequence::<DynMapValueType>().map_err(|e| plain(&e))?;
                maps.iter().map(last_of_two).collect()
            }
        };
        let scores = scores?;
        if scores.len() != rows.len() {
            return Err(format!("it gave {} scores for {} rows", scores.len(), rows.len()));
        }
        Ok(scores)
    }

    fn inputs<'s>(&'s self, rows: &[&Row<'_>]) -> ort::Result<Vec<(Cow<'s, str>, SessionInputValue<'static>)>> {
        let n = rows.len();
        match &self.signature.inputs {
            Inputs::Whole { name, double } => {
                let columns = rows.first().map_or(0, |row| row.len());
                let numbers = rows.iter().flat_map(|row| row.iter().map(number));
                let value: SessionInputValue<'static> = if *double {
                    Tensor::from_array(([n, columns], numbers.collect::<Vec<f64>>()))?.into()
                } else {
                    Tensor::from_array(([n, columns], numbers.map(|v| v as f32).collect::<Vec<f32>>()))?.into()
                };
                Ok(vec![(Cow::Borrowed(name), value)])
            }
            Inputs::Each(inputs) => inputs
                .iter()
                .enumerate()
                .map(|(i, input)| Ok((Cow::Borrowed(input.name.as_str()), column(input, rows, i)?)))
                .collect(),
        }
    }
}

impl Model for Onnx {
    fn score(&self, rows: &[Row<'_>]) -> Vec<Option<f64>> {
        let each = || rows.iter().map(|row| self.run(std::slice::from_ref(row)).ok()?.pop()).collect();
        if self.alone || rows.len() > ROWS_MAX {
            return each();
        }
        match self.run(rows) {
            Ok(scores) => scores.into_iter().map(Some).collect(),
            // One row that the model does not take is not the others' fault.
            Err(_) => each(),
        }
    }

    fn rest(&self) {
        self.idle.lock().expect("nobody panics with it").clear();
    }
}

/// One input of all rows.
fn column(input: &Input, rows: &[&Row<'_>], i: usize) -> ort::Result<SessionInputValue<'static>> {
    let shape = if input.column { vec![rows.len() as i64, 1] } else { vec![rows.len() as i64] };
    let numbers = || rows.iter().map(|row| number(&row[i]));
    let whole = || rows.iter().map(|row| whole(&row[i]));
    Ok(match input.element {
        Element::Float => Tensor::from_array((shape, numbers().map(|v| v as f32).collect::<Vec<f32>>()))?.into(),
        Element::Double => Tensor::from_array((shape, numbers().collect::<Vec<f64>>()))?.into(),
        Element::Int64 => Tensor::from_array((shape, whole().collect::<Vec<i64>>()))?.into(),
        Element::Int32 => {
            let clamped = whole().map(|v| v.clamp(i32::MIN.into(), i32::MAX.into()) as i32);
            Tensor::from_array((shape, clamped.collect::<Vec<i32>>()))?.into()
        }
        Element::Bool => Tensor::from_array((shape, whole().map(|v| v != 0).collect::<Vec<bool>>()))?.into(),
        Element::String | Element::Other => {
            let texts: Vec<String> = rows.iter().map(|row| text(&row[i])).collect();
            Tensor::from_string_array((shape, texts.as_slice()))?.into()
        }
    })
}

/// A value as a number: what is none, and what is beyond numbers, is not a number, which a model may know what to do with.
fn number(value: &Value<'_>) -> f64 {
    match value {
        Value::Float(v) => *v,
        Value::Int(v) => *v as f64,
        Value::Bool(v) => f64::from(u8::from(*v)),
        Value::Decimal(v) => v.to_f64().unwrap_or(f64::NAN),
        _ => f64::NAN,
    }
}

fn whole(value: &Value<'_>) -> i64 {
    match value {
        Value::Int(v) => *v,
        Value::Bool(v) => i64::from(*v),
        _ => 0,
    }
}

fn text(value: &Value<'_>) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        _ => String::new(),
    }
}

/// Of one number a row that number, of two the second: the probability of the class that counts.
fn last_of_each(numbers: &[f64], rows: usize) -> Result<Vec<f64>, String> {
    match numbers.len() {
        n if n == rows => Ok(numbers.to_vec()),
        n if n == 2 * rows => Ok(numbers.chunks(2).map(|pair| pair[1]).collect()),
        n => Err(format!(
            "it gave {n} numbers for {rows} rows: a score is one number a row, or the probabilities of two classes"
        )),
    }
}

/// Of the probabilities of two classes that of the later, in the order of their names or numbers.
fn last_of_two(map: &DynMap) -> Result<f64, String> {
    let last = |mut classes: Vec<(String, f32)>| match classes.len() {
        2 => {
            classes.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(f64::from(classes[1].1))
        }
        n => Err(format!("it gave the probabilities of {n} classes: a score is one number, of two classes the second")),
    };
    match map.dtype() {
        ValueType::Map { key: TensorElementType::String, .. } => {
            last(map.try_extract_key_values::<String, f32>().map_err(|e| plain(&e))?)
        }
        _ => {
            let mut classes = map.try_extract_key_values::<i64, f32>().map_err(|e| plain(&e))?;
            classes.sort_by_key(|(class, _)| *class);
            // Numbered in their order.
            last(classes.into_iter().enumerate().map(|(i, (_, p))| (format!("{i:03}"), p)).collect())
        }
    }
}

/// The library's message in one line.
fn plain<T>(error: &ort::Error<T>) -> String {
    let text = error.to_string();
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    line.trim().to_owned()
}
