//! The process of a broker, and the shell that sees to its end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::folder::Folder;

/// Starts the broker, whose log is what the shell's errors are, says its number, and waits for the name of the signal that ends it. Where the pipe closes without one, the test is
/// gone: nobody else will clear up.
const SHELL: &str = r#"
folder=$1
shift
"$@" </dev/null >&2 &
broker=$!
echo "$broker"
if read -r signal; then
    kill -s "$signal" "$broker"
    wait "$broker"
else
    kill -s KILL "$broker"
    wait "$broker"
    rm -rf "$folder"
fi
"#;

/// A broker that runs.
pub struct Process {
    shell: Child,
    orders: ChildStdin,
    broker: u32,
}

impl Process {
    /// Starts the broker of a folder.
    pub fn start(folder: &Folder) -> Process {
        let mut java = folder.java("kafka.Kafka");
        java.arg(folder.settings());
        let log = File::options().create(true).append(true).open(folder.log()).expect("the folder can be written");
        let mut shell = Command::new("sh")
            .args(["-c", SHELL, "sh"])
            .arg(folder.path())
            .arg(java.get_program())
            .args(java.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("there is a shell");
        let mut number = String::new();
        let output = shell.stdout.take().expect("it is a pipe");
        BufReader::new(output).read_line(&mut number).expect("the shell says the number");
        let broker = number.trim().parse().expect("the shell says a number");
        let orders = shell.stdin.take().expect("it is a pipe");
        Process { shell, orders, broker }
    }

    /// Whether it has not ended.
    pub fn runs(&mut self) -> bool {
        // `… (java) S …`: Z is one that ended and that nobody has asked about.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.broker)).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -s {name} {}", self.broker)]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the broker is gone");
    }

    /// Ends it by a signal, and waits until it has ended.
    pub fn end(mut self, signal: &str) {
        // A shell that is gone has ended it.
        let _ = writeln!(self.orders, "{signal}");
        let _ = self.shell.wait();
    }
}
