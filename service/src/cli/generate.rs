//! `lapwing generate`: a seeded stream with planted attacks.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{Exit, duration, refuse};
use crate::data::cards;
use crate::data::generate::{Settings, generate};

/// Arguments of `generate`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    shape: Option<Shape>,
    /// How many events.
    #[arg(long, default_value_t = 100_000)]
    events: u64,
    /// How many users, each with a card.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    users: u64,
    /// Equal seeds give equal streams.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Events per second of event time.
    #[arg(long, default_value_t = 1000.0)]
    rate: f64,
    /// Chance that an event starts an attack, from 0 to 1.
    #[arg(long, default_value_t = 0.0005)]
    attacks: f64,
    /// 0: users are equally likely; more: the first ones are likelier.
    #[arg(long, default_value_t = 1.0)]
    skew: f64,
    /// Shuffle events within this time.
    #[arg(long, default_value = "0s", value_parser = duration)]
    disorder: i64,
    /// Time of the first event, RFC 3339 or milliseconds since 1970.
    #[arg(long, default_value = "1760000000000")]
    start: String,
    /// Where the lines go; `-` is standard output.
    #[arg(long, default_value = "-")]
    output: PathBuf,
}

/// Streams of another shape.
#[derive(clap::Subcommand)]
enum Shape {
    /// Card transactions with chargebacks and three kinds of fraud, in the shape of the Fraud Detection Handbook.
    Cards(Cards),
}

/// Arguments of `generate cards`.
#[derive(clap::Args)]
struct Cards {
    /// How many customers.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    customers: u32,
    /// How many terminals.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    terminals: u32,
    /// How many days.
    #[arg(long, default_value_t = 183)]
    days: u32,
    /// Equal seeds give equal streams.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The first day, RFC 3339 or milliseconds since 1970.
    #[arg(long, default_value = "2026-01-01T00:00:00Z")]
    start: String,
    /// Where the lines go; `-` is standard output.
    #[arg(long, default_value = "-")]
    output: PathBuf,
    /// Where the truth goes: a line for each fraud, with its transaction and its kind (1, 2 or 3).
    #[arg(long)]
    truth: Option<PathBuf>,
}

impl Cards {
    fn run(&self) -> Exit {
        let Some(start) = crate::data::decode::field::timestamp(&self.start) else { return no_time(&self.start) };
        let Cards { customers, terminals, days, seed, .. } = *self;
        let settings = cards::Settings { customers, terminals, days, seed, start };
        let truth = self.truth.as_deref().map_or_else(|| Ok(Box::new(io::sink()) as Box<dyn Write>), open);
        let written = open(&self.output).and_then(|mut out| cards::generate(&settings, &mut *out, &mut *truth?));
        ended(written, &self.output)
    }
}

fn no_time(text: &str) -> Exit {
    refuse(format_args!("--start `{text}` is no time; write 2026-01-31T10:00:00Z or milliseconds"))
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Exit {
    if let Some(Shape::Cards(cards)) = &arguments.shape {
        return cards.run();
    }
    let Some(start) = crate::data::decode::field::timestamp(&arguments.start) else {
        return no_time(&arguments.start);
    };
    if !(0.0..=1.0).contains(&arguments.attacks)
        || arguments.rate.is_nan()
        || arguments.rate <= 0.0
        || arguments.skew < 0.0
    {
        return refuse("--attacks is a chance from 0 to 1, --rate is above 0, --skew is at least 0");
    }
    let settings = Settings {
        events: arguments.events,
        users: arguments.users,
        seed: arguments.seed,
        rate: arguments.rate,
        attacks: arguments.attacks,
        skew: arguments.skew,
        disorder: arguments.disorder as u64,
        start,
    };
    ended(open(&arguments.output).and_then(|mut out| generate(&settings, &mut *out)), &arguments.output)
}

fn ended(written: io::Result<()>, output: &Path) -> Exit {
    match written {
        Ok(()) => Exit::Well,
        // Who reads only the beginning (`| head`) has had what was asked for.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Well,
        Err(error) => refuse(format_args!("cannot write `{}`: {error}", output.display())),
    }
}

fn open(path: &Path) -> io::Result<Box<dyn Write>> {
    if path == Path::new("-") {
        Ok(Box::new(BufWriter::new(io::stdout())))
    } else {
        Ok(Box::new(BufWriter::new(File::create(path)?)))
    }
}
