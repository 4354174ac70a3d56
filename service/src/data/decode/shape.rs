//! Decodes lines whose shape was seen before.
//!
//! A source writes its objects with the same members in the same order. A shape remembers that order: which quote of the line
//! opens which member's name, and which member is text. To decode a line of a known shape, its quotes are found
//! sixteen bytes at a time, each name is compared at its place, and only the wanted values are read (the idea of Mison: Li et
//! al., "Mison: A Fast JSON Parser for Data Analytics", VLDB 2017). Everything is checked: whatever is not just as
//! remembered, an escape, a nested value, a letter beyond ASCII, goes to the full parser, which decides.

use lapwing_dsl::schema::EventId;
use lapwing_dsl::value::{Type, Value};
use lapwing_engine::batch::{Batch, Origin};

use super::field;
use super::json::{self, Decoded, Reject};
use super::plan::{FieldPlan, Plan};

/// The most shapes remembered; a source with more has no shape worth remembering.
const SHAPES_MAX: usize = 16;

/// Decodes lines by one plan, and learns their shapes.
pub struct Decoder<'p> {
    plan: &'p Plan,
    shapes: Vec<Shape>,
    quotes: Vec<u32>,
    /// Lines that went to the full parser.
    pub fallbacks: u64,
}

/// The members of an object, in order, and what is wanted of them.
struct Shape {
    members: Vec<Member>,
    /// How many quotes a line of this shape has.
    quotes: usize,
    /// What stands between a name and its value.
    colon: &'static [u8],
    /// What stands between a member and the next.
    comma: &'static [u8],
    /// The event that the object is; none: it is no declared event.
    event: Option<EventId>,
    /// The member with the event's time, and how to read it.
    at: Source,
    /// The other fields.
    fields: Vec<(Source, Type, bool, Option<u16>)>,
}

/// The member (two for a `geo`) that a field is read from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    Absent,
    One(u16),
    Geo(u16, u16),
}

/// One member of a shape.
struct Member {
    /// The name with its quotes.
    name: Box<[u8]>,
    /// Which quote of the line opens the name.
    quote: u32,
    /// Whether the value is text.
    text: bool,
    /// The value that the shape depends on: it says which event the object is.
    fixed: Option<Box<[u8]>>,
    /// Whether the value is read.
    wanted: bool,
}

/// Why a line is not of a shape, or cannot be read by it.
struct Surprise;

impl<'p> Decoder<'p> {
    /// A decoder that has seen nothing.
    pub fn new(plan: &'p Plan) -> Self {
        Decoder { plan, shapes: Vec::new(), quotes: Vec::new(), fallbacks: 0 }
    }

    /// Adds the events that a line holds to the batch, as [`json::decode`] does.
    pub fn decode(&mut self, line: &[u8], origin: Origin, batch: &mut Batch) -> Result<Decoded, Reject> {
        self.quotes.clear();
        let plain = find_quotes(line, &mut self.quotes);
        if plain {
            for i in 0..self.shapes.len() {
                if self.shapes[i].quotes == self.quotes.len()
                    && let Ok(decoded) = self.shapes[i].decode(line, &self.quotes, origin, batch)
                {
                    // The shape of the last line is likely that of the next but one.
                    if i > 3 {
                        self.shapes.swap(i, i / 2);
                    }
                    return Ok(decoded);
                }
            }
        }
        self.fallbacks += 1;
        let decoded = json::decode(self.plan, line, origin, batch)?;
        if plain && self.shapes.len() < SHAPES_MAX {
            let shape = learn(self.plan, line, &self.quotes);
            self.shapes.extend(shape);
        }
        Ok(decoded)
    }
}

/// Finds the quotes of a line. `false` where it holds an escape, a control character or a letter beyond ASCII.
#[cfg(target_arch = "x86_64")]
fn find_quotes(line: &[u8], quotes: &mut Vec<u32>) -> bool {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
        _mm_setzero_si128,
    };
    let mut chunks = line.chunks_exact(16);
    let mut at = 0u32;
    // SAFETY: SSE2 is part of x86_64, and each load reads the 16 bytes of one whole chunk.
    let strange = unsafe {
        let (quote, escape, space) = (_mm_set1_epi8(b'"' as i8), _mm_set1_epi8(b'\\' as i8), _mm_set1_epi8(0x20));
        let mut strange = _mm_setzero_si128();
        for chunk in &mut chunks {
            let bytes = _mm_loadu_si128(chunk.as_ptr().cast());
            // Bytes from 0x80 on are negative, and so below a space like control characters.
            let odd = _mm_or_si128(_mm_cmpeq_epi8(bytes, escape), _mm_cmplt_epi8(bytes, space));
            strange = _mm_or_si128(strange, odd);
            let mut mask = _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, quote)) as u32;
            while mask != 0 {
                quotes.push(at + mask.trailing_zeros());
                mask &= mask - 1;
            }
            at += 16;
        }
        _mm_movemask_epi8(strange) != 0
    };
    !strange & find_quotes_plainly(chunks.remainder(), at, quotes)
}

/// Finds the quotes of a line. `false` where it holds an escape, a control character or a letter beyond ASCII.
#[cfg(not(target_arch = "x86_64"))]
fn find_quotes(line: &[u8], quotes: &mut Vec<u32>) -> bool {
    find_quotes_plainly(line, 0, quotes)
}

fn find_quotes_plainly(bytes: &[u8], at: u32, quotes: &mut Vec<u32>) -> bool {
    let mut plain = true;
    for (i, b) in bytes.iter().enumerate() {
        plain &= *b >= 0x20 && *b < 0x80 && *b != b'\\';
        if *b == b'"' {
            quotes.push(at + i as u32);
        }
    }
    plain
}

impl Shape {
    fn decode(&self, line: &[u8], quotes: &[u32], origin: Origin, batch: &mut Batch) -> Result<Decoded, Surprise> {
        let mut values = [(0u32, 0u32); MEMBERS_MAX];
        self.locate(line, quotes, &mut values)?;
        let mut decoded = Decoded::default();
        let Some(event) = self.event else { return Ok(decoded) };
        let value_of = |member: u16| {
            let (start, end) = values[member as usize];
            // SAFETY of the reading below is `str`'s own: the line is ASCII, as `find_quotes` has seen.
            std::str::from_utf8(&line[start as usize..end as usize]).map_err(|_| Surprise)
        };
        let Source::One(at) = self.at else { return Err(Surprise) };
        let at = time(value_of(at)?)?;
        batch.push(event, at, origin);
        let result = self.fields.iter().try_for_each(|(source, ty, optional, column)| {
            let read = match *source {
                Source::Absent => return Ok(()),
                Source::One(member) => set_field(value_of(member)?, ty, *column, batch),
                Source::Geo(lat, lon) => set_geo(value_of(lat)?, value_of(lon)?, *column, batch),
            };
            match read {
                Ok(true) => Ok(()),
                // `null`, or not of its type: the full parser knows what to say of a required field.
                _ if !*optional => Err(Surprise),
                Ok(false) => Ok(()),
                Err(Surprise) => {
                    decoded.unreadable += 1;
                    Ok(())
                }
            }
        });
        if result.is_err() {
            batch.pop();
            return Err(Surprise);
        }
        decoded.rows = 1;
        Ok(decoded)
    }

    /// Checks every member's name and place, and finds the wanted values.
    #[inline]
    fn locate(&self, line: &[u8], quotes: &[u32], values: &mut [(u32, u32); MEMBERS_MAX]) -> Result<(), Surprise> {
        if line.first() != Some(&b'{') {
            return Err(Surprise);
        }
        let mut at = 1usize;
        for (i, member) in self.members.iter().enumerate() {
            if quotes[member.quote as usize] as usize != at || !line[at..].starts_with(&member.name) {
                return Err(Surprise);
            }
            at += member.name.len();
            if !line[at..].starts_with(self.colon) {
                return Err(Surprise);
            }
            at += self.colon.len();
            let start = at;
            if member.text {
                let open = member.quote as usize + 2;
                if quotes[open] as usize != at {
                    return Err(Surprise);
                }
                at = quotes[open + 1] as usize + 1;
            } else {
                at = plain_end(line, at)?;
            }
            if member.fixed.as_ref().is_some_and(|fixed| line[start..at] != **fixed) {
                return Err(Surprise);
            }
            if member.wanted {
                values[i] = (start as u32, at as u32);
            }
            if i + 1 < self.members.len() {
                if !line[at..].starts_with(self.comma) {
                    return Err(Surprise);
                }
                at += self.comma.len();
            }
        }
        if line[at..] == *b"}" || line[at..] == *b"}\r" { Ok(()) } else { Err(Surprise) }
    }
}

/// The most members a shape may have.
const MEMBERS_MAX: usize = 64;

/// Where a number, a truth or `null` that begins at `at` ends.
#[inline]
fn plain_end(line: &[u8], at: usize) -> Result<usize, Surprise> {
    let rest = &line[at..];
    match rest.first() {
        Some(b't') if rest.starts_with(b"true") => Ok(at + 4),
        Some(b'f') if rest.starts_with(b"false") => Ok(at + 5),
        Some(b'n') if rest.starts_with(b"null") => Ok(at + 4),
        Some(b'-' | b'0'..=b'9') => number_end(rest).map(|n| at + n),
        _ => Err(Surprise),
    }
}

/// The length of the JSON number that bytes begin with.
#[inline]
fn number_end(bytes: &[u8]) -> Result<usize, Surprise> {
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut at = usize::from(bytes[0] == b'-');
    let whole = digits(at);
    if whole == 0 || (whole > 1 && bytes[at] == b'0') {
        return Err(Surprise);
    }
    at += whole;
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return Err(Surprise);
        }
        at += 1 + fraction;
    }
    // Exponents are rare: the full parser reads them.
    if matches!(bytes.get(at), Some(b'e' | b'E')) { Err(Surprise) } else { Ok(at) }
}

/// Sets a field; `false` where the value is `null`.
#[inline]
fn set_field(raw: &str, ty: &Type, column: Option<u16>, batch: &mut Batch) -> Result<bool, Surprise> {
    let bytes = raw.as_bytes();
    match (ty, bytes[0]) {
        (_, b'n') => return Ok(false),
        (Type::String, b'"') => {
            if let Some(column) = column {
                batch.set_text(column, &raw[1..raw.len() - 1]);
            }
        }
        (Type::Bool, b't' | b'f') => {
            if let Some(column) = column {
                batch.set_bool(column, bytes[0] == b't');
            }
        }
        (Type::Float, b'-' | b'0'..=b'9') => {
            let value = float(raw)?;
            if let Some(column) = column {
                batch.set_float(column, value);
            }
        }
        (Type::Int, b'-' | b'0'..=b'9') if bytes.len() < 19 && !raw.contains('.') => {
            let value = whole(bytes);
            if let Some(column) = column {
                batch.set_int(column, value);
            }
        }
        _ => {
            let value = field::read(raw, ty).map_err(|_| Surprise)?;
            if let Some(column) = column {
                batch.set(column, value);
            }
        }
    }
    Ok(true)
}

fn set_geo(lat: &str, lon: &str, column: Option<u16>, batch: &mut Batch) -> Result<bool, Surprise> {
    if !lat.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) {
        let value = field::geo(lat, lon).map_err(|_| Surprise)?;
        let present = !value.is_missing();
        if let Some(column) = column {
            batch.set(column, value);
        }
        return Ok(present);
    }
    let (lat, lon) = (float(lat)?, float(lon)?);
    if lat.abs() > 90.0 || lon.abs() > 180.0 {
        return Err(Surprise);
    }
    if let Some(column) = column {
        batch.set(column, Value::Geo(lat, lon));
    }
    Ok(true)
}

fn time(raw: &str) -> Result<i64, Surprise> {
    if raw.len() < 19 && raw.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(whole(raw.as_bytes()));
    }
    match field::read(raw, &Type::Timestamp) {
        Ok(Value::Timestamp(at)) => Ok(at),
        _ => Err(Surprise),
    }
}

/// A whole number of fewer than 19 digits.
#[inline]
fn whole(bytes: &[u8]) -> i64 {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let value = digits.iter().fold(0i64, |v, b| v * 10 + i64::from(b - b'0'));
    if digits.len() < bytes.len() { -value } else { value }
}

/// A JSON number without exponent as the nearest float. Up to 15 digits and 22 decimal places both parts of the fraction are exact floats, and
/// so one division rounds rightly (Clinger, "How to Read Floating Point Numbers Accurately", PLDI 1990).
#[inline]
fn float(raw: &str) -> Result<f64, Surprise> {
    let bytes = raw.as_bytes();
    if !matches!(bytes[0], b'-' | b'0'..=b'9') {
        return Err(Surprise);
    }
    if bytes.len() > 16 {
        return raw.parse::<f64>().ok().filter(|v| v.is_finite()).ok_or(Surprise);
    }
    let negative = bytes[0] == b'-';
    let (mut value, mut places, mut point) = (0u64, 0usize, false);
    for b in &bytes[usize::from(negative)..] {
        if *b == b'.' {
            point = true;
        } else {
            value = value * 10 + u64::from(b - b'0');
            places += usize::from(point);
        }
    }
    let v = value as f64 / POWERS[places];
    Ok(if negative { -v } else { v })
}

const POWERS: [f64; 17] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16];

/// The shape of a line that the full parser has taken; none where it has no shape worth remembering.
fn learn(plan: &Plan, line: &[u8], quotes: &[u32]) -> Option<Shape> {
    let text = std::str::from_utf8(line).ok()?;
    let colon: &[u8] =
        if line.get(quotes.get(1).map(|q| *q as usize + 1)?..)?.starts_with(b": ") { b": " } else { b":" };
    let mut members: Vec<Member> = Vec::new();
    let mut values: Vec<&str> = Vec::new();
    let mut comma: &[u8] = b",";
    let (mut at, mut quote) = (1usize, 0usize);
    loop {
        let (open, close) = (*quotes.get(quote)? as usize, *quotes.get(quote + 1)? as usize);
        if open != at || members.len() >= MEMBERS_MAX {
            return None;
        }
        let name: Box<[u8]> = line[open..=close].into();
        if members.iter().any(|m| m.name == name) {
            return None;
        }
        let start = close + 1 + colon.len();
        let is_text = line.get(start) == Some(&b'"');
        let end = if is_text { *quotes.get(quote + 3)? as usize + 1 } else { plain_end(line, start).ok()? };
        members.push(Member { name, quote: quote as u32, text: is_text, fixed: None, wanted: false });
        values.push(text.get(start..end)?);
        quote += if is_text { 4 } else { 2 };
        if matches!(line.get(end..), Some(b"}" | b"}\r")) {
            break;
        }
        if members.len() == 1 && line[end..].starts_with(b", ") {
            comma = b", ";
        }
        at = end + comma.len();
    }
    let mut shape = Shape {
        members,
        quotes: quotes.len(),
        colon: if colon.len() == 2 { b": " } else { b":" },
        comma: if comma.len() == 2 { b", " } else { b"," },
        event: None,
        at: Source::Absent,
        fields: Vec::new(),
    };
    shape.want(plan, &values)?;
    Some(shape)
}

impl Shape {
    /// Says what is read of which member. `None` where the object is more than one event.
    fn want(&mut self, plan: &Plan, values: &[&str]) -> Option<()> {
        let mut events = Vec::new();
        for discriminator in &plan.discriminators {
            let Some(i) = self.member(&discriminator.path.flat) else { continue };
            let raw = values[i as usize];
            let value = raw.strip_prefix('"').and_then(|r| r.strip_suffix('"')).unwrap_or(raw);
            self.members[i as usize].fixed = Some(raw.as_bytes().into());
            events.extend(discriminator.values.get(value).into_iter().flatten().copied());
        }
        let event = match events.as_slice() {
            [] => return Some(()),
            [one] => *one,
            _ => return None,
        };
        self.event = Some(event);
        let wanted = &plan.events[event.0 as usize];
        self.at = self.source(&wanted.at);
        for field in wanted.fields.iter().filter(|f| f.column.is_some() || !f.optional) {
            let source = self.source(field);
            if source == Source::Absent && !field.optional {
                return None;
            }
            self.fields.push((source, field.ty.clone(), field.optional, field.column));
        }
        let at = self.at;
        for source in self.fields.iter().map(|f| f.0).chain([at]).collect::<Vec<_>>() {
            match source {
                Source::Absent => {}
                Source::One(m) => self.members[m as usize].wanted = true,
                Source::Geo(a, b) => {
                    self.members[a as usize].wanted = true;
                    self.members[b as usize].wanted = true;
                }
            }
        }
        Some(())
    }

    fn member(&self, name: &str) -> Option<u16> {
        let inner = |m: &Member| m.name[1..m.name.len() - 1] == *name.as_bytes();
        self.members.iter().position(inner).map(|i| i as u16)
    }

    fn source(&self, field: &FieldPlan) -> Source {
        let places: Vec<Option<u16>> = field.places.iter().map(|p| self.member(&p.flat)).collect();
        match places.as_slice() {
            [Some(lat), Some(lon)] if field.ty == Type::Geo => Source::Geo(*lat, *lon),
            [Some(one), ..] if field.ty != Type::Geo => Source::One(*one),
            _ => Source::Absent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_as_the_standard_library_reads_them() {
        let mut seed = 1u64;
        for _ in 0..100_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let digits = (seed >> 11) % 10u64.pow((seed % 16) as u32);
            let text = digits.to_string();
            let cut = (seed >> 7) as usize % (text.len() + 1);
            let text = if cut == 0 || cut == text.len() { text } else { format!("-{}.{}", &text[..cut], &text[cut..]) };
            assert_eq!(float(&text).ok(), text.parse().ok(), "{text}");
        }
    }

    #[test]
    fn numbers_that_are_none_are_a_surprise() {
        for text in ["01", "-", "1.", "1.e5", "1e5", "--1", ".5"] {
            let bytes = [text.as_bytes(), b","].concat();
            let end = if matches!(bytes[0], b'-' | b'0'..=b'9') { number_end(&bytes).ok() } else { None };
            assert_ne!(end, Some(text.len()), "{text}");
        }
    }
}
