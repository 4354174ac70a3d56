//! The versions of a model with their stages.

use std::collections::BTreeMap;

use lapwing_engine::data::model::Versions;

use super::deploy::Deployed;
use crate::control::message::Stage;
use crate::tables::contents::digest_on;

/// How many retired versions are kept to be staged again: those of the highest numbers.
pub const RETIRED_MAX: usize = 2;

/// All versions of a model.
#[derive(Clone, Debug, Default)]
pub struct Staged {
    versions: BTreeMap<u32, (Stage, Deployed)>,
    /// The highest number that was ever given.
    last: u32,
}

impl Staged {
    /// The highest number that was ever given; 0: none.
    pub fn last(&self) -> u32 {
        self.last
    }

    /// The version that answers rules.
    pub fn live(&self) -> Option<u32> {
        self.versions.iter().find(|(_, (stage, _))| *stage == Stage::Live).map(|(number, _)| *number)
    }

    /// The numbers that are kept, with their stages.
    pub fn stages(&self) -> impl Iterator<Item = (u32, Stage)> {
        self.versions.iter().map(|(number, (stage, _))| (*number, *stage))
    }

    /// The numbers that are kept, with their stages and the SHA-256 of their files.
    pub fn digests(&self) -> impl Iterator<Item = (u32, Stage, &[u8; 32])> {
        self.versions.iter().map(|(number, (stage, deployed))| (*number, *stage, &deployed.digest))
    }

    /// Takes in a version.
    pub fn put(&mut self, number: u32, stage: Stage, deployed: Deployed) {
        self.last = self.last.max(number);
        self.make_room(number, stage);
        self.versions.insert(number, (stage, deployed));
        self.tidy();
    }

    /// Puts a version that is there into a stage; false where it is not there.
    pub fn stage(&mut self, number: u32, stage: Stage) -> bool {
        if !self.versions.contains_key(&number) {
            return false;
        }
        self.make_room(number, stage);
        if let Some((own, _)) = self.versions.get_mut(&number) {
            *own = stage;
        }
        self.tidy();
        true
    }

    /// One version is live: the one before it retires.
    fn make_room(&mut self, number: u32, stage: Stage) {
        let live = self.live().filter(|live| stage == Stage::Live && *live != number);
        if let Some((own, _)) = live.and_then(|live| self.versions.get_mut(&live)) {
            *own = Stage::Retired;
        }
    }

    /// What is retired holds no session, and only the last few are kept at all.
    fn tidy(&mut self) {
        let retired: Vec<u32> = self.stages().filter(|(_, stage)| *stage == Stage::Retired).map(|(n, _)| n).collect();
        for number in retired.iter().rev().skip(RETIRED_MAX) {
            self.versions.remove(number);
        }
        let resting = self.versions.values().filter(|(stage, _)| *stage == Stage::Retired);
        resting.for_each(|(_, deployed)| deployed.version.model().rest());
    }

    /// What the engine asks.
    pub fn versions(&self) -> Versions {
        let of = |wanted: Stage| {
            let of = self.versions.values().filter(move |(stage, _)| *stage == wanted);
            of.map(|(_, deployed)| deployed.version.clone())
        };
        Versions { live: of(Stage::Live).next(), shadow: of(Stage::Shadow).collect() }
    }

    /// Digest of everything.
    pub fn digest(&self) -> [u8; 32] {
        let start = digest_on(None, &[&self.last.to_le_bytes()]);
        self.versions.iter().fold(start, |digest, (number, (stage, deployed))| {
            digest_on(Some(digest), &[&number.to_le_bytes(), format!("{stage:?}").as_bytes(), &deployed.digest])
        })
    }
}
