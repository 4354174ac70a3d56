//! The ways on: the pattern as a tree, walked recursively from a place in it to all places where a run may wait next.
//!
//! A place is a stack of [`Frame`]s, outermost first: the sequences, repetitions and groups that the step awaited
//! stands in, each with how far it has come. Every level knows only itself: it asks the level below for its ways and
//! puts its own frame under the stack of each.

use lapwing_dsl::syntax::ast::{
    Absence, Contiguity, Element, ElementKind, Group, Link, Pattern, PatternKind, Quantifier, Step,
};

/// One level of the place where a run stands.
#[derive(Clone, Debug)]
pub enum Frame<'a> {
    /// In a sequence: what comes next in it.
    Sequence {
        /// All of its elements.
        elements: &'a [Element],
        /// The first that is still to come.
        next: usize,
        /// What stood before the whole sequence, until it has bound an event.
        outer: Option<Entry>,
    },
    /// In a repetition.
    Repeat {
        /// What is repeated.
        body: Body<'a>,
        /// How often.
        quantifier: Quantifier,
        /// Between one pass and the next.
        between: Entry,
        /// Passes begun.
        count: u32,
        /// What stood before the repetition, until it has bound an event.
        outer: Option<Entry>,
    },
    /// In a group with a limit over all its passes.
    Limit {
        /// The limit.
        within: i64,
        /// The time of the first event bound in it.
        first_at: Option<i64>,
    },
    /// In one side of `A & B`.
    Sides(Sides<'a>),
}

/// How far an `&` has come.
#[derive(Clone, Debug)]
pub struct Sides<'a> {
    /// The side that the step awaited stands in.
    pub current: usize,
    /// All sides.
    pub sides: Vec<Side<'a>>,
}

/// One side of an `&`.
#[derive(Clone, Debug)]
pub enum Side<'a> {
    /// Filled, or left out.
    Done,
    /// Nothing of it is bound.
    Todo(&'a Pattern),
    /// Begun, and waiting for these.
    Doing(Vec<Await<'a>>),
}

/// What is repeated.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// One step.
    Step(&'a Step),
    /// A group's content.
    Group(&'a Pattern),
}

/// What stands before an event that is awaited.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Which events may lie in between.
    pub contiguity: Contiguity,
    /// Limits from the last event bound.
    pub limits: Vec<i64>,
}

/// An absence that holds.
#[derive(Clone, Debug)]
pub struct Active<'a> {
    /// What must not happen.
    pub absence: &'a Absence,
    /// `then next not`: only the very next event is asked.
    pub next: bool,
    /// Whether nothing awaited stands behind it.
    pub last: bool,
}

/// What was decided and passed on the way to a place.
#[derive(Clone, Debug, Default)]
pub struct Path<'a> {
    /// The decisions of quantifiers (and, where every way is tried, of alternatives): 0 is preferred.
    pub decisions: Vec<u32>,
    /// Absences passed since the last event bound.
    pub absences: Vec<Active<'a>>,
}

/// One step that is awaited.
#[derive(Clone, Debug)]
pub struct Await<'a> {
    /// The step.
    pub step: &'a Step,
    /// What stands before it.
    pub entry: Entry,
    /// How many elements of its repetition are bound.
    pub elements: u32,
    /// Where the run stands once it is taken.
    pub stack: Vec<Frame<'a>>,
    /// How it came here.
    pub path: Path<'a>,
}

/// One way on.
#[derive(Clone, Debug)]
pub enum Way<'a> {
    /// Waiting for any of these; where an event fits several, for the first.
    Wait(Vec<Await<'a>>),
    /// Through, with nothing more bound.
    Through(Path<'a>),
}

/// The walker; `every_way` is how `report final` reads alternatives.
#[derive(Clone, Copy, Debug)]
pub struct Walker {
    /// Whether each side of a choice is a way of its own.
    pub every_way: bool,
}

impl Walker {
    /// All ways to begin the pattern.
    pub fn begin<'a>(self, pattern: &'a Pattern) -> Vec<Way<'a>> {
        self.enter(pattern, Entry::default(), Path::default())
    }

    /// All ways on from a place, once an event was bound at it.
    pub fn go_on<'a>(self, mut stack: Vec<Frame<'a>>, path: Path<'a>) -> Vec<Way<'a>> {
        let Some(frame) = stack.pop() else { return vec![Way::Through(path)] };
        let mut ways = Vec::new();
        for way in self.frame(frame, path) {
            match way {
                Way::Through(path) => ways.extend(self.go_on(stack.clone(), path)),
                Way::Wait(awaits) => ways.extend(self.wait_in(stack.clone(), awaits)),
            }
        }
        ways
    }

    /// Waits at a place further out: the other sides of an `&` around it wait too.
    fn wait_in<'a>(self, mut stack: Vec<Frame<'a>>, awaits: Vec<Await<'a>>) -> Vec<Way<'a>> {
        let Some(around) = stack.iter().rposition(|frame| matches!(frame, Frame::Sides(_))) else {
            return vec![under(Way::Wait(awaits), &stack)];
        };
        let inner = stack.split_off(around + 1);
        let Some(Frame::Sides(mut sides)) = stack.pop() else { unreachable!("it was found there") };
        let Way::Wait(awaits) = under(Way::Wait(awaits), &inner) else { unreachable!("a wait stays one") };
        let path = Path { decisions: awaits[0].path.decisions.clone(), absences: Vec::new() };
        sides.sides[sides.current] = Side::Doing(awaits);
        let mut ways = Vec::new();
        for way in self.sides(&sides.sides, &Entry::default(), &path) {
            if let Way::Wait(awaits) = way {
                ways.extend(self.wait_in(stack.clone(), awaits));
            }
        }
        ways
    }

    fn enter<'a>(self, pattern: &'a Pattern, entry: Entry, path: Path<'a>) -> Vec<Way<'a>> {
        match &pattern.kind {
            PatternKind::Step(step) => match step.repeat {
                None => vec![wait(step, entry, 0, path)],
                Some(quantifier) => {
                    let between =
                        Entry { contiguity: step.contiguity, limits: step.apart.iter().map(|d| d.ms).collect() };
                    let body = Body::Step(step);
                    self.frame(Frame::Repeat { body, quantifier, between, count: 0, outer: Some(entry) }, path)
                }
            },
            PatternKind::Sequence(elements) => {
                self.frame(Frame::Sequence { elements, next: 0, outer: Some(entry) }, path)
            }
            PatternKind::All(sides) => {
                let sides: Vec<Side<'a>> = sides.iter().map(Side::Todo).collect();
                self.sides(&sides, &entry, &path)
            }
            PatternKind::Any(sides) => self.choice(sides, &entry, &path),
            PatternKind::Group(group) => self.group(group, entry, path),
        }
    }

    fn group<'a>(self, group: &'a Group, entry: Entry, path: Path<'a>) -> Vec<Way<'a>> {
        let ways = match group.repeat {
            None => self.enter(&group.body, entry, path),
            Some(quantifier) => {
                let between =
                    Entry { contiguity: group.contiguity, limits: group.apart.iter().map(|d| d.ms).collect() };
                let body = Body::Group(&group.body);
                self.frame(Frame::Repeat { body, quantifier, between, count: 0, outer: Some(entry) }, path)
            }
        };
        match group.within {
            Some(d) => under_each(ways, &[Frame::Limit { within: d.ms, first_at: None }]),
            None => ways,
        }
    }

    /// The ways on inside one level; `Through` where the level is done.
    fn frame<'a>(self, frame: Frame<'a>, path: Path<'a>) -> Vec<Way<'a>> {
        match frame {
            Frame::Limit { .. } => vec![Way::Through(path)],
            Frame::Sequence { elements, next, outer } => self.sequence(elements, next, outer, path),
            Frame::Sides(mut sides) => {
                sides.sides[sides.current] = Side::Done;
                self.sides(&sides.sides, &Entry::default(), &not_at_the_end(path))
            }
            Frame::Repeat { body, quantifier, between, count, outer } => {
                self.repeat(body, quantifier, &between, count, outer, path)
            }
        }
    }

    fn sequence<'a>(
        self,
        elements: &'a [Element],
        next: usize,
        outer: Option<Entry>,
        mut path: Path<'a>,
    ) -> Vec<Way<'a>> {
        let Some(element) = elements.get(next) else { return vec![Way::Through(path)] };
        let pattern = match &element.kind {
            ElementKind::Absence(absence) => {
                let next_only = element.link.contiguity == Contiguity::Strict;
                path.absences.push(Active { absence, next: next_only, last: true });
                return self.sequence(elements, next + 1, outer, path);
            }
            ElementKind::Pattern(pattern) => pattern,
        };
        let entry = entry_of(&element.link, outer.as_ref());
        let mut ways = Vec::new();
        for way in self.enter(pattern, entry, path) {
            match way {
                Way::Through(mut path) => {
                    for active in &mut path.absences {
                        active.last = false;
                    }
                    ways.extend(self.sequence(elements, next + 1, outer.clone(), path));
                }
                wait => ways.push(under(wait, &[Frame::Sequence { elements, next: next + 1, outer: None }])),
            }
        }
        ways
    }

    fn repeat<'a>(
        self,
        body: Body<'a>,
        quantifier: Quantifier,
        between: &Entry,
        count: u32,
        outer: Option<Entry>,
        path: Path<'a>,
    ) -> Vec<Way<'a>> {
        let path = not_at_the_end(path);
        let may_leave = count >= quantifier.min;
        let may_repeat = quantifier.max.is_none_or(|max| count < max);
        if !may_repeat {
            return vec![Way::Through(path)];
        }
        let decided = |choice: bool| {
            let mut path = path.clone();
            if may_leave {
                path.decisions.push(u32::from(choice == quantifier.reluctant));
            }
            path
        };
        let entry = outer.unwrap_or_else(|| between.clone());
        let more = match body {
            Body::Step(step) => vec![wait(step, entry, count, decided(true))],
            Body::Group(pattern) => self.enter(pattern, entry, decided(true)),
        };
        let again = Frame::Repeat { body, quantifier, between: between.clone(), count: count + 1, outer: None };
        // A pass that is through without an event has ended the repetition: its way stays `Through`.
        let mut ways: Vec<Way<'a>> = more.into_iter().map(|way| under(way, std::slice::from_ref(&again))).collect();
        for way in &mut ways {
            if let Way::Through(path) = way {
                *path = not_at_the_end(std::mem::take(path));
            }
        }
        if may_leave {
            ways.push(Way::Through(decided(false)));
        }
        ways
    }

    /// `A | B`: one wait for all sides at once. A side that makes several ways makes several such waits.
    fn choice<'a>(self, sides: &'a [Pattern], entry: &Entry, path: &Path<'a>) -> Vec<Way<'a>> {
        let mut all = Vec::new();
        for (i, side) in sides.iter().enumerate() {
            let mut path = path.clone();
            if self.every_way {
                path.decisions.push(i as u32);
            }
            all.push(self.enter(side, entry.clone(), path));
        }
        if self.every_way { all.concat() } else { together(all, path.decisions.len()) }
    }

    /// `A & B`: one wait for all sides at once, each as far as it has come. Sides of which nothing is bound are entered
    /// (again); one that makes several ways makes several such waits.
    fn sides<'a>(self, now: &[Side<'a>], entry: &Entry, path: &Path<'a>) -> Vec<Way<'a>> {
        // Per way: what each side waits for, nothing where it is done; how far the sides are; all that is decided.
        let mut combined = vec![(Vec::<Vec<Await<'a>>>::new(), now.to_vec(), path.decisions.clone())];
        for (i, side) in now.iter().enumerate() {
            let mut longer = Vec::new();
            for (waits, sides, decisions) in &combined {
                let mut add = |awaits: Vec<Await<'a>>, side: Side<'a>, decided: &[u32]| {
                    let mut sides = sides.clone();
                    sides[i] = side;
                    longer.push(([&waits[..], &[awaits]].concat(), sides, [decisions, decided].concat()));
                };
                match side {
                    Side::Done => add(Vec::new(), Side::Done, &[]),
                    Side::Doing(awaits) => add(awaits.clone(), side.clone(), &[]),
                    Side::Todo(pattern) => {
                        for way in self.enter(pattern, entry.clone(), path.clone()) {
                            let before = path.decisions.len();
                            match way {
                                Way::Through(path) => add(Vec::new(), Side::Done, &path.decisions[before..]),
                                Way::Wait(awaits) => {
                                    let decided = awaits[0].path.decisions[before..].to_vec();
                                    add(awaits, side.clone(), &decided);
                                }
                            }
                        }
                    }
                }
            }
            combined = longer;
        }
        combined
            .into_iter()
            .map(|(waits, sides, decisions)| {
                all_sides(waits, &sides, &Path { decisions, absences: path.absences.clone() })
            })
            .collect()
    }
}

/// The wait for all sides together.
fn all_sides<'a>(waits: Vec<Vec<Await<'a>>>, sides: &[Side<'a>], path: &Path<'a>) -> Way<'a> {
    let mut all = Vec::new();
    for (current, awaits) in waits.into_iter().enumerate() {
        let frame = Frame::Sides(Sides { current, sides: sides.to_vec() });
        for mut one in awaits {
            one.stack.insert(0, frame.clone());
            one.path.decisions.clone_from(&path.decisions);
            all.push(one);
        }
    }
    if all.is_empty() { Way::Through(path.clone()) } else { Way::Wait(all) }
}

/// Every combination of one wait of each side of a choice, whichever side is then taken; being through with any side is one more way. Which of
/// these it is, is one decision (after the first `shared`). The sides' preferences decide, the first side's first. Being through comes before the
/// first combination whose wait its side prefers less.
fn together<'a>(sides: Vec<Vec<Way<'a>>>, shared: usize) -> Vec<Way<'a>> {
    // Per combination: what is waited for, and whether the side that may be through would rather be.
    let mut combined: Vec<(Vec<Await<'a>>, bool)> = vec![Default::default()];
    let mut through: Option<Path<'a>> = None;
    for mut ways in sides {
        ways.sort_by_key(|way| decided(way)[shared..].to_vec());
        let empty = ways.iter().position(|way| matches!(way, Way::Through(_))).filter(|_| through.is_none());
        let mut longer = Vec::new();
        for (before, later) in &combined {
            for (i, way) in ways.iter().enumerate() {
                if let Way::Wait(these) = way {
                    let later = *later || empty.is_some_and(|empty| empty < i);
                    longer.push(([&before[..], &these[..]].concat(), later));
                }
            }
        }
        combined = longer;
        if let Some(Way::Through(path)) = empty.map(|empty| ways.swap_remove(empty)) {
            through = Some(path);
        }
    }
    let place = combined.iter().position(|(_, later)| *later).unwrap_or(combined.len());
    let mut all: Vec<Way<'a>> = combined.into_iter().map(|(awaits, _)| Way::Wait(awaits)).collect();
    if let Some(path) = through {
        all.insert(place, Way::Through(path));
    }
    for (i, way) in all.iter_mut().enumerate() {
        for path in paths(way) {
            path.decisions.truncate(shared);
            path.decisions.push(i as u32);
        }
    }
    all
}

/// What is decided on a way.
fn decided<'w>(way: &'w Way<'_>) -> &'w [u32] {
    match way {
        Way::Wait(awaits) => &awaits[0].path.decisions,
        Way::Through(path) => &path.decisions,
    }
}

/// How a way came to where it waits, once for each step awaited.
pub fn paths<'w, 'a>(way: &'w mut Way<'a>) -> Vec<&'w mut Path<'a>> {
    match way {
        Way::Wait(awaits) => awaits.iter_mut().map(|one| &mut one.path).collect(),
        Way::Through(path) => vec![path],
    }
}

fn wait<'a>(step: &'a Step, entry: Entry, elements: u32, path: Path<'a>) -> Way<'a> {
    Way::Wait(vec![Await { step, entry, elements, stack: Vec::new(), path }])
}

/// An absence inside a repeated group or an `&` does not stand at the end of the pattern.
fn not_at_the_end(mut path: Path<'_>) -> Path<'_> {
    path.absences.iter_mut().for_each(|active| active.last = false);
    path
}

/// What stands before a group belongs to the first event bound in it: its contiguity goes before, limits add up.
fn entry_of(link: &Link, outer: Option<&Entry>) -> Entry {
    let own = link.within.map(|d| d.ms);
    match outer {
        None => Entry { contiguity: link.contiguity, limits: own.into_iter().collect() },
        Some(outer) => {
            Entry { contiguity: outer.contiguity, limits: outer.limits.iter().copied().chain(own).collect() }
        }
    }
}

fn under<'a>(way: Way<'a>, frames: &[Frame<'a>]) -> Way<'a> {
    match way {
        Way::Through(path) => Way::Through(path),
        Way::Wait(mut awaits) => {
            for one in &mut awaits {
                one.stack = frames.iter().cloned().chain(one.stack.drain(..)).collect();
            }
            Way::Wait(awaits)
        }
    }
}

fn under_each<'a>(ways: Vec<Way<'a>>, frames: &[Frame<'a>]) -> Vec<Way<'a>> {
    ways.into_iter().map(|way| under(way, frames)).collect()
}

/// The stack once an event was bound at its top: what stood before no longer counts.
pub fn after_binding<'a>(mut stack: Vec<Frame<'a>>, at: i64) -> Vec<Frame<'a>> {
    for frame in &mut stack {
        match frame {
            Frame::Sequence { outer, .. } | Frame::Repeat { outer, .. } => *outer = None,
            Frame::Sides(_) => {}
            Frame::Limit { first_at, .. } => *first_at = first_at.or(Some(at)),
        }
    }
    stack
}
