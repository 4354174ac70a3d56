//! `[alerts]`

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::kinds::{
    Leaf, OneOf, any_text, from_environment, list, optional, or, path, secret_file, string_of, tables, time,
};
use super::secret::Secret;
use super::tree::Given;

section! {
    /// Where alerts go beside the log.
    Alerts {
        /// A file to which alerts are appended as JSON lines.
        file: Option<PathBuf> = optional(path());
        /// Addresses that alerts are posted to.
        webhook: Vec<Webhook> = tables();
    }
}

section! {
    /// An address that alerts are posted to.
    Webhook {
        /// The address, `http://` or `https://`. Messages show it only up to its host: what follows is a secret of many services.
        url: String = Url;
        /// The secret that posts are signed with. Only from the environment.
        secret: Option<Secret> = optional(from_environment());
        /// The file that holds the secret that posts are signed with.
        secret_file: Option<Secret> = optional(secret_file());
        /// Only alerts of these rules; where it is empty, of all.
        rules: Vec<String> = or(list(any_text()), "");
        /// Only alerts of these severities; where it is empty, of all.
        severities: Vec<&'static str> = or(list(OneOf(&SEVERITIES)), "");
        /// How long an answer may take.
        timeout: Duration = or(time(100..=600_000), "10s");
    }
}

/// The severities of rules, by name.
pub const SEVERITIES: [(&str, &str); 5] =
    [("info", "info"), ("low", "low"), ("medium", "medium"), ("high", "high"), ("critical", "critical")];

impl Webhook {
    /// The secret that posts are signed with, wherever it was given; the environment wins.
    pub fn signed_with(&self) -> Option<&Secret> {
        self.secret.as_ref().or(self.secret_file.as_ref())
    }

    /// The address up to its host: what messages show.
    pub fn shown(&self) -> &str {
        Url::host(&self.url).unwrap_or_default()
    }
}

/// An address of the web, shown up to its host.
struct Url;

impl Url {
    /// The address up to its host.
    fn host(url: &str) -> Option<&str> {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let host = &rest[..end];
        let plain = !host.is_empty() && !host.starts_with(':') && !url.contains(|c: char| c.is_whitespace());
        (plain && !host.contains('@')).then(|| &url[..url.len() - rest.len() + end])
    }
}

impl Leaf for Url {
    type Value = String;

    fn read(&self, given: &Given) -> Result<String, String> {
        let write = "\"https://host/path\", without a name and password";
        let text = string_of(given, write)?;
        // The text may hold a secret, and is not repeated.
        Url::host(text).map(|_| text.to_owned()).ok_or_else(|| format!("this is no address of the web; write {write}"))
    }

    fn show(&self, value: &String) -> Json {
        match Url::host(value) {
            Some(host) if host.len() + 1 < value.len() => json!(format!("{host}/***")),
            _ => json!(value),
        }
    }

    fn schema(&self) -> Json {
        json!({"type": "string", "pattern": "^https?://[^/@]+"})
    }
}
