//! What is carried along for readers of a window: the stretch of entries that the last reader saw, and what those are worth.
//!
//! A reader moves the ends of the stretch to what it sees itself, entry by entry. All that is carried can take an entry in and out again
//! without a trace, so that it says nothing of how it came about.

use std::cmp::Ordering;

use lapwing_dsl::functions::Outcome;
use lapwing_dsl::ir::Aggregate;
use lapwing_dsl::value::{Type, Value};

use super::column::Column;
use super::extreme::Extreme;
use crate::aggregate::deviation;
use crate::exact::{Moments, Sum, float};

/// What is carried along.
#[derive(Clone, Debug)]
pub struct Running {
    /// The stretch: indexes of entries, counted from the first that ever was.
    pub lo: u64,
    pub hi: u64,
    /// Entries with a value in the stretch.
    present: usize,
    carried: Carried,
}

#[derive(Clone, Debug)]
enum Carried {
    /// The ends of the stretch say it all.
    Nothing,
    Sum(Option<Sum>),
    Moments(Moments),
    /// For each number of a value how many entries in the stretch have it, and how many of these are not 0.
    Distinct(Vec<u32>, usize),
    /// Has a stretch of its own.
    Extreme(Extreme),
}

impl Running {
    /// Over nothing.
    pub fn new(aggregate: Aggregate) -> Running {
        let carried = match aggregate {
            Aggregate::Sum | Aggregate::Avg => Carried::Sum(None),
            Aggregate::Stddev => Carried::Moments(Moments::default()),
            Aggregate::Distinct => Carried::Distinct(Vec::new(), 0),
            Aggregate::Min => Carried::Extreme(Extreme::new(Ordering::Less)),
            Aggregate::Max => Carried::Extreme(Extreme::new(Ordering::Greater)),
            Aggregate::Count | Aggregate::First | Aggregate::Last | Aggregate::List => Carried::Nothing,
        };
        Running { lo: 0, hi: 0, present: 0, carried }
    }

    /// What the entries from `lo` to before `hi` are worth; `first` is the index of the column's first.
    pub fn read(
        &mut self,
        aggregate: Aggregate,
        ty: &Type,
        (lo, hi): (u64, u64),
        first: u64,
        column: &Column,
    ) -> Outcome {
        self.settle(lo, hi, first, column);
        let n = self.present;
        Ok(match (&mut self.carried, aggregate) {
            (Carried::Sum(sum), Aggregate::Sum) => match sum {
                Some(sum) => return sum.value(ty),
                None => return crate::aggregate::sum(&[], ty),
            },
            (Carried::Sum(Some(sum)), _) if n > 0 => return sum.average(n, ty),
            (Carried::Moments(moments), _) if n > 1 => return deviation(moments, n, ty),
            (Carried::Distinct(_, different), _) => Value::Int(*different as i64),
            (Carried::Extreme(extreme), _) => {
                let found = extreme.of(lo, hi, first, column);
                found.map_or(Value::Missing, |i| column.value((i - first) as usize).into_static())
            }
            (Carried::Nothing, Aggregate::Count) => Value::Int((hi - lo) as i64),
            _ => Value::Missing,
        })
    }

    /// Moves the ends of the stretch.
    fn settle(&mut self, lo: u64, hi: u64, first: u64, column: &Column) {
        if matches!(self.carried, Carried::Nothing | Carried::Extreme(_)) {
            (self.lo, self.hi) = (lo, hi);
            return;
        }
        // What has nothing in common with the stretch is begun anew where that is less to do.
        if (lo >= self.hi || hi <= self.lo) && self.lo < self.hi {
            while self.lo < self.hi {
                self.pass(self.lo, -1, first, column);
                self.lo += 1;
            }
        }
        if self.lo == self.hi {
            (self.lo, self.hi) = (lo, lo);
        }
        while self.hi < hi {
            self.pass(self.hi, 1, first, column);
            self.hi += 1;
        }
        while self.lo > lo {
            self.lo -= 1;
            self.pass(self.lo, 1, first, column);
        }
        while self.lo < lo {
            self.pass(self.lo, -1, first, column);
            self.lo += 1;
        }
        while self.hi > hi {
            self.hi -= 1;
            self.pass(self.hi, -1, first, column);
        }
    }

    /// Takes an entry in, or with −1 out.
    #[inline]
    fn pass(&mut self, i: u64, times: i64, first: u64, column: &Column) {
        let i = (i - first) as usize;
        if let Carried::Distinct(inside, different) = &mut self.carried {
            let Some(id) = column.id(i).map(|id| id as usize) else { return };
            if inside.len() <= id {
                if inside.capacity() <= id {
                    inside.reserve_exact((id + 1).max(inside.len() + inside.len() / 4) - inside.len());
                }
                inside.resize(id + 1, 0);
            }
            let before = inside[id];
            inside[id] = before.wrapping_add_signed(times as i32);
            *different = *different + usize::from(before == 0) - usize::from(inside[id] == 0);
            return;
        }
        let value = column.value(i);
        if value.is_missing() {
            return;
        }
        self.present = self.present.wrapping_add_signed(times as isize);
        match &mut self.carried {
            Carried::Sum(sum) => sum.get_or_insert_with(|| Sum::of(&value)).add(&value, times),
            Carried::Moments(moments) => moments.add(float(&value), times),
            Carried::Nothing | Carried::Distinct(..) | Carried::Extreme(_) => {}
        }
    }

    /// An entry has come in front of the one of this index.
    pub fn inserted(&mut self, at: u64, first: u64, column: &Column) {
        if let Carried::Extreme(extreme) = &mut self.carried {
            extreme.inserted(at, first, column);
        }
        if at < self.lo || (at == self.lo && self.lo < self.hi) {
            self.lo += 1;
            self.hi += 1;
        } else if at < self.hi {
            self.hi += 1;
            if !matches!(self.carried, Carried::Nothing | Carried::Extreme(_)) {
                self.pass(at, 1, first, column);
            }
        }
    }

    /// The first entry is about to go.
    pub fn dropping(&mut self, first: u64, column: &Column) {
        if self.lo == first && self.lo < self.hi {
            if !matches!(self.carried, Carried::Nothing | Carried::Extreme(_)) {
                self.pass(first, -1, first, column);
            }
            self.lo += 1;
        }
    }

    /// The entries before the one of this index have gone.
    pub fn dropped(&mut self, first: u64) {
        self.lo = self.lo.max(first);
        self.hi = self.hi.max(first);
        if let Carried::Extreme(extreme) = &mut self.carried {
            extreme.dropped(first);
        }
    }
}
