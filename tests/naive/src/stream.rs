//! The stream: order of events, time and its timers, and the alerts that leave.
//!
//! Each stratum is a stream of its own over all events: those of the log and those that the strata below derive (`strata`). Rules by
//! processing time are told apart before: they see the lines once more, each event at the time at which it comes.

use std::cell::RefCell;
use std::rc::Rc;

use lapwing_dsl::syntax::ast::{Decl, EventDecl, File, WindowClause, WindowKind};
use serde_json::{Map, Value as Json, json};

use crate::closing::{self, Closes, Looked, at_hand, looks_at};
use crate::data::{Data, Used};
use crate::eval::{Scope, World};
use crate::event::{self, Decoded, Event};
use crate::features::written_out;
use crate::migrate::{self, Leader};
use crate::rule::{Key, Rule};
use crate::run::{Matcher, evidence};
use crate::select::{KeyState, Reported};
use crate::strata::{self, Item, Made, Tag};
use crate::value::{self, Value};
use crate::windows::{Since, carried_over};
use crate::{Alert, Change, Options, Order, Outcome};

/// Runs the rules of some files over JSON lines, to the end of time.
pub fn run(files: &[File], lines: &[Json], options: &Options) -> Outcome {
    run_with_changes(files, &[], lines, options)
}

/// As [`run`], with changes of the rule set in order of their lines.
pub fn run_with_changes(files: &[File], changes: &[Change<'_>], lines: &[Json], options: &Options) -> Outcome {
    // What was one rule set stays one.
    let mut rule_sets: Vec<(&[File], Vec<File>)> = vec![(files, written_out(files))];
    for change in changes {
        if !rule_sets.iter().any(|(files, _)| std::ptr::eq(*files, change.files)) {
            rule_sets.push((change.files, written_out(change.files)));
        }
    }
    let written = |files: &[File]| {
        let known = rule_sets.iter().find(|(known, _)| std::ptr::eq(*known, files));
        known.map(|(_, written)| written.as_slice()).expect("each has been written out")
    };
    let changes: Vec<Change<'_>> =
        changes.iter().map(|change| Change { files: written(change.files), ..*change }).collect();
    run_written_out(written(files), &changes, lines, options)
}

fn run_written_out(files: &[File], changes: &[Change<'_>], lines: &[Json], options: &Options) -> Outcome {
    let first = Change { at_line: 0, files, messages: &[] };
    let mut generations: Vec<Generation<'_>> = Vec::new();
    for change in std::iter::once(&first).chain(changes) {
        generations.push(Generation::new(change, generations.last()));
    }
    let of_time = |processing| -> Vec<Generation<'_>> {
        generations.iter().map(|g| g.of(|i| g.rules[i].processing == processing)).collect()
    };
    let (by_event, outcome) = run_of_one_time(&of_time(false), changes, lines, options, false);
    let arrival = Options { order: Order::Arrival, lateness_ms: 0 };
    let (by_reading, _) = run_of_one_time(&of_time(true), changes, lines, &arrival, true);
    let mut alerts: Vec<(Came, Alert)> = by_reading.into_iter().chain(by_event).collect();
    // Stable: on one line rules by processing time come first.
    alerts.sort_by_key(|(came, _)| *came);
    Outcome { alerts: alerts.into_iter().map(|(_, alert)| alert).collect(), ..outcome }
}

/// By which line something happens: before it, by a change, or with it.
type Came = (usize, bool);

/// Runs the rules of one time. Gives the alerts in order, each with the line by which it came.
fn run_of_one_time(
    generations: &[Generation<'_>],
    changes: &[Change<'_>],
    lines: &[Json],
    options: &Options,
    processing: bool,
) -> (Vec<(Came, Alert)>, Outcome) {
    let (events, cuts, outcome, passed) = read(generations, changes, lines, options, processing);
    let lateness = if options.order == Order::Arrival { options.lateness_ms } else { 0 };
    let mut items = strata::of_the_log(events, lateness);
    let places: Vec<(usize, i64, bool)> = items.iter().map(|i| (i.event.line, i.clock, i.event.late)).collect();
    let times = || items.iter().filter(|i| !i.event.late).map(|i| i.event.at);
    let time = (times().min(), times().max());
    let first = if options.order == Order::Arrival { items.first().map(|i| i.event.at) } else { time.0 };
    let time = first.zip(time.1);
    let strata: Vec<Vec<u8>> = generations.iter().map(|g| strata::of_rules(&g.rules)).collect();
    let mut alerts = Vec::new();
    for stratum in 0..=strata.iter().flatten().copied().max().unwrap_or(0) {
        let own: Vec<Generation<'_>> =
            generations.iter().zip(&strata).map(|(g, of_rules)| g.of(|i| of_rules[i] == stratum)).collect();
        let made = lead(&own, stratum, &items, &cuts, lateness, time);
        alerts.extend(made.alerts);
        items = strata::with(items, made.derived);
    }
    alerts.sort_by_key(|(tag, _)| *tag);
    let first_past = |time: i64| passed.iter().position(|passed| *passed > time).unwrap_or(usize::MAX);
    let event = |index: usize| match places.get(index) {
        Some((line, ..)) if options.order == Order::Arrival => *line,
        Some((line, clock, true)) => first_past(clock - 1).max(*line),
        Some((_, clock, false)) => first_past(*clock),
        None => usize::MAX,
    };
    let came = |tag: &Tag| match (options.order, tag) {
        (Order::Arrival, Tag { change: 1.., .. }) => (changes[tag.change - 1].at_line, false),
        (_, Tag { deadline: i64::MAX, index, .. }) => (event(*index), true),
        (_, Tag { deadline, index, .. }) => (first_past(*deadline).max(index.checked_sub(1).map_or(0, event)), true),
    };
    (alerts.into_iter().map(|(tag, alert)| (came(&tag), alert)).collect(), outcome)
}

/// Leads the rules of one stratum over events.
fn lead(
    generations: &[Generation<'_>],
    stratum: u8,
    items: &[Item],
    cuts: &[i64],
    lateness: i64,
    time: Option<(i64, i64)>,
) -> Made {
    let states = generations[0].rules.iter().map(|_| RuleState::default()).collect();
    let windows = Rc::new(carried_over(&Since::new(), &generations[0].rules, &generations[0].types, 0, i64::MIN));
    let types = generations[0].types.clone();
    let data = generations[0].data.clone();
    let world = World { types, history: Vec::new(), clock: i64::MIN, lateness, windows, data };
    let tag = Tag { stratum, ..Tag::default() };
    let mut stream = Stream {
        generation: &generations[0],
        live: 0,
        states,
        world,
        tag,
        made: Made::default(),
        time,
        planned: false,
    };
    let last = items.last().map_or(0, |item| item.tag.index + 1);
    let places = strata::given(items);
    for (item, given) in items.iter().zip(places) {
        stream.change_up_to(item.generation, generations, cuts, item.tag.index);
        stream.tag = Tag { stratum, index: item.tag.index, ..Tag::default() };
        if item.tag.deadline == i64::MAX && given > 1 {
            stream.tag = Tag { deadline: i64::MAX, given: given - 1, ..stream.tag };
            stream.fire_before(item.clock, false);
        } else {
            stream.fire_before(item.clock, true);
        }
        stream.world.clock = item.clock;
        stream.tag = Tag { stratum, index: item.tag.index, deadline: item.tag.deadline, given, ..Tag::default() };
        stream.process(item.event.clone());
    }
    stream.change_up_to(generations.len() - 1, generations, cuts, last);
    stream.tag = Tag { stratum, index: last, ..Tag::default() };
    stream.end();
    stream.made
}

/// One rule set.
struct Generation<'a> {
    files: &'a [File],
    types: Vec<&'a EventDecl>,
    /// In order of name.
    rules: Vec<Rule<'a>>,
    /// Of each rule, what tells whether it changed.
    texts: Vec<String>,
    /// Lists and tables.
    data: Rc<Data>,
}

impl<'a> Generation<'a> {
    /// Some of the rules, by their numbers.
    fn of(&self, own: impl Fn(usize) -> bool) -> Generation<'a> {
        let own = |i: &usize| own(*i);
        let rules = (0..self.rules.len()).filter(own).map(|i| self.rules[i].clone()).collect();
        let texts = (0..self.rules.len()).filter(own).map(|i| self.texts[i].clone()).collect();
        Generation { files: self.files, types: self.types.clone(), rules, texts, data: self.data.clone() }
    }

    /// A rule that is the same as before is the very same, so that its runs' places are.
    fn new(change: &Change<'a>, before: Option<&Generation<'a>>) -> Generation<'a> {
        let files = change.files;
        let mut data = before.map_or(Data::default(), |b| (*b.data).clone()).declared(files);
        change.messages.iter().for_each(|message| data.apply(files, message));
        let data = Rc::new(data);
        if let Some(before) = before.filter(|b| std::ptr::eq(b.files, files)) {
            let Generation { files, types, rules, texts, .. } = before;
            return Generation { files, types: types.clone(), rules: rules.clone(), texts: texts.clone(), data };
        }
        let decls = || files.iter().flat_map(|f| &f.decls);
        let mut types: Vec<&EventDecl> =
            decls().filter_map(|d| if let Decl::Event(e) = d { Some(e) } else { None }).collect();
        types.sort_by(|a, b| a.name.text.cmp(&b.name.text));
        let mut rules: Vec<(Rule<'_>, String)> = decls()
            .filter_map(|d| if let Decl::Rule(r) = d { Rule::new(r) } else { None })
            .map(|rule| (rule.clone(), migrate::meaning(&rule)))
            .collect();
        rules.sort_by(|(a, _), (b, _)| a.name.cmp(b.name));
        for (rule, text) in &mut rules {
            let same = |(i, _): &(usize, &Rule<'_>)| before.is_some_and(|b| b.texts[*i] == *text);
            let old = before.and_then(|b| b.rules.iter().enumerate().filter(|(_, r)| r.name == rule.name).find(same));
            if let Some((_, old)) = old {
                *rule = old.clone();
            }
        }
        let (rules, texts) = rules.into_iter().unzip();
        Generation { files, types, rules, texts, data }
    }
}

/// Decodes the lines and puts the events in the order of processing, each with the generation that judges it. In order
/// of time a change has a cut, the greatest time read before it: events up to it belong to the generation before,
/// whenever they come. In order of arrival there is none. Told last is what time has passed with each line.
///
/// By processing time an event has the greatest time read so far, its own included.
fn read(
    generations: &[Generation<'_>],
    changes: &[Change<'_>],
    lines: &[Json],
    options: &Options,
    processing: bool,
) -> (Vec<(usize, Event)>, Vec<i64>, Outcome, Vec<i64>) {
    let mut outcome = Outcome::default();
    let mut events = Vec::new();
    let mut cuts = Vec::new();
    let mut greatest: Option<i64> = None;
    let mut passed = Vec::new();
    for (line, json) in lines.iter().enumerate() {
        while changes.get(cuts.len()).is_some_and(|change| change.at_line <= line) {
            cuts.push(greatest.unwrap_or(i64::MIN));
        }
        let watermark = greatest.map(|at| at.saturating_sub(options.lateness_ms));
        for (number, generation) in generations.iter().enumerate().take(cuts.len() + 1) {
            let judges = |event: &Event| match options.order {
                Order::Arrival => number == cuts.len(),
                Order::EventTime => number == cuts.iter().filter(|cut| event.at > **cut).count(),
            };
            for decl in &generation.types {
                match event::decode(decl, json, line) {
                    Decoded::Other => {}
                    Decoded::Rejected if number == cuts.len() => outcome.rejected.push(line),
                    Decoded::Rejected => {}
                    Decoded::Event(event) => {
                        let event = match processing {
                            true if number != cuts.len() => continue,
                            true => {
                                let reading = event.at.max(greatest.unwrap_or(event.at));
                                event.moved_to(decl, reading)
                            }
                            false => event,
                        };
                        let behind = watermark.filter(|w| options.order == Order::EventTime && event.at < *w);
                        if judges(&event) {
                            greatest = greatest.max(Some(event.at));
                            if behind.is_some() {
                                outcome.late.push(line);
                            } else {
                                events.push((number, event.clone()));
                            }
                        }
                        // A late one comes where time stands then, to the rules of then.
                        if let Some(clock) = behind.filter(|w| number == cuts.iter().filter(|cut| *w > **cut).count()) {
                            events.push((number, Event { clock, late: true, ..event }));
                        }
                    }
                }
            }
        }
        passed.push(greatest.map_or(i64::MIN, |at| at.saturating_sub(options.lateness_ms)));
    }
    cuts.resize(changes.len(), greatest.unwrap_or(i64::MIN));
    outcome.rejected.dedup();
    outcome.late.dedup();
    match options.order {
        // Stable: lines, and the types of one line, keep their order.
        // A late one comes once all that was before its place has come.
        Order::EventTime => events.sort_by_key(|(_, e)| (e.clock, !e.late)),
        Order::Arrival => cuts.fill(i64::MIN),
    }
    (events, cuts, outcome, passed)
}

/// What one rule holds.
#[derive(Default)]
struct RuleState<'a> {
    keys: Vec<(Key, KeyState<'a>)>,
    /// Per value that `suppress` goes by: the last alert let through, and how many were held back since.
    suppressed: Vec<(Key, i64, u64)>,
    /// `report updates`: alerts whose first revision was held back.
    silent: Vec<(Key, usize)>,
    /// Where it fires when windows close.
    closes: Closes,
}

struct Stream<'a> {
    generation: &'a Generation<'a>,
    /// Its number.
    live: usize,
    states: Vec<RuleState<'a>>,
    world: World<'a>,
    /// Where what happens now stands.
    tag: Tag,
    made: Made,
    /// When time begins, and the latest time of all.
    time: Option<(i64, i64)>,
    /// Whether it is known when windows close for rows.
    planned: bool,
}

impl<'a> Stream<'a> {
    /// Lets generations take over up to one, before an event of the log.
    fn change_up_to(&mut self, generation: usize, generations: &'a [Generation<'a>], cuts: &[i64], index: usize) {
        while self.live < generation {
            let cut = cuts[self.live];
            self.tag = Tag { stratum: self.tag.stratum, index, ..Tag::default() };
            self.change(&generations[self.live + 1], cut);
            self.live += 1;
        }
    }

    /// Lets the next generation take over, once time is past the cut. What is due by now is still the old one's.
    fn change(&mut self, next: &'a Generation<'a>, cut: i64) {
        let clock = self.world.clock.max(cut.saturating_add(1));
        self.fire_before(clock, true);
        self.world.clock = clock;
        self.tag = Tag { deadline: cut, change: self.live + 1, given: 0, ..self.tag };
        let old = self.generation;
        for (i, rule) in old.rules.iter().enumerate() {
            let after = next.rules.iter().position(|r| r.name == rule.name);
            if after.is_none_or(|j| next.texts[j] != old.texts[i]) {
                for key in self.keys(i) {
                    self.with_key(i, &key, |state, matcher| state.flush(matcher));
                }
            }
        }
        let (now, clock) = (self.world.history.len(), self.world.clock);
        self.world.windows = Rc::new(carried_over(&self.world.windows, &next.rules, &next.types, now, clock));
        self.world.types.clone_from(&next.types);
        self.world.data = next.data.clone();
        let mut states: Vec<Option<RuleState<'a>>> = std::mem::take(&mut self.states).into_iter().map(Some).collect();
        for (rule, text) in next.rules.iter().zip(&next.texts) {
            let before = old.rules.iter().position(|r| r.name == rule.name);
            let before = before.filter(|i| migrate::comparable(&old.rules[*i], rule));
            let looks_at = |i: &usize| looks_at(&old.rules[*i], &old.types) == looks_at(rule, &next.types);
            let before = before.filter(looks_at);
            let mut state = before.and_then(|i| states[i].take()).unwrap_or_default();
            if before.is_none() && rule.closing.is_some_and(|c| c.rows.is_some()) {
                state.closes.begins = Some(self.world.clock).filter(|clock| *clock > i64::MIN);
            }
            if let Some(i) = before.filter(|i| old.texts[*i] != *text) {
                state.closes.windows.retain(|w| !w.closed);
                state.closes.windows.iter_mut().for_each(|w| w.said = None);
                state.lead_over(&old.rules[i], &old.types, rule, &self.world);
            }
            self.states.push(state);
        }
        self.generation = next;
        if self.planned {
            self.planned = false;
            self.plan(i64::MAX);
        }
    }

    /// Finds out when windows close for rows, once time is past where it began.
    fn plan(&mut self, clock: i64) {
        let Some((since, newest)) = self.time.filter(|(since, _)| *since < clock && !self.planned) else { return };
        self.planned = true;
        for (rule, state) in self.generation.rules.iter().zip(&mut self.states) {
            if let Some(clause) = rule.closing.filter(|_| state.closes.next.is_none()) {
                state.closes.plan(clause, self.world.clock.max(since), (since, newest));
            }
        }
    }

    /// The keys that hold something of a rule, in order.
    fn keys(&self, rule: usize) -> Vec<Key> {
        let mut keys: Vec<Key> = self.states[rule].keys.iter().map(|(key, _)| key.clone()).collect();
        keys.sort_by(|a, b| value::key_order(a, b));
        keys
    }

    fn process(&mut self, mut event: Event) {
        event.place = self.world.history.len();
        event.clock = self.world.clock;
        event.data = self.world.data.clone();
        let event = Rc::new(event);
        self.world.history.push(event.clone());
        let time = self.time.unwrap_or((i64::MAX, i64::MIN));
        for (i, rule) in self.generation.rules.iter().enumerate() {
            if let Some(clause) = rule.closing {
                let state = &mut self.states[i];
                let changed = state.closes.event(rule, clause, &self.world, &event, time);
                for gone in changed.withdrawn {
                    self.made.alerts.extend(taken_back(gone).map(|alert| (self.tag, alert)));
                }
                for (key, first, last) in changed.again {
                    self.look(i, clause, &key, (first, last));
                }
            }
            if event.late && rule.lateness == 0 {
                continue;
            }
            let input = rule.keys(&event);
            let stopped = rule.stop.filter(|s| s.event.text == event.ty).and_then(|_| rule.key(&event));
            let mut keys = input.clone();
            keys.extend(stopped.clone().filter(|k| !input.contains(k)));
            keys.sort_by(|a, b| value::key_order(a, b));
            for key in keys {
                let in_input = input.contains(&key);
                let stops = stopped.as_ref() == Some(&key) && self.stops(rule, &key, &event);
                if event.late && in_input {
                    self.with_key(i, &key, |state, matcher| state.late(matcher, &event));
                } else if !event.late {
                    self.with_key(i, &key, |state, matcher| state.event(matcher, &event, in_input, stops));
                }
            }
        }
    }

    fn stops(&self, rule: &Rule<'a>, key: &Key, event: &Rc<Event>) -> bool {
        let scope = Scope {
            world: &self.world,
            rule,
            key,
            bound: &[],
            candidate: Some((event, &event.ty)),
            current: event,
            now: event.at,
            counted: None,
            element: None,
            used: None,
        };
        rule.stop.is_some_and(|stop| scope.holds_if_any(stop.filter.as_ref()))
    }

    /// Fires the deadlines before `clock`, in order of deadline, rule, key. What they complete stands at their time, if `at_their_time`.
    fn fire_before(&mut self, clock: i64, at_their_time: bool) {
        self.plan(clock);
        while let Some((deadline, rule, key)) = self.next_timer().filter(|(deadline, ..)| *deadline < clock) {
            if at_their_time {
                self.tag = Tag { deadline, given: u32::MAX, ..self.tag };
            }
            self.fire(rule, &key, deadline);
        }
    }

    fn fire(&mut self, rule: usize, key: &Key, deadline: i64) {
        match self.generation.rules[rule].closing {
            Some(clause) => self.close(rule, clause, key, deadline),
            None => self.with_key(rule, key, |state, matcher| state.pass(matcher, deadline)),
        }
    }

    /// A window closes, of one key or for all rows.
    fn close(&mut self, rule: usize, clause: &WindowClause, key: &Key, deadline: i64) {
        let of = &self.generation.rules[rule];
        let Some(rows) = &clause.rows else {
            let windows = &mut self.states[rule].closes.windows;
            let open = windows.iter_mut().find(|w| w.key == *key && w.last == deadline && !w.closed);
            let window = open.expect("the window is open");
            window.closed = true;
            let (key, first) = (window.key.clone(), window.first);
            self.look(rule, clause, &key, (first, deadline));
            if of.lateness == 0 {
                self.states[rule].closes.windows.retain(|w| !w.closed);
            }
            return;
        };
        let (first, last) = self.states[rule].closes.next.expect("a window closes");
        let mut keys = self.world.data.keys(&rows.text, last);
        keys.sort_by(|a, b| value::key_order(a, b));
        for key in keys {
            let window = Looked { key: key.clone(), first, last, closed: true, said: None };
            self.states[rule].closes.windows.push(window);
            self.look(rule, clause, &key, (first, last));
        }
        let windows = &mut self.states[rule].closes.windows;
        // Of a row without an alert nothing is remembered.
        windows.retain(|w| w.said.is_some() && of.lateness > 0);
        let time = self.time.unwrap_or((i64::MAX, i64::MIN));
        self.states[rule].closes.plan(clause, last + 1, time);
    }

    /// Looks at a window that has closed, for the first time or again.
    fn look(&mut self, rule: usize, clause: &WindowClause, key: &Key, (first, last): (i64, i64)) {
        let of = &self.generation.rules[rule];
        let state = &mut self.states[rule];
        let at = state.closes.windows.iter().position(|w| w.key == *key && w.first == first);
        let at = at.expect("the window is known");
        let before = state.closes.windows[at].said.clone();
        let now = closed(of, clause, &self.world, key, (first, last));
        let stands = before.as_ref().is_some_and(|(alert, _)| alert.status != "retracted");
        let said = match (before, now) {
            (None, None) => None,
            (None, Some((alert, by))) => {
                let held = of.suppress.map(|s| state.hold_back(by, alert.at, s.duration.ms));
                let silent = held == Some(None);
                let suppressed = held.flatten().unwrap_or(0);
                Some((Alert { suppressed, ..alert }, silent))
            }
            (Some((old, _)), Some((new, _))) if stands && same_words(&old, &new) => None,
            (Some((old, silent)), Some((new, _))) => {
                let status = if stands { "updated" } else { "open" }.to_owned();
                Some((Alert { revision: old.revision + 1, status, ..new }, silent))
            }
            (Some((old, silent)), None) if stands => {
                let status = "retracted".to_owned();
                Some((Alert { revision: old.revision + 1, status, suppressed: 0, ..old }, silent))
            }
            (Some(_), None) => None,
        };
        if let Some((alert, silent)) = said {
            state.closes.windows[at].said = Some((alert.clone(), silent));
            if !silent {
                self.made.alerts.push((self.tag, alert));
            }
        }
    }

    fn next_timer(&self) -> Option<(i64, usize, Key)> {
        let mut timers = Vec::new();
        for (i, state) in self.states.iter().enumerate() {
            for (key, of_key) in &state.keys {
                let matcher = Matcher { rule: &self.generation.rules[i], world: &self.world, key };
                timers.extend(of_key.timer(matcher).map(|deadline| (deadline, i, key.clone())));
            }
            timers.extend(state.closes.timer().map(|(deadline, key)| (deadline, i, key)));
        }
        timers.into_iter().min_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| value::key_order(&a.2, &b.2)))
    }

    fn end(&mut self) {
        self.plan(i64::MAX);
        while let Some((deadline, rule, key)) = self.next_timer() {
            self.tag = Tag { deadline, given: u32::MAX, ..self.tag };
            self.fire(rule, &key, deadline);
        }
        self.tag = Tag { deadline: i64::MAX, given: 0, ..self.tag };
        for i in 0..self.generation.rules.len() {
            for key in self.keys(i) {
                self.with_key(i, &key, |state, matcher| state.end(matcher));
            }
        }
    }

    /// Lets something happen to one key of one rule, and raises the alerts that come of it.
    fn with_key(
        &mut self,
        rule: usize,
        key: &Key,
        happens: impl FnOnce(&mut KeyState<'a>, Matcher<'a, '_>) -> Vec<Reported<'a>>,
    ) {
        let state = &mut self.states[rule];
        let matcher = Matcher { rule: &self.generation.rules[rule], world: &self.world, key };
        let index = state.keys.iter().position(|(k, _)| k == key).unwrap_or_else(|| {
            state.keys.push((key.clone(), KeyState::default()));
            state.keys.len() - 1
        });
        for reported in happens(&mut state.keys[index].1, matcher) {
            let Some(suppressed) = state.let_through(matcher, &reported) else { continue };
            if matcher.rule.emit.is_some_and(|emit| emit.into.is_some()) {
                let event = strata::derive(matcher, &reported, &then(matcher, &reported));
                let Some(event) = event else { continue };
                // Of what time completed, time has come to it.
                let timed = self.tag.given == u32::MAX;
                let clock = if timed { event.at } else { self.world.clock };
                self.made.derived.push(Item { generation: self.live, event, tag: self.tag, clock });
            } else {
                self.made.alerts.push((self.tag, alert(matcher, &reported, suppressed)));
            }
        }
    }
}

impl<'a> RuleState<'a> {
    /// Under a changed rule of the same name.
    fn lead_over(&mut self, old: &Rule<'a>, types: &[&EventDecl], new: &Rule<'a>, world: &World<'a>) {
        let leader = Leader::new(old, types, new, world);
        for (key, of_key) in &mut self.keys {
            let matcher = Matcher { rule: new, world, key };
            of_key.migrate(matcher, |run| leader.lead(key, run));
        }
        self.silent.clear();
        if !migrate::suppresses_on(old, new) {
            self.suppressed.clear();
        }
    }

    /// `suppress`: `None` where the alert is held back, else how many were held back before it.
    fn let_through(&mut self, matcher: Matcher<'_, '_>, reported: &Reported<'_>) -> Option<u64> {
        let Some(clause) = matcher.rule.suppress else { return Some(0) };
        let silent = reported.alert.map(|alert| (matcher.key.clone(), alert));
        if reported.revision > 0 {
            return (!silent.is_some_and(|s| self.silent.contains(&s))).then_some(0);
        }
        let at = reported.done.at;
        let past = then(matcher, reported);
        let matcher = Matcher { world: &past, ..matcher };
        let scope = matcher.match_scope(&reported.done.bound, reported.done.now);
        let by: Key =
            if clause.by.is_empty() { matcher.key.clone() } else { clause.by.iter().map(|e| scope.eval(e)).collect() };
        let passes = self.hold_back(by, at, clause.duration.ms);
        if passes.is_none() {
            self.silent.extend(silent);
        }
        passes
    }

    /// How many were held back for a value before; none where this is held back too.
    fn hold_back(&mut self, by: Key, at: i64, duration: i64) -> Option<u64> {
        let Some(last) = self.suppressed.iter_mut().find(|(k, ..)| *k == by) else {
            self.suppressed.push((by, at, 0));
            return Some(0);
        };
        if at < last.1.saturating_add(duration) {
            last.2 += 1;
            return None;
        }
        last.1 = at;
        Some(std::mem::take(&mut last.2))
    }
}

/// The world as it was when the match was complete; it may be reported later.
fn then<'a>(matcher: Matcher<'a, '_>, reported: &Reported<'_>) -> World<'a> {
    let World { types, history, clock, lateness, windows, .. } = matcher.world;
    let history = history[..reported.done.seen].to_vec();
    World {
        types: types.clone(),
        history,
        clock: *clock,
        lateness: *lateness,
        windows: windows.clone(),
        data: reported.done.data.clone(),
    }
}

fn alert(matcher: Matcher<'_, '_>, reported: &Reported<'_>, suppressed: u64) -> Alert {
    let rule = matcher.rule;
    let done = &reported.done;
    let past = then(matcher, reported);
    let matcher = Matcher { world: &past, ..matcher };
    let used = RefCell::new(done.bound.iter().flat_map(|b| b.used.clone()).collect());
    let scope = Scope { used: Some(&used), ..matcher.match_scope(&done.bound, done.now) };
    rule.when.map(|when| scope.eval(when));
    rule.risk.map(|risk| scope.eval(risk));
    rule.suppress.iter().flat_map(|s| &s.by).for_each(|by| drop(scope.eval(by)));
    let said = said(&scope);
    Alert {
        revision: reported.revision,
        status: reported.status.to_owned(),
        first_at: done.bound[0].event.at,
        at: done.at,
        evidence: evidence(&done.bound),
        suppressed,
        models: models(used.into_inner()),
        ..said
    }
}

/// The alert of a window that closed, with what `suppress` goes by; none where `when` does not hold.
fn closed(
    rule: &Rule<'_>,
    clause: &WindowClause,
    world: &World<'_>,
    key: &Key,
    (first, last): (i64, i64),
) -> Option<(Alert, Key)> {
    let at_hand = at_hand(world);
    let used = RefCell::default();
    let scope = Scope { used: Some(&used), ..closing::scope(rule, key, world, &at_hand, last) };
    if rule.when.is_some_and(|when| scope.eval(when).truth() != Some(true)) {
        return None;
    }
    let at = if let WindowKind::Session(_) = clause.window.kind { last } else { last + 1 };
    let own: Vec<Value> = rule.suppress.iter().flat_map(|s| &s.by).map(|e| scope.eval(e)).collect();
    let by = if own.is_empty() { key.clone() } else { own };
    rule.risk.map(|risk| scope.eval(risk));
    let said = said(&scope);
    Some((Alert { first_at: first, at, models: models(used.into_inner()), ..said }, by))
}

/// Whether two revisions of an alert differ in nothing that they say.
fn same_words(a: &Alert, b: &Alert) -> bool {
    (a.at, &a.fields, &a.severity, &a.message, &a.models) == (b.at, &b.fields, &b.severity, &b.message, &b.models)
}

/// The alert of a window that is part of a longer session now.
fn taken_back(window: Looked) -> Option<Alert> {
    let (alert, silent) = window.said?;
    let status = "retracted".to_owned();
    let back = Alert { revision: alert.revision + 1, status, suppressed: 0, ..alert.clone() };
    (!silent && alert.status != "retracted").then_some(back)
}

/// What the rule's clauses make of it.
fn said(scope: &Scope<'_>) -> Alert {
    let (rule, key) = (scope.rule, scope.key);
    let mut fields = Map::new();
    for (name, expr) in rule.emit.iter().flat_map(|emit| &emit.fields) {
        if let Some(json) = scope.eval(expr).to_json() {
            fields.insert(name.text.clone(), json);
        }
    }
    let names = rule.key_names().into_iter().map(str::to_owned);
    let values = key.iter().map(|v: &Value| v.to_json().unwrap_or(Json::Null));
    Alert {
        rule: rule.name.to_owned(),
        revision: 0,
        status: "open".to_owned(),
        severity: rule.severity.map(|e| scope.eval(e).to_text()),
        key: names.zip(values).collect(),
        first_at: 0,
        at: 0,
        evidence: Default::default(),
        fields,
        message: rule.message.and_then(|m| scope.message(m)),
        suppressed: 0,
        models: Vec::new(),
    }
}

/// What models answered, in order, each once.
fn models(mut used: Vec<Used>) -> Vec<Json> {
    used.sort_by(|a, b| a.partial_cmp(b).expect("a score is a number"));
    used.dedup();
    let json = |u: Used| {
        let mut json = json!({"model": u.model, "version": u.version, "score": u.score});
        if !u.shadow.is_empty() {
            json["shadow"] = u.shadow.iter().map(|(v, s)| json!({"version": v, "score": s})).collect();
        }
        json
    };
    used.into_iter().map(json).collect()
}
