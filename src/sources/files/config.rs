//! What jobs.toml says of a source of files.

use std::collections::BTreeMap;
use std::path::PathBuf;

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
    table_keys: &[restart("csv_dialect", Text, Says("that of its source"), "How the table's CSV files are quoted.")],
};

/// Where files are, and how they are written.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where they are.
    pub location: FilesLocation,
    /// How CSV files are quoted.
    pub dialects: CsvDialects,
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

/// How the CSV files of each table are quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvDialects {
    others: CsvDialect,
    of: BTreeMap<Table, CsvDialect>,
}

impl CsvDialects {
    /// That of one table.
    #[must_use]
    pub fn of(&self, table: Table) -> CsvDialect {
        self.of.get(&table).copied().unwrap_or(self.others)
    }
}

impl From<CsvDialect> for CsvDialects {
    fn from(others: CsvDialect) -> Self {
        Self { others, of: BTreeMap::new() }
    }
}

impl Config {
    pub(crate) fn read(section: &Section<'_>, tables: &[RoutedTable<'_>], urls: &Urls<'_>) -> Option<Self> {
        let others = csv_dialect(section);
        let of = tables.iter().filter_map(|routed| Some((routed.table, csv_dialect(routed.entry.as_ref()?)?)));
        let of = of.collect();
        let (url, place) = section.filled("url")?;
        Some(Self { location: location(urls, url, place)?, dialects: CsvDialects { others: others?, of } })
    }

    /// The directory, or the URL of the place in an object store.
    pub(crate) fn place(&self) -> String {
        match &self.location {
            FilesLocation::Directory(directory) => directory.display().to_string(),
            FilesLocation::Objects(place) => place.location.to_string(),
        }
    }

    /// Where the files of a table are.
    pub(crate) fn place_of(&self, _: Table) -> String {
        self.place()
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

fn csv_dialect(section: &Section<'_>) -> Option<CsvDialect> {
    let dialects = [("rfc4180", CsvDialect::Rfc4180), ("spark", CsvDialect::Spark), ("cqlsh", CsvDialect::Cqlsh)];
    section.one_of("csv_dialect", &dialects)
}
