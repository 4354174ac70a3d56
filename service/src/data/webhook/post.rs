//! One post of one alert, and what its answer means.

use std::io::Read;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use ureq::http::{HeaderMap, Request, StatusCode, header};
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

use super::Settings;
use super::signature::Signer;
use crate::config::Secret;

/// So many bytes of an answer are read, that the connection can be used again.
const ANSWER_MAX: u64 = 64 << 10;

/// So many characters of an answer are told.
const TOLD_MAX: usize = 200;

/// What of an alert is needed to send it.
#[derive(Deserialize)]
pub struct Head {
    id: String,
    revision: u64,
    at: String,
    /// The name of the rule.
    pub rule: String,
    /// How severe it is.
    pub severity: String,
}

impl Head {
    /// The id that it is sent under, each time the same: receivers know by it what they have.
    pub fn message_id(&self) -> String {
        format!("{}-{}", self.id, self.revision)
    }
}

/// What became of a post.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken.
    Taken,
    /// It is to be sent again, at the earliest after what the receiver says.
    Later {
        /// What went wrong.
        why: String,
        /// How long the receiver wants to be left alone.
        after: Option<Duration>,
    },
    /// It would never be taken.
    Never {
        /// What the receiver says.
        why: String,
    },
}

/// Where posts go.
pub struct Address {
    url: Secret,
    agent: ureq::Agent,
    signer: Option<Signer>,
    timeout: Duration,
}

impl Address {
    /// An address.
    ///
    /// # Errors
    /// Nothing can be sent there; the text says why, and shows nothing of the address behind its host.
    pub fn new(settings: &Settings) -> Result<Address, String> {
        Request::post(settings.url.expose()).body(()).map_err(|_| "this is no address of the web".to_owned())?;
        let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(RootCerts::PlatformVerifier).build();
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // An alert goes where it was told to go, and nowhere else.
            .max_redirects(0)
            .user_agent(concat!("lapwing/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build();
        let signer = settings.secret.as_ref().map(Signer::new).transpose()?;
        Ok(Address { url: settings.url.clone(), agent: agent.into(), signer, timeout: settings.timeout })
    }

    /// Sends an alert, once. `now` is the clock.
    pub fn post(&self, alert: &Head, body: &[u8], now: Timestamp) -> Outcome {
        let (id, seconds) = (alert.message_id(), now.as_second());
        let mut request = self
            .agent
            .post(self.url.expose())
            .header(header::CONTENT_TYPE, "application/json")
            .header("lapwing-alert-id", &alert.id)
            .header("lapwing-alert-revision", alert.revision.to_string())
            .header("webhook-id", &id)
            .header("webhook-timestamp", seconds.to_string())
            .header("ce-specversion", "1.0")
            .header("ce-type", "lapwing.alert")
            .header("ce-source", format!("/rules/{}", alert.rule))
            .header("ce-id", &id)
            .header("ce-time", &alert.at);
        if let Some(signer) = &self.signer {
            request = request.header("webhook-signature", signer.sign(&id, seconds, body));
        }
        match request.config().timeout_global(Some(self.timeout)).build().send(body) {
            Ok(mut response) => {
                let after = retry_after(response.headers(), now);
                let mut said = Vec::new();
                let read = response.body_mut().as_reader().take(ANSWER_MAX).read_to_end(&mut said);
                // The status has told already what became of it.
                drop(read);
                outcome(response.status(), after, &String::from_utf8_lossy(&said))
            }
            // A request that cannot be made is never made.
            Err(ureq::Error::Http(e)) => Outcome::Never { why: e.to_string() },
            Err(e) => Outcome::Later { why: failure(&e, self.timeout), after: None },
        }
    }
}

/// What an answer means.
fn outcome(status: StatusCode, after: Option<Duration>, said: &str) -> Outcome {
    let told: String = said.trim().chars().take(TOLD_MAX).flat_map(char::escape_debug).collect();
    let why = if told.is_empty() { format!("it answers {status}") } else { format!("it answers {status}: {told}") };
    match status.as_u16() {
        200..=299 => Outcome::Taken,
        // Told to wait, or to come again.
        408 | 425 | 429 => Outcome::Later { why, after },
        400..=499 => Outcome::Never { why },
        _ => Outcome::Later { why, after },
    }
}

/// What went wrong without an answer, and nothing of the address: behind its host it may be a secret.
fn failure(error: &ureq::Error, timeout: Duration) -> String {
    match error {
        ureq::Error::Timeout(_) => format!("no answer within {timeout:?}"),
        ureq::Error::HostNotFound => "its host is not found".to_owned(),
        ureq::Error::BadUri(_) => "this is no address of the web".to_owned(),
        e => e.to_string(),
    }
}

/// How long the receiver wants to be left alone: seconds, or a time (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    // A time that has passed is none to wait for.
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_say_whether_to_send_again() {
        let check = |status: u16, what: &str| {
            let found = match outcome(StatusCode::from_u16(status).expect("a status"), None, "") {
                Outcome::Taken => "taken",
                Outcome::Later { .. } => "later",
                Outcome::Never { .. } => "never",
            };
            assert_eq!(found, what, "{status}");
        };
        [200, 202, 204].into_iter().for_each(|status| check(status, "taken"));
        [301, 307, 408, 425, 429, 500, 502, 503, 504].into_iter().for_each(|status| check(status, "later"));
        [400, 401, 403, 404, 410, 413, 422].into_iter().for_each(|status| check(status, "never"));
    }

    #[test]
    fn the_time_to_come_again_is_seconds_or_a_time() {
        let now: Timestamp = "2026-01-05T10:00:00Z".parse().expect("a time");
        let check = |text: &str, seconds: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().expect("a header"));
            assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{text}");
        };
        check("7", Some(7));
        check("Mon, 05 Jan 2026 10:00:30 GMT", Some(30));
        check("Mon, 05 Jan 2026 09:00:00 GMT", Some(0));
        check("soon", None);
    }
}
