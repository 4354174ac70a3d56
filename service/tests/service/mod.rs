//! A running `lapwing serve`, for tests.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long a test waits for what has to come.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A service in a process of its own. It is killed when the test ends.
pub struct Service {
    child: Child,
    /// Where it listens: `http://127.0.0.1:…`.
    pub url: String,
    /// The token of its administrator.
    pub token: String,
    said: Arc<Mutex<String>>,
    reading: Option<JoinHandle<()>>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

/// How a service is started.
pub fn command(data: &Path, rules: &[&str], sets: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lapwing"));
    command.args(["serve", "--set", "service.listen=127.0.0.1:0", "--set"]);
    command.arg(format!("service.data={}", data.display()));
    command.arg("--set").arg(format!("service.rules={}", rules.join(",")));
    sets.iter().for_each(|set| {
        command.args(["--set", set]);
    });
    command.env("NO_COLOR", "1");
    command
}

impl Service {
    /// Starts a service, and waits until it is ready; what it said where it ended before.
    pub fn start(command: &mut Command) -> Result<Service, String> {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let errors = child.stderr.take().expect("it is piped");
        let said = Arc::new(Mutex::new(String::new()));
        let reading = std::thread::spawn({
            let said = said.clone();
            move || {
                for line in BufReader::new(errors).lines().map_while(Result::ok) {
                    let mut said = said.lock().expect("nobody panics with it");
                    said.push_str(&line);
                    said.push('\n');
                }
            }
        });
        let (url, token) = (String::new(), String::new());
        let mut service = Service { child, url, token, said, reading: Some(reading) };
        let begun = Instant::now();
        while begun.elapsed() < DEADLINE {
            if let Some((_, rest)) = service.said().split_once("ready address=") {
                service.url = format!("http://{}", rest.split_whitespace().next().expect("an address"));
                let folder = command.get_args().find_map(|set| set.to_str()?.strip_prefix("service.data="));
                let token = folder.and_then(|folder| std::fs::read_to_string(format!("{folder}/admin-token")).ok());
                service.token = token.map(|token| token.trim().to_owned()).unwrap_or_default();
                return Ok(service);
            }
            if service.child.try_wait().expect("it can be asked").is_some() {
                service.reading.take().into_iter().for_each(|reading| reading.join().expect("it reads to the end"));
                return Err(service.said());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("it is not ready:\n{}", service.said());
    }

    /// All that it said on its standard error.
    pub fn said(&self) -> String {
        self.said.lock().expect("nobody panics with it").clone()
    }

    /// Asks something of it; none where it does not answer.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Answer> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let theirs = headers.iter().any(|(name, _)| *name == "authorization");
        if !theirs && !self.token.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        let request = request.body(body).expect("a request can be made");
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(DEADLINE)).build().into();
        let mut response = agent.run(request).ok()?;
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string().ok()?;
        Some(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) })
    }

    /// Sends JSON lines.
    pub fn post(&self, lines: &[u8], key: Option<&str>) -> Option<Answer> {
        let mut headers = vec![("content-type", "application/x-ndjson")];
        headers.extend(key.map(|key| ("idempotency-key", key)));
        self.ask("POST", "/v1/events", &headers, lines)
    }

    /// Sends a control message.
    pub fn change(&self, message: &str) -> Option<Answer> {
        self.ask("POST", "/v1/control", &[("content-type", "application/json")], message.as_bytes())
    }

    /// Opens the stream of alerts behind an id.
    pub fn stream(&self, after: &str) -> ureq::http::Response<ureq::Body> {
        let request = ureq::get(format!("{}/v1/alerts/stream?after={after}", self.url));
        request.header("authorization", format!("Bearer {}", self.token)).call().expect("the stream begins")
    }

    /// Reads alerts behind an id until `enough` says so: their ids and JSON.
    pub fn alerts(&self, after: &str, mut enough: impl FnMut(&[(String, String)]) -> bool) -> Vec<(String, String)> {
        let reader: Box<dyn Read> = Box::new(self.stream(after).into_body().into_reader());
        let mut alerts = Vec::new();
        let mut id = String::new();
        let begun = Instant::now();
        if enough(&alerts) {
            return alerts;
        }
        for line in BufReader::new(reader).lines() {
            let Ok(line) = line else { break };
            assert!(begun.elapsed() < DEADLINE, "only {} alerts came:\n{}", alerts.len(), self.said());
            if let Some(text) = line.strip_prefix("id: ") {
                id = text.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                alerts.push((id.clone(), data.to_owned()));
                if enough(&alerts) {
                    break;
                }
            }
        }
        alerts
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it can be asked").is_some()
    }

    /// Closes the pipe that it writes its standard error to, and asks it to end: its exit code.
    pub fn terminate_unheard(command: &mut Command) -> Option<i32> {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let errors = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut lines = errors.lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("ready address=")), "it is ready");
        drop(lines);
        assert!(Command::new("kill").arg(child.id().to_string()).status().expect("kill starts").success());
        let begun = Instant::now();
        loop {
            match child.try_wait().expect("it can be asked") {
                Some(status) => return status.code(),
                None if begun.elapsed() < DEADLINE => std::thread::sleep(Duration::from_millis(5)),
                None => {
                    let _ = child.kill();
                    panic!("it does not end");
                }
            }
        }
    }

    /// Sends it a signal: `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(sent.expect("kill starts").success());
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends it by SIGTERM: its exit code and all that it said.
    pub fn terminate(mut self) -> (Option<i32>, String) {
        let sent = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill starts");
        assert!(sent.success());
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be asked") {
                self.reading.take().into_iter().for_each(|reading| reading.join().expect("it reads to the end"));
                return (status.code(), self.said());
            }
            assert!(begun.elapsed() < DEADLINE, "it does not end:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let said = self.said();
            let lines: Vec<_> = said.lines().collect();
            eprintln!("the service's last words:\n{}", lines[lines.len().saturating_sub(15)..].join("\n"));
        }
    }
}

/// An empty folder for a test.
pub fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("a folder for the test can be made");
    path
}

/// SplitMix64.
pub fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 8
}

/// What `FAILPOINTS` says where the process is to end at one of some places, and the disk to fail at one now and then.
pub fn planted(places: &[&str], seed: &mut u64) -> String {
    let place = |seed: &mut u64| places[random(seed) as usize % places.len()];
    let after = random(seed) % 30;
    let kill = format!("{}={after}*off->return(kill)", place(seed));
    format!("{kill};{}=7%return(enospc)", place(seed))
}

/// A stream with planted attacks, and behind it an event that lets time pass all the others.
pub fn stream(path: &Path, events: u64) -> Vec<Vec<u8>> {
    let mut generate = Command::new(env!("CARGO_BIN_EXE_lapwing"));
    generate.args(["generate", "--users", "500", "--attacks", "0.02", "--disorder", "3s", "--seed", "5", "--events"]);
    assert!(generate.arg(events.to_string()).arg("--output").arg(path).status().expect("it starts").success());
    let mut bytes = std::fs::read(path).expect("there is a stream");
    let last = json!({"type": "login", "at": "2099-01-01T00:00:00Z", "user": "last", "success": true});
    bytes.extend_from_slice(format!("{last}\n").as_bytes());
    std::fs::write(path, &bytes).expect("it can be written");
    bytes.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect()
}

/// What `lapwing run` makes of the same lines and the same changes, each with its line.
pub fn run_on(input: &Path, changes: &[Value], rules: &[&str]) -> Vec<String> {
    let output = input.with_extension("run-alerts");
    let control = input.with_extension("run-control");
    let lines: String = changes.iter().map(|change| format!("{change}\n")).collect();
    std::fs::write(&control, lines).expect("it can be written");
    let mut run = Command::new(env!("CARGO_BIN_EXE_lapwing"));
    run.args(["run", "--quiet", "--lateness", "2s", "--rules"]).args(rules).arg("--control").arg(&control);
    assert!(run.arg("--input").arg(input).arg("--output").arg(&output).status().expect("it starts").success());
    std::fs::read_to_string(output).expect("there are alerts").lines().map(str::to_owned).collect()
}
