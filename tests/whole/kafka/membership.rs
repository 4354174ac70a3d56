//! Two members of a group: a task is never two members' at once, and never nobody's for long.

use std::collections::BTreeSet;
use std::time::Duration;

use lapwing::data::kafka::{Change, Kind, Membership, Partition, Protocol, Record, TransactionalProducer};
use lapwing_broker::{Broker, until};

use super::{WAIT, properties};

/// How long a member may be silent.
const INTERVAL: Duration = Duration::from_secs(3);

fn join(broker: &Broker, name: &str, protocol: Protocol) -> Membership {
    let interval = INTERVAL.as_millis().to_string();
    let properties = properties(broker)
        .with("session.timeout.ms", "2000")
        .with("heartbeat.interval.ms", "200")
        .with("max.poll.interval.ms", &interval);
    Membership::join(&properties, name, name, protocol).expect("known properties")
}

/// A member, and what it was told.
struct Member {
    membership: Membership,
    changes: Vec<Change>,
    /// Whether it gives what it is asked for at once.
    gives: bool,
}

impl Member {
    fn new(membership: Membership) -> Member {
        Member { membership, changes: Vec::new(), gives: true }
    }

    fn step(&mut self) {
        if let Some(change) = self.membership.next(Duration::from_millis(20)).expect("it is taken") {
            let asked = matches!(change, Change::Asked(_));
            self.changes.push(change);
            if asked && self.gives {
                self.membership.give().expect("it is taken");
            }
        }
    }

    fn held(&self) -> usize {
        self.membership.held().len()
    }
}

/// Lets members go on until something holds, and sees to it that no partition is two members'.
#[track_caller]
fn go_on(members: &mut [&mut Member], mut holds: impl FnMut(&[&mut Member]) -> bool) {
    let reached = until(|| {
        members.iter_mut().for_each(|member| member.step());
        let all: Vec<Partition> = members.iter().flat_map(|member| member.membership.held()).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "held twice: {all:?}");
        holds(members)
    });
    assert!(reached, "{:?}", members.iter().map(|member| &member.changes).collect::<Vec<_>>());
}

fn one(topic: &str) -> BTreeSet<Partition> {
    [Partition::new(topic, 0)].into()
}

/// The one journal goes from who leaves to who stays.
fn one_task(name: &str, protocol: Protocol) {
    let broker = Broker::shared();
    broker.topic(name, 1);
    let mut first = Member::new(join(broker, name, protocol));
    go_on(&mut [&mut first], |members| members[0].held() == 1);
    assert_eq!(first.changes, [Change::Gained(one(name))]);
    let mut second = Member::new(join(broker, name, protocol));
    // Both are members once the second has a place in the group, with or without the task.
    let generation = |member: &Member| member.membership.group().generation();
    go_on(&mut [&mut first, &mut second], |members| {
        generation(members[0]) == generation(members[1])
            && members.iter().map(|member| member.held()).sum::<usize>() == 1
    });
    let (mut stays, leaves) = if first.held() == 1 { (second, first) } else { (first, second) };
    drop(leaves);
    go_on(&mut [&mut stays], |members| members[0].held() == 1);
    assert_eq!(stays.changes.last(), Some(&Change::Gained(one(name))));
}

#[test]
fn the_eager_protocol_hands_a_task_over() {
    one_task("member-eager", Protocol::Eager);
}

#[test]
fn the_cooperative_protocol_hands_a_task_over() {
    one_task("member-cooperative", Protocol::Cooperative);
}

#[test]
fn cooperative_members_are_asked_only_for_what_moves() {
    let broker = Broker::shared();
    broker.topic("member-four", 4);
    let mut first = Member::new(join(broker, "member-four", Protocol::Cooperative));
    go_on(&mut [&mut first], |members| members[0].held() == 4);
    let mut second = Member::new(join(broker, "member-four", Protocol::Cooperative));
    go_on(&mut [&mut first, &mut second], |members| members.iter().all(|member| member.held() == 2));
    let asked = first.changes.iter().filter_map(|change| match change {
        Change::Asked(which) => Some(which.len()),
        _ => None,
    });
    assert_eq!(asked.sum::<usize>(), 2, "{:?}", first.changes);
}

#[test]
fn a_member_that_does_not_give_keeps_the_others_waiting() {
    let broker = Broker::shared();
    broker.topic("member-keeps", 2);
    let mut first = Member::new(join(broker, "member-keeps", Protocol::Cooperative));
    first.gives = false;
    go_on(&mut [&mut first], |members| members[0].held() == 2);
    let mut second = Member::new(join(broker, "member-keeps", Protocol::Cooperative));
    go_on(&mut [&mut first, &mut second], |members| matches!(members[0].changes.last(), Some(Change::Asked(_))));
    assert_eq!((first.held(), second.held()), (2, 0), "nobody else has it before it was given");
    first.membership.give().expect("it is taken");
    go_on(&mut [&mut first, &mut second], |members| members.iter().all(|member| member.held() == 1));
}

/// Who was silent for too long has lost its task, is told so, and can commit nothing in its name.
#[test]
fn a_silent_member_loses_its_task() {
    let broker = Broker::shared();
    broker.topic("member-silent", 1);
    let mut silent = Member::new(join(broker, "member-silent", Protocol::Cooperative));
    go_on(&mut [&mut silent], |members| members[0].held() == 1);
    let group = silent.membership.group();
    let mut other = Member::new(join(broker, "member-silent", Protocol::Cooperative));
    go_on(&mut [&mut other], |members| members[0].held() == 1);
    let mut producer =
        TransactionalProducer::open(&properties(broker), "member-silent", WAIT).expect("known properties");
    producer.init(WAIT).expect("the broker answers");
    producer.begin().expect("begun");
    let place = (Partition::new("member-silent", 0), 1);
    producer.send(&Record { topic: "member-silent", ..Record::default() }).expect("sent");
    let error = producer.send_offsets(&[place], &group, WAIT).expect_err("it is no member any more");
    assert_eq!(error.kind, Kind::Abortable, "{error}");
    // It learns of it with its next step.
    let lost = until(|| {
        silent.step();
        silent.changes.contains(&Change::Lost(one("member-silent")))
    });
    assert!(lost, "{:?}", silent.changes);
    assert_eq!(silent.held(), 0);
}
