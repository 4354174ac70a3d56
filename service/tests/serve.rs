//! `lapwing serve` over its own log: what comes in is kept and judged once, whatever happens to the process or the disk.
//!
//! `LAPWING_KILLS` says how often the service is killed; the default is a few times in every test run.

mod service;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use self::service::{Service, command, folder, planted, random, run_on, stream};

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/seed");
const EVENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/events.lap");

const SETS: [&str; 5] =
    ["engine.lateness=2s", "engine.idle_after=1d", "save.every=100ms", "log.segment_bytes=1MiB", "epoch.every=50ms"];

#[test]
fn events_come_in_and_alerts_go_out_once_over_restarts_and_changes() {
    let dir = folder("serve");
    let lines = stream(&dir.join("events"), 8_000);
    let (first, rest) = lines.split_at(5_000);
    let data = dir.join("data");
    let mut service = Service::start(&mut command(&data, &[EVENTS, RULES], &SETS)).expect("it is ready");
    let answer = service.post(&first.concat(), Some("first")).expect("it answers");
    assert_eq!(
        (answer.status, &answer.body["accepted"], &answer.body["duplicate"]),
        (200, &json!(5_000), &json!(false))
    );
    let answer = service.post(&first.concat(), Some("first")).expect("it answers");
    assert_eq!((&answer.body["first_offset"], &answer.body["duplicate"]), (&json!(0), &json!(true)));
    let pause = json!({"op": "stage", "kind": "rule", "name": "mass_sharing", "stage": "paused", "author": "ann"});
    let answer = service.change(&pause.to_string()).expect("it answers");
    assert_eq!((answer.status, &answer.body["generation"]), (200, &json!(2)), "{answer:?}");
    let answer = service.change(&pause.to_string().replace("mass_sharing", "mass_sharin")).expect("it answers");
    assert_eq!(answer.status, 422);
    assert!(answer.body["detail"].as_str().expect("a text").contains("did you mean `mass_sharing`?"), "{answer:?}");

    // Ended in good order and started again, it goes on.
    let (code, said) = service.terminate();
    assert_eq!(code, Some(0), "{said}");
    service = Service::start(&mut command(&data, &["no-such-folder"], &SETS)).expect("it is ready");
    let answer = service.post(&rest.concat(), None).expect("it answers");
    assert_eq!(&answer.body["first_offset"], &json!(5_000));

    let mut at = pause.clone();
    at["at_line"] = json!(5_000);
    let expected = run_on(&dir.join("events"), &[at], &[EVENTS, RULES]);
    assert!(expected.iter().any(|a| a.contains("\"ruleset\":2")));
    let alerts = service.alerts("earliest", |alerts| alerts.len() == expected.len());
    assert_eq!(alerts.iter().map(|(_, alert)| alert.clone()).collect::<Vec<_>>(), expected);

    // From an id on come those behind it.
    let (id, _) = &alerts[alerts.len() / 2];
    let behind = service.alerts(id, |behind| behind.len() == alerts.len() - alerts.len() / 2 - 1);
    assert_eq!(behind[..], alerts[alerts.len() / 2 + 1..]);
}

#[test]
fn rules_by_processing_time_go_by_the_clock() {
    let dir = folder("processing");
    let rules = dir.join("rules.lap");
    let text = "event login { at timestamp  user string }
rule alone {
  by user
  match a: login then not login within 300ms
  within 1h
  time processing
}
rule pair {
  by user
  match a: login then b: login
  within 10m
  time processing
}";
    fs::write(&rules, text).expect("it can be written");
    let rules = rules.display().to_string();
    let sets = ["engine.idle_after=1d", "engine.lateness=1d"];
    let mut service = Service::start(&mut command(&dir.join("data"), &[&rules], &sets)).expect("it is ready");
    let login = |at: &str| json!({"type": "login", "at": at, "user": "ann"}).to_string();
    // A year apart by their own times, and the later one is late for every watermark.
    let answer = service.post(login("2001-01-01T00:00:00Z").as_bytes(), None).expect("it answers");
    assert_eq!(answer.status, 200);
    let alone = service.alerts("earliest", |alerts| alerts.len() == 1);
    let at = |alert: &str| serde_json::from_str::<Value>(alert).expect("an alert is JSON")["at"].clone();
    assert!(alone[0].1.contains("\"rule\":\"alone\"") && at(&alone[0].1).as_str() > Some("2026"), "{alone:?}");
    let (code, said) = service.terminate();
    assert_eq!(code, Some(0), "{said}");
    service = Service::start(&mut command(&dir.join("data"), &["no-such-folder"], &sets)).expect("it is ready");
    service.post(login("2000-01-01T00:00:00Z").as_bytes(), None).expect("it answers");
    let all = service.alerts("earliest", |alerts| alerts.len() == 3);
    assert!(all[1].1.contains("\"rule\":\"pair\"") && all[2].1.contains("\"rule\":\"alone\""), "{all:?}");
}

#[test]
fn what_cannot_be_taken_is_told() {
    let dir = folder("refused");
    let service =
        Service::start(&mut command(&dir, &[EVENTS, RULES], &["http.line_bytes_max=2KiB"])).expect("it is ready");
    let good = r#"{"type":"login","at":"2026-01-01T00:00:00Z","user":"ann","success":true}"#;
    let long = format!(r#"{{"type":"{}"}}"#, "x".repeat(3_000));
    let bad = [good, "not JSON", "", r#"{"type":"login","at":"2026-01-01T00:00:00Z"}"#, &long, r#"{"type":"other"}"#];
    let Some(answer) = service.post(bad.join("\n").as_bytes(), None) else { panic!("it answers") };
    assert_eq!(answer.status, 200);
    let of = |name: &str| answer.body[name].clone();
    assert_eq!([of("accepted"), of("unknown"), of("rejected")], [json!(2), json!(1), json!(3)]);
    let told: Vec<(u64, &str)> = answer.body["errors"]
        .as_array()
        .expect("errors are told")
        .iter()
        .map(|e| (e["line"].as_u64().expect("a number"), e["reason"].as_str().expect("a text")))
        .collect();
    let wanted = [(2, "not a JSON object"), (4, "event `login`: required field"), (5, "the limit is 2048")];
    for ((line, reason), (wanted_line, words)) in told.iter().zip(wanted) {
        assert!(*line == wanted_line && reason.contains(words), "{told:?}");
    }
    let ask = |method: &str, path: &str, kind: &str, body: &str| {
        let answer = service.ask(method, path, &[("content-type", kind)], body.as_bytes()).expect("it answers");
        (answer.status, answer.body["detail"].as_str().unwrap_or_default().to_owned())
    };
    let cases = [
        ("POST", "/v1/events", "application/x-ndjson", "no", 422, ""),
        ("POST", "/v1/events", "text/plain", good, 415, "application/x-ndjson"),
        ("POST", "/v1/events", "application/json", "[{}", 400, "the body is no JSON"),
        ("GET", "/v1/events", "", "", 405, "does not take GET"),
        ("GET", "/v1/event", "", "", 404, "no resource"),
        ("POST", "/v1/control", "application/json", "{}", 400, "missing field `op`"),
        (
            "POST",
            "/v1/control",
            "application/json",
            r#"{"op":"delete","kind":"rule","name":"a","at_line":1}"#,
            422,
            "`at_line`",
        ),
        ("GET", "/v1/alerts/stream?after=7.0", "", "", 400, "no alert has the id"),
        ("GET", "/v1/alerts/stream?after=x", "", "", 400, "no id of an alert"),
    ];
    for (method, path, kind, body, status, words) in cases {
        let (found, detail) = ask(method, path, kind, body);
        assert!(found == status && detail.contains(words), "{method} {path} {body}: {found} {detail}");
    }
    let pretty = "[\n  {\n    \"type\": \"login\",\n \"at\": \"2026-01-01T00:00:00Z\", \"user\": \"ann\", \"success\": true },\n {} ]";
    let answer = service.ask("POST", "/v1/events", &[("content-type", "application/json")], pretty.as_bytes());
    assert_eq!(answer.expect("it answers").body["accepted"], json!(2));

    // Whom nobody hears ends all the same.
    let code = Service::terminate_unheard(&mut command(&dir.join("unheard"), &[EVENTS, RULES], &[]));
    assert_eq!(code, Some(0));

    // Another process has nothing to do in the folder.
    let second = command(&dir, &[EVENTS], &[]).output().expect("it starts");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(second.status.code() == Some(3) && said.contains("in use by another process"), "{said}");
}

#[test]
fn rules_are_planned_applied_compared_exported_and_rolled_back() {
    let dir = folder("remote");
    let rules = dir.join("rules");
    fs::create_dir_all(&rules).expect("a folder can be made");
    let write = |name: &str, text: &str| fs::write(rules.join(name), text).expect("a file can be written");
    write("events.lap", &fs::read_to_string(EVENTS).expect("there are events"));
    let rule = |times: u32| {
        format!("rule many {{\n  by user\n  match f: login{{{times}}} where not success\n  within 10m\n}}\n")
    };
    write("many.lap", &rule(5));
    let sets = ["engine.idle_after=50ms"];
    let service = Service::start(&mut command(&dir.join("data"), &[rules.to_str().expect("a plain path")], &sets))
        .expect("it is ready");
    let lapwing = |arguments: &[&str], exit: i32, words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lapwing"));
        let output = command
            .args(arguments)
            .args(["--api", &service.url])
            .env("LAPWING_TOKEN", &service.token)
            .current_dir(&dir)
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {said}");
        words.iter().for_each(|word| assert!(said.contains(word), "{arguments:?} does not say {word:?}:\n{said}"));
    };
    let failures = |from: u64, count: u64| {
        let lines: String = (from..from + count)
            .map(|s| {
                format!(
                    "{{\"type\":\"login\",\"at\":\"2026-01-01T00:00:{s:02}Z\",\"user\":\"ann\",\"success\":false}}\n"
                )
            })
            .collect();
        assert_eq!(service.post(lines.as_bytes(), None).expect("it answers").status, 200);
    };
    lapwing(&["plan", "rules"], 0, &["nothing changes"]);
    lapwing(&["diff", "rules"], 0, &[]);
    failures(10, 3);
    write("many.lap", &rule(4));
    write("new.lap", "rule new {\n  by user\n  match f: share\n}\n");
    lapwing(&["diff", "rules"], 1, &["-  match f: login{5}", "+  match f: login{4}", "+rule new {"]);
    let words = ["many: version 1 live → version 2 live", "live on where they fit", "new: version 1 live", "is new"];
    lapwing(&["plan", "rules"], 0, &words);
    lapwing(&["apply", "rules", "--author", "ann", "--reason", "fewer"], 0, &["generation 2 takes over"]);
    lapwing(&["apply", "rules"], 0, &["nothing changes"]);
    failures(20, 1);
    lapwing(&["tail", "--after", "earliest", "--count", "1"], 0, &["many"]);
    lapwing(&["rollback", "many", "--author", "eve"], 0, &["`many` version 1 is live again: generation 3"]);
    lapwing(&["rollback", "man"], 3, &["did you mean `many`?"]);
    lapwing(&["rollback", "many"], 3, &["no version before 1"]);
    lapwing(&["rollback", "many", "--to", "7"], 3, &["no version 7; the newest is 2"]);
    lapwing(&["history"], 0, &["apply rules rules by ann: fewer", "stage rule many, version 1, stage live by eve"]);
    lapwing(&["export", "--to", "out"], 0, &["3 files"]);
    lapwing(&["export", "--to", "out"], 3, &["is not empty"]);
    lapwing(&["plan", "out"], 0, &["nothing changes"]);
    fs::remove_file(dir.join("out/new.lap")).expect("it is there");
    lapwing(&["apply", "out"], 0, &["new: version 1 live → version 1 retired", "goes, and its runs with it"]);
    write("many.lap", "rule many {\n  by usr\n  match f: login{2}\n}\n");
    lapwing(&["apply", "rules"], 2, &["many.lap"]);
    lapwing(&["tail", "--after", "soon"], 3, &["no id of an alert"]);
}

#[test]
fn killed_at_any_place_on_a_failing_disk_it_loses_nothing_and_says_nothing_twice() {
    let kills: u64 = std::env::var("LAPWING_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(30);
    let dir = folder("killed");
    let lines = stream(&dir.join("events"), 30_000);
    let mut seed: u64 = std::env::var("LAPWING_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(11);
    let mut killed = 0;
    let mut round = 0;
    while killed < kills {
        round += 1;
        killed += one_life(&dir, &lines, round, &mut seed);
    }
}

/// Sends all lines, with changes in between, to a service that is killed again and again. Returns how often.
fn one_life(dir: &Path, lines: &[Vec<u8>], round: u64, seed: &mut u64) -> u64 {
    let data = dir.join(format!("data-{round}"));
    let mut life = Life { data, seed: *seed, killed: 0, service: None };
    let (mut at, mut generation) = (0, 1);
    let mut control = Vec::new();
    while at < lines.len() {
        let size = 1 + random(&mut life.seed) as usize % 600;
        let batch = &lines[at..lines.len().min(at + size)];
        let answer = life.until_well(|service| service.post(&batch.concat(), Some(&format!("at {at}"))));
        assert_eq!(answer["first_offset"], json!(at), "{answer}");
        at += batch.len();
        if random(&mut life.seed).is_multiple_of(4) && at < lines.len() {
            let stage = if generation % 2 == 0 { "live" } else { "paused" };
            let mut change = json!({"op": "stage", "kind": "rule", "name": "failed_logins", "stage": stage});
            let text = change.to_string();
            // What was not answered may have taken over.
            life.until_well(|service| {
                let now = service.ask("GET", "/readyz", &[], b"")?;
                if now.body["generation"] == json!(generation + 1) { Some(now) } else { service.change(&text) }
            });
            generation += 1;
            change["at_line"] = json!(at);
            control.push(change);
        }
    }
    let expected = run_on(&dir.join("events"), &control, &[EVENTS, RULES]);
    let alerts = life.sound().alerts("earliest", |alerts| alerts.len() >= expected.len());
    // Ended in good order, the file has all of them too.
    let (code, said) = life.service.take().expect("it runs").terminate();
    assert_eq!(code, Some(0), "{said}");
    let written = fs::read_to_string(life.data.with_extension("alerts")).expect("there is a file of alerts");
    assert!(written.lines().eq(expected.iter()), "round {round}, seed {}: the file differs", *seed);
    let alerts: Vec<&String> = alerts.iter().map(|(_, alert)| alert).collect();
    let different = alerts.iter().zip(&expected).position(|(a, b)| *a != b);
    assert_eq!((alerts.len(), different), (expected.len(), None), "round {round}, seed {}", *seed);
    *seed = life.seed;
    life.killed
}

/// A service that is killed and started again.
struct Life {
    data: std::path::PathBuf,
    seed: u64,
    killed: u64,
    service: Option<Service>,
}

/// Places where the process ends or the disk fails.
const PLACES: [&str; 13] = [
    "alert-file-write",
    "alert-file-kept",
    "log-write",
    "log-torn",
    "log-sync",
    "log-roll",
    "log-mend",
    "history-write",
    "history-sync",
    "store-begins",
    "store-writes",
    "store-written",
    "store-taken-in",
];

impl Life {
    /// A service that runs, with something planted that ends it or makes its disk fail.
    fn service(&mut self) -> &Service {
        let mut tries = 0;
        while self.service.as_mut().is_none_or(Service::has_ended) {
            let mut start = self.command();
            start.env("FAILPOINTS", planted(&PLACES, &mut self.seed));
            self.killed += 1;
            match Service::start(&mut start) {
                Ok(service) => self.service = Some(service),
                Err(said) => assert!(tries < 100, "it never starts:\n{said}"),
            }
            tries += 1;
        }
        self.service.as_ref().expect("it runs")
    }

    /// The same with nothing planted.
    fn sound(&mut self) -> &Service {
        self.service = None;
        self.service = Some(Service::start(&mut self.command()).expect("it is ready"));
        self.service.as_ref().expect("it is ready")
    }

    fn command(&mut self) -> Command {
        let threads = if random(&mut self.seed).is_multiple_of(2) { "engine.threads=1" } else { "engine.threads=3" };
        let mut sets = SETS.to_vec();
        sets.push(threads);
        // So little that cold keys leave memory.
        sets.push("engine.memory=16MiB");
        let mut command = command(&self.data, &[EVENTS, RULES], &sets);
        command.arg("--set").arg(format!("alerts.file={}", self.data.with_extension("alerts").display()));
        command
    }

    /// Asks until the answer is good; now and then the service is killed in between.
    fn until_well(&mut self, ask: impl Fn(&Service) -> Option<service::Answer>) -> Value {
        loop {
            if random(&mut self.seed).is_multiple_of(40)
                && let Some(mut service) = self.service.take()
            {
                service.kill();
            }
            match ask(self.service()) {
                Some(answer) if answer.status == 200 => return answer.body,
                Some(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
                None => {}
            }
        }
    }
}
