//! The hot parts by themselves, on a made-up platform at 1/50 of full scale: decode, probe, render, claim.
//!
//! `cargo bench --bench pipeline`, a part of it with `-- render`. Whole reports beside what else makes them: `scripts/bench`.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends there")]

use std::hint::black_box;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use chrono_tz::Tz;
use divan::Bencher;
use divan::counter::ItemsCount;
use exhaust::config::checked::MaxBadRows;
use exhaust::outputs::{Compress, CsvOptions, FileEncoding, Format, write_table};
use exhaust::reports::{self, Options, Report, ReportError, find};
use exhaust::requests::{
    ClaimMode, ClaimOptions, ClientQueue as _, Housekeeping as _, NewRequest, RequestKey, SystemClock, WorkQueue as _,
    open_sqlite,
};
use exhaust::sample_data::{self, Format as SampleFormat, SampleOptions};
use exhaust::sources::files::CsvDialect;
use exhaust::sources::files::FilesSource;
use exhaust::sources::{Settings, Source};
use exhaust::tables::catalog::{BatchIdx, Catalog};
use exhaust::tables::key_range::KeyRange;
use exhaust::tables::loaded::LoadedBatches;
use exhaust::tables::plan::Scan;
use exhaust::tables::schema::Table;
use exhaust::worker::load::{self, Learners, LoadLimits, LoadRequest, Loaded};
use exhaust::worker::stats::LoadStats;

const MAX_BAD_ROWS: MaxBadRows = MaxBadRows { share: 0.001, at_least: 10 };
const TZ: Tz = Tz::Asia__Kolkata;
const REPORTS: [&str; 2] = ["course", "assessment"];

fn main() {
    divan::main();
}

/// The platform, made once.
struct Platform {
    source: FilesSource,
    catalog: Arc<Catalog>,
    /// Half of the batches.
    batches: Vec<BatchIdx>,
    options: Options,
    _directory: tempfile::TempDir,
}

static PLATFORM: LazyLock<Platform> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let small = SampleOptions::small(directory.path());
    sample_data::generate(&SampleOptions { scale: 0.02, format: SampleFormat::Parquet, ..small }, &|_, _| ()).unwrap();
    let settings = Settings::new(TZ);
    let source = FilesSource::new(directory.path().to_owned(), CsvDialect::Rfc4180, settings);
    let needs = find("course").unwrap().needs(&Options::default());
    let catalog =
        load::catalog(&source, &[].into(), &needs, (TZ, MAX_BAD_ROWS, u64::MAX), &mut LoadStats::default()).unwrap();
    let batches =
        (0..catalog.batches().len()).map(BatchIdx).filter(|batch| catalog.batch(*batch).course.is_some()).step_by(2);
    Platform {
        batches: batches.collect(),
        catalog: Arc::new(catalog),
        source,
        options: Options::default(),
        _directory: directory,
    }
});

impl Platform {
    fn load(&self, report: &dyn Report) -> LoadedBatches {
        let needs = report.needs(&self.options);
        let request = LoadRequest { batches: &self.batches, needs: &needs, timezone: TZ, learners: Learners::All };
        let limits = LoadLimits { bytes: u64::MAX, weighed: &|_| (), agrees: None };
        match load::batches(&self.source, &self.catalog, &request, limits, &mut LoadStats::default()).unwrap() {
            Loaded::Batches(loaded) => *loaded,
            Loaded::TooMuch(_) => unreachable!("there is no limit"),
        }
    }

    /// The scan of a report's largest table.
    fn largest_scan(&self, report: &dyn Report) -> Scan {
        let needs = report.needs(&self.options);
        let large = |scan: &Scan| matches!(scan.table, Table::UserActivityAgg | Table::AssessmentAggregator);
        let plan = needs.plan(&self.catalog, &self.batches, &KeyRange::default());
        plan.scans.into_iter().find(large).unwrap()
    }
}

/// Reading the largest table of a report, and nothing done with it.
#[divan::bench(args = REPORTS)]
fn decode(bencher: Bencher<'_, '_>, report: &str) {
    let scan = PLATFORM.largest_scan(find(report).unwrap());
    let rows = PLATFORM.source.read(&scan, &|_| ()).unwrap().rows;
    bencher.counter(ItemsCount::new(rows)).bench(|| {
        PLATFORM
            .source
            .read(&scan, &|chunk| {
                black_box(chunk);
            })
            .unwrap()
    });
}

/// Loading all tables of a report: decoding, finding people and batches, telling duplicates.
#[divan::bench(args = REPORTS)]
fn probe(bencher: Bencher<'_, '_>, report: &str) {
    let report = find(report).unwrap();
    bencher.bench(|| PLATFORM.load(report));
}

/// Making the tables of all batches and spelling them as CSV.
#[divan::bench(args = REPORTS)]
fn render(bencher: Bencher<'_, '_>, report: &str) {
    render_as(bencher, report, Format::DEFAULT);
}

/// Making the tables of all batches of the course report in each other format.
#[divan::bench(args = ["json", "parquet", "xlsx"])]
fn render_format(bencher: Bencher<'_, '_>, format: &str) {
    render_as(bencher, "course", Format::parse(format).unwrap());
}

fn render_as(bencher: Bencher<'_, '_>, report: &str, format: &'static Format) {
    let report = find(report).unwrap();
    let loaded = PLATFORM.load(report);
    let encoding = FileEncoding { format, compress: Compress::None };
    let render = || -> u64 {
        let one = |batch: &BatchIdx| {
            let mut rows = 0;
            reports::generate(report, *batch, &loaded, &PLATFORM.options, |mut table| {
                rows += write_table(&mut table, encoding, CsvOptions::default(), &mut std::io::sink()).unwrap();
                Ok::<(), ReportError>(())
            })
            .unwrap();
            rows
        };
        PLATFORM.batches.iter().map(one).sum()
    };
    bencher.counter(ItemsCount::new(render())).bench(render);
}

/// Claiming 500 of 5,000 waiting rows on SQLite.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn claim(bencher: Bencher<'_, '_>) {
    let options = ClaimOptions {
        job_ids: vec!["course-report".to_owned()],
        limit: 500,
        lease: Duration::from_mins(2),
        owner: "bench:1".to_owned(),
        mode: ClaimMode::Shared,
        per_tag: None,
        per_channel: None,
        paused_tags: Vec::new(),
        daemons: 1,
    };
    let waiting = || {
        let directory = tempfile::tempdir().unwrap();
        let queue = open_sqlite(&directory.path().join("exhaust.db"), Arc::new(SystemClock), 2).unwrap();
        queue.migrate(false).unwrap();
        for n in 0..5_000 {
            let key = RequestKey { tag: format!("t{}", n % 7), request_id: format!("r{n}") };
            let request_data = r#"{"batchId": "0130000000000000001"}"#.to_owned();
            let request = NewRequest {
                key,
                job_id: "course-report".to_owned(),
                request_data,
                requested_by: None,
                requested_channel: None,
                allowed_channels: None,
                encryption: None,
            };
            queue.submit(&request).unwrap();
        }
        (directory, queue)
    };
    bencher.counter(ItemsCount::new(500_usize)).with_inputs(waiting).bench_refs(|(_, queue)| {
        let claim = queue.claim(&options).unwrap();
        assert_eq!(claim.requests.len(), 500);
        claim
    });
}
