//! `GET /v1/alerts/stream` over Kafka: what is committed in the topic of alerts.
//!
//! An event's id is where reading goes on behind it: for each partition the offset that comes next.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::sse::Event;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::problem::Problem;
use super::{Phase, Topics};
use crate::config::kafka::TopicBy;
use crate::data::kafka::{Error, Partition, Reader, Start};

/// How long brokers may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// How long it waits for alerts before it looks whether somebody still reads.
const LOOK: Duration = Duration::from_millis(100);

/// The most messages that are taken at once.
const MESSAGES_MAX: usize = 256;

/// For each partition the offset that comes next.
type Next = BTreeMap<i32, i64>;

/// A stream that has not begun.
pub(super) struct Stream {
    reader: Reader,
    topic: String,
    next: Next,
    _permit: OwnedSemaphorePermit,
}

fn no_place(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "no place to begin", detail)
}

fn silent(error: &Error) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Kafka does not answer", error.to_string())
}

/// A place as an event's id has it: `0:17,1:4`.
fn read(text: &str) -> Option<Next> {
    let one = |part: &str| {
        let (partition, offset) = part.split_once(':')?;
        let (partition, offset) = (partition.parse::<u16>().ok()?, offset.parse::<u64>().ok()?);
        Some((i32::from(partition), i64::try_from(offset).ok()?))
    };
    text.split(',').map(one).collect()
}

fn write(next: &Next) -> String {
    next.iter().map(|(partition, offset)| format!("{partition}:{offset}")).collect::<Vec<_>>().join(",")
}

impl Stream {
    /// Finds where to begin: behind an id, or with the `earliest` or the `latest`.
    pub fn open(topics: &Topics, after: &str) -> Result<Stream, Problem> {
        if topics.topic_by != TopicBy::None {
            let detail = format!(
                "`kafka.alerts.topic_by` spreads alerts over several topics; read those whose names begin with `{}` from Kafka itself",
                topics.alerts
            );
            return Err(Problem::new(StatusCode::CONFLICT, "there is no one topic of alerts", detail));
        }
        let named = match after {
            "earliest" | "latest" => Next::new(),
            id => read(id).ok_or_else(|| {
                no_place(format!(
                    "`{id}` is no id of an alert; take the `id` of a streamed one, `earliest` or `latest`"
                ))
            })?,
        };
        let permit = topics.streams.clone().try_acquire_owned().map_err(|_| {
            let detail = "too many read alerts here; read the topic from Kafka itself, or try again later";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
        })?;
        let topic = topics.alerts.clone();
        let properties = topics.properties.clone().with("queued.max.messages.kbytes", "4096");
        let opened = Reader::open(&properties, &topics.group, std::slice::from_ref(&topic), false);
        let mut reader = opened.map_err(|e| silent(&e))?;
        let count = reader.client().partitions(&topic, ANSWER).map_err(|e| silent(&e))?;
        if let Some(partition) = named.keys().find(|partition| **partition >= count) {
            let detail = format!("`{after}` names the partition {partition}, and `{topic}` has {count}");
            return Err(no_place(detail));
        }
        let mut next = Next::new();
        for partition in 0..count {
            let ends = reader.watermarks(&Partition::new(topic.as_str(), partition), ANSWER);
            let (low, high) = ends.map_err(|e| silent(&e))?;
            let at = match (named.get(&partition), after) {
                (Some(at), _) if *at < low => {
                    let detail = format!(
                        "partition {partition} of `{topic}` is kept from offset {low} on, and {at} comes next; begin with `after=earliest`"
                    );
                    return Err(Problem::new(StatusCode::GONE, "these alerts are gone", detail));
                }
                (Some(at), _) if *at > high => {
                    let detail =
                        format!("no alert has the id `{after}`; begin with `after=earliest` or `after=latest`");
                    return Err(no_place(detail));
                }
                (Some(at), _) => *at,
                (None, "latest") => high,
                // A partition that came later is read whole.
                (None, _) => low,
            };
            next.insert(partition, at);
        }
        let start = |(partition, at): (&i32, &i64)| (Partition::new(topic.as_str(), *partition), Start::At(*at));
        let starts: Vec<_> = next.iter().map(start).collect();
        reader.assign(&starts).map_err(|e| silent(&e))?;
        Ok(Stream { reader, topic, next, _permit: permit })
    }

    /// Hands alerts on until nobody reads them any more, or the service ends.
    pub fn run(mut self, events: &mpsc::Sender<Result<Event, Infallible>>, phase: &watch::Receiver<Phase>) {
        while *phase.borrow() != Phase::Stopping && !events.is_closed() {
            let batch = self.reader.batch(MESSAGES_MAX, LOOK);
            for message in batch.iter() {
                let next = self.next.entry(message.partition()).or_default();
                // What is read twice is told once.
                if message.offset() < *next {
                    continue;
                }
                *next = message.offset() + 1;
                let Some(alert) = message.payload() else { continue };
                // Lines' ends would end the event.
                let alert = String::from_utf8_lossy(alert).replace(['\r', '\n'], " ");
                let event = Event::default().id(write(&self.next)).event("alert").data(alert);
                if events.blocking_send(Ok(event)).is_err() {
                    return;
                }
            }
            if let Some(error @ (Error::OffsetGone { .. } | Error::NoTopic { .. })) = batch.errors.first() {
                let _ = events.blocking_send(Ok(Event::default().event("error").data(error.to_string())));
                return;
            }
            for error in batch.errors.iter().chain(&self.reader.client().errors()) {
                tracing::debug!(%error, topic = self.topic, "streaming alerts");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        for text in ["0:17", "0:17,1:4"] {
            assert_eq!(write(&read(text).expect("a place")), text);
        }
        for text in ["", "17", "0:-1", "0:1,", "7.1"] {
            assert!(read(text).is_none(), "{text}");
        }
    }
}
