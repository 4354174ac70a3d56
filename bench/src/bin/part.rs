//! Runs one part once: `part NAME`. What counts instructions begins and ends at `counted`.

use std::process::ExitCode;

use lapwing_bench::{Part, Prepared};

fn main() -> ExitCode {
    let Some(part) = std::env::args().nth(1).and_then(|name| Part::named(&name)) else {
        eprintln!("usage: part decode|index|step|snapshot|whole");
        return ExitCode::from(3);
    };
    let prepared = part.prepare();
    println!("{}", counted(prepared));
    ExitCode::SUCCESS
}

/// The work that is counted; its name is asked for by the guard.
#[inline(never)]
fn counted(prepared: Prepared) -> u64 {
    prepared.run()
}
