//! Compares how many instructions each part takes with the figures that were accepted.
//!
//! Instructions do not depend on what else a machine does, so that a small step back is seen where a time would drown it. They do
//! depend on the compiler and on what the processor can do; the tolerance is for that, and a new compiler may ask for new figures.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::Part;

/// How far a count may lie from the accepted one, as a share of it.
pub const TOLERANCE: f64 = 0.03;

/// Instructions by the name of the part.
pub type Figures = BTreeMap<String, u64>;

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Sentences about parts that take more than was accepted, or that have no accepted figure.
    pub worse: Vec<String>,
    /// Sentences about parts that take clearly less.
    pub better: Vec<String>,
}

/// Reads a file of figures: a part and its instructions a line, comments behind `#`.
pub fn read(text: &str) -> Result<Figures, String> {
    let lines = text.lines().map(|l| l.split('#').next().unwrap_or("").trim()).filter(|l| !l.is_empty());
    lines
        .map(|line| {
            let (name, count) =
                line.split_once(char::is_whitespace).ok_or(format!("`{line}` is no part and its figure"))?;
            let count = count.trim().replace('_', "").parse().map_err(|_| format!("`{}` is no count", count.trim()))?;
            Ok((name.to_owned(), count))
        })
        .collect()
}

/// Writes a file of figures.
pub fn write(figures: &Figures) -> String {
    let mut text = format!(
        "# Instructions of each part of an event's path, counted by callgrind; `make guard` compares, within {:.0} %.\n\
         # LAPWING_REWRITE=1 make guard writes them anew.\n",
        TOLERANCE * 100.0
    );
    for part in Part::ALL {
        if let Some(count) = figures.get(part.name()) {
            let _ = writeln!(text, "{:<10} {}", part.name(), grouped(*count));
        }
    }
    text
}

/// Compares what was counted with what was accepted.
pub fn compare(accepted: &Figures, counted: &Figures) -> Findings {
    let mut findings = Findings::default();
    for (name, new) in counted {
        let Some(old) = accepted.get(name) else {
            findings.worse.push(format!(
                "part `{name}` takes {} instructions and has no accepted figure; LAPWING_REWRITE=1 make guard accepts it",
                grouped(*new)
            ));
            continue;
        };
        let change = *new as f64 / *old as f64 - 1.0;
        let sentence = |word: &str| {
            format!(
                "part `{name}` takes {:.1} % {word} instructions than accepted: {} before, {} now (the tolerance is {:.0} %); \
                 LAPWING_REWRITE=1 make guard accepts the new figure",
                change.abs() * 100.0,
                grouped(*old),
                grouped(*new),
                TOLERANCE * 100.0
            )
        };
        if change > TOLERANCE {
            findings.worse.push(sentence("more"));
        } else if change < -TOLERANCE {
            findings.better.push(sentence("fewer"));
        }
    }
    findings
}

/// The instructions that callgrind says it has collected.
pub fn collected(report: &str) -> Option<u64> {
    let line = report.lines().find_map(|l| l.split_once("Collected :"))?;
    line.1.trim().parse().ok().filter(|n| *n > 0)
}

fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(of: &[(&str, u64)]) -> Figures {
        of.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn more_than_the_tolerance_is_a_finding() {
        let check = |new, worse: usize, better: usize| {
            let found = compare(&figures(&[("decode", 1_000_000)]), &figures(&[("decode", new)]));
            assert_eq!((found.worse.len(), found.better.len()), (worse, better), "{new}: {found:?}");
        };
        check(1_000_000, 0, 0);
        check(1_029_999, 0, 0);
        check(1_030_001, 1, 0);
        check(970_001, 0, 0);
        check(969_000, 0, 1);
    }

    #[test]
    fn the_sentence_says_what_to_do() {
        let found = compare(&figures(&[("step", 2_000_000)]), &figures(&[("step", 3_000_000), ("whole", 7)]));
        assert_eq!(
            found.worse,
            [
                "part `step` takes 50.0 % more instructions than accepted: 2_000_000 before, 3_000_000 now (the tolerance is 3 %); \
                 LAPWING_REWRITE=1 make guard accepts the new figure",
                "part `whole` takes 7 instructions and has no accepted figure; LAPWING_REWRITE=1 make guard accepts it",
            ]
        );
    }

    #[test]
    fn figures_are_read_as_they_were_written() {
        let all: Figures = Part::ALL.iter().zip(1u64..).map(|(p, n)| (p.name().to_owned(), n * 1_234_567)).collect();
        assert_eq!(read(&write(&all)), Ok(all));
        assert!(read("decode").is_err());
        assert!(read("decode many").is_err());
    }

    #[test]
    fn what_callgrind_prints() {
        assert_eq!(collected("==7== \n==7== Events    : Ir\n==7== Collected : 160848655\n==7== \n"), Some(160_848_655));
        assert_eq!(collected("==7== Collected : 0\n"), None, "nothing was counted: the function has another name");
        assert_eq!(collected("valgrind: no such file"), None);
    }
}
