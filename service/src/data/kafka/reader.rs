//! Reads the partitions that it is given, a whole batch at a time.
//!
//! librdkafka can hand over all messages that it has in one call, each as a pointer into what came from the broker; a poll for each message
//! would cost a lock and an event each. What is not committed in a transaction is never seen.

use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rdkafka::bindings as native;
use rdkafka::bindings::rd_kafka_queue_t;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::{Offset, TopicPartitionList};

use super::batch::{Batch, Shared};
use super::client::{Client, GroupMetadata, Partition, Properties, Topic, millis, reason, text};
use super::error::Error;
use crate::config::kafka::From;

/// Where a partition is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// This offset.
    At(i64),
    /// The first message that is kept.
    Earliest,
    /// What comes from now on.
    Latest,
}

/// Reads partitions of some topics.
pub struct Reader {
    // Before the client: the queue goes first.
    queue: Queue,
    shared: Arc<Shared>,
}

/// The queue into which librdkafka puts the messages of all assigned partitions, and events of the group. The client has to outlive it.
pub(super) struct Queue(NonNull<rd_kafka_queue_t>);

// SAFETY: a queue may be read from any thread.
unsafe impl Send for Queue {}

impl Queue {
    /// That of a consumer with a group.
    pub fn of(client: &Client) -> Queue {
        // SAFETY: the handle lives as long as the client.
        let queue = unsafe { native::rd_kafka_queue_get_consumer(client.rk()) };
        Queue(NonNull::new(queue).expect("a client with a group has a queue"))
    }

    pub fn ptr(&self) -> *mut rd_kafka_queue_t {
        self.0.as_ptr()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: it is ours, and is given back once.
        unsafe { native::rd_kafka_queue_destroy(self.0.as_ptr()) };
    }
}

impl Reader {
    /// One for these topics, whose places are committed for this group. It connects in the background, and reads nothing until it is given
    /// partitions. Headers cost some time for each message, and are read only where it is said.
    ///
    /// # Errors
    /// A property is not known, or its value not taken.
    pub fn open(properties: &Properties, group: &str, topics: &[String], headers: bool) -> Result<Reader, Error> {
        let ours = [
            ("group.id", group),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("isolation.level", "read_committed"),
            // Nobody else says where to go on.
            ("auto.offset.reset", "error"),
            ("enable.partition.eof", "true"),
            ("allow.auto.create.topics", "false"),
        ];
        // Who reads faster than the brokers send would wait for a second each time that the client has had enough for a moment.
        let properties = properties.clone().with_default("fetch.queue.backoff.ms", "20");
        let properties = ours.iter().fold(properties, |properties, (name, value)| properties.with(name, value));
        // Before the queue, so that it outlives it where this fails.
        let client = Client::consumer(&properties)?;
        let queue = Queue::of(&client);
        let handles = topics.iter().zip(0..).map(|(name, index)| Ok((Topic::new(&client, name)?, index)));
        let mut handles = handles.collect::<Result<Vec<_>, Error>>()?;
        handles.sort_by_key(|(topic, _)| topic.ptr());
        let shared = Shared { topics: handles, names: topics.to_vec(), headers, client };
        Ok(Reader { queue, shared: Arc::new(shared) })
    }

    /// The connection: which partitions there are, and what goes wrong in the background.
    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    /// Reads these partitions from now on, in place of those before.
    ///
    /// # Errors
    /// librdkafka refuses. A partition that does not exist is told by [`Batch::errors`].
    pub fn assign(&mut self, partitions: &[(Partition, Start)]) -> Result<(), Error> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for (Partition { topic, partition }, start) in partitions {
            let offset = match start {
                Start::At(offset) => Offset::Offset(*offset),
                Start::Earliest => Offset::Beginning,
                Start::Latest => Offset::End,
            };
            list.add_partition_offset(topic, *partition, offset).map_err(|_| self.out_of_place(topic, *partition))?;
        }
        // SAFETY: client and list live.
        self.done("taking partitions", unsafe { native::rd_kafka_assign(self.client().rk(), list.ptr()) })
    }

    /// Takes what there is, at most `most` messages; where there is nothing, waits for the first.
    pub fn batch(&mut self, most: usize, wait: Duration) -> Batch {
        self.client().serve(Duration::ZERO);
        let mut taken = vec![ptr::null_mut(); most.max(1)];
        // A call waits until there are as many as were asked for: so it is one to wait for, and then what is there.
        let mut count = self.take(&mut taken[..1], wait);
        if count == 1 {
            count += self.take(&mut taken[1..], Duration::ZERO);
        }
        taken.truncate(count);
        self.sort_out(taken)
    }

    fn take(&self, room: &mut [*mut native::rd_kafka_message_t], wait: Duration) -> usize {
        if room.is_empty() {
            return 0;
        }
        // SAFETY: queue and room live; as many pointers are written as is said, each a message that is ours from then on.
        let count = unsafe {
            native::rd_kafka_consume_batch_queue(self.queue.ptr(), millis(wait), room.as_mut_ptr(), room.len())
        };
        usize::try_from(count).unwrap_or(0)
    }

    /// Parts messages from what else came as one.
    fn sort_out(&self, taken: Vec<*mut native::rd_kafka_message_t>) -> Batch {
        let messages = Vec::with_capacity(taken.len());
        let mut batch = Batch { messages, ends: Vec::new(), errors: Vec::new(), shared: self.shared.clone() };
        for pointer in taken.into_iter().filter_map(NonNull::new) {
            // SAFETY: it is a message, and ours.
            let message = unsafe { pointer.as_ref() };
            if message.err == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                if self.shared.headers {
                    let mut list = ptr::null_mut();
                    // SAFETY: the message is ours alone; this takes its headers apart.
                    unsafe { native::rd_kafka_message_headers(message, &mut list) };
                }
                batch.messages.push(pointer);
                continue;
            }
            self.note(message, &mut batch);
            // SAFETY: it is ours, and given back once.
            unsafe { native::rd_kafka_message_destroy(pointer.as_ptr()) };
        }
        batch
    }

    /// What came in the form of a message and is none.
    fn note(&self, message: &native::rd_kafka_message_t, batch: &mut Batch) {
        // SAFETY: the topic's handle, where there is one, and the text of an error live as long as the message.
        let (topic, said) = unsafe {
            let topic = (!message.rkt.is_null()).then(|| text(native::rd_kafka_topic_name(message.rkt)));
            (topic, text(native::rd_kafka_message_errstr(message)))
        };
        let index = topic.as_ref().and_then(|topic| self.shared.names.iter().position(|name| name == topic));
        match (message.err, topic, index) {
            (Code::RD_KAFKA_RESP_ERR__PARTITION_EOF, _, Some(index)) => {
                batch.ends.push((index as u16, message.partition, message.offset));
            }
            (code, Some(topic), _) => {
                batch.errors.push(Error::of_topic(code, &topic, message.partition, said, self.client().brokers()));
            }
            (code, None, _) => {
                batch.errors.push(Error::new(code as i32, said, "reading", self.client().brokers()));
            }
        }
    }

    /// Stops reading these partitions; what the client already has of them is dropped, and comes again. Where it was told to begin at the earliest
    /// or latest and has not found that yet, it may lose its place: [`Batch::errors`] tells.
    ///
    /// # Errors
    /// One of them is not known to the client.
    pub fn pause(&mut self, partitions: &[Partition]) -> Result<(), Error> {
        let list = list_of(partitions);
        // SAFETY: client and list live.
        self.done("pausing", unsafe { native::rd_kafka_pause_partitions(self.client().rk(), list.ptr()) })?;
        self.each_done(&list)
    }

    /// Reads these partitions on.
    ///
    /// # Errors
    /// One of them is not known to the client.
    pub fn resume(&mut self, partitions: &[Partition]) -> Result<(), Error> {
        let list = list_of(partitions);
        // SAFETY: client and list live.
        self.done("resuming", unsafe { native::rd_kafka_resume_partitions(self.client().rk(), list.ptr()) })?;
        self.each_done(&list)
    }

    /// Goes on at other offsets; what the client already has of these partitions is dropped.
    ///
    /// # Errors
    /// One of them is not known to the client, or it could not be done in time.
    pub fn seek(&mut self, offsets: &[(Partition, i64)], wait: Duration) -> Result<(), Error> {
        let list = self.offsets(offsets)?;
        // SAFETY: client and list live; an error that comes back is ours.
        unsafe {
            let error = native::rd_kafka_seek_partitions(self.client().rk(), list.ptr(), millis(wait));
            if !error.is_null() {
                let (code, said) = (native::rd_kafka_error_code(error), text(native::rd_kafka_error_string(error)));
                native::rd_kafka_error_destroy(error);
                return Err(Error::new(code as i32, said, "seeking", self.client().brokers()));
            }
        }
        self.each_done(&list)
    }

    /// For each partition the offset of its first message with this time or a later one; none where there is no such message.
    ///
    /// # Errors
    /// No broker answers in time, or a partition does not exist.
    pub fn offsets_at(
        &self,
        partitions: &[Partition],
        time: Timestamp,
        wait: Duration,
    ) -> Result<Vec<Option<i64>>, Error> {
        let wanted: Vec<_> = partitions.iter().map(|p| (p.clone(), time.as_millisecond())).collect();
        let mut list = self.offsets(&wanted)?;
        self.client().insist(wait, "asking for offsets at a time", |question| {
            list = self.offsets(&wanted).unwrap_or_default();
            // SAFETY: client and list live.
            unsafe { native::rd_kafka_offsets_for_times(self.client().rk(), list.ptr(), millis(question)) }
        })?;
        self.each_done(&list)?;
        Ok(list.elements().iter().map(|element| offset_of(element.offset())).collect())
    }

    /// For each partition the offset that the group committed, where it did: that of the next message.
    ///
    /// # Errors
    /// No broker answers in time, or the group must not be used.
    pub fn committed(&self, partitions: &[Partition], wait: Duration) -> Result<Vec<Option<i64>>, Error> {
        let mut list = list_of(partitions);
        self.client().insist(wait, "asking for committed offsets", |question| {
            list = list_of(partitions);
            // SAFETY: client and list live.
            unsafe { native::rd_kafka_committed(self.client().rk(), list.ptr(), millis(question)) }
        })?;
        self.each_done(&list)?;
        Ok(list.elements().iter().map(|element| offset_of(element.offset())).collect())
    }

    /// The offsets of the first message that is kept, and of the next that will be written, as the broker has them now. Of messages in open
    /// transactions it tells as of others.
    ///
    /// # Errors
    /// No broker answers in time, or the partition does not exist.
    pub fn watermarks(&self, partition: &Partition, wait: Duration) -> Result<(i64, i64), Error> {
        let topic = self.handle(&partition.topic)?;
        let (mut low, mut high) = (0, 0);
        let asked = self.client().insist(wait, "asking for the ends of a partition", |question| {
            // SAFETY: client and name live; the offsets are written where it is said.
            unsafe {
                let name = native::rd_kafka_topic_name(topic.ptr());
                let (rk, number) = (self.client().rk(), partition.partition);
                native::rd_kafka_query_watermark_offsets(rk, name, number, &mut low, &mut high, millis(question))
            }
        });
        asked.map(|()| (low, high)).map_err(|error| match &error {
            Error::Other { name, .. } if name.contains("UNKNOWN") => Error::NoTopic { topic: partition.topic.clone() },
            _ => error,
        })
    }

    /// As [`Reader::watermarks`], but as of the last answer of the broker to a read: it costs nothing, and is none before the first.
    pub fn known_watermarks(&self, partition: &Partition) -> Option<(i64, i64)> {
        let topic = self.handle(&partition.topic).ok()?;
        let (mut low, mut high) = (0, 0);
        // SAFETY: client and name live; the offsets are written where it is said.
        let code = unsafe {
            let name = native::rd_kafka_topic_name(topic.ptr());
            native::rd_kafka_get_watermark_offsets(self.client().rk(), name, partition.partition, &mut low, &mut high)
        };
        (code == Code::RD_KAFKA_RESP_ERR_NO_ERROR && low >= 0 && high >= 0).then_some((low, high))
    }

    /// Where to begin with each partition of a topic, by what the configuration says.
    ///
    /// # Errors
    /// No broker answers in time, there is no such topic, or an offset is given for a partition that it does not have.
    pub fn starts(&self, topic: &str, from: &From, wait: Duration) -> Result<Vec<(Partition, Start)>, Error> {
        let count = self.client().partitions(topic, wait)?;
        let partitions: Vec<_> = (0..count).map(|partition| Partition::new(topic, partition)).collect();
        let starts: Vec<Start> = match from {
            From::Earliest => vec![Start::Earliest; partitions.len()],
            From::Latest => vec![Start::Latest; partitions.len()],
            From::Committed => {
                let committed = self.committed(&partitions, wait)?;
                committed.into_iter().map(|offset| offset.map_or(Start::Earliest, Start::At)).collect()
            }
            From::Time(time) => {
                let offsets = self.offsets_at(&partitions, *time, wait)?;
                offsets.into_iter().map(|offset| offset.map_or(Start::Latest, Start::At)).collect()
            }
            From::Offsets(offsets) => {
                if let Some(partition) = offsets.keys().find(|partition| **partition >= count) {
                    let reason = format!("`from` names it, and the topic has {count} partitions");
                    return Err(Error::OffsetGone { topic: topic.to_owned(), partition: *partition, reason });
                }
                (0..count).map(|number| offsets.get(&number).map_or(Start::Earliest, |at| Start::At(*at))).collect()
            }
        };
        Ok(partitions.into_iter().zip(starts).collect())
    }

    /// Who this reader is in its group, for [`super::TransactionalProducer::send_offsets`].
    pub fn group(&self) -> GroupMetadata {
        GroupMetadata::of(self.client()).expect("the reader has a group")
    }

    fn handle(&self, topic: &str) -> Result<&Topic, Error> {
        let index = self.shared.names.iter().position(|name| name == topic);
        let mut topics = self.shared.topics.iter();
        let handle = index.and_then(|index| topics.find(|(_, at)| usize::from(*at) == index));
        handle.map(|(handle, _)| handle).ok_or_else(|| Error::NoTopic { topic: topic.to_owned() })
    }

    fn offsets(&self, offsets: &[(Partition, i64)]) -> Result<TopicPartitionList, Error> {
        offsets_of(offsets).map_err(|Partition { topic, partition }| self.out_of_place(&topic, partition))
    }

    fn out_of_place(&self, topic: &str, partition: i32) -> Error {
        Error::OffsetGone { topic: topic.to_owned(), partition, reason: "an offset is a number from 0".to_owned() }
    }

    fn done(&self, doing: &'static str, code: Code) -> Result<(), Error> {
        match code {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            code => Err(Error::new(code as i32, reason(code), doing, self.client().brokers())),
        }
    }

    /// The first partition of a list that was refused.
    fn each_done(&self, list: &TopicPartitionList) -> Result<(), Error> {
        // SAFETY: the list lives, and has as many elements as it says.
        let elements = unsafe {
            let list = &*list.ptr();
            match list.cnt {
                0 => return Ok(()),
                count => std::slice::from_raw_parts(list.elems, count as usize),
            }
        };
        match elements.iter().find(|element| element.err != Code::RD_KAFKA_RESP_ERR_NO_ERROR) {
            None => Ok(()),
            Some(element) => {
                // SAFETY: the name is text that lives as long as the list.
                let topic = unsafe { text(element.topic) };
                let said = reason(element.err);
                Err(Error::of_topic(element.err, &topic, element.partition, said, self.client().brokers()))
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // SAFETY: client lives; null takes all partitions away, so that nothing more is fetched while batches are still held.
        unsafe { native::rd_kafka_assign(self.client().rk(), ptr::null()) };
    }
}

/// An offset where there is one.
fn offset_of(offset: Offset) -> Option<i64> {
    match offset {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }
}

pub(super) fn list_of(partitions: &[Partition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for Partition { topic, partition } in partitions {
        list.add_partition(topic, *partition);
    }
    list
}

/// Partitions with their offsets, or the first whose offset is none.
pub(super) fn offsets_of(offsets: &[(Partition, i64)]) -> Result<TopicPartitionList, Partition> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (place, offset) in offsets {
        let valid = *offset >= 0;
        let added = list.add_partition_offset(&place.topic, place.partition, Offset::Offset(*offset));
        if !valid || added.is_err() {
            return Err(place.clone());
        }
    }
    Ok(list)
}
