//! `POST /v1/control`: changes of rules, lists, tables and models while events flow.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use super::Service;
use super::problem::Problem;
use crate::control::rollout::NotAccepted;

/// Takes a control message; answers once it has its place in the log, or why it is refused.
pub(super) async fn change(
    State(service): State<Arc<Service>>,
    body: String,
) -> Result<Json<serde_json::Value>, Problem> {
    service.is_ready()?;
    // Led to its end, whether somebody waits for the answer or not.
    let changing = tokio::spawn({
        let service = service.clone();
        async move { service.rollout.change(&body).await }
    });
    let stopped =
        || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the service is stopping", "try again when it has started");
    match changing.await.map_err(|_| stopped())? {
        Ok(accepted) => {
            Ok(Json(json!({"change": accepted.number, "generation": accepted.generation, "place": accepted.place})))
        }
        Err(NotAccepted::NoMessage(why)) => Err(Problem::new(StatusCode::BAD_REQUEST, "no control message", why)),
        Err(NotAccepted::Refused(refusal)) => Err(Problem {
            diagnostics: refusal.diagnostics,
            ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "the change is refused", refusal.message)
        }),
        Err(NotAccepted::NotKept(why)) => {
            let detail =
                format!("the change could not be written to the disk: {why}; nothing has changed, send it again later");
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the disk fails", detail))
        }
        Err(NotAccepted::NotAppended(why)) => Err(why.into()),
    }
}
