//! A secret: known to who needs it, printed by nobody.

use std::fmt;

/// The longest secret, in bytes. A path that names something longer names something else.
const BYTES_MAX: usize = 64 << 10;

/// A password, a token, a key. It never shows in messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret with this text.
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// Reads a secret from a file; the line end at the end of the file is not part of it.
    ///
    /// # Errors
    /// The file cannot be read, is empty or too long; the text says so, and what to do.
    pub fn read(path: &str) -> Result<Secret, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read the secret in `{path}`: {e}"))?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        match text.len() {
            0 => Err(format!("`{path}` is empty: write the secret into it")),
            1..=BYTES_MAX => Ok(Secret(text.to_owned())),
            given => Err(format!("`{path}` has {given} bytes, a secret has at most {BYTES_MAX}: is it another file?")),
        }
    }

    /// The text itself, for who needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
