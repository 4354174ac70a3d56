//! The catalog: all rules with their versions and stages, the lists and tables, and the rule set that the live rules make.
//!
//! A change is all or nothing: it compiles to a new rule set, one generation further, or it is refused with the diagnostics and
//! nothing has changed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lapwing_dsl::compile::walk::data_read;
use lapwing_dsl::diagnostics::{Diagnostic, JsonDiagnostic, render, to_json};
use lapwing_dsl::explain::{Worst, worst};
use lapwing_dsl::program::Program;
use lapwing_dsl::schema::Schema;
use lapwing_dsl::syntax::ast::Decl;
use lapwing_dsl::syntax::{FileId, Source, Sources, parse};
use lapwing_dsl::{Loaded, load};
use lapwing_engine::data::Data;
use lapwing_engine::limits::Limits;
use lapwing_engine::rule_set::{LiveRule, RuleSet};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::files::Rules;
use super::message::{Kind, Message, Op, Stage};
use super::versions::{File, Text, Version, Versions};
use crate::models::change as models;
use crate::tables::change::{self, Said};
use crate::tables::contents::Contents;

/// Rules and the declarations they share.
#[derive(Clone)]
pub struct Catalog {
    /// Texts of events, lists, tables, models and features, by kind and name.
    declarations: BTreeMap<(&'static str, String), Text>,
    rules: BTreeMap<String, Versions>,
    /// Rules that were deleted, with their last versions: a number is never given twice.
    gone: BTreeMap<String, u32>,
    generation: u64,
    schema: Schema,
    contents: Contents,
    /// The rule set of the last change: one of lists and tables takes its programs over.
    last: RuleSet,
}

/// Why a message was refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// A sentence.
    pub message: String,
    /// What the compiler found.
    pub diagnostics: Vec<JsonDiagnostic>,
    /// The same, drawn for a person.
    pub drawn: String,
}

impl Refusal {
    /// A refusal that no diagnostics go with.
    pub fn new(message: impl Into<String>) -> Refusal {
        Refusal { message: message.into(), diagnostics: Vec::new(), drawn: String::new() }
    }
}

impl Catalog {
    /// The catalog of rule files, each rule live at version 1, and of what lists and tables hold.
    pub fn new(rules: &Rules, contents: Contents) -> Result<Catalog, Refusal> {
        let mut catalog = Catalog::of(rules, contents);
        catalog.last = catalog.make()?;
        Ok(catalog)
    }

    /// The same without a rule set.
    fn of(rules: &Rules, contents: Contents) -> Catalog {
        let mut catalog = Catalog {
            declarations: BTreeMap::new(),
            rules: BTreeMap::new(),
            gone: BTreeMap::new(),
            generation: 1,
            schema: rules.loaded.schema.clone(),
            contents,
            last: RuleSet::empty(),
        };
        for (id, source) in rules.sources.iter() {
            for Piece { kind, name, text } in pieces(id, source) {
                if kind == RULE {
                    catalog.rules.insert(name, Versions::first(1, text, Stage::Live));
                } else {
                    catalog.declarations.insert((kind, name), text);
                }
            }
        }
        for program in &rules.loaded.programs {
            if let Some(rule) = catalog.rules.get_mut(&program.rule.name) {
                rule.program = Some(program.clone());
            }
        }
        catalog
    }

    /// Says in which folder messages name files.
    pub fn name_files_in(&mut self, folder: &Path) {
        self.contents.set_folder(folder);
    }

    /// Says in which folder the files are that came in chunks, each under its digest.
    pub fn keep_uploads_in(&mut self, folder: &Path) {
        self.contents.set_uploads(folder);
    }

    /// The versions of each model that has any: name, number, stage and the SHA-256 of its file.
    pub fn models(&self) -> impl Iterator<Item = (&str, Vec<(u32, Stage, &[u8; 32])>)> {
        self.contents.models().map(|(name, staged)| (name, staged.digests().collect()))
    }

    /// The catalog of other rule files in place of these: a rule whose text is the same keeps its version, another gets the next.
    pub fn succeeded_by(&self, rules: &Rules, contents: Contents) -> Result<Catalog, Refusal> {
        let mut next = Catalog::of(rules, contents);
        next.go_on_from(self);
        next.generation = self.generation + 1;
        next.last = next.make()?;
        Ok(next)
    }

    /// The same rules are versions of those before: a text that was in force keeps its number and its stage, another gets the next.
    fn go_on_from(&mut self, before: &Catalog) {
        for (name, rule) in &mut self.rules {
            let Some(known) = before.rules.get(name) else { continue };
            let (now, program) = (rule.present().1.text.clone(), rule.program.take());
            let mut known = known.clone();
            match known.in_force() {
                Some((_, version)) if version.text.says(&now) => {}
                // Who paused a rule does not want it on because its text has changed.
                other => {
                    let stage = other.map_or(Stage::Live, |(_, version)| version.stage);
                    known.put(known.newest() + 1, now, stage);
                }
            }
            known.program = program;
            *rule = known;
        }
    }

    /// All rules as some files say: a rule that stands in none retires.
    fn replaced(&self, message: &Message) -> Result<Catalog, Refusal> {
        let files =
            message.files.as_deref().ok_or_else(|| Refusal::new("`files` is missing: each with `path` and `text`"))?;
        let rules = Rules::of(files.iter().map(|file| (file.path.as_str(), file.text.as_str())));
        if !rules.compiles() {
            let findings: Vec<Diagnostic> = rules.loaded.diagnostics.into_iter().filter(Diagnostic::is_error).collect();
            return Err(Refusal {
                message: "the rules do not compile".to_owned(),
                ..does_not_compile(&findings, &rules.sources)
            });
        }
        let mut contents = self.contents.declared_alike(&self.schema, &rules.loaded.schema);
        contents.keep_declared(&rules.loaded.schema);
        let mut next = Catalog::of(&rules, contents);
        next.go_on_from(self);
        next.gone = self.gone.clone();
        for (name, rule) in &self.rules {
            if next.rules.contains_key(name) {
                continue;
            }
            let mut rule = rule.clone();
            if let Some((version, _)) = rule.in_force() {
                rule.set_stage(version, Stage::Retired);
            }
            next.rules.insert(name.clone(), rule);
        }
        Ok(next)
    }

    /// The catalog after a message; none where all rules are already as its files say.
    pub fn after(&self, message: &Message) -> Result<Option<Catalog>, Refusal> {
        let mut changed = self.clone();
        changed.apply(message)?;
        let same = message.op == Op::Apply && changed.says(self);
        Ok((!same).then_some(changed))
    }

    /// Whether two catalogs have the same declarations, and the same rules at the same versions and stages.
    fn says(&self, other: &Catalog) -> bool {
        let declared = |key, text: &Text| other.declarations.get(key).is_some_and(|of_other| of_other.says(text));
        self.declarations.len() == other.declarations.len()
            && self.declarations.iter().all(|(key, text)| declared(key, text))
            && self.rules().eq(other.rules())
    }

    /// The declarations but rules: kind, name and text, with blanks for what stood before it in its file.
    pub fn declarations(&self) -> impl Iterator<Item = (&'static str, &str, &str)> {
        self.declarations.iter().map(|((kind, name), text)| (*kind, name.as_str(), text.text()))
    }

    /// All versions of a rule with their stages and texts, ascending; none where there is no such rule.
    pub fn versions(&self, name: &str) -> impl Iterator<Item = (u32, Stage, &str)> {
        let versions = self.rules.get(name).into_iter().flat_map(Versions::all);
        versions.map(|(number, version)| (number, version.stage, version.text.text()))
    }

    /// Who put a version of a rule; without a number, the one that a stage would be of. None where that is not known.
    pub fn author(&self, name: &str, version: Option<u32>) -> Option<&str> {
        let rule = self.rules.get(name)?;
        let version = version.unwrap_or(rule.present().0);
        rule.all().find(|(number, _)| *number == version).and_then(|(_, version)| version.author.as_deref())
    }

    /// Makes one more generation, of the same rules.
    pub fn count_generation(&mut self) {
        self.take_over(Data::clone(&self.last.data));
    }

    /// The event types, lists and tables.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The rules with their versions and stages, in order of their names.
    pub fn rules(&self) -> impl Iterator<Item = (&str, u32, Stage)> {
        self.rules.iter().map(|(name, rule)| {
            let (version, present) = rule.present();
            (name.as_str(), version, present.stage)
        })
    }

    /// The generation of the last rule set.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Digest of all texts, versions and stages: equal catalogs have equal digests.
    pub fn digest(&self) -> Vec<u8> {
        self.digest_of(|text| format!("{:?}", text.text()))
    }

    /// Whether a state that was saved with a digest is of this catalog. Earlier ones hold texts with their places in their files.
    pub fn has_digest(&self, digest: &[u8]) -> bool {
        self.digest() == digest || self.digest_of(Text::blanked) == digest
    }

    fn digest_of(&self, said: impl Fn(&Text) -> String) -> Vec<u8> {
        let mut digest = Sha256::new();
        for (declared, text) in &self.declarations {
            digest.update(format!("{declared:?}{}", said(text)));
        }
        for (name, rule) in &self.rules {
            let (version, present) = rule.present();
            digest.update(format!("{name:?}{}{version}{:?}", said(&present.text), present.stage));
        }
        digest.update(self.contents.digest());
        digest.update(self.generation.to_le_bytes());
        digest.finalize().to_vec()
    }

    /// The rule set of the live rules.
    pub fn rule_set(&self) -> RuleSet {
        self.last.clone()
    }

    fn make(&self) -> Result<RuleSet, Refusal> {
        let rules = self.live().map(|(program, version)| LiveRule { program: program.clone(), version }).collect();
        let set = RuleSet::new(self.generation, self.schema.clone(), rules);
        let set = set.map_err(|refused| Refusal::new(refused.to_string()))?;
        Ok(set.with_data(self.generation, Arc::new(self.contents.data(&self.schema))))
    }

    /// The live rules that read a list, a table or a model, in order of their names.
    pub fn readers(&self, kind: Kind, name: &str) -> Vec<&str> {
        let reads = |program: &Program| {
            let read = data_read(&program.rule);
            match kind {
                Kind::List => read.lists.contains(name),
                Kind::Table => read.tables.contains(name),
                Kind::Model => read.models.contains(name),
                Kind::Rule | Kind::Rules => false,
            }
        };
        self.live().filter(|(program, _)| reads(program)).map(|(program, _)| program.rule.name.as_str()).collect()
    }

    /// What each live rule may hold for one key at worst, by name.
    pub fn worst(&self) -> BTreeMap<&str, Worst> {
        let caps = Limits::default().explained();
        self.live().map(|(program, _)| (program.rule.name.as_str(), worst(program, &caps))).collect()
    }

    fn live(&self) -> impl Iterator<Item = (&Arc<Program>, u32)> {
        let live = self.rules.values().filter_map(|r| r.in_force().map(|(version, v)| (r, version, v.stage)));
        let live = live.filter(|(_, _, stage)| *stage == Stage::Live);
        live.filter_map(|(r, version, _)| r.program.as_ref().map(|program| (program, version)))
    }

    /// A live rule that asks for the places of addresses, where nobody knows them.
    pub fn without_places(&self) -> Option<&str> {
        let mut asking = self.live().filter(|(program, _)| data_read(&program.rule).geoip);
        asking.next().filter(|_| self.contents.geoip().is_none()).map(|(program, _)| program.rule.name.as_str())
    }

    /// The lists, tables and models that a live rule reads and that nothing has filled: the kind, the name, the first such rule.
    pub fn unfilled(&self) -> Vec<(Kind, &str, &str)> {
        let mut unfilled: Vec<(Kind, &str, &str)> = Vec::new();
        for (program, _) in self.live() {
            let read = data_read(&program.rule);
            let lists =
                read.lists.into_iter().map(|l| (Kind::List, l)).filter(|(_, l)| self.contents.list(l).is_none());
            let tables =
                read.tables.into_iter().map(|t| (Kind::Table, t)).filter(|(_, t)| self.contents.table(t).is_none());
            let models =
                read.models.into_iter().map(|m| (Kind::Model, m)).filter(|(_, m)| self.contents.model(m).is_none());
            for (kind, name) in lists.chain(tables).chain(models) {
                if !unfilled.iter().any(|(k, n, _)| (*k, *n) == (kind, name)) {
                    unfilled.push((kind, name, program.rule.name.as_str()));
                }
            }
        }
        unfilled
    }

    /// Carries a message out; the rule set that takes over.
    pub fn apply(&mut self, message: &Message) -> Result<RuleSet, Refusal> {
        refuse_stray(message)?;
        match (message.kind, message.op) {
            (_, Op::Chunk) => Err(Refusal::new(
                "chunks are for a service; here a model comes whole: `\"op\": \"put\"` with `onnx` or `file`",
            )),
            (Kind::List | Kind::Table, Op::Stage) => Err(Refusal::new("only a rule or a model has a `stage`")),
            (Kind::Rules, Op::Put | Op::Stage | Op::Delete) => {
                Err(Refusal::new("`rules` are applied: `\"op\": \"apply\"`"))
            }
            (Kind::Rule | Kind::List | Kind::Table | Kind::Model, Op::Apply) => {
                Err(Refusal::new("what is applied are `rules`: `\"kind\": \"rules\"`"))
            }
            (Kind::List, Op::Put) => self.put_list(message),
            (Kind::Table, Op::Put) => self.put_table(message),
            (Kind::Model, Op::Put | Op::Stage) => self.change_model(message),
            (Kind::Rule | Kind::Rules, _) | (_, Op::Delete) => self.change_rules(message),
        }
    }

    /// A change of rules or declarations: all that is compiled is made anew.
    fn change_rules(&mut self, message: &Message) -> Result<RuleSet, Refusal> {
        let mut changed = self.clone();
        match (message.kind, message.op) {
            (Kind::List, _) => changed.delete("list", &message.name)?,
            (Kind::Table, _) => changed.delete("table", &message.name)?,
            (Kind::Model, _) => changed.delete("model", &message.name)?,
            (_, Op::Apply) => changed = self.replaced(message)?,
            (_, Op::Put) if message.stage == Some(Stage::Draft) => changed = self.put_draft(message)?,
            (_, Op::Put) => changed.put(message)?,
            (_, Op::Stage) => {
                let stage =
                    message.stage.ok_or_else(|| Refusal::new("`stage` is missing: live, paused, retired or draft"))?;
                if stage == Stage::Shadow {
                    return Err(Refusal::new("stage `shadow` is not executed by this version"));
                }
                changed.stage(&message.name, message.version, stage)?;
            }
            (_, Op::Delete) => {
                let last = changed.known(&message.name)?.newest();
                changed.rules.remove(&message.name);
                changed.gone.insert(message.name.clone(), last);
            }
            (_, Op::Chunk) => {}
        }
        changed.generation = self.generation + 1;
        changed.last = changed.make()?;
        *self = changed;
        Ok(self.last.clone())
    }

    fn put_list(&mut self, message: &Message) -> Result<RuleSet, Refusal> {
        let said = said(&message.entries, &message.add, &message.remove, ["entries", "add"])?;
        let Some(id) = self.schema.find_list(&message.name) else {
            return Err(undeclared("list", &message.name, self.schema.lists.iter().map(|l| l.name.as_str())));
        };
        let declared = &self.schema.lists[id.0 as usize];
        let kept = change::list(declared, self.contents.list(&message.name), &said).map_err(Refusal::new)?;
        let mut data = Data::clone(&self.last.data);
        data.lists[id.0 as usize] = kept.content.clone();
        self.contents.put_list(&message.name, kept);
        Ok(self.take_over(data))
    }

    fn put_table(&mut self, message: &Message) -> Result<RuleSet, Refusal> {
        let said = said(&message.rows, &message.upsert, &message.remove, ["rows", "upsert"])?;
        let Some(id) = self.schema.find_table(&message.name) else {
            return Err(undeclared("table", &message.name, self.schema.tables.iter().map(|t| t.name.as_str())));
        };
        let declared = &self.schema.tables[id.0 as usize];
        let kept = change::table(declared, self.contents.table(&message.name), &said).map_err(Refusal::new)?;
        let mut data = Data::clone(&self.last.data);
        data.tables[id.0 as usize] = kept.content.clone();
        self.contents.put_table(&message.name, kept);
        Ok(self.take_over(data))
    }

    fn change_model(&mut self, message: &Message) -> Result<RuleSet, Refusal> {
        let Some(id) = self.schema.find_model(&message.name) else {
            return Err(undeclared("model", &message.name, self.schema.models.iter().map(|m| m.name.as_str())));
        };
        let declared = &self.schema.models[id.0 as usize];
        let before = self.contents.model(&message.name);
        let staged = if message.op == Op::Put {
            let said = models::Said {
                version: message.version,
                stage: message.stage,
                onnx: message.onnx.as_deref(),
                file: message.file.as_deref(),
                upload: message.upload.as_deref(),
                golden: message.golden.as_deref().unwrap_or_default(),
            };
            models::put(declared, before, &self.contents, &said)
        } else {
            let asked = self.live().any(|(program, _)| data_read(&program.rule).models.contains(message.name.as_str()));
            models::stage(declared, before, message.version, message.stage, asked)
        };
        let staged = staged.map_err(Refusal::new)?;
        let mut data = Data::clone(&self.last.data);
        data.models[id.0 as usize] = staged.versions();
        self.contents.put_model(&message.name, staged);
        Ok(self.take_over(data))
    }

    /// The next generation, with the same programs.
    fn take_over(&mut self, data: Data) -> RuleSet {
        self.generation += 1;
        self.last = self.last.with_data(self.generation, Arc::new(data));
        self.last.clone()
    }

    /// Takes a list or a table away with its declaration: no rule may name it.
    fn delete(&mut self, kind: &'static str, name: &str) -> Result<(), Refusal> {
        if self.declarations.remove(&(kind, name.to_owned())).is_none() {
            let names = self.declarations.keys().filter(|(k, _)| *k == kind).map(|(_, n)| n.as_str());
            return Err(undeclared(kind, name, names));
        }
        let all = self.load(|_| true).map_err(|refusal| {
            let message = format!("a rule reads the {kind} `{name}`: change or delete that first");
            Refusal { message, ..refusal }
        })?;
        self.take_programs(all);
        Ok(())
    }

    fn stage(&mut self, name: &str, version: Option<u32>, stage: Stage) -> Result<(), Refusal> {
        let rule = self.known(name)?;
        let version = version.unwrap_or(rule.present().0);
        rule.set_stage(version, stage).ok_or_else(|| {
            let newest = self.rules[name].newest();
            Refusal::new(format!("`{name}` has no version {version}; the newest is {newest}"))
        })?;
        let rule = &self.rules[name];
        if rule.in_force().is_some() && rule.program.is_none() { self.compile(name) } else { Ok(()) }
    }

    fn known(&mut self, name: &str) -> Result<&mut Versions, Refusal> {
        let near = lapwing_dsl::diagnostics::nearest(name, self.rules.keys().map(String::as_str)).map(str::to_owned);
        self.rules.get_mut(name).ok_or_else(|| {
            let hint = near.map_or(String::new(), |n| format!("; did you mean `{n}`?"));
            Refusal::new(format!("there is no rule `{name}`{hint}"))
        })
    }

    fn put(&mut self, message: &Message) -> Result<(), Refusal> {
        let name = &message.name;
        let source = message.source.as_ref().ok_or_else(|| Refusal::new("`source` is missing: the rule's text"))?;
        let stage = message.stage.unwrap_or(Stage::Live);
        if !matches!(stage, Stage::Live | Stage::Draft) {
            return Err(Refusal::new(format!("a new version comes `live` or as a `draft`, not `{}`", stage.as_str())));
        }
        let before = self.rules.get(name).map(Versions::newest).or_else(|| self.gone.get(name).copied());
        let version = message.version.unwrap_or(before.unwrap_or(0) + 1);
        if before.is_some_and(|b| version <= b) {
            let b = before.unwrap_or(0);
            return Err(Refusal::new(format!("version {version} of `{name}` is not newer than {b}, the present one")));
        }
        let from = format!("{name} version {version}");
        let mut sources = Sources::default();
        let id = sources.add(from, source);
        refuse_syntax(id, &sources)?;
        let mut found = false;
        for piece in sources.get(id).map(|source| pieces(id, source)).unwrap_or_default() {
            if piece.kind != RULE {
                // What exists already is used.
                self.declarations.entry((piece.kind, piece.name)).or_insert(piece.text);
            } else if piece.name == *name {
                found = true;
                // A draft has to compile too: it is compiled as if it were live.
                self.rules.entry(piece.name).or_default().put(version, piece.text, Stage::Live);
            } else {
                let other = piece.name;
                return Err(Refusal::new(format!(
                    "the message is about rule `{name}`, its source also holds rule `{other}`"
                )));
            }
        }
        if !found {
            return Err(Refusal::new(format!("the source holds no rule `{name}`")));
        }
        if let Some(rule) = self.rules.get_mut(name) {
            rule.set_author(version, message.author.as_deref().map(Arc::from));
        }
        self.compile(name)
    }

    /// Adds a version that nothing runs.
    fn put_draft(&self, message: &Message) -> Result<Catalog, Refusal> {
        let mut tried = self.clone();
        tried.put(message)?;
        let draft = tried.rules.get(&message.name).map(Versions::present).expect("it was just put");
        let (number, Version { text, author, .. }) = (draft.0, draft.1.clone());
        let mut changed = self.clone();
        let rule = changed.rules.entry(message.name.clone()).or_default();
        rule.put(number, text, Stage::Draft);
        rule.set_author(number, author);
        Ok(changed)
    }

    /// Compiles one rule against the shared declarations; all of them, where those have changed.
    fn compile(&mut self, name: &str) -> Result<(), Refusal> {
        let alone = self.load(|rule| rule == name)?;
        let loaded = if alone.schema.declares_the_same(&self.schema) { alone } else { self.load(|_| true)? };
        self.take_programs(loaded);
        Ok(())
    }

    fn take_programs(&mut self, loaded: Loaded) {
        self.schema = loaded.schema;
        self.contents.keep_declared(&self.schema);
        for program in loaded.programs {
            if let Some(rule) = self.rules.get_mut(&program.rule.name) {
                rule.program = Some(program);
            }
        }
    }

    /// Loads the declarations and the rules that `wanted` says.
    fn load(&self, wanted: impl Fn(&str) -> bool) -> Result<Loaded, Refusal> {
        let mut sources = Sources::default();
        self.declarations.values().for_each(|text| text.add_to(&mut sources));
        let wanted = self.rules.iter().filter(|(name, _)| wanted(name));
        wanted.filter_map(|(_, rule)| rule.in_force()).for_each(|(_, version)| version.text.add_to(&mut sources));
        let loaded = load(&sources);
        if loaded.has_errors() {
            let findings: Vec<Diagnostic> = loaded.diagnostics.into_iter().filter(Diagnostic::is_error).collect();
            return Err(does_not_compile(&findings, &sources));
        }
        Ok(loaded)
    }
}

fn refuse_syntax(id: FileId, sources: &Sources) -> Result<(), Refusal> {
    let text = sources.get(id).map_or("", |source| &source.text);
    let findings: Vec<Diagnostic> = parse(id, text).diagnostics.into_iter().filter(Diagnostic::is_error).collect();
    if findings.is_empty() { Ok(()) } else { Err(does_not_compile(&findings, sources)) }
}

fn does_not_compile(findings: &[Diagnostic], sources: &Sources) -> Refusal {
    Refusal {
        message: "the rule does not compile".to_owned(),
        diagnostics: findings.iter().map(|d| to_json(d, sources)).collect(),
        drawn: findings.iter().map(|d| render(d, sources, false)).collect::<Vec<_>>().join("\n"),
    }
}

/// Refuses a message with a field that its `op` and `kind` have no use for.
pub fn refuse_stray(message: &Message) -> Result<(), Refusal> {
    match stray(message) {
        Some(stray) => Err(Refusal::new(format!("`{stray}` says nothing with this `op` and `kind`"))),
        None => Ok(()),
    }
}

/// The first field of a message that its `op` and `kind` have no use for.
fn stray(message: &Message) -> Option<&'static str> {
    let Message { kind, op, .. } = *message;
    let (rule, model) = (kind == Kind::Rule, kind == Kind::Model);
    let chunk = model && op == Op::Chunk;
    let (list, table) = (kind == Kind::List && op == Op::Put, kind == Kind::Table && op == Op::Put);
    let fields = [
        ("source", message.source.is_some(), rule && op == Op::Put),
        ("version", message.version.is_some(), rule || model && !matches!(op, Op::Delete | Op::Chunk)),
        ("stage", message.stage.is_some(), (rule || model) && !matches!(op, Op::Delete | Op::Chunk)),
        ("files", message.files.is_some(), op == Op::Apply),
        ("entries", message.entries.is_some(), list),
        ("add", message.add.is_some(), list),
        ("rows", message.rows.is_some(), table),
        ("upsert", message.upsert.is_some(), table),
        ("remove", message.remove.is_some(), list || table),
        ("onnx", message.onnx.is_some(), model && op == Op::Put),
        ("file", message.file.is_some(), model && op == Op::Put),
        ("upload", message.upload.is_some(), model && op == Op::Put || chunk),
        ("chunk", message.chunk.is_some(), chunk),
        ("of", message.of.is_some(), chunk),
        ("bytes", message.bytes.is_some(), chunk),
        ("golden", message.golden.is_some(), model && op == Op::Put),
    ];
    fields.into_iter().find(|(_, there, of_use)| *there && !of_use).map(|(name, ..)| name)
}

/// What a message says of entries or rows: the whole, or what comes and goes.
fn said<'m>(
    whole: &'m Option<Vec<Box<RawValue>>>,
    add: &'m Option<Vec<Box<RawValue>>>,
    remove: &'m Option<Vec<Box<RawValue>>>,
    [all, some]: [&str; 2],
) -> Result<Said<'m>, Refusal> {
    if whole.is_some() && (add.is_some() || remove.is_some()) {
        return Err(Refusal::new(format!("`{all}` says it whole: `{some}` and `remove` do not go with it")));
    }
    if whole.is_none() && add.is_none() && remove.is_none() {
        return Err(Refusal::new(format!("`{all}` is missing; or give `{some}` or `remove`")));
    }
    Ok(Said {
        whole: whole.as_deref(),
        add: add.as_deref().unwrap_or_default(),
        remove: remove.as_deref().unwrap_or_default(),
    })
}

fn undeclared<'n>(kind: &str, name: &str, names: impl Iterator<Item = &'n str>) -> Refusal {
    let near = lapwing_dsl::diagnostics::nearest(name, names);
    let hint = near.map_or(String::new(), |n| format!("; did you mean `{n}`?"));
    Refusal::new(format!("no {kind} `{name}` is declared{hint}"))
}

/// The kind of a piece that is a rule.
const RULE: &str = "rule";

/// The kind and the name of what is declared; a test declares nothing.
pub fn declared(decl: &Decl) -> Option<(&'static str, &str)> {
    let (kind, name) = match decl {
        Decl::Event(d) => ("event", &d.name),
        Decl::List(d) => ("list", &d.name),
        Decl::Table(d) => ("table", &d.name),
        Decl::Model(d) => ("model", &d.name),
        Decl::Feature(d) => ("feature", &d.name),
        Decl::Rule(d) => (RULE, &d.name),
        Decl::Test(_) => return None,
    };
    Some((kind, &name.text))
}

/// A declaration.
struct Piece {
    kind: &'static str,
    name: String,
    text: Text,
}

/// The declarations of a file but tests.
fn pieces(id: FileId, source: &Source) -> Vec<Piece> {
    let Some(file) = parse(id, &source.text).file else { return Vec::new() };
    let kept = File::of(source);
    let mut pieces = Vec::new();
    for decl in &file.decls {
        let Some((kind, name)) = declared(decl) else { continue };
        let span = decl.span();
        let text = Text::of(&kept, source, (span.start as usize, span.end as usize));
        pieces.push(Piece { kind, name: name.to_owned(), text });
    }
    pieces
}
