//! The catalog: all rules with their versions and stages, and the rule set that the live ones make.
//!
//! A change is all or nothing: it compiles to a new rule set, one generation further, or it is refused with the diagnostics and
//! nothing has changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use lapwing_dsl::diagnostics::{Diagnostic, JsonDiagnostic, render, to_json};
use lapwing_dsl::program::Program;
use lapwing_dsl::schema::Schema;
use lapwing_dsl::syntax::ast::Decl;
use lapwing_dsl::syntax::{FileId, Sources, parse};
use lapwing_dsl::{Loaded, load};
use lapwing_engine::rule_set::{LiveRule, RuleSet};
use sha2::{Digest, Sha256};

use super::files::Rules;
use super::message::{Kind, Message, Op, Stage};

/// Rules and the declarations they share.
#[derive(Clone)]
pub struct Catalog {
    /// Texts of events, lists, tables, models and features, by what they declare.
    declarations: BTreeMap<String, Text>,
    rules: BTreeMap<String, Rule>,
    generation: u64,
    schema: Schema,
}

/// A piece of a file.
#[derive(Clone)]
struct Text {
    from: String,
    text: String,
}

/// A rule with what it compiled to.
#[derive(Clone)]
struct Rule {
    text: Text,
    version: u32,
    stage: Stage,
    program: Option<Arc<Program>>,
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
    fn new(message: impl Into<String>) -> Refusal {
        Refusal { message: message.into(), diagnostics: Vec::new(), drawn: String::new() }
    }
}

impl Catalog {
    /// The catalog of rule files, each rule live at version 1.
    pub fn new(rules: &Rules) -> Catalog {
        let mut catalog = Catalog {
            declarations: BTreeMap::new(),
            rules: BTreeMap::new(),
            generation: 1,
            schema: rules.loaded.schema.clone(),
        };
        for (id, source) in rules.sources.iter() {
            for (name, text, is_rule) in pieces(id, &source.path, &source.text) {
                if is_rule {
                    let program = rules.loaded.programs.iter().find(|p| p.rule.name == name).cloned();
                    catalog.rules.insert(name, Rule { text, version: 1, stage: Stage::Live, program });
                } else {
                    catalog.declarations.insert(name, text);
                }
            }
        }
        catalog
    }

    /// The generation of the last rule set.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Digest of all texts, versions and stages: equal catalogs have equal digests.
    pub fn digest(&self) -> Vec<u8> {
        let mut digest = Sha256::new();
        for (name, text) in &self.declarations {
            digest.update(format!("{name:?}{:?}", text.text));
        }
        for (name, rule) in &self.rules {
            digest.update(format!("{name:?}{:?}{}{:?}", rule.text.text, rule.version, rule.stage));
        }
        digest.update(self.generation.to_le_bytes());
        digest.finalize().to_vec()
    }

    /// The rule set of the live rules.
    pub fn rule_set(&self) -> Result<RuleSet, Refusal> {
        let live = self.rules.values().filter(|r| r.stage == Stage::Live);
        let rules =
            live.filter_map(|r| r.program.clone().map(|program| LiveRule { program, version: r.version })).collect();
        RuleSet::new(self.generation, self.schema.clone(), rules).map_err(|error| {
            Refusal::new(format!("rule `{}`: too many different keys of event `{}`", error.rule, error.event))
        })
    }

    /// Carries a message out; the rule set that takes over.
    pub fn apply(&mut self, message: &Message) -> Result<RuleSet, Refusal> {
        let mut changed = self.clone();
        if message.kind != Kind::Rule {
            return Err(Refusal::new("lists, tables and models are not executed by this version"));
        }
        match message.op {
            Op::Put => changed.put(message)?,
            Op::Stage => {
                let stage =
                    message.stage.ok_or_else(|| Refusal::new("`stage` is missing: live, paused, retired or draft"))?;
                if stage == Stage::Shadow {
                    return Err(Refusal::new("stage `shadow` is not executed by this version"));
                }
                changed.known(&message.name)?.stage = stage;
            }
            Op::Delete => {
                changed.known(&message.name)?;
                changed.rules.remove(&message.name);
            }
        }
        changed.generation += 1;
        let rule_set = changed.rule_set()?;
        *self = changed;
        Ok(rule_set)
    }

    fn known(&mut self, name: &str) -> Result<&mut Rule, Refusal> {
        let near = lapwing_dsl::diagnostics::nearest(name, self.rules.keys().map(String::as_str)).map(str::to_owned);
        self.rules.get_mut(name).ok_or_else(|| {
            let hint = near.map_or(String::new(), |n| format!("; did you mean `{n}`?"));
            Refusal::new(format!("there is no rule `{name}`{hint}"))
        })
    }

    fn put(&mut self, message: &Message) -> Result<(), Refusal> {
        let name = &message.name;
        let source = message.source.as_ref().ok_or_else(|| Refusal::new("`source` is missing: the rule's text"))?;
        let before = self.rules.get(name).map(|r| r.version);
        let version = message.version.unwrap_or(before.unwrap_or(0) + 1);
        if before.is_some_and(|b| version <= b) {
            let b = before.unwrap_or(0);
            return Err(Refusal::new(format!("version {version} of `{name}` is not newer than {b}, the present one")));
        }
        let from = format!("{name} version {version}");
        self.refuse_syntax(&from, source)?;
        let mut found = false;
        for (piece, text, is_rule) in pieces(FileId(0), &from, source) {
            if is_rule && piece == *name {
                found = true;
                let stage = Stage::Live;
                self.rules.insert(piece, Rule { text, version, stage, program: None });
            } else if is_rule {
                return Err(Refusal::new(format!(
                    "the message is about rule `{name}`, its source also holds rule `{piece}`"
                )));
            } else {
                // What exists already is used.
                self.declarations.entry(piece).or_insert(text);
            }
        }
        if !found {
            return Err(Refusal::new(format!("the source holds no rule `{name}`")));
        }
        self.compile(name)
    }

    fn refuse_syntax(&self, from: &str, source: &str) -> Result<(), Refusal> {
        let mut sources = Sources::default();
        let id = sources.add(from, source);
        let findings: Vec<Diagnostic> =
            parse(id, source).diagnostics.into_iter().filter(Diagnostic::is_error).collect();
        if findings.is_empty() { Ok(()) } else { Err(does_not_compile(&findings, &sources)) }
    }

    /// Compiles one rule against the shared declarations; all of them, where those have changed.
    fn compile(&mut self, name: &str) -> Result<(), Refusal> {
        let alone = self.load(|rule| rule == name)?;
        let programs = if alone.schema == self.schema {
            alone.programs
        } else {
            let all = self.load(|_| true)?;
            self.schema = all.schema;
            all.programs
        };
        for program in programs {
            if let Some(rule) = self.rules.get_mut(&program.rule.name) {
                rule.program = Some(program);
            }
        }
        Ok(())
    }

    /// Loads the declarations and the rules that `wanted` says.
    fn load(&self, wanted: impl Fn(&str) -> bool) -> Result<Loaded, Refusal> {
        let mut sources = Sources::default();
        for text in self.declarations.values() {
            sources.add(text.from.clone(), text.text.clone());
        }
        for (_, rule) in self.rules.iter().filter(|(name, _)| wanted(name)) {
            sources.add(rule.text.from.clone(), rule.text.text.clone());
        }
        let loaded = load(&sources);
        if loaded.has_errors() {
            let findings: Vec<Diagnostic> = loaded.diagnostics.into_iter().filter(Diagnostic::is_error).collect();
            return Err(does_not_compile(&findings, &sources));
        }
        Ok(loaded)
    }
}

fn does_not_compile(findings: &[Diagnostic], sources: &Sources) -> Refusal {
    Refusal {
        message: "the rule does not compile".to_owned(),
        diagnostics: findings.iter().map(|d| to_json(d, sources)).collect(),
        drawn: findings.iter().map(|d| render(d, sources, false)).collect::<Vec<_>>().join("\n"),
    }
}

/// The declarations of a file but tests: name, text, whether it is a rule.
fn pieces(id: FileId, from: &str, text: &str) -> Vec<(String, Text, bool)> {
    let Some(file) = parse(id, text).file else { return Vec::new() };
    let mut pieces = Vec::new();
    for decl in &file.decls {
        let (name, is_rule) = match decl {
            Decl::Event(d) => (&d.name, false),
            Decl::List(d) => (&d.name, false),
            Decl::Table(d) => (&d.name, false),
            Decl::Model(d) => (&d.name, false),
            Decl::Feature(d) => (&d.name, false),
            Decl::Rule(d) => (&d.name, true),
            Decl::Test(_) => continue,
        };
        let span = decl.span();
        // What stands before is blanked, so that lines and columns stay those of the file.
        let (start, end) = (span.start as usize, span.end as usize);
        let mut kept: String = text[..start].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        kept.push_str(&text[start..end]);
        pieces.push((name.text.clone(), Text { from: from.to_owned(), text: kept }, is_rule));
    }
    pieces
}
