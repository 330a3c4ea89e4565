//! Tables of which every value reads, in every form.

use exhaust::sources::files::CsvDialect;
use exhaust::sources::{ScanStats, Source};
use exhaust::tables::schema::Table;

use super::forms::{self, Format, Spelling};
use super::read::read;
use super::sets::{Set, readable};
use super::{database, files, in_bucket, scan, settings};
use crate::buckets;
use crate::databases::TestDatabase;

/// The whole table and the rows of some keys.
pub(super) fn check(form: &str, source: &dyn Source, set: &Set) {
    for limited in [false, true] {
        let scan = scan(set.table, &set.asked, limited.then_some(set.only));
        let (rows, stats) = read(source, &scan).unwrap_or_else(|error| panic!("{form}: {}", error.detail));
        let expected = set.expected.iter().filter(|(_, of_keys)| *of_keys || !limited);
        let mut expected: Vec<&str> = expected.map(|(row, _)| *row).collect();
        expected.sort_unstable();
        assert_eq!(rows, expected, "{form} of {}, limited: {limited}: {stats:?}", set.table);
        let all_well = ScanStats { rows: expected.len() as u64, ..ScanStats::default() };
        assert_eq!(stats, all_well, "{form} of {}, limited: {limited}", set.table);
    }
    assert_eq!(source.tables().unwrap(), [set.table], "{form}");
}

fn dialect(format: Format) -> CsvDialect {
    if format == Format::Spark { CsvDialect::Spark } else { CsvDialect::Rfc4180 }
}

/// In the directory, and copied into a bucket of each kind.
fn check_in_all_places(form: &str, directory: &std::path::Path, format: Format, set: &Set) {
    check(form, &files(directory, dialect(format), settings()), set);
    buckets::each(|bucket| {
        bucket.fill(directory);
        check(&format!("{form} on {:?}", bucket.server), &in_bucket(bucket.open(), dialect(format)), set);
    });
}

fn check_files(name: &str, formats: &[Format], write: impl Fn(&std::path::Path, &Set, Format)) {
    for &format in formats {
        for set in readable() {
            let directory = tempfile::tempdir().unwrap();
            write(directory.path(), &set, format);
            check_in_all_places(&format!("{name} {format:?}"), directory.path(), format, &set);
        }
    }
}

const TEXT: [Format; 4] = [Format::Csv, Format::Spark, Format::Jsonl(Spelling::Text), Format::Jsonl(Spelling::Typed)];
const PARQUET: [Format; 2] = [Format::Parquet(Spelling::Text), Format::Parquet(Spelling::Typed)];

#[test]
fn one_file_of_text() {
    check_files("file", &TEXT, |directory, set, format| forms::one_file(directory, set, format, false));
}

#[test]
fn one_file_of_parquet() {
    check_files("file", &PARQUET, |directory, set, format| forms::one_file(directory, set, format, false));
}

#[test]
fn compressed() {
    check_files("gzip", &TEXT, |directory, set, format| forms::one_file(directory, set, format, true));
}

#[test]
fn a_directory_of_parts() {
    check_files("parts", &TEXT, forms::parts);
}

#[test]
fn a_directory_of_parts_of_parquet() {
    check_files("parts", &PARQUET, forms::parts);
}

#[test]
fn hive_partitions() {
    for format in TEXT.into_iter().chain(PARQUET) {
        let sets = readable();
        let set = sets.iter().find(|set| set.table == Table::UserEnrolments).unwrap();
        let directory = tempfile::tempdir().unwrap();
        forms::partitions(directory.path(), set, "batchid", format);
        check_in_all_places(&format!("partitions {format:?}"), directory.path(), format, set);
    }
}

#[test]
fn on_postgresql() {
    on_each(TestDatabase::postgres);
}

/// Pooled by transaction: several connections side by side, so that statements of one may meet several sessions.
#[test]
fn on_postgresql_through_pgbouncer() {
    on_each(TestDatabase::pooled);
    let Some(place) = TestDatabase::pooled() else { return };
    let set = &readable()[0];
    forms::postgres(&place, set, Spelling::Text);
    let look = || {
        for _ in 0..20 {
            check("through PgBouncer, side by side", &database(&place, settings()), set);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(look);
        }
    });
    // Sessions are handed back whole: had every scan left one within a transaction, there would be none left.
    let sessions = place.query_text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    assert_ne!(sessions[0][0].as_deref(), Some("0"));
}

fn on_each(place: impl Fn() -> Option<TestDatabase>) {
    for spelling in [Spelling::Text, Spelling::Typed] {
        for set in readable() {
            let Some(place) = place() else { return };
            forms::postgres(&place, &set, spelling);
            check(&format!("PostgreSQL {spelling:?}"), &database(&place, settings()), &set);
        }
    }
}
