//! Alerts posted to an address of the web: in order, each until it is taken or refused for good, by a thread of its own.
//!
//! How far it has come is kept in a file, but not behind each alert: a service that was killed sends the last ones again, under the same ids. A receiver
//! that is down holds nobody up but its own alerts, which wait in the log. `all` are those of a service, `post` is one post, `signature` what it is signed with,
//! `standing` how all that goes.

pub mod all;
mod post;
pub mod signature;
pub mod standing;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::post::{Address, Head, Outcome};
use self::standing::Shared;
use super::followed::{Followed, Next};
use super::replace::replace;
use crate::config::Secret;
use crate::faults;

/// How long it waits for alerts before it looks whether it is to end.
const WAIT: Duration = Duration::from_millis(100);

/// How long it waits before it sends an alert again: at first, each time twice as long, and at most.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(60);

/// However long a receiver wants to be left alone, it is asked again after so long.
const LEFT_ALONE_MOST: Duration = Duration::from_secs(3_600);

/// How often it is kept how far it has come, while alerts are sent, and while others alone pass.
const KEEP_EVERY: Duration = Duration::from_secs(1);
const KEEP_PASSED_EVERY: Duration = Duration::from_secs(60);

/// What a webhook is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address, of which what follows the host may be a secret.
    pub url: Secret,
    /// The address, as messages show it.
    pub shown: String,
    /// What posts are signed with.
    pub secret: Option<Secret>,
    /// Only alerts of these rules; of all where there are none.
    pub rules: Vec<String>,
    /// Only alerts of these severities; of all where there are none.
    pub severities: Vec<String>,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl Settings {
    fn wants(&self, alert: &Head) -> bool {
        let one_of = |names: &[String], name: &String| names.is_empty() || names.contains(name);
        one_of(&self.rules, &alert.rule) && one_of(&self.severities, &alert.severity)
    }
}

/// How far it has come.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Cursor<P> {
    /// All before it is done.
    #[serde(flatten)]
    place: P,
    /// Of the alerts that come next together, so many are done.
    index: usize,
}

/// A webhook.
pub struct Webhook<F: Followed> {
    settings: Settings,
    address: Address,
    cursor_path: PathBuf,
    cursor: Cursor<F::Place>,
    followed: F,
    kept: Instant,
    /// Whether alerts are done that it is not kept of.
    is_ahead: bool,
    standing: Shared,
}

impl<F: Followed> Webhook<F> {
    /// Opens a webhook; `cursor_path` is where it is kept how far it has come. One that is new begins with what is committed from now on.
    ///
    /// # Errors
    /// It cannot be read or written how far it has come, or the address or the secret is none.
    pub fn open(settings: Settings, cursor_path: &Path, mut followed: F) -> Result<Webhook<F>, String> {
        let at = |e: &dyn std::fmt::Display| format!("`{}`: {e}", cursor_path.display());
        let address = Address::new(&settings).map_err(|e| format!("the webhook to {}: {e}", settings.shown))?;
        let cursor = match fs::read(cursor_path) {
            Ok(bytes) => serde_json::from_slice::<Cursor<_>>(&bytes).map_err(|e| at(&e))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Cursor { place: followed.newest(), index: 0 },
            Err(e) => return Err(at(&e)),
        };
        followed.go_on_from(cursor.place);
        let standing = Shared::new(&settings.shown);
        let mut webhook = Webhook {
            settings,
            address,
            cursor_path: cursor_path.to_owned(),
            cursor,
            followed,
            kept: Instant::now(),
            is_ahead: true,
            standing,
        };
        // Before the first alert: a new one would begin behind it after a restart.
        webhook.keep().map_err(|e| at(&e))?;
        Ok(webhook)
    }

    /// How it is, from now on.
    pub fn standing(&self) -> Shared {
        self.standing.clone()
    }

    /// Sends what is committed until it is told to stop. Then it sends what is left as long as each is taken at once.
    pub fn run(mut self, stop: &AtomicBool) {
        loop {
            let stopping = stop.load(Ordering::Acquire);
            match self.followed.next(if stopping { Duration::ZERO } else { WAIT }) {
                Ok(Next::Alerts(alerts)) => {
                    if !self.send_all(&alerts, stop) {
                        break;
                    }
                }
                Ok(Next::Nothing) if stopping => break,
                Ok(Next::Nothing) => {
                    self.cursor.place = self.followed.place();
                    self.keep_after(if self.is_ahead { KEEP_EVERY } else { KEEP_PASSED_EVERY });
                }
                Ok(Next::Gone { lost }) => {
                    let done = self.cursor.index as u64;
                    self.standing.lost(lost.map(|lost| lost.saturating_sub(done)));
                    self.cursor = Cursor { place: self.followed.place(), index: 0 };
                }
                Err(why) => {
                    self.standing.fails("alerts cannot be read", &why);
                    if stopping || !sleep(RETRY_FIRST, stop) {
                        break;
                    }
                }
            }
        }
        self.keep_after(Duration::ZERO);
    }

    /// Sends alerts that come together; whether all are done.
    fn send_all(&mut self, alerts: &[u8], stop: &AtomicBool) -> bool {
        let lines = alerts.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        for line in lines.skip(self.cursor.index) {
            if !self.send(line, stop) {
                return false;
            }
            let _ = faults::at("webhook-sent");
            self.cursor.index += 1;
            self.is_ahead = true;
            self.keep_after(KEEP_EVERY);
        }
        self.cursor = Cursor { place: self.followed.place(), index: 0 };
        true
    }

    /// Sends an alert until it is taken or refused for good; false where it is told to stop before.
    fn send(&mut self, line: &[u8], stop: &AtomicBool) -> bool {
        let alert: Head = match serde_json::from_slice(line) {
            Ok(alert) => alert,
            Err(e) => {
                self.standing.refused("that cannot be read", &e.to_string());
                return true;
            }
        };
        if !self.settings.wants(&alert) {
            return true;
        }
        self.standing.waits();
        let mut pause = RETRY_FIRST;
        loop {
            // Told to stop, it tries once.
            let stopping = stop.load(Ordering::Acquire);
            match self.address.post(&alert, line, Timestamp::now()) {
                Outcome::Taken => {
                    self.standing.taken();
                    return true;
                }
                Outcome::Never { why } => {
                    self.standing.refused(&alert.message_id(), &why);
                    return true;
                }
                Outcome::Later { why, after } => {
                    let wait = after.unwrap_or_default().min(LEFT_ALONE_MOST).max(pause);
                    self.standing.failed(&alert.message_id(), &why, wait);
                    if stopping || !sleep(wait, stop) {
                        return false;
                    }
                    pause = (pause * 2).min(RETRY_MOST);
                }
            }
        }
    }

    /// Keeps how far it has come, where that was long enough ago. What fails is tried again: meanwhile more would be sent again after a restart.
    fn keep_after(&mut self, time: Duration) {
        if self.kept.elapsed() < time {
            return;
        }
        if let Err(e) = self.keep() {
            self.standing
                .fails("it cannot be kept how far alerts were sent", &format!("`{}`: {e}", self.cursor_path.display()));
            self.kept = Instant::now();
        }
    }

    fn keep(&mut self) -> io::Result<()> {
        faults::at("webhook-kept")?;
        replace(&self.cursor_path, &serde_json::to_vec(&self.cursor).map_err(io::Error::other)?)?;
        (self.kept, self.is_ahead) = (Instant::now(), false);
        Ok(())
    }
}

/// Sleeps; false where it is told to stop before it has slept enough.
fn sleep(time: Duration, stop: &AtomicBool) -> bool {
    let begun = Instant::now();
    loop {
        let left = time.saturating_sub(begun.elapsed());
        if left.is_zero() || stop.load(Ordering::Acquire) {
            return left.is_zero();
        }
        std::thread::sleep(left.min(WAIT));
    }
}
