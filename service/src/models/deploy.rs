//! From bytes to a version that can be asked: everything that can be wrong with a model is found here, before a rule asks it.

use std::path::Path;
use std::sync::Arc;

use lapwing_dsl::schema::ModelType;
use lapwing_dsl::value::{Type, Value};
use lapwing_engine::data::model::{Row, Version};
use sha2::{Digest, Sha256};

use super::golden::{self, Golden};
use super::proto;
use super::session::Onnx;
use super::signature::signature;

/// The most bytes of a model.
pub const BYTES_MAX: usize = 256 << 20;
/// How many rows a model is tried with.
const TRIAL: u32 = 24;

/// A model that was deployed.
#[derive(Clone, Debug)]
pub struct Deployed {
    /// What the engine asks.
    pub version: Arc<Version>,
    /// Digest of its bytes.
    pub digest: [u8; 32],
}

/// Deploys a model: reads it, holds it against its declaration, starts it, tries it, and holds its answers against those that are known.
/// The error is a sentence.
pub fn deploy(declared: &ModelType, number: u32, bytes: Vec<u8>, golden: &[Golden]) -> Result<Deployed, String> {
    if bytes.len() > BYTES_MAX {
        let (given, limit) = (bytes.len() >> 20, BYTES_MAX >> 20);
        return Err(format!("it has {given} MiB, and a model has at most {limit} MiB"));
    }
    let signature = signature(declared, &proto::read(&bytes)?)?;
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    let mut onnx = Onnx::start(bytes.into(), signature)?;
    let known = golden
        .iter()
        .enumerate()
        .map(|(i, g)| golden::row(declared, g).map_err(|why| format!("golden vector {}: {why}", i + 1)))
        .collect::<Result<Vec<Row<'static>>, String>>()?;
    let tried = if known.is_empty() { trial_rows(declared) } else { known.clone() };
    // A model that knows texts may take no others: what it was never trained with is no reason to refuse it.
    let knows_texts = declared.inputs.iter().any(|(_, ty)| *ty == Type::String);
    match onnx.try_out(&tried) {
        Ok(()) => {}
        Err(_) if knows_texts && golden.is_empty() => {}
        Err(why) => return Err(format!("it fails when it is tried: {why}")),
    }
    // In which order the inputs are declared decides what a row means.
    let asked = Sha256::new().chain_update(digest).chain_update(format!("{:?}", declared.inputs)).finalize();
    let short = u64::from_le_bytes(asked[..8].try_into().expect("a digest has more than 8 bytes"));
    let version = Arc::new(Version::new(number, short, Arc::new(onnx)));
    for (i, ((golden, row), answer)) in golden.iter().zip(&known).zip(version.score_all(&known)).enumerate() {
        // A row alone is asked in another way than many.
        let both = golden::holds(golden, answer).and_then(|()| golden::holds(golden, version.score(row)));
        both.map_err(|why| format!("golden vector {}: {why}", i + 1))?;
    }
    Ok(Deployed { version, digest })
}

/// The file of a model, and beside it `NAME.golden.json` where there is one. The error is a sentence.
pub fn read(folder: &Path, file: &str) -> Result<Vec<u8>, String> {
    let plain = !file.is_empty() && !file.contains(['/', '\\']) && file != ".." && file != ".";
    if !plain {
        return Err(format!("`{file}` is no file of the folder of --data: write its name alone, without a folder"));
    }
    read_file(&folder.join(file))
}

/// A file that may be a model. The error is a sentence.
pub fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let length = std::fs::metadata(path).map_err(|e| format!("`{}` cannot be read: {e}", path.display()))?.len();
    if length > BYTES_MAX as u64 {
        return Err(format!("it has {} MiB, and a model has at most {} MiB", length >> 20, BYTES_MAX >> 20));
    }
    std::fs::read(path).map_err(|e| format!("`{}` cannot be read: {e}", path.display()))
}

/// Rows that differ, the same whenever a model is tried.
fn trial_rows(declared: &ModelType) -> Vec<Row<'static>> {
    let value = |row: u32, column: usize, ty: &Type| {
        // A number of many digits, now small, now large, now negative.
        let mixed = (row.wrapping_mul(2_654_435_761) ^ (column as u32).wrapping_mul(40_503)) % 20_011;
        let v = (f64::from(mixed) - 9_000.5) * [0.000_37, 0.137, 11.3][row as usize % 3];
        match ty {
            Type::Bool => Value::Bool(mixed.is_multiple_of(2)),
            Type::Int => Value::Int(v as i64),
            Type::Decimal => Value::Decimal(rust_decimal::Decimal::try_from(v).unwrap_or_default()),
            Type::String => Value::text(""),
            _ => Value::Float(v),
        }
    };
    let row = |row| declared.inputs.iter().enumerate().map(|(i, (_, ty))| value(row, i, ty)).collect();
    (0..TRIAL).map(row).collect()
}
