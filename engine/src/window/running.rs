//! What is carried along for readers of a window: the stretch of entries that the last reader saw, and what those are worth.
//!
//! A reader moves the ends of the stretch to what it sees itself, entry by entry. All that is carried can take an entry in and out again
//! without a trace, so that it says nothing of how it came about.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeSet;

use lapwing_dsl::functions::Outcome;
use lapwing_dsl::ir::Aggregate;
use lapwing_dsl::value::{Type, Value};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::column::Column;
use super::extreme::Extreme;
use super::sorted::Sorted;
use crate::aggregate::deviation;
use crate::exact::{Digits, Moments, Sum, cross, finite, float, int};

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
    /// Only how many have a value.
    Present,
    Sum(Option<Sum>),
    Moments(Moments),
    /// For each number of a value how many entries in the stretch have it, and how many of these are not 0.
    Distinct(Vec<u32>, usize),
    /// Has a stretch of its own.
    Extreme(Extreme),
    /// As [`Carried::Distinct`], and the values with how many entries have them, the most frequent first.
    Topk(Vec<u32>, BTreeSet<(Reverse<u32>, Box<[u8]>)>),
    /// Whole numbers and floats in the order that [`ordered`] gives them.
    Ranks(Sorted<i64>),
    /// Decimals, as short as they can be written.
    DecimalRanks(Sorted<Decimal>),
    Corr(Box<Corr>),
}

/// The sums that a correlation needs.
#[derive(Clone, Debug, Default)]
struct Corr {
    x: Digits,
    y: Digits,
    xx: Digits,
    yy: Digits,
    xy: Digits,
}

impl Corr {
    fn add(&mut self, [x, y]: [f64; 2], times: i64) {
        self.x.add(x, times);
        self.y.add(y, times);
        self.xx.add_product(x, x, times);
        self.yy.add_product(y, y, times);
        self.xy.add_product(x, y, times);
    }

    /// Pearson's, of the sample; none where one of the two does not vary. Covariance and variances are each rounded once.
    fn value(&self, n: usize) -> Outcome {
        let n = n as u64;
        let x = cross(n, &self.xx, &self.x, &self.x, 1).sqrt();
        let y = cross(n, &self.yy, &self.y, &self.y, 1).sqrt();
        if x == 0.0 || y == 0.0 {
            return Ok(Value::Missing);
        }
        finite((cross(n, &self.xy, &self.x, &self.y, 1) / (x * y)).clamp(-1.0, 1.0))
    }
}

impl Running {
    /// Over nothing.
    pub fn new(aggregate: Aggregate, types: &[&Type]) -> Running {
        let carried = match aggregate {
            Aggregate::Sum | Aggregate::Avg => Carried::Sum(None),
            Aggregate::Stddev => Carried::Moments(Moments::default()),
            Aggregate::Distinct | Aggregate::ApproxDistinct => Carried::Distinct(Vec::new(), 0),
            Aggregate::Topk(_) => Carried::Topk(Vec::new(), BTreeSet::new()),
            Aggregate::Quantile(_) if types == [&Type::Decimal] => Carried::DecimalRanks(Sorted::new()),
            Aggregate::Quantile(_) => Carried::Ranks(Sorted::new()),
            Aggregate::Corr => Carried::Corr(Box::default()),
            Aggregate::Count if !types.is_empty() => Carried::Present,
            Aggregate::Min => Carried::Extreme(Extreme::new(Ordering::Less)),
            Aggregate::Max => Carried::Extreme(Extreme::new(Ordering::Greater)),
            Aggregate::Count | Aggregate::First | Aggregate::Last | Aggregate::List => Carried::Nothing,
            Aggregate::ListOf(_) | Aggregate::Ema(_) | Aggregate::Rate => Carried::Nothing,
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
            (Carried::Topk(_, order), Aggregate::Topk(k)) => topk(order, k, ty),
            (Carried::Ranks(sorted), Aggregate::Quantile(q)) => {
                sorted.get(rank(q, n)).map_or(Value::Missing, |v| unordered(v, ty))
            }
            (Carried::DecimalRanks(sorted), Aggregate::Quantile(q)) => {
                sorted.get(rank(q, n)).map_or(Value::Missing, Value::Decimal)
            }
            (Carried::Corr(corr), _) if n > 1 => return corr.value(n),
            (Carried::Present, _) => Value::Int(n as i64),
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
        match &mut self.carried {
            Carried::Distinct(inside, different) => {
                let Some(id) = column.id(i) else { return };
                let (before, now) = pass_id(inside, id, times);
                *different = *different + usize::from(before == 0) - usize::from(now == 0);
                return;
            }
            Carried::Topk(inside, order) => {
                let Some(id) = column.id(i) else { return };
                let (before, now) = pass_id(inside, id, times);
                let mut place = (Reverse(before), Box::from(column.bytes(id)));
                if before > 0 {
                    order.remove(&place);
                }
                if now > 0 {
                    place.0 = Reverse(now);
                    order.insert(place);
                }
                return;
            }
            Carried::Corr(corr) => {
                let Column::Pair(pairs) = column else { return };
                if !pairs[i][0].is_nan() {
                    corr.add(pairs[i], times);
                    self.present = self.present.wrapping_add_signed(times as isize);
                }
                return;
            }
            _ => {}
        }
        let value = column.value(i);
        if value.is_missing() {
            return;
        }
        self.present = self.present.wrapping_add_signed(times as isize);
        match &mut self.carried {
            Carried::Sum(sum) => sum.get_or_insert_with(|| Sum::of(&value)).add(&value, times),
            Carried::Moments(moments) => moments.add(float(&value), times),
            Carried::Ranks(sorted) if times > 0 => sorted.add(ordered(&value)),
            Carried::Ranks(sorted) => sorted.remove(&ordered(&value)),
            Carried::DecimalRanks(sorted) => {
                let Value::Decimal(v) = value else { return };
                if times > 0 { sorted.add(v.normalize()) } else { sorted.remove(&v.normalize()) }
            }
            _ => {}
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

/// One entry more or less has the value of a number; gives how many had it before, and now.
#[inline]
fn pass_id(inside: &mut Vec<u32>, id: u32, times: i64) -> (u32, u32) {
    let id = id as usize;
    if inside.len() <= id {
        if inside.capacity() <= id {
            inside.reserve_exact((id + 1).max(inside.len() + inside.len() / 4) - inside.len());
        }
        inside.resize(id + 1, 0);
    }
    let before = inside[id];
    inside[id] = before.wrapping_add_signed(times as i32);
    (before, inside[id])
}

fn topk(order: &BTreeSet<(Reverse<u32>, Box<[u8]>)>, k: u32, ty: &Type) -> Value<'static> {
    let Type::List(of) = ty else { return Value::Missing };
    let decoded =
        |(_, bytes): &(Reverse<u32>, Box<[u8]>)| crate::key::decode(bytes, std::slice::from_ref(of)).remove(0);
    Value::List(order.iter().take(k as usize).map(decoded).collect::<Vec<_>>().into())
}

/// Of `n` values in order, how many stand before the first that at least the part `q` of all is no greater than.
fn rank(q: Decimal, n: usize) -> usize {
    (q * Decimal::from(n)).ceil().to_usize().unwrap_or(n).saturating_sub(1)
}

/// A number that orders as the value does.
fn ordered(value: &Value<'_>) -> i64 {
    match value {
        Value::Float(v) => {
            // Both zeros are one. The bits of a negative float order the wrong way round.
            let bits = (if *v == 0.0 { 0.0 } else { *v }).to_bits() as i64;
            bits ^ ((bits >> 63) as u64 >> 1) as i64
        }
        other => int(other),
    }
}

/// The value that [`ordered`] made a number of.
fn unordered(v: i64, ty: &Type) -> Value<'static> {
    match ty {
        Type::Float => Value::Float(f64::from_bits((v ^ ((v >> 63) as u64 >> 1) as i64) as u64)),
        Type::Duration => Value::Duration(v),
        Type::Timestamp => Value::Timestamp(v),
        _ => Value::Int(v),
    }
}
