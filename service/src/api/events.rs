//! `POST /v1/events`: events come in, and are acknowledged once they are on the disk.
//!
//! A body is JSON lines (`application/x-ndjson`), or one event or an array of them (`application/json`). Each line is held against the event
//! types of the rules that are in force; those that cannot be read are told in the answer and left out, the others are taken. An `Idempotency-Key` makes it
//! harmless to send the same again.

use std::sync::{Arc, Mutex};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lapwing_engine::batch::{Batch, Origin};
use lapwing_engine::rule_set::RuleSet;
use serde::Serialize;
use serde_json::value::RawValue;

use super::problem::Problem;
use super::{Embedded, Service};
use crate::data::decode::json::Reject;
use crate::data::decode::plan::Plan;
use crate::data::decode::shape::Decoder;

/// The most lines that an answer tells about.
const TOLD_MAX: usize = 100;

/// The most characters of an idempotency key.
const KEY_MAX: usize = 255;

/// Bodies of so many bytes are read where they hold nobody up.
const LARGE: usize = 1 << 16;

/// Holds events against the rules before they are taken.
pub struct Intake {
    spare: Mutex<Vec<Reading>>,
    line_bytes_max: usize,
}

/// A decoder with the rule set that it reads for.
struct Reading {
    rules: Arc<RuleSet>,
    decoder: Decoder,
    batch: Batch,
}

/// What a body holds.
#[derive(Default)]
struct Checked {
    /// The lines that can be read, each with its end.
    lines: Vec<u8>,
    count: u64,
    /// Of these, objects that are no declared event.
    unknown: u64,
    rejected: Vec<LineRejected>,
    rejected_count: u64,
}

/// What is answered.
#[derive(Serialize)]
struct Answer {
    accepted: u64,
    /// Number of the first line that was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_offset: Option<u64>,
    /// Whether they were there already, under the same key.
    duplicate: bool,
    /// Taken lines that are no declared event: no rule reads them.
    unknown: u64,
    rejected: u64,
    /// The first of the rejected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<LineRejected>,
}

#[derive(Serialize)]
struct LineRejected {
    /// Its number in the body, from 1; of an array the number of the element.
    line: u64,
    reason: String,
}

/// Takes events.
pub(super) async fn take(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    service.is_ready()?;
    let Embedded { log, intake, .. } = service.embedded()?;
    let key = key_of(&headers)?;
    let lines = lines_of(&headers, &body)?;
    let rules = service.rollout.newest();
    let check = || intake.check(&rules, lines.as_deref().unwrap_or(&body));
    let checked = if body.len() < LARGE { check() } else { tokio::task::block_in_place(check) };
    let Checked { lines, count, unknown, rejected: errors, rejected_count: rejected } = checked;
    if count == 0 {
        let status = if rejected > 0 { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
        let answer = Answer { accepted: 0, first_offset: None, duplicate: false, unknown, rejected, errors };
        return Ok((status, Json(answer)).into_response());
    }
    let appended = log.append(lines, count, key).await?;
    let answer = Answer {
        accepted: appended.count,
        first_offset: Some(appended.first),
        duplicate: appended.again,
        unknown,
        rejected,
        errors,
    };
    Ok(Json(answer).into_response())
}

fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let bad = || {
        let detail = format!("`Idempotency-Key` has to be 1 to {KEY_MAX} visible ASCII characters");
        Problem::new(StatusCode::BAD_REQUEST, "no idempotency key", detail)
    };
    let key = value.to_str().map_err(|_| bad())?;
    if key.is_empty() || key.len() > KEY_MAX { Err(bad()) } else { Ok(Some(key.to_owned())) }
}

/// The lines of a body that is not written in lines; none where it is.
fn lines_of(headers: &HeaderMap, body: &Bytes) -> Result<Option<Vec<u8>>, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    match kind {
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(None),
        "application/json" => {
            let bad = |e: serde_json::Error| {
                let detail = format!("the body is no JSON: {e}; JSON lines come as `application/x-ndjson`");
                Problem::new(StatusCode::BAD_REQUEST, "no JSON", detail)
            };
            let all: Vec<&RawValue> = match body.iter().find(|b| !b.is_ascii_whitespace()) {
                Some(b'[') => serde_json::from_slice(body).map_err(bad)?,
                _ => vec![serde_json::from_slice(body).map_err(bad)?],
            };
            let mut lines = Vec::with_capacity(body.len() + all.len());
            for event in all {
                // Between the members of an object a line's end is a blank as any other.
                lines.extend(event.get().bytes().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { b }));
                lines.push(b'\n');
            }
            Ok(Some(lines))
        }
        _ => {
            let detail = "events come as `application/x-ndjson`, a JSON object a line, or as `application/json`, one object or an array of them";
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "another content type", detail))
        }
    }
}

impl Intake {
    /// An event has at most so many bytes.
    pub fn new(line_bytes_max: usize) -> Intake {
        Intake { spare: Mutex::default(), line_bytes_max }
    }

    /// What the rules have against a line, if they have anything.
    pub(super) fn refusal(&self, rules: &Arc<RuleSet>, line: &[u8]) -> Option<String> {
        self.check(rules, line).rejected.pop().map(|rejected| rejected.reason)
    }

    /// Reads lines as the rules want them.
    fn check(&self, rules: &Arc<RuleSet>, body: &[u8]) -> Checked {
        let mut reading = self.reading(rules);
        let mut out = Checked { lines: Vec::with_capacity(body.len() + 1), ..Checked::default() };
        let mut rest = body;
        let mut number = 0;
        while !rest.is_empty() {
            let bytes = rest;
            let line = reading.decoder.next(bytes);
            let length = line.length;
            rest = bytes.get(length + 1..).unwrap_or_default();
            number += 1;
            if bytes[..length].iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let origin = Origin { source: 0, partition: 0, offset: number };
            let decoded = match length > self.line_bytes_max {
                true => Err(Reject::TooLong { given: length, limit: self.line_bytes_max }),
                false => reading.decoder.decode_next(bytes, line, origin, &mut reading.batch),
            };
            match decoded {
                Ok(decoded) => {
                    out.count += 1;
                    out.unknown += u64::from(decoded.rows == 0);
                    out.lines.extend_from_slice(&bytes[..length]);
                    out.lines.push(b'\n');
                }
                Err(reject) => {
                    out.rejected_count += 1;
                    if out.rejected.len() < TOLD_MAX {
                        out.rejected.push(LineRejected { line: number, reason: reject.to_string() });
                    }
                }
            }
            if reading.batch.rows.len() >= 1_024 {
                reading.batch.clear();
            }
        }
        reading.batch.clear();
        self.spare.lock().expect("nobody panics with it").push(reading);
        out
    }

    fn reading(&self, rules: &Arc<RuleSet>) -> Reading {
        let mut all = self.spare.lock().expect("nobody panics with it");
        all.retain(|r| r.rules.shares_programs(rules));
        all.pop().unwrap_or_else(|| {
            let plan = Arc::new(Plan::new(rules));
            let batch = Batch::new(plan.layout.clone());
            Reading { rules: rules.clone(), decoder: Decoder::new(plan), batch }
        })
    }
}
