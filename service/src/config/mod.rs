//! The configuration of `lapwing serve`: one section a file, each a typed struct.
//!
//! Values come from defaults, then a TOML file (`tree`), then the environment, then flags; of several the later wins. A section declares its
//! keys once (`section`), each with its kind (`kinds`); the reading, the JSON Schema and the page of keys are made of that. Everything that is
//! wrong is told at once (`fault`), with its place and the mend. A `secret` comes from a file or the environment, and is never shown.

#[macro_use]
mod section;

pub mod alerts;
pub mod auth;
pub mod engine;
pub mod epoch;
mod fault;
pub mod http;
pub mod kafka;
mod kinds;
pub mod log;
pub mod save;
mod secret;
pub mod service;
mod tree;
pub mod units;

use std::path::Path;

use serde_json::{Value as Json, json};

pub use self::fault::{Fault, Origin};
use self::kinds::{optional, table};
pub use self::secret::Secret;
pub use self::section::Setting;
use self::section::{Key, Notes};
use self::tree::Node;

section! {
    /// The configuration of `lapwing serve`.
    Config {
        /// Where the service listens, and where it keeps what it knows.
        service: service::Service = table();
        /// How events are put in order and judged.
        engine: engine::Engine = table();
        /// The embedded log, which keeps events and alerts where there is no Kafka.
        log: log::Log = table();
        /// How often alerts, places and journal are committed together.
        epoch: epoch::Epoch = table();
        /// How often the state is saved.
        save: save::Save = table();
        /// What the HTTP side takes.
        http: http::Http = table();
        /// Who may do what by HTTP.
        auth: auth::Auth = table();
        /// Where alerts go beside the log.
        alerts: alerts::Alerts = table();
        /// Kafka as the source of events and the place of alerts. Without this section the embedded log is both.
        kafka: Option<kafka::Kafka> = optional(table());
    }
}

/// A configuration, and where each value of it comes from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Each key with its value and origin, in the order of the sections.
    pub settings: Vec<Setting>,
}

impl Config {
    /// Reads the configuration: defaults, then the file, then variables of the environment (`LAPWING_ENGINE__THREADS`; others than
    /// `LAPWING_X__Y` are not ours), then flags (`engine.threads=2`).
    ///
    /// # Errors
    /// Everything that is wrong, with its place.
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        sets: &[String],
    ) -> Result<Loaded, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut tree = match file {
            Some(path) => read_file(path, &mut faults),
            None => Node::empty(Origin::Default),
        };
        tree::environment(&mut tree, env, &mut faults);
        tree::sets(&mut tree, sets, &mut faults);
        let notes = Notes { faults: faults.into(), ..Notes::default() };
        let config: Option<Config> = section::read(&tree, Key { name: "", notes: &notes });
        let settings = notes.settings.into_inner();
        let mut faults = notes.faults.into_inner();
        if let Some(config) = &config {
            faults.extend(contradictions(config, &settings));
        }
        match config {
            Some(config) if faults.is_empty() => Ok(Loaded { config, settings }),
            _ => Err(in_order(faults)),
        }
    }

    /// The JSON Schema (draft 2020-12) of the file.
    pub fn schema() -> Json {
        let mut schema = section::schema::<Config>();
        schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        schema["title"] = json!("lapwing.toml");
        schema
    }
}

/// The environment variable of a key.
fn variable(key: &str) -> String {
    format!("LAPWING_{}", key.to_uppercase().replace('.', "__"))
}

fn read_file(path: &Path, faults: &mut Vec<Fault>) -> Node {
    let name = path.to_string_lossy();
    match std::fs::read_to_string(path) {
        Ok(text) => tree::file(&name, &text, faults),
        Err(error) => {
            let origin = Origin::File { name: name.as_ref().into(), line: 0, column: 0 };
            faults.push(Fault { origin, message: format!("cannot read the configuration: {error}") });
            Node::empty(Origin::Default)
        }
    }
}

/// Faults as they stand in the file, then in the environment, then in the flags.
fn in_order(mut faults: Vec<Fault>) -> Vec<Fault> {
    faults.sort_by_key(|fault| match &fault.origin {
        Origin::File { line, column, .. } => (0, *line, *column),
        Origin::Default => (1, 0, 0),
        Origin::Environment(_) => (2, 0, 0),
        Origin::Set(_) => (3, 0, 0),
    });
    faults.dedup();
    faults
}

/// Values that are each right and do not go together.
fn contradictions(config: &Config, settings: &[Setting]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut fault = |key: &str, message: String| {
        let setting = settings.iter().find(|setting| setting.key == key);
        let origin = setting.map_or(Origin::Default, |setting| setting.origin.clone());
        faults.push(Fault { origin, message: format!("`{key}`: {message}") });
    };
    let (log, http) = (&config.log, &config.http);
    if log.retain_bytes < log.segment_bytes {
        fault("log.retain_bytes", "less than one `log.segment_bytes`; give it at least as much".to_owned());
    }
    if http.line_bytes_max > http.body_bytes_max {
        fault("http.line_bytes_max", "more than `http.body_bytes_max`; give it at most as much".to_owned());
    }
    if let Some(kafka) = &config.kafka {
        topics(kafka, &mut fault);
        if !log.source.is_empty() {
            let instead = "with `[kafka]` events are read from topics; take it away, or name the folder as `history` of a [[kafka.source]]";
            fault("log.source.0.path", instead.to_owned());
        }
    }
    for (at, source) in log.source.iter().enumerate() {
        if log.source[..at].iter().any(|earlier| earlier.path == source.path) {
            fault(
                &format!("log.source.{at}.path"),
                format!("`{}` is named twice; name it once", source.path.display()),
            );
        }
    }
    faults
}

/// Topics serve one purpose each: what reads its own writing never ends.
fn topics(kafka: &kafka::Kafka, fault: &mut impl FnMut(&str, String)) {
    if kafka.source.is_empty() {
        fault("kafka.brokers", "there is no topic to read: write [[kafka.source]] and its `topic`".to_owned());
    }
    let sources = kafka.source.iter().enumerate();
    let mut named: Vec<_> =
        sources.map(|(at, source)| (format!("kafka.source.{at}.topic"), Some(&source.topic))).collect();
    let others = [
        ("alerts", Some(&kafka.alerts.topic)),
        ("late", kafka.late.topic.as_ref()),
        ("dead_letters", kafka.dead_letters.topic.as_ref()),
        ("control", Some(&kafka.control.topic)),
        ("status", kafka.status.topic.as_ref()),
        ("journal", Some(&kafka.journal.topic)),
    ];
    named.extend(others.map(|(section, topic)| (format!("kafka.{section}.topic"), topic)));
    for (at, (key, topic)) in named.iter().enumerate() {
        let same = named[..at].iter().find(|(_, earlier)| topic.is_some() && earlier == topic);
        if let (Some(topic), Some((other, _))) = (topic, same) {
            fault(key, format!("`{topic}` is also `{other}`; give each a topic of its own"));
        }
    }
    for name in kafka.secrets.keys().filter(|name| kafka.properties.contains_key(*name)) {
        fault(&format!("kafka.secrets.{name}"), "it is also in `kafka.properties`; give it once".to_owned());
    }
}

#[cfg(test)]
mod tests;
