//! Changes of a rule as an analyst makes them: a constant, a limit, a link, a step more, another clause, another rule.

use super::clause::{RuleText, rule};
use super::rng::Rng;

/// The rule with something changed. Whether it compiles is not known.
pub fn changed(before: &RuleText, rng: &mut Rng) -> RuleText {
    let mut after = before.clone();
    for _ in 0..rng.weighted(&[(4, 1), (1, 2)]) {
        match rng.below(17) {
            0..=4 => constant(&mut after, rng),
            16 => known(&mut after, rng),
            5 | 6 => term(&mut after, rng),
            7 | 8 => link(&mut after, rng),
            9 => longer(&mut after, rng),
            10 => mode(&mut after, rng),
            11 => leave_out(&mut after, rng),
            12..=14 => clause(&mut after, rng),
            _ => after = rule(&before.name, rng).0,
        }
    }
    after
}

/// Another number in place of one: a constant, a limit, a count.
fn constant(rule: &mut RuleText, rng: &mut Rng) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let mut places = Vec::new();
    for (c, clause) in rule.clauses.iter().enumerate() {
        let mut before = ' ';
        for (at, this) in clause.char_indices() {
            if this.is_ascii_digit() && !is_word(before) {
                let rest = &clause[at..];
                let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                places.push((c, at, at + end));
            }
            before = this;
        }
    }
    if places.is_empty() {
        return;
    }
    let (clause, from, to) = *rng.pick(&places);
    let text = &mut rule.clauses[clause];
    let number: i64 = text[from..to].parse().unwrap_or(1);
    let is_time = text[to..].starts_with("ms");
    let by = rng.weighted(&[(3, 1), (3, -1), (1, 2), (1, -2), (1, 5)]);
    text.replace_range(from..to, &(number + by).max(i64::from(is_time)).to_string());
}

/// Replaces one of the occurrences in the `match` clause.
fn replace(rule: &mut RuleText, rng: &mut Rng, from: &str, to: &str) {
    let Some(text) = rule.clauses.iter_mut().find(|c| c.starts_with("match")) else { return };
    let places: Vec<usize> = text.match_indices(from).map(|(at, _)| at).collect();
    if !places.is_empty() {
        let at = *rng.pick(&places);
        text.replace_range(at..at + from.len(), to);
    }
}

/// One more term in a condition. Some read what the rule may have kept.
fn term(rule: &mut RuleText, rng: &mut Rng) {
    let term = rng.pick(&[
        "ok",
        "n > 0",
        "n < 3",
        "s != \"b\"",
        "x is present",
        "d > 0.75",
        "at > 2000-01-01T00:00:00Z",
        "prev.n <= n",
        "at - a.at < 6ms",
        "a.n <= n",
        "count(a) > 0",
        "count(a) < 3",
        "first_seen(s) over 5ms",
        "k == \"p\"",
        "j != \"q\"",
        "k is missing",
        "u == \"p\"",
        "count(e) over 4ms > 1",
        "s in texts",
        "n not in whole",
        "base[j].top > 0",
        "(pairs[s, n].top ?? 0) < 2",
        "near(n: n, q: q) > -1.5",
        "far(n: n, x: a.n, q: 0.25) < 3",
        "geoip(p).country == \"DE\"",
        "geoip(p).asn != geoip(a.p).asn",
    ]);
    if rng.percent(25) {
        return replace(rule, rng, &format!("{term} and "), "");
    }
    let with = format!(" where {term} and ");
    replace(rule, rng, " where ", &with);
}

/// One more term in the first condition, which its runs have met, on what every run knows of its events.
fn known(rule: &mut RuleText, rng: &mut Rng) {
    let term = rng.pick(&[
        "k == \"p\"",
        "k == \"q\"",
        "j == \"p\"",
        "j != \"p\"",
        "u == \"q\"",
        "near(n: 1, q: 0.5) > -1.5",
        "at > 1970-01-01T00:16:40.010Z",
    ]);
    let Some(text) = rule.clauses.iter_mut().find(|c| c.starts_with("match")) else { return };
    let plain = [": e then", ": f then", ": g then"].into_iter().filter_map(|step| Some((text.find(step)?, 3))).min();
    let asked = text.find(" where ").map(|at| (at, 0));
    match plain.into_iter().chain(asked).min() {
        Some((at, 3)) => text.insert_str(at + 3, &format!(" where {term}")),
        Some((at, _)) => text.insert_str(at + " where ".len(), &format!("{term} and ")),
        None => {}
    }
}

/// Another link, another choice, another quantifier, something more between.
fn link(rule: &mut RuleText, rng: &mut Rng) {
    let (from, to) = *rng.pick(&[
        (" then ", " then next "),
        (" then ", " then any "),
        (" then ", " then within 4ms "),
        (" then next ", " then "),
        (" then any ", " then "),
        (" then ", " then not n8: g then "),
        (" then ", " then next not n8: g where ok then "),
        (" then ", " then y8: f then "),
        (" then ", " then y8: f? then "),
        (" | ", " & "),
        (" & ", " | "),
        ("{2}", "{2,}"),
        ("{2}", "{1,3}"),
        ("{2,}", "+"),
        ("+ ", "{2,} "),
        ("? ", "* "),
        ("+ ", "+ next "),
        ("+ ", "+? "),
        (" next", ""),
        (": e", ": f"),
    ]);
    replace(rule, rng, from, to);
}

/// Something more behind or around the pattern.
fn longer(rule: &mut RuleText, rng: &mut Rng) {
    let Some(text) = rule.clauses.iter_mut().find(|c| c.starts_with("match")) else { return };
    let head = ["match each ", "match last ", "match "].into_iter().find(|h| text.starts_with(h)).unwrap_or_default();
    let more = rng.pick(&[
        " then y9: f",
        " then any y9: e where ok",
        " then not n9: g",
        " then not n9: g within 3ms",
        " then next not n9: f within 4ms",
        " then y9: e+",
    ]);
    let pattern = text[head.len()..].to_owned();
    *text = if pattern.contains(" | ") || pattern.contains(" & ") {
        format!("{head}({pattern}){more}")
    } else {
        format!("{head}{pattern}{more}")
    };
}

fn mode(rule: &mut RuleText, rng: &mut Rng) {
    let Some(text) = rule.clauses.iter_mut().find(|c| c.starts_with("match")) else { return };
    let rest = ["match each ", "match last ", "match "].into_iter().find_map(|h| text.strip_prefix(h));
    *text = format!("{} {}", rng.pick(&["match", "match each", "match last"]), rest.unwrap_or_default());
}

fn leave_out(rule: &mut RuleText, rng: &mut Rng) {
    let i = rng.below(rule.clauses.len());
    if !rule.clauses[i].starts_with("match") && !rule.clauses[i].starts_with("window") {
        rule.clauses.remove(i);
    }
}

/// A clause of another random rule, in place of its own of the kind or as one more.
fn clause(rule: &mut RuleText, rng: &mut Rng) {
    let others: Vec<String> = self::rule(&rule.name, rng)
        .0
        .clauses
        .into_iter()
        .filter(|c| !c.starts_with("match") && !c.starts_with("window"))
        .collect();
    let word = |c: &str| c.split(' ').next().unwrap_or_default().to_owned();
    let other = rng.pick(&others).clone();
    match rule.clauses.iter().position(|c| word(c) == word(&other)) {
        Some(i) => rule.clauses[i] = other,
        None => rule.clauses.push(other),
    }
}
