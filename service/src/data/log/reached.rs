//! How far a matcher has come in the log, for those who ask while it works.

use std::sync::atomic::{AtomicU64, Ordering};

/// How far a matcher has come. The numbers are of about one moment.
#[derive(Debug, Default)]
pub struct Reached {
    judged: AtomicU64,
    committed: AtomicU64,
    saved: AtomicU64,
    bad: AtomicU64,
    late: AtomicU64,
    ahead: AtomicU64,
}

impl Reached {
    /// Begins at a place that is saved; everything before `committed` was committed before.
    pub fn new(saved: u64, committed: u64) -> Reached {
        let [judged, saved, committed] = [saved, saved, committed].map(AtomicU64::new);
        Reached { judged, saved, committed, ..Reached::default() }
    }

    /// Everything before it was read and handed on.
    pub fn judged(&self) -> u64 {
        self.judged.load(Ordering::Relaxed)
    }

    /// What everything before it gave is committed.
    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// After a start what is behind it is judged again.
    pub fn saved(&self) -> u64 {
        self.saved.load(Ordering::Relaxed)
    }

    /// How many lines gave no event since the service started, by kind.
    pub fn dead_letters(&self) -> [(&'static str, u64); 3] {
        let kinds = [("bad", &self.bad), ("late", &self.late), ("ahead", &self.ahead)];
        kinds.map(|(kind, count)| (kind, count.load(Ordering::Relaxed)))
    }

    pub(super) fn has_judged(&self, place: u64) {
        self.judged.store(place, Ordering::Relaxed);
    }

    pub(super) fn has_committed(&self, place: u64) {
        self.committed.store(place, Ordering::Relaxed);
    }

    pub(super) fn has_saved(&self, place: u64) {
        self.saved.store(place, Ordering::Relaxed);
    }

    pub(super) fn has_rejected(&self, kind: &str) {
        let count = match kind {
            "late" => &self.late,
            "ahead" => &self.ahead,
            _ => &self.bad,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
