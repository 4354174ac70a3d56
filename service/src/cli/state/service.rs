//! `lapwing state` of the folder of a service, and of copies of it.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::Fork;
use crate::cli::remote::apply::tell_all;
use crate::cli::remote::rules_message;
use crate::cli::{Exit, Format, refuse};
use crate::control::plan::plan;
use crate::data::archive::{is_archive, unpack};
use crate::data::folder::{RESTORING, is_of_service};
use crate::serve::kept;
use crate::serve::kept::{Kept, change, copy, copy_out_of, refuse_filled};

/// Whether it is the folder of a service, or a copy of one.
pub fn is_of(path: &Path) -> bool {
    is_of_service(path) || path.join(RESTORING).is_dir() || is_archive(path)
}

/// What a folder holds, or a copy of one.
fn read(path: &Path) -> Result<Kept, String> {
    if path.is_dir() {
        return Kept::read(path);
    }
    let passing = std::env::temp_dir().join(format!("lapwing-state-{}", std::process::id()));
    let kept = unpack(path, &passing).and_then(|()| Kept::read(&passing));
    let _ = std::fs::remove_dir_all(&passing);
    kept
}

/// Says what a folder or a copy holds.
pub fn inspect(path: &Path, format: Format) -> Result<(), String> {
    let kept = read(path)?;
    match format {
        Format::Json => outln!("{:#}", as_json(&kept)),
        Format::Text => in_words(&kept),
    }
    Ok(())
}

fn as_json(kept: &Kept) -> Json {
    let (totals, runs) = (kept.pipeline.totals(), kept.pipeline.runs_by_rule());
    let rules: Vec<Json> = kept
        .catalog
        .rules()
        .map(|(name, version, stage)| {
            let runs = runs.get(name).copied().unwrap_or_default();
            json!({"rule": name, "version": version, "stage": stage, "runs": runs})
        })
        .collect();
    let partition =
        |(topic, partition, next): &(String, u16, u64)| json!({"topic": topic, "partition": partition, "next": next});
    let saved = kept.saved.as_ref().map(|saved| {
        let mut place = json!({"place": saved.place, "change": saved.applied});
        if kept.history.is_of_topic() {
            place["partitions"] = saved.positions.iter().map(partition).collect();
        }
        place
    });
    let log = kept.log.map(|log| {
        let progress = log.progress;
        json!({
            "oldest": log.oldest, "end": log.end, "judged": progress.judged, "lines": progress.lines, "epochs": progress.epoch,
            "alerts": progress.alerts,
        })
    });
    let bytes: serde_json::Map<String, Json> =
        kept.bytes.iter().map(|(name, n)| ((*name).to_owned(), json!(n))).collect();
    let last = kept.history.changes().last();
    json!({
        "format": kept.format, "log_of": if kept.history.is_of_topic() { "kafka" } else { "service" }, "in_use": kept.in_use,
        "generation": kept.catalog.generation(), "changes": kept.history.next() - 1, "last_change_at": last.map(|change| &change.at),
        "change_under_way": kept.pipeline.is_changing(), "saved": saved, "log": log, "events": totals.events, "alerts": totals.alerts,
        "keys": kept.pipeline.keys(), "rules": rules, "bytes": bytes,
    })
}

fn in_words(kept: &Kept) {
    let over = if kept.history.is_of_topic() { "Kafka" } else { "its own log" };
    let used = if kept.in_use { ", in use now" } else { "" };
    outln!("a service over {over}, format {}{used}", kept.format);
    let last = kept.history.changes().last().map_or("", |change| change.at.as_str());
    let change = if kept.pipeline.is_changing() { ", and a change waits for time to pass its place" } else { "" };
    outln!("generation {}, {} changes, the last at {last}{change}", kept.catalog.generation(), kept.history.next() - 1);
    match (&kept.saved, kept.history.is_of_topic()) {
        (None, _) => outln!("state: none was saved yet"),
        (Some(saved), false) => {
            outln!("state: saved at place {} of the log, behind change {}", saved.place, saved.applied)
        }
        (Some(saved), true) => {
            outln!("state: saved at offset {} of the journal, behind change {}", saved.place, saved.applied);
            for (topic, partition, next) in &saved.positions {
                outln!("  {topic}, partition {partition}: offset {next} is next");
            }
        }
    }
    if let Some(log) = kept.log {
        let (oldest, end, p) = (log.oldest, log.end, log.progress);
        outln!("log: from {oldest} to {end}, judged to {}; {} lines, {} alerts", p.judged, p.lines, p.alerts);
    }
    let totals = kept.pipeline.totals();
    outln!(
        "in the state: {} events, {} alerts; keys with state: {}",
        totals.events,
        totals.alerts,
        kept.pipeline.keys()
    );
    let runs = kept.pipeline.runs_by_rule();
    for (name, version, stage) in kept.catalog.rules() {
        outln!("  {name} version {version}, {}: {} runs", stage.as_str(), runs.get(name).copied().unwrap_or_default());
    }
    let bytes: Vec<String> = kept.bytes.iter().map(|(name, bytes)| format!("{name} {bytes}")).collect();
    outln!("bytes: {}", bytes.join(", "));
}

/// Keeps a copy in a file.
pub fn save(folder: &Path, to: &Path) -> Result<(), String> {
    if is_archive(folder) {
        return Err(format!("`{}` is a copy already: copy the file", folder.display()));
    }
    let (kept, length) = kept::save(folder, to)?;
    errln!("saved at generation {}, {length} bytes: {}", kept.catalog.generation(), to.display());
    Ok(())
}

/// Brings a copy back.
pub fn restore(saved: &Path, to: &Path, force: bool) -> Result<(), String> {
    if !is_archive(saved) {
        return Err(format!(
            "`{}` is the folder of a service: make a copy of it with `lapwing state save`, and restore that",
            saved.display()
        ));
    }
    kept::restore(saved, to, force)?;
    errln!("restored: {}", to.display());
    Ok(())
}

/// Takes a copy over to other rules.
pub fn fork(arguments: &Fork) -> Exit {
    let message = match rules_message(&arguments.rules) {
        Ok(mut message) => {
            message["reason"] = json!("state fork");
            message
        }
        Err(exit) => return exit,
    };
    try_fork(arguments, &message).map_or_else(refuse, |()| Exit::Well)
}

fn try_fork(arguments: &Fork, message: &Json) -> Result<(), String> {
    let Fork { state, to, data, output, .. } = arguments;
    for (flag, instead, given) in [
        (
            "--data",
            "its lists, tables and models hold what they held; change them with control messages",
            data.is_some(),
        ),
        ("--output", "its alerts are in its log", output.is_some()),
    ] {
        if given {
            return Err(format!("{flag} is for the state of `lapwing run`, and this is a service's: {instead}"));
        }
    }
    let kept = read(state)?;
    if kept.history.is_of_topic() {
        return Err(format!(
            "`{}` is of a service over Kafka, whose changes and places are in topics that a copy would share: a second service with a `kafka.group`, \
             control topic and journal of its own tries other rules on the same events",
            state.display()
        ));
    }
    refuse_filled(to)?;
    let text = message.to_string();
    let parsed = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let planned = plan(&kept.catalog, &parsed, &kept.pipeline.runs_by_rule()).map_err(|refusal| refusal.message)?;
    drop(kept);
    let copied = if state.is_dir() { copy(state, to) } else { copy_out_of(state, to) };
    let changed = copied.and_then(|()| change(to, &text));
    let changed = changed.inspect_err(|_| drop(std::fs::remove_dir_all(to)))?;
    tell_all(&json!(planned));
    match changed.change {
        Some(_) => errln!(
            "forked: in `{}` generation {} takes over behind all that was taken",
            to.display(),
            changed.generation
        ),
        None => errln!("forked: `{}` runs these rules already, and goes on with them", to.display()),
    }
    errln!("go on with: lapwing serve --config … --set service.data={} --set service.listen=…", to.display());
    Ok(())
}
