//! What a service keeps in its folder, looked at from outside; and copies of that: into one file, back, and for other rules.
//!
//! Looking takes nothing away from a service that runs. A copy is made of one that does not: then the catalog, the state and the log are of one moment.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lapwing_engine::rule_set::RuleSet;

use super::embedded::reconcile;
use super::{SOURCE, clock, uploads};
use crate::control::catalog::Catalog;
use crate::control::history::History;
use crate::control::rollout::{Accepted, NotAccepted, Places, Ready, Rollout};
use crate::data::archive::{pack, unpack};
use crate::data::checkpoint::Looked;
use crate::data::folder::{Folder, HELD, OWN, RESTORING, files_of, format_of, is_in_use, is_of_service};
use crate::data::kafka_log::{positions_of, source_names};
use crate::data::log::embedded::{Log, Settings as LogSettings};
use crate::data::log::segments;
use crate::data::pipeline::{Options, Pipeline};

/// Where what is restored is written before it is known to be whole.
const COMING: &str = "restoring.new";

/// What a folder of a service holds.
pub struct Kept {
    /// The format of the folder.
    pub format: u32,
    /// Whether a process uses it now.
    pub in_use: bool,
    /// All changes that took over.
    pub history: History,
    /// The catalog behind them.
    pub catalog: Catalog,
    /// The state that was saved last, with all keys; where none was, that of a service that begins.
    pub pipeline: Pipeline,
    /// Where that stands.
    pub saved: Option<Saved>,
    /// The log, where it is the service's own.
    pub log: Option<segments::Looked>,
    /// Bytes of what the folder holds, by name.
    pub bytes: Vec<(&'static str, u64)>,
}

/// Where a saved state stands.
pub struct Saved {
    /// The place in the log, or the offset in the journal.
    pub place: u64,
    /// Over Kafka: the offset that is read next of each partition of a topic.
    pub positions: Vec<(String, u16, u64)>,
    /// The number of the last change before it.
    pub applied: u64,
}

impl Kept {
    /// Reads the folder of a service, and loads its whole state.
    ///
    /// # Errors
    /// It is no such folder, of a newer format, or damaged.
    pub fn read(folder: &Path) -> Result<Kept, String> {
        let format = format_of(folder)?;
        if folder.join(RESTORING).exists() {
            return Err(format!("`{}` was not restored to the end: do it again, with --force", folder.display()));
        }
        let mut history = History::look(&folder.join("catalog"))?;
        let log = match history.is_of_topic() {
            true => None,
            false => segments::look(&folder.join("log")).map_err(|e| e.to_string())?,
        };
        // A change that got no place in the log has not taken over.
        if let Some(log) = &log {
            history.look_up_to(log.progress.change);
        }
        if history.changes().is_empty() {
            return Err(format!("`{}`: no service has begun there yet", folder.display()));
        }
        let (catalog, sets) = history.told().map_err(|refusal| refusal.message)?;
        let (pipeline, saved) = state(folder, &history, &sets)?;
        let bytes = HELD.map(|name| (name, bytes_below(&folder.join(name))));
        let bytes = bytes.into_iter().filter(|(_, bytes)| *bytes > 0).collect();
        let in_use = is_in_use(folder);
        Ok(Kept { format, in_use, history, catalog, pipeline, saved, log, bytes })
    }
}

fn state(folder: &Path, history: &History, sets: &[Arc<RuleSet>]) -> Result<(Pipeline, Option<Saved>), String> {
    let secret = history.secret().ok_or("the history of the catalog does not say how the service began")?;
    let Some(looked) = Looked::read(&folder.join("state"))? else {
        return Ok((Pipeline::new(sets[0].clone(), Options { secret, ..Options::default() }, 1), None));
    };
    let place = &looked.last.place;
    let of_topic = history.is_of_topic();
    let sources = if of_topic { source_names(&place.log, &[])? } else { vec![SOURCE.to_owned()] };
    let options = Options { order: looked.order()?, secret, sources, ..Options::default() };
    let first = (place.applied + 1).checked_sub(place.generations);
    let live = first.and_then(|first| sets.get(first as usize..=place.applied as usize));
    let live = live.ok_or("the state belongs to changes that the history of the catalog does not have")?;
    let pipeline = looked.load(live.to_vec(), options)?;
    let positions = if of_topic { positions_of(&place.log)? } else { Vec::new() };
    Ok((pipeline, Some(Saved { place: place.log.offset, positions, applied: place.applied })))
}

fn bytes_below(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return fs::metadata(path).map_or(0, |file| file.len()) };
    entries.flatten().map(|entry| bytes_below(&entry.path())).sum()
}

/// Copies what the folder of a service that does not run holds into one file, once it was read and found whole; gives the file's length.
///
/// # Errors
/// The service runs, the folder cannot be read, or the file not be written.
pub fn save(folder: &Path, to: &Path) -> Result<(Kept, u64), String> {
    let held = taken(folder)?;
    let kept = Kept::read(folder)?;
    let files = files_of(held.path()).map_err(|e| format!("cannot read `{}`: {e}", folder.display()))?;
    let length = pack(folder, &files, to)?;
    Ok((kept, length))
}

/// Holds a folder that is there, so that no service begins meanwhile.
fn taken(folder: &Path) -> Result<Folder, String> {
    Folder::take(folder).map_err(|why| format!("{why}; of a running service only `state inspect` can be had"))
}

/// Puts a copy into a folder, in place of what a service has there where `force` says so. Killed in between, it can be done again.
///
/// # Errors
/// The copy is damaged or of a newer format, or the folder in use, or it holds something.
pub fn restore(saved: &Path, to: &Path, force: bool) -> Result<(), String> {
    let is_half = to.join(RESTORING).exists();
    if (is_of_service(to) || is_half) && !force {
        return Err(format!(
            "`{}` holds the state of a service already: name another folder, or say --force to lose it",
            to.display()
        ));
    }
    refuse_strange(to)?;
    let held = Folder::take(to)?;
    let cannot = |e: io::Error| format!("cannot write into `{}`: {e}", to.display());
    let (coming, restoring) = (to.join(COMING), to.join(RESTORING));
    remove(&coming).map_err(cannot)?;
    let looked = unpack(saved, &coming).and_then(|()| Kept::read(&coming));
    if let Err(why) = looked {
        remove(&coming).map_err(cannot)?;
        return Err(why);
    }
    // From here on what the folder held is lost, and what is whole stands beside it.
    remove(&restoring).map_err(cannot)?;
    fs::rename(&coming, &restoring).and_then(|()| fs::File::open(to)?.sync_all()).map_err(cannot)?;
    for name in HELD {
        remove(&to.join(name)).map_err(cannot)?;
        match fs::rename(restoring.join(name), to.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(cannot(e)),
            _ => {}
        }
    }
    fs::File::open(to).and_then(|folder| folder.sync_all()).map_err(cannot)?;
    remove(&restoring).map_err(cannot)?;
    drop(held);
    Ok(())
}

/// What is there and is nothing of a service is nobody's to replace.
fn refuse_strange(to: &Path) -> Result<(), String> {
    let Ok(entries) = fs::read_dir(to) else { return Ok(()) };
    let own = |name: &str| HELD.contains(&name) || OWN.contains(&name) || [RESTORING, COMING].contains(&name);
    let mut names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    match names.find(|name| !own(name)) {
        Some(name) => Err(format!(
            "`{}` is no folder of a service: `{name}` stands there; name a folder that is empty, or not there",
            to.display()
        )),
        None => Ok(()),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Copies a service that does not run into a second folder, but for how far its webhooks and its file of alerts have come.
///
/// # Errors
/// The service runs, or the second folder holds something.
pub fn copy(folder: &Path, to: &Path) -> Result<(), String> {
    let held = taken(folder)?;
    let files = files_of(held.path()).map_err(|e| format!("cannot read `{}`: {e}", folder.display()))?;
    refuse_filled(to)?;
    for file in files.iter().filter(|file| !is_of_receivers(file)) {
        let (from, to) = (folder.join(file), to.join(file));
        let above = to.parent().unwrap_or(&to);
        let copied = fs::create_dir_all(above).and_then(|()| fs::copy(&from, &to));
        copied.map_err(|e| format!("cannot copy `{}` to `{}`: {e}", from.display(), to.display()))?;
    }
    Ok(())
}

/// Puts what a copy in a file holds into a second folder, but for the same.
///
/// # Errors
/// The copy is damaged or of a newer format, or the second folder holds something.
pub fn copy_out_of(saved: &Path, to: &Path) -> Result<(), String> {
    refuse_filled(to)?;
    restore(saved, to, false)?;
    for name in HELD.into_iter().filter(|name| is_of_receivers(Path::new(name))) {
        remove(&to.join(name)).map_err(|e| format!("cannot write into `{}`: {e}", to.display()))?;
    }
    Ok(())
}

fn is_of_receivers(file: &Path) -> bool {
    file.starts_with("webhooks") || file.starts_with("alert-file.json")
}

/// Refuses a folder that holds anything.
pub fn refuse_filled(to: &Path) -> Result<(), String> {
    let is_filled = fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some());
    match is_filled {
        true => Err(format!("`{}` holds something already: name a folder that is empty, or not there", to.display())),
        false => Ok(()),
    }
}

/// Lets a change take over in the folder of a service that does not run, behind all that its log has.
///
/// # Errors
/// The folder is in use, or the change is refused: then nothing has changed.
pub fn change(folder: &Path, message: &str) -> Result<Accepted, String> {
    let held = Folder::open(folder)?;
    // Nothing of the log goes by this.
    let settings = LogSettings {
        segment_bytes: u64::MAX,
        retain_for: Duration::MAX,
        retain_bytes: u64::MAX,
        sync_every: Duration::ZERO,
        clock,
    };
    let (log, writing, opened) = Log::open(&folder.join("log"), settings).map_err(|e| e.to_string())?;
    let mut history = History::open(&folder.join("catalog"))?;
    reconcile(&mut history, opened.progress.change)?;
    let told = history.told().map_err(|refusal| refusal.message)?;
    let uploads = uploads(folder, &history)?;
    let rollout = Rollout::new(history, uploads, told, Arc::new(Ready::default()), Places::Log(log), clock);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().map_err(|e| e.to_string())?;
    let done = runtime.block_on(rollout.change(message));
    drop(rollout);
    writing.join();
    drop(held);
    done.map_err(|why| match why {
        NotAccepted::NoMessage(why) | NotAccepted::NotSent(why) => why,
        NotAccepted::Refused(refusal) => match refusal.drawn.is_empty() {
            true => refusal.message,
            false => format!("{}\n{}", refusal.message, refusal.drawn),
        },
        NotAccepted::NotKept(why) => why.to_string(),
        NotAccepted::NotAppended(why) => why.to_string(),
    })
}
