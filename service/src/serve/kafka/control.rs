//! The control topic of a service: what it began with, and every change since, each told of on the status topic.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use tokio::sync::watch;

use super::{ANSWER, LOOK};
use crate::api::Phase;
use crate::config::alerts::SEVERITIES;
use crate::config::kafka::{Kafka, TopicBy};
use crate::control::history::{Begin, History};
use crate::control::rollout::{Accepted, Again, NotAccepted, Rollout};
use crate::control::topic::{ControlReader, ControlTopic, Message, Status};
use crate::control::uploads::{Begun, Progress, Uploads};
use crate::data::kafka::{Client, Error, Properties};

/// The control topic of a service that is set up.
pub struct Control {
    /// Of all clients.
    pub(super) properties: Properties,
    reader: ControlReader,
    /// Writes changes.
    pub(super) topic: Arc<ControlTopic>,
    status: Option<Status>,
    /// What was read behind the beginning.
    read: Vec<Message>,
    /// Up to before this offset it was told what became of messages.
    told: u64,
    /// What was judged before and not told, up to before an offset.
    again: Option<(Again, u64)>,
    gathering: Gathering,
}

/// Chunks that stand before what is judged, and are needed still.
#[derive(Default)]
struct Gathering {
    /// The uploads that the last change before that tells were open.
    begun: Vec<Begun>,
    /// The offset behind that change.
    told: u64,
    /// From this offset on messages are judged.
    until: u64,
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
        let mut control = Control {
            properties,
            reader,
            topic: writer,
            status,
            read: Vec::new(),
            told: 0,
            again: None,
            gathering: Gathering { until: history.next_offset(), ..Gathering::default() },
        };
        if let Some(topic) = &kafka.status.topic {
            control.tell_on(Status::told(&control.properties, group, topic).map_err(failed)?, history)?;
        }
        control.gather(history).map_err(failed)?;
        if history.changes().is_empty() {
            let silent = "no broker gives what the control topic holds";
            control.find_beginning(history, |reader| !reader.is_at_end(), silent)?;
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
            self.gathering.until = from;
        }
        Ok(())
    }

    /// Goes back to where the oldest upload began that was open when judging stopped.
    fn gather(&mut self, history: &History) -> Result<(), Error> {
        let until = self.gathering.until;
        let (begun, told) = history.uploads_before(until);
        let from = begun.iter().map(|upload| upload.from).min().unwrap_or(told);
        self.gathering = Gathering { begun: begun.to_vec(), told, until };
        match from < history.next_offset() {
            true => self.reader.go_back(from),
            false => Ok(()),
        }
    }

    /// The uploads with which judging begins, whose chunks come first.
    pub(super) fn uploads(&self, folder: &Path, history: &History) -> Result<Uploads, String> {
        let uploads = Uploads::again(folder, &history.models(), history.uploaded(), &self.gathering.begun);
        uploads.map_err(|e| format!("`{}`: {e}", folder.display()))
    }

    /// Reads up to what the service began with, or as long as `goes_on` says; `or_else` where that does not come.
    fn find_beginning(
        &mut self,
        history: &mut History,
        goes_on: impl Fn(&ControlReader) -> bool,
        or_else: &str,
    ) -> Result<(), String> {
        let begun = Instant::now();
        while history.changes().is_empty() && goes_on(&self.reader) {
            if begun.elapsed() > ANSWER {
                return Err(or_else.to_owned());
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
        let lost = "what the service begins with was written to the control topic, and does not come back";
        self.find_beginning(history, |_| true, lost)
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
    pub(super) fn run(mut self, rollout: &Rollout, phase: &watch::Sender<Phase>) -> Result<(), String> {
        let mut read = std::mem::take(&mut self.read);
        while *phase.borrow() != Phase::Stopping {
            for message in read.drain(..) {
                if message.offset < self.gathering.until {
                    let (offset, listed) = (message.offset, message.offset < self.gathering.told);
                    let gather = || rollout.gather(offset, &message.text, listed);
                    match until_kept(phase, gather) {
                        Some(_) => continue,
                        None => return Ok(()),
                    }
                }
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
            return until_kept(phase, || rollout.judge_again(again, message.offset, &message.text));
        }
        self.again = None;
        until_kept(phase, || rollout.change_at(message.offset, &message.at, &message.text))
    }
}

/// Does something as often as the disk fails; none where the service ends before.
fn until_kept<T>(
    phase: &watch::Sender<Phase>,
    mut take: impl FnMut() -> Result<T, NotAccepted>,
) -> Option<Result<T, NotAccepted>> {
    loop {
        match take() {
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

/// What became of a message, for the status topic.
fn outcome(result: &Result<Accepted, NotAccepted>) -> serde_json::Value {
    match result {
        Ok(Accepted { upload: Some(Progress { chunks, of }), .. }) => {
            json!({"outcome": "uploaded", "chunks": chunks, "of": of})
        }
        Ok(Accepted { generation, change: Some(placed), .. }) => {
            json!({"outcome": "taken", "generation": generation, "change": placed.number})
        }
        Ok(Accepted { generation, change: None, .. }) => json!({"outcome": "unchanged", "generation": generation}),
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
            topics.extend(SEVERITIES.iter().map(|(severity, _)| format!("{}-{severity}", kafka.alerts.topic)));
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
