//! `GET /v1/audit`: who asked for which change, and what became of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Service;
use super::problem::Problem;

/// Which lines.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// Those behind the line of this number.
    #[serde(default)]
    after: u64,
    /// So many at most.
    #[serde(default = "usual")]
    limit: usize,
}

/// What was kept elsewhere.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    /// A last hash.
    head: Option<String>,
}

fn usual() -> usize {
    100
}

/// The most lines of a page.
const PAGE_MAX: usize = 1_000;

/// Lines of the audit log, in order, and its last hash.
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Problem> {
    if !(1..=PAGE_MAX).contains(&page.limit) {
        let detail = format!("`limit` is from 1 to {PAGE_MAX}");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "no such page", detail));
    }
    let head = service.access.audit.head();
    let lines = blocking(move || service.access.audit.lines(page.after, page.limit)).await?;
    Ok(Json(json!({"lines": lines, "head": head})))
}

/// Whether the audit log is what was written.
pub(super) async fn verify(
    State(service): State<Arc<Service>>,
    Query(kept): Query<Kept>,
) -> Result<Json<Value>, Problem> {
    match tokio::task::spawn_blocking(move || service.access.audit.verify(kept.head.as_deref())).await {
        Ok(Ok(verified)) => Ok(Json(json!({"sound": true, "head": verified}))),
        Ok(Err(broken)) => Ok(Json(json!({"sound": false, "detail": broken.to_string()}))),
        Err(_) => Err(failed("the log could not be read")),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other);
    done.and_then(|done| done).map_err(|e| failed(&e.to_string()))
}

fn failed(why: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the disk fails", format!("the audit log cannot be read: {why}"))
}
