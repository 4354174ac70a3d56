//! Parser, printer and limits over whole texts: what is valid parses, prints to the same tree and prints the
//! same twice; what is not gives all its mistakes; nothing panics or overflows a stack.

#![expect(clippy::disallowed_methods, reason = "a test keeps its snapshots in files; the crate does not")]

use lapwing_dsl::syntax::{FileId, Sources, ast, parse, print};

const PAGE: &str = include_str!("data/page.lap");
const EVERY_FORM: &str = include_str!("data/every_form.lap");
const COMMENTS: &str = include_str!("data/comments.lap");
const RULES: &str = include_str!("data/rules.txt");
const MISTAKES: &str = include_str!("data/mistakes.lap");

fn texts() -> impl Iterator<Item = &'static str> {
    [PAGE, EVERY_FORM, COMMENTS].into_iter().chain(RULES.split("----\n"))
}

fn read(text: &str) -> ast::File {
    let parsed = parse(FileId(0), text);
    assert!(parsed.diagnostics.is_empty(), "{:#?}\n{text}", parsed.diagnostics);
    parsed.file.expect("a file without errors has a tree")
}

/// The declarations without their spans.
fn shape(file: &ast::File) -> String {
    let debug = format!("{:?}", file.decls);
    let mut parts = debug.split("Span { file: FileId(");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(part.split_once('}').expect("a span ends").1);
    }
    out
}

#[test]
fn prints_to_the_same_tree_and_the_same_twice() {
    for text in texts() {
        let file = read(text);
        let once = print(&file, text);
        let again = read(&once);
        assert_eq!(shape(&file), shape(&again), "{once}");
        assert_eq!(file.comments.len(), again.comments.len(), "{once}");
        assert_eq!(once, print(&again, &once));
        assert_eq!(shape(&file), shape(&read(&print(&file, ""))));
    }
}

#[test]
fn keeps_what_is_laid_out_well() {
    let text = "// Who.\nrule r {\n  by       user  // key\n  match    a: login where not x\n           // why\n           then b: login\n  within   24h\n}\n\nlist l of ip\nlist m of ip\n";
    assert_eq!(print(&read(text), text), text);
}

/// The codes that a text gives.
fn codes(text: &str) -> String {
    let found = parse(FileId(0), text).diagnostics;
    found.iter().map(|d| d.code.as_str()).collect::<Vec<_>>().join(" ")
}

fn condition(text: &str) -> String {
    codes(&format!("rule r {{\n  match a: e where {text}\n}}\n"))
}

#[test]
fn nesting_has_a_limit_and_no_depth_overflows_the_stack() {
    let nested = |n: usize, open: &str, close: &str| condition(&format!("{}x{}", open.repeat(n), close.repeat(n)));
    for (open, close) in [("(", ")"), ("not ", ""), ("-", ""), ("f(", ")"), ("[", "]"), ("(not ", ")")] {
        let limit = if open == "(not " { 32 } else { 64 };
        assert_eq!(nested(limit, open, close), "", "{open}");
        assert_eq!(nested(limit + 1, open, close), "E0004", "{open}");
        assert_eq!(nested(10_000, open, close), "E0004", "{open}");
    }
    assert_eq!(codes(&format!("rule r {{\n match {}e{}\n}}", "(".repeat(65), ")".repeat(65))), "E0004");
    for chain in [" + a", ".a", "[1]", " ?? a", " * a"] {
        assert_eq!(condition(&format!("a{}", chain.repeat(10_000))), "E0004", "{chain}");
        assert_eq!(condition(&format!("a{}", chain.repeat(200))), "", "{chain}");
    }
    assert_eq!(condition(&vec!["a == 1"; 5_000].join(" or ")), "");
    let both = "a + ".repeat(60).to_owned() + "(";
    assert_eq!(condition(&format!("{}x{}", both.repeat(60), ")".repeat(60))), "E0004");
}

#[test]
fn size_has_a_limit() {
    let title = |n: usize| codes(&format!("rule r {{\n title \"{}\"\n}}", "x".repeat(n)));
    assert_eq!(title(65_000), "");
    assert_eq!(title(65_536), "E0002");
    let huge = parse(FileId(0), &" ".repeat(9 << 20));
    assert!(huge.file.is_none() && huge.diagnostics.len() == 1);
}

#[test]
fn joins_do_not_mix() {
    for pattern in ["a then b | c", "a | b then c", "a & b | c", "x: a then (b | c & d)"] {
        assert_eq!(codes(&format!("rule r {{\n match {pattern}\n}}")), "E0010", "{pattern}");
    }
    assert_eq!(codes("rule r {\n match a then (b | c) then not (d | e)\n}"), "");
}

#[test]
fn clauses_go_by_the_first_word_of_a_line() {
    let text = "rule r {\n  match (a: e then (b: e then c: e)\n    within 5m) then f: e\n  then d: e\n  within 1h\n  emit {\n    title: 1,\n    within: 2\n  }\n}";
    let file = read(text);
    let ast::Decl::Rule(rule) = &file.decls[0] else { panic!("not a rule") };
    assert_eq!(rule.clauses.len(), 3);
    let clause = &rule.clauses[0];
    assert!(text[..clause.span.end as usize].ends_with("then d: e"));
}

#[test]
fn holes_know_their_place() {
    let text = "rule r {\n  message \"\\u00e4 \\\"{f.x ?? \\\"n\\\"}\"\n}";
    let file = read(text);
    let ast::Decl::Rule(rule) = &file.decls[0] else { panic!("not a rule") };
    let ast::ClauseKind::Message(ast::MessageClause::Template(parts, _)) = &rule.clauses[0].kind else {
        panic!("no template")
    };
    let ast::MessagePart::Hole(expr) = &parts[1] else { panic!("no hole") };
    assert_eq!(&text[expr.span.start as usize..expr.span.end as usize], "f.x ?? \\\"n\\\"");
}

/// All mistakes of the file as they are drawn. `UPDATE=1` writes the snapshot anew.
#[test]
fn mistakes_are_all_reported_and_kindly() {
    let mut sources = Sources::new();
    let file = sources.add("mistakes.lap", MISTAKES);
    let drawn: String = parse(file, MISTAKES)
        .diagnostics
        .iter()
        .map(|d| lapwing_dsl::diagnostics::render(d, &sources, false))
        .collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/mistakes.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &drawn).expect("the snapshot can be written");
    }
    assert_eq!(drawn, std::fs::read_to_string(path).expect("the snapshot is there"));
}

/// Damaged texts: pieces are cut out, doubled and moved. Nothing may panic, and every place lies in the text.
#[test]
fn damage_never_panics() {
    let rounds: usize = std::env::var("LAPWING_DAMAGE").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    let mut seed = 7u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below.max(1)
    };
    let inserts = ["{", "}", "(", ")", "\"", "\\", "not ", "=", "ä", "\n", "rule ", "within ", "{{", "::", "..", "1"];
    for text in texts().chain([MISTAKES]) {
        for _ in 0..rounds {
            let mut chars: Vec<char> = text.chars().collect();
            for _ in 0..=random(3) {
                let at = random(chars.len());
                let length = random(12).min(chars.len() - at);
                match random(3) {
                    0 => drop(chars.drain(at..at + length)),
                    1 => drop(chars.splice(at..at, inserts[random(inserts.len())].chars())),
                    _ => chars.truncate(at.max(1)),
                }
            }
            let damaged: String = chars.into_iter().collect();
            let parsed = parse(FileId(0), &damaged);
            for found in &parsed.diagnostics {
                let span = found.primary.span;
                assert!(damaged.get(span.start as usize..span.end as usize).is_some(), "{found:?}\n{damaged}");
            }
            let file = parsed.file.expect("the text is small");
            let printed = print(&file, &damaged);
            if parsed.diagnostics.is_empty() {
                assert_eq!(shape(&file), shape(&read(&printed)), "{damaged}");
            }
        }
    }
}
