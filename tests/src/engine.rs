//! Judges JSON lines with the engine, in this process, in as many ways as a test asks for.

use std::sync::Arc;

use lapwing::control::files::Rules;
use lapwing::data::alert::Alert;
use lapwing::data::pipeline::{Lines, Options, Pipeline, Rejected, Sink};
use lapwing_dsl::load;
use lapwing_dsl::syntax::Sources;
use serde_json::Value as Json;

/// Collects what comes out.
#[derive(Debug, Default)]
pub struct Collected {
    /// Alerts, in order.
    pub alerts: Vec<Json>,
    /// Lines that were not taken.
    pub rejected: Vec<Rejected>,
}

impl Sink for Collected {
    fn alert(&mut self, alert: &Alert<'_>) {
        let mut line = Vec::new();
        alert.write(&mut line);
        self.alerts.push(serde_json::from_slice(&line).expect("an alert is JSON"));
    }

    fn rejected(&mut self, rejected: Rejected) {
        self.rejected.push(rejected);
    }
}

/// Compiles one text; the findings drawn as text where it does not compile.
pub fn compile(text: &str) -> Result<Rules, String> {
    let mut sources = Sources::default();
    sources.add("rules.lap", text);
    let rules = Rules { loaded: load(&sources), sources };
    if rules.compiles() {
        return Ok(rules);
    }
    let drawn = rules.loaded.diagnostics.iter().filter(|d| d.is_error());
    Err(drawn.map(|d| lapwing_dsl::diagnostics::render(d, &rules.sources, false)).collect::<Vec<_>>().join("\n"))
}

/// Judges lines at once.
pub fn judge(text: &str, lines: &[String], options: &Options, threads: usize) -> Result<Collected, String> {
    let rules = compile(text)?.rule_set(1).map_err(|e| format!("{e:?}"))?;
    let mut pipeline = Pipeline::new(Arc::new(rules), options.clone(), threads);
    let mut collected = Collected::default();
    let bytes = lines.join("\n");
    pipeline.take(&Lines { bytes: bytes.as_bytes(), first: 0 }, &mut collected);
    pipeline.finish(&mut collected);
    Ok(collected)
}
