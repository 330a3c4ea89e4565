//! Lists and maps in many rows, over pages and row groups: read by their levels where every key of a row group is the one
//! that counts, put together where another one is among them, jumped to where few rows are wanted; alike.

use std::fmt::Write as _;
use std::fs::File;

use ::parquet::arrow::ArrowWriter;
use ::parquet::file::properties::WriterProperties;
use arrow_array::builder::{
    Float64Builder, Int64Builder, ListBuilder, MapBuilder, StringBuilder, TimestampMillisecondBuilder,
};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, TimeUnit};

use super::*;

/// Rows of `user_activity_agg` with a list as well, and what they should read as.
struct Made {
    batch: RecordBatch,
    expected: Vec<String>,
}

fn made(rows: usize, other_keys: bool) -> Made {
    let mut draws = fastrand::Rng::with_seed(rows as u64);
    let mut counts = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    let instants = Field::new("values", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true);
    let stamps = TimestampMillisecondBuilder::new().with_timezone("UTC");
    let mut times = MapBuilder::new(None, StringBuilder::new(), stamps).with_values_field(instants);
    let mut lists = ListBuilder::new(MapBuilder::new(None, StringBuilder::new(), StringBuilder::new()));
    let (mut ids, mut contexts, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..rows {
        let context = if draws.u8(..40) == 0 { "cb:few" } else { "cb:many" };
        ids.push(format!("u{row:06}"));
        contexts.push(context);
        let (mut count, mut time) = (None, None);
        // Mostly one entry, but none, several, and maps that are not there, are all there.
        for entry in 0..[1, 1, 1, 0, 2, 3][draws.usize(..6)] {
            let key = if other_keys && draws.bool() { "other" } else { "completedCount" };
            let value = draws.bool().then(|| draws.i64(-5..1000));
            counts.keys().append_value(key);
            counts.values().append_option(value);
            times.keys().append_value(key);
            times.values().append_option(value.map(|value| value * 1000 + entry));
            if key == "completedCount" {
                (count, time) = (value, value.map(|value| value * 1000 + entry));
            }
        }
        let there = draws.u8(..5) > 0;
        counts.append(there).unwrap();
        times.append(there).unwrap();
        let length = draws.usize(..4);
        for _ in 0..length {
            for _ in 0..draws.usize(..3) {
                lists.values().keys().append_value("name");
                lists.values().values().append_option(draws.bool().then_some("x"));
            }
            lists.values().append(draws.bool()).unwrap();
        }
        let list_there = length > 0 || draws.bool();
        lists.append(list_there);
        let mut line = format!("u{row:06}|{context}|");
        if let Some(count) = count.filter(|_| there) {
            write!(line, "{count}").unwrap();
        }
        line.push('|');
        if let Some(time) = time.filter(|_| there) {
            let time = chrono::DateTime::from_timestamp_millis(time).unwrap();
            write!(line, "{}", time.format("%Y-%m-%dT%H:%M:%S%.f")).unwrap();
        }
        line.push('|');
        if list_there {
            write!(line, "{length}").unwrap();
        }
        expected.push(line);
    }
    let columns: [(&str, ArrayRef); 5] = [
        ("user_id", Arc::new(StringArray::from(ids))),
        ("context_id", Arc::new(StringArray::from(contexts))),
        ("agg", Arc::new(counts.finish())),
        ("agg_last_updated", Arc::new(times.finish())),
        ("certificates", Arc::new(lists.finish())),
    ];
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    Made { batch: RecordBatch::try_from_iter_with_nullable(columns).unwrap(), expected }
}

#[test]
fn are_read_alike_by_their_levels_and_whole() {
    for (rows, other_keys) in [(20_000, false), (20_001, true), (3, false)] {
        let Made { batch, expected } = made(rows, other_keys);
        let directory = tempfile::tempdir().unwrap();
        let file = File::create(directory.path().join("user_activity_agg.parquet")).unwrap();
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(9_000))
            .set_data_page_row_count_limit(700)
            .set_write_batch_size(64)
            .build();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let columns = vec![
            Column::key("user_id"),
            Column::key("context_id"),
            Column::required("agg", Kind::CompletedCount),
            Column::optional("agg_last_updated", Kind::LastUpdated),
            Column::optional("certificates", Kind::Entries),
        ];
        let limited = |only: &[&str]| {
            let keys = keys_of(only.iter().copied());
            let scan = Scan::of_keys(Table::UserActivityAgg, columns.clone(), "context_id", keys);
            read(directory.path(), &scan).unwrap().rows
        };
        let of = |context: &str| -> Vec<String> {
            expected.iter().filter(|line| line.split('|').nth(1) == Some(context)).cloned().collect()
        };
        assert!(limited(&["cb:few", "cb:many"]) == expected, "all of {rows}");
        assert!(limited(&["cb:many"]) == of("cb:many"), "most of {rows}");
        assert!(limited(&["cb:few"]) == of("cb:few"), "few of {rows}");
        let all = read(directory.path(), &scan(Table::UserActivityAgg, columns.clone(), None)).unwrap();
        assert!(all.rows == expected, "without keys, {rows}");
    }
}

/// Rows with counters in today's spelling, in that of 2020, in both, or in none.
fn mixed(rows: usize, other_keys: bool) -> Made {
    let mut draws = fastrand::Rng::with_seed(rows as u64);
    let mut doubles = MapBuilder::new(None, StringBuilder::new(), Float64Builder::new());
    let mut counts = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    let (mut ids, mut contexts, mut flat, mut expected) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for row in 0..rows {
        let context = if draws.u8(..40) == 0 { "cb:few" } else { "cb:many" };
        let (of_today, of_2020) = (draws.u8(..4), draws.u8(..4));
        let value = draws.i32(..1000);
        if of_today > 0 {
            if other_keys && draws.bool() {
                doubles.keys().append_value("score:do_1");
                doubles.values().append_value(0.5);
            }
            match of_today {
                1 => {}
                2 => {
                    doubles.keys().append_value("completedCount");
                    doubles.values().append_value(f64::NAN);
                }
                _ => {
                    doubles.keys().append_value("completedCount");
                    doubles.values().append_value(f64::from(value));
                }
            }
        }
        doubles.append(of_today > 0).unwrap();
        if of_2020 > 1 {
            counts.keys().append_value("completedCount");
            counts.values().append_option((of_2020 > 2).then_some(i64::from(value) + 10_000));
        }
        counts.append(of_2020 > 0).unwrap();
        let plain = draws.bool().then(|| i64::from(value) + 20_000);
        flat.push(plain);
        let count = match (of_today, of_2020) {
            (3, _) => Some(i64::from(value)),
            (_, 3) => Some(i64::from(value) + 10_000),
            _ => plain,
        };
        ids.push(format!("u{row:06}"));
        contexts.push(context);
        expected.push(format!("u{row:06}|{context}|{}", count.map_or_else(String::new, |count| count.to_string())));
    }
    let columns: [(&str, ArrayRef); 5] = [
        ("user_id", Arc::new(StringArray::from(ids))),
        ("context_id", Arc::new(StringArray::from(contexts))),
        ("completedCount", Arc::new(Int64Array::from(flat))),
        ("agg", Arc::new(counts.finish())),
        ("aggregates", Arc::new(doubles.finish())),
    ];
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    Made { batch: RecordBatch::try_from_iter_with_nullable(columns).unwrap(), expected }
}

fn written(batch: &RecordBatch) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let file = File::create(directory.path().join("user_activity_agg.parquet")).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(9_000)).build();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    directory
}

#[test]
fn counters_in_several_spellings_fill_each_other_up() {
    let columns =
        vec![Column::key("user_id"), Column::key("context_id"), Column::required("agg", Kind::CompletedCount)];
    for (rows, other_keys) in [(20_000, false), (20_001, true), (5, true)] {
        let Made { batch, expected } = mixed(rows, other_keys);
        let directory = written(&batch);
        for keys in [&["cb:few", "cb:many"][..], &["cb:few"], &["cb:many"]] {
            let wanted = keys_of(keys.iter().copied());
            let scan = Scan::of_keys(Table::UserActivityAgg, columns.clone(), "context_id", wanted);
            let is_of = |line: &&String| keys.contains(&line.split('|').nth(1).unwrap());
            let of_keys: Vec<String> = expected.iter().filter(is_of).cloned().collect();
            assert!(read(directory.path(), &scan).unwrap().rows == of_keys, "{keys:?} of {rows}");
        }
    }
}

/// A value that does not read is not passed over.
#[test]
fn a_fraction_is_no_count_by_its_levels_and_whole() {
    for other_keys in [false, true] {
        let mut doubles = MapBuilder::new(None, StringBuilder::new(), Float64Builder::new());
        for value in [26.0, 26.5, f64::INFINITY] {
            if other_keys {
                doubles.keys().append_value("score:do_1");
                doubles.values().append_value(0.5);
            }
            doubles.keys().append_value("completedCount");
            doubles.values().append_value(value);
            doubles.append(true).unwrap();
        }
        let columns: [(&str, ArrayRef); 3] = [
            ("user_id", Arc::new(StringArray::from(vec!["u1", "u2", "u3"]))),
            ("agg", Arc::new(StringArray::from(vec!["{'completedCount': 1}"; 3]))),
            ("aggregates", Arc::new(doubles.finish())),
        ];
        let directory = written(&RecordBatch::try_from_iter(columns).unwrap());
        let columns = vec![Column::key("user_id"), Column::required("agg", Kind::CompletedCount)];
        let found = read(directory.path(), &scan(Table::UserActivityAgg, columns, None)).unwrap();
        assert_eq!(found.rows, ["u1|26"]);
        assert_eq!(bad(&found.stats), [("completedCount of aggregates is not a whole number", 2)]);
    }
}

/// Keys in two columns: of the row groups only those are read that may have a wanted one, and of their rows each by the
/// first column that has one.
#[test]
fn keys_in_two_columns() {
    let mut draws = fastrand::Rng::with_seed(7);
    let (mut batches, mut contexts, mut users, mut expected) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for row in 0..30_000_u32 {
        let mut key = || {
            let key = format!("b{:02}", row / 1000 + u32::from(draws.u8(..10) == 0));
            [None, Some(String::new()), Some(key.clone()), Some(key)][draws.usize(..4)].clone()
        };
        // Some row groups have keys in one column only.
        let batch = if (9_000..18_000).contains(&row) { None } else { key() };
        let context = if row >= 18_000 { Some(format!("b{:02}", row % 30)) } else { key() };
        let of = batch.clone().filter(|key| !key.is_empty()).or_else(|| context.clone().filter(|key| !key.is_empty()));
        expected.extend(of.map(|key| format!("{key}|u{row:06}")));
        batches.push(batch);
        contexts.push(context);
        users.push(format!("u{row:06}"));
    }
    let bad_rows = 30_000 - expected.len() as u64;
    expected.sort();
    let columns: [(&str, ArrayRef); 3] = [
        ("context_id", Arc::new(StringArray::from(contexts))),
        ("user_id", Arc::new(StringArray::from(users))),
        ("batch_id", Arc::new(StringArray::from(batches))),
    ];
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    let directory = written(&RecordBatch::try_from_iter_with_nullable(columns).unwrap());
    std::fs::rename(
        directory.path().join("user_activity_agg.parquet"),
        directory.path().join("assessment_aggregator.parquet"),
    )
    .unwrap();
    let columns = vec![Column::key("batch_id"), Column::key("user_id")];
    let settings = Settings::new(chrono_tz::Tz::UTC);
    for keys in [&["b00"][..], &["b10", "b11", "b12"], &["b29"], &["b30", "x"], &["nowhere"]] {
        let scan = scan(Table::AssessmentAggregator, columns.clone(), Some(keys));
        let rows = Mutex::new(Vec::new());
        let sink = |chunk: &Chunk| {
            let texts = chunk.columns().iter().map(Texts::of).collect::<Vec<_>>();
            rows.lock().unwrap().extend(chunk.rows().map(|row| format!("{}|{}", texts[0].get(row), texts[1].get(row))));
        };
        let source = FilesSource::new(directory.path().to_owned(), CsvDialect::Rfc4180, settings);
        let stats = source.read(&scan, &sink).unwrap();
        let mut rows = rows.into_inner().unwrap();
        rows.sort();
        let of_keys: Vec<&String> = expected.iter().filter(|row| keys.contains(&&row[..3])).collect();
        assert!(rows.iter().eq(of_keys), "{keys:?}");
        assert!(stats.bad.values().sum::<u64>() <= bad_rows);
    }
}
