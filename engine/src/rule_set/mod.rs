//! A rule set: all live programs and what they share, the lists and tables they read, immutable, with one generation number.
//!
//! What is made of programs is made once and shared by all rule sets that differ in lists and tables alone: such a change costs what is
//! changed, and touches nothing that is live.
//!
//! A key space is what rules with equal keys share: `user`, `card`, `ip`. An extraction is one way to get a key of a
//! space from an event type's fields. A rule whose windows go by another key is pinned: it and those windows live in one
//! key group of their own, so that no shard ever reads another's state.

mod build;

use std::ops::Deref;
use std::sync::Arc;

use lapwing_dsl::ir::{StepId, WindowId, WindowKey};
use lapwing_dsl::nfa::StateId;
use lapwing_dsl::program::Program;
use lapwing_dsl::schema::{EventId, FieldId, Schema};
use lapwing_dsl::strata::STRATA_MAX;
use lapwing_dsl::value::Type;

use crate::Millis;
use crate::batch::Layout;
use crate::data::Data;
use crate::index::Index;
use crate::index::asks::Asks;
use crate::index::uses::Uses;
use crate::state::record::Begin;
use crate::terms::Terms;
use crate::window::family::Family;
use crate::window::packed::Packed;
use crate::window::seen_from;

/// All live rules, with the lists and tables that they read.
#[derive(Clone, Debug)]
pub struct RuleSet {
    /// Counts changes; every alert names it.
    pub generation: u64,
    /// Lists and tables, in the order of the schema.
    pub data: Arc<Data>,
    programs: Arc<Programs>,
    /// Where some rules go by processing time: the others, and those.
    by_time: Option<[Arc<Programs>; 2]>,
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
    /// Windows that count the same events.
    pub families: Vec<Family>,
    /// For each window its family, and its place there; none for one that keeps its entries itself.
    pub family_of: Vec<Option<(u32, u8)>>,
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
    /// The rules with a `lateness`, which take late events, ascending.
    pub revising: Vec<u32>,
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
    /// The `lateness` of the rules that read it, in milliseconds: its time stands so far behind the clock.
    pub lateness: Millis,
    /// The rule whose events it samples, where it does that: no other reads it.
    pub sampled: Option<u32>,
}

impl WindowEntry {
    /// Whether both hold the same of one event type in one key space, whoever asks.
    pub fn holds_the_same(&self, other: &WindowEntry) -> bool {
        let (a, b) = (&self.spec, &other.spec);
        self.counts_the_same(other) && a.kind == b.kind && a.args == b.args && a.ty == b.ty
    }

    /// Whether both count the same events of one event type in one key space, whatever they make of them.
    pub fn counts_the_same(&self, other: &WindowEntry) -> bool {
        let (a, b) = (&self.spec, &other.spec);
        let same_key = match (&a.key, &b.key) {
            (WindowKey::Rule(_), WindowKey::Rule(_)) => true,
            (WindowKey::Fields { counted: x, optional: o, .. }, WindowKey::Fields { counted: y, optional: p, .. }) => {
                x == y && o == p
            }
            _ => false,
        };
        same_key && a.filter == b.filter && self.keys == other.keys && self.lateness == other.lateness
    }

    /// The window's time, as of a clock.
    #[inline]
    pub fn clock(&self, clock: Millis) -> Millis {
        clock.saturating_sub(self.lateness)
    }
}

/// What the rule set wants of one event type.
#[derive(Clone, Debug, Default)]
pub struct EventPlan {
    /// The ways to get keys from it.
    pub extractions: Vec<Extraction>,
    /// Whether every event of the type must be seen, whatever it holds.
    pub always: bool,
    /// The rules that count it in windows that close for rows.
    pub counted_for_rows: Vec<u32>,
    /// What is sampled at each event of the type.
    pub samples: Vec<Sample>,
}

/// A window that holds what other windows of a rule are worth at the events of its input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The rule.
    pub rule: u32,
    /// The extractions of the event that give a key of the rule.
    pub mask: u64,
    /// The window.
    pub window: u32,
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
    /// The first rule reads events that the second makes, and they go by different times.
    MixedTimes(String, String),
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
            Refused::MixedTimes(reader, maker) => write!(
                f,
                "rule `{reader}` reads events that rule `{maker}` makes, and one of them alone goes by processing time; \
                 write `time processing` in both, or in neither"
            ),
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
        build::refuse_mixed_times(&rules)?;
        let lay_out = |rules| Programs::new(generation, schema.clone(), rules).map(Arc::new);
        let (by_reading, by_event): (Vec<_>, Vec<_>) =
            rules.iter().cloned().partition(|rule| rule.program.rule.processing);
        let programs = lay_out(rules)?;
        let by_time = match (by_event.is_empty(), by_reading.is_empty()) {
            (_, true) => None,
            (true, false) => Some([lay_out(by_event)?, programs.clone()]),
            (false, false) => Some([lay_out(by_event)?, lay_out(by_reading)?]),
        };
        Ok(RuleSet { generation, data, programs, by_time })
    }

    /// The rules that go by the times of events. Rules of each time are judged apart: see [`RuleSet::by_processing_time`].
    pub fn by_event_time(&self) -> RuleSet {
        let programs = self.by_time.as_ref().map_or(&self.programs, |[by_event, _]| by_event);
        RuleSet { programs: programs.clone(), by_time: None, ..self.clone() }
    }

    /// The rules that go by the clock's reading at which events came; none where there are none.
    pub fn by_processing_time(&self) -> Option<RuleSet> {
        let [_, by_reading] = self.by_time.as_ref()?;
        Some(RuleSet { programs: by_reading.clone(), by_time: None, ..self.clone() })
    }

    /// The same event types, lists and tables without any rule.
    pub fn without_rules(&self) -> RuleSet {
        let none = Programs::new(self.generation, self.schema.clone(), Vec::new()).expect("no rules ask for no keys");
        RuleSet { programs: Arc::new(none), by_time: None, ..self.clone() }
    }

    /// The same programs with other lists and tables, which are those of the schema in its order.
    pub fn with_data(&self, generation: u64, data: Arc<Data>) -> RuleSet {
        debug_assert_eq!(
            (data.lists.len(), data.tables.len(), data.models.len()),
            (self.schema.lists.len(), self.schema.tables.len(), self.schema.models.len()),
            "the data is of the schema"
        );
        RuleSet { generation, data, ..self.clone() }
    }

    /// The same with an index that asks every rule for every event, as tests hold one against the other.
    pub fn all_asked(&self) -> RuleSet {
        self.with_programs(|programs| programs.index = Index::without_witnesses(&programs.schema, &programs.rules))
    }

    /// The same with something changed in its programs.
    pub(crate) fn with_programs(&self, change: impl Fn(&mut Programs)) -> RuleSet {
        let changed = |programs: &Arc<Programs>| {
            let mut programs = Programs::clone(programs);
            change(&mut programs);
            Arc::new(programs)
        };
        let by_time = self.by_time.as_ref().map(|both| both.each_ref().map(changed));
        RuleSet { programs: changed(&self.programs), by_time, ..self.clone() }
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

    /// The windows whose entries stand together.
    pub fn windows_of(&self, packed: Packed<'_>) -> impl Iterator<Item = u32> {
        let family = &self.families[packed.family() as usize];
        family.members(packed.members()).map(|member| family.windows[member])
    }

    /// When entries have come that one of the windows can see, of those whose entries stand together.
    pub fn seen_from(&self, packed: Packed<'_>, now: Millis) -> Millis {
        self.family_seen_from(packed.family(), packed.members(), now)
    }

    /// When entries have come that one of a set of a family's windows can see.
    pub fn family_seen_from(&self, family: u32, set: u32, now: Millis) -> Millis {
        let family = &self.families[family as usize];
        let from = |member: usize| {
            let entry = &self.windows[family.windows[member] as usize];
            seen_from(&entry.spec.kind, entry.clock(now)).unwrap_or(Millis::MIN)
        };
        family.members(set).map(from).min().unwrap_or(Millis::MIN)
    }

    /// Whether a rule takes late events.
    pub fn revises(&self) -> bool {
        !self.revising.is_empty()
    }

    /// The index of a rule's name.
    pub fn find(&self, name: &str) -> Option<u32> {
        self.rules.binary_search_by(|r| r.program.rule.name.as_str().cmp(name)).ok().map(|i| i as u32)
    }
}

impl RuleEntry {
    /// Whether it fires for each row of a list or table.
    pub fn closes_rows(&self) -> bool {
        self.program.rule.closing.as_ref().is_some_and(|c| c.rows.is_some())
    }

    /// Whether a step may take an event that came to the key by the extractions in `mask`.
    pub fn step_may_take(&self, step: StepId, mask: u64) -> bool {
        mask & (1 << self.step_extraction[step.0 as usize]) != 0
    }

    /// The entry of a window of the rule.
    pub fn window(&self, id: WindowId) -> u32 {
        self.windows[id.0 as usize]
    }
}
