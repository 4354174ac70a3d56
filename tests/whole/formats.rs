//! States of earlier formats, and of the present one, load and go on as if nothing had been between.
//!
//! `tests/state/format_N/run.state` is what `lapwing run --state` had saved somewhere within [`stream`], by the version that wrote that format. To
//! add one: `LAPWING_STREAM=FILE cargo test -p lapwing-tests --test whole formats` writes the stream; run it over `tests/state/rules.lap` and
//! `tests/state/processing.lap` with `--order event-time --lateness 30s --save-every 0s`, kill it on the way, and keep what `lapwing state save` makes.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use lapwing::cli::{Exit, run_with};

/// Logins and payments of a few users, one every five seconds, some of them late: always the same.
fn stream() -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut below = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut text = String::new();
    for i in 0..28_000u64 {
        let at = 1_700_000_000_000 + i * 5_000 - below(20) * 1_000;
        let user = below(7);
        if below(2) == 0 {
            let country = ["FR", "DE", "IT"][below(3) as usize];
            let (ip, ok) = (below(4), below(3) == 0);
            text += &format!(
                "{{\"type\":\"login\",\"at\":{at},\"user\":\"user {user}\",\"ip\":\"10.0.0.{ip}\",\"ok\":{ok},\"country\":\"{country}\"}}\n"
            );
        } else {
            let (card, amount, points) = (below(5), below(1_000), below(10));
            text += &format!(
                "{{\"type\":\"pay\",\"at\":{at},\"user\":\"user {user}\",\"card\":\"card {card}\",\"amount\":{}.{},\"points\":{points}}}\n",
                amount / 10,
                amount % 10
            );
        }
    }
    text
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("state")
}

/// A folder of a test's own, with the stream.
fn workplace(name: &str) -> PathBuf {
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).expect("a writable folder");
    fs::write(work.join("stream.jsonl"), stream()).expect("a writable folder");
    work
}

fn lapwing(arguments: &[&dyn AsRef<OsStr>]) -> Exit {
    run_with(std::iter::once(OsStr::new("lapwing")).chain(arguments.iter().map(|a| (*a).as_ref())).map(OsStr::to_owned))
}

/// The rules that a format knew: those by processing time came with the eighth.
fn rules_of(format: u32) -> Vec<PathBuf> {
    let files: &[&str] = if format < 8 { &["rules.lap"] } else { &["rules.lap", "processing.lap"] };
    files.iter().map(|file| folder().join(file)).collect()
}

/// Runs rules over the stream, and gives the alerts.
fn run(work: &Path, rules: &[PathBuf], name: &str, state: Option<&Path>) -> String {
    let (input, output) = (work.join("stream.jsonl"), work.join(name));
    let mut arguments: Vec<&dyn AsRef<OsStr>> = vec![&"run", &"--quiet", &"--lateness", &"30s", &"--rules"];
    arguments.extend(rules.iter().map(|file| file as &dyn AsRef<OsStr>));
    arguments.extend([&"--input" as &dyn AsRef<OsStr>, &input, &"--output", &output]);
    if let Some(state) = &state {
        arguments.extend([&"--state" as &dyn AsRef<OsStr>, state]);
    }
    assert_eq!(lapwing(&arguments), Exit::Well, "{name}");
    fs::read_to_string(&output).expect("alerts were written")
}

fn of_rule<'a>(alerts: &'a str, rule: &str) -> Vec<&'a str> {
    alerts.lines().filter(|line| line.contains(&format!("\"rule\":\"{rule}\""))).collect()
}

#[test]
fn a_state_of_an_earlier_format_goes_on() {
    if let Ok(path) = std::env::var("LAPWING_STREAM") {
        fs::write(path, stream()).expect("a writable place");
    }
    let work = workplace("formats");
    let whole_of = |format| run(&work, &rules_of(format), "whole.jsonl", None);
    let (before, whole) = (whole_of(7), whole_of(8));
    assert!(before.lines().count() > 1_000);
    let by_event_time = ["failures", "pair", "growing", "whole", "quiet", "every_way", "sums", "new_country"];
    for rule in by_event_time.iter().chain(&["burst", "no_more", "often"]) {
        assert!(!of_rule(&whole, rule).is_empty(), "{rule} raised nothing");
    }
    let formats = fs::read_dir(folder()).expect("the folder is there");
    let mut formats: Vec<PathBuf> = formats.map(|entry| entry.expect("a readable entry").path()).collect();
    formats.retain(|path| path.is_dir());
    formats.sort();
    assert!(formats.len() >= 2);
    for format in formats {
        let name = format.file_name().expect("a folder has a name").to_string_lossy().into_owned();
        let number =
            name.strip_prefix("format_").and_then(|number| number.parse().ok()).expect("a format has a number");
        let whole = if number < 8 { &before } else { &whole };
        let state = work.join(&name);
        // A copy is brought back, and goes on.
        assert_eq!(lapwing(&[&"state", &"restore", &format, &"--to", &state]), Exit::Well);
        assert_eq!(lapwing(&[&"state", &"restore", &format, &"--to", &state]), Exit::Configuration, "not over another");
        assert_eq!(lapwing(&[&"state", &"restore", &format, &"--to", &state, &"--force"]), Exit::Well);
        // What was written when the state was saved is the beginning of the whole.
        fs::write(work.join("again.jsonl"), whole).expect("a writable folder");
        let again = run(&work, &rules_of(number), "again.jsonl", Some(&state));
        assert!(again == *whole, "{name}: other alerts");
    }
}

/// A second rule set goes on from a copy of a state: what it says the same goes on the same, and the first run does not notice.
#[test]
fn a_fork_goes_on_with_other_rules() {
    let work = workplace("fork");
    let first = folder().join("format_5");
    let text = fs::read_to_string(folder().join("rules.lap")).expect("the rules");
    let (old, new) = (folder().join("rules.lap"), work.join("new.lap"));
    let changed = text.replace("login{4} where not ok", "login{3} where not ok");
    assert_ne!(changed, text);
    fs::write(&new, &changed).expect("a writable folder");
    let (state, output) = (work.join("forked"), work.join("new.jsonl"));
    let fork = |to: &Path| lapwing(&[&"state", &"fork", &first, &"--rules", &new, &"--to", &to, &"--output", &output]);
    assert_eq!(fork(&state), Exit::Well);
    assert_eq!(fork(&work.join("other")), Exit::Configuration, "the output is there already");
    assert_eq!(lapwing(&[&"state", &"inspect", &state, &"--format", &"json"]), Exit::Well);
    let whole = run(&work, std::slice::from_ref(&old), "whole.jsonl", None);
    let forked = run(&work, std::slice::from_ref(&new), "new.jsonl", Some(&state));
    let judged = run(&work, std::slice::from_ref(&new), "all_new.jsonl", None);
    // Rules that say the same raise what they would have, from the place of the state on; but the generation is another.
    let plain = |line: &&str| line.replace("\"ruleset\":2", "\"ruleset\":1");
    for rule in ["pair", "growing", "whole", "quiet", "every_way", "sums", "new_country"] {
        let (all, rest) = (of_rule(&whole, rule), of_rule(&forked, rule));
        let rest: Vec<String> = rest.iter().map(plain).collect();
        assert!(!rest.is_empty() && rest.len() <= all.len(), "{rule}: {} of {}", rest.len(), all.len());
        assert!(rest.iter().zip(&all[all.len() - rest.len()..]).all(|(a, b)| a == b), "{rule} goes on as before");
    }
    // The changed one raises in the end what it raises where it judged from the start, as version 2.
    let (all, rest) = (of_rule(&judged, "failures"), of_rule(&forked, "failures"));
    let evidence = |line: &str| line.split("\"evidence\":").nth(1).map(str::to_owned);
    let last = |lines: &[&str]| lines.iter().rev().take(20).map(|l| evidence(l)).collect::<Vec<_>>();
    assert_eq!(last(&rest), last(&all));
    assert!(rest.last().is_some_and(|line| line.contains("\"version\":2")));
    // It is stopped and goes on by the new rules alone; under the old ones it is refused.
    fs::write(work.join("more.jsonl"), "").expect("a writable folder");
    let again = lapwing(&[
        &"run",
        &"--rules",
        &old,
        &"--input",
        &work.join("stream.jsonl"),
        &"--output",
        &work.join("more.jsonl"),
        &"--state",
        &state,
    ]);
    assert_eq!(again, Exit::Configuration);
}
