//! Decodes lines whose shape was seen before.
//!
//! A source writes its objects with the same members in the same order. A shape is a line of it with the values cut out: the bytes
//! between them, each stretch at its distance from one of the line's quotes. To decode a line of a known shape its quotes are found
//! (`scan`), the stretches are compared sixteen bytes at a time, and only the wanted values are read (the idea of Mison: Li et
//! al., "Mison: A Fast JSON Parser for Data Analytics", VLDB 2017). Everything is checked: whatever is not just as remembered goes to
//! the full parser, which decides.
//!
//! Why that is enough: a line of the shape has as many quotes as the shape. The first stretch stands at the line's start and the
//! last at its end. A stretch is found by its first quote and holds the quotes that it holds in the shape; between the last quote of
//! one and the first of the next there is none. So a text between two stretches reaches from quote to quote, and what is not
//! text is checked to be one JSON value.

use std::sync::Arc;

use lapwing_dsl::schema::EventId;
use lapwing_dsl::value::{Type, Value};
use lapwing_engine::batch::{Batch, Cells, Origin};
use serde_json::value::RawValue;

use super::field::{self, Unreadable};
use super::json::{self, Decoded, LINE_BYTES_MAX, Reject};
use super::learn::learn;
use super::number::{self, Number};
use super::plan::Plan;
use super::scan::{Line, QUOTES_MAX, Quotes};

/// The most shapes remembered.
const SHAPES_MAX: usize = 32;

/// After so many lines for the full parser, shapes that did not occur since are forgotten.
const FORGET_AFTER: u32 = 4096;

/// Of so many lines for the full parser the shape is learned at most; a source whose lines are all unlike has no shape.
const LEARN_MAX: u32 = 256;

/// Decodes lines by one plan, and learns their shapes.
pub struct Decoder {
    plan: Arc<Plan>,
    shapes: Vec<Shape>,
    /// For each shape whether it occurred since some were forgotten.
    occurred: Vec<bool>,
    quotes: Quotes,
    /// A line at the end of the bytes, with bytes behind it.
    padded: Vec<u8>,
    /// Lines for the full parser since shapes were forgotten.
    recent: u32,
    /// Lines that went to the full parser.
    pub fallbacks: u64,
}

/// A line with its values cut out, and what is wanted of them.
pub(super) struct Shape {
    /// How many quotes it has.
    pub quotes: usize,
    /// The check that is likeliest to tell it from other shapes.
    pub head: Check,
    /// Where the first stretch begins.
    pub start: Anchor,
    /// Where the last one ends.
    pub end: Anchor,
    pub checks: Vec<Check>,
    /// The values that are read.
    pub holes: Vec<Hole>,
    /// Values other than text that are only checked.
    pub skipped: Vec<Skipped>,
    /// The events that the object is.
    pub events: Vec<Event>,
}

/// A place at a distance from a quote of the line; behind the last quote stands the line's end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchor {
    pub quote: u16,
    pub offset: i32,
}

/// Up to sixteen bytes that stand at a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    anchor: Anchor,
    bytes: u128,
    mask: u128,
}

/// Where a value stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hole {
    pub start: Anchor,
    pub end: Anchor,
    /// Whether it is text; its quotes belong to it.
    pub text: bool,
}

/// A value that is only checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Skipped {
    pub hole: Hole,
    /// It must be no array and no object: a rule would read what is in it.
    pub scalar: bool,
}

/// What is read of an event.
pub(super) struct Event {
    pub id: EventId,
    /// The hole with its time.
    pub at: u16,
    pub fields: Vec<Field>,
}

/// A field, and the hole (two for a `geo`) that it is read from.
pub(super) struct Field {
    pub source: Source,
    pub ty: Type,
    pub optional: bool,
    pub column: Option<u16>,
}

/// The hole that a field is read from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Source {
    Absent,
    One(u16),
    Geo(u16, u16),
}

/// Why a line is not of a shape, or cannot be read by it.
struct Surprise;

/// What a value gave to its field.
enum Outcome {
    Set,
    Missing,
    Unreadable,
}

impl Anchor {
    pub fn moved(self, by: usize) -> Anchor {
        Anchor { offset: self.offset + by as i32, ..self }
    }

    /// The place in a line; before its start it is beyond its end.
    #[inline]
    fn of(self, quotes: &[u32; QUOTES_MAX]) -> usize {
        quotes[self.quote as usize % QUOTES_MAX].wrapping_add_signed(self.offset) as usize
    }
}

impl Check {
    pub fn new(anchor: Anchor, bytes: &[u8]) -> Check {
        let (mut own, mut mask) = ([0; 16], [0; 16]);
        own[..bytes.len()].copy_from_slice(bytes);
        mask[..bytes.len()].fill(0xff);
        Check { anchor, bytes: u128::from_le_bytes(own), mask: u128::from_le_bytes(mask) }
    }

    /// The bits in which the line differs; none where it ends before.
    #[inline]
    fn differs(&self, bytes: &[u8], quotes: &[u32; QUOTES_MAX]) -> Option<u128> {
        let stands = bytes.get(self.anchor.of(quotes)..)?.first_chunk::<16>()?;
        Some((u128::from_le_bytes(*stands) ^ self.bytes) & self.mask)
    }
}

impl Decoder {
    /// A decoder that has seen nothing.
    pub fn new(plan: Arc<Plan>) -> Self {
        Decoder {
            plan,
            shapes: Vec::new(),
            occurred: Vec::new(),
            quotes: Quotes::default(),
            padded: Vec::new(),
            recent: 0,
            fallbacks: 0,
        }
    }

    /// The plan it decodes by.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Finds the end of the line that bytes begin with, for [`Decoder::decode_next`].
    #[inline]
    pub fn next(&mut self, bytes: &[u8]) -> Line {
        self.quotes.find(bytes)
    }

    /// Adds the events that a line holds to the batch, as [`json::decode`] does.
    pub fn decode(&mut self, line: &[u8], origin: Origin, batch: &mut Batch) -> Result<Decoded, Reject> {
        let found = self.next(line);
        if found.length < line.len() {
            // A line feed inside: no line.
            return json::decode(&self.plan, line, origin, batch);
        }
        self.decode_next(line, found, origin, batch)
    }

    /// Adds the events of the line that bytes begin with, and that [`Decoder::next`] has just found there.
    pub fn decode_next(
        &mut self,
        bytes: &[u8],
        line: Line,
        origin: Origin,
        batch: &mut Batch,
    ) -> Result<Decoded, Reject> {
        let own = &bytes[..line.length];
        let known = line.length <= LINE_BYTES_MAX
            && (!line.beyond_ascii || std::str::from_utf8(own).is_ok())
            && (!line.odd || self.quotes.find_carefully(own))
            && self.quotes.count() < QUOTES_MAX - 1;
        if known {
            self.quotes.mark(line.length);
            let padded = if bytes.len() - line.length < number::WINDOW {
                self.padded.clear();
                self.padded.extend_from_slice(own);
                self.padded.extend_from_slice(&[0; number::WINDOW]);
                &self.padded
            } else {
                bytes
            };
            // SAFETY: the line is ASCII, or was just found to be UTF-8.
            let text = unsafe { Text::new(padded, self.quotes.places(), line.length, line.odd) };
            for (shape, occurred) in self.shapes.iter().zip(&mut self.occurred) {
                if shape.quotes == self.quotes.count()
                    && shape.head.differs(text.bytes, text.quotes) == Some(0)
                    && let Ok(decoded) = shape.decode(&text, origin, batch)
                {
                    *occurred = true;
                    return Ok(decoded);
                }
            }
        }
        self.fallbacks += 1;
        self.recent += 1;
        let decoded = json::decode(&self.plan, own, origin, batch)?;
        if known {
            self.learn(own);
        }
        Ok(decoded)
    }

    fn learn(&mut self, line: &[u8]) {
        if self.recent >= FORGET_AFTER {
            self.recent = 0;
            let mut occurred = self.occurred.drain(..);
            self.shapes.retain(|_| occurred.next() == Some(true));
            drop(occurred);
            self.occurred.resize(self.shapes.len(), false);
        }
        if self.shapes.len() < SHAPES_MAX && self.recent <= LEARN_MAX {
            let quotes = &self.quotes.places()[..self.quotes.count()];
            self.shapes.extend(learn(&self.plan, line, quotes));
            self.occurred.resize(self.shapes.len(), true);
        }
    }
}

/// A line with bytes behind it, and its quotes.
struct Text<'a> {
    /// INVARIANT: the first `length` bytes are UTF-8, and at least sixteen follow.
    bytes: &'a [u8],
    quotes: &'a [u32; QUOTES_MAX],
    length: usize,
    /// Whether it holds escapes.
    escapes: bool,
}

impl<'a> Text<'a> {
    /// # Safety
    ///
    /// The first `length` bytes are UTF-8.
    unsafe fn new(bytes: &'a [u8], quotes: &'a [u32; QUOTES_MAX], length: usize, escapes: bool) -> Text<'a> {
        Text { bytes, quotes, length, escapes }
    }

    /// What stands from one place to another; a surprise where that is not part of the line.
    #[inline]
    fn part(&self, start: usize, end: usize) -> Result<&'a str, Surprise> {
        let line = &self.bytes[..self.length];
        let part = line.get(start..end).ok_or(Surprise)?;
        let is_boundary = |at: usize| line.get(at).is_none_or(|b| (*b as i8) >= -0x40);
        if !is_boundary(start) || !is_boundary(end) {
            return Err(Surprise);
        }
        // SAFETY: the line is UTF-8, and the part begins and ends between its characters.
        Ok(unsafe { std::str::from_utf8_unchecked(part) })
    }
}

impl Shape {
    fn decode(&self, text: &Text<'_>, origin: Origin, batch: &mut Batch) -> Result<Decoded, Surprise> {
        let quotes = text.quotes;
        if self.start.of(quotes) != 0 || self.end.of(quotes) != text.length {
            return Err(Surprise);
        }
        let mut differs = 0;
        for check in &self.checks {
            differs |= check.differs(text.bytes, quotes).ok_or(Surprise)?;
        }
        if differs != 0 {
            return Err(Surprise);
        }
        for skipped in &self.skipped {
            skipped.check(text)?;
        }
        let mut decoded = Decoded::default();
        for event in &self.events {
            let read = self.event(event, text, origin, batch);
            decoded.rows += 1;
            match read {
                Ok(unreadable) => decoded.unreadable += unreadable,
                Err(Surprise) => {
                    (0..decoded.rows).for_each(|_| batch.pop());
                    return Err(Surprise);
                }
            }
        }
        Ok(decoded)
    }

    /// Adds an event; how many optional fields were unreadable. On a surprise its row is still there, for the caller to take back.
    #[inline]
    fn event(&self, event: &Event, text: &Text<'_>, origin: Origin, batch: &mut Batch) -> Result<u32, Surprise> {
        let at = self.holes[event.at as usize].time(text);
        let mut cells = batch.push(event.id, at.as_ref().map_or(0, |at| *at), origin);
        at?;
        let mut unreadable = 0;
        for field in &event.fields {
            let outcome = match field.source {
                Source::Absent => Outcome::Missing,
                Source::One(hole) => self.holes[hole as usize].read(text, field, &mut cells)?,
                Source::Geo(lat, lon) => {
                    let (lat, lon) = (&self.holes[lat as usize], &self.holes[lon as usize]);
                    read_geo(lat, lon, text, field, &mut cells)?
                }
            };
            match outcome {
                Outcome::Set => {}
                // The full parser knows what to say of a required field.
                _ if !field.optional => return Err(Surprise),
                Outcome::Missing => {}
                Outcome::Unreadable => unreadable += 1,
            }
        }
        Ok(unreadable)
    }
}

impl Hole {
    #[inline]
    fn range(&self, text: &Text<'_>) -> (usize, usize) {
        (self.start.of(text.quotes), self.end.of(text.quotes))
    }

    /// The value as JSON; a surprise where it is none.
    fn raw<'a>(&self, text: &Text<'a>) -> Result<&'a str, Surprise> {
        let (start, end) = self.range(text);
        let raw = text.part(start, end)?;
        if self.text || is_json(raw) { Ok(raw) } else { Err(Surprise) }
    }

    #[inline]
    fn number(&self, text: &Text<'_>) -> Option<Number> {
        let (start, end) = self.range(text);
        if self.text { None } else { Number::read(text.bytes, start, end) }
    }

    #[inline]
    fn time(&self, text: &Text<'_>) -> Result<i64, Surprise> {
        if let Some(at) = self.number(text).and_then(Number::whole) {
            return Ok(at);
        }
        match field::read(self.raw(text)?, &Type::Timestamp) {
            Ok(Value::Timestamp(at)) => Ok(at),
            _ => Err(Surprise),
        }
    }

    /// Reads the value into the field's column, if it has one.
    #[inline]
    fn read(&self, text: &Text<'_>, field: &Field, cells: &mut Cells<'_>) -> Result<Outcome, Surprise> {
        let (start, end) = self.range(text);
        match field.ty {
            Type::String if self.text && !text.escapes => {
                let value = text.part(start + 1, end - 1)?;
                if let Some(column) = field.column {
                    cells.set_text(column, value);
                }
                Ok(Outcome::Set)
            }
            Type::Bool if let Some(value) = truth(text.bytes, start, end) => {
                if let Some(column) = field.column {
                    cells.set_bool(column, value);
                }
                Ok(Outcome::Set)
            }
            Type::Float if let Some(value) = self.number(text) => {
                if let Some(column) = field.column {
                    cells.set_float(column, value.float());
                }
                Ok(Outcome::Set)
            }
            Type::Int | Type::Timestamp | Type::Duration
                if let Some(value) = self.number(text).and_then(Number::whole) =>
            {
                if let Some(column) = field.column {
                    cells.set_int(column, value);
                }
                Ok(Outcome::Set)
            }
            _ => Ok(set(field::read(self.raw(text)?, &field.ty), field, cells)),
        }
    }
}

/// What a value that was read in full gives.
fn set(value: Result<Value<'_>, Unreadable>, field: &Field, cells: &mut Cells<'_>) -> Outcome {
    match value {
        Ok(Value::Missing) => Outcome::Missing,
        Ok(value) => {
            if let Some(column) = field.column {
                cells.set(column, value);
            }
            Outcome::Set
        }
        Err(Unreadable) => Outcome::Unreadable,
    }
}

fn read_geo(
    lat: &Hole,
    lon: &Hole,
    text: &Text<'_>,
    field: &Field,
    cells: &mut Cells<'_>,
) -> Result<Outcome, Surprise> {
    if let (Some(lat), Some(lon)) = (lat.number(text), lon.number(text)) {
        let (lat, lon) = (lat.float(), lon.float());
        if lat.abs() <= 90.0 && lon.abs() <= 180.0 {
            if let Some(column) = field.column {
                cells.set_geo(column, lat, lon);
            }
            return Ok(Outcome::Set);
        }
    }
    Ok(set(field::geo(lat.raw(text)?, lon.raw(text)?), field, cells))
}

impl Skipped {
    #[inline]
    fn check(&self, text: &Text<'_>) -> Result<(), Surprise> {
        let (start, end) = self.hole.range(text);
        if Number::read(text.bytes, start, end).is_some() || truth(text.bytes, start, end).is_some() {
            return Ok(());
        }
        let raw = self.hole.raw(text)?;
        if self.scalar && raw.starts_with(['[', '{']) { Err(Surprise) } else { Ok(()) }
    }
}

/// The truth that stands there; none where it is something else.
#[inline]
fn truth(bytes: &[u8], start: usize, end: usize) -> Option<bool> {
    let word = u32::from_le_bytes(*bytes.get(start..)?.first_chunk()?);
    match end.wrapping_sub(start) {
        4 if word == u32::from_le_bytes(*b"true") => Some(true),
        5 if word == u32::from_le_bytes(*b"fals") && bytes.get(start + 4) == Some(&b'e') => Some(false),
        _ => None,
    }
}

/// Whether text without quotes is one JSON value and nothing beside it.
fn is_json(raw: &str) -> bool {
    match raw.as_bytes() {
        b"true" | b"false" | b"null" => true,
        [b'-' | b'0'..=b'9', ..] => number::length(raw.as_bytes()) == Some(raw.len()),
        [b'[', .., b']'] | [b'{', .., b'}'] => serde_json::from_str::<&RawValue>(raw).is_ok(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use lapwing_dsl::load;
    use lapwing_dsl::syntax::Sources;
    use lapwing_engine::batch::EventView;
    use lapwing_engine::rule_set::{LiveRule, RuleSet};

    use super::*;

    const RULES: &str = r#"
event e { at timestamp  k string  n int?  x float?  d decimal?  b bool?  i ip?  g geo? from lat, lon  deep string? from "a.b"  l list<int>? }
event f from "id" = 7 { at timestamp  k string? }
rule r {
  match    a: e where n > 1 or x > 0.5 or b or i is present or g is present or d > 1 or k == "q" or deep == "z" or 3 in l
}
rule s {
  match    f where k == "x"
}
"#;

    const LINES: [&str; 15] = [
        r#"{"type":"e","at":1760000000000,"k":"q","n":12,"x":-0.25,"b":true,"i":"10.0.0.1","lat":52.5,"lon":-13.4}"#,
        r#"{"type": "e", "at": "2026-01-31T10:00:00Z", "k": "q", "d": 1.50, "a": {"b": "z", "c": [1, 2]}, "u": null}"#,
        r#"{"k":"text with \"escapes\" \\ \u00e4","type":"e","at":17,"more":"\\","n":null}"#,
        r#" { "type" : "e" , "at":1, "k":"ä", "n" : "12" , "a.b":"flat", "a":{"b":"z"} } "#,
        r#"{"type":"e","at":1,"k":"q","a":{"b":{"c":"z"},"d":["x",{"e":1}]},"lat":"52.5","lon":13}"#,
        r#"{"type":"e","at":1,"k":"q","l":[3,4],"a":7,"b":"true"}"#,
        r#"{"id":7,"type":"e","at":1,"k":"both"}"#,
        r#"{"type":"e","at":1,"k":"half a place","lat":1.5}"#,
        r#"{"type":"other","id":8,"at":1,"k":"neither","n":1e5}"#,
        r#"{"type":"e","at":1,"k":"twice","k":"q","n":1}"#,
        r#"{"id":7,"at":1e3,"k":null}"#,
        r#"{"type":"e","k":"late","at":12345678901234567,"n":123456789012345678901,"x":1e400}"#,
        r#"{}"#,
        r#"{"id":7,"at":9}"#,
        r#"["type","e"]"#,
    ];

    fn plan() -> Arc<Plan> {
        let mut sources = Sources::default();
        sources.add("rules.lap", RULES);
        let loaded = load(&sources);
        assert_eq!(loaded.programs.len(), 2, "{:?}", loaded.diagnostics);
        let live = loaded.programs.iter().map(|p| LiveRule { program: Arc::clone(p), version: 1 }).collect();
        Arc::new(Plan::new(&RuleSet::new(1, loaded.schema, live).expect("two rules")))
    }

    fn rows(batch: &Batch) -> Vec<String> {
        let show = |row| {
            let view = EventView { batch, row };
            let fields = &batch.layout.events[row.event.0 as usize].columns;
            let values: Vec<String> = fields.iter().map(|(f, _)| format!("{:?}", view.field(*f))).collect();
            format!("{:?} {} {:?} {values:?}", row.event, row.at, row.origin)
        };
        batch.rows.iter().map(show).collect()
    }

    /// Decodes a line both ways.
    fn check(decoder: &mut Decoder, line: &[u8]) {
        let plan = decoder.plan().clone();
        let (mut fast, mut slow) = (Batch::new(plan.layout.clone()), Batch::new(plan.layout.clone()));
        let origin = Origin::default();
        let by_shape = decoder.decode(line, origin, &mut fast);
        let in_full = json::decode(&plan, line, origin, &mut slow);
        assert_eq!(by_shape, in_full, "{}", String::from_utf8_lossy(line));
        assert_eq!(rows(&fast), rows(&slow), "{}", String::from_utf8_lossy(line));
        // Whatever stands behind a line is not part of it.
        if !line.contains(&b'\n') {
            let more = [line, b"\n\",0123456789:0123456789\"}"].concat();
            let mut batch = Batch::new(plan.layout.clone());
            let found = decoder.next(&more);
            assert_eq!(decoder.decode_next(&more, found, origin, &mut batch), in_full);
            assert_eq!(rows(&batch), rows(&slow), "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn what_a_shape_reads_is_what_the_full_parser_reads() {
        let mut seed = 1u64;
        let mut next = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        let pieces: [&[u8]; 28] = [
            b"\"",
            b"\\",
            b",",
            b":",
            b"{",
            b"}",
            b"[",
            b"]",
            b" ",
            b"\t",
            b"\r",
            b"0",
            b"1",
            b"-",
            b".",
            b"e",
            b"null",
            b"true",
            b"false",
            b"\xc3\xa4",
            b"\xff",
            b"\\\"",
            b"\\u00e4",
            b"\\q",
            b"[1,2]",
            b"{}",
            b"\"x\"",
            b"12",
        ];
        let plan = plan();
        let mut decoder = Decoder::new(plan.clone());
        for round in 0..60_000 {
            if round % 500 == 0 {
                decoder = Decoder::new(plan.clone());
                LINES.iter().for_each(|line| check(&mut decoder, line.as_bytes()));
            }
            let mut line = LINES[next(LINES.len())].as_bytes().to_vec();
            for _ in 0..next(3) {
                let at = next(line.len());
                let until = (at + next(4)).min(line.len());
                let piece = if next(5) == 0 { &[] } else { pieces[next(pieces.len())] };
                line.splice(at..until, piece.iter().copied());
                if line.is_empty() {
                    break;
                }
            }
            check(&mut decoder, &line);
        }
    }

    #[test]
    fn a_known_shape_needs_no_full_parser() {
        let mut decoder = Decoder::new(plan());
        let mut batch = Batch::new(decoder.plan().layout.clone());
        let mut check = |line: &str, expected: u64| {
            let before = decoder.fallbacks;
            let _ = decoder.decode(line.as_bytes(), Origin::default(), &mut batch);
            assert_eq!(decoder.fallbacks - before, expected, "{line}");
        };
        check(r#"{"type":"e","at":1,"k":"a","n":1,"u":[1,2],"a":{"b":"z"}}"#, 1);
        check(r#"{"type":"e","at":"2026-01-31T10:00:00Z","k":"a","n":1,"u":[1,2],"a":{"b":"z"}}"#, 1);
        check(r#"{"type":"e","at":22,"k":"other","n":null,"u":[],"a":{"b":"longer"}}"#, 0);
        check(r#"{"type":"e","at":22,"k":"\"\\","n":-7,"u":{},"a":{"b":""}}"#, 0);
        check(r#"{"type":"e","at":22,"k":"ä","n":1.0,"u":1e5,"a":{"b":""}}"#, 0);
        check("{\"type\":\"e\",\"at\":22,\"k\":\"ä\",\"n\":1.0,\"u\":1e5,\"a\":{\"b\":\"\"}}\r", 1);
        check("{\"type\":\"e\",\"at\":23,\"k\":\"ö\",\"n\":1.5,\"u\":0,\"a\":{\"b\":\"\"}}\r", 0);
        check(r#"{"type":"e","at":22,"k":"a","n":01,"u":1,"a":{"b":""}}"#, 1);
        check(r#"{"type":"e","at":22,"k":"a","n":1,"u":nul,"a":{"b":""}}"#, 1);
        check(r#"{"type":"f","at":22,"k":"a","n":1,"u":1,"a":{"b":""}}"#, 1);
    }
}
