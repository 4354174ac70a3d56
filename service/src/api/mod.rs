//! The HTTP side of a service.
//!
//! `events` takes events in, `alerts` streams alerts out, `control` takes changes, `dead_letters` shows what was not
//! taken and puts it in again, `health` and `status` say how the service is; `server` accepts connections, `access` says who may use what, by
//! `tokens`, and `audit` shows what was done.
//! Over Kafka `topic_alerts` and `topic_letters` answer for `alerts` and `dead_letters`. Mistakes are answered as `problem` says.

mod access;
mod alerts;
mod audit;
mod control;
mod dead_letters;
pub mod events;
mod health;
mod metrics;
mod problem;
pub mod server;
mod status;
mod tokens;
mod topic_alerts;
mod topic_letters;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use self::access::{Needs, guard};
use self::events::Intake;
use self::problem::Problem;
use crate::auth::{Access, Permission};
use crate::config::kafka::{Kafka, TopicBy};
use crate::control::rollout::Rollout;
use crate::data::dead_letters::DeadLetters;
use crate::data::file_source;
use crate::data::kafka::Properties;
use crate::data::log::embedded::Log;
use crate::data::log::reached::Reached;
use crate::data::topic_letters::TopicLetters;
use crate::data::webhook::standing::Shared as Standing;
use crate::metrics::Metrics;

/// What requests reach.
pub struct Service {
    /// Where events come from and alerts go.
    pub events: Events,
    /// Takes changes.
    pub rollout: Rollout,
    /// Who may come in.
    pub access: Access,
    /// What is counted and timed.
    pub metrics: Arc<Metrics>,
    /// Asks the matcher how many runs live, by rule.
    pub ask: mpsc::Sender<oneshot::Sender<BTreeMap<String, usize>>>,
    /// Where the service stands on its way from start to end.
    pub phase: watch::Receiver<Phase>,
}

/// Where events come from and alerts go.
pub enum Events {
    /// The embedded log.
    Log(Embedded),
    /// Topics.
    Topics(Topics),
}

/// The embedded log, for requests.
pub struct Embedded {
    /// The log.
    pub log: Log,
    /// Holds events against the rules before they are taken.
    pub intake: Intake,
    /// The lines that gave no event.
    pub dead_letters: DeadLetters,
    /// How far the matcher has come.
    pub reached: Arc<Reached>,
    /// How each webhook is.
    pub webhooks: Vec<Standing>,
    /// How each file or folder is that events are read from.
    pub files: Vec<file_source::Shared>,
}

/// So many streams of alerts read topics at once, each by a connection of its own.
const STREAMS_MAX: usize = 64;

/// The topics of a service, for requests.
pub struct Topics {
    properties: Properties,
    group: String,
    sources: Vec<String>,
    alerts: String,
    topic_by: TopicBy,
    letters: TopicLetters,
    streams: Arc<Semaphore>,
}

impl Topics {
    /// Those of a configuration.
    pub fn new(properties: &Properties, kafka: &Kafka) -> Topics {
        Topics {
            properties: properties.clone(),
            group: kafka.group.clone(),
            sources: kafka.source.iter().map(|source| source.topic.clone()).collect(),
            alerts: kafka.alerts.topic.clone(),
            topic_by: kafka.alerts.topic_by,
            letters: TopicLetters::new(properties.clone(), kafka),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        }
    }
}

/// Where a service stands on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It brings its state to where it was.
    Recovering,
    /// It takes events and judges them.
    Ready,
    /// It takes nothing any more, and ends.
    Stopping,
}

/// Something that can be asked for by who has a token.
struct Route {
    method: Method,
    path: &'static str,
    needs: Permission,
    /// Whether what is asked stands in the audit log.
    audited: bool,
    answers: MethodRouter<Arc<Service>>,
}

/// Everything that needs a token.
fn guarded() -> Vec<Route> {
    use Permission::{Administer, Draft, Ingest, Operate, Read};
    let reads = |path, needs, answers| Route { method: Method::GET, path, needs, audited: false, answers };
    let asks = |path, needs, answers| Route { method: Method::POST, path, needs, audited: false, answers };
    let changes = |method, path, needs, answers| Route { method, path, needs, audited: true, answers };
    vec![
        // Events are many, and each is in the log.
        asks("/v1/events", Ingest, post(events::take)),
        reads("/v1/alerts/stream", Read, get(alerts::stream)),
        // What is more than a draft needs more: see there.
        changes(Method::POST, "/v1/control", Draft, post(control::change)),
        asks("/v1/plan", Read, post(control::plan)),
        reads("/v1/catalog", Read, get(control::catalog)),
        reads("/v1/history", Read, get(control::history)),
        reads("/v1/dead-letters", Read, get(dead_letters::list)),
        reads("/v1/dead-letters/{id}", Read, get(dead_letters::show)),
        changes(Method::POST, "/v1/dead-letters/redrive", Operate, post(dead_letters::redrive)),
        reads("/v1/status", Read, get(status::show)),
        reads("/metrics", Read, get(metrics::show)),
        reads("/v1/me", Read, get(access::me)),
        reads("/v1/tokens", Administer, get(tokens::list)),
        changes(Method::POST, "/v1/tokens", Administer, post(tokens::make)),
        changes(Method::DELETE, "/v1/tokens/{id}", Administer, delete(tokens::revoke)),
        changes(Method::POST, "/v1/tokens/{id}/rotate", Administer, post(tokens::rotate)),
        reads("/v1/audit", Administer, get(audit::list)),
        reads("/v1/audit/verify", Administer, get(audit::verify)),
    ]
}

/// What each route needs that needs a token: its method and its path.
pub fn needs() -> Vec<(Method, &'static str, Permission)> {
    guarded().into_iter().map(|route| (route.method, route.path, route.needs)).collect()
}

/// The routes. A body has at most so many bytes.
pub fn routes(service: Arc<Service>, body_bytes_max: usize) -> Router {
    let mut router = Router::new();
    for Route { path, needs, audited, answers, .. } in guarded() {
        let needs = Needs { service: service.clone(), permission: needs, audited };
        router = router.route(path, answers.route_layer(from_fn_with_state(needs, guard)));
    }
    router
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .fallback(nothing)
        .method_not_allowed_fallback(not_so)
        .layer(axum::extract::DefaultBodyLimit::max(body_bytes_max))
        .layer(from_fn_with_state(service.clone(), metrics::count))
        .with_state(service)
}

async fn nothing(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing here", format!("no resource has the path `{}`", uri.path()))
}

async fn not_so(method: Method, uri: Uri) -> Problem {
    let detail = format!("`{}` does not take {method}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "not by this method", detail)
}

impl Service {
    /// The embedded log.
    fn embedded(&self) -> Result<&Embedded, Problem> {
        match &self.events {
            Events::Log(embedded) => Ok(embedded),
            Events::Topics(Topics { sources, alerts, .. }) => {
                let detail = format!(
                    "events are read from the Kafka topics {}, and alerts are written to `{alerts}`",
                    sources.iter().map(|source| format!("`{source}`")).collect::<Vec<_>>().join(", ")
                );
                Err(Problem::new(StatusCode::CONFLICT, "this service is served by Kafka", detail))
            }
        }
    }

    /// Refuses what comes before the service is ready, or when it ends.
    fn is_ready(&self) -> Result<(), Problem> {
        let (title, detail) = match *self.phase.borrow() {
            Phase::Ready => return Ok(()),
            Phase::Recovering => ("not ready yet", "the service brings its state to where it was; try again soon"),
            Phase::Stopping => ("the service is stopping", "try again when it has started"),
        };
        Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, title, detail))
    }
}
