//! The commands. Each parses its arguments, does its work through the library, and ends with an [`Exit`].

#![warn(clippy::print_stdout, clippy::print_stderr, reason = "`print` is the one place that prints")]

#[macro_use]
mod print;

mod bench;
mod check;
mod config;
mod demo;
mod explain;
mod fmt;
mod generate;
mod remote;
pub mod run;
mod schema;
mod serve;
mod state;
mod test;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand, ValueEnum};
use lapwing_dsl::schema::Schema;
use lapwing_engine::rule_set::RuleSet;

use crate::config::units::duration;
use crate::control::catalog::Catalog;
use crate::control::files::Rules;
use crate::control::message::Kind;
use crate::tables::contents::Contents;
use crate::tables::folder;

/// Rules over event streams: alerts from patterns in time.
#[derive(Parser)]
#[command(name = "lapwing", version, about, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Judge a stream of JSON lines and write the alerts as JSON lines.
    Run(run::Arguments),
    /// Take events in by HTTP, judge them and stream alerts, until it is told to end.
    Serve(serve::Arguments),
    /// Compile rules and say what is wrong with them.
    Check(check::Arguments),
    /// Lay rule files out in the one canonical way.
    Fmt(fmt::Arguments),
    /// Say what rules do: in words, as a plan, as a picture of the automaton.
    Explain(explain::Arguments),
    /// Run the tests that stand beside rules.
    Test(test::Arguments),
    /// Judge a generated stream with the seed rules and show alerts.
    Demo(demo::Arguments),
    /// Write a seeded stream of logins, shares and withdrawals with planted attacks.
    Generate(generate::Arguments),
    /// Time rules on a file held in memory.
    Bench(bench::Arguments),
    /// Say what a folder of rules would do to a running service.
    Plan(remote::apply::Plan),
    /// Put a folder of rules in place of those that a running service has.
    Apply(remote::apply::Apply),
    /// Show what a folder of rules says otherwise than a running service.
    Diff(remote::diff::Arguments),
    /// Write the rules of a running service to files.
    Export(remote::export::Arguments),
    /// Put an earlier version of a rule in force again.
    Rollback(remote::rollback::Arguments),
    /// List all changes of a running service's rules, lists, tables and models.
    History(remote::history::Arguments),
    /// Make tokens for those who use a running service, list them, take them back.
    Token(remote::token::Arguments),
    /// Show who changed what, and look whether the record of it is what was written.
    Audit(remote::audit::Arguments),
    /// Show the alerts of a running service as they come.
    Tail(remote::tail::Arguments),
    /// List the lines that a running service took and that gave no event, show them, put them in again.
    Dlq(remote::dlq::Arguments),
    /// Look into a saved state, keep and bring back copies, take one over to other rules.
    State(state::Arguments),
    /// Show the configuration of the service, check it, describe it.
    Config(config::Arguments),
    /// Print the JSON Schema of what leaves.
    Schema(schema::Arguments),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Well.
    Well = 0,
    /// With findings: a test failed, a warning under `--strict`, a file not formatted.
    Findings = 1,
    /// A rule does not compile.
    DoesNotCompile = 2,
    /// Configuration or connection.
    Configuration = 3,
}

/// For whom a command prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A person.
    #[default]
    Text,
    /// A program.
    Json,
}

/// Runs the command of this process's arguments.
pub fn main() -> ExitCode {
    ExitCode::from(run_with(std::env::args_os()) as u8)
}

/// Runs the command of some arguments, the first of which is the program's name.
pub fn run_with(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Exit {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Configuration } else { Exit::Well };
        }
    };
    match arguments.command {
        Command::Run(a) => run::run(&a),
        Command::Serve(a) => serve::run(&a),
        Command::Check(a) => check::check(&a),
        Command::Fmt(a) => fmt::fmt(&a),
        Command::Explain(a) => explain::run(&a),
        Command::Test(a) => test::run(&a),
        Command::Demo(a) => demo::run(&a),
        Command::Generate(a) => generate::run(&a),
        Command::Bench(a) => bench::run(&a),
        Command::Plan(a) => remote::apply::plan(&a),
        Command::Apply(a) => remote::apply::apply(&a),
        Command::Diff(a) => remote::diff::run(&a),
        Command::Export(a) => remote::export::run(&a),
        Command::Rollback(a) => remote::rollback::run(&a),
        Command::History(a) => remote::history::run(&a),
        Command::Token(a) => remote::token::run(&a),
        Command::Audit(a) => remote::audit::run(&a),
        Command::Tail(a) => remote::tail::run(&a),
        Command::Dlq(a) => remote::dlq::run(&a),
        Command::State(a) => state::run(&a),
        Command::Config(a) => config::run(&a),
        Command::Schema(a) => schema::run(&a),
    }
}

/// Prints a sentence about a failure of the outside world and ends with [`Exit::Configuration`].
fn refuse(message: impl std::fmt::Display) -> Exit {
    errln!("error: {message}");
    Exit::Configuration
}

/// Reads and compiles rules; on errors prints them and gives the exit.
fn compiled(paths: &[PathBuf]) -> Result<Rules, Exit> {
    let rules = crate::control::files::read(paths).map_err(refuse)?;
    if rules.compiles() {
        return Ok(rules);
    }
    check::print_findings(&rules, Format::Text);
    Err(Exit::DoesNotCompile)
}

/// Reads the folder of `--data` for the declared lists and tables; where something is wrong with it, says so and gives the exit.
fn contents(data: Option<&Path>, schema: &Schema) -> Result<Contents, Exit> {
    let Some(folder) = data else { return Ok(Contents::default()) };
    folder::read(folder, schema).map_err(|mistakes| {
        mistakes.iter().for_each(|mistake| errln!("error: {mistake}"));
        Exit::Configuration
    })
}

/// The rule set of rules whose lists and tables the folder of --data alone fills. What is wrong has been said.
fn filled_rule_set(rules: &Rules, data: Option<&Path>) -> Result<Arc<RuleSet>, Exit> {
    let contents = contents(data, &rules.loaded.schema)?;
    let catalog = Catalog::new(rules, contents).map_err(|refusal| refuse(refusal.message))?;
    refuse_unfilled(&catalog, |_, _| false, false).map_err(refuse)?;
    Ok(Arc::new(catalog.rule_set()))
}

/// Refuses to run rules that read a list or a table which nothing fills: not a file, and not what `comes` says comes later.
fn refuse_unfilled(catalog: &Catalog, comes: impl Fn(Kind, &str) -> bool, control: bool) -> Result<(), String> {
    if let Some(rule) = catalog.without_places() {
        return Err(format!(
            "rule `{rule}` asks `geoip`, and there is no database of places: put a file in MaxMind's format, such as `GeoLite2-City.mmdb`, into \
             the folder of --data"
        ));
    }
    let unfilled = catalog.unfilled();
    let Some((kind, name, rule)) = unfilled.into_iter().find(|(kind, name, _)| !comes(*kind, name)) else {
        return Ok(());
    };
    let (kind, files) = match kind {
        Kind::List => ("reads the list", format!("`{name}.txt`, `{name}.csv` or `{name}.json`")),
        Kind::Model => ("asks the model", format!("`{name}.onnx`")),
        _ => ("reads the table", format!("`{name}.csv` or `{name}.json`")),
    };
    let or = if control { ", or let a message of --control put it" } else { "" };
    Err(format!("rule `{rule}` {kind} `{name}`, which has no data: put {files} into the folder of --data{or}"))
}
