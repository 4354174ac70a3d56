//! What a millisecond of the rules and streams stands for. In most cases it is one; in some it is minutes, hours or a day, about a moment at which
//! a clock is put forward or back, and calendar windows go by that clock.

use super::rng::Rng;

/// Stands in the text of a rule where calendar windows may have a zone.
pub const ZONE: &str = " \"ZONE\"";

/// When streams begin.
pub const START: i64 = 1_000_000;

/// Moments at which clocks are put forward or back, and one zone that is half an hour off.
const MOMENTS: [(&str, i64); 15] = [
    ("Europe/Paris", 1_774_746_000_000),
    ("Europe/Paris", 1_792_890_000_000),
    ("America/New_York", 1_772_953_200_000),
    ("America/New_York", 1_793_512_800_000),
    ("Australia/Lord_Howe", 1_775_314_800_000),
    ("Australia/Lord_Howe", 1_791_041_400_000),
    ("Asia/Kolkata", 1_774_722_600_000),
    ("America/Havana", 1_772_946_000_000),
    ("America/Havana", 1_793_509_200_000),
    ("Asia/Beirut", 1_774_735_200_000),
    ("Asia/Beirut", 1_792_875_600_000),
    ("America/St_Johns", 1_268_537_460_000),
    ("America/St_Johns", 1_289_097_060_000),
    ("Pacific/Apia", 1_325_239_200_000),
    ("Africa/Casablanca", 1_771_120_800_000),
];

/// What times mean.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// A millisecond, in milliseconds.
    unit: i64,
    /// When streams begin.
    start: i64,
    zone: Option<&'static str>,
}

impl Default for Times {
    fn default() -> Self {
        Times { unit: 1, start: START, zone: None }
    }
}

impl Times {
    /// The times of a case.
    pub fn new(rng: &mut Rng, percent: u64) -> Times {
        if !rng.percent(percent) {
            return Times::default();
        }
        let minutes = rng.weighted(&[(2, 15), (3, 20), (3, 30), (4, 60), (2, 90), (3, 360), (2, 720), (4, 1_440)]);
        let (zone, moment) = *rng.pick(&MOMENTS);
        let unit = minutes * 60_000;
        // Often some events stand at the very moment, or just before it.
        let start = moment - rng.between(0, 24) * unit - rng.weighted(&[(2, 0), (1, 1), (1, unit / 3)]);
        Times { unit, start, zone: Some(zone) }
    }

    /// Whether there is a zone.
    pub fn has_zone(&self) -> bool {
        self.zone.is_some()
    }

    /// A time of a stream.
    pub fn at(&self, at: i64) -> i64 {
        self.start + (at - START) * self.unit
    }

    /// A length of time.
    pub fn length(&self, ms: i64) -> i64 {
        ms * self.unit
    }

    /// A text with its times.
    pub fn text(&self, text: &str) -> String {
        let zone = self.zone.map(|zone| format!(" \"{zone}\"")).unwrap_or_default();
        let text = text.replace(ZONE, &zone);
        if self.unit == 1 {
            return text;
        }
        let mut written = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
            let digits = rest[at..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - at);
            let (number, after) = (&rest[at..at + digits], &rest[at + digits..]);
            written.push_str(&rest[..at]);
            match (after.strip_prefix("ms"), number.parse::<i64>()) {
                (Some(after), Ok(n)) => {
                    written.push_str(&format!("{}m", n * self.unit / 60_000));
                    rest = after;
                }
                _ => {
                    written.push_str(number);
                    rest = after;
                }
            }
        }
        written + rest
    }
}
