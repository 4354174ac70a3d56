//! Kafka as the log of a matcher: topics are read, epochs are transactions, and the journal tells how it was.
//!
//! The order of everything is decided here, while it happens, and written into the [`journal`]: which messages were judged together ([`sources`]),
//! when a change took over, when a partition was declared idle or time went on. An epoch's alerts, its record in the journal and the offsets of its
//! sources are one transaction ([`sink`]). Who begins reads the journal from the place of the last save on, and judges the same messages in the same
//! order, with output held back; then it goes on live. Files may come before all topics ([`history`]).

mod dress;
mod history;
pub mod journal;
pub mod sink;
pub mod sources;

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapwing_engine::Millis;
use serde::{Deserialize, Serialize};

use self::history::{FileReader, files, is_file};
use self::journal::{Epoch, Journal, Mark, Positions, Step, marks, positions};
use self::sink::{Aside, Sink, Standing};
use self::sources::Sources;
use super::event_log::{Ended, EventLog, Next, Place};
use super::kafka::{Partition, Properties, Reader, Start};
use super::pipeline::{Input, Records, Rejected};
use crate::config::kafka::{Delivery, Source};
use crate::control::rollout::Ready;

/// How long brokers may take to answer a question at the start.
const ANSWER: Duration = Duration::from_secs(30);

/// An epoch whose record in the journal has about so many bytes is committed early: a record has to fit into a message.
const JOURNAL_BYTES_MAX: usize = 256 << 10;

/// How often it is looked whether a topic has more partitions.
const LOOK: Duration = Duration::from_secs(30);

/// What a log of topics is told.
#[derive(Clone)]
pub struct Settings {
    /// Of all clients.
    pub properties: Properties,
    /// The topics that events are read from.
    pub sources: Vec<Source>,
    /// Where epochs go.
    pub sink: sink::Settings,
    /// A partition that gives nothing for so long holds the others back no more. In milliseconds.
    pub idle_after: Millis,
    /// The clock, in milliseconds since 1970.
    pub clock: fn() -> Millis,
}

/// What a save has to know of the place where it was made, beside the offset in the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Saved {
    /// The last epoch before it.
    epoch: u64,
    /// The names of the sources, by number.
    sources: Vec<String>,
    /// What is read next of each partition.
    positions: Vec<Mark>,
}

/// The log of a matcher that reads topics.
pub struct KafkaLog {
    settings: Settings,
    sources: Sources,
    /// The file that is read, while history comes before topics.
    file: Option<FileReader>,
    /// The names of all sources that ever were, by number.
    names: Vec<String>,
    ready: Arc<Ready>,
    sink: Sink,
    /// What was committed before this process began, as far as it is not judged.
    replay: Option<Replay>,
    /// The last change that was handed out.
    applied: u64,
    /// The last epoch that was begun, and where each partition stood then.
    epoch: u64,
    from: Positions,
    /// What was handed out since, and about how many bytes that takes in the journal.
    steps: Vec<Step>,
    journal_bytes: usize,
    /// What is not taken of it.
    aside: Vec<Aside>,
    /// What was decided and is not handed out.
    decided: VecDeque<Step>,
    /// Whether partitions are known that are not read yet.
    is_read_anew: bool,
    /// Since when a partition gives nothing; none where it is idle.
    quiet_since: BTreeMap<(u16, u16), Option<Instant>>,
    /// An epoch of the past, and an offset in the journal before what came behind it.
    anchor: (u64, u64),
    looked: Instant,
    stopping: bool,
}

/// The past.
struct Replay {
    journal: Journal,
    /// What is left of the epoch that is judged again.
    steps: VecDeque<Step>,
}

/// The names of the sources that a log of topics has, by number: it has to be known before a pipeline is made. Those of a place come first.
pub fn source_names(place: &Place, sources: &[Source]) -> Result<Vec<String>, String> {
    let mut names = saved(place)?.sources;
    // What comes before the topics is as it was at the first start.
    if names.is_empty() {
        for folder in sources.iter().filter_map(|source| source.history.as_deref()) {
            names.extend(files(folder)?);
        }
    }
    let mut own: Vec<&str> = sources.iter().map(|source| source.topic.as_str()).collect();
    own.sort_unstable();
    for name in own {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// What is read next of each partition at a place, by the name of the source.
///
/// # Errors
/// The place cannot be read.
pub fn positions_of(place: &Place) -> Result<Vec<(String, u16, u64)>, String> {
    let Saved { sources, positions, .. } = saved(place)?;
    let name = |source: u16| sources.get(usize::from(source)).cloned().unwrap_or_default();
    Ok(positions.into_iter().map(|Mark(source, partition, next)| (name(source), partition, next)).collect())
}

fn saved(place: &Place) -> Result<Saved, String> {
    match place.more.as_slice() {
        [] => Ok(Saved::default()),
        more => serde_json::from_slice(more).map_err(|e| format!("the place of the saved state cannot be read: {e}")),
    }
}

impl KafkaLog {
    /// Takes the task over, and goes on from a place: that of a saved state, before which the last change was `applied`.
    ///
    /// # Errors
    /// A broker does not answer, a topic does not exist, or the journal no longer has what follows the place.
    pub fn open(
        settings: Settings,
        place: &Place,
        applied: u64,
        ready: Arc<Ready>,
        standing: Standing,
    ) -> Result<KafkaLog, Ended> {
        let failed = |e: super::kafka::Error| Ended::Failed(e.to_string());
        let sink = Sink::open(settings.properties.clone(), settings.sink.clone(), standing)?;
        let group = &settings.sink.group;
        let journal =
            Journal::open(&settings.properties, group, &settings.sink.journal, place.offset).map_err(failed)?;
        let anchor_offset = journal.end();
        let saved = saved(place).map_err(Ended::Failed)?;
        let names = source_names(place, &settings.sources).map_err(Ended::Failed)?;
        let reader = Reader::open(&settings.properties, group, &names, true).map_err(failed)?;
        let of = |name: &String| settings.sources.iter().find(|source| source.topic == *name);
        let type_headers = names.iter().map(|name| of(name).and_then(|source| source.type_header.clone())).collect();
        let mut sources = Sources::new(reader, names.clone(), type_headers);
        let from = positions(&saved.positions);
        sources.go_to(from.clone(), |_| true).map_err(failed)?;
        let now = Instant::now();
        let quiet_since = from.keys().map(|place| (*place, Some(now))).collect();
        Ok(KafkaLog {
            settings,
            sources,
            file: None,
            names,
            ready,
            sink,
            replay: Some(Replay { journal, steps: VecDeque::new() }),
            applied,
            epoch: saved.epoch,
            from,
            steps: Vec::new(),
            journal_bytes: 0,
            aside: Vec::new(),
            decided: VecDeque::new(),
            is_read_anew: false,
            quiet_since,
            anchor: (saved.epoch, anchor_offset),
            looked: now,
            stopping: false,
        })
    }

    /// The next step of the past, if its time has come; the end of the past is the beginning of the present.
    fn past(&mut self, wait: Duration) -> Result<Option<Step>, Ended> {
        let Some(replay) = &mut self.replay else { return Ok(None) };
        let Some(step) = replay.steps.front() else {
            match replay.journal.next(ANSWER)? {
                Some(epoch) => self.go_over(epoch)?,
                None => self.go_live()?,
            }
            return Ok(None);
        };
        match step {
            Step::Read { until, .. } if until.first().is_some_and(|mark| is_file(&self.names[usize::from(mark.0)])) => {
                let Mark(source, _, next) = until[0];
                let known = self.file.take_if(|file| file.source() == source);
                let at = self.sources.positions().get(&(source, 0)).copied().unwrap_or(0);
                let open = || FileReader::open(&self.names[usize::from(source)], source, at);
                let file = self.file.insert(known.map_or_else(open, Ok)?);
                file.read(Some(next))?;
                self.sources.know(Mark(source, 0, next));
            }
            Step::Read { until, .. } => {
                self.file = None;
                if mem::take(&mut self.is_read_anew) {
                    let positions = self.sources.positions().clone();
                    self.sources.go_to(positions, |_| true).map_err(|e| Ended::Failed(e.to_string()))?;
                }
                if !self.sources.take_until(until, wait)? {
                    return Ok(None);
                }
            }
            // It is on its way: changes are kept before they take over.
            Step::Change(number) if self.ready.last() < *number => {
                std::thread::sleep(wait);
                return Ok(None);
            }
            _ => {}
        }
        Ok(replay.steps.pop_front())
    }

    /// Begins to judge an epoch of the past again.
    fn go_over(&mut self, epoch: Epoch) -> Result<(), Ended> {
        let Some(replay) = &mut self.replay else { return Ok(()) };
        let topic = &self.settings.sink.journal;
        // A place is never behind the epochs that it knows; and what was sent twice for want of an answer stands there twice.
        if epoch.epoch <= self.epoch {
            return Ok(());
        }
        let here = positions(&epoch.from) == *self.sources.positions();
        if epoch.epoch > self.epoch + 1 || !here {
            // Without transactions an instance that had lost the task may have written one more.
            if self.settings.sink.delivery == Delivery::AtLeastOnce && epoch.epoch <= self.epoch + 1 {
                return Ok(());
            }
            return Err(Ended::Failed(format!(
                "the Kafka topic `{topic}` goes on with epoch {} where {} should follow: it is kept for too short a time, or is not of this \
                 service; bring the state folder back from a copy, or begin anew with another `kafka.group` and `kafka.journal.topic`",
                epoch.epoch,
                self.epoch + 1
            )));
        }
        if !self.names.starts_with(&epoch.sources) && !epoch.sources.starts_with(&self.names) {
            return Err(Ended::Failed(format!(
                "the Kafka topic `{topic}` is of a service with other sources: {:?}",
                epoch.sources
            )));
        }
        self.epoch = epoch.epoch;
        replay.steps = epoch.steps.into();
        Ok(())
    }

    /// All that was committed is judged: what comes now is new.
    fn go_live(&mut self) -> Result<(), Ended> {
        let Some(replay) = self.replay.take() else { return Ok(()) };
        self.anchor = (self.epoch, replay.journal.end());
        let failed = |e: super::kafka::Error| Ended::Failed(e.to_string());
        self.from = self.sources.positions().clone();
        self.file = None;
        if !self.is_history() {
            self.find_all_partitions(ANSWER).map_err(failed)?;
        }
        // What is not read any more holds nothing back.
        let gone = |(source, _): &(u16, u16)| !self.is_wanted(*source) && !self.is_history();
        let gone: Vec<_> = self.from.keys().filter(|place| gone(place)).copied().collect();
        for place in gone {
            if self.quiet_since.insert(place, None) != Some(None) {
                self.decided.push_back(Step::Idle(place.0, place.1));
            }
        }
        self.is_read_anew = true;
        Ok(())
    }

    /// Whether files come before topics, and are not all read.
    fn is_history(&self) -> bool {
        let is_topic = |(source, _): &(u16, u16)| !is_file(&self.names[usize::from(*source)]);
        self.names.iter().any(|name| is_file(name)) && !self.sources.positions().keys().any(is_topic)
    }

    /// Reads on in the files that come before topics; behind the last come the topics.
    fn history(&mut self) -> Result<Option<Step>, Ended> {
        if let Some(file) = &mut self.file {
            let source = file.source();
            if file.read(None)? {
                let mark = Mark(source, 0, file.lines().next());
                self.sources.know(mark);
                return Ok(Some(Step::Read { at: (self.settings.clock)(), until: vec![mark] }));
            }
            self.file = None;
            self.quiet_since.insert((source, 0), None);
            return Ok(Some(Step::Idle(source, 0)));
        }
        let is_read = |source: u16| self.quiet_since.get(&(source, 0)).is_some_and(Option::is_none);
        match (0u16..).zip(&self.names).find(|(source, name)| is_file(name) && !is_read(*source)) {
            Some((source, name)) => {
                let at = self.sources.positions().get(&(source, 0)).copied();
                tracing::info!(file = %name, line = at.unwrap_or(0), "history");
                self.file = Some(FileReader::open(name, source, at.unwrap_or(0))?);
                Ok(at.is_none().then_some(Step::Partition(Mark(source, 0, 0))))
            }
            None => {
                self.find_all_partitions(ANSWER).map_err(|e| Ended::Failed(e.to_string()))?;
                Ok(self.decided.pop_front())
            }
        }
    }

    fn find_all_partitions(&mut self, wait: Duration) -> Result<(), super::kafka::Error> {
        for source in self.settings.sources.clone() {
            self.find_partitions(&source, wait)?;
        }
        Ok(())
    }

    fn is_wanted(&self, source: u16) -> bool {
        let name = &self.names[usize::from(source)];
        self.settings.sources.iter().any(|source| source.topic == *name)
    }

    /// Decides to read the partitions of a source that are not known yet.
    fn find_partitions(&mut self, source: &Source, wait: Duration) -> Result<(), super::kafka::Error> {
        let number = self.names.iter().position(|name| *name == source.topic).expect("each source has a number") as u16;
        let reader = self.sources.reader();
        let count = reader.client().partitions(&source.topic, wait)?;
        let known = |partition: i32| self.quiet_since.contains_key(&(number, partition as u16));
        let fresh: Vec<i32> = (0..count).filter(|partition| !known(*partition)).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        // One that came later is read from its beginning.
        let is_first = fresh.len() as i32 == count;
        let starts = if is_first { reader.starts(&source.topic, &source.from, wait)? } else { Vec::new() };
        let mut found = Vec::new();
        for partition in fresh {
            let place = Partition::new(source.topic.as_str(), partition);
            let start = starts.iter().find(|(known, _)| *known == place).map_or(Start::Earliest, |(_, start)| *start);
            let offset = match start {
                Start::At(offset) => offset,
                Start::Earliest => reader.watermarks(&place, wait)?.0,
                Start::Latest => reader.watermarks(&place, wait)?.1,
            };
            found.push(Mark(number, partition as u16, u64::try_from(offset).unwrap_or(0)));
        }
        for mark in found {
            self.quiet_since.insert((mark.0, mark.1), Some(Instant::now()));
            self.decided.push_back(Step::Partition(mark));
        }
        Ok(())
    }

    /// What happens next, where nothing was decided before.
    fn present(&mut self, wait: Duration) -> Result<Option<Step>, Ended> {
        if let Some(step) = self.decided.pop_front() {
            return Ok(Some(step));
        }
        if self.stopping {
            return Ok(None);
        }
        if self.ready.last() > self.applied {
            return Ok(Some(Step::Change(self.applied + 1)));
        }
        if self.is_history() {
            return self.history();
        }
        if mem::take(&mut self.is_read_anew) {
            let wanted: Vec<bool> = (0..self.names.len()).map(|source| self.is_wanted(source as u16)).collect();
            let positions = self.sources.positions().clone();
            let begun = self.sources.go_to(positions, |source| wanted[usize::from(source)]);
            begun.map_err(|e| Ended::Failed(e.to_string()))?;
        }
        let until = self.sources.take(wait)?;
        let now = Instant::now();
        for Mark(source, partition, _) in &until {
            self.quiet_since.insert((*source, *partition), Some(now));
        }
        self.look_for_idle(now);
        if self.looked.elapsed() >= LOOK {
            self.looked = now;
            if let Err(error) = self.find_all_partitions(Duration::from_secs(1)) {
                tracing::warn!(%error, "looking for more partitions");
            }
            self.is_read_anew = self.decided.iter().any(|step| matches!(step, Step::Partition(_)));
        }
        let step = Step::Read { at: (self.settings.clock)(), until };
        Ok((self.sources.taken().count() > 0).then_some(step))
    }

    /// Decides that partitions are idle which were read to their end and have given nothing for long. Where there is only one, nobody waits for it.
    fn look_for_idle(&mut self, now: Instant) {
        if self.quiet_since.len() < 2 {
            return;
        }
        let idle_after = Duration::from_millis(u64::try_from(self.settings.idle_after).unwrap_or(0));
        for (place, since) in &mut self.quiet_since {
            if since.is_some_and(|since| now - since >= idle_after) && self.sources.is_at_end(*place) {
                *since = None;
                self.decided.push_back(Step::Idle(place.0, place.1));
            }
        }
    }

    /// Hands a step out.
    fn hand_out(&mut self, step: Step) -> Next<'_> {
        let is_new = self.replay.is_none();
        let next = match &step {
            Step::Read { at, .. } => {
                let input = match &self.file {
                    Some(file) => Input::records(file.lines()),
                    None => Input::records(self.sources.taken()),
                };
                Next::Events { input, reading: *at }
            }
            Step::Change(number) => {
                self.applied = *number;
                Next::Change(*number)
            }
            Step::Time { greatest, at } => Next::Time { greatest: *greatest, reading: *at },
            Step::Partition(mark) => {
                self.sources.know(*mark);
                self.quiet_since.entry((mark.0, mark.1)).or_insert_with(|| Some(Instant::now()));
                self.is_read_anew = true;
                Next::Partition(mark.0, mark.1)
            }
            Step::Idle(source, partition) => {
                self.quiet_since.insert((*source, *partition), None);
                Next::Idle(*source, *partition)
            }
        };
        if is_new {
            self.journal_bytes += match &step {
                Step::Read { until, .. } => 48 + 24 * until.len(),
                _ => 48,
            };
            self.steps.push(step);
        }
        next
    }
}

impl EventLog for KafkaLog {
    fn next(&mut self, wait: Duration) -> Result<Next<'_>, Ended> {
        let step = match self.replay {
            Some(_) => self.past(wait)?,
            None => self.present(wait)?,
        };
        Ok(match step {
            Some(step) => self.hand_out(step),
            None => Next::Nothing,
        })
    }

    /// What is read at once came at one reading.
    fn hand_out_by_reading(&mut self, _: bool) {}

    fn is_behind(&self) -> bool {
        self.replay.is_some()
    }

    fn reject(&mut self, rejected: &Rejected) {
        let origin = rejected.origin;
        let mut aside = Aside {
            kind: rejected.reason.kind(),
            reason: rejected.reason.to_string(),
            topic: self.names[usize::from(origin.source)].clone(),
            partition: origin.partition,
            offset: origin.offset,
            ..Aside::default()
        };
        if let Some(file) = &self.file {
            let line = file.lines().find(origin).unwrap_or_default();
            // An empty line of a file is no event, and nothing is wrong with it.
            if line.trim_ascii().is_empty() {
                return;
            }
            aside.payload = Some(line.to_vec());
        } else if let Some(message) = self.sources.taken().find(origin) {
            let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
            aside.timestamp = message.timestamp();
            aside.key = message.key().map(<[u8]>::to_vec);
            aside.payload = message.payload().map(<[u8]>::to_vec);
            aside.headers = message.headers().map(|(name, value)| (text(name), value.map(<[u8]>::to_vec))).collect();
        }
        self.aside.push(aside);
    }

    fn waiting(&self) -> usize {
        let aside = |aside: &Aside| aside.payload.as_ref().map_or(0, Vec::len) + aside.reason.len() + 128;
        self.journal_bytes + self.aside.iter().map(aside).sum::<usize>()
    }

    /// A transaction costs some round trips: it waits for the end of the epoch.
    fn commits_at_once(&self) -> bool {
        self.journal_bytes >= JOURNAL_BYTES_MAX
    }

    fn has_moved(&self) -> bool {
        !self.steps.is_empty()
    }

    fn commit(&mut self, alerts: Vec<u8>) {
        let mut epoch = Epoch::new(self.epoch + 1, self.names.clone(), &self.from);
        epoch.steps = mem::take(&mut self.steps);
        self.journal_bytes = 0;
        let now = self.sources.positions();
        let is_topic = |(source, _): &(u16, u16)| !is_file(&self.names[usize::from(*source)]);
        let moved = now.iter().filter(|(place, offset)| is_topic(place) && self.from.get(place) != Some(offset));
        let offsets = moved.map(|(place, offset)| (self.sources.name(*place), *offset as i64)).collect();
        self.from = now.clone();
        self.epoch += 1;
        let aside = mem::take(&mut self.aside);
        self.sink.begin(sink::Epoch { number: self.epoch, alerts, aside, journal: epoch.encode(), offsets });
    }

    fn poll(&mut self, wait: bool) -> Result<bool, Ended> {
        self.sink.poll(wait)
    }

    fn place(&self) -> Place {
        let (epoch, offset) = self.anchor;
        let saved =
            Saved { epoch: self.epoch, sources: self.names.clone(), positions: marks(self.sources.positions()) };
        // Each epoch since took at least one offset of the journal.
        let offset = offset + self.epoch.saturating_sub(epoch);
        Place { offset, more: serde_json::to_vec(&saved).expect("numbers and texts can be written") }
    }

    /// What is kept of topics, who runs the brokers decides.
    fn saved(&mut self, _: &Place) {}

    fn time_goes_on(&mut self, greatest: Millis) {
        self.decided.push_back(Step::Time { greatest, at: (self.settings.clock)() });
    }

    fn stop(&mut self) {
        self.stopping = true;
        self.sink.close();
    }
}
