//! `lapwing plan` and `lapwing apply`: a folder of rules in place of those that a service runs.

use std::path::PathBuf;

use serde_json::Value as Json;

use super::models::{ModelFile, Read};
use super::{Api, Made, message_of, rules_message};
use crate::cli::{Exit, Format, compiled, refuse};

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
    /// A model that the service is to have live once the rules are in force, and its file. May be given more than once.
    #[arg(long = "model", value_name = "NAME=FILE", value_parser = ModelFile::parse)]
    models: Vec<ModelFile>,
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
    let Apply { plan, models, made } = arguments;
    let rules = match compiled(&plan.paths) {
        Ok(rules) => rules,
        Err(exit) => return exit,
    };
    // What is wrong with a file is told before anything has changed.
    let models: Result<Vec<Read>, String> = models.iter().map(|model| model.read(&rules.loaded.schema)).collect();
    let mut message = message_of(&rules, &plan.paths);
    made.put_into(&mut message);
    let done = models.and_then(|models| {
        plan.tell(&message)?;
        plan.tell_done("", &plan.api.post("/v1/control", &message)?);
        for model in &models {
            match model.put(&plan.api, made)? {
                Some(done) => plan.tell_done(&format!("model {}: ", model.name()), &done),
                None if plan.format == Format::Text => outln!("model {}: that file is live already", model.name()),
                None => {}
            }
        }
        Ok(())
    });
    done.map_or_else(refuse, |()| Exit::Well)
}

impl Plan {
    /// Says what has changed.
    fn tell_done(&self, what: &str, done: &Json) {
        match self.format {
            Format::Json => outln!("{done:#}"),
            Format::Text if done["changed"] == true => outln!("{what}generation {} takes over", done["generation"]),
            Format::Text => {}
        }
    }

    /// Says what the message would do.
    fn tell(&self, message: &Json) -> Result<(), String> {
        let plan = self.api.post("/v1/plan", message)?;
        let rules = plan["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
        match self.format {
            Format::Json => outln!("{plan:#}"),
            Format::Text if rules.is_empty() => {
                outln!("nothing changes: the service runs these rules, generation {}", plan["generation"])
            }
            Format::Text => tell_all(&plan),
        }
        Ok(())
    }
}

/// Says what a change does.
pub fn tell_all(plan: &Json) {
    plan["rules"].as_array().into_iter().flatten().for_each(tell);
    for read in plan["readers"].as_array().into_iter().flatten() {
        let names = |member: &str| {
            let names: Vec<&str> = read[member].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
            names.join(", ")
        };
        let (by, no_longer) = (names("rules"), names("no_longer"));
        let by = if by.is_empty() { "no live rule".to_owned() } else { by };
        let no_longer = if no_longer.is_empty() { no_longer } else { format!("; no longer by {no_longer}") };
        let word = |member: &str| read[member].as_str().unwrap_or_default();
        outln!("{} {}: read by {by}{no_longer}", word("kind"), word("name"));
    }
    let worst = &plan["worst"];
    outln!("all rules, for one key at worst: {} → {}", worst_of(&worst["before"]), worst_of(&worst["after"]));
}

/// What is held at worst, in words.
fn worst_of(worst: &Json) -> String {
    let beside = if worst["bounded"] == false { " and what repetitions without end bind" } else { "" };
    match worst["bytes"].as_u64() {
        Some(bytes) => format!("{bytes} bytes{beside}"),
        None => "nothing".to_owned(),
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
    let worst = &planned["worst"];
    if worst["before"] != worst["after"] {
        outln!("    for one key at worst: {} → {}", worst_of(&worst["before"]), worst_of(&worst["after"]));
    }
}
