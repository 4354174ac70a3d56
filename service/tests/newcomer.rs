//! The mistakes of the first day, made through the real binary: each ends with the right exit code and with words that name the
//! place and the mend.

mod binary;

use std::fs;
use std::path::PathBuf;

const EVENT: &str = "event login { at timestamp  user string  success bool  n int }\n";

/// A file of this test's own.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("newcomer");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    let path = folder.join(name);
    fs::write(&path, bytes).expect("the target folder can be written");
    path
}

#[track_caller]
fn says(arguments: &[&str], exit: i32, words: &[&str]) {
    binary::says(binary::lapwing().args(arguments), exit, words);
}

/// Checks a rule behind [`EVENT`], so that its first line is line 2.
#[track_caller]
fn check(name: &str, rule: &str, words: &[&str]) {
    let path = file(name, format!("{EVENT}{rule}").as_bytes());
    says(&["check", &path.display().to_string()], 2, words);
}

#[test]
fn a_misspelt_field() {
    check(
        "field.lap",
        "rule r {\n  by user\n  match login where sucess\n}",
        &["field.lap:4:21", "`sucess`", "did you mean `success`?"],
    );
}

#[test]
fn one_equals_sign() {
    check(
        "equals.lap",
        "rule r {\n  by user\n  match login where user = \"ann\"\n}",
        &["equals.lap:4:26", "write `==` in place of `=`"],
    );
}

#[test]
fn a_missing_brace() {
    check(
        "brace.lap",
        "rule r {\n  by user\n  match login where success\n",
        &["brace.lap:2:1", "the `}` of `rule r` is missing"],
    );
}

#[test]
fn a_text_for_a_number() {
    check(
        "number.lap",
        "rule r {\n  by user\n  match login where n > \"5\"\n}",
        &["number.lap:4:21", "write `5` in place of `\"5\"`"],
    );
}

#[test]
fn no_within() {
    check(
        "within.lap",
        "rule r {\n  by user\n  match login{3} where success\n}",
        &["within.lap:4:9", "add a line `within 10m`"],
    );
}

#[test]
fn an_unknown_function() {
    check(
        "function.lap",
        "rule r {\n  by user\n  match login where lowr(user) == \"ann\"\n}",
        &["function.lap:4:21", "did you mean `lower`?"],
    );
}

#[test]
fn a_rule_twice() {
    let rule = "rule r {\n  by user\n  match login where success\n}\n";
    check(
        "twice.lap",
        &rule.repeat(2),
        &["twice.lap:6:6", "declared twice", "first here", "give one of them another name"],
    );
}

#[test]
fn not_like() {
    check(
        "like.lap",
        "rule r {\n  by user\n  match login where user not like \"a*\"\n}",
        &["like.lap:4:30", "`not user like …`"],
    );
}

#[test]
fn a_quote_in_a_message() {
    let rule = "rule r {\n  by user\n  match login where success\n  message \"{count(login where user == \"a\") over 1h} times\"\n}";
    check("quote.lap", rule, &["quote.lap:5:40", "ends the message"]);
}

#[test]
fn a_test_that_fails() {
    let text = "rule r {\n  by user\n  match login where success\n}\ntest r \"one\" {\n  login { user: \"ann\", success: false }\n  expect 1\n}";
    let path = file("test.lap", format!("{EVENT}{text}").as_bytes());
    says(
        &["test", &path.display().to_string()],
        1,
        &["test r \"one\" failed", "test.lap:8:3", "expected 1 alert, found none", "1 failed"],
    );
}

#[test]
fn not_utf8() {
    let path = file("latin.lap", b"event login { at timestamp  user string }\n// caf\xe9\n");
    says(
        &["check", &path.display().to_string()],
        2,
        &["latin.lap:2:7", "the file is not UTF-8", "save the file as UTF-8"],
    );
}

#[test]
fn a_rule_of_ten_megabytes() {
    let names: Vec<_> = (0..1_000_000).map(|i| format!("\"u{i:06}\"")).collect();
    let rule = format!("rule r {{\n  by user\n  match login where user in [{}]\n}}", names.join(","));
    check("large.lap", &rule, &["large.lap:1:1", "the limit is 8388608", "split it"]);
}

#[test]
fn a_path_that_is_not_there() {
    says(&["check", "nowhere.lap"], 3, &["cannot read rules from `nowhere.lap`"]);
    let rules = file("well.lap", EVENT.as_bytes());
    says(
        &["run", "--rules", &rules.display().to_string(), "--input", "nowhere.ndjson"],
        3,
        &["cannot read `nowhere.ndjson`"],
    );
}

#[test]
fn a_folder_without_rules() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("empty");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    says(&["check", &folder.display().to_string()], 3, &["no `.lap` file"]);
}

#[test]
fn flags() {
    says(&["run", "--inptu", "x"], 3, &["--inptu", "'--input'"]);
    says(&["cheque", "x"], 3, &["cheque", "'check'"]);
    says(&["run", "--rules", "x", "--input", "y", "--lateness", "5"], 3, &["`5` is no length of time", "500ms, 10s"]);
    says(&["--help"], 0, &["Usage"]);
}
