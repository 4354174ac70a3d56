//! What a regular expression says about the texts it finds, without running it.

use regex_syntax::hir::{Hir, HirKind};

/// The most literals that guard one expression.
const LITERALS_MAX: usize = 64;

/// Literals of which at least one stands in every text that an expression finds; none where there are no such.
pub fn literals(regex: &str) -> Option<Vec<String>> {
    let hir = regex_syntax::parse(regex).ok()?;
    guards(&hir)
}

fn guards(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Literal(literal) => String::from_utf8(literal.0.to_vec()).ok().map(|one| vec![one]),
        // The part whose shortest literal is the longest says most.
        HirKind::Concat(parts) => {
            parts.iter().filter_map(guards).rev().max_by_key(|all| all.iter().map(String::len).min())
        }
        HirKind::Alternation(parts) => {
            let all: Vec<String> = parts.iter().map(guards).collect::<Option<Vec<_>>>()?.concat();
            (all.len() <= LITERALS_MAX).then_some(all)
        }
        HirKind::Capture(capture) => guards(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => guards(&repetition.sub),
        HirKind::Repetition(_) | HirKind::Empty | HirKind::Class(_) | HirKind::Look(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::literals;

    #[test]
    fn every_text_that_is_found_holds_one_of_them() {
        let of = |regex: &str| literals(regex).map(|all| all.join(" ")).unwrap_or_default();
        assert_eq!(of("^powershell(\\.exe)?$"), "powershell");
        assert_eq!(of("a.*wget|curl"), "wget curl");
        assert_eq!(of("(net|sc) (start|stop)"), "start stop");
        assert_eq!(of("(ab)+"), "ab");
        assert_eq!(of("(ab)*[xy]"), "");
        assert_eq!(of("(?i)ab"), "");
        assert_eq!(of("ab|"), "");
    }
}
