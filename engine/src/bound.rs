//! Events that runs have bound: a forest whose branches runs share.
//!
//! A run points at its last bound event, and each points at the one before. Runs that came of one run share what they have in
//! common (the shared versioned buffer of Agrawal et al., "Efficient Pattern Matching over Event Streams", SIGMOD 2008). A node counts its
//! holders and goes with the last of them.

use lapwing_dsl::ir::StepId;
use lapwing_dsl::value::Value;

use crate::Millis;
use crate::batch::Origin;
use crate::slab::Slab;
use crate::state::record::OwnEvent;

/// A bound event: an index into a [`BoundEvents`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BoundId(pub u32);

/// One bound event.
#[derive(Clone, Debug)]
pub struct BoundEvent {
    /// The event bound before it.
    pub before: Option<BoundId>,
    /// The step it is bound to.
    pub step: StepId,
    /// Which of the ways on the run had taken before it bound this event: 0 is the preferred one.
    pub rank: u16,
    /// Where the event came from.
    pub origin: Origin,
    /// Its time.
    pub at: Millis,
    /// Its number in processing order.
    pub sequence: u64,
    /// The fields that are read later, as [`lapwing_dsl::program::Program::captures`] lists them.
    pub captured: Box<[Value<'static>]>,
    holders: u32,
}

impl BoundEvent {
    /// From what was saved.
    #[expect(clippy::too_many_arguments, reason = "the parts of a bound event, each once")]
    pub fn from_parts(
        before: Option<BoundId>,
        step: StepId,
        rank: u16,
        origin: Origin,
        at: Millis,
        sequence: u64,
        captured: Box<[Value<'static>]>,
        holders: u32,
    ) -> Self {
        BoundEvent { before, step, rank, origin, at, sequence, captured, holders }
    }

    /// How many runs and later events hold it.
    pub fn holders(&self) -> u32 {
        self.holders
    }
}

/// A bound event to read: one that runs share, or one that stands in its run's record.
#[derive(Clone, Copy, Debug)]
pub enum BoundRef<'a> {
    /// In [`BoundEvents`].
    Shared(&'a BoundEvent),
    /// In the record.
    Own(OwnEvent<'a>),
}

impl<'a> BoundRef<'a> {
    /// The step it is bound to.
    #[inline]
    pub fn step(self) -> StepId {
        match self {
            BoundRef::Shared(node) => node.step,
            BoundRef::Own(own) => own.step(),
        }
    }

    /// Its time.
    #[inline]
    pub fn at(self) -> Millis {
        match self {
            BoundRef::Shared(node) => node.at,
            BoundRef::Own(own) => own.at(),
        }
    }

    /// Its number in processing order.
    pub fn sequence(self) -> u64 {
        match self {
            BoundRef::Shared(node) => node.sequence,
            BoundRef::Own(own) => own.sequence(),
        }
    }

    /// Which of the ways on the run had taken before it.
    pub fn rank(self) -> u16 {
        match self {
            BoundRef::Shared(node) => node.rank,
            BoundRef::Own(own) => own.rank(),
        }
    }

    /// Where it came from.
    pub fn origin(self) -> Origin {
        match self {
            BoundRef::Shared(node) => node.origin,
            BoundRef::Own(own) => own.origin(),
        }
    }

    /// The event bound before it.
    #[inline]
    pub fn before(self) -> Option<BoundId> {
        match self {
            BoundRef::Shared(node) => node.before,
            BoundRef::Own(own) => own.before(),
        }
    }

    /// One of the fields that are read later.
    #[inline]
    pub fn captured(self, i: usize) -> Value<'a> {
        match self {
            BoundRef::Shared(node) => node.captured[i].borrow(),
            BoundRef::Own(own) => own.captured(i),
        }
    }

    /// It and those before it, newest first.
    pub fn newest_first(self, bound: &'a BoundEvents) -> impl Iterator<Item = BoundRef<'a>> {
        let mut next = Some(self);
        std::iter::from_fn(move || {
            let event = next?;
            next = event.before().map(|id| BoundRef::Shared(bound.get(id)));
            Some(event)
        })
    }
}

/// All bound events of a key group.
#[derive(Clone, Debug, Default)]
pub struct BoundEvents {
    nodes: Slab<BoundEvent>,
}

impl BoundEvents {
    /// Adds an event behind `before`, held once.
    #[expect(clippy::too_many_arguments, reason = "the parts of a bound event, each once")]
    pub fn add(
        &mut self,
        before: Option<BoundId>,
        step: StepId,
        rank: u16,
        origin: Origin,
        at: Millis,
        sequence: u64,
        captured: Box<[Value<'static>]>,
    ) -> BoundId {
        if let Some(before) = before {
            self.hold(before);
        }
        let node = BoundEvent::from_parts(before, step, rank, origin, at, sequence, captured, 1);
        BoundId(self.nodes.add(node))
    }

    /// Takes over an event that stood elsewhere, with what it holds.
    pub fn put_back(&mut self, node: BoundEvent) -> BoundId {
        BoundId(self.nodes.add(node))
    }

    /// Takes out an event that one holder has and that goes on standing elsewhere: what it holds stays held.
    pub fn take_out(&mut self, id: BoundId) {
        self.nodes.remove(id.0);
    }

    /// The event.
    #[inline]
    pub fn get(&self, id: BoundId) -> &BoundEvent {
        self.nodes.get(id.0).expect("a held node is not freed")
    }

    /// One more holder.
    pub fn hold(&mut self, id: BoundId) {
        self.node_mut(id).holders += 1;
    }

    /// One holder less; what nobody holds goes, and what only it held.
    pub fn release(&mut self, id: BoundId) {
        let mut next = Some(id);
        while let Some(id) = next {
            let node = self.node_mut(id);
            node.holders -= 1;
            if node.holders > 0 {
                return;
            }
            next = node.before;
            self.nodes.remove(id.0);
        }
    }

    fn node_mut(&mut self, id: BoundId) -> &mut BoundEvent {
        self.nodes.get_mut(id.0).expect("a held node is not freed")
    }

    /// The chain that ends in `last`, newest first.
    pub fn newest_first(&self, last: BoundId) -> impl Iterator<Item = (BoundId, &BoundEvent)> {
        let mut next = Some(last);
        std::iter::from_fn(move || {
            let id = next?;
            let node = self.get(id);
            next = node.before;
            Some((id, node))
        })
    }

    /// The chain that ends in `last`, oldest first.
    pub fn oldest_first(&self, last: BoundId) -> Vec<(BoundId, &BoundEvent)> {
        let mut chain: Vec<_> = self.newest_first(last).collect();
        chain.reverse();
        chain
    }

    /// How many events are held.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
