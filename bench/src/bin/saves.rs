//! What saves cost: `saves write FOLDER USERS EVENTS` judges so many events of each user, saves all of it into a store, then a hundredth of the users
//! again and what that has changed, beside the same state as one file. `saves read FOLDER [BUDGET]` loads the store anew, all of it or with so many MiB
//! of memory, and says when the first event has been judged. The caller empties the disk's cache before.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapwing::control::files::Rules;
use lapwing::data::alert::Alert;
use lapwing::data::pipeline::{Lines, Options as Of, Pipeline, Rejected, Sink};
use lapwing::data::store::{Options, Store, Written};
use lapwing_dsl::syntax::Sources;
use lapwing_engine::order::Order;
use lapwing_engine::rule_set::RuleSet;

const RULES: &str = "event login { at timestamp  user string  host string  ok bool }
rule twice {
  by user
  match a: login where not ok then b: login where ok
  within 7d
}
rule often {
  by user
  match login where count(login) over 7d == 1000 and distinct(login.host) over 7d > 2
}
";

/// The next event of users from `from` on: of each the event `round`.
struct Stream {
    pipeline: Pipeline,
    line: u64,
    alerts: u64,
}

struct Count<'a>(&'a mut u64);

impl Sink for Count<'_> {
    fn alert(&mut self, _: &Alert<'_>) {
        *self.0 += 1;
    }

    fn rejected(&mut self, rejected: Rejected) {
        panic!("{rejected:?}");
    }
}

impl Stream {
    /// An event of each of these users.
    fn take(&mut self, round: u64, users: impl Iterator<Item = u64>) {
        let mut text = String::new();
        let mut all = users.peekable();
        while all.peek().is_some() {
            text.clear();
            for user in all.by_ref().take(5_000) {
                let (at, host, ok) = (round * 60_000 + user % 60_000, (user + round) % 5, user % 3 == 0);
                text += &format!(
                    "{{\"type\":\"login\",\"at\":{at},\"user\":\"user-{user:012}\",\"host\":\"host-{host}\",\"ok\":{ok}}}\n"
                );
            }
            self.line +=
                self.pipeline.take(&Lines { bytes: text.as_bytes(), first: self.line }, &mut Count(&mut self.alerts));
            assert!(self.pipeline.failure().is_none(), "{:?}", self.pipeline.failure());
        }
    }
}

fn rules() -> Arc<RuleSet> {
    let mut sources = Sources::default();
    sources.add("rules.lap", RULES);
    let rules = Rules { loaded: lapwing_dsl::load(&sources), sources };
    assert!(rules.compiles(), "{:?}", rules.loaded.diagnostics);
    Arc::new(rules.rule_set(1).expect("the rules compile"))
}

fn of() -> Of {
    Of { order: Order::Arrival, ..Of::default() }
}

fn seconds(of: Duration) -> String {
    format!("{:.3} s", of.as_secs_f64())
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize| arguments.get(i).and_then(|n| n.parse::<u64>().ok());
    match (arguments.first().map(String::as_str), arguments.get(1).map(Path::new)) {
        (Some("write"), Some(folder)) => {
            write(folder, number(2).unwrap_or(1_000_000), number(3).unwrap_or(4));
        }
        (Some("read"), Some(folder)) => read(folder, number(2)),
        _ => eprintln!("saves write FOLDER USERS EVENTS, saves read FOLDER [BUDGET]"),
    }
}

/// Saves what has changed: how long the matcher waits, and what the thread does.
fn save(store: &mut Store, pipeline: &mut Pipeline, what: &str) -> Written {
    let began = Instant::now();
    let changes = pipeline.changes();
    store.save(changes, b"place".to_vec());
    let waited = began.elapsed();
    let written = store.wait().expect("a save was begun").expect("it is saved");
    println!(
        "{what}: {} keys, {}, the matcher waits {}, saved after {}",
        written.keys,
        mib(written.bytes),
        seconds(waited),
        seconds(written.took)
    );
    written
}

fn write(folder: &Path, users: u64, events: u64) {
    let _ = fs::remove_dir_all(folder);
    let (mut store, _) = Store::open(folder, Options::default()).expect("the store opens");
    let mut stream = Stream { pipeline: Pipeline::new(rules(), of(), 1), line: 0, alerts: 0 };
    stream.pipeline.note_changes();
    for round in 0..events {
        stream.take(round, 0..users);
    }
    save(&mut store, &mut stream.pipeline, "all keys");
    for round in events..events + 5 {
        let first = round * 7_919 % 100;
        stream.take(round, (0..users).filter(|user| user % 100 == first));
        save(&mut store, &mut stream.pipeline, "a hundredth");
    }
    let began = Instant::now();
    let bytes = stream.pipeline.save();
    let waited = began.elapsed();
    let path = folder.with_extension("whole");
    let mut file = File::create(&path).expect("a file can be made");
    file.write_all(&bytes).and_then(|()| file.sync_all()).expect("it can be written");
    println!(
        "one file: {}, the matcher waits {}, saved after {}",
        mib(bytes.len() as u64),
        seconds(waited),
        seconds(began.elapsed())
    );
    fs::remove_file(&path).expect("it is there");
    let began = Instant::now();
    let dropped = stream.pipeline.drop_saved(0);
    println!("dropped from memory: {dropped} keys in {}", seconds(began.elapsed()));
    stream.pipeline.keep_outside(Some(store.outside()));
    let began = Instant::now();
    stream.take(events + 5, (0..users).filter(|user| user % 100 == 50));
    println!("a hundredth of the users again, from the disk: {}", seconds(began.elapsed()));
    drop(stream.pipeline.keep_outside(None));
}

fn read(folder: &Path, budget: Option<u64>) {
    let began = Instant::now();
    let (store, saved) = Store::open(folder, Options::default()).expect("the store opens");
    let saved = saved.expect("something was saved");
    let opened = began.elapsed();
    let pipeline = store.load(vec![rules()], of(), 1, &saved.rest, budget.is_none());
    let mut stream = Stream { pipeline: pipeline.unwrap_or_else(|e| panic!("{e}")), line: 0, alerts: 0 };
    if budget.is_some() {
        stream.pipeline.keep_outside(Some(store.outside()));
    }
    let loaded = began.elapsed();
    stream.take(1_000, std::iter::once(1));
    println!(
        "opened after {}, {} keys in memory after {}, the first event judged after {}",
        seconds(opened),
        stream.pipeline.keys(),
        seconds(loaded),
        seconds(began.elapsed())
    );
    drop(stream.pipeline.keep_outside(None));
}
