//! Who may use which route, and what is written down of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::Semaphore;

use super::Service;
use super::problem::Problem;
use crate::auth::audit::What;
use crate::auth::{Permission, Principal};

/// So many tokens that nobody has shown before are looked at at once: that takes time and memory by intention.
static UNKNOWN: Semaphore = Semaphore::const_new(2);

/// What a route needs, and whether it changes anything.
#[derive(Clone)]
pub(super) struct Needs {
    pub service: Arc<Service>,
    pub permission: Permission,
    /// Whether what is asked stands in the audit log.
    pub audited: bool,
}

/// What a handler changed, for the audit log.
#[derive(Clone)]
pub(super) struct Changed(pub serde_json::Value);

/// Lets those in who may, and writes down what they change.
pub(super) async fn guard(State(needs): State<Needs>, mut request: Request, next: Next) -> Response {
    let Needs { service, permission, audited } = needs;
    let principal = match principal(&service, request.headers()).await {
        Ok(principal) => principal,
        Err(problem) => return problem.into_response(),
    };
    let asked = format!("{} {}", request.method(), request.uri().path());
    if !principal.role.may(permission) {
        let denied = forbidden(&principal, permission);
        return match written(&service, &principal, What::Denied(asked)).await {
            Ok(_) => denied.into_response(),
            Err(problem) => problem.into_response(),
        };
    }
    request.extensions_mut().insert(principal.clone());
    if !audited {
        return next.run(request).await;
    }
    let number = match written(&service, &principal, What::Asked(asked)).await {
        Ok(number) => number,
        Err(problem) => return problem.into_response(),
    };
    let response = next.run(request).await;
    let change = response.extensions().get().map(|Changed(change)| change.clone()).unwrap_or_default();
    let what = What::Answered { number, status: response.status().as_u16(), change };
    // It was done, whether that can be written down or not: that it was asked for stands there.
    if let Err(problem) = written(&service, &principal, what).await {
        tracing::warn!(detail = problem.detail, "the outcome of a change");
    }
    response
}

/// What is answered to who may not do something.
pub(super) fn forbidden(principal: &Principal, permission: Permission) -> Problem {
    let roles = crate::auth::Role::ALL.into_iter().filter(|role| role.may(permission));
    let roles: Vec<_> = roles.map(|role| format!("`{}`", role.as_str())).collect();
    let detail = format!(
        "`{}` is `{}`; this needs the permission `{}`, which {} have",
        principal.name,
        principal.role.as_str(),
        permission.as_str(),
        roles.join(" and ")
    );
    Problem::new(StatusCode::FORBIDDEN, "not allowed", detail)
}

async fn written(service: &Arc<Service>, principal: &Principal, what: What) -> Result<u64, Problem> {
    let (service, principal) = (service.clone(), principal.clone());
    let writing = tokio::task::spawn_blocking(move || service.access.audit.write(&principal, what));
    let written = writing.await.map_err(std::io::Error::other).and_then(|written| written);
    written.map_err(|e| {
        let detail = format!("what is not in the audit log is not done, and that cannot be written: {e}");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the disk fails", detail)
    })
}

/// Who asks.
async fn principal(service: &Arc<Service>, headers: &HeaderMap) -> Result<Principal, Problem> {
    let unauthorized = |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, "no token that counts", detail.to_owned());
    let Some(given) = headers.get(header::AUTHORIZATION) else {
        return Err(unauthorized(
            "send `Authorization: Bearer TOKEN`; the first token stands in the file `admin-token` of the service's folder",
        ));
    };
    let token = given.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
    });
    let token = token.ok_or_else(|| unauthorized("the header is to be `Authorization: Bearer TOKEN`"))?;
    let found = if service.access.tokens.is_known(&token) {
        service.access.tokens.principal(&token)
    } else {
        let place = UNKNOWN.acquire().await;
        let service = service.clone();
        let found = tokio::task::spawn_blocking(move || service.access.tokens.principal(&token)).await;
        drop(place);
        found.ok().flatten()
    };
    found.ok_or_else(|| unauthorized("the token is unknown, was taken back, or is past its end"))
}

/// Who asks, and what that may do.
pub(super) async fn me(Extension(principal): Extension<Principal>) -> Json<serde_json::Value> {
    Json(json!({"name": principal.name, "role": principal.role, "permissions": principal.role.permissions()}))
}
