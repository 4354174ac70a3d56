//! Conditions and values: expressions that a candidate, a run or a window can answer.

use super::construct::Used;
use super::rng::Rng;
use super::times::ZONE;

/// The event types.
pub const TYPES: [&str; 3] = ["e", "f", "g"];

/// The features that are numbers.
const FEATURES: [&str; 6] = ["busy", "spent", "usual", "share", "everybody", "per_type"];

/// A step that binds events.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Its event type.
    pub ty: &'static str,
    /// Whether it may bind several events.
    pub repeated: bool,
}

/// What a condition may read.
pub struct Reads<'a> {
    /// Steps bound before.
    pub before: &'a [Step],
    /// The step itself; none for an absence.
    pub own: Option<&'a Step>,
    /// The candidate's type.
    pub ty: &'static str,
}

/// Writes expressions and notes what it used.
pub struct Writer<'r> {
    /// The numbers.
    pub rng: &'r mut Rng,
    /// What was used.
    pub used: Used,
}

impl Writer<'_> {
    /// Notes a construct.
    pub fn mark(&mut self, name: &'static str) {
        self.used.mark(name);
    }

    /// A short time such as `4ms`.
    pub fn span(&mut self, low: i64, high: i64) -> String {
        format!("{}ms", self.rng.between(low, high))
    }

    fn int(&mut self) -> i64 {
        self.rng.between(0, 3)
    }

    fn text(&mut self) -> &'static str {
        self.rng.word(&["a", "b", "ab", "c"])
    }

    fn order(&mut self) -> &'static str {
        self.rng.word(&["==", "!=", "<", "<=", ">", ">="])
    }

    /// A whole condition: one or two terms.
    pub fn condition(&mut self, reads: &Reads<'_>) -> String {
        let one = self.term(reads);
        match self.rng.below(10) {
            0 => {
                let two = self.simple();
                self.mark("or");
                format!("({one} or {two})")
            }
            1 | 2 => format!("{one} and {}", self.term(reads)),
            _ => one,
        }
    }

    fn term(&mut self, reads: &Reads<'_>) -> String {
        let repeated = reads.own.is_some_and(|s| s.repeated);
        match self.rng.below(13) {
            0 | 1 if !reads.before.is_empty() => self.another(reads.before),
            2 | 3 if repeated => self.prev(),
            4 if repeated => self.so_far(reads.own.map_or("", |s| &s.name)),
            5 | 6 => self.window(reads.ty),
            7 => self.past(),
            _ => self.simple(),
        }
    }

    /// A condition on the candidate alone that often holds.
    pub fn simple(&mut self) -> String {
        let (n, s) = (self.int(), self.text());
        let order = self.order();
        match self.rng.below(37) {
            0..=2 => format!("n {order} {n}"),
            3 => format!("s == \"{s}\""),
            4 => format!("s != \"{s}\""),
            5 => {
                self.mark("in list");
                format!("s in [\"{s}\", \"b\"]")
            }
            6 => {
                self.mark("not in");
                format!("n not in [{n}, 7]")
            }
            7 => {
                self.mark("in range");
                format!("n in {}..{}", n.min(2), n.min(2) + 1)
            }
            8 => {
                self.mark("in network");
                self.rng.pick(&["p in 10.0.0.0/31", "p not in 10.0.0.2/31"]).to_string()
            }
            9 => {
                self.mark("like");
                format!("s like \"{}\"", self.rng.pick(&["a*", "?", "*b", "a?", "*b*", "a*b", "?b"]))
            }
            10 => {
                self.mark("ilike");
                format!("s ilike \"{}\"", self.rng.pick(&["A*", "?B", "B", "*B*"]))
            }
            11 => {
                self.mark("matches");
                format!("s matches \"{}\"", self.rng.pick(&["^a", "b$", "a|c", "a|b|c", "^.$", "a.?b"]))
            }
            12 => {
                self.mark("is missing");
                "x is missing".to_owned()
            }
            13 => {
                self.mark("is present");
                "x is present".to_owned()
            }
            14 => {
                self.mark("??");
                format!("(x ?? {n}) {order} 1")
            }
            15 => format!("x {order} {n}"),
            16 => {
                self.mark("decimal");
                let by = self.rng.pick(&["1.00", "0.75", "1.5"]);
                format!("d * 2 {order} {by}")
            }
            17 => {
                self.mark("float");
                format!("q {order} 0.5")
            }
            18 => {
                self.mark("arithmetic");
                self.rng.pick(&["n % 2 == 0", "n + 1 > 2", "n * 2 - 1 < 4", "-n < 0", "n * x > 1"]).to_string()
            }
            19 => {
                self.mark("division");
                self.rng.pick(&["n / 2 >= 1", "x / n > 0.5", "d / 2 > 0.4"]).to_string()
            }
            20 => {
                self.mark("if");
                format!("if(ok, n, 3 - n) {order} {n}")
            }
            21 => {
                self.mark("text function");
                self.rng
                    .pick(&[
                        "length(s) == 1",
                        "upper(s) == \"A\"",
                        "starts_with(s, \"a\")",
                        "contains(s, \"b\")",
                        "ends_with(s, \"b\")",
                        "contains(lower(s), \"b\")",
                        "starts_with(lower(s), \"a\")",
                        "lower(s) like \"*b\"",
                        "lower(s) matches \"a|b\"",
                    ])
                    .to_string()
            }
            22 => "ok".to_owned(),
            23 => {
                self.mark("not");
                self.rng.pick(&["not ok", "not (n > 1)", "not x > 1"]).to_string()
            }
            24 | 25 => {
                self.mark("list of strings");
                self.rng.pick(&["s in texts", "s not in texts", "j in texts", "k not in texts"]).to_string()
            }
            26 => {
                self.mark("list of ints");
                self.rng.pick(&["n in whole", "x not in whole", "n + 1 in whole"]).to_string()
            }
            27 => {
                self.mark("list of decimals");
                self.rng.pick(&["d in exact", "d not in exact", "n in exact"]).to_string()
            }
            28 => {
                let (name, term) = *self.rng.pick(&[
                    ("list of addresses", "p in addresses"),
                    ("list of addresses", "p not in addresses"),
                    ("list of networks", "p in nets"),
                    ("list of networks", "p not in nets"),
                ]);
                self.mark(name);
                term.to_owned()
            }
            29 => {
                self.mark("table");
                let column = self.rng.pick(&["base[j].top", "(base[k].top ?? 1)", "base[\"p\"].top"]);
                format!("{column} {order} {n}")
            }
            30 => {
                self.mark("table");
                let terms = ["base[j].word == s", "d < (base[u].share ?? 1)", "base[j].top is missing"];
                self.rng.pick(&terms).to_string()
            }
            31 => {
                self.mark("table by two");
                let terms = ["pairs[s, n].top > 0", "pairs[s, x].word is present", "pairs[\"a\", n].top == n"];
                self.rng.pick(&terms).to_string()
            }
            32 | 33 => {
                self.mark("model");
                let scores = [
                    "near(n: n, q: q)",
                    "far(n: n, x: x, q: q)",
                    "(far(n: n, x: x, q: q) ?? 0.5)",
                    "near(n: x, q: 1.5)",
                ];
                format!("{} {order} {}", self.rng.pick(&scores), self.rng.pick(&["0.25", "0.5", "-0.5"]))
            }
            34 => {
                self.mark("model");
                let terms = [
                    "(ok or near(n: n, q: q) > 0)",
                    "if(ok, near(n: n, q: q), far(n: 1, x: n, q: q)) > 0",
                    "near(n: base[j].top, q: q) > 0.25",
                    "near(n: n, q: q) < far(n: n, x: n, q: 0.5)",
                ];
                self.rng.pick(&terms).to_string()
            }
            35 | 36 => {
                self.mark("geoip");
                let terms = [
                    "geoip(p).country == \"DE\"",
                    "geoip(p).city is missing",
                    "(geoip(p).asn ?? 1) > 0",
                    "geoip(p).asn == n",
                    "distance_km(geoip(p).place, geo(1, 1)) < 200",
                ];
                self.rng.pick(&terms).to_string()
            }
            _ => format!("n {order} {n}"),
        }
    }

    /// A comparison with a step bound before.
    fn another(&mut self, before: &[Step]) -> String {
        let step = self.rng.pick(before).name.clone();
        let order = self.order();
        self.mark("where another step");
        match self.rng.below(10) {
            0 => format!("s == {step}.s"),
            9 => {
                self.mark("geoip of a run");
                format!("(geoip(p).country ?? \"-\") != geoip({step}.p).country")
            }
            8 => {
                self.mark("model of a run");
                format!("near(n: {step}.n, q: q) > 0.25")
            }
            1 => format!("n in [{step}.n, 2]"),
            2 => format!("n in {step}.n..3"),
            3 => {
                self.mark("duration");
                let within = self.span(1, 4);
                format!("at - {step}.at < {within}")
            }
            4 => format!("d >= {step}.d"),
            5 => {
                let n = self.rng.between(1, 2);
                self.mark("count");
                format!("count({step}) >= {n}")
            }
            6 => {
                let which = *self.rng.pick(&["first", "last"]);
                self.mark(if which == "first" { "first n in where" } else { "last n in where" });
                format!("n != ({which}({step}, 1).n ?? 1)")
            }
            _ => format!("n {order} {step}.n"),
        }
    }

    fn prev(&mut self) -> String {
        self.mark("prev");
        match self.rng.below(5) {
            0 => {
                self.mark("prev of time");
                let within = self.span(1, 4);
                format!("at - prev.at <= {within}")
            }
            1 => "s != prev.s".to_owned(),
            2 => "d >= prev.d".to_owned(),
            3 => "prev.ok".to_owned(),
            _ => format!("n {} prev.n", self.order()),
        }
    }

    /// An aggregate over the elements that the step has bound so far.
    fn so_far(&mut self, own: &str) -> String {
        self.mark("own aggregate");
        match self.rng.below(8) {
            0 => format!("count({own}) < {}", self.rng.between(1, 3)),
            1 => format!("sum({own}.n) < {}", self.rng.between(2, 5)),
            2 => format!("n >= (avg({own}.n) ?? 0)"),
            3 => format!("n != (max({own}.n) ?? 9)"),
            4 => format!("(first({own}).s ?? s) == s"),
            5 => format!("n > (min({own}.n) ?? -1)"),
            6 => {
                self.mark("first n in where");
                format!("n >= (first({own}, 1).n ?? 0)")
            }
            _ => {
                self.mark("last n in where");
                format!("n != (last({own}, 1).n ?? 9)")
            }
        }
    }

    /// An aggregate over a window, compared.
    pub fn window(&mut self, candidate: &'static str) -> String {
        if self.rng.percent(15) {
            let list = self.window_list(candidate);
            let item = if list.contains(".s") { "s" } else { "n" };
            return format!("{item} in {list}");
        }
        let value = self.window_value(candidate);
        let order = self.order();
        format!("{value} {order} {}", self.rng.between(0, 2))
    }

    fn window_type(&mut self, candidate: &'static str) -> &'static str {
        self.mark("over");
        if self.rng.percent(60) { candidate } else { self.rng.word(&TYPES) }
    }

    fn window_filter(&mut self) -> String {
        if !self.rng.percent(30) {
            return String::new();
        }
        self.mark("over where");
        let (name, condition) = *self.rng.pick(&[
            ("over where", "ok"),
            ("over where", "n > 0"),
            ("over where", "x is present"),
            ("over where", "s != \"c\""),
            ("list over", "s in texts"),
            ("list over", "n not in whole"),
            ("table over", "base[j].top > 0"),
            ("model over", "near(n: n, q: q) > 0"),
            ("table over", "pairs[s, n].top == 1"),
        ]);
        self.mark(name);
        format!(" where {condition}")
    }

    /// A list over a window, of ints or of texts.
    pub fn window_list(&mut self, candidate: &'static str) -> String {
        let (ty, filter) = (self.window_type(candidate), self.window_filter());
        let field = *self.rng.pick(&["n", "s"]);
        let n = self.rng.between(1, 3);
        let name = *self.rng.pick(&["list", "topk"]);
        self.mark(if name == "list" { "over list" } else { "over topk" });
        let rest = self.window_rest();
        format!("{name}({ty}.{field}, {n}{filter}){rest}")
    }

    /// An aggregate over a window that gives a number.
    pub fn window_value(&mut self, candidate: &'static str) -> String {
        if self.rng.percent(12) {
            self.mark("feature");
            return (*self.rng.pick(&FEATURES)).to_owned();
        }
        if self.rng.percent(7) {
            return self.samples();
        }
        let (ty, filter) = (self.window_type(candidate), self.window_filter());
        let mut pick = |fields: &[&'static str]| *self.rng.pick(fields);
        let number = pick(&["n", "x", "q", "d"]);
        let (mark, inner) = match self.rng.below(22) {
            0 | 1 => ("over sum", format!("sum({ty}.{number}{filter})")),
            2 => ("over avg", format!("avg({ty}.{number}{filter})")),
            3 => ("over min", format!("min({ty}.{number}{filter})")),
            4 => ("over max", format!("max({ty}.{number}{filter})")),
            5 => ("over stddev", format!("stddev({ty}.{number}{filter})")),
            6 => {
                let what = self.rng.weighted(&[(3, 's'), (1, 'p')]);
                let what = if what == 's' { format!("{ty}.s") } else { format!("geoip({ty}.p).city") };
                ("over distinct", format!("distinct({what}{filter})"))
            }
            7 => ("over distinct", format!("distinct({ty}.x, {ty}.ok{filter})")),
            8 => ("over first", format!("first({ty}.{number}{filter})")),
            9 => ("over last value", format!("last({ty}.{number}{filter})")),
            10 => ("over median", format!("median({ty}.{number}{filter})")),
            11 => {
                let q = *self.rng.pick(&["0", "0.25", "0.9", "1"]);
                ("over quantile", format!("quantile({ty}.{number}, {q}{filter})"))
            }
            12 => {
                let field = *self.rng.pick(&["s", "x", "q", "p"]);
                ("over approx_distinct", format!("approx_distinct({ty}.{field}{filter})"))
            }
            13 => {
                let (field, alpha) = (*self.rng.pick(&["n", "x", "q"]), *self.rng.pick(&["0.5", "0.3", "1"]));
                ("over ema", format!("ema({ty}.{field}, {alpha}{filter})"))
            }
            14 | 15 => ("over rate", format!("rate({ty}{filter})")),
            16 => {
                let second = *self.rng.pick(&["n", "x", "q", "d"]);
                ("over corr", format!("corr({ty}.{number}, {ty}.{second}{filter})"))
            }
            17 => ("over count of a value", format!("count({ty}.x{filter})")),
            _ => ("over", format!("count({ty}{filter})")),
        };
        self.mark(mark);
        let rest = self.window_rest();
        format!("{inner}{rest}")
    }

    /// `corr` of two features.
    fn samples(&mut self) -> String {
        self.mark("corr of features");
        let (first, second) = (*self.rng.pick(&FEATURES), *self.rng.pick(&FEATURES));
        let length = self.rng.between(4, 15);
        let window = match self.rng.below(6) {
            0 => self.tumbling(length),
            1 => self.hopping(length),
            2 => format!("session {}ms", self.rng.between(1, 6)),
            3 => format!("last {}", self.rng.between(2, 8)),
            4 => format!("{length}ms offset {}ms", self.rng.between(1, 3)),
            _ => format!("{length}ms"),
        };
        format!("corr({first}, {second}) over {window}")
    }

    /// The key and the kind of a window.
    fn window_rest(&mut self) -> String {
        let by = if self.rng.percent(30) {
            self.mark("over by");
            self.rng.pick(&[" by j", " by k?", " by j, u", " by k"])
        } else {
            ""
        };
        let length = self.rng.between(2, 12);
        let (mark, kind, timed) = match self.rng.below(16) {
            0 | 1 => ("over tumbling", self.tumbling(length), true),
            2 | 3 => ("over every", self.hopping(length), true),
            4 | 5 => ("over session", format!("session {}ms", self.rng.between(1, 4)), false),
            6 | 7 => ("over last", format!("last {}", self.rng.between(1, 6)), false),
            8 | 9 => {
                let percent = *self.rng.pick(&["25", "50", "100", "12.5"]);
                let moves = *self.rng.pick(&["n", "x", "q", "d", "n * n"]);
                ("over delta", format!("delta({moves}, {percent}%)"), false)
            }
            _ => ("over", format!("{length}ms"), true),
        };
        self.mark(mark);
        let offset = if timed && self.rng.percent(20) {
            self.mark("offset");
            format!(" offset {}", self.span(1, 4))
        } else {
            String::new()
        };
        format!("{by} over {kind}{offset}")
    }

    /// A window of the calendar that begins where the one before ends.
    pub fn tumbling(&mut self, length: i64) -> String {
        // Often a length that divides a day whatever the unit is.
        let length = if self.rng.percent(50) { *self.rng.pick(&[1, 2, 3, 7]) } else { length };
        format!("{length}ms tumbling{}", self.zone())
    }

    /// One of the calendar that begins every so often.
    pub fn hopping(&mut self, length: i64) -> String {
        let zone = self.zone();
        let every = self.rng.between(1, length);
        // With a zone the length is so many times that.
        let length = if zone.is_empty() { length } else { every * self.rng.between(1, 4) };
        format!("{length}ms every {every}ms{zone}")
    }

    fn zone(&mut self) -> &'static str {
        if self.rng.percent(70) { ZONE } else { "" }
    }

    /// `lag` and `first_seen`.
    fn past(&mut self) -> String {
        let length = self.span(3, 12);
        match self.rng.below(6) {
            0 => {
                self.mark("lag");
                format!("n {} lag(n)", self.order())
            }
            1 | 2 => {
                self.mark("lag n");
                format!("s == lag(s, {})", self.rng.between(2, 3))
            }
            3 => {
                self.mark("first_seen where");
                format!("first_seen(s where ok) over {length}")
            }
            4 => {
                let what = self.rng.pick(&["s, n", "geoip(p).country"]);
                format!("first_seen({what}) over {length}")
            }
            _ => {
                self.mark("first_seen");
                format!("{}first_seen(s) over {length}", self.rng.pick(&["", "not "]))
            }
        }
    }

    /// A value over a whole match, for `emit` and messages.
    pub fn result(&mut self, steps: &[Step]) -> String {
        let step = self.rng.pick(steps).clone();
        if self.rng.percent(12) {
            self.mark("emit over");
            return if self.rng.percent(20) { self.window_list(step.ty) } else { self.window_value(step.ty) };
        }
        let f = &step.name;
        let mut say = |name: &'static str, text: String| {
            self.used.mark(name);
            text
        };
        match self.rng.below(30) {
            28 => say("geoip in a result", format!("geoip({f}.p).place")),
            29 => say("geoip in a result", format!("geoip(last({f}).p).country")),
            26 => say("model in a result", format!("near(n: {f}.n, q: {f}.q)")),
            27 => say("model in a result", format!("far(n: count({f}), x: last({f}).n, q: {f}.q)")),
            0 => say("count", format!("count({f})")),
            1 => say("sum", format!("sum({f}.n)")),
            2 => say("decimal", format!("sum({f}.d)")),
            3 => say("avg", format!("avg({f}.x)")),
            4 => say("min", format!("min({f}.s)")),
            5 => say("max", format!("max({f}.d)")),
            6 => say("stddev", format!("stddev({f}.n)")),
            7 => say("distinct", format!("distinct({f}.s)")),
            8 => say("list", format!("list({f}.x)")),
            9 => say("first", format!("first({f}).n")),
            10 => say("last", format!("last({f}).at")),
            11 => say("first n", format!("first({f}, 1).s")),
            12 => say("last n", format!("last({f}, 1).n")),
            13 => say("sum of a product", format!("sum({f}.n * {f}.x)")),
            14 if step.repeated => say("stddev of gaps", format!("stddev({f}.at - prev.at)")),
            15 if step.repeated => say("prev", format!("list({f}.n - prev.n)")),
            16 => say("emit over", self_window(self.rng, &step)),
            17 => say("avg", format!("avg({f}.d)")),
            18 => say("if", format!("if({f}.ok, {f}.n, 7)")),
            19 => say("duration", format!("last({f}).at - first({f}).at")),
            20 => say("??", format!("{f}.x ?? {f}.n")),
            22 => say("list in a result", format!("{f}.s in texts")),
            23 => say("table in a result", format!("base[{f}.j].top")),
            24 => say("table in a result", format!("if({f}.p in nets, pairs[{f}.s, {f}.n].word, base[{f}.k].word)")),
            21 => say("emit first_seen", format!("first_seen({}.s) over {}ms", step.ty, self.rng.between(3, 12))),
            _ => format!("{f}.{}", self.rng.pick(&["n", "s", "d", "q", "x", "p"])),
        }
    }
}

fn self_window(rng: &mut Rng, step: &Step) -> String {
    let ty = if rng.percent(60) { step.ty } else { *rng.pick(&TYPES) };
    let length = rng.between(2, 12);
    format!("{} over {length}ms", rng.pick(&[format!("count({ty})"), format!("sum({ty}.d)"), format!("avg({ty}.n)")]))
}
