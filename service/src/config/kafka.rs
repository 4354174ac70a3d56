//! `[kafka]`

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::fault::Origin;
use super::kinds::{Entries, Leaf, Named, OneOf, any_text, optional, or, path, string_of, table, tables, text};
use super::secret::Secret;
use super::section::{Key, Kind};
use super::service::address;
use super::tree::{Given, Node};

section! {
    /// Kafka as the source of events and the place of alerts. Without this section the embedded log is both.
    Kafka {
        /// Some brokers, from which the client learns of the others: `host:port`, with commas between them.
        brokers: String = text("host and port: \"kafka-1:9092,kafka-2:9092\"", addresses);
        /// The name of the consumer group; all instances of one service share it.
        group: String = or(any_text(), "lapwing");
        /// What a crash may do to alerts: nothing, or repeat some.
        delivery: Delivery = or(OneOf(&DELIVERIES), "exactly-once");
        /// Properties for the client library, by librdkafka's names. Secrets go into `secrets`, or into the environment.
        properties: BTreeMap<String, Property> = Named(Properties);
        /// Properties that are secrets, each with the file that holds it.
        secrets: BTreeMap<String, Secret> = Named(Secrets);
        /// The topics that events are read from.
        source: Vec<Source> = tables();
        /// Where alerts go.
        alerts: AlertsTopic = table();
        /// Where late events go.
        late: OptionalTopic = table();
        /// Where messages go that are no event.
        dead_letters: OptionalTopic = table();
        /// Where changes of rules, lists, tables and models come from.
        control: ControlTopic = table();
        /// Where it is told what became of each change.
        status: OptionalTopic = table();
        /// The record of what was decided while events were judged.
        journal: JournalTopic = table();
    }
}

section! {
    /// A topic that events are read from.
    Source {
        /// The topic.
        topic: String = text("the name of a topic", topic_name);
        /// Where to begin at the first start: `committed` (what the group committed, else the earliest), `earliest`, `latest`, a time, or
        /// an offset for each partition (`{ 0 = 17, 1 = 42 }`; others begin at the earliest). Later starts go on where the last one stopped.
        from: From = or(FromKind, "committed");
        /// A folder of JSON-lines files that are judged before the topic is read.
        history: Option<PathBuf> = optional(path());
        /// The header that names the type of an event, where its field `type` does not.
        type_header: Option<String> = optional(any_text());
    }
}

section! {
    /// Where alerts go.
    AlertsTopic {
        /// The topic, or with `topic_by` the beginning of its name.
        topic: String = or(text("the name of a topic", topic_name), "lapwing-alerts");
        /// Whether each severity or rule has a topic of its own: `lapwing-alerts-high`, `lapwing-alerts-failed_logins`.
        topic_by: TopicBy = or(OneOf(&TOPIC_BY), "none");
    }
}

section! {
    /// A topic that is written only where it is named.
    OptionalTopic {
        /// The topic; where it is left out, nothing is written.
        topic: Option<String> = optional(text("the name of a topic", topic_name));
    }
}

section! {
    /// Where changes of rules, lists, tables and models come from.
    ControlTopic {
        /// The topic, with one partition.
        topic: String = or(text("the name of a topic", topic_name), "lapwing-control");
    }
}

section! {
    /// The record of what was decided while events were judged.
    JournalTopic {
        /// The topic, with one partition.
        topic: String = or(text("the name of a topic", topic_name), "lapwing-journal");
    }
}

/// What a crash may do to alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Alerts and places are committed in one transaction.
    ExactlyOnce,
    /// Alerts are written before places are committed: a crash repeats some.
    AtLeastOnce,
}

const DELIVERIES: [(&str, Delivery); 2] =
    [("exactly-once", Delivery::ExactlyOnce), ("at-least-once", Delivery::AtLeastOnce)];

/// How alerts are spread over topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicBy {
    /// One topic.
    None,
    /// One for each severity.
    Severity,
    /// One for each rule.
    Rule,
}

const TOPIC_BY: [(&str, TopicBy); 3] =
    [("none", TopicBy::None), ("severity", TopicBy::Severity), ("rule", TopicBy::Rule)];

/// Where a topic is read from at the first start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// What the group committed, else the earliest.
    Committed,
    /// All that is kept.
    Earliest,
    /// Only what comes from now on.
    Latest,
    /// The first message with this time or a later one.
    Time(Timestamp),
    /// An offset for each partition; others begin at the earliest.
    Offsets(BTreeMap<i32, i64>),
}

/// A property of the client library.
#[derive(Clone, PartialEq, Eq)]
pub struct Property {
    /// Its text, which may be a secret.
    pub text: String,
    /// Whether it must not be shown.
    pub secret: bool,
}

impl std::fmt::Debug for Property {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.secret { "***" } else { &self.text })
    }
}

/// Properties that are keys of ours, or that must stay as they are for what we promise.
const OURS: [(&str, &str); 15] = [
    ("allow.auto.create.topics", "topics are created by who runs the brokers"),
    ("auto.offset.reset", "set `from` of the [[kafka.source]]"),
    ("bootstrap.servers", "set `kafka.brokers`"),
    ("enable.auto.commit", "places are committed with the alerts"),
    ("enable.auto.offset.store", "places are committed with the alerts"),
    ("enable.idempotence", "set `kafka.delivery`"),
    ("enable.partition.eof", "it is always on"),
    ("group.id", "set `kafka.group`"),
    ("group.instance.id", "instances share the work by their journal"),
    ("group.protocol", "instances share the work by their journal"),
    ("isolation.level", "what was not committed is never read"),
    ("metadata.broker.list", "set `kafka.brokers`"),
    ("partition.assignment.strategy", "instances share the work by their journal"),
    ("transaction.timeout.ms", "it follows `epoch.every`"),
    ("transactional.id", "it is made of `kafka.group`"),
];

/// Whether a property of the client library is a secret.
pub fn is_secret(property: &str) -> bool {
    ["password", "passphrase", "secret", "key.pem", "sasl.oauthbearer.config"]
        .iter()
        .any(|word| property.contains(word))
}

fn refuse_ours(name: &str) -> Result<(), String> {
    match OURS.iter().find(|(ours, _)| *ours == name) {
        Some((_, mend)) => Err(format!("this property is not yours to set: {mend}")),
        None => Ok(()),
    }
}

struct Properties;

impl Entries for Properties {
    type Value = Property;

    fn read(&self, name: &str, text: &str, origin: &Origin) -> Result<(Property, Json), String> {
        refuse_ours(name)?;
        let secret = is_secret(name);
        if secret && !matches!(origin, Origin::Environment(_)) {
            let variable = super::variable(&format!("kafka.properties.{}", name.replace('.', "_")));
            return Err(format!(
                "this is a secret: write it into a file and name that, `secrets = {{ \"{name}\" = \"/run/secrets/…\" }}`, or set the \
                 environment variable {variable}"
            ));
        }
        let shown = if secret { json!("***") } else { json!(text) };
        Ok((Property { text: text.to_owned(), secret }, shown))
    }
}

struct Secrets;

impl Entries for Secrets {
    type Value = Secret;

    fn read(&self, name: &str, text: &str, _: &Origin) -> Result<(Secret, Json), String> {
        refuse_ours(name)?;
        Ok((Secret::read(text)?, json!(text)))
    }
}

/// Whether text is a list of addresses.
fn addresses(text: &str) -> Result<(), String> {
    text.split(',').try_for_each(|one| address(one.trim()))
}

/// Whether Kafka takes text as the name of a topic.
fn topic_name(text: &str) -> Result<(), String> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match text {
        "." | ".." => Err(format!("`{text}` is no name")),
        _ if text.len() > 249 => Err(format!("the name has {} letters, and Kafka takes at most 249", text.len())),
        _ => match text.chars().find(|c| !known(*c)) {
            Some(c) => Err(format!("Kafka takes letters, digits, `.`, `_` and `-`, and `{text}` has `{c}`")),
            None => Ok(()),
        },
    }
}

struct FromWord;

impl Leaf for FromWord {
    type Value = From;

    fn read(&self, given: &Given) -> Result<From, String> {
        let write = "\"committed\", \"earliest\", \"latest\", a time such as \"2026-01-05T10:00:00Z\", or offsets such as { 0 = 17 }";
        let text = match given {
            Given::Time(text) => text,
            given => string_of(given, write)?,
        };
        match text {
            "committed" => Ok(From::Committed),
            "earliest" => Ok(From::Earliest),
            "latest" => Ok(From::Latest),
            // Without a zone a time is UTC, as in events.
            _ => text
                .parse()
                .or_else(|_| format!("{text}Z").parse())
                .map(From::Time)
                .map_err(|_| format!("`{text}` is no place to begin; write {write}")),
        }
    }

    fn show(&self, value: &From) -> Json {
        match value {
            From::Committed => json!("committed"),
            From::Earliest => json!("earliest"),
            From::Latest => json!("latest"),
            From::Time(time) => json!(time.to_string()),
            From::Offsets(offsets) => json!(offsets),
        }
    }

    fn schema(&self) -> Json {
        json!({"type": "string"})
    }
}

struct FromKind;

impl FromKind {
    fn offsets(node: &Node, key: Key<'_>) -> Option<From> {
        let Given::Table(entries) = &node.given else { return None };
        let mut offsets = BTreeMap::new();
        for (name, entry) in entries {
            let number = match &entry.node.given {
                Given::Integer(text) | Given::Text(text) => text.parse::<i64>().ok().filter(|offset| *offset >= 0),
                _ => None,
            };
            match (name.parse::<i32>().ok().filter(|partition| *partition >= 0), number) {
                (Some(partition), Some(offset)) => drop(offsets.insert(partition, offset)),
                (None, _) => {
                    key.fault(&entry.key, format!("`{}`: `{name}` is no partition; write its number, from 0", key.name))
                }
                (_, None) => key.fault(
                    &entry.node.origin,
                    format!("`{}`: write an offset, a whole number from 0", key.below(name)),
                ),
            }
        }
        (offsets.len() == entries.len()).then_some(From::Offsets(offsets))
    }
}

impl Kind for FromKind {
    type Value = From;

    fn read(&self, node: &Node, key: Key<'_>) -> Option<From> {
        let apart = node.taken_apart().ok().filter(|node| matches!(node.given, Given::Table(_)));
        let Some(table) = apart else { return Kind::read(&FromWord, node, key) };
        let from = FromKind::offsets(&table, key)?;
        key.setting(FromWord.show(&from), &node.origin);
        Some(from)
    }

    fn schema(&self) -> Json {
        let offsets = json!({"type": "object", "propertyNames": {"pattern": "^[0-9]+$"}, "additionalProperties": {"type": "integer", "minimum": 0}});
        json!({"anyOf": [Leaf::schema(&FromWord), offsets]})
    }
}
