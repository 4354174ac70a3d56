//! What leaves the engine: matches in one order.

use lapwing_dsl::ir::StepId;
use lapwing_dsl::value::Value;
use sha2::{Digest, Sha256};

use crate::Millis;
use crate::batch::Origin;
use crate::data::model::Score;

/// Where in the total order an output stands. Timers that are due before an event come before it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The event's number in processing order; for a timer that of the next event.
    pub sequence: u64,
    /// A timer's deadline; [`Millis::MAX`] for the event itself.
    pub deadline: Millis,
    /// The stratum of the rule.
    pub stratum: u8,
    /// What the rule's stratum was given there: 0 for the event itself, then the derived events in their order; for a timer it comes
    /// after all of them.
    pub given: u32,
    /// Index of the rule: rules stand in order of their names.
    pub rule: u32,
    /// The key's bytes.
    pub key: Vec<u8>,
    /// How manieth of the rule for the key at this place.
    pub index: u32,
}

impl Place {
    /// Of an event, before what any rule gives there.
    pub fn of_event(sequence: u64, stratum: u8) -> Place {
        Place { sequence, deadline: Millis::MAX, stratum, given: 0, rule: 0, key: Vec::new(), index: 0 }
    }
}

/// What has become of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the alert's own words")]
pub enum Status {
    Open,
    Updated,
    Closed,
    Retracted,
}

impl Status {
    /// All of them.
    pub const ALL: [Status; 4] = [Status::Open, Status::Updated, Status::Closed, Status::Retracted];

    /// The word in the alert.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Open => "open",
            Status::Updated => "updated",
            Status::Closed => "closed",
            Status::Retracted => "retracted",
        }
    }
}

/// A bound event in an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The step.
    pub step: StepId,
    /// Where the event came from.
    pub origin: Origin,
    /// Its time.
    pub at: Millis,
}

/// A reported match.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// Index of the rule in the rule set.
    pub rule: u32,
    /// The version the run started under, where that is not the rule's present one.
    pub started_version: Option<u32>,
    /// The alert's id, equal for all its revisions.
    pub id: AlertId,
    /// 0 for the first.
    pub revision: u32,
    /// What has become of it.
    pub status: Status,
    /// The key's parts.
    pub key: Vec<Value<'static>>,
    /// Time of the first bound event.
    pub first_at: Millis,
    /// Time of the last one, or the deadline of the absence that completed the match.
    pub at: Millis,
    /// Its events, in match order.
    pub evidence: Vec<Evidence>,
    /// The emitted values.
    pub fields: Vec<Value<'static>>,
    /// `low`, `high`, …
    pub severity: String,
    /// Adds up per entity.
    pub risk: Option<Value<'static>>,
    /// What models answered to what it rests on and tells, in order, each once.
    pub scores: Vec<Score>,
    /// For people.
    pub message: Option<String>,
    /// For which value further alerts are held back; none: the rule does not suppress.
    pub suppress_by: Option<Vec<u8>>,
    /// The caps that bit, as a bit set of [`crate::limits::Cap`].
    pub caps: u8,
}

/// A match with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Its place in the order.
    pub place: Place,
    /// The match.
    pub body: Match,
}

/// An alert's id: the first 128 bits of a SHA-256 of rule, version, key and evidence, or the window's beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertId(pub [u8; 16]);

impl AlertId {
    /// The id of a match.
    pub fn new(rule: &str, version: u32, key: &[u8], evidence: &[Evidence], sources: &[String]) -> AlertId {
        let mut hash = Parts::new(rule, version, key);
        for e in evidence {
            hash.part(&e.step.0.to_le_bytes());
            hash.part(sources.get(e.origin.source as usize).map_or(&[], |s| s.as_bytes()));
            hash.part(&e.origin.partition.to_le_bytes());
            hash.part(&e.origin.offset.to_le_bytes());
        }
        hash.id()
    }

    /// The id of a window at whose close a rule fires; it begins at `first`.
    pub fn of_window(rule: &str, version: u32, key: &[u8], first: Millis) -> AlertId {
        let mut hash = Parts::new(rule, version, key);
        hash.part(b"window");
        hash.part(&first.to_le_bytes());
        hash.id()
    }
}

/// What an id is the hash of: parts with their lengths.
struct Parts(Sha256);

impl Parts {
    fn new(rule: &str, version: u32, key: &[u8]) -> Parts {
        let mut parts = Parts(Sha256::new());
        parts.part(rule.as_bytes());
        parts.part(&version.to_le_bytes());
        parts.part(key);
        parts
    }

    fn part(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn id(self) -> AlertId {
        let digest = self.0.finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        AlertId(id)
    }
}
