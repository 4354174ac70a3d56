//! Finds where a line ends and where its quotes stand, sixty-four bytes at a time.
//!
//! This is the first stage of simdjson (Langdale, Lemire: "Parsing Gigabytes of JSON per Second", VLDB Journal 2019), for one line:
//! a block of bytes becomes masks with a bit a byte, and all that follows works on the masks.

/// The most quotes of a line that are kept.
pub const QUOTES_MAX: usize = 512;

/// Quotes that one block may hold.
const BLOCK: usize = 64;

/// Where the quotes of a line stand, from its start; escaped ones are none.
pub struct Quotes {
    at: Box<[u32; QUOTES_MAX + BLOCK]>,
    found: usize,
    /// Whether the processor has AVX2 and the bit operations that come with it.
    #[cfg(target_arch = "x86_64")]
    avx2: bool,
}

/// What a line is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Its bytes, without the line feed.
    pub length: usize,
    /// Whether it holds escapes or control characters; the carriage return of a line that ends with one is none.
    pub odd: bool,
    /// Whether it holds bytes beyond ASCII.
    pub beyond_ascii: bool,
}

/// A bit for each byte of a block.
#[derive(Clone, Copy)]
struct Masks {
    quote: u64,
    line_feed: u64,
    /// Backslashes and control characters.
    odd: u64,
    beyond_ascii: u64,
}

impl Default for Quotes {
    fn default() -> Self {
        Quotes {
            at: Box::new([0; QUOTES_MAX + BLOCK]),
            found: 0,
            #[cfg(target_arch = "x86_64")]
            avx2: is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("popcnt"),
        }
    }
}

impl Quotes {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.found
    }

    /// Where they stand. What is behind [`Quotes::count`] is of no meaning.
    #[inline]
    pub fn places(&self) -> &[u32; QUOTES_MAX] {
        self.at.first_chunk().expect("there is room for more")
    }

    /// Puts one more mark behind the last quote.
    pub fn mark(&mut self, at: usize) {
        self.at[self.found] = at as u32;
    }

    /// Finds the end of the line that bytes begin with, and its quotes; where there are more than [`QUOTES_MAX`] - 1, their number is
    /// that and only the first are known. Where the line is odd, escaped quotes are among them.
    pub fn find(&mut self, bytes: &[u8]) -> Line {
        self.found = 0;
        #[cfg(target_arch = "x86_64")]
        if self.avx2 {
            // SAFETY: the processor has what the function needs, as was asked when `avx2` was set.
            return unsafe { find_avx2(self, bytes) };
        }
        self.find_with(bytes, masks)
    }

    #[inline(always)]
    fn find_with(&mut self, bytes: &[u8], masks: impl Fn(&[u8; BLOCK]) -> Masks) -> Line {
        let mut line = Line::default();
        let (mut odd, mut beyond_ascii) = (0, 0);
        let mut at = 0usize;
        loop {
            let rest = &bytes[at..];
            let found = match rest.first_chunk() {
                Some(block) => masks(block),
                None => {
                    // The end of the bytes is the end of the line.
                    let mut block = [b'\n'; BLOCK];
                    block[..rest.len()].copy_from_slice(rest);
                    masks(&block)
                }
            };
            // The bits below the first line feed; all where there is none.
            let own = !found.line_feed & found.line_feed.wrapping_sub(1);
            odd |= found.odd & own;
            beyond_ascii |= found.beyond_ascii & own;
            self.keep(at as u32, found.quote & own);
            if found.line_feed != 0 {
                line.length = at + found.line_feed.trailing_zeros() as usize;
                line.odd = odd != 0 && is_odd(&bytes[..line.length]);
                line.beyond_ascii = beyond_ascii != 0;
                return line;
            }
            at += BLOCK;
        }
    }

    /// Keeps the quotes of a block. Eight are written at once, whether there are as many or not: what is too much is written
    /// over by the next block.
    #[inline(always)]
    fn keep(&mut self, at: u32, mut mask: u64) {
        let more = mask.count_ones() as usize;
        let free = self.at[self.found..].as_chunks_mut::<8>().0;
        for eight in free.iter_mut().take(more.div_ceil(8)) {
            for place in eight {
                *place = at.wrapping_add(mask.trailing_zeros());
                mask &= mask.wrapping_sub(1);
            }
        }
        self.found = (self.found + more).min(QUOTES_MAX - 1);
    }

    /// Finds the quotes of a line with escapes. `false` where a string of it holds a control character or what is no escape.
    pub fn find_carefully(&mut self, line: &[u8]) -> bool {
        self.found = 0;
        let mut inside = false;
        let mut at = 0;
        while let Some(byte) = line.get(at) {
            match byte {
                b'"' if self.found == QUOTES_MAX - 1 => return false,
                b'"' => {
                    self.at[self.found] = at as u32;
                    self.found += 1;
                    inside = !inside;
                }
                b'\\' if inside => match escape(&line[at + 1..]) {
                    Some(length) => at += length,
                    None => return false,
                },
                b'\\' | 0..0x20 if inside => return false,
                _ => {}
            }
            at += 1;
        }
        !inside
    }
}

/// Whether a line holds a backslash or a control character besides the carriage return at its end.
#[cold]
fn is_odd(line: &[u8]) -> bool {
    line.strip_suffix(b"\r").unwrap_or(line).iter().fold(false, |odd, b| odd | (*b < 0x20 || *b == b'\\'))
}

/// The length of what follows the backslash of an escape.
fn escape(rest: &[u8]) -> Option<usize> {
    match rest.first()? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(1),
        b'u' => rest.get(1..5)?.iter().all(u8::is_ascii_hexdigit).then_some(5),
        _ => None,
    }
}

fn masks(block: &[u8; BLOCK]) -> Masks {
    let bits = |of: fn(u8) -> bool| (0..BLOCK).fold(0, |mask, i| mask | u64::from(of(block[i])) << i);
    Masks {
        quote: bits(|b| b == b'"'),
        line_feed: bits(|b| b == b'\n'),
        odd: bits(|b| b == b'\\' || b < 0x20),
        beyond_ascii: bits(|b| b >= 0x80),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,popcnt")]
fn find_avx2(quotes: &mut Quotes, bytes: &[u8]) -> Line {
    quotes.find_with(bytes, |block| masks_avx2(block))
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2,bmi1,popcnt")]
fn masks_avx2(block: &[u8; BLOCK]) -> Masks {
    use std::hint::black_box;

    use std::arch::x86_64::{
        _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_min_epu8, _mm256_movemask_epi8, _mm256_set1_epi8,
    };
    // SAFETY: each load reads 32 bytes, the first and the second half of the block.
    let (low, high) = unsafe {
        let start = block.as_ptr();
        (_mm256_loadu_si256(start.cast()), _mm256_loadu_si256(start.add(32).cast()))
    };
    let bits =
        |low, high| u64::from(_mm256_movemask_epi8(low) as u32) | u64::from(_mm256_movemask_epi8(high) as u32) << 32;
    let is = |byte: u8| {
        let all = _mm256_set1_epi8(byte as i8);
        (_mm256_cmpeq_epi8(low, all), _mm256_cmpeq_epi8(high, all))
    };
    let (quote, line_feed, escape) = (is(b'"'), is(b'\n'), is(b'\\'));
    let most = _mm256_set1_epi8(0x1f);
    let control = |half| _mm256_cmpeq_epi8(_mm256_min_epu8(half, most), half);
    Masks {
        quote: bits(quote.0, quote.1),
        line_feed: bits(line_feed.0, line_feed.1),
        // LLVM makes one mask of two comparisons of these two, takes it apart bit by bit, and is four times as slow.
        odd: bits(control(low), control(high)) | black_box(bits(escape.0, escape.1)),
        beyond_ascii: bits(low, high),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes in which quotes, escapes, line feeds and letters beyond ASCII are likely.
    fn bytes(seed: &mut u64) -> Vec<u8> {
        let mut next = |below: u64| {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*seed >> 33) % below
        };
        let length = next(400);
        let common = [b'"', b'\\', b'\n', 0x1f, 0x20, 0x7f, 0x80, 0xff, b'"', b'\r'];
        (0..length).map(|_| if next(12) == 0 { common[next(10) as usize] } else { b'a' + next(26) as u8 }).collect()
    }

    #[test]
    fn every_way_finds_what_a_plain_loop_finds() {
        let mut seed = 1;
        let (mut quick, mut slow) = (Quotes::default(), Quotes::default());
        for _ in 0..20_000 {
            let bytes = bytes(&mut seed);
            let length = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
            let own = &bytes[..length];
            let expected = Line {
                length,
                odd: own.strip_suffix(b"\r").unwrap_or(own).iter().any(|b| *b < 0x20 || *b == b'\\'),
                beyond_ascii: !own.is_ascii(),
            };
            let quotes: Vec<u32> = (0..length as u32).filter(|i| own[*i as usize] == b'"').collect();
            slow.found = 0;
            for (way, line) in [(&quick.find(&bytes), &mut quick), (&slow.find_with(&bytes, masks), &mut slow)] {
                assert_eq!(*way, expected, "{bytes:?}");
                assert_eq!(line.places()[..line.count()], quotes, "{bytes:?}");
            }
        }
    }

    #[test]
    fn more_quotes_than_are_kept() {
        let mut quotes = Quotes::default();
        assert_eq!(quotes.find(&[b'"'; 4000]).length, 4000);
        assert_eq!(quotes.count(), QUOTES_MAX - 1);
    }

    #[test]
    fn escaped_quotes_are_none() {
        let mut quotes = Quotes::default();
        let mut check = |line: &str, expected: Option<&[u32]>| {
            let well = quotes.find_carefully(line.as_bytes());
            assert_eq!(well.then(|| quotes.places()[..quotes.count()].to_vec()).as_deref(), expected, "{line}");
        };
        check(r#"{"a\"":"\\"}"#, Some(&[1, 5, 7, 10]));
        check("{\t\"a\":1}\r", Some(&[2, 4]));
        check(r#"{"\u00e4":1}"#, Some(&[1, 8]));
        check(r#"{"\u00g4":1}"#, None);
        check(r#"{"\x":1}"#, None);
        check("{\"a\tb\":1}", None);
        check("{\"a", None);
    }
}
