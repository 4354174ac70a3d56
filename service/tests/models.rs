//! Models: what each kind of export answers is what onnxruntime answers, and each model that is no good is refused with the place and the
//! mend. `tests/models/export.py` made the files.

mod binary;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lapwing::models::deploy::{Deployed, deploy};
use lapwing::models::golden::{self, Golden};
use lapwing_dsl::load;
use lapwing_dsl::schema::{ModelType, Schema};
use lapwing_dsl::syntax::Sources;
use lapwing_dsl::value::Value;
use lapwing_engine::data::model::Row;
use serde::Deserialize;

const KINDS: [&str; 8] = ["forest", "boosted", "scaled", "network", "regression", "lightgbm", "xgboost", "takeover"];

/// What the exporter wrote beside a model.
#[derive(Deserialize)]
struct Known {
    declaration: String,
    rows: Vec<Golden>,
}

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models")
}

fn bytes(name: &str) -> Vec<u8> {
    fs::read(models().join(format!("{name}.onnx"))).expect("the model is part of the project")
}

fn known(name: &str) -> (ModelType, Known) {
    let text = fs::read_to_string(models().join(format!("{name}.json"))).expect("the answers are part of the project");
    let known: Known = serde_json::from_str(&text).expect("they are JSON");
    (declared(&known.declaration), known)
}

fn schema(text: &str) -> Schema {
    let mut sources = Sources::default();
    sources.add("model.lap", text);
    let loaded = load(&sources);
    assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
    loaded.schema
}

fn declared(text: &str) -> ModelType {
    schema(text).models.remove(0)
}

fn deployed(name: &str) -> (ModelType, Known, Deployed) {
    let (model, known) = known(name);
    let deployed = deploy(&model, 1, bytes(name), &[]).unwrap_or_else(|why| panic!("{name}: {why}"));
    (model, known, deployed)
}

/// One by one and all at once, each kind of model answers what onnxruntime answered when it was exported.
#[test]
fn answers_are_those_of_onnxruntime() {
    for name in KINDS {
        let (model, known, deployed) = deployed(name);
        assert!(known.rows.len() >= 40, "{name}");
        let rows: Vec<Row<'static>> =
            known.rows.iter().map(|g| golden::row(&model, g).expect("a row of the declared inputs")).collect();
        for (i, (golden, answer)) in known.rows.iter().zip(deployed.version.score_all(&rows)).enumerate() {
            golden::holds(golden, answer).unwrap_or_else(|why| panic!("{name}, row {i}: {why}"));
            let alone = deployed.version.score(&rows[i]);
            assert_eq!(alone.map(f64::to_bits), answer.map(f64::to_bits), "{name}, row {i} alone and among others");
        }
    }
}

/// In batches of any size, in any company: a row's score does not change in its last bit.
#[test]
fn a_score_does_not_depend_on_the_batch() {
    for name in KINDS {
        let (model, known, deployed) = deployed(name);
        let row = |i: usize| golden::row(&model, &known.rows[i % known.rows.len()]).expect("a row");
        let rows: Vec<Row<'static>> = (0..300).map(row).collect();
        let whole: Vec<_> = deployed.version.score_all(&rows).into_iter().map(|s| s.map(f64::to_bits)).collect();
        for size in [1, 2, 3, 5, 8, 17, 64, 255] {
            let parts = rows.chunks(size).flat_map(|some| deployed.onnx_scores(some));
            assert_eq!(parts.collect::<Vec<_>>(), whole, "{name} in batches of {size}");
        }
    }
}

trait Scores {
    fn onnx_scores(&self, rows: &[Row<'static>]) -> Vec<Option<u64>>;
}

impl Scores for Deployed {
    fn onnx_scores(&self, rows: &[Row<'static>]) -> Vec<Option<u64>> {
        self.version.score_all(rows).into_iter().map(|s| s.map(f64::to_bits)).collect()
    }
}

/// Several threads ask one model at once.
#[test]
fn threads_do_not_disturb_each_other() {
    let (model, known, deployed) = deployed("lightgbm");
    let rows: Vec<Row<'static>> = known.rows.iter().map(|g| golden::row(&model, g).expect("a row")).collect();
    let expected = deployed.onnx_scores(&rows);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..50).for_each(|_| assert_eq!(deployed.onnx_scores(&rows), expected)));
        }
    });
}

/// A row that a model does not take is a missing score; those beside it have theirs.
#[test]
fn a_failure_is_one_missing_score() {
    let (model, known, deployed) = deployed("takeover");
    let mut rows: Vec<Row<'static>> =
        known.rows.iter().take(4).map(|g| golden::row(&model, g).expect("a row")).collect();
    let expected = deployed.onnx_scores(&rows);
    // Too few inputs: what no checked rule gives.
    rows[1][0] = Value::Float(f64::NAN);
    let found = deployed.onnx_scores(&rows);
    assert_eq!((found[0], found[2], found[3]), (expected[0], expected[2], expected[3]));
    assert_eq!(found[1], None, "what is no number is no score");
}

#[track_caller]
fn refused(declaration: &str, bytes: Vec<u8>, golden: &[Golden], words: &[&str]) {
    let why = deploy(&declared(declaration), 1, bytes, golden).expect_err("it is no good");
    for word in words {
        assert!(why.contains(word), "it does not say {word:?}: {why}");
    }
}

#[test]
fn what_does_not_fit_the_declaration() {
    let two = "model m(amount float, hour int) -> float";
    refused(two, bytes("forest"), &[], &["`X` float [N, 5]", "it takes 5 numbers a row", "`m` is declared with 2"]);
    refused("model m(a float, b string) -> float", bytes("refused_rows"), &[], &["`b` is a string"]);
    refused(two, bytes("refused_rows"), &[], &["it takes 4 rows at once and no others", "`None`"]);
    refused(two, bytes("refused_classes"), &[], &["`score` float [N, 3]", "[N, 1]", "[N, 2]"]);
    refused(two, bytes("takeover"), &[], &["it also has the input `tier` string [N, 1]", "declare it"]);
    let other = "model m(amount float, hour int, level string) -> float";
    refused(other, bytes("takeover"), &[], &["it has no input `level`", "`tier` string [N, 1]"]);
    let other = "model m(amount float, hour string, tier string) -> float";
    refused(other, bytes("takeover"), &[], &["`hour` int64 [N, 1]", "declared as string", "declare it as int"]);
    let other = "model m(amount float, hour float, tier string) -> float";
    refused(other, bytes("takeover"), &[], &["`hour` int64 [N, 1]", "declare it as int"]);
}

#[test]
fn what_is_no_model() {
    let two = "model m(amount float, hour int) -> float";
    refused(two, Vec::new(), &[], &["it is no ONNX model, or it is cut short"]);
    refused(two, b"PK\x03\x04 something else".to_vec(), &[], &["it is no ONNX model"]);
    refused(two, bytes("refused_custom"), &[], &["operators of `com.example`", "custom operators"]);
    refused(two, bytes("refused_external"), &[], &["`w` has its data in another file", "save_as_external_data=False"]);
    let random = "it uses the random operator `RandomUniformLike`";
    refused("model m(x float) -> float", bytes("refused_random"), &[], &[random, "equal answers"]);
    let (model, _) = known("boosted");
    let whole = bytes("boosted");
    // Cut anywhere, it is refused, and nothing panics.
    for length in (0..whole.len()).step_by(97) {
        let why = deploy(&model, 1, whole[..length].to_vec(), &[]).expect_err("it is cut short");
        assert!(!why.is_empty());
    }
    // A byte that is another is refused, or makes another model.
    for at in (0..whole.len()).step_by(53) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x41;
        let _ = deploy(&model, 1, damaged, &[]);
    }
}

#[test]
fn golden_vectors() {
    let (model, known) = known("takeover");
    let golden = |json: &str| -> Vec<Golden> { serde_json::from_str(json).expect("golden vectors") };
    deploy(&model, 1, bytes("takeover"), &known.rows).expect("they hold");
    let text = &known.declaration;
    let good = r#"{"inputs":{"amount":900.0,"hour":2,"tier":"basic"},"output":0.9999577}"#;
    let cases: [(&str, &[&str]); 5] = [
        (
            r#"{"inputs":{"amount":900.0,"hour":2,"tier":"basic"},"output":0.5}"#,
            &["golden vector 2", "0.5 is expected"],
        ),
        (r#"{"inputs":{"amount":900.0,"hour":2},"output":0.5}"#, &["golden vector 2", "`tier` is left out"]),
        (r#"{"inputs":{"amount":900.0,"hour":2,"tear":"x"},"output":0.5}"#, &["did you mean `tier`?"]),
        (r#"{"inputs":{"amount":"much","hour":2,"tier":"x"},"output":0.5}"#, &["`amount` is float, and `\"much\"`"]),
        (r#"{"inputs":{"amount":1.0,"hour":null,"tier":"x"},"output":0.5}"#, &["`hour` is null"]),
    ];
    for (bad, words) in cases {
        refused(text, bytes("takeover"), &golden(&format!("[{good},{bad}]")), words);
    }
}

const RULES: &str = "\
event withdrawal { at timestamp  user string  amount float  tier string? }

model takeover(amount float, hour int, tier string) -> float

rule risky {
  by       user
  match    w: withdrawal where amount > 10 and takeover(amount: amount, hour: hour(at), tier: tier) > 0.5
}
";

const EVENTS: &str = r#"{"type":"withdrawal","at":"2026-01-01T02:00:00Z","user":"ann","amount":900.0,"tier":"basic"}
{"type":"withdrawal","at":"2026-01-01T02:01:00Z","user":"ann","amount":900.0}
{"type":"withdrawal","at":"2026-01-01T02:02:00Z","user":"bob","amount":500.0,"tier":"gold"}
"#;

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("models").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("data")).expect("the target folder can be written");
    fs::write(folder.join("rules.lap"), RULES).expect("the target folder can be written");
    fs::write(folder.join("events.jsonl"), EVENTS).expect("the target folder can be written");
    folder
}

/// The binary in a folder.
fn lapwing(folder: &Path, arguments: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = binary::lapwing();
    command.args(arguments.split(' ')).current_dir(folder).envs(variables.iter().copied());
    command
}

#[track_caller]
fn says(folder: &Path, arguments: &str, variables: &[(&str, &str)], exit: i32, words: &[&str]) {
    binary::says(&mut lapwing(folder, arguments, variables), exit, words);
}

/// The document, followed: its files are written, the model is copied, its command runs, and the lines behind the command are in what it says.
#[test]
fn the_document_can_be_followed() {
    let folder = folder("document");
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/models.md")).expect("the document");
    let (mut name, mut files, mut commands) = (String::new(), 0, 0);
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("\n```") {
        // A file's name begins the paragraph before it.
        let paragraph = before.trim_end().rsplit("\n\n").next().unwrap_or_default();
        if let Some(named) = paragraph.strip_prefix('`').and_then(|p| p.split_once('`')) {
            name = named.0.to_owned();
        }
        let (language, block) = after.split_once('\n').expect("a fence is a line");
        let (block, after) = block.split_once("\n```").expect("a fence is closed");
        if language == "console" {
            // What the paragraph on the model says.
            fs::write(folder.join("data/takeover.onnx"), bytes("takeover")).expect("a file can be written");
            let mut lines = block.lines();
            let command = lines.next().and_then(|l| l.strip_prefix("$ lapwing ")).expect("a command");
            let words: Vec<&str> = lines.collect();
            says(&folder, command, &[], 0, &words);
            let (_, said) = binary::run(&mut lapwing(&folder, command, &[]));
            let count = said.lines().rev().find(|l| l.trim_end().ends_with("likely_takeover")).expect("a count");
            let count: u64 = count.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
            assert!(count > 0, "no alert:\n{said}");
            commands += 1;
        } else if language != "python" {
            fs::write(folder.join(&name), format!("{block}\n")).expect("a file can be written");
            files += 1;
        }
        rest = after;
    }
    assert_eq!((files, commands), (3, 1));
    let events = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/events.lap");
    let test = format!("test --no-coverage likely.lap {}", events.display());
    says(&folder, &test, &[], 0, &["1 passed, 0 failed"]);
}

/// Each mistake that the document tells of is answered as it says.
#[test]
fn mistakes_of_the_document() {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/models.md")).expect("the document");
    let (_, table) = text.split_once("| mistake | what is said |\n| --- | --- |\n").expect("the table of mistakes");
    let (table, _) = table.split_once("\n\n").expect("the table ends");
    let takeover = "model takeover(amount float, hour int, tier string) -> float";
    let two = "model takeover(amount float, hour int) -> float";
    let level = "model takeover(amount float, hour int, level string) -> float";
    let hour = "model takeover(amount float, hour string, tier string) -> float";
    let three = "model takeover(a float, b float, c float) -> float";
    let wrong = r#"[{"inputs":{"amount":900.0,"hour":2,"tier":"basic"},"output":0.1}]"#;
    let cut = || bytes("takeover")[..1_000].to_vec();
    let cases: [(&str, &str, Vec<u8>); 11] = [
        ("a file that was cut short", takeover, cut()),
        ("an input of another name", level, bytes("takeover")),
        ("an input that is not declared", two, bytes("takeover")),
        ("an input of another type", hour, bytes("takeover")),
        ("more or fewer columns", three, bytes("forest")),
        ("an answer that is no score", two, bytes("refused_classes")),
        ("a fixed number of rows", two, bytes("refused_rows")),
        ("data in another file", two, bytes("refused_external")),
        ("custom operators", two, bytes("refused_custom")),
        ("an operator that draws random numbers", "model m(x float) -> float", bytes("refused_random")),
        ("another model than was meant", takeover, bytes("takeover")),
    ];
    let mut told = 0;
    for row in table.lines() {
        let (mistake, says) = row.trim_matches(['|', ' ']).split_once(" | ").expect("two columns");
        let Some((_, declaration, bytes)) = cases.iter().find(|(name, ..)| *name == mistake) else {
            assert_eq!(mistake, "no library", "a test of its own shows that");
            continue;
        };
        let golden: Vec<Golden> = match mistake {
            "another model than was meant" => serde_json::from_str(wrong).expect("golden vectors"),
            _ => Vec::new(),
        };
        refused(declaration, bytes.clone(), &golden, &[says]);
        told += 1;
    }
    assert_eq!(told, cases.len());
}

const RUN: &str = "run --rules rules.lap --input events.jsonl --data data";

/// A model of the folder, its golden vectors, and what is said where one of them is not there.
#[test]
fn a_model_of_the_folder() {
    let folder = folder("folder");
    says(
        &folder,
        RUN,
        &[],
        3,
        &["rule `risky` asks the model `takeover`", "put `takeover.onnx` into the folder of --data"],
    );
    fs::write(folder.join("data/takeover.onnx"), bytes("takeover")).expect("a file can be written");
    let named = r#""models":[{"model":"takeover","version":1,"score":0.99995"#;
    says(&folder, RUN, &[], 0, &[named, "2 alerts"]);
    says(&folder, "check rules.lap --data data", &[], 0, &["1 rule, 0 errors"]);
    says(&folder, "bench --rules rules.lap --input events.jsonl --data data", &[], 0, &["2 alerts"]);
    let golden = folder.join("data/takeover.golden.json");
    let vector =
        |output: f64| format!(r#"[{{"inputs":{{"amount":900.0,"hour":2,"tier":"basic"}},"output":{output}}}]"#);
    fs::write(&golden, vector(0.9999577)).expect("a file can be written");
    says(&folder, RUN, &[], 0, &[named]);
    fs::write(&golden, vector(0.1)).expect("a file can be written");
    says(&folder, RUN, &[], 3, &["`data/takeover.onnx`", "golden vector 1: it answers 0.99995", "0.1 is expected"]);
    fs::write(&golden, "{}").expect("a file can be written");
    says(&folder, RUN, &[], 3, &["`data/takeover.golden.json`", "it is no list of"]);
}

/// Without the library everything else works, and a model says what to install.
#[test]
fn without_the_library() {
    let folder = folder("library");
    let nowhere = [("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so")];
    says(&folder, "check rules.lap", &nowhere, 0, &["0 errors"]);
    let words = ["models are run by the library onnxruntime", "scripts/onnxruntime.sh", "ORT_DYLIB_PATH"];
    fs::write(folder.join("data/takeover.onnx"), bytes("takeover")).expect("a file can be written");
    says(&folder, RUN, &nowhere, 3, &words);
    fs::write(
        folder.join("rules.lap"),
        RULES.replace(" and takeover(amount: amount, hour: hour(at), tier: tier) > 0.5", ""),
    )
    .expect("a file can be written");
    fs::remove_file(folder.join("data/takeover.onnx")).expect("it is there");
    says(&folder, RUN, &nowhere, 0, &["3 alerts"]);
}

/// Versions come, score in shadow, go live, and go; each message is carried out or refused alone.
#[test]
fn versions_by_messages() {
    use base64::Engine as _;
    let folder = folder("messages");
    fs::write(folder.join("data/takeover.onnx"), bytes("takeover")).expect("a file can be written");
    fs::write(folder.join("data/second.onnx"), bytes("takeover")).expect("a file can be written");
    let onnx = base64::engine::general_purpose::STANDARD.encode(bytes("takeover"));
    let put = |more: &str| format!(r#"{{"op":"put","kind":"model","name":"takeover",{more}}}"#);
    let stage = |more: &str| format!(r#"{{"op":"stage","kind":"model","name":"takeover",{more}}}"#);
    let golden = r#""golden":[{"inputs":{"amount":900.0,"hour":2,"tier":"basic"},"output":0.1}]"#;
    let control = [
        put(r#""file":"second.onnx","stage":"shadow","at_line":0"#),
        put(&format!(r#""version":2,"onnx":"{onnx}","at_line":0"#)),
        put(&format!(r#""onnx":"{onnx}",{golden},"at_line":0"#)),
        put(r#""onnx":"no base64!","at_line":0"#),
        put(r#""file":"../second.onnx","at_line":0"#),
        put(r#""file":"third.onnx","at_line":0"#),
        put(&format!(r#""file":"second.onnx","onnx":"{onnx}","at_line":0"#)),
        put(r#""at_line":0"#),
        put(r#""file":"second.onnx","stage":"paused","at_line":0"#),
        stage(r#""version":1,"stage":"retired","at_line":0"#),
        stage(r#""version":7,"stage":"live","at_line":0"#),
        stage(r#""version":2,"stage":"draft","at_line":0"#),
        stage(r#""stage":"live","at_line":0"#),
        r#"{"op":"delete","kind":"model","name":"takeover","at_line":0}"#.to_owned(),
        r#"{"op":"put","kind":"model","name":"takover","file":"second.onnx","at_line":0}"#.to_owned(),
        r#"{"op":"put","kind":"model","name":"takeover","file":"second.onnx","entries":[],"at_line":0}"#.to_owned(),
        stage(r#""version":2,"stage":"live","at_line":2"#),
    ];
    fs::write(folder.join("control.jsonl"), control.join("\n")).expect("a file can be written");
    let words = [
        "control line 2: refused: version 2 of `takeover` is not newer than 2",
        "control line 3: refused: version 3 of `takeover`: golden vector 1: it answers 0.99995",
        "control line 4: refused: `onnx` is the model's file in base64",
        "control line 5: refused: `../second.onnx` is no file of the folder of --data",
        "control line 6: refused: `data/third.onnx` cannot be read",
        "control line 7: refused: `onnx` and `file` do not go together",
        "control line 8: refused: the model is missing",
        "control line 9: refused: a version of a model begins `live` or `shadow`, not `paused`",
        "control line 10: refused: version 1 of `takeover` is the live one",
        "control line 11: refused: there is no version 7 of `takeover`: there is 1 (live), 2 (shadow)",
        "control line 12: refused: a model's `stage` is live, shadow or retired, not `draft`",
        "control line 13: refused: `version` is missing",
        "control line 14: refused: a rule reads the model `takeover`",
        "control line 15: refused: no model `takover` is declared; did you mean `takeover`?",
        "control line 16: refused: `entries` says nothing",
    ];
    says(&folder, &format!("{RUN} --control control.jsonl --output alerts --order arrival"), &[], 0, &words);
    let text = fs::read_to_string(folder.join("alerts")).expect("the run wrote it");
    let models: Vec<serde_json::Value> =
        text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).expect("JSON")["models"].clone()).collect();
    let versions = |model: &serde_json::Value| (model["version"].as_u64(), model["shadow"][0]["version"].as_u64());
    assert_eq!(versions(&models[0][0]), (Some(1), Some(2)));
    assert_eq!(models[0][0]["score"], models[0][0]["shadow"][0]["score"]);
    assert_eq!(versions(&models[1][0]), (Some(2), None));
}

/// A run goes on only with the model that it was saved with.
#[test]
fn a_state_is_of_its_models() {
    let folder = folder("state");
    fs::write(folder.join("data/takeover.onnx"), bytes("takeover")).expect("a file can be written");
    let run = format!("{RUN} --state state --output alerts");
    says(&folder, &run, &[], 0, &[]);
    says(&folder, &run, &[], 0, &[]);
    // The same model with one more field that says nothing: field 6 of the file, a text.
    let other = [bytes("takeover"), vec![6 << 3 | 2, 1, b'x']].concat();
    fs::write(folder.join("data/takeover.onnx"), other).expect("a file can be written");
    says(
        &folder,
        &run,
        &[],
        3,
        &["the rules, the data or the control file are not those that the state was saved with"],
    );
}
