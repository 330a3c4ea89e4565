//! The same reports in every format, read by programs that are not ours and compared cell by cell.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::databases::TestDatabase;
use crate::site::{JOBS, Site, fixture, told};

/// Where scripts/test puts the readers.
fn readers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-python")
}

fn python() -> Command {
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", readers());
    python
}

#[test]
fn other_programs_read_in_each_format_what_stands_in_the_csv() {
    let found = python().args(["-c", "import pyarrow.parquet, openpyxl"]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "python3 with pyarrow and openpyxl is not installed");
        eprintln!("skipped: other readers of each format: no python3 with pyarrow and openpyxl (see scripts/test)");
        return;
    }
    // Without the guard, which only CSV has.
    let jobs = JOBS.replace("\nreport =", "\noptions = { formula_guard = false }\nreport =");
    for compress in ["none", "gzip"] {
        let jobs = jobs.replace("\nreport =", &format!("\ncompress = \"{compress}\"\nreport ="));
        let database = TestDatabase::sqlite();
        let site = Site::new(&database, &fixture("odd"), &jobs, "");
        let filter = r#""batchFilters": ["TPD", "NCFCOPY"], "includeExpired": true"#;
        for job in ["course-report", "assessment-report"] {
            for format in ["csv", "json", "parquet", "xlsx"] {
                let request = format!(r#"{{{filter}, "output_format": "{format}"}}"#);
                site.insert(job, &format!("{job}-{format}"), job, &request);
            }
        }
        let output = site.run(&["run", "--once"]);
        let rows = site.rows();
        for job in ["course-report", "assessment-report"] {
            let files = |format: &str| {
                let seen = &rows[&format!("{job}-{format}")];
                assert_eq!(seen.status, "COMPLETED", "{job} {format}: {}\n{}", seen.message, told(&output));
                seen.urls.clone()
            };
            let (csv, json, parquet, xlsx) = (files("csv"), files("json"), files("parquet"), files("xlsx"));
            assert!(!csv.is_empty());
            for at in 0..csv.len() {
                let paths = [&csv, &json, &parquet, &xlsx].map(|urls| site.path("reports").join(&urls[at]));
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/formats.py");
                let output = python().arg(script).args(&paths).output().unwrap();
                assert!(output.status.success(), "{paths:?}: {}", told(&output));
            }
        }
    }
}
