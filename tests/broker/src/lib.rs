//! A real Kafka for tests: one process that is broker and controller, on free ports of this machine, in a folder of its own.
//!
//! `scripts/kafka.sh` has brought its jars. The process belongs to a shell that waits for a word from the test; where the test goes, in
//! whatever way, the pipe between them closes, and the shell kills the broker and removes its folder.

mod folder;
mod process;
mod proxy;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use futures_executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;

use self::folder::Folder;
use self::process::Process;
pub use self::proxy::{Api, Fault, Proxy, Way, What};

/// How long anything may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The name of the one who may log in at [`Broker::sasl_address`], by `PLAIN`.
pub const USER: &str = "lapwing";

/// The password of [`USER`].
pub const PASSWORD: &str = "swordfish";

/// A broker. Where it is dropped, process and folder go.
pub struct Broker {
    process: Option<Process>,
    folder: Folder,
    ports: Ports,
    /// Keeps the ports for it.
    _beside: TcpListener,
    proxy: Option<Proxy>,
}

/// Where it listens.
#[derive(Clone, Copy)]
struct Ports {
    plain: u16,
    sasl: u16,
    controller: u16,
    /// For what comes through the proxy.
    behind: u16,
    /// Where clients are told to connect who come through the proxy.
    proxy: u16,
}

impl Broker {
    /// Starts a broker with an empty log, and waits until it answers.
    ///
    /// # Panics
    /// Java or the jars are missing (`scripts/kafka.sh` brings them), or the broker does not come up.
    pub fn start() -> Broker {
        Broker::begin(false)
    }

    /// The same, with a [`Proxy`] in front of it: who connects there stays there.
    ///
    /// # Panics
    /// As [`Broker::start`].
    pub fn behind_proxy() -> Broker {
        Broker::begin(true)
    }

    fn begin(behind_proxy: bool) -> Broker {
        // Between the choice of free ports and their use another process may take one.
        for _ in 0..5 {
            let (mut ports, _beside) = Ports::free();
            let proxy = behind_proxy.then(|| {
                let listener = TcpListener::bind("127.0.0.1:0").expect("this machine has a free port");
                Proxy::start(listener, ports.behind)
            });
            ports.proxy = proxy.as_ref().map_or(ports.behind, Proxy::port);
            let folder = Folder::formatted(ports);
            let mut broker = Broker { process: None, folder, ports, _beside, proxy };
            match broker.launch() {
                Ok(()) => return broker,
                Err(log) if log.contains("Address already in use") => {}
                Err(log) => panic!("the broker did not come up:\n{}", last(&log, 80)),
            }
        }
        panic!("no free ports were found for the broker");
    }

    /// The broker that all tests of this process share. Each uses topics and groups with names of its own; none stops it.
    pub fn shared() -> &'static Broker {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(Broker::start)
    }

    /// The address for clients, without credentials.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.plain)
    }

    /// The address for clients that log in, by SASL's `PLAIN`.
    pub fn sasl_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.sasl)
    }

    /// What stands in front of it.
    ///
    /// # Panics
    /// It was not started by [`Broker::behind_proxy`].
    pub fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("it was started behind a proxy")
    }

    /// What the broker has written so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.log()).unwrap_or_default()
    }

    /// A folder with Kafka's own tools, such as `kafka-topics.sh`.
    pub fn tools(&self) -> PathBuf {
        self.folder.tools()
    }

    /// Makes a topic.
    ///
    /// # Panics
    /// The broker refuses.
    pub fn topic(&self, name: &str, partitions: i32) {
        self.topic_with(name, partitions, &[]);
    }

    /// Makes a topic with settings of its own: `("cleanup.policy", "compact")`.
    ///
    /// # Panics
    /// The broker refuses.
    pub fn topic_with(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("bootstrap.servers", self.address())
            .create()
            .expect("these properties are known to the client");
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let made = block_on(admin.create_topics([&topic], &options)).expect("the broker answers");
        made[0].as_ref().unwrap_or_else(|(name, error)| panic!("topic `{name}` was not made: {error}"));
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(&mut self) {
        self.end("TERM");
    }

    /// Kills it: it has no time for a last word.
    pub fn kill(&mut self) {
        self.end("KILL");
    }

    fn end(&mut self, signal: &str) {
        let process = self.process.take().expect("it runs");
        process.end(signal);
    }

    /// Starts it anew over the same folder, after [`Broker::stop`] or [`Broker::kill`], and waits until it answers.
    ///
    /// # Panics
    /// It does not come up.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        self.launch().unwrap_or_else(|log| panic!("the broker did not come up again:\n{}", last(&log, 80)));
    }

    /// Freezes it: connections stay, nothing is answered.
    pub fn freeze(&self) {
        self.running().signal("STOP");
    }

    /// Lets it go on after [`Broker::freeze`].
    pub fn thaw(&self) {
        self.running().signal("CONT");
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }

    /// Starts the process and waits until it answers; else gives its log.
    fn launch(&mut self) -> Result<(), String> {
        let mut process = Process::start(&self.folder);
        let up = until(|| {
            !process.runs() || [self.ports.plain, self.ports.sasl, self.ports.behind].into_iter().all(answers)
        });
        if !up || !process.runs() {
            process.end("KILL");
            return Err(self.log());
        }
        self.process = Some(process);
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the broker's last words:\n{}", last(&self.log(), 15));
        }
        if let Some(process) = self.process.take() {
            process.end("KILL");
        }
    }
}

impl Ports {
    /// Four that nobody listens on now, and that the system gives to no connection: while the broker is down, one of a client that looks
    /// for it would keep it from coming back. Other brokers leave them alone as long as the listener beside them is open.
    fn free() -> (Ports, TcpListener) {
        const BELOW_EPHEMERAL: Range<u16> = 12_000..32_000;
        const BLOCK: u16 = 5;
        let open = |port: u16| TcpListener::bind(("127.0.0.1", port));
        let blocks = (BELOW_EPHEMERAL.len() / usize::from(BLOCK)) as u32;
        let first = std::process::id() % blocks;
        for block in (first..blocks).chain(0..first) {
            let begin = BELOW_EPHEMERAL.start + BLOCK * block as u16;
            let [plain, sasl, controller, behind] = [1, 2, 3, 4].map(|i| begin + i);
            if let Ok(beside) = open(begin)
                && [plain, sasl, controller, behind].into_iter().all(|port| open(port).is_ok())
            {
                return (Ports { plain, sasl, controller, behind, proxy: behind }, beside);
            }
        }
        panic!("this machine has no free ports");
    }
}

/// Waits until something holds; false where it never does.
pub fn until(mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if holds() {
            return true;
        }
        thread::sleep(Duration::from_millis(50));
    }
    false
}

/// Whether a broker answers there: it is asked which requests it knows.
fn answers(port: u16) -> bool {
    // Length, request 18 (ApiVersions) of version 0, number 1, no client's name.
    const QUESTION: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
    let ask = || -> std::io::Result<[u8; 8]> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(&QUESTION)?;
        let mut answer = [0; 8];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer[4..] == [0, 0, 0, 1])
}

/// The last lines of a log.
fn last(log: &str, count: usize) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// The jars that `scripts/kafka.sh` has brought.
fn jars() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let folder = cache.unwrap_or_default().join("lapwing/kafka-4.1.0-tools");
    assert!(
        folder.join("complete").exists(),
        "the tests of Kafka need its broker in {}: scripts/kafka.sh brings it",
        folder.display()
    );
    folder.join("libs")
}
