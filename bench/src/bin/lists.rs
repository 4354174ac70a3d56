//! Loads lists of ten million entries as `--data` does, looks values up and changes a few: time, and memory.
//!
//! `lists [entries]` writes its files into the folder for temporary files and removes them.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Instant;

use lapwing::tables::folder;
use lapwing_dsl::schema::{ListType, Schema};
use lapwing_dsl::syntax::Span;
use lapwing_dsl::value::{Type, Value};
use lapwing_engine::data::list::ListChange;

/// How many values are looked up.
const LOOKUPS: u64 = 5_000_000;

fn main() {
    let entries = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(10_000_000);
    println!("entries of | load s | MiB more | hit ns | miss ns | 1,000 changes of 3 ms");
    measure("string", Type::String, entries, |n| Value::text(text(n)));
    measure("ip", Type::Ip, entries, |n| Value::Ip(address(n)));
    measure("cidr", Type::Cidr, entries, |n| match n % 8 {
        0 => Value::Cidr(IpAddr::from((mixed(n) as u32).to_be_bytes()), 17 + (n / 8 % 15) as u8),
        _ => Value::Ip(address(n)),
    });
}

/// SplitMix64's last step: every number goes to another.
fn mixed(n: u64) -> u64 {
    let z = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Ten characters, as an account or a device has them.
fn text(n: u64) -> String {
    format!("u{:09}", mixed(n) % 1_000_000_000)
}

/// Below 128.0.0.0 on the lists, above for what is not.
fn address(n: u64) -> IpAddr {
    IpAddr::from((mixed(n) as u32 & 0x7fff_ffff).to_be_bytes())
}

fn measure(name: &str, ty: Type, entries: u64, value: impl Fn(u64) -> Value<'static>) {
    let folder = std::env::temp_dir().join(format!("lapwing-lists-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for temporary files");
    let mut lines = String::new();
    for n in 0..entries {
        match value(n) {
            Value::Text(text) => writeln!(lines, "{text}"),
            Value::Ip(ip) => writeln!(lines, "{ip}"),
            Value::Cidr(net, length) => writeln!(lines, "{net}/{length}"),
            _ => Ok(()),
        }
        .expect("a string takes any text");
    }
    std::fs::write(folder.join("l.txt"), &lines).expect("a file for the entries");
    drop(lines);
    let list = ListType { name: "l".to_owned(), ty: ty.clone(), span: Span::default() };
    let schema = Schema { lists: vec![list], ..Schema::default() };
    let before = resident();
    let started = Instant::now();
    let contents = folder::read(&folder, &schema).expect("the entries are well formed");
    let load = started.elapsed().as_secs_f64();
    std::fs::remove_dir_all(&folder).expect("the folder can be removed");
    let more = resident().saturating_sub(before) >> 20;
    let mut list = contents.data(&schema).lists[0].clone();

    // What is looked up is made beforehand, a part at a time, in another order than that of the file.
    let time = |hit: bool| {
        let (mut spent, mut found) = (0.0, 0u64);
        for part in 0..LOOKUPS / 100_000 {
            let values: Vec<Value<'static>> = (0..100_000)
                .map(|i| {
                    let n = mixed(part * 100_000 + i + 77) % entries;
                    match (hit, &ty) {
                        (true, _) => value(n),
                        (false, Type::String) => Value::text(format!("v{n:09}")),
                        (false, _) => Value::Ip(IpAddr::from((mixed(n) as u32 | 0x8000_0000).to_be_bytes())),
                    }
                })
                // A network is no address to be looked up.
                .map(|v| if let Value::Cidr(net, _) = v { Value::Ip(net) } else { v })
                .collect();
            let started = Instant::now();
            found += values.iter().filter(|v| list.holds(v, 0) == Some(true)).count() as u64;
            spent += started.elapsed().as_secs_f64();
        }
        assert!(!hit || found == LOOKUPS, "{found} of {LOOKUPS} are on the list");
        spent * 1e9 / LOOKUPS as f64
    };
    let (hit, miss) = (time(true), time(false));
    let started = Instant::now();
    for n in 0..1_000 {
        let mut change = ListChange::new(&ty);
        change.add(&value(entries + 2 * n), Some(5)).expect("room");
        change.add(&value(entries + 2 * n + 1), None).expect("room");
        change.remove(&value(n)).expect("room");
        list = list.with(change).expect("room").into();
    }
    let changes = started.elapsed().as_secs_f64() * 1e3;
    println!("{name:>10} | {load:6.2} | {more:8} | {hit:6.0} | {miss:7.0} | {changes:8.1}");
}

/// Resident memory in bytes; 0 where the system does not tell.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}
