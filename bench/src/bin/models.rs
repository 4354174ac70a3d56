//! How fast models score through Lapwing, and what a thousand changes of a model leave in memory.
//!
//! `models [FILE COLUMNS]` takes the model of a file whose one input has so many columns, in place of 100 trees of depth 6.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use lapwing::control::catalog::Catalog;
use lapwing::control::files::Rules;
use lapwing::control::message::Message;
use lapwing::data::alert::Alert;
use lapwing::data::pipeline::{Lines, Options, Pipeline, Rejected, Sink};
use lapwing::models::deploy::deploy;
use lapwing::models::versions::Staged;
use lapwing::tables::contents::Contents;
use lapwing_bench::trees::{COLUMNS, ensemble, mixed};
use lapwing_dsl::load;
use lapwing_dsl::syntax::Sources;
use lapwing_dsl::value::Value;
use lapwing_engine::data::model::{ROWS_MAX, Row};

/// How many rows are scored in batches.
const ROWS: u64 = 512 * ROWS_MAX as u64;
/// How many events are judged.
const EVENTS: u64 = 200_000;
const CHANGES: u64 = 1_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (bytes, columns) = match arguments.as_slice() {
        [file, columns] => (
            std::fs::read(file).expect("a model that can be read"),
            columns.parse().expect("how many columns its input has"),
        ),
        _ => (ensemble(100, 6, 0), COLUMNS),
    };
    let rules = rules(columns);
    let model = &rules.loaded.schema.models[0];
    let version = deploy(model, 1, bytes.clone(), &[]).expect("a model that fits").version;
    let rows: Vec<Row<'static>> = (0..ROWS).map(|i| row(i, columns)).collect();
    version.score_all(&rows[..ROWS_MAX]);
    let started = Instant::now();
    black_box(version.score_all(&rows));
    let batched = ROWS as f64 / started.elapsed().as_secs_f64();
    let started = Instant::now();
    let some = &rows[..20_000];
    for row in some {
        black_box(version.score(row));
    }
    let alone = some.len() as f64 / started.elapsed().as_secs_f64();
    println!("{batched:.0} rows/s in batches of {ROWS_MAX}, {alone:.0} rows/s one by one");

    let mut contents = Contents::default();
    let mut staged = Staged::default();
    let deployed = deploy(model, 1, bytes, &[]).expect("a model that fits");
    staged.put(1, lapwing::control::message::Stage::Live, deployed);
    contents.put_model("m", staged);
    let catalog = Catalog::new(&rules, contents).unwrap_or_else(|refusal| panic!("{}", refusal.message));
    let stream: String = (0..EVENTS).map(|i| line(i, columns)).collect();
    let (seconds, alerts) = judge(&catalog, &stream);
    println!("{:.0} events/s, each decoded and scored by a rule's `where`; {alerts} alerts", EVENTS as f64 / seconds);
    if arguments.is_empty() {
        changes(catalog, &stream);
    }
}

fn rules(columns: u64) -> Rules {
    let each = |text: &dyn Fn(u64) -> String, between: &str| (0..columns).map(text).collect::<Vec<_>>().join(between);
    let text = format!(
        "event e {{ at timestamp  k string  {} }}\nmodel m({}) -> float\nrule r {{\n  by k\n  match e where m({}) > 0.55\n}}\n",
        each(&|i| format!("f{i} float"), "  "),
        each(&|i| format!("f{i} float"), ", "),
        each(&|i| format!("f{i}: f{i}"), ", "),
    );
    let mut sources = Sources::default();
    sources.add("bench.lap", text);
    let rules = Rules { loaded: load(&sources), sources };
    assert!(rules.compiles());
    rules
}

/// A number from 0 to 1.
fn cell(row: u64, column: u64) -> f64 {
    (mixed(row << 8 | column) % 10_000) as f64 / 10_000.0
}

fn row(i: u64, columns: u64) -> Row<'static> {
    (0..columns).map(|c| Value::Float(cell(i, c))).collect()
}

fn line(i: u64, columns: u64) -> String {
    let cells: Vec<String> = (0..columns).map(|c| format!("\"f{c}\":{}", cell(i, c))).collect();
    format!("{{\"type\":\"e\",\"at\":{},\"k\":\"k{}\",{}}}\n", 1_760_000_000_000 + i, i % 1_000, cells.join(","))
}

struct Count(u64);

impl Sink for Count {
    fn alert(&mut self, _: &Alert<'_>) {
        self.0 += 1;
    }

    fn rejected(&mut self, rejected: Rejected) {
        panic!("{rejected:?}");
    }
}

/// Seconds and alerts.
fn judge(catalog: &Catalog, stream: &str) -> (f64, u64) {
    let mut pipeline = Pipeline::new(Arc::new(catalog.rule_set()), Options::default(), 1);
    let mut count = Count(0);
    let started = Instant::now();
    let mut first = 0;
    let mut rest = stream.as_bytes();
    while !rest.is_empty() {
        let cut = memchr(rest, 1 << 19);
        let (head, tail) = rest.split_at(cut);
        first += pipeline.take(&Lines { bytes: head, first }, &mut count);
        rest = tail;
    }
    pipeline.finish(&mut count);
    (started.elapsed().as_secs_f64(), count.0)
}

/// Behind the first line end from `at` on.
fn memchr(bytes: &[u8], at: usize) -> usize {
    let from = bytes.get(at..).unwrap_or_default();
    from.iter().position(|b| *b == b'\n').map_or(bytes.len(), |i| at + i + 1)
}

/// A thousand versions, one after the other, each asked; every tenth message is refused.
fn changes(mut catalog: Catalog, stream: &str) {
    let folder = std::env::temp_dir().join(format!("lapwing-models-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for temporary files");
    let some = &stream[..memchr(stream.as_bytes(), 1 << 16)];
    let mut change = |number: u64| {
        let file = folder.join("m.onnx");
        let bytes = if number % 10 == 9 { b"no model".to_vec() } else { ensemble(100, 6, number) };
        std::fs::write(&file, bytes).expect("a file for the model");
        let message = format!(r#"{{"op":"put","kind":"model","name":"m","file":"m.onnx","at_line":{number}}}"#);
        let message: Message = serde_json::from_str(&message).expect("a message");
        catalog.name_files_in(&folder);
        let refused = catalog.apply(&message).is_err();
        assert_eq!(refused, number % 10 == 9);
        judge(&catalog, some);
    };
    // The first few fill what is used again.
    (0..50).for_each(&mut change);
    let (before, started) = (resident(), Instant::now());
    (50..50 + CHANGES).for_each(&mut change);
    let (after, seconds) = (resident(), started.elapsed().as_secs_f64());
    std::fs::remove_dir_all(&folder).expect("the folder can be removed");
    let more = 100.0 * (after as f64 - before as f64) / before as f64;
    println!(
        "{CHANGES} changes of the model: {:.1} ms each with 200 events judged, {} MiB resident before, {} MiB after, {more:+.1} %",
        1_000.0 * seconds / CHANGES as f64,
        before >> 20,
        after >> 20
    );
    assert!(more <= 5.0, "resident memory has grown by {more:.1} %");
}

/// Resident memory in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}
