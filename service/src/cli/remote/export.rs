//! `lapwing export`: the rules of a running service as files, which `lapwing apply` takes back.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::Api;
use crate::cli::{Exit, refuse};

/// Arguments of `export`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The folder to write to: `declarations.lap`, and a file for each rule that is live or paused. It has to be new or empty.
    #[arg(long)]
    to: PathBuf,
    #[command(flatten)]
    api: Api,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Exit {
    let written = arguments.api.get("/v1/catalog").and_then(|catalog| write(&catalog, &arguments.to));
    match written {
        Ok(files) => {
            outln!("{files} files in `{}`", arguments.to.display());
            Exit::Well
        }
        Err(message) => refuse(message),
    }
}

fn write(catalog: &Json, to: &Path) -> Result<usize, String> {
    let cannot = |e: std::io::Error| format!("cannot write `{}`: {e}", to.display());
    fs::create_dir_all(to).map_err(cannot)?;
    if fs::read_dir(to).map_err(cannot)?.next().is_some() {
        return Err(format!("`{}` is not empty: name another folder", to.display()));
    }
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let declarations: Vec<String> =
        catalog["declarations"].as_array().into_iter().flatten().map(|d| text(&d["source"]) + "\n").collect();
    fs::write(to.join("declarations.lap"), declarations.join("\n")).map_err(cannot)?;
    let mut files = 1;
    for (name, source) in super::rules_in_force(catalog) {
        fs::write(to.join(format!("{name}.lap")), format!("{source}\n")).map_err(cannot)?;
        files += 1;
    }
    Ok(files)
}
