//! Small files of each kind, read as a whole.

mod batches;
mod csv;
mod declared;
mod delta;
mod jsonl;
mod nested;
mod parquet;
mod sniff;

use std::borrow::Cow;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use flate2::write::GzEncoder;

use super::*;
use crate::sources::files::CsvDialect;
use crate::tables::chunk::{Chunk, Texts};
use crate::tables::keys::keys as keys_of;
use crate::tables::schema::Column;

/// What a scan delivered, each row's cells with `|` between, sorted; or its error.
struct Read {
    rows: Vec<String>,
    stats: ScanStats,
}

fn enrolments() -> Vec<Column> {
    vec![
        Column::key("batchid"),
        Column::key("userid"),
        Column::required("active", Kind::Bool),
        Column::optional("certificates", Kind::Entries),
    ]
}

fn scan(table: Table, columns: Vec<Column>, only: Option<&[&str]>) -> Scan {
    let name = columns[0].name.clone();
    Scan {
        table,
        columns,
        reach: only.map(|keys| (Cow::clone(&name), keys_of(keys.iter().map(|key| (*key).to_owned())))).into(),
        learners: None,
    }
}

fn settings() -> Settings {
    Settings::new(chrono_tz::Tz::Asia__Kolkata)
}

/// What a reader hands to its sink.
fn collected<E>(read: impl FnOnce(&Sink<'_>) -> Result<ScanStats, E>) -> Result<Read, E> {
    let rows = Mutex::new(Vec::new());
    let stats = read(&|chunk: &Chunk| {
        for row in chunk.rows() {
            let cells: Vec<_> = chunk.columns().iter().map(|column| shown(column, row)).collect();
            rows.lock().unwrap().push(cells.join("|"));
        }
    })?;
    let mut rows = rows.into_inner().unwrap();
    rows.sort();
    Ok(Read { rows, stats })
}

fn read_as(directory: &Path, dialect: CsvDialect, scan: &Scan) -> Result<Read, SourceError> {
    collected(|sink| FilesSource::new(directory.to_owned(), dialect, settings()).read(scan, sink))
}

/// A canonical cell; nothing where there is nothing.
fn shown(column: &ArrayRef, row: usize) -> String {
    match column.data_type() {
        DataType::Utf8 | DataType::Utf8View | DataType::Dictionary(..) => Texts::of(column).get(row).to_owned(),
        _ if column.is_null(row) => String::new(),
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        _ => {
            let instant = column.as_primitive::<TimestampMicrosecondType>().value_as_datetime(row).unwrap();
            instant.format("%Y-%m-%dT%H:%M:%S%.f").to_string()
        }
    }
}

fn read(directory: &Path, scan: &Scan) -> Result<Read, SourceError> {
    read_as(directory, CsvDialect::Rfc4180, scan)
}

fn holding(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    directory
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn bad(stats: &ScanStats) -> Vec<(&str, u64)> {
    stats.bad.iter().map(|(reason, count)| (reason.as_str(), *count)).collect()
}

#[test]
fn tables_are_those_that_are_there() {
    let directory = holding(&[("user.csv", b""), ("content/part.jsonl", b""), ("other.csv", b"")]);
    let settings = Settings::new(chrono_tz::Tz::UTC);
    let source = |path| FilesSource::new(path, CsvDialect::Rfc4180, settings);
    assert_eq!(source(directory.path().to_owned()).tables(), Ok(vec![Table::Content, Table::User]));
    assert!(source(directory.path().join("nowhere")).tables().is_err());
}

#[test]
fn partitions_fill_in_the_column_that_the_files_lack() {
    let directory = holding(&[
        ("user_enrolments/batchid=b1/p.csv", b"userid,active\nu1,True\n"),
        ("user_enrolments/batchid=b2/p.csv", b"userid,active\nu2,oops\n"),
        ("user_enrolments/batchid=__HIVE_DEFAULT_PARTITION__/p.csv", b"userid,active\nu3,True\n"),
    ]);
    let read = read(directory.path(), &scan(Table::UserEnrolments, enrolments(), Some(&["b1"]))).unwrap();
    assert_eq!(read.rows, ["b1|u1|true|"]);
    assert_eq!(bad(&read.stats), [("empty batchid", 1)]);
}

/// A partition by a later spelling of the key may hold files with the first one, which counts.
#[test]
fn partitions_may_be_named_by_any_spelling() {
    let directory = holding(&[
        ("assessment_aggregator/context_id=b1/p.csv", b"user_id\nu1\n"),
        ("assessment_aggregator/context_id=b2/p.csv", b"user_id\nu2\n"),
        ("assessment_aggregator/context_id=b3/p.csv", b"user_id,batch_id\nu3,b1\nu4,b2\nu5,\n"),
        ("assessment_aggregator/batch_id=b1/p.csv", b"user_id,context_id\nu6,b2\n"),
        ("assessment_aggregator/batch_id=__HIVE_DEFAULT_PARTITION__/p.csv", b"user_id,context_id\nu7,b1\nu8,b2\n"),
    ]);
    let columns = vec![Column::key("batch_id"), Column::key("user_id")];
    let found = |only: &[&str]| {
        read(directory.path(), &scan(Table::AssessmentAggregator, columns.clone(), Some(only))).unwrap().rows
    };
    assert_eq!(found(&["b1"]), ["b1|u1", "b1|u3", "b1|u6", "b1|u7"]);
    assert_eq!(found(&["b3"]), ["b3|u5"]);
}

#[test]
fn gzip_of_several_members_reads_and_a_truncated_one_does_not() {
    let two = [gzip(b"batchid,userid,active\nb1,u1,1\n"), gzip(b"b1,u2,0\n")].concat();
    let directory = holding(&[("user_enrolments.csv.gz", &two)]);
    let scan = scan(Table::UserEnrolments, enrolments(), None);
    assert_eq!(read(directory.path(), &scan).unwrap().rows, ["b1|u1|true|", "b1|u2|false|"]);

    let cut = &two[..two.len() - 6];
    let directory = holding(&[("user_enrolments.csv.gz", cut)]);
    let error = read(directory.path(), &scan).err().unwrap();
    assert_eq!(error.message, "table user_enrolments: user_enrolments.csv.gz breaks off (truncated gzip)");
    assert!(!error.may_pass);
    assert!(error.detail.contains(&directory.path().display().to_string()));
}
