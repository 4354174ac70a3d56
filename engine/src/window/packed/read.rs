//! What a window makes of the entries that it sees, and what it writes of them.

use lapwing_dsl::functions::Outcome;
use lapwing_dsl::ir::{Aggregate, Window, WindowKind};
use lapwing_dsl::value::{Type, Value};
use rust_decimal::Decimal;
use smallvec::SmallVec;

use super::rewrite::bits_of;
use super::{Column, ENTRIES_MAX, HUNDREDTHS, Packed};
use crate::Millis;
use crate::aggregate::aggregate;
use crate::exact::Sum;
use crate::store::codec::Writer;
use crate::window::column::{NO_VALUE, save_ids};
use crate::window::entries::per_second;
use crate::window::family::{Family, Form};
use crate::window::reach::{self, Look};

impl Packed<'_> {
    /// What one of the windows is worth as of a look.
    pub fn read(self, family: &Family, member: usize, spec: &Window, look: Look) -> Outcome {
        let WindowKind::Over { aggregate: kind, reach } = &spec.kind else { return Ok(Value::Missing) };
        let Some((from, to)) = reach::times(reach, look) else { return Ok(Value::Missing) };
        let (from, to) = (self.find(from), self.find(to));
        let seen = from..to.max(from);
        let Some((column, form)) = self.column_of(family, member) else {
            return Ok(match kind {
                Aggregate::Rate => per_second(seen.len(), reach, look),
                _ => Value::Int(seen.len() as i64),
            });
        };
        match (kind, form) {
            (Aggregate::Distinct, Form::Key) => Ok(Value::Int(column.different_values(seen))),
            (Aggregate::Distinct, _) => Ok(Value::Int(column.different_numbers(seen))),
            (Aggregate::Sum, Form::Whole) => {
                Sum::Whole(seen.filter_map(|i| column.number(i)).map(i128::from).sum()).value(&spec.ty)
            }
            _ => {
                let ty = &spec.args[0].ty;
                let values = seen.filter_map(|i| Some(column.value(column.number(i)?, form, ty)));
                aggregate(*kind, values.collect(), &spec.ty)
            }
        }
    }

    /// The column that one of the windows reads.
    fn column_of(&self, family: &Family, member: usize) -> Option<(Column<'_>, Form)> {
        let column = family.column_of[member]?;
        let place = match self.members() == family.all() {
            true => column.into(),
            false => family.columns_of(self.members()).iter().position(|c| *c == column)?,
        };
        Some((self.column(place), family.forms[usize::from(column)]))
    }

    /// Whether one of the windows has an entry.
    pub fn has_entries(self, family: &Family, member: usize) -> bool {
        self.column_of(family, member).is_none_or(|(column, _)| (0..self.len()).any(|i| column.number(i).is_some()))
    }

    /// Writes the entries from a time on of one of the windows, as a window that keeps its entries itself does.
    pub fn save(self, family: &Family, member: usize, spec: &Window, from: Millis, w: &mut Writer) {
        let seen = self.find(from)..self.len();
        let Some((column, form)) = self.column_of(family, member) else {
            w.list(seen, |w, i| w.i64(self.time(i)));
            return;
        };
        let entries: Vec<(usize, i64)> = seen.filter_map(|i| Some((i, column.number(i)?))).collect();
        w.list(entries.iter(), |w, (i, _)| w.i64(self.time(*i)));
        let numbers = || entries.iter().map(|(_, number)| *number);
        let distinct = matches!(spec.kind, WindowKind::Over { aggregate: Aggregate::Distinct, .. });
        match form {
            Form::Key => {
                let values: Vec<&[u8]> = column.kept_once().collect();
                let ids: Vec<u32> = numbers().map(|number| number as u32).collect();
                save_ids(w, ids.iter().copied(), |w, id| w.slice(values[id as usize]));
            }
            _ if distinct => {
                let mut values: Vec<i64> = numbers().map(|number| column.bits(number, form)).collect();
                let all = values.clone();
                values.sort_unstable();
                values.dedup();
                let id = |v: &i64| values.binary_search(v).map_or(NO_VALUE, |id| id as u32);
                save_ids(w, all.iter().map(id), |w, id| w.i64(values[id as usize]));
            }
            Form::Whole => numbers().for_each(|number| w.i64(number)),
            Form::Float | Form::Decimal => {
                numbers().for_each(|number| w.value(&column.value(number, form, &spec.args[0].ty)));
            }
        }
    }
}

impl Column<'_> {
    /// The value of a number.
    fn value(self, number: i64, form: Form, ty: &Type) -> Value<'static> {
        match (form, ty) {
            (Form::Float, _) => Value::Float(f64::from_bits(self.bits(number, form) as u64)),
            (Form::Decimal, _) => {
                Value::Decimal(Decimal::from_i128_with_scale((number >> 5).into(), (number & 31) as u32))
            }
            (_, Type::Duration) => Value::Duration(number),
            (_, Type::Timestamp) => Value::Timestamp(number),
            _ => Value::Int(number),
        }
    }

    /// A number of which equal values have equal ones, whatever stands in other columns: of a float its bits.
    fn bits(self, number: i64, form: Form) -> i64 {
        if form == Form::Float && self.scale == HUNDREDTHS { bits_of(number) } else { number }
    }

    /// How many different values there are, of those that are kept once.
    fn different_values(self, seen: std::ops::Range<usize>) -> i64 {
        let mut found = [0u64; ENTRIES_MAX / 64];
        for number in seen.filter_map(|i| self.number(i)) {
            found[number as usize / 64] |= 1 << (number as usize % 64);
        }
        found.iter().map(|bits| i64::from(bits.count_ones())).sum()
    }

    fn different_numbers(self, seen: std::ops::Range<usize>) -> i64 {
        let mut numbers: SmallVec<[i64; 64]> = seen.filter_map(|i| self.number(i)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.len() as i64
    }
}
