//! How a rule set is laid out: which rules share keys and windows, what is wanted of each event type, how runs begin.

use std::sync::Arc;

use lapwing_dsl::ir::{WindowKey, WindowKind};
use lapwing_dsl::program::Program;
use lapwing_dsl::schema::{EventId, FieldId, Schema};
use lapwing_dsl::strata::{Unstratified, mixed_times, strata};

use super::{
    ANY_EVENT, EXTRACTIONS_MAX, EventPlan, Extraction, Gather, LiveRule, Programs, Refused, RuleEntry, Sample, Space,
    Wait, WindowEntry,
};
use crate::Millis;
use crate::batch::Layout;
use crate::index::Index;
use crate::index::asks::Asks;
use crate::index::uses::Uses;
use crate::run::{Memory, NO_DECISION};
use crate::state::record::Begin;
use crate::state::values::VALUES_MAX;
use crate::terms::{Terms, TermsBuilder, strip_spans};
use crate::window::family::{Family, form_of};

impl Programs {
    /// Lays out rules whose programs were compiled against `schema`.
    pub(super) fn new(since: u64, schema: Schema, mut rules: Vec<LiveRule>) -> Result<Programs, Refused> {
        rules.sort_by(|a, b| a.program.rule.name.cmp(&b.program.rule.name));
        let mut builder = Builder {
            spaces: Vec::new(),
            windows: Vec::new(),
            events: vec![EventPlan::default(); schema.events.len()],
        };
        let mut entries = Vec::with_capacity(rules.len());
        let stratum_of = stratify(&rules)?;
        for (rule, stratum) in rules.iter().zip(&stratum_of) {
            entries.push(builder.add(rule, entries.len() as u32, *stratum, &schema)?);
        }
        for plan in &mut builder.events {
            for extraction in &mut plan.extractions {
                let windows = &builder.windows;
                extraction
                    .windows
                    .sort_by_key(|w| (matches!(windows[*w as usize].spec.kind, WindowKind::FirstSeen { .. }), *w));
            }
        }
        for (i, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.closes_rows()) {
            for step in &entry.program.rule.steps {
                builder.events[step.event.0 as usize].counted_for_rows.push(i as u32);
            }
        }
        let read = fields_read(&schema, &entries, &builder);
        let layout = Arc::new(Layout::new(&schema, |e, f| read[e.0 as usize][f.0 as usize]));
        let index = Index::new(&schema, &entries);
        let uses = Uses::new(&schema, &entries);
        let closes_rows = entries.iter().any(RuleEntry::closes_rows);
        let mut row_windows: Vec<u32> =
            entries.iter().filter(|e| e.closes_rows()).flat_map(|e| e.windows.iter().copied()).collect();
        row_windows.sort_unstable();
        row_windows.dedup();
        let revises = |rule: &u32| entries[*rule as usize].program.rule.lateness > 0;
        let revising = (0..entries.len() as u32).filter(revises).collect();
        let asks = Asks::new(&schema, &entries);
        let Builder { spaces, windows, events } = builder;
        let (families, family_of) = families(&windows);
        let seeds = spaces.iter().map(Space::seed).collect();
        let mut set = Programs {
            since,
            schema,
            layout,
            rules: entries,
            spaces,
            seeds,
            windows,
            families,
            family_of,
            events,
            index,
            uses,
            asks,
            terms: Terms::default(),
            begins: Vec::new(),
            gathers: Vec::new(),
            waits: Vec::new(),
            wait_terms: Vec::new(),
            awaited: Vec::new(),
            first_wait: Vec::new(),
            closes_rows,
            row_windows,
            revising,
            derives: rules.iter().any(|r| r.program.rule.into.is_some()),
            strata: stratum_of.iter().max().map_or(1, |highest| highest + 1),
        };
        set.lay_out_waits();
        Ok(set)
    }

    fn lay_out_waits(&mut self) {
        let mut terms = TermsBuilder::default();
        self.begins = self.rules.iter().enumerate().map(|(i, entry)| begin(i as u32, entry)).collect();
        for entry in &self.rules {
            let program = &entry.program;
            self.first_wait.push(self.waits.len() as u32);
            for state in &program.nfa.states {
                let [leaf] = state.leaves.as_slice() else {
                    self.waits.push(Wait::default());
                    continue;
                };
                let step = &program.rule.steps[leaf.step.0 as usize];
                let condition = &program.conditions[leaf.step.0 as usize];
                let from = self.wait_terms.len() as u32;
                self.wait_terms.extend(condition.event.iter().map(|term| terms.add(step.event, term)));
                self.waits.push(Wait {
                    simple: entry.plain
                        && !state.strict
                        && state.absences.is_empty()
                        && step.until.is_none()
                        && condition.key.is_empty()
                        && program.rule.windows.is_empty(),
                    asks_run: !condition.run.is_empty(),
                    extraction: entry.step_extraction[leaf.step.0 as usize],
                    event: step.event.0,
                    step: leaf.step.0,
                    terms: (from, self.wait_terms.len() as u32),
                });
            }
        }
        self.terms = terms.finish();
        self.awaited = self.waits.iter().map(|wait| if wait.simple { wait.event } else { ANY_EVENT }).collect();
        self.gathers = (0..self.rules.len()).map(|rule| self.gather(rule)).collect();
    }

    /// Runs can be gathered where the next event completes the match, that ends all runs that began before, and what it asks of a run is
    /// nothing, or one equality.
    fn gather(&self, rule: usize) -> Option<Gather> {
        use lapwing_dsl::ir::{Comparison, ExprKind, Of, Pick, Skip};
        use lapwing_dsl::nfa::Instruction;
        use lapwing_dsl::syntax::ast::MatchMode;
        let begin = self.begins[rule].as_ref()?;
        let program = &self.rules[rule].program;
        let (spec, state) = (&program.rule, program.nfa.state(begin.state));
        let [leaf] = state.leaves.as_slice() else { return None };
        let [fork] = leaf.forks.as_slice() else { return None };
        let guarded = |i: &Instruction| matches!(i, Instruction::Below(..) | Instruction::AtLeast(..));
        let completes = !leaf.stays && fork.target.is_none() && !fork.instructions.iter().any(guarded);
        let ends_all = spec.mode == MatchMode::One && spec.skip == Skip::PastLast && spec.when.is_none();
        let simple = self.wait(rule as u32, begin.state).simple;
        if !completes || !ends_all || !simple || begin.lasts == i64::MAX {
            return None;
        }
        let first = |of: Of| matches!(of, Of::Step(step, Pick::First(0) | Pick::Last(0)) if step == begin.step);
        let by = match program.conditions[leaf.step.0 as usize].run.as_slice() {
            [] => None,
            [one] => {
                let ExprKind::Compare(Comparison::Eq, a, b) = &one.kind else { return None };
                let (field, captured) = match (&a.kind, &b.kind) {
                    (ExprKind::Field(Of::Candidate, f), ExprKind::Field(of, g)) if first(*of) => (*f, *g),
                    (ExprKind::Field(of, g), ExprKind::Field(Of::Candidate, f)) if first(*of) => (*f, *g),
                    _ => return None,
                };
                Some((field, program.capture(begin.step, captured).filter(|_| a.ty == b.ty)?))
            }
            _ => return None,
        };
        Some(Gather { by, lasts: begin.lasts })
    }
}

struct Builder {
    spaces: Vec<Space>,
    windows: Vec<WindowEntry>,
    events: Vec<EventPlan>,
}

impl Builder {
    fn add(&mut self, live: &LiveRule, index: u32, stratum: u8, schema: &Schema) -> Result<RuleEntry, Refused> {
        let rule = &live.program.rule;
        let pinned = rule.windows.iter().any(|w| matches!(w.key, WindowKey::Fields { .. }));
        let space = self.space(Space {
            names: rule.key.names.clone(),
            types: rule.key.types.clone(),
            optional: rule.key.optional.clone(),
            pinned,
            stratum,
        });
        let refuse =
            |event: EventId| Refused::TooManyKeys { event: schema.event(event).name.clone(), rule: rule.name.clone() };
        let mut step_extraction = Vec::with_capacity(rule.steps.len());
        for step in &rule.steps {
            step_extraction.push(self.extraction(step.event, space, &step.key).ok_or_else(|| refuse(step.event))?);
        }
        let stop_extraction = match &rule.stop {
            Some(stop) => {
                Some((stop.event, self.extraction(stop.event, space, &stop.key).ok_or_else(|| refuse(stop.event))?))
            }
            None => None,
        };
        let mut windows = Vec::new();
        for window in &rule.windows {
            windows.push(match window.key {
                WindowKey::Input => self.sampled(window, index, space, rule.lateness),
                _ => self.window(window, &live.program, space, schema).ok_or_else(|| refuse(window.event))?,
            });
        }
        let mut input = vec![0u64; schema.events.len()];
        for (step, extraction) in rule.steps.iter().zip(&step_extraction) {
            input[step.event.0 as usize] |= 1 << extraction;
        }
        for (window, spec) in windows.iter().zip(&rule.windows).filter(|(_, spec)| spec.key == WindowKey::Input) {
            debug_assert!(spec.filter.is_none(), "every event of the input is sampled");
            for (plan, mask) in self.events.iter_mut().zip(&input).filter(|(_, mask)| **mask != 0) {
                plan.always = true;
                plan.samples.push(Sample { rule: index, mask: *mask, window: *window });
            }
        }
        let mut sees = input.clone();
        if let Some((event, extraction)) = stop_extraction {
            sees[event.0 as usize] |= 1 << extraction;
        }
        for event in live.program.inputs.iter().copied().chain(rule.stop.iter().map(|s| s.event)) {
            self.events[event.0 as usize].always = true;
        }
        Ok(RuleEntry {
            program: live.program.clone(),
            version: live.version,
            space,
            stratum,
            step_extraction,
            stop_extraction,
            windows,
            input,
            sees,
            timed: is_timed(&live.program),
            plain: is_plain(&live.program),
        })
    }

    fn space(&mut self, space: Space) -> u16 {
        let at = self.spaces.iter().position(|s| *s == space).unwrap_or_else(|| {
            self.spaces.push(space);
            self.spaces.len() - 1
        });
        at as u16
    }

    fn extraction(&mut self, event: EventId, space: u16, fields: &[FieldId]) -> Option<u8> {
        let extractions = &mut self.events[event.0 as usize].extractions;
        let found = extractions.iter().position(|x| x.space == space && x.fields == fields);
        match found {
            Some(i) => Some(i as u8),
            None if extractions.len() >= EXTRACTIONS_MAX => None,
            None => {
                extractions.push(Extraction { space, fields: fields.to_vec(), windows: Vec::new() });
                Some(extractions.len() as u8 - 1)
            }
        }
    }

    /// A window of what a rule samples; each has its own. Its time stands as far behind as that of what it samples.
    fn sampled(&mut self, spec: &lapwing_dsl::ir::Window, rule: u32, space: u16, lateness: Millis) -> u32 {
        let mut spec = spec.clone();
        spec.span = Default::default();
        spec.args.iter_mut().for_each(strip_spans);
        self.windows.push(WindowEntry { spec, space, keys: Vec::new(), lateness, sampled: Some(rule) });
        self.windows.len() as u32 - 1
    }

    fn window(
        &mut self,
        spec: &lapwing_dsl::ir::Window,
        program: &Program,
        rule_space: u16,
        schema: &Schema,
    ) -> Option<u32> {
        let (space, fields) = match &spec.key {
            WindowKey::Rule(fields) => (rule_space, fields.clone()),
            WindowKey::Input => unreachable!("what is sampled is counted nowhere"),
            WindowKey::Fields { counted, optional, .. } => {
                let event = schema.event(spec.event);
                let names = counted.iter().map(|f| event.field(*f).name.clone()).collect();
                let types = counted.iter().map(|f| event.field(*f).ty.clone()).collect();
                let stratum = self.spaces[rule_space as usize].stratum;
                let space = self.space(Space { names, types, optional: optional.clone(), pinned: true, stratum });
                (space, counted.clone())
            }
        };
        // By the rule's key, an event counts under each key that a step gives it.
        let mut keys: Vec<Vec<FieldId>> = Vec::new();
        if matches!(spec.key, WindowKey::Rule(_)) {
            for step in program.rule.steps.iter().filter(|s| s.event == spec.event) {
                if !keys.contains(&step.key) {
                    keys.push(step.key.clone());
                }
            }
        }
        if keys.is_empty() {
            keys.push(fields);
        }
        keys.sort_unstable();
        let mut bare = spec.clone();
        bare.span = Default::default();
        bare.filter.iter_mut().chain(&mut bare.args).for_each(strip_spans);
        // Windows that hold the same are one, whoever asks.
        let mut readers = Vec::new();
        match &mut bare.key {
            WindowKey::Rule(fields) => fields.clear(),
            WindowKey::Input => {}
            WindowKey::Fields { reader, .. } => readers = std::mem::take(reader),
        }
        let lateness = if spec.takes_late() { program.rule.lateness } else { 0 };
        let entry = WindowEntry { spec: bare, space, keys: keys.clone(), lateness, sampled: None };
        let same = |w: &WindowEntry| w.space == space && w.spec.event == entry.spec.event && w.holds_the_same(&entry);
        let window = self.windows.iter().position(same).unwrap_or_else(|| {
            self.windows.push(entry);
            self.windows.len() - 1
        });
        if let WindowKey::Fields { reader, .. } = &mut self.windows[window].spec.key {
            reader.extend(readers);
            reader.sort_unstable();
            reader.dedup();
        }
        let window = window as u32;
        self.events[spec.event.0 as usize].always = true;
        for fields in keys {
            let extraction = self.extraction(spec.event, space, &fields)?;
            let windows = &mut self.events[spec.event.0 as usize].extractions[extraction as usize].windows;
            if !windows.contains(&window) {
                windows.push(window);
            }
        }
        Some(window)
    }
}

/// Puts windows together that count the same events; gives for each its family, and its place there.
fn families(windows: &[WindowEntry]) -> (Vec<Family>, Vec<Option<(u32, u8)>>) {
    let mut families: Vec<Family> = Vec::new();
    let mut family_of = Vec::with_capacity(windows.len());
    for (i, window) in windows.iter().enumerate() {
        let Some(form) = form_of(&window.spec) else {
            family_of.push(None);
            continue;
        };
        let alike = |family: &Family| {
            let first = &windows[family.windows[0] as usize];
            let same_place = (first.space, first.spec.event) == (window.space, window.spec.event);
            family.has_room() && same_place && first.counts_the_same(window)
        };
        let number = families.iter().position(alike).unwrap_or_else(|| {
            families.push(Family::default());
            families.len() - 1
        });
        family_of.push(Some((number as u32, families[number].windows.len() as u8)));
        families[number].add(i as u32, &window.spec, form);
    }
    (families, family_of)
}

/// No rule may build on one that goes by another time.
pub(super) fn refuse_mixed_times(rules: &[LiveRule]) -> Result<(), Refused> {
    let all: Vec<&lapwing_dsl::ir::Rule> = rules.iter().map(|r| &r.program.rule).collect();
    let refused =
        |(reader, maker): (usize, usize)| Refused::MixedTimes(all[reader].name.clone(), all[maker].name.clone());
    mixed_times(&all).map_or(Ok(()), |mixed| Err(refused(mixed)))
}

/// The stratum of each rule.
fn stratify(rules: &[LiveRule]) -> Result<Vec<u8>, Refused> {
    let all: Vec<&lapwing_dsl::ir::Rule> = rules.iter().map(|r| &r.program.rule).collect();
    let name = |rule: usize| all[rule].name.clone();
    strata(&all).map_err(|why| match why {
        Unstratified::Cycle(rules) => Refused::Cycle(rules.into_iter().map(name).collect()),
        Unstratified::TooHigh(rule) => Refused::TooHigh(name(rule)),
    })
}

/// Whether runs of the program are moved by time: absences that complete a match, and reports that wait.
fn is_timed(program: &Program) -> bool {
    use lapwing_dsl::syntax::ast::Report;
    program.rule.report != Report::Early || program.nfa.states.iter().any(|s| s.is_pending())
}

/// Whether nothing but the end of runs follows an event that no run takes.
fn is_plain(program: &Program) -> bool {
    use lapwing_dsl::syntax::ast::MatchMode;
    // A run of `match last` that answers a `then next not` comes to a place where another may wait.
    let moves = program.rule.mode == MatchMode::Last && program.nfa.states.iter().any(|s| s.places.0 != s.places.1);
    !is_timed(program) && program.rule.stop.is_none() && !moves
}

/// How a run of a rule begins, where there is one way.
fn begin(rule: u32, entry: &RuleEntry) -> Option<Begin> {
    use lapwing_dsl::syntax::ast::MatchMode;
    let program = &*entry.program;
    let nfa = &program.nfa;
    let [start] = nfa.starts.as_slice() else { return None };
    let [leaf] = nfa.state(*start).leaves.as_slice() else { return None };
    let step = leaf.step.0 as usize;
    let asks_more = !program.conditions[step].run.is_empty()
        || program.rule.steps[step].until.is_some()
        || program.scored[step]
        || program.captures[step].len() > VALUES_MAX;
    if !entry.plain || nfa.registers > 0 || nfa.loops.len() > 1 || asks_more {
        return None;
    }
    // What a first event makes of a new run depends on nothing but the automaton.
    let mut open = leaf.forks.iter().filter_map(|fork| {
        let mut memory = Memory::new(nfa);
        memory.carry_out(&fork.instructions, nfa, 0).then_some((fork.target, memory))
    });
    let (Some((Some(target), memory)), None) = (open.next(), open.next()) else { return None };
    // `match last`: the new run takes the place of the one that waits there, if all that wait in its state wait at one place.
    let state = nfa.state(target);
    let replaces = (program.rule.mode == MatchMode::Last).then_some(state.places.0);
    if replaces.is_some() && (state.places.0 != state.places.1 || nfa.states.iter().any(|s| !s.counted.is_empty())) {
        return None;
    }
    Some(Begin {
        replaces,
        rule,
        space: entry.space,
        extraction: entry.step_extraction[step],
        asks_windows: !program.conditions[step].key.is_empty(),
        captured: program.captures[step].as_slice().into(),
        step: leaf.step,
        rank_before: NO_DECISION,
        state: target,
        rank: NO_DECISION,
        count: memory.count(0),
        lasts: memory.deadline(program, nfa.state(target), 0, 0),
    })
}

/// For each event type, for each field, whether some rule reads it.
fn fields_read(schema: &Schema, rules: &[RuleEntry], builder: &Builder) -> Vec<Vec<bool>> {
    use lapwing_dsl::compile::walk::walk;
    use lapwing_dsl::ir::{ExprKind, Of};
    let mut read: Vec<Vec<bool>> = schema.events.iter().map(|e| vec![false; e.fields.len()]).collect();
    let mut mark = |event: EventId, field: FieldId| read[event.0 as usize][field.0 as usize] = true;
    for (e, plan) in builder.events.iter().enumerate() {
        for field in plan.extractions.iter().flat_map(|x| &x.fields) {
            mark(EventId(e as u16), *field);
        }
    }
    for rule in rules {
        let program = &rule.program;
        for (i, step) in program.rule.steps.iter().enumerate() {
            program.captures[i].iter().for_each(|f| mark(step.event, *f));
            for expr in step.filter.iter().chain(&step.until) {
                walk(expr, &mut |e| {
                    if let ExprKind::Field(Of::Candidate, f) = e.kind {
                        mark(step.event, f);
                    }
                });
            }
        }
        for window in &program.rule.windows {
            for expr in window.filter.iter().chain(&window.args) {
                walk(expr, &mut |e| {
                    if let ExprKind::Field(_, f) = e.kind {
                        mark(window.event, f);
                    }
                });
            }
            if let WindowKey::Fields { reader, .. } = &window.key {
                for (event, fields) in reader {
                    fields.iter().for_each(|f| mark(*event, *f));
                }
            }
        }
        for filter in program.rule.stop.iter().flat_map(|s| &s.filter) {
            let event = program.rule.stop.as_ref().map_or(EventId(0), |s| s.event);
            walk(filter, &mut |e| {
                if let ExprKind::Field(_, f) = e.kind {
                    mark(event, f);
                }
            });
        }
    }
    read
}
