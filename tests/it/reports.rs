//! Whole reports, from a row in the table to the bytes in the store, against files derived by hand and against the
//! same computed in SQL.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::fs;
use std::path::Path;

use exhaust::sample_data::{self, Format, Layout, SampleOptions};

use crate::databases::{TestDatabase, each};
use crate::oracle::{Attempt, Counts, Oracle};
use crate::site::{JOBS, Seen, Site, fixture, told};

/// Asks for every expected file of a fixture, in one scan, and compares. `variant` chooses among the expected files:
/// "" those without a further name.
fn compare(database: &TestDatabase, name: &str, jobs: &str, source: &str, variant: &str) {
    let site = Site::new(database, &fixture(name), jobs, source);
    let mut expected = Vec::new();
    for entry in fs::read_dir(fixture(name).join("expected")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let stem = file.strip_suffix(".csv").unwrap();
        let (report, batch) = stem.split_once('-').unwrap();
        let (batch, of_variant) = batch.split_once('.').unwrap_or((batch, ""));
        if of_variant == variant {
            let config = format!(r#"{{"batchFilters": {{"ids": ["{batch}"]}}, "includeExpired": true}}"#);
            site.insert("fixture", stem, &format!("{report}-report"), &config);
            expected.push((stem.to_owned(), fs::read_to_string(fixture(name).join("expected").join(&file)).unwrap()));
        }
    }
    assert!(!expected.is_empty());
    let output = site.run(&["run", "--once"]);
    let rows = site.rows();
    for (stem, text) in expected {
        let Seen { status, urls, message, .. } = &rows[&stem];
        assert_eq!((status.as_str(), urls.len()), ("COMPLETED", 1), "{stem}: {message}\n{}", told(&output));
        assert_eq!(site.file(&urls[0]), text, "{name}: {stem}");
    }
    assert!(output.status.success());
}

#[test]
fn the_sunbird_fixtures_give_the_files_derived_by_hand() {
    each(|database| compare(database, "sunbird/course", JOBS, "", ""));
    each(|database| compare(database, "sunbird/assessment", JOBS, "csv_dialect = \"spark\"", ""));
}

#[test]
fn without_the_privacy_policy_nothing_is_emptied() {
    let jobs = JOBS.replace("report = \"course\"", "report = \"course\"\noptions = { apply_privacy_policy = false }");
    let database = TestDatabase::sqlite();
    compare(&database, "sunbird/course", &jobs, "", "shown");
    let database = TestDatabase::sqlite();
    compare(&database, "odd", &jobs, "", "shown");
}

#[test]
fn the_odd_fixture_gives_the_files_derived_by_hand() {
    each(|database| compare(database, "odd", JOBS, "", ""));
    let latest = JOBS.replace("report = \"assessment\"", "report = \"assessment\"\noptions = { attempt = \"latest\" }");
    compare(&TestDatabase::sqlite(), "odd", &latest, "", "latest");
    let kolkata = format!("timezone = \"Asia/Kolkata\"\n{JOBS}");
    compare(&TestDatabase::sqlite(), "odd", &kolkata, "", "kolkata");
}

/// Every batch of a made-up platform, both reports, byte by byte and count by count.
#[test]
fn a_made_up_platform_gives_what_sql_computes_from_it() {
    let directory = tempfile::tempdir().unwrap();
    let (csv, parquet) = (directory.path().join("csv"), directory.path().join("parquet"));
    generate(&csv, Format::Csv, Layout::Single);
    generate(&parquet, Format::Parquet, Layout::Hive);
    let mut oracle = Oracle::load(&csv);
    let batches = oracle.batches();
    for data in [csv, parquet] {
        let database = TestDatabase::sqlite();
        let site = Site::new(&database, &data, JOBS, "");
        for batch in &batches {
            let config = format!(r#"{{"jobConfig": {{"batchId": "{batch}"}}, "output_format": "csv"}}"#);
            site.insert("course", &format!("c{batch}"), "course-report", &config);
            site.insert("assessment", &format!("a{batch}"), "assessment-score-report", &config);
        }
        let output = site.run(&["run", "--once"]);
        let rows = site.rows();
        let mut compared = 0;
        for batch in &batches {
            let (course, assessment) = (&rows[&format!("c{batch}")], &rows[&format!("a{batch}")]);
            if course.message.starts_with("No data found") {
                continue; // its course is not in content
            }
            for (seen, text, counts) in [
                (course, oracle.course(batch, true), oracle.counts_course(batch)),
                (assessment, oracle.assessment(batch, Attempt::Best), oracle.counts_assessment(batch)),
            ] {
                assert_eq!(seen.status, "COMPLETED", "{batch}: {}\n{}", seen.message, told(&output));
                assert_eq!(site.file(&seen.urls[0]), text, "{batch} from {}", data.display());
                assert_eq!(counted(seen), counts, "{batch}: {}", seen.stats);
                compared += 1;
            }
        }
        assert!(compared > 50, "only {compared} reports were compared");
    }
}

fn generate(directory: &Path, format: Format, layout: Layout) {
    let options = SampleOptions { scale: 0.002, format, layout, ..SampleOptions::small(directory) };
    sample_data::generate(&options, &|_, _| ()).unwrap();
}

/// The counts as job_stats has them.
fn counted(seen: &Seen) -> Counts {
    let number = |pointer: &str| seen.stats.pointer(pointer).unwrap().as_u64().unwrap();
    Counts {
        enrolled: number("/enrolled"),
        rows: number("/rows"),
        other_course: number("/left_out/other_course"),
        inactive: number("/left_out/inactive"),
        no_user: number("/left_out/no_user"),
        duplicate: number("/left_out/duplicate"),
        no_attempt: number("/left_out/no_attempt"),
        attempts_without_enrolment: number("/attempts_without_enrolment"),
    }
}
