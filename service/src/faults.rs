//! Named places where a test makes the disk fail or the process end, by the environment variable `FAILPOINTS` (see the crate `fail`), such as
//! `log-sync=5%return(enospc)` or `log-write=20*off->return(kill)`. Outside tests they are nothing.

use std::io;

/// Reads what a test wants; nothing outside tests. To be called once, before anything else.
pub fn set_up() {
    if fail::has_failpoints() {
        // As long as the process lives.
        std::mem::forget(fail::FailScenario::setup());
    }
}

/// Fails here, or ends the process, where a test says so: `return(kill)` ends it as `kill -9` does, `return(enospc)` is a full disk, anything else
/// another failure.
#[inline]
pub fn at(_place: &str) -> io::Result<()> {
    fail::fail_point!(_place, |what: Option<String>| match what.as_deref() {
        Some("kill") => std::process::abort(),
        Some("enospc") => Err(io::ErrorKind::StorageFull.into()),
        _ => Err(io::Error::other("a test wants it so")),
    });
    Ok(())
}
