//! `GET /v1/status`: how the service is, for a person who looks and a program that watches.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::{Embedded, Events, Phase, Service, Topics};

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
        Events::Topics(Topics { sources, alerts }) => {
            status["topics"] = json!({"sources": sources, "alerts": alerts});
        }
    }
    Json(status)
}

/// Places are bytes since the log began.
fn of_log(embedded: &Embedded, status: &mut Value) {
    let Embedded { log, reached, webhooks, .. } = embedded;
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
}
