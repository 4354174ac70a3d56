//! Alerts as JSON lines.

use lapwing_dsl::functions::timestamp_text;
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
        serde_json::to_writer(&mut *out, self).expect("writing JSON into memory cannot fail");
        out.push(b'\n');
    }
}

impl Serialize for Alert<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let body = self.body;
        let entry = &self.rules.rules[body.rule as usize];
        let rule = &entry.program.rule;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &hex(&body.id.0))?;
        map.serialize_entry("revision", &body.revision)?;
        map.serialize_entry("status", body.status.as_str())?;
        map.serialize_entry("rule", &rule.name)?;
        map.serialize_entry("version", &body.started_version.unwrap_or(entry.version))?;
        map.serialize_entry("ruleset", &self.rules.generation)?;
        map.serialize_entry("severity", &body.severity)?;
        if let Some(risk) = &body.risk {
            map.serialize_entry("risk", &Json(risk))?;
        }
        map.serialize_entry("tags", &rule.tags)?;
        map.serialize_entry("key", &Pairs(rule.key.names.iter().map(String::as_str).zip(&body.key).collect()))?;
        map.serialize_entry("first_at", &timestamp_text(body.first_at))?;
        map.serialize_entry("at", &timestamp_text(body.at))?;
        map.serialize_entry("title", if rule.title.is_empty() { &rule.name } else { &rule.title })?;
        map.serialize_entry("message", &body.message)?;
        map.serialize_entry("fields", &Pairs(rule.emit.iter().map(|(n, _)| n.as_str()).zip(&body.fields).collect()))?;
        map.serialize_entry("evidence", &EvidenceByStep { alert: self })?;
        if !body.scores.is_empty() {
            let models: Vec<ModelJson<'_>> = body.scores.iter().map(ModelJson::new).collect();
            map.serialize_entry("models", &models)?;
        }
        map.serialize_entry("exact", &(body.caps == 0))?;
        if body.caps != 0 {
            let names: Vec<&str> = Cap::ALL.iter().filter(|c| body.caps & **c as u8 != 0).map(|c| c.name()).collect();
            map.serialize_entry("inexact", &names)?;
        }
        if self.suppressed > 0 {
            map.serialize_entry("suppressed", &self.suppressed)?;
        }
        map.serialize_entry("mode", "live")?;
        map.end()
    }
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Names with values; a missing value is left out.
struct Pairs<'a>(Vec<(&'a str, &'a Value<'static>)>);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0.iter().filter(|(_, v)| !v.is_missing()) {
            map.serialize_entry(name, &Json(value))?;
        }
        map.end()
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

/// Each step's events, steps in the order of the rule.
struct EvidenceByStep<'a> {
    alert: &'a Alert<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum EvidenceJson<'a> {
    Logged { source: &'a str, partition: u16, offset: u64, at: String },
    Derived { alert: String, at: String },
}

impl<'a> EvidenceJson<'a> {
    fn new(evidence: &Evidence, sources: &'a [String]) -> EvidenceJson<'a> {
        let (origin, at) = (evidence.origin, timestamp_text(evidence.at));
        if origin.source == DERIVED {
            return EvidenceJson::Derived { alert: digits_of(origin), at };
        }
        let source = sources.get(origin.source as usize).map_or("", String::as_str);
        EvidenceJson::Logged { source, partition: origin.partition, offset: origin.offset, at }
    }
}

impl Serialize for EvidenceByStep<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Alert { body, rules, sources, .. } = self.alert;
        let steps = &rules.rules[body.rule as usize].program.rule.steps;
        let mut map = serializer.serialize_map(None)?;
        let closing = rules.rules[body.rule as usize].program.rule.closing.is_some();
        for (i, step) in steps.iter().enumerate().filter(|_| !closing) {
            let events: Vec<EvidenceJson<'_>> = body
                .evidence
                .iter()
                .filter(|e| e.step.0 as usize == i)
                .map(|e| EvidenceJson::new(e, sources))
                .collect();
            if !events.is_empty() {
                map.serialize_entry(&step.name, &events)?;
            }
        }
        map.end()
    }
}
