//! What the data set promises, read back from its files.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::Array;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;

use super::*;

type Row = HashMap<String, String>;

fn make(format: Format, layout: Layout, scale: f64) -> (tempfile::TempDir, Summary) {
    let room = tempfile::tempdir().unwrap();
    let directory = room.path().join("data");
    let options = SampleOptions { scale, format, layout, ..SampleOptions::small(directory) };
    let summary = generate(&options, &|_, _| ()).unwrap();
    (room, summary)
}

/// Path below the directory to content of every file.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn csv_rows(root: &Path, table: Table) -> Vec<Row> {
    let mut reader = csv::Reader::from_path(root.join(format!("data/{table}.csv"))).unwrap();
    reader.deserialize().map(Result::unwrap).collect()
}

#[test]
fn every_table_has_sample_data() {
    let made: Vec<Table> = write::counts(&plan(0.001, 1).unwrap()).into_iter().map(|(table, _)| table).collect();
    assert_eq!(made, Table::ALL);
}

#[test]
fn the_bytes_are_the_same_on_any_number_of_threads_and_differ_by_seed() {
    for (format, layout) in
        [(Format::Parquet, Layout::Parts), (Format::Csv, Layout::Single), (Format::Jsonl, Layout::Hive)]
    {
        let make_on = |threads: usize, seed: u64| {
            let room = tempfile::tempdir().unwrap();
            let options = SampleOptions { format, layout, seed, ..SampleOptions::small(room.path().join("data")) };
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| generate(&options, &|_, _| ())).unwrap();
            files(room.path())
        };
        let (one, four, other) = (make_on(1, 1), make_on(4, 1), make_on(4, 2));
        assert!(one == four, "{format:?} {layout:?}: threads changed the bytes");
        assert!(one != other, "{format:?} {layout:?}: the seed changed nothing");
    }
}

#[test]
fn every_format_and_layout_has_the_promised_rows() {
    let expected: Vec<(Table, u64)> = vec![
        (Table::CourseBatch, 32),
        // Of 20 courses one is not in content; each has five rows besides its own.
        (Table::Content, 20 * 6 - 1),
        (Table::ContentHierarchy, 20 - 2),
        (Table::User, 500),
        (Table::UserEnrolments, 2_000),
        (Table::UserActivityAgg, 7_000),
        (Table::AssessmentAggregator, 4_500),
    ];
    for layout in [Layout::Single, Layout::Parts, Layout::Hive] {
        let (room, summary) = make(Format::Jsonl, layout, 0.001);
        assert_eq!(summary.rows, expected);
        let files = files(&room.path().join("data"));
        assert_eq!(summary.bytes, files.values().map(|bytes| bytes.len() as u64).sum::<u64>());
        for &(table, rows) in &expected {
            let of_table = |name: &&String| name.split(['.', '/']).next() == Some(table.name());
            let lines = files.keys().filter(of_table).map(|name| {
                let text = std::str::from_utf8(&files[name]).unwrap();
                assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{name}");
                text.lines().count() as u64
            });
            assert_eq!(lines.sum::<u64>(), rows, "{table} in {layout:?}");
        }
    }
}

#[test]
fn parquet_is_typed_compressed_and_in_random_order() {
    let (room, summary) = make(Format::Parquet, Layout::Single, 0.001);
    for (table, rows) in summary.rows {
        let file = fs::File::open(room.path().join(format!("data/{table}.parquet"))).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let metadata = reader.metadata().clone();
        assert_eq!(u64::try_from(metadata.file_metadata().num_rows()).unwrap(), rows, "{table}");
        assert_eq!(metadata.row_group(0).column(0).compression(), Compression::SNAPPY);
        if table == Table::UserEnrolments {
            let batch = reader.with_batch_size(4096).build().unwrap().next().unwrap().unwrap();
            let ids = batch.column_by_name("batchid").unwrap();
            let ids = arrow_array::cast::AsArray::as_string::<i32>(ids);
            let changes = (1..ids.len()).filter(|&i| ids.value(i) != ids.value(i - 1)).count();
            assert!(changes > ids.len() / 2, "{changes} changes of batch in {} rows", ids.len());
            let kind = |name: &str| batch.schema().field_with_name(name).unwrap().data_type().to_string();
            assert!(kind("completedon").starts_with("Timestamp"), "{}", kind("completedon"));
            assert!(kind("issued_certificates").starts_with("List"), "{}", kind("issued_certificates"));
        }
    }
}

#[test]
fn hive_partitions_are_named_by_batch_and_leave_the_column_out() {
    let (room, summary) = make(Format::Csv, Layout::Hive, 0.001);
    let id = &summary.batches[0].id;
    for (name, column) in [
        (format!("user_enrolments/batchid={id}"), "batchid"),
        (format!("user_activity_agg/context_id=cb%3A{id}"), "context_id"),
        (format!("assessment_aggregator/batch_id={id}"), "batch_id"),
    ] {
        let text = fs::read_to_string(room.path().join("data").join(name).join("part-00000.csv")).unwrap();
        let header = text.lines().next().unwrap();
        assert!(!header.split(',').any(|heading| heading == column), "{header}");
        assert!(header.split(',').any(|heading| heading == "userid" || heading == "user_id"), "{header}");
    }
}

#[test]
fn all_that_the_reports_leave_out_is_there_as_a_small_share() {
    let (room, _) = make(Format::Csv, Layout::Single, 0.005);
    let enrolments = csv_rows(room.path(), Table::UserEnrolments);
    let users: HashSet<String> = csv_rows(room.path(), Table::User).iter().map(|u| u["userid"].clone()).collect();
    let courses: HashMap<String, String> = csv_rows(room.path(), Table::CourseBatch)
        .into_iter()
        .map(|b| (b["batchid"].clone(), b["courseid"].clone()))
        .collect();
    let share = |what: &str, n: usize, all: usize, of: std::ops::Range<usize>| {
        let per_mille = n * 1000 / all;
        assert!(of.contains(&per_mille), "{what}: {n} of {all}");
    };
    let all = enrolments.len();
    let count = |test: &dyn Fn(&Row) -> bool| enrolments.iter().filter(|row| test(row)).count();
    share("inactive", count(&|e| matches!(e["active"].trim().to_lowercase().as_str(), "false" | "0")), all, 10..30);
    share("other course", count(&|e| courses[&e["batchid"]] != e["courseid"]), all, 2..10);
    share("no user", count(&|e| !users.contains(&e["userid"])), all, 5..30);
    let keys: HashSet<_> = enrolments.iter().map(|e| (&e["batchid"], &e["courseid"], &e["userid"])).collect();
    share("duplicate", all - keys.len(), all, 2..10);
    share("with certificate", count(&|e| e["issued_certificates"].contains("name")), all, 100..400);
    share("finished", count(&|e| !e["completedon"].is_empty()), all, 200..450);

    let attempts = csv_rows(room.path(), Table::AssessmentAggregator);
    let enrolled: HashSet<_> = enrolments.iter().map(|e| (&e["batchid"], &e["userid"])).collect();
    let strangers = attempts.iter().filter(|a| !enrolled.contains(&(&a["batch_id"], &a["user_id"]))).count();
    share("without enrolment", strangers, attempts.len(), 1..10);
    let takers: HashSet<_> = attempts.iter().map(|a| (&a["batch_id"], &a["user_id"])).collect();
    share("no attempt", enrolled.iter().filter(|key| !takers.contains(*key)).count(), enrolled.len(), 20..300);
    let decimals = attempts.iter().filter(|a| a["total_score"].contains('.')).count();
    share("decimal scores", decimals, attempts.len(), 100..700);
}

#[test]
fn names_are_in_several_scripts_and_some_are_nasty() {
    let (room, _) = make(Format::Csv, Layout::Single, 0.005);
    let users = csv_rows(room.path(), Table::User);
    let any = |test: &dyn Fn(&str) -> bool| users.iter().any(|u| test(&u["firstname"]));
    for (script, range) in [
        ("Devanagari", '\u{900}'..='\u{97f}'),
        ("Tamil", '\u{b80}'..='\u{bff}'),
        ("Kannada", '\u{c80}'..='\u{cff}'),
        ("Arabic", '\u{600}'..='\u{6ff}'),
        ("Latin with accents", '\u{c0}'..='\u{17f}'),
    ] {
        assert!(any(&|name| name.contains(|c| range.contains(&c))), "{script}");
    }
    for part in [",", "\"", "\n", "\r\n"] {
        assert!(any(&|name| name.contains(part)), "{part:?}");
    }
    for start in ["=", "+", "-", "@", "\t", "  ="] {
        assert!(any(&|name| name.starts_with(start)), "{start:?}");
    }
    assert!(users.iter().any(|u| u["firstname"].is_empty() && u["lastname"].is_empty()));
    assert!(users.iter().any(|u| u["userchannel"].is_empty()));
    let ids: HashSet<_> = users.iter().map(|u| &u["userid"]).collect();
    assert!(ids.len() < users.len(), "some learner has two rows");
}

#[test]
fn a_directory_in_use_is_left_alone_unless_it_may_be_overwritten() {
    let (room, first) = make(Format::Csv, Layout::Single, 0.001);
    let mut options = SampleOptions::small(room.path().join("data"));
    let error = generate(&options, &|_, _| ()).unwrap_err();
    assert!(matches!(&error, SampleError::Occupied { found, .. } if found == "assessment_aggregator.csv"), "{error}");
    options.overwrite = true;
    let second = generate(&options, &|_, _| ()).unwrap();
    assert_eq!(first.batches, second.batches);
    assert!(files(&options.directory).keys().all(|name| name.ends_with(".parquet")));

    fs::write(options.directory.join("notes.txt"), "mine").unwrap();
    let error = generate(&options, &|_, _| ()).unwrap_err();
    assert!(matches!(&error, SampleError::Foreign { found, .. } if found == "notes.txt"), "{error}");
    let left: Vec<_> = fs::read_dir(room.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["data"], "nothing is left beside the directory");
}

#[test]
fn a_scale_that_is_none_is_refused() {
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY, 101.0] {
        let options = SampleOptions { scale, ..SampleOptions::small("nowhere") };
        assert!(matches!(generate(&options, &|_, _| ()), Err(SampleError::Scale(_))), "{scale}");
    }
}

#[test]
fn progress_ends_at_the_number_of_rows() {
    let room = tempfile::tempdir().unwrap();
    let (most, all) = (AtomicU64::new(0), AtomicU64::new(0));
    let progress = |done, of| {
        most.fetch_max(done, Ordering::Relaxed);
        all.store(of, Ordering::Relaxed);
    };
    let summary = generate(&SampleOptions::small(room.path().join("data")), &progress).unwrap();
    let rows: u64 = summary.rows.iter().map(|&(_, rows)| rows).sum();
    assert_eq!((most.into_inner(), all.into_inner()), (rows, rows));
}

#[test]
fn what_is_kept_in_memory_grows_with_batches_and_not_with_rows() {
    let (small, large) = (Plan::new(0.01, 1), Plan::new(0.016, 1));
    assert!(large.enrolments.last() > small.enrolments.last());
    for plan in [&small, &large] {
        assert_eq!(plan.batches.len(), 32);
        for starts in [&plan.enrolments, &plan.activity, &plan.attempts] {
            assert_eq!(starts.len(), 33);
        }
    }
}
