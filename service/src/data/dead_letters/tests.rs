//! Dead letters over a log that is written by hand.

use std::path::PathBuf;
use std::time::Duration;

use super::super::log::embedded::{Epoch, Settings, Writing};
use super::*;

/// A log of small files of a test's own, and its dead letters.
struct Case {
    folder: PathBuf,
    log: Option<(Log, Writing)>,
}

impl Case {
    fn new(name: &str) -> Case {
        let folder = std::env::temp_dir().join(format!("lapwing-dead-letters-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let mut case = Case { folder, log: None };
        case.open();
        case
    }

    fn open(&mut self) {
        if let Some((log, writing)) = self.log.take() {
            drop(log);
            writing.join();
        }
        let settings = Settings {
            segment_bytes: 512,
            retain_for: Duration::ZERO,
            retain_bytes: 0,
            sync_every: Duration::ZERO,
            clock: || 1_767_607_200_000,
        };
        let (log, writing, _) = Log::open(&self.folder, settings).expect("it opens");
        self.log = Some((log, writing));
    }

    fn log(&self) -> &Log {
        &self.log.as_ref().expect("it is open").0
    }

    fn letters(&self) -> DeadLetters {
        DeadLetters::new(self.log().clone())
    }

    /// Appends lines by hand, as one record; the number of the first.
    fn lines(&self, lines: &[&[u8]]) -> u64 {
        let bytes: Vec<u8> = lines.iter().flat_map(|line| [line, b"\n".as_slice()].concat()).collect();
        wait(self.log().append(bytes, lines.len() as u64, None)).expect("it can be written").first
    }

    /// Commits that lines gave no event.
    fn rejects(&self, rejects: &[(u64, &str)]) {
        let rejected = rejects.iter().map(|(offset, kind)| {
            format!("{{\"offset\":{offset},\"kind\":\"{kind}\",\"reason\":\"line {offset} is {kind}\"}}\n")
        });
        let rejected = rejected.collect::<String>().into_bytes();
        let epoch = Epoch { until: self.log().durable().place(), rejected, ..Epoch::default() };
        self.log().commit(epoch).wait().expect("it can be written");
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    // What may block is allowed to on threads of this runtime alone.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a thread");
    runtime.block_on(future)
}

fn all(letters: &DeadLetters, kind: Option<Kind>, limit: usize) -> Vec<DeadLetter> {
    let (mut found, mut after, until) = (Vec::new(), None, letters.end());
    loop {
        let page = letters.page(&Wanted { after, until, kind, limit }).expect("it can be read");
        assert!(page.letters.len() <= limit);
        found.extend(page.letters);
        if !page.more {
            // Behind the end comes nothing, and that is no mistake.
            let behind = letters.page(&Wanted { after: Some(page.next), until, kind, limit }).expect("it can be read");
            assert!(behind.letters.is_empty() && !behind.more);
            return found;
        }
        after = Some(page.next);
    }
}

#[test]
fn pages_of_any_length_have_all_of_them_with_their_lines() {
    let case = Case::new("pages");
    let mut expected = Vec::new();
    for round in 0..20 {
        let texts: Vec<String> = (0..5).map(|i| format!("{{\"round\":{round},\"i\":{i}}}\r")).collect();
        let lines: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
        let first = case.lines(&lines);
        // Not in the order of lines, and one of an earlier record.
        let rejects = [(first + 4, "late"), (first + 1, "bad"), (first.saturating_sub(3), "ahead")];
        case.rejects(&rejects);
        let line = |number: u64| format!("{{\"round\":{},\"i\":{}}}\r", number / 5, number % 5).into_bytes();
        expected.extend(rejects.map(|(number, kind)| (number, kind.to_owned(), Some(line(number)))));
        case.rejects(&[]);
    }
    let letters = case.letters();
    let told = |letters: Vec<DeadLetter>| {
        let told = letters.into_iter().map(|l| {
            assert_eq!(l.reason, format!("line {} is {}", l.offset, serde_json::json!(l.kind).as_str().unwrap_or("")));
            (l.offset, serde_json::json!(l.kind).as_str().unwrap_or("").to_owned(), l.line)
        });
        told.collect::<Vec<_>>()
    };
    for limit in [1, 2, 3, 7, 1_000] {
        assert_eq!(told(all(&letters, None, limit)), expected, "{limit} at once");
        let late: Vec<_> = expected.iter().filter(|(_, kind, _)| kind == "late").cloned().collect();
        assert_eq!(told(all(&letters, Some(Kind::Late), limit)), late, "{limit} late ones at once");
    }
    // Ids go on being valid, and others are none.
    for letter in all(&letters, None, 100) {
        assert_eq!(letters.get(letter.id).expect("it is there"), letter);
        assert_eq!(letter.id.to_string().parse(), Ok(letter.id));
        let other = Id { number: letter.id.number + 3, ..letter.id };
        assert!(matches!(letters.get(other), Err(Failure::None(_))));
        let beside = Id { place: letter.id.place + 1, ..letter.id };
        assert!(matches!(letters.get(beside), Err(Failure::None(_))), "{beside}");
        let wanted = Wanted { after: Some(beside), until: u64::MAX, kind: None, limit: 1 };
        assert!(matches!(letters.page(&wanted), Err(Failure::None(_))), "{beside}");
    }
    let beyond = Some(Id { place: letters.end() + 1, number: 1 });
    let wanted = Wanted { after: beyond, until: u64::MAX, kind: None, limit: 1 };
    assert!(matches!(letters.page(&wanted), Err(Failure::None(_))));
}

#[test]
fn a_line_is_put_in_again_once_however_long_ago_that_was() {
    let mut case = Case::new("redrive");
    let first = case.lines(&[b"{\"a\":1}", b"no text: \xff", b"{\"a\":3}"]);
    case.rejects(&[(first, "late"), (first + 1, "bad"), (first + 2, "ahead")]);
    let redrive = |case: &Case, ids: &[Id]| {
        let refusal = |line: &[u8]| str::from_utf8(line).err().map(|_| "is no text".to_owned());
        wait(case.letters().redrive(ids.to_vec(), refusal)).expect("it can be written")
    };
    let ids: Vec<Id> = all(&case.letters(), None, 10).iter().map(|letter| letter.id).collect();
    let refused = Redriven::Refused { reason: "is no text".to_owned() };
    // In their order, whatever order they are asked in.
    let expected = [(ids[1], refused.clone()), (ids[2], Redriven::Taken { offset: 3 })];
    assert_eq!(redrive(&case, &[ids[2], ids[1], ids[2]]), expected);
    let again = [(ids[0], Redriven::Taken { offset: 4 }), (ids[1], refused), (ids[2], Redriven::Already { offset: 3 })];
    assert_eq!(redrive(&case, &ids), again);
    let found = NumberedLines::new(case.log()).get(4).expect("it can be read");
    assert_eq!(found.as_deref(), Some(b"{\"a\":1}".as_slice()));
    // The log remembers keys of two files; it is opened again when there are more.
    for _ in 0..50 {
        case.lines(&[b"{\"more\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}"]);
    }
    case.open();
    let third = [(ids[0], Redriven::Already { offset: 4 })];
    assert_eq!(redrive(&case, &ids[..1]), third);
    let none = Id { place: ids[0].place, number: 9 };
    let beside = Id { place: ids[0].place - 1, number: 1 };
    let refused = Redriven::Refused { reason: "there is no dead letter with this id".to_owned() };
    assert_eq!(redrive(&case, &[none, beside]), [(beside, refused.clone()), (none, refused)]);
}

#[test]
fn what_went_from_the_log_is_told() {
    let case = Case::new("gone");
    let first = case.lines(&[b"{}"]);
    case.rejects(&[(first, "late")]);
    let old = all(&case.letters(), None, 10)[0].id;
    let fill = || {
        for _ in 0..10 {
            case.lines(&[&[b'x'; 100]]);
        }
    };
    fill();
    let second = case.lines(&[b"{\"a\":2}"]);
    fill();
    // The line is in a file that goes, what is said of it in one that stays.
    case.rejects(&[(second, "late"), (first, "late")]);
    case.log().may_go_before(case.log().durable().place());
    wait(case.log().mend()).expect("what was asked before is done then");
    let letters = case.letters();
    let found = all(&letters, None, 10);
    assert_eq!(found.iter().map(|l| (l.offset, l.line.clone())).collect::<Vec<_>>(), [(second, None), (first, None)]);
    assert!(matches!(letters.get(old), Err(Failure::Read(ReadError::Gone { .. }))));
    let wanted = Wanted { after: Some(old), until: u64::MAX, kind: None, limit: 1 };
    assert!(matches!(letters.page(&wanted), Err(Failure::Read(ReadError::Gone { .. }))));
    let done = wait(letters.redrive(vec![old, found[0].id], |_| None)).expect("it can be read");
    let reasons = ["it went from the log", "its line went from the log"];
    let expected = reasons.map(|reason| Redriven::Refused { reason: reason.to_owned() });
    assert_eq!(done.into_iter().map(|(_, result)| result).collect::<Vec<_>>(), expected);
}
