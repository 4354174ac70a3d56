//! What two rule sets have in common.
//!
//! Numbers of events, steps and windows mean nothing across rule sets: events and steps are compared by name, windows by what they keep.

use lapwing_dsl::compile::walk::{Reads, children_mut, each_expr_mut, walk};
use lapwing_dsl::ir::{Expr, ExprKind, Of, Reach, Rule, StepId, Window, WindowId, WindowKey, WindowKind};
use lapwing_dsl::program::Program;
use lapwing_dsl::schema::{EventId, FieldId, Schema};
use lapwing_dsl::value::Type;

use super::renumber::in_numbers_of;
use crate::rule_set::{RuleEntry, RuleSet, WindowEntry};
use crate::terms::strip_spans;

/// What happens to what is held of a rule.
#[derive(Clone, Debug)]
pub enum Fate {
    /// The rule is gone.
    Removed,
    /// It means the same; its new index.
    Kept(u32),
    /// It fires as windows close, and does so in another way: the open ones go on, and what it has reported is final; its new index.
    Closes(u32),
    /// It has changed: its runs are led through the new automaton.
    Changed(u32, Box<Change>),
    /// It has changed so much that it starts anew.
    Restarted,
}

/// A changed rule, from the old one's side.
#[derive(Clone, Debug)]
pub struct Change {
    /// For each old step.
    pub steps: Vec<OldStep>,
    /// The old program with all fields that are known of a bound event among those that are kept: it judges what is asked anew.
    pub view: Program,
}

/// A step of the old rule.
#[derive(Clone, Debug, Default)]
pub struct OldStep {
    /// The step of its name in the new rule.
    pub new: Option<StepId>,
    /// What is asked of its events anew, in the numbers of the old rule; none where what is known of them cannot tell.
    pub asked: Option<Vec<Term>>,
    /// Where the new rule's fields of its events come from; none where one is not known.
    pub laid: Option<Vec<Laid>>,
    /// Where the fields of [`Change::view`] come from.
    pub seen: Vec<Laid>,
}

/// A condition, and whether it must hold or must not.
#[derive(Clone, Debug)]
pub struct Term {
    /// The condition.
    pub expr: Expr,
    /// Whether it must hold.
    pub holds: bool,
}

/// Where a field of a bound event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Laid {
    /// It was kept at this place.
    Kept(usize),
    /// It was kept at this place as a whole number, and is a float now.
    Float(usize),
    /// It was kept at this place as a whole number, and is a decimal now.
    Decimal(usize),
    /// It is the event's time.
    Time,
    /// It is this part of the key.
    Key(usize),
}

/// Decides what happens to what is held of a rule.
pub fn fate(old: &RuleEntry, old_set: &RuleSet, new_set: &RuleSet) -> Fate {
    let Some(index) = new_set.find(&old.program.rule.name) else { return Fate::Removed };
    let new = &new_set.rules[index as usize];
    let pair = Pair::new(old, old_set, new, new_set);
    if !pair.comparable() {
        return Fate::Restarted;
    }
    if pair.means_the_same() {
        Fate::Kept(index)
    } else if pair.old.rule.closing.is_some() {
        Fate::Closes(index)
    } else {
        Fate::Changed(index, Box::new(pair.change()))
    }
}

/// Whether what was let through under the old rule set still holds alerts of the rule back under the new one.
pub fn suppresses_on(name: &str, old_set: &RuleSet, new_set: &RuleSet) -> bool {
    let old_set = &*in_numbers_of(old_set, &new_set.schema);
    let (Some(old), Some(new)) = (old_set.find(name), new_set.find(name)) else { return false };
    let pair = Pair::new(&old_set.rules[old as usize], old_set, &new_set.rules[new as usize], new_set);
    let (Some(a), Some(b)) = (&pair.old.rule.suppress, &pair.new.rule.suppress) else { return false };
    let bare = |by: &Option<Vec<Expr>>| by.as_ref().map(|by| by.iter().map(bare).collect::<Vec<_>>());
    let translated = b.by.as_ref().map(|by| by.iter().map(|e| pair.in_old(e)).collect());
    pair.comparable() && bare(&a.by) == translated
}

/// Two rules of one name.
struct Pair<'a> {
    old: &'a Program,
    new: &'a Program,
    old_set: &'a RuleSet,
    new_set: &'a RuleSet,
    same_space: bool,
    /// For each old step that binds the new one of its name.
    steps: Vec<Option<StepId>>,
    /// For each new step the old one.
    back: Vec<Option<StepId>>,
}

impl<'a> Pair<'a> {
    fn new(old: &'a RuleEntry, old_set: &'a RuleSet, new: &'a RuleEntry, new_set: &'a RuleSet) -> Self {
        let same_space = old_set.spaces[old.space as usize] == new_set.spaces[new.space as usize];
        let (old, new) = (&*old.program, &*new.program);
        let find = |rule: &Rule, name: &str| {
            rule.steps.iter().position(|s| !s.absence && s.name == name).map(|i| StepId(i as u16))
        };
        let each = |of: &Rule, among: &Rule| {
            let twin = |s: &lapwing_dsl::ir::Step| if s.absence { None } else { find(among, &s.name) };
            of.steps.iter().map(twin).collect()
        };
        Pair {
            steps: each(&old.rule, &new.rule),
            back: each(&new.rule, &old.rule),
            old,
            new,
            old_set,
            new_set,
            same_space,
        }
    }

    /// Whether their keys are the same, and steps of one name have one type.
    fn comparable(&self) -> bool {
        let twins = self.old.rule.steps.iter().zip(&self.steps).filter_map(|(step, new)| Some((step, (*new)?)));
        let mut twins = twins.map(|(step, new)| (step, &self.new.rule.steps[new.0 as usize]));
        self.same_space
            && self.same_windows_close()
            && twins.all(|(a, b)| self.same_event(a.event, b.event) && a.key == b.key)
    }

    /// Whether both look for a pattern, or at the same windows as they close, opened by the same types.
    fn same_windows_close(&self) -> bool {
        let (old, new) = (&self.old.rule, &self.new.rule);
        let types = |rule: &Rule| rule.steps.iter().map(|s| s.name.clone()).collect::<Vec<_>>();
        let asked = |rule: &Rule| rule.steps.iter().flat_map(|s| s.filter.iter().map(bare)).collect::<Vec<_>>();
        old.closing == new.closing && (old.closing.is_none() || types(old) == types(new) && asked(old) == asked(new))
    }

    fn same_event(&self, a: EventId, b: EventId) -> bool {
        same_event(&self.old_set.schema, a, &self.new_set.schema, b)
    }

    /// Whether nothing but layout, title and tags is different.
    fn means_the_same(&self) -> bool {
        if std::ptr::eq(self.old, self.new) && self.old_set.schema == self.new_set.schema {
            return true;
        }
        let plain = |rule: &Rule, schema: &Schema| {
            let mut rule = rule.clone();
            each_expr_mut(&mut rule, &mut |e| e.span = Default::default());
            rule.span = Default::default();
            rule.steps.iter_mut().for_each(|s| s.span = Default::default());
            rule.windows.iter_mut().for_each(|w| w.span = Default::default());
            rule.source.clear();
            rule.title.clear();
            rule.tags.clear();
            let events = take_events(&mut rule).into_iter().map(|e| schema.event(e).name.clone()).collect();
            (rule, events)
        };
        let (a, events): (Rule, Vec<String>) = plain(&self.old.rule, &self.old_set.schema);
        let (b, others) = plain(&self.new.rule, &self.new_set.schema);
        let find = |set: &RuleSet, name: &str| set.schema.find(name).expect("the rule names it");
        // What is kept of bound events stands in the order of the fields.
        events == others
            && a == b
            && self.old.captures == self.new.captures
            && events.iter().all(|name| self.same_event(find(self.old_set, name), find(self.new_set, name)))
    }

    fn change(&self) -> Change {
        let mut view = self.old.clone();
        let mut steps = Vec::with_capacity(self.steps.len());
        for (i, fields) in view.captures.iter_mut().enumerate() {
            let id = StepId(i as u16);
            let step = &self.old.rule.steps[i];
            let at = self.old_set.schema.event(step.event).at;
            for field in step.key.iter().chain([&at]) {
                if !fields.contains(field) && self.known(id, *field).is_some() {
                    fields.push(*field);
                }
            }
            let seen = fields.iter().filter_map(|field| self.known(id, *field)).collect();
            let new = self.steps[i];
            let asked = new.and_then(|new| self.asked(id, new));
            let laid = new
                .and_then(|new| self.new.captures[new.0 as usize].iter().map(|field| self.known(id, *field)).collect());
            steps.push(OldStep { new, asked, laid, seen });
        }
        Change { steps, view }
    }

    /// Where a field of the events bound to an old step is known from.
    fn known(&self, step: StepId, field: FieldId) -> Option<Laid> {
        let kept = self.old.capture(step, field);
        let step = &self.old.rule.steps[step.0 as usize];
        let event = self.old_set.schema.event(step.event);
        if let Some(place) = kept {
            let to = self.new_set.schema.find(&event.name).map(|e| self.new_set.schema.event(e));
            let to = to.and_then(|to| to.fields.get(usize::from(field.0))).map(|to| &to.ty);
            return Some(match to {
                Some(Type::Float) if event.field(field).ty == Type::Int => Laid::Float(place),
                Some(Type::Decimal) if event.field(field).ty == Type::Int => Laid::Decimal(place),
                _ => Laid::Kept(place),
            });
        }
        if field == event.at {
            return Some(Laid::Time);
        }
        // Numbers that are equal as keys may be written with other digits.
        let exact = !matches!(event.field(field).ty, Type::Float | Type::Decimal);
        step.key.iter().position(|f| *f == field).filter(|_| exact).map(Laid::Key)
    }

    /// The terms of a step's condition that the old one did not have.
    fn asked(&self, step: StepId, new: StepId) -> Option<Vec<Term>> {
        let (old, new) = (&self.old.rule.steps[step.0 as usize], &self.new.rule.steps[new.0 as usize]);
        let met: Vec<Expr> = old.filter.iter().map(bare).collect();
        let mut asked = Vec::new();
        for term in &new.filter {
            let expr = self.in_old(term);
            if !met.contains(&expr) {
                asked.push(Term { expr, holds: true });
            }
        }
        if let Some(until) = &new.until {
            // An event for which it holds is never an element.
            let expr = self.in_old(until);
            if old.until.as_ref().map(bare).as_ref() != Some(&expr) {
                asked.push(Term { expr, holds: false });
            }
        }
        asked.iter().all(|term| self.can_tell(&term.expr, step)).then_some(asked)
    }

    /// Whether what is known of a bound event can tell: windows have moved on, and fields may be gone.
    fn can_tell(&self, expr: &Expr, step: StepId) -> bool {
        let mut known = !Reads::of(expr).windows;
        walk(expr, &mut |e| {
            if let ExprKind::Field(Of::Candidate, field) = e.kind {
                known &= self.known(step, field).is_some();
            }
        });
        known
    }

    /// An expression of the new rule in the numbers of the old one, without spans. What the old one does not have gets a number that
    /// nothing has.
    fn in_old(&self, expr: &Expr) -> Expr {
        let mut expr = expr.clone();
        self.renumber(&mut expr);
        expr
    }

    fn renumber(&self, expr: &mut Expr) {
        expr.span = Default::default();
        match &mut expr.kind {
            ExprKind::Field(Of::Step(step, _), _) | ExprKind::Aggregate { step, .. } => {
                *step = self.back[step.0 as usize].unwrap_or(StepId(u16::MAX));
            }
            ExprKind::Window(id) => {
                let mut window = self.new.rule.windows[id.0 as usize].clone();
                if window.key == WindowKey::Input {
                    window.args.iter_mut().for_each(|e| self.renumber(e));
                }
                let same_event = |old: &Window| old.key == WindowKey::Input || self.same_event(old.event, window.event);
                let same = |old: &Window| same_event(old) && content(old) == content(&window);
                let found = self.old.rule.windows.iter().position(same);
                *id = WindowId(found.map_or(u16::MAX, |i| i as u16));
            }
            _ => {}
        }
        children_mut(expr, &mut |e| self.renumber(e));
    }
}

/// Whether two rule sets read the same event, as far as both know it: the old one in the numbers of the new one. Whole numbers may have been
/// widened.
fn same_event(old: &Schema, a: EventId, new: &Schema, b: EventId) -> bool {
    let (a, b) = (old.event(a), new.event(b));
    a.name == b.name
        && a.at == b.at
        && a.fields.iter().zip(&b.fields).all(|(x, y)| x.name == y.name && (x.ty == y.ty || widens(&x.ty, &y.ty)))
}

/// Whether every value of a type is one of another, as ints are decimals.
fn widens(from: &Type, to: &Type) -> bool {
    *from == Type::Int && matches!(to, Type::Float | Type::Decimal)
}

/// Takes the numbers of events out of a rule, in one order.
fn take_events(rule: &mut Rule) -> Vec<EventId> {
    let mut events = Vec::new();
    let mut take = |event: &mut EventId| events.push(std::mem::replace(event, EventId(0)));
    rule.key.fields.iter_mut().for_each(|(e, _)| take(e));
    rule.steps.iter_mut().for_each(|s| take(&mut s.event));
    rule.stop.iter_mut().for_each(|s| take(&mut s.event));
    rule.into.iter_mut().for_each(|i| take(&mut i.event));
    for window in &mut rule.windows {
        take(&mut window.event);
        if let WindowKey::Fields { reader, .. } = &mut window.key {
            reader.iter_mut().for_each(|(e, _)| take(e));
        }
    }
    events
}

fn bare(expr: &Expr) -> Expr {
    let mut expr = expr.clone();
    strip_spans(&mut expr);
    expr
}

/// What a window keeps, without regard to who asks, to numbers of events and to spans.
fn content(window: &Window) -> Window {
    let mut window = window.clone();
    window.span = Default::default();
    window.event = EventId(0);
    window.filter.iter_mut().chain(&mut window.args).for_each(strip_spans);
    if let WindowKey::Fields { reader, .. } = &mut window.key {
        reader.clear();
    }
    window
}

/// For each window of the old rule set the one of the new that goes on from it. Each goes on from one: from its like, or, of those that differ
/// in length and lateness alone and that nobody asks for any more, from the shortest that is as long, else from the longest, then from that of
/// the longest lateness.
pub fn windows_that_go_on(old: &RuleSet, new: &RuleSet) -> Vec<Option<u32>> {
    let mut goes_on: Vec<Option<u32>> = vec![None; old.windows.len()];
    let mut taken = vec![false; new.windows.len()];
    for (window, to) in old.windows.iter().zip(&mut goes_on) {
        // Windows that differ in what reads them only hold the same.
        let like = |(i, v): &(usize, &WindowEntry)| !taken[*i] && same_window(window, old, v, new);
        *to = new.windows.iter().enumerate().find(like).map(|(i, _)| i as u32);
        to.iter().for_each(|i| taken[*i as usize] = true);
    }
    let mut left: Vec<(i64, usize)> =
        new.windows.iter().enumerate().map(|(i, w)| (length(w).unwrap_or(0), i)).collect();
    left.retain(|(_, i)| !taken[*i]);
    left.sort_unstable();
    for (wanted, i) in left {
        let alike = |w: &WindowEntry| {
            let mut resized = WindowEntry { lateness: new.windows[i].lateness, ..w.clone() };
            set_length(&mut resized, wanted);
            same_window(&resized, old, &new.windows[i], new)
        };
        let free = old.windows.iter().enumerate().filter(|(j, w)| goes_on[*j].is_none() && alike(w));
        let free = free.map(|(j, w)| (length(w).unwrap_or(0), -w.lateness, j));
        // The long enough ones first, ascending; then the others, descending.
        let best = free.min_by_key(|(has, late, j)| (*has < wanted, (*has - wanted).abs(), *late, *j));
        if let Some((.., j)) = best {
            goes_on[j] = Some(i as u32);
        }
    }
    goes_on
}

/// The length of a sliding window.
fn length(window: &WindowEntry) -> Option<i64> {
    match window.spec.kind {
        WindowKind::Over { reach: Reach::Sliding { length, .. }, .. } => Some(length),
        _ => None,
    }
}

fn set_length(window: &mut WindowEntry, to: i64) {
    if let WindowKind::Over { reach: Reach::Sliding { length, .. }, .. } = &mut window.spec.kind {
        *length = to;
    }
}

/// Whether a window's state serves the new rule set's window.
pub fn same_window(old: &WindowEntry, old_set: &RuleSet, new: &WindowEntry, new_set: &RuleSet) -> bool {
    if old_set.spaces[old.space as usize] != new_set.spaces[new.space as usize] {
        return false;
    }
    if let (Some(a), Some(b)) = (old.sampled, new.sampled) {
        // What a rule samples goes on with a rule that says the same, and what it reads is numbered alike in both.
        let (a, b) = (&old_set.rules[a as usize], &new_set.rules[b as usize]);
        return a.program.rule.name == b.program.rule.name
            && old.spec.kind == new.spec.kind
            && old.spec.args == new.spec.args
            && Pair::new(a, old_set, b, new_set).means_the_same();
    }
    old.holds_the_same(new) && same_event(&old_set.schema, old.spec.event, &new_set.schema, new.spec.event)
}
