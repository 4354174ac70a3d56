//! Keys outside memory: which go, what comes back, and that nothing else is taken in.

use std::sync::{Arc, Mutex};

use lapwing::data::pipeline::{Lines, Options, Outside, OutsideError, Pipeline};
use lapwing_engine::Millis;
use lapwing_engine::limits::Limits;
use lapwing_engine::order::Order;
use lapwing_engine::shard::outside::{Cold, KeyName};
use lapwing_tests::engine::{Collected, Kept, compile};

const EVENTS: &str = "event login { at timestamp  user string  host string  ok bool }\n";

/// What is outside, to be looked at and changed from here.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Kept>>);

impl Outside for Seen {
    fn take(&mut self, names: &[KeyName]) -> Result<Vec<(KeyName, Vec<u8>)>, OutsideError> {
        self.0.lock().expect("no test panics in between").take(names)
    }

    fn take_all(&mut self) -> Result<Vec<(KeyName, Vec<u8>)>, OutsideError> {
        self.0.lock().expect("no test panics in between").take_all()
    }

    fn put(&mut self, cold: Vec<Cold>, now: Millis) -> Result<(), OutsideError> {
        self.0.lock().expect("no test panics in between").put(cold, now)
    }
}

struct Stream {
    pipeline: Pipeline,
    outside: Seen,
    found: Collected,
    line: u64,
}

impl Stream {
    fn new(rules: &str) -> Stream {
        Stream::within(rules, Limits::default())
    }

    fn within(rules: &str, limits: Limits) -> Stream {
        let rules = compile(&format!("{EVENTS}{rules}")).expect("the rules compile").rule_set(1).expect("they fit");
        let options = Options { order: Order::Arrival, limits, ..Options::default() };
        let mut pipeline = Pipeline::new(Arc::new(rules), options, 1);
        let outside = Seen::default();
        pipeline.keep_outside(Some(Box::new(outside.clone())));
        Stream { pipeline, outside, found: Collected::default(), line: 0 }
    }

    fn take(&mut self, at: Millis, user: &str, ok: bool) {
        let line = format!(r#"{{"type":"login","at":{at},"user":"{user}","host":"h-{user}","ok":{ok}}}"#);
        self.line += self.pipeline.take(&Lines { bytes: line.as_bytes(), first: self.line }, &mut self.found);
    }

    fn outside(&self) -> usize {
        self.outside.0.lock().expect("no test panics in between").0.len()
    }

    fn damage(&self, change: impl Fn(&mut Cold)) {
        self.outside.0.lock().expect("no test panics in between").0.values_mut().for_each(change);
    }

    fn alerts(&self) -> usize {
        self.found.alerts.len()
    }
}

const TWICE: &str = "rule twice {\n  by user\n  match a: login where not ok then b: login where ok\n  within 1m\n}\n";

#[test]
fn keys_go_and_come_back_when_an_event_needs_them() {
    let mut stream = Stream::new(TWICE);
    for i in 0..1_000 {
        stream.take(1_000, &format!("u{i}"), false);
    }
    assert_eq!((stream.pipeline.keys(), stream.pipeline.evict(|newest| newest < 1_000)), (1_000, 0));
    assert_eq!((stream.pipeline.evict(|newest| newest <= 1_000), stream.pipeline.keys()), (1_000, 0));
    assert_eq!(stream.outside(), 1_000);
    stream.take(2_000, "u7", true);
    assert_eq!((stream.alerts(), stream.outside(), stream.pipeline.keys()), (1, 999, 0));
    // An event that only asks brings its key in too.
    stream.take(2_000, "u8", false);
    assert_eq!((stream.outside(), stream.pipeline.keys()), (998, 1));
    assert!(stream.pipeline.failure().is_none());
}

#[test]
fn what_has_ended_gives_nothing_and_is_forgotten() {
    let mut stream = Stream::new(TWICE);
    stream.take(0, "ann", false);
    stream.take(0, "bob", false);
    stream.take(0, "eve", false);
    assert_eq!(stream.pipeline.evict(|_| true), 3);
    stream.take(60_000, "bob", true);
    assert_eq!(stream.alerts(), 1);
    stream.take(60_001, "ann", true);
    stream.take(600_000, "dan", false);
    assert_eq!((stream.alerts(), stream.outside()), (1, 1));
    // What is kept outside hears of the time with what goes there.
    assert_eq!((stream.pipeline.evict(|_| true), stream.outside()), (1, 1));
    stream.take(600_001, "eve", true);
    assert_eq!((stream.alerts(), stream.pipeline.keys()), (1, 0));
}

#[test]
fn what_time_moves_and_what_other_keys_read_stays() {
    let absence = "rule silent {\n  by user\n  match a: login where not ok then not b: login where ok within 1m\n}\n";
    let late = "rule late {\n  by user\n  match a: login where not ok then b: login where ok\n  within 1m\n  report final\n}\n";
    let pinned = "rule pinned {\n  by user\n  match login where count(login) by host over 1m > 5\n}\n";
    for rules in [absence, late, pinned] {
        let mut stream = Stream::new(rules);
        stream.take(0, "ann", false);
        let keys = stream.pipeline.keys();
        assert!(keys > 0, "{rules}");
        assert_eq!((stream.pipeline.evict(|_| true), stream.pipeline.keys()), (0, keys), "{rules}");
    }
}

/// A cap of more than one key counts what is in memory. That it bit is still said when all keys have been outside.
#[test]
fn caps_count_what_is_in_memory() {
    let limits = Limits { runs_per_rule_max: 16, ..Limits::default() };
    for evict_at in [2_500, 5_000, 10_000] {
        let mut stream = Stream::within(TWICE, limits);
        for i in 0..10_000 {
            if i % evict_at == 0 {
                stream.pipeline.evict(|_| true);
            }
            stream.take(1_000, &format!("u{i}"), false);
        }
        stream.pipeline.evict(|_| true);
        assert_eq!(stream.pipeline.keys(), 0);
        stream.take(1_001, "u9999", true);
        // Of 2,500 keys each group has about ten, of more of them more than it may.
        let capped = stream.pipeline.counters().runs_capped;
        let exact = stream.found.alerts[0].get("exact").is_none_or(|exact| exact == true);
        assert_eq!((stream.alerts(), capped > 1_000, exact), (1, evict_at > 2_500, evict_at == 2_500), "{capped}");
    }
}

#[test]
fn a_change_of_the_rules_brings_all_keys_in() {
    let mut stream = Stream::new(TWICE);
    stream.take(0, "ann", false);
    stream.take(0, "bob", false);
    stream.pipeline.evict(|_| true);
    let other = "rule another {\n  by host\n  match login where not ok\n}\n";
    let rules = compile(&format!("{EVENTS}{other}{TWICE}")).expect("the rules compile").rule_set(2).expect("they fit");
    stream.pipeline.swap(Arc::new(rules), &mut stream.found);
    assert_eq!((stream.outside(), stream.pipeline.keys()), (0, 2));
    stream.pipeline.evict(|_| true);
    stream.take(1, "bob", true);
    assert_eq!((stream.alerts(), stream.outside()), (1, 1));
}

#[test]
fn keys_of_other_rules_or_names_are_refused() {
    let refused = |change: &dyn Fn(&mut Cold), why: &str| {
        let mut stream = Stream::new(TWICE);
        stream.take(0, "ann", false);
        stream.pipeline.evict(|_| true);
        stream.damage(change);
        stream.take(1, "ann", true);
        let failure = stream.pipeline.failure().expect("it is refused").to_string();
        assert!(failure.contains(why), "{failure}");
        // It goes no further.
        stream.take(2, "bob", false);
        assert_eq!((stream.alerts(), stream.pipeline.evict(|_| true)), (0, 0));
    };
    refused(&|cold| cold.bytes[0] += 1, "version");
    refused(&|cold| cold.bytes[1] += 1, "another rule set");
    refused(&|cold| cold.bytes.push(0), "left over");
    let mut other = Stream::new(TWICE);
    other.take(0, "bob", false);
    other.pipeline.evict(|_| true);
    let kept = other.outside.0.lock().expect("no test panics in between");
    let bobs = kept.0.values().next().expect("it went out").bytes.clone();
    refused(&|cold| cold.bytes = bobs.clone(), "under the name of another");
}

/// Bytes are the state of a key or are refused, and either way nothing panics. `LAPWING_DAMAGE` says how often each key is damaged.
#[test]
fn damage_never_panics() {
    let rounds: usize = std::env::var("LAPWING_DAMAGE").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000);
    let rules = format!(
        "{TWICE}rule several {{\n  by user\n  match a: login{{2,}} where not ok then (b: login then c: login){{2,}} then d: login where ok\n  within 1m\n  emit {{ n: count(a) }}\n}}\n\
         rule windows {{\n  by user\n  match login where count(login) over 5m > 3 and first_seen(host) over 1h and lag(ok)\n}}\n"
    );
    let lives = |stream: &mut Stream| {
        for i in 0..5 {
            stream.take(i, "ann", i % 3 == 2);
        }
    };
    let mut seed = 5u64;
    let (mut taken, mut refused) = (0, 0);
    let mut stream = Stream::new(&rules);
    lives(&mut stream);
    assert_eq!(stream.pipeline.evict(|_| true), 1);
    let whole = stream.outside.0.lock().expect("no test panics in between").0.values().next().cloned();
    let whole = whole.expect("it went out");
    for round in 0..rounds {
        let mut damaged = whole.clone();
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize
        };
        for _ in 0..=round % 3 {
            let at = next() % damaged.bytes.len();
            match next() % 4 {
                0 => damaged.bytes[at] = next() as u8,
                1 => damaged.bytes[at] ^= 1 << (next() % 8),
                2 => drop(damaged.bytes.remove(at)),
                _ => damaged.bytes.insert(at, next() as u8),
            }
        }
        let mut stream = Stream::new(&rules);
        stream.take(0, "bob", false);
        assert_eq!(stream.pipeline.evict(|_| true), 1);
        stream.outside.0.lock().expect("no test panics in between").0.insert(damaged.name.clone(), damaged.clone());
        stream.take(5, "ann", true);
        if stream.pipeline.failure().is_some() {
            refused += 1;
            continue;
        }
        taken += 1;
        stream.pipeline.evict(|_| true);
        stream.take(6, "ann", false);
    }
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
}
