//! `[service]`

use std::path::PathBuf;

use super::kinds::{list, optional, or, path, text};

section! {
    /// Where the service listens, and where it keeps what it knows.
    Service {
        /// The address of the HTTP side: host and port.
        listen: String = or(text("host and port: \"127.0.0.1:7878\"", address), "127.0.0.1:7878");
        /// The folder of the log and the state. It is made where it is not there.
        data: PathBuf = or(path(), "./lapwing-data");
        /// Rule files, or folders of them, put in force at the first start over an empty folder `data`.
        rules: Vec<PathBuf> = or(list(path()), "rules");
        /// The folder with what lists, tables and models hold, as `--data` of `lapwing run`.
        tables: Option<PathBuf> = optional(path());
    }
}

/// Whether text is `host:port`.
pub(super) fn address(text: &str) -> Result<(), String> {
    let wrong = || format!("`{text}` is no address");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let bare = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
    let named = !host.is_empty() && bare && !host.contains(|c: char| c.is_whitespace() || c == '/');
    (named && port.parse::<u16>().is_ok()).then_some(()).ok_or_else(wrong)
}
