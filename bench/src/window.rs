//! A window of an hour that holds a million entries of one key.

use std::hint::black_box;

use lapwing_dsl::ir::Window;
use lapwing_dsl::load;
use lapwing_dsl::syntax::Sources;
use lapwing_dsl::value::{Type, Value};
use lapwing_engine::slot::{KeyHasher, SWEEP_GRAIN};
use lapwing_engine::window::{Look, WindowState};
use rust_decimal::Decimal;

/// Entries that the window holds.
const ENTRIES: u64 = 1_000_000;
const HOUR_MS: u64 = 3_600_000;

/// The window, full, and the stream that goes on.
pub struct Full {
    spec: Window,
    state: WindowState,
    event: u64,
    swept: i64,
    random: u64,
    /// Whether it counts one of ten thousand numbers.
    few: bool,
}

impl Full {
    /// Names with aggregates; `n` is one of ten thousand numbers, `m` hardly ever the same.
    pub const ALL: [(&str, &str); 11] = [
        ("count", "count(e)"),
        ("sum of ints", "sum(e.n)"),
        ("sum of floats", "sum(e.x)"),
        ("sum of decimals", "sum(e.d)"),
        ("avg of floats", "avg(e.x)"),
        ("stddev of ints", "stddev(e.n)"),
        ("stddev of floats", "stddev(e.x)"),
        ("min of ints", "min(e.m)"),
        ("distinct ints, few", "distinct(e.n)"),
        ("distinct ints, all different", "distinct(e.m)"),
        ("median of floats", "median(e.x)"),
    ];

    /// Fills the window.
    pub fn new(aggregate: &str) -> Full {
        let text = format!(
            "event e {{ at timestamp  k string  n int  m int  x float  d decimal }}\n\
             rule r {{\n  by k\n  match e\n  when {aggregate} over 1h > 0\n}}\n"
        );
        let mut sources = Sources::default();
        sources.add("window.lap", text);
        let spec = load(&sources).programs[0].rule.windows[0].clone();
        let state = WindowState::new(&spec, KeyHasher::new(7));
        let mut full = Full { spec, state, event: 0, swept: 0, random: 1, few: aggregate.contains("e.n") };
        for _ in 0..ENTRIES + ENTRIES / 10 {
            full.event();
        }
        full
    }

    /// One event more; gives what the window is worth then.
    pub fn event(&mut self) -> Value<'static> {
        let at = (self.event * HOUR_MS / ENTRIES) as i64;
        self.event += 1;
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = self.random >> 24;
        let value = match self.spec.args.first().map(|a| &a.ty) {
            None => Value::Missing,
            Some(Type::Float) => Value::Float((random % 1_000_000) as f64 / 100.0),
            Some(Type::Decimal) => Value::Decimal(Decimal::new((random % 1_000_000) as i64, 2)),
            Some(_) if self.few => Value::Int((random % 10_000) as i64),
            Some(_) => Value::Int(random as i64),
        };
        if at - self.swept > SWEEP_GRAIN {
            self.state.expire(&self.spec.kind, at);
            self.swept = at;
        }
        self.state.add(&self.spec, at, at, value, Value::Missing);
        black_box(self.state.read(&self.spec, Look { now: at, clock: at }, &Value::Missing).unwrap_or_default())
    }

    /// How many entries it holds.
    pub fn entries(&self) -> usize {
        self.state.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_window_holds_an_hour() {
        let mut full = Full::new("count(e)");
        for _ in 0..10_000 {
            assert_eq!(full.event(), Value::Int(ENTRIES as i64 + 1));
        }
        assert!((ENTRIES as usize..ENTRIES as usize + 10_000).contains(&full.entries()));
    }
}
