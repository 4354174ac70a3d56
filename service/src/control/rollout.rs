//! Changes of a running service: a message is judged, compiled and kept first, and then takes over at its place in the log.
//!
//! The matcher never waits for a compiler: the rule set of a change is ready under its number before the log has its place.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use lapwing_dsl::functions::timestamp_text;
use lapwing_engine::Millis;
use lapwing_engine::rule_set::RuleSet;
use serde_json::value::RawValue;
use tokio::sync::Mutex as AsyncMutex;

use super::catalog::{Catalog, Refusal};
use super::history::{Change, History, What};
use super::message::{Message, Op};
use super::plan::{Plan, plan};
use super::topic::ControlTopic;
use super::uploads::{NotTaken, Progress, Uploads};
use crate::data::log::embedded::{Log, NotAppended};

/// Rule sets by the numbers of the changes that made them, until the matcher has taken them.
#[derive(Default)]
pub struct Ready {
    sets: Mutex<BTreeMap<u64, Arc<RuleSet>>>,
    last: AtomicU64,
}

impl Ready {
    /// Puts the rule set of a change.
    pub fn put(&self, number: u64, rules: Arc<RuleSet>) {
        self.sets.lock().expect("nobody panics with it").insert(number, rules);
        self.last.fetch_max(number, Ordering::AcqRel);
    }

    /// Takes the rule set of a change.
    pub fn take(&self, number: u64) -> Option<Arc<RuleSet>> {
        self.sets.lock().expect("nobody panics with it").remove(&number)
    }

    /// Forgets the rule sets of all changes up to one.
    pub fn forget(&self, last: u64) {
        let mut sets = self.sets.lock().expect("nobody panics with it");
        *sets = sets.split_off(&(last + 1));
    }

    /// The greatest number of a change that was put.
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }
}

/// Takes changes, one after the other.
pub struct Rollout {
    state: AsyncMutex<State>,
    ready: Arc<Ready>,
    /// The rule set of the last change: what new events are held against.
    newest: ArcSwap<RuleSet>,
    places: Places,
    clock: fn() -> Millis,
}

/// What gives changes their places.
pub enum Places {
    /// The embedded log.
    Log(Log),
    /// The control topic, which this service reads as all others do.
    Topic(Arc<ControlTopic>),
}

struct State {
    catalog: Catalog,
    history: History,
    uploads: Uploads,
    /// The rule sets of all changes, as long as nobody has asked for them.
    sets: Option<Vec<Arc<RuleSet>>>,
    /// Whether the last change of the history may have got no place in the log.
    in_doubt: bool,
}

/// A message that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The generation of the rule set that is in force then.
    pub generation: u64,
    /// The change that takes over; none where all is as the message says.
    pub change: Option<Placed>,
    /// Of a chunk: how far its upload has come.
    pub upload: Option<Progress>,
}

impl Accepted {
    /// Nothing changes.
    fn unchanged(generation: u64) -> Accepted {
        Accepted { generation, change: None, upload: None }
    }
}

/// A change that takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its number.
    pub number: u64,
    /// Its place in the log.
    pub place: u64,
}

/// Why a change does not take over. Nothing has changed.
#[derive(Debug)]
pub enum NotAccepted {
    /// It is no message.
    NoMessage(String),
    /// It is refused.
    Refused(Refusal),
    /// It could not be kept.
    NotKept(io::Error),
    /// It got no place in the log.
    NotAppended(NotAppended),
    /// The brokers did not take it, or it was not judged in time.
    NotSent(String),
}

impl From<NotTaken> for NotAccepted {
    fn from(why: NotTaken) -> NotAccepted {
        match why {
            NotTaken::Refused(refusal) => NotAccepted::Refused(refusal),
            NotTaken::Disk(e) => NotAccepted::NotKept(e),
        }
    }
}

/// What a message makes.
enum Judged {
    /// A chunk: the upload has come so far.
    Uploaded(Progress),
    /// All is as it says.
    Unchanged,
    /// Another catalog.
    Changed(Box<Catalog>),
}

/// Judges a message. The file of an upload that it names is kept when it is taken, and the caller says then that it was.
fn judge(catalog: &Catalog, uploads: &mut Uploads, message: &Message, place: u64) -> Result<Judged, NotAccepted> {
    if message.op == Op::Chunk {
        return Ok(Judged::Uploaded(uploads.take(message, place)?));
    }
    let after = after(catalog, uploads, message)?;
    Ok(after.map_or(Judged::Unchanged, |catalog| Judged::Changed(Box::new(catalog))))
}

/// The catalog after a message, which is no chunk.
fn after(catalog: &Catalog, uploads: &Uploads, message: &Message) -> Result<Option<Catalog>, NotAccepted> {
    let Some(upload) = &message.upload else { return catalog.after(message).map_err(NotAccepted::Refused) };
    uploads.keep(upload)?;
    catalog.after(message).map_err(|refusal| {
        uploads.let_go(upload);
        NotAccepted::Refused(refusal)
    })
}

impl Rollout {
    /// Goes on from a history, whose catalog and rule sets are given.
    pub fn new(
        history: History,
        uploads: Uploads,
        (catalog, sets): (Catalog, Vec<Arc<RuleSet>>),
        ready: Arc<Ready>,
        places: Places,
        clock: fn() -> Millis,
    ) -> Rollout {
        let newest = ArcSwap::from_pointee(catalog.rule_set());
        // The embedded log is read by one matcher, which has them already.
        let sets = matches!(places, Places::Topic(_)).then_some(sets);
        let state = AsyncMutex::new(State { catalog, history, uploads, sets, in_doubt: false });
        Rollout { state, ready, newest, places, clock }
    }

    /// The rule sets of all changes so far; those of later changes are [`Ready`] when they come. Not to be called by a task.
    ///
    /// # Errors
    /// A change that was taken is refused now.
    pub fn sets(&self) -> Result<(Vec<Arc<RuleSet>>, Option<u64>), Refusal> {
        let mut state = self.state.blocking_lock();
        let sets = match state.sets.take() {
            Some(sets) => sets,
            None => state.history.told()?.1,
        };
        for (number, set) in (0..).zip(&sets) {
            self.ready.put(number, set.clone());
        }
        Ok((sets, state.history.secret()))
    }

    /// The rule set of the last change.
    pub fn newest(&self) -> Arc<RuleSet> {
        self.newest.load_full()
    }

    /// What a control message would do, where so many runs live, by rule; and the generation that it would make.
    pub async fn plan(&self, text: &str, live: &BTreeMap<String, usize>) -> Result<(Plan, u64), NotAccepted> {
        let message: Message = serde_json::from_str(text).map_err(|e| NotAccepted::NoMessage(e.to_string()))?;
        let state = match &message.upload {
            // The file is there as long as nobody else changes anything.
            Some(upload) if message.op != Op::Chunk => {
                let state = self.state.lock().await;
                tokio::task::block_in_place(|| state.uploads.keep(upload))?;
                Some(state)
            }
            _ => None,
        };
        let catalog = match &state {
            Some(state) => state.catalog.clone(),
            None => self.catalog().await,
        };
        let planned = tokio::task::block_in_place(|| plan(&catalog, &message, live)).map_err(NotAccepted::Refused);
        if let (Some(state), Some(upload)) = (&state, &message.upload) {
            state.uploads.let_go(upload);
        }
        Ok((planned?, catalog.generation()))
    }

    /// The catalog as it is now.
    pub async fn catalog(&self) -> Catalog {
        self.state.lock().await.catalog.clone()
    }

    /// All changes, in order.
    pub async fn history(&self) -> Vec<Change> {
        self.state.lock().await.history.changes().to_vec()
    }

    /// Takes a control message. Once begun it has to be led to its end: where this is dropped in between, the catalog and the log part.
    pub async fn change(&self, text: &str) -> Result<Accepted, NotAccepted> {
        let raw: Box<RawValue> = serde_json::from_str(text).map_err(|e| NotAccepted::NoMessage(e.to_string()))?;
        let message: Message = serde_json::from_str(text).map_err(|e| NotAccepted::NoMessage(e.to_string()))?;
        if message.at_line.is_some() {
            let why = "`at_line` is for files; here a change takes over where the log stands";
            return Err(NotAccepted::Refused(Refusal::new(why)));
        }
        let log = match &self.places {
            Places::Log(log) => log,
            // What is uploaded stands in the topic, and is known when a message comes back from there.
            Places::Topic(topic) if message.upload.is_some() => return topic.send(text).await,
            Places::Topic(topic) => {
                // What is refused or changes nothing need not go there.
                let catalog = self.catalog().await;
                let after = tokio::task::block_in_place(|| catalog.after(&message)).map_err(NotAccepted::Refused)?;
                return match after {
                    None => Ok(Accepted::unchanged(catalog.generation())),
                    Some(_) => topic.send(text).await,
                };
            }
        };
        let mut state = self.state.lock().await;
        if state.in_doubt {
            log.mend().await.map_err(NotAccepted::NotAppended)?;
            state.history.take_back().map_err(NotAccepted::NotKept)?;
            state.in_doubt = false;
        }
        let generation = state.catalog.generation();
        let judged = tokio::task::block_in_place(|| {
            let State { catalog, uploads, .. } = &mut *state;
            let place = uploads.next_place();
            judge(catalog, uploads, &message, place)
        });
        let catalog = match judged? {
            Judged::Uploaded(progress) => {
                return Ok(Accepted { upload: Some(progress), ..Accepted::unchanged(generation) });
            }
            Judged::Unchanged => return Ok(Accepted::unchanged(generation)),
            Judged::Changed(catalog) => *catalog,
        };
        let rules = Arc::new(catalog.rule_set());
        let number = state.history.next();
        let at = timestamp_text((self.clock)());
        let change = Change { number, at, offset: None, uploads: Vec::new(), what: What::Message(raw) };
        tokio::task::block_in_place(|| state.history.write(change)).map_err(NotAccepted::NotKept)?;
        self.ready.put(number, rules.clone());
        let place = match log.change(number).await {
            Ok(place) => place,
            Err(why) => {
                self.ready.take(number);
                state.in_doubt = true;
                return Err(NotAccepted::NotAppended(why));
            }
        };
        state.catalog = catalog;
        if let Some(upload) = &message.upload {
            tokio::task::block_in_place(|| state.uploads.taken(upload));
        }
        self.newest.store(rules.clone());
        Ok(Accepted { change: Some(Placed { number, place }), ..Accepted::unchanged(rules.generation) })
    }

    /// Takes the next message of the control topic. Not to be called by a task.
    pub fn change_at(&self, offset: u64, at: &str, text: &[u8]) -> Result<Accepted, NotAccepted> {
        let (raw, message) = read(text)?;
        let mut state = self.state.blocking_lock();
        let State { catalog, uploads, .. } = &mut *state;
        let generation = catalog.generation();
        let catalog = match judge(catalog, uploads, &message, offset)? {
            Judged::Uploaded(progress) => {
                return Ok(Accepted { upload: Some(progress), ..Accepted::unchanged(generation) });
            }
            Judged::Unchanged => return Ok(Accepted::unchanged(generation)),
            Judged::Changed(catalog) => *catalog,
        };
        let rules = Arc::new(catalog.rule_set());
        let number = state.history.next();
        let uploads = state.uploads.begun_but(message.upload.as_deref());
        let change = Change { number, at: at.to_owned(), offset: Some(offset), uploads, what: What::Message(raw) };
        state.history.write(change).map_err(NotAccepted::NotKept)?;
        state.catalog = catalog;
        if let Some(upload) = &message.upload {
            state.uploads.taken(upload);
        }
        if let Some(sets) = &mut state.sets {
            sets.push(rules.clone());
        }
        self.ready.put(number, rules.clone());
        self.newest.store(rules.clone());
        Ok(Accepted { change: Some(Placed { number, place: offset }), ..Accepted::unchanged(rules.generation) })
    }

    /// Takes the next message of the control topic once more that was judged before this process began; what becomes of it is known, and uploads
    /// are what they were then. `listed` says that it stands before the change that tells which of them count. Not to be called by a task.
    ///
    /// # Errors
    /// A chunk could not be kept.
    pub fn gather(&self, offset: u64, text: &[u8], listed: bool) -> Result<(), NotAccepted> {
        let Ok((_, message)) = read(text) else { return Ok(()) };
        if message.op != Op::Chunk {
            return Ok(());
        }
        let uploads = &mut self.state.blocking_lock().uploads;
        let taken = match listed {
            true => uploads.gather(&message, offset),
            false => uploads.take(&message, offset).map(drop),
        };
        match taken {
            // It was refused then, too.
            Err(NotTaken::Refused(_)) | Ok(()) => Ok(()),
            Err(NotTaken::Disk(e)) => Err(NotAccepted::NotKept(e)),
        }
    }

    /// Judges a message again. Not to be called by a task.
    pub fn judge_again(&self, again: &mut Again, offset: u64, text: &[u8]) -> Result<Accepted, NotAccepted> {
        again.judge(&mut self.state.blocking_lock().uploads, offset, text)
    }
}

/// A message of the control topic.
fn read(text: &[u8]) -> Result<(Box<RawValue>, Message), NotAccepted> {
    let no_message = |e: serde_json::Error| NotAccepted::NoMessage(e.to_string());
    let raw: Box<RawValue> = serde_json::from_slice(text).map_err(no_message)?;
    let message: Message = serde_json::from_slice(text).map_err(no_message)?;
    if message.at_line.is_some() {
        let why = "`at_line` is for files; here a change takes over where the service has come to";
        return Err(NotAccepted::Refused(Refusal::new(why)));
    }
    Ok((raw, message))
}

/// Judges again what was judged before this process began: the same comes out.
pub struct Again {
    catalog: Catalog,
    /// The number of the next change.
    number: u64,
}

impl Again {
    /// From the catalog before an offset of the control topic on.
    ///
    /// # Errors
    /// A change that was taken is refused now.
    pub fn from(history: &History, offset: u64) -> Result<Again, Refusal> {
        let (catalog, number) = history.before(offset)?;
        Ok(Again { catalog, number })
    }

    /// What became of the next message.
    fn judge(&mut self, uploads: &mut Uploads, offset: u64, text: &[u8]) -> Result<Accepted, NotAccepted> {
        let (_, message) = read(text)?;
        let generation = self.catalog.generation();
        match judge(&self.catalog, uploads, &message, offset)? {
            Judged::Uploaded(progress) => {
                return Ok(Accepted { upload: Some(progress), ..Accepted::unchanged(generation) });
            }
            Judged::Unchanged => return Ok(Accepted::unchanged(generation)),
            Judged::Changed(catalog) => self.catalog = *catalog,
        }
        if let Some(upload) = &message.upload {
            uploads.taken(upload);
        }
        let number = self.number;
        self.number += 1;
        let placed = Placed { number, place: offset };
        Ok(Accepted { change: Some(placed), ..Accepted::unchanged(self.catalog.generation()) })
    }
}
