//! A seeded stream of card transactions with three planted kinds of fraud, as JSON lines, in the shape of the simulator of the Fraud Detection
//! Handbook (Le Borgne, Siblini, Lebichot, Bontempi: "Reproducible Machine Learning for Credit Card Fraud Detection", 2022, chapter 3).
//!
//! Customers and terminals stand on a square of 100 × 100; a customer pays at terminals near by, so often a day and so much as is usual for it.
//! 1. Every amount over 220 is fraud.
//! 2. Some terminals a day are taken over: for 28 days every transaction there is fraud.
//! 3. Some customers a day lose their card: for 14 days a third of their transactions are fraud, of five times the amount.
//!
//! Seven to eight days after a fraud its chargeback comes: that is what a bank learns of it. The stream does not say what is fraud; the truth is
//! written apart. The same seed and settings give the same bytes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};

use super::generate::Random;

const DAY: i64 = 86_400_000;

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many customers, each with a card.
    pub customers: u32,
    /// How many terminals.
    pub terminals: u32,
    /// How many days.
    pub days: u32,
    /// Equal seeds give equal streams.
    pub seed: u64,
    /// Time of the first midnight, milliseconds since 1970.
    pub start: i64,
}

struct Customer {
    /// Mean of its amounts; their deviation is half of that.
    mean: f64,
    /// Transactions a day.
    per_day: f64,
    /// Terminals near by.
    near: Vec<u32>,
    /// Until which day its card is lost.
    lost_until: u32,
}

/// A line that waits for its time.
type Waiting = Reverse<(i64, u64, String)>;

/// Writes the stream, and for each fraud a line with its transaction and its kind (1, 2 or 3) to `truth`.
pub fn generate(settings: &Settings, out: &mut dyn Write, truth: &mut dyn Write) -> io::Result<()> {
    let mut random = Random::new(settings.seed);
    let place = |random: &mut Random| (random.unit() * 100.0, random.unit() * 100.0);
    let terminals: Vec<(f64, f64)> = (0..settings.terminals).map(|_| place(&mut random)).collect();
    let mut customers: Vec<Customer> = (0..settings.customers).map(|_| customer(&mut random, &terminals)).collect();
    let mut taken_until = vec![0u32; terminals.len()];
    let (mut terminals_due, mut customers_due) = (0.0, 0.0);
    let mut waiting: BinaryHeap<Waiting> = BinaryHeap::new();
    let mut id = 0u64;
    for day in 0..settings.days {
        // As many of so many as there: two terminals of 10,000 a day, three customers of 5,000.
        terminals_due += f64::from(settings.terminals) * 2.0 / 10_000.0;
        customers_due += f64::from(settings.customers) * 3.0 / 5_000.0;
        while terminals_due >= 1.0 {
            terminals_due -= 1.0;
            taken_until[random.range(0, settings.terminals.into()) as usize] = day + 28;
        }
        while customers_due >= 1.0 {
            customers_due -= 1.0;
            customers[random.range(0, settings.customers.into()) as usize].lost_until = day + 14;
        }
        let midnight = settings.start + i64::from(day) * DAY;
        let mut transactions: Vec<(i64, usize, u32, f64)> = Vec::new();
        for (number, customer) in customers.iter().enumerate().filter(|(_, c)| !c.near.is_empty()) {
            for _ in 0..poisson(&mut random, customer.per_day) {
                let second = 43_200.0 + 20_000.0 * normal(&mut random);
                let mut amount = customer.mean * (1.0 + normal(&mut random) / 2.0);
                if amount < 0.0 {
                    amount = random.unit() * 2.0 * customer.mean;
                }
                let terminal = customer.near[random.range(0, customer.near.len() as u64) as usize];
                if (0.0..86_400.0).contains(&second) {
                    transactions.push((midnight + second as i64 * 1_000, number, terminal, amount));
                }
            }
        }
        transactions.sort_by(|a, b| (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2)));
        for (at, number, terminal, mut amount) in transactions {
            let mut fraud = 0;
            if customers[number].lost_until > day && random.range(0, 3) == 0 {
                (amount, fraud) = (amount * 5.0, 3);
            }
            if taken_until[terminal as usize] > day {
                fraud = 2;
            }
            if amount > 220.0 {
                fraud = if fraud == 0 { 1 } else { fraud };
            }
            write_until(at, &mut waiting, out)?;
            let who = format!("\"customer\":\"c{number:05}\",\"terminal\":\"t{terminal:05}\"");
            writeln!(out, "{{\"type\":\"card_transaction\",\"at\":{at},\"id\":{id},{who},\"amount\":{amount:.2}}}")?;
            if fraud > 0 {
                writeln!(truth, "{{\"id\":{id},\"fraud\":{fraud}}}")?;
                let known = at + 7 * DAY + random.range(0, DAY as u64) as i64;
                let line =
                    format!("{{\"type\":\"chargeback\",\"at\":{known},\"transaction\":{id},\"paid\":{at},{who}}}\n");
                waiting.push(Reverse((known, id, line)));
            }
            id += 1;
        }
    }
    write_until(settings.start + i64::from(settings.days) * DAY, &mut waiting, out)?;
    truth.flush()?;
    out.flush()
}

/// Terminals are near within this distance.
const NEAR: f64 = 5.0;

fn customer(random: &mut Random, terminals: &[(f64, f64)]) -> Customer {
    let (x, y) = (random.unit() * 100.0, random.unit() * 100.0);
    let distance = |t: &(f64, f64)| ((t.0 - x).powi(2) + (t.1 - y).powi(2)).sqrt();
    let near = terminals.iter().zip(0..).filter(|(t, _)| distance(t) < NEAR).map(|(_, i)| i).collect();
    Customer { mean: 5.0 + random.unit() * 95.0, per_day: random.unit() * 4.0, near, lost_until: 0 }
}

/// Writes the lines that are due before a time.
fn write_until(time: i64, waiting: &mut BinaryHeap<Waiting>, out: &mut dyn Write) -> io::Result<()> {
    while waiting.peek().is_some_and(|Reverse((due, ..))| *due < time)
        && let Some(Reverse((.., line))) = waiting.pop()
    {
        out.write_all(line.as_bytes())?;
    }
    Ok(())
}

/// About normal, of mean 0 and deviation 1: twelve uniform numbers, added up exactly alike everywhere.
fn normal(random: &mut Random) -> f64 {
    (0..12).map(|_| random.unit()).sum::<f64>() - 6.0
}

/// Knuth's method: products of uniform numbers.
fn poisson(random: &mut Random, mean: f64) -> u32 {
    let least = (-mean).exp();
    let mut product = random.unit();
    let mut count = 0;
    while product > least {
        count += 1;
        product *= random.unit();
    }
    count
}
