//! Lengths of time and sizes, as rules, flags and the configuration write them: a whole number and a unit.

const TIMES: [(&str, i64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// A length of time as rules write it, in milliseconds: `10m`, `500ms`, `0s`.
pub fn duration(text: &str) -> Result<i64, String> {
    let (number, unit) = cut(text);
    let Some((_, unit)) = TIMES.into_iter().find(|(name, _)| *name == unit) else {
        return Err(format!(
            "`{text}` is no length of time; write a whole number and a unit: 500ms, 10s, 5m, 2h, 1d, 1w"
        ));
    };
    let number: i64 = number.parse().map_err(|_| format!("`{text}` does not begin with a whole number"))?;
    number.checked_mul(unit).ok_or_else(|| format!("`{text}` is too long"))
}

/// A size in bytes: `512MiB`, `10GB`, `0B`.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = cut(text);
    let Some((_, unit)) = SIZES.into_iter().find(|(name, _)| *name == unit) else {
        return Err(format!(
            "`{text}` is no size; write a whole number and a unit: 4096B, 64KiB, 512MiB, 1GiB, 2TiB, or kB, MB, GB, TB"
        ));
    };
    let number: u64 = number.parse().map_err(|_| format!("`{text}` does not begin with a whole number"))?;
    number.checked_mul(unit).ok_or_else(|| format!("`{text}` is too much"))
}

/// A length of time in milliseconds, in the greatest unit up to days that needs no fraction.
pub fn duration_text(ms: u128) -> String {
    // A week of retention is written `7d` by everybody.
    let mut units = TIMES.into_iter().skip(1);
    let unit = units.find(|(_, unit)| ms > 0 && ms.is_multiple_of(*unit as u128));
    unit.map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", ms / unit as u128))
}

/// A size in bytes, in the greatest power of two that needs no fraction.
pub fn size_text(bytes: u64) -> String {
    let mut units = SIZES.into_iter().filter(|(_, unit)| unit.is_power_of_two());
    let unit = units.find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| "0B".to_owned(), |(name, unit)| format!("{}{name}", bytes / unit))
}

fn cut(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_and_written() {
        for (text, ms) in [("0s", 0), ("500ms", 500), ("90s", 90_000), ("2h", 7_200_000), ("7d", 604_800_000)] {
            assert_eq!(duration(text), Ok(ms));
            assert_eq!(duration_text(ms as u128), text);
        }
        assert_eq!(duration("1w"), duration("7d"));
        assert_eq!(duration_text(3_600_000), "1h");
        for wrong in ["", "5", "s", "-1s", "1.5s", "10 s", "9223372036854775807d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in [("0B", 0), ("4095B", 4095), ("64KiB", 65_536), ("1GiB", 1 << 30), ("3TiB", 3 << 40)] {
            assert_eq!(size(text), Ok(bytes));
            assert_eq!(size_text(bytes), text);
        }
        assert_eq!(size("10GB"), Ok(10_000_000_000));
        for wrong in ["", "5", "MiB", "-1B", "1.5MiB", "10 MiB", "1mb", "99999999999TiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
