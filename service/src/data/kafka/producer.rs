//! Writes records: in transactions, or each for itself.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::time::{Duration, Instant};

use rdkafka::bindings as native;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::bindings::{rd_kafka_error_t, rd_kafka_headers_t, rd_kafka_vtype_t};

use super::client::{Client, GroupMetadata, Partition, Properties, Topic, millis, reason, text};
use super::error::{Error, Kind, TransactionError};
use super::reader::offsets_of;

/// How long a record waits for room in the client, which is full while brokers do not take what it has.
const ROOM: Duration = Duration::from_secs(60);

/// What is written. Everything is copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition; none: by the key, as Java's clients have it unless `partitioner` says otherwise.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The payload; none is a tombstone.
    pub payload: Option<&'a [u8]>,
    /// Headers in their order. Names have no byte 0.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
    /// Milliseconds since 1970; none is now.
    pub timestamp: Option<i64>,
}

/// A client that writes, and the topics it has written to.
struct Writer {
    // Before the client: topics go first.
    topics: HashMap<String, Topic>,
    client: Client,
}

impl Writer {
    fn open(properties: &Properties, more: &[(&str, &str)]) -> Result<Writer, Error> {
        // As Java's clients: all writers of a topic agree where a key goes.
        let properties = properties.clone().with_default("partitioner", "murmur2_random");
        let silence = properties.silence().as_millis().to_string();
        let properties = properties.with_default("socket.timeout.ms", &silence);
        let all = [("enable.idempotence", "true")];
        let all = all.iter().chain(more);
        let properties = all.fold(properties, |properties, (name, value)| properties.with(name, value));
        Ok(Writer { topics: HashMap::new(), client: Client::producer(&properties)? })
    }

    /// Gives a record to the client, waiting for room.
    fn send(&mut self, record: &Record<'_>) -> Result<(), (Code, Error)> {
        if !self.topics.contains_key(record.topic) {
            let topic = Topic::new(&self.client, record.topic);
            let topic = topic.map_err(|error| (Code::RD_KAFKA_RESP_ERR__INVALID_ARG, error))?;
            self.topics.insert(record.topic.to_owned(), topic);
        }
        let topic = &self.topics[record.topic];
        let end = Instant::now() + ROOM;
        loop {
            match produce(&self.client, topic, record) {
                Code::RD_KAFKA_RESP_ERR_NO_ERROR => {
                    self.client.serve(Duration::ZERO);
                    return Ok(());
                }
                Code::RD_KAFKA_RESP_ERR__QUEUE_FULL if Instant::now() < end => {
                    self.client.serve(Duration::from_millis(20));
                }
                code => return Err((code, self.refused(code, record))),
            }
        }
    }

    fn refused(&self, code: Code, record: &Record<'_>) -> Error {
        let topic = record.topic.to_owned();
        match code {
            Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE => {
                let bytes = record.key.map_or(0, <[u8]>::len) + record.payload.map_or(0, <[u8]>::len);
                Error::TooLarge { topic, bytes }
            }
            Code::RD_KAFKA_RESP_ERR__QUEUE_FULL => {
                let reason = "the brokers have taken nothing for a minute".to_owned();
                Error::Unreachable { brokers: self.client.brokers().to_owned(), reason }
            }
            code => Error::of_topic(code, &topic, record.partition.unwrap_or(-1), reason(code), self.client.brokers()),
        }
    }

    /// Waits until each record was delivered or given up.
    fn flush(&self, wait: Duration) -> Code {
        // SAFETY: the client lives.
        unsafe { native::rd_kafka_flush(self.client.rk(), millis(wait)) }
    }
}

/// Hands a record over; it is copied.
fn produce(client: &Client, topic: &Topic, record: &Record<'_>) -> Code {
    let place = |bytes: Option<&[u8]>| {
        bytes.map_or((ptr::null_mut(), 0), |bytes| (bytes.as_ptr().cast_mut().cast(), bytes.len()))
    };
    let (key, key_length): (*mut c_void, usize) = place(record.key);
    let (payload, length): (*mut c_void, usize) = place(record.payload);
    let headers = headers(record);
    // SAFETY: client and topic live; kinds and values are as librdkafka defines them, in pairs up to the end; key, payload and names are
    // copied. The headers are librdkafka's where it takes the record, and else given back.
    unsafe {
        let code = native::rd_kafka_producev(
            client.rk(),
            rd_kafka_vtype_t::RD_KAFKA_VTYPE_RKT,
            topic.ptr(),
            rd_kafka_vtype_t::RD_KAFKA_VTYPE_PARTITION,
            record.partition.unwrap_or(-1),
            rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS,
            native::RD_KAFKA_MSG_F_COPY as c_int,
            rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE,
            payload,
            length,
            rd_kafka_vtype_t::RD_KAFKA_VTYPE_KEY,
            key,
            key_length,
            rd_kafka_vtype_t::RD_KAFKA_VTYPE_TIMESTAMP,
            record.timestamp.unwrap_or(0),
            rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS,
            headers,
            rd_kafka_vtype_t::RD_KAFKA_VTYPE_END,
        );
        if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR && !headers.is_null() {
            native::rd_kafka_headers_destroy(headers);
        }
        code
    }
}

/// The headers of a record, or null.
fn headers(record: &Record<'_>) -> *mut rd_kafka_headers_t {
    if record.headers.is_empty() {
        return ptr::null_mut();
    }
    // SAFETY: the list is new; names and values are copied with the lengths given.
    unsafe {
        let list = native::rd_kafka_headers_new(record.headers.len());
        for (name, value) in record.headers {
            let (place, length) = value.map_or((ptr::null(), 0), |value| (value.as_ptr().cast(), value.len() as isize));
            native::rd_kafka_header_add(list, name.as_ptr().cast(), name.len() as isize, place, length);
        }
        list
    }
}

/// Writes each record for itself: once, in order, and acknowledged by all replicas, but with nothing that holds several together.
pub struct Producer(Writer);

impl Producer {
    /// One that connects in the background.
    ///
    /// # Errors
    /// A property is not known, or its value not taken.
    pub fn open(properties: &Properties) -> Result<Producer, Error> {
        Writer::open(properties, &[]).map(Producer)
    }

    /// Gives a record to the client; [`Producer::flush`] says whether it arrived.
    ///
    /// # Errors
    /// It is too large, its topic has no valid name, or there was no room for a minute.
    pub fn send(&mut self, record: &Record<'_>) -> Result<(), Error> {
        self.0.send(record).map_err(|(_, error)| error)
    }

    /// Waits until all records were delivered.
    ///
    /// # Errors
    /// Some were given up since the last call: the first of them; or there are still some under way when the time is over, and the call may
    /// be made again.
    pub fn flush(&mut self, wait: Duration) -> Result<(), Error> {
        let code = self.0.flush(wait);
        if let Some(error) = self.0.client.undelivered() {
            return Err(error);
        }
        match code {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            code => {
                let mut errors = self.0.client.errors();
                errors.sort_by_key(|error| std::cmp::Reverse(error.weight()));
                let other = || Error::new(code as c_int, reason(code), "waiting for delivery", self.0.client.brokers());
                Err(errors.into_iter().next().unwrap_or_else(other))
            }
        }
    }

    /// The connection.
    pub fn client(&self) -> &Client {
        &self.0.client
    }
}

/// Writes in transactions: what is sent between `begin` and `commit` is seen together with the offsets, or not at all. All calls wait for
/// the brokers, and are made by one thread.
pub struct TransactionalProducer(Writer);

impl TransactionalProducer {
    /// One for a transactional id. It connects in the background; [`TransactionalProducer::init`] is the first call.
    ///
    /// # Errors
    /// A property is not known, or its value not taken.
    pub fn open(properties: &Properties, id: &str, timeout: Duration) -> Result<TransactionalProducer, Error> {
        let timeout = millis(timeout).to_string();
        let ours = [
            ("transactional.id", id),
            // The brokers abort a transaction that is open for longer.
            ("transaction.timeout.ms", timeout.as_str()),
        ];
        Writer::open(properties, &ours).map(TransactionalProducer)
    }

    /// Takes over from older producers with the same id: their transactions are aborted, and they can write no more. What was sent to be
    /// committed before is decided when this returns.
    ///
    /// # Errors
    /// [`Kind::Retriable`] where brokers do not answer in time; [`Kind::Fatal`] where they refuse.
    pub fn init(&mut self, wait: Duration) -> Result<(), TransactionError> {
        // SAFETY: the client lives.
        self.call("beginning to write", |rk| unsafe { native::rd_kafka_init_transactions(rk, millis(wait)) })
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// [`Kind::Fatal`] and [`Kind::Fenced`].
    pub fn begin(&mut self) -> Result<(), TransactionError> {
        // Of the transaction before.
        self.0.client.undelivered();
        // SAFETY: the client lives.
        self.call("beginning a transaction", |rk| unsafe { native::rd_kafka_begin_transaction(rk) })
    }

    /// Gives a record to the client. Whether it arrived, the commit says.
    ///
    /// # Errors
    /// [`Kind::Refused`] where it is too large or its topic has no valid name: the transaction goes on without it. [`Kind::Abortable`],
    /// [`Kind::Fatal`] and [`Kind::Fenced`] where the transaction has failed.
    pub fn send(&mut self, record: &Record<'_>) -> Result<(), TransactionError> {
        self.0.send(record).map_err(|(code, error)| match code {
            Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE | Code::RD_KAFKA_RESP_ERR__INVALID_ARG => {
                TransactionError { kind: Kind::Refused, error }
            }
            _ => self.fatal().unwrap_or(TransactionError { kind: Kind::Abortable, error }),
        })
    }

    /// Adds offsets to the transaction: for each partition that of the next message to read. Where a broker is silent, librdkafka does not
    /// return before `socket.timeout.ms` (here 10 seconds unless the configuration says otherwise), whatever time it was given.
    ///
    /// # Errors
    /// As for [`TransactionalProducer::send`], and [`Kind::Retriable`] where brokers do not answer in time.
    pub fn send_offsets(
        &mut self,
        offsets: &[(Partition, i64)],
        group: &GroupMetadata,
        wait: Duration,
    ) -> Result<(), TransactionError> {
        let list = offsets_of(offsets).map_err(|Partition { topic, partition }| TransactionError {
            kind: Kind::Refused,
            error: Error::OffsetGone { topic, partition, reason: "an offset is a number from 0".to_owned() },
        })?;
        self.call("adding offsets to a transaction", |rk| {
            // SAFETY: client, list and group live.
            unsafe { native::rd_kafka_send_offsets_to_transaction(rk, list.ptr(), group.ptr(), millis(wait)) }
        })
    }

    /// Commits the transaction, once all its records have arrived.
    ///
    /// # Errors
    /// [`Kind::Abortable`] where a record was given up, [`Kind::Unknown`] where brokers did not answer in time, [`Kind::Fatal`] and
    /// [`Kind::Fenced`].
    pub fn commit(&mut self, wait: Duration) -> Result<(), TransactionError> {
        // SAFETY: the client lives.
        let done = self.call("committing", |rk| unsafe { native::rd_kafka_commit_transaction(rk, millis(wait)) });
        // Why a record was given up says more than that one was.
        let cause = self.0.client.undelivered();
        done.map_err(|TransactionError { kind, error }| match (kind, cause) {
            (Kind::Retriable, _) => TransactionError { kind: Kind::Unknown, error },
            (Kind::Abortable, Some(error)) => TransactionError { kind, error },
            _ => TransactionError { kind, error },
        })
    }

    /// Aborts the transaction: its records are never seen by who reads what is committed.
    ///
    /// # Errors
    /// [`Kind::Unknown`] where brokers did not answer in time, [`Kind::Fatal`] and [`Kind::Fenced`].
    pub fn abort(&mut self, wait: Duration) -> Result<(), TransactionError> {
        // SAFETY: the client lives.
        let done = self.call("aborting", |rk| unsafe { native::rd_kafka_abort_transaction(rk, millis(wait)) });
        self.0.client.undelivered();
        done.map_err(|TransactionError { kind, error }| match kind {
            Kind::Retriable | Kind::Abortable => TransactionError { kind: Kind::Unknown, error },
            kind => TransactionError { kind, error },
        })
    }

    /// The connection.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// Makes a call of librdkafka, and says what its error means.
    fn call(
        &self,
        doing: &'static str,
        call: impl FnOnce(*mut native::rd_kafka_t) -> *mut rd_kafka_error_t,
    ) -> Result<(), TransactionError> {
        let error = call(self.0.client.rk());
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: the error is ours, and given back once it was read.
        let (code, said, fatal, abort, again) = unsafe {
            let read = (
                native::rd_kafka_error_code(error),
                text(native::rd_kafka_error_string(error)),
                native::rd_kafka_error_is_fatal(error) != 0,
                native::rd_kafka_error_txn_requires_abort(error) != 0,
                native::rd_kafka_error_is_retriable(error) != 0,
            );
            native::rd_kafka_error_destroy(error);
            read
        };
        let kind = match () {
            () if is_fenced(code) => Kind::Fenced,
            () if fatal => return Err(self.fatal().unwrap_or_else(|| self.failure(Kind::Fatal, code, said, doing))),
            () if abort => Kind::Abortable,
            () if again || code == Code::RD_KAFKA_RESP_ERR__TIMED_OUT => Kind::Retriable,
            () => Kind::Fatal,
        };
        Err(self.failure(kind, code, said, doing))
    }

    fn failure(&self, kind: Kind, code: Code, said: String, doing: &'static str) -> TransactionError {
        // Credentials that are refused look like brokers that do not answer.
        let told = self.0.client.errors().into_iter().find(|error| error.weight() == Error::LASTING);
        let error = told.unwrap_or_else(|| Error::new(code as c_int, said, doing, self.0.client.brokers()));
        TransactionError { kind, error }
    }

    /// What the client can never recover from, where there is such a thing.
    fn fatal(&self) -> Option<TransactionError> {
        let mut cause = [0; 512];
        // SAFETY: the client lives, the cause is written with its end into the room given.
        let (code, said) = unsafe {
            let code = native::rd_kafka_fatal_error(self.0.client.rk(), cause.as_mut_ptr(), cause.len());
            (code, text(cause.as_ptr()))
        };
        let kind = if is_fenced(code) { Kind::Fenced } else { Kind::Fatal };
        (code != Code::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| {
            let error = Error::new(code as c_int, said, "writing in transactions", self.0.client.brokers());
            TransactionError { kind, error }
        })
    }
}

fn is_fenced(code: Code) -> bool {
    matches!(
        code,
        Code::RD_KAFKA_RESP_ERR__FENCED
            | Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED
            | Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH
            | Code::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID
    )
}
