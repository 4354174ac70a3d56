//! Models are asked in batches: first it is found out what rules will ask of a stretch of events, then all of it is asked at once, then the rules
//! are evaluated. What was asked stands with the events; a rule that asks something else asks for itself.

use std::cell::RefCell;
use std::sync::Arc;

use lapwing_dsl::functions::EvalError;
use lapwing_dsl::ir::{Expr, ModelRef};
use lapwing_dsl::value::Value;

use crate::batch::Row as EventRow;
use crate::data::model::{Row, Score, Version, same};
use crate::eval::Scope;

/// Whoever wants to know what models are asked while expressions are evaluated.
#[derive(Clone, Copy, Debug)]
pub enum Asking<'a> {
    /// What is not known yet is written down, and missing for now.
    First(&'a RefCell<Asked>),
    /// What models answered is written down.
    Used(&'a RefCell<Vec<Score>>),
}

impl<'a> Scope<'a> {
    /// What the live version of a model answers; missing where an input is, and where it fails.
    #[inline(never)]
    pub(crate) fn score(&self, inputs: &'a [Expr], model: &ModelRef) -> Value<'a> {
        let versions = &self.data.models[model.id.0 as usize];
        let Some(live) = &versions.live else { return Value::Missing };
        let row: Row<'a> = inputs.iter().map(|input| self.value(input)).collect();
        if row.iter().any(Value::is_missing) {
            return Value::Missing;
        }
        let known = self.event.and_then(|event| event.batch.scores.find(event.row, live, &row));
        let score = match (known, self.asking, self.event) {
            (Some(score), ..) => score,
            (None, Some(Asking::First(asked)), Some(event)) => {
                asked.borrow_mut().add(event.row, live, row);
                return Value::Missing;
            }
            _ => live.score(&row),
        };
        if let (Some(score), Some(Asking::Used(used))) = (score, self.asking) {
            let shadow = versions.shadow.iter().filter_map(|v| Some((v.number, v.score(&row)?))).collect();
            used.borrow_mut().push(Score { model: model.name.clone(), version: live.number, score, shadow });
        }
        match score {
            Some(score) => Value::Float(score),
            None => self.fault(Err(EvalError::BadCast)),
        }
    }
}

/// An event of a batch: its type and its row among those of its type.
type Place = (u16, u32);

fn place(row: &EventRow) -> Place {
    (row.event.0, row.index)
}

/// Rows to be scored.
#[derive(Debug, Default)]
pub struct Asked {
    all: Vec<(Place, Arc<Version>, Row<'static>)>,
}

impl Asked {
    /// Writes down what is asked of a version for an event.
    pub fn add(&mut self, event: &EventRow, version: &Arc<Version>, row: Row<'_>) {
        let here = place(event);
        let own = self.all.iter().rev().take_while(|(place, ..)| *place == here);
        if !own.into_iter().any(|(_, v, r)| v.digest == version.digest && same(r, &row)) {
            self.all.push((here, version.clone(), row.into_iter().map(Value::into_static).collect()));
        }
    }

    /// How many rows are to be scored.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether nothing is to be scored.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Scores all of it, those of one version at once.
    pub fn answer(mut self, scores: &mut Scores) {
        // The sort is stable, so that the rows of a version stand in the order in which they were asked.
        self.all.sort_by_key(|(_, version, _)| version.digest);
        let mut rest = self.all.into_iter().peekable();
        while let Some((first, version, row)) = rest.next() {
            let (mut places, mut rows) = (vec![first], vec![row]);
            while let Some((place, _, row)) = rest.next_if(|(_, v, _)| v.digest == version.digest) {
                places.push(place);
                rows.push(row);
            }
            let answers = version.score_all(&rows);
            let known = places.into_iter().zip(rows).zip(answers);
            scores.known.extend(known.map(|((place, row), score)| Known { place, digest: version.digest, row, score }));
        }
        scores.known.sort_by_key(|k| k.place);
    }
}

/// What models answered of the events of a batch.
#[derive(Clone, Debug, Default)]
pub struct Scores {
    /// Ascending by event.
    known: Vec<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    place: Place,
    digest: u64,
    row: Row<'static>,
    /// None where the model failed.
    score: Option<f64>,
}

impl Scores {
    /// What a version answered to a row for an event; none where it was not asked.
    pub fn find(&self, event: &EventRow, version: &Version, row: &[Value<'_>]) -> Option<Option<f64>> {
        let here = place(event);
        let from = self.known.partition_point(|k| k.place < here);
        let own = self.known[from..].iter().take_while(|k| k.place == here);
        own.into_iter().find(|k| k.digest == version.digest && same(&k.row, row)).map(|k| k.score)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.known.clear();
    }
}
