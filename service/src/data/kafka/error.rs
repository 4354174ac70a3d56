//! What goes wrong between us and the brokers, and what to mend.

use std::ffi::{CStr, c_int};
use std::fmt;

use rdkafka::bindings as native;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// librdkafka does not know a property, or does not take its value.
    Property {
        /// The property.
        name: String,
        /// What librdkafka says.
        reason: String,
    },
    /// librdkafka does not take several properties together.
    Properties {
        /// What librdkafka says.
        reason: String,
    },
    /// No broker answers.
    Unreachable {
        /// The brokers that were given.
        brokers: String,
        /// What librdkafka says.
        reason: String,
    },
    /// The brokers do not let this name and password in.
    Credentials {
        /// The brokers that were given.
        brokers: String,
        /// What librdkafka says.
        reason: String,
    },
    /// No encrypted connection could be agreed on.
    Encryption {
        /// The brokers that were given.
        brokers: String,
        /// What librdkafka says.
        reason: String,
    },
    /// A topic does not exist.
    NoTopic {
        /// The topic.
        topic: String,
    },
    /// The brokers let this client in, but not to this.
    NotAllowed {
        /// To what.
        what: String,
    },
    /// What was to be read next is no longer kept, or not written yet.
    OffsetGone {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What librdkafka says.
        reason: String,
    },
    /// A record is larger than a broker or the client takes.
    TooLarge {
        /// The topic it was for.
        topic: String,
        /// Its key and payload, in bytes.
        bytes: usize,
    },
    /// Anything else.
    Other {
        /// What was being done.
        doing: &'static str,
        /// The error's name at librdkafka.
        name: String,
        /// What librdkafka says.
        reason: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Property { name, reason } => write!(
                f,
                "Kafka's client does not take the property `{name}`: {reason}; mend it in `kafka.properties` or `kafka.secrets`"
            ),
            Error::Properties { reason } => {
                write!(f, "Kafka's client does not take these properties: {reason}; mend `kafka.properties`")
            }
            Error::Unreachable { brokers, reason } => {
                write!(f, "no Kafka broker answers at {brokers}: {reason}; is `kafka.brokers` right, and do they run?")
            }
            Error::Credentials { brokers, reason } => write!(
                f,
                "the Kafka brokers at {brokers} refuse the credentials: {reason}; mend `sasl.mechanisms` and `sasl.username` in \
                 `kafka.properties`, and `sasl.password` in `kafka.secrets`"
            ),
            Error::Encryption { brokers, reason } => write!(
                f,
                "no encrypted connection to the Kafka brokers at {brokers}: {reason}; mend `security.protocol` and `ssl.ca.location` in \
                 `kafka.properties`"
            ),
            Error::NoTopic { topic } => {
                write!(f, "the Kafka topic `{topic}` does not exist; create it, or mend its name in the configuration")
            }
            Error::NotAllowed { what } => {
                write!(f, "Kafka does not allow this client {what}; ask who runs the brokers for that right")
            }
            Error::OffsetGone { topic, partition, reason } => write!(
                f,
                "partition {partition} of the Kafka topic `{topic}` does not have what was to be read next: {reason}; it was deleted before it \
                 was judged, or the topic was made anew"
            ),
            Error::TooLarge { topic, bytes } => write!(
                f,
                "a record of {bytes} bytes for the Kafka topic `{topic}` is too large; raise `message.max.bytes` in `kafka.properties` and \
                 `max.message.bytes` of the topic"
            ),
            Error::Other { doing, name, reason } => write!(f, "Kafka: {doing}: {reason} ({name})"),
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    /// What a code means that was met while something was done.
    pub(super) fn new(code: c_int, reason: String, doing: &'static str, brokers: &str) -> Error {
        const AUTHENTICATION: c_int = Code::RD_KAFKA_RESP_ERR__AUTHENTICATION as c_int;
        const SASL: c_int = Code::RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED as c_int;
        const TLS: c_int = Code::RD_KAFKA_RESP_ERR__SSL as c_int;
        const TRANSPORT: c_int = Code::RD_KAFKA_RESP_ERR__TRANSPORT as c_int;
        const ALL_DOWN: c_int = Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN as c_int;
        const TIMED_OUT: c_int = Code::RD_KAFKA_RESP_ERR__TIMED_OUT as c_int;
        const RESOLVE: c_int = Code::RD_KAFKA_RESP_ERR__RESOLVE as c_int;
        const GROUP: c_int = Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED as c_int;
        const TRANSACTION: c_int = Code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED as c_int;
        const CLUSTER: c_int = Code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED as c_int;
        let brokers = brokers.to_owned();
        match code {
            AUTHENTICATION | SASL => Error::Credentials { brokers, reason },
            TLS => Error::Encryption { brokers, reason },
            // Whoever answers does not speak TLS.
            TRANSPORT if reason.contains("SSL handshake failed") => Error::Encryption { brokers, reason },
            TRANSPORT | ALL_DOWN | TIMED_OUT | RESOLVE => Error::Unreachable { brokers, reason },
            GROUP => Error::NotAllowed { what: "to use this consumer group".to_owned() },
            TRANSACTION => Error::NotAllowed { what: "to use this transactional id".to_owned() },
            CLUSTER => Error::NotAllowed { what: "to write idempotently".to_owned() },
            _ => Error::Other { doing, name: name(code), reason },
        }
    }

    /// What a code means that was met with a topic.
    pub(super) fn of_topic(code: Code, topic: &str, partition: i32, reason: String, brokers: &str) -> Error {
        let topic = topic.to_owned();
        match code {
            Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
            | Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
            | Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION => Error::NoTopic { topic },
            Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => {
                Error::NotAllowed { what: format!("to use the topic `{topic}`") }
            }
            Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE | Code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET => {
                Error::OffsetGone { topic, partition, reason }
            }
            code => Error::new(code as c_int, reason, "reading a topic", brokers),
        }
    }

    /// How much it tells: of several that come of one cause, the greatest is shown. There is no waiting for [`Error::LASTING`] to mend itself.
    pub(super) fn weight(&self) -> u8 {
        match self {
            Error::Credentials { .. } => Error::LASTING,
            Error::Unreachable { .. } => 0,
            _ => 1,
        }
    }

    /// The weight of what does not mend itself.
    pub(super) const LASTING: u8 = 2;

    /// Which of two reasons for records that were given up is to be told: the first, but the larger of records that are too large, for they
    /// take smaller ones with them.
    pub(super) fn or_larger(self, other: Error) -> Error {
        match (&self, &other) {
            (Error::TooLarge { bytes, .. }, Error::TooLarge { bytes: more, .. }) if more > bytes => other,
            _ => self,
        }
    }
}

/// What librdkafka calls a code.
pub(super) fn name(code: c_int) -> String {
    let mut table = std::ptr::null();
    let mut length = 0;
    // SAFETY: librdkafka gives its own table, which is never freed, and its length.
    let table = unsafe {
        native::rd_kafka_get_err_descs(&mut table, &mut length);
        std::slice::from_raw_parts(table, length)
    };
    let known = table.iter().find(|entry| entry.code as c_int == code && !entry.name.is_null());
    // SAFETY: names in the table are texts that are never freed.
    known.map_or_else(|| code.to_string(), |entry| unsafe { CStr::from_ptr(entry.name) }.to_string_lossy().into_owned())
}

/// What may be done after a failure in a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing changed: the same call may be made again.
    Retriable,
    /// Nothing changed: this one record cannot be sent, now or later.
    Refused,
    /// The transaction has to be aborted; the next may succeed. After a record that was given up the next one fails too, once: librdkafka
    /// counted it.
    Abortable,
    /// Nobody knows whether the transaction was committed. The producer is to be dropped and made anew; what the group committed tells.
    Unknown,
    /// A younger producer with the same transactional id has taken over. The producer is to be dropped.
    Fenced,
    /// The producer is to be dropped and made anew.
    Fatal,
}

/// A failure in a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionError {
    /// What may be done.
    pub kind: Kind,
    /// What went wrong.
    pub error: Error,
}

impl fmt::Display for TransactionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let consequence = match self.kind {
            Kind::Retriable => "it can be tried again",
            Kind::Refused => "the record cannot be sent",
            Kind::Abortable => "the transaction has to be aborted",
            Kind::Unknown => "nobody knows whether the transaction was committed",
            Kind::Fenced => "a younger instance has taken over",
            Kind::Fatal => "the producer has to be made anew",
        };
        write!(f, "{}: {consequence}", self.error)
    }
}

impl std::error::Error for TransactionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
