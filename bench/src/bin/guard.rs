//! Counts the instructions of each part by callgrind and compares them with `bench/instructions.txt`. With `LAPWING_REWRITE` set it
//! writes that file anew. Ends with 1 where a part has become slower, with 3 where it could not count.

use std::path::Path;
use std::process::{Command, ExitCode};

use lapwing_bench::Part;
use lapwing_bench::guard::{Figures, collected, compare, read, write};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");

fn main() -> ExitCode {
    match guard() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(3)
        }
    }
}

fn guard() -> Result<bool, String> {
    let own = std::env::current_exe().map_err(|e| format!("cannot say where this program stands: {e}"))?;
    let program = own.with_file_name("part");
    let mut counted = Figures::new();
    for part in Part::ALL {
        let count = count(&program, part)?;
        println!("{:<10} {count}", part.name());
        counted.insert(part.name().to_owned(), count);
    }
    if std::env::var_os("LAPWING_REWRITE").is_some() {
        std::fs::write(FILE, write(&counted)).map_err(|e| format!("cannot write `{FILE}`: {e}"))?;
        println!("accepted; see bench/instructions.txt");
        return Ok(true);
    }
    let text = std::fs::read_to_string(FILE).map_err(|e| format!("cannot read `{FILE}`: {e}"))?;
    let findings = compare(&read(&text)?, &counted);
    findings.better.iter().for_each(|sentence| println!("note: {sentence}"));
    findings.worse.iter().for_each(|sentence| eprintln!("error: {sentence}"));
    Ok(findings.worse.is_empty())
}

fn count(program: &Path, part: Part) -> Result<u64, String> {
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--collect-atstart=no",
            "--toggle-collect=part::counted*",
        ])
        .arg(program)
        .arg(part.name())
        // Nothing of the surroundings may count.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .output()
        .map_err(|e| format!("cannot start valgrind: {e}"))?;
    let report = String::from_utf8_lossy(&output.stderr);
    match collected(&report) {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(format!("part `{}` could not be counted:\n{report}", part.name())),
    }
}
