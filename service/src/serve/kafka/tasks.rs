//! The task of a service: whoever the group gives the journal judges, in a thread of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{LOOK, STANDS_BY};
use crate::api::{Phase, Service};
use crate::control::rollout::Ready;
use crate::data::event_log::{Ended, Place};
use crate::data::kafka::{Change, Error, Membership};
use crate::data::kafka_log::{self, KafkaLog, sink, source_names};
use crate::data::matcher::{Matcher, Questions, Stopped, answer};
use crate::serve::{Restored, Settings, is_ready, restored};

/// What judging one journal takes.
pub(super) struct Task {
    pub(super) settings: Settings,
    pub(super) log: kafka_log::Settings,
    pub(super) service: Arc<Service>,
    pub(super) ready: Arc<Ready>,
    pub(super) questions: Questions,
    pub(super) standing: sink::Standing,
    pub(super) phase: Arc<watch::Sender<Phase>>,
    pub(super) address: std::net::SocketAddr,
}

impl Task {
    /// Judges until it is told to stop, or the task is somebody else's.
    fn run(&self, stop: &AtomicBool) -> Result<(), Stopped> {
        let failed = |why: String| Stopped::Log(Ended::Failed(why));
        let (sets, secret) = self.service.rollout.sets().map_err(|refusal| failed(refusal.message))?;
        let sources = |place: &Place| source_names(place, &self.log.sources);
        let Restored { begin, place, .. } = restored(&self.settings, &sets, secret, sources).map_err(failed)?;
        let applied = begin.applied;
        drop(sets);
        self.ready.forget(applied);
        let log = KafkaLog::open(self.log.clone(), &place, applied, self.ready.clone(), self.standing.clone())?;
        tracing::info!(from = place.offset, "bringing the state to where it was");
        let settings = self.settings.matcher.clone();
        let (ready, questions) = (self.ready.clone(), self.questions.clone());
        let mut matcher = Matcher::new(log, ready, settings, begin, questions, self.service.metrics.clone());
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
pub(super) struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    result: Receiver<Result<(), Stopped>>,
}

/// Runs the task whenever the group gives it to this instance.
pub(super) struct Tasks {
    pub(super) task: Arc<Task>,
    pub(super) running: Option<Running>,
}

impl Tasks {
    pub(super) fn run(mut self, mut member: Membership, phase: &watch::Sender<Phase>) -> Result<(), String> {
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
            self.task.service.metrics.matching.is_active(self.running.is_some());
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
