//! The binary, run: how it ends and what it says.

use std::process::Command;

/// The binary.
pub fn lapwing() -> Command {
    Command::new(env!("CARGO_BIN_EXE_lapwing"))
}

/// Runs a command: its exit code and all that it says.
pub fn run(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("the binary starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// Runs a command, which ends with this exit code, says all the words, and does not panic.
#[track_caller]
pub fn says(command: &mut Command, exit: i32, words: &[&str]) {
    let (code, said) = run(command);
    assert_eq!(code, Some(exit), "{said}");
    for word in words {
        assert!(said.contains(word), "it does not say {word:?}:\n{said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}
