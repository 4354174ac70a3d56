//! A client of the brokers: its properties, its life, what it has to say, and which topics there are.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::bindings as native;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::bindings::{rd_kafka_message_t, rd_kafka_t, rd_kafka_topic_t, rd_kafka_type_t};
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;

use super::error::Error;
use crate::config::kafka::{Kafka, is_secret};

/// How many errors are kept until somebody asks for them; more of the same say nothing new.
const ERRORS_MAX: usize = 64;

/// How long one question waits, of the many that a longer wait is made of: between them errors are looked at, which may end the wait.
const QUESTION: Duration = Duration::from_millis(500);

/// How long a broker may be silent before a writer takes it for gone, unless the configuration says otherwise; some calls of librdkafka wait for
/// that, whatever time they were given.
const SILENCE: Duration = Duration::from_secs(10);

/// The properties of a client, by librdkafka's names.
#[derive(Clone)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    /// Those of the configuration: brokers, properties and secrets.
    pub fn of(kafka: &Kafka) -> Properties {
        let plain = kafka.properties.iter().map(|(name, property)| (name.clone(), property.text.clone()));
        let secret = kafka.secrets.iter().map(|(name, secret)| (name.clone(), secret.expose().to_owned()));
        Properties::new(&kafka.brokers).with_all(plain.chain(secret))
    }

    /// Those of a client that needs no more than the addresses of some brokers, `host:port` with commas between them.
    pub fn new(brokers: &str) -> Properties {
        let ours = [
            ("bootstrap.servers", brokers),
            ("client.id", "lapwing"),
            // How soon a broker that came back is found again: librdkafka would wait for up to ten seconds.
            ("reconnect.backoff.max.ms", "1000"),
        ];
        Properties(ours.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }

    /// With one more, which takes the place of one of the same name.
    pub fn with(mut self, name: &str, value: &str) -> Properties {
        self.0.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With one more, unless there is one of the same name.
    pub fn with_default(mut self, name: &str, value: &str) -> Properties {
        self.0.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        self
    }

    /// How long a broker may be silent before a writer takes it for gone.
    pub fn silence(&self) -> Duration {
        let text = self.0.get("socket.timeout.ms");
        text.and_then(|text| text.trim().parse().ok()).map_or(SILENCE, Duration::from_millis)
    }

    fn with_all(mut self, more: impl Iterator<Item = (String, String)>) -> Properties {
        self.0.extend(more);
        self
    }

    fn brokers(&self) -> &str {
        &self.0["bootstrap.servers"]
    }
}

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// The topic.
    pub topic: String,
    /// The partition, from 0.
    pub partition: i32,
}

impl Partition {
    /// A partition of a topic.
    pub fn new(topic: impl Into<String>, partition: i32) -> Partition {
        Partition { topic: topic.into(), partition }
    }
}

/// What librdkafka calls back with, until somebody asks for it.
pub(super) struct Said {
    brokers: String,
    errors: Mutex<Vec<Error>>,
    undelivered: Mutex<Option<Error>>,
}

impl Said {
    fn error(&self, error: Error) {
        let mut errors = lock(&self.errors);
        if errors.len() < ERRORS_MAX && !errors.contains(&error) {
            errors.push(error);
        }
    }
}

/// Nothing is left half done where a holder panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a client is for.
enum Use {
    Read,
    Join,
    Write,
}

/// A connection to the brokers: threads of librdkafka that go when it is dropped.
pub struct Client {
    rk: NonNull<rd_kafka_t>,
    /// Where callbacks put what they say. Boxed: librdkafka has its address.
    said: Box<Said>,
}

// SAFETY: librdkafka's functions may be called for one client from any thread at once.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    /// One that reads. It connects in the background.
    ///
    /// # Errors
    /// A property is not known, or its value not taken.
    pub(super) fn consumer(properties: &Properties) -> Result<Client, Error> {
        Client::open(Use::Read, properties)
    }

    /// One that reads as a member of its group, and is told as an event which partitions it is given. It connects in the background.
    ///
    /// # Errors
    /// A property is not known, or its value not taken.
    pub(super) fn member(properties: &Properties) -> Result<Client, Error> {
        Client::open(Use::Join, properties)
    }

    /// One that writes. It connects in the background.
    ///
    /// # Errors
    /// A property is not known, or its value not taken.
    pub(super) fn producer(properties: &Properties) -> Result<Client, Error> {
        Client::open(Use::Write, properties)
    }

    fn open(kind: Use, properties: &Properties) -> Result<Client, Error> {
        let config: ClientConfig = properties.0.clone().into_iter().collect();
        let config = config.create_native_config().map_err(|error| of_property(error, properties))?;
        let brokers = properties.brokers().to_owned();
        let said = Box::new(Said { brokers, errors: Mutex::default(), undelivered: Mutex::default() });
        let mut reason = [0 as c_char; 512];
        // SAFETY: the copy of the configuration goes to `rd_kafka_new`, or is freed where that fails. The callbacks get the address of
        // `said`, which lives in a box until after the client is destroyed. The reason is written with its end into the room given.
        unsafe {
            let config = native::rd_kafka_conf_dup(config.ptr());
            native::rd_kafka_conf_set_opaque(config, (&raw const *said).cast_mut().cast());
            native::rd_kafka_conf_set_error_cb(config, Some(on_error));
            native::rd_kafka_conf_set_log_cb(config, Some(on_log));
            let kind = match kind {
                Use::Read => rd_kafka_type_t::RD_KAFKA_CONSUMER,
                Use::Join => {
                    native::rd_kafka_conf_set_events(config, native::RD_KAFKA_EVENT_REBALANCE);
                    rd_kafka_type_t::RD_KAFKA_CONSUMER
                }
                Use::Write => {
                    native::rd_kafka_conf_set_dr_msg_cb(config, Some(on_delivery));
                    rd_kafka_type_t::RD_KAFKA_PRODUCER
                }
            };
            match NonNull::new(native::rd_kafka_new(kind, config, reason.as_mut_ptr(), reason.len())) {
                Some(rk) => Ok(Client { rk, said }),
                None => {
                    native::rd_kafka_conf_destroy(config);
                    Err(Error::Properties { reason: text(reason.as_ptr()) })
                }
            }
        }
    }

    /// librdkafka's handle, for as long as the client is borrowed.
    pub(super) fn rk(&self) -> *mut rd_kafka_t {
        self.rk.as_ptr()
    }

    pub(super) fn brokers(&self) -> &str {
        &self.said.brokers
    }

    /// Lets callbacks say what they have to say, and waits for the first of them.
    pub(super) fn serve(&self, wait: Duration) {
        // SAFETY: the handle lives as long as the client.
        unsafe { native::rd_kafka_poll(self.rk(), millis(wait)) };
    }

    /// What went wrong since the last call, apart from what calls returned: brokers that went away, credentials that are refused. Most
    /// of it mends itself.
    pub fn errors(&self) -> Vec<Error> {
        self.serve(Duration::ZERO);
        std::mem::take(&mut *lock(&self.said.errors))
    }

    /// Why records were given up since the last call.
    pub(super) fn undelivered(&self) -> Option<Error> {
        std::mem::take(&mut *lock(&self.said.undelivered))
    }

    /// How many partitions a topic has.
    ///
    /// # Errors
    /// There is no such topic, no broker answers in time, or none lets us in; the latter is told at once.
    pub fn partitions(&self, topic: &str, wait: Duration) -> Result<i32, Error> {
        let handle = Topic::new(self, topic)?;
        let mut metadata = ptr::null();
        self.insist(wait, "asking for a topic", |question| {
            // SAFETY: both handles live; the answer is written to `metadata` where there is one.
            unsafe { native::rd_kafka_metadata(self.rk(), 0, handle.ptr(), &mut metadata, millis(question)) }
        })?;
        // SAFETY: the answer has one topic, the one that was asked for, and is freed once it was read.
        let (code, partitions) = unsafe {
            let answer = &*(*metadata).topics;
            let read = (answer.err, answer.partition_cnt);
            native::rd_kafka_metadata_destroy(metadata);
            read
        };
        match code {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(partitions),
            code => Err(Error::of_topic(code, topic, -1, reason(code), self.brokers())),
        }
    }

    /// Asks again until there is an answer, the time is over, or it turns out that there will be none.
    pub(super) fn insist(
        &self,
        wait: Duration,
        doing: &'static str,
        mut ask: impl FnMut(Duration) -> Code,
    ) -> Result<(), Error> {
        let end = Instant::now() + wait;
        let mut told: Option<Error> = None;
        loop {
            let code = ask(QUESTION.min(wait));
            for error in self.errors() {
                if told.as_ref().is_none_or(|told| told.weight() < error.weight()) {
                    told = Some(error);
                }
            }
            let in_time = Instant::now() < end;
            match code {
                Code::RD_KAFKA_RESP_ERR_NO_ERROR => return Ok(()),
                Code::RD_KAFKA_RESP_ERR__TRANSPORT
                | Code::RD_KAFKA_RESP_ERR__TIMED_OUT
                | Code::RD_KAFKA_RESP_ERR__WAIT_COORD
                | Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT
                | Code::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE
                | Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS
                | Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR
                | Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE
                    if in_time && told.as_ref().is_none_or(|told| told.weight() < Error::LASTING) =>
                {
                    // Some of these come at once.
                    self.serve(Duration::from_millis(50));
                }
                code => {
                    return Err(told.unwrap_or_else(|| Error::new(code as c_int, reason(code), doing, self.brokers())));
                }
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: nobody else has the handle any more: what was made of it borrows the client, or shares it.
        unsafe {
            // What was not sent yet is not waited for: its transaction is not committed either.
            native::rd_kafka_purge(self.rk(), native::RD_KAFKA_PURGE_F_QUEUE | native::RD_KAFKA_PURGE_F_INFLIGHT);
            native::rd_kafka_destroy(self.rk());
        }
    }
}

/// A topic's handle at librdkafka. The client has to outlive it.
pub(super) struct Topic(NonNull<rd_kafka_topic_t>);

// SAFETY: as for the client.
unsafe impl Send for Topic {}
// SAFETY: as for the client.
unsafe impl Sync for Topic {}

impl Topic {
    pub fn new(client: &Client, name: &str) -> Result<Topic, Error> {
        let refused = || Error::NoTopic { topic: name.to_owned() };
        let text = CString::new(name).map_err(|_| refused())?;
        // SAFETY: the client lives, the name is copied.
        let topic = unsafe { native::rd_kafka_topic_new(client.rk(), text.as_ptr(), ptr::null_mut()) };
        NonNull::new(topic).map(Topic).ok_or_else(refused)
    }

    pub fn ptr(&self) -> *mut rd_kafka_topic_t {
        self.0.as_ptr()
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: the handle was made by `rd_kafka_topic_new`, and is given back once.
        unsafe { native::rd_kafka_topic_destroy(self.ptr()) };
    }
}

/// Who a consumer is in its group: what places are committed for in a transaction.
pub struct GroupMetadata(NonNull<native::rd_kafka_consumer_group_metadata_t>);

// SAFETY: it is never written after it was made.
unsafe impl Send for GroupMetadata {}
// SAFETY: as above.
unsafe impl Sync for GroupMetadata {}

impl GroupMetadata {
    /// That of a consumer with a `group.id`.
    pub(super) fn of(consumer: &Client) -> Option<GroupMetadata> {
        // SAFETY: the handle lives as long as the client; what comes back is ours.
        NonNull::new(unsafe { native::rd_kafka_consumer_group_metadata(consumer.rk()) }).map(GroupMetadata)
    }

    /// The generation of the group that the consumer is in; -1 where it is no member.
    pub fn generation(&self) -> i32 {
        // SAFETY: it is ours.
        unsafe { native::rd_kafka_consumer_group_metadata_generation_id(self.ptr()) }
    }

    pub(super) fn ptr(&self) -> *const native::rd_kafka_consumer_group_metadata_t {
        self.0.as_ptr()
    }
}

impl Drop for GroupMetadata {
    fn drop(&mut self) {
        // SAFETY: it is ours, and is given back once.
        unsafe { native::rd_kafka_consumer_group_metadata_destroy(self.0.as_ptr()) };
    }
}

/// A time as librdkafka takes it, in whole milliseconds.
pub(super) fn millis(wait: Duration) -> c_int {
    c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX)
}

/// What librdkafka says to a code.
pub(super) fn reason(code: Code) -> String {
    // SAFETY: the text is there until this thread asks for another.
    unsafe { text(native::rd_kafka_err2str(code)) }
}

/// # Safety
/// The pointer is null, or to text with an end.
pub(super) unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: what the caller says.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

fn of_property(error: KafkaError, properties: &Properties) -> Error {
    match error {
        KafkaError::ClientConfig(_, reason, name, _) => {
            // What librdkafka says may repeat the value.
            let secret = is_secret(&name) && properties.0.contains_key(&name);
            let reason = if secret { "its value is not taken".to_owned() } else { reason };
            Error::Property { name, reason }
        }
        error => Error::Properties { reason: error.to_string() },
    }
}

/// # Safety
/// The pointer is the address of a [`Said`] that lives.
unsafe fn said<'a>(opaque: *mut c_void) -> &'a Said {
    // SAFETY: what the caller says.
    unsafe { &*opaque.cast::<Said>() }
}

/// librdkafka met an error that concerns no call.
unsafe extern "C" fn on_error(rk: *mut rd_kafka_t, code: c_int, reason: *const c_char, opaque: *mut c_void) {
    const FATAL: c_int = Code::RD_KAFKA_RESP_ERR__FATAL as c_int;
    // SAFETY: librdkafka gives what it was given, and a text; the cause of a fatal error is written with its end into the room given.
    let (said, code, reason) = unsafe {
        let mut cause = [0 as c_char; 512];
        match code {
            FATAL => {
                let code = native::rd_kafka_fatal_error(rk, cause.as_mut_ptr(), cause.len());
                (said(opaque), code as c_int, text(cause.as_ptr()))
            }
            _ => (said(opaque), code, text(reason)),
        }
    };
    said.error(Error::new(code, reason, "talking to the brokers", &said.brokers));
}

/// librdkafka would write to the terminal. What matters of it comes as an error too.
unsafe extern "C" fn on_log(_: *const rd_kafka_t, _: c_int, about: *const c_char, said: *const c_char) {
    // SAFETY: librdkafka gives two texts that live during the call.
    let (about, said) = unsafe { (text(about), text(said)) };
    tracing::debug!(about, "Kafka's client: {said}");
}

/// A record was delivered, or given up.
unsafe extern "C" fn on_delivery(_: *mut rd_kafka_t, message: *const rd_kafka_message_t, opaque: *mut c_void) {
    // SAFETY: librdkafka gives what it was given, and a message that lives during the call.
    let (said, message) = unsafe { (said(opaque), &*message) };
    // What an abort takes back was not given up.
    if let Code::RD_KAFKA_RESP_ERR_NO_ERROR
    | Code::RD_KAFKA_RESP_ERR__PURGE_QUEUE
    | Code::RD_KAFKA_RESP_ERR__PURGE_INFLIGHT = message.err
    {
        return;
    }
    // SAFETY: the topic's handle lives as long as the message.
    let topic = unsafe { text(native::rd_kafka_topic_name(message.rkt)) };
    let error = match message.err {
        Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE | Code::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE => {
            Error::TooLarge { topic, bytes: message.len + message.key_len }
        }
        code => Error::of_topic(code, &topic, message.partition, reason(code), &said.brokers),
    };
    let mut undelivered = lock(&said.undelivered);
    *undelivered = Some(match undelivered.take() {
        None => error,
        Some(before) => before.or_larger(error),
    });
}
