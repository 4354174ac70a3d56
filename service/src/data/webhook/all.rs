//! The webhooks of a service, each a thread: begun together, and ended together without waiting for a receiver that is down.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::standing::Shared;
use super::{Settings, Webhook};
use crate::data::followed::Followed;

/// How long the last alerts may take when the service ends; what is left then is sent after the next start.
pub const END: Duration = Duration::from_secs(5);

/// How long it waits before it looks again whether all have ended.
const LOOK: Duration = Duration::from_millis(10);

/// All webhooks, opened.
pub struct Webhooks<F: Followed>(Vec<Webhook<F>>);

/// All webhooks, running.
pub struct Running {
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl<F: Followed> Webhooks<F> {
    /// Opens webhooks; in `folder` it is kept how far each has come. `followed` makes what each reads.
    ///
    /// # Errors
    /// One of them cannot be opened.
    pub fn open(all: &[Settings], folder: &Path, followed: impl Fn() -> F) -> Result<Webhooks<F>, String> {
        if !all.is_empty() {
            fs::create_dir_all(folder).map_err(|e| format!("`{}`: {e}", folder.display()))?;
        }
        let mut same: HashMap<&str, usize> = HashMap::new();
        let opened = all.iter().map(|settings| {
            let count = same.entry(settings.url.expose()).or_default();
            *count += 1;
            Webhook::open(settings.clone(), &folder.join(name(settings.url.expose(), *count)), followed())
        });
        opened.collect::<Result<_, _>>().map(Webhooks)
    }

    /// How each is, from now on.
    pub fn standings(&self) -> Vec<Shared> {
        self.0.iter().map(Webhook::standing).collect()
    }

    /// Begins to send.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn run(self) -> std::io::Result<Running> {
        let stop = Arc::new(AtomicBool::new(false));
        let begin = |webhook: Webhook<F>| {
            let stop = stop.clone();
            std::thread::Builder::new().name("webhook".to_owned()).spawn(move || webhook.run(&stop))
        };
        let threads = self.0.into_iter().map(begin).collect::<Result<_, _>>()?;
        Ok(Running { threads, stop })
    }
}

impl Running {
    /// Ends them. Who still waits for an answer after a while is left behind, and ends with the process.
    pub fn end(self) {
        self.stop.store(true, Ordering::Release);
        let begun = Instant::now();
        while !self.threads.iter().all(JoinHandle::is_finished) {
            if begun.elapsed() >= END {
                tracing::warn!("a webhook does not answer; what is left is sent after the next start");
                return;
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// The name of a webhook's file: of its address, which may be a secret, a hash. Of webhooks with one address it has the number.
fn name(url: &str, number: usize) -> String {
    let hash = Sha256::digest(url.as_bytes());
    let digits: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    if number == 1 { format!("{digits}.json") } else { format!("{digits}-{number}.json") }
}
