//! Columns of each type that Parquet has, read by an engine and sent by it, are what the files source makes of the same file.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{
    Float64Builder, Int64Builder, ListBuilder, MapBuilder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray,
};
use arrow_schema::{DataType, Field};
use exhaust::sources::files::CsvDialect;
use exhaust::tables::schema::{Column, Kind, Table};
use parquet::arrow::ArrowWriter;
use parquet::data_type::{ByteArray, ByteArrayType, Int96, Int96Type};
use parquet::file::writer::SerializedFileWriter;

use super::read::read;
use super::{files, scan, settings};
use crate::engine;

/// 2020-06-30 07:50:04 UTC and the second before 1970.
const SECONDS: [Option<i64>; 3] = [Some(1_593_503_404), Some(-1), None];

/// One column of each type, what it is called in messages, and the kinds that it is read as.
fn columns() -> Vec<(&'static str, ArrayRef, &'static [Kind])> {
    let scaled = |factor: i64| SECONDS.map(|second| second.map(|second| second * factor)).to_vec();
    let utc = Some(Arc::<str>::from("UTC"));
    let numbers: &[Kind] = &[Kind::Count, Kind::Decimal, Kind::Text];
    let times: &[Kind] = &[Kind::Instant];
    let mut counts = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    let mut scores = MapBuilder::new(None, StringBuilder::new(), Float64Builder::new());
    let mut changes = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for map in [Some([("other", 9), ("completedCount", 4)].as_slice()), Some(&[]), None] {
        for (key, value) in map.into_iter().flatten() {
            counts.keys().append_value(key);
            counts.values().append_value(*value);
            scores.keys().append_value(key);
            scores.values().append_value(f64::from(i32::try_from(*value).unwrap()));
            changes.keys().append_value(key);
            changes.values().append_value("2020-06-30 07:50:04:062+0000");
        }
        counts.append(map.is_some()).unwrap();
        scores.append(map.is_some()).unwrap();
        changes.append(map.is_some()).unwrap();
    }
    let mut list = ListBuilder::new(StringBuilder::new());
    list.append_value([Some("x"), None]);
    list.append_value([None::<&str>; 0]);
    list.append_null();
    let mut instants = ListBuilder::new(TimestampMicrosecondBuilder::new());
    instants.append_value(scaled(1_000_000));
    instants.append_null();
    instants.append_null();
    let field = Arc::new(Field::new("completedCount", DataType::Int64, true));
    let of_field: ArrayRef = Arc::new(Int64Array::from(vec![Some(4), None, Some(0)]));
    let cents = |precision| {
        let cents = Decimal128Array::from(vec![Some(425), Some(-50), None]);
        Arc::new(cents.with_precision_and_scale(precision, 2).unwrap())
    };
    vec![
        ("text", Arc::new(StringArray::from(vec![Some("a'\u{1f600}"), Some(""), None])), &[Kind::Text, Kind::Json]),
        ("bytes", Arc::new(BinaryArray::from(vec![Some("\u{e4}".as_bytes()), Some(b"a\xFF"), None])), &[Kind::Text]),
        ("boolean", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])), &[Kind::Bool, Kind::Text]),
        ("8 bits", Arc::new(Int8Array::from(vec![Some(1), Some(-7), None])), numbers),
        ("16 bits", Arc::new(Int16Array::from(vec![Some(1), Some(-700), None])), numbers),
        ("32 bits", Arc::new(Int32Array::from(vec![Some(1), Some(i32::MIN), None])), numbers),
        ("64 bits", Arc::new(Int64Array::from(vec![Some(1), Some(9_007_199_254_740_993), None])), numbers),
        ("float", Arc::new(Float32Array::from(vec![Some(0.1), Some(4.0), None])), numbers),
        ("double", Arc::new(Float64Array::from(vec![Some(0.1), Some(f64::NAN), None])), numbers),
        ("decimal of 9 digits", cents(9), numbers),
        ("decimal of 18 digits", cents(18), numbers),
        ("decimal of 38 digits", cents(38), numbers),
        ("date", Arc::new(Date32Array::from(vec![Some(18_443), Some(-1), None])), times),
        ("microseconds", Arc::new(TimestampMicrosecondArray::from(scaled(1_000_000))), times),
        (
            "microseconds in UTC",
            Arc::new(TimestampMicrosecondArray::from(scaled(1_000_000)).with_timezone_opt(utc.clone())),
            times,
        ),
        ("milliseconds", Arc::new(TimestampMillisecondArray::from(scaled(1_000))), times),
        (
            "milliseconds in UTC",
            Arc::new(TimestampMillisecondArray::from(scaled(1_000)).with_timezone_opt(utc.clone())),
            times,
        ),
        ("nanoseconds", Arc::new(TimestampNanosecondArray::from(scaled(1_000_000_000))), times),
        (
            "nanoseconds in UTC",
            Arc::new(TimestampNanosecondArray::from(scaled(1_000_000_000)).with_timezone_opt(utc)),
            times,
        ),
        ("map of counts", Arc::new(counts.finish()), &[Kind::CompletedCount, Kind::Entries]),
        ("map of doubles", Arc::new(scores.finish()), &[Kind::CompletedCount, Kind::Json]),
        ("map of text", Arc::new(changes.finish()), &[Kind::LastUpdated, Kind::Json]),
        ("list", Arc::new(list.finish()), &[Kind::Entries, Kind::Json]),
        ("list of instants", Arc::new(instants.finish()), &[Kind::Entries]),
        ("struct", Arc::new(StructArray::from(vec![(field, of_field)])), &[Kind::CompletedCount, Kind::Json]),
    ]
}

/// `user.parquet` with the keys `k0` and on, and a column `x`.
fn write(directory: &Path, values: ArrayRef) {
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values((0..values.len()).map(|row| format!("k{row}"))));
    let batch = RecordBatch::try_from_iter_with_nullable([("userid", keys, true), ("x", values, true)]).unwrap();
    let file = File::create(directory.join("user.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// The same with instants in the type of Hive and of Spark before 3.0: 2020-06-30 07:50:04.062 and 9999-12-31 00:00.
fn write_int96(directory: &Path) {
    let schema = "message m { required binary userid (UTF8); optional int96 x; }";
    let schema = Arc::new(parquet::schema::parser::parse_message_type(schema).unwrap());
    let file = File::create(directory.join("user.parquet")).unwrap();
    let mut file = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    let mut group = file.next_row_group().unwrap();
    let mut keys = group.next_column().unwrap().unwrap();
    let ids = ["k0", "k1", "k2"].map(ByteArray::from);
    keys.typed::<ByteArrayType>().write_batch(&ids, None, None).unwrap();
    keys.close().unwrap();
    let mut values = group.next_column().unwrap().unwrap();
    // The Julian day of 1970-01-01 is 2,440,588.
    let instant = |days: u32, nanos: u64| {
        let mut instant = Int96::new();
        let halves = [nanos & u64::from(u32::MAX), nanos >> 32].map(|half| u32::try_from(half).unwrap());
        instant.set_data(halves[0], halves[1], 2_440_588 + days);
        instant
    };
    let instants = [instant(18_443, 28_204_062_000_000), instant(2_932_896, 0)];
    values.typed::<Int96Type>().write_batch(&instants, Some(&[1, 1, 0]), None).unwrap();
    values.close().unwrap();
    group.close().unwrap();
    file.close().unwrap();
}

/// What is otherwise on this engine, in words; nothing where rows and counts are the same.
fn difference(url: &str, directory: &Path, kind: Kind) -> Option<String> {
    let scan = scan(Table::User, &[Column::key("userid"), Column::optional("x", kind)], None);
    let direct = read(&files(directory, CsvDialect::Rfc4180, settings()), &scan).unwrap();
    let relation = engine::parquet(&directory.join("user.parquet"));
    match read(engine::at(url, &[(Table::User, relation)], settings()).as_ref(), &scan) {
        Err(error) => Some(format!("fails: {}", error.detail)),
        Ok((rows, stats)) => {
            let same = (&rows, &stats.bad, &stats.odd, stats.unreadable_dates)
                == (&direct.0, &direct.1.bad, &direct.1.odd, direct.1.unreadable_dates);
            (!same).then(|| format!("{rows:?}, in the file {:?}; {:?}, in the file {:?}", direct.0, stats, direct.1))
        }
    }
}

/// What Sail 0.7.2 does otherwise: it refuses nanoseconds, and takes INT96, which is in UTC, for times without zone.
const DIFFERENCES_OF_SAIL: [&str; 3] = ["nanoseconds as Instant", "nanoseconds in UTC as Instant", "INT96 as Instant"];

#[test]
fn each_type_is_what_its_file_says() {
    engine::each(|name, url| {
        let mut differences = Vec::new();
        let mut note = |what: &str, kind: Kind, difference: Option<String>| {
            differences.extend(difference.map(|difference| (format!("{what} as {kind:?}"), difference)));
        };
        for (what, values, kinds) in columns() {
            let directory = tempfile::tempdir().unwrap();
            write(directory.path(), values);
            for kind in kinds {
                note(what, *kind, difference(url, directory.path(), *kind));
            }
        }
        let directory = tempfile::tempdir().unwrap();
        write_int96(directory.path());
        note("INT96", Kind::Instant, difference(url, directory.path(), Kind::Instant));
        let found: Vec<&str> = differences.iter().map(|(what, _)| what.as_str()).collect();
        let known = if name == "Sail" { DIFFERENCES_OF_SAIL.as_slice() } else { &[] };
        assert_eq!(found, known, "on {name}: {differences:#?}");
    });
}
