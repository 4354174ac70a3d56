//! States of earlier formats load, and go on as if nothing had been between.
//!
//! `tests/state/format_N/run.state` is what `lapwing run --state` had saved somewhere within [`stream`], by the version that wrote that format. To
//! add one: `LAPWING_STREAM=FILE cargo test -p lapwing-tests --test whole formats` writes the stream; run it over `tests/state/rules.lap` with
//! `--order event-time --lateness 30s --save-every 0s`, stop it on the way, and keep the state.

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

/// Runs the rules over the stream, and gives the alerts.
fn run(work: &Path, name: &str, state: Option<&Path>) -> String {
    let output = work.join(name);
    let path = |p: &Path| p.display().to_string();
    let mut arguments: Vec<String> =
        ["lapwing", "run", "--quiet", "--lateness", "30s", "--rules"].map(str::to_owned).into();
    arguments.push(path(&folder().join("rules.lap")));
    arguments.extend(["--input".to_owned(), path(&work.join("stream.jsonl")), "--output".to_owned(), path(&output)]);
    arguments.extend(state.into_iter().flat_map(|state| ["--state".to_owned(), path(state)]));
    assert_eq!(run_with(arguments), Exit::Well, "{name}");
    fs::read_to_string(&output).expect("alerts were written")
}

#[test]
fn a_state_of_an_earlier_format_goes_on() {
    let stream = stream();
    if let Ok(path) = std::env::var("LAPWING_STREAM") {
        fs::write(path, &stream).expect("a writable place");
    }
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("formats");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).expect("a writable folder");
    fs::write(work.join("stream.jsonl"), &stream).expect("a writable folder");
    let whole = run(&work, "whole.jsonl", None);
    assert!(whole.lines().count() > 1_000);
    for rule in ["failures", "pair", "growing", "whole", "quiet", "every_way", "sums", "new_country"] {
        assert!(whole.contains(&format!("\"rule\":\"{rule}\"")), "{rule} raised nothing");
    }
    let formats =
        fs::read_dir(folder()).expect("the folder is there").map(|entry| entry.expect("a readable entry").path());
    let mut formats: Vec<PathBuf> = formats.filter(|path| path.is_dir()).collect();
    formats.sort();
    assert!(!formats.is_empty());
    for format in formats {
        let name = format.file_name().expect("a folder has a name").to_string_lossy().into_owned();
        let state = work.join(&name);
        fs::create_dir(&state).expect("a writable folder");
        fs::copy(format.join("run.state"), state.join("run.state")).expect("a readable state");
        // What was written when the state was saved is the beginning of the whole.
        fs::write(work.join("again.jsonl"), &whole).expect("a writable folder");
        let again = run(&work, "again.jsonl", Some(&state));
        assert!(again == whole, "{name}: other alerts");
    }
}
