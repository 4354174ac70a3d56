//! What the compiler says, as a terminal shows it: every `.lap` file of the folder against the `.txt` beside it.
//!
//! `LAPWING_REWRITE=1 cargo test --test diagnostics` writes the texts anew; read the difference as prose.

#![expect(clippy::disallowed_methods, reason = "a test reads its texts from files; the crate does not")]

use std::path::{Path, PathBuf};

use lapwing_dsl::diagnostics::{Code, render};
use lapwing_dsl::load;
use lapwing_dsl::syntax::Sources;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics")
}

fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).expect("the folder is there");
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("a readable entry").path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "lap"));
    files.sort();
    files
}

fn rendered(path: &Path) -> String {
    let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
    let mut sources = Sources::new();
    sources.add(name, std::fs::read_to_string(path).expect("a readable file"));
    let found = load(&sources).diagnostics;
    found.iter().map(|d| render(d, &sources, false)).collect::<Vec<_>>().join("\n")
}

#[test]
fn says_what_the_texts_say() {
    let rewrite = std::env::var_os("LAPWING_REWRITE").is_some();
    for path in files() {
        let (found, expected) = (rendered(&path), path.with_extension("txt"));
        if rewrite {
            std::fs::write(&expected, &found).expect("a writable folder");
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        assert!(found == expected, "{}:\n{found}", path.display());
    }
}

#[test]
fn every_code_of_the_check_is_shown() {
    let texts: String = files().iter().map(|p| rendered(p)).collect();
    // The codes below E0100 are the parser's, shown by its own tests; a failed test is shown by the command that runs it.
    let codes = Code::ALL.iter().filter(|c| **c != Code::TestFailed).map(|c| c.as_str()).filter(|c| *c >= "E0100");
    let unseen: Vec<&str> = codes.filter(|c| !texts.contains(&format!("[{c}]"))).collect();
    assert_eq!(unseen, [""; 0]);
}

/// A rule that lost a condition to a mistake that stands elsewhere must not run without it.
#[test]
fn a_rule_with_a_lost_condition_does_not_run() {
    let text = "event e { at timestamp  ip ip }\nfeature mean = sum(e.nothing) by ip over 1h\nrule r {\n  by ip\n  match e where mean > 5\n}\nrule s {\n  by ip\n  match e\n}\n";
    let mut sources = Sources::new();
    sources.add("lost.lap", text);
    let programs = load(&sources).programs;
    let names: Vec<&str> = programs.iter().map(|p| p.rule.name.as_str()).collect();
    assert_eq!(names, ["s"]);
}

/// Without any one of its words, and with any two neighbours swapped, a text gives findings and never a panic.
#[test]
fn damage_never_panics() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    for path in files().into_iter().chain([data.join("page.lap"), data.join("every_form.lap")]) {
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let words: Vec<(usize, &str)> =
            text.split_whitespace().map(|w| (w.as_ptr() as usize - text.as_ptr() as usize, w)).collect();
        for (i, (at, word)) in words.iter().enumerate() {
            let without = format!("{}{}", &text[..*at], &text[at + word.len()..]);
            let next = words.get(i + 1).map(|(_, w)| *w).unwrap_or_default();
            let other = format!("{}{next}{}", &text[..*at], &text[at + word.len()..]);
            for damaged in [without, other] {
                let mut sources = Sources::new();
                sources.add("damaged.lap", damaged);
                for finding in load(&sources).diagnostics {
                    render(&finding, &sources, false);
                }
            }
        }
    }
}
