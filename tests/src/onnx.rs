//! Small ONNX files made by hand: weights times inputs. As many different models as a test likes, whose answers it can work out.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lapwing::models::deploy::Deployed;
use lapwing_dsl::value::Value;
use lapwing_engine::data::model::{Model, Row, Version};
use serde_json::Value as Json;

/// A model of one tensor `x` [N, n]: `bias` and the sum of the inputs, each times its weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// For each input.
    pub weights: Vec<f32>,
    /// What is added.
    pub bias: f32,
}

/// A linear model that needs no library; it fails where its first input is `fails`.
#[derive(Debug)]
pub struct Double {
    /// What it answers.
    pub linear: Linear,
    /// What it does not answer to.
    pub fails: Option<f64>,
}

impl Model for Double {
    fn score(&self, rows: &[Row<'_>]) -> Vec<Option<f64>> {
        let number = |value: &Value<'_>| match value {
            Value::Int(v) => *v as f64,
            Value::Float(v) => *v,
            other => panic!("{other:?} is no number"),
        };
        let score = |row: &Row<'_>| {
            let inputs: Vec<f64> = row.iter().map(number).collect();
            (inputs.first() != self.fails.as_ref()).then(|| self.linear.score(&inputs))
        };
        rows.iter().map(score).collect()
    }
}

/// The next version of a model, as a message of the random cases has it: `weights`, `bias`, `fails`, `stage`.
pub fn version(message: &Json, number: u32) -> Deployed {
    let float = |json: &Json| json.as_f64().expect("a number");
    let weights = message["weights"].as_array().expect("weights").iter().map(|w| float(w) as f32).collect();
    let linear = Linear { weights, bias: float(&message["bias"]) as f32 };
    let double = Double { linear, fails: message.get("fails").map(float) };
    let mut bytes: Vec<u8> = double.linear.weights.iter().flat_map(|w| w.to_le_bytes()).collect();
    bytes.extend(double.linear.bias.to_le_bytes());
    bytes.extend(double.fails.iter().flat_map(|f| f.to_le_bytes()));
    // FNV-1a: models that differ have digests that do.
    let digest =
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    let version = Arc::new(Version::new(number, digest, Arc::new(double)));
    Deployed { version, digest: [0; 32] }
}

impl Linear {
    /// What it answers. Exact where all numbers are small multiples of a power of two.
    pub fn score(&self, inputs: &[f64]) -> f64 {
        let products = self.weights.iter().zip(inputs).map(|(w, x)| f64::from(*w) * x);
        f64::from(self.bias) + products.sum::<f64>()
    }

    /// Its file: a `Gemm` of operator set 17.
    pub fn onnx(&self) -> Vec<u8> {
        let n = self.weights.len() as i64;
        let node = [text(1, "x"), text(1, "w"), text(1, "b"), text(2, "score"), text(4, "Gemm")].concat();
        let graph = [
            nested(1, &node),
            text(2, "linear"),
            nested(5, &tensor("w", &[n, 1], &self.weights)),
            nested(5, &tensor("b", &[1], &[self.bias])),
            nested(11, &outlet("x", n)),
            nested(12, &outlet("score", 1)),
        ]
        .concat();
        let opset = number(2, 17);
        [number(1, 8), nested(7, &graph), nested(8, &opset)].concat()
    }

    /// Its file as a message has it.
    pub fn base64(&self) -> String {
        STANDARD.encode(self.onnx())
    }
}

/// `TensorProto`: `dims`, `data_type` (1: float), `name`, `raw_data`
fn tensor(name: &str, dims: &[i64], values: &[f32]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let dims: Vec<u8> = dims.iter().flat_map(|d| number(1, *d as u64)).collect();
    [dims, number(2, 1), text(8, name), nested(9, &raw)].concat()
}

/// `ValueInfoProto` of floats of shape `[N, columns]`.
fn outlet(name: &str, columns: i64) -> Vec<u8> {
    let shape = [nested(1, &text(2, "N")), nested(1, &number(1, columns as u64))].concat();
    let tensor = [number(1, 1), nested(2, &shape)].concat();
    [text(1, name), nested(2, &nested(1, &tensor))].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 127 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn nested(field: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn text(field: u64, text: &str) -> Vec<u8> {
    nested(field, text.as_bytes())
}
