//! What is in `packaging` and the Dockerfile holds: files that are named exist, keys are known, times fit. Where there is systemd it judges the unit.

mod binary;
mod service;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lapwing::data::webhook::all::END;
use lapwing::serve::{DRAIN, LAST_TASKS};

use binary::{lapwing, run, says};
use service::Service;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// A folder for what is made of the files.
fn made() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packaging");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}

#[test]
fn every_key_of_the_configuration_is_known() {
    let check = |path: &Path| says(lapwing().args(["config", "check", "--config"]).arg(path), 0, &["is well"]);
    check(&root().join("packaging/lapwing.toml"));
    // The settings that are not made, too.
    let text = read("packaging/lapwing.toml");
    let setting = |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).map(str::to_owned);
    let lines: Vec<String> = text.lines().map(|line| setting(line).unwrap_or_else(|| line.to_owned())).collect();
    assert!(lines.iter().any(|line| line == "[[alerts.webhook]]"), "nothing was taken in");
    let all = made().join("all.toml");
    fs::write(&all, lines.join("\n")).expect("a file can be written");
    check(&all);
}

/// The words of a line of the Dockerfile that begin with an instruction.
fn instructions<'t>(text: &'t str, name: &str) -> Vec<Vec<&'t str>> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    lines.map(|rest| rest.split_whitespace().collect()).collect()
}

#[test]
fn the_container_copies_what_there_is_and_builds_with_the_compiler_of_the_project() {
    let text = read("Dockerfile");
    let kept = read(".dockerignore");
    let mut copied = 0;
    for words in instructions(&text, "COPY").into_iter().filter(|words| !words[0].starts_with("--from")) {
        let (_, sources) = words.split_last().expect("COPY has words");
        for source in sources {
            assert!(root().join(source).exists(), "the Dockerfile copies {source}");
            let top = source.split('/').next().unwrap_or_default();
            assert!(kept.lines().any(|line| line == format!("!{top}")), ".dockerignore leaves {source} out");
            copied += 1;
        }
    }
    assert!(copied > 5);
    // All members of the workspace have to be there, whatever is built.
    let members = read("Cargo.toml");
    let members = members.split_once("members = [").and_then(|(_, rest)| rest.split_once(']')).expect("a workspace").0;
    for member in members.split(',').map(|member| member.trim().trim_matches('"')) {
        let top = member.split('/').next().unwrap_or_default();
        assert!(text.contains(&format!("COPY {top} {top}\n")), "the Dockerfile does not copy {member}");
    }
    let from = instructions(&text, "FROM");
    let rust = read("Cargo.toml");
    let version = rust.split_once("rust-version = \"").and_then(|(_, rest)| rest.split('"').next()).expect("a version");
    // Libraries of the system are those that it was built with.
    assert_eq!(from[0][0], format!("rust:{version}-slim-bookworm"));
    assert_eq!(from[1], ["debian:bookworm-slim"]);
    for words in ["scripts/setup.sh", "scripts/onnxruntime.sh"] {
        assert!(text.contains(words) && root().join(words).exists());
    }
}

#[test]
fn the_container_knows_whether_the_service_lives() {
    let text = read("Dockerfile");
    let (_, check) = text.split_once("HEALTHCHECK").and_then(|(_, rest)| rest.split_once("CMD ")).expect("a check");
    let words: Vec<String> = serde_json::from_str(check.lines().next().unwrap_or_default()).expect("an array");
    let dir = service::folder("packaging-health");
    let events = root().join("rules/events.lap").display().to_string();
    let service = Service::start(&mut service::command(&dir, &[&events], &[])).expect("it is ready");
    let (_, port) = service.url.rsplit_once(':').expect("a port");
    let check = |port: &str| {
        let words: Vec<String> = words.iter().map(|word| word.replace("7878", port)).collect();
        run(Command::new(&words[0]).args(&words[1..])).0
    };
    assert_eq!(check(port), Some(0));
    assert_ne!(check("1"), Some(0));
}

#[test]
fn the_unit_is_one_and_leaves_time_to_end() {
    let unit = read("packaging/lapwing.service");
    let value = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let stop = value("TimeoutStopSec").and_then(|text| text.strip_suffix('s')?.parse().ok()).expect("seconds");
    // As long again for what is judged and saved at the end.
    assert!(Duration::from_secs(stop) >= 2 * (DRAIN + LAST_TASKS + END), "TimeoutStopSec is {stop} s");
    assert_eq!(value("StateDirectory").map(|name| format!("/var/lib/{name}")).as_deref(), Some("/var/lib/lapwing"));
    assert!(read("packaging/lapwing.toml").contains("data = \"/var/lib/lapwing\""));
    let begins = value("ExecStart").expect("a command");
    assert_eq!(begins, "/usr/local/bin/lapwing serve --config /etc/lapwing/lapwing.toml");
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("there is no systemd here: the unit is not verified");
        return;
    }
    // With the binary that is there.
    let path = made().join("lapwing.service");
    fs::write(&path, unit.replace("/usr/local/bin/lapwing", env!("CARGO_BIN_EXE_lapwing"))).expect("it can be written");
    let (code, said) = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path));
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--offline=true", "--no-pager", "--threshold=15"]).arg(&path);
    let (code, said) = run(&mut security);
    // Earlier ones cannot do that without a running systemd.
    assert!(code == Some(0) || said.contains("unrecognized option"), "{said}");
}
