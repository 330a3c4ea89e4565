//! What is particular to files in a bucket: how little of them is read, and what becomes of it when calls fail.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use exhaust::objects::Bucket;
use exhaust::sources::files::CsvDialect;
use exhaust::sources::{Source, SourceError};
use exhaust::tables::plan::Scan;
use exhaust::tables::schema::{Column, Kind, Table};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::read::read;
use super::{files, in_bucket, scan, settings};
use crate::buckets::{self, Server, TestBucket, put};
use crate::faulty::Fault;

const BATCHES: usize = 40;
const LEARNERS: usize = 2_500;

/// 100,000 enrolments in 40 batches one after the other. The notes, which nobody asks for, are most of it.
fn enrolments() -> impl Iterator<Item = [String; 4]> {
    (0..BATCHES).flat_map(|batch| {
        (0..LEARNERS).map(move |learner| {
            let number = (batch * LEARNERS + learner) as u64;
            // Nothing that compresses well.
            let noise = |salt: u64| (number + salt).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let note = format!("{:016x}{:016x}{:016x}", noise(1), noise(7 << 40), noise(3 << 20));
            [format!("b{batch:02}"), format!("c{}", batch / 4), format!("u{:016x}", noise(0)), note]
        })
    })
}

const NAMES: [&str; 4] = ["batchid", "courseid", "userid", "note"];

fn parquet_of(rows: &[[String; 4]], names: &[usize], group: usize) -> Vec<u8> {
    let column = |at: usize| Arc::new(rows.iter().map(|row| Some(&*row[at])).collect::<StringArray>()) as ArrayRef;
    let batch = RecordBatch::try_from_iter(names.iter().map(|at| (NAMES[*at], column(*at)))).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group))
        .set_data_page_row_count_limit(1_000)
        .set_statistics_enabled(EnabledStatistics::Page)
        // Ids that are all different: a dictionary of them is read whole, for however few rows.
        .set_column_dictionary_enabled("userid".into(), false)
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// Rows of these batches, or all.
fn wanted(batches: Option<&[&str]>) -> Scan {
    let columns = [Column::key("batchid"), Column::key("courseid"), Column::key("userid")];
    scan(Table::UserEnrolments, &columns, batches.map(|keys| ("batchid", keys)))
}

fn one_parquet(directory: &Path) -> u64 {
    in_groups(20_000, directory)
}

fn in_groups(group: usize, directory: &Path) -> u64 {
    let bytes = parquet_of(&enrolments().collect::<Vec<_>>(), &[0, 1, 2, 3], group);
    fs::write(directory.join("user_enrolments.parquet"), &bytes).unwrap();
    bytes.len() as u64
}

fn one_csv(directory: &Path) -> u64 {
    let mut text = NAMES.join(",") + "\n";
    enrolments().for_each(|row| writeln!(text, "{}", row.join(",")).unwrap());
    fs::write(directory.join("user_enrolments.csv"), &text).unwrap();
    text.len() as u64
}

fn source(bucket: Bucket) -> impl Source {
    in_bucket(bucket, CsvDialect::Rfc4180)
}

/// Reads by way of the proxy what the directory holds as well: the same, in at most so many hundredths of the table.
fn reads_at_most(hundredths: u64, all: u64, directory: &Path, bucket: &TestBucket, scan: &Scan) {
    let (proxy, behind) = bucket.behind_proxy();
    let expected = read(&files(directory, CsvDialect::Rfc4180, settings()), scan).unwrap();
    assert!(read(&source(behind), scan).unwrap() == expected, "{:?}", bucket.server);
    let served = proxy.served();
    eprintln!("{:?}: {} rows took {served} of {all} bytes", bucket.server, expected.1.rows);
    assert!(served * 100 <= all * hundredths, "{served} of {all} bytes");
}

#[test]
fn one_batch_of_many_reads_a_small_part_of_a_parquet_file() {
    // A fortieth of the rows: one row group of five without the notes; or, of one group, the pages that have them.
    for (group, hundredths) in [(20_000, 8), (100_000, 4)] {
        let directory = tempfile::tempdir().unwrap();
        let all = in_groups(group, directory.path());
        buckets::each(|bucket| {
            bucket.fill(directory.path());
            reads_at_most(hundredths, all, directory.path(), bucket, &wanted(Some(&["b17"])));
            // All rows, without the notes.
            reads_at_most(50, all, directory.path(), bucket, &wanted(None));
        });
    }
}

#[test]
fn one_batch_of_many_opens_its_own_partition_only() {
    let directory = tempfile::tempdir().unwrap();
    let rows: Vec<_> = enrolments().collect();
    let mut all = 0;
    for batch in rows.chunk_by(|one, other| one[0] == other[0]) {
        let partition = directory.path().join(format!("user_enrolments/batchid={}", batch[0][0]));
        fs::create_dir_all(&partition).unwrap();
        let bytes = parquet_of(batch, &[1, 2, 3], 20_000);
        all += bytes.len() as u64;
        fs::write(partition.join("part-0.parquet"), bytes).unwrap();
    }
    buckets::each(|bucket| {
        bucket.fill(directory.path());
        reads_at_most(4, all, directory.path(), bucket, &wanted(Some(&["b17"])));
    });
}

/// Lists and reads of 500 partitions, 100 ms each: enough for many to be under way at once.
#[test]
fn many_small_partitions_are_fetched_side_by_side() {
    let directory = tempfile::tempdir().unwrap();
    for batch in 0..500 {
        let partition = directory.path().join(format!("user_enrolments/batchid=b{batch:03}"));
        fs::create_dir_all(&partition).unwrap();
        let rows: Vec<_> = (0..3).map(|n| ["", "c", &format!("u{batch}-{n}"), ""].map(ToOwned::to_owned)).collect();
        fs::write(partition.join("part-0.parquet"), parquet_of(&rows, &[1, 2], 100)).unwrap();
    }
    let expected = read(&files(directory.path(), CsvDialect::Rfc4180, settings()), &wanted(None)).unwrap();
    assert_eq!(expected.1.rows, 1500);
    buckets::each(|bucket| {
        bucket.fill(directory.path());
        let (slow, calls) = bucket.spoilt(Fault::Slow(Duration::from_millis(100)));
        assert!(read(&source(slow.open()), &wanted(None)).unwrap() == expected);
        assert_eq!(calls.made(), 2 + 500 + 500, "the source, the table, its partitions, their files");
        assert!(calls.most_at_once() >= 4, "{} at once", calls.most_at_once());
    });
}

/// A row group whose columns lie far from each other, 1 s a call: its end, then all columns together.
#[test]
fn columns_of_a_row_group_come_side_by_side() {
    const NAMES: [&str; 20] =
        ["a", "-a", "b", "-b", "c", "-c", "d", "-d", "e", "-e", "f", "-f", "g", "-g", "h", "-h", "i", "-i", "j", "-j"];
    let directory = tempfile::tempdir().unwrap();
    // Nothing that compresses well, and more than one page of each.
    let text = |column: usize| {
        (0..12_000_u64)
            .map(move |row| format!("{:016x}", (row + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ column as u64))
    };
    let column = |at| Arc::new(text(at).map(Some).collect::<StringArray>()) as ArrayRef;
    let batch = RecordBatch::try_from_iter(NAMES.iter().enumerate().map(|(at, name)| (name, column(at)))).unwrap();
    let properties = WriterProperties::builder().set_dictionary_enabled(false).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    fs::write(directory.path().join("user.parquet"), writer.into_inner().unwrap()).unwrap();
    let columns: Vec<Column> = NAMES.iter().step_by(2).map(|name| Column::optional(name, Kind::Text)).collect();
    let scan = scan(Table::User, &columns, None);
    let expected = read(&files(directory.path(), CsvDialect::Rfc4180, settings()), &scan).unwrap();
    buckets::each(|bucket| {
        bucket.fill(directory.path());
        let (slow, calls) = bucket.spoilt(Fault::Slow(Duration::from_secs(1)));
        assert!(read(&source(slow.open()), &scan).unwrap() == expected);
        assert_eq!(calls.made(), 1 + 1 + 10, "a list, the end, ten columns");
        assert!(calls.most_at_once() >= 4, "{} at once", calls.most_at_once());
    });
}

/// A page of a list has at most 1,000 names: of the prefixes below a table here, and of all objects of the place.
#[test]
fn lists_of_several_pages_are_read_to_their_end() {
    let Some(bucket) = TestBucket::on(Server::S3) else { return };
    let opened = bucket.open();
    let name = |n| format!("b{n:04}");
    for n in 0..1_050 {
        put(&opened, &format!("user_enrolments/batchid={}/part.csv", name(n)), b"courseid,userid\nc,u\n".to_vec());
    }
    assert_eq!(opened.list("").unwrap().map(Result::unwrap).count(), 1_050);
    let (counting, calls) = bucket.spoilt(Fault::Slow(Duration::ZERO));
    let (rows, _) = read(&source(counting.open()), &wanted(None)).unwrap();
    assert!(rows.into_iter().eq((0..1_050).map(|n| format!("{}|c|u", name(n)))));
    assert_eq!(calls.made(), 1 + 2 + 1_050 + 1_050);
}

/// Azure's pages have 5,000 names.
#[test]
fn lists_of_several_pages_on_azure() {
    let Some(bucket) = TestBucket::on(Server::Azure) else { return };
    let (opened, next) = (bucket.open(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while let n @ ..5_050 = next.fetch_add(1, Ordering::SeqCst) {
                    put(&opened, &format!("user/part-{n:04}.csv"), b"userid\nu\n".to_vec());
                }
            });
        }
    });
    assert_eq!(opened.list("").unwrap().map(Result::unwrap).count(), 5_050);
    assert_eq!(opened.names("user").unwrap().len(), 5_050);
}

/// What Hive and Spark encode in names stays as it is in keys.
#[test]
fn odd_names_of_partitions() {
    let batch = "b:1 %é+&'";
    buckets::each(|bucket| {
        let key = "user_enrolments/batchid=b%3A1 %25é+&'/part 0.csv";
        put(&bucket.open(), key, b"courseid,userid\nc,u\n".to_vec());
        put(&bucket.open(), "user_enrolments/batchid=b2/part.csv", b"courseid,userid\nc,u\n".to_vec());
        let (rows, _) = read(&source(bucket.open()), &wanted(Some(&[batch]))).unwrap();
        assert_eq!(rows, [format!("{batch}|c|u")]);
    });
}

fn message(source: &dyn Source, scan: &Scan) -> (String, bool) {
    let error: SourceError = read(source, scan).map(drop).unwrap_err();
    assert!(!error.detail.contains("exhausttestsecret") && !error.message.contains("127.0.0.1"), "{}", error.detail);
    eprintln!("{}", error.detail);
    (error.message, error.may_pass)
}

#[test]
fn what_is_not_there_and_who_is_refused() {
    buckets::each(|bucket| {
        let nothing = format!(
            "table user_enrolments: not in {} as .parquet, .csv, .tsv, .jsonl, .json (.gz, .zst) or directory",
            bucket.url
        );
        assert_eq!(message(&source(bucket.open()), &wanted(None)), (nothing, false));
        assert_eq!(source(bucket.open()).tables(), Ok(vec![]));
        let refused = "table user_enrolments: source cannot be read: the object store refuses our credentials";
        assert_eq!(message(&source(bucket.refused()), &wanted(None)), (refused.to_owned(), true));
        assert!(source(bucket.refused()).tables().is_err());
        let mut elsewhere = bucket.clone();
        elsewhere.url = bucket.url.replace("exhaust/", "nowhere/");
        let no_bucket = "table user_enrolments: source cannot be read: there is no such bucket";
        assert_eq!(message(&source(elsewhere.open()), &wanted(None)), (no_bucket.to_owned(), true));
        put(&bucket.open(), "user_enrolments.csv", b"batchid,courseid,userid\nb,c,u\n".to_vec());
        put(&bucket.open(), "user_enrolments/part.csv", b"batchid,courseid,userid\nb,c,u\n".to_vec());
        let both = "table user_enrolments: user_enrolments/ and user_enrolments.csv are both there";
        assert_eq!(message(&source(bucket.open()), &wanted(None)), (both.to_owned(), false));
    });
}

#[test]
fn files_that_break_off_are_told_as_in_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    one_parquet(directory.path());
    let whole = fs::read(directory.path().join("user_enrolments.parquet")).unwrap();
    for end in [0, 5, whole.len() / 2, whole.len() - 1] {
        let local = tempfile::tempdir().unwrap();
        fs::write(local.path().join("user_enrolments.parquet"), &whole[..end]).unwrap();
        let expected = message(&files(local.path(), CsvDialect::Rfc4180, settings()), &wanted(None));
        buckets::each(|bucket| {
            bucket.fill(local.path());
            assert_eq!(message(&source(bucket.open()), &wanted(None)), expected, "{end}");
        });
    }
}

#[test]
fn broken_connections_and_failing_calls_change_nothing() {
    for form in [one_parquet, one_csv] {
        let directory = tempfile::tempdir().unwrap();
        let all = form(directory.path());
        let expected = read(&files(directory.path(), CsvDialect::Rfc4180, settings()), &wanted(None)).unwrap();
        buckets::each(|bucket| {
            bucket.fill(directory.path());
            for at in [10, all / 10, all / 5] {
                let (proxy, behind) = bucket.behind_proxy();
                proxy.break_after(at);
                assert!(read(&source(behind), &wanted(None)).unwrap() == expected, "broken after {at} bytes");
            }
            let (proxy, behind) = bucket.behind_proxy();
            proxy.refuse_every(3);
            assert!(read(&source(behind), &wanted(None)).unwrap() == expected, "every third call fails");
        });
    }
}

#[test]
fn a_store_that_is_gone_may_come_back() {
    buckets::each(|bucket| {
        let (proxy, behind) = bucket.behind_proxy();
        drop(proxy);
        let gone = "table user_enrolments: source cannot be read: the object store cannot be reached";
        assert_eq!(message(&source(behind), &wanted(None)), (gone.to_owned(), true));
    });
}

/// The clock runs for a whole answer, so whatever part of it has come, the call is given up. `AWS_TIMEOUT` is longer here
/// than calls are tried again for: one that timed out is not made again.
#[test]
fn a_store_that_falls_silent_in_the_middle_of_an_answer_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let all = one_csv(directory.path());
    std::thread::scope(|scope| {
        for bucket in [Server::S3, Server::Azure].into_iter().filter_map(TestBucket::on) {
            let path = directory.path();
            scope.spawn(move || {
                bucket.fill(path);
                let (proxy, behind) = bucket.behind_impatiently("21s");
                proxy.silence_after(all / 2);
                let start = Instant::now();
                let silent =
                    "table user_enrolments: user_enrolments.csv cannot be read: the object store cannot be reached";
                assert_eq!(message(&source(behind.clone()), &wanted(None)), (silent.to_owned(), true));
                let spent = start.elapsed();
                // A second try would take as long again.
                assert!((20..42).contains(&spent.as_secs()), "{:?}: {spent:?}", bucket.server);
                proxy.heal();
                assert_eq!(read(&source(behind), &wanted(None)).unwrap().1.rows, 100_000);
            });
        }
    });
}

/// Azure looks at the condition; of S3's server the answer's version is looked at here. A file is read in one piece or not.
#[test]
fn a_file_that_is_replaced_while_it_is_read_may_pass() {
    let directory = tempfile::tempdir().unwrap();
    let all = one_csv(directory.path());
    assert!(all > 6 << 20, "a file of some blocks");
    let text = fs::read(directory.path().join("user_enrolments.csv")).unwrap();
    for server in [Server::S3, Server::Azure] {
        let Some(bucket) = TestBucket::on(server) else { continue };
        // Twice what is fetched ahead.
        let long = [text.as_slice(), &text[text.iter().position(|byte| *byte == b'\n').unwrap() + 1..]].concat();
        let long = long.repeat(2);
        put(&bucket.open(), "user_enrolments.csv", long.clone());
        let replaced = std::sync::Once::new();
        let source = source(bucket.open());
        let read = source.read(&wanted(None), &|_| {
            replaced.call_once(|| put(&bucket.open(), "user_enrolments.csv", [long.as_slice(), b"b,c,u,n\n"].concat()));
        });
        let error = read.unwrap_err();
        let message = "table user_enrolments: user_enrolments.csv was changed while it was read";
        assert_eq!((error.message.as_str(), error.may_pass), (message, true), "{server:?}");
    }
}

#[test]
fn folders_as_programs_mark_them_are_passed_over() {
    buckets::each(|bucket| {
        let store = bucket.open();
        let row = b"courseid,userid\nc,u\n".to_vec();
        put(&store, "user_enrolments/batchid=b1/p.csv", row);
        put(&store, "user_enrolments/batchid=b1_$folder$", Vec::new());
        put(&store, "user_enrolments_$folder$", Vec::new());
        if bucket.server == Server::Azure {
            buckets::mark_folder(bucket, "user_enrolments");
            buckets::mark_folder(bucket, "user_enrolments/batchid=b1");
            buckets::mark_folder(bucket, "user_enrolments/batchid=b2");
        }
        for only in [None, Some(&["b1"][..])] {
            let (rows, stats) = read(&source(store.clone()), &wanted(only)).unwrap();
            assert_eq!((rows, stats.bad.len()), (vec!["b1|c|u".to_owned()], 0));
        }
        assert_eq!(source(store).tables(), Ok(vec![Table::UserEnrolments]));
    });
}

/// As in a directory (`sources::files::tests::delta`): what the log says, and a file that it names and that is missing.
#[test]
fn delta_tables_in_a_bucket_are_read_by_their_log() {
    let rows = |learner: &str| vec![["b".to_owned(), "c".to_owned(), learner.to_owned(), String::new()]];
    buckets::each(|bucket| {
        let store = bucket.open();
        let mut actions = vec![
            r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#.to_owned(),
            r#"{"metaData":{"format":{"provider":"parquet"},"partitionColumns":[],"configuration":{}}}"#.to_owned(),
        ];
        for learner in ["old", "new", "stray"] {
            let bytes = parquet_of(&rows(learner), &[0, 1, 2], 10);
            if learner != "stray" {
                let add = format!(
                    r#"{{"add":{{"path":"{learner}.parquet","partitionValues":{{}},"size":{}}}}}"#,
                    bytes.len()
                );
                actions.push(add);
            }
            put(&store, &format!("user_enrolments/{learner}.parquet"), bytes);
        }
        let log = |version: u64, text: String| {
            put(&store, &format!("user_enrolments/_delta_log/{version:020}.json"), text.into_bytes());
        };
        log(0, actions.join("\n"));
        log(1, r#"{"remove":{"path":"old.parquet","dataChange":true}}"#.to_owned());
        // Enough of them that some are fetched ahead.
        (2..40).for_each(|version| log(version, r#"{"commitInfo":{}}"#.to_owned()));
        assert_eq!(read(&source(store.clone()), &wanted(None)).unwrap().0, ["b|c|new"]);
        store.remove("user_enrolments/new.parquet").unwrap();
        let gone = "table user_enrolments: user_enrolments/new.parquet is not there any more";
        assert_eq!(message(&source(store.clone()), &wanted(None)).0, gone);
        store.remove("user_enrolments/_delta_log/00000000000000000000.json").unwrap();
        assert!(message(&source(store), &wanted(None)).0.contains("lacks commits"));
    });
}
