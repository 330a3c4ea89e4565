//! What jobs.toml says of a source of files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::names::is_data;
use crate::document::Fallback::{Is, Says};
use crate::document::Form::Text;
use crate::document::{POSTGRES, Place, Section, Urls, restart};
use crate::objects::{self, Location};
use crate::sources::kind::{Kind, RoutedTable};
use crate::tables::schema::Table;

/// Files in a directory or an object store.
pub const KIND: Kind = Kind {
    name: "files",
    answers_queries: false,
    keys: &[
        restart(
            "url",
            Text,
            Is("\"data\""),
            "The directory, plain or as `file://PATH`; or `s3://bucket/prefix`, `az://container/prefix`, \
             `gs://bucket/prefix`, with credentials from the environment ([stores.md](stores.md)).",
        ),
        restart(
            "csv_dialect",
            Text,
            Is("\"rfc4180\""),
            "How CSV files are quoted. `\"spark\"`: quotes inside quotes are escaped with a backslash. `\"cqlsh\"`: \
             backslash escapes inside quotes and outside, as `cqlsh COPY TO` writes them.",
        ),
    ],
    table_keys: &[
        restart("table", Text, Says("its own name"), "What its file is called without its end, or its directory."),
        restart("csv_dialect", Text, Says("that of its source"), "How the table's CSV files are quoted."),
    ],
};

/// Where files are, and how they are written.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where they are.
    pub location: FilesLocation,
    /// What is said of the tables' files.
    pub tables: TableFiles,
}

/// Where the files of a source are.
#[derive(Clone, Debug, PartialEq)]
pub enum FilesLocation {
    /// In a directory.
    Directory(PathBuf),
    /// In an object store.
    Objects(objects::BucketConfig),
}

/// How CSV files quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CsvDialect {
    /// Quotes are doubled.
    Rfc4180,
    /// Backslash escapes inside quotes.
    Spark,
    /// Backslash escapes inside quotes and outside, as `cqlsh COPY TO` writes them.
    Cqlsh,
}

/// What the files of each table are called, and how they are quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFiles {
    /// How they are quoted where nothing else is said.
    dialect: CsvDialect,
    dialects: BTreeMap<Table, CsvDialect>,
    names: BTreeMap<Table, String>,
}

impl TableFiles {
    /// How the files of a table are quoted.
    #[must_use]
    pub fn dialect(&self, table: Table) -> CsvDialect {
        self.dialects.get(&table).copied().unwrap_or(self.dialect)
    }

    /// The name of a table's directory, or of its file without the end.
    #[must_use]
    pub fn name(&self, table: Table) -> &str {
        self.names.get(&table).map_or(table.name(), String::as_str)
    }
}

/// All files are quoted so, and called as their tables.
impl From<CsvDialect> for TableFiles {
    fn from(dialect: CsvDialect) -> Self {
        Self { dialect, dialects: BTreeMap::new(), names: BTreeMap::new() }
    }
}

impl Config {
    pub(crate) fn read(section: &Section<'_>, tables: &[RoutedTable<'_>], urls: &Urls<'_>) -> Option<Self> {
        let dialect = csv_dialect(section);
        let (mut dialects, mut names) = (BTreeMap::new(), BTreeMap::new());
        for RoutedTable { table, entry } in tables {
            let Some(entry) = entry else { continue };
            dialects.extend(csv_dialect(entry).map(|dialect| (*table, dialect)));
            names.extend(name(entry).map(|name| (*table, name)));
        }
        let (url, place) = section.filled("url")?;
        let tables = TableFiles { dialect: dialect?, dialects, names };
        Some(Self { location: location(urls, url, place)?, tables })
    }

    /// The directory, or the URL of the place in an object store.
    pub(crate) fn place(&self) -> String {
        match &self.location {
            FilesLocation::Directory(directory) => directory.display().to_string(),
            FilesLocation::Objects(place) => place.location.to_string(),
        }
    }

    /// Where the files of a table are.
    pub(crate) fn place_of(&self, table: Table) -> String {
        let place = self.place();
        self.tables.names.get(&table).map_or(place.clone(), |name| format!("{}/{name}", place.trim_end_matches('/')))
    }
}

/// A path, with or without `file://`, or a place in an object store.
pub(crate) fn location(urls: &Urls<'_>, url: &str, place: &Place) -> Option<FilesLocation> {
    match url.split_once("://") {
        None => urls.path(url, place).map(FilesLocation::Directory),
        Some(("file", path)) => urls.path(path, place).map(FilesLocation::Directory),
        Some((scheme, _)) if POSTGRES.contains(&scheme) => {
            urls.faults.add(place, "a postgres:// source needs `kind = \"postgres\"`");
            None
        }
        Some((scheme, _)) if Location::SCHEMES.contains(&scheme) => {
            urls.objects(url, place).map(FilesLocation::Objects)
        }
        Some((scheme, _)) => urls.unknown(scheme, place, &["file", "s3", "az", "gs"]),
    }
}

/// What the files of a table are called.
fn name(entry: &Section<'_>) -> Option<String> {
    let (name, place) = entry.filled("table")?;
    if name.contains(['/', '\\', '\0']) || !is_data(name) {
        entry.faults.add(place, format!("`{name}` is no name of a file or directory of a source"));
        return None;
    }
    Some(name.to_owned())
}

fn csv_dialect(section: &Section<'_>) -> Option<CsvDialect> {
    let dialects = [("rfc4180", CsvDialect::Rfc4180), ("spark", CsvDialect::Spark), ("cqlsh", CsvDialect::Cqlsh)];
    section.one_of("csv_dialect", &dialects)
}
