//! Every command of the pages, run as it stands there: each page in a folder of its own with the files that it tells of, its commands in
//! their order. What a page says that a command answers, it answers; `…` stands for what differs.

mod binary;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lapwing_broker::Broker;

/// Commands that are not run here, each with the reason.
const NOT_RUN: [(&str, &str); 20] = [
    ("install -m 0755 target/release/lapwing /usr/local/bin/lapwing", "changes the machine"),
    ("install -D -m 0644 packaging/lapwing.toml /etc/lapwing/lapwing.toml", "changes the machine"),
    ("cp -r my-rules /etc/lapwing/rules", "changes the machine"),
    ("install -m 0644 packaging/lapwing.service /etc/systemd/system/lapwing.service", "changes the machine"),
    ("lapwing config check --config /etc/lapwing/lapwing.toml", "takes what the commands before it would install"),
    ("systemctl daemon-reload && systemctl enable --now lapwing", "changes the machine"),
    ("docker build --tag lapwing .", "takes Docker and half an hour"),
    (
        "docker run --detach --name lapwing --publish 127.0.0.1:7878:7878 --volume lapwing-data:/var/lib/lapwing --volume ./my-rules:/etc/lapwing/rules:ro --stop-timeout 90 lapwing",
        "takes Docker",
    ),
    ("docker inspect --format '{{.State.Health.Status}}' lapwing", "takes Docker"),
    ("make demo", "installs what is needed and builds"),
    ("make test", "is what runs this"),
    ("make bench", "takes minutes"),
    ("make models", "takes minutes"),
    ("cargo build --release", "builds"),
    ("cargo bench -p lapwing-bench --bench windows", "takes minutes"),
    ("cargo run --release -p lapwing-bench --bin week 4000000 50000 emit", "takes minutes"),
    (
        "target/release/lapwing generate --events 2000000 --users 1000000 --seed 1 --output mixed.jsonl",
        "takes a release build and minutes",
    ),
    (
        "taskset -c 0 target/release/lapwing bench --rules RULES --input mixed.jsonl --order arrival --passes 3",
        "takes a release build and minutes",
    ),
    ("head -n 20000 mixed.jsonl > short.jsonl", "takes a file that takes minutes"),
    (
        "valgrind --tool=callgrind target/release/lapwing bench --rules RULES --input short.jsonl --order arrival",
        "takes valgrind and minutes",
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A piece of a page.
enum Piece {
    /// A file with its name.
    File(String, String),
    /// A command, and what it is said to answer.
    Command(String, Vec<String>),
}

/// The files and commands of a page. A file's name begins the paragraph before it.
fn pieces(page: &str, text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\n```") {
        let (language, block) = after.split_once('\n').expect("a fence is a line");
        let (block, after) = block.split_once("\n```").expect("a fence is closed");
        let paragraph = before.trim_end().rsplit("\n\n").next().unwrap_or_default();
        let named = paragraph.strip_prefix('`').and_then(|p| p.split_once('`')).map(|(name, _)| name);
        let named = named.filter(|name| name.contains('.') && !name.contains(' '));
        match (language, named) {
            ("console", _) => commands(page, block, &mut pieces),
            ("sh" | "bash" | "shell", _) => panic!("{page}: commands stand in a fence of `console`, each after a `$ `"),
            (_, Some(name)) => pieces.push(Piece::File(name.to_owned(), format!("{block}\n"))),
            _ => {}
        }
        let plain = before.lines().find(|line| line.starts_with("    $ ") || line.starts_with("    make "));
        assert_eq!(plain, None, "{page}: a command outside of a fence");
        rest = after;
    }
    pieces
}

fn commands(page: &str, block: &str, pieces: &mut Vec<Piece>) {
    for line in block.lines() {
        match (line.strip_prefix("$ "), pieces.last_mut()) {
            (Some(command), _) => {
                let command = command.split("  #").next().unwrap_or_default().trim();
                pieces.push(Piece::Command(command.to_owned(), Vec::new()));
            }
            (None, Some(Piece::Command(_, said))) => said.push(line.to_owned()),
            _ => panic!("{page}: `{line}` is the answer to no command"),
        }
    }
}

/// A folder with what the pages take for granted to be there.
fn folder(page: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pages").join(page);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("data")).expect("the target folder can be written");
    if page == "docs/models.md" {
        // What its paragraph on the model says.
        let model = root().join("tests/models/takeover.onnx");
        fs::copy(model, folder.join("data/takeover.onnx")).expect("a file can be written");
    }
    folder
}

/// Ends the service that a page has started, where it has not ended it itself.
struct Ending(PathBuf);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Ok(pid) = fs::read_to_string(&self.0) {
            let _ = Command::new("kill").arg(pid.trim()).stderr(std::process::Stdio::null()).status();
        }
    }
}

/// Runs a command by the shell, with the binary on the path, and a broker with its tools where there is one.
fn run(page: &str, folder: &Path, broker: Option<&Broker>, command: &str, said: &[String]) {
    // Where it fails, this is told.
    println!("{page}: {command}");
    let lapwing = binary::lapwing();
    let bin = Path::new(lapwing.get_program()).parent().expect("the binary stands in a folder");
    let mut path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let words: Vec<&str> = said.iter().flat_map(|line| line.split('…')).map(str::trim).collect();
    let mut shell = Command::new("sh");
    if let Some(broker) = broker {
        path = format!("{}:{path}", broker.tools().display());
        shell.env("KAFKA", broker.address());
    }
    binary::says(shell.args(["-c", command]).current_dir(folder).env("PATH", path), 0, &words);
}

#[test]
fn every_command_of_the_pages_works_as_written() {
    let mut pages = vec!["README.md".to_owned()];
    let docs = fs::read_dir(root().join("docs")).expect("the pages are part of the project");
    let names = docs.map(|entry| entry.expect("a readable entry").file_name().to_string_lossy().into_owned());
    pages.extend(names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")));
    pages.sort();
    let (mut ran, mut listed) = (0, BTreeSet::new());
    for page in &pages {
        let text = fs::read_to_string(root().join(page)).expect("a page is text");
        let folder = folder(page);
        let broker = (page == "docs/kafka.md").then(Broker::start);
        let _ending = Ending(folder.join("service.pid"));
        let mut exported = String::new();
        for piece in pieces(page, &text) {
            match piece {
                Piece::File(name, text) => fs::write(folder.join(name), text).expect("a file can be written"),
                Piece::Command(command, _) if NOT_RUN.iter().any(|(known, _)| *known == command) => {
                    listed.insert(command);
                }
                Piece::Command(command, said) => {
                    // Each command has a shell of its own, and what was exported holds for the next ones too, but where the broker is.
                    if command.starts_with("export ") && !command.starts_with("export KAFKA=") {
                        exported.push_str(&format!("{command}\n"));
                    }
                    run(page, &folder, broker.as_ref(), &format!("{exported}{command}"), &said);
                    ran += 1;
                }
            }
        }
    }
    assert!(ran >= 5, "only {ran} commands were run");
    let gone: Vec<_> = NOT_RUN.iter().filter(|(command, _)| !listed.contains(*command)).collect();
    assert!(gone.is_empty(), "listed, and on no page: {gone:?}");
}
