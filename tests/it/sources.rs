//! One conformance suite for all sources: the same tables in every form that a source reads give the same rows and the
//! same stats, and what is wrong with them is told alike.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod agreement;
mod buckets;
mod engine_types;
mod engines;
mod failures;
mod forms;
mod odd;
mod postgres;
mod read;
mod semi;
mod sets;
mod silence;
mod spelled;
mod spelled_by_hand;
mod writers;

use std::path::Path;

use exhaust::objects::Bucket;
use exhaust::sources::Settings;
use exhaust::sources::files::CsvDialect;
use exhaust::sources::files::FilesSource;
use exhaust::sources::postgres::PostgresSource;
use exhaust::tables::keys::keys as keys_of;
use exhaust::tables::plan::Scan;
use exhaust::tables::schema::{Column, Table};

use crate::databases::TestDatabase;

/// Times without zone are those of Kolkata, 5:30 h ahead of UTC.
fn settings() -> Settings {
    Settings::new(chrono_tz::Asia::Kolkata)
}

fn files(directory: &Path, dialect: CsvDialect, settings: Settings) -> FilesSource {
    FilesSource::new(directory.to_path_buf(), dialect, settings)
}

fn in_bucket(bucket: Bucket, dialect: CsvDialect) -> FilesSource {
    FilesSource::stored(bucket, dialect, settings())
}

fn database(database: &TestDatabase, settings: Settings) -> PostgresSource {
    PostgresSource::new(&database.url(), "platform", settings).unwrap()
}

fn scan(table: Table, columns: &[Column], only: Option<(&'static str, &[&str])>) -> Scan {
    let keys = |keys: &[&str]| keys_of(keys.iter().map(|&key| key.to_owned()));
    Scan {
        table,
        columns: columns.to_vec(),
        reach: only.map(|(name, of)| (name.into(), keys(of))).into(),
        learners: None,
    }
}
