//! `POST /v1/control`: changes of rules, lists, tables and models while events flow. `POST /v1/plan` says before what one would do, `GET /v1/catalog`
//! what holds, `GET /v1/history` how that came to be.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use serde_json::json;
use tokio::sync::oneshot;

use super::Service;
use super::access::{Changed, forbidden};
use super::problem::Problem;
use crate::auth::{Permission, Principal};
use crate::control::history::Change;
use crate::control::message::{Kind, Message, Op, Stage};
use crate::control::rollout::NotAccepted;
use crate::control::uploads::hex;

/// Takes a control message; answers once it has its place in the log, or why it is refused.
pub(super) async fn change(
    State(service): State<Arc<Service>>,
    Extension(principal): Extension<Principal>,
    body: String,
) -> Result<(Extension<Changed>, Json<serde_json::Value>), Problem> {
    service.is_ready()?;
    let (message, text) = signed(&body, &principal)?;
    allowed(&service, &principal, &message).await?;
    // Led to its end, whether somebody waits for the answer or not.
    let changing = tokio::spawn({
        let service = service.clone();
        async move { service.rollout.change(&text).await }
    });
    let stopped =
        || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the service is stopping", "try again when it has started");
    let accepted = changing.await.map_err(|_| stopped())??;
    let mut answer = json!({"generation": accepted.generation, "changed": accepted.change.is_some()});
    if let Some(placed) = accepted.change {
        answer["change"] = json!(placed.number);
        answer["place"] = json!(placed.place);
    }
    if let Some(upload) = accepted.upload {
        answer["upload"] = json!(upload);
    }
    let Message { op, kind, name, version, stage, upload, chunk, author, reason, .. } = &message;
    let mut changed = json!({"op": op, "kind": kind, "name": name, "author": author, "reason": reason});
    let more = [
        ("version", json!(version)),
        ("stage", json!(stage)),
        ("upload", json!(upload)),
        ("chunk", json!(chunk)),
        ("generation", json!(accepted.generation)),
    ];
    more.into_iter().filter(|(_, value)| !value.is_null()).for_each(|(key, value)| changed[key] = value);
    if let Some(placed) = accepted.change {
        changed["change"] = json!(placed.number);
    }
    Ok((Extension(Changed(changed)), Json(answer)))
}

/// A message with its author, who is who sent it; an administrator may send what another one has made.
fn signed(body: &str, principal: &Principal) -> Result<(Message, String), Problem> {
    let read = |text: &str| serde_json::from_str(text).map_err(|e| NotAccepted::NoMessage(e.to_string()));
    let message: Message = read(body)?;
    match &message.author {
        Some(author) if *author == principal.name || principal.role.may(Permission::Administer) => {
            Ok((message, body.to_owned()))
        }
        Some(author) => {
            let detail = format!(
                "`author` is `{author}`, and the token is that of `{}`: leave `author` out, or send it by `{author}`'s own token",
                principal.name
            );
            Err(Problem::new(StatusCode::FORBIDDEN, "not allowed", detail))
        }
        None => {
            // It goes behind everything else, which stays as it was written.
            let name = serde_json::to_string(&principal.name).unwrap_or_default();
            let open = body.trim_end().strip_suffix('}').unwrap_or_default();
            let text = format!("{open},\"author\":{name}}}");
            Ok((read(&text)?, text))
        }
    }
}

/// Whether somebody may send a message: a draft takes less than what is in force at once.
async fn allowed(service: &Service, principal: &Principal, message: &Message) -> Result<(), Problem> {
    let rule = message.kind == Kind::Rule;
    let put = rule && message.op == Op::Put;
    if put && message.stage == Some(Stage::Draft) {
        return Ok(());
    }
    if !principal.role.may(Permission::Release) {
        let mut problem = forbidden(principal, Permission::Release);
        if put {
            problem.detail.push_str("; with `\"stage\": \"draft\"` a rule is put without being in force");
        }
        return Err(problem);
    }
    let four_eyes = |detail: String| Err(Problem::new(StatusCode::FORBIDDEN, "it takes two", detail));
    match (service.access.four_eyes, message.op) {
        (true, Op::Apply) => four_eyes(
            "what a folder says comes into force at once, and `auth.four_eyes` wants somebody else to do that: put each rule as a draft"
                .to_owned(),
        ),
        (true, Op::Put) if put => four_eyes(format!(
            "put `{}` with `\"stage\": \"draft\"`, and let somebody else put it at the stage `live`",
            message.name
        )),
        (true, Op::Stage) if rule && message.stage == Some(Stage::Live) => {
            let catalog = service.rollout.catalog().await;
            match catalog.author(&message.name, message.version) {
                Some(author) if Some(author) == message.author.as_deref() || author == principal.name => {
                    four_eyes(format!("`{author}` has written it: somebody else puts it in force"))
                }
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
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

/// All rules with their versions, the other declarations, and the versions of models.
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
    let models = catalog.models().map(|(name, versions)| {
        let version =
            |(version, stage, digest): (u32, Stage, &[u8; 32])| json!({"version": version, "stage": stage, "sha256": hex(digest)});
        json!({"name": name, "versions": versions.into_iter().map(version).collect::<Vec<_>>()})
    });
    Json(json!({
        "generation": catalog.generation(), "rules": rules, "declarations": declarations.collect::<Vec<_>>(),
        "models": models.collect::<Vec<_>>(),
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
