//! `POST /v1/control`: changes of rules, lists, tables and models while events flow. `POST /v1/plan` says before what one would do, `GET /v1/catalog`
//! what holds, `GET /v1/history` how that came to be.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;
use tokio::sync::oneshot;

use super::Service;
use super::problem::Problem;
use crate::control::history::Change;
use crate::control::message::Stage;
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
    let accepted = changing.await.map_err(|_| stopped())??;
    let mut answer = json!({"generation": accepted.generation, "changed": accepted.change.is_some()});
    if let Some(placed) = accepted.change {
        answer["change"] = json!(placed.number);
        answer["place"] = json!(placed.place);
    }
    Ok(Json(answer))
}

/// Says what a control message would do.
pub(super) async fn plan(
    State(service): State<Arc<Service>>,
    body: String,
) -> Result<Json<serde_json::Value>, Problem> {
    service.is_ready()?;
    let (answer, live) = oneshot::channel();
    let stopped =
        || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the service is stopping", "try again when it has started");
    service.ask.send(answer).await.map_err(|_| stopped())?;
    let live = live.await.map_err(|_| stopped())?;
    let (plan, generation) = service.rollout.plan(&body, &live).await?;
    let mut answer = json!(plan);
    answer["generation"] = json!(generation);
    Ok(Json(answer))
}

/// All rules with their versions, and the other declarations.
pub(super) async fn catalog(State(service): State<Arc<Service>>) -> Json<serde_json::Value> {
    let catalog = service.rollout.catalog().await;
    let version =
        |(version, stage, source): (u32, Stage, &str)| json!({"version": version, "stage": stage, "source": source});
    let rules: Vec<_> = catalog
        .rules()
        .map(|(name, present, stage)| {
            let versions: Vec<_> = catalog.versions(name).map(version).collect();
            json!({"name": name, "version": present, "stage": stage, "versions": versions})
        })
        .collect();
    let declarations =
        catalog.declarations().map(|(kind, name, source)| json!({"kind": kind, "name": name, "source": source}));
    Json(json!({
        "generation": catalog.generation(), "rules": rules, "declarations": declarations.collect::<Vec<_>>(),
    }))
}

/// All changes since the service began, with author, time and reason.
pub(super) async fn history(State(service): State<Arc<Service>>) -> Json<Vec<Change>> {
    Json(service.rollout.history().await)
}

impl From<NotAccepted> for Problem {
    fn from(why: NotAccepted) -> Problem {
        match why {
            NotAccepted::NoMessage(why) => Problem::new(StatusCode::BAD_REQUEST, "no control message", why),
            NotAccepted::Refused(refusal) => Problem {
                diagnostics: refusal.diagnostics,
                ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "the change is refused", refusal.message)
            },
            NotAccepted::NotKept(why) => {
                let detail = format!(
                    "the change could not be written to the disk: {why}; nothing has changed, send it again later"
                );
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the disk fails", detail)
            }
            NotAccepted::NotAppended(why) => why.into(),
            NotAccepted::NotSent(why) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Kafka does not answer", why),
        }
    }
}
