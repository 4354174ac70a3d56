//! `lapwing config`, and that the published schema and the page say what the code does. `LAPWING_REWRITE=1` writes them anew.

mod binary;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use lapwing::config::Config;
use serde_json::Value as Json;

use binary::{lapwing, run, says};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

/// Holds a file against what it should be.
#[track_caller]
fn holds(name: &str, expected: &str) {
    if std::env::var_os("LAPWING_REWRITE").is_some() {
        fs::write(file(name), expected).expect("the file can be written");
    }
    let published = fs::read_to_string(file(name)).unwrap_or_default();
    assert!(published == expected, "docs/{name} is not what the code says: LAPWING_REWRITE=1 writes it anew");
}

#[test]
fn the_published_schema_is_that_of_the_code() {
    holds("config.schema.json", &format!("{:#}\n", Config::schema()));
    let (code, said) = run(lapwing().args(["config", "schema"]));
    assert_eq!(code, Some(0));
    assert_eq!(said, format!("{:#}\n", Config::schema()));
}

/// A table of the page: the keys of a section, and those of the sections in it.
fn rows(schema: &Json, prefix: &str, table: &mut String) {
    for (name, key) in schema["properties"].as_object().expect("a section has keys") {
        let full = format!("{prefix}{name}");
        let required = schema["required"].as_array().is_some_and(|names| names.contains(&Json::from(name.as_str())));
        match (&key["properties"], &key["items"]["properties"]) {
            (Json::Object(_), _) => rows(key, &format!("{full}."), table),
            (_, Json::Object(_)) => rows(&key["items"], &format!("{full}[]."), table),
            _ => {
                let default = match &key["default"] {
                    Json::Null if required => "must be given".to_owned(),
                    Json::Null => "none".to_owned(),
                    default => format!("`{default}`"),
                };
                let text = key["description"].as_str().expect("a key has a text");
                let bounds = match (key["minimum"].as_u64(), key["maximum"].as_u64(), key["enum"].as_array()) {
                    (Some(least), Some(most), _) => format!(" {least} to {most}."),
                    (_, _, Some(words)) => {
                        let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
                        format!(" One of {}.", words.join(", "))
                    }
                    _ => String::new(),
                };
                writeln!(table, "| `{full}` | {default} | {text}{bounds} |").expect("a string takes all");
            }
        }
    }
}

#[test]
fn the_page_has_every_key() {
    let (begin, end) = ("<!-- keys -->\n", "<!-- end of keys -->");
    let page = fs::read_to_string(file("config.md")).expect("the page is part of the project");
    let (before, rest) = page.split_once(begin).expect("the page says where the keys stand");
    let (_, after) = rest.split_once(end).expect("the page says where the keys end");
    let mut keys = String::new();
    let schema = Config::schema();
    for (name, section) in schema["properties"].as_object().expect("there are sections") {
        let text = section["description"].as_str().expect("a section has a text");
        write!(keys, "\n## `[{name}]`\n\n{text}\n\n| key | default | meaning |\n| --- | --- | --- |\n")
            .expect("a string takes all");
        rows(section, &format!("{name}."), &mut keys);
    }
    holds("config.md", &format!("{before}{begin}{keys}\n{end}{after}"));
}

#[test]
fn the_command_says_what_is_wrong_and_ends_with_3() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("config");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    fs::write(folder.join("lapwing.toml"), "[engine]\nthreds = 2\norder = \"arrival\"\n").expect("a file");
    let config = |what: &str| {
        let mut command = lapwing();
        command.current_dir(&folder).args(["config", what, "--config", "lapwing.toml"]);
        command
    };
    let words = ["error: lapwing.toml:2:1: there is no key `engine.threds`: did you mean `threads`?"];
    says(&mut config("check"), 3, &words);
    says(config("show").args(["--format", "json"]), 3, &["\"origin\": \"lapwing.toml:2\""]);
    fs::write(folder.join("lapwing.toml"), "[engine]\nthreads = 2\norder = \"arrival\"\n").expect("a file");
    says(&mut config("check"), 0, &["the configuration is well"]);
    let shown =
        ["engine.threads = 3 ", "# LAPWING_ENGINE__THREADS", "# lapwing.toml:3", "http.connections_max = 7", "# --set"];
    let mut show = config("show");
    show.env("LAPWING_ENGINE__THREADS", "3").args(["--set", "http.connections_max=7"]);
    says(&mut show, 0, &shown);
}
