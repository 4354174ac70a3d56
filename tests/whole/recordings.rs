//! The shipped rules on excerpts of real recordings (see `recordings/README.md`): each finds the attack that was recorded, once, on
//! the rows that show it, and nothing else fires.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use lapwing::data::pipeline::{Lines, Options, Pipeline};
use lapwing_tests::engine::Collected;
use serde_json::Value as Json;

/// One line for each alert: the rule, its key's values, and the lines of the evidence, steps in order of their names.
fn alerts(recording: &str, lateness: i64, threads: usize) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings").join(recording);
    let bytes = fs::read(path).expect("the recordings are part of the project");
    let rules = Arc::new(super::rules::shipped().rule_set(1).expect("the keys are few"));
    let mut pipeline = Pipeline::new(rules, Options { lateness, ..Options::default() }, threads);
    let mut collected = Collected::default();
    pipeline.take(&Lines { bytes: &bytes, first: 0 }, &mut collected);
    pipeline.finish(&mut collected);
    assert!(collected.rejected.is_empty(), "{:?}", collected.rejected);
    collected.alerts.iter().map(line).collect()
}

fn line(alert: &Json) -> String {
    let keys: Vec<_> = alert["key"].as_object().expect("a key").values().filter_map(Json::as_str).collect();
    let steps = alert["evidence"].as_object().expect("evidence").values();
    let offsets: Vec<_> = steps.flat_map(|s| s.as_array().expect("a list")).map(|e| e["offset"].to_string()).collect();
    format!("{} {}: {}", alert["rule"].as_str().expect("a name"), keys.join(" "), offsets.join(" "))
}

fn check(recording: &str, lateness: i64, expected: &[&str]) {
    for threads in [1, 4] {
        assert_eq!(alerts(recording, lateness, threads), expected, "{recording} on {threads} threads");
    }
}

#[test]
fn a_domain_is_explored() {
    check(
        "domain_playbook.ndjson",
        0,
        &[
            "windows_password_spray WORKSTATION5.theshire.local: 6",
            "ntlm_spray WORKSTATION5: 15",
            "kerberoasting pgustavo@THESHIRE.LOCAL: 21",
            "share_enumeration pgustavo: 37",
        ],
    );
}

#[test]
fn a_directory_is_replicated() {
    check("directory_replication.ndjson", 0, &["directory_replication pgustavo: 4"]);
}

#[test]
fn a_controller_is_taken_without_a_logon() {
    check("zerologon.ndjson", 0, &["computer_changed_by_nobody MORDORDC$: 1"]);
}

/// A trail comes in files of several minutes, out of order: an hour of lateness takes them all.
#[test]
fn buckets_are_looked_through() {
    check(
        "bucket_exfiltration.ndjson",
        3_600_000,
        &[
            "cloud_enumeration arn:aws:iam::123456789123:user/pedro: 7",
            "bucket_enumeration arn:aws:sts::123456789123:assumed-role/MordorNginxStack-BankingWAFRole-9S3E0UAE1MM0/i-0317f6c6b66ae9c40: 98 79 44 45 46",
        ],
    );
}
