//! `GET /livez` and `GET /readyz`: for those who start, stop and watch the service.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Service;

/// The process answers.
pub(super) async fn live() -> Json<serde_json::Value> {
    Json(json!({"live": true}))
}

/// Events are taken and judged.
pub(super) async fn ready(State(service): State<Arc<Service>>) -> Response {
    match service.is_ready() {
        Ok(()) => Json(json!({"ready": true, "generation": service.rollout.newest().generation})).into_response(),
        Err(problem) => problem.into_response(),
    }
}
