//! Lists and maps in many rows, over pages and row groups: read by their levels where every key of a row group is the one
//! that counts, put together where another one is among them, jumped to where few rows are wanted; alike.

use std::fmt::Write as _;
use std::fs::File;

use ::parquet::arrow::ArrowWriter;
use ::parquet::file::properties::WriterProperties;
use arrow_array::builder::{Int64Builder, ListBuilder, MapBuilder, StringBuilder, TimestampMillisecondBuilder};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
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
            let mut scan = scan(Table::UserActivityAgg, columns.clone(), Some(only));
            scan.only.as_mut().unwrap().0 = "context_id".into();
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
