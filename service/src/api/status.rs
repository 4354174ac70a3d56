//! `GET /v1/status`: how the service is, for a person who looks and a program that watches.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::{Embedded, Events, Phase, Service, Topics};
use crate::data::file_source::Shared;
use crate::data::kafka::{Error, Partition, Reader};

/// How long brokers may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// How the service is.
pub(super) async fn show(State(service): State<Arc<Service>>) -> Json<Value> {
    let phase = match *service.phase.borrow() {
        Phase::Recovering => "recovering",
        Phase::Ready => "ready",
        Phase::Stopping => "stopping",
    };
    let mut status = json!({"phase": phase, "generation": service.rollout.newest().generation});
    match &service.events {
        Events::Log(embedded) => of_log(embedded, &mut status),
        Events::Topics(topics) => {
            let Topics { sources, alerts, .. } = topics;
            status["topics"] = json!({"sources": sources, "alerts": alerts});
            match tokio::task::block_in_place(|| of_topics(topics)) {
                Ok(partitions) => status["partitions"] = partitions,
                Err(why) => status["kafka"] = json!({"error": why.to_string()}),
            }
        }
    }
    Json(status)
}

/// How far the partitions of all sources are judged, as is committed, by whichever instance does it.
fn of_topics(topics: &Topics) -> Result<Value, Error> {
    let reader = Reader::open(&topics.properties, &topics.group, &topics.sources, false)?;
    let mut partitions = Vec::new();
    for topic in &topics.sources {
        let count = reader.client().partitions(topic, ANSWER)?;
        partitions.extend((0..count).map(|partition| Partition::new(topic.as_str(), partition)));
    }
    let judged = reader.committed(&partitions, ANSWER)?;
    let one = |(place, judged): (&Partition, &Option<i64>)| {
        let (oldest, end) = reader.watermarks(place, ANSWER)?;
        let mut json = json!({"topic": place.topic, "partition": place.partition, "oldest": oldest, "end": end});
        if let Some(judged) = judged {
            json["judged"] = json!(judged);
            json["behind"] = json!((end - judged).max(0));
        }
        Ok(json)
    };
    partitions.iter().zip(&judged).map(one).collect::<Result<Vec<_>, _>>().map(Value::Array)
}

/// Places are bytes since the log began.
fn of_log(embedded: &Embedded, status: &mut Value) {
    let Embedded { log, reached, webhooks, files, .. } = embedded;
    // In this order: what was judged is never behind what there is.
    let (judged, end) = (reached.judged(), log.durable().place());
    status["log"] = json!({
        "oldest": log.read_from(0).oldest(),
        "end": end,
        "judged": judged,
        "committed": reached.committed(),
        "saved": reached.saved(),
        "bytes_behind": end.saturating_sub(judged),
    });
    let counts = reached.dead_letters().map(|(kind, count)| (kind.to_owned(), json!(count)));
    status["dead_letters"] = Value::Object(Map::from_iter(counts));
    status["webhooks"] = webhooks.iter().map(|webhook| json!(webhook.now())).collect();
    let now = |file: &Shared| json!(*file.lock().unwrap_or_else(PoisonError::into_inner));
    status["files"] = files.iter().map(now).collect();
}
