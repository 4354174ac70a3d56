//! `lapwing serve` over Kafka: what stands in the topics is judged once, whatever happens to the process or the broker.
//!
//! `LAPWING_KILLS` says how often the service is killed, `LAPWING_CHANGES` how many changes of each kind come under load; the defaults are a few in
//! every test run.

mod changes;
mod chunked;
mod cuts;
mod large_models;
mod service;
mod topics;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lapwing::data::kafka::{Producer, Record};
use lapwing_broker::Broker;
use serde_json::{Value, json};

use self::changes::{Changes, Outcome};
use self::service::{Service, command, folder, planted, random, run_on, stream};
use self::topics::Topics;

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/seed");
const EVENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/events.lap");

const SETS: [&str; 4] = ["engine.lateness=2s", "engine.idle_after=1d", "save.every=200ms", "epoch.every=50ms"];

/// How a service over topics is started.
fn over(topics: &Topics, data: &Path) -> Command {
    let sets = topics.sets();
    let sets: Vec<&str> = SETS.into_iter().chain(sets.iter().map(String::as_str)).collect();
    command(data, &[EVENTS, RULES], &sets)
}

#[test]
fn events_come_from_a_topic_and_alerts_go_to_one_over_restarts_and_changes() {
    let dir = folder("kafka");
    let topics = Topics::new(Broker::shared(), "plain");
    let lines = stream(&dir.join(&topics.events), 8_000);
    let (first, rest) = lines.split_at(5_000);
    let data = dir.join("data");
    let mut service = Service::start(&mut over(&topics, &data)).expect("it is ready");
    topics.send(first);
    topics.until_judged(5_000);
    let pause = json!({"op": "stage", "kind": "rule", "name": "mass_sharing", "stage": "paused", "author": "ann"});
    let answer = service.change(&pause.to_string()).expect("it answers");
    assert_eq!((answer.status, &answer.body["generation"]), (200, &json!(2)), "{answer:?}");
    let answer = service.change(&pause.to_string().replace("mass_sharing", "mass_sharin")).expect("it answers");
    assert_eq!(answer.status, 422);
    let answer = service.post(&first.concat(), None).expect("it answers");
    assert_eq!(answer.status, 409, "{answer:?}");
    topics.until_applied(1);

    let (code, said) = service.terminate();
    assert_eq!(code, Some(0), "{said}");
    service = Service::start(&mut over(&topics, &data)).expect("it is ready");
    topics.send(rest);
    topics.until_judged(lines.len() as u64);
    let expected = run_on(&dir.join(&topics.events), &topics.changes(&[pause]), &[EVENTS, RULES]);
    assert!(expected.iter().any(|alert| alert.contains("\"ruleset\":2")));
    assert_eq!(topics.alerts(), expected);
    drop(service);
}

#[test]
fn a_state_that_was_put_back_judges_nothing_anew() {
    let dir = folder("kafka-state");
    let topics = Topics::new(Broker::shared(), "state");
    let lines = stream(&dir.join(&topics.events), 4_000);
    let (first, rest) = lines.split_at(2_000);
    let (data, saved, other) = (dir.join("data"), dir.join("a.saved"), dir.join("other"));
    let state = |arguments: &[&std::ffi::OsStr]| {
        let output = Command::new(env!("CARGO_BIN_EXE_lapwing")).arg("state").args(arguments).output();
        let output = output.expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let service = Service::start(&mut over(&topics, &data)).expect("it is ready");
    topics.send(first);
    topics.until_judged(2_000);
    assert_eq!(service.terminate().0, Some(0));
    let (code, printed, said) = state(&["inspect".as_ref(), data.as_ref(), "--format".as_ref(), "json".as_ref()]);
    assert_eq!(code, Some(0), "{said}");
    let held: Value = serde_json::from_str(&printed).expect("it prints JSON");
    let place = json!([{"topic": topics.events, "partition": 0, "next": 2_000}]);
    assert_eq!((&held["log_of"], &held["saved"]["partitions"]), (&json!("kafka"), &place), "{held}");
    let (code, _, said) = state(&["save".as_ref(), data.as_ref(), "--to".as_ref(), saved.as_ref()]);
    assert_eq!(code, Some(0), "{said}");
    let rules = ["--rules", EVENTS, RULES, "--to"].map(str::as_ref);
    let (code, _, said) = state(&[&["fork".as_ref(), data.as_ref()], rules.as_slice(), &[other.as_ref()]].concat());
    assert!(code == Some(3) && said.contains("is of a service over Kafka") && !other.exists(), "{said}");

    let service = Service::start(&mut over(&topics, &data)).expect("it is ready");
    topics.send(rest);
    topics.until_judged(lines.len() as u64);
    assert_eq!(service.terminate().0, Some(0));
    let (code, _, said) =
        state(&["restore".as_ref(), saved.as_ref(), "--to".as_ref(), data.as_ref(), "--force".as_ref()]);
    assert_eq!(code, Some(0), "{said}");
    let service = Service::start(&mut over(&topics, &data)).expect("it is ready");
    assert_eq!(service.terminate().0, Some(0));
    assert_eq!(topics.alerts(), run_on(&dir.join(&topics.events), &[], &[EVENTS, RULES]));
}

/// Alerts without what tells where events stand.
fn without_places(alerts: &[String]) -> Vec<Value> {
    let one = |alert: &String| {
        let mut alert: Value = serde_json::from_str(alert).expect("JSON");
        let members = alert.as_object_mut().expect("an object");
        members.retain(|name, _| name != "id" && name != "evidence");
        alert
    };
    alerts.iter().map(one).collect()
}

#[test]
fn history_comes_before_topics_and_idle_partitions_hold_nothing_back() {
    let dir = folder("kafka-history");
    let topics = Topics::with_partitions(Broker::shared(), "history", 3);
    let file = dir.join("all");
    let lines = stream(&file, 6_000);
    let history = dir.join("history");
    std::fs::create_dir_all(&history).expect("a folder can be made");
    std::fs::write(history.join("1.jsonl"), lines[..2_000].concat()).expect("it can be written");
    std::fs::write(history.join("2.jsonl"), lines[2_000..4_000].concat()).expect("it can be written");
    // What is in the files stands in the topic too.
    topics.send(&lines[3_000..5_000]);
    let command = |idle_after: &str| {
        let mut command = over(&topics, &dir.join("data"));
        command.args([
            "--set",
            "kafka.source.0.from={ 0 = 1000 }",
            "--set",
            &format!("engine.idle_after={idle_after}"),
        ]);
        command.arg("--set").arg(format!("kafka.source.0.history={}", history.display()));
        command
    };
    let mut service = Service::start(&mut command("1d")).expect("it is ready");
    topics.until_judged(2_000);
    service.kill();
    topics.send(&lines[5_000..]);
    service = Service::start(&mut command("300ms")).expect("it is ready");
    topics.until_judged(3_000 + 1);
    let expected = without_places(&run_on(&file, &[], &[EVENTS, RULES]));
    // The last comes when the partitions that give nothing hold it back no more.
    let begun = Instant::now();
    while topics.alerts().len() < expected.len() {
        assert!(begun.elapsed() < service::DEADLINE, "{} of {}", topics.alerts().len(), expected.len());
    }
    assert!(service.terminate().0 == Some(0));
    let alerts = topics.alerts();
    assert!(alerts.iter().any(|alert| alert.contains("1.jsonl") && alert.contains("2.jsonl")), "{alerts:?}");
    let alerts = without_places(&alerts);
    let different = alerts.iter().zip(&expected).find(|(a, b)| a != b);
    assert_eq!((alerts.len(), different), (expected.len(), None));
}

#[test]
fn rules_read_keys_and_headers_and_no_value_pretends_others() {
    let dir = folder("kafka-beside");
    let topics = Topics::new(Broker::shared(), "beside");
    let rules = dir.join("rules.lap");
    let text = r#"
        event login {
          at timestamp
          user string from "kafka.key"
          tenant string? from "kafka.headers.tenant"
          source string from "kafka.topic"
        }
        rule seen {
          by user
          match l: login where tenant is missing or tenant != "test"
          emit { tenant: l.tenant, source: l.source }
        }
    "#;
    std::fs::write(&rules, text).expect("it can be written");
    let sets = topics.sets();
    let sets: Vec<&str> = SETS.into_iter().chain(sets.iter().map(String::as_str)).collect();
    let mut start = command(&dir.join("data"), &[rules.to_str().expect("a plain path")], &sets);
    start.args(["--set", "kafka.source.0.type_header=kind", "--set", "engine.order=arrival"]);
    let service = Service::start(&mut start).expect("it is ready");
    let mut producer = Producer::open(&topics.properties()).expect("known properties");
    let mut send = |key: &str, payload: &str, headers: &[(&str, &str)]| {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
        let (key, payload) = (Some(key.as_bytes()), Some(payload.as_bytes()));
        let record =
            Record { topic: &topics.events, partition: Some(0), key, payload, headers: &headers, ..Record::default() };
        producer.send(&record).expect("it is taken");
    };
    let at = r#""at":"2026-01-01T00:00:00Z""#;
    let of_at = |rest: &str| format!("{{{at}{rest}}}");
    send("ann", &of_at(""), &[("kind", "login"), ("tenant", "a")]);
    send("bob 'b'", &of_at(",\n \"kafka\": {\"key\": \"eve\"} "), &[("kind", "login")]);
    send("cid", &of_at(r#","type":"other""#), &[("kind", "login")]);
    send("dan", &of_at(r#","kafka.headers.tenant":"a""#), &[("kind", "login"), ("tenant", "test")]);
    send("eve", &of_at(r#","type":"login","kafka.key":"ann""#), &[("kind", "other"), ("tenant", "b")]);
    producer.flush(topics::WAIT).expect("it arrives");
    topics.until_judged(5);
    let found: Vec<_> = topics
        .alerts()
        .iter()
        .map(|alert| {
            let alert: Value = serde_json::from_str(alert).expect("JSON");
            (alert["key"]["user"].clone(), alert["fields"]["tenant"].clone(), alert["fields"]["source"].clone())
        })
        .collect();
    let of = |user: &str, tenant: Value| (json!(user), tenant, json!("beside-events"));
    assert_eq!(found, [of("ann", json!("a")), of("bob 'b'", Value::Null), of("eve", json!("b"))]);
    let alert = &topics.read("beside-alerts")[0];
    assert_eq!(alert.key.as_deref(), Some(br#"{"user":"ann"}"#.as_slice()));
    let header = |name: &str| alert.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    for (name, value) in
        [("ce_specversion", "1.0"), ("ce_type", "lapwing.alert.open"), ("rule", "seen"), ("version", "1")]
    {
        assert_eq!(header(name), Some(value), "{name}");
    }
    drop(service);
}

#[test]
fn without_transactions_nothing_is_lost_and_ids_tell_what_was_said_before() {
    let dir = folder("kafka-at-least-once");
    let topics = Topics::new(Broker::shared(), "at-least-once");
    let lines = stream(&dir.join(&topics.events), 10_000);
    topics.send(&lines);
    let start = || {
        let mut start = over(&topics, &dir.join("data"));
        start.args(["--set", "kafka.delivery=at-least-once"]);
        start
    };
    for _ in 0..3 {
        // Its alerts are out, and the journal does not know that.
        let started = Service::start(start().env("FAILPOINTS", "kafka-alerts-sent=return(kill)"));
        let begun = Instant::now();
        let mut service = started.ok();
        while service.as_mut().is_some_and(|service| !service.has_ended()) {
            assert!(begun.elapsed() < service::DEADLINE, "it is not killed");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    let service = Service::start(&mut start()).expect("it is ready");
    let expected = run_on(&dir.join(&topics.events), &[], &[EVENTS, RULES]);
    let begun = Instant::now();
    let mut alerts = topics.alerts();
    while !expected.last().is_some_and(|last| alerts.contains(last)) {
        assert!(begun.elapsed() < service::DEADLINE, "the last alert does not come");
        alerts = topics.alerts();
    }
    assert!(alerts.len() > expected.len(), "some are said again");
    let mut seen = std::collections::BTreeSet::new();
    alerts.retain(|alert| seen.insert(alert.clone()));
    assert!(alerts == expected);
    drop(service);
}

/// Good events among all that can be wrong with a message.
fn garbage(lines: &mut Vec<Vec<u8>>, seed: &mut u64) -> u64 {
    let mut bad = 0;
    let mut add = |lines: &mut Vec<Vec<u8>>, what: &[u8], at: usize| {
        lines.insert(at, [what, b"\n"].concat());
        bad += 1;
    };
    for at in (0..lines.len()).rev().step_by(100) {
        let what: &[u8] = match random(seed) % 6 {
            0 => b"",
            1 => b"no JSON",
            2 => b"{\"type\":\"login\",\"user\":\"\xff\xfe\"}",
            3 => b"{\"type\":\"login\",\"at\":\"2026-01-01T00:00:00Z\"}",
            4 => b"null",
            _ => b"{\"type\":\"login\",\"at\":\"soon\",\"user\":\"ann\",\"success\":true}",
        };
        add(lines, what, at);
    }
    let large = format!(r#"{{"type":"login","user":"{}"}}"#, "x".repeat(10 << 20));
    add(lines, large.as_bytes(), 1_000);
    bad
}

#[test]
fn what_is_no_event_or_late_is_told_byte_for_byte_and_stops_nothing() {
    let dir = folder("kafka-garbage");
    let topics = Topics::new(Broker::shared(), "garbage");
    let mut lines = stream(&dir.join(&topics.events), 5_000);
    let bad = garbage(&mut lines, &mut 7);
    let file = dir.join(&topics.events);
    std::fs::write(&file, lines.concat()).expect("it can be written");
    let mut service = Service::start(&mut over(&topics, &dir.join("data"))).expect("it is ready");
    topics.send(&lines);
    topics.until_judged(lines.len() as u64);
    assert_eq!(topics.alerts(), run_on(&file, &[], &[EVENTS, RULES]));
    let dead = topics.read("garbage-dead");
    assert_eq!(dead.len() as u64, bad);
    let late = topics.read("garbage-late");
    assert!(!late.is_empty());
    for message in dead.iter().chain(&late) {
        let header = |name: &str| message.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        assert_eq!((header("lapwing_topic"), header("lapwing_partition")), (Some("garbage-events"), Some("0")));
        let offset: usize = header("lapwing_offset").and_then(|n| n.parse().ok()).expect("an offset");
        let sent = lines[offset].strip_suffix(b"\n").expect("a line");
        let told = message.payload.as_deref().unwrap_or_default();
        match header("lapwing_bytes") {
            None => assert_eq!(told, sent),
            // What no broker takes whole is cut, and its length told.
            Some(bytes) => assert!(bytes == sent.len().to_string() && sent.starts_with(told), "{bytes}"),
        }
        let reason = header("lapwing_reason").expect("a reason");
        let words = match header("lapwing_kind") {
            Some("late") => "is behind the watermark",
            _ if sent.is_empty() => "it has no value",
            _ if sent.len() > 10 << 20 => "the limit is",
            _ if sent == b"no JSON" || sent == b"null" => "not a JSON object",
            _ if sent.contains(&0xff) => "not UTF-8",
            _ => "field `",
        };
        assert!(reason.contains(words), "{reason}");
    }
    // The same once more tells nothing new.
    service.kill();
    service = Service::start(&mut over(&topics, &dir.join("data"))).expect("it is ready");
    assert_eq!(service.terminate().0, Some(0));
    assert_eq!(topics.read("garbage-dead").len() as u64, bad);
}

const LOGINS: &str = "
event login { at timestamp  user string }

rule seen {
  by       user
  match    l: login
  message  \"{user}\"
}
";

/// How a service over topics is started that reports every login.
fn logins(topics: &Topics, dir: &Path, name: &str) -> Command {
    let rules = dir.join("rules.lap");
    std::fs::write(&rules, LOGINS).expect("it can be written");
    let sets = topics.sets();
    let sets: Vec<&str> = SETS.into_iter().chain(sets.iter().map(String::as_str)).collect();
    command(&dir.join(name), &[rules.to_str().expect("a plain path")], &sets)
}

fn login(at: &str, user: &str) -> Vec<u8> {
    json!({"type": "login", "at": format!("2026-01-01T{at}Z"), "user": user}).to_string().into_bytes()
}

fn get(service: &Service, path: &str) -> (u16, Value) {
    let answer = service.ask("GET", path, &[], b"").expect("it answers");
    (answer.status, answer.body)
}

fn redrive(service: &Service, message: &Value) -> (u16, Value) {
    let headers = [("content-type", "application/json")];
    let answer = service.ask("POST", "/v1/dead-letters/redrive", &headers, message.to_string().as_bytes());
    answer.map(|answer| (answer.status, answer.body)).expect("it answers")
}

/// All dead letters that a service lists, by pages of a size; waits until there are so many.
fn letters(service: &Service, count: usize, limit: usize, more: &str) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let (status, page) = get(service, &format!("/v1/dead-letters?limit={limit}&after={after}{more}"));
            assert_eq!(status, 200, "{page}");
            let letters = page["dead_letters"].as_array().expect("letters");
            assert!(letters.len() <= limit);
            all.extend(letters.iter().cloned());
            after = page["next"].as_str().expect("a place").to_owned();
            if page["more"] == false {
                break;
            }
        }
        if all.len() >= count {
            return all;
        }
        assert!(begun.elapsed() < service::DEADLINE, "{} of {count}", all.len());
    }
}

/// What a command prints that asks a service.
fn cli(service: &Service, arguments: &[&str]) -> (Option<i32>, String) {
    let mut lapwing = Command::new(env!("CARGO_BIN_EXE_lapwing"));
    let output = lapwing
        .args(arguments)
        .args(["--api", &service.url])
        .env("LAPWING_TOKEN", &service.token)
        .output()
        .expect("it starts");
    (output.status.code(), String::from_utf8(output.stdout).expect("text"))
}

fn outcomes(answer: &Value) -> Vec<&str> {
    let results = answer["results"].as_array().unwrap_or_else(|| panic!("results: {answer}"));
    results.iter().map(|result| result["outcome"].as_str().expect("an outcome")).collect()
}

#[test]
fn dead_letters_are_listed_shown_and_put_back_where_they_came_from() {
    let dir = folder("kafka-letters");
    let mut broker = Broker::start();
    let topics = Topics::new(&broker, "letters");
    let mut service = Service::start(&mut logins(&topics, &dir, "data")).expect("it is ready");
    let mut producer = Producer::open(&topics.properties()).expect("known properties");
    let mut send = |key: Option<&[u8]>, payload: Option<&[u8]>, headers: &[(&str, Option<&[u8]>)]| {
        let (topic, partition) = (topics.events.as_str(), Some(0));
        let record = Record { topic, partition, key, payload, headers, timestamp: Some(1_700_000_000_000) };
        producer.send(&record).expect("it is taken");
    };
    send(None, Some(&login("10:00:00", "ann")), &[]);
    let pretends: [(&str, Option<&[u8]>); 2] = [("trace", Some(b"1\xff")), ("lapwing_kind", Some(b"late"))];
    send(Some(b"k\xff"), Some(b"no JSON"), &pretends);
    send(None, Some(&login("11:00:00", "bob")), &[]);
    send(None, Some(&login("10:00:01", "eve")), &[]);
    send(None, None, &[]);
    producer.flush(topics::WAIT).expect("it arrives");
    let all = letters(&service, 3, 100, "");
    assert_eq!(letters(&service, 3, 1, ""), all);
    let of_kind = |kind: &str| -> Vec<&Value> { all.iter().filter(|letter| letter["kind"] == kind).collect() };
    let (bad, late) = (of_kind("bad"), of_kind("late"));
    assert_eq!((all.len(), bad.len(), late.len()), (3, 2, 1), "{all:?}");
    assert_eq!(letters(&service, 1, 100, "&kind=late"), [late[0].clone()]);
    assert_eq!(
        (&bad[0]["line"], &bad[0]["key_base64"], &bad[0]["offset"]),
        (&json!("no JSON"), &json!("a/8="), &json!(1))
    );
    let headers = json!([{"name": "trace", "value_base64": "Mf8="}, {"name": "lapwing_kind", "value": "late"}]);
    assert_eq!(bad[0]["headers"], headers);
    let ids: Vec<&str> = [bad[0], bad[1], late[0]].iter().map(|l| l["id"].as_str().expect("an id")).collect();
    assert_eq!(get(&service, &format!("/v1/dead-letters/{}", ids[2])), (200, late[0].clone()));
    for (path, status) in [("late.0.99", 404), ("dead.7.0", 404), ("7.1", 400)] {
        assert_eq!(get(&service, &format!("/v1/dead-letters/{path}")).0, status, "{path}");
    }

    let (status, answer) = redrive(&service, &json!({"ids": ids}));
    assert_eq!((status, outcomes(&answer)), (200, vec!["taken", "refused", "taken"]), "{answer}");
    // They are what they were: judged again, they are put aside again.
    let again = letters(&service, 5, 100, "");
    assert_eq!(again[..3], all);
    assert!(all[0]["timestamp"].is_string() && again.iter().all(|letter| letter["timestamp"] == all[0]["timestamp"]));
    let messages = topics.read(&topics.events);
    let text =
        |message: &topics::Owned| String::from_utf8_lossy(message.payload.as_deref().unwrap_or_default()).into_owned();
    assert_eq!(messages.len(), 7);
    assert_eq!((text(&messages[5]), messages[5].key.as_deref()), ("no JSON".to_owned(), Some(b"k\xff".as_slice())));
    let names: Vec<&str> = messages[5].headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["trace", "lapwing_kind", "lapwing_redriven"]);
    assert_eq!((text(&messages[6]), &messages[6].headers[0].1), (text(&messages[3]), &ids[2].to_owned()));
    // Once more, by another process too.
    service.kill();
    service = Service::start(logins(&topics, &dir, "data").args(["--set", "kafka.late.topic="])).expect("it is ready");
    let answer = redrive(&service, &json!({"ids": [ids[0], ids[1]]}));
    assert_eq!(outcomes(&answer.1), ["already", "refused"], "{answer:?}");
    let (status, answer) = redrive(&service, &json!({"ids": [ids[2]]}));
    assert!(
        status == 409 && answer["detail"].as_str().is_some_and(|said| said.contains("`kafka.late.topic`")),
        "{answer}"
    );
    let (code, said) = cli(&service, &["dlq", "redrive", "--all"]);
    assert!(
        code == Some(1)
            && said.contains("put in before")
            && said.contains("in partition 0 of the topic letters-events again"),
        "{said}"
    );
    let (code, said) = cli(&service, &["dlq", "list", "--kind", "bad"]);
    assert!(code == Some(0) && said.contains("bad   letters-events 0:1: "), "{said}");
    let (code, said) = cli(&service, &["dlq", "show", ids[0]]);
    assert!(code == Some(0) && said.ends_with("\nno JSON\n"), "{said}");
    broker.kill();
    let (status, answer) = get(&service, "/v1/dead-letters");
    assert!(
        status == 503 && answer["detail"].as_str().is_some_and(|said| said.contains("no Kafka broker")),
        "{answer}"
    );
}

#[test]
fn two_instances_that_put_the_same_back_do_it_once() {
    let dir = folder("kafka-letters-twice");
    let topics = Topics::new(Broker::shared(), "twice");
    let services = ["one", "two"].map(|name| Service::start(&mut logins(&topics, &dir, name)).expect("it is ready"));
    let lines: Vec<_> = (0..50).map(|number| format!("no JSON {number}").into_bytes()).collect();
    topics.send(&lines);
    let all = letters(&services[0], lines.len(), 100, "");
    let ids: Vec<&Value> = all.iter().map(|letter| &letter["id"]).collect();
    for ids in ids.chunks(25) {
        std::thread::scope(|scope| {
            for (service, pause) in services.iter().zip([50, 500]) {
                scope.spawn(move || {
                    let begun = Instant::now();
                    loop {
                        let (status, answer) = redrive(service, &json!({"ids": ids}));
                        if status == 200 {
                            break;
                        }
                        assert!(status == 503 && begun.elapsed() < service::DEADLINE, "{answer}");
                        // Whoever begins ends what the other does: they would go on so for long.
                        std::thread::sleep(std::time::Duration::from_millis(pause));
                    }
                });
            }
        });
    }
    let header = |message: &topics::Owned| message.headers.iter().find(|(name, _)| name == "lapwing_redriven").cloned();
    let mut redriven: Vec<_> = topics.read(&topics.events).iter().filter_map(header).map(|(_, id)| json!(id)).collect();
    let mut expected: Vec<_> = ids.into_iter().cloned().collect();
    redriven.sort_by_key(Value::to_string);
    expected.sort_by_key(Value::to_string);
    assert_eq!(redriven, expected);
}

#[test]
fn alerts_are_streamed_from_their_topic_and_go_on_behind_any() {
    let dir = folder("kafka-stream");
    let broker = Broker::shared();
    let topics = Topics::new(broker, "streamed");
    broker.topic("streamed-many", 3);
    let start = |more: &str| {
        let mut start = logins(&topics, &dir, "data");
        start.args(["--set", "kafka.alerts.topic=streamed-many", "--set", "engine.order=arrival", "--set", more]);
        Service::start(&mut start).expect("it is ready")
    };
    let service = start("engine.idle_after=1d");
    let lines = |count: usize| (0..count).map(|n| login("10:00:00", &format!("user-{n}"))).collect::<Vec<_>>();
    let mut sent = false;
    let first = service.alerts("latest", |alerts| {
        if !std::mem::replace(&mut sent, true) {
            topics.send(&lines(20));
        }
        alerts.len() == 20
    });
    let sorted = |alerts: &[(String, String)]| {
        let mut alerts: Vec<_> = alerts.iter().map(|(_, alert)| alert.clone()).collect();
        alerts.sort_unstable();
        alerts
    };
    let all = service.alerts("earliest", |alerts| alerts.len() == 20);
    assert_eq!(sorted(&all), sorted(&first));
    for passed in [0, 7, 18] {
        let rest = service.alerts(&all[passed].0, |alerts| alerts.len() == 19 - passed);
        let whole: Vec<_> = all[..=passed].iter().cloned().chain(rest).collect();
        assert_eq!(sorted(&whole), sorted(&all), "behind {passed}");
    }
    for (after, words) in [("7.1", "is no id of an alert"), ("9:0", "the partition 9"), ("0:99", "no alert has the id")]
    {
        let (status, answer) = get(&service, &format!("/v1/alerts/stream?after={after}"));
        assert!(status == 400 && answer["detail"].as_str().is_some_and(|said| said.contains(words)), "{answer}");
    }
    let (code, said) = cli(&service, &["tail", "--after", "earliest", "--count", "20"]);
    assert!(code == Some(0) && said.lines().count() == 20 && said.contains("seen: user-7"), "{said}");
    let (_, status) = get(&service, "/v1/status");
    let partition =
        json!({"topic": "streamed-events", "partition": 0, "oldest": 0, "end": 20, "judged": 20, "behind": 0});
    assert_eq!(status["partitions"], json!([partition]), "{status}");
    // Who still reads does not hold the end up.
    let open = service.stream("latest");
    let (code, said) = service.terminate();
    assert_eq!(code, Some(0), "{said}");
    drop(open);
    let service = start("kafka.alerts.topic_by=rule");
    let (status, answer) = get(&service, "/v1/alerts/stream");
    assert!(status == 409 && answer["detail"].as_str().is_some_and(|said| said.contains("topic_by")), "{answer}");
}

#[test]
fn who_was_frozen_while_another_took_over_writes_nothing_that_counts() {
    let dir = folder("kafka-frozen");
    let topics = Topics::new(Broker::shared(), "frozen");
    let lines = stream(&dir.join(&topics.events), 20_000);
    let rounds: usize = std::env::var("LAPWING_FREEZES").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    let start = |name: &str| {
        let mut command = over(&topics, &dir.join(name));
        for property in ["session.timeout.ms=2000", "heartbeat.interval.ms=200"] {
            let (name, value) = property.split_once('=').expect("a value");
            command.arg("--set").arg(format!("kafka.properties.\"{name}\"={value}"));
        }
        Service::start(&mut command).expect("it is ready")
    };
    let services = [start("one"), start("two")];
    let mut sent = 0;
    for (round, batch) in lines.chunks(lines.len().div_ceil(2 * rounds)).enumerate() {
        topics.send(batch);
        sent += batch.len();
        if round % 2 == 1 {
            topics.until_judged(sent as u64);
            continue;
        }
        // Who took over last is frozen in the middle of it, and the other goes on.
        let frozen = &services[round / 2 % 2];
        frozen.signal("STOP");
        topics.until_judged(sent as u64);
        frozen.signal("CONT");
    }
    topics.until_judged(lines.len() as u64);
    let expected = run_on(&dir.join(&topics.events), &[], &[EVENTS, RULES]);
    let alerts = topics.alerts();
    let different = alerts.iter().zip(&expected).position(|(a, b)| *a != *b);
    assert_eq!((alerts.len(), different), (expected.len(), None));
    for service in services {
        let (code, said) = service.terminate();
        assert_eq!(code, Some(0), "{said}");
    }
}

/// Writes messages to a topic, a few at a time, until there are none.
fn write(topics: &Topics, topic: &str, mut next: impl FnMut() -> Vec<(Option<Vec<u8>>, Option<Vec<u8>>)>) {
    let mut producer = Producer::open(&topics.properties()).expect("known properties");
    let topic = format!("{}-{topic}", topics.name);
    loop {
        let messages = next();
        for (key, payload) in &messages {
            let (key, payload) = (key.as_deref(), payload.as_deref());
            let record = Record { topic: &topic, partition: Some(0), key, payload, ..Record::default() };
            producer.send(&record).expect("it is taken");
        }
        producer.flush(topics::WAIT).expect("it arrives");
        if messages.is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn changes_of_the_control_topic_under_load_take_over_at_one_place_and_are_answered_in_order() {
    let each: usize = std::env::var("LAPWING_CHANGES").ok().and_then(|n| n.parse().ok()).unwrap_or(30);
    let dir = folder("kafka-changes");
    let topics = Topics::new(Broker::shared(), "changes");
    let mut seed = 3;
    let changes = Changes::new(each, &mut seed);
    let rules = changes.rules(&dir);
    let rules = rules.to_str().expect("a plain path");
    let sets = topics.sets();
    let sets: Vec<&str> = SETS.into_iter().chain(sets.iter().map(String::as_str)).collect();
    let start = || Service::start(&mut command(&dir.join("data"), &[rules], &sets)).expect("it is ready");
    let mut service = start();
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut all = changes.all.iter().enumerate();
    let (done, begun) = (AtomicBool::new(false), Instant::now());
    std::thread::scope(|scope| {
        let flowing = scope.spawn(|| {
            write(&topics, "events", || {
                let count =
                    if done.load(Ordering::Relaxed) || begun.elapsed() > 5 * service::DEADLINE { 0 } else { 30 };
                let batch: Vec<_> = (0..count).map(|i| changes.event((lines.len() + i) as u64, &mut seed)).collect();
                lines.extend_from_slice(&batch);
                batch.into_iter().map(|line| (None, Some(line.trim_ascii_end().to_vec()))).collect()
            });
        });
        let writing = scope.spawn(|| {
            let mut written = 0;
            write(&topics, "control", || {
                // However slow the machine is, the last of them come apart.
                if written > 0 && all.len() < 36 && all.len().is_multiple_of(3) {
                    until_events_behind(&topics, written);
                }
                let next = all.next();
                written += u64::from(next.is_some_and(|(_, change)| change.outcome == Outcome::Taken));
                let next =
                    next.map(|(i, c)| (Some(i.to_string().into_bytes()), c.text.clone().map(String::into_bytes)));
                next.into_iter().collect()
            });
        });
        until_generation(&service, changes.taken().count() as u64 / 2);
        service.kill();
        service = start();
        writing.join().expect("all is written");
        until_generation(&service, 1 + changes.taken().count() as u64);
        done.store(true, Ordering::Relaxed);
        flowing.join().expect("all is written");
    });
    let taken: Vec<Value> = changes
        .taken()
        .map(|change| serde_json::from_str(change.text.as_deref().expect("JSON")).expect("JSON"))
        .collect();
    topics.until_applied(taken.len() as u64);
    lines.push(b"{\"type\":\"last\",\"at\":\"2099-01-01T00:00:00Z\"}\n".to_vec());
    topics.send(&lines[lines.len() - 1..]);
    topics.until_judged(lines.len() as u64);
    let (code, said) = service.terminate();
    assert_eq!(code, Some(0), "{said}");

    let input = dir.join(&topics.events);
    std::fs::write(&input, lines.concat()).expect("it can be written");
    let alerts = topics.alerts();
    let expected = run_on(&input, &topics.changes(&taken), &[rules]);
    let different = alerts.iter().zip(&expected).position(|(a, b)| *a != *b);
    assert_eq!((alerts.len(), different), (expected.len(), None));
    are_of_their_worlds(&changes, &topics.places(), &lines, &alerts);
    are_answered(&changes, &topics);
}

/// Waits until a service has taken so many changes.
fn until_generation(service: &Service, generation: u64) {
    let begun = Instant::now();
    let now = || service.ask("GET", "/readyz", &[], b"").and_then(|now| now.body["generation"].as_u64());
    while now() < Some(generation) {
        assert!(begun.elapsed() < 5 * service::DEADLINE, "generation {generation} does not come: {:?}", now());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until events are judged behind a change.
fn until_events_behind(topics: &Topics, change: u64) {
    let begun = Instant::now();
    let judged = || topics.places().iter().find(|(number, _)| *number == change).map(|(_, place)| *place);
    while judged().is_none_or(|place| topics.judged() <= Some(place)) {
        assert!(begun.elapsed() < 5 * service::DEADLINE, "no event is judged behind change {change}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Each event gives the alerts of what held when it came.
fn are_of_their_worlds(changes: &Changes, places: &[(u64, u64)], lines: &[Vec<u8>], alerts: &[String]) {
    let mut wanted = vec![Vec::new(); lines.len()];
    let mut world = &changes.begins;
    let mut next = changes.taken().zip(places).peekable();
    let mut generations = std::collections::BTreeSet::new();
    for (number, line) in lines[..lines.len() - 1].iter().enumerate() {
        while let Some((change, _)) = next.next_if(|(_, (_, at))| *at <= number as u64) {
            world = &change.world;
        }
        let event: Value = serde_json::from_slice(line).expect("JSON");
        wanted[number] = changes.alerts(world, &event);
        generations.insert(world.generation);
    }
    let mut found = vec![Vec::new(); lines.len()];
    for alert in alerts {
        let alert: Value = serde_json::from_str(alert).expect("JSON");
        let offset = alert["evidence"]["a"][0]["offset"].as_u64().expect("an offset");
        found[offset as usize].push(Changes::said(&alert));
    }
    for (number, (found, wanted)) in found.iter_mut().zip(&wanted).enumerate() {
        found.sort_by_key(|alert| alert["rule"].to_string());
        assert_eq!(found, wanted, "event {number}");
    }
    eprintln!("{} events, {} alerts, events under {} generations", lines.len(), alerts.len(), generations.len());
    assert!(generations.len() > 10, "changes come together: {generations:?}");
}

/// The status topic has one answer for each message, in their order.
fn are_answered(changes: &Changes, topics: &Topics) {
    let told = topics.read(&format!("{}-status", topics.name));
    let offsets: Vec<u64> = told.iter().map(|told| json_of(told)["offset"].as_u64().expect("an offset")).collect();
    // The first message says what the service began with.
    let expected: Vec<u64> = (1..=changes.all.len() as u64).collect();
    assert_eq!(offsets, expected);
    let mut taken = 0;
    for (number, (told, change)) in told.iter().zip(&changes.all).enumerate() {
        assert_eq!(told.key.as_deref(), Some(number.to_string().as_bytes()));
        let told = json_of(told);
        let generation = json!(change.world.generation);
        match change.outcome {
            Outcome::Taken => {
                taken += 1;
                let answer = (&told["outcome"], &told["generation"], &told["change"]);
                assert_eq!(answer, (&json!("taken"), &generation, &json!(taken)), "{told}");
            }
            Outcome::Unchanged => {
                assert_eq!((&told["outcome"], &told["generation"]), (&json!("unchanged"), &generation), "{told}");
            }
            Outcome::Refused => {
                assert_eq!(told["outcome"], "refused", "{told}");
                assert!(told["message"].as_str().is_some_and(|message| !message.is_empty()), "{told}");
            }
        }
    }
}

fn json_of(message: &topics::Owned) -> Value {
    serde_json::from_slice(message.payload.as_deref().unwrap_or_default()).expect("JSON")
}

#[test]
fn killed_at_any_place_under_a_broker_that_comes_and_goes_nothing_is_lost_or_said_twice() {
    let kills: u64 = std::env::var("LAPWING_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(15);
    let dir = folder("kafka-killed");
    let mut broker = Broker::start();
    let mut seed: u64 = std::env::var("LAPWING_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(11);
    let (mut killed, mut round) = (0, 0);
    while killed < kills {
        round += 1;
        killed += one_life(&dir, &mut broker, round, &mut seed);
    }
}

/// Writes all events, with changes in between, before a service that is killed again and again. Returns how often.
fn one_life(dir: &Path, broker: &mut Broker, round: u64, seed: &mut u64) -> u64 {
    let topics = Topics::new(broker, &format!("round-{round}"));
    let lines = stream(&dir.join(&topics.events), 20_000);
    let mut life = Life { data: dir.join(format!("data-{round}")), topics, seed: *seed, killed: 0, service: None };
    let (mut at, mut generation) = (0, 1);
    let mut changes = Vec::new();
    while at < lines.len() {
        let size = 1 + random(&mut life.seed) as usize % 4_000;
        let batch = &lines[at..lines.len().min(at + size)];
        life.topics.send(batch);
        at += batch.len();
        match random(&mut life.seed) % 12 {
            0 => {
                broker.kill();
                broker.restart();
            }
            1 => {
                broker.stop();
                broker.restart();
            }
            2..=5 => {
                let stage = if generation % 2 == 0 { "live" } else { "paused" };
                let change = json!({"op": "stage", "kind": "rule", "name": "failed_logins", "stage": stage});
                life.change(&change, generation + 1);
                generation += 1;
                changes.push(change);
            }
            _ => {}
        }
        // Now and then it has time to judge.
        if random(&mut life.seed).is_multiple_of(3) {
            let count = at as u64;
            life.until(|topics| topics.judged() >= Some(count));
        }
    }
    life.sound();
    life.topics.until_judged(lines.len() as u64);
    (1..generation).for_each(|change| life.topics.until_applied(change));
    let expected = run_on(&dir.join(&life.topics.events), &life.topics.changes(&changes), &[EVENTS, RULES]);
    let alerts = life.topics.alerts();
    let different = alerts.iter().zip(&expected).position(|(a, b)| *a != *b);
    assert_eq!((alerts.len(), different), (expected.len(), None), "round {round}, seed {}", *seed);
    let (code, said) = life.service.take().expect("it runs").terminate();
    assert_eq!(code, Some(0), "{said}");
    *seed = life.seed;
    life.killed
}

/// A service that is killed and started again.
struct Life {
    data: PathBuf,
    topics: Topics,
    seed: u64,
    killed: u64,
    service: Option<Service>,
}

/// Places where the process ends or the disk fails.
const PLACES: [&str; 10] = [
    "kafka-produce",
    "kafka-offsets",
    "kafka-commit",
    "kafka-committed",
    "history-write",
    "history-sync",
    "store-begins",
    "store-writes",
    "store-written",
    "store-taken-in",
];

impl Life {
    fn command(&mut self) -> Command {
        let threads = if random(&mut self.seed).is_multiple_of(2) { "engine.threads=1" } else { "engine.threads=3" };
        let mut command = over(&self.topics, &self.data);
        // So little that cold keys leave memory.
        command.args(["--set", threads, "--set", "engine.memory=16MiB"]);
        command
    }

    /// A service that runs, with something planted that ends it or makes its disk fail.
    fn service(&mut self) -> &Service {
        let begun = Instant::now();
        while self.service.as_mut().is_none_or(Service::has_ended) {
            let mut start = self.command();
            start.env("FAILPOINTS", planted(&PLACES, &mut self.seed));
            self.killed += 1;
            match Service::start(&mut start) {
                Ok(service) => self.service = Some(service),
                Err(said) => assert!(begun.elapsed() < 10 * service::DEADLINE, "it never starts:\n{said}"),
            }
        }
        self.service.as_ref().expect("it runs")
    }

    /// The same with nothing planted.
    fn sound(&mut self) {
        self.service = None;
        self.service = Some(Service::start(&mut self.command()).expect("it is ready"));
    }

    /// Makes a change, however often that takes: what was not answered may have been taken.
    fn change(&mut self, change: &Value, generation: u64) {
        let begun = Instant::now();
        loop {
            if random(&mut self.seed).is_multiple_of(10)
                && let Some(mut service) = self.service.take()
            {
                service.kill();
            }
            let service = self.service();
            let now = service.ask("GET", "/readyz", &[], b"");
            if now.is_some_and(|now| now.body["generation"] == json!(generation)) {
                return;
            }
            match service.change(&change.to_string()) {
                Some(answer) if answer.status == 200 => return,
                Some(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
                None => {}
            }
            assert!(begun.elapsed() < 10 * service::DEADLINE, "{change} is not taken");
        }
    }

    /// Waits until something holds of the topics, while the service is killed now and then.
    fn until(&mut self, holds: impl Fn(&Topics) -> bool) {
        let begun = Instant::now();
        while !holds(&self.topics) {
            if random(&mut self.seed).is_multiple_of(20)
                && let Some(mut service) = self.service.take()
            {
                service.kill();
            }
            self.service();
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert!(begun.elapsed() < 10 * service::DEADLINE, "it does not come");
        }
    }
}
