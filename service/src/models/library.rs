//! The library `onnxruntime`: where it is looked for, and the one environment of the process.
//!
//! It is loaded when the first model comes. Whoever has no models needs no library.

use std::path::PathBuf;
use std::sync::OnceLock;

use ort::environment::Environment;

/// The variable that names the library's file.
pub const VARIABLE: &str = "ORT_DYLIB_PATH";
/// The library's file.
pub const FILE: &str = "libonnxruntime.so";

static LOADED: OnceLock<Result<Environment, String>> = OnceLock::new();

/// The environment; where the library cannot be loaded, a sentence that says what to install.
pub fn environment() -> Result<&'static Environment, &'static str> {
    LOADED.get_or_init(load).as_ref().map_err(String::as_str)
}

fn load() -> Result<Environment, String> {
    let named = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    let places = named.map_or_else(places, |path| vec![path]);
    let mut why = String::new();
    for place in &places {
        // What is looked for by its name alone is the system's to find.
        if place.components().count() > 1 && !place.exists() {
            why = format!("there is no `{}`", place.display());
            continue;
        }
        match ort::init_from(place) {
            Ok(builder) => {
                let built = builder.with_name("lapwing").with_telemetry(false).build();
                return built.map_err(|e| format!("the library onnxruntime does not start: {e}"));
            }
            Err(error) => why = error.to_string(),
        }
    }
    Err(format!(
        "models are run by the library onnxruntime (1.{} or later), which cannot be loaded: {why}; bring it with `scripts/onnxruntime.sh`, or set \
         {VARIABLE} to a `{FILE}`, which is in the PyPI package `onnxruntime`",
        ort::MINOR_VERSION
    ))
}

/// Where the library is looked for when nothing names it: beside the program, where the set-up puts it, where the system has its libraries.
fn places() -> Vec<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(FILE)));
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|c| !c.is_empty()).map(PathBuf::from).or(home);
    let cached = cache.map(|cache| cache.join("lapwing").join(FILE));
    beside.into_iter().filter(|p| p.exists()).chain([PathBuf::from(FILE)]).chain(cached).collect()
}
