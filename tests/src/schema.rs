//! Holds JSON to a JSON Schema, as far as the schema of alerts uses Draft 2020-12: a keyword that is not known here is a failure.
//!
//! It is stricter than the standard in one thing: an object has no members that the schema does not name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, Mutex, PoisonError};

use lapwing::data::alert_schema;
use regex::Regex;
use serde_json::Value as Json;

static ALERT: LazyLock<Schema> = LazyLock::new(|| Schema::new(alert_schema::schema()));

/// The members of alerts that were met so far in this process.
static MET: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Holds an alert to the published schema.
#[track_caller]
pub fn hold_alert(alert: &Json) {
    if let Err(why) = ALERT.check(alert) {
        panic!("the alert is not what its schema says: {why}\n{alert:#}");
    }
    let members = alert.as_object().into_iter().flat_map(|members| members.keys());
    let mut met = MET.lock().unwrap_or_else(PoisonError::into_inner);
    for member in members {
        if !met.contains(member) {
            met.insert(member.clone());
        }
    }
}

/// The members that were met so far.
pub fn met() -> BTreeSet<String> {
    MET.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A schema, with its patterns compiled.
pub struct Schema {
    root: Json,
    patterns: BTreeMap<String, Regex>,
}

impl Schema {
    /// Of its JSON.
    pub fn new(root: Json) -> Schema {
        let mut patterns = BTreeMap::new();
        gather(&root, &mut patterns);
        Schema { root, patterns }
    }

    /// Says what is wrong with a value, and where.
    pub fn check(&self, value: &Json) -> Result<(), String> {
        self.at(&self.root, value, "")
    }

    fn at(&self, schema: &Json, value: &Json, place: &str) -> Result<(), String> {
        let wrong = |what: String| Err(format!("{place}: {what}"));
        for (keyword, said) in schema.as_object().ok_or("a schema is an object")? {
            match keyword.as_str() {
                "$schema" | "title" | "description" | "$defs" => {}
                "$ref" => {
                    let path = text(said).strip_prefix('#').expect("references are within the schema");
                    self.at(self.root.pointer(path).ok_or_else(|| format!("{path} is not there"))?, value, place)?;
                }
                "type" => {
                    let is = |name: &Json| match text(name) {
                        "object" => value.is_object(),
                        "array" => value.is_array(),
                        "string" => value.is_string(),
                        "number" => value.is_number(),
                        "integer" => value.is_u64() || value.is_i64(),
                        "boolean" => value.is_boolean(),
                        "null" => value.is_null(),
                        other => panic!("{other} is no type"),
                    };
                    if !(is_any(said, is)) {
                        return wrong(format!("{value} is not of type {said}"));
                    }
                }
                "enum" if list(said).contains(value) => {}
                "enum" => return wrong(format!("{value} is none of {said}")),
                "pattern" if value.as_str().is_none_or(|v| self.patterns[text(said)].is_match(v)) => {}
                "pattern" => return wrong(format!("{value} is not like {said}")),
                "minimum" if value.as_f64().is_none_or(|v| v >= said.as_f64().expect("a number")) => {}
                "minimum" => return wrong(format!("{value} is less than {said}")),
                "required" => {
                    let lacks = |name: &&Json| value.is_object() && value.get(text(name)).is_none();
                    if let Some(name) = list(said).iter().find(lacks) {
                        return wrong(format!("{name} is missing"));
                    }
                }
                "properties" => {
                    for (name, value) in value.as_object().into_iter().flatten() {
                        let schema = said.get(name).ok_or_else(|| format!("{place}: `{name}` is not in the schema"))?;
                        self.at(schema, value, &format!("{place}/{name}"))?;
                    }
                }
                "additionalProperties" => {
                    for (name, value) in value.as_object().into_iter().flatten() {
                        self.at(said, value, &format!("{place}/{name}"))?;
                    }
                }
                "items" => {
                    for (i, value) in value.as_array().into_iter().flatten().enumerate() {
                        self.at(said, value, &format!("{place}/{i}"))?;
                    }
                }
                "anyOf" => {
                    let tried: Vec<_> = list(said).iter().map(|schema| self.at(schema, value, place)).collect();
                    if tried.iter().all(Result::is_err) {
                        return wrong(format!("{value} fits nothing: {tried:?}"));
                    }
                }
                other => panic!("the keyword `{other}` is not known here"),
            }
        }
        Ok(())
    }
}

fn text(json: &Json) -> &str {
    json.as_str().expect("it is a text")
}

fn list(json: &Json) -> &[Json] {
    json.as_array().expect("it is a list")
}

fn is_any(said: &Json, is: impl Fn(&Json) -> bool) -> bool {
    match said {
        Json::Array(all) => all.iter().any(is),
        one => is(one),
    }
}

fn gather(schema: &Json, patterns: &mut BTreeMap<String, Regex>) {
    match schema {
        Json::Object(members) => {
            if let Some(Json::String(pattern)) = members.get("pattern") {
                patterns.insert(pattern.clone(), Regex::new(pattern).expect("a pattern compiles"));
            }
            members.values().for_each(|schema| gather(schema, patterns));
        }
        Json::Array(all) => all.iter().for_each(|schema| gather(schema, patterns)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_does_not_fit_is_told_with_its_place() {
        let schema = Schema::new(json!({
            "type": "object", "required": ["a"],
            "properties": {"a": {"type": "array", "items": {"$ref": "#/$defs/n"}}, "b": {"enum": ["x"]}},
            "$defs": {"n": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^z"}]}},
        }));
        assert_eq!(schema.check(&json!({"a": [1, "z"], "b": "x"})), Ok(()));
        for (value, why) in [
            (json!([]), "is not of type"),
            (json!({}), "\"a\" is missing"),
            (json!({"a": [0]}), "/a/0: 0 fits nothing"),
            (json!({"a": ["y"]}), "/a/0: \"y\" fits nothing"),
            (json!({"a": [], "b": "y"}), "/b: \"y\" is none of"),
            (json!({"a": [], "c": 1}), "`c` is not in the schema"),
        ] {
            let said = schema.check(&value).expect_err("it does not fit");
            assert!(said.contains(why), "{said}");
        }
    }
}
