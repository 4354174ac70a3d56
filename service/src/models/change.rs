//! Changes of models, as control messages bring them: all of it takes effect, or nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lapwing_dsl::schema::ModelType;

use super::deploy::{deploy, read};
use super::golden::Golden;
use super::versions::Staged;
use crate::control::message::Stage;
use crate::control::uploads::hex;
use crate::tables::contents::Contents;

/// What a message says of a new version.
#[derive(Clone, Copy, Debug)]
pub struct Said<'m> {
    /// Its number; left out, one more than the last.
    pub version: Option<u32>,
    /// The stage it begins in; left out, live.
    pub stage: Option<Stage>,
    /// The model, as base64.
    pub onnx: Option<&'m str>,
    /// Or a file of the folder of `--data`.
    pub file: Option<&'m str>,
    /// Or one that came in chunks: its SHA-256.
    pub upload: Option<&'m str>,
    /// Answers that it is known to give.
    pub golden: &'m [Golden],
}

/// The model after a new version. The error is a sentence.
pub fn put(
    declared: &ModelType,
    before: Option<&Staged>,
    contents: &Contents,
    said: &Said<'_>,
) -> Result<Staged, String> {
    let mut staged = before.cloned().unwrap_or_default();
    let name = &declared.name;
    let number = said.version.unwrap_or(staged.last() + 1);
    if number <= staged.last() {
        return Err(format!("version {number} of `{name}` is not newer than {}, the last one", staged.last()));
    }
    let stage = said.stage.unwrap_or(Stage::Live);
    if !matches!(stage, Stage::Live | Stage::Shadow) {
        return Err(format!("a version of a model begins `live` or `shadow`, not `{}`", stage.as_str()));
    }
    let bytes = match (said.onnx, said.file, said.upload) {
        (Some(text), None, None) => STANDARD
            .decode(text)
            .map_err(|e| format!("`onnx` is the model's file in base64, and this is not base64: {e}"))?,
        (None, Some(file), None) => {
            let folder =
                contents.folder().ok_or("`file` names a file of the folder of --data, and no --data is given")?;
            read(folder, file)?
        }
        (None, None, Some(upload)) => {
            let folder = contents.uploads().ok_or("an `upload` is for a service; here give `onnx` or `file`")?;
            read(folder, upload)?
        }
        (None, None, None) => {
            return Err(
                "the model is missing: give `onnx` in base64, `file`, or the `upload` that its chunks made".to_owned()
            );
        }
        (onnx, file, upload) => {
            let all = [("`onnx`", onnx), ("`file`", file), ("`upload`", upload)];
            let given: Vec<&str> = all.iter().filter(|(_, given)| given.is_some()).map(|(name, _)| *name).collect();
            return Err(format!("{} do not go together: give one", given.join(" and ")));
        }
    };
    let deployed =
        deploy(declared, number, bytes, said.golden).map_err(|why| format!("version {number} of `{name}`: {why}"))?;
    if let Some(upload) = said.upload.filter(|upload| hex(&deployed.digest) != **upload) {
        return Err(format!(
            "version {number} of `{name}`: the file of the upload `{upload}` is not what came: it is damaged"
        ));
    }
    staged.put(number, stage, deployed);
    Ok(staged)
}

/// The model with a version in another stage. The error is a sentence. `asked` says whether a live rule asks it.
pub fn stage(
    declared: &ModelType,
    before: Option<&Staged>,
    version: Option<u32>,
    stage: Option<Stage>,
    asked: bool,
) -> Result<Staged, String> {
    let name = &declared.name;
    let stage = stage.ok_or("`stage` is missing: live, shadow or retired")?;
    if !matches!(stage, Stage::Live | Stage::Shadow | Stage::Retired) {
        return Err(format!("a model's `stage` is live, shadow or retired, not `{}`", stage.as_str()));
    }
    let version = version.ok_or("`version` is missing: which of the model's versions")?;
    let mut staged = before.cloned().unwrap_or_default();
    if stage != Stage::Live && staged.live() == Some(version) && asked {
        return Err(format!(
            "version {version} of `{name}` is the live one, and a rule asks it: put or stage another `live` first"
        ));
    }
    if !staged.stage(version, stage) {
        let known: Vec<String> = staged.stages().map(|(n, stage)| format!("{n} ({})", stage.as_str())).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(format!("there is no version {version} of `{name}`: there is {known}"));
    }
    Ok(staged)
}
