//! Reads short JSON numbers without a loop over their digits.
//!
//! Sixteen bytes are one integer in a register; the digits of a number are checked and weighed all at once (Lemire: "Number Parsing
//! at a Gigabyte per Second", Software: Practice and Experience 2021). The number's length is known beforehand.

/// The bytes that a number is read from; those behind it do not count.
pub const WINDOW: usize = 16;

/// A JSON number of at most sixteen characters after the sign, without exponent: `digits / 10^places`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// Whether a minus stands before it.
    pub negative: bool,
    /// Its digits.
    pub digits: u64,
    /// How many of them stand behind the point.
    pub places: usize,
}

impl Number {
    /// The number that stands in `bytes` from `start` to `end`. None where that is no JSON number, or one too long, or too
    /// near the end of the bytes.
    #[inline]
    pub fn read(bytes: &[u8], start: usize, end: usize) -> Option<Number> {
        let negative = *bytes.get(start)? == b'-';
        let start = start + usize::from(negative);
        let window = bytes.get(start..)?.first_chunk::<WINDOW>()?;
        let (digits, places) = match end.wrapping_sub(start) {
            length @ 1..=8 => short::read(u64::from_le_bytes(*window.first_chunk()?), length)?,
            length @ 9..=16 => match whole(window, length) {
                Some(digits) => (digits, 0),
                None => long::read(u128::from_le_bytes(*window), length)?,
            },
            _ => return None,
        };
        Some(Number { negative, digits, places })
    }

    /// It as a whole number; none where it has places.
    #[inline]
    pub fn whole(self) -> Option<i64> {
        // Sixteen digits are less than 2^63.
        let digits = self.digits as i64;
        (self.places == 0).then_some(if self.negative { -digits } else { digits })
    }

    /// The float nearest to it. With at most 16 digits and no place, or 15 digits and 14 places, one rounding is made: both parts of the fraction are
    /// exact floats, or the divisor is one (Clinger: "How to Read Floating Point Numbers Accurately", PLDI 1990).
    #[inline]
    pub fn float(self) -> f64 {
        let value = self.digits as f64 / POWERS[self.places & 15];
        if self.negative { -value } else { value }
    }
}

const POWERS: [f64; WINDOW] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// The number of nine to sixteen digits that a window begins with, most often a time; none where it is not only digits, or begins
/// with a zero.
#[inline]
fn whole(window: &[u8; WINDOW], length: usize) -> Option<u64> {
    let head = u64::from_le_bytes(*window.first_chunk()?);
    let tail = u64::from_le_bytes(*window.get(length - 8..)?.first_chunk()?);
    if head as u8 == b'0' {
        return None;
    }
    Some(short::weigh(head, length - 8)? * 100_000_000 + short::weigh(tail, 8)?)
}

/// The digits of a number in a register, and how many of them stand behind the point.
macro_rules! in_a_register {
    ($name:ident, $word:ty) => {
        mod $name {
            const BYTES: usize = size_of::<$word>();
            const ONES: $word = <$word>::MAX / 0xff;

            /// Of the number in the first `length` characters (1 to all) of the window.
            #[inline]
            pub fn read(window: $word, length: usize) -> Option<(u64, usize)> {
                let point = first(window, b'.');
                let leading = window as u8 == b'0';
                if point >= length {
                    let lone = length == 1;
                    return if leading && !lone { None } else { Some((weigh(window, length)?, 0)) };
                }
                if point == 0 || point + 1 == length || (leading && point > 1) {
                    return None;
                }
                // What stands behind the point moves over it.
                let before = ((1 as $word) << (8 * point)) - 1;
                let digits = weigh((window & before) | (window >> 8 & !before), length - 1)?;
                Some((digits, length - 1 - point))
            }

            /// Where a byte stands first in the window; where it does not, the window's length.
            #[inline]
            fn first(window: $word, byte: u8) -> usize {
                let differs = window ^ (ONES * byte as $word);
                // The lowest bit that is set belongs to the first byte that is zero.
                let zero = differs.wrapping_sub(ONES) & !differs & (ONES << 7);
                zero.trailing_zeros() as usize / 8
            }

            /// The value of the first `length` (1 to all) characters; none where one is no digit.
            #[inline]
            pub fn weigh(window: $word, length: usize) -> Option<u64> {
                // The digits' values, moved to the upper end: zeros stand before them.
                let values = (window ^ (ONES * b'0' as $word)) << (8 * (BYTES - length));
                let beyond = values.wrapping_add(ONES * 0x76) | values;
                if beyond & (ONES << 7) != 0 {
                    return None;
                }
                let bytes = values.to_le_bytes();
                let eights = bytes.as_chunks::<8>().0.iter().map(|eight| super::eight(u64::from_le_bytes(*eight)));
                Some(eights.fold(0, |all, eight| all * 100_000_000 + eight))
            }
        }
    };
}

in_a_register!(short, u64);
in_a_register!(long, u128);

/// The value of eight digits, the first in the lowest byte.
#[inline]
fn eight(values: u64) -> u64 {
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let mask = 0x0000_00ff_0000_00ff;
    let one = (pairs & mask).wrapping_mul(100 + (1_000_000 << 32));
    let two = (pairs >> 16 & mask).wrapping_mul(1 + (10_000 << 32));
    one.wrapping_add(two) >> 32
}

/// The length of the JSON number that bytes begin with, however long; none where there is none.
pub fn length(bytes: &[u8]) -> Option<usize> {
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && bytes[at] == b'0') {
        return None;
    }
    at += whole;
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if !matches!(bytes.get(at), Some(b'e' | b'E')) {
        return Some(at);
    }
    at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
    let exponent = digits(at);
    (exponent > 0).then_some(at + exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Number> {
        let bytes = [b"x", text.as_bytes(), b",\"twenty-four more bytes\""].concat();
        Number::read(&bytes, 1, 1 + text.len())
    }

    #[test]
    fn numbers_as_the_standard_library_reads_them() {
        let mut seed = 1u64;
        for _ in 0..200_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let digits = (seed >> 3) % 10u64.pow((seed >> 60) as u32 + 1);
            let text = digits.to_string();
            let cut = (seed >> 17) as usize % (text.len() + 1);
            let text = if cut == 0 || cut == text.len() { text } else { format!("-{}.{}", &text[..cut], &text[cut..]) };
            let json = serde_json::from_str::<serde_json::Number>(&text).is_ok();
            let number = read(&text);
            assert_eq!(number.is_some(), json && text.trim_start_matches('-').len() <= WINDOW, "{text}");
            if let Some(number) = number {
                assert_eq!(number.float(), text.parse::<f64>().expect("a number"), "{text}");
                assert_eq!(number.whole(), text.parse::<i64>().ok(), "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_json_number() {
        for text in [
            "", "-", "--1", "01", "00", "01.5", "-01", ".5", "5.", "1.2.3", "1e5", "+1", "1 ", " 1", "0x1", "1:", "1/",
            "Ⅷ",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        for byte in 0..=255u8 {
            let bytes = [b'1', byte, b'2', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            assert_eq!(Number::read(&bytes, 0, 3).is_some(), byte.is_ascii_digit() || byte == b'.', "{byte}");
        }
        assert_eq!(Number::read(b"12", 0, 2), None, "too near the end");
    }

    #[test]
    fn lengths() {
        for (text, expected) in [
            ("12,", Some(2)),
            ("-0.50}", Some(5)),
            ("1e5", Some(3)),
            ("1.5E-07 ", Some(7)),
            ("01", None),
            ("1.", None),
            ("1e", None),
        ] {
            assert_eq!(length(text.as_bytes()), expected, "{text}");
        }
    }
}
