use std::fs::File;

use ::parquet::arrow::ArrowWriter;
use ::parquet::file::properties::WriterProperties;
use arrow_array::builder::{Int32Builder, MapBuilder, StringBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, DurationSecondArray,
    Float64Array, Int32Array, Int64Array, LargeStringArray, ListArray, StringArray, StringViewArray, StructArray,
    Time32MillisecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
};
use arrow_schema::{DataType, Field};

use arrow_array::RecordBatch;

use super::*;

fn write(path: &Path, columns: Vec<(&str, ArrayRef)>, group: usize) {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group)).build();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn one(table: Table, kinds: Vec<Column>, columns: Vec<(&str, ArrayRef)>) -> Result<Read, SourceError> {
    let directory = tempfile::tempdir().unwrap();
    write(&directory.path().join(format!("{table}.parquet")), columns, 1000);
    read(directory.path(), &scan(table, kinds, None))
}

/// A column `x` of a kind, its values in the order of the rows.
fn values(kind: Kind, array: ArrayRef) -> (Vec<String>, ScanStats) {
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values((0..array.len()).map(|row| format!("k{row}"))));
    let kinds = vec![Column::key("k"), Column::optional("x", kind)];
    let read = one(Table::User, kinds, vec![("k", keys), ("x", array)]).unwrap();
    let values = read.rows.iter().map(|row| row.split_once('|').unwrap().1.to_owned()).collect();
    (values, read.stats)
}

/// Bytes as they are stored; of a Parquet file only the pages that were read.
#[test]
fn what_reading_took_is_counted() {
    let columns = || vec![Column::key("k")];
    let keys: Vec<String> = (0..5000).map(|row| format!("k{row}")).collect();
    let csv = format!("k,x\n{},x\n", keys.join(",x\n"));
    let packed = gzip(csv.as_bytes());
    for (name, content) in [("user.csv", csv.as_bytes()), ("user.csv.gz", &packed)] {
        let stats = read(holding(&[(name, content)]).path(), &scan(Table::User, columns(), None)).unwrap().stats;
        assert_eq!(stats.cost, ReadCost { bytes: content.len() as u64, pages: 0, calls: 1 }, "{name}");
    }
    let array: ArrayRef = Arc::new(StringArray::from_iter_values(&keys));
    let cost = |wanted: &[&'static str]| {
        let kinds = wanted.iter().copied().map(Column::key).collect();
        one(Table::User, kinds, vec![("k", Arc::clone(&array)), ("x", Arc::clone(&array))]).unwrap().stats.cost
    };
    // 5,000 rows in groups of 1,000, each with a dictionary page and a page of values for each column.
    let (narrow, wide) = (cost(&["k"]), cost(&["k", "x"]));
    assert_eq!((narrow.pages, wide.pages, narrow.calls), (10, 20, 1));
    assert!(narrow.bytes > 0 && wide.bytes == 2 * narrow.bytes, "{narrow:?} {wide:?}");
}

#[test]
fn text_of_every_type() {
    let arrays: [ArrayRef; 5] = [
        Arc::new(StringArray::from(vec![Some("a"), Some(""), None])),
        Arc::new(LargeStringArray::from(vec![Some("a"), Some(""), None])),
        Arc::new(StringViewArray::from(vec![Some("a"), Some(""), None])),
        Arc::new(BinaryArray::from(vec![Some(b"a".as_slice()), Some(b""), None])),
        Arc::new([Some("a"), Some(""), None].into_iter().collect::<DictionaryArray<Int32Type>>()),
    ];
    for array in arrays {
        assert_eq!(values(Kind::Text, array).0, ["a", "", ""]);
    }
    assert_eq!(values(Kind::Text, Arc::new(Int32Array::from(vec![7]))).0, ["7"]);
    assert_eq!(values(Kind::Text, Arc::new(BooleanArray::from(vec![true]))).0, ["true"]);
    assert_eq!(values(Kind::Text, Arc::new(Float64Array::from(vec![7.0, 0.5]))).0, ["7", "0.5"]);
    let (text, stats) = values(Kind::Text, Arc::new(BinaryArray::from(vec![b"a\xFF".as_slice()])));
    assert_eq!(text, ["a\u{FFFD}"]);
    assert_eq!(stats.odd.get("bytes that are not UTF-8"), Some(&1));
}

#[test]
fn booleans_and_numbers_of_every_type() {
    for array in [
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])) as ArrayRef,
        Arc::new(Int64Array::from(vec![Some(1), Some(0), None])),
        Arc::new(Float64Array::from(vec![Some(1.0), Some(0.0), None])),
        Arc::new(StringArray::from(vec![Some("True"), Some("FALSE "), Some(" ")])),
    ] {
        assert_eq!(values(Kind::Bool, array).0, ["true", "false", ""]);
    }
    let (counts, stats) = values(Kind::Count, Arc::new(Float64Array::from(vec![4.0, 4.5])));
    assert_eq!(counts, ["4"]);
    assert_eq!(bad(&stats), [("x is not a number", 1)]);
    let cents = Decimal128Array::from(vec![425, -50]).with_precision_and_scale(10, 2).unwrap();
    assert_eq!(values(Kind::Decimal, Arc::new(cents)).0, ["4250000", "-500000"]);
    // Not a number is nothing there, wherever a value is read from it; text it stays.
    let (halves, stats) = values(Kind::Decimal, Arc::new(Float64Array::from(vec![0.1, f64::NAN, f64::INFINITY])));
    assert_eq!(halves, ["100000", ""]);
    assert_eq!(bad(&stats), [("x is not a number", 1)]);
    for kind in [Kind::Bool, Kind::Count, Kind::Entries, Kind::Instant] {
        let (nothing, stats) = values(kind, Arc::new(Float64Array::from(vec![f64::NAN])));
        assert_eq!((nothing, stats.unreadable_dates, bad(&stats)), (vec![String::new()], 0, vec![]), "{kind:?}");
    }
    assert_eq!(values(Kind::Text, Arc::new(Float64Array::from(vec![f64::NAN]))).0, ["NaN"]);
    assert_eq!(values(Kind::Decimal, Arc::new(Int32Array::from(vec![3]))).0, ["3000000"]);
}

#[test]
fn instants_with_zone_are_converted_and_without_are_local() {
    // 2020-06-30 07:50:04 UTC is 1593503404; Kolkata is 5:30 ahead.
    let seconds = 1_593_503_404;
    let utc = "2020-06-30T07:50:04";
    let local = "2020-06-30T02:20:04";
    let zoned = TimestampMillisecondArray::from(vec![seconds * 1000]);
    assert_eq!(values(Kind::Instant, Arc::new(zoned.clone().with_timezone("UTC"))).0, [utc]);
    assert_eq!(values(Kind::Instant, Arc::new(zoned.clone().with_timezone("+05:30"))).0, [utc]);
    assert_eq!(values(Kind::Instant, Arc::new(zoned)).0, [local]);
    let nanos = TimestampNanosecondArray::from(vec![seconds * 1_000_000_000]);
    assert_eq!(values(Kind::Instant, Arc::new(nanos)).0, [local]);
    // Day 18443 is 2020-06-30.
    assert_eq!(values(Kind::Instant, Arc::new(Date32Array::from(vec![18_443]))).0, ["2020-06-29T18:30:00"]);
    let (text, stats) = values(Kind::Instant, Arc::new(StringArray::from(vec!["2020-06-30 07:50:04:000+0000", "x"])));
    assert_eq!(text, [utc, ""]);
    assert_eq!(stats.unreadable_dates, 1);
}

/// Found in review: in nanoseconds, years beyond 2262 wrap, and a batch that never ends had ended.
#[test]
fn the_old_type_for_instants_reaches_the_year_9999() {
    use ::parquet::data_type::{ByteArray, ByteArrayType, Int96, Int96Type};
    let directory = tempfile::tempdir().unwrap();
    let schema = "message m { required binary k (UTF8); optional int96 x; }";
    let schema = Arc::new(::parquet::schema::parser::parse_message_type(schema).unwrap());
    let file = File::create(directory.path().join("user.parquet")).unwrap();
    let mut file = ::parquet::file::writer::SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    let mut group = file.next_row_group().unwrap();
    let mut keys = group.next_column().unwrap().unwrap();
    keys.typed::<ByteArrayType>().write_batch(&[ByteArray::from("k0"), ByteArray::from("k1")], None, None).unwrap();
    keys.close().unwrap();
    let mut values = group.next_column().unwrap().unwrap();
    // Julian days: 1970-01-01 is 2,440,588, and 9999-12-31 comes 2,932,896 days after it.
    let mut last_day = Int96::new();
    last_day.set_data(0, 0, 2_440_588 + 2_932_896);
    values.typed::<Int96Type>().write_batch(&[last_day], Some(&[1, 0]), None).unwrap();
    values.close().unwrap();
    group.close().unwrap();
    file.close().unwrap();
    let columns = vec![Column::key("k"), Column::optional("x", Kind::Instant)];
    let read = read(directory.path(), &scan(Table::User, columns, None)).unwrap();
    assert_eq!(read.rows, ["k0|9999-12-31T00:00:00", "k1|"]);
}

#[test]
fn maps_lists_and_structs() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None]), Some(vec![]), None]);
    assert_eq!(values(Kind::Entries, Arc::new(list.clone())).0, ["2", "0", ""]);
    assert_eq!(values(Kind::Json, Arc::new(list)).0, ["[1,null]", "[]", ""]);

    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    map.keys().append_value("other");
    map.values().append_value(9);
    map.keys().append_value("completedCount");
    map.values().append_value(4);
    map.append(true).unwrap();
    map.keys().append_value("other");
    map.values().append_value(9);
    map.append(true).unwrap();
    map.append(false).unwrap();
    let map: ArrayRef = Arc::new(map.finish());
    assert_eq!(values(Kind::CompletedCount, Arc::clone(&map)).0, ["4", "", ""]);
    assert_eq!(values(Kind::Entries, map).0, ["2", "1", ""]);

    let field = |data_type| Arc::new(Field::new("completedCount", data_type, true));
    let counts: ArrayRef = Arc::new(Int64Array::from(vec![Some(4), None]));
    let fields = StructArray::from(vec![(field(DataType::Int64), counts)]);
    assert_eq!(values(Kind::CompletedCount, Arc::new(fields)).0, ["4", ""]);
    let dates: ArrayRef = Arc::new(StringArray::from(vec!["2020-07-21 08:30:48.855+0000"]));
    let fields = StructArray::from(vec![(field(DataType::Utf8), dates)]);
    assert_eq!(values(Kind::LastUpdated, Arc::new(fields)).0, ["2020-07-21T08:30:48.855"]);

    let (counts, stats) = values(Kind::CompletedCount, Arc::new(StringArray::from(vec!["{'completedCount': 4}", "4"])));
    assert_eq!(counts, ["4"]);
    assert_eq!(bad(&stats), [("x is not a map", 1)]);
    let (counts, stats) = values(Kind::CompletedCount, Arc::new(Int32Array::from(vec![4])));
    assert!(counts.is_empty());
    assert_eq!(bad(&stats), [("x is not a map", 1)]);
}

#[test]
fn only_wanted_keys_are_read_and_faults_name_their_row() {
    let directory = tempfile::tempdir().unwrap();
    // Row groups of 10: batch b00 in the first, b01 in the second and so on; the last row has no batch.
    let batches = (0..100).map(|row| if row == 99 { None } else { Some(format!("b{:02}", row / 10)) });
    let batches: ArrayRef = Arc::new(batches.collect::<StringArray>());
    let users: ArrayRef = Arc::new(StringArray::from_iter_values((0..100).map(|row| format!("u{row:02}"))));
    let broken = |row| if row % 10 < 8 && row / 10 < 7 { "oops" } else { "True" };
    let active: ArrayRef = Arc::new(StringArray::from_iter_values((0..100).map(broken)));
    let file = directory.path().join("user_enrolments.parquet");
    write(&file, vec![("BatchId", batches), ("userid", users), ("active", active)], 10);
    let wanted = |keys: &[&str]| read(directory.path(), &scan(Table::UserEnrolments, enrolments(), Some(keys)));
    let read = wanted(&["b07"]).unwrap();
    assert_eq!(read.rows.len(), 10);
    assert_eq!(read.rows[0], "b07|u70|true|");
    assert_eq!(bad(&read.stats), [("empty batchid", 1)]);
    let stats = wanted(&["b03", "b05"]).unwrap().stats;
    assert_eq!((stats.rows, bad(&stats)), (4, vec![("active is not a boolean", 16), ("empty batchid", 1)]));
    let by_key: Vec<_> = stats.faults.iter().map(|(key, faults)| (key, faults.unusable)).collect();
    assert_eq!(by_key, [("", 1), ("b03", 8), ("b05", 8)]);
    let first = stats.faults.first().unwrap();
    assert_eq!((first.file.as_str(), first.line), ("user_enrolments.parquet", 31));
}

#[test]
fn a_truncated_file_and_a_missing_column_stop_the_load() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("user.parquet");
    let users: ArrayRef = Arc::new(StringArray::from(vec!["u1"]));
    write(&file, vec![("userid", users)], 10);
    let columns = |name| vec![Column::key(name)];
    let error = read(directory.path(), &scan(Table::User, columns("other"), None)).err().unwrap();
    assert_eq!(error.message, "table user: user.parquet has no column 'other'");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 20]).unwrap();
    let error = read(directory.path(), &scan(Table::User, columns("userid"), None)).err().unwrap();
    assert_eq!(error.message, "table user: user.parquet is no sound Parquet file");
    assert!(!error.may_pass);
}

/// What no table of the platform has, and yet may stand in metadata that a filter names.
#[test]
fn times_of_day_nested_values_and_types_that_are_not_read() {
    let times: ArrayRef = Arc::new(Time32MillisecondArray::from(vec![Some(45_296_250), None]));
    assert_eq!(values(Kind::Text, times).0, ["12:34:56.250", ""]);
    let mut map = MapBuilder::new(None, Int32Builder::new(), StringBuilder::new());
    map.keys().append_value(7);
    map.values().append_value("x");
    map.append(true).unwrap();
    map.append(false).unwrap();
    assert_eq!(values(Kind::Text, Arc::new(map.finish())).0, [r#"{"7":"x"}"#, ""]);
    let codes: DictionaryArray<Int32Type> = [Some("b"), None, Some("a"), Some("b")].into_iter().collect();
    assert_eq!(values(Kind::Text, Arc::new(codes)).0, ["b", "", "a", "b"]);
    let nothing: DictionaryArray<Int32Type> = [None::<&str>, None].into_iter().collect();
    assert_eq!(values(Kind::Text, Arc::new(nothing)).0, ["", ""]);
    let lengths: ArrayRef = Arc::new(DurationSecondArray::from(vec![1, 2]));
    let kinds = vec![Column::key("k"), Column::optional("x", Kind::Text)];
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let error = one(Table::User, kinds, vec![("k", keys), ("x", lengths)]).err().unwrap();
    assert!(error.detail.contains("values of type Duration(s)") && !error.may_pass, "{}", error.detail);
}
