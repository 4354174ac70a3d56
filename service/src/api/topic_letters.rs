//! Dead letters over Kafka: the same resources as over the embedded log, by `data::topic_letters`.

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lapwing_dsl::functions::timestamp_text;
use serde_json::{Map, Value, json};

use super::dead_letters::{Asked, LIMIT_MAX, Redrive, not_so, read_kind, read_limit, redriven_json};
use super::problem::Problem;
use crate::data::topic_letters::{Cursor, Failure, Id, Letter, Page, TopicLetters, Wanted};

/// Lists dead letters.
pub(super) fn list(letters: &TopicLetters, asked: Asked) -> Result<Value, Problem> {
    let Asked { after, kind, limit } = asked;
    let Page { letters, next, more } = letters.page(&wanted(after, kind, limit, None)?)?;
    let letters: Vec<Value> = letters.iter().map(letter_json).collect();
    Ok(json!({"dead_letters": letters, "next": next.to_string(), "more": more}))
}

/// Shows a dead letter.
pub(super) fn show(letters: &TopicLetters, id: &str) -> Result<Value, Problem> {
    Ok(letter_json(&letters.get(read(id)?)?))
}

/// Puts messages in again, each once.
pub(super) fn redrive(letters: &TopicLetters, asked: Redrive) -> Result<Value, Problem> {
    let mut answer = json!({});
    let ids = match asked.ids()? {
        Some(ids) => ids.iter().map(|id| read(id)).collect::<Result<Vec<Id>, _>>()?,
        None => {
            let kind = asked.kind.as_deref().map(read_kind).transpose()?;
            // What is put in again may come back as another dead letter, which is not meant.
            let until: Cursor = match &asked.until {
                Some(Value::String(until)) => read(until)?,
                Some(_) => return Err(not_so("`until` is a text, as it was told")),
                None => letters.end(kind)?,
            };
            let limit = asked.limit.unwrap_or(LIMIT_MAX);
            let page = letters.page(&wanted(asked.after, asked.kind, Some(limit), Some(until.clone()))?)?;
            answer = json!({"next": page.next.to_string(), "more": page.more, "until": until.to_string()});
            page.letters.iter().map(|letter| letter.id).collect()
        }
    };
    let done = if ids.is_empty() { Vec::new() } else { letters.redrive(ids)? };
    answer["results"] = done.iter().map(redriven_json).collect();
    Ok(answer)
}

fn wanted(
    after: Option<String>,
    kind: Option<String>,
    limit: Option<usize>,
    until: Option<Cursor>,
) -> Result<Wanted, Problem> {
    let limit = read_limit(limit)?;
    let after = after.map(|after| read(&after)).transpose()?.unwrap_or_default();
    Ok(Wanted { after, until, kind: kind.as_deref().map(read_kind).transpose()?, limit })
}

fn read<T: std::str::FromStr<Err = String>>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|why: String| Problem::new(StatusCode::BAD_REQUEST, "no dead letter", why))
}

/// Puts bytes in under a name, or in base64 under another where they are no text.
fn put(json: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| (str::from_utf8(bytes), bytes)) {
        Some((Ok(text), _)) => drop(json.insert(name.to_owned(), json!(text))),
        Some((Err(_), bytes)) => drop(json.insert(format!("{name}_base64"), json!(STANDARD.encode(bytes)))),
        None => {}
    }
}

fn letter_json(letter: &Letter) -> Value {
    let mut json = Map::new();
    let members = [
        ("id", json!(letter.id.to_string())),
        ("at", json!(timestamp_text(letter.at))),
        ("topic", json!(letter.topic)),
        ("partition", json!(letter.partition)),
        ("offset", json!(letter.offset)),
        ("kind", json!(letter.kind)),
        ("reason", json!(letter.reason)),
    ];
    json.extend(members.map(|(name, value)| (name.to_owned(), value)));
    let time = letter.timestamp.map(|time| ("timestamp".to_owned(), json!(timestamp_text(time))));
    let cut = letter.whole.map(|bytes| ("cut_from_bytes".to_owned(), json!(bytes)));
    json.extend(time.into_iter().chain(cut));
    put(&mut json, "key", letter.key.as_deref());
    let header = |(name, value): &(String, Option<Vec<u8>>)| {
        let mut header = Map::from_iter([("name".to_owned(), json!(name))]);
        put(&mut header, "value", value.as_deref());
        Value::Object(header)
    };
    if !letter.headers.is_empty() {
        json.insert("headers".to_owned(), letter.headers.iter().map(header).collect());
    }
    put(&mut json, "line", letter.payload.as_deref());
    Value::Object(json)
}

impl From<Failure> for Problem {
    fn from(why: Failure) -> Problem {
        let unavailable = |title, detail: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, title, detail);
        match why {
            Failure::NotSet(key) => {
                let detail = format!("they are not kept, for `{key}` is not set; create a topic and name it there");
                Problem::new(StatusCode::CONFLICT, "there is no topic of dead letters", detail)
            }
            Failure::None(id) => {
                let detail = format!("there is no dead letter with the id `{id}`; `GET /v1/dead-letters` lists them");
                Problem::new(StatusCode::NOT_FOUND, "no dead letter", detail)
            }
            Failure::Gone(id) => {
                let detail = format!(
                    "the topic no longer has what stood at `{id}`; without `after` the list begins with the oldest that is left"
                );
                Problem::new(StatusCode::GONE, "these dead letters are gone", detail)
            }
            Failure::Kafka(error) => unavailable("Kafka does not answer", error.to_string()),
            Failure::Busy => unavailable("busy", "too many requests read dead letters; try again soon".to_owned()),
            Failure::NotAlone => {
                unavailable("busy", "another instance puts dead letters in again now; try again soon".to_owned())
            }
        }
    }
}
