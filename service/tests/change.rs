//! What a change of the rules does to live state, told before it is done.

use std::fs;
use std::path::Path;
use std::process::Command;

const OLD: &str = "\
event login { at timestamp  user string  ip string  ok bool  country string? }
rule gone {
  by user
  match login where country == \"XX\"
}
rule led {
  by user
  match a: login where not ok then b: login where ip == a.ip
  within 10m
}
rule moved {
  by user
  match f: login{3} where not ok
  within 10m
}
rule same {
  by user
  match login where ok and count(login) over 1h > 10
}
rule window {
  by user
  window 1h tumbling
  when count(login) > 10
  lateness 10m
}
";

#[test]
fn check_against_tells_what_becomes_of_state() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("against");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    let (old, new) = (folder.join("old.lap"), folder.join("new.lap"));
    let text = OLD
        .replace("rule gone {", "rule come {")
        .replace("a: login where not ok", "a: login where not ok and ip != \"-\" and country == \"FR\"")
        .replace("by user\n  match f", "by ip\n  match f")
        .replace("lateness 10m", "lateness 20m")
        .replace("rule same {\n", "rule same {\n  title \"The same\"\n");
    fs::write(&old, OLD).expect("the target folder can be written");
    fs::write(&new, text).expect("the target folder can be written");
    let check = |format: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lapwing"));
        let output = command.arg("check").arg(&new).arg("--against").arg(&old).args(format).output();
        let output = output.expect("the binary starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it writes text")
    };
    assert_eq!(
        check(&[]),
        "come: is new\n\
         gone: goes, and its runs with it; what waits to be reported is reported\n\
         led: has changed: its runs are led through the new pattern, and live on where they fit\n    \
         what is asked of `a` now is not known of its events: runs that hold one end\n\
         moved: begins anew: it is counted per something else\n\
         same: means the same: its runs go on\n\
         window: has changed: its open windows go on and are judged by the new rule; what was reported is final\n"
    );
    let json: serde_json::Value = serde_json::from_str(&check(&["--format", "json"])).expect("it writes JSON");
    assert_eq!(json[4]["rule"], "same");
}
