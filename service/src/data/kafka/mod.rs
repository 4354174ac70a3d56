//! Kafka: a thin layer over librdkafka, which knows brokers and not rules.
//!
//! `client` makes the properties of a client from the configuration and asks for topics, `reader` takes whole batches of messages from the
//! partitions that it was given (`batch`: without a copy of any message), `producer` writes, in transactions or without. What goes wrong is
//! an `error` that names what to mend. Readers take the partitions that they are told; `membership` is how instances agree who takes which.

mod batch;
mod client;
mod error;
mod membership;
mod producer;
mod reader;

pub use self::batch::{Batch, Headers, Message};
pub use self::client::{Client, GroupMetadata, Partition, Properties};
pub use self::error::{Error, Kind, TransactionError};
pub use self::membership::{Change, Membership, Protocol};
pub use self::producer::{Producer, Record, TransactionalProducer};
pub use self::reader::{Reader, Start};
