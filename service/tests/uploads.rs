//! Models in chunks over the embedded log: what is uploaded lives through kills, and what does not fit is told.

mod binary;
mod chunked;
mod service;

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use self::binary::lapwing;
use self::chunked::{CHUNK, Large, digest, event, files, rules};
use self::service::{Answer, Service, command, folder, random};

fn start(dir: &Path) -> Command {
    let rules = rules(dir);
    command(&dir.join("data"), &[rules.to_str().expect("a plain path")], &["engine.order=arrival"])
}

fn send(service: &Service, message: &Value) -> Answer {
    service.change(&message.to_string()).expect("it answers")
}

#[track_caller]
fn refuses(service: &Service, message: &Value, words: &str) {
    let answer = send(service, message);
    let detail = answer.body["detail"].as_str().unwrap_or_default();
    assert!(answer.status == 422 && detail.contains(words), "it does not say {words:?}: {answer:?}");
}

#[track_caller]
fn uploaded(service: &Service, message: &Value, chunks: usize, of: usize) {
    let answer = send(service, message);
    let progress = json!({"chunks": chunks, "of": of});
    assert_eq!((answer.status, &answer.body["upload"]), (200, &progress), "{answer:?}");
}

fn live(service: &Service) -> Value {
    service.ask("GET", "/v1/catalog", &[], b"").expect("it answers").body["models"].clone()
}

#[test]
fn a_model_in_chunks_is_one_model_whatever_happens_in_between() {
    let dir = folder("uploads");
    let data = dir.join("data");
    let model = Large::new("scaled", 5 * CHUNK, 3);
    let count = model.count();
    assert_eq!(count, 6);
    let mut service = Service::start(&mut start(&dir)).expect("it is ready");
    for (done, number) in [4, 0, 5].into_iter().enumerate() {
        uploaded(&service, &model.chunk(number), done + 1, count);
    }
    uploaded(&service, &model.chunk(0), 3, count);
    service.kill();
    service = Service::start(&mut start(&dir)).expect("it is ready");
    uploaded(&service, &model.chunk(0), 3, count);
    uploaded(&service, &model.chunk(2), 4, count);
    refuses(&service, &model.put(), "has 4 of 6 chunks: send 1, 3 first");
    refuses(&service, &model.chunk_of(2, b"other"), "chunk 2 of the upload");
    let mut other = model.chunk(1);
    other["of"] = json!(7);
    refuses(&service, &other, "has 6 chunks, and this one is one of 7");
    other = model.chunk(1);
    other["chunk"] = json!(6);
    refuses(&service, &other, "have the numbers 0 to 5");
    other["version"] = json!(1);
    refuses(&service, &other, "`version` says nothing");
    refuses(&service, &Large::new("scaled", 10, 4).put(), "there is no upload");
    refuses(&service, &json!({"op": "chunk", "kind": "list", "name": "watched"}), "only a model comes in chunks");
    uploaded(&service, &model.chunk(3), 5, count);
    uploaded(&service, &model.chunk(1), 6, count);
    let plan = service.ask("POST", "/v1/plan", &[], model.put().to_string().as_bytes()).expect("it answers");
    assert_eq!((plan.status, &plan.body["readers"][0]["rules"]), (200, &json!(["scored"])), "{plan:?}");
    let mut wrong = model.put();
    wrong["golden"] =
        json!([{"inputs": {"amount": 0.0, "age": 0.0, "count": 0.0, "speed": 0.0, "share": 0.0}, "output": 7.0}]);
    refuses(&service, &wrong, "golden vector 1");
    assert_eq!(files(&data.join("catalog/models")), 0, "what was refused is not kept");
    let answer = send(&service, &model.put());
    assert_eq!((answer.status, &answer.body["generation"]), (200, &json!(2)), "{answer:?}");
    refuses(&service, &model.put(), "there is no upload");
    assert_eq!((files(&data.join("catalog/models")), files(&data.join("uploads"))), (1, 0));
    let history = std::fs::read(data.join("catalog/history.jsonl")).expect("there is one");
    assert!(history.len() < 4_000, "the history holds {} bytes", history.len());

    let of_live = json!([{"name": "near", "versions": [{"version": 1, "stage": "live", "sha256": model.upload}]}]);
    for round in 1..=2 {
        assert_eq!(live(&service), of_live);
        assert_eq!(service.post(&event(round), None).expect("it answers").status, 200);
        let alerts = service.alerts("earliest", |alerts| alerts.len() == round as usize);
        assert!(alerts[round as usize - 1].1.contains(r#""model":"near","version":1"#), "{alerts:?}");
        service.kill();
        service = Service::start(&mut start(&dir)).expect("it is ready");
    }
}

#[test]
fn another_file_than_was_named_is_forgotten_whole() {
    let dir = folder("uploads-wrong");
    let service = Service::start(&mut start(&dir)).expect("it is ready");
    let model = Large::new("scaled", CHUNK, 3);
    uploaded(&service, &model.chunk(0), 1, 2);
    refuses(&service, &model.chunk_of(1, b"not that"), "together they have another SHA-256");
    assert_eq!(files(&dir.join("data/uploads")), 0);
    refuses(&service, &model.put(), "there is no upload");
    uploaded(&service, &model.chunk(1), 1, 2);
    uploaded(&service, &model.chunk(0), 2, 2);
    assert_eq!(send(&service, &model.put()).status, 200);
}

#[test]
fn who_may_not_release_may_not_upload() {
    let dir = folder("uploads-may");
    let service = Service::start(&mut start(&dir)).expect("it is ready");
    let body = json!({"name": "ann", "role": "analyst"}).to_string();
    let answer = service.ask("POST", "/v1/tokens", &[("content-type", "application/json")], body.as_bytes());
    let token = answer.expect("it answers").body["token"].as_str().expect("a token").to_owned();
    let bearer = format!("Bearer {token}");
    let message = Large::new("scaled", 10, 1).chunk(0).to_string();
    let answer = service.ask("POST", "/v1/control", &[("authorization", &bearer)], message.as_bytes());
    assert_eq!(answer.expect("it answers").status, 403);
    assert_eq!(files(&dir.join("data/uploads")), 0);
}

/// Places where the process ends or the disk fails.
const PLACES: [&str; 5] = ["upload-write", "upload-kept", "history-write", "history-sync", "log-sync"];

#[test]
fn killed_at_any_place_of_an_upload_it_is_taken_once() {
    let dir = folder("uploads-killed");
    let mut seed = 5;
    let mut killed = 0;
    let mut service: Option<Service> = None;
    let rounds = std::env::var("LAPWING_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    for round in 1..=rounds {
        let model = Large::new("scaled", 3 * CHUNK / 2, round);
        let mut left = vec![model.chunk(1), model.chunk(0), model.put()];
        while let Some(message) = left.first() {
            if service.as_mut().is_none_or(Service::has_ended) {
                let place = PLACES[random(&mut seed) as usize % PLACES.len()];
                let after = random(&mut seed) % 4;
                let mut start = start(&dir);
                start.env("FAILPOINTS", format!("{place}={after}*off->return(kill);upload-write=20%return(enospc)"));
                service = Service::start(&mut start).ok();
                killed += 1;
                continue;
            }
            let running = service.as_ref().expect("it runs");
            let is_live = live_digest(running).is_some_and(|live| live == model.upload);
            let answer = if is_live { None } else { running.change(&message.to_string()) };
            match answer.map(|answer| answer.status) {
                // What was not answered may have been taken.
                _ if is_live => left.clear(),
                Some(200) => drop(left.remove(0)),
                Some(503) | None => {}
                Some(status) => panic!("round {round}: {status}"),
            }
        }
    }
    assert!(killed > rounds / 2, "it was killed {killed} times");
    drop(service);
    let service = Service::start(&mut start(&dir)).expect("it is ready");
    let history = service.ask("GET", "/v1/history", &[], b"").expect("it answers").body;
    assert_eq!(history.as_array().map(Vec::len), Some(rounds as usize + 1), "each is taken once");
    assert_eq!(files(&dir.join("data/catalog/models")), rounds as usize);
    assert_eq!(files(&dir.join("data/uploads")), 0);
}

fn live_digest(service: &Service) -> Option<String> {
    let catalog = service.ask("GET", "/v1/catalog", &[], b"")?.body;
    let versions = catalog["models"][0]["versions"].as_array()?;
    let live = versions.iter().find(|version| version["stage"] == "live")?;
    Some(live["sha256"].as_str()?.to_owned())
}

#[test]
fn apply_brings_models_that_are_not_live_already() {
    let dir = folder("uploads-apply");
    let service = Service::start(&mut start(&dir)).expect("it is ready");
    let (small, large) = (chunked::file("scaled"), Large::new("network", 4 * CHUNK, 8));
    let path = dir.join("near.onnx");
    let apply = |model: &str| {
        let mut apply = lapwing();
        apply.arg("apply").arg(rules(&dir)).args(["--author", "ann", "--model", model, "--api", &service.url]);
        apply.env("LAPWING_TOKEN", &service.token);
        apply
    };
    let named = format!("near={}", path.display());
    binary::says(&mut apply("near"), 3, &["NAME=FILE", "--model takeover=models/takeover.onnx"]);
    binary::says(&mut apply(&named), 3, &["near.onnx", "cannot be read"]);
    std::fs::write(&path, &small).expect("it can be written");
    let other = named.replace("near=", "nera=");
    binary::says(&mut apply(&other), 3, &["the rules declare no model `nera`; did you mean `near`?"]);
    binary::says(&mut apply(&named), 0, &["model near: generation 2 takes over"]);
    assert_eq!(live_digest(&service), Some(digest(&small)));
    binary::says(&mut apply(&named), 0, &["model near: that file is live already"]);
    std::fs::write(&path, &large.bytes).expect("it can be written");
    std::fs::write(dir.join("near.golden.json"), "[{}").expect("it can be written");
    binary::says(&mut apply(&named), 3, &["near.golden.json", "is no list of"]);
    std::fs::remove_file(dir.join("near.golden.json")).expect("it is there");
    binary::says(&mut apply(&named), 0, &["model near: generation 3 takes over"]);
    assert_eq!(live_digest(&service), Some(large.upload.clone()));
    binary::says(&mut apply(&named), 0, &["model near: that file is live already"]);
}
