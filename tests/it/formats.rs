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

/// Learners whose names spreadsheets might compute: user id, name, external id. In the order of the report.
const HOSTILE: [(&str, &str, &str); 13] = [
    ("007", "=1+1", "0012345678901234567"),
    ("0130000000000000101", "+1+1", "007"),
    ("a01", "@SUM(1)", ""),
    ("a02", "-2+3", "-2+3"),
    ("a03", "\t  =1+1", ""),
    ("a04", "   =1+1", ""),
    ("a05", "=HYPERLINK(\"http://127.0.0.1/\",\"x\")", "=1+1"),
    ("a06", "a, \"b\"\nc", ""),
    ("a07", "-12.5", ""),
    ("a08", "\u{a0}=1+1", ""),
    ("a09", "\u{feff}=1+1", ""),
    ("a10", "\u{3000}=1+1", ""),
    ("a11", "\u{ff1d}1+1", ""),
];

/// A course of theirs with one module, whose heading is like a formula too.
fn hostile(data: &Path) {
    fs::create_dir(data).unwrap();
    let write = |name: &str, text: String| fs::write(data.join(name), text).unwrap();
    let module = json!({
        "identifier": "=1+1", "mimeType": "application/vnd.ekstep.content-collection", "contentType": "Course",
        "visibility": "Default", "leafNodesCount": 4,
    });
    let hierarchy = json!({ "identifier": "do_1", "leafNodesCount": 8, "children": [module] }).to_string();
    write("course_batch.csv", "batchid,courseid,name,startdate,enddate,status\nb,do_1,,2025-01-01,,1\n".to_owned());
    write("content.jsonl", json!({ "identifier": "do_1", "channel": "c", "leafNodesCount": 8 }).to_string());
    write("content_hierarchy.jsonl", json!({ "identifier": "do_1", "hierarchy": hierarchy }).to_string());
    write(
        "user.jsonl",
        lines(|(id, name, external)| {
            json!({ "userid": id, "firstname": name, "externalid": external, "userchannel": "c" }).to_string()
        }),
    );
    write(
        "user_enrolments.jsonl",
        lines(|(id, _, _)| {
            json!({ "batchid": "b", "userid": id, "courseid": "do_1", "active": true, "enrolleddate": "2025-03-31T00:00:00Z" })
            .to_string()
        }),
    );
    let done = |activity: &str, count: u64| {
        lines(|(id, _, _)| {
            let agg = json!({ "completedCount": count }).to_string();
            json!({ "activity_id": activity, "user_id": id, "context_id": "cb:b", "agg": agg }).to_string()
        })
    };
    write("user_activity_agg.jsonl", done("do_1", 6) + &done("=1+1", 1));
}

/// One for each learner.
fn lines(line: impl Fn((&str, &str, &str)) -> String) -> String {
    HOSTILE.into_iter().map(|learner| line(learner) + "\n").collect()
}

/// What LibreOffice shows of a file, as CSV: text in quotes, numbers and dates bare. Formulas of a CSV are computed if they
/// are any.
fn shown_in_libreoffice(file: &Path) -> String {
    let directory = tempfile::tempdir().unwrap();
    let mut office = Command::new("soffice");
    office.env("LC_ALL", "C.UTF-8").arg("--headless");
    office.arg(format!("-env:UserInstallation=file://{}/profile", directory.path().display()));
    // https://help.libreoffice.org/latest/en-US/text/shared/guide/csv_params.html
    if file.extension().is_some_and(|extension| extension == "csv") {
        office.arg("--infilter=Text - txt - csv (StarCalc):44,34,76,1,,1033,false,false,false,false,false,0,true");
    }
    office.args(["--convert-to", "csv:Text - txt - csv (StarCalc):44,34,76,1,,1033,true,false,true", "--outdir"]);
    let output = office.arg(directory.path()).arg(file).output().unwrap();
    let made = directory.path().join(file.with_extension("csv").file_name().unwrap());
    // It ends well whatever happened.
    let text = fs::read_to_string(made).unwrap_or_else(|error| panic!("{error}: {}", told(&output)));
    // Its versions differ in how they show an exponent.
    text.replace("E+0", "E+")
}

/// Nothing computes: neither in a CSV, by its guard, nor in an xlsx, where text is text, ids are whole and dates are dates.
#[test]
fn libreoffice_runs_no_formula_that_is_in_a_report() {
    if !Command::new("soffice").arg("--version").output().is_ok_and(|output| output.status.success()) {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "soffice (LibreOffice Calc) is not installed");
        eprintln!("skipped: reports in LibreOffice: no soffice (see scripts/test)");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    hostile(&data);
    let database = TestDatabase::sqlite();
    let unguarded = "\n[[job]]\nid = \"unguarded\"\nreport = \"course\"\noptions = { formula_guard = false }\n";
    let site = Site::new(&database, &data, &format!("{JOBS}{unguarded}"), "");
    site.insert("t", "csv", "course-report", r#"{"batchId": "b"}"#);
    site.insert("t", "unguarded", "unguarded", r#"{"batchId": "b"}"#);
    site.insert("t", "xlsx", "course-report", r#"{"batchId": "b", "output_format": "xlsx"}"#);
    let output = site.run(&["run", "--once"]);
    assert!(output.status.success(), "{}", told(&output));
    let rows = site.rows();
    let shown = |id: &str| shown_in_libreoffice(&site.path("reports").join(&rows[id].urls[0]));

    let heading = "\"External ID\",\"User ID\",\"User Name\",\"Email ID\",\"Mobile Number\",\"Organisation Name\",\"State \
                   Name\",\"District Name\",\"School UDISE Code\",\"School Name\",\"Block Name\",\"Enrolment Date\",\"Course \
                   ID\",\"Course Progress\",\"Completion Date\",\"Certificate Status\"";
    // A date of a CSV is text where days stand before months and the language says otherwise.
    let in_csv = format!(
        "{heading},\"'=1+1 - Progress\"\n{}",
        [
            r#"1.23456789012346E+16,7,"'=1+1""#,
            r#"7,1.3E+17,"'+1+1""#,
            r#","a01","'@SUM(1)""#,
            r#""'-2+3","a02","'-2+3""#,
            ",\"a03\",\"'\t  =1+1\"",
            r#","a04","'   =1+1""#,
            r#""'=1+1","a05","'=HYPERLINK(""http://127.0.0.1/"",""x"")""#,
            ",\"a06\",\"a, \"\"b\"\"\nc\"",
            r#","a07",-12.5"#,
            ",\"a08\",\"\u{a0}=1+1\"",
            ",\"a09\",\"\u{feff}=1+1\"",
            ",\"a10\",\"\u{3000}=1+1\"",
            ",\"a11\",\"\u{ff1d}1+1\"",
        ]
        .map(|learner| format!("{learner},,,,,,,,,\"31/03/2025\",\"do_1\",75,,,25\n"))
        .concat()
    );
    assert_eq!(shown("csv"), in_csv);
    // They would run: the guard is what keeps them from it.
    let would = shown("unguarded");
    assert!(would.lines().any(|line| line.starts_with("1.23456789012346E+16,7,2,")), "{would}");

    let quoted =
        |text: &str| if text.is_empty() { String::new() } else { format!("\"{}\"", text.replace('"', "\"\"")) };
    let in_xlsx = lines(|(id, name, external)| {
        let (id, name, external) = (quoted(id), quoted(name), quoted(external));
        format!("{external},{id},{name},,,,,,,,,31/03/2025,\"do_1\",75,,,25")
    });
    assert_eq!(shown("xlsx"), format!("{heading},\"=1+1 - Progress\"\n{in_xlsx}"));
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
