//! A service from its start to its end: the catalog, the log and the state are opened in this order, what was judged is caught up with, then
//! events are taken. At the end nothing new is taken, what was taken is judged, committed and saved.
//!
//! `embedded` is the service over its own log, `kafka` the one over topics. `kept` is what a service that does not run has in its folder.

mod embedded;
mod kafka;
pub mod kept;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lapwing_dsl::functions::timestamp_text;
use lapwing_engine::Millis;
use lapwing_engine::rule_set::RuleSet;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use self::kafka::Control;
use crate::api::server::{Limits, serve};
use crate::api::{Phase, Service, routes};
use crate::auth::Access;
use crate::auth::audit::Audit;
use crate::auth::tokens::Tokens;
use crate::config::kafka::Kafka;
use crate::control::files::Rules;
use crate::control::history::{Begin, History, data_files};
use crate::control::uploads::Uploads;
use crate::data::checkpoint::{self, Checkpoints};
use crate::data::event_log::Place;
use crate::data::folder::{Folder, UPLOADS};
use crate::data::log::embedded as log;
use crate::data::matcher;
use crate::data::pipeline::{Options, Pipeline};
use crate::data::webhook;

/// The name of the source of events that come by HTTP.
pub const SOURCE: &str = "events";

/// How long requests that are under way at the end may take.
pub const DRAIN: Duration = Duration::from_secs(10);

/// How long what a request began may still take when all requests are answered.
pub const LAST_TASKS: Duration = Duration::from_secs(5);

/// What a service is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens.
    pub listen: String,
    /// Where the log, the catalog and the state are.
    pub data: PathBuf,
    /// A folder with what lists, tables and models hold at a first start.
    pub tables: Option<PathBuf>,
    /// How many threads judge.
    pub threads: usize,
    /// How events are put in order.
    pub options: Options,
    /// How often the state is saved.
    pub save_every: Duration,
    /// Files and folders that events are read from.
    pub files: Vec<PathBuf>,
    /// A file to which alerts are appended.
    pub alert_file: Option<PathBuf>,
    /// Addresses that alerts are posted to.
    pub webhooks: Vec<webhook::Settings>,
    /// About how many bytes of memory the state may take.
    pub memory: u64,
    /// Of the log.
    pub log: log::Settings,
    /// The topics that serve in place of the log.
    pub kafka: Option<Kafka>,
    /// Of the matcher.
    pub matcher: matcher::Settings,
    /// Of connections.
    pub limits: Limits,
    /// Whether a rule that one has written takes another one to be put in force.
    pub four_eyes: bool,
    /// The most bytes of a request's body.
    pub body_bytes_max: usize,
    /// The most bytes of an event in it.
    pub line_bytes_max: usize,
}

/// A service that is set up and has not begun.
pub struct Prepared {
    /// Nobody else uses it meanwhile.
    folder: Folder,
    settings: Settings,
    history: History,
    /// The control topic, where Kafka serves.
    control: Option<Control>,
}

impl Prepared {
    /// Opens the folder of a service, and the control topic, if it has one.
    ///
    /// # Errors
    /// The folder cannot be used, or Kafka not be reached.
    pub fn new(settings: Settings) -> Result<Prepared, String> {
        let folder = Folder::open(&settings.data)?;
        let mut history = History::open(&settings.data.join("catalog"))?;
        let control = settings.kafka.as_ref().map(|kafka| Control::open(kafka, &mut history)).transpose()?;
        Ok(Prepared { folder, settings, history, control })
    }

    /// Whether the service never ran: it begins with rule files.
    pub fn is_first(&self) -> bool {
        self.history.changes().is_empty()
    }

    /// Begins with rules.
    ///
    /// # Errors
    /// They could not be kept.
    pub fn begin_with(&mut self, rules: &Rules) -> Result<(), String> {
        let mut secret = [0; 8];
        getrandom::fill(&mut secret).map_err(|e| format!("the system gives no random numbers: {e}"))?;
        let begin = Begin { files: rules.texts(), secret: u64::from_le_bytes(secret) };
        let data = match &self.settings.tables {
            Some(folder) => data_files(folder).map_err(|e| format!("`{}`: {e}", folder.display()))?,
            None => Vec::new(),
        };
        match &mut self.control {
            Some(control) => control.begin(&begin, &data, &mut self.history),
            None => {
                let at = timestamp_text((self.settings.log.clock)());
                let begun = self.history.begin(begin, &data, at, None);
                begun.map_err(|e| format!("`{}`: {e}", self.settings.data.display()))
            }
        }
    }

    /// Runs the service until a signal of the system ends it, or something fails.
    ///
    /// # Errors
    /// What failed, and what to mend.
    pub fn run(self) -> Result<(), String> {
        let Prepared { folder, settings, history, control } = self;
        let result = match (control, settings.kafka.clone()) {
            (Some(control), Some(kafka)) => kafka::run(settings, &kafka, history, control),
            _ => embedded::run(settings, history),
        };
        drop(folder);
        result
    }
}

/// What is uploaded to a service over its own log and no change has taken yet.
fn uploads(data: &Path, history: &History) -> Result<Uploads, String> {
    let folder = data.join(UPLOADS);
    let uploads = Uploads::load(&folder, &history.models(), history.uploaded(), history.last_uploaded().as_deref());
    uploads.map_err(|e| format!("`{}`: {e}", folder.display()))
}

/// Who may come in, and what they did.
fn access(settings: &Settings) -> Result<Access, String> {
    let audit = Audit::open(&settings.data.join("audit.jsonl"), clock)?;
    let tokens = Tokens::open(&settings.data, clock)?;
    Ok(Access { tokens, audit, four_eyes: settings.four_eyes })
}

/// The HTTP side, which listens and does not answer yet.
struct Http {
    runtime: Runtime,
    listener: TcpListener,
    address: SocketAddr,
    signals: Signals,
}

impl Http {
    fn listen(listen: &str) -> Result<Http, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| e.to_string())?;
        let listener = runtime.block_on(TcpListener::bind(listen));
        let listener = listener.map_err(|e| format!("cannot listen on {listen}: {e}"))?;
        let address = listener.local_addr().map_err(|e| e.to_string())?;
        // Before it is ready: who is told so may tell it to end at once.
        let signals = runtime.block_on(async { Signals::listen() }).map_err(|e| e.to_string())?;
        Ok(Http { runtime, listener, address, signals })
    }

    /// Answers until the service ends: a signal says so, or somebody who has the phase.
    fn run(self, service: Arc<Service>, settings: &Settings, phase: &Arc<watch::Sender<Phase>>) {
        let routes = routes(service, settings.body_bytes_max);
        let watched = phase.subscribe();
        let signals = self.signals;
        self.runtime.block_on(async {
            tokio::spawn({
                let phase = phase.clone();
                async move {
                    signals.wait().await;
                    phase.send_replace(Phase::Stopping);
                    tracing::info!("stopping");
                }
            });
            serve(self.listener, routes, settings.limits, watched).await;
        });
        // What a request began is led to its end before the matcher looks for the last time.
        self.runtime.shutdown_timeout(LAST_TASKS);
    }
}

/// What a matcher begins with.
struct Restored {
    begin: matcher::Begin,
    /// Its place in the log.
    place: Place,
    /// Whether it was saved; else it is empty.
    saved: bool,
}

/// The state as it was saved last, or none. The rule sets are those of all changes; which sources there are may depend on its place.
fn restored(
    settings: &Settings,
    sets: &[Arc<RuleSet>],
    secret: Option<u64>,
    sources: impl FnOnce(&Place) -> Result<Vec<String>, String>,
) -> Result<Restored, String> {
    let secret = secret.ok_or("the history of the catalog does not say how the service began")?;
    let folder = settings.data.join("state");
    let (checkpoints, saved) = Checkpoints::open(&folder, settings.save_every, settings.memory)?;
    let place = saved.as_ref().map(|saved| saved.place.log.clone()).unwrap_or_default();
    let options = Options { secret, sources: sources(&place)?, ..settings.options.clone() };
    let Some(saved) = saved else {
        let mut pipeline = Pipeline::new(sets[0].clone(), options, settings.threads);
        checkpoints.keep(&mut pipeline);
        return Ok(Restored { begin: matcher::Begin { pipeline, applied: 0, checkpoints }, place, saved: false });
    };
    let checkpoint::Place { applied, generations, .. } = saved.place;
    let first = (applied + 1).checked_sub(generations);
    let live = first.and_then(|first| sets.get(first as usize..=applied as usize));
    let live = live.ok_or("the state belongs to changes that the history of the catalog does not have")?;
    let pipeline = checkpoints.load(&saved, live.to_vec(), options, settings.threads)?;
    Ok(Restored { begin: matcher::Begin { pipeline, applied, checkpoints }, place, saved: true })
}

/// The service is ready, unless it ends already.
fn is_ready(phase: &watch::Sender<Phase>, address: SocketAddr) {
    let ready = phase.send_if_modified(|phase| {
        let recovered = *phase == Phase::Recovering;
        if recovered {
            *phase = Phase::Ready;
        }
        recovered
    });
    if ready {
        tracing::info!(%address, "ready");
    }
}

/// Ends the service when it goes.
struct Ends(Arc<watch::Sender<Phase>>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.send_replace(Phase::Stopping);
    }
}

/// The signals to end.
struct Signals([tokio::signal::unix::Signal; 2]);

impl Signals {
    /// Listens for them from now on: where nobody listens the system ends the process.
    fn listen() -> std::io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?]))
    }

    /// Waits for one.
    async fn wait(self) {
        let Signals([mut terminate, mut interrupt]) = self;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// The wall clock in milliseconds since 1970.
pub fn clock() -> Millis {
    jiff::Timestamp::now().as_millisecond()
}
