//! A service over its own log.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::{Ends, Http, Restored, SOURCE, Settings, access, is_ready, restored, uploads};
use crate::api::events::Intake;
use crate::api::{Embedded, Events, Phase, Service};
use crate::control::history::History;
use crate::control::rollout::{Places, Ready, Rollout};
use crate::data::alert_file::AlertFile;
use crate::data::dead_letters::DeadLetters;
use crate::data::file_source::FileSource;
use crate::data::followed::FollowedLog;
use crate::data::log::embedded::Log;
use crate::data::log::events::LogEvents;
use crate::data::matcher::{Matcher, Stopped};
use crate::data::webhook::all::Webhooks;
use crate::metrics::Metrics;

/// How long anything is waited for before it is looked whether the service ends.
const LOOK: Duration = Duration::from_millis(20);

/// Runs the service until a signal of the system ends it, or something fails.
pub fn run(settings: Settings, mut history: History) -> Result<(), String> {
    let (log, writing, opened) =
        Log::open(&settings.data.join("log"), settings.log.clone()).map_err(|e| e.to_string())?;
    if opened.torn > 0 {
        tracing::warn!(bytes = opened.torn, "the log ended within a record, which was never acknowledged");
    }
    reconcile(&mut history, opened.progress.change)?;
    let (catalog, sets) = history.told().map_err(|refusal| refusal.message)?;
    let ready = Arc::new(Ready::default());
    let restored = restored(&settings, &sets, history.secret(), |_| Ok(vec![SOURCE.to_owned()]))?;
    let Restored { begin, place, saved } = restored;
    if !saved && log.read_from(0).oldest() > 0 {
        return Err(format!(
            "`{}` holds no state, and the log no longer has its beginning to make it from",
            settings.data.join("state").display()
        ));
    }
    for (number, set) in sets.iter().enumerate().skip(begin.applied as usize + 1) {
        ready.put(number as u64, set.clone());
    }
    let (from, to) = (place.offset, opened.progress.judged);
    tracing::info!(generation = catalog.generation(), from, to, "bringing the state to where it was");
    let metrics = Arc::new(Metrics::default());
    metrics.matching.is_active(true);
    let (ask, questions) = mpsc::channel(16);
    let questions = Arc::new(Mutex::new(questions));
    let events = LogEvents::new(log.clone(), from, to);
    let reached = events.reached();
    let mut matcher = Matcher::new(events, ready.clone(), settings.matcher.clone(), begin, questions, metrics.clone());
    let uploads = uploads(&settings.data, &history)?;
    let rollout = Rollout::new(history, uploads, (catalog, sets), ready, Places::Log(log.clone()), settings.log.clock);
    let stop = Arc::new(AtomicBool::new(false));
    let alert_file = match &settings.alert_file {
        Some(path) => Some(AlertFile::open(path, &settings.data.join("alert-file.json"), FollowedLog::new(&log))?),
        None => None,
    };
    let folder = settings.data.join("webhooks");
    let webhooks = Webhooks::open(&settings.webhooks, &folder, || FollowedLog::new(&log))?;
    let (phase, watched) = watch::channel(Phase::Recovering);
    let phase = Arc::new(phase);
    let dead_letters = DeadLetters::new(log.clone());
    let (intake, standings) = (Intake::new(settings.line_bytes_max), webhooks.standings());
    let folder = settings.data.join("files");
    let open = |path: &PathBuf| FileSource::open(path, &folder, settings.line_bytes_max, log.clone());
    let sources: Vec<FileSource> = settings.files.iter().map(open).collect::<Result<_, _>>()?;
    let files = sources.iter().map(FileSource::standing).collect();
    let events = Events::Log(Embedded { log, intake, dead_letters, reached, webhooks: standings, files });
    let access = access(&settings)?;
    let service = Arc::new(Service { events, rollout, access, metrics, ask, phase: watched });
    let http = Http::listen(&settings.listen)?;
    let address = http.address;
    let judging = std::thread::Builder::new().name("matcher".to_owned()).spawn({
        let (phase, stop) = (phase.clone(), stop.clone());
        move || {
            // Without a matcher nothing may be taken, however it ended.
            let phase = Ends(phase);
            if !matcher.catch_up(&stop)? {
                return Ok(());
            }
            is_ready(&phase.0, address);
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
    let reading = sources.into_iter().map(|source| {
        let phase = phase.subscribe();
        std::thread::spawn(move || {
            while *phase.borrow() == Phase::Recovering {
                std::thread::sleep(LOOK);
            }
            source.run(|| *phase.borrow() == Phase::Stopping);
        })
    });
    let reading: Vec<_> = reading.collect();
    http.run(service, &settings, &phase);
    // What they have taken is judged before the end.
    reading.into_iter().for_each(|thread| drop(thread.join()));
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

/// A change that got no place in the log is taken back.
pub(super) fn reconcile(history: &mut History, last: u64) -> Result<(), String> {
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
