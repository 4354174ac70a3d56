//! Literals: numbers, durations, timestamps, addresses and texts with JSON's escapes.

use std::net::IpAddr;

use pest::iterators::Pair;

use super::Rule;
use super::build::{Builder, only};
use crate::diagnostics::Code;
use crate::syntax::Span;
use crate::syntax::ast::{DurationLit, Literal, StringLit};

/// A text's content with the place in the piece that each of its bytes comes from, and one more for its end.
pub(super) struct Unescaped {
    pub text: String,
    pub map: Vec<u32>,
}

impl Builder<'_> {
    /// `literal`
    pub fn literal(&mut self, pair: Pair<Rule>) -> Literal {
        let inner = only(pair);
        match inner.as_rule() {
            Rule::int => Literal::Int(self.int(&inner)),
            Rule::number => Literal::Number(inner.as_str().to_owned()),
            Rule::boolean => Literal::Bool(inner.as_str() == "true"),
            Rule::duration => Literal::Duration(self.duration(&inner).ms),
            Rule::timestamp => Literal::Timestamp(self.timestamp(&inner)),
            Rule::address => self.address(&inner),
            _ => Literal::Text(self.string(&inner).value),
        }
    }

    /// `int`
    pub fn int(&mut self, pair: &Pair<Rule>) -> i64 {
        pair.as_str().parse().unwrap_or_else(|_| {
            let message = format!("`{}` does not fit into 64 bits", pair.as_str());
            self.bad(
                pair,
                message,
                "the greatest int is 9223372036854775807; a larger number needs a point: `1.0` is a decimal or float",
            );
            0
        })
    }

    /// `int` as a count.
    pub fn count(&mut self, pair: &Pair<Rule>) -> u32 {
        pair.as_str().parse().unwrap_or_else(|_| {
            self.bad(pair, format!("`{}` is too large for a count", pair.as_str()), "the greatest count is 4294967295");
            0
        })
    }

    /// `duration`
    pub fn duration(&mut self, pair: &Pair<Rule>) -> DurationLit {
        let span = self.span(pair);
        let text = pair.as_str();
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit: i64 = match &text[digits.len()..] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => 604_800_000,
        };
        let ms = digits.parse::<i64>().ok().and_then(|n| n.checked_mul(unit)).unwrap_or_else(|| {
            self.bad(
                pair,
                format!("`{text}` is too long for a duration"),
                "a duration has less than 2^63 milliseconds",
            );
            0
        });
        DurationLit { ms, span }
    }

    /// `timestamp`, in milliseconds since 1970.
    pub fn timestamp(&mut self, pair: &Pair<Rule>) -> i64 {
        let text = pair.as_str();
        text.parse::<jiff::Timestamp>().map_or_else(
            |_| {
                let zoned = text.ends_with(['Z', 'z']) || text.rfind(['+', '-']).is_some_and(|at| at > 10);
                let help = if zoned {
                    "a timestamp reads `2026-01-31T10:00:00Z`"
                } else {
                    "it has no zone: write `Z` or `+02:00` at its end"
                };
                self.bad(pair, format!("`{text}` is no timestamp"), help);
                0
            },
            |t| t.as_millisecond(),
        )
    }

    fn address(&mut self, pair: &Pair<Rule>) -> Literal {
        let text = pair.as_str();
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let Ok(ip) = ip.parse::<IpAddr>() else {
            self.bad(pair, format!("`{text}` is no address"), "an address reads `10.0.0.1` or `2001:db8::1`");
            return Literal::Bool(false);
        };
        let most = if ip.is_ipv4() { 32 } else { 128 };
        match bits.map(str::parse::<u8>) {
            None => Literal::Ip(ip),
            Some(Ok(bits)) if bits <= most => Literal::Cidr(ip, bits),
            Some(_) => {
                self.bad(
                    pair,
                    format!("`{text}` is no network"),
                    &format!("the number after `/` is at most {most} here"),
                );
                Literal::Cidr(ip, most)
            }
        }
    }

    fn bad(&mut self, pair: &Pair<Rule>, message: String, help: &str) {
        let span = self.span(pair);
        self.complain(Code::BadLiteral, span, message).help = Some(help.to_owned());
    }

    /// `string`
    pub fn string(&mut self, pair: &Pair<Rule>) -> StringLit {
        let span = self.span(pair);
        let value = self.unescape(pair).text;
        StringLit { value, span }
    }

    /// A text without its quotes, its escapes resolved.
    pub fn unescape(&mut self, pair: &Pair<Rule>) -> Unescaped {
        let raw = pair.as_str();
        let start = pair.as_span().start();
        let mut out = Unescaped { text: String::with_capacity(raw.len()), map: Vec::with_capacity(raw.len()) };
        let body = &raw[..raw.len() - 1];
        let mut at = 1;
        while let Some(c) = body[at..].chars().next() {
            let (c, width) = if c == '\\' { self.escape(&body[at..], start + at) } else { (c, c.len_utf8()) };
            out.text.push(c);
            out.map.resize(out.text.len(), (start + at) as u32);
            at += width;
        }
        out.map.push((start + at) as u32);
        out
    }

    /// The character an escape stands for, and the escape's length.
    fn escape(&mut self, rest: &str, offset: usize) -> (char, usize) {
        let simple = match rest.as_bytes()[1] {
            b @ (b'"' | b'\\' | b'/') => Some(b as char),
            b'b' => Some('\u{8}'),
            b'f' => Some('\u{c}'),
            b'n' => Some('\n'),
            b'r' => Some('\r'),
            b't' => Some('\t'),
            _ => None,
        };
        if let Some(c) = simple {
            return (c, 2);
        }
        if let Some(found) = unicode(rest) {
            return found;
        }
        let wide = rest[1..].chars().next().map_or(1, char::len_utf8);
        let span = self.raw_place(offset, offset + 1 + wide);
        let written = &rest[..1 + wide];
        let finding = self.complain(Code::BadEscape, span, format!("`{written}` is no escape of a text"));
        finding.help =
            Some("a backslash is written twice; known are `\\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u0041`".to_owned());
        if !written.ends_with('u') {
            finding.fix = Some(crate::diagnostics::Fix { span, replacement: format!("\\{written}") });
        }
        ('\\', 1)
    }

    fn raw_place(&self, start: usize, end: usize) -> Span {
        self.place(start, end)
    }
}

/// `\u0041`, or two of them that make one character.
fn unicode(rest: &str) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = rest.get(at..at + 6)?.strip_prefix("\\u")?;
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    };
    let high = unit(0)?;
    if let Some(c) = char::from_u32(high) {
        return Some((c, 6));
    }
    let low = unit(6).filter(|low| (0xdc00..0xe000).contains(low) && high < 0xdc00)?;
    char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)).map(|c| (c, 12))
}
