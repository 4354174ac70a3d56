//! `geoip`: where addresses are, from databases in MaxMind's format, held in memory.
//!
//! | field | where it stands in a record |
//! | --- | --- |
//! | `country` | `country.iso_code` |
//! | `city` | `city.names.en` |
//! | `asn` | `autonomous_system_number` |
//! | `place` | `location.latitude` and `location.longitude` |
//!
//! Of several databases the first, in the order of their files' names, that knows a field of an address answers: countries and cities may stand
//! in one, autonomous systems in another.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use lapwing_dsl::ir::GeoipField;
use lapwing_dsl::value::Value;
use lapwing_engine::data::geoip::Geoip;
use maxminddb::{PathElement, Reader};

use crate::tables::contents::{Kept, digest_on};
use crate::tables::folder::Mistake;

/// The most databases.
const DATABASES_MAX: usize = 8;
/// The ending of their files.
pub const ENDING: &str = "mmdb";

/// Databases in memory.
pub struct Databases(Vec<Reader<Vec<u8>>>);

impl std::fmt::Debug for Databases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|d| &d.metadata().database_type)).finish()
    }
}

impl Databases {
    /// Databases from the bytes of their files. The error is the number of the file and a sentence.
    pub fn new(files: impl IntoIterator<Item = Vec<u8>>) -> Result<Databases, (usize, String)> {
        let open = |(i, bytes)| {
            Reader::from_source(bytes).map_err(|e| {
                (i, format!("it is no database in MaxMind's format, or it is cut short ({e}): copy the file whole"))
            })
        };
        Ok(Databases(files.into_iter().enumerate().map(open).collect::<Result<_, _>>()?))
    }
}

impl Geoip for Databases {
    fn find(&self, ip: IpAddr, field: GeoipField) -> Value<'static> {
        let ip = ip.to_canonical();
        self.0.iter().find_map(|database| of(database, ip, field)).unwrap_or(Value::Missing)
    }
}

/// What one database says; none where it does not know, or is damaged there.
fn of(database: &Reader<Vec<u8>>, ip: IpAddr, field: GeoipField) -> Option<Value<'static>> {
    let found = database.lookup(ip).ok()?;
    let text = |path: &[PathElement<'_>]| found.decode_path::<String>(path).ok().flatten();
    let number =
        |name| found.decode_path::<f64>(&[PathElement::Key("location"), PathElement::Key(name)]).ok().flatten();
    match field {
        GeoipField::Country => text(&[PathElement::Key("country"), PathElement::Key("iso_code")]).map(Value::text),
        GeoipField::City => {
            text(&[PathElement::Key("city"), PathElement::Key("names"), PathElement::Key("en")]).map(Value::text)
        }
        GeoipField::Asn => {
            let number = found.decode_path::<u32>(&[PathElement::Key("autonomous_system_number")]).ok().flatten();
            number.map(|n| Value::Int(n.into()))
        }
        GeoipField::Place => {
            let (lat, lon) = (number("latitude")?, number("longitude")?);
            ((-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon)).then_some(Value::Geo(lat, lon))
        }
    }
}

/// Reads the databases of a folder, in order of their names; none where there are none.
pub fn read(folder: &Path) -> Result<Option<Kept<Databases>>, Mistake> {
    let mistake = |path: &Path, message: String| Mistake { path: path.to_owned(), line: None, message };
    let entries = std::fs::read_dir(folder).map_err(|e| mistake(folder, format!("it cannot be read: {e}")))?;
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == ENDING));
    paths.sort();
    if let Some(one_more) = paths.get(DATABASES_MAX) {
        return Err(mistake(
            one_more,
            format!("there are more than {DATABASES_MAX} databases: leave out what is not needed"),
        ));
    }
    if paths.is_empty() {
        return Ok(None);
    }
    let read = |path: &_| std::fs::read(path).map_err(|e| mistake(path, format!("it cannot be read: {e}")));
    let files = paths.iter().map(|path| read(path)).collect::<Result<Vec<Vec<u8>>, Mistake>>()?;
    let digest = files.iter().fold(digest_on(None, &[]), |digest, bytes| digest_on(Some(digest), &[bytes]));
    let content = Databases::new(files).map_err(|(i, message)| mistake(&paths[i], message))?;
    Ok(Some(Kept { content: Arc::new(content), digest }))
}
