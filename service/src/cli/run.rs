//! `lapwing run`: judges a file or standard input.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapwing_engine::Millis;
use lapwing_engine::order::{Aside, Order};

use super::{Exit, compiled, duration, refuse};
use crate::control::catalog::Catalog;
use crate::control::message::{Message, read_file};
use crate::data::alert::Alert;
use crate::data::pipeline::{Lines, Options, Pipeline, Reason, Rejected, Sink};

/// Bytes read and judged at once.
const CHUNK: usize = 1 << 20;

/// Arguments of `run`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Rule files, or folders of them.
    #[arg(long, required = true, num_args = 1..)]
    rules: Vec<PathBuf>,
    /// JSON lines to judge; `-` is standard input.
    #[arg(long)]
    input: PathBuf,
    /// Where alerts go; `-` is standard output.
    #[arg(long, default_value = "-")]
    output: PathBuf,
    /// How events are put in order.
    #[arg(long, value_enum, default_value = "event-time")]
    order: OrderArgument,
    /// How far behind the greatest time of its partition an event may come.
    #[arg(long, default_value = "0s", value_parser = duration)]
    lateness: i64,
    /// Put events aside whose time is this far ahead of the clock.
    #[arg(long, value_parser = duration)]
    max_ahead: Option<i64>,
    /// Write lines that were not taken here, with number and reason, as JSON lines.
    #[arg(long)]
    rejects: Option<PathBuf>,
    /// How many threads judge.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Changes of the rules: control messages as JSON lines, each with the input line (from 0) before which it takes over.
    #[arg(long)]
    control: Option<PathBuf>,
    /// Write what became of each control message here, as JSON lines.
    #[arg(long, requires = "control")]
    status: Option<PathBuf>,
    /// Print no progress.
    #[arg(long, short)]
    quiet: bool,
}

/// `--order`
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum OrderArgument {
    /// As they come.
    Arrival,
    /// By their time.
    EventTime,
}

impl From<OrderArgument> for Order {
    fn from(order: OrderArgument) -> Order {
        match order {
            OrderArgument::Arrival => Order::Arrival,
            OrderArgument::EventTime => Order::EventTime,
        }
    }
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Exit {
    let rules = match compiled(&arguments.rules) {
        Ok(rules) => rules,
        Err(exit) => return exit,
    };
    let catalog = Catalog::new(&rules);
    let rule_set = match catalog.rule_set() {
        Ok(rule_set) => Arc::new(rule_set),
        Err(refusal) => return refuse(refusal.message),
    };
    let mut changes = match Changes::open(catalog, arguments) {
        Ok(changes) => changes,
        Err(error) => return refuse(error),
    };
    let started = Instant::now();
    let mut input = match open_input(&arguments.input) {
        Ok(input) => input,
        Err(error) => return refuse(format_args!("cannot read `{}`: {error}", arguments.input.display())),
    };
    let mut writer = match Writer::open(&arguments.output, arguments.rejects.as_deref()) {
        Ok(writer) => writer,
        Err(error) => return refuse(error),
    };
    let options = Options {
        order: arguments.order.into(),
        lateness: arguments.lateness,
        limit: arguments.max_ahead.map_or(Millis::MAX, |ahead| clock().saturating_add(ahead)),
        sources: vec![source_name(&arguments.input)],
        ..Options::default()
    };
    let mut pipeline = Pipeline::new(rule_set, options, arguments.threads as usize);
    let progress = Progress::new(arguments.quiet);
    if let Err(error) = feed(&mut input, &mut pipeline, &mut changes, &mut writer, progress) {
        return refuse(format_args!("cannot read `{}`: {error}", arguments.input.display()));
    }
    changes.apply_until(u64::MAX, &mut pipeline);
    pipeline.finish(&mut writer);
    if let Err(error) = writer.close() {
        return refuse(format_args!("cannot write: {error}"));
    }
    if !arguments.quiet {
        summary(&pipeline, started.elapsed());
    }
    Exit::Well
}

/// The name of the input in alerts: a file's without its folders.
fn source_name(path: &Path) -> String {
    match path.to_str() {
        Some("-") => "stdin".to_owned(),
        _ => path.file_name().map_or_else(|| "input".to_owned(), |n| n.to_string_lossy().into_owned()),
    }
}

fn open_input(path: &Path) -> io::Result<Box<dyn Read>> {
    if path == Path::new("-") { Ok(Box::new(io::stdin().lock())) } else { Ok(Box::new(File::open(path)?)) }
}

/// Reads whole lines in chunks and hands them on.
fn feed(
    input: &mut dyn Read,
    pipeline: &mut Pipeline,
    changes: &mut Changes,
    sink: &mut Writer,
    mut progress: Progress,
) -> io::Result<()> {
    let mut buffer: Vec<u8> = Vec::with_capacity(2 * CHUNK);
    let mut number = 0;
    loop {
        let kept = buffer.len();
        let read = input.take(CHUNK as u64).read_to_end(&mut buffer)?;
        let whole = if read == 0 {
            buffer.len()
        } else {
            memchr::memrchr(b'\n', &buffer[kept..]).map_or(0, |i| kept + i + 1)
        };
        let mut rest = &buffer[..whole];
        while !rest.is_empty() {
            changes.apply_until(number, pipeline);
            let (head, tail) = rest.split_at(changes.cut(rest, number));
            number += pipeline.take(&Lines { bytes: head, first: number }, sink);
            rest = tail;
        }
        buffer.drain(..whole);
        if let Some(error) = sink.error.take() {
            return Err(error);
        }
        if read == 0 {
            return Ok(());
        }
        progress.show(pipeline);
    }
}

/// The changes of a control file, each at its place.
struct Changes {
    catalog: Catalog,
    /// Line of the control file with its message, the next one last.
    waiting: Vec<(usize, Message)>,
    status: Option<BufWriter<File>>,
}

impl Changes {
    fn open(catalog: Catalog, arguments: &Arguments) -> Result<Changes, String> {
        let mut waiting = Vec::new();
        if let Some(path) = &arguments.control {
            let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read `{}`: {e}", path.display()))?;
            waiting = read_file(&text).map_err(|e| format!("`{}`: {e}", path.display()))?;
            waiting.reverse();
        }
        let status = match &arguments.status {
            Some(path) => {
                Some(File::create(path).map_err(|e| format!("cannot write `{}`: {e}", path.display()))?)
            }
            None => None,
        };
        Ok(Changes { catalog, waiting, status: status.map(BufWriter::new) })
    }

    /// Applies all changes that take over before line `number` or earlier.
    fn apply_until(&mut self, number: u64, pipeline: &mut Pipeline) {
        while self.waiting.last().is_some_and(|(_, m)| m.at_line <= Some(number))
            && let Some((line, message)) = self.waiting.pop()
        {
            match self.catalog.apply(&message) {
                Ok(rule_set) => {
                    self.tell(serde_json::json!({
                        "control_line": line, "name": message.name, "at_line": message.at_line,
                        "generation": self.catalog.generation(),
                    }));
                    pipeline.swap(Arc::new(rule_set));
                }
                Err(refusal) => {
                    eprintln!("control line {line}: refused: {}\n{}", refusal.message, refusal.drawn);
                    self.tell(serde_json::json!({
                        "control_line": line, "name": message.name, "at_line": message.at_line,
                        "generation": self.catalog.generation(), "refused": refusal.message,
                        "diagnostics": refusal.diagnostics,
                    }));
                }
            }
        }
    }

    fn tell(&mut self, status: serde_json::Value) {
        if let Some(file) = &mut self.status {
            // What cannot be told here was told on the terminal.
            let _ = writeln!(file, "{status}").and_then(|()| file.flush());
        }
    }

    /// How many bytes of whole lines, the first of which is `number`, come before the next change.
    fn cut(&self, lines: &[u8], number: u64) -> usize {
        let Some(at) = self.waiting.last().and_then(|(_, m)| m.at_line) else { return lines.len() };
        let ends = memchr::memchr_iter(b'\n', lines);
        ends.take((at - number) as usize).last().filter(|_| line_count_reaches(lines, at - number)).map_or(lines.len(), |i| i + 1)
    }
}

/// Whether there are at least so many line ends.
fn line_count_reaches(lines: &[u8], count: u64) -> bool {
    memchr::memchr_iter(b'\n', lines).take(count as usize).count() as u64 == count
}

/// Where alerts and rejected lines go.
struct Writer {
    alerts: Box<dyn Write>,
    rejects: Option<BufWriter<File>>,
    line: Vec<u8>,
    error: Option<io::Error>,
}

impl Writer {
    fn open(output: &Path, rejects: Option<&Path>) -> Result<Writer, String> {
        let create = |path: &Path| File::create(path).map_err(|e| format!("cannot write `{}`: {e}", path.display()));
        let alerts: Box<dyn Write> = if output == Path::new("-") {
            Box::new(BufWriter::new(io::stdout()))
        } else {
            Box::new(BufWriter::new(create(output)?))
        };
        let rejects = rejects.map(create).transpose()?.map(BufWriter::new);
        Ok(Writer { alerts, rejects, line: Vec::new(), error: None })
    }

    fn keep(&mut self, result: io::Result<()>) {
        if let (Err(error), None) = (result, &self.error) {
            self.error = Some(error);
        }
    }

    fn close(mut self) -> io::Result<()> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.alerts.flush()?;
        self.rejects.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Sink for Writer {
    fn alert(&mut self, alert: &Alert<'_>) {
        self.line.clear();
        alert.write(&mut self.line);
        let result = self.alerts.write_all(&self.line);
        self.keep(result);
    }

    fn rejected(&mut self, rejected: Rejected) {
        let Some(file) = &mut self.rejects else { return };
        let (kind, reason) = match rejected.reason {
            Reason::Bad(reject) => ("bad", reject.to_string()),
            Reason::Aside(put) => match put.reason {
                Aside::Late { watermark } => ("late", format!("its time {} is behind the watermark {watermark}", put.at)),
                Aside::Ahead { limit } => ("ahead", format!("its time {} is ahead of {limit}, the latest allowed", put.at)),
            },
        };
        let line = serde_json::json!({"line": rejected.line, "kind": kind, "reason": reason});
        let result = writeln!(file, "{line}");
        self.keep(result);
    }
}

/// Shows on a terminal how far it has come.
struct Progress {
    shown: bool,
    last: Instant,
    started: Instant,
}

impl Progress {
    fn new(quiet: bool) -> Progress {
        let now = Instant::now();
        Progress { shown: !quiet && io::stderr().is_terminal(), last: now, started: now }
    }

    fn show(&mut self, pipeline: &Pipeline) {
        if !self.shown || self.last.elapsed() < Duration::from_millis(200) {
            return;
        }
        self.last = Instant::now();
        let totals = pipeline.totals();
        let rate = totals.events as f64 / self.started.elapsed().as_secs_f64();
        eprint!("\r{} events, {} alerts, {rate:.0} events/s ", totals.events, totals.alerts);
    }
}

fn summary(pipeline: &Pipeline, elapsed: Duration) {
    let totals = pipeline.totals();
    let counters = pipeline.counters();
    if io::stderr().is_terminal() {
        eprint!("\r");
    }
    let rate = totals.events as f64 / elapsed.as_secs_f64().max(1e-9);
    eprintln!(
        "{} events in {:.2} s ({rate:.0} a second), {} alerts ({} held back)",
        totals.events,
        elapsed.as_secs_f64(),
        totals.alerts,
        totals.suppressed
    );
    let notes = [
        (totals.rejected, "lines could not be read"),
        (totals.aside, "events were late or too far ahead"),
        (totals.unknown, "objects are no declared event"),
        (totals.unreadable_fields, "optional fields were unreadable and count as missing"),
        (counters.rule_errors, "rule errors (overflow, division by zero, bad cast) count as missing"),
        (counters.missing_keys, "times an event had no key for a rule"),
    ];
    for (count, what) in notes.iter().filter(|(count, _)| *count > 0) {
        eprintln!("{count} {what}");
    }
}

/// The wall clock in milliseconds since 1970.
fn clock() -> Millis {
    jiff::Timestamp::now().as_millisecond()
}
