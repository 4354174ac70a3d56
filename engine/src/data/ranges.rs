//! Addresses of IPv4 that lie in networks, and until when: what many networks of all lengths hold, found in one place.
//!
//! Networks lie in each other or apart. So what they hold together is a row of ranges, each with the time until which the longest-lived of
//! the networks around it counts, and an address is held where its range is. The ranges stand in chunks by the first bits of their addresses:
//! a table says where a chunk's begin, and a chunk holds a few dozen bounds of two bytes, looked through side by side. (Zec, Rizzo,
//! Mikuc: "DXR: towards a billion routing lookups per second in software", ACM SIGCOMM CCR 42(5), 2012, with a time in place of a next hop.)

use std::net::Ipv4Addr;

use crate::Millis;

/// The fewest bits that choose a chunk: then the others and one more are no more than 16.
const CHUNK_BITS_MIN: u32 = 17;

/// The most: a table of 16 MiB.
const CHUNK_BITS_MAX: u32 = 22;

/// A chunk has about so many networks where they are spread evenly.
const CHUNK_NETWORKS: usize = 8;

/// So many bounds are looked through one by one; in more of them the place is halved before.
const BOUNDS_WALKED: usize = 64;

/// A network: its first address, how many bits of that it is, and until when it counts; [`Millis::MAX`] where it has no end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network {
    pub(super) first: u32,
    pub(super) length: u8,
    pub(super) until: Millis,
}

impl Network {
    fn last(&self) -> u32 {
        self.first | u32::MAX.checked_shr(self.length.into()).unwrap_or(0)
    }
}

/// The ranges.
#[derive(Clone, Debug)]
pub(super) struct Ranges {
    /// How many of an address's bits do not choose its chunk.
    low_bits: u32,
    /// Where each chunk's bounds begin, and where those of the last one end.
    chunks: Vec<u32>,
    /// Where in its chunk each range begins, twice, and one more where it is held. A chunk's first begins at 0.
    bounds: Vec<u16>,
    /// For each range until when it is held. Empty where no network has an end.
    ends: Vec<Millis>,
}

impl Ranges {
    /// Those of some networks, in any order.
    pub(super) fn new(mut networks: Vec<Network>) -> Ranges {
        networks.sort_unstable_by_key(|n| (n.first, n.length));
        let bits = (networks.len() / CHUNK_NETWORKS).max(1).ilog2().clamp(CHUNK_BITS_MIN, CHUNK_BITS_MAX);
        let mut making = Making {
            ranges: Ranges {
                low_bits: 32 - bits,
                chunks: Vec::with_capacity((1 << bits) + 1),
                bounds: Vec::with_capacity((1 << bits) + 2 * networks.len()),
                ends: Vec::new(),
            },
            has_ends: networks.iter().any(|n| n.until != Millis::MAX),
            until: Millis::MIN,
        };
        // The networks around the place at hand, each with until when it or one around it counts.
        let mut around: Vec<(u32, Millis)> = Vec::new();
        for network in &networks {
            making.leave(&mut around, Some(network.first));
            let until = around.last().map_or(network.until, |(_, until)| network.until.max(*until));
            making.begin(network.first, until);
            around.push((network.last(), until));
        }
        making.leave(&mut around, None);
        making.finish()
    }

    /// Whether an address is held at a time.
    #[inline]
    pub(super) fn hold(&self, ip: Ipv4Addr, now: Millis) -> bool {
        let ip = u32::from(ip);
        let chunk = (ip >> self.low_bits) as usize;
        let [from, to] = [self.chunks[chunk] as usize, self.chunks[chunk + 1] as usize];
        let sought = ((ip & ((1 << self.low_bits) - 1)) << 1 | 1) as u16;
        let bounds = &self.bounds[from..to];
        let count = match bounds.len() <= BOUNDS_WALKED {
            true => bounds.iter().map(|bound| usize::from(*bound <= sought)).sum(),
            false => bounds.partition_point(|bound| *bound <= sought),
        };
        let range = from + count - 1;
        match self.ends.get(range) {
            Some(until) => now <= *until,
            None => self.bounds[range] & 1 == 1,
        }
    }
}

/// Ranges while they are made, from the lowest address on.
struct Making {
    ranges: Ranges,
    has_ends: bool,
    /// Until when what comes next is held; [`Millis::MIN`] where it is not.
    until: Millis,
}

impl Making {
    /// Networks end that end before an address, or all.
    fn leave(&mut self, around: &mut Vec<(u32, Millis)>, before: Option<u32>) {
        while let Some((last, _)) = around.pop_if(|(last, _)| before.is_none_or(|before| *last < before)) {
            let until = around.last().map_or(Millis::MIN, |(_, until)| *until);
            // Nothing comes behind the last address of all.
            if let Some(next) = last.checked_add(1) {
                self.begin(next, until);
            }
        }
    }

    /// From an address on, no lower than the one before, something else holds.
    fn begin(&mut self, at: u32, until: Millis) {
        if until == self.until {
            return;
        }
        let Ranges { low_bits, .. } = self.ranges;
        let low = at & ((1 << low_bits) - 1);
        self.chunks_up_to((at >> low_bits) as usize);
        self.until = until;
        // What began at the same place has no address.
        let same = self.ranges.bounds.last().is_some_and(|bound| u32::from(bound >> 1) == low);
        if same {
            self.ranges.bounds.pop();
            self.ranges.ends.pop();
        }
        self.bound(low);
    }

    /// The chunks up to one begin with what holds there.
    fn chunks_up_to(&mut self, chunk: usize) {
        while self.ranges.chunks.len() <= chunk {
            self.ranges.chunks.push(self.ranges.bounds.len() as u32);
            self.bound(0);
        }
    }

    fn bound(&mut self, low: u32) {
        self.ranges.bounds.push((low << 1 | u32::from(self.until != Millis::MIN)) as u16);
        if self.has_ends {
            self.ranges.ends.push(self.until);
        }
    }

    fn finish(mut self) -> Ranges {
        self.chunks_up_to((u32::MAX >> self.ranges.low_bits) as usize);
        let end = self.ranges.bounds.len() as u32;
        self.ranges.chunks.push(end);
        self.ranges.bounds.shrink_to_fit();
        self.ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random networks that lie in each other, with ends and without, against all of them asked one by one.
    #[test]
    fn an_address_is_held_where_one_of_its_networks_is() {
        let mut seed = 3u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for round in 0..60 {
            let mut networks = Vec::new();
            for _ in 0..random(200) {
                // Close together, or anywhere; now and then at the ends of all addresses.
                let ip = match random(10) {
                    0 => random(1 << 32) as u32,
                    1 => u32::MAX - random(300) as u32,
                    2 => random(300) as u32,
                    _ => 0x0a00_0000 + random(3_000) as u32,
                };
                let length = if random(20) == 0 { random(17) } else { 17 + random(16) } as u8;
                let first = ip & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                let until = if round % 2 == 0 || random(2) == 0 { Millis::MAX } else { random(5) as Millis };
                networks.push(Network { first, length, until });
            }
            let ranges = Ranges::new(networks.clone());
            let near =
                networks.iter().flat_map(|n| [n.first.wrapping_sub(1), n.first, n.last(), n.last().wrapping_add(1)]);
            for ip in near.chain([0, u32::MAX, 0x0a00_0000]) {
                for now in 0..5 {
                    let around = |n: &&Network| n.first <= ip && ip <= n.last();
                    let held = networks.iter().filter(around).any(|n| now <= n.until);
                    assert_eq!(ranges.hold(ip.into(), now), held, "{} at {now} of {networks:?}", Ipv4Addr::from(ip));
                }
            }
        }
    }
}
