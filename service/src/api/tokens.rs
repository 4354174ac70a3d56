//! `/v1/tokens`: who may come in. A token is shown once, in the answer to who made it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use lapwing_engine::Millis;
use serde::Deserialize;
use serde_json::json;

use super::Service;
use super::access::Changed;
use super::problem::Problem;
use crate::auth::tokens::{Refused, Token};
use crate::auth::{Principal, Role};
use crate::config::units::duration;

/// A token that is to be made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Make {
    /// Who has it.
    name: String,
    /// What that is.
    role: Role,
    /// How long it counts, as `30d`; without it, until it is taken back.
    expires_in: Option<String>,
}

/// How a token is rotated.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Rotate {
    /// How long the one before counts still, as `1h`; without it no longer.
    keep_for: Option<String>,
}

/// All tokens, without their secrets.
pub(super) async fn list(State(service): State<Arc<Service>>) -> Json<Vec<Token>> {
    Json(service.access.tokens.list())
}

/// Makes one.
pub(super) async fn make(
    State(service): State<Arc<Service>>,
    Extension(principal): Extension<Principal>,
    Json(make): Json<Make>,
) -> Result<Response, Problem> {
    let expires = make.expires_in.as_deref().map(|text| millis("expires_in", text)).transpose()?;
    let expires = expires.map(|span| crate::serve::clock().saturating_add(span));
    shown(StatusCode::CREATED, move |keep| {
        service.access.tokens.make(&make.name, make.role, expires, &principal.name, keep)
    })
    .await
}

/// Gives one a new secret.
pub(super) async fn rotate(
    State(service): State<Arc<Service>>,
    Path(id): Path<u64>,
    rotate: Option<Json<Rotate>>,
) -> Result<Response, Problem> {
    let keep_for = rotate.and_then(|Json(rotate)| rotate.keep_for);
    let keep_for = keep_for.as_deref().map_or(Ok(0), |text| millis("keep_for", text))?;
    shown(StatusCode::OK, move |keep| service.access.tokens.rotate(id, keep_for, keep)).await
}

/// Takes one back.
pub(super) async fn revoke(State(service): State<Arc<Service>>, Path(id): Path<u64>) -> Result<Response, Problem> {
    let revoked = tokio::task::spawn_blocking(move || service.access.tokens.revoke(id)).await;
    let token = revoked.map_err(|_| stopped())??;
    Ok((Extension(Changed(json!({"token": token}))), StatusCode::NO_CONTENT).into_response())
}

/// Answers with a token and its secret.
async fn shown(
    status: StatusCode,
    change: impl FnOnce(&mut dyn FnMut(&str) -> std::io::Result<()>) -> Result<Token, Refused> + Send + 'static,
) -> Result<Response, Problem> {
    let changed = tokio::task::spawn_blocking(move || {
        let mut secret = String::new();
        let token = change(&mut |shown| {
            secret = shown.to_owned();
            Ok(())
        })?;
        Ok::<_, Refused>((token, secret))
    });
    let (token, secret) = changed.await.map_err(|_| stopped())??;
    let mut body = json!(token);
    body["token"] = json!(secret);
    // No cache is to keep it.
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((status, Extension(Changed(json!({"token": token}))), headers, Json(body)).into_response())
}

fn millis(key: &str, text: &str) -> Result<Millis, Problem> {
    duration(text)
        .map_err(|why| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "no length of time", format!("`{key}`: {why}")))
}

fn stopped() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the service is stopping", "try again when it has started")
}

impl From<Refused> for Problem {
    fn from(why: Refused) -> Problem {
        let (status, title) = match why {
            Refused::Unknown(_) => (StatusCode::NOT_FOUND, "there is nothing here"),
            Refused::Wrong(_) => (StatusCode::UNPROCESSABLE_ENTITY, "no such token can be made"),
            Refused::LastAdmin => (StatusCode::CONFLICT, "nobody could make tokens any more"),
            Refused::Io(_) => (StatusCode::SERVICE_UNAVAILABLE, "the disk fails"),
        };
        Problem::new(status, title, why.to_string())
    }
}
