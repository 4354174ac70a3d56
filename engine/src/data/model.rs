//! Models: what scores rows of inputs, and which versions of it a rule set has.
//!
//! What a model is made of is the service's: the engine hands typed rows in and takes numbers out. It relies on one promise, that equal rows give
//! equal scores, whatever stands beside them and whoever asks. So a score may be looked up instead of being asked for again.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use lapwing_dsl::value::Value;
use smallvec::SmallVec;

use crate::planted::{Bug, bug};

/// The inputs of one call, in the order of the declaration; none is missing.
pub type Row<'v> = SmallVec<[Value<'v>; 8]>;

/// The most rows that a model is asked at once.
pub const ROWS_MAX: usize = 256;

/// What scores rows.
pub trait Model: Debug + Send + Sync {
    /// A score for each row; none where it fails. Equal rows give equal scores.
    fn score(&self, rows: &[Row<'_>]) -> Vec<Option<f64>>;

    /// Lets go of what is needed only while it is asked: for some time it will not be.
    fn rest(&self) {}
}

/// A version of a model.
#[derive(Debug)]
pub struct Version {
    /// Its number.
    pub number: u32,
    /// Tells it from all others: versions of equal digests give equal scores.
    pub digest: u64,
    model: Arc<dyn Model>,
    recent: Mutex<Recent>,
}

/// The last few rows asked one by one, with their scores: `where`, `emit` and `message` ask for the same.
#[derive(Debug, Default)]
struct Recent {
    rows: [Option<(Row<'static>, Option<f64>)>; RECENT],
    next: usize,
}

const RECENT: usize = 4;

impl Version {
    /// A version that scores by a model.
    pub fn new(number: u32, digest: u64, model: Arc<dyn Model>) -> Version {
        Version { number, digest, model, recent: Mutex::default() }
    }

    /// What scores.
    pub fn model(&self) -> &Arc<dyn Model> {
        &self.model
    }

    /// The score of one row; none where the model fails.
    pub fn score(&self, row: &Row<'_>) -> Option<f64> {
        // Another thread that is at it may keep it: the score is the same without.
        if let Ok(recent) = self.recent.try_lock()
            && let Some((_, score)) = recent.rows.iter().flatten().find(|(known, _)| same(known, row))
        {
            return *score;
        }
        let score = finite(self.model.score(std::slice::from_ref(row)).pop().flatten());
        if let Ok(mut recent) = self.recent.try_lock() {
            let next = recent.next;
            recent.rows[next] = Some((row.iter().map(|v| v.clone().into_static()).collect(), score));
            recent.next = (next + 1) % RECENT;
        }
        score
    }

    /// The scores of rows, at most [`ROWS_MAX`] at once.
    pub fn score_all(&self, rows: &[Row<'_>]) -> Vec<Option<f64>> {
        let mut scores = Vec::with_capacity(rows.len());
        for rows in rows.chunks(ROWS_MAX) {
            scores.extend(self.model.score(rows).into_iter().map(finite));
        }
        scores
    }
}

/// What is no number is no score.
fn finite(score: Option<f64>) -> Option<f64> {
    score.filter(|s| s.is_finite())
}

/// Whether two rows are one to a model: floats to the last bit.
pub fn same(a: &[Value<'_>], b: &[Value<'_>]) -> bool {
    let equal = |(a, b): (&Value<'_>, &Value<'_>)| match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (a, b) => a == b,
    };
    a.len() == b.len() && a.iter().zip(b).all(equal)
}

/// The versions of a declared model that a rule set asks.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    /// Answers rules; none while nobody has put one: scores are missing.
    pub live: Option<Arc<Version>>,
    /// Score beside it, for alerts to tell, ascending.
    pub shadow: Vec<Arc<Version>>,
}

/// What a model answered, as an alert names it.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// The model's name.
    pub model: String,
    /// The version that was live.
    pub version: u32,
    /// Its answer.
    pub score: f64,
    /// Versions in shadow, ascending, with theirs.
    pub shadow: Vec<(u32, f64)>,
}

impl Score {
    /// Puts scores in their order, each once: by model, version, score, and what was said in shadow.
    pub fn sort(scores: &mut Vec<Score>) {
        scores.sort_by(|a, b| {
            let shadow = |s: &Score| s.shadow.iter().map(|(v, s)| (*v, ordered(*s))).collect::<Vec<_>>();
            (&a.model, a.version, ordered(a.score), shadow(a)).cmp(&(&b.model, b.version, ordered(b.score), shadow(b)))
        });
        if !bug(Bug::ScoreTwice) {
            scores.dedup();
        }
    }

    /// Scores as one value, to be kept with a bound event.
    pub fn pack(scores: &[Score]) -> Value<'static> {
        let mut parts = Vec::new();
        for s in scores {
            parts.extend([Value::text(s.model.clone()), Value::Int(s.version.into()), Value::Float(s.score)]);
            parts.push(Value::Int(s.shadow.len() as i64));
            parts.extend(s.shadow.iter().flat_map(|(v, s)| [Value::Int((*v).into()), Value::Float(*s)]));
        }
        if parts.is_empty() { Value::Missing } else { Value::List(parts.into()) }
    }

    /// Reads what [`Score::pack`] made.
    pub fn unpack(value: &Value<'_>) -> Vec<Score> {
        let Value::List(parts) = value else { return Vec::new() };
        let mut parts = parts.iter();
        let mut scores = Vec::new();
        while let Some((model, mut score)) = one(&mut parts) {
            let Some(Value::Int(shadows)) = parts.next() else { break };
            for _ in 0..*shadows {
                score.shadow.extend(number(&mut parts));
            }
            scores.push(Score { model, ..score });
        }
        scores
    }
}

fn one<'v>(parts: &mut impl Iterator<Item = &'v Value<'v>>) -> Option<(String, Score)> {
    let Some(Value::Text(model)) = parts.next() else { return None };
    let (version, score) = number(parts)?;
    Some((model.to_string(), Score { model: String::new(), version, score, shadow: Vec::new() }))
}

/// A version and its score.
fn number<'v>(parts: &mut impl Iterator<Item = &'v Value<'v>>) -> Option<(u32, f64)> {
    match (parts.next()?, parts.next()?) {
        (Value::Int(version), Value::Float(score)) => Some((u32::try_from(*version).ok()?, *score)),
        _ => None,
    }
}

/// A float in the order of all floats.
fn ordered(v: f64) -> i64 {
    let bits = v.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Half;

    impl Model for Half {
        fn score(&self, rows: &[Row<'_>]) -> Vec<Option<f64>> {
            rows.iter().map(|row| if let Value::Float(v) = row[0] { Some(v / 2.0) } else { None }).collect()
        }
    }

    fn row(value: Value<'_>) -> Row<'_> {
        SmallVec::from_iter([value])
    }

    #[test]
    fn what_is_no_number_is_no_score() {
        let version = Version::new(1, 1, Arc::new(Half));
        for _ in 0..2 {
            assert_eq!(version.score(&row(Value::Float(3.0))), Some(1.5));
            assert_eq!(version.score(&row(Value::Float(f64::NAN))), None);
            assert_eq!(version.score(&row(Value::text("a"))), None);
        }
        let rows: Vec<Row<'_>> = (0..600).map(|i| row(Value::Float(f64::from(i)))).collect();
        let all = version.score_all(&rows);
        assert_eq!((all.len(), all[599]), (600, Some(299.5)));
    }

    #[test]
    fn what_is_packed_is_unpacked_and_each_stands_once() {
        let score =
            |model: &str, version, score| Score { model: model.to_owned(), version, score, shadow: vec![(7, 0.25)] };
        let mut scores = vec![score("b", 1, 0.5), score("a", 2, -1.0), score("a", 2, -2.0), score("b", 1, 0.5)];
        Score::sort(&mut scores);
        let expected = vec![score("a", 2, -2.0), score("a", 2, -1.0), score("b", 1, 0.5)];
        assert_eq!(scores, expected);
        assert_eq!(Score::unpack(&Score::pack(&scores)), expected);
        assert_eq!(Score::unpack(&Score::pack(&[])), []);
    }
}
