//! Learns the shape of a line that the full parser has taken.
//!
//! The line is read as a tree of objects and arrays over its values. What is wanted of it decides which values the shape depends
//! on; all others are cut out, and what is left between them is what every line of the shape has.

use lapwing_dsl::schema::PathPart;
use lapwing_dsl::value::Type;

use super::field;
use super::plan::{EventPlan, FieldPlan, Place, Plan};
use super::scan::QUOTES_MAX;
use super::shape::{Anchor, Check, Event, Field, Hole, Shape, Skipped, Source};

/// The most values a shape may have.
const VALUES_MAX: usize = 256;

/// The deepest objects and arrays that are looked into.
const DEPTH_MAX: usize = 16;

/// A value of the line without values inside.
struct Leaf {
    start: usize,
    end: usize,
    /// Where it is text, which quote opens it.
    text: Option<usize>,
    /// The shape depends on it.
    fixed: bool,
    /// What is wanted would stand inside it if it were an object or an array.
    scalar: bool,
}

/// The line as a tree.
enum Node<'a> {
    Leaf(usize),
    Object(Vec<(&'a [u8], Node<'a>)>),
    Array,
}

/// What stands at a place.
#[derive(Clone, Copy)]
enum Found {
    Leaf(usize),
    /// Nothing, in no line of the shape.
    Absent,
    /// Nothing, where this leaf is neither an object nor an array.
    AbsentIn(usize),
}

/// The shape of a line; none where it has none worth remembering.
pub fn learn(plan: &Plan, line: &[u8], quotes: &[u32]) -> Option<Shape> {
    if quotes.len() >= QUOTES_MAX - 1 {
        return None;
    }
    let mut reader = Reader { line, quotes, quote: 0, at: 0, leaves: Vec::new() };
    let root = reader.node(0)?;
    reader.space();
    if reader.at != line.len() {
        return None;
    }
    let Node::Object(members) = root else { return None };
    let mut learner = Learner { line, quotes, leaves: reader.leaves, members };
    let events = learner.events(plan)?;
    learner.shape(events)
}

struct Reader<'a> {
    line: &'a [u8],
    quotes: &'a [u32],
    /// The next quote.
    quote: usize,
    at: usize,
    leaves: Vec<Leaf>,
}

impl<'a> Reader<'a> {
    fn space(&mut self) {
        while self.line.get(self.at).is_some_and(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.space();
        (self.line.get(self.at) == Some(&byte)).then(|| self.at += 1)
    }

    /// The quotes of the string that begins here, after which the reader then stands.
    fn string(&mut self) -> Option<(usize, usize)> {
        let (open, close) = (*self.quotes.get(self.quote)? as usize, *self.quotes.get(self.quote + 1)? as usize);
        if open != self.at {
            return None;
        }
        self.quote += 2;
        self.at = close + 1;
        Some((open, close))
    }

    fn node(&mut self, depth: usize) -> Option<Node<'a>> {
        self.space();
        let start = self.at;
        match self.line.get(start)? {
            b'"' => {
                let text = Some(self.quote);
                self.string()?;
                self.leaf(start, text)
            }
            b'{' | b'[' if depth == DEPTH_MAX => None,
            // An array or object without any text is a value like a number.
            b'{' | b'[' if depth > 0 && self.closing().is_some() => {
                self.at = self.closing()?;
                self.leaf(start, None)
            }
            b'{' => self.object(depth),
            b'[' => {
                self.at += 1;
                loop {
                    self.node(depth + 1)?;
                    if self.take(b',').is_none() {
                        self.take(b']')?;
                        return Some(Node::Array);
                    }
                }
            }
            _ => {
                let inside = |b: &u8| matches!(b, b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z');
                self.at += self.line[start..].iter().take_while(|b| inside(b)).count();
                self.leaf(start, None)
            }
        }
    }

    fn leaf(&mut self, start: usize, text: Option<usize>) -> Option<Node<'a>> {
        if self.leaves.len() == VALUES_MAX || start == self.at {
            return None;
        }
        self.leaves.push(Leaf { start, end: self.at, text, fixed: false, scalar: false });
        Some(Node::Leaf(self.leaves.len() - 1))
    }

    /// The end of the array or object that begins here, if no quote comes before it.
    fn closing(&self) -> Option<usize> {
        let limit = self.quotes.get(self.quote).map_or(self.line.len(), |q| *q as usize);
        let mut depth = 0;
        for (i, byte) in self.line[self.at..limit].iter().enumerate() {
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(self.at + i + 1);
            }
        }
        None
    }

    fn object(&mut self, depth: usize) -> Option<Node<'a>> {
        self.at += 1;
        let mut members: Vec<(&'a [u8], Node<'a>)> = Vec::new();
        if self.take(b'}').is_some() {
            return Some(Node::Object(members));
        }
        loop {
            self.space();
            let (open, close) = self.string()?;
            let name = &self.line[open + 1..close];
            // A name that is written with an escape could be written otherwise; of two members of one name the last one counts.
            if name.contains(&b'\\') || members.iter().any(|(other, _)| *other == name) {
                return None;
            }
            self.take(b':')?;
            members.push((name, self.node(depth + 1)?));
            if self.take(b',').is_none() {
                self.take(b'}')?;
                return Some(Node::Object(members));
            }
        }
    }
}

struct Learner<'a> {
    line: &'a [u8],
    quotes: &'a [u32],
    leaves: Vec<Leaf>,
    members: Vec<(&'a [u8], Node<'a>)>,
}

impl Learner<'_> {
    /// What is wanted of the line.
    fn events(&mut self, plan: &Plan) -> Option<Vec<Event>> {
        let mut ids = Vec::new();
        for discriminator in &plan.discriminators {
            let Some(leaf) = self.want(&discriminator.path)? else { continue };
            let leaf = &mut self.leaves[leaf];
            leaf.fixed = true;
            let raw = std::str::from_utf8(&self.line[leaf.start..leaf.end]).ok()?;
            let value = if leaf.text.is_some() { field::text(raw).unwrap_or_default() } else { raw.into() };
            ids.extend(discriminator.values.get(value.as_ref()).into_iter().flatten().copied());
        }
        ids.sort_unstable();
        ids.into_iter()
            .map(|id| {
                let wanted: &EventPlan = &plan.events[id.0 as usize];
                let at = match self.source(&wanted.at)? {
                    Source::One(hole) => hole,
                    _ => return None,
                };
                let mut fields = Vec::new();
                for field in wanted.fields.iter().filter(|f| f.column.is_some() || !f.optional) {
                    match self.source(field)? {
                        Source::Absent if field.optional => {}
                        Source::Absent => return None,
                        source => fields.push(Field {
                            source,
                            ty: field.ty.clone(),
                            optional: field.optional,
                            column: field.column,
                        }),
                    }
                }
                Some(Event { id, at, fields })
            })
            .collect()
    }

    /// Where a field is read from: numbers of leaves, which become numbers of holes.
    fn source(&mut self, field: &FieldPlan) -> Option<Source> {
        let two = match field.places.as_slice() {
            [lat, lon] if field.ty == Type::Geo => (lat, Some(lon)),
            [one, ..] => (one, None),
            [] => return Some(Source::Absent),
        };
        let first = self.want(two.0)?;
        let second = match two.1 {
            Some(place) => self.want(place)?,
            None => return Some(first.map_or(Source::Absent, |leaf| Source::One(leaf as u16))),
        };
        Some(match (first, second) {
            (Some(lat), Some(lon)) => Source::Geo(lat as u16, lon as u16),
            _ => Source::Absent,
        })
    }

    /// The leaf that stands at a place. The outer `None`: that cannot be said for all lines of the shape.
    fn want(&mut self, place: &Place) -> Option<Option<usize>> {
        match self.find(place)? {
            Found::Leaf(leaf) => Some(Some(leaf)),
            Found::Absent => Some(None),
            Found::AbsentIn(leaf) => {
                self.leaves[leaf].scalar = true;
                Some(None)
            }
        }
    }

    /// As the full parser finds a place: under its whole path as one name, or inside.
    fn find(&self, place: &Place) -> Option<Found> {
        if let Some(node) = member(&self.members, &place.flat) {
            return self.inside(node, &[]);
        }
        let Some((PathPart::Member(first), rest)) = place.path.0.split_first() else { return Some(Found::Absent) };
        match member(&self.members, first) {
            Some(node) if !rest.is_empty() => self.inside(node, rest),
            _ => Some(Found::Absent),
        }
    }

    fn inside(&self, node: &Node<'_>, path: &[PathPart]) -> Option<Found> {
        let Some((part, rest)) = path.split_first() else {
            return match node {
                Node::Leaf(leaf) => Some(Found::Leaf(*leaf)),
                _ => None,
            };
        };
        match (node, part) {
            (Node::Leaf(leaf), _) if self.leaves[*leaf].text.is_some() => Some(Found::Absent),
            (Node::Leaf(leaf), _) if matches!(self.line[self.leaves[*leaf].start], b'{' | b'[') => None,
            (Node::Leaf(leaf), _) => Some(Found::AbsentIn(*leaf)),
            (Node::Object(members), PathPart::Member(name)) => match member(members, name) {
                Some(node) => self.inside(node, rest),
                None => Some(Found::Absent),
            },
            (Node::Object(_), PathPart::Each) => Some(Found::Absent),
            (Node::Array, _) => None,
        }
    }

    fn shape(&self, events: Vec<Event>) -> Option<Shape> {
        let length = self.line.len();
        let holes: Vec<&Leaf> = self.leaves.iter().filter(|l| !l.fixed).collect();
        // What stands between the holes. The quotes of a text belong to what is around it.
        let mut pieces: Vec<(usize, usize)> = Vec::new();
        let mut start = 0;
        for hole in &holes {
            let text = usize::from(hole.text.is_some());
            pieces.push((start, hole.start + text));
            start = hole.end - text;
        }
        pieces.push((start, length));
        let anchors: Option<Vec<Anchor>> = pieces.iter().map(|piece| self.anchor(*piece)).collect();
        let anchors = anchors?;
        let mut checks: Vec<Check> = Vec::new();
        let mut head = 0;
        let fixed = self.leaves.iter().find(|l| l.fixed).map_or(0, |l| l.start + 1);
        for ((start, end), anchor) in pieces.iter().zip(&anchors) {
            for (i, bytes) in self.line[*start..*end].chunks(16).enumerate() {
                if (start + 16 * i..start + 16 * i + bytes.len()).contains(&fixed) {
                    head = checks.len();
                }
                checks.push(Check::new(anchor.moved(16 * i), bytes));
            }
        }
        let (tail, (tail_start, _)) = (*anchors.last()?, *pieces.last()?);
        let mut shape = Shape {
            quotes: self.quotes.len(),
            head: checks[head],
            start: anchors[0],
            end: tail.moved(length - tail_start),
            checks,
            holes: Vec::new(),
            skipped: Vec::new(),
            events,
        };
        let mut read = vec![false; self.leaves.len()];
        for event in &shape.events {
            read[event.at as usize] = true;
            for field in &event.fields {
                match field.source {
                    Source::Absent => {}
                    Source::One(leaf) => read[leaf as usize] = true,
                    Source::Geo(lat, lon) => (read[lat as usize], read[lon as usize]) = (true, true),
                }
            }
        }
        let mut hole_of = vec![0u16; self.leaves.len()];
        for (i, leaf) in self.leaves.iter().enumerate() {
            let hole = self.hole(leaf)?;
            let skipped = leaf.text.is_none() && !leaf.fixed && (leaf.scalar || !read[i]);
            if skipped {
                shape.skipped.push(Skipped { hole, scalar: leaf.scalar });
            }
            if read[i] {
                hole_of[i] = shape.holes.len() as u16;
                shape.holes.push(hole);
            }
        }
        for event in &mut shape.events {
            event.at = hole_of[event.at as usize];
            for field in &mut event.fields {
                field.source = match field.source {
                    Source::Absent => Source::Absent,
                    Source::One(leaf) => Source::One(hole_of[leaf as usize]),
                    Source::Geo(lat, lon) => Source::Geo(hole_of[lat as usize], hole_of[lon as usize]),
                };
            }
        }
        Some(shape)
    }

    /// Where a piece begins: so far from its first quote, or, without one, from the end of the line.
    fn anchor(&self, (start, end): (usize, usize)) -> Option<Anchor> {
        let quote = self.quotes.partition_point(|q| (*q as usize) < start);
        match self.quotes.get(quote) {
            Some(at) if (*at as usize) < end => Some(self.from(quote, start)),
            _ => (end == self.line.len()).then(|| self.from(self.quotes.len(), start)),
        }
    }

    fn hole(&self, leaf: &Leaf) -> Option<Hole> {
        if let Some(quote) = leaf.text {
            return Some(Hole { start: self.from(quote, leaf.start), end: self.from(quote + 1, leaf.end), text: true });
        }
        let next = self.quotes.partition_point(|q| (*q as usize) < leaf.start);
        let before = next.checked_sub(1)?;
        Some(Hole { start: self.from(before, leaf.start), end: self.from(next, leaf.end), text: false })
    }

    /// A place by its distance from a quote; behind the last quote stands the end of the line.
    fn from(&self, quote: usize, at: usize) -> Anchor {
        let stands = self.quotes.get(quote).map_or(self.line.len(), |q| *q as usize);
        Anchor { quote: quote as u16, offset: at as i32 - stands as i32 }
    }
}

fn member<'n, 'a>(members: &'n [(&'a [u8], Node<'a>)], name: &str) -> Option<&'n Node<'a>> {
    members.iter().find(|(own, _)| *own == name.as_bytes()).map(|(_, node)| node)
}
