//! Sums that are exact, whatever the order of what is added and taken away, and are rounded once, when they are read.
//!
//! A running sum of floats that forgets must not drift, and what it is worth must not depend on how it came about: a state that was
//! saved and loaded adds its values up anew. So a sum is kept as a number of fixed point that holds any float, in digits of base 2³² that
//! do not carry (Kulisch's long accumulator; Neal, "Fast exact summation using small and large superaccumulators", 2015). To take a value away is to subtract
//! its digits: the digits are a function of what is in the sum, and nothing else.

use lapwing_dsl::functions::{EvalError, Outcome};
use lapwing_dsl::value::{Type, Value};
use num_bigint::{BigInt, BigUint, Sign};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use smallvec::SmallVec;

/// Bits of a digit.
const DIGIT_BITS: i32 = 32;

/// An exact sum of floats or of products of two of them. At most 2³⁰ values.
#[derive(Clone, Debug, Default)]
pub struct Digits {
    /// Place of the first digit: it is worth 2^(32 · first).
    first: i32,
    /// Least first. INVARIANT: each is the sum of at most two parts of 32 bits of each value, so that it never overflows.
    digits: SmallVec<[i64; 4]>,
}

/// A float as `sign · mantissa · 2^exponent`.
fn parts(x: f64) -> (i64, u64, i32) {
    let bits = x.to_bits();
    let sign = if bits >> 63 == 1 { -1 } else { 1 };
    let (exponent, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
    if exponent == 0 { (sign, fraction, -1074) } else { (sign, fraction | 1 << 52, exponent - 1075) }
}

impl Digits {
    /// Adds a value `times` times; −1 takes it away.
    pub fn add(&mut self, x: f64, times: i64) {
        let (sign, mantissa, exponent) = parts(x);
        self.add_parts(sign * times, mantissa.into(), exponent);
    }

    /// Adds the product of two values.
    pub fn add_product(&mut self, x: f64, y: f64, times: i64) {
        let ((s, m, e), (t, n, f)) = (parts(x), parts(y));
        self.add_parts(s * t * times, u128::from(m) * u128::from(n), e + f);
    }

    fn add_parts(&mut self, times: i64, mut mantissa: u128, exponent: i32) {
        let mut place = exponent.div_euclid(DIGIT_BITS);
        let shift = exponent.rem_euclid(DIGIT_BITS);
        while mantissa != 0 {
            let part = (mantissa as u64 & 0xffff_ffff) << shift;
            *self.digit(place) += times * (part & 0xffff_ffff) as i64;
            if part >> DIGIT_BITS != 0 {
                *self.digit(place + 1) += times * (part >> DIGIT_BITS) as i64;
            }
            mantissa >>= DIGIT_BITS;
            place += 1;
        }
    }

    fn digit(&mut self, place: i32) -> &mut i64 {
        if self.digits.is_empty() {
            self.first = place;
        }
        while place < self.first {
            self.digits.insert(0, 0);
            self.first -= 1;
        }
        let i = (place - self.first) as usize;
        if i >= self.digits.len() {
            self.digits.resize(i + 1, 0);
        }
        &mut self.digits[i]
    }

    /// The digits that are not zero at the ends, and the exponent of the first.
    fn trimmed(&self) -> (&[i64], i32) {
        let Some(from) = self.digits.iter().position(|d| *d != 0) else { return (&[], 0) };
        let to = self.digits.iter().rposition(|d| *d != 0).map_or(from, |i| i + 1);
        (&self.digits[from..to], (self.first + from as i32) * DIGIT_BITS)
    }

    /// As a whole number times a power of two, where that is small.
    fn small(&self) -> Option<(i128, i32)> {
        let (digits, exponent) = self.trimmed();
        if digits.len() > 3 {
            return None;
        }
        digits
            .iter()
            .rev()
            .try_fold(0i128, |sum, d| sum.checked_mul(1 << DIGIT_BITS)?.checked_add(i128::from(*d)))
            .map(|v| (v, exponent))
    }

    /// As a whole number times a power of two.
    fn whole(&self) -> (BigInt, i32) {
        let (digits, exponent) = self.trimmed();
        (digits.iter().rev().fold(BigInt::ZERO, |sum, d| (sum << DIGIT_BITS) + BigInt::from(*d)), exponent)
    }

    /// The nearest float, of two as near the even one; infinite where it is too large.
    pub fn value(&self) -> f64 {
        match self.small() {
            Some((v, exponent)) => signed(v < 0, round(v.unsigned_abs(), exponent, false)),
            None => {
                let (v, exponent) = self.whole();
                signed(v.sign() == Sign::Minus, round_whole(v.magnitude(), exponent, false))
            }
        }
    }
}

/// `(n · Σxy − Σx · Σy) / d`, rounded once.
pub fn cross(n: u64, xy: &Digits, x: &Digits, y: &Digits, d: u128) -> f64 {
    if let (Some(xy), Some(x), Some(y)) = (xy.small(), x.small(), y.small())
        && let Some(v) = cross_small(n, xy, x, y, d)
    {
        return v;
    }
    let ((xy, e), (x, f), (y, g)) = (xy.whole(), x.whole(), y.whole());
    let exponent = e.min(f + g);
    let v = ((xy * n) << (e - exponent)) - ((x * y) << (f + g - exponent));
    signed(v.sign() == Sign::Minus, divided(v.magnitude(), exponent, d))
}

fn cross_small(n: u64, (xy, e): (i128, i32), (x, f): (i128, i32), (y, g): (i128, i32), d: u128) -> Option<f64> {
    let exponent = e.min(f + g);
    let raised = |v: i128, by: i32| v.checked_mul(1i128.checked_shl(by as u32).filter(|s| *s > 0)?);
    let v =
        raised(xy.checked_mul(n.into())?, e - exponent)?.checked_sub(raised(x.checked_mul(y)?, f + g - exponent)?)?;
    let m = v.unsigned_abs();
    if m == 0 {
        return Some(0.0);
    }
    let up = m.leading_zeros();
    let (quotient, rest) = ((m << up) / d, (m << up) % d);
    // Enough bits that what is left over only breaks ties.
    if quotient.leading_zeros() > 64 {
        return None;
    }
    Some(signed(v < 0, round(quotient, exponent - up as i32, rest != 0)))
}

fn divided(m: &BigUint, exponent: i32, d: u128) -> f64 {
    if m.bits() == 0 {
        return 0.0;
    }
    let d = BigUint::from(d);
    let up = (d.bits() + 80).saturating_sub(m.bits());
    let (m, d) = (m << up, d);
    let quotient = &m / &d;
    let rest = m - &quotient * d;
    round_whole(&quotient, exponent - up as i32, rest.bits() != 0)
}

fn signed(negative: bool, v: f64) -> f64 {
    if negative { -v } else { v }
}

fn round_whole(m: &BigUint, exponent: i32, more: bool) -> f64 {
    let down = m.bits().saturating_sub(120);
    let lost = down > 0 && m.trailing_zeros().is_some_and(|z| z < down);
    let top = (m >> down).to_u128().expect("120 bits are left");
    round(top, exponent + down as i32, more || lost)
}

/// `m · 2^exponent`, and a little more where `more` says so, as the nearest float. With more, `m` has at least 64 bits.
fn round(m: u128, exponent: i32, more: bool) -> f64 {
    if m == 0 {
        return 0.0;
    }
    let bits = 128 - m.leading_zeros() as i32;
    // The exponent of the last bit that the float has.
    let last = (exponent + bits - 53).max(-1074);
    let down = last - exponent;
    if down <= 0 {
        return power(m as f64, exponent);
    }
    if down > 127 {
        return 0.0;
    }
    let (kept, rest, half) = (m >> down, m & ((1 << down) - 1), 1u128 << (down - 1));
    let up = rest > half || (rest == half && (more || kept & 1 == 1));
    power((kept + u128::from(up)) as f64, last)
}

/// `x · 2^exponent` where the result is a float, or infinite.
fn power(x: f64, exponent: i32) -> f64 {
    let two = |e: i32| f64::from_bits(((e + 1023) as u64) << 52);
    match exponent {
        1000.. => x * two(1000) * two((exponent - 1000).min(1023)),
        -1000.. => x * two(exponent),
        _ => x * two(-1000) * two((exponent + 1000).max(-1022)),
    }
}

/// An exact sum of decimals: of each scale its own.
#[derive(Clone, Debug, Default)]
pub struct Scales(SmallVec<[(u32, i128, u32); 1]>);

impl Scales {
    fn add(&mut self, v: Decimal, times: i64) {
        let i = match self.0.binary_search_by_key(&v.scale(), |(scale, ..)| *scale) {
            Ok(i) => i,
            Err(i) => {
                self.0.insert(i, (v.scale(), 0, 0));
                i
            }
        };
        let (_, sum, count) = &mut self.0[i];
        *sum += v.mantissa() * i128::from(times);
        *count = count.wrapping_add_signed(times as i32);
        if *count == 0 {
            self.0.remove(i);
        }
    }

    /// With as many places as the value that has most; of these as many as fit, the last one rounded half to even.
    fn value(&self) -> Result<Decimal, EvalError> {
        let places = self.0.last().map_or(0, |(scale, ..)| *scale);
        let raised = |(scale, sum, _): &(u32, i128, u32)| sum.checked_mul(10i128.pow(places - scale));
        let small = self.0.iter().try_fold(0i128, |total, one| total.checked_add(raised(one)?));
        if let Some(v) = small.and_then(|v| Decimal::try_from_i128_with_scale(v, places).ok()) {
            return Ok(v);
        }
        let raised = |(scale, sum, _): &(u32, i128, u32)| BigInt::from(*sum) * BigInt::from(10).pow(places - scale);
        let total: BigInt = self.0.iter().map(raised).sum();
        (0..places).rev().find_map(|kept| fitted(&total, places - kept, kept)).ok_or(EvalError::Overflow)
    }
}

/// A number without its last `cut` digits, if it fits then.
fn fitted(total: &BigInt, cut: u32, scale: u32) -> Option<Decimal> {
    let by = BigInt::from(10).pow(cut);
    let (mut whole, rest) = (total / &by, total % &by);
    let twice = rest.magnitude() * 2u32;
    if twice > *by.magnitude() || (twice == *by.magnitude() && whole.bit(0)) {
        whole += if total.sign() == Sign::Minus { -1 } else { 1 };
    }
    Decimal::try_from_i128_with_scale(whole.to_i128()?, scale).ok()
}

/// The sum of the values of one type.
#[derive(Clone, Debug)]
pub enum Sum {
    /// Of ints, durations.
    Whole(i128),
    /// Of floats.
    Float(Digits),
    /// Of decimals.
    Decimal(Scales),
}

impl Sum {
    /// Nothing, of the type of a value.
    pub fn of(value: &Value<'_>) -> Sum {
        match value {
            Value::Float(_) => Sum::Float(Digits::default()),
            Value::Decimal(_) => Sum::Decimal(Scales::default()),
            _ => Sum::Whole(0),
        }
    }

    /// Adds a value of its type `times` times; −1 takes it away.
    pub fn add(&mut self, value: &Value<'_>, times: i64) {
        match (self, value) {
            (Sum::Whole(sum), v) => *sum += i128::from(int(v)) * i128::from(times),
            (Sum::Float(sum), v) => sum.add(float(v), times),
            (Sum::Decimal(sum), Value::Decimal(v)) => sum.add(*v, times),
            (Sum::Decimal(_), _) => {}
        }
    }

    /// What it is worth, as a value of the type.
    pub fn value(&self, ty: &Type) -> Outcome {
        match self {
            Sum::Whole(sum) => {
                let sum = i64::try_from(*sum).map_err(|_| EvalError::Overflow)?;
                Ok(if *ty == Type::Duration { Value::Duration(sum) } else { Value::Int(sum) })
            }
            Sum::Float(sum) => finite(sum.value()),
            Sum::Decimal(sum) => sum.value().map(Value::Decimal),
        }
    }

    /// What it is worth divided by the number of its values.
    pub fn average(&self, n: usize, ty: &Type) -> Outcome {
        match self {
            Sum::Whole(sum) if *ty == Type::Duration => {
                let sum = i64::try_from(*sum).map_err(|_| EvalError::Overflow)?;
                Ok(Value::Duration(sum / n as i64))
            }
            Sum::Whole(sum) => Ok(Value::Float(*sum as f64 / n as f64)),
            Sum::Float(sum) => finite(sum.value() / n as f64),
            Sum::Decimal(sum) => Ok(Value::Decimal(sum.value()? / Decimal::from(n))),
        }
    }
}

/// A float that is one.
pub fn finite(v: f64) -> Outcome {
    if v.is_finite() { Ok(Value::Float(v)) } else { Err(EvalError::Overflow) }
}

/// The sums that a deviation needs.
#[derive(Clone, Debug, Default)]
pub struct Moments {
    x: Digits,
    xx: Digits,
}

impl Moments {
    /// Adds a value `times` times; −1 takes it away.
    pub fn add(&mut self, x: f64, times: i64) {
        self.x.add(x, times);
        self.xx.add_product(x, x, times);
    }

    /// The standard deviation of the sample, n − 1, of at least two values: the root of the variance, which is rounded once.
    pub fn deviation(&self, n: usize) -> f64 {
        let n = n as u64;
        cross(n, &self.xx, &self.x, &self.x, u128::from(n) * u128::from(n - 1)).sqrt()
    }
}

/// A whole number; 0 for what is none.
pub fn int(value: &Value<'_>) -> i64 {
    match value {
        Value::Int(v) | Value::Duration(v) | Value::Timestamp(v) => *v,
        _ => 0,
    }
}

/// A number as the nearest float.
pub fn float(value: &Value<'_>) -> f64 {
    match value {
        Value::Float(v) => *v,
        Value::Decimal(v) => v.to_f64().unwrap_or(0.0),
        other => int(other) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of all sizes, from a simple generator.
    fn floats(n: usize) -> Vec<f64> {
        let mut state = 7u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 8
        };
        let number = |bits: u64| f64::from_bits(bits << 8 ^ bits);
        std::iter::repeat_with(|| number(next())).filter(|v| v.is_finite() && v.abs() < 1e300).take(n).collect()
    }

    #[test]
    fn a_sum_is_the_nearest_float() {
        let check = |values: &[f64], expected: f64| {
            let mut sum = Digits::default();
            values.iter().for_each(|v| sum.add(*v, 1));
            assert_eq!(sum.value().to_bits(), expected.to_bits(), "{values:?}");
        };
        check(&[], 0.0);
        check(&[0.1; 10], 1.0);
        check(&[1e300, 1.0, -1e300], 1.0);
        check(&[1e308, 1e308, -1e308], 1e308);
        check(&[1e308, 1e308], f64::INFINITY);
        check(&[5e-324, 5e-324], 1e-323);
        check(&[-0.0], 0.0);
        // Half way: to the even one, and with a little more up.
        check(&[9_007_199_254_740_992.0, 1.0], 9_007_199_254_740_992.0);
        check(&[9_007_199_254_740_992.0, 1.0, 1e-300], 9_007_199_254_740_994.0);
        check(&[9_007_199_254_740_994.0, 1.0], 9_007_199_254_740_996.0);
        check(&[-9_007_199_254_740_992.0, -1.0, -1e-300], -9_007_199_254_740_994.0);
        for v in floats(1_000) {
            check(&[v], v);
        }
    }

    #[test]
    fn what_is_taken_away_leaves_no_trace() {
        let values = floats(1_000);
        let (mut sum, mut kept) = (Digits::default(), Digits::default());
        let (mut moments, mut fewer) = (Moments::default(), Moments::default());
        values.iter().for_each(|v| sum.add(*v, 1));
        values.iter().for_each(|v| moments.add(*v * 1e-160, 1));
        values[..500].iter().for_each(|v| sum.add(*v, -1));
        values[..500].iter().for_each(|v| moments.add(*v * 1e-160, -1));
        values[500..].iter().rev().for_each(|v| kept.add(*v, 1));
        values[500..].iter().rev().for_each(|v| fewer.add(*v * 1e-160, 1));
        assert_eq!(sum.value().to_bits(), kept.value().to_bits());
        assert_eq!(moments.deviation(500).to_bits(), fewer.deviation(500).to_bits());
        values[500..].iter().for_each(|v| sum.add(*v, -1));
        assert_eq!(sum.value().to_bits(), 0);
    }

    #[test]
    fn deviations() {
        let check = |values: &[f64], expected: f64| {
            let mut moments = Moments::default();
            values.iter().for_each(|v| moments.add(*v, 1));
            assert_eq!(moments.deviation(values.len()), expected, "{values:?}");
        };
        check(&[1.0, 2.0, 3.0, 4.0], (5.0f64 / 3.0).sqrt());
        check(&[3.0, 3.0], 0.0);
        // Two passes over floats would give something else for each of these.
        check(&[1e15 + 1.0, 1e15 + 2.0, 1e15 + 3.0], 1.0);
        check(&[2.0f64.powi(500), -2.0f64.powi(500)], 2.0f64.sqrt() * 2.0f64.powi(500));
        check(&[i64::MAX as f64, i64::MIN as f64], 2.0f64.sqrt() * 9_223_372_036_854_775_808.0);
        check(&[0.1, 0.1, 0.1], 0.0);
    }

    #[test]
    fn decimals_are_summed_exactly_and_rounded_once() {
        let check = |values: &[&str], expected: Option<&str>| {
            let mut sum = Scales::default();
            values.iter().for_each(|v| sum.add(v.parse().expect("a decimal"), 1));
            assert_eq!(sum.value().ok().map(|v| v.to_string()).as_deref(), expected, "{values:?}");
        };
        check(&[], Some("0"));
        check(&["1.50", "2.5"], Some("4.00"));
        check(&["1.50", "-1.5"], Some("0.00"));
        check(&["79228162514264337593543950335", "1"], None);
        check(&["79228162514264337593543950335", "1", "-1"], Some("79228162514264337593543950335"));
        check(&["7922816251426433759354395033", "0.5"], Some("7922816251426433759354395033.5"));
        check(&["79228162514264337593543950334", "0.5"], Some("79228162514264337593543950334"));
        check(&["79228162514264337593543950333", "0.5"], Some("79228162514264337593543950334"));
        check(
            &["79228162514264337593543950333", "0.4999999999999999999999999999"],
            Some("79228162514264337593543950333"),
        );
        check(&["-79228162514264337593543950333", "-0.5"], Some("-79228162514264337593543950334"));
    }
}
