//! Messages as the client holds them: a batch owns what librdkafka gave, and lends it.

use std::ffi::{CStr, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

use rdkafka::bindings as native;
use rdkafka::bindings::rd_kafka_message_t;

use super::client::{Client, Topic};
use super::error::Error;

/// What readers and their batches share: batches may outlive the reader.
pub(super) struct Shared {
    // Before the client: topics go first.
    pub topics: Vec<(Topic, u16)>,
    pub names: Vec<String>,
    pub headers: bool,
    pub client: Client,
}

/// Messages in the order of each partition, and what else there was to say.
pub struct Batch {
    pub(super) messages: Vec<NonNull<rd_kafka_message_t>>,
    /// Partitions that were read to their end, by topic, partition and the offset that comes next.
    pub ends: Vec<(u16, i32, i64)>,
    /// What went wrong with partitions.
    pub errors: Vec<Error>,
    pub(super) shared: Arc<Shared>,
}

// SAFETY: messages are only read, apart from their headers, which were taken apart before the batch was given away; and they may be given
// back from any thread.
unsafe impl Send for Batch {}
// SAFETY: as above.
unsafe impl Sync for Batch {}

impl Batch {
    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// One of them, by its index below [`Batch::len`].
    #[inline]
    pub fn get(&self, index: usize) -> Message<'_> {
        // SAFETY: the batch owns it.
        Message { native: unsafe { self.messages[index].as_ref() }, shared: &self.shared }
    }

    /// The messages, in the order in which the client had them: within a partition that of the offsets.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Message<'_>> {
        (0..self.messages.len()).map(|index| self.get(index))
    }

    /// The name of a topic by its index.
    pub fn topic(&self, index: u16) -> &str {
        &self.shared.names[usize::from(index)]
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        for message in &self.messages {
            // SAFETY: the batch owns it, and gives it back once.
            unsafe { native::rd_kafka_message_destroy(message.as_ptr()) };
        }
    }
}

/// A message in a batch.
#[derive(Clone, Copy)]
pub struct Message<'b> {
    native: &'b rd_kafka_message_t,
    shared: &'b Shared,
}

impl<'b> Message<'b> {
    /// The index of its topic among those that the reader was opened with.
    pub fn topic(&self) -> u16 {
        let topics = &self.shared.topics;
        let at = topics.binary_search_by_key(&self.native.rkt, |(topic, _)| topic.ptr());
        at.map_or_else(|_| self.topic_by_name(), |at| topics[at].1)
    }

    /// librdkafka gives a topic one handle, so this is for a librdkafka that no longer does.
    #[cold]
    fn topic_by_name(&self) -> u16 {
        // SAFETY: the handle lives as long as the message.
        let name = unsafe { super::client::text(native::rd_kafka_topic_name(self.native.rkt)) };
        let at = self.shared.names.iter().position(|known| *known == name);
        at.expect("only partitions of known topics are assigned") as u16
    }

    /// Its partition.
    pub fn partition(&self) -> i32 {
        self.native.partition
    }

    /// Its offset.
    pub fn offset(&self) -> i64 {
        self.native.offset
    }

    /// Its time in milliseconds since 1970, set by who wrote it or by the broker, as the topic has it; none in the oldest format.
    pub fn timestamp(&self) -> Option<i64> {
        let mut kind = native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message lives; the kind is written where it is said.
        let time = unsafe { native::rd_kafka_message_timestamp(self.native, &mut kind) };
        (kind != native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE).then_some(time)
    }

    /// Its key, where it has one.
    pub fn key(&self) -> Option<&'b [u8]> {
        // SAFETY: librdkafka gives the place and length of the key, and keeps it as long as the message.
        unsafe { bytes(self.native.key, self.native.key_len) }
    }

    /// Its payload; none is a tombstone.
    pub fn payload(&self) -> Option<&'b [u8]> {
        // SAFETY: as for the key.
        unsafe { bytes(self.native.payload, self.native.len) }
    }

    /// Its headers in their order. There are none where the reader was opened without them.
    pub fn headers(&self) -> Headers<'b> {
        let mut list = ptr::null_mut();
        if self.shared.headers {
            // SAFETY: the message lives, and its headers were taken apart before: this only reads.
            unsafe { native::rd_kafka_message_headers(self.native, &mut list) };
        }
        Headers { list: NonNull::new(list), next: 0, message: PhantomData }
    }
}

/// The headers of a message: names and values.
pub struct Headers<'b> {
    list: Option<NonNull<native::rd_kafka_headers_t>>,
    next: usize,
    message: PhantomData<&'b rd_kafka_message_t>,
}

impl<'b> Iterator for Headers<'b> {
    type Item = (&'b [u8], Option<&'b [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let list = self.list?.as_ptr();
        let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the list belongs to the message, which lives; what is found is written where it is said.
        let found = unsafe { native::rd_kafka_header_get_all(list, self.next, &mut name, &mut value, &mut length) };
        self.next += 1;
        if found != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        // SAFETY: the name is text with an end, the value has the length that was written; both live as long as the message.
        unsafe { Some((CStr::from_ptr(name).to_bytes(), bytes(value, length))) }
    }
}

/// # Safety
/// The place is null, or has as many bytes, for as long as is asked.
unsafe fn bytes<'a>(place: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: what the caller says.
    (!place.is_null()).then(|| unsafe { slice::from_raw_parts(place.cast(), length) })
}
