//! Hundreds of changes of rules, lists and tables by `lapwing run --control` over one stream: one thread, four threads and the naive matcher
//! agree, a message that is broken is refused and changes nothing, and a rule that nobody touched does what it does without any change.
//!
//! `LAPWING_CONTROL_SEEDS` says how many plans are tried; the default is one in each order of events.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lapwing_tests::engine::Change;
use lapwing_tests::onnx::Linear;
use lapwing_tests::random::control::{Plan, plan, plan_of_data};
use lapwing_tests::random::judge::{difference, naive, plain};
use serde_json::Value as Json;

const MESSAGES: usize = 500;
const EVENTS: usize = 1_500;

#[test]
fn five_hundred_changes_in_event_time() {
    many(false);
}

#[test]
fn five_hundred_changes_in_order_of_arrival() {
    many(true);
}

/// `LAPWING_CONTROL_SEED`: where to begin.
fn first_seed() -> u64 {
    std::env::var("LAPWING_CONTROL_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(2)
}

fn many(arrival: bool) {
    let plans: u64 = std::env::var("LAPWING_CONTROL_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    for seed in 0..plans {
        let seed = first_seed() + 2 * seed + u64::from(arrival);
        let plan = plan(seed, arrival, MESSAGES, EVENTS);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("control-{seed}-{}", std::process::id()));
        check(&plan, &folder);
        fs::remove_dir_all(&folder).expect("the test's folder can be removed");
    }
}

/// A thousand changes of lists and a thousand of tables over one stream, in each order of events.
#[test]
fn a_thousand_changes_of_lists_and_of_tables() {
    // Of the rules of some seeds none looks anything up that is changed.
    let mut told = [false; 2];
    for (seed, arrival) in (11..27).map(|seed| (seed, seed % 2 == 0)) {
        if told[usize::from(arrival)] {
            continue;
        }
        let plan = plan_of_data(seed, arrival, 1_000, 600);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("data-{seed}-{}", std::process::id()));
        let alerts = agree(&plan, &folder);
        assert!(alerts.len() >= 100, "{} alerts", alerts.len());
        let undisturbed = run(&plan, &folder, "undisturbed", &[], false);
        let bare = |alerts: &[Json]| alerts.iter().map(without_generation).collect::<Vec<_>>();
        told[usize::from(arrival)] |= bare(&alerts) != bare(&undisturbed);
        fs::remove_dir_all(&folder).expect("the test's folder can be removed");
    }
    assert_eq!(told, [true; 2], "the changes change something");
}

fn check(plan: &Plan, folder: &Path) {
    let one = agree(plan, folder);
    let undisturbed = run(plan, folder, "undisturbed", &[], false);
    let count = |sort: &str| plan.messages.iter().filter(|m| m.sort == sort).count();
    for sort in ["changed", "new", "new type", "removed", "stage", "put again", "data", "broken"] {
        assert!(count(sort) >= 2, "{} messages of the sort {sort}", count(sort));
    }
    let status = json_lines(&folder.join("one.status"));
    let diagnosed = status.iter().filter(|s| s["diagnostics"].as_array().is_some_and(|d| !d.is_empty())).count();
    assert!(diagnosed >= 12, "{diagnosed} refusals have diagnostics");
    let mut alerts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in &plan.untouched {
        let of = |alerts: &[Json]| -> Vec<Json> {
            alerts.iter().filter(|a| a["rule"] == **name).map(without_generation).collect()
        };
        assert_eq!(of(&one), of(&undisturbed), "{name}");
        alerts.insert(name, of(&one).len());
    }
    assert!(alerts.values().all(|n| *n >= 5), "{alerts:?}");
    let touched = one.len() - alerts.values().sum::<usize>();
    assert!(touched >= 100, "only {touched} alerts of rules that changed");
}

/// Runs a plan on one thread, on four and through the naive matcher; the alerts on which they agree.
fn agree(plan: &Plan, folder: &Path) -> Vec<Json> {
    fs::create_dir_all(folder).expect("a folder for the test can be made");
    let write =
        |name: &str, text: String| fs::write(folder.join(name), text).expect("the test's folder can be written");
    write("rules.lap", plan.case.text());
    write("events.jsonl", plan.case.lines().join("\n") + "\n");
    fs::create_dir_all(folder.join("data")).expect("a folder for the test can be made");
    for message in &plan.case.data {
        let name = message["name"].as_str().unwrap_or_default();
        if message["kind"] == "model" {
            let path = folder.join(format!("data/{name}.onnx"));
            fs::write(path, Linear::of(message).onnx()).expect("the test's folder can be written");
            continue;
        }
        let items = message.get("entries").or(message.get("rows")).expect("it says the whole");
        write(&format!("data/{name}.json"), items.to_string());
    }
    write("control.jsonl", plan.messages.iter().map(|m| format!("{}\n", m.json)).collect());
    let one = run(plan, folder, "one", &["--threads", "1"], true);
    let four = run(plan, folder, "four", &["--threads", "4"], true);
    assert!(fs::read(folder.join("one")).ok() == fs::read(folder.join("four")).ok(), "one thread and four differ");
    assert_eq!(one, four);

    let status = json_lines(&folder.join("one.status"));
    assert_eq!(status.len(), plan.messages.len());
    let mut generation = 1;
    for (message, status) in plan.messages.iter().zip(&status) {
        generation += u64::from(message.then.is_some());
        assert_eq!(message.then.is_none(), status.get("refused").is_some(), "{}\n{status}", message.json);
        assert_eq!(status["generation"].as_u64(), Some(generation), "{}\n{status}", message.json);
    }
    if one.iter().any(|a| a["exact"] == false) {
        // The naive matcher has no caps. The plans of every test run reach none.
        assert!(plan.case.seed > 1, "a cap bit");
        return one;
    }
    let changes: Vec<(usize, Change)> =
        plan.messages.iter().filter_map(|m| Some((m.at_line, m.then.clone()?))).collect();
    let (wanted, _) = naive(&plan.case, &plan.case.text(), &changes);
    let found: Vec<Json> = one.iter().map(plain).collect();
    if let Some(difference) = difference("naive", &wanted, "engine", &found) {
        panic!("seed {}: {difference}", plan.case.seed);
    }
    one
}

fn without_generation(alert: &Json) -> Json {
    let mut alert = alert.clone();
    alert.as_object_mut().and_then(|a| a.remove("ruleset"));
    alert
}

/// Runs the command in this process; its alerts.
fn run(plan: &Plan, folder: &Path, name: &str, more: &[&str], with_control: bool) -> Vec<Json> {
    let path = |name: &str| -> String { folder.join(name).display().to_string() };
    let order = if plan.case.arrival { "arrival" } else { "event-time" };
    let lateness = format!("{}ms", plan.case.lateness);
    let mut arguments: Vec<String> = ["lapwing", "run", "--quiet", "--order", order, "--lateness", &lateness]
        .into_iter()
        .chain(more.iter().copied())
        .map(str::to_owned)
        .collect();
    let output: PathBuf = folder.join(name);
    for (flag, file) in [("--rules", "rules.lap"), ("--data", "data"), ("--input", "events.jsonl"), ("--output", name)]
    {
        arguments.extend([flag.to_owned(), path(file)]);
    }
    if with_control {
        let status = path(&format!("{name}.status"));
        arguments.extend(["--control".to_owned(), path("control.jsonl"), "--status".to_owned(), status]);
    }
    assert_eq!(lapwing::cli::run_with(arguments), lapwing::cli::Exit::Well);
    json_lines(&output)
}

fn json_lines(path: &Path) -> Vec<Json> {
    let text = fs::read_to_string(path).expect("the run wrote it");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}
