//! Which instance does which task: membership of a consumer group that subscribes to the journal.
//!
//! Each task has a partition of the journal, and whoever the group gives that partition owns the task. A member is [`Outside`](State) or
//! holds partitions; the group gives more, or asks for some back: then the member ends what it does with them, and gives them. Where it was
//! not heard for too long, or the brokers were not, what it held is lost: somebody else may have it already, and nothing of it may be
//! committed. Kafka sees to that too, for places that are committed with [`Membership::group`].
//!
//! ```text
//!             gained                     asked                       give
//!   Outside ─────────► Holding(some) ─────────► Asked(some, which) ────────► Holding(the others), or Outside
//!      ▲                    │                        │
//!      └───────lost─────────┴─────────lost───────────┘
//! ```
//!
//! With the eager protocol a change of members asks everybody for everything, and gives anew; with the cooperative one it asks only for
//! what moves.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;

use super::client::{Client, GroupMetadata, Partition, Properties, millis, reason, text};
use super::error::Error;
use super::reader::{Queue, list_of};

/// How members agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A change of members asks everybody for everything.
    Eager,
    /// It asks only for what moves.
    Cooperative,
}

/// What the group decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// These are this member's from now on.
    Gained(BTreeSet<Partition>),
    /// These are to be given back: the member ends what it does with them and calls [`Membership::give`]. The group waits for that, for
    /// `max.poll.interval.ms` at most.
    Asked(BTreeSet<Partition>),
    /// These are no longer this member's, and may be somebody else's already.
    Lost(BTreeSet<Partition>),
}

/// What a member holds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Nothing, because it was given nothing or has lost it.
    Outside,
    /// These partitions.
    Holding(BTreeSet<Partition>),
    /// These partitions, of which it is asked for some.
    Asked(BTreeSet<Partition>, BTreeSet<Partition>),
}

impl State {
    fn held(&self) -> BTreeSet<Partition> {
        match self {
            State::Outside => BTreeSet::new(),
            State::Holding(held) | State::Asked(held, _) => held.clone(),
        }
    }

    fn holding(held: BTreeSet<Partition>) -> State {
        if held.is_empty() { State::Outside } else { State::Holding(held) }
    }

    /// The group gives more.
    fn gained(&mut self, more: &BTreeSet<Partition>) {
        *self = State::holding(self.held().union(more).cloned().collect());
    }

    /// The group asks for some.
    fn asked(&mut self, which: BTreeSet<Partition>) {
        *self = State::Asked(self.held(), which);
    }

    /// Some are no longer held, whether they were given or lost.
    fn without(&mut self, gone: &BTreeSet<Partition>) {
        *self = State::holding(self.held().difference(gone).cloned().collect());
    }
}

/// A member of a group.
pub struct Membership {
    // Before the client: the queue goes first.
    queue: Queue,
    client: Client,
    state: State,
}

impl Membership {
    /// Joins the group that owns the tasks of a journal. It joins in the background, and stays a member only while
    /// [`Membership::next`] is called, at least every `max.poll.interval.ms`. Dropping it leaves the group.
    ///
    /// # Errors
    /// A property is not known, or its value not taken.
    pub fn join(properties: &Properties, group: &str, journal: &str, protocol: Protocol) -> Result<Membership, Error> {
        let strategy = match protocol {
            Protocol::Eager => "range",
            Protocol::Cooperative => "cooperative-sticky",
        };
        let ours = [
            ("group.id", group),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("partition.assignment.strategy", strategy),
            ("allow.auto.create.topics", "false"),
        ];
        let properties = ours.iter().fold(properties.clone(), |properties, (name, value)| properties.with(name, value));
        let client = Client::member(&properties)?;
        let queue = Queue::of(&client);
        let member = Membership { queue, client, state: State::Outside };
        let list = list_of(&[Partition::new(journal, -1)]);
        // SAFETY: client and list live.
        match unsafe { native::rd_kafka_subscribe(member.client.rk(), list.ptr()) } {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(member),
            code => Err(member.error(code, reason(code), "joining a group")),
        }
    }

    /// What this member holds now. While it is asked for some, these are among them.
    pub fn held(&self) -> BTreeSet<Partition> {
        self.state.held()
    }

    /// Who this member is in its group: places that are committed with it are refused once somebody else took over.
    pub fn group(&self) -> GroupMetadata {
        GroupMetadata::of(&self.client).expect("the member has a group")
    }

    /// The connection: what goes wrong in the background.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Waits for the next change. It is to be called also while the member is asked for something.
    ///
    /// # Errors
    /// librdkafka refuses what the group decided.
    pub fn next(&mut self, wait: Duration) -> Result<Option<Change>, Error> {
        self.client.serve(Duration::ZERO);
        // SAFETY: the queue lives; the event that comes back is ours, and its list lives as long as it.
        let (code, partitions) = unsafe {
            let Some(event) = NonNull::new(native::rd_kafka_queue_poll(self.queue.ptr(), millis(wait))) else {
                return Ok(self.lost_while_asked());
            };
            let event = event.as_ptr();
            let rebalance = native::rd_kafka_event_type(event) == native::RD_KAFKA_EVENT_REBALANCE;
            let code = native::rd_kafka_event_error(event);
            let list = native::rd_kafka_event_topic_partition_list(event);
            let partitions = if rebalance && !list.is_null() { partitions_of(&*list) } else { BTreeSet::new() };
            native::rd_kafka_event_destroy(event);
            if !rebalance {
                return Ok(self.lost_while_asked());
            }
            (code, partitions)
        };
        if code == Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS { self.gain(partitions) } else { self.part(partitions) }
    }

    /// Gives back what the group asked for.
    ///
    /// # Errors
    /// librdkafka refuses.
    pub fn give(&mut self) -> Result<(), Error> {
        let State::Asked(_, which) = &self.state else { return Ok(()) };
        let which = which.clone();
        self.take_away(&which)?;
        self.state.without(&which);
        Ok(())
    }

    fn gain(&mut self, partitions: BTreeSet<Partition>) -> Result<Option<Change>, Error> {
        let list = list_of(&partitions.iter().cloned().collect::<Vec<_>>());
        // SAFETY: client and list live.
        unsafe {
            if self.is_cooperative() {
                self.done(native::rd_kafka_incremental_assign(self.client.rk(), list.ptr()))?;
            } else {
                self.accepted(native::rd_kafka_assign(self.client.rk(), list.ptr()))?;
            }
            // It is a token here: who owns the task reads it by a reader of its own.
            self.accepted(native::rd_kafka_pause_partitions(self.client.rk(), list.ptr()))?;
        }
        self.state.gained(&partitions);
        Ok((!partitions.is_empty()).then_some(Change::Gained(partitions)))
    }

    /// The group wants partitions back, or they are lost.
    fn part(&mut self, partitions: BTreeSet<Partition>) -> Result<Option<Change>, Error> {
        if partitions.is_empty() {
            self.take_away(&partitions)?;
            return Ok(None);
        }
        if self.is_lost() {
            self.take_away(&partitions)?;
            self.state.without(&partitions);
            return Ok(Some(Change::Lost(partitions)));
        }
        self.state.asked(partitions.clone());
        Ok(Some(Change::Asked(partitions)))
    }

    /// Who takes too long to give is no longer asked: it has lost.
    fn lost_while_asked(&mut self) -> Option<Change> {
        match &self.state {
            State::Asked(_, which) if self.is_lost() => {
                let which = which.clone();
                // Where it is refused, there is nothing left to take away.
                let _ = self.take_away(&which);
                self.state.without(&which);
                Some(Change::Lost(which))
            }
            _ => None,
        }
    }

    /// Tells librdkafka that partitions are not held any more, for which the group waits.
    fn take_away(&self, partitions: &BTreeSet<Partition>) -> Result<(), Error> {
        let list = list_of(&partitions.iter().cloned().collect::<Vec<_>>());
        // SAFETY: client and list live; null takes all away.
        unsafe {
            if self.is_cooperative() {
                self.done(native::rd_kafka_incremental_unassign(self.client.rk(), list.ptr()))
            } else {
                self.accepted(native::rd_kafka_assign(self.client.rk(), std::ptr::null()))
            }
        }
    }

    /// Whether what was assigned may be somebody else's already.
    fn is_lost(&self) -> bool {
        // SAFETY: the client lives.
        unsafe { native::rd_kafka_assignment_lost(self.client.rk()) != 0 }
    }

    /// How the members agreed to agree: one that knows only the eager protocol makes it everybody's.
    fn is_cooperative(&self) -> bool {
        // SAFETY: the client lives, the name is a text of the program's own.
        unsafe {
            let name = native::rd_kafka_rebalance_protocol(self.client.rk());
            !name.is_null() && CStr::from_ptr(name) == c"COOPERATIVE"
        }
    }

    /// # Safety
    /// The error is null, or librdkafka's and ours.
    unsafe fn done(&self, error: *mut native::rd_kafka_error_t) -> Result<(), Error> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: what the caller says; it is given back once.
        let (code, said) = unsafe {
            let read = (native::rd_kafka_error_code(error), text(native::rd_kafka_error_string(error)));
            native::rd_kafka_error_destroy(error);
            read
        };
        Err(self.error(code, said, "taking what the group decided"))
    }

    fn accepted(&self, code: Code) -> Result<(), Error> {
        match code {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            code => Err(self.error(code, reason(code), "taking what the group decided")),
        }
    }

    fn error(&self, code: Code, said: String, doing: &'static str) -> Error {
        Error::new(code as i32, said, doing, self.client.brokers())
    }
}

/// # Safety
/// The list has as many elements as it says, each with the name of a topic.
unsafe fn partitions_of(list: &native::rd_kafka_topic_partition_list_t) -> BTreeSet<Partition> {
    if list.cnt == 0 {
        return BTreeSet::new();
    }
    // SAFETY: what the caller says.
    let elements = unsafe { std::slice::from_raw_parts(list.elems, list.cnt as usize) };
    // SAFETY: as above.
    elements.iter().map(|element| Partition::new(unsafe { text(element.topic) }, element.partition)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(partitions: &[i32]) -> BTreeSet<Partition> {
        partitions.iter().map(|partition| Partition::new("journal", *partition)).collect()
    }

    #[test]
    fn eager_members_give_all_and_gain_anew() {
        let mut state = State::Outside;
        state.gained(&set(&[0, 1]));
        assert_eq!(state, State::Holding(set(&[0, 1])));
        state.asked(set(&[0, 1]));
        assert_eq!(state.held(), set(&[0, 1]), "until it gives them");
        state.without(&set(&[0, 1]));
        assert_eq!(state, State::Outside);
        state.gained(&set(&[1]));
        assert_eq!(state, State::Holding(set(&[1])));
    }

    #[test]
    fn cooperative_members_give_what_moves() {
        let mut state = State::Outside;
        state.gained(&set(&[0]));
        state.gained(&set(&[1, 2]));
        state.asked(set(&[1]));
        assert_eq!(state, State::Asked(set(&[0, 1, 2]), set(&[1])));
        state.without(&set(&[1]));
        assert_eq!(state, State::Holding(set(&[0, 2])));
        state.gained(&set(&[]));
        assert_eq!(state, State::Holding(set(&[0, 2])));
    }

    #[test]
    fn what_is_lost_is_lost_from_any_state() {
        let mut state = State::Holding(set(&[0, 1]));
        state.without(&set(&[0, 1]));
        assert_eq!(state, State::Outside);
        state.without(&set(&[0]));
        assert_eq!(state, State::Outside);
    }
}
