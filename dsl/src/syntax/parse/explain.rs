//! Turns a failure of the grammar into a sentence an analyst can act on.

use super::Rule;
use super::scan::{Scan, TokenKind};
use super::split::{CLAUSES, is_clause};
use crate::diagnostics::{Code, Diagnostic, nearest};
use crate::syntax::Span;

/// At most so many things are named as expected.
const EXPECTED_MAX: usize = 6;

/// Says what is wrong at byte `offset` of the file, in the piece of tokens `from..to` that `keyword` begins.
pub(super) fn explain(
    scan: &Scan,
    from: usize,
    to: usize,
    offset: usize,
    expected: &[Rule],
    keyword: &str,
) -> Diagnostic {
    let at = scan.at(offset);
    if let Some(open) = unclosed(scan, from, to) {
        return open;
    }
    if at >= to {
        return at_end(scan, to, expected, keyword);
    }
    // A comparison after a comparison is no matter of spelling.
    let chained = expected.contains(&Rule::k_and) && !expected.contains(&Rule::cmp_op);
    if let Some(foreign) = foreign(scan, from, at).filter(|f| !chained || f.code != Code::SingleEquals) {
        return foreign;
    }
    let (word, span) = (scan.word(at), scan.span(at));
    if is_clause(scan, at) && CLAUSES.contains(&keyword) && !scan.tokens[at].first_on_line {
        return Diagnostic::new(
            Code::ClauseNotOnOwnLine,
            span,
            format!("the clause `{word}` stands in the middle of a line"),
        )
        .help(order_help(keyword, word).unwrap_or_else(|| format!("put `{word}` at the beginning of its own line")));
    }
    let finding = Diagnostic::new(Code::Syntax, span, message(scan, at, expected, keyword));
    let help = word_help(scan, at, expected, keyword).or_else(|| order_help(keyword, word));
    match (help, meant(word, expected).filter(|_| scan.is_word(at))) {
        (_, Some(meant)) => finding.help(format!("did you mean `{meant}`?")).fix(span, meant),
        (Some(help), None) => finding.help(help),
        (None, None) => finding,
    }
}

/// A line of a rule that begins with no clause's name.
pub(super) fn unknown_clause(scan: &Scan, at: usize, guess: Option<&str>) -> Diagnostic {
    let (word, span) = (scan.word(at), scan.span(at));
    let finding = Diagnostic::new(Code::UnknownClause, span, format!("`{word}` is no clause of a rule"));
    match guess {
        Some(guess) => finding.help(format!("did you mean `{guess}`?")).fix(span, guess),
        None => finding.help(format!("the clauses are {}", CLAUSES.map(|c| format!("`{c}`")).join(", "))),
    }
}

/// What could have stood there, in words; none where that would say nothing.
pub(super) fn expected(rules: &[Rule]) -> Option<String> {
    let mut phrases: Vec<String> = Vec::new();
    let operators = rules.contains(&Rule::add_op);
    for phrase in rules.iter().filter_map(|r| phrase(*r)) {
        let counted =
            operators && matches!(phrase.as_str(), "`and`" | "`or`" | "`is`" | "`in`" | "`not`" | "`by`" | "`over`");
        if !phrases.contains(&phrase) && !counted {
            phrases.push(phrase);
        }
    }
    if phrases.len() > 1 {
        phrases.retain(|p| p != "the end");
    }
    let last = phrases.pop().filter(|_| phrases.len() < EXPECTED_MAX)?;
    if phrases.is_empty() { Some(last) } else { Some(format!("{} or {last}", phrases.join(", "))) }
}

fn message(scan: &Scan, at: usize, rules: &[Rule], keyword: &str) -> String {
    let found = scan.word(at);
    match expected(rules) {
        Some(list) => format!("expected {list}, found `{found}`"),
        None => format!("`{found}` does not belong here in `{keyword}`"),
    }
}

fn at_end(scan: &Scan, to: usize, rules: &[Rule], keyword: &str) -> Diagnostic {
    let end = scan.tokens[to - 1].end;
    let span = Span::new(scan.file, scan.tokens[to - 1].start, end);
    let message = match expected(rules) {
        Some(list) => format!("`{keyword}` ends too early: expected {list}"),
        None => format!("`{keyword}` ends too early"),
    };
    let finding = Diagnostic::new(Code::Syntax, span, message).label("something is missing after this");
    match scan.tokens.get(to).filter(|t| t.kind == TokenKind::Word && t.first_on_line) {
        Some(_) if CLAUSES.contains(&scan.word(to)) && keyword != "rule" => {
            finding.also(scan.span(to), format!("`{}` at the beginning of a line is the rule's clause", scan.word(to)))
        }
        _ => finding,
    }
}

/// A bracket of the piece that has no partner in it.
fn unclosed(scan: &Scan, from: usize, to: usize) -> Option<Diagnostic> {
    let lonely = (from..to).find(|i| match scan.tokens[*i].kind {
        TokenKind::Open(b) => scan.tokens[*i].partner.is_none() && b != b'{',
        TokenKind::Close(_) => scan.tokens[*i].partner.is_none(),
        _ => false,
    })?;
    let (word, span) = (scan.word(lonely), scan.span(lonely));
    Some(match scan.tokens[lonely].kind {
        TokenKind::Open(b) => {
            let close = if b == b'(' { ")" } else { "]" };
            Diagnostic::new(Code::Unclosed, span, format!("this `{word}` is not closed"))
                .help(format!("write `{close}` where it ends"))
        }
        _ => Diagnostic::new(Code::StrayClose, span, format!("this `{word}` closes nothing"))
            .help("take it away, or write the bracket that opens"),
    })
}

/// Operators and quotes that other languages write differently.
fn foreign(scan: &Scan, from: usize, at: usize) -> Option<Diagnostic> {
    // `a && b` fails at the second sign, `a <> b` too.
    let start = if at > from && glued(scan, at - 1) && matches!(scan.word(at - 1), "&" | "|" | "<" | "=") {
        at - 1
    } else {
        at
    };
    let rest = &scan.text[scan.tokens[start].start..];
    let (written, ours, what) = [
        ("&&", "and", "conditions are joined by `and`"),
        ("||", "or", "conditions are joined by `or`"),
        ("<>", "!=", "`!=` asks whether two values differ"),
        ("===", "==", "`==` compares two values"),
        ("=>", ">=", "`>=` compares two values"),
        ("=<", "<=", "`<=` compares two values"),
        ("=", "==", "`==` compares two values"),
        ("!", "not ", "a condition is turned around by `not`"),
    ]
    .into_iter()
    .find(|(written, ..)| rest.starts_with(written) && !(*written == "=" && rest.starts_with("==")))?;
    let begin = scan.tokens[start].start;
    let span = Span::new(scan.file, begin, begin + written.len());
    let single = written == "=";
    let code = if single { Code::SingleEquals } else { Code::ForeignOperator };
    let message = if single { "`=` does not compare".to_owned() } else { format!("`{written}` is no operator here") };
    Some(Diagnostic::new(code, span, message).help(what).fix(span, ours))
}

fn glued(scan: &Scan, index: usize) -> bool {
    scan.tokens.get(index + 1).is_some_and(|t| t.start == scan.tokens[index].end)
}

/// A keyword that was expected and is nearly what was written.
fn meant(word: &str, rules: &[Rule]) -> Option<String> {
    let words: Vec<String> = rules.iter().filter_map(|r| keyword_of(*r)).collect();
    nearest(word, words.iter().map(String::as_str)).filter(|m| *m != word).map(str::to_owned)
}

/// Words that are right elsewhere.
fn word_help(scan: &Scan, at: usize, rules: &[Rule], keyword: &str) -> Option<String> {
    let word = scan.word(at);
    if keyword == "test" && at > 0 && scan.is_word(at - 1) {
        let steps = ["after", "at", "repeat", "watermark", "default", "expect", "given"];
        if let Some(step) = nearest(scan.word(at - 1), steps).filter(|step| *step != scan.word(at - 1)) {
            return Some(format!("did you mean `{step}` by `{}`?", scan.word(at - 1)));
        }
    }
    if keyword == "message" && scan.text[..scan.tokens[at].start].ends_with('"') {
        return Some("a `\"` ends the message; a text within one of its holes is written `\\\"text\\\"`".to_owned());
    }
    if matches!(word, "like" | "ilike" | "matches") && at > 1 && scan.word(at - 1) == "not" {
        let item = scan.word(at - 2);
        return Some(format!("`not` stands before the comparison: `not {item} {word} …`"));
    }
    let help = match scan.tokens[at].kind {
        TokenKind::Sign(b'\'') => "texts stand in double quotes: `\"text\"`",
        TokenKind::Sign(b'#') => "a comment begins with `//`",
        TokenKind::Sign(b'=' | b'<' | b'>') if rules.contains(&Rule::k_and) => {
            "comparisons do not chain: write `a < b and b < c`"
        }
        TokenKind::Sign(b',') if rules.contains(&Rule::add_op) && at > 1 && keyword != "match" => {
            "a list of values stands in brackets: `x in [1, 2]`"
        }
        TokenKind::Number if word.len() > 1 && word.ends_with(|c: char| c.is_ascii_alphabetic()) => {
            "a duration is a number and one of `ms s m h d w`, as in `10m`"
        }
        TokenKind::Number if rules.contains(&Rule::duration) => {
            "a duration has a unit, as in `10m`; the units are `ms s m h d w`"
        }
        TokenKind::Word if matches!(word, "AND" | "OR" | "NOT" | "IN" | "IS") => {
            "keywords are written in small letters"
        }
        TokenKind::Word if word == "null" || word == "nil" => "a missing value is asked for with `x is missing`",
        TokenKind::Word if matches!(word, "SELECT" | "select") => {
            "a rule has no `select`: what it reports stands in `emit { … }`"
        }
        TokenKind::Word if scan.is_sign(at + 1, b':') && rules.contains(&Rule::add_op) => {
            "values are separated by commas: `{ a: 1, b: 2 }`"
        }
        TokenKind::Sign(b',') if rules.contains(&Rule::int) => "a repetition has its least number: `{0,3}`",
        TokenKind::Sign(b',') if keyword == "match" => "steps are joined by `then`, `&` or `|`",
        _ => return None,
    };
    Some(help.to_owned())
}

/// In a pattern most mistakes are a matter of order.
fn order_help(keyword: &str, word: &str) -> Option<String> {
    if keyword != "match" {
        return None;
    }
    let step = matches!(word, "{" | "+" | "*" | "?" | "next" | "any" | "apart" | "by" | "where" | "until");
    if step {
        return Some(
            "a step is written in the order `name: type quantifier contiguity apart by where until`".to_owned(),
        );
    }
    (word == "within").then(|| {
        "`within` begins the rule's own line, or stands behind a group, behind an absence or directly after `then`"
            .to_owned()
    })
}

/// `k_then` is the keyword `then`.
fn keyword_of(rule: Rule) -> Option<String> {
    format!("{rule:?}").strip_prefix("k_").map(str::to_owned)
}

fn phrase(rule: Rule) -> Option<String> {
    if let Some(keyword) = keyword_of(rule) {
        return Some(format!("`{keyword}`"));
    }
    let text = match rule {
        Rule::EOI => "the end",
        Rule::ident | Rule::arg_name => "a name",
        Rule::type_name | Rule::step_name | Rule::step | Rule::element | Rule::group => "a step of a pattern",
        Rule::expr
        | Rule::name
        | Rule::and_expr
        | Rule::not_expr
        | Rule::comparison
        | Rule::coalesce
        | Rule::sum
        | Rule::product
        | Rule::unary
        | Rule::postfix
        | Rule::call
        | Rule::paren
        | Rule::literal
        | Rule::boolean
        | Rule::minus
        | Rule::arg => "a value",
        Rule::cmp_op | Rule::in_op | Rule::is_op | Rule::or_else | Rule::add_op | Rule::mul_op | Rule::dots => {
            "an operator"
        }
        Rule::duration => "a duration such as `10m`",
        Rule::timestamp => "a timestamp such as `2026-01-31T10:00:00Z`",
        Rule::int | Rule::number | Rule::percent => "a number",
        Rule::string => "a text in quotes",
        Rule::list => "a list such as `[1, 2]`",
        Rule::type_expr | Rule::known_type => "a type",
        Rule::field => "a field",
        Rule::key_field | Rule::by => "a field of the key",
        Rule::tag | Rule::bare_tag => "a tag",
        Rule::path | Rule::bare_path => "a path",
        Rule::pair => "`name: value`",
        Rule::pairs | Rule::steps => "`{`",
        Rule::test_step | Rule::test_event => "a step of a test",
        Rule::window => "a window such as `10m`",
        Rule::amp => "`&`",
        Rule::bar => "`|`",
        Rule::where_part => "`where`",
        Rule::until_part => "`until`",
        Rule::apart_part => "`apart`",
        Rule::by_part => "`by`",
        Rule::within_part => "`within`",
        Rule::over_part => "`over`",
        _ => return None,
    };
    Some(text.to_owned())
}
