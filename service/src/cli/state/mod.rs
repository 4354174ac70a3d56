//! `lapwing state`: looks into the saved state of a run or of a service, keeps and brings back copies, and takes one over to other rules.
//!
//! What is a service's is in `service`; all else here is a run's.

mod service;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lapwing_engine::order::Order;
use lapwing_engine::rule_set::RuleSet;
use serde_json::json;

use super::run::state::{Kept, Saved, encode, put};
use super::run::writer::{Writer, Written};
use super::{Exit, Format, compiled, contents, refuse, refuse_unfilled};
use crate::control::catalog::Catalog;
use crate::data::pipeline::{Options, Pipeline};
use crate::data::replace::replace;
use crate::tables::contents::Contents;

/// Arguments of `state`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Say what a state holds.
    Inspect {
        /// A folder of `run --state`, the `service.data` of a service, or a file that `state save` wrote.
        state: PathBuf,
        /// For whom to print.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Keep a copy of a state, once it was read and found whole.
    Save {
        /// The folder of `run --state`, or the `service.data` of a service that does not run.
        state: PathBuf,
        /// The file to write.
        #[arg(long)]
        to: PathBuf,
    },
    /// Bring a copy back: a run or a service that was stopped goes on from there.
    Restore {
        /// A file that `state save` wrote.
        saved: PathBuf,
        /// The folder of `run --state`, or the `service.data` of a service.
        #[arg(long)]
        to: PathBuf,
        /// Also where the folder holds a state, which is lost.
        #[arg(long)]
        force: bool,
    },
    /// Take a copy of a state over to other rules, which go on with what can be kept; the state itself stays as it is.
    Fork(Fork),
}

/// Arguments of `state fork`.
#[derive(clap::Args)]
struct Fork {
    /// A folder of `run --state`, the `service.data` of a service that does not run, or a file that `state save` wrote.
    state: PathBuf,
    /// The other rules: files, or folders of them.
    #[arg(long, required = true, num_args = 1..)]
    rules: Vec<PathBuf>,
    /// The folder with what lists and tables hold from here on; those of a service hold what they held.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The folder for the copy, to be given to `run --state`, or as `service.data` to a second service; it must not hold a state.
    #[arg(long)]
    to: PathBuf,
    /// The file for the alerts of the run that goes on, to be given to `run --output`: what the change itself lets go is written there. A service
    /// has none.
    #[arg(long)]
    output: Option<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Exit {
    let done = match &arguments.what {
        What::Inspect { state, format } if service::is_of(state) => service::inspect(state, *format),
        What::Inspect { state, format } => inspect(state, *format),
        What::Save { state, to } if service::is_of(state) => service::save(state, to),
        What::Save { state, to } => save(state, to),
        What::Restore { saved, to, force } if service::is_of(saved) => service::restore(saved, to, *force),
        What::Restore { saved, to, force } => restore(saved, to, *force),
        What::Fork(fork) if service::is_of(&fork.state) => return service::fork(fork),
        What::Fork(fork) => return fork.run(),
    };
    done.map_or_else(refuse, |()| Exit::Well)
}

fn load(path: &Path) -> Result<Kept, String> {
    Kept::read(path)?.ok_or_else(|| {
        format!(
            "there is no state: `{}` holds none; name a folder of `lapwing run --state`, the `service.data` of a service, or a file of `lapwing state save`",
            path.display()
        )
    })
}

/// A state as one file holds it.
fn whole(path: &Path) -> Result<Saved, String> {
    let kept = load(path)?;
    if kept.is_whole() {
        return Ok(kept.saved);
    }
    let Opened { saved, pipeline, .. } = open(kept, &Contents::default(), None)?;
    Ok(Saved { pipeline: pipeline.save(), ..saved })
}

fn save(state: &Path, to: &Path) -> Result<(), String> {
    let saved = whole(state)?;
    replace(to, &encode(&saved)).map_err(|e| format!("cannot write `{}`: {e}", to.display()))?;
    errln!("saved at line {}: {}", saved.lines, to.display());
    Ok(())
}

fn restore(from: &Path, to: &Path, force: bool) -> Result<(), String> {
    let saved = whole(from)?;
    put_into(&saved, to, force)?;
    errln!("restored at line {}: {}", saved.lines, to.display());
    Ok(())
}

/// Puts a state into a folder.
fn put_into(saved: &Saved, to: &Path, force: bool) -> Result<(), String> {
    if Kept::is_in(to) && !force {
        return Err(format!(
            "`{}` holds a state already: name another folder, or say --force to lose it",
            to.display()
        ));
    }
    if service::is_of(to) {
        return Err(format!(
            "`{}` is the folder of a service, and this the state of a run: name another folder",
            to.display()
        ));
    }
    put(saved, to).map_err(|e| format!("cannot write into `{}`: {e}", to.display()))
}

/// A state with the rule sets that it belongs to.
struct Opened {
    saved: Saved,
    catalog: Catalog,
    pipeline: Pipeline,
}

/// Makes the rule sets of a state from the texts kept with it, and the pipeline that it is of.
fn open(kept: Kept, contents: &Contents, now: Option<&Catalog>) -> Result<Opened, String> {
    let saved = &kept.saved;
    let empty = RuleSet::empty();
    let declared = now.map_or(&empty.schema, Catalog::schema);
    let (mut sets, catalog) = saved.story.told(contents, declared).map_err(|refusal| refusal.message)?;
    let live = sets.split_off(sets.len().saturating_sub(saved.generations as usize));
    let order = Pipeline::order_of(&saved.pipeline).map_err(|e| e.to_string())?;
    let options = Options { order, ..Options::default() };
    let sets = live.into_iter().map(Arc::new).collect();
    let pipeline = kept.load(sets, options)?;
    Ok(Opened { saved: kept.saved, catalog, pipeline })
}

fn inspect(path: &Path, format: Format) -> Result<(), String> {
    let kept = load(path)?;
    if kept.saved.story.is_empty() {
        return Err("it was saved by a version that did not keep the rules with the state: run it on with its rules once, and it will".to_owned());
    }
    let Opened { saved, catalog, pipeline } = open(kept, &Contents::default(), None)?;
    let (totals, runs) = (pipeline.totals(), pipeline.runs_by_rule());
    let count = |name: &str| runs.get(name).copied().unwrap_or(0);
    if format == Format::Json {
        let rules: Vec<_> = catalog
            .rules()
            .map(
                |(name, version, stage)| json!({"rule": name, "version": version, "stage": stage, "runs": count(name)}),
            )
            .collect();
        let report = json!({
            "lines": saved.lines, "bytes": saved.offset, "ended": saved.done, "alert_bytes": saved.written.alerts,
            "control_messages": saved.applied, "generation": catalog.generation(), "change_under_way": pipeline.is_changing(),
            "events": totals.events, "alerts": totals.alerts, "keys": pipeline.keys(), "rules": rules,
        });
        outln!("{report:#}");
        return Ok(());
    }
    let end = if saved.done { ", to the end of the input" } else { "" };
    outln!(
        "judged: {} lines ({} bytes){end}; {} events, {} alerts",
        saved.lines,
        saved.offset,
        totals.events,
        totals.alerts
    );
    let change = if pipeline.is_changing() { ", and a change waits for time to pass its place" } else { "" };
    outln!("generation {}, {} control messages{change}", catalog.generation(), saved.applied);
    outln!("keys with state: {}", pipeline.keys());
    for (name, version, stage) in catalog.rules() {
        outln!("  {name} version {version}, {}: {} runs", stage.as_str(), count(name));
    }
    Ok(())
}

impl Fork {
    fn run(&self) -> Exit {
        let rules = match compiled(&self.rules) {
            Ok(rules) => rules,
            Err(exit) => return exit,
        };
        let contents = match contents(self.data.as_deref(), &rules.loaded.schema) {
            Ok(contents) => contents,
            Err(exit) => return exit,
        };
        self.fork(&rules, contents).map_or_else(refuse, |()| Exit::Well)
    }

    fn fork(&self, rules: &crate::control::files::Rules, contents: Contents) -> Result<(), String> {
        let kept = load(&self.state)?;
        if kept.saved.done {
            return Err(
                "the input was judged to its end, which was the end of time: there is nothing to go on with".to_owned()
            );
        }
        if kept.saved.story.is_empty() {
            return Err("it was saved by a version that did not keep the rules with the state: run it on with its rules once, then fork it".to_owned());
        }
        if Kept::is_in(&self.to) {
            return Err(format!("`{}` holds a state already: name another folder", self.to.display()));
        }
        let output =
            self.output.as_deref().ok_or("--output is missing: the file for the alerts of the run that goes on")?;
        if output.exists() {
            return Err(format!(
                "`{}` is there already: name another file for the alerts of the fork",
                output.display()
            ));
        }
        let now = Catalog::new(rules, contents.clone()).map_err(|refusal| refusal.message)?;
        let Opened { mut saved, catalog, mut pipeline } = open(kept, &contents, Some(&now))?;
        let next = catalog.succeeded_by(rules, contents).map_err(|refusal| refusal.message)?;
        refuse_unfilled(&next, |_, _| false, false)?;
        saved.story.goes_on_with(rules);
        let mut writer = Writer::open(output, None, Written::default())?;
        let before: usize = pipeline.runs_by_rule().values().sum();
        pipeline.swap(Arc::new(next.rule_set()), &mut writer);
        let after: usize = pipeline.runs_by_rule().values().sum();
        saved.written = writer.sync().map_err(|e| format!("cannot write `{}`: {e}", output.display()))?;
        saved.applied = 0;
        saved.rules = next.digest();
        saved.generations = pipeline.generations().count() as u64;
        saved.pipeline = pipeline.save();
        put_into(&saved, &self.to, false)?;
        if pipeline.order() == Order::EventTime {
            errln!(
                "forked at line {}: the new rules judge events later than all that were read; until then {before} runs wait",
                saved.lines
            );
        } else {
            errln!("forked at line {}: of {before} runs {after} live on", saved.lines);
        }
        errln!(
            "go on with: lapwing run --rules … --input … --output {} --state {}",
            output.display(),
            self.to.display()
        );
        Ok(())
    }
}
