//! Models that are larger than a message of the control topic: in chunks, over kills, the same for every instance.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lapwing::data::kafka::{Producer, Record};
use lapwing_broker::Broker;
use serde_json::{Value, json};

use super::chunked::{CHUNK, Large, event, files, rules};
use super::service::{DEADLINE, Service, command, folder, run_on};
use super::topics::{Topics, WAIT};
use super::{SETS, json_of};

fn over(topics: &Topics, dir: &Path, name: &str) -> Command {
    let sets = topics.sets();
    let sets: Vec<&str> = SETS.into_iter().chain(sets.iter().map(String::as_str)).collect();
    command(&dir.join(name), &[rules(dir).to_str().expect("a plain path")], &sets)
}

/// Writes to the control topic, past every instance.
fn write(topics: &Topics, messages: &[Value]) {
    let mut producer = Producer::open(&topics.properties()).expect("known properties");
    let topic = format!("{}-control", topics.name);
    for message in messages {
        let text = message.to_string();
        let record = Record { topic: &topic, partition: Some(0), payload: Some(text.as_bytes()), ..Record::default() };
        producer.send(&record).expect("it is taken");
    }
    producer.flush(WAIT).expect("it arrives");
}

/// What was told of changes, once so many messages were.
fn told(topics: &Topics, count: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let told: Vec<Value> = topics.read(&format!("{}-status", topics.name)).iter().map(json_of).collect();
        if told.len() >= count {
            return told;
        }
        assert!(begun.elapsed() < DEADLINE, "{} of {count} are told: {told:?}", told.len());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[track_caller]
fn uploaded(service: &Service, message: &Value, chunks: usize, of: usize) {
    let answer = service.change(&message.to_string()).expect("it answers");
    assert_eq!((answer.status, &answer.body["upload"]), (200, &json!({"chunks": chunks, "of": of})), "{answer:?}");
}

#[track_caller]
fn refuses(service: &Service, message: &Value, words: &str) {
    let answer = service.change(&message.to_string()).expect("it answers");
    let detail = answer.body["detail"].as_str().unwrap_or_default();
    assert!(answer.status == 422 && detail.contains(words), "it does not say {words:?}: {answer:?}");
}

fn models(service: &Service) -> (Value, Value) {
    let catalog = service.ask("GET", "/v1/catalog", &[], b"").expect("it answers").body;
    (catalog["generation"].clone(), catalog["models"].clone())
}

#[test]
fn a_model_larger_than_a_message_is_one_change_for_all_instances_over_kills() {
    let dir = folder("kafka-large");
    let topics = Topics::new(Broker::shared(), "large");
    let model = Large::new("scaled", 7 * CHUNK / 2, 3);
    let of = model.count();
    assert_eq!(of, 4);
    let mut service = Service::start(&mut over(&topics, &dir, "data")).expect("it is ready");
    let mut lines: Vec<Vec<u8>> = (0..20).map(event).collect();
    topics.send(&lines);
    refuses(&service, &model.whole(), "is too large; raise `message.max.bytes`");
    uploaded(&service, &model.chunk(3), 1, of);
    uploaded(&service, &model.chunk(0), 2, of);
    // A change behind the first chunks: a start begins to read there.
    let list = json!({"op": "put", "kind": "list", "name": "watched", "add": ["k1"], "author": "ann"});
    assert_eq!(service.change(&list.to_string()).expect("it answers").status, 200);
    service.kill();
    service = Service::start(&mut over(&topics, &dir, "data")).expect("it is ready");
    refuses(&service, &model.put(), "has 2 of 4 chunks: send 1, 2 first");
    write(&topics, &[model.chunk(1), model.chunk(0), model.chunk_of(3, b"other")]);
    service.kill();
    service = Service::start(&mut over(&topics, &dir, "data")).expect("it is ready");
    refuses(&service, &model.put(), "has 3 of 4 chunks: send 2 first");
    // Another one, whose bytes are not what it says.
    let wrong = Large::new("scaled", CHUNK, 4);
    uploaded(&service, &wrong.chunk(0), 1, 2);
    refuses(&service, &wrong.chunk_of(1, b"other"), "another SHA-256");
    uploaded(&service, &wrong.chunk(1), 1, 2);
    uploaded(&service, &model.chunk(2), 4, of);
    // It ends when the file is kept, and again when the change is, which it finds in the topic: maybe before it is ready.
    service.kill();
    let planted = |place: &str| {
        let mut start = over(&topics, &dir, "data");
        Service::start(start.env("FAILPOINTS", format!("{place}=return(kill)")))
    };
    let asked = planted("upload-kept").expect("it is ready");
    assert!(asked.change(&model.put().to_string()).is_none(), "it ends");
    for started in [Ok(asked), planted("history-write")] {
        let Ok(mut service) = started else { continue };
        let begun = Instant::now();
        while !service.has_ended() {
            assert!(begun.elapsed() < DEADLINE, "it is not killed");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    service = Service::start(&mut over(&topics, &dir, "data")).expect("it is ready");
    topics.until_applied(2);
    let data = dir.join("data");
    assert_eq!(
        (files(&data.join("catalog/models")), files(&data.join("uploads"))),
        (1, 1),
        "one chunk of the wrong one"
    );
    let history = std::fs::read(data.join("catalog/history.jsonl")).expect("there is one");
    assert!(history.len() < 4_000, "the history holds {} bytes", history.len());

    let more: Vec<Vec<u8>> = (20..60).map(event).collect();
    topics.send(&more);
    let last = b"{\"type\":\"last\",\"at\":\"2099-01-01T00:00:00Z\"}\n".to_vec();
    topics.send(std::slice::from_ref(&last));
    lines.extend(more);
    lines.push(last);
    topics.until_judged(lines.len() as u64);
    let of_live = json!([{"name": "near", "versions": [{"version": 1, "stage": "live", "sha256": model.upload}]}]);
    assert_eq!(models(&service), (json!(3), of_live.clone()));
    let (code, said) = service.terminate();
    assert_eq!(code, Some(0), "{said}");

    // An instance that reads all of it anew comes to the same, and judges what was judged before to the same end.
    let second = Service::start(&mut over(&topics, &dir, "second")).expect("it is ready");
    let begun = Instant::now();
    while models(&second) != (json!(3), of_live.clone()) {
        assert!(begun.elapsed() < DEADLINE, "{:?}", models(&second));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((files(&dir.join("second/catalog/models")), files(&dir.join("second/uploads"))), (1, 1));
    let (code, said) = second.terminate();
    assert_eq!(code, Some(0), "{said}");

    let input = dir.join(&topics.events);
    std::fs::write(&input, lines.concat()).expect("it can be written");
    let expected = run_on(&input, &topics.changes(&[list, model.whole()]), &[rules(&dir).to_str().expect("plain")]);
    assert!(expected.last().is_some_and(|alert| alert.contains(r#""model":"near","version":1"#)), "{expected:?}");
    assert_eq!(topics.alerts(), expected);
    let outcomes: Vec<(u64, String)> = told(&topics, 13)
        .iter()
        .map(|told| {
            let outcome = told["outcome"].as_str().expect("an outcome");
            let chunks = told["chunks"].as_u64().map_or(String::new(), |chunks| format!(" {chunks}"));
            (told["offset"].as_u64().expect("an offset"), format!("{outcome}{chunks}"))
        })
        .collect();
    let expected = [
        "uploaded 1",
        "uploaded 2",
        "taken",
        "refused",
        "uploaded 3",
        "uploaded 3",
        "refused",
        "refused",
        "uploaded 1",
        "refused",
        "uploaded 1",
        "uploaded 4",
        "taken",
    ];
    let expected: Vec<_> = (1..).zip(expected.map(str::to_owned)).collect();
    assert_eq!(outcomes, expected);
}
