//! The JSON Schema of an alert, for those who read alerts. `docs/alert.schema.json` is this.
//!
//! It is open: a later version may add members. That alerts have no others than these is what tests hold them to.

use lapwing_engine::limits::Cap;
use lapwing_engine::output::Status;
use serde_json::{Value as Json, json};

use crate::config::alerts::SEVERITIES;

/// The schema, of Draft 2020-12.
pub fn schema() -> Json {
    let time = json!({"$ref": "#/$defs/time"});
    let values =
        |text: &str| json!({"description": text, "type": "object", "additionalProperties": {"$ref": "#/$defs/value"}});
    let count = |least: u64, text: &str| json!({"description": text, "type": "integer", "minimum": least});
    let words = |text: &str, words: Vec<&str>| json!({"description": text, "enum": words});
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An alert of Lapwing",
        "type": "object",
        "required": [
            "id", "revision", "status", "rule", "version", "ruleset", "severity", "tags", "key", "first_at", "at", "title", "message", "fields",
            "evidence", "exact", "mode",
        ],
        "properties": {
            "id": {
                "description": "Hash of rule, version, key and the evidence of the first revision: equal input gives equal ids.",
                "$ref": "#/$defs/id",
            },
            "revision": count(0, "0 at first; each later word on the same alert has the next number."),
            "status": words("What has become of it.", Status::ALL.iter().map(|status| status.as_str()).collect()),
            "rule": {"description": "The rule.", "type": "string"},
            "version": count(1, "The version of the rule that the run began under."),
            "ruleset": count(1, "The generation of the rule set that judged it."),
            "severity": words("As the rule says.", SEVERITIES.iter().map(|(name, _)| *name).collect()),
            "risk": {"description": "As the rule says; left out where it says none.", "$ref": "#/$defs/number"},
            "tags": {"description": "As the rule says.", "type": "array", "items": {"type": "string"}},
            "key": values("The values that the rule is counted per, by name. What is missing is left out."),
            "first_at": {"description": "The time of the first event.", "$ref": "#/$defs/time"},
            "at": {
                "description": "The time of the last event, or the deadline of the absence that completed the match.",
                "$ref": "#/$defs/time",
            },
            "title": {"description": "The rule's title, or its name where it has none.", "type": "string"},
            "message": {"description": "As the rule says; null where it says none.", "type": ["string", "null"]},
            "fields": values("What the rule emits, by name. What is missing is left out."),
            "evidence": {
                "description": "For each step the events that it bound, in order.",
                "type": "object",
                "additionalProperties": {"type": "array", "items": {"$ref": "#/$defs/event"}},
            },
            "models": {
                "description": "Scores that the alert rests on or tells; left out where there are none.",
                "type": "array",
                "items": {"$ref": "#/$defs/score"},
            },
            "exact": {"description": "False where a cap bit.", "type": "boolean"},
            "inexact": {
                "description": "The caps that bit; left out where none did.",
                "type": "array",
                "items": {"enum": Cap::ALL.iter().map(|cap| cap.name()).collect::<Vec<_>>()},
            },
            "suppressed": count(1, "How many alerts were held back before this one; left out where none."),
            "truncated": {
                "description": "What was left empty because the alert was too large for its Kafka topic; left out where nothing was.",
                "type": "array",
                "items": {"enum": ["evidence"]},
            },
            "mode": words("How it was judged.", vec!["live"]),
        },
        "$defs": {
            "id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
            "time": {
                "description": "RFC 3339 in UTC; a time that has no such text as milliseconds since 1970.",
                "type": "string",
                "pattern": r"^-?[0-9]{4,6}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,3})?Z$|^-?[0-9]+$",
            },
            "number": {
                "description": "A number; one that JSON cannot say (NaN, inf) as text.",
                "type": ["number", "string"],
            },
            "value": {
                "description": "A value of a rule. Times are RFC 3339 in UTC, durations whole milliseconds, decimals numbers with all their digits, places `{\"lat\":…,\"lon\":…}`.",
                "anyOf": [
                    {"type": ["boolean", "number", "string", "null"]},
                    {"$ref": "#/$defs/place"},
                    {"type": "array", "items": {"$ref": "#/$defs/value"}},
                ],
            },
            "place": {
                "type": "object",
                "required": ["lat", "lon"],
                "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}},
            },
            "event": {
                "description": "An event of a source, or one that the alert `alert` made.",
                "anyOf": [
                    {
                        "type": "object",
                        "required": ["source", "partition", "offset", "at"],
                        "properties": {
                            "source": {"description": "The topic; for a file its name.", "type": "string"},
                            "partition": count(0, "The partition."),
                            "offset": count(0, "The offset; in a file the line, from 0."),
                            "at": time,
                        },
                    },
                    {"type": "object", "required": ["alert", "at"], "properties": {"alert": {"$ref": "#/$defs/derived"}, "at": time}},
                ],
            },
            "derived": {"description": "The beginning of an alert's id.", "type": "string", "pattern": "^[0-9a-f]{20}$"},
            "score": {
                "type": "object",
                "required": ["model", "version", "score"],
                "properties": {
                    "model": {"description": "The model.", "type": "string"},
                    "version": count(1, "The version that answered."),
                    "score": {"description": "What it answered.", "type": "number"},
                    "shadow": {
                        "description": "What versions beside it answered; left out where there are none.",
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["version", "score"],
                            "properties": {"version": count(1, "The version."), "score": {"type": "number"}},
                        },
                    },
                },
            },
        },
    })
}
