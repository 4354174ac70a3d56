//! Dead letters of `lapwing serve`: what was taken and gave no event can be listed, shown, and put in again.

mod service;

use std::fs;
use std::process::Command;

use serde_json::{Value as Json, json};

use self::service::{Answer, Service, command, folder};

const RULES: &str = "
event login { at timestamp  user string  success bool }

rule failed {
  by       user
  match    f: login where not success
  message  \"{user}\"
}
";

fn login(at: &str, user: &str) -> String {
    json!({"type": "login", "at": at, "user": user, "success": false}).to_string()
}

/// A time so many hours from now.
fn from_now(hours: i64) -> String {
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours);
    now.to_string()
}

fn get(service: &Service, path: &str) -> Answer {
    service.ask("GET", path, &[], b"").expect("it answers")
}

fn redrive(service: &Service, message: &Json) -> Answer {
    let headers = [("content-type", "application/json")];
    service.ask("POST", "/v1/dead-letters/redrive", &headers, message.to_string().as_bytes()).expect("it answers")
}

/// All of a kind, once there are so many.
fn letters(service: &Service, kind: &str, count: usize) -> Vec<Json> {
    let begun = std::time::Instant::now();
    loop {
        let answer = get(service, &format!("/v1/dead-letters?limit=1000&kind={kind}"));
        assert_eq!((answer.status, &answer.body["more"]), (200, &json!(false)), "{answer:?}");
        let letters = answer.body["dead_letters"].as_array().expect("an array").clone();
        if letters.len() >= count {
            assert_eq!(letters.len(), count);
            return letters;
        }
        assert!(begun.elapsed() < service::DEADLINE, "{answer:?}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn late_and_early_lines_are_listed_shown_and_put_in_again() {
    let dir = folder("dead-letters");
    fs::write(dir.join("rules.lap"), RULES).expect("a file can be written");
    let rules = dir.join("rules.lap").display().to_string();
    let start = |ahead: &str| {
        let ahead = format!("engine.max_ahead={ahead}");
        let sets = ["epoch.every=20ms", "engine.idle_after=1d", &ahead];
        Service::start(&mut command(&dir.join("data"), &[&rules], &sets)).expect("it is ready")
    };
    let service = start("1h");
    // Blanks and all.
    let late = format!("  {}", login("2026-01-05T10:00:00Z", "late"));
    let early = login(&from_now(48), "early");
    let lines = [login("2026-01-05T11:00:00Z", "ann").as_bytes(), late.as_bytes(), early.as_bytes()].join(&b'\n');
    let answer = service.post(&lines, None).expect("it answers");
    assert_eq!(answer.body["accepted"], json!(3), "{answer:?}");
    let found = letters(&service, "late", 1);
    assert_eq!((&found[0]["offset"], &found[0]["line"]), (&json!(1), &json!(late)));
    assert!(found[0]["reason"].as_str().expect("a text").contains("is behind the watermark"), "{found:?}");
    let ahead = letters(&service, "ahead", 1);
    assert_eq!((&ahead[0]["offset"], &ahead[0]["line"]), (&json!(2), &json!(early)));
    let id = found[0]["id"].as_str().expect("a text");
    assert_eq!(get(&service, &format!("/v1/dead-letters/{id}")).body, found[0]);

    // Put in again it is late again, for the time has passed; doing that twice is doing it once.
    let done = redrive(&service, &json!({"ids": [id]}));
    let offset = &done.body["results"][0]["offset"];
    assert_eq!(done.body, json!({"results": [{"id": id, "outcome": "taken", "offset": offset}]}));
    let done = redrive(&service, &json!({"ids": [id, "7.7"]}));
    let none = json!({"id": "7.7", "outcome": "refused", "reason": "there is no dead letter with this id"});
    assert_eq!(done.body, json!({"results": [none, {"id": id, "outcome": "already", "offset": offset}]}));
    let again = letters(&service, "late", 2);
    assert_eq!((&again[1]["offset"], &again[1]["line"]), (offset, &json!(late)));

    let status = get(&service, "/v1/status").body;
    assert_eq!((&status["phase"], &status["generation"]), (&json!("ready"), &json!(1)));
    assert_eq!(status["dead_letters"], json!({"bad": 0, "late": 2, "ahead": 1}));
    let place = |name: &str| status["log"][name].as_u64().expect("a place");
    assert!(place("judged") <= place("end") && place("committed") > 0 && place("saved") <= place("judged"), "{status}");

    // Where more is allowed, what was too far ahead is taken.
    assert_eq!(service.terminate().0, Some(0));
    let service = start("7d");
    let lapwing = |arguments: &[&str], exit: i32, words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lapwing"));
        let output = command
            .arg("dlq")
            .args(arguments)
            .args(["--api", &service.url])
            .env("LAPWING_TOKEN", &service.token)
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {said}");
        words.iter().for_each(|word| assert!(said.contains(word), "{arguments:?} does not say {word:?}:\n{said}"));
        said
    };
    let newest = again[1]["id"].as_str().expect("a text");
    assert_eq!(lapwing(&["list", "--kind", "late"], 0, &[id, "late", "line 1: its time"]).lines().count(), 2);
    assert_eq!(lapwing(&["list", "--count", "1"], 0, &[]).lines().count(), 1);
    let json = lapwing(&["list", "--kind", "ahead", "--format", "json"], 0, &[]);
    assert_eq!(serde_json::from_str::<Json>(&json).expect("a line is an object"), ahead[0]);
    assert_eq!(lapwing(&["list", "--after", newest], 0, &[]), "");
    lapwing(&["show", id], 0, &[&late, "is behind the watermark"]);
    lapwing(&["show", "7.7"], 3, &["there is no dead letter with the id `7.7`"]);
    lapwing(&["list", "--after", "x"], 3, &["`x` is no id of a dead letter"]);
    lapwing(&["list", "--kind", "odd"], 3, &["possible values: bad, late, ahead"]);
    lapwing(&["redrive"], 3, &["--all"]);
    lapwing(&["redrive", newest], 0, &[&format!("{newest} is line")]);
    lapwing(&["redrive", newest], 0, &["was put in before, as line"]);
    lapwing(&["redrive", "7.7"], 1, &["7.7 is refused"]);
    lapwing(&["redrive", "--all", "--kind", "late"], 0, &[&format!("{id} was put in before")]);
    lapwing(&["redrive", "--all", "--kind", "ahead"], 0, &["is line"]);
    lapwing(&["redrive", "--all", "--kind", "ahead"], 0, &["was put in before"]);
    let last = login(&from_now(49), "last");
    assert_eq!(service.post(last.as_bytes(), None).expect("it answers").status, 200);
    let alerts = service.alerts("earliest", |alerts| alerts.iter().any(|(_, alert)| alert.contains("\"early\"")));
    assert_eq!(alerts.len(), 2, "ann's and the early one's, which came once");

    // A line that the rules no longer take is not put in.
    let far = login(&from_now(300), "far");
    assert_eq!(service.post(far.as_bytes(), None).expect("it answers").status, 200);
    let ahead = letters(&service, "ahead", 2)[1]["id"].clone();
    let rules = json!({"op": "apply", "kind": "rules", "name": "a", "files": [
        {"path": "a.lap", "text": RULES.replace("success bool", "success bool  device string")},
    ]});
    assert_eq!(service.change(&rules.to_string()).expect("it answers").status, 200);
    lapwing(&["redrive", ahead.as_str().expect("a text")], 1, &["is refused", "device"]);
}

#[test]
fn what_is_asked_for_wrongly_is_told() {
    let dir = folder("dead-letters-wrong");
    fs::write(dir.join("rules.lap"), RULES).expect("a file can be written");
    let rules = dir.join("rules.lap").display().to_string();
    let service = Service::start(&mut command(&dir.join("data"), &[&rules], &[])).expect("it is ready");
    for (path, status, words) in [
        ("?kind=odd", 400, "write one of `bad`, `late`, `ahead`"),
        ("?limit=0", 400, "it has to be 1 to 1000"),
        ("?after=7", 400, "`7` is no id of a dead letter"),
        ("?after=99999.0", 404, "there is no dead letter with the id `99999.0`"),
        ("/99999.1", 404, "there is no dead letter with the id `99999.1`"),
        ("/redrive", 405, "does not take GET"),
    ] {
        let answer = get(&service, &format!("/v1/dead-letters{path}"));
        let detail = answer.body["detail"].as_str().unwrap_or_default();
        assert!(answer.status == status && detail.contains(words), "{path}: {answer:?}");
    }
    for message in [
        json!({}),
        json!({"ids": [], "all": true}),
        json!({"ids": ["1.1"], "kind": "late"}),
        json!({"all": true, "kind": "odd"}),
        json!({"ids": vec!["1.1"; 1_001]}),
    ] {
        let answer = redrive(&service, &message);
        assert!(answer.status == 400 && answer.body["detail"].is_string(), "{message}: {answer:?}");
    }
    let answer = get(&service, "/v1/dead-letters");
    assert_eq!((answer.status, &answer.body["dead_letters"]), (200, &json!([])));
}
