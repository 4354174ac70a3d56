//! Rules that build on each other: one emits into a type that another reads.

use super::clause::RuleText;
use super::construct::Used;
use super::rng::Rng;

/// Lets some of the rules build on others: the first on none.
pub fn chain(rules: &mut [RuleText], used: &mut [Used], rng: &mut Rng) {
    let high = rules.len() >= 3 && rng.percent(50);
    for made in 1..rules.len() {
        let ty = if made == 1 { "h" } else { "i" };
        if made > 1 && !high {
            break;
        }
        emit_into(&mut rules[made - 1], ty, rng);
        used[made - 1].mark("emit into");
        for reader in made..rules.len() {
            if reader == made || rng.percent(50) {
                let from = *rng.pick(&["e", "f", "f", "g"]);
                rules[reader].clauses.iter_mut().for_each(|clause| *clause = renamed(clause, from, ty));
                used[reader].mark("derived events");
            }
        }
    }
}

/// The rule's matches become events of a type.
pub fn emit_into(rule: &mut RuleText, ty: &str, rng: &mut Rng) {
    let is = |clause: &str, word: &str| clause.split(' ').next() == Some(word);
    rule.clauses.retain(|c| !is(c, "emit") && !is(c, "report") && !is(c, "lateness"));
    let Some(pattern) = rule.clauses.iter().find(|c| is(c, "match")) else { return };
    let step = pattern.split([' ', '(']).find_map(|word| word.strip_suffix(':')).unwrap_or("a").to_owned();
    // Without a default a field may be missing that must be there: then no event is made.
    let or = |default: &str, rng: &mut Rng| if rng.percent(80) { format!(" ?? {default}") } else { String::new() };
    let fields = [
        format!("k: {step}.k"),
        format!("u: {step}.j"),
        format!("x: count({step})"),
        format!("j: {step}.j{}", or("\"p\"", rng)),
        format!("n: {step}.n{}", or("1", rng)),
        format!("d: {step}.d{}", or("1.0", rng)),
        format!("s: {step}.s{}", or("\"a\"", rng)),
        format!("ok: {step}.ok{}", or("true", rng)),
        format!("q: {step}.q{}", or("0.5", rng)),
        format!("p: {step}.p"),
    ];
    rule.clauses.push(format!("emit into {ty} {{ {} }}", fields.join(", ")));
}

/// A text with another word in place of one.
fn renamed(text: &str, from: &str, to: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '"';
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_word) {
        let end = rest[start..].find(|c| !is_word(c)).map_or(rest.len(), |n| start + n);
        out.push_str(&rest[..start]);
        // A name behind a point is a field's.
        let field = out.ends_with('.');
        out.push_str(if &rest[start..end] == from && !field { to } else { &rest[start..end] });
        rest = &rest[end..];
    }
    out + rest
}
