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

    /// Whether this names an event that is held.
    pub fn has(&self, id: BoundId) -> bool {
        self.nodes.get(id.0).is_some()
    }

    /// All places, to be saved.
    pub fn raw(&self) -> &Slab<BoundEvent> {
        &self.nodes
    }

    /// From what was saved; `None` where chains lead nowhere or in a circle, or the free places are not the free ones.
    pub fn from_raw(nodes: Vec<Option<BoundEvent>>, free: Vec<u32>) -> Option<Self> {
        // Along a chain the numbers of the events fall, so that none leads back to its beginning.
        let falls = nodes.iter().flatten().all(|n| {
            n.before.is_none_or(|b| {
                let before = nodes.get(b.0 as usize).and_then(Option::as_ref);
                before.is_some_and(|before| before.sequence < n.sequence)
            })
        });
        let nodes = Slab::from_places(nodes, free)?;
        falls.then_some(BoundEvents { nodes })
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
