//! How a webhook is: what happens to it is counted and logged here, by one function each.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use lapwing_dsl::functions::timestamp_text;
use serde::Serialize;

/// How a webhook is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Standing {
    /// The address up to its host.
    pub address: String,
    /// Alerts that were taken since the service started.
    pub taken: u64,
    /// Alerts that were refused for good, and left out.
    pub refused: u64,
    /// Alerts that went from the log before they were sent, where that is known.
    pub lost: u64,
    /// Posts that failed, and were or will be sent again.
    pub failed: u64,
    /// Since when an alert waits to be taken; none where none waits.
    pub waits_since: Option<String>,
    /// What went wrong last.
    pub last_error: Option<Failure>,
}

/// What went wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// When.
    pub at: String,
    /// What.
    pub why: String,
}

/// How a webhook is, for the one who knows and for those who ask.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Mutex<Standing>>);

impl Shared {
    /// Of a webhook that begins.
    pub fn new(address: &str) -> Shared {
        let standing = Standing { address: address.to_owned(), ..Standing::default() };
        Shared(Arc::new(Mutex::new(standing)))
    }

    /// How it is now.
    pub fn now(&self) -> Standing {
        self.lock().clone()
    }

    /// An alert waits to be taken.
    pub(super) fn waits(&self) {
        self.lock().waits_since = Some(clock());
    }

    /// It was taken.
    pub(super) fn taken(&self) {
        let mut standing = self.lock();
        standing.taken += 1;
        standing.waits_since = None;
    }

    /// It was refused for good.
    pub(super) fn refused(&self, id: &str, why: &str) {
        let mut standing = self.lock();
        tracing::warn!(webhook = standing.address, id, why, "an alert is refused and left out");
        standing.refused += 1;
        standing.waits_since = None;
        standing.goes_wrong(why);
    }

    /// It is sent again after a while.
    pub(super) fn failed(&self, id: &str, why: &str, after: Duration) {
        let mut standing = self.lock();
        tracing::warn!(webhook = standing.address, id, why, ?after, "an alert was not taken; it is sent again");
        standing.failed += 1;
        standing.goes_wrong(why);
    }

    /// So many went from the log before they were sent.
    pub(super) fn lost(&self, alerts: Option<u64>) {
        let mut standing = self.lock();
        tracing::warn!(webhook = standing.address, alerts, "alerts went from the log before they were sent");
        standing.lost += alerts.unwrap_or_default();
        standing.goes_wrong("alerts went from the log before they were sent");
    }

    /// Something of ours failed, and is tried again.
    pub(super) fn fails(&self, what: &str, why: &str) {
        let mut standing = self.lock();
        tracing::warn!(webhook = standing.address, why, "{what}; it is tried again");
        standing.goes_wrong(why);
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.0.lock().expect("nobody panics with it")
    }
}

impl Standing {
    fn goes_wrong(&mut self, why: &str) {
        self.last_error = Some(Failure { at: clock(), why: why.to_owned() });
    }
}

fn clock() -> String {
    timestamp_text(Timestamp::now().as_millisecond())
}
