//! Events: few values, few keys, times close together.

use serde_json::{Value as Json, json};

use super::rng::Rng;
use super::times::START;

/// The declarations of the events that the streams hold, and of the lists, tables and features that rules read.
pub const EVENTS: &str = "\
event e { at timestamp  k string?  j string  u string?  n int  x int?  d decimal  s string  ok bool  p ip?  q float }
event f { at timestamp  k string?  j string  u string?  n int  x int?  d decimal  s string  ok bool  p ip?  q float }
event g { at timestamp  k string?  j string  u string?  n int  x int?  d decimal  s string  ok bool  p ip?  q float }
event h { at timestamp  k string?  j string  u string?  n int  x int?  d decimal  s string  ok bool  p ip?  q float }
event i { at timestamp  k string?  j string  u string?  n int  x int?  d decimal  s string  ok bool  p ip?  q float }
list texts of string
list whole of int
list exact of decimal
list addresses of ip
list nets of cidr
table base key j { top int?  word string  share decimal? }
table pairs key s, n int { top int  word string? }
model near(n int, q float) -> float
model far(x int, n int, q float) -> float
feature busy = count(e) by k over 6ms
feature spent = sum(f.d where ok) by j over 9ms tumbling
feature usual = avg(e.x) by k, j over last 4
feature share = busy / (everybody + 1)
feature everybody = count(g) over 5ms + 1
feature per_type = count(e) by { e: k, f: u, g: j } over session 3ms
";

/// Events in order of their times.
pub fn events(rng: &mut Rng, count: usize) -> Vec<Json> {
    let mut at = START;
    (0..count)
        .map(|_| {
            at += rng.weighted(&[(3, 0), (5, 1), (3, 2), (1, 4), (1, 9)]);
            event(rng, at)
        })
        .collect()
}

fn event(rng: &mut Rng, at: i64) -> Json {
    let mut event = json!({
        "type": rng.weighted(&[(25, "e"), (15, "f"), (5, "g"), (1, "h")]),
        "at": at,
        "j": rng.pick(&["p", "p", "q"]),
        "n": rng.between(0, 3),
        "d": rng.pick(&["0.50", "1.0", "1.25", "2"]),
        "s": rng.pick(&["a", "a", "a", "b", "b", "ab", "ab", "c", "c", "B"]),
        "ok": rng.percent(60),
        "q": rng.pick(&[0.25, 0.5, 1.5]),
    });
    let mut sometimes = |name: &str, percent: u64, value: Json| {
        if rng.percent(percent) {
            event[name] = value;
        }
    };
    let (k, u, x, p) = (at % 5, at % 3, at % 4, at % 7);
    sometimes("k", 90, json!(if k < 3 { "p" } else { "q" }));
    sometimes("u", 90, json!(if u < 2 { "p" } else { "q" }));
    sometimes("x", 75, json!(x));
    sometimes("p", 80, json!(format!("10.0.0.{}", p % 4)));
    event
}

/// Where each event comes in another order of arrival that event-time order undoes: nobody comes more than the lateness behind, and
/// events of one time keep their order.
pub fn shuffled(rng: &mut Rng, times: &[i64], lateness: i64) -> Vec<usize> {
    let mut delays: Vec<i64> = times.iter().map(|_| rng.between(0, lateness)).collect();
    for i in 1..times.len() {
        if times[i] == times[i - 1] {
            delays[i] = delays[i].max(delays[i - 1]);
        }
    }
    let mut order: Vec<usize> = (0..times.len()).collect();
    order.sort_by_key(|i| (times[*i] + delays[*i], *i));
    order
}
