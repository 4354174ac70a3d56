//! `GET /v1/dead-letters`: lines that were taken and gave no event, with the reasons. `POST /v1/dead-letters/redrive` puts them in again.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lapwing_dsl::functions::timestamp_text;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::problem::Problem;
use super::{Embedded, Events, Service, topic_letters};
use crate::data::dead_letters::{DeadLetter, Failure, Id, KINDS, Kind, Page, Wanted};
use crate::data::log::segments::ReadError;

/// How many dead letters an answer has where nothing else is asked for, and at most.
const LIMIT: usize = 100;
pub(super) const LIMIT_MAX: usize = 1_000;

/// Which are asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    pub after: Option<String>,
    pub kind: Option<String>,
    pub limit: Option<usize>,
}

/// Which are to be put in again: those with `ids`, or `all` that there are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Redrive {
    ids: Option<Vec<String>>,
    #[serde(default)]
    all: bool,
    pub kind: Option<String>,
    pub after: Option<String>,
    /// As it was told: a number, or over Kafka a text.
    pub until: Option<Value>,
    pub limit: Option<usize>,
}

impl Redrive {
    /// The ids that are named; none where all are meant.
    pub fn ids(&self) -> Result<Option<&[String]>, Problem> {
        let Redrive { ids, all, kind, after, until, limit } = self;
        match (ids, all) {
            (Some(ids), false) if kind.is_none() && after.is_none() && until.is_none() && limit.is_none() => {
                if ids.len() > LIMIT_MAX {
                    let count = ids.len();
                    let detail = format!("{count} ids, the limit is {LIMIT_MAX}; send the others in another request");
                    return Err(not_so(detail));
                }
                Ok(Some(ids))
            }
            (None, true) => Ok(None),
            _ => {
                let detail = "name either `ids`, an array, or `\"all\": true` with `kind`, `after`, `until` and `limit` where wanted";
                Err(not_so(detail))
            }
        }
    }
}

/// Lists dead letters, the newest last.
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, Problem> {
    if let Events::Topics(topics) = &service.events {
        return tokio::task::block_in_place(|| topic_letters::list(&topics.letters, asked)).map(Json);
    }
    let Embedded { dead_letters, .. } = service.embedded()?;
    let Asked { after, kind, limit } = asked;
    let wanted = wanted(after, kind, limit, dead_letters.end())?;
    let page = tokio::task::block_in_place(|| dead_letters.page(&wanted))?;
    let Page { letters, next, more } = page;
    let letters: Vec<Value> = letters.iter().map(letter_json).collect();
    Ok(Json(json!({"dead_letters": letters, "next": next.to_string(), "more": more})))
}

/// Shows a dead letter.
pub(super) async fn show(State(service): State<Arc<Service>>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    if let Events::Topics(topics) = &service.events {
        return tokio::task::block_in_place(|| topic_letters::show(&topics.letters, &id)).map(Json);
    }
    let Embedded { dead_letters, .. } = service.embedded()?;
    let id = read_id(&id)?;
    let letter = tokio::task::block_in_place(|| dead_letters.get(id))?;
    Ok(Json(letter_json(&letter)))
}

/// Puts lines in again, each once.
pub(super) async fn redrive(State(service): State<Arc<Service>>, body: String) -> Result<Json<Value>, Problem> {
    service.is_ready()?;
    let asked: Redrive = serde_json::from_str(&body).map_err(|e| not_so(e.to_string()))?;
    if let Events::Topics(topics) = &service.events {
        return tokio::task::block_in_place(|| topic_letters::redrive(&topics.letters, asked)).map(Json);
    }
    let Embedded { dead_letters, intake, .. } = service.embedded()?;
    let mut answer = json!({});
    let ids = match asked.ids()? {
        Some(ids) => ids.iter().map(|id| read_id(id)).collect::<Result<Vec<_>, _>>()?,
        None => {
            let Redrive { kind, after, until, limit, .. } = asked;
            // What is put in again may come back as another dead letter, which is not meant.
            let until = match until {
                Some(until) => until.as_u64().ok_or_else(|| not_so("`until` is a number, as it was told"))?,
                None => dead_letters.end(),
            };
            let wanted = wanted(after, kind, Some(limit.unwrap_or(LIMIT_MAX)), until)?;
            let page = tokio::task::block_in_place(|| dead_letters.page(&wanted))?;
            answer = json!({"next": page.next.to_string(), "more": page.more, "until": until});
            page.letters.iter().map(|letter| letter.id).collect()
        }
    };
    let rules = service.rollout.newest();
    let done = dead_letters.redrive(ids, |line| intake.refusal(&rules, line)).await?;
    answer["results"] = done.iter().map(redriven_json).collect();
    Ok(Json(answer))
}

fn wanted(after: Option<String>, kind: Option<String>, limit: Option<usize>, until: u64) -> Result<Wanted, Problem> {
    let limit = read_limit(limit)?;
    let after = after.map(|id| read_id(&id)).transpose()?;
    Ok(Wanted { after, until, kind: kind.map(|kind| read_kind(&kind)).transpose()?, limit })
}

fn read_id(text: &str) -> Result<Id, Problem> {
    text.parse().map_err(|why: String| Problem::new(StatusCode::BAD_REQUEST, "no dead letter", why))
}

pub(super) fn read_kind(text: &str) -> Result<Kind, Problem> {
    let found = KINDS.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind);
    found.ok_or_else(|| {
        let names: Vec<_> = KINDS.iter().map(|(name, _)| format!("`{name}`")).collect();
        not_so(format!("`{text}` is no kind of dead letters; write one of {}", names.join(", ")))
    })
}

pub(super) fn not_so(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "not to be understood", detail)
}

fn letter_json(letter: &DeadLetter) -> Value {
    let mut json = json!({
        "id": letter.id.to_string(),
        "at": timestamp_text(letter.at),
        "offset": letter.offset,
        "kind": letter.kind,
        "reason": letter.reason,
    });
    match letter.line.as_deref().map(str::from_utf8) {
        Some(Ok(text)) => json["line"] = json!(text),
        Some(Err(_)) => json["line_base64"] = json!(STANDARD.encode(letter.line.as_deref().unwrap_or_default())),
        None => json["gone"] = json!(true),
    }
    json
}

/// How many may be listed at once.
pub(super) fn read_limit(limit: Option<usize>) -> Result<usize, Problem> {
    let limit = limit.unwrap_or(LIMIT);
    match (1..=LIMIT_MAX).contains(&limit) {
        true => Ok(limit),
        false => Err(not_so(format!("`limit` is {limit}; it has to be 1 to {LIMIT_MAX}"))),
    }
}

/// What became of one that was to be put in again.
pub(super) fn redriven_json((id, redriven): &(impl ToString, impl Serialize)) -> Value {
    let mut json = json!(redriven);
    json["id"] = json!(id.to_string());
    json
}

impl From<Failure> for Problem {
    fn from(why: Failure) -> Problem {
        match why {
            Failure::None(id) => {
                let detail = format!("there is no dead letter with the id `{id}`; `GET /v1/dead-letters` lists them");
                Problem::new(StatusCode::NOT_FOUND, "no dead letter", detail)
            }
            Failure::Read(e @ ReadError::Gone { .. }) => {
                let detail = format!("{e}; without `after` the list begins with the oldest that is left");
                Problem::new(StatusCode::GONE, "these dead letters are gone", detail)
            }
            Failure::Read(e) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the log fails", e.to_string()),
            Failure::NotAppended(why) => why.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_text_is_told_in_base64() {
        let id = "7.1".parse().expect("an id");
        let letter = |line: &[u8]| {
            let line = Some(line.to_vec());
            letter_json(&DeadLetter { id, at: 0, offset: 3, kind: Kind::Late, reason: "so".to_owned(), line })
        };
        assert_eq!(letter(b"{}\r")["line"], json!("{}\r"));
        let odd = letter(b"\xff");
        assert_eq!((odd.get("line"), &odd["line_base64"]), (None, &json!("/w==")));
    }
}
