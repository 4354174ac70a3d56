//! A week-long sliding count, sum and distinct count by user over two weeks of payments: each is enriched by the three values, once.
//!
//! `week [EVENTS [USERS [emit|into]]]`: `emit` writes an alert for each payment, into memory that is used again; `into` makes each an event for a rule
//! that asks for much of it. Prints events a second of processor time and the memory that the windows take for each of their entries.

use std::fmt::Write as _;
use std::sync::Arc;

use lapwing::control::files::Rules;
use lapwing::data::alert::Alert;
use lapwing::data::pipeline::{Lines, Options, Pipeline, Rejected, Sink};
use lapwing_dsl::load;
use lapwing_dsl::syntax::Sources;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EVENTS: &str = "\
event pay { at timestamp  user string  device string  points int }
event enriched { at timestamp  user string  n int  sum int?  devices int }
";
const EMIT: &str = "\
rule each {
  by user
  match p: pay
  emit { n: count(pay) over 7d, sum: sum(pay.points) over 7d, devices: distinct(pay.device) over 7d }
}
";
const INTO: &str = "\
rule each {
  by user
  match p: pay
  emit into enriched { user: p.user, n: count(pay) over 7d, sum: sum(pay.points) over 7d, devices: distinct(pay.device) over 7d }
}
rule much {
  by user
  match x: enriched where n > 10 and devices > 9 and sum > 9000
  emit { n: x.n }
}
";
const DAYS: u64 = 14;

/// Counts what comes out.
#[derive(Default)]
struct Counted {
    alerts: u64,
    bytes: u64,
    line: Vec<u8>,
}

impl Sink for Counted {
    fn alert(&mut self, alert: &Alert<'_>) {
        self.line.clear();
        alert.write(&mut self.line);
        self.alerts += 1;
        self.bytes += self.line.len() as u64;
    }

    fn rejected(&mut self, rejected: Rejected) {
        panic!("every line is an event: {rejected:?}");
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

/// Seconds that this thread has had a processor: another process beside it takes nothing from the figure.
fn processor_seconds() -> f64 {
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    said.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().and_then(|a| a.parse().ok()).unwrap_or(default);
    let (events, users) = (number(4_000_000), number(50_000));
    let into = arguments.next().as_deref() == Some("into");
    let mut sources = Sources::default();
    sources.add("week.lap", format!("{EVENTS}{}", if into { INTO } else { EMIT }));
    let rules = Rules { loaded: load(&sources), sources };
    assert!(rules.compiles(), "{:?}", rules.loaded.diagnostics);
    let rules = Arc::new(rules.rule_set(1).expect("one rule has few keys"));
    let mut pipeline = Pipeline::new(rules, Options::default(), 1);
    let mut out = Counted::default();
    let (mut random, mut text) = (0x9e37_79b9_7f4a_7c15u64, String::new());
    let before = resident();
    let mut seconds = 0.0;
    let step = DAYS * 86_400_000 / events.max(1);
    let mut first = 0;
    while first < events {
        let count = 10_000.min(events - first);
        text.clear();
        for i in first..first + count {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (user, device, points) = ((random >> 33) % users, (random >> 20) % 8, (random >> 40) % 500);
            let at = 1_760_000_000_000 + i * step;
            let _ = writeln!(
                text,
                "{{\"type\":\"pay\",\"at\":{at},\"user\":\"u{user:07}\",\"device\":\"d{user:07}{device}\",\"points\":{points}}}"
            );
        }
        let started = processor_seconds();
        pipeline.take(&Lines { bytes: text.as_bytes(), first }, &mut out);
        seconds += processor_seconds() - started;
        first += count;
    }
    let in_window = (events / 2) as f64;
    let held = resident().saturating_sub(before) as f64;
    let totals = pipeline.totals();
    println!("{events} events, {users} users: {seconds:.1} s, {:.0} events/s", events as f64 / seconds);
    println!("{} alerts ({} MB), {} events taken", out.alerts, out.bytes >> 20, totals.events);
    println!("{:.0} MB, {:.1} bytes for each event in the window", held / 1e6, held / in_window);
}
