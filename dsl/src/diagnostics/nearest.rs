//! The name that was probably meant: the closest of a list by Damerau-Levenshtein distance.

/// The candidate nearest to `word`, if one is near enough: at most two edits (one for short words), where
/// case counts for nothing and two swapped letters are one edit. Of equals the first wins.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let most = match word.chars().count() {
        0 => return None,
        1..=3 => 1,
        _ => 2,
    };
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let found = distance(&word, &candidate.to_lowercase(), most);
        if found <= most && found < candidate.chars().count() && best.is_none_or(|(d, _)| found < d) {
            best = Some((found, candidate));
        }
    }
    best.map(|(_, name)| name)
}

/// Optimal string alignment distance, or anything above `most` where it is greater.
fn distance(a: &str, b: &str, most: usize) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > most {
        return most + 1;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_what_was_meant() {
        let names = ["within", "when", "match", "title"];
        assert_eq!(nearest("witin", names), Some("within"));
        assert_eq!(nearest("mathc", names), Some("match"));
        assert_eq!(nearest("Title", names), Some("title"));
        assert_eq!(nearest("frobnicate", names), None);
        assert_eq!(nearest("x", ["a"]), None);
    }
}
