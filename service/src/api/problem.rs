//! What went wrong, as HTTP says it: RFC 9457, "Problem Details for HTTP APIs".

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lapwing_dsl::diagnostics::JsonDiagnostic;
use serde::Serialize;

use crate::data::log::embedded::NotAppended;

/// A problem. Nothing has changed where one is answered.
#[derive(Debug, Serialize)]
pub struct Problem {
    /// The status code.
    pub status: u16,
    /// The kind, in a few words.
    pub title: &'static str,
    /// A sentence, with the mend.
    pub detail: String,
    /// What the compiler found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<JsonDiagnostic>,
}

impl Problem {
    /// A problem without diagnostics.
    pub fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Problem {
        Problem { status: status.as_u16(), title, detail: detail.into(), diagnostics: Vec::new() }
    }
}

impl From<NotAppended> for Problem {
    fn from(why: NotAppended) -> Problem {
        let title = match why {
            NotAppended::Full(_) => "the disk is full",
            NotAppended::Failed(..) => "the disk fails",
            NotAppended::Closed => "the service is stopping",
        };
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, title, why.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let kind = HeaderValue::from_static("application/problem+json");
        let mut response = (status, [(header::CONTENT_TYPE, kind)], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"lapwing\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
