//! `lapwing`: see `cli`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    lapwing::faults::set_up();
    lapwing::cli::main()
}
