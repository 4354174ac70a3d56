//! The folder of a service: of which format it is, who uses it, and what of it is its state.
//!
//! A service holds the folder's lock as long as it runs, as does whoever copies it. Folders of earlier versions do not say their format: that is the
//! first.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::replace::replace;

/// The format of folders that this version writes.
pub const FORMAT: u32 = 1;

/// The file that says the format.
const FORMAT_FILE: &str = "format.json";

/// The file whose lock says that somebody uses the folder.
const LOCK: &str = "lock";

/// What is put in place of what a folder holds, once it is whole; where it is there, that was not brought to its end.
pub const RESTORING: &str = "restoring";

/// What a folder holds that is its state: folders and files.
pub const HELD: [&str; 8] = [FORMAT_FILE, "catalog", UPLOADS, "state", "log", "files", "webhooks", "alert-file.json"];

/// The folder of chunks that no change has taken yet.
pub const UPLOADS: &str = "uploads";

/// What is the folder's own: no copy has it, and what is restored leaves it as it is.
pub const OWN: [&str; 5] = [LOCK, "instance", "tokens.json", "admin-token", "audit.jsonl"];

#[derive(Serialize, Deserialize)]
struct Format {
    format: u32,
}

/// A folder that nobody else uses.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Takes the folder of a service, and makes it where there is none.
    ///
    /// # Errors
    /// It is in use, of a newer format, half restored, or cannot be written.
    pub fn open(path: &Path) -> Result<Folder, String> {
        let folder = Folder::take(path)?;
        if path.join(RESTORING).exists() {
            return Err(format!(
                "`{}` was not restored to the end: do it again, `lapwing state restore … --to {} --force`",
                path.display(),
                path.display()
            ));
        }
        format_of(path)?;
        if !path.join(FORMAT_FILE).exists() {
            let format = serde_json::json!(Format { format: FORMAT }).to_string();
            replace(&path.join(FORMAT_FILE), format.as_bytes()).map_err(|e| cannot_use(path, &e))?;
        }
        Ok(folder)
    }

    /// Takes a folder, whatever it holds, and makes it where there is none.
    ///
    /// # Errors
    /// It is in use, or cannot be written.
    pub fn take(path: &Path) -> Result<Folder, String> {
        fs::create_dir_all(path).map_err(|e| cannot_use(path, &e))?;
        let lock = File::create(path.join(LOCK)).map_err(|e| cannot_use(path, &e))?;
        match lock.try_lock() {
            Ok(()) => Ok(Folder { path: path.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => {
                Err(format!("`{}` is in use by another process: stop that one first", path.display()))
            }
            Err(fs::TryLockError::Error(e)) => Err(cannot_use(path, &e)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn cannot_use(path: &Path, e: &io::Error) -> String {
    format!("cannot use the folder `{}`: {e}", path.display())
}

/// Whether a service has begun in a folder.
pub fn is_of_service(path: &Path) -> bool {
    path.join("catalog").is_dir()
}

/// Whether a process uses a folder now.
pub fn is_in_use(path: &Path) -> bool {
    let lock = OpenOptions::new().write(true).open(path.join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock)))
}

/// The format of a folder.
///
/// # Errors
/// It is newer than this version knows, or its file cannot be read.
pub fn format_of(path: &Path) -> Result<u32, String> {
    let file = path.join(FORMAT_FILE);
    let format = match fs::read(&file) {
        Ok(bytes) => serde_json::from_slice::<Format>(&bytes).map_err(|e| format!("`{}`: {e}", file.display()))?.format,
        Err(e) if e.kind() == io::ErrorKind::NotFound => 1,
        Err(e) => return Err(format!("`{}`: {e}", file.display())),
    };
    if format > FORMAT {
        return Err(format!(
            "`{}` is of format {format}, and this version of Lapwing knows {FORMAT}: use the version that wrote it, or a later one",
            path.display()
        ));
    }
    Ok(format)
}

/// The files of a folder that are its state, as paths within it, in order. Locks and what RocksDB notes for people are not.
///
/// # Errors
/// A folder cannot be read.
pub fn files_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for held in HELD {
        gather(path, Path::new(held), &mut files)?;
    }
    files.sort_unstable();
    Ok(files)
}

fn gather(root: &Path, at: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let path = root.join(at);
    if path.is_file() {
        files.push(at.to_owned());
        return Ok(());
    }
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        let is_note = text == "LOG" || text.starts_with("LOG.old") || text == "LOCK";
        let is_passing = text == LOCK || text == "next.save" || text.ends_with(".new");
        if !is_note && !is_passing {
            gather(root, &at.join(&name), files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("lapwing-folder-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn one_process_uses_a_folder() {
        let path = folder("lock");
        assert!(!is_in_use(&path));
        let held = Folder::open(&path).expect("it is nobody's");
        assert!(is_in_use(&path));
        let why = Folder::open(&path).expect_err("it is somebody's");
        assert!(why.contains("is in use by another process"), "{why}");
        drop(held);
        assert!(!is_in_use(&path));
        assert_eq!(format_of(&path), Ok(FORMAT));
        fs::remove_dir_all(path).expect("it can be removed");
    }

    #[test]
    fn a_newer_format_and_half_a_restore_are_refused() {
        let path = folder("newer");
        fs::create_dir_all(path.join(RESTORING)).expect("a folder can be made");
        let why = Folder::open(&path).expect_err("it is half");
        assert!(why.contains("was not restored to the end"), "{why}");
        fs::remove_dir(path.join(RESTORING)).expect("it can be removed");
        fs::write(path.join(FORMAT_FILE), "{\"format\":2}").expect("a file can be written");
        let why = Folder::open(&path).expect_err("it is newer");
        assert!(why.contains("is of format 2, and this version of Lapwing knows 1"), "{why}");
        fs::remove_dir_all(path).expect("it can be removed");
    }

    #[test]
    fn what_is_state_is_listed() {
        let path = folder("files");
        for file in [
            "catalog/history.jsonl",
            "catalog/data/a.txt",
            "state/LOG",
            "state/CURRENT",
            "log/0.log",
            "log/lock",
            "other",
        ] {
            let file = path.join(file);
            fs::create_dir_all(file.parent().expect("it has one")).expect("a folder can be made");
            fs::write(file, "x").expect("a file can be written");
        }
        let files: Vec<_> = files_of(&path).expect("it can be read").iter().map(|f| f.display().to_string()).collect();
        assert_eq!(files, ["catalog/data/a.txt", "catalog/history.jsonl", "log/0.log", "state/CURRENT"]);
        fs::remove_dir_all(path).expect("it can be removed");
    }
}
