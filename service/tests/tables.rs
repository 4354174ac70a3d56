//! Lists and tables through the real binary: what `docs/data.md` tells to do works as it says, and each mistake is answered with the place
//! and the mend.

mod binary;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const RULES: &str = "\
event login { at timestamp  user string  ip ip }
list blocked of ip
table profile key user { home string?  limit decimal }
rule blocked_login {
  by    user
  match login where ip in blocked or profile[user].limit > 10
}
";

/// A folder of this test's own, with these files.
fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tables").join(name);
    let _ = fs::remove_dir_all(&folder);
    for (file, text) in files {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("the target folder can be written");
        fs::write(path, text).expect("the target folder can be written");
    }
    folder
}

/// The binary in a folder.
fn lapwing(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = binary::lapwing();
    command.args(arguments).current_dir(folder);
    command
}

#[track_caller]
fn says(folder: &Path, arguments: &[&str], exit: i32, words: &[&str]) {
    binary::says(&mut lapwing(folder, arguments), exit, words);
}

/// The document, followed: its files are written, its commands run, and the lines behind a command are in what it says.
#[test]
fn the_document_can_be_followed() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/data.md")).expect("the document");
    let mut files: Vec<(String, String)> = Vec::new();
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    let mut name = String::new();
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
            let mut lines = block.lines().map(str::to_owned);
            let command = lines.next().expect("a command");
            commands.push((command, lines.collect()));
        } else {
            files.push((name.clone(), format!("{block}\n")));
        }
        rest = after;
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    assert_eq!(
        files.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        ["watch.lap", "data/watched.txt", "data/usual.csv"]
    );
    assert_eq!(commands.len(), 1);
    let folder = folder("document", &files);
    for (command, expected) in &commands {
        let arguments: Vec<&str> = command.strip_prefix("$ lapwing ").expect("a command").split(' ').collect();
        let words: Vec<&str> = expected.iter().map(String::as_str).collect();
        says(&folder, &arguments, 0, &words);
        let (_, said) = binary::run(&mut lapwing(&folder, &arguments));
        for rule in ["watched_login", "far_over_usual"] {
            let count = said.lines().rev().find(|l| l.trim_end().ends_with(rule)).expect("a count");
            let count: u64 = count.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
            assert!(count > 0, "{rule} has no alert:\n{said}");
        }
    }
    // The demo brings the events that the rules read.
    let events = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/events.lap");
    says(&folder, &["test", "--no-coverage", "watch.lap", &events.display().to_string()], 0, &["1 passed, 0 failed"]);
}

/// What `check --data` says of a file.
#[track_caller]
fn mistake(name: &str, file: &str, text: &str, words: &[&str]) {
    let folder = folder(name, &[("rules.lap", RULES), (&format!("data/{file}"), text)]);
    let file = format!("`data/{file}`");
    let words: Vec<&str> = words.iter().copied().chain([file.as_str()]).collect();
    says(&folder, &["check", "rules.lap", "--data", "data"], 3, &words);
}

#[test]
fn mistakes_in_lists() {
    mistake("ip", "blocked.txt", "# one\n10.0.0.1\n\n10.0.0.300\n", &["line 4", "`10.0.0.300` is no ip"]);
    mistake("cidr", "blocked.txt", "10.0.0.0/8\n", &["line 1", "a list of networks is declared `of cidr`"]);
    mistake("value", "blocked.csv", "address\n10.0.0.1\n", &["line 1", "there is no column `value`"]);
    mistake(
        "until",
        "blocked.csv",
        "value,until\n10.0.0.1,\n10.0.0.2,soon\n",
        &["line 3", "`until` is a time, and `soon` is none"],
    );
    mistake("cells", "blocked.csv", "value,until\n10.0.0.1\n", &["line 2", "it has 1 cells, and the first line has 2"]);
    mistake(
        "entry",
        "blocked.json",
        "[\n\"10.0.0.1\",\n{\"value\": \"10.0.0.2\", \"til\": 5}]",
        &["line 3", "write the value, or {\"value\""],
    );
    mistake("null", "blocked.json", "[null]", &["line 1", "never null"]);
    mistake("json", "blocked.json", "[\n\"10.0.0.1\"\n", &["line 3", "an array of entries as JSON"]);
    let two = [("rules.lap", RULES), ("data/blocked.txt", ""), ("data/blocked.json", "[]")];
    says(
        &folder("two", &two),
        &["check", "rules.lap", "--data", "data"],
        3,
        &["there is also `data/blocked.json`", "leave one"],
    );
    says(
        &folder("none", &two[..1]),
        &["check", "rules.lap", "--data", "data"],
        3,
        &["`data`: there is no such folder"],
    );
}

#[test]
fn mistakes_in_tables() {
    mistake("txt", "profile.txt", "ann", &["`profile` is a table", "`profile.csv` or `profile.json`"]);
    mistake(
        "column",
        "profile.csv",
        "user,home,limt\nann,DE,5\n",
        &["line 1", "no column `limit`", "`limit decimal from \"limt\"`"],
    );
    mistake(
        "type",
        "profile.csv",
        "user,home,limit\nann,DE,5\nbob,FR,much\n",
        &["line 3", "`limit` is decimal", "`much` is none"],
    );
    mistake(
        "missing",
        "profile.csv",
        "user,home,limit\nann,,5\nbob,FR,\n",
        &["line 3", "`limit` is missing", "declare it `decimal?`"],
    );
    mistake("key", "profile.csv", "user,home,limit\n,DE,5\n", &["line 2", "`user` is missing: it is the key"]);
    mistake(
        "twice",
        "profile.csv",
        "user,home,limit\nann,DE,5\nbob,DE,5\nann,FR,6\n",
        &["line 4", "a row for `ann` already"],
    );
    mistake(
        "member",
        "profile.json",
        "[{\"user\":\"ann\",\n\"limit\":5},\n{\"user\":\"bob\",\"limit\":5,\"hme\":\"DE\"}]",
        &["line 3", "no column `hme`", "did you mean `home`?"],
    );
    mistake("row", "profile.json", "[5]", &["`5` is no row", "{\"user\": …, \"home\": …, \"limit\": …}"]);
}

const EVENTS: &str = "\
{\"type\":\"login\",\"at\":1000,\"user\":\"ann\",\"ip\":\"10.0.0.1\"}
{\"type\":\"login\",\"at\":2000,\"user\":\"ann\",\"ip\":\"10.0.0.1\"}
{\"type\":\"login\",\"at\":3000,\"user\":\"ann\",\"ip\":\"10.0.0.1\"}
{\"type\":\"login\",\"at\":4000,\"user\":\"ann\",\"ip\":\"10.0.0.1\"}
{\"type\":\"login\",\"at\":5000,\"user\":\"ann\",\"ip\":\"10.0.0.1\"}
";

/// A rule that reads what nobody fills does not run.
#[test]
fn what_nobody_fills_is_refused() {
    let files = [("rules.lap", RULES), ("events.jsonl", EVENTS), ("data/profile.csv", "user,home,limit\n")];
    let folder = folder("unfilled", &files);
    let words = [
        "rule `blocked_login` reads the list `blocked`, which has no data",
        "`blocked.txt`, `blocked.csv` or `blocked.json`",
    ];
    let base = ["run", "--rules", "rules.lap", "--input", "events.jsonl", "--data", "data", "--quiet"];
    says(&folder, &base, 3, &words);
    says(&folder, &["bench", "--rules", "rules.lap", "--input", "events.jsonl", "--data", "data"], 3, &words);
    let message = r#"{"op":"put","kind":"list","name":"blocked","entries":[],"at_line":3}"#;
    fs::write(folder.join("control.jsonl"), message).expect("a file can be written");
    says(&folder, &[&base[..], &["--control", "control.jsonl"]].concat(), 0, &[]);
    fs::write(folder.join("data/blocked.txt"), "").expect("a file can be written");
    says(&folder, &base, 0, &[]);
}

/// Each message is carried out or refused alone, at its line.
#[test]
fn messages_are_refused_alone() {
    let control = [
        r#"{"op":"put","kind":"list","name":"blocked","add":["10.0.0.1","nowhere"],"at_line":1}"#,
        r#"{"op":"put","kind":"list","name":"blocked","entrees":[],"at_line":1}"#,
        r#"{"op":"put","kind":"list","name":"bloked","entries":[],"at_line":1}"#,
        r#"{"op":"put","kind":"table","name":"profile","upsert":[{"user":"ann","limit":"much"}],"at_line":1}"#,
        r#"{"op":"put","kind":"table","name":"profile","rows":[],"remove":["ann"],"at_line":1}"#,
        r#"{"op":"put","kind":"list","name":"blocked","source":"list x of ip","entries":[],"at_line":1}"#,
        r#"{"op":"stage","kind":"list","name":"blocked","stage":"paused","at_line":1}"#,
        r#"{"op":"delete","kind":"table","name":"profile","at_line":1}"#,
        r#"{"op":"put","kind":"model","name":"takeover","onnx":"AA==","at_line":1}"#,
        r#"{"op":"put","kind":"list","name":"blocked","add":[{"value":"10.0.0.1","until":"1970-01-01T00:00:03Z"}],"at_line":1}"#,
        r#"{"op":"put","kind":"table","name":"profile","upsert":[{"user":"ann","limit":11}],"at_line":4}"#,
    ];
    let files = [
        ("rules.lap", RULES),
        ("events.jsonl", EVENTS),
        ("control.jsonl", &control.join("\n")),
        ("data/profile.csv", "user,home,limit\n"),
        ("data/blocked.txt", ""),
    ];
    let folder = folder("messages", &files);
    let arguments = "run --quiet --rules rules.lap --input events.jsonl --data data --control control.jsonl --status status --output alerts";
    let words = [
        "control line 1: refused: add, entry 2: `nowhere` is no ip",
        "control line 2: refused: it is no message: unknown field `entrees`",
        "control line 3: refused: no list `bloked` is declared; did you mean `blocked`?",
        "control line 4: refused: upsert, row 1: `limit` is decimal",
        "control line 5: refused: `rows` says it whole",
        "control line 6: refused: `source` says nothing",
        "control line 7: refused: `stage` says nothing",
        "control line 8: refused: a rule reads the table `profile`",
        "control line 9: refused: no model `takeover` is declared",
    ];
    says(&folder, &arguments.split(' ').collect::<Vec<_>>(), 0, &words);
    let read = |name: &str| -> Vec<serde_json::Value> {
        let text = fs::read_to_string(folder.join(name)).expect("the run wrote it");
        text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect()
    };
    let generations: Vec<Option<u64>> = read("status").iter().map(|s| s["generation"].as_u64()).collect();
    let expected = [1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3].map(Some);
    assert_eq!(generations, expected);
    let alerts: Vec<_> = read("alerts").iter().map(|a| (a["at"].clone(), a["ruleset"].as_u64())).collect();
    let at = |second: u32| serde_json::json!(format!("1970-01-01T00:00:0{second}Z"));
    assert_eq!(alerts, [(at(2), Some(2)), (at(3), Some(2)), (at(5), Some(3))]);
}

/// A run goes on only with the data that it was saved with.
#[test]
fn a_state_is_of_its_data() {
    let files = [
        ("rules.lap", RULES),
        ("events.jsonl", EVENTS),
        ("data/profile.csv", "user,home,limit\n"),
        ("data/blocked.txt", "10.0.0.1\n"),
    ];
    let folder = folder("state", &files);
    let arguments = "run --quiet --rules rules.lap --input events.jsonl --data data --state state --output alerts";
    let arguments: Vec<&str> = arguments.split(' ').collect();
    says(&folder, &arguments, 0, &[]);
    says(&folder, &arguments, 0, &[]);
    fs::write(folder.join("data/blocked.txt"), "10.0.0.2\n").expect("a file can be written");
    says(
        &folder,
        &arguments,
        3,
        &["the rules, the data or the control file are not those that the state was saved with"],
    );
}
