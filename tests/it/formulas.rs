//! Reports in LibreOffice, whatever it takes their separators to be: no text of them is run as a formula.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::databases::TestDatabase;
use crate::site::{JOBS, Site, told};

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

/// Id, name and external id of a learner.
type Learner = (String, String, String);

fn learners(learners: &[(&str, &str, &str)]) -> Vec<Learner> {
    learners.iter().map(|(id, name, external)| ((*id).into(), (*name).into(), (*external).into())).collect()
}

/// A course of theirs with one module, whose heading is like a formula too.
fn hostile(data: &Path, learners: &[Learner]) {
    let lines = |line: &dyn Fn(&Learner) -> String| lines(learners, line);
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
        lines(&|(id, name, external)| {
            json!({ "userid": id, "firstname": name, "externalid": external, "userchannel": "c" }).to_string()
        }),
    );
    write(
        "user_enrolments.jsonl",
        lines(&|(id, _, _)| {
            json!({ "batchid": "b", "userid": id, "courseid": "do_1", "active": true, "enrolleddate": "2025-03-31T00:00:00Z" })
            .to_string()
        }),
    );
    let done = |activity: &str, count: u64| {
        lines(&|(id, _, _)| {
            let agg = json!({ "completedCount": count }).to_string();
            json!({ "activity_id": activity, "user_id": id, "context_id": "cb:b", "agg": agg }).to_string()
        })
    };
    write("user_activity_agg.jsonl", done("do_1", 6) + &done("=1+1", 1));
}

/// One for each learner.
fn lines(learners: &[Learner], line: impl Fn(&Learner) -> String) -> String {
    learners.iter().map(|learner| line(learner) + "\n").collect()
}

/// LibreOffice, without what another run of it keeps: converts `file`, and returns the text of what it made.
fn converted(file: &Path, import: Option<&str>, to: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let mut office = Command::new("soffice");
    office.env("LC_ALL", "C.UTF-8").arg("--headless");
    office.arg(format!("-env:UserInstallation=file://{}/profile", directory.path().display()));
    if let Some(import) = import {
        office.arg(format!("--infilter={FILTER}:{import}"));
    }
    office.args(["--convert-to", to, "--outdir"]);
    let output = office.arg(directory.path()).arg(file).output().unwrap();
    let extension = to.split(':').next().unwrap();
    // It ends well whatever happened.
    let made = directory.path().join(file.with_extension(extension).file_name().unwrap());
    fs::read_to_string(made).unwrap_or_else(|error| panic!("{error}: {}", told(&output)))
}

/// Whether there is a LibreOffice; without one the test says so.
fn has_libreoffice() -> bool {
    if Command::new("soffice").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return true;
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "soffice (LibreOffice Calc) is not installed");
    eprintln!("skipped: reports in LibreOffice: no soffice (see scripts/test)");
    false
}

/// Its filter for CSV, whose settings are in <https://help.libreoffice.org/latest/en-US/text/shared/guide/csv_params.html>.
const FILTER: &str = "Text - txt - csv (StarCalc)";

/// What LibreOffice shows of a file, as CSV: text in quotes, numbers and dates bare. Formulas of a CSV are computed if they
/// are any.
fn shown_in_libreoffice(file: &Path) -> String {
    let is_csv = file.extension().is_some_and(|extension| extension == "csv");
    let import = is_csv.then_some("44,34,76,1,,1033,false,false,false,false,false,0,true");
    let text = converted(file, import, &format!("csv:{FILTER}:44,34,76,1,,1033,true,false,true"));
    // Its versions differ in how they show an exponent.
    text.replace("E+0", "E+")
}

/// Nothing computes: neither in a CSV, by its guard, nor in an xlsx, where text is text, ids are whole and dates are dates.
#[test]
fn libreoffice_runs_no_formula_that_is_in_a_report() {
    if !has_libreoffice() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let learners = learners(&HOSTILE);
    hostile(&data, &learners);
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
            ",\"a08\",\"'\u{a0}=1+1\"",
            ",\"a09\",\"'\u{feff}=1+1\"",
            ",\"a10\",\"'\u{3000}=1+1\"",
            ",\"a11\",\"'\u{ff1d}1+1\"",
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
    let in_xlsx = lines(&learners, |(id, name, external)| {
        let (id, name, external) = (quoted(id), quoted(name), quoted(external));
        format!("{external},{id},{name},,,,,,,,,31/03/2025,\"do_1\",75,,,25")
    });
    assert_eq!(shown("xlsx"), format!("{heading},\"=1+1 - Progress\"\n{in_xlsx}"));
}

/// Separators, language and "trim spaces" of an import.
const IMPORTS: [(&str, &str); 3] = [
    // English.
    ("comma", "44,34,76,1,,1033,false,true,false,false,true,0,true"),
    // German: the decimal sign is a comma.
    ("semicolon", "59,34,76,1,,1031,false,true,false,false,true,0,true"),
    // What it proposes to somebody who opens a file for the first time.
    ("tab, comma and semicolon", "9/44/59,34,76,1,,1033,false,true,false,false,true,0,true"),
];

/// Every beginning behind everything that may stand before it, at the beginning of a cell and within.
#[test]
fn no_separator_makes_a_formula_of_a_part_of_a_cell() {
    const STARTS: [&str; 8] =
        ["=1+1", "+1+1", "-1+1", "@SUM(1)", "\u{ff1d}1+1", "\u{ff0b}1+1", "\u{ff0d}1+1", "\u{ff20}SUM(1)"];
    const BEFORE: [&str; 18] = [
        "", "  ", "\u{a0}", "\u{200b}", "\u{200d}", "\u{2060}", "\u{feff}", "\u{3000}", "\u{b}", "\u{c}", "\0", "\t",
        "\n", "\r\n", "\"", " \"", "\u{85}", "\u{2028}",
    ];
    const SHAPES: [(&str, &str); 8] = [
        ("", ""),
        ("a;", ""),
        ("a;", ";b"),
        ("a\t", "\tb"),
        ("a\n", "\nb"),
        ("a, \"b\";", ";c"),
        ("a\r", ";"),
        (";", ";b"),
    ];
    if !has_libreoffice() {
        return;
    }
    let mut learners = Vec::new();
    for (first, last) in SHAPES {
        for before in BEFORE {
            for start in STARTS {
                let text = format!("{first}{before}{start}{last}");
                learners.push((format!("u{:04}", learners.len()), text.clone(), text));
            }
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    hostile(&data, &learners);
    let database = TestDatabase::sqlite();
    let unguarded = "\n[[job]]\nid = \"unguarded\"\nreport = \"course\"\noptions = { formula_guard = false }\n";
    let site = Site::new(&database, &data, &format!("{JOBS}{unguarded}"), "");
    site.insert("t", "guarded", "course-report", r#"{"batchId": "b"}"#);
    site.insert("t", "unguarded", "unguarded", r#"{"batchId": "b"}"#);
    let output = site.run(&["run", "--once"]);
    assert!(output.status.success(), "{}", told(&output));
    let rows = site.rows();
    let formulas = |id: &str, import: &str| {
        let sheet = converted(&site.path("reports").join(&rows[id].urls[0]), Some(import), "fods");
        assert!(sheet.contains("u1151"), "not all learners are there");
        let found = sheet.match_indices("table:formula=").map(|(at, _)| sheet[at..].chars().take(60).collect());
        found.collect::<Vec<String>>()
    };
    for (separator, import) in IMPORTS {
        assert_eq!(formulas("guarded", import), [""; 0], "separated by {separator}");
    }
    // What there is to guard against.
    let (_, import) = IMPORTS[1];
    assert!(formulas("unguarded", import).len() > 20);
}
