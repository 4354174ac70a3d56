//! Models of `lapwing apply`: each file is put where it is not live already, in chunks where it is larger than a message.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lapwing_dsl::diagnostics::nearest;
use lapwing_dsl::schema::Schema;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::{Api, Made};
use crate::control::uploads::hex;
use crate::models::deploy;

/// The bytes of a chunk, and the most of a file that goes in one message: in base64 and with all that stands beside it, Kafka takes it as it is set up
/// at first, 1 MB a message.
const CHUNK: usize = 512 << 10;

/// A model and its file, as `NAME=FILE` says.
#[derive(Clone, Debug)]
pub struct ModelFile {
    name: String,
    path: PathBuf,
}

/// A file that was read.
pub struct Read<'a> {
    model: &'a ModelFile,
    bytes: Vec<u8>,
    /// Answers that the model is known to give, where a file beside it holds some.
    golden: Option<Json>,
}

impl ModelFile {
    /// Reads the argument.
    ///
    /// # Errors
    /// It is not of that form.
    pub fn parse(text: &str) -> Result<ModelFile, String> {
        match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() => {
                Ok(ModelFile { name: name.to_owned(), path: PathBuf::from(path) })
            }
            _ => Err("write the model's name and its file: `--model takeover=models/takeover.onnx`".to_owned()),
        }
    }

    /// Reads the file, and `FILE.golden.json` in place of `FILE.onnx` where there is one.
    ///
    /// # Errors
    /// The rules declare no such model, or a file cannot be read.
    pub fn read(&self, schema: &Schema) -> Result<Read<'_>, String> {
        let ModelFile { name, path } = self;
        if schema.find_model(name).is_none() {
            let near = nearest(name, schema.models.iter().map(|model| model.name.as_str()));
            let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            return Err(format!("`--model {name}=…`: the rules declare no model `{name}`{hint}"));
        }
        let cannot = |path: &Path, e: std::io::Error| format!("`{}` cannot be read: {e}", path.display());
        let bytes = deploy::read_file(path).map_err(|why| format!("`--model {name}={}`: {why}", path.display()))?;
        let beside = path.with_extension("golden.json");
        let golden = match std::fs::read_to_string(&beside) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|e| {
                format!("`{}` is no list of {{\"inputs\": {{…}}, \"output\": …}}: {e}", beside.display())
            })?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(cannot(&beside, e)),
        };
        Ok(Read { model: self, bytes, golden })
    }
}

impl Read<'_> {
    /// The model's name.
    pub fn name(&self) -> &str {
        &self.model.name
    }

    /// Makes the file the live version of its model; none where it is that.
    ///
    /// # Errors
    /// The service refuses it, or cannot be reached. It may be done again: what was sent is known then.
    pub fn put(&self, api: &Api, made: &Made) -> Result<Option<Json>, String> {
        let name = self.name();
        let digest = hex(&Sha256::digest(&self.bytes));
        let catalog = api.get("/v1/catalog")?;
        let models = catalog["models"].as_array().into_iter().flatten().filter(|model| model["name"] == name);
        let mut versions = models.flat_map(|model| model["versions"].as_array().into_iter().flatten());
        if versions.any(|version| version["stage"] == "live" && version["sha256"] == digest.as_str()) {
            return Ok(None);
        }
        let mut message = json!({"op": "put", "kind": "model", "name": name});
        if let Some(golden) = &self.golden {
            message["golden"] = golden.clone();
        }
        if self.bytes.len() <= CHUNK {
            message["onnx"] = json!(BASE64_STANDARD.encode(&self.bytes));
        } else {
            self.send(api, made, &digest)?;
            message["upload"] = json!(digest);
        }
        made.put_into(&mut message);
        let done = api.post("/v1/control", &message);
        done.map(Some).map_err(|why| format!("model {name}, `{}`: {why}", self.model.path.display()))
    }

    fn send(&self, api: &Api, made: &Made, digest: &str) -> Result<(), String> {
        let of = self.bytes.chunks(CHUNK).len();
        for (number, bytes) in self.bytes.chunks(CHUNK).enumerate() {
            let bytes = BASE64_STANDARD.encode(bytes);
            let mut message = json!({
                "op": "chunk", "kind": "model", "name": self.name(), "upload": digest, "chunk": number, "of": of, "bytes": bytes,
            });
            made.put_into(&mut message);
            let sent = api.post("/v1/control", &message);
            sent.map_err(|why| {
                let path = self.model.path.display();
                format!(
                    "model {}, `{path}`, chunk {number} of {of}: {why}; what was sent before is kept: do it again",
                    self.name()
                )
            })?;
        }
        Ok(())
    }
}
