//! A service over topics of Kafka.
//!
//! The instances of a group share one journal: whoever the group gives its partition judges (`tasks`), the others stand by. Every instance reads the
//! control topic (`control`), so that each has the catalog when its turn comes.

mod control;
mod tasks;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

pub use self::control::Control;
use self::tasks::{Task, Tasks};
use super::{Ends, Http, Settings, UPLOADS, access};
use crate::api::{Events, Phase, Service, Topics};
use crate::config::kafka::Kafka;
use crate::control::history::History;
use crate::control::rollout::{Places, Ready, Rollout};
use crate::data::kafka::{Membership, Protocol};
use crate::data::kafka_log::{self, sink};
use crate::data::replace::replace;
use crate::metrics::Metrics;

/// How long brokers may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// How long anything is waited for before it is looked whether the service ends.
const LOOK: Duration = Duration::from_millis(100);

/// How long an instance waits for the task before it says that it stands by.
const STANDS_BY: Duration = Duration::from_secs(5);

/// The shortest time after which brokers abort a transaction that nobody ends.
const TRANSACTION_MIN: Duration = Duration::from_secs(60);

/// Runs the service until a signal of the system ends it, or something fails.
pub fn run(settings: Settings, kafka: &Kafka, history: History, control: Control) -> Result<(), String> {
    let told = history.told().map_err(|refusal| refusal.message)?;
    let ready = Arc::new(Ready::default());
    let places = Places::Topic(control.topic.clone());
    let uploads = control.uploads(&settings.data.join(UPLOADS), &history)?;
    let rollout = Rollout::new(history, uploads, told, ready.clone(), places, settings.log.clock);
    let properties = control.properties.clone();
    let (ask, questions) = mpsc::channel(16);
    let questions = Arc::new(Mutex::new(questions));
    let (phase, watched) = watch::channel(Phase::Recovering);
    let phase = Arc::new(phase);
    let events = Events::Topics(Topics::new(&properties, kafka));
    let access = access(&settings)?;
    let metrics = Arc::new(Metrics::default());
    let service = Arc::new(Service { events, rollout, access, metrics, ask, phase: watched });
    let http = Http::listen(&settings.listen)?;
    // Who comes back soon gets its task back at once.
    let instance = format!("{}-{}", kafka.group, instance(&settings.data)?);
    let own = properties.clone().with("group.instance.id", &instance);
    let member = Membership::join(&own, &kafka.group, &kafka.journal.topic, Protocol::Cooperative);
    let member = member.map_err(|e| e.to_string())?;
    let task = Task {
        log: kafka_log::Settings {
            properties,
            sources: kafka.source.clone(),
            sink: sink_settings(&settings, kafka),
            idle_after: settings.matcher.idle_after,
            clock: settings.matcher.clock,
        },
        settings: settings.clone(),
        service: service.clone(),
        ready,
        questions,
        standing: sink::Standing::default(),
        phase: phase.clone(),
        address: http.address,
    };
    let spawn = |name: &str, work: Box<dyn FnOnce() -> Result<(), String> + Send>| {
        std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|e| e.to_string())
    };
    let changing = spawn("control", {
        let (phase, service) = (Ends(phase.clone()), service.clone());
        Box::new(move || control.run(&service.rollout, &phase.0))
    })?;
    let judging = spawn("tasks", {
        let phase = Ends(phase.clone());
        Box::new(move || Tasks { task: Arc::new(task), running: None }.run(member, &phase.0))
    })?;
    http.run(service, &settings, &phase);
    let results = [judging, changing].map(|thread| thread.join().unwrap_or(Err("a thread has failed".to_owned())));
    tracing::info!("stopped");
    results.into_iter().collect()
}

/// The name of this instance, which stays the same as long as its folder does.
fn instance(folder: &Path) -> Result<String, String> {
    let path = folder.join("instance");
    let failed = |e: std::io::Error| format!("`{}`: {e}", path.display());
    match fs::read_to_string(&path) {
        Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|e| format!("the system gives no random numbers: {e}"))?;
    let name = format!("{:016x}", u64::from_le_bytes(bytes));
    replace(&path, name.as_bytes()).map_err(failed)?;
    Ok(name)
}

fn sink_settings(settings: &Settings, kafka: &Kafka) -> sink::Settings {
    sink::Settings {
        group: kafka.group.clone(),
        journal: kafka.journal.topic.clone(),
        alerts: kafka.alerts.topic.clone(),
        topic_by: kafka.alerts.topic_by,
        dead_letters: kafka.dead_letters.topic.clone(),
        late: kafka.late.topic.clone(),
        delivery: kafka.delivery,
        timeout: (settings.matcher.epoch_every * 10).max(TRANSACTION_MIN),
    }
}
