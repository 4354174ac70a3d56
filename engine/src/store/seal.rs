//! A whole state's header and hash: what is not ours, of another version or damaged is refused before any of it is read.

use sha2::{Digest, Sha256};

use super::FORMAT_VERSION;
use super::codec::{Corrupt, Reader, known};

const MAGIC: &[u8; 8] = b"LAPWING\0";
const HEAD: usize = MAGIC.len() + 2;
const HASH: usize = 32;

/// Puts the header before the content and its hash behind it.
pub fn seal(content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + content.len() + HASH);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(content);
    let hash = Sha256::digest(&bytes);
    bytes.extend_from_slice(&hash);
    bytes
}

/// The content of sealed bytes, to read by the version that they were written in.
pub fn open(bytes: &[u8]) -> Result<Reader<'_>, Corrupt> {
    if !bytes.starts_with(MAGIC) {
        return Err(Corrupt("it is no state of this engine"));
    }
    if bytes.len() < HEAD + HASH {
        return Err(Corrupt("it ends too early"));
    }
    let version = known(u16::from_le_bytes([bytes[MAGIC.len()], bytes[MAGIC.len() + 1]]))?;
    let (sealed, hash) = bytes.split_at(bytes.len() - HASH);
    if Sha256::digest(sealed)[..] != *hash {
        return Err(Corrupt("the content is not what its hash says"));
    }
    Ok(Reader::of_version(&sealed[HEAD..], version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::OLDEST_VERSION;

    #[test]
    fn what_was_sealed_opens_and_nothing_else() {
        let sealed = seal(b"content");
        assert_eq!(open(&sealed).and_then(|mut r| r.take(7)), Ok(&b"content"[..]));
        for i in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[i] ^= 1;
            assert!(open(&damaged).is_err(), "byte {i}");
            assert!(open(&sealed[..i]).is_err(), "the first {i} bytes");
        }
    }

    #[test]
    fn an_unknown_version_says_so() {
        let mut sealed = seal(b"content");
        sealed[8] += 1;
        let newer = "its format is newer than this engine: use the version that wrote it, or a later one";
        assert_eq!(open(&sealed).err(), Some(Corrupt(newer)));
        sealed[8] = OLDEST_VERSION as u8 - 1;
        assert_eq!(open(&sealed).err(), Some(Corrupt("its format is older than this engine can read")));
    }
}
