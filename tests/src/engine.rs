//! Judges JSON lines with the engine, in this process, in as many ways as a test asks for.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use lapwing::control::files::Rules;
use lapwing::control::message::{Kind, Message, Stage};
use lapwing::data::alert::Alert;
use lapwing::data::pipeline::{Lines, Options, Outside, OutsideError, Pipeline, Rejected, Sink};
use lapwing::tables::change::{self, Said};
use lapwing::tables::contents::Contents;
use lapwing_dsl::load;
use lapwing_dsl::program::Program;
use lapwing_dsl::schema::Schema;
use lapwing_dsl::syntax::Sources;
use lapwing_engine::Millis;
use lapwing_engine::data::Data;
use lapwing_engine::rule_set::{LiveRule, RuleSet};
use lapwing_engine::shard::outside::{Cold, KeyName};
use lapwing_engine::shard::saving::Held;
use lapwing_engine::slot::Known;
use lapwing_engine::store::codec::Corrupt;
use serde_json::Value as Json;

use crate::schema::hold_alert;
use crate::{onnx, places};

/// Collects what comes out.
#[derive(Debug, Default)]
pub struct Collected {
    /// Alerts, in order.
    pub alerts: Vec<Json>,
    /// Lines that were not taken.
    pub rejected: Vec<Rejected>,
}

impl Sink for Collected {
    fn alert(&mut self, alert: &Alert<'_>) {
        let mut line = Vec::new();
        alert.write(&mut line);
        let alert = serde_json::from_slice(&line).expect("an alert is JSON");
        hold_alert(&alert);
        self.alerts.push(alert);
    }

    fn rejected(&mut self, rejected: Rejected) {
        self.rejected.push(rejected);
    }
}

/// Compiles one text; the findings drawn as text where it does not compile.
pub fn compile(text: &str) -> Result<Rules, String> {
    let mut sources = Sources::default();
    sources.add("rules.lap", text);
    let rules = Rules { loaded: load(&sources), sources };
    if rules.compiles() {
        return Ok(rules);
    }
    let drawn = rules.loaded.diagnostics.iter().filter(|d| d.is_error());
    Err(drawn.map(|d| lapwing_dsl::diagnostics::render(d, &rules.sources, false)).collect::<Vec<_>>().join("\n"))
}

/// A text that was compiled not long ago for a rule set of that number is not compiled again: a case goes many ways.
pub(crate) fn compiled(text: &str, generation: u64) -> Result<Arc<Rules>, String> {
    RECENT.with_borrow_mut(|recent| {
        if let Some((.., rules)) = recent.iter().find(|(number, of, _)| *number == generation && of == text) {
            return Ok(rules.clone());
        }
        let rules = Arc::new(compile(text)?);
        if recent.len() == RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back((generation, text.to_owned(), rules.clone()));
        Ok(rules)
    })
}

/// More than the rule sets of one case.
const RECENT_MAX: usize = 8;

thread_local! {
    static RECENT: RefCell<VecDeque<(u64, String, Arc<Rules>)>> = const { RefCell::new(VecDeque::new()) };
}

/// A change while events flow.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The whole text from then on.
    Rules(String),
    /// A list, a table or a model, as a control message.
    Data(Json),
}

/// Carries out a control message about a list or a table, or what stands for one about a model.
pub fn fill(contents: &mut Contents, schema: &Schema, message: &Json) -> Result<(), String> {
    if message["kind"] == "model" {
        let name = message["name"].as_str().unwrap_or_default();
        schema.find_model(name).ok_or("no such model")?;
        let mut staged = contents.model(name).cloned().unwrap_or_default();
        let number = staged.last() + 1;
        let stage = if message["stage"] == "shadow" { Stage::Shadow } else { Stage::Live };
        staged.put(number, stage, onnx::version(message, number));
        contents.put_model(name, staged);
        return Ok(());
    }
    let message: Message = serde_json::from_str(&message.to_string()).map_err(|e| e.to_string())?;
    let name = message.name.as_str();
    let said = Said {
        whole: message.entries.as_deref().or(message.rows.as_deref()),
        add: message.add.as_deref().or(message.upsert.as_deref()).unwrap_or_default(),
        remove: message.remove.as_deref().unwrap_or_default(),
    };
    match message.kind {
        Kind::List => {
            let id = schema.find_list(name).ok_or("no such list")?;
            let list = change::list(&schema.lists[id.0 as usize], contents.list(name), &said)?;
            contents.put_list(name, list);
        }
        _ => {
            let id = schema.find_table(name).ok_or("no such table")?;
            let table = change::table(&schema.tables[id.0 as usize], contents.table(name), &said)?;
            contents.put_table(name, table);
        }
    }
    Ok(())
}

/// How lines go through the engine. No way may change what comes out.
#[derive(Clone, Debug, Default)]
pub struct Way {
    /// What lists and tables hold at the start, as control messages, and what is known of addresses. (Not a way, but it goes with each.)
    pub data: Vec<Json>,
    /// Threads; 0 is 1.
    pub threads: usize,
    /// How many lines each batch has; what is left is the last one.
    pub batches: Vec<usize>,
    /// Whether the pipeline is saved and loaded between batches.
    pub restored: bool,
    /// Whether all keys that can go out of memory do so after every batch, and come back when they are needed.
    pub evicted: bool,
    /// Whether what has changed is saved between batches, and what may go leaves memory then. After every other save the pipeline is loaded from it, with
    /// those keys alone that have to be in memory.
    pub saved: bool,
    /// Whether every rule is asked for every event, without the help of the index.
    pub all_asked: bool,
}

/// Keys outside memory, in memory.
#[derive(Debug, Default)]
pub struct Kept(pub BTreeMap<KeyName, Cold>);

impl Outside for Kept {
    fn take(&mut self, names: &[KeyName]) -> Result<Vec<(KeyName, Vec<u8>)>, OutsideError> {
        assert!(names.is_sorted_by(|a, b| a < b), "names ascend, each once");
        Ok(names.iter().filter_map(|name| self.0.remove(name)).map(|cold| (cold.name, cold.bytes)).collect())
    }

    fn take_all(&mut self) -> Result<Vec<(KeyName, Vec<u8>)>, OutsideError> {
        Ok(std::mem::take(&mut self.0).into_values().map(|cold| (cold.name, cold.bytes)).collect())
    }

    fn put(&mut self, cold: Vec<Cold>, now: Millis) -> Result<(), OutsideError> {
        self.0.retain(|_, cold| cold.ends >= now);
        for cold in cold {
            assert!(self.0.insert(cold.name.clone(), cold).is_none(), "a key is in memory or outside");
        }
        Ok(())
    }
}

/// Saves, one after the other, in memory.
#[derive(Clone, Debug, Default)]
struct Saves(Arc<Mutex<Last>>);

#[derive(Debug, Default)]
struct Last {
    keys: BTreeMap<KeyName, Held>,
    count: usize,
}

impl Saves {
    fn last(&self) -> MutexGuard<'_, Last> {
        self.0.lock().expect("no test panics in between")
    }

    /// Saves what has changed, and gives what the save holds beside the keys.
    fn save(&self, pipeline: &mut Pipeline) -> Vec<u8> {
        let changes = pipeline.changes();
        let mut last = self.last();
        last.count += 1;
        if changes.all {
            last.keys.clear();
        }
        assert!(changes.keys.is_sorted_by(|a, b| a.name < b.name), "names ascend, each once");
        for change in changes.keys {
            let before = last.keys.get(&change.name).map_or(Known::Nothing, |held| match held.stays {
                true => Known::Stays,
                false => Known::Cold,
            });
            assert_eq!(change.before, before, "what the save before holds of {:?}", change.name);
            match change.now {
                Some(held) => drop(last.keys.insert(change.name, held)),
                None => drop(last.keys.remove(&change.name)),
            }
        }
        changes.rest
    }
}

impl Outside for Saves {
    fn take(&mut self, names: &[KeyName]) -> Result<Vec<(KeyName, Vec<u8>)>, OutsideError> {
        let last = self.last();
        Ok(names.iter().filter_map(|name| Some((name.clone(), last.keys.get(name)?.bytes.clone()))).collect())
    }

    fn take_all(&mut self) -> Result<Vec<(KeyName, Vec<u8>)>, OutsideError> {
        Ok(std::mem::take(&mut self.last().keys).into_iter().map(|(name, held)| (name, held.bytes)).collect())
    }

    fn put(&mut self, _cold: Vec<Cold>, _now: Millis) -> Result<(), OutsideError> {
        unreachable!("what a save holds leaves memory, and nothing else")
    }
}

/// Judges lines at once.
pub fn judge(text: &str, lines: &[String], options: &Options, threads: usize) -> Result<Collected, String> {
    judge_in(text, lines, options, &Way { threads, ..Way::default() })
}

/// Judges lines in some way.
pub fn judge_in(text: &str, lines: &[String], options: &Options, way: &Way) -> Result<Collected, String> {
    let mut rules = compiled(text, 1)?.rule_set(1).map_err(|e| format!("{e:?}"))?;
    if way.all_asked {
        rules = rules.all_asked();
    }
    rules = rules.with_data(1, way.data(&way.contents(&rules.schema)?, &rules.schema));
    let mut pipeline = Pipeline::new(Arc::new(rules), options.clone(), way.threads.max(1));
    let saves = way.begin(&mut pipeline);
    let mut collected = Collected::default();
    let mut first = 0usize;
    for count in way.batches.iter().copied().chain([usize::MAX]) {
        let until = first.saturating_add(count).min(lines.len());
        let bytes = lines[first..until].join("\n");
        way.take(&mut pipeline, &Lines { bytes: bytes.as_bytes(), first: first as u64 }, &mut collected);
        first = until;
        pipeline = way.between(pipeline, options, &saves)?;
    }
    pipeline.finish(&mut collected);
    not_failed(&pipeline)?;
    Ok(collected)
}

/// Judges lines with rules, lists and tables changed on the way: each change names the line before which it takes over.
pub fn judge_changed(
    text: &str,
    changes: &[(usize, Change)],
    lines: &[String],
    options: &Options,
    way: &Way,
) -> Result<Collected, String> {
    let mut live: Vec<LiveRule> = Vec::new();
    // The version of a rule is the generation that brought its text.
    let mut rule_set = |text: &str, generation: u64| {
        let rules = compiled(text, generation)?;
        let loaded = &rules.loaded;
        let version = |program: &Arc<Program>| {
            let same = |old: &&LiveRule| {
                old.program.rule.name == program.rule.name && old.program.rule.source == program.rule.source
            };
            live.iter().find(same).map_or(generation as u32, |old| old.version)
        };
        live = loaded.programs.iter().map(|p| LiveRule { program: p.clone(), version: version(p) }).collect();
        RuleSet::new(generation, loaded.schema.clone(), live.clone()).map_err(|e| format!("{e:?}"))
    };
    let mut rules = rule_set(text, 1)?;
    let mut contents = way.contents(&rules.schema)?;
    rules = rules.with_data(1, way.data(&contents, &rules.schema));
    let mut pipeline = Pipeline::new(Arc::new(rules.clone()), options.clone(), way.threads.max(1));
    let saves = way.begin(&mut pipeline);
    let mut collected = Collected::default();
    let mut first = 0;
    for (i, (until, next)) in changes.iter().map(|(l, t)| (*l, Some(t))).chain([(lines.len(), None)]).enumerate() {
        let bytes = lines[first..until].join("\n");
        way.take(&mut pipeline, &Lines { bytes: bytes.as_bytes(), first: first as u64 }, &mut collected);
        first = until;
        if let Some(next) = next {
            let generation = i as u64 + 2;
            match next {
                Change::Rules(text) => rules = rule_set(text, generation)?,
                Change::Data(message) => fill(&mut contents, &rules.schema, message)?,
            }
            rules = rules.with_data(generation, way.data(&contents, &rules.schema));
            pipeline.swap(Arc::new(rules.clone()), &mut collected);
        }
        pipeline = way.between(pipeline, options, &saves)?;
    }
    pipeline.finish(&mut collected);
    not_failed(&pipeline)?;
    Ok(collected)
}

impl Way {
    fn contents(&self, schema: &Schema) -> Result<Contents, String> {
        let mut contents = Contents::default();
        let messages = self.data.iter().filter(|message| message["kind"] != "geoip");
        messages.into_iter().try_for_each(|message| fill(&mut contents, schema, message))?;
        Ok(contents)
    }

    fn data(&self, contents: &Contents, schema: &Schema) -> Arc<Data> {
        Arc::new(Data { geoip: places::of(&self.data), ..contents.data(schema) })
    }

    fn begin(&self, pipeline: &mut Pipeline) -> Saves {
        let saves = Saves::default();
        if self.evicted {
            pipeline.keep_outside(Some(Box::new(Kept::default())));
        }
        if self.saved {
            pipeline.note_changes();
            pipeline.keep_outside(Some(Box::new(saves.clone())));
        }
        saves
    }

    /// What is saved in between has to be settled.
    fn take(&self, pipeline: &mut Pipeline, lines: &Lines<'_>, collected: &mut Collected) {
        if self.restored || self.saved {
            pipeline.take(lines, collected);
        } else {
            pipeline.take_ahead(lines, collected);
        }
    }

    fn between(&self, mut pipeline: Pipeline, options: &Options, saves: &Saves) -> Result<Pipeline, String> {
        if self.saved {
            let rest = saves.save(&mut pipeline);
            pipeline.drop_saved(0);
            if saves.last().count.is_multiple_of(2) {
                pipeline = loaded(pipeline, options, self.threads.max(1), &rest, saves)?;
            }
        } else {
            pipeline.evict(|_| true);
        }
        if self.restored {
            pipeline = restored(pipeline, options, self.threads.max(1))?;
        }
        not_failed(&pipeline)?;
        Ok(pipeline)
    }
}

fn not_failed(pipeline: &Pipeline) -> Result<(), String> {
    pipeline.failure().map_or(Ok(()), |e| Err(e.to_string()))
}

/// The pipeline as a save has it, with the keys in memory that have to be there.
fn loaded(
    mut pipeline: Pipeline,
    options: &Options,
    threads: usize,
    rest: &[u8],
    saves: &Saves,
) -> Result<Pipeline, String> {
    let rules = pipeline.generations().cloned().collect();
    let read = |each: &mut dyn FnMut(&KeyName, &[u8]) -> Result<(), Corrupt>| {
        let last = saves.last();
        last.keys.iter().filter(|(_, held)| held.stays).try_for_each(|(name, held)| each(name, &held.bytes))
    };
    let mut loaded = Pipeline::load_saved(rules, options.clone(), threads, rest, read).map_err(|e| e.to_string())?;
    if (loaded.totals(), loaded.counters()) != (pipeline.totals(), pipeline.counters()) {
        return Err("the totals are not what was saved".to_owned());
    }
    loaded.keep_outside(pipeline.keep_outside(None));
    Ok(loaded)
}

/// The pipeline, saved and loaded.
pub fn restored(mut pipeline: Pipeline, options: &Options, threads: usize) -> Result<Pipeline, String> {
    let bytes = pipeline.save();
    let rules = pipeline.generations().cloned().collect();
    let mut loaded = Pipeline::load(rules, options.clone(), threads, &bytes).map_err(|e| e.to_string())?;
    if loaded.save() != bytes {
        return Err("what was loaded is not what was saved".to_owned());
    }
    if (loaded.totals(), loaded.counters()) != (pipeline.totals(), pipeline.counters()) {
        return Err("the totals are not what was saved".to_owned());
    }
    loaded.keep_outside(pipeline.keep_outside(None));
    Ok(loaded)
}
