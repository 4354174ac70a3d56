//! The lists, tables and models of a catalog, by their names, and the databases of places.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lapwing_dsl::schema::Schema;
use lapwing_engine::data::Data;
use lapwing_engine::data::list::List;
use lapwing_engine::data::table::Table;
use sha2::{Digest, Sha256};

use crate::geoip::Databases;
use crate::models::versions::Staged;

/// What lists and tables hold, and which versions models have. One that nobody has filled is empty.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    lists: BTreeMap<String, Kept<List>>,
    tables: BTreeMap<String, Kept<Table>>,
    models: BTreeMap<String, Staged>,
    geoip: Option<Kept<Databases>>,
    folder: Option<PathBuf>,
    uploads: Option<PathBuf>,
}

/// A list or a table, with a digest of all that made it what it is.
#[derive(Debug)]
pub struct Kept<T> {
    /// What it holds.
    pub content: Arc<T>,
    /// Digest of the file or message that filled it, and of all changes since.
    pub digest: [u8; 32],
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Kept { content: self.content.clone(), digest: self.digest }
    }
}

/// Digest of a digest and of what comes upon it.
pub fn digest_on(before: Option<[u8; 32]>, upon: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(before.unwrap_or_default());
    for part in upon {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

impl Contents {
    /// A list, where something has filled it.
    pub fn list(&self, name: &str) -> Option<&Kept<List>> {
        self.lists.get(name)
    }

    /// A table, where something has filled it.
    pub fn table(&self, name: &str) -> Option<&Kept<Table>> {
        self.tables.get(name)
    }

    /// A model, where something has put one.
    pub fn model(&self, name: &str) -> Option<&Staged> {
        self.models.get(name)
    }

    /// The databases of places, where there are any.
    pub fn geoip(&self) -> Option<&Kept<Databases>> {
        self.geoip.as_ref()
    }

    /// The folder that files are named in.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Says which folder files are named in.
    pub fn set_folder(&mut self, folder: &Path) {
        self.folder = Some(folder.to_owned());
    }

    /// The folder of the files that came in chunks, each under its digest.
    pub fn uploads(&self) -> Option<&Path> {
        self.uploads.as_deref()
    }

    /// Says where the files are that came in chunks.
    pub fn set_uploads(&mut self, folder: &Path) {
        self.uploads = Some(folder.to_owned());
    }

    /// All models that have a version, in order of their names.
    pub fn models(&self) -> impl Iterator<Item = (&str, &Staged)> {
        self.models.iter().map(|(name, staged)| (name.as_str(), staged))
    }

    /// Puts a model in place of what is there.
    pub fn put_model(&mut self, name: &str, model: Staged) {
        self.models.insert(name.to_owned(), model);
    }

    /// Puts databases of places in place of what is there.
    pub fn put_geoip(&mut self, databases: Kept<Databases>) {
        self.geoip = Some(databases);
    }

    /// Puts a list in place of what is there.
    pub fn put_list(&mut self, name: &str, list: Kept<List>) {
        self.lists.insert(name.to_owned(), list);
    }

    /// Puts a table in place of what is there.
    pub fn put_table(&mut self, name: &str, table: Kept<Table>) {
        self.tables.insert(name.to_owned(), table);
    }

    /// Forgets what is not declared any more.
    pub fn keep_declared(&mut self, schema: &Schema) {
        self.lists.retain(|name, _| schema.find_list(name).is_some());
        self.tables.retain(|name, _| schema.find_table(name).is_some());
        self.models.retain(|name, _| schema.find_model(name).is_some());
    }

    /// What it holds for `declared` of one schema, of those that `other` declares alike.
    pub fn declared_alike(&self, declared: &Schema, other: &Schema) -> Contents {
        let mut alike = self.clone();
        alike.lists.retain(|name, _| {
            let ty = |schema: &Schema| schema.find_list(name).map(|id| schema.lists[id.0 as usize].ty.clone());
            ty(declared).is_some() && ty(declared) == ty(other)
        });
        alike.tables.retain(|name, _| {
            let columns = |schema: &Schema| {
                let table = &schema.tables[schema.find_table(name)?.0 as usize];
                let columns = table.key.iter().chain(&table.columns);
                Some((table.key.len(), columns.map(|c| (c.name.clone(), c.ty.clone())).collect::<Vec<_>>()))
            };
            columns(declared).is_some() && columns(declared) == columns(other)
        });
        alike
    }

    /// In the order of a schema.
    pub fn data(&self, schema: &Schema) -> Data {
        let mut data = Data::empty(schema);
        for (list, declared) in data.lists.iter_mut().zip(&schema.lists) {
            if let Some(kept) = self.lists.get(&declared.name) {
                *list = kept.content.clone();
            }
        }
        for (table, declared) in data.tables.iter_mut().zip(&schema.tables) {
            if let Some(kept) = self.tables.get(&declared.name) {
                *table = kept.content.clone();
            }
        }
        for (model, declared) in data.models.iter_mut().zip(&schema.models) {
            if let Some(staged) = self.models.get(&declared.name) {
                *model = staged.versions();
            }
        }
        data.geoip = self.geoip.as_ref().map(|kept| kept.content.clone() as _);
        data
    }

    /// Digest of everything: equal files and equal messages give equal digests.
    pub fn digest(&self) -> [u8; 32] {
        let lists = self.lists.iter().map(|(name, kept)| ("list", name, kept.digest));
        let tables = self.tables.iter().map(|(name, kept)| ("table", name, kept.digest));
        let models = self.models.iter().map(|(name, staged)| ("model", name, staged.digest()));
        let none = String::new();
        let geoip = self.geoip.iter().map(|kept| ("geoip", &none, kept.digest));
        lists
            .chain(tables)
            .chain(models)
            .chain(geoip)
            .fold([0; 32], |all, (kind, name, own)| digest_on(Some(all), &[kind.as_bytes(), name.as_bytes(), &own]))
    }
}
