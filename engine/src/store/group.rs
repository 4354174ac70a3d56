//! One key group as bytes.

use std::collections::{BTreeMap, BTreeSet};

use lapwing_dsl::ir::StepId;
use lapwing_dsl::nfa::StateId;
use lapwing_dsl::program::Program;
use lapwing_dsl::value::Value;

use super::FORMAT_VERSION;
use super::codec::{Corrupt, Reader, Writer};
use crate::Millis;
use crate::bound::{BoundEvents, BoundId, BoundRef};
use crate::data::model::Score;
use crate::output::{AlertId, Evidence, Match, Status};
use crate::planted::{Bug, bug};
use crate::rule_set::RuleSet;
use crate::run::{Run, RunMore};
use crate::shard::RowsOf;
use crate::slot::{Candidate, Capped, Cell, CellMore, Group, KeyHasher, OpenAlert, SlotId, WindowCell};
use crate::state::record::{self, Record};
use crate::state::starts::Starts;
use crate::window::WindowState;
use crate::window::family::Family;
use crate::window::packed::Packed;

/// The first version that says from when on rules close windows for rows.
const ROWS_VERSION: u16 = 6;

/// The first version that says when such a rule last counted an event.
const COUNTED_VERSION: u16 = 7;

/// Writes a group; none where it says nothing. Equal state gives equal bytes: keys are written in their order, shared events as the runs come to them.
///
/// `rows` is the shard's, and stands with each of its groups.
pub fn save(group: &Group, rows: &[RowsOf], rules: &RuleSet) -> Option<Vec<u8>> {
    // A change of the rules may leave keys behind that say nothing any more.
    let said = |slot: &SlotId| !says_nothing(group, *slot, rules);
    let told: Vec<SlotId> = group.in_order().into_iter().filter(said).collect();
    let holds = !told.is_empty() || !group.all_capped().is_empty() || !rows.is_empty();
    holds.then(|| save_of(group, told, rows, rules))
}

/// Writes what a group holds beside its keys, as a group without any.
pub fn save_without_keys(group: &Group, rows: &[RowsOf], rules: &RuleSet) -> Vec<u8> {
    save_of(group, Vec::new(), rows, rules)
}

fn save_of(group: &Group, told: Vec<SlotId>, rows: &[RowsOf], rules: &RuleSet) -> Vec<u8> {
    let mut slots = Writer::default();
    let mut shared = Shared { numbers: BTreeMap::new(), nodes: Writer::default() };
    slots.list(told.into_iter(), |w, slot| save_slot(w, rules, group, slot, &mut shared));
    let mut w = Writer::default();
    w.u64(FORMAT_VERSION.into());
    w.len(shared.numbers.len());
    w.bytes.extend(shared.nodes.bytes);
    w.bytes.extend(slots.bytes);
    w.list(group.all_capped().iter(), |w, (rule, capped)| {
        w.u64((*rule).into());
        w.u64(capped.caps.into());
        w.i64(capped.until);
    });
    w.list(rows.iter(), |w, of| {
        w.u64(of.rule.into());
        w.i64(of.begins);
        w.i64(of.counted);
    });
    w.bytes
}

/// Reads a group that was saved under `rules`.
pub fn load(bytes: &[u8], rules: &RuleSet, hasher: KeyHasher) -> Result<(Group, Vec<RowsOf>), Corrupt> {
    let mut r = Reader::versioned(bytes)?;
    let mut group = Group::default();
    let nodes = load_events(&mut r, &mut group.bound)?;
    for _ in 0..r.len()? {
        let slot = load_slot(&mut r, rules, &mut group, hasher, &nodes)?;
        if group.holds_nothing(slot) {
            return Err(Corrupt("a key holds nothing"));
        }
    }
    let capped = r.list(|r| Ok((r.u32()?, Capped { caps: r.u64()? as u8, until: r.i64()? })))?;
    group.set_capped(capped.into_iter().collect());
    let rows = match r.version() {
        ..ROWS_VERSION => Vec::new(),
        ROWS_VERSION..COUNTED_VERSION => r.list(|r| {
            let of = RowsOf::new(r.u32()?);
            Ok(RowsOf { begins: r.i64()?, ..of })
        })?,
        _ => r.list(|r| Ok(RowsOf { rule: r.u32()?, begins: r.i64()?, counted: r.i64()?, stopped: false }))?,
    };
    if rows.iter().any(|of| of.rule as usize >= rules.rules.len()) {
        return Err(Corrupt("a rule that is not there waits for a window"));
    }
    r.end()?;
    hold_no_more(nodes, &mut group.bound)?;
    Ok((group, rows))
}

/// Reads the events that several hold; each is held once, while it is not yet known by whom.
pub(super) fn load_events(r: &mut Reader<'_>, bound: &mut BoundEvents) -> Result<Vec<BoundId>, Corrupt> {
    let mut nodes = Vec::new();
    for _ in 0..r.len()? {
        let node = load_event(r, &nodes, bound)?;
        nodes.push(node);
    }
    Ok(nodes)
}

/// All that holds these events has been read.
pub(super) fn hold_no_more(nodes: Vec<BoundId>, bound: &mut BoundEvents) -> Result<(), Corrupt> {
    if nodes.iter().any(|id| bound.get(*id).holders() < 2) {
        return Err(Corrupt("a bound event that nothing holds"));
    }
    nodes.into_iter().rev().for_each(|id| bound.release(id));
    Ok(())
}

/// The bound events that several runs or later events hold, by the order in which they were come to.
pub(super) struct Shared {
    pub(super) numbers: BTreeMap<BoundId, u64>,
    pub(super) nodes: Writer,
}

impl Shared {
    /// The number of an event, which is written if it was not yet.
    fn number(&mut self, id: BoundId, bound: &BoundEvents) -> u64 {
        // The oldest first, so that each finds the one before it written.
        let mut chain = vec![id];
        while let Some(before) = chain.last().and_then(|id| bound.get(*id).before) {
            if self.numbers.contains_key(&before) {
                break;
            }
            chain.push(before);
        }
        for id in chain.into_iter().rev() {
            if !self.numbers.contains_key(&id) {
                let before = bound.get(id).before.map(|b| self.numbers[&b]);
                save_event(&mut self.nodes, BoundRef::Shared(bound.get(id)), before, bound.get(id).captured.len());
                self.numbers.insert(id, self.numbers.len() as u64);
            }
        }
        self.numbers[&id]
    }
}

fn save_event(w: &mut Writer, event: BoundRef<'_>, before: Option<u64>, captured: usize) {
    w.option(before, Writer::u64);
    w.u64(event.step().0.into());
    w.u64(event.rank().into());
    w.origin(event.origin());
    w.i64(event.at());
    w.u64(event.sequence());
    w.list(0..captured, |w, i| w.value(&event.captured(i)));
}

/// Reads an event; it is held once.
fn load_event(r: &mut Reader<'_>, nodes: &[BoundId], bound: &mut BoundEvents) -> Result<BoundId, Corrupt> {
    let missing = Corrupt("a bound event that is not there");
    let before = r.option(|r| nodes.get(r.u32()? as usize).copied().ok_or(missing))?;
    let (step, rank, origin) = (StepId(r.u16()?), r.u16()?, r.origin()?);
    let (at, sequence) = (r.i64()?, r.u64()?);
    if before.is_some_and(|b| bound.get(b).sequence >= sequence) {
        return Err(Corrupt("bound events do not stand in their order"));
    }
    let captured = r.list(|r| r.value())?.into_boxed_slice();
    Ok(bound.add(before, step, rank, origin, at, sequence, captured))
}

/// What small windows hold of a key: those with entries, since another of the family may have had those that are there.
fn small_windows<'a>(group: &'a Group, slot: SlotId, rules: &'a RuleSet) -> impl Iterator<Item = (u32, Held<'a>)> {
    group.packed(slot).flat_map(|packed| {
        let family = &rules.families[packed.family() as usize];
        let members = family.members(packed.members()).filter(move |member| packed.has_entries(family, *member));
        members.map(move |member| (family.windows[member], Held::Small(packed, family, member)))
    })
}

/// Whether a key has nothing that anybody reads: the rules that read the values of its events have gone, and its times are still there.
pub(crate) fn says_nothing(group: &Group, slot: SlotId, rules: &RuleSet) -> bool {
    group.records(slot).next().is_none()
        && group.more(slot).is_none_or(|m| m.cells.is_empty() && m.starts.is_empty() && m.windows.is_empty())
        && small_windows(group, slot, rules).next().is_none()
}

pub(super) fn save_slot(w: &mut Writer, rules: &RuleSet, group: &Group, slot: SlotId, shared: &mut Shared) {
    w.u64(group.space(slot).into());
    w.slice(group.key(slot));
    w.list(group.rules(slot).into_iter(), |w, rule| {
        w.u64(rule.into());
        let program = &rules.rules[rule as usize].program;
        let records: Vec<Record<'_>> = group.records(slot).filter(|r| r.rule() == rule).collect();
        w.list(records.into_iter(), |w, record| save_run(w, program, group, record, shared));
        w.option(group.cell_more(slot, rule), save_more);
    });
    let starts = group.more(slot).map_or(&[][..], |m| &m.starts);
    w.list(starts.iter(), |w, (rule, starts)| {
        w.u64((*rule).into());
        w.list(starts.iter(), |w, start| {
            w.i64(start.at);
            w.u64(start.sequence);
            w.origin(start.origin);
            w.option(start.version, |w, v| w.u64(v.into()));
            w.list(start.captured.iter(), |w, v| w.value(v));
        });
    });
    // Small or not makes no difference to who reads it.
    let large = group.windows(slot).iter().map(|cell| (cell.window, Held::Large(cell)));
    let mut windows: Vec<(u32, Held<'_>)> = small_windows(group, slot, rules).chain(large).collect();
    windows.sort_by_key(|(window, _)| *window);
    w.list(windows.iter(), |w, (window, held)| {
        w.u64((*window).into());
        let spec = &rules.windows[*window as usize].spec;
        match held {
            Held::Small(packed, family, member) => {
                w.i64(Millis::MIN);
                packed.save(family, *member, spec, Millis::MIN, w);
            }
            Held::Large(cell) => {
                w.i64(cell.lost_until);
                cell.state.save(w, &spec.kind);
            }
        }
    });
}

/// What a window holds of a key.
enum Held<'a> {
    /// With others of its family.
    Small(Packed<'a>, &'a Family, usize),
    Large(&'a WindowCell),
}

pub(super) fn load_slot(
    r: &mut Reader<'_>,
    rules: &RuleSet,
    group: &mut Group,
    hasher: KeyHasher,
    nodes: &[BoundId],
) -> Result<SlotId, Corrupt> {
    let space = r.u16()?;
    if space as usize >= rules.spaces.len() {
        return Err(Corrupt("a key is of an unknown space"));
    }
    let key = r.slice()?;
    let hash = hasher.hash(rules.seeds[space as usize], key);
    if group.find(space, hash, key).is_some() {
        return Err(Corrupt("a key stands there twice"));
    }
    let mut slot = group.find_or_add(space, hash, key, record::LONGEST_BARE);
    let mut seen = BTreeSet::new();
    for _ in 0..r.len()? {
        let cell = load_cell(r, rules, group, nodes)?;
        if !seen.insert(cell.rule) {
            return Err(Corrupt("a rule stands twice with one key"));
        }
        slot = group.put_cell(slot, cell).0;
    }
    let starts = r.list(|r| load_starts(r, rules, hasher))?;
    if !starts.is_empty() {
        group.more_or_add(slot).starts = starts;
    }
    let windows = r.list(|r| {
        let window = r.u32()?;
        let entry = rules.windows.get(window as usize).ok_or(Corrupt("a window that no rule has"))?;
        let lost_until = r.i64()?;
        let state = WindowState::load(r, &entry.spec, hasher)?;
        Ok(WindowCell { window, state, lost_until })
    })?;
    if !windows.is_sorted_by(|a, b| a.window < b.window) {
        return Err(Corrupt("a window stands twice with one key"));
    }
    Ok(group.put_windows(slot, windows, rules))
}

fn load_starts(r: &mut Reader<'_>, rules: &RuleSet, hasher: KeyHasher) -> Result<(u32, Starts), Corrupt> {
    let rule = r.u32()?;
    let gather = rules.gathers.get(rule as usize).and_then(Option::as_ref);
    let begin = rules.begins.get(rule as usize).and_then(Option::as_ref);
    let (Some(gather), Some(begin)) = (gather, begin) else {
        return Err(Corrupt("gathered runs of a rule that gathers none"));
    };
    let mut starts = Starts::new(begin.captured.len(), gather.by.map(|(_, captured)| captured), hasher);
    let mut last: Option<(Millis, u64, Option<u32>)> = None;
    for _ in 0..r.len()? {
        let (at, sequence, origin) = (r.i64()?, r.u64()?, r.origin()?);
        let version = r.option(|r| r.u32())?;
        let captured = r.list(|r| r.value())?;
        let follows =
            |(a, s, v): (Millis, u64, Option<u32>)| a <= at && s < sequence && (v.is_some() || version.is_none());
        if !last.is_none_or(follows) || captured.len() != begin.captured.len() {
            return Err(Corrupt("gathered runs do not stand in their order"));
        }
        if let Some((.., Some(before))) = last.filter(|(.., before)| *before != version) {
            starts.began_under(before);
        }
        last = Some((at, sequence, version));
        starts.push(at, sequence, origin, captured.iter().map(Value::borrow));
    }
    if let Some((.., Some(version))) = last {
        starts.began_under(version);
    }
    Ok((rule, starts))
}

fn load_cell(r: &mut Reader<'_>, rules: &RuleSet, group: &mut Group, nodes: &[BoundId]) -> Result<Cell, Corrupt> {
    let rule = r.u32()?;
    let entry = rules.rules.get(rule as usize).ok_or(Corrupt("a rule that is not in the rule set"))?;
    let runs = r.list(|r| load_run(r, &entry.program, &mut group.bound, nodes))?;
    let more = r.option(|r| load_more(r, rule))?;
    Ok(Cell { rule, runs, more })
}

fn save_more(w: &mut Writer, more: &CellMore) {
    w.list(more.candidates.iter(), save_candidate);
    w.list(more.open.iter(), |w, open| {
        w.u64(open.tag.into());
        save_match(w, &open.body);
    });
    w.u64(more.capped.caps.into());
    w.i64(more.capped.until);
}

fn load_more(r: &mut Reader<'_>, rule: u32) -> Result<CellMore, Corrupt> {
    let candidates = r.list(|r| load_candidate(r, rule))?;
    let open = r.list(|r| Ok(OpenAlert { tag: r.u32()?, body: Box::new(load_match(r, rule)?) }))?;
    let caps = r.u64()? as u8;
    Ok(CellMore { candidates, open, capped: Capped { caps, until: r.i64()? } })
}

fn save_run(w: &mut Writer, program: &Program, group: &Group, record: Record<'_>, shared: &mut Shared) {
    let (count, more) = match group.run_more(record) {
        Some((count, more)) => (count, Some(more)),
        None => (record.count(), None),
    };
    w.u64(record.state().0.into());
    w.u64(record.rank().into());
    w.bool(record.is_fresh());
    w.u64(if bug(Bug::Snapshot) { 0 } else { count.into() });
    w.i64(record.deadline());
    w.option(more, |w, more| {
        w.list(more.counts.iter(), |w, c| w.u64((*c).into()));
        w.list(more.registers.iter(), |w, r| w.option(*r, Writer::i64));
        w.u64(more.tag.into());
        w.option(more.started_version, |w, v| w.u64(v.into()));
    });
    // An event that only this run holds is written with it, wherever it stands.
    let own = record.shared().is_none_or(|id| group.bound.get(id).holders() == 1);
    let last = record.last(&group.bound);
    if own {
        let before = last.before().map(|id| shared.number(id, &group.bound));
        w.bool(true);
        save_event(w, last, before, program.kept(last.step()));
    } else {
        w.bool(false);
        w.u64(record.shared().map_or(0, |id| shared.number(id, &group.bound)));
    }
}

fn load_run(r: &mut Reader<'_>, program: &Program, bound: &mut BoundEvents, nodes: &[BoundId]) -> Result<Run, Corrupt> {
    let (state, rank, fresh) = (StateId(r.u16()?), r.u16()?, r.bool()?);
    let (count, deadline) = (r.u32()?, r.i64()?);
    let more = r.option(|r| {
        let counts = r.list(|r| r.u32())?;
        let registers = r.list(|r| r.option(|r| r.i64()))?;
        Ok(Box::new(RunMore { counts, registers, tag: r.u32()?, started_version: r.option(|r| r.u32())? }))
    })?;
    let last = if r.bool()? {
        load_event(r, nodes, bound)?
    } else {
        let id = *nodes.get(r.u32()? as usize).ok_or(Corrupt("a bound event that is not there"))?;
        bound.hold(id);
        id
    };
    let nfa = &program.nfa;
    let simple = nfa.loops.len() <= 1 && nfa.registers == 0;
    let fits = match &more {
        None => simple,
        Some(more) if simple => more.counts.is_empty() && more.registers.is_empty(),
        Some(more) => more.counts.len() == nfa.loops.len() && more.registers.len() == nfa.registers,
    };
    if state.0 as usize >= nfa.states.len() || !fits || !chain_fits(bound, last, program) {
        return Err(Corrupt("a run does not fit its rule"));
    }
    let (first_at, first_sequence) = bound.newest_first(last).last().map_or((0, 0), |(_, n)| (n.at, n.sequence));
    Ok(Run { state, rank, fresh, last, count, first_at, first_sequence, deadline, more })
}

/// Whether what is kept of all events a run has bound is what the rule keeps of them.
fn chain_fits(bound: &BoundEvents, last: BoundId, program: &Program) -> bool {
    bound
        .newest_first(last)
        .all(|(_, n)| (n.step.0 as usize) < program.captures.len() && program.kept(n.step) == n.captured.len())
}

fn save_candidate(w: &mut Writer, c: &Candidate) {
    w.u64(c.first_sequence);
    w.u64(c.last_sequence);
    w.list(c.ranks.iter(), |w, r| w.u64((*r).into()));
    w.list(c.bindings.iter(), |w, (step, sequence)| {
        w.u64((*step).into());
        w.u64(*sequence);
    });
    save_match(w, &c.body);
}

fn load_candidate(r: &mut Reader<'_>, rule: u32) -> Result<Candidate, Corrupt> {
    Ok(Candidate {
        first_sequence: r.u64()?,
        last_sequence: r.u64()?,
        ranks: r.list(|r| r.u16())?,
        bindings: r.list(|r| Ok((r.u16()?, r.u64()?)))?,
        body: Box::new(load_match(r, rule)?),
    })
}

fn save_match(w: &mut Writer, m: &Match) {
    w.option(m.started_version, |w, v| w.u64(v.into()));
    w.slice(&m.id.0);
    w.u64(m.revision.into());
    w.u64(m.status as u64);
    w.list(m.key.iter(), |w, v| w.value(v));
    w.i64(m.first_at);
    w.i64(m.at);
    w.list(m.evidence.iter(), |w, e| {
        w.u64(e.step.0.into());
        w.origin(e.origin);
        w.i64(e.at);
    });
    w.list(m.fields.iter(), |w, v| w.value(v));
    w.str(&m.severity);
    w.option(m.risk.as_ref(), |w, v| w.value(v));
    w.option(m.message.as_deref(), Writer::str);
    w.option(m.suppress_by.as_deref(), Writer::slice);
    w.u64(u64::from(m.caps) | if m.scores.is_empty() { 0 } else { SCORES_FOLLOW });
    if !m.scores.is_empty() {
        w.value(&Score::pack(&m.scores));
    }
}

/// Beside the caps of a match: what models answered follows.
const SCORES_FOLLOW: u64 = 1 << 8;

fn load_match(r: &mut Reader<'_>, rule: u32) -> Result<Match, Corrupt> {
    let mut m = Match {
        rule,
        started_version: r.option(|r| r.u32())?,
        id: AlertId(r.slice()?.try_into().map_err(|_| Corrupt("an id has not 16 bytes"))?),
        revision: r.u32()?,
        status: match r.u64()? {
            0 => Status::Open,
            1 => Status::Updated,
            2 => Status::Closed,
            3 => Status::Retracted,
            _ => return Err(Corrupt("an unknown status")),
        },
        key: r.list(|r| r.value())?,
        first_at: r.i64()?,
        at: r.i64()?,
        evidence: r.list(|r| Ok(Evidence { step: StepId(r.u16()?), origin: r.origin()?, at: r.i64()? }))?,
        fields: r.list(|r| r.value())?,
        severity: r.str()?.to_owned(),
        risk: r.option(|r| r.value())?,
        message: r.option(|r| r.str().map(str::to_owned))?,
        suppress_by: r.option(|r| r.slice().map(<[u8]>::to_vec))?,
        scores: Vec::new(),
        caps: 0,
    };
    let caps = r.u64()?;
    m.caps = caps as u8;
    if caps & SCORES_FOLLOW != 0 {
        m.scores = Score::unpack(&r.value()?);
    }
    Ok(m)
}
