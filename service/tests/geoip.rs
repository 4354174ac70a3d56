//! `geoip` through the real binary, on small databases that are made here.

mod binary;

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A database in MaxMind's format: a tree of the bits of addresses whose leaves point at records.
mod database {
    use super::*;

    /// A value of a record.
    pub enum Value {
        Text(&'static str),
        Double(f64),
        Int(u32),
        Short(u16),
        Long(u64),
        Texts(Vec<&'static str>),
        Map(Vec<(&'static str, Value)>),
    }

    /// Records of networks; those of IPv4 stand where IPv6 has them. No network lies in another.
    pub fn write(networks: &[(&str, Value)]) -> Vec<u8> {
        let mut data = Vec::new();
        // Each node's two records: none, a node, or a place in the data.
        let mut nodes: Vec<[Record; 2]> = vec![[Record::None; 2]];
        for (network, value) in networks {
            let place = data.len();
            push(&mut data, value);
            let (address, length) = network.split_once('/').expect("a network");
            let address: IpAddr = address.parse().expect("an address");
            let length: u32 = length.parse().expect("a length");
            let (bits, length) = match address {
                IpAddr::V4(v4) => (u128::from(u32::from(v4)), length + 96),
                IpAddr::V6(v6) => (u128::from(v6), length),
            };
            let mut node = 0;
            for depth in 0..length {
                let bit = (bits >> (127 - depth) & 1) as usize;
                if depth + 1 == length {
                    nodes[node][bit] = Record::Data(place);
                } else if let Record::Node(next) = nodes[node][bit] {
                    node = next;
                } else {
                    nodes.push([Record::None; 2]);
                    let next = nodes.len() - 1;
                    nodes[node][bit] = Record::Node(next);
                    node = next;
                }
            }
        }
        let mut bytes = Vec::new();
        for record in nodes.iter().flatten() {
            let number = match record {
                Record::None => nodes.len(),
                Record::Node(node) => *node,
                Record::Data(place) => nodes.len() + 16 + place,
            };
            bytes.extend(&(number as u32).to_be_bytes()[1..]);
        }
        bytes.extend([0; 16]);
        bytes.extend(data);
        bytes.extend(b"\xab\xcd\xefMaxMind.com");
        push(
            &mut bytes,
            &Value::Map(vec![
                ("binary_format_major_version", Value::Short(2)),
                ("binary_format_minor_version", Value::Short(0)),
                ("build_epoch", Value::Long(1_700_000_000)),
                ("database_type", Value::Text("Test")),
                ("description", Value::Map(vec![("en", Value::Text("made by a test"))])),
                ("ip_version", Value::Short(6)),
                ("languages", Value::Texts(vec!["en"])),
                ("node_count", Value::Int(nodes.len() as u32)),
                ("record_size", Value::Short(24)),
            ]),
        );
        bytes
    }

    #[derive(Clone, Copy)]
    enum Record {
        None,
        Node(usize),
        Data(usize),
    }

    fn push(bytes: &mut Vec<u8>, value: &Value) {
        match value {
            Value::Text(text) => {
                bytes.push(2 << 5 | text.len() as u8);
                bytes.extend(text.as_bytes());
            }
            Value::Double(v) => {
                bytes.push(3 << 5 | 8);
                bytes.extend(v.to_be_bytes());
            }
            Value::Int(v) => {
                bytes.push(6 << 5 | 4);
                bytes.extend(v.to_be_bytes());
            }
            Value::Short(v) => {
                bytes.push(5 << 5 | 2);
                bytes.extend(v.to_be_bytes());
            }
            // Types from 8 on have a byte of their own.
            Value::Long(v) => {
                bytes.extend([8, 9 - 7]);
                bytes.extend(v.to_be_bytes());
            }
            Value::Texts(texts) => {
                bytes.extend([texts.len() as u8, 11 - 7]);
                texts.iter().for_each(|text| push(bytes, &Value::Text(text)));
            }
            Value::Map(entries) => {
                bytes.push(7 << 5 | entries.len() as u8);
                for (key, value) in entries {
                    push(bytes, &Value::Text(key));
                    push(bytes, value);
                }
            }
        }
    }
}

use database::Value::{Double, Int, Map, Text};

fn city() -> Vec<u8> {
    let berlin = || {
        Map(vec![
            ("city", Map(vec![("names", Map(vec![("de", Text("Berlin!")), ("en", Text("Berlin"))]))])),
            ("country", Map(vec![("iso_code", Text("DE"))])),
            ("location", Map(vec![("latitude", Double(52.5)), ("longitude", Double(13.25))])),
        ])
    };
    let odd = Map(vec![
        ("country", Map(vec![("iso_code", Text("US"))])),
        ("location", Map(vec![("latitude", Double(152.5)), ("longitude", Double(13.25))])),
    ]);
    database::write(&[("192.0.2.0/25", berlin()), ("198.51.100.7/32", odd), ("2001:db8::/32", berlin())])
}

fn asn() -> Vec<u8> {
    database::write(&[("192.0.2.0/24", Map(vec![("autonomous_system_number", Int(64_500))]))])
}

const RULES: &str = "\
event login { at timestamp  user string  ip ip? }

rule placed {
  by       user
  match    l: login where geoip(ip).country is present or geoip(ip).asn is present or user == \"nobody\"
  emit     { country: geoip(l.ip).country, city: geoip(l.ip).city, asn: geoip(l.ip).asn, place: geoip(l.ip).place }
}

test placed \"the smallest network that is known tells\" {
  given geoip { 10.0.0.0/8: { country: \"DE\", asn: 64500 }, \"10.1.2.3\": { country: \"FR\", place: geo(1.5, 2.5) } }
  login { user: \"ann\", ip: \"10.1.2.3\" }
  expect 1 { country: \"FR\", asn: 64500, place: geo(1.5, 2.5) }
  login { user: \"ann\", ip: \"10.1.2.4\" }
  expect 1 { country: \"DE\" }
  login { user: \"ann\", ip: \"11.1.2.4\" }
  expect none
}
";

const EVENTS: &str = r#"{"type":"login","at":1000,"user":"berlin","ip":"192.0.2.1"}
{"type":"login","at":2000,"user":"asn","ip":"192.0.2.200"}
{"type":"login","at":3000,"user":"us","ip":"198.51.100.7"}
{"type":"login","at":4000,"user":"six","ip":"2001:db8:1::1"}
{"type":"login","at":5000,"user":"mapped","ip":"::ffff:192.0.2.1"}
{"type":"login","at":6000,"user":"none","ip":"203.0.113.1"}
{"type":"login","at":7000,"user":"nobody"}
"#;

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("geoip").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("data")).expect("the target folder can be written");
    fs::write(folder.join("rules.lap"), RULES).expect("the target folder can be written");
    fs::write(folder.join("events.jsonl"), EVENTS).expect("the target folder can be written");
    folder
}

#[track_caller]
fn says(folder: &Path, arguments: &str, exit: i32, words: &[&str]) {
    binary::says(binary::lapwing().args(arguments.split(' ')).current_dir(folder), exit, words);
}

const RUN: &str = "run --quiet --rules rules.lap --input events.jsonl --data data --output alerts";

#[test]
fn places_of_addresses() {
    let folder = folder("places");
    let write = |name: &str, bytes: Vec<u8>| fs::write(folder.join("data").join(name), bytes).expect("a file");
    write("asn.mmdb", asn());
    write("city.mmdb", city());
    says(&folder, RUN, 0, &[]);
    let text = fs::read_to_string(folder.join("alerts")).expect("the run wrote it");
    let fields: BTreeMap<String, serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .map(|alert| (alert["key"]["user"].as_str().unwrap_or_default().to_owned(), alert["fields"].clone()))
        .collect();
    let berlin = |asn: bool| {
        let mut fields = serde_json::json!({"country": "DE", "city": "Berlin", "place": {"lat": 52.5, "lon": 13.25}});
        if asn {
            fields["asn"] = 64_500.into();
        }
        fields
    };
    let expected = [
        ("asn", serde_json::json!({"asn": 64_500})),
        ("berlin", berlin(true)),
        ("mapped", berlin(true)),
        ("nobody", serde_json::json!({})),
        ("six", berlin(false)),
        // A place that is none is not told.
        ("us", serde_json::json!({"country": "US"})),
    ];
    assert_eq!(fields, expected.map(|(user, fields)| (user.to_owned(), fields)).into());
}

#[test]
fn mistakes() {
    let folder = folder("mistakes");
    says(&folder, "test --no-coverage rules.lap", 0, &["1 passed, 0 failed"]);
    says(&folder, RUN, 3, &["rule `placed` asks `geoip`", "GeoLite2-City.mmdb", "folder of --data"]);
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join("data").join(name), bytes).expect("a file");
    write("city.mmdb", b"no database");
    says(&folder, RUN, 3, &["`data/city.mmdb`: it is no database in MaxMind's format", "copy the file whole"]);
    let whole = city();
    write("city.mmdb", &whole[..whole.len() - 40]);
    says(&folder, "check rules.lap --data data", 3, &["`data/city.mmdb`: it is no database in MaxMind's format"]);
    write("city.mmdb", &whole);
    says(&folder, &format!("{RUN} --state state"), 0, &[]);
    write("city.mmdb", &asn());
    let words = ["the rules, the data or the control file are not those that the state was saved with"];
    says(&folder, &format!("{RUN} --state state"), 3, &words);
    // Damage in the middle gives missing values at worst.
    for at in (0..whole.len() - 150).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x15;
        write("city.mmdb", &damaged);
        let mut command = Command::new(env!("CARGO_BIN_EXE_lapwing"));
        let output = command.args(RUN.split(' ')).current_dir(&folder).output().expect("the binary starts");
        assert!(matches!(output.status.code(), Some(0 | 3)), "byte {at}: {output:?}");
    }
}

/// The database beside the rules that ship is the one of this test: `LAPWING_REWRITE=1` writes it anew.
#[test]
fn the_example_is_made_here() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/data/example.mmdb");
    if std::env::var_os("LAPWING_REWRITE").is_some() {
        fs::write(&path, city()).expect("the project's folder can be written");
    }
    assert!(fs::read(&path).is_ok_and(|bytes| bytes == city()), "{} is another", path.display());
    // With what stands beside them, all rules that ship can run.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    says(&root, "check rules --data rules/data", 0, &["0 errors"]);
}
