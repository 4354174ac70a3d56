//! Commands that talk to a running service.

pub mod apply;
pub mod audit;
pub mod diff;
pub mod dlq;
pub mod export;
pub mod history;
mod models;
pub mod rollback;
pub mod tail;
pub mod token;

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{Exit, compiled};
use crate::config::Secret;
use crate::control::files::Rules;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which service.
#[derive(clap::Args)]
pub struct Api {
    /// Where the service listens.
    #[arg(long, env = "LAPWING_API", default_value = "http://127.0.0.1:7878")]
    api: String,
    /// The file with the token to show; else that of the variable `LAPWING_TOKEN` is.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Who changes something, and why: it is kept with the change.
#[derive(clap::Args)]
pub struct Made {
    /// Who changes it, where that is somebody else than the token's: for an administrator's token alone.
    #[arg(long)]
    author: Option<String>,
    /// Why.
    #[arg(long)]
    reason: Option<String>,
}

impl Made {
    fn put_into(&self, message: &mut Json) {
        for (name, value) in [("author", &self.author), ("reason", &self.reason)] {
            if let Some(value) = value {
                message[name] = json!(value);
            }
        }
    }
}

impl Api {
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.api.trim_end_matches('/'))
    }

    /// What says who asks; nothing where there is no token.
    fn token(&self) -> Result<Option<String>, String> {
        let token = match &self.token_file {
            Some(path) => Some(Secret::read(&path.display().to_string())?.expose().to_owned()),
            None => std::env::var("LAPWING_TOKEN").ok().filter(|token| !token.is_empty()),
        };
        Ok(token.map(|token| format!("Bearer {}", token.trim())))
    }

    /// Sends a request.
    fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Json>,
        patience: Option<Duration>,
    ) -> Result<ureq::http::Response<ureq::Body>, String> {
        let mut request = ureq::http::Request::builder().method(method).uri(self.url(path));
        if let Some(token) = self.token()? {
            request = request.header("authorization", token);
        }
        let agent = Self::agent(patience);
        let sent = match body {
            Some(body) => {
                let request = request.header("content-type", "application/json").body(body.to_string());
                agent.run(request.map_err(|e| format!("no request can be made of the token or the address: {e}"))?)
            }
            None => {
                let request = request.body(());
                agent.run(request.map_err(|e| format!("no request can be made of the token or the address: {e}"))?)
            }
        };
        sent.map_err(|e| self.unreachable(&e))
    }

    fn unreachable(&self, e: &ureq::Error) -> String {
        format!("cannot reach the service at {}: {e}; is `lapwing serve` running there? Name it with --api", self.api)
    }

    fn agent(timeout: Option<Duration>) -> ureq::Agent {
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(timeout).build().into()
    }

    fn answer(mut response: ureq::http::Response<ureq::Body>) -> Result<Json, String> {
        let well = response.status().is_success();
        let status = response.status();
        let mut text = String::new();
        response.body_mut().as_reader().read_to_string(&mut text).map_err(|e| format!("the answer broke off: {e}"))?;
        let body: Json = serde_json::from_str(&text).unwrap_or_default();
        if well {
            return Ok(body);
        }
        let detail = body["detail"].as_str().map_or_else(|| status.to_string(), str::to_owned);
        let found = body["diagnostics"].as_array().into_iter().flatten().filter_map(|d| d["message"].as_str());
        Err(found.fold(detail, |all, one| format!("{all}\n  {one}")))
    }

    /// What a resource says.
    pub fn get(&self, path: &str) -> Result<Json, String> {
        Self::answer(self.send("GET", path, None, Some(PATIENCE))?)
    }

    /// What a resource answers to a message.
    pub fn post(&self, path: &str, message: &Json) -> Result<Json, String> {
        Self::answer(self.send("POST", path, Some(message), Some(PATIENCE))?)
    }

    /// Takes a resource away.
    pub fn delete(&self, path: &str) -> Result<Json, String> {
        Self::answer(self.send("DELETE", path, None, Some(PATIENCE))?)
    }

    /// A stream that goes on as long as the service does.
    pub fn stream(&self, path: &str) -> Result<impl Read + use<>, String> {
        let response = self.send("GET", path, None, None)?;
        if response.status().is_success() {
            return Ok(response.into_body().into_reader());
        }
        Err(Self::answer(response).err().unwrap_or_default())
    }
}

/// The message that makes all rules as some files say; they compile.
pub fn rules_message(paths: &[PathBuf]) -> Result<Json, Exit> {
    compiled(paths).map(|rules| message_of(&rules, paths))
}

fn message_of(rules: &Rules, paths: &[PathBuf]) -> Json {
    let files: Vec<Json> = rules.texts().into_iter().map(|(path, text)| json!({"path": path, "text": text})).collect();
    let from: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    json!({"op": "apply", "kind": "rules", "name": from.join(" "), "files": files})
}

/// The rules that a service has live or paused: name and text of the version in force.
fn rules_in_force(catalog: &Json) -> impl Iterator<Item = (&str, &str)> {
    let rules = catalog["rules"].as_array().into_iter().flatten();
    rules.filter(|rule| matches!(rule["stage"].as_str(), Some("live" | "paused"))).filter_map(|rule| {
        let mut versions = rule["versions"].as_array()?.iter();
        let version = versions.find(|version| version["version"] == rule["version"])?;
        Some((rule["name"].as_str()?, version["source"].as_str()?))
    })
}
