//! Whole numbers of one width each, from one to eight bytes.

/// Whole numbers, least byte first.
#[derive(Clone, Copy, Debug)]
pub struct Ints<'a> {
    /// They begin here; what stands behind them is not theirs.
    bytes: &'a [u8],
    width: usize,
}

impl<'a> Ints<'a> {
    /// Numbers that begin where `bytes` does.
    #[inline]
    pub fn new(bytes: &'a [u8], width: usize) -> Ints<'a> {
        Ints { bytes, width }
    }

    /// Bytes of each.
    pub fn width(self) -> usize {
        self.width
    }

    /// One of them.
    #[inline]
    pub fn get(self, i: usize) -> i64 {
        let at = i * self.width;
        let word = match self.bytes.get(at..at + 8) {
            Some(eight) => u64::from_le_bytes(eight.try_into().expect("eight bytes")),
            None => {
                let mut eight = [0; 8];
                let rest = &self.bytes[at..];
                eight[..rest.len()].copy_from_slice(rest);
                u64::from_le_bytes(eight)
            }
        };
        let unused = 64 - 8 * self.width as u32;
        ((word << unused) as i64) >> unused
    }

    /// The bytes of some of them.
    pub fn slice(self, from: usize, to: usize) -> &'a [u8] {
        &self.bytes[from * self.width..to * self.width]
    }

    /// The first of `len` that is at least `v`; they ascend.
    pub fn lower(self, len: usize, v: i64) -> usize {
        let (mut low, mut high) = (0, len);
        while low < high {
            let middle = (low + high) / 2;
            if self.get(middle) < v { low = middle + 1 } else { high = middle }
        }
        low
    }
}

/// What stands for a missing value among numbers of a width: the least of them.
#[inline]
pub fn missing(width: usize) -> i64 {
    i64::MIN >> (64 - 8 * width as u32)
}

/// The bytes that a number needs, so that it is not the missing one; none for the least number that there is.
pub fn width_of(v: i64) -> Option<usize> {
    let magnitude = if v < 0 { v.checked_neg()? } else { v };
    // A bit for the sign.
    Some((64 - magnitude.leading_zeros() as usize) / 8 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for shift in 0..63 {
            for v in [(1i64 << shift) - 1, 1 << shift, -(1 << shift), 1 - (1 << shift)] {
                let width = width_of(v).expect("not the least");
                assert!(v > missing(width), "{v} in {width}");
                assert!(width == 1 || v.unsigned_abs() >= 1 << (8 * width - 9), "{v} in {width}");
                for behind in [0, 8] {
                    let mut bytes = vec![0xa5; width];
                    bytes.extend(&v.to_le_bytes()[..width]);
                    bytes.resize(2 * width + behind, 0x5a);
                    assert_eq!(Ints::new(&bytes, width).get(1), v);
                }
            }
        }
        assert_eq!(width_of(i64::MIN), None);
        assert_eq!(missing(8), i64::MIN);
    }
}
