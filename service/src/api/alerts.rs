//! `GET /v1/alerts/stream`: alerts as they are committed, as server-sent events (WHATWG HTML, "Server-sent events").
//!
//! Each alert has an id; who sends the last one back as `Last-Event-ID` (as browsers do by themselves) goes on behind it, and misses none that the log
//! still has.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, KeepAliveStream, Sse};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::problem::Problem;
use super::{Events, Phase, Service, topic_alerts};
use crate::data::log::frame::Record;
use crate::data::log::segments::ReadError;

/// Alerts that wait for a reader at most.
const WAITING: usize = 256;

/// Where a stream begins.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct From {
    /// The id of an alert, `earliest` or `latest`.
    after: Option<String>,
}

/// The place of an alert: that of its epoch's record, and its number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct AlertId {
    place: u64,
    index: u64,
}

impl AlertId {
    fn read(text: &str) -> Option<AlertId> {
        let (place, index) = text.split_once('.')?;
        Some(AlertId { place: place.parse().ok()?, index: index.parse().ok()? })
    }
}

/// Streams alerts.
pub(super) async fn stream(
    State(service): State<Arc<Service>>,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Result<Sse<KeepAliveStream<ReceiverStream<Result<Event, Infallible>>>>, Problem> {
    let last = headers.get("last-event-id").and_then(|v| v.to_str().ok()).map(str::to_owned);
    let after = last.or(from.after).unwrap_or_else(|| "latest".to_owned());
    if let Events::Topics(topics) = &service.events {
        let stream = tokio::task::block_in_place(|| topic_alerts::Stream::open(topics, &after))?;
        let (events, alerts) = mpsc::channel(WAITING);
        let phase = service.phase.clone();
        let thread = std::thread::Builder::new().name("alert stream".to_owned());
        let begun = thread.spawn(move || stream.run(&events, &phase));
        begun.map_err(|e| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no thread to stream with", e.to_string()))?;
        return Ok(Sse::new(ReceiverStream::new(alerts)).keep_alive(KeepAlive::default()));
    }
    let log = &service.embedded()?.log;
    let (place, passed) = match after.as_str() {
        "latest" => (log.durable().place(), None),
        "earliest" => (log.read_from(0).oldest(), None),
        id => {
            let id = AlertId::read(id).ok_or_else(|| {
                let detail =
                    format!("`{id}` is no id of an alert; take the `id` of a streamed one, `earliest` or `latest`");
                Problem::new(StatusCode::BAD_REQUEST, "no place to begin", detail)
            })?;
            (id.place, Some(id))
        }
    };
    let mut reader = log.read_from(place);
    let mut durable = log.durable().subscribe();
    if passed.is_some() {
        let end = *durable.borrow();
        let begins = tokio::task::block_in_place(|| {
            log.read_from(place)
                .next(end)
                .map(|found| found.is_some_and(|(_, frame)| matches!(frame.record, Record::Epoch(_))))
        });
        match begins {
            Ok(true) => {}
            Err(e @ ReadError::Gone { .. }) => {
                let detail = format!("{e}; begin with `after=earliest`");
                return Err(Problem::new(StatusCode::GONE, "these alerts are gone", detail));
            }
            _ => {
                let detail = format!("no alert has the id `{after}`; begin with `after=earliest` or `after=latest`");
                return Err(Problem::new(StatusCode::BAD_REQUEST, "no place to begin", detail));
            }
        }
    }
    let (events, stream) = mpsc::channel(WAITING);
    let mut phase = service.phase.clone();
    tokio::spawn(async move {
        loop {
            let end = *durable.borrow_and_update();
            loop {
                let read = tokio::task::block_in_place(|| read(&mut reader, end, passed));
                let found = match read {
                    Ok(Some(found)) => found,
                    Ok(None) => break,
                    Err(why) => {
                        let _ = events.send(Ok(Event::default().event("error").data(why.to_string()))).await;
                        return;
                    }
                };
                for (id, alert) in found {
                    let event = Event::default().id(format!("{}.{}", id.place, id.index)).event("alert").data(alert);
                    if events.send(Ok(event)).await.is_err() {
                        return;
                    }
                }
            }
            tokio::select! {
                moved = durable.changed() => if moved.is_err() { return },
                _ = phase.wait_for(|phase| *phase == Phase::Stopping) => return,
                _ = events.closed() => return,
            }
        }
    });
    Ok(Sse::new(ReceiverStream::new(stream)).keep_alive(KeepAlive::default()))
}

/// The alerts of the next record before `end`, but those up to `passed`; none where `end` is reached.
fn read(
    reader: &mut crate::data::log::segments::Reader,
    end: u64,
    passed: Option<AlertId>,
) -> Result<Option<Vec<(AlertId, String)>>, ReadError> {
    let Some((place, frame)) = reader.next(end)? else { return Ok(None) };
    let Record::Epoch(epoch) = frame.record else { return Ok(Some(Vec::new())) };
    let lines = epoch.alerts.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let alerts = (0..).zip(lines).map(|(index, line)| (AlertId { place, index }, line));
    let new = alerts.filter(|(id, _)| passed.is_none_or(|passed| *id > passed));
    Ok(Some(new.map(|(id, line)| (id, String::from_utf8_lossy(line).into_owned())).collect()))
}
