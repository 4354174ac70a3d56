//! How a catalog came to be what it is: the rule files it was made of, and what has changed since. It is kept with a saved state, so that the
//! rules that the state belongs to can be had again when the files beside it have changed.

use lapwing_dsl::schema::Schema;
use lapwing_engine::rule_set::RuleSet;
use lapwing_engine::store::codec::{Corrupt, Reader, Writer};

use super::catalog::{Catalog, Refusal};
use super::files::Rules;
use super::message::{Kind, Message, Op};
use crate::tables::contents::Contents;

/// The rule files and the changes, in their order; each but the first has made one more generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    chapters: Vec<Chapter>,
}

/// What made a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Chapter {
    /// Rule files, path and text, in place of all rules.
    Files(Vec<(String, String)>),
    /// A control message that changed rules or declarations.
    Message(String),
    /// Lists, tables or models changed, and no rule.
    Data,
}

impl Story {
    /// Begins with rule files.
    pub fn new(rules: &Rules) -> Story {
        let mut story = Story::default();
        story.goes_on_with(rules);
        story
    }

    /// Rule files take the place of all rules.
    pub fn goes_on_with(&mut self, rules: &Rules) {
        self.chapters.push(Chapter::Files(rules.texts()));
    }

    /// A message was carried out; `text` is what was written.
    pub fn tell(&mut self, message: &Message, text: &str) {
        let of_rules = matches!(message.kind, Kind::Rule | Kind::Rules) || message.op == Op::Delete;
        self.chapters.push(if of_rules { Chapter::Message(text.to_owned()) } else { Chapter::Data });
    }

    /// Whether rule files have taken the place of others.
    pub fn is_forked(&self) -> bool {
        self.chapters.iter().filter(|c| matches!(c, Chapter::Files(_))).count() > 1
    }

    /// Whether nothing is known: it was saved by a version that kept none.
    pub fn is_empty(&self) -> bool {
        self.chapters.is_empty()
    }

    /// Whether the last rule files were these.
    pub fn ends_with(&self, rules: &Rules) -> bool {
        let files =
            self.chapters.iter().rev().find_map(|c| if let Chapter::Files(files) = c { Some(files) } else { None });
        let sorted = |texts: &[(String, String)]| {
            let mut texts: Vec<String> = texts.iter().map(|(_, text)| text.clone()).collect();
            texts.sort_unstable();
            texts
        };
        files.is_some_and(|files| sorted(files) == sorted(&rules.texts()))
    }

    /// The story up to the last rule files: what came behind them is in the control file.
    pub fn up_to_the_files(&self) -> Story {
        let last = self.chapters.iter().rposition(|c| matches!(c, Chapter::Files(_)));
        Story { chapters: self.chapters[..last.map_or(0, |i| i + 1)].to_vec() }
    }

    /// All its rule sets and the catalog at its end. What lists and tables held then is not known: each that is declared as in `now` holds
    /// what it has in `contents`.
    pub fn told(&self, contents: &Contents, now: &Schema) -> Result<(Vec<RuleSet>, Catalog), Refusal> {
        let nothing = || Refusal::new("the state does not say which rules it belongs to");
        let mut sets = Vec::new();
        let mut catalog: Option<Catalog> = None;
        for chapter in &self.chapters {
            match (chapter, &mut catalog) {
                (Chapter::Files(files), before) => {
                    let rules = compiled(files)?;
                    let held = contents.declared_alike(now, &rules.loaded.schema);
                    let next = match before {
                        Some(before) => before.succeeded_by(&rules, held)?,
                        None => Catalog::new(&rules, held)?,
                    };
                    *before = Some(next);
                }
                (Chapter::Message(text), Some(catalog)) => {
                    let message = serde_json::from_str(text).map_err(|e| Refusal::new(e.to_string()))?;
                    catalog.apply(&message)?;
                }
                (Chapter::Data, Some(catalog)) => catalog.count_generation(),
                (_, None) => return Err(nothing()),
            }
            sets.extend(catalog.as_ref().map(Catalog::rule_set));
        }
        Ok((sets, catalog.ok_or_else(nothing)?))
    }

    /// Writes it.
    pub fn save(&self, w: &mut Writer) {
        w.list(self.chapters.iter(), |w, chapter| match chapter {
            Chapter::Files(files) => {
                w.u64(0);
                w.list(files.iter(), |w, (path, text)| {
                    w.str(path);
                    w.str(text);
                });
            }
            Chapter::Message(text) => {
                w.u64(1);
                w.str(text);
            }
            Chapter::Data => w.u64(2),
        });
    }

    /// Reads it.
    pub fn load(r: &mut Reader<'_>) -> Result<Story, Corrupt> {
        let chapters = r.list(|r| {
            Ok(match r.u64()? {
                0 => Chapter::Files(r.list(|r| Ok((r.str()?.to_owned(), r.str()?.to_owned())))?),
                1 => Chapter::Message(r.str()?.to_owned()),
                2 => Chapter::Data,
                _ => return Err(Corrupt("an unknown kind of change")),
            })
        })?;
        Ok(Story { chapters })
    }
}

/// Compiles texts that compiled once.
fn compiled(files: &[(String, String)]) -> Result<Rules, Refusal> {
    let rules = Rules::of(files.iter().map(|(path, text)| (path.as_str(), text.as_str())));
    if rules.compiles() {
        return Ok(rules);
    }
    Err(Refusal::new("the rules that the state was saved with do not compile with this version of Lapwing"))
}
