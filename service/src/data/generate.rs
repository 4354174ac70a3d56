//! A seeded stream of logins, shares and withdrawals with planted attacks, as JSON lines.
//!
//! The same seed and settings give the same bytes everywhere. Four kinds of attack are planted: many failed logins, logins from
//! two far places, many shares in a short time, withdrawals that rise.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many events.
    pub events: u64,
    /// How many users (and cards).
    pub users: u64,
    /// Equal seeds give equal streams.
    pub seed: u64,
    /// Events per second of event time.
    pub rate: f64,
    /// Chance that an event starts an attack.
    pub attacks: f64,
    /// 0: users are equally likely; more: the first ones are likelier.
    pub skew: f64,
    /// Shuffle within this many milliseconds.
    pub disorder: u64,
    /// Time of the first event, milliseconds since 1970.
    pub start: i64,
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
pub(super) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// From `low` to below `high`.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low).max(1)
    }
}

/// Name, country, latitude, longitude.
const CITIES: [(&str, &str, f64, f64); 10] = [
    ("Berlin", "DE", 52.52, 13.405),
    ("Madrid", "ES", 40.4168, -3.7038),
    ("Lagos", "NG", 6.5244, 3.3792),
    ("Mumbai", "IN", 19.076, 72.8777),
    ("Tokyo", "JP", 35.6762, 139.6503),
    ("Sydney", "AU", -33.8688, 151.2093),
    ("New York", "US", 40.7128, -74.006),
    ("Lima", "PE", -12.0464, -77.0428),
    ("Nairobi", "KE", -1.2921, 36.8219),
    ("Oslo", "NO", 59.9139, 10.7522),
];

const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36";

/// An event without its time: its type and the rest of its members.
type Event = (&'static str, String);

/// Writes the stream.
pub fn generate(settings: &Settings, out: &mut dyn Write) -> io::Result<()> {
    let mut stream = Stream {
        settings: *settings,
        random: Random::new(settings.seed),
        planted: BinaryHeap::new(),
        waiting: BinaryHeap::new(),
        tie: 0,
    };
    let step = 1000.0 / settings.rate;
    for n in 0..settings.events {
        let at = settings.start + (n as f64 * step) as i64;
        let event = stream.event(n);
        let line = format!("{{\"type\":\"{}\",\"at\":{at},{}}}\n", event.0, event.1);
        stream.write(at, line, out)?;
    }
    stream.flush(out)
}

struct Stream {
    settings: Settings,
    random: Random,
    /// Events of running attacks, by the number at which they are due.
    planted: BinaryHeap<Reverse<(u64, u64, Event)>>,
    /// Lines that wait to be written out of order.
    waiting: BinaryHeap<Reverse<(i64, u64, String)>>,
    tie: u64,
}

impl Stream {
    fn event(&mut self, n: u64) -> Event {
        loop {
            if self.planted.peek().is_some_and(|Reverse((due, ..))| *due <= n)
                && let Some(Reverse((_, _, event))) = self.planted.pop()
            {
                return event;
            }
            let user = self.user();
            if self.random.unit() < self.settings.attacks {
                self.plant(n, user);
                continue;
            }
            let kind = self.random.unit();
            return if kind < 0.6 {
                let success = self.random.unit() > 0.05;
                self.login(user, user as usize, success)
            } else if kind < 0.8 {
                self.share(user)
            } else {
                let amount = self.random.range(20, 500);
                self.withdrawal(user, amount)
            };
        }
    }

    fn user(&mut self) -> u64 {
        let share = self.random.unit().powf(1.0 + self.settings.skew);
        ((self.settings.users as f64 * share) as u64).min(self.settings.users - 1)
    }

    fn plant(&mut self, n: u64, user: u64) {
        let gap = ((self.settings.rate * 5.0) as u64).max(1);
        match self.random.range(0, 4) {
            0 => {
                for i in 0..self.random.range(8, 16) {
                    let event = self.login(user, user as usize, false);
                    self.later(n + i * gap, event);
                }
            }
            1 => {
                for (i, city) in [user as usize, user as usize + 3].into_iter().enumerate() {
                    let event = self.login(user, city, true);
                    self.later(n + i as u64 * gap * 60, event);
                }
            }
            2 => {
                for i in 0..self.random.range(80, 130) {
                    let event = self.share(user);
                    self.later(n + i * gap, event);
                }
            }
            _ => {
                let mut amount = self.random.range(20, 100);
                for i in 0..self.random.range(3, 7) {
                    amount += self.random.range(10, 200);
                    let event = self.withdrawal(user, amount);
                    self.later(n + i * gap * 10, event);
                }
            }
        }
    }

    fn later(&mut self, due: u64, event: Event) {
        self.tie += 1;
        self.planted.push(Reverse((due, self.tie, event)));
    }

    fn login(&mut self, user: u64, city: usize, success: bool) -> Event {
        let (city, country, lat, lon) = CITIES[city % CITIES.len()];
        let device = self.random.next() as u32;
        let ip = format!("10.{}.{}.{}", user >> 16 & 255, user >> 8 & 255, user & 255);
        let members = format!(
            "\"user\":\"u{user:07}\",\"ip\":\"{ip}\",\"country\":\"{country}\",\"city\":\"{city}\",\"lat\":{lat},\"lon\":{lon},\
             \"success\":{success},\"device\":\"d{device:08x}\",\"agent\":\"{AGENT}\""
        );
        ("login", members)
    }

    fn share(&mut self, user: u64) -> Event {
        let file = self.random.next() >> 24;
        let (recipient, size) = (self.random.range(0, 100_000), self.random.range(0, 1 << 24));
        let external = self.random.unit() < 0.1;
        let members = format!(
            "\"user\":\"u{user:07}\",\"file\":\"f{file:010x}\",\"recipient\":\"r{recipient:06}\",\"external\":{external},\"size\":{size}"
        );
        ("share", members)
    }

    fn withdrawal(&mut self, user: u64, amount: u64) -> Event {
        let (atm, merchant) = (self.random.range(0, 5_000), self.random.range(0, 20_000));
        let members = format!(
            "\"user\":\"u{user:07}\",\"card\":\"c{user:07}\",\"amount\":{amount}.0,\"currency\":\"EUR\",\"atm\":\"a{atm:05}\",\"merchant\":\"m{merchant:06}\""
        );
        ("withdrawal", members)
    }

    fn write(&mut self, at: i64, line: String, out: &mut dyn Write) -> io::Result<()> {
        if self.settings.disorder == 0 {
            return out.write_all(line.as_bytes());
        }
        self.tie += 1;
        let due = at + self.random.range(0, self.settings.disorder) as i64;
        self.waiting.push(Reverse((due, self.tie, line)));
        while self.waiting.peek().is_some_and(|Reverse((due, ..))| *due <= at)
            && let Some(Reverse((_, _, line))) = self.waiting.pop()
        {
            out.write_all(line.as_bytes())?;
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut dyn Write) -> io::Result<()> {
        while let Some(Reverse((_, _, line))) = self.waiting.pop() {
            out.write_all(line.as_bytes())?;
        }
        out.flush()
    }
}
