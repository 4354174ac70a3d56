//! Models that are larger than a message, and the messages that bring them; for tests.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::service::random;

/// Rules that ask the model, which nothing has put yet.
pub const RULES: &str = "\
event e { at timestamp  k string  amount float  age float  count float  speed float  share float }
event last { at timestamp }
list watched of string
model near(amount float, age float, count float, speed float, share float) -> float
rule scored {
  by     k
  match  a: e where near(amount: amount, age: age, count: count, speed: speed, share: share) >= 0.0
}
";

/// The bytes of a chunk: in base64 Kafka takes them as it is set up at first, and little more.
pub const CHUNK: usize = 512 << 10;

/// A model's file.
pub struct Large {
    pub bytes: Vec<u8>,
    /// Its SHA-256.
    pub upload: String,
}

/// A model of the project.
pub fn file(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models");
    std::fs::read(folder.join(format!("{name}.onnx"))).expect("it is part of the project")
}

/// An event that the model is asked about.
pub fn event(number: u64) -> Vec<u8> {
    let at = format!("2026-01-01T00:{:02}:{:02}Z", number / 60 % 60, number % 60);
    let event = json!({
        "type": "e", "at": at, "k": format!("k{}", number % 7), "amount": number as f64 + 0.5, "age": 30.0, "count": 2.0, "speed": 1.5, "share": 0.5,
    });
    format!("{event}\n").into_bytes()
}

/// The file of the rules, in a folder.
pub fn rules(dir: &Path) -> PathBuf {
    let path = dir.join("rules.lap");
    std::fs::write(&path, RULES).expect("it can be written");
    path
}

impl Large {
    /// A model of the project with so many bytes of a text for people, which differs from seed to seed.
    pub fn new(name: &str, bytes: usize, seed: u64) -> Large {
        let mut bytes_of = file(name);
        // `doc_string`, the sixth field of an ONNX file: its number, its length, a text.
        bytes_of.push(0x32);
        let mut length = bytes;
        while length >= 0x80 {
            bytes_of.push(length as u8 | 0x80);
            length >>= 7;
        }
        bytes_of.push(length as u8);
        let mut seed = seed;
        bytes_of.extend((0..bytes).map(|_| b'a' + (random(&mut seed) % 26) as u8));
        let upload = digest(&bytes_of);
        Large { bytes: bytes_of, upload }
    }

    /// How many chunks it has.
    pub fn count(&self) -> usize {
        self.bytes.chunks(CHUNK).len()
    }

    /// The message that brings a chunk.
    pub fn chunk(&self, number: usize) -> Value {
        let bytes = self.bytes.chunks(CHUNK).nth(number).expect("it has so many");
        self.chunk_of(number, bytes)
    }

    /// The same with other bytes.
    pub fn chunk_of(&self, number: usize, bytes: &[u8]) -> Value {
        let bytes = BASE64_STANDARD.encode(bytes);
        json!({
            "op": "chunk", "kind": "model", "name": "near", "upload": self.upload, "chunk": number, "of": self.count(), "bytes": bytes,
        })
    }

    /// The message that puts it.
    pub fn put(&self) -> Value {
        json!({"op": "put", "kind": "model", "name": "near", "author": "ann", "upload": self.upload})
    }

    /// The same in one piece.
    pub fn whole(&self) -> Value {
        json!({"op": "put", "kind": "model", "name": "near", "author": "ann", "onnx": BASE64_STANDARD.encode(&self.bytes)})
    }
}

/// The SHA-256 in hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How many files are in a folder, and in those within it.
pub fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.flatten().map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}
