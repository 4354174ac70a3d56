//! `lapwing plan` and `lapwing apply`: a folder of rules in place of those that a service runs.

use std::path::PathBuf;

use serde_json::Value as Json;

use super::{Api, Made, rules_message};
use crate::cli::{Exit, Format, refuse};

/// Arguments of `plan`.
#[derive(clap::Args)]
pub struct Plan {
    /// Rule files, or folders of them: all rules that the service is to have.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    api: Api,
    /// For whom to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Arguments of `apply`.
#[derive(clap::Args)]
pub struct Apply {
    #[command(flatten)]
    plan: Plan,
    #[command(flatten)]
    made: Made,
}

/// Runs `plan`.
pub fn plan(arguments: &Plan) -> Exit {
    match rules_message(&arguments.paths) {
        Ok(message) => arguments.tell(&message).map_or_else(refuse, |_| Exit::Well),
        Err(exit) => exit,
    }
}

/// Runs `apply`.
pub fn apply(arguments: &Apply) -> Exit {
    let Apply { plan, made } = arguments;
    let mut message = match rules_message(&plan.paths) {
        Ok(message) => message,
        Err(exit) => return exit,
    };
    made.put_into(&mut message);
    let done = plan.tell(&message).and_then(|_| plan.api.post("/v1/control", &message));
    match done {
        Ok(done) => {
            match plan.format {
                Format::Json => outln!("{done:#}"),
                Format::Text if done["changed"] == true => outln!("generation {} takes over", done["generation"]),
                Format::Text => {}
            }
            Exit::Well
        }
        Err(message) => refuse(message),
    }
}

impl Plan {
    /// Says what the message would do.
    fn tell(&self, message: &Json) -> Result<(), String> {
        let plan = self.api.post("/v1/plan", message)?;
        let rules = plan["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
        match self.format {
            Format::Json => outln!("{plan:#}"),
            Format::Text if rules.is_empty() => {
                outln!("nothing changes: the service runs these rules, generation {}", plan["generation"])
            }
            Format::Text => rules.iter().for_each(tell),
        }
        Ok(())
    }
}

/// Says what becomes of a rule.
fn tell(planned: &Json) {
    let at = |at: &Json| format!("version {} {}", at["version"], at["stage"].as_str().unwrap_or_default());
    let versions = match (&planned["from"], &planned["to"]) {
        (Json::Null, to) => at(to),
        (from, Json::Null) => format!("{} goes", at(from)),
        (from, to) if from == to => at(to),
        (from, to) => format!("{} → {}", at(from), at(to)),
    };
    outln!("{}: {versions}", planned["rule"].as_str().unwrap_or_default());
    if let Some(runs) = planned["runs"].as_str() {
        let live = match planned["live_runs"].as_u64() {
            None | Some(0) => String::new(),
            Some(1) => " (1 run lives now)".to_owned(),
            Some(n) => format!(" ({n} runs live now)"),
        };
        outln!("    {runs}{live}");
    }
    planned["details"].as_array().into_iter().flatten().filter_map(Json::as_str).for_each(|d| outln!("    {d}"));
}
