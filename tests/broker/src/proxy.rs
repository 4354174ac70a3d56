//! What stands between a client and a broker, and does on command what networks do: loses, delays, cuts.
//!
//! Of what passes by it reads the length of each request and answer, which kind of request it is, and the number that its answer bears. So a test
//! can strike where it hurts: at the end of a transaction, before the broker has heard of it or after.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The kinds of requests, by Kafka's numbers, that a fault can strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Kafka's")]
pub enum Api {
    Produce = 0,
    InitProducerId = 22,
    AddPartitionsToTxn = 24,
    AddOffsetsToTxn = 25,
    EndTxn = 26,
    TxnOffsetCommit = 28,
}

/// Which way what a fault strikes goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the broker, which has not heard of it.
    Request,
    /// Back to the client: the broker has done what was asked.
    Answer,
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It never arrives; the connection stays.
    Lose,
    /// It arrives so much later, and all behind it on its connection; also where the client has gone meanwhile.
    Hold(Duration),
    /// It never arrives, and its connection is cut.
    Cut,
}

/// A fault that waits for something to strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it strikes.
    pub api: Api,
    /// On which way.
    pub way: Way,
    /// What it does.
    pub what: What,
    /// How often.
    pub times: u32,
}

/// Where clients connect, and what is behind it. It goes with its broker.
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
}

struct Shared {
    broker: SocketAddr,
    faults: Mutex<Vec<Fault>>,
    struck: AtomicUsize,
    links: Mutex<Vec<Arc<Link>>>,
    is_closed: AtomicBool,
}

/// A connection of a client, and the one to the broker that stands behind it.
struct Link {
    client: TcpStream,
    broker: TcpStream,
    /// The kinds of requests that are not answered yet, by their numbers.
    asked: Mutex<HashMap<i32, i16>>,
}

/// How long a broker that a client has left has to answer what it was asked.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The most bytes of a request or an answer; more is something else.
const FRAME_MAX: usize = 256 << 20;

/// Nothing is left half done where a holder panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Takes connections in, for a broker that listens at a port of this machine, or will.
    pub(crate) fn start(listener: TcpListener, broker: u16) -> Proxy {
        let port = listener.local_addr().expect("it is bound to an address").port();
        let shared = Arc::new(Shared {
            broker: SocketAddr::from(([127, 0, 0, 1], broker)),
            faults: Mutex::default(),
            struck: AtomicUsize::new(0),
            links: Mutex::default(),
            is_closed: AtomicBool::new(false),
        });
        thread::spawn({
            let shared = shared.clone();
            move || {
                for client in listener.incoming().map_while(Result::ok) {
                    if shared.is_closed.load(Ordering::Acquire) {
                        return;
                    }
                    // Where the broker is down, the client is told so by the end of its connection.
                    let _ = shared.link(client);
                }
            }
        });
        Proxy { shared, port }
    }

    /// The address for clients, who learn from the broker behind it to stay with it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Plants a fault behind those that wait.
    pub fn plant(&self, fault: Fault) {
        lock(&self.shared.faults).push(fault);
    }

    /// Takes all faults back that wait.
    pub fn heal(&self) {
        lock(&self.shared.faults).clear();
    }

    /// How often something was struck.
    pub fn struck(&self) -> usize {
        self.shared.struck.load(Ordering::Acquire)
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        lock(&self.shared.links).drain(..).for_each(|link| link.cut());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::Release);
        // It waits for somebody.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        self.cut();
    }
}

impl Link {
    fn cut(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.broker.shutdown(Shutdown::Both);
    }
}

impl Shared {
    fn link(self: &Arc<Shared>, client: TcpStream) -> io::Result<()> {
        let broker = TcpStream::connect(self.broker)?;
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        let link = Arc::new(Link { client, broker, asked: Mutex::default() });
        lock(&self.links).push(link.clone());
        for way in [Way::Request, Way::Answer] {
            let (shared, link) = (self.clone(), link.clone());
            thread::spawn(move || {
                // Why it ends is of no interest: the other end sees it too.
                let _ = shared.pass(&link, way);
                match way {
                    // A client that has gone may have asked for what is still to be done.
                    Way::Request => {
                        let end = Instant::now() + LAST_WORDS;
                        while !lock(&link.asked).is_empty() && Instant::now() < end {
                            thread::sleep(Duration::from_millis(10));
                        }
                        link.cut();
                        lock(&shared.links).retain(|other| !Arc::ptr_eq(other, &link));
                    }
                    Way::Answer => drop(link.client.shutdown(Shutdown::Both)),
                }
            });
        }
        Ok(())
    }

    /// Passes on what comes one way, until its end.
    fn pass(&self, link: &Link, way: Way) -> io::Result<()> {
        let (mut from, mut to) = match way {
            Way::Request => (&link.client, &link.broker),
            Way::Answer => (&link.broker, &link.client),
        };
        loop {
            let frame = frame(&mut from)?;
            match self.strikes(link.kind(&frame, way), way) {
                None => {}
                Some(What::Hold(time)) => thread::sleep(time),
                Some(What::Lose) => {
                    link.forget(&frame, way);
                    continue;
                }
                Some(What::Cut) => {
                    link.forget(&frame, way);
                    link.cut();
                    return Ok(());
                }
            }
            let passed = to.write_all(&frame);
            // Who has gone is answered no more, and what they have asked for is done all the same.
            if way == Way::Request {
                passed?;
            }
        }
    }

    /// What becomes of something; none where it passes.
    fn strikes(&self, kind: Option<i16>, way: Way) -> Option<What> {
        let mut faults = lock(&self.faults);
        let place = faults.iter().position(|fault| Some(fault.api as i16) == kind && fault.way == way)?;
        let what = faults[place].what;
        faults[place].times -= 1;
        if faults[place].times == 0 {
            faults.remove(place);
        }
        self.struck.fetch_add(1, Ordering::AcqRel);
        Some(what)
    }
}

impl Link {
    /// The kind of a request, or of what an answer is the answer to.
    fn kind(&self, frame: &[u8], way: Way) -> Option<i16> {
        match way {
            Way::Request => {
                let kind = i16::from_be_bytes(frame.get(4..6)?.try_into().ok()?);
                lock(&self.asked).insert(number(frame, way)?, kind);
                Some(kind)
            }
            Way::Answer => lock(&self.asked).remove(&number(frame, way)?),
        }
    }

    /// A request that never arrives is never answered.
    fn forget(&self, frame: &[u8], way: Way) {
        if let Some(number) = number(frame, way) {
            lock(&self.asked).remove(&number);
        }
    }
}

/// A request: length, kind, version, number; an answer: length, number.
fn number(frame: &[u8], way: Way) -> Option<i32> {
    let at = if way == Way::Request { 8 } else { 4 };
    Some(i32::from_be_bytes(frame.get(at..at + 4)?.try_into().ok()?))
}

/// The next request or answer, with its length before it.
fn frame(from: &mut &TcpStream) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    from.read_exact(&mut frame)?;
    let length = u32::from_be_bytes(frame[..4].try_into().expect("four bytes")) as usize;
    if length > FRAME_MAX {
        return Err(io::Error::other(format!("a frame of {length} bytes, and the limit is {FRAME_MAX}")));
    }
    frame.resize(4 + length, 0);
    from.read_exact(&mut frame[4..])?;
    Ok(frame)
}
