//! `lapwing run`: judges a file or standard input.

mod changes;
mod progress;
pub mod state;
pub mod writer;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapwing_engine::Millis;
use lapwing_engine::order::Order;
use lapwing_engine::rule_set::RuleSet;

use self::changes::Changes;
use self::progress::{Progress, summary};
use self::state::{Saved, StateFolder};
use self::writer::{Writer, Written};
use super::{Exit, compiled, contents, duration, refuse, refuse_unfilled};
use crate::config::units::size;
use crate::control::catalog::Catalog;
use crate::control::files::Rules;
use crate::control::story::Story;
use crate::data::pipeline::{Lines, Options, Pipeline};
use crate::serve::clock;
use crate::tables::contents::Contents;

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
    /// A folder with the entries of lists and the rows of tables: NAME.txt, NAME.csv or NAME.json.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Changes of rules, lists and tables: control messages as JSON lines, each with the input line (from 0) before which it takes over.
    #[arg(long)]
    control: Option<PathBuf>,
    /// Write what became of each control message here, as JSON lines.
    #[arg(long, requires = "control")]
    status: Option<PathBuf>,
    /// Keep the run's place and state here, and go on there where it was stopped. Input and output must be files.
    #[arg(long)]
    state: Option<PathBuf>,
    /// How often the state is saved.
    #[arg(long, default_value = "1s", value_parser = duration, requires = "state")]
    save_every: i64,
    /// About how much memory the state may take, as 512MiB or 8GiB: what was not touched for longest is on disk alone.
    #[arg(long, value_parser = size, requires = "state")]
    memory: Option<u64>,
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
    match judge(arguments) {
        Ok(()) => Exit::Well,
        Err(Failure::Said(exit)) => exit,
        Err(Failure::Says(message)) => refuse(message),
    }
}

/// Why a run ended early.
enum Failure {
    /// It was told already.
    Said(Exit),
    /// It is told now.
    Says(String),
}

impl From<String> for Failure {
    fn from(message: String) -> Failure {
        Failure::Says(message)
    }
}

fn judge(arguments: &Arguments) -> Result<(), Failure> {
    let rules = compiled(&arguments.rules).map_err(Failure::Said)?;
    let contents = contents(arguments.data.as_deref(), &rules.loaded.schema).map_err(Failure::Said)?;
    let mut input = Input::open(&arguments.input)?;
    let mut folder = arguments.state.as_deref().map(|path| open_state(path, arguments)).transpose()?;
    let saved = folder.as_ref().and_then(StateFolder::saved).cloned();
    let (before, catalog, story) = begin(&rules, contents, saved.as_ref())?;
    let first = Arc::new(catalog.rule_set());
    let mut changes = Changes::open((catalog, story), arguments.control.as_deref(), arguments.status.as_deref())?;
    refuse_unfilled(changes.catalog(), |kind, name| changes.puts().any(|put| put == (kind, name)), true)?;
    let options = Options {
        order: arguments.order.into(),
        lateness: arguments.lateness,
        limit: arguments.max_ahead.map_or(Millis::MAX, |ahead| clock().saturating_add(ahead)),
        sources: vec![source_name(&arguments.input)],
        ..Options::default()
    };
    let threads = arguments.threads as usize;
    let mut pipeline = match folder.as_ref().zip(saved.as_ref()) {
        None => Pipeline::new(first, options, threads),
        Some((folder, saved)) => {
            let sets = resume(saved, before, &mut changes, &mut input)?;
            folder.load(saved, sets, options, threads).map_err(|e| format!("{e}; start with an empty state folder"))?
        }
    };
    if let Some(folder) = &folder {
        folder.keep(&mut pipeline);
    }
    let saved = saved.unwrap_or_default();
    if saved.done {
        return finished_already(&mut input, &saved, arguments);
    }
    let writer = Writer::open(&arguments.output, arguments.rejects.as_deref(), saved.written)?;
    let started = Instant::now();
    let mut feed = Feed {
        buffer: Vec::with_capacity(2 * CHUNK),
        offset: saved.offset,
        lines: saved.lines,
        pipeline: &mut pipeline,
        changes: &mut changes,
        writer,
        folder: folder.as_mut(),
        progress: Progress::new(arguments.quiet),
        live: matches!(input, Input::Standard(_)),
    };
    feed.run(&mut input).map_err(|error| format!("`{}`: {error}", arguments.input.display()))?;
    if !arguments.quiet {
        summary(&pipeline, started.elapsed());
    }
    Ok(())
}

fn open_state(path: &Path, arguments: &Arguments) -> Result<StateFolder, String> {
    if arguments.output == Path::new("-") {
        return Err(
            "--state needs an output file: what went to standard output cannot be taken back; add --output FILE"
                .to_owned(),
        );
    }
    if !std::fs::metadata(&arguments.input).is_ok_and(|m| m.is_file()) {
        return Err("--state needs an input file: a run that was stopped reads on from its place".to_owned());
    }
    let interval = Duration::from_millis(arguments.save_every as u64);
    StateFolder::open(path, interval, arguments.memory.map(|bytes| bytes as usize))
}

/// The rule sets that a run begins with, the catalog of the last of them, and how that came to be. Rule files that took the place of others, as
/// `state fork` lets them, go on from those.
fn begin(
    rules: &Rules,
    contents: Contents,
    saved: Option<&Saved>,
) -> Result<(Vec<Arc<RuleSet>>, Catalog, Story), String> {
    match saved.map(|saved| &saved.story).filter(|story| story.is_forked()) {
        Some(story) => {
            if !story.ends_with(rules) {
                return Err(OTHER_RULES.to_owned());
            }
            let story = story.up_to_the_files();
            let (sets, catalog) = story.told(&contents, &rules.loaded.schema).map_err(|refusal| refusal.message)?;
            Ok((sets.into_iter().map(Arc::new).collect(), catalog, story))
        }
        None => {
            let catalog = Catalog::new(rules, contents).map_err(|refusal| refusal.message)?;
            Ok((vec![Arc::new(catalog.rule_set())], catalog, Story::new(rules)))
        }
    }
}

/// What is said where a state is of other rules.
const OTHER_RULES: &str = "the rules, the data or the control file are not those that the state was saved with; put them back, take the state over to other rules with `lapwing state fork`, or start with an empty state folder";

/// Goes to the place that was saved, and gives the rule sets that the state is of.
fn resume(
    saved: &Saved,
    mut rule_sets: Vec<Arc<RuleSet>>,
    changes: &mut Changes,
    input: &mut Input,
) -> Result<Vec<Arc<RuleSet>>, String> {
    rule_sets.extend(changes.replay(saved.applied as usize).into_iter().map(Arc::new));
    if !changes.catalog().has_digest(&saved.rules) {
        return Err(OTHER_RULES.to_owned());
    }
    input.go_to(saved).map_err(|e| format!("the input is not the one that the state was saved with: {e}"))?;
    let live = rule_sets.len().saturating_sub(saved.generations as usize);
    Ok(rule_sets.split_off(live))
}

fn finished_already(input: &mut Input, saved: &Saved, arguments: &Arguments) -> Result<(), Failure> {
    let length = input.length().map_err(|e| e.to_string())?;
    if length > saved.offset {
        let grown = length - saved.offset;
        return Err(Failure::Says(format!(
            "`{}` was judged to its end, which was the end of time, and has grown by {grown} bytes since; start with an empty state folder",
            arguments.input.display()
        )));
    }
    if !arguments.quiet {
        errln!("`{}` was judged to its end already", arguments.input.display());
    }
    Ok(())
}

/// The name of the input in alerts: a file's without its folders.
fn source_name(path: &Path) -> String {
    match path.to_str() {
        Some("-") => "stdin".to_owned(),
        _ => path.file_name().map_or_else(|| "input".to_owned(), |n| n.to_string_lossy().into_owned()),
    }
}

/// Where lines come from.
enum Input {
    File(File),
    Standard(io::StdinLock<'static>),
}

impl Input {
    fn open(path: &Path) -> Result<Input, String> {
        if path == Path::new("-") {
            return Ok(Input::Standard(io::stdin().lock()));
        }
        let cannot = |e: io::Error| format!("cannot read `{}`: {e}", path.display());
        if std::fs::metadata(path).map_err(cannot)?.is_dir() {
            return Err(format!("cannot read `{}`: it is a folder; name a file of JSON lines", path.display()));
        }
        File::open(path).map(Input::File).map_err(cannot)
    }

    fn length(&self) -> io::Result<u64> {
        match self {
            Input::File(file) => Ok(file.metadata()?.len()),
            Input::Standard(_) => Ok(0),
        }
    }

    /// Goes to the place of a saved state, if this is the same input.
    fn go_to(&mut self, saved: &Saved) -> io::Result<()> {
        let Input::File(file) = self else { return Err(io::Error::other("it is no file")) };
        if file.metadata()?.len() < saved.offset {
            return Err(io::Error::other("it is shorter than it was"));
        }
        if state::head(file, saved.offset)? != saved.head {
            return Err(io::Error::other("it begins with something else"));
        }
        file.seek(SeekFrom::Start(saved.offset)).map(|_| ())
    }

    /// Digest of the beginning; the place in the file is kept.
    fn head(&mut self, offset: u64) -> io::Result<Vec<u8>> {
        let Input::File(file) = self else { return Ok(Vec::new()) };
        let place = file.stream_position()?;
        let head = state::head(file, offset)?;
        file.seek(SeekFrom::Start(place))?;
        Ok(head)
    }

    fn read_chunk(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Input::File(file) => file.take(CHUNK as u64).read_to_end(buffer),
            // What a terminal or a pipe has is judged at once.
            Input::Standard(lock) => {
                let mut part = vec![0; CHUNK];
                let n = lock.read(&mut part)?;
                buffer.extend_from_slice(&part[..n]);
                Ok(n)
            }
        }
    }
}

/// The run, while it goes.
struct Feed<'a> {
    buffer: Vec<u8>,
    offset: u64,
    lines: u64,
    pipeline: &'a mut Pipeline,
    changes: &'a mut Changes,
    writer: Writer,
    folder: Option<&'a mut StateFolder>,
    progress: Progress,
    /// Whether somebody may be waiting for what a line gives.
    live: bool,
}

impl Feed<'_> {
    /// Reads whole lines in chunks and hands them on, to the end of time.
    fn run(&mut self, input: &mut Input) -> io::Result<()> {
        loop {
            let kept = self.buffer.len();
            let read = input.read_chunk(&mut self.buffer)?;
            let whole = if read == 0 {
                self.buffer.len()
            } else {
                memchr::memrchr(b'\n', &self.buffer[kept..]).map_or(0, |i| kept + i + 1)
            };
            self.judge(whole);
            if let Some(error) = self.writer.failure() {
                return Err(error);
            }
            if let Some(error) = self.pipeline.failure() {
                return Err(io::Error::other(error.to_string()));
            }
            if read == 0 {
                break;
            }
            self.progress.show(self.pipeline);
            if self.folder.as_ref().is_some_and(|f| f.is_due()) {
                self.save(input, false)?;
            }
        }
        self.changes.apply_until(u64::MAX, self.pipeline, &mut self.writer);
        self.pipeline.finish(&mut self.writer);
        self.writer.sync()?;
        self.save(input, true)?;
        self.folder.as_mut().map_or(Ok(()), |folder| folder.settle()).map_err(io::Error::other)
    }

    fn judge(&mut self, whole: usize) {
        let mut rest = &self.buffer[..whole];
        while !rest.is_empty() {
            self.changes.apply_until(self.lines, self.pipeline, &mut self.writer);
            let (head, tail) = rest.split_at(self.changes.cut(rest, self.lines));
            let lines = Lines { bytes: head, first: self.lines };
            self.lines += match self.live {
                true => self.pipeline.take(&lines, &mut self.writer),
                false => self.pipeline.take_ahead(&lines, &mut self.writer),
            };
            rest = tail;
        }
        self.offset += whole as u64;
        if let Some(folder) = &mut self.folder {
            folder.has_read(whole);
        }
        self.buffer.drain(..whole);
    }

    fn save(&mut self, input: &mut Input, done: bool) -> io::Result<()> {
        let Some(folder) = &mut self.folder else { return Ok(()) };
        self.pipeline.settle(&mut self.writer);
        let written: Written = self.writer.sync()?;
        let saved = Saved {
            offset: self.offset,
            lines: self.lines,
            written,
            done,
            applied: self.changes.applied() as u64,
            rules: self.changes.catalog().digest(),
            head: input.head(self.offset)?,
            generations: self.pipeline.generations().count() as u64,
            story: self.changes.story().clone(),
            pipeline: Vec::new(),
        };
        folder.save(&saved, self.pipeline).map_err(io::Error::other)
    }
}
