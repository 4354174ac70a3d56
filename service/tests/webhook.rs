//! Webhooks of `lapwing serve`: every alert is posted, in order, until it is taken, whatever happens to the receiver or the service.

mod receiver;
mod service;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use self::receiver::{Post, Receiver, Reply};
use self::service::{Service, command, folder};

/// An alert an event: of one rule where `n` is even, else of another.
const RULES: &str = r#"
event hit { at timestamp  user string  n int }

rule even {
  severity high
  by       user
  match    h: hit where n % 2 == 0
  message  "{h.n}"
}

rule odd {
  severity low
  by       user
  match    h: hit where n % 2 == 1
  message  "{h.n}"
}
"#;

const SETS: [&str; 3] = ["engine.order=arrival", "epoch.every=20ms", "save.every=100ms"];

fn rules(dir: &Path) -> PathBuf {
    let path = dir.join("rules.lap");
    fs::write(&path, RULES).expect("a file can be written");
    path
}

/// How the service is started, with keys of the first webhook and the ones behind it.
fn serve(dir: &Path, sets: &[String]) -> Command {
    let rules = rules(dir);
    let mut command = command(&dir.join("data"), &[rules.to_str().expect("a plain path")], &SETS);
    for set in sets {
        command.args(["--set", set]);
    }
    command
}

/// Events with these numbers, each with so many bytes more.
fn hits(from: u64, count: u64, more: usize) -> Vec<u8> {
    let hit = |n| json!({"type": "hit", "at": "2026-01-05T10:00:00Z", "user": "ann", "n": n, "more": "x".repeat(more)});
    (from..from + count).map(|n| format!("{}\n", hit(n))).collect::<String>().into_bytes()
}

fn send(service: &Service, from: u64, count: u64) {
    let answer = service.post(&hits(from, count, 0), None).expect("it answers");
    assert_eq!((answer.status, &answer.body["accepted"]), (200, &json!(count)), "{answer:?}");
}

/// The events' numbers, as the messages of alerts tell them.
fn numbers<'p>(posts: impl IntoIterator<Item = &'p Post>) -> Vec<u64> {
    let number = |post: &Post| {
        let alert: Json = serde_json::from_str(&post.body).expect("a body is an alert");
        alert["message"].as_str().expect("it has a message").parse().expect("it is a number")
    };
    posts.into_iter().map(number).collect()
}

/// HMAC-SHA-256 as RFC 2104 writes it.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let padded = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
        block
    };
    let inner = Sha256::digest([&padded(0x36), text].concat());
    Sha256::digest([&padded(0x5c), inner.as_slice()].concat()).to_vec()
}

#[test]
fn an_alert_is_posted_until_it_is_taken_or_refused_for_good() {
    let dir = folder("webhook");
    let key = b"thirty-two bytes of nothing much";
    fs::write(dir.join("secret"), format!("whsec_{}\n", STANDARD.encode(key))).expect("a file can be written");
    let receiver = Receiver::start(|before, _| match before {
        0 => Reply::Status(429, "retry-after: 3\r\n"),
        1 | 3 => Reply::Status(500, ""),
        4 => Reply::Nothing,
        6 => Reply::Status(400, ""),
        _ => Reply::Status(204, ""),
    });
    // One that never answers, with all the time of the world, and one where nobody listens.
    let hangs = Receiver::start(|_, _| Reply::Nothing);
    let nobody = "http://127.0.0.1:1";
    let mut start = serve(
        &dir,
        &[
            format!("alerts.webhook.0.url={}/path/a?token=x", receiver.url),
            format!("alerts.webhook.0.secret_file={}", dir.join("secret").display()),
            "alerts.webhook.0.timeout=500ms".to_owned(),
            format!("alerts.webhook.1.url={}/hidden", hangs.url),
            "alerts.webhook.1.timeout=10m".to_owned(),
            format!("alerts.webhook.2.url={nobody}/hidden"),
        ],
    );
    let service = Service::start(&mut start).expect("it is ready");
    send(&service, 0, 5);
    let alerts = service.alerts("earliest", |alerts| alerts.len() == 5);
    let posts = receiver.until(|posts| posts.len() == 9);
    // 429, 500, taken; 500, no answer, taken; refused; taken; taken.
    assert_eq!(numbers(&posts), [0, 0, 0, 1, 1, 1, 2, 3, 4]);
    assert!(posts[1].at - posts[0].at >= Duration::from_secs(3), "it came again before it was asked to");
    for post in &posts {
        assert!(alerts.iter().any(|(_, alert)| *alert == post.body), "{} was never an alert", post.body);
        let alert: Json = serde_json::from_str(&post.body).expect("a body is an alert");
        let text = |name: &str| alert[name].as_str().expect("a text").to_owned();
        assert_eq!(post.path, "/path/a?token=x");
        for (name, value) in [
            ("content-type", "application/json".to_owned()),
            ("lapwing-alert-id", text("id")),
            ("lapwing-alert-revision", "0".to_owned()),
            ("webhook-id", format!("{}-0", text("id"))),
            ("ce-id", format!("{}-0", text("id"))),
            ("ce-specversion", "1.0".to_owned()),
            ("ce-source", format!("/rules/{}", text("rule"))),
            ("ce-type", "lapwing.alert".to_owned()),
            ("ce-time", text("at")),
        ] {
            assert_eq!(post.header(name), value, "{name}");
        }
        let signed = format!("{}.{}.{}", post.id(), post.header("webhook-timestamp"), post.body);
        let signature = format!("v1,{}", STANDARD.encode(hmac(key, signed.as_bytes())));
        assert_eq!(post.header("webhook-signature"), signature);
    }
    let ids = |range: std::ops::Range<usize>| posts[range].iter().map(Post::id).collect::<Vec<_>>();
    assert!(ids(0..3) == [posts[0].id(); 3] && posts[2].id() != posts[3].id());
    // The answer to the last post may still be on its way.
    let begun = Instant::now();
    let status = loop {
        let status = service.ask("GET", "/v1/status", &[], b"").expect("it answers").body;
        if status["webhooks"][0]["taken"] == json!(4) || begun.elapsed() > service::DEADLINE {
            break status;
        }
    };
    let of = |i: usize, name: &str| status["webhooks"][i][name].clone();
    assert_eq!(["taken", "refused", "failed"].map(|name| of(0, name)), [json!(4), json!(1), json!(4)], "{status:#}");
    assert!(of(0, "waits_since").is_null() && of(1, "waits_since").is_string(), "{status:#}");
    assert_eq!(of(2, "address"), json!(nobody));
    assert!(of(2, "last_error")["why"].is_string(), "{status:#}");
    assert!(!status.to_string().contains("token=") && !status.to_string().contains("hidden"), "{status:#}");
    // It ends without waiting for those that do not answer.
    hangs.until(|posts| posts.len() == 1);
    let (code, said) = service.terminate();
    assert_eq!(code, Some(0), "{said}");
    let words = ["an alert was not taken; it is sent again", "an alert is refused and left out", "400", "500ms"];
    words.iter().for_each(|word| assert!(said.contains(word), "it does not say {word:?}:\n{said}"));
    assert!(!said.contains("token=") && !said.contains("hidden"), "it tells a secret:\n{said}");

    // Started again, each goes on where it was.
    let service = Service::start(&mut start).expect("it is ready");
    send(&service, 5, 1);
    let posts = receiver.until(|posts| posts.len() == 10);
    assert_eq!(numbers(&posts[9..]), [5]);
    assert_eq!(numbers(&hangs.until(|posts| posts.len() == 2)), [0, 0]);
}

#[test]
fn a_webhook_has_only_alerts_of_its_rules_and_severities() {
    let dir = folder("webhook-filters");
    let receivers: Vec<Receiver> = (0..3).map(|_| Receiver::start(|_, _| Reply::Status(200, ""))).collect();
    let keys = ["rules=[\"odd\", \"other\"]", "severities=[\"high\", \"critical\"]"];
    let mut sets: Vec<String> = (0..3).map(|i: usize| format!("alerts.webhook.{i}.url={}", receivers[i].url)).collect();
    sets.extend(keys.iter().enumerate().map(|(i, key)| format!("alerts.webhook.{i}.{key}")));
    let service = Service::start(&mut serve(&dir, &sets)).expect("it is ready");
    send(&service, 0, 6);
    let all = receivers[2].until(|posts| posts.len() == 6);
    assert!(all.iter().all(|post| post.header("webhook-signature").is_empty()), "without a secret nothing is signed");
    assert_eq!(numbers(&all), [0, 1, 2, 3, 4, 5]);
    assert_eq!(numbers(&receivers[0].until(|posts| posts.len() == 3)), [1, 3, 5]);
    assert_eq!(numbers(&receivers[1].until(|posts| posts.len() == 3)), [0, 2, 4]);
}

#[test]
fn killed_at_any_place_every_alert_is_posted_and_in_order() {
    let dir = folder("webhook-killed");
    let receiver = Receiver::start(|before, _| match before % 50 {
        49 => Reply::Status(503, ""),
        _ => Reply::Status(200, ""),
    });
    let mut start = serve(&dir, &[format!("alerts.webhook.0.url={}", receiver.url)]);
    let count = 400;
    for life in 0..10 {
        let place = if life % 3 == 0 { "webhook-kept" } else { "webhook-sent" };
        start.env("FAILPOINTS", format!("{place}={}*off->return(kill)", life * 7));
        // With some it is killed before it is ready.
        let Ok(mut service) = Service::start(&mut start) else { continue };
        let from = life * count / 10;
        let key = format!("life {life}");
        let answer = service.post(&hits(from, count / 10, 0), Some(&key));
        if life % 2 == 0 {
            service.kill();
        }
        // Whether they were taken or not: the second time they are, once.
        drop(answer);
    }
    start.env_remove("FAILPOINTS");
    let service = Service::start(&mut start).expect("it is ready");
    for life in 0..10 {
        let answer = service.post(&hits(life * count / 10, count / 10, 0), Some(&format!("life {life}")));
        assert_eq!(answer.expect("it answers").status, 200);
    }
    let alerts = service.alerts("earliest", |alerts| alerts.len() as u64 == count);
    let last = &alerts.last().expect("there are alerts").1;
    let posts = receiver.until(|posts| posts.iter().any(|post| post.body == *last));
    // By their ids the receiver knows what it has: without those, they are all alerts in their order.
    let mut seen = Vec::<&Post>::new();
    for post in &posts {
        match seen.iter().find(|known| known.id() == post.id()) {
            Some(known) => assert_eq!(known.body, post.body),
            None => seen.push(post),
        }
    }
    let posted: Vec<&String> = seen.iter().map(|post| &post.body).collect();
    assert_eq!(posted, alerts.iter().map(|(_, alert)| alert).collect::<Vec<_>>());
    assert!(posts.len() > seen.len(), "no alert was sent again: nothing was killed in between");
}

#[test]
fn alerts_that_went_before_they_were_posted_are_told() {
    let dir = folder("webhook-lost");
    let is_up = Arc::new(AtomicBool::new(false));
    let receiver = Receiver::start({
        let is_up = is_up.clone();
        move |_, _| Reply::Status(if is_up.load(Ordering::Acquire) { 200 } else { 500 }, "")
    });
    let sets = [
        format!("alerts.webhook.0.url={}", receiver.url),
        "log.segment_bytes=1MiB".to_owned(),
        "log.retain_bytes=1MiB".to_owned(),
    ];
    let service = Service::start(&mut serve(&dir, &sets)).expect("it is ready");
    send(&service, 0, 1);
    receiver.until(|posts| posts.len() == 1);
    // While the first one waits, files of the log come and go.
    let mut sent = 1;
    while fs::exists(dir.join("data/log/00000000000000000000.log")).expect("the folder can be read") {
        let answer = service.post(&hits(sent, 100, 4_096), None).expect("it answers");
        assert_eq!(answer.status, 200);
        sent += 100;
    }
    is_up.store(true, Ordering::Release);
    send(&service, sent, 1);
    let mut posts = receiver.until(|posts| numbers(posts).last() == Some(&sent));
    posts.dedup_by_key(|post| post.id().to_owned());
    let said = service.said();
    let (_, told) = said.split_once("alerts went from the log before they were sent").expect("it is told");
    let lost = told.split_once("alerts=").and_then(|(_, rest)| rest.split_whitespace().next()).expect("how many");
    assert_eq!(lost.parse::<u64>().ok(), Some(sent + 1 - posts.len() as u64), "{said}");
}

#[test]
fn a_secret_that_is_none_is_refused() {
    let dir = folder("webhook-refused");
    let mut start = serve(&dir, &["alerts.webhook.0.url=https://example.org/hidden".to_owned()]);
    start.env("LAPWING_ALERTS__WEBHOOK__0__SECRET", "whsec_no base64");
    let said = Service::start(&mut start).err().expect("it does not start");
    assert!(said.contains("the webhook to https://example.org: the secret begins with `whsec_`"), "{said}");
    assert!(!said.contains("hidden") && !said.contains("no base64 "), "{said}");
}
