//! Windows that close for rows, where nobody tells anything for a long time: the alerts end, however the stream is cut.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use lapwing::cli::{Exit, run_with};

const RULES: &str = r#"
event beat { at timestamp  host string }
event other { at timestamp  host string }
list hosts of string
rule silent {
  by     host
  window 1h tumbling for hosts
  when   count(beat) == 0
}
rule busy {
  by     host
  match  o: other
  within 1h
}
"#;

const HOUR: i64 = 3_600_000;

/// How many alerts of the rule there are for each host, where other events flow or time leaps.
fn silent(name: &str, others: i64, threads: &str) -> [usize; 2] {
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(work.join("data")).expect("a writable folder");
    fs::write(work.join("rules.lap"), RULES).expect("a writable folder");
    fs::write(work.join("data/hosts.txt"), "a\nb\n").expect("a writable folder");
    let start = 400_000 * HOUR;
    let line = |ty: &str, at: i64| format!("{{\"type\":\"{ty}\",\"at\":{at},\"host\":\"a\"}}\n");
    let mut text = line("beat", start);
    for i in 1..=others {
        text += &line("other", start + i * 2_000 * HOUR / others);
    }
    text += &line("beat", start + 2_000 * HOUR + HOUR / 2);
    fs::write(work.join("stream.jsonl"), text).expect("a writable folder");
    let path = |file: &str| work.join(file).into_os_string();
    let (rules, input, output, data) = (path("rules.lap"), path("stream.jsonl"), path("alerts.jsonl"), path("data"));
    let arguments: [&dyn AsRef<OsStr>; 13] = [
        &"lapwing",
        &"run",
        &"--quiet",
        &"--rules",
        &rules,
        &"--input",
        &input,
        &"--output",
        &output,
        &"--data",
        &data,
        &"--threads",
        &threads,
    ];
    assert_eq!(run_with(arguments.iter().map(|a| (*a).as_ref().to_owned())), Exit::Well);
    let alerts = fs::read_to_string(&output).expect("alerts were written");
    let of = |host: &str| {
        let own = |l: &&str| l.contains("\"rule\":\"silent\"") && l.contains(&format!("{{\"host\":\"{host}\"}}"));
        alerts.lines().filter(own).count()
    };
    [of("a"), of("b")]
}

#[test]
fn rows_are_told_of_for_a_thousand_windows_after_the_last_event_that_counts() {
    // Of the first window host a had an event; of the one with the second event it had one too.
    let wanted = [999, 1_001];
    assert_eq!(silent("silent_leap", 1, "1"), wanted);
    assert_eq!(silent("silent_flow", 5_000, "1"), wanted);
    assert_eq!(silent("silent_threads", 5_000, "2"), wanted);
}
