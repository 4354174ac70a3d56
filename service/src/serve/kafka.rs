//! A service over topics of Kafka.
//!
//! The instances of a group share one journal: whoever the group gives its partition judges, the others stand by. Every instance reads the control
//! topic, so that each has the catalog when its turn comes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::{Ends, Http, Settings, is_ready};
use crate::api::{Events, Phase, Service, Topics};
use crate::config::kafka::{Kafka, TopicBy};
use crate::control::history::{Begin, History};
use crate::control::rollout::{Accepted, Again, NotAccepted, Places, Ready, Rollout};
use crate::control::topic::{ControlReader, ControlTopic, Message, Status};
use crate::data::checkpoint::Checkpoints;
use crate::data::event_log::Ended;
use crate::data::kafka::{Change, Client, Error, Membership, Properties, Protocol};
use crate::data::kafka_log::{self, KafkaLog, sink, source_names};
use crate::data::matcher::{Begin as BeginMatcher, Matcher, Questions, Stopped, answer};
use crate::data::pipeline::{Options, Pipeline};
use crate::data::replace::replace;

/// How long brokers may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// How long anything is waited for before it is looked whether the service ends.
const LOOK: Duration = Duration::from_millis(100);

/// How long an instance waits for the task before it says that it stands by.
const STANDS_BY: Duration = Duration::from_secs(5);

/// The shortest time after which brokers abort a transaction that nobody ends.
const TRANSACTION_MIN: Duration = Duration::from_secs(60);

/// The control topic of a service that is set up.
pub struct Control {
    properties: Properties,
    reader: ControlReader,
    topic: Arc<ControlTopic>,
    status: Option<Status>,
    /// What was read behind the beginning.
    read: Vec<Message>,
    /// Up to before this offset it was told what became of messages.
    told: u64,
    /// What was judged before and not told, up to before an offset.
    again: Option<(Again, u64)>,
}

impl Control {
    /// Looks whether everything is there, and reads what the service began with, where this instance does not know it yet.
    pub fn open(kafka: &Kafka, history: &mut History) -> Result<Control, String> {
        let properties = Properties::of(kafka);
        // A task goes to another instance soon after its own is gone.
        let properties = properties.with_default("session.timeout.ms", "10000");
        let failed = |e: Error| e.to_string();
        let (group, topic) = (&kafka.group, &kafka.control.topic);
        let reader = ControlReader::open(&properties, group, topic, history.next_offset()).map_err(failed)?;
        look_for_topics(kafka, reader.client())?;
        let writer = Arc::new(ControlTopic::open(&properties, topic)?);
        let status = kafka.status.topic.as_deref().map(|topic| Status::open(&properties, topic)).transpose();
        let status = status.map_err(failed)?;
        let mut control = Control { properties, reader, topic: writer, status, read: Vec::new(), told: 0, again: None };
        if let Some(topic) = &kafka.status.topic {
            control.tell_on(Status::told(&control.properties, group, topic).map_err(failed)?, history)?;
        }
        if history.changes().is_empty() {
            control.find_beginning(history)?;
        }
        Ok(control)
    }

    /// Goes on behind what was told: a process that was killed may have judged more.
    fn tell_on(&mut self, told: Option<u64>, history: &History) -> Result<(), String> {
        // What is beyond the end is of another control topic.
        let Some(told) = told.filter(|told| *told <= self.reader.end()) else { return Ok(()) };
        self.told = told;
        let begins = history.changes().first().and_then(|begin| begin.offset);
        let (from, judged) = (told.max(begins.map_or(0, |offset| offset + 1)), history.next_offset());
        if from < judged {
            self.again = Some((Again::from(history, from).map_err(|refusal| refusal.message)?, judged));
            self.reader.go_back(from).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// Reads up to what the service began with, or to the end.
    fn find_beginning(&mut self, history: &mut History) -> Result<(), String> {
        let begun = Instant::now();
        while history.changes().is_empty() && !self.reader.is_at_end() {
            if begun.elapsed() > ANSWER {
                return Err("no broker gives what the control topic holds".to_owned());
            }
            for message in self.reader.next(LOOK).map_err(|e| e.to_string())? {
                self.begin_or_keep(message, history)?;
            }
        }
        Ok(())
    }

    /// Takes a message as the beginning, or keeps it for later where there was one.
    fn begin_or_keep(&mut self, message: Message, history: &mut History) -> Result<(), String> {
        match message.beginning() {
            _ if !history.changes().is_empty() => self.read.push(message),
            Some(Ok((begin, data))) => {
                let begun = history.begin(begin, &data, message.at, Some(message.offset));
                begun.map_err(|e| format!("the history of the catalog cannot be written: {e}"))?;
            }
            Some(Err(why)) => {
                let offset = message.offset;
                return Err(format!("offset {offset} of the control topic is no beginning of a service: {why}"));
            }
            None => {
                let why = "the service has not begun: the first message says with which rules it does";
                self.tell(&message, &json!({"outcome": "refused", "message": why}));
            }
        }
        Ok(())
    }

    /// Begins with rules, unless somebody else was faster.
    pub fn begin(&mut self, begin: &Begin, data: &[(String, Vec<u8>)], history: &mut History) -> Result<(), String> {
        self.topic.begin(begin, data).map_err(|e| e.to_string())?;
        let begun = Instant::now();
        while history.changes().is_empty() {
            if begun.elapsed() > ANSWER {
                return Err(
                    "what the service begins with was written to the control topic, and does not come back".to_owned()
                );
            }
            for message in self.reader.next(LOOK).map_err(|e| e.to_string())? {
                self.begin_or_keep(message, history)?;
            }
        }
        Ok(())
    }

    /// Tells on the status topic, and in the log of the process, what became of a message.
    fn tell(&mut self, message: &Message, what: &serde_json::Value) {
        if message.offset < self.told {
            return;
        }
        let mut told = json!({"offset": message.offset, "at": message.at});
        if let (Some(told), Some(what)) = (told.as_object_mut(), what.as_object()) {
            told.extend(what.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        tracing::info!(status = %told, "control");
        if let Some(status) = &mut self.status {
            status.tell(&message.key, &told);
        }
    }

    /// Reads changes until the service ends.
    fn run(mut self, rollout: &Rollout, phase: &watch::Sender<Phase>) -> Result<(), String> {
        let mut read = std::mem::take(&mut self.read);
        while *phase.borrow() != Phase::Stopping {
            for message in read.drain(..) {
                let Some(result) = self.judge(&message, rollout, phase) else { return Ok(()) };
                self.tell(&message, &outcome(&result));
                self.topic.answer(&message.key, result);
            }
            if let Some(status) = &mut self.status {
                status.flush(LOOK);
            }
            read = self.reader.next(LOOK).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// Takes a message, however often the disk fails; none where the service ends before.
    fn judge(
        &mut self,
        message: &Message,
        rollout: &Rollout,
        phase: &watch::Sender<Phase>,
    ) -> Option<Result<Accepted, NotAccepted>> {
        if let Some((again, _)) = self.again.as_mut().filter(|(_, until)| message.offset < *until) {
            return Some(again.judge(message.offset, &message.text));
        }
        self.again = None;
        loop {
            match rollout.change_at(message.offset, &message.at, &message.text) {
                Err(NotAccepted::NotKept(why)) => {
                    if *phase.borrow() == Phase::Stopping {
                        return None;
                    }
                    tracing::warn!(%why, "a change could not be written to the disk; it is tried again");
                    std::thread::sleep(LOOK);
                }
                result => return Some(result),
            }
        }
    }
}

/// What became of a message, for the status topic.
fn outcome(result: &Result<Accepted, NotAccepted>) -> serde_json::Value {
    match result {
        Ok(Accepted { generation, change: Some(placed) }) => {
            json!({"outcome": "taken", "generation": generation, "change": placed.number})
        }
        Ok(Accepted { generation, change: None }) => json!({"outcome": "unchanged", "generation": generation}),
        Err(NotAccepted::Refused(refusal)) => {
            json!({"outcome": "refused", "message": refusal.message, "diagnostics": refusal.diagnostics})
        }
        Err(NotAccepted::NoMessage(why)) => {
            json!({"outcome": "refused", "message": format!("no control message: {why}")})
        }
        Err(NotAccepted::NotKept(why)) => json!({"outcome": "failed", "message": why.to_string()}),
        Err(NotAccepted::NotAppended(why)) => json!({"outcome": "failed", "message": why.to_string()}),
        Err(NotAccepted::NotSent(why)) => json!({"outcome": "failed", "message": why}),
    }
}

/// Looks whether all topics exist.
fn look_for_topics(kafka: &Kafka, client: &Client) -> Result<(), String> {
    let mut topics: Vec<String> = kafka.source.iter().map(|source| source.topic.clone()).collect();
    if topics.is_empty() {
        return Err("`kafka.source`: name at least one topic that events are read from: `[[kafka.source]]`".to_owned());
    }
    topics.push(kafka.journal.topic.clone());
    match kafka.alerts.topic_by {
        TopicBy::None => topics.push(kafka.alerts.topic.clone()),
        TopicBy::Severity => {
            let severities = ["info", "low", "medium", "high", "critical"];
            topics.extend(severities.iter().map(|severity| format!("{}-{severity}", kafka.alerts.topic)));
        }
        // Rules come and go.
        TopicBy::Rule => {}
    }
    topics.extend([&kafka.late.topic, &kafka.dead_letters.topic, &kafka.status.topic].into_iter().flatten().cloned());
    for topic in &topics {
        let count = client.partitions(topic, ANSWER).map_err(|e| e.to_string())?;
        if *topic == kafka.journal.topic && count != 1 {
            return Err(format!(
                "the Kafka topic `{topic}` has {count} partitions, and the journal has one; make it anew, or name another in `kafka.journal.topic`"
            ));
        }
    }
    Ok(())
}

/// Runs the service until a signal of the system ends it, or something fails.
pub fn run(settings: Settings, kafka: &Kafka, history: History, control: Control) -> Result<(), String> {
    let told = history.told().map_err(|refusal| refusal.message)?;
    let ready = Arc::new(Ready::default());
    let places = Places::Topic(control.topic.clone());
    let rollout = Rollout::new(history, told, ready.clone(), places, settings.log.clock);
    let properties = control.properties.clone();
    let (ask, questions) = mpsc::channel(16);
    let questions = Arc::new(Mutex::new(questions));
    let (phase, watched) = watch::channel(Phase::Recovering);
    let phase = Arc::new(phase);
    let events = Events::Topics(Topics::new(&properties, kafka));
    let service = Arc::new(Service { events, rollout, ask, phase: watched });
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

/// What judging one journal takes.
struct Task {
    settings: Settings,
    log: kafka_log::Settings,
    service: Arc<Service>,
    ready: Arc<Ready>,
    questions: Questions,
    standing: sink::Standing,
    phase: Arc<watch::Sender<Phase>>,
    address: std::net::SocketAddr,
}

impl Task {
    /// Judges until it is told to stop, or the task is somebody else's.
    fn run(&self, stop: &AtomicBool) -> Result<(), Stopped> {
        let failed = |why: String| Stopped::Log(Ended::Failed(why));
        let (sets, secret) = self.service.rollout.sets().map_err(|refusal| failed(refusal.message))?;
        let secret = secret.ok_or_else(|| failed("the history does not say how the service began".to_owned()))?;
        let folder = self.settings.data.join("state");
        let (checkpoints, saved) =
            Checkpoints::open(&folder, self.settings.save_every, self.settings.memory).map_err(failed)?;
        let place = saved.as_ref().map(|saved| saved.place.log.clone()).unwrap_or_default();
        let sources = source_names(&place, &self.log.sources).map_err(failed)?;
        let options = Options { secret, sources, ..self.settings.options.clone() };
        let threads = self.settings.threads;
        let (pipeline, applied) = match saved {
            None => {
                let mut pipeline = Pipeline::new(sets[0].clone(), options, threads);
                checkpoints.keep(&mut pipeline);
                (pipeline, 0)
            }
            Some(saved) => {
                let applied = saved.place.applied;
                let first = (applied + 1).checked_sub(saved.place.generations);
                let live = first.and_then(|first| sets.get(first as usize..=applied as usize));
                let live = live.ok_or_else(|| {
                    failed("the state belongs to changes that the control topic does not have".to_owned())
                })?;
                (checkpoints.load(&saved, live.to_vec(), options, threads).map_err(failed)?, applied)
            }
        };
        drop(sets);
        self.ready.forget(applied);
        let log = KafkaLog::open(self.log.clone(), &place, applied, self.ready.clone(), self.standing.clone())?;
        tracing::info!(from = place.offset, "bringing the state to where it was");
        let begin = BeginMatcher { pipeline, applied, checkpoints };
        let settings = self.settings.matcher.clone();
        let mut matcher = Matcher::new(log, self.ready.clone(), settings, begin, self.questions.clone());
        if !matcher.catch_up(stop)? {
            return Ok(());
        }
        is_ready(&self.phase, self.address);
        matcher.run(stop)
    }

    fn stands(&self, member: Option<&Membership>) {
        let group = member.map(|member| Arc::new(member.group()));
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = group;
    }
}

/// A task that runs in a thread of its own.
struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    result: Receiver<Result<(), Stopped>>,
}

/// Runs the task whenever the group gives it to this instance.
struct Tasks {
    task: Arc<Task>,
    running: Option<Running>,
}

impl Tasks {
    fn run(mut self, mut member: Membership, phase: &watch::Sender<Phase>) -> Result<(), String> {
        let begun = Instant::now();
        let mut again: Option<Instant> = None;
        let done = loop {
            if *phase.borrow() == Phase::Stopping {
                break self.end(&mut member);
            }
            match member.next(LOOK).map_err(|e| e.to_string())? {
                Some(Change::Gained(_)) => again = Some(Instant::now()),
                Some(Change::Asked(_)) => {
                    tracing::info!("the task goes to another instance");
                    if let Err(why) = self.end(&mut member) {
                        break Err(why);
                    }
                    self.task.stands(None);
                    member.give().map_err(|e| e.to_string())?;
                }
                Some(Change::Lost(_)) => {
                    tracing::warn!("the task may be another instance's: this one was not heard for too long");
                    self.task.stands(None);
                    if let Err(why) = self.end(&mut member) {
                        break Err(why);
                    }
                }
                None => {}
            }
            for error in member.client().errors() {
                if matches!(&error, Error::Other { name, .. } if name.contains("FENCED_INSTANCE")) {
                    let folder = self.task.settings.data.display().to_string();
                    return Err(format!(
                        "another process runs with a copy of `{folder}`: {error}; each has a folder of its own"
                    ));
                }
                tracing::warn!(%error, "as a member of the group");
            }
            let held = !member.held().is_empty();
            self.task.stands(held.then_some(&member));
            match self.ended() {
                None => {}
                Some(Err(Stopped::Log(Ended::TakenOver))) => {
                    tracing::warn!("another instance has taken over");
                    again = Some(Instant::now() + Duration::from_secs(1));
                }
                Some(Err(why)) => break Err(why.to_string()),
                Some(Ok(())) => {}
            }
            if held && self.running.is_none() && again.is_some_and(|again| Instant::now() >= again) {
                again = None;
                self.begin()?;
            }
            if self.running.is_none() {
                answer(&self.task.questions, BTreeMap::new);
                if begun.elapsed() > STANDS_BY && *phase.borrow() == Phase::Recovering {
                    tracing::info!("another instance judges; this one stands by");
                    is_ready(phase, self.task.address);
                }
            }
        };
        self.task.stands(None);
        done
    }

    fn begin(&mut self) -> Result<(), String> {
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, result) = channel();
        let thread = std::thread::Builder::new().name("matcher".to_owned()).spawn({
            let (task, stop) = (self.task.clone(), stop.clone());
            move || {
                let _ = tell.send(task.run(&stop));
            }
        });
        self.running = Some(Running { stop, thread: thread.map_err(|e| e.to_string())?, result });
        Ok(())
    }

    /// How the task ended, where it has.
    fn ended(&mut self) -> Option<Result<(), Stopped>> {
        let running = self.running.take_if(|running| running.thread.is_finished())?;
        let failed = || Err(Stopped::Log(Ended::Failed("the matcher has failed".to_owned())));
        Some(running.result.try_recv().unwrap_or_else(|_| failed()))
    }

    /// Lets the task end what it does, and stays a member of the group while it does.
    fn end(&mut self, member: &mut Membership) -> Result<(), String> {
        if let Some(running) = &self.running {
            running.stop.store(true, Ordering::Release);
        }
        while self.running.is_some() {
            match member.next(Duration::from_millis(20)).map_err(|e| e.to_string())? {
                Some(Change::Lost(_)) => self.task.stands(None),
                _ if member.held().is_empty() => self.task.stands(None),
                _ => self.task.stands(Some(member)),
            }
            match self.ended() {
                None | Some(Ok(()) | Err(Stopped::Log(Ended::TakenOver))) => {}
                Some(Err(why)) => return Err(why.to_string()),
            }
        }
        Ok(())
    }
}
