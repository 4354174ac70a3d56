//! `lapwing tail`: the alerts of a running service as they come.

use std::io::{BufRead, BufReader};

use serde_json::Value as Json;

use super::Api;
use crate::cli::{Exit, Format, refuse};

/// Arguments of `tail`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Begin behind the alert with this id, or with the `earliest` that is kept; else with what comes from now on.
    #[arg(long, default_value = "latest")]
    after: String,
    /// Only alerts of this rule.
    #[arg(long)]
    rule: Option<String>,
    /// End after so many.
    #[arg(long)]
    count: Option<u64>,
    #[command(flatten)]
    api: Api,
    /// For whom to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Exit {
    let stream = match arguments.api.stream(&format!("/v1/alerts/stream?after={}", arguments.after)) {
        Ok(stream) => stream,
        Err(message) => return refuse(message),
    };
    let mut shown = 0;
    if arguments.count == Some(0) {
        return Exit::Well;
    }
    for line in BufReader::new(stream).lines() {
        let line = match line {
            Ok(line) => line,
            Err(e) => return refuse(format!("the stream broke off: {e}")),
        };
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let alert: Json = match serde_json::from_str(data) {
            Ok(alert) => alert,
            Err(_) => return refuse(data),
        };
        if arguments.rule.as_ref().is_some_and(|rule| alert["rule"] != rule.as_str()) {
            continue;
        }
        match arguments.format {
            Format::Json => outln!("{data}"),
            Format::Text => {
                let text = |name: &str| alert[name].as_str().unwrap_or_default();
                let (at, severity, status) = (text("at"), text("severity"), text("status"));
                let status = if status == "open" { String::new() } else { format!(" {status}") };
                outln!("{at} {severity:<8} {}{status}: {}", text("rule"), text("message"));
            }
        }
        shown += 1;
        if Some(shown) == arguments.count {
            return Exit::Well;
        }
    }
    refuse("the service has ended the stream")
}
