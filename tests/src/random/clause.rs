//! A rule: its clauses, one a line.

use super::condition::{Step, Writer};
use super::construct::Used;
use super::pattern::{Keys, Patterns};
use super::rng::Rng;
use super::times::{Times, ZONE};

/// A rule's text in pieces, so that a shrinker can leave clauses out.
#[derive(Clone, Debug)]
pub struct RuleText {
    /// Its name.
    pub name: String,
    /// Its clauses; the one that begins with `match` or `window` has to stay.
    pub clauses: Vec<String>,
}

impl RuleText {
    /// As it stands in a file.
    pub fn text(&self, times: &Times) -> String {
        times.text(&format!("rule {} {{\n  {}\n}}\n", self.name, self.clauses.join("\n  ")))
    }
}

/// A random rule, with the constructs it uses.
pub fn rule(name: &str, rng: &mut Rng) -> (RuleText, Used) {
    let mut writer = Writer { rng, used: Used::default() };
    let (by, keys) = key(&mut writer);
    if writer.rng.percent(8) {
        return closing(name, by, writer);
    }
    if writer.rng.percent(6) {
        return pair(name, by, keys, writer);
    }
    let mode = writer.rng.weighted(&[(6, "match"), (2, "match each"), (3, "match last")]);
    writer.mark(mode);
    let room = writer.rng.between(1, 5) as usize;
    let mut patterns = Patterns::new(&mut writer, keys, room);
    let pattern = patterns.pattern();
    let steps = patterns.steps;
    let mut clauses: Vec<String> = by.into_iter().collect();
    clauses.push(format!("{mode} {pattern}"));
    let within = writer.span(3, 18);
    clauses.push(format!("within {within}"));
    if mode == "match" {
        selection(&mut writer, &steps, &mut clauses);
    }
    if writer.rng.percent(20) {
        when(&mut writer, &steps, &mut clauses);
    }
    if writer.rng.percent(12) {
        stop(&mut writer, &mut clauses);
    }
    results(&mut writer, &steps, keys, &mut clauses);
    if !clauses.iter().any(|c| c == "report final" || c == "report updates") {
        lateness(&mut writer, 15, &mut clauses);
    }
    (RuleText { name: name.to_owned(), clauses }, writer.used)
}

/// One event, then another that asks of it nothing or an equality: the shape whose runs the engine gathers.
fn pair(name: &str, by: Option<String>, keys: Keys, mut writer: Writer<'_>) -> (RuleText, Used) {
    writer.mark("pair");
    let steps = ["a", "b"].map(|name| {
        let ty = writer.rng.weighted(&[(3, "e"), (2, "f")]);
        Step { name: name.to_owned(), ty, repeated: false }
    });
    let first = if writer.rng.percent(30) { " where ok" } else { "" };
    let second = writer.rng.weighted(&[
        (2, ""),
        (2, " where s == a.s"),
        (1, " where a.n == n and q >= 0.5"),
        (1, " where not ok"),
    ]);
    let mut clauses: Vec<String> = by.into_iter().collect();
    clauses.push(format!("match a: {}{first} then b: {}{second}", steps[0].ty, steps[1].ty));
    clauses.push(format!("within {}", writer.span(3, 18)));
    results(&mut writer, &steps, keys, &mut clauses);
    (RuleText { name: name.to_owned(), clauses }, writer.used)
}

/// A rule that fires when a window closes, some of them for rows.
fn closing(name: &str, by: Option<String>, mut writer: Writer<'_>) -> (RuleText, Used) {
    let w = &mut writer;
    let length = w.rng.between(2, 9);
    let (mark, window) = match w.rng.below(7) {
        0 | 1 => ("window every", w.hopping(length)),
        2 | 3 => ("window session", format!("session {}ms", w.rng.between(1, 4))),
        _ => ("window tumbling", w.tumbling(length)),
    };
    w.mark(mark);
    let session = mark == "window session";
    let mut clauses: Vec<String> = by.into_iter().collect();
    if !session && w.rng.percent(35) {
        w.mark("window for rows");
        let (by, rows) = *w.rng.pick(&[
            ("j", "base"),
            ("s", "texts"),
            ("n", "whole"),
            ("s, n", "pairs"),
            ("p", "addresses"),
            ("d", "exact"),
        ]);
        clauses = vec![format!("by {by}"), format!("window {window} for {rows}")];
    } else {
        clauses.push(format!("window {window}"));
    }
    let (ty, filter) = (
        w.rng.weighted(&[(4, "e"), (2, "f"), (1, "g")]),
        *w.rng.pick(&["", "", " where ok", " where n > 0", " where s != \"b\" and ok"]),
    );
    let value = |w: &mut Writer<'_>| {
        let other = !session && w.rng.percent(30);
        let (ty, filter) = if other { (*w.rng.pick(&["e", "f", "g"]), "") } else { (ty, filter) };
        let inner = *w.rng.pick(&[
            "sum(T.nF)",
            "avg(T.xF)",
            "max(T.dF)",
            "distinct(T.sF)",
            "last(T.xF)",
            "median(T.qF)",
            "rate(TF)",
            "list(T.n, 3F)",
            "count(TF)",
            "near(n: count(TF), q: median(T.qF))",
        ]);
        inner.replace('T', ty).replace('F', filter)
    };
    let counted = format!("count({ty}{filter})");
    if w.rng.percent(25) {
        w.mark("model of a window");
        clauses.push(format!("when near(n: {counted}, q: 0.5) > 0 or far(n: 1, x: {counted}, q: 1.5) > 0"));
    } else if w.rng.percent(70) {
        let n = w.rng.between(0, 2);
        let order = *w.rng.pick(&[">", ">=", "<=", "==", "!="]);
        clauses.push(format!("when {counted} {order} {n}"));
    }
    let mut fields = vec![format!("n: {counted}")];
    for i in 0..w.rng.between(0, 3) {
        fields.push(format!("v{i}: {}", value(w)));
    }
    if w.rng.percent(30) {
        fields.push(format!(
            "o: {} over {}ms",
            *w.rng.pick(&["count(e)", "sum(f.n)", "max(e.x)"]),
            w.rng.between(2, 12)
        ));
    }
    if clauses[0] == "by k" && w.rng.percent(30) {
        w.mark("feature");
        fields.push("f: busy".to_owned());
    }
    clauses.push(format!("emit {{ {} }}", fields.join(", ")));
    if w.rng.percent(25) {
        w.mark("message");
        clauses.push(format!("message \"there are {{{counted}}}\""));
    }
    if w.rng.percent(20) {
        w.mark("suppress");
        clauses.push(format!("suppress {}", w.span(2, 9)));
    }
    lateness(w, 40, &mut clauses);
    (RuleText { name: name.to_owned(), clauses }, writer.used)
}

/// A late event may still change what was reported.
fn lateness(w: &mut Writer<'_>, percent: u64, clauses: &mut Vec<String>) {
    if w.rng.percent(percent) {
        w.mark("lateness");
        clauses.push(format!("lateness {}", w.span(1, 9)));
    }
}

fn key(w: &mut Writer<'_>) -> (Option<String>, Keys) {
    let (name, by, keys) = w.rng.weighted(&[
        (2, ("no key", None, Keys::None)),
        (6, ("key", Some("by k"), Keys::One)),
        (2, ("optional key", Some("by k?"), Keys::One)),
        (2, ("composite key", Some("by k, j"), Keys::Two)),
        (1, ("composite key", Some("by k?, j"), Keys::Two)),
        (2, ("per type key", Some("by { e: k, f: u, g: j }"), Keys::One)),
    ]);
    w.mark(name);
    (by.map(str::to_owned), keys)
}

fn selection(w: &mut Writer<'_>, steps: &[Step], clauses: &mut Vec<String>) {
    let report = w.rng.weighted(&[(5, "report early"), (3, "report final"), (3, "report updates")]);
    w.mark(report);
    if report != "report early" || w.rng.percent(30) {
        clauses.push(report.to_owned());
    }
    let step = w.rng.pick(steps).name.clone();
    let (name, text) = match w.rng.below(7) {
        0 => ("skip to next", "skip to next".to_owned()),
        1 => ("skip to first", format!("skip to first {step}")),
        2 => ("skip to last", format!("skip to last {step}")),
        3 => ("skip none", "skip none".to_owned()),
        _ => ("skip past last", "skip past last".to_owned()),
    };
    w.mark(name);
    clauses.push(text);
}

fn when(w: &mut Writer<'_>, steps: &[Step], clauses: &mut Vec<String>) {
    w.mark("when");
    let a = w.rng.pick(steps).name.clone();
    let b = w.rng.pick(steps).clone();
    let n = w.rng.between(0, 3);
    let condition = match w.rng.below(12) {
        10 => {
            w.mark("model in a result");
            format!("near(n: {a}.n, q: {a}.q) > 0 or {a}.n in whole")
        }
        0 => format!("count({a}) > {n}"),
        1 => format!("sum({a}.n) > {n}"),
        2 => format!("{a}.n <= (first({}).n ?? 2)", b.name),
        3 => format!("last({a}).n != (first({a}, 1).n ?? 9)"),
        4 => format!("distinct({a}.s) >= {}", n.min(2)),
        5 => format!("(sum({a}.d) > 1.25) or {a}.ok"),
        7 => {
            w.mark("list in a result");
            format!("{a}.n in whole or {a}.p not in nets")
        }
        8 => {
            w.mark("table in a result");
            format!("(base[{a}.j].top ?? 1) <= {n}")
        }
        6 | 11 => {
            w.mark("when first_seen");
            let within = w.span(3, 12);
            format!("{}first_seen({}.s where ok) over {within}", w.rng.pick(&["", "not "]), b.ty)
        }
        _ => {
            w.mark("when over");
            w.window(b.ty)
        }
    };
    clauses.push(format!("when {condition}"));
}

fn stop(w: &mut Writer<'_>, clauses: &mut Vec<String>) {
    w.mark("stop on");
    let ty = w.rng.weighted(&[(3, "g"), (1, "e"), (1, "f")]);
    let condition = if ty != "g" || w.rng.percent(40) {
        w.mark("stop on where");
        format!(" where {}", w.rng.pick(&["n == 3", "not ok", "s == \"c\"", "x is missing", "s in texts"]))
    } else {
        String::new()
    };
    clauses.push(format!("stop on {ty}{condition}"));
}

fn results(w: &mut Writer<'_>, steps: &[Step], keys: Keys, clauses: &mut Vec<String>) {
    if w.rng.percent(75) {
        w.mark("emit");
        let n = w.rng.between(1, 4);
        let fields: Vec<String> = (0..n).map(|i| format!("v{i}: {}", w.result(steps))).collect();
        clauses.push(format!("emit {{ {} }}", fields.join(", ")));
    }
    if w.rng.percent(25) {
        w.mark("message");
        // A text stands in no text.
        let value = w.result(steps).replace(ZONE, "");
        let key = if keys == Keys::None { "-" } else { "{k}" };
        clauses.push(format!("message \"{key} has {{{value}}}, {{count({})}}\"", steps[0].name));
    }
    if w.rng.percent(15) {
        w.mark("severity");
        clauses.push("severity low".to_owned());
    } else if w.rng.percent(15) {
        w.mark("severity if");
        let step = &w.rng.pick(steps).name;
        clauses.push(format!("severity if(count({step}) > 1, critical, info)"));
    }
    if w.rng.percent(20) {
        w.mark("suppress");
        let length = w.span(2, 9);
        let by = if w.rng.percent(40) {
            w.mark("suppress by");
            format!(" by {}.{}", w.rng.pick(steps).name, w.rng.pick(&["s", "n", "x"]))
        } else {
            String::new()
        };
        clauses.push(format!("suppress {length}{by}"));
    }
}
