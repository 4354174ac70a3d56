//! The store of saves on disk: what it holds when a save ends early, fails, or is damaged, and keys that are there alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapwing::data::pipeline::{Lines, Options as Of, Pipeline};
use lapwing::data::store::{Changes, Options, Saved, Step, Store, StoreError};
use lapwing_engine::order::Order;
use lapwing_engine::shard::outside::KeyName;
use lapwing_engine::shard::saving::{Change, Held};
use lapwing_engine::slot::Known;
use lapwing_engine::store::codec::Corrupt;
use lapwing_tests::engine::{Collected, compile};

const STEPS: [Step; 4] = [Step::Begins, Step::Writes, Step::Written, Step::TakenIn];

fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("store-{name}"));
    let _ = fs::remove_dir_all(&path);
    path
}

fn open(folder: &Path) -> (Store, Option<Saved>) {
    Store::open(folder, Options::default()).expect("the store opens")
}

fn name(number: u16) -> KeyName {
    KeyName { group: number % 256, space: number % 3, key: format!("key {number}").into_bytes().into() }
}

/// A change of keys by their numbers: what each holds now, and what it held before.
fn changes(all: bool, keys: impl IntoIterator<Item = (u16, Option<&'static str>, Known)>) -> Changes {
    let change = |(number, now, before): (u16, Option<&str>, Known)| {
        let held = |text: &str| Held { ends: i64::MAX, stays: text.starts_with('!'), bytes: text.as_bytes().to_vec() };
        Change { name: name(number), before, now: now.map(held) }
    };
    let mut keys: Vec<Change> = keys.into_iter().map(change).collect();
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    Changes { all, keys, rest: b"rest".to_vec(), clock: 0 }
}

fn save(store: &mut Store, changes: Changes, place: &str) -> Result<(), StoreError> {
    store.save(changes, place.as_bytes().to_vec());
    store.wait().expect("a save was begun").map(drop)
}

fn all(store: &Store, all: bool) -> Vec<(KeyName, String)> {
    let mut found = Vec::new();
    let read = |name: &KeyName, bytes: &[u8]| {
        found.push((name.clone(), String::from_utf8_lossy(bytes).into_owned()));
        Ok::<(), Corrupt>(())
    };
    store.read(all, read).expect("the store can be read");
    found
}

fn first() -> Changes {
    changes(true, (0..1_000).map(|n| (n, Some(if n % 10 == 0 { "!one" } else { "one" }), Known::Nothing)))
}

/// Every third key has changed, every fifth has gone.
fn second() -> Changes {
    let known = |n: u16| if n.is_multiple_of(10) { Known::Stays } else { Known::Cold };
    let gone = (0..1_000).filter(|n| n % 5 == 0).map(|n| (n, None, known(n)));
    let new = (0..1_000).filter(|n| n % 3 == 0 && n % 5 > 0).map(|n| (n, Some("two"), known(n)));
    changes(false, gone.chain(new))
}

/// Whether the store holds the first save or the second, and nothing else.
fn which(store: &Store, saved: &Saved) -> u8 {
    assert_eq!(saved.rest, b"rest");
    let keys = all(store, true);
    assert!(keys.is_sorted());
    let (ones, twos) = (keys.iter().filter(|(_, v)| v.ends_with("one")).count(), keys.len());
    let stay = all(store, false);
    assert!(stay.iter().all(|(_, v)| v == "!one"));
    match (ones, twos, stay.len(), &*saved.place) {
        (1_000, 1_000, 100, b"first") => 1,
        (533, 800, 0, b"second") => 2,
        other => panic!("neither save: {other:?}"),
    }
}

/// The other half of the next test: saves twice and ends with the process at a step of the second.
#[test]
fn ends_in_the_middle_of_a_save() {
    let Ok(at) = std::env::var("LAPWING_STORE_ENDS_AT") else { return };
    let (at, folder) = at.split_once(':').expect("a step and a folder");
    let armed = Arc::new(Mutex::new(false));
    let seen = armed.clone();
    let at = at.to_owned();
    let watch = move |step: Step| {
        if *seen.lock().expect("nothing panics") && format!("{step:?}") == at {
            std::process::abort();
        }
        Ok(())
    };
    let options = Options { watch: Some(Arc::new(watch)), ..Options::default() };
    let (mut store, _) = Store::open(Path::new(folder), options).expect("the store opens");
    save(&mut store, first(), "first").expect("it is saved");
    *armed.lock().expect("nothing panics") = true;
    let _ = save(&mut store, second(), "second");
    unreachable!("the process has ended");
}

#[test]
fn a_save_that_the_process_ends_in_is_there_or_the_one_before() {
    for step in STEPS {
        let folder = folder(&format!("ends-{step:?}"));
        let mut command = Command::new(std::env::current_exe().expect("the test knows its file"));
        command.args(["--exact", "store::ends_in_the_middle_of_a_save"]);
        command.env("LAPWING_STORE_ENDS_AT", format!("{step:?}:{}", folder.display()));
        let output = command.output().expect("it starts");
        assert!(!output.status.success(), "{step:?}: {output:?}");
        let (mut store, saved) = open(&folder);
        let there = which(&store, &saved.expect("one was saved"));
        assert_eq!(there, if step == Step::TakenIn { 2 } else { 1 }, "{step:?}");
        // It goes on from there, also where the process ended before a file had lost its first name.
        if let Some(taken_in) = sorted_files(&folder).first() {
            let _ = fs::remove_file(folder.join("next.save"));
            fs::hard_link(taken_in, folder.join("next.save")).expect("a link can be made");
        }
        if there == 1 {
            save(&mut store, second(), "second").expect("it is saved");
        }
        drop(store);
        let (store, saved) = open(&folder);
        assert_eq!(which(&store, &saved.expect("one was saved")), 2, "{step:?}");
    }
}

#[test]
fn what_a_save_that_failed_should_have_written_comes_with_the_next() {
    for step in STEPS {
        let folder = folder(&format!("fails-{step:?}"));
        let fails = Arc::new(Mutex::new(false));
        let seen = fails.clone();
        let watch = move |at: Step| match at == step && *seen.lock().expect("nothing panics") {
            true => Err(io::Error::other("no space left on device")),
            false => Ok(()),
        };
        let options = Options { watch: Some(Arc::new(watch)), ..Options::default() };
        let (mut store, _) = Store::open(&folder, options).expect("the store opens");
        save(&mut store, first(), "first").expect("it is saved");
        *fails.lock().expect("nothing panics") = true;
        let error = save(&mut store, second(), "lost").expect_err("it fails").to_string();
        assert!(error.contains("no space left") && error.contains(&*folder.to_string_lossy()), "{error}");
        // What it should have held is still read, and the save before is still there.
        let mut outside = store.outside();
        let read = outside.take(&[name(3), name(5), name(7)]).expect("they are read");
        assert_eq!(read.len(), 2, "key 5 has gone");
        if step != Step::TakenIn {
            assert_eq!(all(&store, true).len(), 1_000);
        }
        *fails.lock().expect("nothing panics") = false;
        save(&mut store, changes(false, []), "second").expect("it is saved");
        drop((store, outside));
        let (store, saved) = open(&folder);
        assert_eq!(which(&store, &saved.expect("one was saved")), 2, "{step:?}");
    }
}

#[test]
fn a_save_under_way_is_read_as_if_it_had_ended() {
    let folder = folder("under-way");
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let watch = move |step: Step| {
        if step == Step::Written {
            wait.lock().expect("nothing panics").recv_timeout(Duration::from_secs(20)).map_err(io::Error::other)?;
        }
        Ok(())
    };
    let options = Options { watch: Some(Arc::new(watch)), ..Options::default() };
    let (mut store, _) = Store::open(&folder, options).expect("the store opens");
    go.send(()).expect("it waits");
    save(&mut store, first(), "first").expect("it is saved");
    store.save(second(), b"second".to_vec());
    assert!(!store.is_idle() && store.poll().is_none());
    let mut outside = store.outside();
    let mut names: Vec<KeyName> = [1, 3, 5, 2_000].map(name).into();
    names.sort();
    let mut read = outside.take(&names).expect("they are read");
    read.sort();
    let mut wanted = vec![(name(1), b"one".to_vec()), (name(3), b"two".to_vec())];
    wanted.sort();
    assert_eq!(read, wanted);
    assert_eq!(outside.take_all().expect("they are read").len(), 800);
    assert_eq!(outside.take(&names).expect("they are read"), [], "all were taken");
    go.send(()).expect("it waits");
    store.wait().expect("one was under way").expect("it is saved");
    // The next save is of all, under other numbers.
    go.send(()).expect("it waits");
    save(&mut store, changes(true, [(7, Some("three"), Known::Nothing)]), "third").expect("it is saved");
    assert_eq!(all(&store, true), [(name(7), "three".to_owned())]);
    assert_eq!(outside.take(&[name(7)]).expect("it is read").len(), 1);
    drop((store, outside));
    let (store, saved) = open(&folder);
    assert_eq!(saved.expect("one was saved").place, b"third");
    assert_eq!((all(&store, true).len(), all(&store, false).len()), (1, 0));
}

fn sorted_files(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).expect("the folder is there").map(|f| f.expect("a file").path());
    files.filter(|f| f.extension().is_some_and(|e| e == "sst")).collect()
}

#[test]
fn a_damaged_store_is_refused() {
    let folder = folder("damaged");
    let (mut store, _) = open(&folder);
    save(&mut store, first(), "first").expect("it is saved");
    drop(store);
    let files = sorted_files(&folder);
    let sorted = files.first().expect("there is a sorted file");
    let whole = fs::read(sorted).expect("it can be read");
    for at in [10, whole.len() / 3, whole.len() / 2, whole.len() - 20] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        fs::write(sorted, &damaged).expect("it can be written");
        let read = |store: &Store| store.read(true, |_, _| Ok(()));
        let refused = match Store::open(&folder, Options::default()) {
            Ok((store, _)) => read(&store).err(),
            Err(e) => Some(e),
        };
        let why = refused.map(|e| e.to_string()).unwrap_or_default();
        assert!(why.contains("cannot be read"), "byte {at}: {why}");
    }
    fs::write(sorted, &whole).expect("it can be written");
    let (store, saved) = open(&folder);
    assert_eq!(which(&store, &saved.expect("one was saved")), 1);
    // Two at once would write over each other.
    let second = Store::open(&folder, Options::default()).err().expect("it is in use").to_string();
    assert!(second.contains("lock"), "{second}");
    let read_only = Store::open(&folder, Options { read_only: true, ..Options::default() });
    assert!(read_only.is_ok_and(|(_, saved)| saved.is_some()));
}

const RULES: &str = "event login { at timestamp  user string  ok bool }\n\
    rule twice {\n  by user\n  match a: login where not ok then b: login where ok\n  within 1h\n}\n\
    rule often {\n  by user\n  match login where count(login) over 1h == 4\n}\n";

/// Four logins of each user, in four rounds over all of them, judged with nearly nothing in memory, and started anew on the way.
#[test]
fn a_state_larger_than_memory_gives_the_same() {
    const USERS: u64 = 20_000;
    const MEMORY: usize = 200_000;
    let folder = folder("larger");
    let rules = Arc::new(compile(RULES).expect("the rules compile").rule_set(1).expect("they fit"));
    let options = Of { order: Order::Arrival, ..Of::default() };
    let mut found = Collected::default();
    let (mut store, _) = open(&folder);
    let mut pipeline = Pipeline::new(rules.clone(), options.clone(), 2);
    pipeline.note_changes();
    pipeline.keep_outside(Some(store.outside()));
    let (mut line, mut most) = (0, 0);
    for round in 0..4u64 {
        for chunk in 0..20 {
            let text: String = (chunk * USERS / 20..(chunk + 1) * USERS / 20)
                .map(|user| {
                    let at = round * 600_000 + user / 100;
                    format!("{{\"type\":\"login\",\"at\":{at},\"user\":\"u{user}\",\"ok\":{}}}\n", round % 2 == 1)
                })
                .collect();
            line += pipeline.take(&Lines { bytes: text.as_bytes(), first: line }, &mut found);
            store.wait().map_or(Ok(()), |done| done.map(drop)).expect("it is saved");
            store.save(pipeline.changes(), line.to_be_bytes().to_vec());
            pipeline.drop_saved(MEMORY);
            most = most.max(pipeline.keys());
            assert!(pipeline.failure().is_none(), "{:?}", pipeline.failure());
        }
        drop((pipeline.keep_outside(None), store));
        let (again, saved) = open(&folder);
        let saved = saved.expect("one was saved");
        assert_eq!(saved.place, line.to_be_bytes());
        store = again;
        let read = |each: &mut dyn FnMut(&KeyName, &[u8]) -> Result<(), Corrupt>| {
            store.read(false, each).map_err(|_| Corrupt("it cannot be read"))
        };
        pipeline = Pipeline::load_saved(vec![rules.clone()], options.clone(), 2, &saved.rest, read).expect("it loads");
        assert_eq!(pipeline.keys(), 0, "nothing has to be in memory");
        pipeline.keep_outside(Some(store.outside()));
    }
    assert_eq!(found.alerts.len() as u64, 3 * USERS);
    assert!(most < USERS as usize / 4, "{most} keys were in memory");
    assert_eq!(all(&store, true).len() as u64, USERS);
}
