//! `lapwing run --state` is killed at random moments and started again: the output is that of an undisturbed run.
//!
//! `LAPWING_KILLS` says how often to kill; the default is a few times in every test run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/seed");
const EVENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/events.lap");

fn lapwing() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lapwing"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a folder for the test can be made");
    path
}

fn judge(input: &Path, control: &Path, output: &Path, order: &str) -> Command {
    let mut command = lapwing();
    command.args(["run", "--lateness", "2s", "--quiet", "--order", order, "--rules", EVENTS, RULES]);
    let dir = input.parent().expect("the input is in a folder");
    command.arg(dir.join("data.lap")).arg("--data").arg(dir.join("data"));
    command.arg("--input").arg(input).arg("--control").arg(control).arg("--output").arg(output);
    command.arg("--rejects").arg(output.with_extension("rejects"));
    command
}

/// SplitMix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 8
}

#[test]
fn killed_and_started_again_it_gives_the_same_output() {
    let kills: u64 = std::env::var("LAPWING_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let dir = folder("kill");
    let input = dir.join("events.jsonl");
    let mut generate = lapwing();
    generate.args([
        "generate",
        "--events",
        "60000",
        "--users",
        "2000",
        "--attacks",
        "0.002",
        "--disorder",
        "3s",
        "--seed",
        "5",
    ]);
    assert!(generate.arg("--output").arg(&input).status().expect("it starts").success());
    let control = dir.join("control.jsonl");
    let changed =
        "rule rising_withdrawals {\\n  by card\\n  match w: withdrawal{3} where amount > prev.amount\\n  within 1d\\n}";
    let rule = "list watched of cidr\ntable usual key user { amount float }\n\
        rule looked_up {\n  by user\n  match a: login where ip in watched then b: withdrawal where amount > usual[user].amount\n  within 1h\n}\n";
    fs::write(dir.join("data.lap"), rule).expect("a file can be written");
    fs::create_dir_all(dir.join("data")).expect("a folder can be made");
    fs::write(dir.join("data/watched.txt"), "10.0.0.0/26\n").expect("a file can be written");
    fs::write(dir.join("data/usual.csv"), "user,amount\nu0000001,100\nu0000002,200\n").expect("a file can be written");
    let mut messages = vec![
        format!(
            "{{\"op\":\"put\",\"kind\":\"rule\",\"name\":\"rising_withdrawals\",\"source\":\"{changed}\",\"at_line\":20000}}"
        ),
        "{\"op\":\"stage\",\"kind\":\"rule\",\"name\":\"mass_sharing\",\"stage\":\"paused\",\"at_line\":30000}"
            .to_owned(),
        "{\"op\":\"put\",\"kind\":\"rule\",\"name\":\"broken\",\"source\":\"rule broken {\",\"at_line\":30000}"
            .to_owned(),
        "{\"op\":\"stage\",\"kind\":\"rule\",\"name\":\"mass_sharing\",\"stage\":\"live\",\"at_line\":40001}"
            .to_owned(),
    ];
    // A change of the list and one of the table every few hundred lines; some are refused.
    for i in 0..200u64 {
        let (at, n) = (i * 300, i % 64);
        let entry = if i % 11 == 0 { "nowhere".to_owned() } else { format!("10.0.{}.{n}", i % 3) };
        let until = 1_760_000_000_000 + i * 400;
        messages.push(format!(
            "{{\"op\":\"put\",\"kind\":\"list\",\"name\":\"watched\",\"add\":[{{\"value\":\"{entry}\",\"until\":{until}}}],\"remove\":[\"10.0.0.{n}/32\"],\"at_line\":{at}}}"
        ));
        messages.push(format!(
            "{{\"op\":\"put\",\"kind\":\"table\",\"name\":\"usual\",\"upsert\":[{{\"user\":\"u{n:07}\",\"amount\":{}}}],\"remove\":[\"u{:07}\"],\"at_line\":{at}}}",
            i * 3,
            (n + 7) % 64
        ));
    }
    let line =
        |message: &String| message.rsplit_once(':').and_then(|(_, n)| n.trim_end_matches('}').parse::<u64>().ok());
    messages.sort_by_key(line);
    fs::write(&control, messages.join("\n")).expect("the control file can be written");
    let mut seed = 7;
    for order in ["event-time", "arrival"] {
        let whole = dir.join(format!("{order}.whole.jsonl"));
        assert!(judge(&input, &control, &whole, order).status().expect("it starts").success());
        let expected = fs::read(&whole).expect("there is an output");
        assert!(expected.len() > 10_000, "the stream gives alerts");
        let text = String::from_utf8_lossy(&expected);
        assert!(text.matches("\"rule\":\"looked_up\"").count() > 50, "the list and the table give alerts");
        let mut killed = 0;
        let mut round = 0;
        while killed < kills / 2 {
            round += 1;
            let output = dir.join(format!("{order}.{round}.jsonl"));
            let state = dir.join(format!("{order}.{round}.state"));
            loop {
                let mut command = judge(&input, &control, &output, order);
                command.arg("--state").arg(&state).args(["--save-every", "0s"]);
                command.args(["--threads", if random(&mut seed).is_multiple_of(2) { "1" } else { "3" }]);
                // Nearly nothing, little, or all in memory.
                match random(&mut seed) % 3 {
                    0 => drop(command.args(["--memory", "16KiB"])),
                    1 => drop(command.args(["--memory", "1MiB"])),
                    _ => {}
                }
                let said = output.with_extension("stderr");
                command.stderr(fs::File::create(&said).expect("a file can be made"));
                let mut child = command.spawn().expect("it starts");
                std::thread::sleep(Duration::from_millis(20 + random(&mut seed) % 400));
                if let Some(status) = child.try_wait().expect("it can be asked") {
                    assert!(status.success(), "{command:?}: {}", fs::read_to_string(&said).unwrap_or_default());
                    break;
                }
                child.kill().expect("it can be killed");
                child.wait().expect("it ends");
                killed += 1;
            }
            assert!(fs::read(&output).expect("there is an output") == expected, "round {round} differs");
            let rejects = |path: &Path| fs::read(path.with_extension("rejects")).expect("there are rejected lines");
            assert!(rejects(&output) == rejects(&whole), "rejected lines of round {round} differ");
        }
    }
}

#[test]
fn a_state_folder_refuses_what_cannot_be_taken_back() {
    let dir = folder("state");
    let input = dir.join("events.jsonl");
    fs::write(&input, "").expect("a file can be written");
    let run = |input: &str, output: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lapwing"));
        command.args(["run", "--rules", EVENTS, RULES, "--input", input, "--output", output]);
        command.arg("--state").arg(dir.join("s")).stdin(Stdio::null());
        let output = command.output().expect("it starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = run(input.to_str().expect("a plain path"), "-");
    assert_eq!((code, text.contains("output file")), (Some(3), true), "{text}");
    let out = dir.join("out.jsonl");
    let (code, text) = run("-", out.to_str().expect("a plain path"));
    assert_eq!((code, text.contains("input file")), (Some(3), true), "{text}");
    fs::create_dir_all(dir.join("s")).expect("a folder can be made");
    fs::write(dir.join("s/run.state"), b"LAPWING\0\xff\xff damaged").expect("a file can be written");
    let (code, text) = run(input.to_str().expect("a plain path"), out.to_str().expect("a plain path"));
    assert_eq!(code, Some(3), "{text}");
}
