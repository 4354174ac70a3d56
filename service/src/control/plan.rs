//! What a change would do, told before it is done: to each rule, its versions, the runs that live, and what it may hold; and which rules read what it touches.

use std::collections::{BTreeMap, BTreeSet};

use lapwing_dsl::explain::Worst;
use lapwing_engine::migrate::outlook::{Events, Outlook, Reason, Runs, StepOutlook, outlook};
use serde::Serialize;

use super::catalog::{Catalog, Refusal};
use super::message::{Kind, Message, Stage};

/// What a change does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// To rules; those that stay as they are are left out.
    pub rules: Vec<Planned>,
    /// Which live rules read the lists, tables and models that it touches.
    pub readers: Vec<Readers>,
    /// What all live rules together may hold for one key at worst, before and after.
    pub worst: Change<Worst>,
}

/// Before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Change<T> {
    pub before: T,
    pub after: T,
}

/// Who reads a list, a table or a model that a change touches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readers {
    /// What it is: `list`, `table` or `model`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The live rules that read it once the change has taken over.
    pub rules: Vec<String>,
    /// Those that read it now and will not any more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_longer: Vec<String>,
}

/// What a change does to a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// Its name.
    pub rule: String,
    /// What is in force, or was last, before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<At>,
    /// The same afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<At>,
    /// What becomes of its runs, in words; none where it was not live and is not going to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<&'static str>,
    /// What becomes of those that hold some event.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// How many runs live now.
    pub live_runs: usize,
    /// What it may hold for one key at worst, before and after; none where it is not live.
    pub worst: Change<Option<Worst>>,
}

/// A version at a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct At {
    /// Its number.
    pub version: u32,
    /// Where it stands.
    pub stage: Stage,
}

/// What a message would do to the rules of a catalog, of which so many runs live; rules that stay as they are are left out.
pub fn plan(catalog: &Catalog, message: &Message, live: &BTreeMap<String, usize>) -> Result<Plan, Refusal> {
    let worst_before = catalog.worst();
    let Some(changed) = catalog.after(message)? else {
        let (before, after) = (all(&worst_before), all(&worst_before));
        return Ok(Plan { rules: Vec::new(), readers: Vec::new(), worst: Change { before, after } });
    };
    let worst_after = changed.worst();
    let outlooks = outlook(&catalog.rule_set(), &changed.rule_set());
    let at = |catalog: &Catalog| -> BTreeMap<String, At> {
        catalog.rules().map(|(name, version, stage)| (name.to_owned(), At { version, stage })).collect()
    };
    let (before, after) = (at(catalog), at(&changed));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let planned = names.into_iter().map(|name| {
        let outlook = outlooks.iter().find(|outlook| outlook.rule == *name);
        let (runs, mut details) = outlook.map(words).unzip();
        if let (Some(outlook), Some(details)) = (outlook, &mut details)
            && !outlook.empty_windows.is_empty()
        {
            details.push(match outlook.empty_windows.len() {
                1 => "a window begins empty".to_owned(),
                n => format!("{n} windows begin empty"),
            });
        }
        Planned {
            rule: name.clone(),
            from: before.get(name).copied(),
            to: after.get(name).copied(),
            runs,
            details: details.unwrap_or_default(),
            live_runs: live.get(name).copied().unwrap_or_default(),
            worst: Change {
                before: worst_before.get(name.as_str()).copied(),
                after: worst_after.get(name.as_str()).copied(),
            },
        }
    });
    let stays = |p: &Planned| p.from == p.to && p.details.is_empty();
    let rules = planned.filter(|p| !stays(p)).collect();
    let worst = Change { before: all(&worst_before), after: all(&worst_after) };
    Ok(Plan { rules, readers: readers(catalog, &changed, message), worst })
}

/// What all rules may hold together.
fn all(worst: &BTreeMap<&str, Worst>) -> Worst {
    worst.values().fold(Worst { bytes: 0, bounded: true }, |all, one| Worst {
        bytes: all.bytes.saturating_add(one.bytes),
        bounded: all.bounded && one.bounded,
    })
}

/// The kinds of what rules read, with their words.
const READ: [(Kind, &str); 3] = [(Kind::List, "list"), (Kind::Table, "table"), (Kind::Model, "model")];

/// Who reads what a change touches: what the message is about, and what is declared otherwise.
fn readers(catalog: &Catalog, changed: &Catalog, message: &Message) -> Vec<Readers> {
    let declared = |catalog: &Catalog| -> BTreeMap<(&'static str, String), String> {
        catalog.declarations().map(|(kind, name, text)| ((kind, name.to_owned()), text.to_owned())).collect()
    };
    let (before, after) = (declared(catalog), declared(changed));
    let names: BTreeSet<&(&'static str, String)> = before.keys().chain(after.keys()).collect();
    let mut readers = Vec::new();
    for (word, name) in names {
        let Some((kind, _)) = READ.into_iter().find(|(_, of)| of == word) else { continue };
        let key = (*word, name.clone());
        if before.get(&key) == after.get(&key) && !(kind == message.kind && *name == message.name) {
            continue;
        }
        let names = |rules: Vec<&str>| rules.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let (then, rules) = (names(catalog.readers(kind, name)), names(changed.readers(kind, name)));
        let no_longer = then.into_iter().filter(|rule| !rules.contains(rule)).collect();
        readers.push(Readers { kind: word, name: name.clone(), rules, no_longer });
    }
    readers
}

/// What becomes of a rule's runs, in words, and of those that hold some event.
pub fn words(outlook: &Outlook) -> (&'static str, Vec<String>) {
    let mut details = Vec::new();
    let what = match &outlook.runs {
        Runs::New => "is new",
        Runs::Removed => "goes, and its runs with it; what waits to be reported is reported",
        Runs::Kept => "means the same: its runs go on",
        Runs::Closes => {
            "has changed: its open windows go on and are judged by the new rule; what was reported is final"
        }
        Runs::Led(steps) => {
            details.extend(steps.iter().filter_map(of_step));
            "has changed: its runs are led through the new pattern, and live on where they fit"
        }
        Runs::Restarted(Reason::Key) => "begins anew: it is counted per something else",
        Runs::Restarted(Reason::Stratum) => "begins anew: it builds on other rules",
        Runs::Restarted(Reason::Time) => "begins anew: it goes by another time",
        Runs::Restarted(Reason::Step) => "begins anew: a step of the same name binds other events",
    };
    (what, details)
}

fn of_step(StepOutlook { step, events }: &StepOutlook) -> Option<String> {
    match events {
        Events::NoStep => Some(format!("`{step}` is no step any more: runs that hold such an event end")),
        Events::NotTold => {
            Some(format!("what is asked of `{step}` now is not known of its events: runs that hold one end"))
        }
        Events::NotKept => {
            Some(format!("a field of `{step}` is read now that was not kept: runs that hold such an event end"))
        }
        Events::Judged(1) => Some(format!("events of `{step}` are judged again by one condition")),
        Events::Judged(n) => Some(format!("events of `{step}` are judged again by {n} conditions")),
        Events::Same => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::control::files::Rules;
    use crate::tables::contents::Contents;

    const RULES: &str = "\
event e { at timestamp  k string  n int }
list watched of string
table top key k { most int }
model near(n int) -> float
rule listed {
  by k
  match e where k in watched
}
rule topped {
  by k
  match e where n > top[k].most and k in watched
}
rule scored {
  by k
  match e where near(n: n) > 0.5
}
rule pair {
  by k
  match a: e{2}
  within 1h
}
";

    fn planned(message: serde_json::Value) -> Plan {
        let catalog = Catalog::new(&Rules::of([("rules.lap", RULES)]), Contents::default());
        let message = serde_json::from_value(message).expect("it is a message");
        plan(&catalog.expect("it compiles"), &message, &BTreeMap::new()).expect("it is taken")
    }

    fn readers(kind: &'static str, name: &str, rules: &[&str], no_longer: &[&str]) -> Readers {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Readers { kind, name: name.to_owned(), rules: names(rules), no_longer: names(no_longer) }
    }

    #[test]
    fn who_reads_what_changes_is_named() {
        let list = planned(json!({"op": "put", "kind": "list", "name": "watched", "add": ["x"]}));
        assert_eq!((list.rules.len(), list.readers), (0, vec![readers("list", "watched", &["listed", "topped"], &[])]));
        assert_eq!(list.worst.before, list.worst.after);
        let table = planned(json!({"op": "put", "kind": "table", "name": "top", "upsert": [{"k": "x", "most": 1}]}));
        assert_eq!(table.readers, [readers("table", "top", &["topped"], &[])]);
        // What is declared otherwise is touched too, and what nothing declares any more.
        let text = RULES.replace("most int", "most int  least int").replace(" and k in watched", "");
        let text = text.replace("model near(n int) -> float\n", "").replace("near(n: n) > 0.5", "n > 5");
        let all =
            planned(json!({"op": "apply", "kind": "rules", "name": "r", "files": [{"path": "r.lap", "text": text}]}));
        let expected = [readers("model", "near", &[], &["scored"]), readers("table", "top", &["topped"], &[])];
        assert_eq!(all.readers, expected);
    }

    #[test]
    fn the_worst_case_is_what_explain_says() {
        let source = "rule pair {\n  by k\n  match a: e{3}\n  within 1h\n  emit { n: last(a).n }\n}";
        let put = planned(json!({"op": "put", "kind": "rule", "name": "pair", "source": source}));
        let [pair] = put.rules.as_slice() else { panic!("one rule changes: {:?}", put.rules) };
        let (before, after) = (pair.worst.before.expect("it is live"), pair.worst.after.expect("it stays live"));
        assert!(before.bounded && after.bounded && after.bytes > before.bytes, "{pair:?}");
        assert_eq!(put.worst.after.bytes - put.worst.before.bytes, after.bytes - before.bytes);
        let retired = planned(json!({"op": "stage", "kind": "rule", "name": "pair", "stage": "retired"}));
        assert_eq!(retired.rules[0].worst.after, None);
        assert_eq!(retired.worst.before.bytes - retired.worst.after.bytes, before.bytes);
        // The numbers are those that `explain` says.
        let catalog = Catalog::new(&Rules::of([("rules.lap", RULES)]), Contents::default());
        let set = catalog.expect("it compiles").rule_set();
        let caps = lapwing_engine::limits::Limits::default().explained();
        let program = &set.rules.iter().find(|rule| rule.program.rule.name == "pair").expect("it is there").program;
        let said = lapwing_dsl::explain::explain(program, &set.schema, &caps, &|_| None).state;
        let number = |line: &str| line.rsplit(' ').find_map(|word| word.parse::<u64>().ok()).expect("a number");
        assert_eq!(said.iter().map(|line| number(line)).sum::<u64>(), before.bytes, "{said:?}");
    }
}
