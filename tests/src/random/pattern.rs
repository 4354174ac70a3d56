//! Patterns: sequences, choices, `&`, groups and repetitions, one or two levels deep.

use super::condition::{Reads, Step, Writer};

/// How a rule's steps may be keyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// No key at all.
    None,
    /// One field.
    One,
    /// Several fields.
    Two,
}

/// Writes one pattern.
pub struct Patterns<'w, 'r> {
    /// Writes conditions.
    pub writer: &'w mut Writer<'r>,
    /// The rule's key.
    pub keys: Keys,
    /// The steps bound so far, in order of the text.
    pub steps: Vec<Step>,
    /// How many of `steps` a condition may read.
    visible: Vec<Step>,
    absences: usize,
    /// How many groups stand around.
    groups: usize,
    /// More steps than this are not written.
    room: usize,
}

impl<'w, 'r> Patterns<'w, 'r> {
    /// A writer of a pattern with at most so many steps.
    pub fn new(writer: &'w mut Writer<'r>, keys: Keys, room: usize) -> Self {
        Patterns { writer, keys, steps: Vec::new(), visible: Vec::new(), absences: 0, groups: 0, room }
    }

    /// The whole pattern.
    pub fn pattern(&mut self) -> String {
        let depth = self.writer.rng.weighted(&[(3, 1), (2, 2)]);
        match self.writer.rng.below(10) {
            0 => self.step(false),
            1 | 2 => self.repeated_step(),
            3 if self.room > 1 => self.choice(depth),
            4 if self.room > 1 => self.all(depth),
            _ if self.room > 1 => self.sequence(depth),
            _ => self.repeated_step(),
        }
    }

    fn percent(&mut self, p: u64) -> bool {
        self.writer.rng.percent(p)
    }

    fn mark(&mut self, name: &'static str) {
        self.writer.mark(name);
    }

    /// `A then B`, with absences between and at the end.
    fn sequence(&mut self, depth: usize) -> String {
        let mut text = self.element(depth);
        let more = self.writer.rng.between(1, 2);
        for bound in 1..=more {
            if self.percent(25) {
                text += &self.absence(false);
                if self.percent(20) {
                    self.mark("not after not");
                    text += &self.absence(false);
                }
                self.mark("not in the middle");
            }
            if self.steps.len() >= self.room && bound > 1 {
                break;
            }
            let link = self.link();
            text += &link;
            text += &self.element(depth);
        }
        if self.percent(20) {
            if self.percent(20) {
                text += &self.absence(false);
                self.mark("not after not");
            }
            text += &self.absence(true);
            self.mark("not at the end");
        }
        text
    }

    fn link(&mut self) -> String {
        self.mark("then");
        let mut text = " then".to_owned();
        if self.percent(20) {
            self.mark("then within");
            let limit = self.writer.span(1, 5);
            text += &format!(" within {limit}");
        }
        match self.writer.rng.below(10) {
            0 | 1 => {
                self.mark("then next");
                text += " next";
            }
            2 | 3 => {
                self.mark("then any");
                text += " any";
            }
            _ => {}
        }
        text + " "
    }

    fn absence(&mut self, end: bool) -> String {
        let mut text = " then ".to_owned();
        if self.percent(20) {
            self.mark("next not");
            text += "next ";
        }
        text += "not ";
        if self.percent(25) {
            self.mark("not a choice");
            text += &format!("({} | {})", self.absent(), self.absent());
        } else {
            text += &self.absent();
        }
        if end && self.percent(65) {
            self.mark("not within");
            let limit = self.writer.span(1, 6);
            text += &format!(" within {limit}");
        }
        text
    }

    fn absent(&mut self) -> String {
        let ty = *self.writer.rng.pick(&["e", "f", "g"]);
        self.absences += 1;
        let before = self.visible.clone();
        let reads = Reads { before: &before, own: None, ty };
        let condition = self.writer.condition(&reads);
        format!("n{}: {ty} where {condition}", self.absences)
    }

    /// One member of a sequence.
    fn element(&mut self, depth: usize) -> String {
        let left = self.room.saturating_sub(self.steps.len());
        match self.writer.rng.below(20) {
            0..=3 if depth > 0 && left > 1 => self.group(depth),
            4 | 5 if depth > 0 && left > 1 => {
                self.mark("choice in a sequence");
                format!("({})", self.choice(0))
            }
            6 | 7 if depth > 0 && left > 1 => {
                self.mark("& in a sequence");
                format!("({})", self.all(0))
            }
            8..=13 => self.repeated_step(),
            _ => self.step(false),
        }
    }

    /// A side of a choice or of an `&`.
    fn side(&mut self, depth: usize) -> String {
        match self.writer.rng.below(10) {
            0 | 1 if depth > 0 && self.room.saturating_sub(self.steps.len()) > 1 => {
                self.mark("group");
                format!("({})", self.sequence(0))
            }
            2..=4 => self.repeated_step(),
            _ => self.step(false),
        }
    }

    fn choice(&mut self, depth: usize) -> String {
        self.mark("choice");
        let before = self.visible.clone();
        let mut sides = vec![self.side(depth)];
        for _ in 0..self.writer.rng.weighted(&[(4, 1), (1, 2)]) {
            self.visible.clone_from(&before);
            sides.push(self.side(depth));
        }
        self.visible.clone_from(&self.steps);
        sides.join(" | ")
    }

    fn all(&mut self, depth: usize) -> String {
        self.mark("&");
        let before = self.visible.clone();
        let left = self.side(depth);
        self.visible.clone_from(&before);
        let right = self.side(depth);
        self.visible.clone_from(&self.steps);
        format!("{left} & {right}")
    }

    /// `( … )` with a quantifier or a limit.
    fn group(&mut self, depth: usize) -> String {
        self.mark("group");
        if self.groups > 0 {
            self.mark("group in a group");
        }
        self.groups += 1;
        let repeated = self.percent(70);
        let from = self.steps.len();
        let nests = depth > 1 && self.room.saturating_sub(self.steps.len()) > 2;
        let body = match self.writer.rng.below(if nests { 7 } else { 4 }) {
            4.. => format!("{} then {}", self.group(depth - 1), self.step(false)),
            0 => self.choice(depth - 1),
            1 => self.all(depth - 1),
            2 => self.element(depth - 1),
            _ => self.sequence(depth - 1),
        };
        self.groups -= 1;
        let mut text = format!("({body})");
        if repeated {
            for step in &mut self.steps[from..] {
                step.repeated = true;
            }
            self.visible.clone_from(&self.steps);
            self.mark("group repeated");
            let quantifier = self.quantifier();
            text += &quantifier;
            if quantifier != "?" && quantifier != "??" {
                text += &self.between();
                if self.percent(45) {
                    self.mark("group apart");
                    let limit = self.writer.span(1, 5);
                    text += &format!(" apart {limit}");
                }
            }
        }
        if !repeated || self.percent(30) {
            self.mark("group within");
            let limit = self.writer.span(2, 8);
            text += &format!(" within {limit}");
        }
        if text.contains(") next") || text.contains(") any") || text.contains("} next") || text.contains("} any") {
            self.mark("group contiguity");
        }
        text
    }

    fn quantifier(&mut self) -> String {
        let least = self.writer.rng.between(1, 2);
        let base = match self.writer.rng.below(8) {
            0 => "?".to_owned(),
            1 => {
                self.mark("unbounded");
                "*".to_owned()
            }
            2 | 3 => {
                self.mark("unbounded");
                "+".to_owned()
            }
            4 => {
                self.mark("unbounded");
                "{2,}".to_owned()
            }
            5 => "{2}".to_owned(),
            6 => format!("{{{least},{}}}", least + 1),
            _ => format!("{{{},3}}", least - 1),
        };
        self.mark(if base == "?" { "optional" } else { "repeated" });
        if base != "{2}" && self.percent(30) {
            self.mark("reluctant");
            return base + "?";
        }
        self.mark("greedy");
        base
    }

    fn between(&mut self) -> String {
        match self.writer.rng.below(9) {
            0 | 1 => {
                self.mark("repeated next");
                " next".to_owned()
            }
            2 => {
                self.mark("repeated any");
                " any".to_owned()
            }
            _ => String::new(),
        }
    }

    fn repeated_step(&mut self) -> String {
        self.step(true)
    }

    /// `name: type quantifier contiguity apart by where until`
    fn step(&mut self, repeated: bool) -> String {
        let ty = self.writer.rng.weighted(&[(5, "e"), (3, "f"), (1, "g")]);
        let name = ["a", "b", "c", "h", "i", "l", "m", "o", "r", "w", "y", "z"][self.steps.len()].to_owned();
        let mut text = format!("{name}: {ty}");
        let mut many = false;
        if repeated {
            let quantifier = self.quantifier();
            many = quantifier != "?" && quantifier != "??";
            text += &quantifier;
            if many {
                text += &self.between();
                if self.percent(20) {
                    self.mark("apart");
                    let limit = self.writer.span(1, 4);
                    text += &format!(" apart {limit}");
                }
            }
        }
        if self.keys != Keys::None && self.percent(8) {
            self.mark("step by");
            text += if self.keys == Keys::One { " by j" } else { " by u, j" };
        }
        let own = Step { name, ty, repeated: many };
        let before = self.visible.clone();
        let reads = Reads { before: &before, own: Some(&own), ty };
        if self.percent(80) {
            let condition = self.writer.condition(&reads);
            text += &format!(" where {condition}");
        }
        if many && self.percent(15) {
            self.mark("until");
            let condition = self.writer.simple();
            text += &format!(" until {condition}");
        }
        self.steps.push(own.clone());
        self.visible.push(own);
        text
    }
}
