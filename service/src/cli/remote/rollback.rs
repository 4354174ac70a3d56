//! `lapwing rollback`: an earlier version of a rule in force again.

use serde_json::json;

use super::{Api, Made};
use crate::cli::{Exit, refuse};

/// Arguments of `rollback`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The rule.
    rule: String,
    /// The version that is to be in force; where it is left out, the one before that in force.
    #[arg(long)]
    to: Option<u64>,
    #[command(flatten)]
    api: Api,
    #[command(flatten)]
    made: Made,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Exit {
    match arguments.roll_back() {
        Ok(said) => {
            outln!("{said}");
            Exit::Well
        }
        Err(message) => refuse(message),
    }
}

impl Arguments {
    fn roll_back(&self) -> Result<String, String> {
        let name = &self.rule;
        let to = match self.to {
            Some(to) => to,
            None => self.one_before()?,
        };
        let mut message = json!({"op": "stage", "kind": "rule", "name": name, "version": to, "stage": "live"});
        self.made.put_into(&mut message);
        let done = self.api.post("/v1/control", &message)?;
        Ok(format!("`{name}` version {to} is live again: generation {} takes over", done["generation"]))
    }

    /// The version before the one in force.
    fn one_before(&self) -> Result<u64, String> {
        let catalog = self.api.get("/v1/catalog")?;
        let rules = catalog["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
        let names = rules.iter().filter_map(|rule| rule["name"].as_str());
        let Some(rule) = rules.iter().find(|rule| rule["name"] == self.rule.as_str()) else {
            let near = lapwing_dsl::diagnostics::nearest(&self.rule, names);
            let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            return Err(format!("there is no rule `{}`{hint}", self.rule));
        };
        let now = rule["version"].as_u64().unwrap_or_default();
        let versions = rule["versions"].as_array().into_iter().flatten().filter_map(|v| v["version"].as_u64());
        let before = versions.filter(|version| *version < now).max();
        before.ok_or_else(|| format!("`{}` has no version before {now}", self.rule))
    }
}
