//! `lapwing state` of a service: looked into, copied, brought back, and taken over to other rules.

mod service;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use service::{Service, command, folder};

const EVENTS: &str = "event login { at timestamp  user string  success bool }\n";

fn rules(folder: &Path, name: &str, times: u32) -> String {
    let path = folder.join(name);
    let rule =
        format!("rule guessing {{\n  by user\n  match f: login{{{times}}} where not success\n  within 10m\n}}\n");
    fs::write(&path, format!("{EVENTS}{rule}")).expect("a file can be written");
    path.display().to_string()
}

fn login(second: u32) -> Vec<u8> {
    let at = format!("2026-01-05T10:00:{second:02}Z");
    format!("{}\n", json!({"type": "login", "at": at, "user": "ann", "success": false})).into_bytes()
}

/// A command of `lapwing state`: its exit code, what it printed, and what it said.
fn state(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_lapwing")).arg("state").args(arguments).output();
    let output = output.expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn refused(arguments: &[&str], why: &str) {
    let (code, _, said) = state(arguments);
    assert!(code == Some(3) && said.contains(why), "{arguments:?}: {code:?} {said}");
}

fn inspected(path: &str) -> Value {
    let (code, printed, said) = state(&["inspect", path, "--format", "json"]);
    assert_eq!(code, Some(0), "{said}");
    serde_json::from_str(&printed).expect("it prints JSON")
}

fn started(data: &Path, rules: &str) -> Service {
    Service::start(&mut command(data, &[rules], &["epoch.every=10ms", "save.every=100ms"])).expect("it starts")
}

/// The alerts so far, once there are so many.
fn alerts(service: &Service, count: usize) -> Vec<Value> {
    let read = service.alerts("earliest", |alerts| alerts.len() == count);
    read.iter().map(|(_, alert)| serde_json::from_str(alert).expect("an alert is JSON")).collect()
}

#[test]
fn a_services_state_is_looked_into_copied_restored_and_forked() {
    let root = folder("service-state");
    let (three, two) = (rules(&root, "three.lap", 3), rules(&root, "two.lap", 2));
    let data = root.join("data");
    let path = |name: &str| root.join(name).display().to_string();
    let (own, saved, other) = (path("data"), path("a.saved"), path("other"));
    let service = started(&data, &three);
    for second in 0..2 {
        assert_eq!(service.post(&login(second), None).expect("it answers").status, 200);
    }
    refused(&["save", &own, "--to", &saved], "in use by another process: stop that one first");
    refused(&["fork", &own, "--rules", &two, "--to", &other], "in use by another process");
    refused(&["restore", &own, "--to", &other], "make a copy of it with `lapwing state save`");
    assert_eq!(inspected(&own)["in_use"], true);
    assert_eq!(service.terminate().0, Some(0));

    let held = inspected(&own);
    assert_eq!(held["rules"], json!([{"rule": "guessing", "version": 1, "stage": "live", "runs": 1}]), "{held}");
    assert_eq!((&held["keys"], &held["events"], &held["format"]), (&json!(1), &json!(2), &json!(1)), "{held}");
    assert_eq!(
        (&held["log"]["lines"], &held["in_use"], &held["log_of"]),
        (&json!(2), &json!(false), &json!("service"))
    );
    let place = |part: &str, name: &str| held[part][name].as_u64().expect("a place");
    assert!((place("log", "judged")..=place("log", "end")).contains(&place("saved", "place")), "{held}");
    let (_, words, _) = state(&["inspect", &own]);
    assert!(words.starts_with("a service over its own log, format 1\ngeneration 1, 0 changes"), "{words}");
    assert!(words.contains("\n  guessing version 1, live: 1 runs\n"), "{words}");

    let (code, _, said) = state(&["save", &own, "--to", &saved]);
    assert!(code == Some(0) && said.starts_with("saved at generation 1"), "{said}");
    let mut of_copy = inspected(&saved);
    assert_eq!(of_copy["log"], held["log"]);
    of_copy["bytes"] = held["bytes"].clone();
    assert_eq!(of_copy, held, "a copy holds what the folder held");

    // The fork goes on with the two runs, by a rule that two events complete; the service goes on as it was.
    let (code, printed, said) = state(&["fork", &own, "--rules", &two, "--to", &other]);
    assert!(code == Some(0) && said.contains("generation 2 takes over"), "{said}");
    assert!(printed.starts_with("guessing: version 1 live → version 2 live\n"), "{printed}");
    let from_copy = path("from-copy");
    assert_eq!(state(&["fork", &saved, "--rules", &two, "--to", &from_copy]).0, Some(0));
    for fork in [&other, &from_copy] {
        assert_eq!(inspected(fork)["generation"], 2);
        let service = started(Path::new(fork), &three);
        service.post(&login(10), None).expect("it answers");
        service.post(&login(50), None).expect("it answers");
        let found = alerts(&service, 1);
        assert_eq!((&found[0]["rule"], &found[0]["ruleset"]), (&json!("guessing"), &json!(2)), "{found:?}");
        assert_eq!(service.terminate().0, Some(0));
    }

    let service = started(&data, &three);
    service.post(&login(10), None).expect("it answers");
    let first = alerts(&service, 1);
    assert_eq!((&first[0]["version"], &first[0]["at"]), (&json!(1), &json!("2026-01-05T10:00:10Z")));
    refused(&["restore", &saved, "--to", &own, "--force"], "in use by another process");
    assert_eq!(service.terminate().0, Some(0));
    refused(&["restore", &saved, "--to", &own], "say --force to lose it");
    assert_eq!(inspected(&own)["events"], 3, "nothing was lost by what was refused");
    assert_eq!(state(&["restore", &saved, "--to", &own, "--force"]).0, Some(0));
    assert_eq!(inspected(&own)["events"], 2);
    // The same event gives the same alert again.
    let service = started(&data, &three);
    assert_eq!(service.post(&login(10), None).expect("it answers").body["first_offset"], 2);
    assert_eq!(alerts(&service, 1), first);
    assert_eq!(service.terminate().0, Some(0));
}

#[test]
fn what_is_no_folder_of_a_service_or_a_newer_one_is_refused() {
    let root = folder("service-state-refused");
    let three = rules(&root, "three.lap", 3);
    let data = root.join("data");
    let path = |name: &str| root.join(name).display().to_string();
    let (own, saved, strange) = (path("data"), path("a.saved"), path("strange"));
    let service = started(&data, &three);
    service.post(&login(0), None).expect("it answers");
    assert_eq!(service.terminate().0, Some(0));
    assert_eq!(state(&["save", &own, "--to", &saved]).0, Some(0));

    fs::create_dir(&strange).expect("a folder can be made");
    fs::write(root.join("strange/letter.txt"), "mine").expect("a file can be written");
    refused(&["inspect", &strange], "there is no state");
    refused(&["save", &strange, "--to", &saved], "there is no state");
    refused(&["restore", &saved, "--to", &strange, "--force"], "`letter.txt` stands there");
    refused(&["fork", &own, "--rules", &three, "--to", &strange], "holds something already");
    refused(
        &["fork", &own, "--rules", &three, "--to", &path("new"), "--output", "x"],
        "--output is for the state of `lapwing run`",
    );
    assert!(!root.join("new").exists());
    let broken = root.join("broken.lap");
    fs::write(&broken, "rule broken {").expect("a file can be written");
    let (code, _, said) = state(&["fork", &own, "--rules", &broken.display().to_string(), "--to", &path("new")]);
    assert_eq!(code, Some(2), "{said}");

    let bytes = fs::read(&saved).expect("there is a copy");
    let damaged = path("damaged.saved");
    fs::write(&damaged, &bytes[..bytes.len() - 40]).expect("a file can be written");
    refused(&["restore", &damaged, "--to", &path("new")], "is damaged");
    let mut newer = bytes.clone();
    newer[16] += 1;
    fs::write(&damaged, &newer).expect("a file can be written");
    refused(&["restore", &damaged, "--to", &own, "--force"], "is of format 2, and this version of Lapwing knows 1");
    assert_eq!(inspected(&own)["events"], 1, "what was there stays");

    fs::write(data.join("format.json"), "{\"format\":7}").expect("a file can be written");
    let newer = "is of format 7, and this version of Lapwing knows 1: use the version that wrote it";
    refused(&["inspect", &own], newer);
    refused(&["save", &own, "--to", &path("b.saved")], newer);
    let said = Service::start(&mut command(&data, &[&three], &[])).err().expect("it does not start");
    assert!(said.contains(newer), "{said}");

    // One that was killed while it restored says so, and can be restored again.
    fs::write(data.join("format.json"), "{\"format\":1}").expect("a file can be written");
    fs::rename(data.join("catalog"), root.join("gone")).expect("it can be moved");
    fs::create_dir(data.join("restoring")).expect("a folder can be made");
    let half = "was not restored to the end";
    refused(&["inspect", &own], half);
    let said = Service::start(&mut command(&data, &[&three], &[])).err().expect("it does not start");
    assert!(said.contains(half), "{said}");
    assert_eq!(state(&["restore", &saved, "--to", &own, "--force"]).0, Some(0));
    assert_eq!(inspected(&own)["events"], 1);
}
