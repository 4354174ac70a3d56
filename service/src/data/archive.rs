//! Files of a folder as one file.
//!
//! ```text
//! magic 16  version u32  { name length u32  name  length u64  content } …  0 u32  SHA-256 of all before
//! ```
//!
//! Numbers are little-endian. A name is a path within the folder with `/` between its parts. The hash is held to before anything counts.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

const MAGIC: &[u8; 16] = b"LAPWING-SERVICE\0";

/// The version of the format.
const VERSION: u32 = 1;

/// The longest name of a file.
const NAME_MAX: u32 = 4_096;

const HASH: usize = 32;

/// Whether a file begins as an archive does.
pub fn is_archive(path: &Path) -> bool {
    let mut head = [0; MAGIC.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head == *MAGIC
}

/// Writes files of a folder into one file, at once or not at all; gives its length.
///
/// # Errors
/// A file cannot be read, or that one not written; nothing is left then.
pub fn pack(folder: &Path, files: &[PathBuf], to: &Path) -> Result<u64, String> {
    let mut name = to.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let cannot = |e: io::Error| format!("cannot write `{}`: {e}", to.display());
    let written = pack_into(folder, files, &new, cannot).and_then(|length| {
        fs::rename(&new, to).map_err(cannot)?;
        let above = to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(above).and_then(|above| above.sync_all()).map_err(cannot)?;
        Ok(length)
    });
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

fn pack_into(
    folder: &Path,
    files: &[PathBuf],
    new: &Path,
    cannot: impl Fn(io::Error) -> String,
) -> Result<u64, String> {
    let file = File::create(new).map_err(&cannot)?;
    let mut out = Hashing { inner: BufWriter::with_capacity(1 << 20, file), hash: Sha256::new() };
    out.write_all(MAGIC).and_then(|()| out.write_all(&VERSION.to_le_bytes())).map_err(&cannot)?;
    for name in files {
        let path = folder.join(name);
        let unread = |e: io::Error| format!("cannot read `{}`: {e}", path.display());
        let mut content = File::open(&path).map_err(unread)?;
        let length = content.metadata().map_err(unread)?.len();
        let name = name.components().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/");
        let head = [&(name.len() as u32).to_le_bytes()[..], name.as_bytes(), &length.to_le_bytes()].concat();
        out.write_all(&head).map_err(&cannot)?;
        let copied = io::copy(&mut (&mut content).take(length), &mut out).map_err(&cannot)?;
        if copied != length {
            return Err(format!("`{}` became shorter while it was read", path.display()));
        }
    }
    out.write_all(&0u32.to_le_bytes()).map_err(&cannot)?;
    let Hashing { mut inner, hash } = out;
    inner.write_all(&hash.finalize()).map_err(&cannot)?;
    let file = inner.into_inner().map_err(|e| cannot(e.into_error()))?;
    file.sync_all().map_err(&cannot)?;
    Ok(file.metadata().map_err(&cannot)?.len())
}

/// Writes the files of an archive into a folder, which is made; whatever fails, nothing of it is to be used.
///
/// # Errors
/// It is no archive, of a newer version, damaged, or a file cannot be written.
pub fn unpack(archive: &Path, folder: &Path) -> Result<(), String> {
    let shown = archive.display();
    let unread = |e: io::Error| match e.kind() {
        io::ErrorKind::UnexpectedEof => format!("`{shown}` is damaged: it ends too early"),
        _ => format!("cannot read `{shown}`: {e}"),
    };
    let file = File::open(archive).map_err(unread)?;
    let mut from = Hashing { inner: BufReader::with_capacity(1 << 20, file), hash: Sha256::new() };
    let mut magic = [0; MAGIC.len()];
    from.read_exact(&mut magic).map_err(unread)?;
    if magic != *MAGIC {
        return Err(format!("`{shown}` is no saved state of a service"));
    }
    let version = from.u32().map_err(unread)?;
    if version > VERSION {
        return Err(format!(
            "`{shown}` is of format {version}, and this version of Lapwing knows {VERSION}: use the version that wrote it, or a later one"
        ));
    }
    let cannot = |path: &Path, e: io::Error| format!("cannot write `{}`: {e}", path.display());
    fs::create_dir_all(folder).map_err(|e| cannot(folder, e))?;
    loop {
        let length = from.u32().map_err(unread)?;
        if length == 0 {
            break;
        }
        let damaged = || format!("`{shown}` is damaged: the name of a file cannot be");
        if length > NAME_MAX {
            return Err(damaged());
        }
        let mut name = vec![0; length as usize];
        from.read_exact(&mut name).map_err(unread)?;
        let name = PathBuf::from(String::from_utf8(name).map_err(|_| damaged())?);
        if !name.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(damaged());
        }
        let mut length = [0; 8];
        from.read_exact(&mut length).map_err(unread)?;
        let length = u64::from_le_bytes(length);
        let path = folder.join(name);
        let above = path.parent().unwrap_or(folder);
        fs::create_dir_all(above).map_err(|e| cannot(above, e))?;
        let mut file = File::create(&path).map_err(|e| cannot(&path, e))?;
        let copied = io::copy(&mut (&mut from).take(length), &mut file).map_err(|e| cannot(&path, e))?;
        if copied != length {
            return Err(format!("`{shown}` is damaged: it ends too early"));
        }
        file.sync_all().map_err(|e| cannot(&path, e))?;
    }
    let Hashing { mut inner, hash } = from;
    let mut said = [0; HASH];
    inner.read_exact(&mut said).map_err(unread)?;
    if hash.finalize()[..] != said {
        return Err(format!("`{shown}` is damaged: its content is not what its hash says"));
    }
    Ok(())
}

/// Hashes what goes through.
struct Hashing<T> {
    inner: T,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.hash.update(&bytes[..read]);
        Ok(read)
    }
}

impl<R: Read> Hashing<R> {
    fn u32(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.read_exact(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_comes_out_whole_or_not_at_all() {
        let root = std::env::temp_dir().join(format!("lapwing-archive-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let (from, file) = (root.join("from"), root.join("a.saved"));
        fs::create_dir_all(from.join("b")).expect("a folder can be made");
        fs::write(from.join("a"), "content of a").expect("a file can be written");
        fs::write(from.join("b/c"), "").expect("a file can be written");
        let names = [PathBuf::from("a"), PathBuf::from("b/c")];
        let length = pack(&from, &names, &file).expect("it is written");
        let bytes = fs::read(&file).expect("it is there");
        assert!(is_archive(&file) && bytes.len() as u64 == length);
        unpack(&file, &root.join("to")).expect("it is whole");
        assert_eq!(fs::read(root.join("to/a")).expect("it is there"), b"content of a");
        assert_eq!(fs::read(root.join("to/b/c")).expect("it is there"), b"");
        for i in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[i] ^= 1;
            fs::write(&file, &damaged).expect("a file can be written");
            assert!(unpack(&file, &root.join("damaged")).is_err(), "byte {i}");
            fs::write(&file, &bytes[..i]).expect("a file can be written");
            assert!(unpack(&file, &root.join("cut")).is_err(), "the first {i} bytes");
        }
        fs::remove_dir_all(root).expect("it can be removed");
    }
}
