//! The same reports in every format, read by programs that are not ours and compared cell by cell.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::databases::TestDatabase;
use crate::site::{self, JOBS, Site, fixture, told};

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
    site::each(|database, store| {
        for compress in ["none", "gzip"] {
            database.execute("DROP TABLE IF EXISTS job_request");
            let jobs = jobs.replace("\nreport =", &format!("\ncompress = \"{compress}\"\nreport ="));
            let site = Site::new(database, &fixture("odd"), &jobs, "").storing_in(store);
            let filter = r#""batchFilters": ["TPD", "NCFCOPY"], "includeExpired": true"#;
            for job in ["course-report", "assessment-report"] {
                for format in ["csv", "json", "parquet", "xlsx"] {
                    let request = format!(r#"{{{filter}, "output_format": "{format}"}}"#);
                    site.insert(job, &format!("{job}-{format}"), job, &request);
                }
            }
            let output = site.run(&["run", "--once"]);
            let rows = site.rows();
            let mut paths = Vec::new();
            for job in ["course-report", "assessment-report"] {
                let files = ["csv", "json", "parquet", "xlsx"].map(|format| {
                    let seen = &rows[&format!("{job}-{format}")];
                    assert_eq!(seen.status, "COMPLETED", "{job} {format}: {}\n{}", seen.message, told(&output));
                    seen.urls.clone()
                });
                assert!(!files[0].is_empty());
                for at in 0..files[0].len() {
                    paths.extend(files.each_ref().map(|urls| site.on_disk(&urls[at])));
                }
            }
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/formats.py");
            let output = python().arg(script).args(&paths).output().unwrap();
            assert!(output.status.success(), "{paths:?}: {}", told(&output));
        }
    });
}

/// One batch per way of not fitting, and neighbours that fit, the fullest just so.
#[test]
fn a_report_that_no_sheet_holds_fails_alone_and_leaves_nothing() {
    const COLUMNS: usize = 16_384;
    const TEXT: usize = 32_767;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    // Ids may be long; the message is cut, and what it says stands before them.
    let long = format!("text-{}", "b".repeat(120));
    let batches = [("full", "do_full"), ("wide", "do_wide"), (&long, "do_full")];
    let each = |line: &dyn Fn(&str, &str) -> String| -> String {
        batches.iter().map(|(batch, course)| line(batch, course) + "\n").collect()
    };
    let write = |name: &str, text: String| fs::write(data.join(name), text).unwrap();
    write("course_batch.jsonl", each(&|batch, course| json!({ "batchid": batch, "courseid": course }).to_string()));
    let course = |id: &str, modules: usize| {
        let module = |n: usize| {
            json!({
                "identifier": format!("m{n:05}"), "mimeType": "application/vnd.ekstep.content-collection",
                "contentType": "Course", "visibility": "Default", "leafNodesCount": 1,
            })
        };
        let children: Vec<_> = (0..modules).map(module).collect();
        let hierarchy = json!({ "identifier": id, "leafNodesCount": 1, "children": children }).to_string();
        let content = json!({ "identifier": id, "channel": "c", "leafNodesCount": 1 }).to_string();
        (content, json!({ "identifier": id, "hierarchy": hierarchy }).to_string())
    };
    // Sixteen columns are always there.
    let (full, wide) = (course("do_full", COLUMNS - 16), course("do_wide", COLUMNS - 15));
    write("content.jsonl", format!("{}\n{}\n", full.0, wide.0));
    write("content_hierarchy.jsonl", format!("{}\n{}\n", full.1, wide.1));
    // A character beyond the first plane counts twice.
    let name = |units: usize| "\u{1f600}".repeat(units / 2) + &"x".repeat(units % 2);
    let user = |id: &str, units: usize| json!({ "userid": id, "firstname": name(units) }).to_string() + "\n";
    write("user.jsonl", user("full", TEXT) + &user("wide", 1) + &user(&long, TEXT + 1));
    write(
        "user_enrolments.jsonl",
        each(&|batch, course| {
            json!({ "batchid": batch, "userid": batch, "courseid": course, "active": true }).to_string()
        }),
    );
    write("user_activity_agg.csv", "activity_id,user_id,context_id,agg\n".to_owned());

    let database = TestDatabase::sqlite();
    let site = Site::new(&database, data, JOBS, "");
    let request = |id: &str, batches: &[&str], format: &str| {
        let request = json!({ "batchFilter": batches, "output_format": format });
        site.insert("t", id, "course-report", &request.to_string());
    };
    request("wide", &["wide"], "xlsx");
    request("long", &[&long], "xlsx");
    request("with-full", &["full", "wide"], "xlsx");
    for format in ["csv", "json", "parquet"] {
        request(&format!("all-{format}"), &["full", "wide", &long], format);
    }
    request("full", &["full"], "xlsx");
    let mut submit = site.command(&["submit", "course-report", "--tag", "t", "--request-id", "protected"]);
    submit.args(["--batch", "wide", "--format", "xlsx"]).env("EXHAUST_ENCRYPTION_KEY", "open sesame");
    assert!(submit.output().unwrap().status.success());
    let output = site.run(&["run", "--once"]);
    let log = told(&output);
    assert!(log.contains("8 requests: 4 completed, 4 failed"), "{log}");

    let rows = site.rows();
    let columns = format!("more columns than an xlsx sheet holds ({COLUMNS}), ask for csv or parquet: batch wide");
    let text = format!("a text is longer than an xlsx cell holds ({TEXT}), ask for csv or parquet: batch text-bbb");
    for (id, message) in [("wide", &columns), ("with-full", &columns), ("protected", &columns), ("long", &text)] {
        let seen = &rows[id];
        assert_eq!((seen.status.as_str(), seen.urls.len()), ("FAILED", 0), "{id}: {log}");
        assert!(seen.message.starts_with(message.as_str()) && seen.message.len() <= 100, "{id}: {}", seen.message);
    }
    for (id, files) in [("all-csv", 3), ("all-json", 3), ("all-parquet", 3), ("full", 1)] {
        assert_eq!((rows[id].status.as_str(), rows[id].urls.len()), ("COMPLETED", files), "{id}: {}", rows[id].message);
    }
    let named: BTreeSet<PathBuf> =
        rows.values().flat_map(|seen| &seen.urls).map(|url| site.path("reports").join(url)).collect();
    let stored = files_below(&site.path("reports"));
    assert!(named.is_subset(&stored), "{stored:?}");
    // At most what a failed request had whole before, which retention removes: nothing of what does not fit.
    let others: Vec<_> = stored.difference(&named).filter(|file| !file.ends_with("reports-full.xlsx")).collect();
    assert!(others.is_empty(), "{others:?}");
}

fn files_below(directory: &Path) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.insert(path);
        }
    }
    files
}
