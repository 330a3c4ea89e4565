//! Files of the source that expand beyond any bound: nothing is read of them, by file and place, or everything, whatever is
//! compressed how far. The bounds are scaled down, so that a thousand files take seconds; `memory_is_bounded_by_real_files`
//! has the real ones.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use exhaust::sources::files::CsvDialect;
use exhaust::sources::files::FilesSource;
use exhaust::sources::{Bounds, Settings, Source as _, SourceError};
use exhaust::tables::chunk::Texts;
use exhaust::tables::plan::Scan;
use exhaust::tables::schema::{Column, Kind, Table};
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};

use crate::databases::TestDatabase;
use crate::site::{JOBS, Site, fixture, told};

/// Bytes of a line, a cell or a page.
const UNIT: usize = 64 << 10;

fn learners() -> Scan {
    let columns = vec![Column::key("userid"), Column::optional("firstname", Kind::Text)];
    Scan::everything(Table::User, columns)
}

/// The rows of a source's only table, as `id:bytes of the name`; and the most text that came at once.
fn read(directory: &Path, scan: &Scan) -> Result<(Vec<String>, usize), SourceError> {
    let settings = Settings { timezone: chrono_tz::Tz::UTC, bounds: Bounds { unit: UNIT, held: 16 * UNIT } };
    let source = FilesSource::new(directory.to_owned(), CsvDialect::Rfc4180, settings);
    let (rows, most) = (std::sync::Mutex::new(Vec::new()), AtomicUsize::new(0));
    source.read(scan, &|chunk| {
        let (ids, names) = (Texts::of(&chunk.columns()[0]), Texts::of(&chunk.columns()[1]));
        let of = |row: usize| {
            let name = names.get(row);
            assert!(name.bytes().all(|byte| byte == b'x'), "nothing else stands there");
            format!("{}:{}", ids.get(row), name.len())
        };
        most.fetch_max(chunk.rows().map(|row| names.get(row).len()).sum(), Ordering::Relaxed);
        rows.lock().unwrap().extend(chunk.rows().map(of));
    })?;
    let mut rows = rows.into_inner().unwrap();
    rows.sort_unstable();
    Ok((rows, most.into_inner()))
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Lines of CSV and JSON, plain and compressed in one piece or many, one of them around the bound.
#[test]
fn a_line_is_read_whole_or_refused_by_its_number() {
    let mut draws = fastrand::Rng::with_seed(41);
    let mut refused = 0;
    for case in 0..700 {
        let json = draws.bool();
        let lines = draws.usize(1..40);
        let long = draws.usize(..lines);
        // The long line has so many bytes, without its end.
        let bytes = match draws.u8(..4) {
            0 => UNIT - 1,
            1 => UNIT + 1,
            2 => draws.usize(200..UNIT),
            _ => UNIT + draws.usize(1..40 * UNIT),
        };
        let fits = bytes < UNIT;
        let mut text = if json { String::new() } else { "userid,firstname\n".to_owned() };
        let mut expected = Vec::new();
        for line in 0..lines {
            let empty = if json {
                format!("{{\"userid\":\"u{line}\",\"firstname\":\"\"}}").len()
            } else {
                format!("u{line},\"\"").len()
            };
            let name = if line == long { bytes - empty } else { draws.usize(..30) };
            let cell = "x".repeat(name);
            let row = if json {
                format!("{{\"userid\":\"u{line}\",\"firstname\":\"{cell}\"}}")
            } else {
                format!("u{line},\"{cell}\"")
            };
            text += &row;
            text.push('\n');
            expected.push(format!("u{line}:{name}"));
        }
        expected.sort_unstable();
        let format = if json { "jsonl" } else { "csv" };
        let (content, end) = match draws.u8(..4) {
            0 => (text.into_bytes(), ""),
            1 => (gzip(text.as_bytes()), ".gz"),
            2 => (text.as_bytes().chunks(draws.usize(500..50_000)).flat_map(gzip).collect(), ".gz"),
            _ => (zstd::encode_all(text.as_bytes(), 1).unwrap(), ".zst"),
        };
        let directory = tempfile::tempdir().unwrap();
        let name = format!("user.{format}{end}");
        fs::write(directory.path().join(&name), content).unwrap();
        match read(directory.path(), &learners()) {
            Ok((rows, _)) => assert!(fits && rows == expected, "{case} {name} {bytes}"),
            Err(error) => {
                let line = if json { long + 1 } else { long + 2 };
                let told = format!("table user: {name} line {line}: more than {UNIT} bytes (is a quote not closed?)");
                assert!(!fits && !error.may_pass, "{case} {name} {bytes}: {error}");
                assert_eq!(error.message, told, "{case}");
                refused += 1;
            }
        }
    }
    assert!(refused > 200, "{refused}");
}

fn properties(draws: &mut fastrand::Rng) -> WriterProperties {
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4_RAW,
        Compression::LZ4,
    ];
    let properties = WriterProperties::builder()
        .set_compression(codecs[draws.usize(..codecs.len())])
        .set_writer_version(if draws.bool() { WriterVersion::PARQUET_1_0 } else { WriterVersion::PARQUET_2_0 })
        .set_data_page_size_limit(UNIT / 4)
        .set_dictionary_page_size_limit(UNIT / 4)
        .set_write_batch_size([1, 16][draws.usize(..2)])
        .set_max_row_group_row_count(Some([50, 100_000][draws.usize(..2)]));
    let encodings = [Encoding::PLAIN, Encoding::DELTA_BYTE_ARRAY, Encoding::DELTA_LENGTH_BYTE_ARRAY];
    match draws.usize(..4) {
        3 => properties.set_dictionary_enabled(true),
        encoding => properties.set_dictionary_enabled(false).set_encoding(encodings[encoding]),
    }
    .build()
}

fn write(path: &Path, columns: Vec<(&str, ArrayRef)>, properties: WriterProperties) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Texts of Parquet files by every codec and encoding: a few bytes of file may stand for a thousand times the bound in all,
/// which is honest; one cell beyond the bound is refused by row group and column.
#[test]
fn a_page_is_read_whole_or_refused_by_its_row_group_and_column() {
    let mut draws = fastrand::Rng::with_seed(42);
    let (mut refused, mut largest) = (0, 0);
    for case in 0..500 {
        let rows = draws.usize(1..200);
        let long = (draws.u8(..3) == 0).then(|| (draws.usize(..rows), UNIT + draws.usize(1..20 * UNIT)));
        // All alike, or each of a length of its own.
        let (alike, most) = (draws.bool(), [20, 1_000, UNIT / 8][draws.usize(..3)]);
        let same = draws.usize(..=most);
        let lengths: Vec<usize> = (0..rows)
            .map(|row| match long {
                Some((at, bytes)) if at == row => bytes,
                _ if alike => same,
                _ => draws.usize(..=most),
            })
            .collect();
        let ids: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("u{row}"))));
        let names: ArrayRef = Arc::new(StringArray::from_iter_values(lengths.iter().map(|length| "x".repeat(*length))));
        let directory = tempfile::tempdir().unwrap();
        write(
            &directory.path().join("user.parquet"),
            vec![("userid", ids), ("firstname", names)],
            properties(&mut draws),
        );
        match (read(directory.path(), &learners()), long) {
            (Ok((found, most)), None) => {
                let mut expected: Vec<String> =
                    lengths.iter().enumerate().map(|(row, length)| format!("u{row}:{length}")).collect();
                expected.sort_unstable();
                assert_eq!(found, expected, "{case}");
                largest = largest.max(most);
            }
            (Err(error), Some(_)) => {
                let message = &error.message;
                assert!(
                    !error.may_pass && message.starts_with("table user: user.parquet row group "),
                    "{case} {message}"
                );
                assert!(
                    message.contains(", column 'firstname': a page has more than ")
                        || message.contains("a cell has more"),
                    "{case} {message}"
                );
                refused += 1;
            }
            (Ok(_), Some(long)) => panic!("{case}: a cell of {} bytes was read", long.1),
            (Err(error), None) => panic!("{case}: {error}"),
        }
    }
    assert!(refused > 100 && largest > UNIT / 8, "{refused} {largest}");
    assert!(largest <= UNIT, "chunks of {largest} bytes");
}

/// Lists whose entries are a run of a few bytes.
#[test]
fn a_list_is_counted_whole_or_refused() {
    let columns = vec![Column::key("batchid"), Column::key("userid"), Column::optional("certificates", Kind::Entries)];
    let scan = Scan::everything(Table::UserEnrolments, columns);
    let settings = Settings { timezone: chrono_tz::Tz::UTC, bounds: Bounds { unit: UNIT, held: 64 * UNIT } };
    let mut draws = fastrand::Rng::with_seed(43);
    let (mut refused, mut read) = (0, 0);
    for case in 0..200 {
        let rows = draws.usize(1..60);
        let long = (draws.u8(..3) == 0).then(|| (draws.usize(..rows), draws.usize(20_000..60_000)));
        let lengths: Vec<usize> = (0..rows)
            .map(|row| match long {
                Some((at, entries)) if at == row => entries,
                _ => draws.usize(..200),
            })
            .collect();
        let mut lists = ListBuilder::new(StringBuilder::new());
        for length in &lengths {
            (0..*length).for_each(|_| lists.values().append_value("x"));
            lists.append(true);
        }
        let ids: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("u{row}"))));
        let batches: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|_| "b")));
        let directory = tempfile::tempdir().unwrap();
        let columns =
            vec![("batchid", batches), ("userid", ids), ("certificates", Arc::new(lists.finish()) as ArrayRef)];
        write(&directory.path().join("user_enrolments.parquet"), columns, properties(&mut draws));
        let source = FilesSource::new(directory.path().to_owned(), CsvDialect::Rfc4180, settings);
        let sum = AtomicUsize::new(0);
        let stats = source.read(&scan, &|chunk| {
            let counts = arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Int64Type>(&chunk.columns()[2]);
            let entries: i64 = chunk.rows().map(|row| counts.value(row)).sum();
            sum.fetch_add(usize::try_from(entries).unwrap(), Ordering::Relaxed);
        });
        match (stats, long) {
            (Ok(stats), None) => {
                assert_eq!((stats.rows, sum.into_inner()), (rows as u64, lengths.iter().sum()), "{case}");
                read += 1;
            }
            (Err(error), Some(_)) => {
                assert!(!error.may_pass && error.message.contains("certificates"), "{case} {error}");
                refused += 1;
            }
            (result, long) => panic!("{case}: {long:?} {:?}", result.map(|stats| stats.rows)),
        }
    }
    assert!(refused > 40 && read > 80, "{refused} {read}");
}

/// A line of half a gigabyte in half a megabyte of gzip: the program fails the request, within `[worker] memory` and 300 MB.
#[test]
fn memory_is_bounded_by_real_files() {
    const MEMORY: u64 = 64 << 20;
    let database = TestDatabase::sqlite();
    let data = tempfile::tempdir().unwrap();
    let put = |name: &str, content: &[u8]| fs::write(data.path().join(name), content).unwrap();
    // The tables of a fixture, and another one of learners.
    for entry in fs::read_dir(fixture("odd")).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_file() && !name.starts_with("user.") {
            put(&name, &fs::read(entry.path()).unwrap());
        }
    }
    let mut bomb = GzEncoder::new(Vec::new(), Level::fast());
    bomb.write_all(b"{\"userid\":\"u1\",\"firstname\":\"").unwrap();
    let piece = vec![b'x'; 1 << 20];
    (0..500).for_each(|_| bomb.write_all(&piece).unwrap());
    put("user.jsonl.gz", &bomb.finish().unwrap());
    let site = Site::new(&database, data.path(), JOBS, "");
    let jobs = fs::read_to_string(site.path("jobs.toml")).unwrap();
    fs::write(site.path("jobs.toml"), format!("{jobs}[worker]\nmemory = \"64MiB\"\nthreads = 2\n")).unwrap();
    site.run(&["migrate"]);
    let submitted = site.run(&["submit", "course-report", "--batch", "0130000000000000001", "--tag", "t"]);
    assert!(submitted.status.success(), "{}", told(&submitted));
    let peak = peak_of(site.command(&["run", "--once"]));
    let rows = site.rows();
    let row = rows.values().next().unwrap();
    assert_eq!(row.status, "FAILED");
    assert_eq!(row.message, "table user: user.jsonl.gz line 1: more than 64 MiB (is a quote not closed?)");
    assert!(peak <= MEMORY + 300_000_000, "{peak} bytes");
}

/// Runs a command; its peak of resident memory, as far as it was seen.
fn peak_of(mut command: Command) -> u64 {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: Option<u64> = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        peak = peak.max(kib.unwrap_or(0) << 10);
        std::thread::sleep(Duration::from_millis(10));
    }
    peak
}
