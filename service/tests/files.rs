//! Files as input of the embedded log: each line is judged once, however often the service is killed while they grow.

mod service;

use std::fs::{self, OpenOptions};
use std::io::Write;

use serde_json::json;

use service::{DEADLINE, Service, command, folder, random, run_on, stream};

const RULES: [&str; 2] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/events.lap"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/seed"),
];

#[test]
fn each_line_is_judged_once_over_kills() {
    let kills: usize = std::env::var("LAPWING_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    let root = folder("files");
    let (data, input) = (root.join("data"), root.join("in"));
    fs::create_dir_all(&input).expect("a folder can be made");
    let lines = stream(&root.join("events"), 8_000);
    let expected = run_on(&root.join("events"), &[], &RULES);
    let source = format!("log.source.0.path={}", input.display());
    let sets = [
        &source,
        "engine.lateness=2s",
        "engine.idle_after=1d",
        "epoch.every=20ms",
        "save.every=100ms",
        "log.segment_bytes=1MiB",
    ];
    let mut seed = 11;
    let mut parts = lines.chunks(lines.len().div_ceil(kills + 1));
    let mut killed = 0;
    loop {
        let part = parts.next();
        let mut command = command(&data, &RULES, &sets);
        if part.is_some() {
            // It ends before or behind an append, whenever that is.
            let place = ["file-kept", "file-taken", "log-write", "log-sync"][random(&mut seed) as usize % 4];
            command.env("FAILPOINTS", format!("{place}={}*off->return(kill)", random(&mut seed) % 6));
        }
        let mut service = match Service::start(&mut command) {
            Ok(service) => service,
            Err(_) => {
                killed += 1;
                Service::start(&mut self::command(&data, &RULES, &sets)).expect("it starts")
            }
        };
        let Some(part) = part else {
            let alerts = service.alerts("earliest", |alerts| alerts.len() >= expected.len());
            let found: Vec<_> = alerts.into_iter().map(|(_, alert)| alert).collect();
            assert!(found == expected, "{} alerts, and {} are right", found.len(), expected.len());
            let status = service.ask("GET", "/v1/status", &[], b"").expect("it answers").body;
            assert_eq!((&status["files"][0]["bytes_behind"], &status["files"][0]["error"]), (&json!(0), &json!(null)));
            break;
        };
        // Each file in turn, some lines in two pieces.
        let name = input.join(format!("{:02}.jsonl", killed / 3));
        let mut file = OpenOptions::new().create(true).append(true).open(name).expect("it can be written");
        for line in part.chunks(97) {
            let bytes = line.concat();
            let (one, other) = bytes.split_at(random(&mut seed) as usize % bytes.len());
            file.write_all(one).expect("it can be written");
            std::thread::sleep(std::time::Duration::from_millis(5));
            file.write_all(other).expect("it can be written");
        }
        let begun = std::time::Instant::now();
        while !service.has_ended() && begun.elapsed() < std::time::Duration::from_millis(600) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        service.kill();
        killed += 1;
        assert!(begun.elapsed() < DEADLINE);
    }
    let held = std::process::Command::new(env!("CARGO_BIN_EXE_lapwing"))
        .args(["state", "inspect", "--format", "json"])
        .arg(&data)
        .output();
    let held: serde_json::Value = serde_json::from_slice(&held.expect("it starts").stdout).expect("it prints JSON");
    assert_eq!(held["log"]["lines"], lines.len(), "each line stands in the log once");
}

#[test]
fn a_source_that_is_not_there_is_refused_and_what_is_no_event_is_a_dead_letter() {
    let root = folder("files-bad");
    let (data, file) = (root.join("data"), root.join("in.jsonl"));
    let source = format!("log.source.0.path={}", file.display());
    let said = Service::start(&mut command(&data, &RULES, &[&source])).err().expect("it does not start");
    assert!(said.contains("`log.source.path`: `") && said.contains("make the file or folder"), "{said}");
    fs::write(&file, "{\"type\":\"login\"}\nno JSON\n").expect("it can be written");
    let service = Service::start(&mut command(&data, &RULES, &[&source, "epoch.every=20ms"])).expect("it starts");
    let begun = std::time::Instant::now();
    let letters = loop {
        let letters = service.ask("GET", "/v1/dead-letters", &[], b"").expect("it answers").body;
        let all = letters["dead_letters"].as_array().or(letters["letters"].as_array()).cloned().unwrap_or_default();
        if all.len() == 2 {
            break all;
        }
        assert!(begun.elapsed() < DEADLINE, "{letters}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert!(letters.iter().all(|letter| letter["kind"] == "bad"), "{letters:?}");
}
