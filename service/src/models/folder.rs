//! The models of the folder of `--data`: `NAME.onnx` for each declared one, and beside it, where there is one, `NAME.golden.json`.

use std::path::Path;

use lapwing_dsl::schema::{ModelType, Schema};

use super::deploy::{deploy, read};
use super::golden::Golden;
use super::versions::Staged;
use crate::control::message::Stage;
use crate::tables::contents::Contents;
use crate::tables::folder::Mistake;

/// Puts the models that the folder holds, each as version 1. Files of models that nobody declares are passed over.
pub fn fill(folder: &Path, schema: &Schema, contents: &mut Contents, mistakes: &mut Vec<Mistake>) {
    for model in &schema.models {
        match version_1(folder, model) {
            Ok(Some(staged)) => contents.put_model(&model.name, staged),
            Ok(None) => {}
            Err(mistake) => mistakes.push(mistake),
        }
    }
}

fn version_1(folder: &Path, model: &ModelType) -> Result<Option<Staged>, Mistake> {
    let file = format!("{}.onnx", model.name);
    let path = folder.join(&file);
    if !path.exists() {
        return Ok(None);
    }
    let mistake = |path: &Path, message: String| Mistake { path: path.to_owned(), line: None, message };
    let golden_path = folder.join(format!("{}.golden.json", model.name));
    let golden: Vec<Golden> = match std::fs::read_to_string(&golden_path) {
        Ok(text) => serde_json::from_str(&text).map_err(|e| {
            mistake(&golden_path, format!("it is no list of {{\"inputs\": {{…}}, \"output\": …}}: {e}"))
        })?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(mistake(&golden_path, format!("it cannot be read: {e}"))),
    };
    let bytes = read(folder, &file).map_err(|why| mistake(&path, why))?;
    let deployed = deploy(model, 1, bytes, &golden).map_err(|why| mistake(&path, why))?;
    let mut staged = Staged::default();
    staged.put(1, Stage::Live, deployed);
    Ok(Some(staged))
}
