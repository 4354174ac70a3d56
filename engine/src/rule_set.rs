//! A rule set: all live programs and what they share, the lists and tables they read, immutable, with one generation number.
//!
//! What is made of programs is made once and shared by all rule sets that differ in lists and tables alone: such a change costs what is
//! changed, and touches nothing that is live.
//!
//! A key space is what rules with equal keys share: `user`, `card`, `ip`. An extraction is one way to get a key of a
//! space from an event type's fields. A rule whose windows go by another key is pinned: it and those windows live in one
//! key group of their own, so that no shard ever reads another's state.

use std::ops::Deref;
use std::sync::Arc;

use lapwing_dsl::ir::{StepId, WindowId, WindowKey, WindowKind};
use lapwing_dsl::nfa::StateId;
use lapwing_dsl::program::Program;
use lapwing_dsl::schema::{EventId, FieldId, Schema};
use lapwing_dsl::strata::{STRATA_MAX, Unstratified, strata};
use lapwing_dsl::value::Type;

use crate::batch::Layout;
use crate::data::Data;
use crate::index::Index;
use crate::index::asks::Asks;
use crate::index::uses::Uses;
use crate::run::{Memory, NO_DECISION};
use crate::state::record::Begin;
use crate::state::values::VALUES_MAX;
use crate::terms::{Terms, TermsBuilder, strip_spans};

/// All live rules, with the lists and tables that they read.
#[derive(Clone, Debug)]
pub struct RuleSet {
    /// Counts changes; every alert names it.
    pub generation: u64,
    /// Lists and tables, in the order of the schema.
    pub data: Arc<Data>,
    programs: Arc<Programs>,
}

/// What a rule set is but for its lists and tables.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The generation of the first rule set with just these programs.
    pub since: u64,
    /// The event types.
    pub schema: Schema,
    /// The columns that the rules read.
    pub layout: Arc<Layout>,
    /// The rules, in order of their names.
    pub rules: Vec<RuleEntry>,
    /// The key spaces.
    pub spaces: Vec<Space>,
    /// For each space its [`Space::seed`].
    pub seeds: Vec<u64>,
    /// The windows of all rules, each once.
    pub windows: Vec<WindowEntry>,
    /// For each event type.
    pub events: Vec<EventPlan>,
    /// Which rules an event may begin.
    pub index: Index,
    /// Tells which of the others a rule can use.
    pub uses: Uses,
    /// What models are asked of events before any state is looked at.
    pub asks: Asks,
    /// Conditions on one event alone, each once for all rules.
    pub terms: Terms,
    /// For each rule how a run of it begins, where there is one way and it needs no more than a record.
    pub begins: Vec<Option<Begin>>,
    /// For each rule whether its runs can be kept as [`Starts`](crate::state::starts::Starts), and how.
    pub gathers: Vec<Option<Gather>>,
    /// What runs wait for: for each rule a stretch of its automaton's states.
    pub waits: Vec<Wait>,
    /// Numbers of the conditions that [`Wait::terms`] name.
    pub wait_terms: Vec<u32>,
    /// For each of [`RuleSet::waits`] the event type that is awaited, or [`ANY_EVENT`] where it is not simple: what is asked first stands close.
    pub awaited: Vec<u16>,
    /// For each rule where its stretch of [`RuleSet::waits`] begins.
    pub first_wait: Vec<u32>,
    /// How many strata the rules stand in; at least 1.
    pub strata: u8,
    /// Whether a rule derives events.
    pub derives: bool,
    /// Whether a rule fires for each row of a list or table.
    pub closes_rows: bool,
    /// The windows that such rules read, ascending.
    pub row_windows: Vec<u32>,
}

/// In [`RuleSet::awaited`]: events of any type are looked at.
pub const ANY_EVENT: u16 = u16::MAX;

/// How the runs of a rule are kept where there are many for one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gather {
    /// The next event's field that must equal a captured one, and which of these; none where it reads nothing of the first.
    pub by: Option<(FieldId, usize)>,
    /// How long after the first event a run ends.
    pub lasts: i64,
}

/// What a run waits for in one state, laid out to be looked at often.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wait {
    /// Whether nothing but one step is awaited: no absence, no `next`, no `until`, and nothing of it depends on windows.
    pub simple: bool,
    /// Whether the step's condition also reads what the run has bound.
    pub asks_run: bool,
    /// The extraction that gives the step's key.
    pub extraction: u8,
    /// The step's event type.
    pub event: u16,
    /// The step.
    pub step: u16,
    /// The conditions on the event alone: a stretch of [`RuleSet::wait_terms`].
    pub terms: (u32, u32),
}

/// A live rule.
#[derive(Clone, Debug)]
pub struct RuleEntry {
    /// Its program.
    pub program: Arc<Program>,
    /// Its version.
    pub version: u32,
    /// Its key space.
    pub space: u16,
    /// One above the highest rule that derives events that it reads.
    pub stratum: u8,
    /// For each step: the extraction, in its event type's plan, that gives its key.
    pub step_extraction: Vec<u8>,
    /// Likewise for `stop on`.
    pub stop_extraction: Option<(EventId, u8)>,
    /// Indexes of its windows in [`RuleSet::windows`].
    pub windows: Vec<u32>,
    /// For each event type the extractions, as a mask, that put an event into the rule's input.
    pub input: Vec<u64>,
    /// For each event type the extractions that put it there or may stop the rule.
    pub sees: Vec<u64>,
    /// Whether timers, and not only its own events, move its runs.
    pub timed: bool,
    /// Whether an event that binds nothing changes no more than the runs it ends: they can be judged where they stand.
    pub plain: bool,
}

/// A key space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// Names of the key's parts.
    pub names: Vec<String>,
    /// Their types.
    pub types: Vec<Type>,
    /// Whether a missing part is a key of its own.
    pub optional: Vec<bool>,
    /// Whether it lives in the pinned key group.
    pub pinned: bool,
    /// The stratum of the rules and windows in it.
    pub stratum: u8,
}

impl Space {
    /// Seeds the hash of its keys: a function of what the space is, not of where it stands, so that keys keep their group
    /// when rules come and go.
    pub fn seed(&self) -> u64 {
        let Space { names, types, optional, pinned, stratum: _ } = self;
        // FNV-1a over a faithful picture of the space. Strata keep their keys apart by the number of the space.
        format!("Space {{ names: {names:?}, types: {types:?}, optional: {optional:?}, pinned: {pinned:?} }}")
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
    }
}

/// A window that one or more rules read.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowEntry {
    /// What it keeps.
    pub spec: lapwing_dsl::ir::Window,
    /// Its key space.
    pub space: u16,
    /// The fields that give the counted events their keys: an event counts under each.
    pub keys: Vec<Vec<FieldId>>,
}

impl WindowEntry {
    /// Whether both hold the same of one event type in one key space, whoever asks.
    pub fn holds_the_same(&self, other: &WindowEntry) -> bool {
        let (a, b) = (&self.spec, &other.spec);
        let same_key = match (&a.key, &b.key) {
            (WindowKey::Rule(_), WindowKey::Rule(_)) => true,
            (WindowKey::Fields { counted: x, optional: o, .. }, WindowKey::Fields { counted: y, optional: p, .. }) => {
                x == y && o == p
            }
            _ => false,
        };
        same_key
            && a.kind == b.kind
            && a.args == b.args
            && a.filter == b.filter
            && a.ty == b.ty
            && self.keys == other.keys
    }
}

/// What the rule set wants of one event type.
#[derive(Clone, Debug, Default)]
pub struct EventPlan {
    /// The ways to get keys from it.
    pub extractions: Vec<Extraction>,
    /// Whether every event of the type must be seen, whatever it holds.
    pub always: bool,
}

/// One way to get a key from an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extraction {
    /// The key space.
    pub space: u16,
    /// The fields of the key's parts.
    pub fields: Vec<FieldId>,
    /// Windows that count the event under this key; those of `first_seen` come last.
    pub windows: Vec<u32>,
}

/// A rule to be live.
#[derive(Clone, Debug)]
pub struct LiveRule {
    /// Its program.
    pub program: Arc<Program>,
    /// Its version.
    pub version: u32,
}

/// Why rules cannot be live together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// More than [`EXTRACTIONS_MAX`] ways to get a key from one event type.
    TooManyKeys {
        /// The event type's name.
        event: String,
        /// The rule that asked for one too many.
        rule: String,
    },
    /// Each of these rules reads events that the one before it derives, and the first those of the last.
    Cycle(Vec<String>),
    /// The rule is one of more than [`STRATA_MAX`] that build on each other.
    TooHigh(String),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refused::TooManyKeys { event, rule } => {
                write!(f, "rule `{rule}`: more than {EXTRACTIONS_MAX} different keys of event `{event}`")
            }
            Refused::Cycle(rules) => {
                write!(f, "each of these rules reads what the one before it makes: `{}`", rules.join("` → `"))?;
                write!(f, " → `{}`; let one of them emit into an event type of another name", rules[0])
            }
            Refused::TooHigh(rule) => {
                write!(f, "rule `{rule}` is one of more than {STRATA_MAX} that build on each other")
            }
        }
    }
}

impl std::error::Error for Refused {}

/// The most ways to get a key from one event type.
pub const EXTRACTIONS_MAX: usize = 64;

impl Deref for RuleSet {
    type Target = Programs;

    #[inline]
    fn deref(&self) -> &Programs {
        &self.programs
    }
}

impl RuleSet {
    /// Builds a rule set whose lists and tables are empty. The programs were compiled against `schema`.
    pub fn new(generation: u64, schema: Schema, rules: Vec<LiveRule>) -> Result<RuleSet, Refused> {
        let data = Arc::new(Data::empty(&schema));
        Ok(RuleSet { generation, data, programs: Arc::new(Programs::new(generation, schema, rules)?) })
    }

    /// The same programs with other lists and tables, which are those of the schema in its order.
    pub fn with_data(&self, generation: u64, data: Arc<Data>) -> RuleSet {
        debug_assert_eq!(
            (data.lists.len(), data.tables.len(), data.models.len()),
            (self.schema.lists.len(), self.schema.tables.len(), self.schema.models.len()),
            "the data is of the schema"
        );
        RuleSet { generation, data, programs: self.programs.clone() }
    }

    /// The same with another index, as tests hold one against the other.
    pub fn with_index(&self, index: Index) -> RuleSet {
        self.with_programs(|programs| programs.index = index)
    }

    /// The same with something changed in its programs.
    pub(crate) fn with_programs(&self, change: impl FnOnce(&mut Programs)) -> RuleSet {
        let mut programs = Programs::clone(&self.programs);
        change(&mut programs);
        RuleSet { programs: Arc::new(programs), ..self.clone() }
    }

    /// Whether both were made with the very same programs, and differ in lists and tables at most.
    pub fn shares_programs(&self, other: &RuleSet) -> bool {
        Arc::ptr_eq(&self.programs, &other.programs)
    }

    /// A rule set without rules.
    pub fn empty() -> RuleSet {
        RuleSet::new(0, Schema::default(), Vec::new()).expect("no rules ask for no keys")
    }
}

impl Programs {
    fn new(since: u64, schema: Schema, mut rules: Vec<LiveRule>) -> Result<Programs, Refused> {
        rules.sort_by(|a, b| a.program.rule.name.cmp(&b.program.rule.name));
        let mut builder = Builder {
            spaces: Vec::new(),
            windows: Vec::new(),
            events: vec![EventPlan::default(); schema.events.len()],
        };
        let mut entries = Vec::with_capacity(rules.len());
        let stratum_of = stratify(&rules)?;
        for (rule, stratum) in rules.iter().zip(&stratum_of) {
            entries.push(builder.add(rule, *stratum, &schema)?);
        }
        for plan in &mut builder.events {
            for extraction in &mut plan.extractions {
                let windows = &builder.windows;
                extraction
                    .windows
                    .sort_by_key(|w| (matches!(windows[*w as usize].spec.kind, WindowKind::FirstSeen { .. }), *w));
            }
        }
        let read = fields_read(&schema, &entries, &builder);
        let layout = Arc::new(Layout::new(&schema, |e, f| read[e.0 as usize][f.0 as usize]));
        let index = Index::new(&schema, &entries);
        let uses = Uses::new(&schema, &entries);
        let of_rows = |e: &&RuleEntry| e.program.rule.closing.as_ref().is_some_and(|c| c.rows.is_some());
        let closes_rows = entries.iter().any(|e| of_rows(&e));
        let mut row_windows: Vec<u32> =
            entries.iter().filter(of_rows).flat_map(|e| e.windows.iter().copied()).collect();
        row_windows.sort_unstable();
        row_windows.dedup();
        let asks = Asks::new(&schema, &entries);
        let Builder { spaces, windows, events } = builder;
        let seeds = spaces.iter().map(Space::seed).collect();
        let mut set = Programs {
            since,
            schema,
            layout,
            rules: entries,
            spaces,
            seeds,
            windows,
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

    /// Where in [`RuleSet::waits`] what a run of a rule waits for in a state stands.
    #[inline]
    pub fn wait_number(&self, rule: u32, state: StateId) -> usize {
        (self.first_wait[rule as usize] + u32::from(state.0)) as usize
    }

    /// What a run of a rule waits for in a state.
    #[inline]
    pub fn wait(&self, rule: u32, state: StateId) -> &Wait {
        &self.waits[self.wait_number(rule, state)]
    }

    /// The index of a rule's name.
    pub fn find(&self, name: &str) -> Option<u32> {
        self.rules.binary_search_by(|r| r.program.rule.name.as_str().cmp(name)).ok().map(|i| i as u32)
    }
}

struct Builder {
    spaces: Vec<Space>,
    windows: Vec<WindowEntry>,
    events: Vec<EventPlan>,
}

impl Builder {
    fn add(&mut self, live: &LiveRule, stratum: u8, schema: &Schema) -> Result<RuleEntry, Refused> {
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
            windows.push(self.window(window, &live.program, space, schema).ok_or_else(|| refuse(window.event))?);
        }
        let mut input = vec![0u64; schema.events.len()];
        for (step, extraction) in rule.steps.iter().zip(&step_extraction) {
            input[step.event.0 as usize] |= 1 << extraction;
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

    fn window(
        &mut self,
        spec: &lapwing_dsl::ir::Window,
        program: &Program,
        rule_space: u16,
        schema: &Schema,
    ) -> Option<u32> {
        let (space, fields) = match &spec.key {
            WindowKey::Rule(fields) => (rule_space, fields.clone()),
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
            WindowKey::Fields { reader, .. } => readers = std::mem::take(reader),
        }
        let entry = WindowEntry { spec: bare, space, keys: keys.clone() };
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

impl RuleEntry {
    /// Whether a step may take an event that came to the key by the extractions in `mask`.
    pub fn step_may_take(&self, step: StepId, mask: u64) -> bool {
        mask & (1 << self.step_extraction[step.0 as usize]) != 0
    }

    /// The entry of a window of the rule.
    pub fn window(&self, id: WindowId) -> u32 {
        self.windows[id.0 as usize]
    }
}
