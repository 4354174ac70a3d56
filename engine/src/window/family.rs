//! Windows that count the same events by the same key, whatever they make of them and however far they reach: a family. What they keep of a key
//! stands together while it is small (see [`super::packed`]), with each value that several read kept once.

use std::borrow::Cow;

use lapwing_dsl::ir::{Aggregate, Expr, Reach, Window, WindowKind};
use lapwing_dsl::value::{Type, Value};
use rust_decimal::Decimal;
use smallvec::SmallVec;

use super::value_key;
use crate::exact::int;

/// The most windows of a family: a set of them is 32 bits.
const MEMBERS_MAX: usize = 32;

/// A family.
#[derive(Clone, Debug, Default)]
pub struct Family {
    /// Indexes of the windows.
    pub windows: Vec<u32>,
    /// For each window the column of its values; none where it reads times alone.
    pub column_of: Vec<Option<u8>>,
    /// What is kept of each event beside its time: a value, of several expressions the tuple ...
    pub columns: Vec<Vec<Expr>>,
    /// ... and how.
    pub forms: Vec<Form>,
}

/// How values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As whole numbers: ints, durations, times, truths.
    Whole,
    /// Floats.
    Float,
    /// Decimals.
    Decimal,
    /// As bytes of which equal values have equal ones, each kept once.
    Key,
}

/// A value as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    /// None.
    Missing,
    /// Of [`Form::Whole`].
    Whole(i64),
    /// Of [`Form::Float`].
    Float(f64),
    /// Of [`Form::Decimal`].
    Decimal(Decimal),
    /// Of [`Form::Key`].
    Key(Box<[u8]>),
}

/// The values of one event, of each column one.
pub type Raws = SmallVec<[Raw; 4]>;

impl Raw {
    /// Of a value.
    pub fn new(form: Form, value: &Value<'_>) -> Raw {
        match (form, value) {
            (_, Value::Missing) => Raw::Missing,
            (Form::Key, value) => Raw::Key(value_key(value)),
            (_, Value::Bool(v)) => Raw::Whole((*v).into()),
            (_, Value::Float(v)) => Raw::Float(*v),
            (_, Value::Decimal(v)) => Raw::Decimal(*v),
            (_, other) => Raw::Whole(int(other)),
        }
    }
}

/// How a window's values can be kept beside those of others; none where the window has to keep its entries itself. The inner one is none where it
/// reads times alone.
pub fn form_of(window: &Window) -> Option<Option<Form>> {
    let WindowKind::Over { aggregate, reach: Reach::Sliding { .. } | Reach::Aligned { .. } } = &window.kind else {
        return None;
    };
    let number = |ty: &Type| match ty {
        Type::Int | Type::Duration | Type::Timestamp => Some(Form::Whole),
        Type::Float => Some(Form::Float),
        Type::Decimal => Some(Form::Decimal),
        _ => None,
    };
    match (aggregate, window.args.as_slice()) {
        (Aggregate::Count | Aggregate::Rate, []) => Some(None),
        (Aggregate::Distinct, [one]) => Some(Some(match &one.ty {
            Type::Bool => Form::Whole,
            Type::Decimal => Form::Key,
            other => number(other).unwrap_or(Form::Key),
        })),
        (Aggregate::Distinct, [_, _, ..]) => Some(Some(Form::Key)),
        (Aggregate::Sum | Aggregate::Avg | Aggregate::Stddev | Aggregate::Min | Aggregate::Max, [one])
        | (Aggregate::First | Aggregate::Last, [one]) => number(&one.ty).map(Some),
        _ => None,
    }
}

impl Family {
    /// Whether another window has room.
    pub fn has_room(&self) -> bool {
        self.windows.len() < MEMBERS_MAX
    }

    /// Takes a window in that counts the same events.
    pub fn add(&mut self, index: u32, window: &Window, form: Option<Form>) {
        let column = form.map(|form| {
            let mut columns = self.columns.iter().zip(&self.forms);
            let at = columns.position(|(args, f)| *f == form && *args == window.args).unwrap_or_else(|| {
                self.columns.push(window.args.clone());
                self.forms.push(form);
                self.columns.len() - 1
            });
            at as u8
        });
        self.windows.push(index);
        self.column_of.push(column);
    }

    /// The set of all its windows.
    pub fn all(&self) -> u32 {
        ((1u64 << self.windows.len()) - 1) as u32
    }

    /// The windows of a set, by their places in the family.
    pub fn members(&self, set: u32) -> impl Iterator<Item = usize> + use<> {
        (0..self.windows.len()).filter(move |member| set & 1 << member != 0)
    }

    /// The columns that a set of its windows reads, ascending.
    pub fn columns_of(&self, set: u32) -> SmallVec<[u8; 8]> {
        if set == self.all() {
            return (0..self.columns.len() as u8).collect();
        }
        let mut columns: SmallVec<[u8; 8]> = self.members(set).filter_map(|member| self.column_of[member]).collect();
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// The forms of some columns.
    pub fn forms_of(&self, columns: &[u8]) -> SmallVec<[Form; 8]> {
        columns.iter().map(|column| self.forms[usize::from(*column)]).collect()
    }

    /// What a set of its windows keeps of the values of an event, and how.
    pub fn own<'a>(&'a self, set: u32, raws: &'a [Raw]) -> (Cow<'a, [Raw]>, Cow<'a, [Form]>) {
        if set == self.all() {
            return (Cow::Borrowed(raws), Cow::Borrowed(&self.forms));
        }
        let columns = self.columns_of(set);
        let own: Vec<Raw> = columns.iter().map(|column| raws[usize::from(*column)].clone()).collect();
        (Cow::Owned(own), Cow::Owned(self.forms_of(&columns).to_vec()))
    }

    /// Whether a window of a set counts an event with these values.
    pub fn counts(&self, set: u32, raws: &[Raw]) -> bool {
        self.members(set).any(|m| self.column_of[m].is_none_or(|column| raws[usize::from(column)] != Raw::Missing))
    }
}
