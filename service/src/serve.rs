//! A service from its start to its end: the catalog, the log and the state are opened in this order, what was judged is caught up with, then
//! events are taken. At the end nothing new is taken, what was taken is judged, committed and saved.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lapwing_dsl::functions::timestamp_text;
use lapwing_engine::Millis;
use lapwing_engine::rule_set::RuleSet;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::api::events::Intake;
use crate::api::server::{Limits, serve};
use crate::api::{Phase, Service, routes};
use crate::control::files::Rules;
use crate::control::history::History;
use crate::control::rollout::{Ready, Rollout};
use crate::data::alert_file::AlertFile;
use crate::data::checkpoint::Checkpoints;
use crate::data::dead_letters::DeadLetters;
use crate::data::event_log;
use crate::data::followed::FollowedLog;
use crate::data::log::embedded::{self, Log};
use crate::data::log::events::LogEvents;
use crate::data::matcher::{self, Begin, Matcher, Stopped};
use crate::data::pipeline::{Options, Pipeline};
use crate::data::webhook;
use crate::data::webhook::all::Webhooks;

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
    /// A file to which alerts are appended.
    pub alert_file: Option<PathBuf>,
    /// Addresses that alerts are posted to.
    pub webhooks: Vec<webhook::Settings>,
    /// About how many bytes of memory the state may take.
    pub memory: u64,
    /// Of the log.
    pub log: embedded::Settings,
    /// Of the matcher.
    pub matcher: matcher::Settings,
    /// Of connections.
    pub limits: Limits,
    /// The most bytes of a request's body.
    pub body_bytes_max: usize,
    /// The most bytes of an event in it.
    pub line_bytes_max: usize,
}

/// A service that is set up and has not begun.
pub struct Prepared {
    settings: Settings,
    history: History,
}

impl Prepared {
    /// Opens the folder of a service.
    pub fn new(settings: Settings) -> Result<Prepared, String> {
        let history = History::open(&settings.data.join("catalog"))?;
        Ok(Prepared { settings, history })
    }

    /// Whether the service never ran: it begins with rule files.
    pub fn is_first(&self) -> bool {
        self.history.changes().is_empty()
    }

    /// Begins with rules.
    pub fn begin_with(&mut self, rules: &Rules) -> Result<(), String> {
        let at = timestamp_text((self.settings.log.clock)());
        let mut secret = [0; 8];
        getrandom::fill(&mut secret).map_err(|e| format!("the system gives no random numbers: {e}"))?;
        let begun = self.history.begin(rules, self.settings.tables.as_deref(), u64::from_le_bytes(secret), at);
        begun.map_err(|e| format!("`{}`: {e}", self.settings.data.display()))
    }

    /// Runs the service until a signal of the system says that it is to end, or something fails.
    pub fn run(self) -> Result<(), String> {
        let Prepared { settings, mut history } = self;
        let (log, writing, opened) =
            Log::open(&settings.data.join("log"), settings.log.clone()).map_err(|e| e.to_string())?;
        if opened.torn > 0 {
            tracing::warn!(bytes = opened.torn, "the log ended within a record, which was never acknowledged");
        }
        reconcile(&mut history, opened.progress.change)?;
        let (catalog, sets) = history.told().map_err(|refusal| refusal.message)?;
        let ready = Arc::new(Ready::default());
        let (begin, place) = state(&settings, &log, &sets, &history)?;
        for (number, set) in sets.iter().enumerate().skip(begin.applied as usize + 1) {
            ready.put(number as u64, set.clone());
        }
        let (from, to) = (place.offset, opened.progress.judged);
        tracing::info!(generation = catalog.generation(), from, to, "bringing the state to where it was");
        let (ask, questions) = mpsc::channel(16);
        let events = LogEvents::new(log.clone(), from, to, settings.matcher.max_ahead.is_some());
        let mut matcher = Matcher::new(events, ready.clone(), settings.matcher.clone(), begin, questions);
        let rollout = Rollout::new(history, catalog, ready, log.clone(), settings.log.clock);
        let stop = Arc::new(AtomicBool::new(false));
        let alert_file = match &settings.alert_file {
            Some(path) => Some(AlertFile::open(path, &settings.data.join("alert-file.json"), FollowedLog::new(&log))?),
            None => None,
        };
        let folder = settings.data.join("webhooks");
        let webhooks = Webhooks::open(&settings.webhooks, &folder, || FollowedLog::new(&log))?;
        let (phase, watched) = watch::channel(Phase::Recovering);
        let service = Arc::new(Service {
            dead_letters: DeadLetters::new(log.clone()),
            log,
            rollout,
            intake: Intake::new(settings.line_bytes_max),
            ask,
            phase: watched.clone(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| e.to_string())?;
        let routes = routes(service, settings.body_bytes_max);
        let listener = runtime.block_on(TcpListener::bind(&settings.listen));
        let listener = listener.map_err(|e| format!("cannot listen on {}: {e}", settings.listen))?;
        let address = listener.local_addr().map_err(|e| e.to_string())?;
        let phase = Arc::new(phase);
        // Before it is ready: who is told so may tell it to end at once.
        let signals = runtime.block_on(async { Signals::listen() }).map_err(|e| e.to_string())?;
        let judging = std::thread::Builder::new().name("matcher".to_owned()).spawn({
            let (phase, stop) = (phase.clone(), stop.clone());
            move || {
                // Without a matcher nothing may be taken, however it ended.
                let phase = Ends(phase);
                if !matcher.catch_up(&stop)? {
                    return Ok(());
                }
                let ready = phase.0.send_if_modified(|phase| {
                    let recovered = *phase == Phase::Recovering;
                    if recovered {
                        *phase = Phase::Ready;
                    }
                    recovered
                });
                if ready {
                    tracing::info!(%address, "ready");
                }
                matcher.run(&stop)
            }
        });
        let judging = judging.map_err(|e| e.to_string())?;
        let judged = Arc::new(AtomicBool::new(false));
        let writing_alerts = alert_file.map(|file| {
            let judged = judged.clone();
            std::thread::spawn(move || file.run(&judged))
        });
        let webhooks = webhooks.run().map_err(|e| e.to_string())?;
        runtime.block_on(async {
            tokio::spawn({
                let phase = phase.clone();
                async move {
                    signals.wait().await;
                    phase.send_replace(Phase::Stopping);
                    tracing::info!("stopping");
                }
            });
            serve(listener, routes, settings.limits, watched).await;
        });
        // What a request began is led to its end before the matcher looks for the last time.
        runtime.shutdown_timeout(LAST_TASKS);
        stop.store(true, Ordering::Release);
        let result = judging.join().map_err(|_| "the matcher has failed".to_owned());
        let result = result.and_then(|done| done.map_err(|stopped: Stopped| stopped.to_string()));
        judged.store(true, Ordering::Release);
        if let Some(thread) = writing_alerts {
            let _ = thread.join();
        }
        webhooks.end();
        writing.join();
        tracing::info!("stopped");
        result
    }
}

/// A change that got no place in the log is taken back.
fn reconcile(history: &mut History, last: u64) -> Result<(), String> {
    while history.next() > last + 1 {
        history.take_back().map_err(|e| format!("the history of the catalog cannot be written: {e}"))?;
    }
    match history.next() == last + 1 {
        true => Ok(()),
        false => Err(format!(
            "the log names change {last}, which the history of the catalog does not have: they are not of one service"
        )),
    }
}

/// The state as it was saved last, or none.
fn state(
    settings: &Settings,
    log: &Log,
    sets: &[Arc<RuleSet>],
    history: &History,
) -> Result<(Begin, event_log::Place), String> {
    let secret = history.secret().ok_or("the history of the catalog does not say how the service began")?;
    let options = Options { secret, sources: vec![SOURCE.to_owned()], ..settings.options.clone() };
    let folder: &Path = &settings.data.join("state");
    let (checkpoints, saved) = Checkpoints::open(folder, settings.save_every, settings.memory)?;
    let Some(saved) = saved else {
        let oldest = log.read_from(0).oldest();
        if oldest > 0 {
            return Err(format!(
                "`{}` holds no state, and the log no longer has its beginning to make it from",
                folder.display()
            ));
        }
        let mut pipeline = Pipeline::new(sets[0].clone(), options, settings.threads);
        checkpoints.keep(&mut pipeline);
        return Ok((Begin { pipeline, applied: 0, checkpoints }, event_log::Place::default()));
    };
    let place = saved.place.clone();
    let applied = place.applied as usize;
    let live = (applied + 1).checked_sub(place.generations as usize).and_then(|first| sets.get(first..=applied));
    let live = live.ok_or("the state belongs to changes that the history of the catalog does not have")?;
    let pipeline = checkpoints.load(&saved, live.to_vec(), options, settings.threads)?;
    Ok((Begin { pipeline, applied: place.applied, checkpoints }, place.log))
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
