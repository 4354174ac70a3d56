//! `lapwing serve`: takes events in, judges them, and lets alerts out, until it is told to end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::run::OrderArgument;
use super::{Exit, compiled, duration, refuse};
use crate::api::server::Limits;
use crate::data::log::embedded;
use crate::data::matcher;
use crate::data::pipeline::Options;
use crate::serve::{Prepared, Settings, clock};

/// Arguments of `serve`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Where it listens.
    #[arg(long, default_value = "127.0.0.1:7878")]
    listen: SocketAddr,
    /// The folder of its log, catalog and state.
    #[arg(long)]
    data: PathBuf,
    /// Rule files, or folders of them, to begin with.
    #[arg(long, num_args = 1..)]
    rules: Vec<PathBuf>,
    /// A folder with what lists, tables and models hold at a first start.
    #[arg(long)]
    tables: Option<PathBuf>,
    /// How events are put in order.
    #[arg(long, value_enum, default_value = "event-time")]
    order: OrderArgument,
    /// How far behind the greatest time an event may come.
    #[arg(long, default_value = "0s", value_parser = duration)]
    lateness: i64,
    /// How many threads judge.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// How often the state is saved.
    #[arg(long, default_value = "10s", value_parser = duration)]
    save_every: i64,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Exit {
    let _ = tracing_subscriber::fmt().with_writer(std::io::stderr).try_init();
    let settings = Settings {
        listen: arguments.listen,
        data: arguments.data.clone(),
        tables: arguments.tables.clone(),
        threads: arguments.threads as usize,
        options: Options { order: arguments.order.into(), lateness: arguments.lateness, ..Options::default() },
        save_every: Duration::from_millis(arguments.save_every as u64),
        log: embedded::Settings {
            segment_bytes: 128 << 20,
            retain_for: Duration::from_secs(7 * 86_400),
            retain_bytes: 10 << 30,
            clock,
        },
        matcher: matcher::Settings { epoch_every: Duration::from_secs(1), epoch_bytes_max: 16 << 20, max_ahead: None },
        limits: Limits {
            connections_max: 1_024,
            header_timeout: Duration::from_secs(10),
            drain: Duration::from_secs(10),
        },
        body_bytes_max: 16 << 20,
    };
    let mut prepared = match Prepared::new(settings) {
        Ok(prepared) => prepared,
        Err(message) => return refuse(message),
    };
    if prepared.is_first() {
        let rules = match compiled(&arguments.rules) {
            Ok(rules) => rules,
            Err(exit) => return exit,
        };
        if let Err(message) = prepared.begin_with(&rules) {
            return refuse(message);
        }
    }
    match prepared.run() {
        Ok(()) => Exit::Well,
        Err(message) => refuse(message),
    }
}
