//! What is not by key as bytes: the order of events, and suppression.

use super::FORMAT_VERSION;
use super::codec::{Corrupt, Reader, Writer};
use crate::output::AlertId;
use crate::suppress::{Held, Suppressor};

/// Writes what suppression remembers.
pub fn save_suppressor(s: &Suppressor) -> Vec<u8> {
    let mut w = Writer::default();
    w.u64(FORMAT_VERSION.into());
    w.list(s.held.iter(), |w, ((rule, by), held)| {
        w.str(rule);
        w.slice(by);
        w.i64(held.at);
        w.u64(held.count);
    });
    w.list(s.silenced.iter(), |w, id| w.slice(&id.0));
    w.bytes
}

/// Reads what suppression remembers.
pub fn load_suppressor(bytes: &[u8]) -> Result<Suppressor, Corrupt> {
    let mut r = Reader::new(bytes);
    if r.u16()? != FORMAT_VERSION {
        return Err(Corrupt("the format's version is not known to this engine"));
    }
    let held = r.list(|r| {
        Ok(((r.str()?.to_owned(), r.slice()?.to_vec()), Held { at: r.i64()?, count: r.u64()? }))
    })?;
    let silenced = r.list(|r| r.slice()?.try_into().map(AlertId).map_err(|_| Corrupt("an id has not 16 bytes")))?;
    r.end()?;
    Ok(Suppressor { held: held.into_iter().collect(), silenced: silenced.into_iter().collect() })
}
