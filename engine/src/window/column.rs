//! The values of a window's entries, each in as few bytes as its type needs.

use std::collections::VecDeque;

use lapwing_dsl::ir::Aggregate;
use lapwing_dsl::value::{Type, Value};
use rust_decimal::Decimal;

use super::family::Raw;
use super::interned::Interned;
use crate::exact::{float, int};
use crate::slot::KeyHasher;
use crate::store::codec::{Corrupt, Reader, Writer};

/// The number that stands for a missing value among numbers of values.
pub const NO_VALUE: u32 = u32::MAX;

/// The values, in the order of the entries.
#[derive(Clone, Debug)]
pub enum Column {
    /// Entries have no values.
    None,
    /// Whole numbers, and what they are.
    Whole(fn(i64) -> Value<'static>, VecDeque<i64>),
    /// Floats.
    Float(VecDeque<f64>),
    /// Decimals.
    Decimal(VecDeque<Decimal>),
    /// Two floats each; of a missing pair the first is not a number.
    Pair(VecDeque<[f64; 2]>),
    /// What no other column holds; also missing values.
    Any(VecDeque<Value<'static>>),
    /// Numbers of values of which only it matters which are equal, and of those that are small ...
    Small(VecDeque<u32>, Interned<i64>),
    /// ... and of all others.
    Bytes(VecDeque<u32>, Interned<Box<[u8]>>),
}

/// Does the same to the values of every column.
macro_rules! each {
    ($column:expr, $values:ident => $do:expr, none => $none:expr) => {
        match $column {
            Column::None => $none,
            Column::Whole(_, $values) => $do,
            Column::Float($values) => $do,
            Column::Decimal($values) => $do,
            Column::Pair($values) => $do,
            Column::Any($values) => $do,
            Column::Small($values, _) | Column::Bytes($values, _) => $do,
        }
    };
}

impl Column {
    /// For an aggregate of a value of this type; `sparse` where entries without one are kept too.
    pub fn new(aggregate: Aggregate, types: &[&Type], sparse: bool, hasher: KeyHasher) -> Column {
        let small = |ty: &Type| matches!(ty, Type::Bool | Type::Int | Type::Float | Type::Timestamp | Type::Duration);
        match (aggregate, types) {
            (_, []) => Column::None,
            (Aggregate::Count, _) if !sparse => Column::None,
            (Aggregate::Corr, _) => Column::Pair(VecDeque::new()),
            (Aggregate::ApproxDistinct, _) => Column::Small(VecDeque::new(), Interned::new(hasher)),
            (Aggregate::Topk(_), _) => Column::Bytes(VecDeque::new(), Interned::new(hasher)),
            (Aggregate::Distinct, [ty]) if small(ty) => Column::Small(VecDeque::new(), Interned::new(hasher)),
            (Aggregate::Distinct, _) => Column::Bytes(VecDeque::new(), Interned::new(hasher)),
            (_, [Type::Int]) if !sparse => Column::Whole(Value::Int, VecDeque::new()),
            (_, [Type::Duration]) if !sparse => Column::Whole(Value::Duration, VecDeque::new()),
            (_, [Type::Timestamp]) if !sparse => Column::Whole(Value::Timestamp, VecDeque::new()),
            (_, [Type::Float]) if !sparse => Column::Float(VecDeque::new()),
            (_, [Type::Decimal]) if !sparse => Column::Decimal(VecDeque::new()),
            _ => Column::Any(VecDeque::new()),
        }
    }

    /// Puts a value of the column's type in front of the entry of this index.
    pub fn insert(&mut self, place: usize, value: Value<'static>) {
        match self {
            Column::None => {}
            Column::Whole(_, values) => insert(values, place, int(&value)),
            Column::Float(values) => insert(values, place, float(&value)),
            Column::Decimal(values) => {
                let Value::Decimal(v) = value else { unreachable!("the check gives the column's type") };
                insert(values, place, v);
            }
            Column::Pair(values) => {
                let pair = match &value {
                    Value::List(pair) => [float(&pair[0]), float(&pair[1])],
                    _ => [f64::NAN; 2],
                };
                insert(values, place, pair);
            }
            Column::Any(values) => insert(values, place, value),
            Column::Small(ids, kept) => {
                let id = small(&value).map_or(NO_VALUE, |v| kept.add(v));
                insert(ids, place, id);
            }
            Column::Bytes(ids, kept) => {
                let id = if value.is_missing() { NO_VALUE } else { kept.add(super::value_key(&value)) };
                insert(ids, place, id);
            }
        }
    }

    /// Drops the first value.
    pub fn pop_front(&mut self) {
        match self {
            Column::Small(ids, kept) => {
                ids.pop_front().filter(|id| *id != NO_VALUE).into_iter().for_each(|id| kept.release(id));
            }
            Column::Bytes(ids, kept) => {
                ids.pop_front().filter(|id| *id != NO_VALUE).into_iter().for_each(|id| kept.release(id));
            }
            other => each!(other, values => drop(values.pop_front()), none => {}),
        }
    }

    /// Gives memory back once a burst has left the window.
    pub fn shrink(&mut self) {
        each!(self, values => shrink(values), none => {});
    }

    /// The value of an entry; missing where the column keeps no values, or numbers of them.
    #[inline]
    pub fn value(&self, i: usize) -> Value<'_> {
        match self {
            Column::None | Column::Pair(_) | Column::Small(..) | Column::Bytes(..) => Value::Missing,
            Column::Whole(unit, values) => unit(values[i]),
            Column::Float(values) => Value::Float(values[i]),
            Column::Decimal(values) => Value::Decimal(values[i]),
            Column::Any(values) => values[i].borrow(),
        }
    }

    /// The number of an entry's value; none where it is missing.
    #[inline]
    pub fn id(&self, i: usize) -> Option<u32> {
        match self {
            Column::Small(ids, _) | Column::Bytes(ids, _) => Some(ids[i]).filter(|id| *id != NO_VALUE),
            _ => None,
        }
    }

    /// The bytes of the value of a number.
    pub fn bytes(&self, id: u32) -> &[u8] {
        match self {
            Column::Bytes(_, kept) => kept.get(id),
            _ => &[],
        }
    }

    /// The value of an entry, in a form that windows which count the same events can share.
    pub fn raw(&self, i: usize) -> Raw {
        match self {
            Column::None | Column::Pair(_) => Raw::Missing,
            Column::Small(_, kept) => self.id(i).map_or(Raw::Missing, |id| Raw::Whole(*kept.get(id))),
            Column::Bytes(_, kept) => self.id(i).map_or(Raw::Missing, |id| Raw::Key(kept.get(id).clone())),
            Column::Whole(_, values) => Raw::Whole(values[i]),
            Column::Float(values) => Raw::Float(values[i]),
            Column::Decimal(values) => Raw::Decimal(values[i]),
            Column::Any(_) => Raw::Missing,
        }
    }

    /// Writes the values. Equal values give equal bytes: those that are kept once are written in the order of their first entries.
    pub fn save(&self, w: &mut Writer) {
        match self {
            Column::None => {}
            Column::Whole(_, values) => values.iter().for_each(|v| w.i64(*v)),
            Column::Float(values) => values.iter().for_each(|v| w.value(&Value::Float(*v))),
            Column::Decimal(values) => values.iter().for_each(|v| w.value(&Value::Decimal(*v))),
            Column::Pair(values) => values.iter().flatten().for_each(|v| w.value(&Value::Float(*v))),
            Column::Any(values) => values.iter().for_each(|v| w.value(v)),
            Column::Small(ids, kept) => save_ids(w, ids.iter().copied(), |w, id| w.i64(*kept.get(id))),
            Column::Bytes(ids, kept) => save_ids(w, ids.iter().copied(), |w, id| w.slice(kept.get(id))),
        }
    }

    /// Reads so many values.
    pub fn load(&mut self, r: &mut Reader<'_>, entries: usize) -> Result<(), Corrupt> {
        let wrong = Corrupt("a window holds a value that its kind does not");
        match self {
            Column::None => {}
            Column::Whole(_, values) => {
                for _ in 0..entries {
                    values.push_back(r.i64()?);
                }
            }
            Column::Float(values) => {
                for _ in 0..entries {
                    let Value::Float(v) = r.value()? else { return Err(wrong) };
                    values.push_back(v);
                }
            }
            Column::Decimal(values) => {
                for _ in 0..entries {
                    let Value::Decimal(v) = r.value()? else { return Err(wrong) };
                    values.push_back(v);
                }
            }
            Column::Pair(values) => {
                for _ in 0..entries {
                    let (Value::Float(x), Value::Float(y)) = (r.value()?, r.value()?) else { return Err(wrong) };
                    values.push_back([x, y]);
                }
            }
            Column::Any(values) => {
                for _ in 0..entries {
                    values.push_back(r.value()?);
                }
            }
            Column::Small(ids, kept) => load_ids(r, entries, ids, |r| r.i64(), |v| kept.add(v))?,
            Column::Bytes(ids, kept) => load_ids(r, entries, ids, |r| r.slice().map(Into::into), |v| kept.add(v))?,
        }
        Ok(())
    }
}

/// A value of which equal ones give equal numbers, as a number.
fn small(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Bool(v) => Some((*v).into()),
        Value::Int(v) | Value::Timestamp(v) | Value::Duration(v) => Some(*v),
        // Both zeros are one.
        Value::Float(v) => Some((if *v == 0.0 { 0.0 } else { *v }).to_bits() as i64),
        _ => None,
    }
}

/// Each value before the first entry that has it: 0 and the value, else the number of the value from 2 on; 1 is a missing one.
pub fn save_ids(w: &mut Writer, ids: impl Iterator<Item = u32> + Clone, mut value: impl FnMut(&mut Writer, u32)) {
    let most = ids.clone().filter(|id| *id != NO_VALUE).max().map_or(0, |id| id as usize + 1);
    let (mut numbers, mut next) = (vec![0u64; most], 2);
    for id in ids {
        match numbers.get_mut(id as usize) {
            None => w.u64(1),
            Some(0) => {
                numbers[id as usize] = next;
                next += 1;
                w.u64(0);
                value(w, id);
            }
            Some(number) => w.u64(*number),
        }
    }
}

fn load_ids<T: Clone>(
    r: &mut Reader<'_>,
    entries: usize,
    ids: &mut VecDeque<u32>,
    value: impl Fn(&mut Reader<'_>) -> Result<T, Corrupt>,
    mut add: impl FnMut(T) -> u32,
) -> Result<(), Corrupt> {
    let mut known: Vec<T> = Vec::new();
    for _ in 0..entries {
        let id = match r.u64()? {
            1 => NO_VALUE,
            0 => {
                known.push(value(r)?);
                add(known[known.len() - 1].clone())
            }
            n => add(known.get(n as usize - 2).ok_or(Corrupt("a value that is not there"))?.clone()),
        };
        ids.push_back(id);
    }
    Ok(())
}

/// Puts one in; memory grows by a quarter, so that not half of it lies idle.
pub fn insert<T>(values: &mut VecDeque<T>, place: usize, value: T) {
    if values.len() == values.capacity() {
        values.reserve_exact(4.max(values.len() / 4));
    }
    if place == values.len() { values.push_back(value) } else { values.insert(place, value) }
}

/// Gives memory back once a burst has left the window.
pub fn shrink<T>(values: &mut VecDeque<T>) {
    if values.capacity() > 16 && values.len() * 4 < values.capacity() {
        values.shrink_to(values.len() * 2);
    }
}
