//! Records of the embedded log as bytes: each in a frame with its length and checksum.
//!
//! A frame is `length u32 | checksum u32 | kind u8 | reading i64 | behind u32 | content`, numbers little-endian. The length counts what is behind the checksum;
//! the checksum is CRC-32 (IEEE 802.3) of that. `reading` is the clock when the record was taken, in milliseconds since 1970. `behind` says how many bytes
//! before the frame the records begin that were written together with it: all before them was on the disk when it was written.

use lapwing_engine::Millis;
use lapwing_engine::store::codec::{Corrupt, Reader, Writer};

/// Bytes of a frame before its content.
pub const HEAD: usize = 4 + 4 + 1 + 8 + 4;

/// The most bytes of a frame behind its checksum.
pub const FRAME_MAX: usize = 1 << 30;

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'b> {
    /// Lines that were taken.
    Events(Events<'b>),
    /// A change of the catalog takes over here.
    Change {
        /// Its number.
        number: u64,
    },
    /// Nothing came for a while: time goes on without events.
    Time {
        /// As if an event of this time had come.
        greatest: Millis,
    },
    /// What was judged, and what that gave.
    Epoch(EpochRecord<'b>),
}

/// Lines that were taken at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events<'b> {
    /// Number of the first line.
    pub first: u64,
    /// How many lines.
    pub count: u64,
    /// What the sender calls them: sent again under the same key they are not taken again.
    pub key: Option<&'b str>,
    /// Whole lines, each with its end.
    pub lines: &'b [u8],
}

/// What was judged, and what that gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochRecord<'b> {
    /// Number of the epoch, from 1.
    pub number: u64,
    /// All records before this place are judged.
    pub until: u64,
    /// How many alerts all epochs before had.
    pub alerts_before: u64,
    /// Alerts as JSON lines.
    pub alerts: &'b [u8],
    /// Events that were not taken, as JSON lines.
    pub rejected: &'b [u8],
}

const EVENTS: u8 = 1;
const CHANGE: u8 = 2;
const EPOCH: u8 = 3;
const TIME: u8 = 4;

impl Record<'_> {
    fn kind(&self) -> u8 {
        match self {
            Record::Events(_) => EVENTS,
            Record::Change { .. } => CHANGE,
            Record::Time { .. } => TIME,
            Record::Epoch(_) => EPOCH,
        }
    }

    /// Appends the record's frame. `begin` is where in `out` the records begin that are written together.
    pub fn frame(&self, reading: Millis, begin: usize, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 8]);
        out.push(self.kind());
        out.extend_from_slice(&reading.to_le_bytes());
        out.extend_from_slice(&((start - begin) as u32).to_le_bytes());
        let mut w = Writer { bytes: std::mem::take(out) };
        match self {
            Record::Events(events) => {
                w.u64(events.first);
                w.u64(events.count);
                w.option(events.key, |w, key| w.str(key));
                w.slice(events.lines);
            }
            Record::Change { number } => w.u64(*number),
            Record::Time { greatest } => w.i64(*greatest),
            Record::Epoch(epoch) => {
                w.u64(epoch.number);
                w.u64(epoch.until);
                w.u64(epoch.alerts_before);
                w.slice(epoch.alerts);
                w.slice(epoch.rejected);
            }
        }
        *out = w.bytes;
        let length = (out.len() - start - 8) as u32;
        let sum = crc32fast::hash(&out[start + 8..]);
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        out[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
    }
}

/// A frame that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<'b> {
    /// Its bytes, all of them.
    pub length: usize,
    /// The clock when it was taken, in milliseconds since 1970.
    pub reading: Millis,
    /// So many bytes before it everything was on the disk when it was written.
    pub behind: u32,
    /// The record.
    pub record: Record<'b>,
}

/// Why no frame could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The bytes end inside it; all of it has so many.
    Short(usize),
    /// It is not what was written.
    Damaged(Corrupt),
}

impl From<Corrupt> for Unread {
    fn from(e: Corrupt) -> Unread {
        Unread::Damaged(e)
    }
}

/// How many bytes the frame has at the beginning of some bytes.
pub fn length(bytes: &[u8]) -> Result<usize, Unread> {
    let Some(four) = bytes.first_chunk::<4>() else { return Err(Unread::Short(HEAD)) };
    let length = u32::from_le_bytes(*four) as usize;
    if !(HEAD - 8..=FRAME_MAX).contains(&length) {
        return Err(Corrupt("a record of impossible length").into());
    }
    Ok(8 + length)
}

/// Reads the frame at the beginning of some bytes.
pub fn read(bytes: &[u8]) -> Result<Frame<'_>, Unread> {
    let length = length(bytes)?;
    let Some(frame) = bytes.get(..length) else { return Err(Unread::Short(length)) };
    let (sum, body) = frame[4..].split_first_chunk::<4>().ok_or(Corrupt("a record that is too short"))?;
    if u32::from_le_bytes(*sum) != crc32fast::hash(body) {
        return Err(Corrupt("a record whose checksum does not hold").into());
    }
    let short = || Corrupt("a record that is too short");
    let (kind, rest) = body.split_first().ok_or_else(short)?;
    let (reading, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
    let (behind, content) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let mut r = Reader::new(content);
    let record = match *kind {
        EVENTS => {
            Record::Events(Events { first: r.u64()?, count: r.u64()?, key: r.option(Reader::str)?, lines: r.slice()? })
        }
        CHANGE => Record::Change { number: r.u64()? },
        TIME => Record::Time { greatest: r.i64()? },
        EPOCH => Record::Epoch(EpochRecord {
            number: r.u64()?,
            until: r.u64()?,
            alerts_before: r.u64()?,
            alerts: r.slice()?,
            rejected: r.slice()?,
        }),
        _ => return Err(Corrupt("a record of a kind that this version does not know").into()),
    };
    r.end()?;
    Ok(Frame { length, reading: i64::from_le_bytes(*reading), behind: u32::from_le_bytes(*behind), record })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let records = [
            Record::Events(Events { first: 7, count: 2, key: Some("a"), lines: b"{}\n{}\n" }),
            Record::Events(Events { first: 9, count: 0, key: None, lines: b"" }),
            Record::Change { number: 3 },
            Record::Time { greatest: -1 },
            Record::Epoch(EpochRecord { number: 1, until: 99, alerts_before: 5, alerts: b"x\n", rejected: b"" }),
        ];
        let mut bytes = Vec::new();
        for record in &records {
            record.frame(-5, 0, &mut bytes);
        }
        let mut at = 0;
        for record in &records {
            let frame = read(&bytes[at..]).expect("it is whole");
            assert_eq!((&frame.record, frame.reading, frame.behind as usize), (record, -5, at));
            for cut in at..at + frame.length {
                assert!(matches!(read(&bytes[at..cut]), Err(Unread::Short(_))), "cut at {cut}");
            }
            for i in at + 8..at + frame.length {
                let mut damaged = bytes.clone();
                damaged[i] ^= 1;
                assert!(matches!(read(&damaged[at..]), Err(Unread::Damaged(_))), "byte {i}");
            }
            at += frame.length;
        }
        assert_eq!(at, bytes.len());
    }
}
