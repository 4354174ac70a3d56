//! Who closes the pipe early (`lapwing check … | head -1`) is not shouted at: commands end as they would have, and quietly.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const RULES: &str = r#"event login { at timestamp  user string  success bool }
rule guessed {
  by       user
  match    login{3} where not success
  within   10m
}
test guessed "three failures" {
  default login { user: "ann", success: false }
  repeat 3 every 10s { login {} }
  expect 1
}
"#;

/// A folder of a test's own.
fn folder(test: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pipe").join(test);
    fs::create_dir_all(&folder).expect("the target folder can be written");
    fs::write(folder.join("rules.lap"), RULES).expect("the target folder can be written");
    fs::write(folder.join("bad.lap"), RULES.replace("success\n", "sucess\n"))
        .expect("the target folder can be written");
    let line = r#"{"type":"login","at":1,"user":"ann","success":false}"#;
    fs::write(folder.join("events.jsonl"), format!("{line}\n").repeat(10)).expect("the target folder can be written");
    folder
}

/// Runs the binary with nobody at the other end of its standard output: its exit code, and what it says beside it.
fn unheard(arguments: &[&str]) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_lapwing"))
        .args(arguments)
        .current_dir(folder("output"))
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .expect("the binary starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn nobody_reads_the_output() {
    for (arguments, exit) in [
        (&["explain", "rules.lap"][..], 0),
        (&["explain", "--format", "json", "rules.lap"], 0),
        (&["explain", "--format", "dot", "rules.lap"], 0),
        (&["check", "--format", "json", "rules.lap"], 0),
        (&["check", "--format", "json", "bad.lap"], 2),
        (&["test", "rules.lap"], 0),
        (&["test", "--format", "json", "rules.lap"], 0),
        (&["bench", "--rules", "rules.lap", "--input", "events.jsonl"], 0),
        (&["bench", "--rules", "rules.lap", "--input", "events.jsonl", "--format", "json"], 0),
        (&["generate", "--events", "20000"], 0),
        (&["demo", "--events", "20000"], 0),
        (&["--help"], 0),
    ] {
        let (code, said) = unheard(arguments);
        assert_eq!(code, Some(exit), "{arguments:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("Broken pipe"), "{arguments:?}: {said}");
    }
}

#[test]
fn nobody_reads_the_errors() {
    for (arguments, exit) in [(&["check", "bad.lap"][..], 2), (&["check", "rules.lap"], 0), (&["check", "none.lap"], 3)]
    {
        let (reader, writer) = std::io::pipe().expect("a pipe can be made");
        drop(reader);
        let mut child = Command::new(env!("CARGO_BIN_EXE_lapwing"));
        let status = child.args(arguments).current_dir(folder("errors")).stdout(Stdio::null()).stderr(writer).status();
        assert_eq!(status.expect("the binary starts").code(), Some(exit), "{arguments:?}");
    }
}

#[test]
fn only_the_beginning_is_read() {
    let (mut reader, writer) = std::io::pipe().expect("a pipe can be made");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lapwing"));
    command.args(["generate", "--events", "100000"]).stdout(writer).stderr(Stdio::piped());
    let child = command.spawn().expect("the binary starts");
    // The command holds the other end of the pipe as long as this process does.
    drop(command);
    let mut line = [0; 10];
    reader.read_exact(&mut line).expect("it writes something");
    drop(reader);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    assert!(line.starts_with(b"{\"type\":"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_no_closed_pipe() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has a full device");
    let output = Command::new(env!("CARGO_BIN_EXE_lapwing"))
        .args(["explain", "rules.lap"])
        .current_dir(folder("full"))
        .stdout(full)
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("cannot write to standard output"), "{said}");
}
