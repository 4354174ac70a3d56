//! `GET /metrics`: everything that is counted and timed, for Prometheus; and the counting of requests.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Service;
use super::problem::Problem;

/// All metrics, in the text format of Prometheus.
pub(super) async fn show(State(service): State<Arc<Service>>) -> Result<Response, Problem> {
    let text = service
        .metrics
        .text()
        .map_err(|e| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written", e.to_string()))?;
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}

/// Counts a request by the route that answers it: what callers write themselves is no label.
pub(super) async fn count(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = match request.method().as_str() {
        method @ ("GET" | "POST" | "PUT" | "DELETE" | "HEAD" | "PATCH" | "OPTIONS") => method.to_owned(),
        _ => "(other)".to_owned(),
    };
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let response = next.run(request).await;
    let route = route.as_deref().unwrap_or("(none)");
    service.metrics.http.answered(&method, route, response.status().as_u16(), begun.elapsed());
    response
}
