//! `lapwing config`: shows the configuration, checks it, and describes it.

use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::{Exit, Format};
use crate::config::{Config, Fault, Loaded};

/// Arguments of `config`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Print each value and where it comes from; secrets are not shown.
    Show(Given),
    /// Say all that is wrong with the configuration.
    Check(Given),
    /// Print the JSON Schema of the file.
    Schema,
}

/// Where the configuration comes from; the environment (`LAPWING_ENGINE__THREADS=2`) lies between the two.
#[derive(clap::Args)]
pub struct Given {
    /// The file; without one, defaults.
    #[arg(long)]
    config: Option<PathBuf>,
    /// A value, put over file and environment: `engine.threads=2`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// For whom to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Given {
    /// Reads the configuration; where something is wrong, says so and gives the exit.
    pub fn load(&self) -> Result<Loaded, Exit> {
        let variables = std::env::vars_os();
        let variables =
            variables.map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
        Config::load(self.config.as_deref(), variables, &self.sets).map_err(|faults| self.refuse(&faults))
    }

    fn refuse(&self, faults: &[Fault]) -> Exit {
        match self.format {
            Format::Text => faults.iter().for_each(|fault| errln!("error: {fault}")),
            Format::Json => {
                let faults: Vec<Json> = faults
                    .iter()
                    .map(|fault| json!({"origin": fault.origin.to_string(), "message": fault.message}))
                    .collect();
                outln!("{:#}", Json::from(faults));
            }
        }
        Exit::Configuration
    }
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Exit {
    let done = match &arguments.what {
        What::Show(given) => given.load().map(|loaded| show(&loaded, given.format)),
        What::Check(given) => given.load().map(|loaded| check(&loaded, given.format)),
        What::Schema => {
            outln!("{:#}", Config::schema());
            Ok(())
        }
    };
    done.err().unwrap_or(Exit::Well)
}

fn show(loaded: &Loaded, format: Format) {
    let settings = &loaded.settings;
    if format == Format::Json {
        let settings = settings.iter().map(|s| json!({"key": s.key, "value": s.value, "origin": s.origin.to_string()}));
        outln!("{:#}", Json::from_iter(settings));
        return;
    }
    let lines: Vec<_> = settings.iter().map(|s| (format!("{} = {}", s.key, written(&s.value)), &s.origin)).collect();
    let width = lines.iter().map(|(text, _)| text.chars().count()).max().unwrap_or(0).min(60);
    lines.iter().for_each(|(text, origin)| outln!("{text:width$}  # {origin}"));
}

fn written(value: &Json) -> String {
    if value.is_null() { "none".to_owned() } else { value.to_string() }
}

fn check(loaded: &Loaded, format: Format) {
    match format {
        Format::Text => outln!("the configuration is well: {} values", loaded.settings.len()),
        Format::Json => outln!("[]"),
    }
}
