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
use super::message::Message;
use super::plan::{Plan, plan};
use super::topic::ControlTopic;
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

impl Rollout {
    /// Goes on from a history, whose catalog and rule sets are given.
    pub fn new(
        history: History,
        (catalog, sets): (Catalog, Vec<Arc<RuleSet>>),
        ready: Arc<Ready>,
        places: Places,
        clock: fn() -> Millis,
    ) -> Rollout {
        let newest = ArcSwap::from_pointee(catalog.rule_set());
        // The embedded log is read by one matcher, which has them already.
        let sets = matches!(places, Places::Topic(_)).then_some(sets);
        let state = AsyncMutex::new(State { catalog, history, sets, in_doubt: false });
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
        let catalog = self.catalog().await;
        let planned = tokio::task::block_in_place(|| plan(&catalog, &message, live)).map_err(NotAccepted::Refused)?;
        Ok((planned, catalog.generation()))
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
            Places::Topic(topic) => {
                // What is refused or changes nothing need not go there.
                let catalog = self.catalog().await;
                let after = tokio::task::block_in_place(|| catalog.after(&message)).map_err(NotAccepted::Refused)?;
                return match after {
                    None => Ok(Accepted { generation: catalog.generation(), change: None }),
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
        let after = tokio::task::block_in_place(|| state.catalog.after(&message)).map_err(NotAccepted::Refused)?;
        let Some(catalog) = after else {
            return Ok(Accepted { generation: state.catalog.generation(), change: None });
        };
        let rules = Arc::new(catalog.rule_set());
        let number = state.history.next();
        let at = timestamp_text((self.clock)());
        let change = Change { number, at, offset: None, what: What::Message(raw) };
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
        self.newest.store(rules.clone());
        Ok(Accepted { generation: rules.generation, change: Some(Placed { number, place }) })
    }

    /// Takes the next message of the control topic. Not to be called by a task.
    pub fn change_at(&self, offset: u64, at: &str, text: &[u8]) -> Result<Accepted, NotAccepted> {
        let (raw, message) = read(text)?;
        let mut state = self.state.blocking_lock();
        let Some(catalog) = state.catalog.after(&message).map_err(NotAccepted::Refused)? else {
            return Ok(Accepted { generation: state.catalog.generation(), change: None });
        };
        let rules = Arc::new(catalog.rule_set());
        let number = state.history.next();
        let change = Change { number, at: at.to_owned(), offset: Some(offset), what: What::Message(raw) };
        state.history.write(change).map_err(NotAccepted::NotKept)?;
        state.catalog = catalog;
        if let Some(sets) = &mut state.sets {
            sets.push(rules.clone());
        }
        self.ready.put(number, rules.clone());
        self.newest.store(rules.clone());
        Ok(Accepted { generation: rules.generation, change: Some(Placed { number, place: offset }) })
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
    pub fn judge(&mut self, offset: u64, text: &[u8]) -> Result<Accepted, NotAccepted> {
        let (_, message) = read(text)?;
        let Some(catalog) = self.catalog.after(&message).map_err(NotAccepted::Refused)? else {
            return Ok(Accepted { generation: self.catalog.generation(), change: None });
        };
        self.catalog = catalog;
        let number = self.number;
        self.number += 1;
        Ok(Accepted { generation: self.catalog.generation(), change: Some(Placed { number, place: offset }) })
    }
}
