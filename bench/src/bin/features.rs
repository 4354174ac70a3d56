//! What features cost: 100 of them read by 1,000 rules, against the same 100 read by one rule each, in one run.
//!
//! `features [events]` prints, for two kinds of rules, the seconds of both and their ratio; each is the best of five, taken in turns.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use lapwing::control::files::Rules;
use lapwing::data::alert::Alert;
use lapwing::data::pipeline::{Lines, Options, Pipeline, Rejected, Sink};
use lapwing_dsl::load;
use lapwing_dsl::syntax::Sources;

/// How many features there are.
const FEATURES: u64 = 100;
/// Cards that pay.
const CARDS: u64 = 2_000;
/// Times that each is measured.
const ROUNDS: usize = 5;

fn main() {
    let events = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(50_000);
    let input = payments(events);
    println!("rules | 100 rules s | 1,000 rules s | ratio | alerts of both");
    // Each asks first which merchant is paid, as most rules of a large set ask something of their own.
    let own = |rule: u64| {
        format!("merchant == \"m{}\" and amount > {}.5 * f{}", rule % 1_000, 3 + rule / FEATURES, rule % FEATURES)
    };
    // Each event is judged by each rule.
    let every = |rule: u64| format!("amount > {}.5 * f{}", 3 + rule / FEATURES, rule % FEATURES);
    compare("each asks its merchant first", &input, own);
    compare("each asks its feature of each event", &input, every);
}

fn compare(name: &str, input: &str, condition: impl Fn(u64) -> String) {
    let (few, many) = (rules(FEATURES, &condition), rules(10 * FEATURES, &condition));
    let mut best = [f64::MAX; 2];
    let mut alerts = [0; 2];
    for _ in 0..ROUNDS {
        for (i, text) in [&few, &many].into_iter().enumerate() {
            let (seconds, count) = run(text, input);
            best[i] = best[i].min(seconds);
            alerts[i] = count;
        }
    }
    println!("{name} | {:.2} | {:.2} | {:.2} | {}, {}", best[0], best[1], best[1] / best[0], alerts[0], alerts[1]);
}

fn rules(count: u64, condition: impl Fn(u64) -> String) -> String {
    let mut text =
        "event payment { at timestamp  card string  merchant string  amount float  foreign bool }\n".to_owned();
    for i in 0..FEATURES {
        let what = [
            "avg(payment.amount",
            "max(payment.amount",
            "sum(payment.amount",
            "avg(payment.amount",
            "ema(payment.amount, 0.1",
        ];
        // The sum of nothing is 0, and every amount is more.
        let filter = if i / 5 % 2 == 0 || i % 5 == 2 { "" } else { " where foreign" };
        let hours = 6 + i;
        writeln!(text, "feature f{i} = {}{filter}) by card over {hours}h", what[(i % 5) as usize])
            .expect("a string takes any text");
    }
    for i in 0..count {
        writeln!(text, "rule r{i} {{\n  by card\n  match p: payment where {}\n}}", condition(i))
            .expect("a string takes any text");
    }
    text
}

/// Payments of many cards, a minute apart for each in the mean.
fn payments(events: u64) -> String {
    let mut text = String::new();
    let mut random: u64 = 1;
    for i in 0..events {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let n = random >> 20;
        let (card, merchant, amount) = (n % CARDS, n / CARDS % 1_000, 5_000 + n % 4_973);
        let at = 1_700_000_000_000 + i * 36_000_000 / CARDS;
        writeln!(
            text,
            "{{\"type\":\"payment\",\"at\":{at},\"card\":\"c{card}\",\"merchant\":\"m{merchant}\",\"amount\":{amount}.25,\"foreign\":{}}}",
            n % 7 == 0
        )
        .expect("a string takes any text");
    }
    text
}

/// Seconds from lines to alerts, and how many alerts.
fn run(text: &str, input: &str) -> (f64, u64) {
    let mut sources = Sources::default();
    sources.add("features.lap", text.to_owned());
    let loaded = load(&sources);
    assert!(loaded.diagnostics.iter().all(|d| !d.is_error()), "the rules compile");
    let rules = Rules { sources, loaded }.rule_set(1).expect("few keys");
    let mut pipeline = Pipeline::new(Arc::new(rules), Options::default(), 1);
    let mut sink = Count(0);
    let began = Instant::now();
    pipeline.take(&Lines { bytes: input.as_bytes(), first: 0 }, &mut sink);
    pipeline.finish(&mut sink);
    (began.elapsed().as_secs_f64(), sink.0)
}

struct Count(u64);

impl Sink for Count {
    fn alert(&mut self, _: &Alert<'_>) {
        self.0 += 1;
    }

    fn rejected(&mut self, rejected: Rejected) {
        panic!("every line is a payment: {rejected:?}");
    }
}
