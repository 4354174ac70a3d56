//! Alerts as JSON lines.

use lapwing_dsl::functions::{push_timestamp, timestamp_text};
use lapwing_dsl::value::Value;
use lapwing_engine::data::model::Score;
use lapwing_engine::limits::Cap;
use lapwing_engine::output::{Evidence, Match};
use lapwing_engine::rule_set::RuleSet;
use lapwing_engine::strata::{DERIVED, digits_of};
use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde_json::value::RawValue;

/// An alert, ready to be written.
pub struct Alert<'a> {
    /// The match.
    pub body: &'a Match,
    /// The rule set that judged it.
    pub rules: &'a RuleSet,
    /// Names of the sources.
    pub sources: &'a [String],
    /// How many alerts were held back before it.
    pub suppressed: u64,
}

impl Alert<'_> {
    /// Appends the alert and a line end.
    pub fn write(&self, out: &mut Vec<u8>) {
        let body = self.body;
        let entry = &self.rules.rules[body.rule as usize];
        let rule = &entry.program.rule;
        let mut o = Object::begin(out);
        o.raw("id", |out| push_hex(out, &body.id.0));
        o.json("revision", &body.revision);
        o.json("status", body.status.as_str());
        o.json("rule", &rule.name);
        o.json("version", &body.started_version.unwrap_or(entry.version));
        o.json("ruleset", &self.rules.generation);
        o.json("severity", &body.severity);
        if let Some(risk) = &body.risk {
            o.value("risk", risk);
        }
        o.json("tags", &rule.tags);
        o.raw("key", |out| push_pairs(out, rule.key.names.iter().map(String::as_str).zip(&body.key)));
        o.raw("first_at", |out| push_time(out, body.first_at));
        o.raw("at", |out| push_time(out, body.at));
        o.json("title", if rule.title.is_empty() { &rule.name } else { &rule.title });
        o.json("message", &body.message);
        o.raw("fields", |out| push_pairs(out, rule.emit.iter().map(|(n, _)| n.as_str()).zip(&body.fields)));
        o.raw("evidence", |out| self.push_evidence(out));
        if !body.scores.is_empty() {
            let models: Vec<ModelJson<'_>> = body.scores.iter().map(ModelJson::new).collect();
            o.json("models", &models);
        }
        o.json("exact", &(body.caps == 0));
        if body.caps != 0 {
            let names: Vec<&str> = Cap::ALL.iter().filter(|c| body.caps & **c as u8 != 0).map(|c| c.name()).collect();
            o.json("inexact", &names);
        }
        if self.suppressed > 0 {
            o.json("suppressed", &self.suppressed);
        }
        o.json("mode", "live");
        o.end();
        out.push(b'\n');
    }

    /// Each step's events, steps in the order of the rule.
    fn push_evidence(&self, out: &mut Vec<u8>) {
        let Alert { body, rules, sources, .. } = self;
        let rule = &rules.rules[body.rule as usize].program.rule;
        let mut o = Object::begin(out);
        for (i, step) in rule.steps.iter().enumerate().filter(|_| rule.closing.is_none()) {
            let of_step = |e: &&Evidence| e.step.0 as usize == i;
            if !body.evidence.iter().any(|e| of_step(&e)) {
                continue;
            }
            o.raw(&step.name, |out| {
                out.push(b'[');
                for (n, evidence) in body.evidence.iter().filter(of_step).enumerate() {
                    if n > 0 {
                        out.push(b',');
                    }
                    push_event(out, evidence, sources);
                }
                out.push(b']');
            });
        }
        o.end();
    }
}

/// An event that a match has bound.
fn push_event(out: &mut Vec<u8>, evidence: &Evidence, sources: &[String]) {
    let origin = evidence.origin;
    let mut o = Object::begin(out);
    if origin.source == DERIVED {
        o.json("alert", &digits_of(origin));
    } else {
        o.json("source", sources.get(origin.source as usize).map_or("", String::as_str));
        o.json("partition", &origin.partition);
        o.json("offset", &origin.offset);
    }
    o.raw("at", |out| push_time(out, evidence.at));
    o.end();
}

/// An object that is written entry by entry.
struct Object<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> Object<'o> {
    fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Object { out, first: true }
    }

    /// An entry whose value writes itself.
    fn raw(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        push_json(self.out, name);
        self.out.push(b':');
        value(self.out);
    }

    fn json<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        self.raw(name, |out| push_json(out, value));
    }

    fn value(&mut self, name: &str, value: &Value<'static>) {
        self.raw(name, |out| match value {
            Value::Timestamp(v) => push_time(out, *v),
            value => push_json(out, &Json(value)),
        });
    }

    fn end(self) {
        self.out.push(b'}');
    }
}

fn push_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("writing JSON into memory cannot fail");
}

fn push_time(out: &mut Vec<u8>, at: i64) {
    out.push(b'"');
    push_timestamp(out, at);
    out.push(b'"');
}

fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let digit = |v: u8| b"0123456789abcdef"[usize::from(v)];
    out.push(b'"');
    out.extend(bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]));
    out.push(b'"');
}

/// Names with values; a missing value is left out.
fn push_pairs<'p>(out: &mut Vec<u8>, pairs: impl Iterator<Item = (&'p str, &'p Value<'static>)>) {
    let mut o = Object::begin(out);
    pairs.filter(|(_, value)| !value.is_missing()).for_each(|(name, value)| o.value(name, value));
    o.end();
}

/// What a model answered, with what others answered in its shadow.
#[derive(Serialize)]
struct ModelJson<'a> {
    model: &'a str,
    version: u32,
    score: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shadow: Vec<ShadowJson>,
}

#[derive(Serialize)]
struct ShadowJson {
    version: u32,
    score: f64,
}

impl<'a> ModelJson<'a> {
    fn new(score: &'a Score) -> Self {
        let shadow = score.shadow.iter().map(|(version, score)| ShadowJson { version: *version, score: *score });
        ModelJson { model: &score.model, version: score.version, score: score.score, shadow: shadow.collect() }
    }
}

/// A value as JSON: times as RFC 3339, durations as milliseconds, decimals with all their digits, a float that JSON cannot say as text.
pub struct Json<'a>(pub &'a Value<'static>);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Missing => s.serialize_none(),
            Value::Bool(v) => s.serialize_bool(*v),
            Value::Int(v) | Value::Duration(v) => s.serialize_i64(*v),
            Value::Float(v) if v.is_finite() => s.serialize_f64(*v),
            Value::Float(v) => s.collect_str(v),
            Value::Decimal(v) => match RawValue::from_string(v.to_string()) {
                Ok(raw) => raw.serialize(s),
                Err(_) => s.collect_str(v),
            },
            Value::Text(v) => s.serialize_str(v),
            Value::Timestamp(v) => s.serialize_str(&timestamp_text(*v)),
            Value::Ip(v) => s.collect_str(v),
            Value::Cidr(v, n) => s.collect_str(&format_args!("{v}/{n}")),
            Value::Geo(lat, lon) => {
                let mut map = s.serialize_map(Some(2))?;
                map.serialize_entry("lat", lat)?;
                map.serialize_entry("lon", lon)?;
                map.end()
            }
            Value::List(items) => {
                let mut seq = s.serialize_seq(Some(items.len()))?;
                for item in items.iter() {
                    seq.serialize_element(&Json(item))?;
                }
                seq.end()
            }
        }
    }
}
