//! The platform as it is today: tables with its columns, collections and words for nothing as other programs write them,
//! and rows that its own API inserts, from the tables to the file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::fs;
use std::path::Path;

use exhaust::sample_data::{self, Columns, Format, SampleOptions};

use crate::databases::{self, TestDatabase};
use crate::site::{JOBS, Seen, Site, told};

/// A course of nine parts with one batch, and one learner in it; each test adds or replaces tables.
const TABLES: [(&str, &str); 6] = [
    (
        "content.jsonl",
        r#"{"identifier":"c","name":"n","channel":"ch","framework":"TPD","contentType":"Course","leafNodesCount":9}"#,
    ),
    ("content_hierarchy.jsonl", r#"{"identifier":"c","hierarchy":"{\"identifier\":\"c\",\"children\":[]}"}"#),
    (
        "course_batch.jsonl",
        r#"{"courseid":"c","batchid":"b","name":"n","startdate":"2020-01-01","enddate":"2030-01-01","status":1}"#,
    ),
    ("user.jsonl", r#"{"userid":"u","firstname":"A","lastname":"B","userchannel":"ch"}"#),
    ("user_activity_agg.jsonl", r#"{"context_id":"cb:b","user_id":"u","activity_id":"c","agg":{"completedCount":4}}"#),
    (
        "user_enrolments.jsonl",
        r#"{"batchid":"b","courseid":"c","userid":"u","active":true,"enrolleddate":"2020-01-02"}"#,
    ),
];

/// Runs a request over these tables; those named here take the place of the others.
fn asked(database: &TestDatabase, tables: &[(&str, &str)], source: &str, filters: &str) -> (Seen, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let table_of = |name: &str| name.split('.').next().unwrap().to_owned();
    let replaced = |name: &str| tables.iter().any(|(other, _)| table_of(other) == table_of(name));
    for (name, text) in TABLES.iter().filter(|(name, _)| !replaced(name)).chain(tables) {
        fs::write(directory.path().join(name), text).unwrap();
    }
    database.execute("DROP TABLE IF EXISTS job_request");
    let site = Site::new(database, directory.path(), JOBS, source);
    site.insert("t", "r", "course-report", filters);
    let output = site.run(&["run", "--once"]);
    let row = site.rows().remove("r").unwrap_or_else(|| panic!("{}", told(&output)));
    let files = row.urls.iter().map(|url| site.file(url)).collect();
    (row, files)
}

const BY_ID: &str = r#"{"batchId": "b"}"#;
const BY_FRAMEWORK: &str = r#"{"batchFilters": ["TPD"]}"#;

/// The only row below the heading, cell by heading.
fn cells(files: &[String]) -> std::collections::HashMap<String, String> {
    let [file] = files else { panic!("{files:?}") };
    let mut rows = csv::Reader::from_reader(file.as_bytes()).into_deserialize();
    let row = rows.next().unwrap().unwrap();
    assert!(rows.next().is_none(), "{file}");
    row
}

#[test]
fn tables_as_platforms_of_today_write_them() {
    let batch = |enddate: &str, end_date: &str| {
        format!(
            r#"{{"courseid":"c","batchid":"b","name":"n","status":2,"startdate":null,"enddate":{enddate},"start_date":"2020-01-01","end_date":"{end_date}"}}"#
        )
    };
    let enrolment = r#"{"batchid":"b","courseid":"c","userid":"u","active":true,"enrolleddate":null,"enrolled_date":"2020-01-02 05:41:50.000+0000","completedon":null,"certificates":null,"issued_certificates":null}"#;
    let with_agg = r#"{"context_id":"cb:b","user_id":"u","activity_id":"c","agg":null,"aggregates":{"completedCount":9.0},"agg_last_updated":{"completedCount":"2020-02-01 00:00:00.000+0000"}}"#;
    let without = with_agg.replace(r#""agg":null,"#, "");
    databases::each(|database| {
        for activity in [with_agg, &without] {
            let run = |batch: &str, filters: &str| {
                let tables = [
                    ("course_batch.jsonl", batch),
                    ("user_enrolments.jsonl", enrolment),
                    ("user_activity_agg.jsonl", activity),
                ];
                asked(database, &tables, "", filters)
            };
            let ended = batch("null", "2020-02-10");
            let (row, _) = run(&ended, BY_FRAMEWORK);
            assert_eq!((row.status.as_str(), row.message.as_str()), ("FAILED", "No data found: batch b has ended"));
            let (_, files) = run(&ended, BY_ID);
            let row = cells(&files);
            assert_eq!((row["Enrolment Date"].as_str(), row["Course Progress"].as_str()), ("02/01/2020", "100"));
            // Today's column counts, whatever the old one says.
            let running = batch("\"2020-02-10\"", "2030-02-10");
            let (row, files) = run(&running, BY_FRAMEWORK);
            assert_eq!((row.status.as_str(), cells(&files)["User ID"].as_str()), ("COMPLETED", "u"));
        }
    });
}

#[test]
fn collections_as_cqlsh_copies_them() {
    let database = TestDatabase::sqlite();
    let header = "batchid,courseid,userid,active,enrolleddate,completedon,certificates";
    for dialect in ["", "csv_dialect = \"spark\""] {
        for certificates in ["[{'name': 'Teacher''s certificate'}]", r#"[{\"name\": \"Teacher's certificate\"}]"#] {
            let enrolments = format!("{header}\nb,c,u,True,2020-01-02,,{certificates}\n");
            let (row, files) = asked(&database, &[("user_enrolments.csv", &enrolments)], dialect, BY_ID);
            assert_eq!(row.status, "COMPLETED", "{dialect} {certificates}: {}", row.message);
            assert_eq!(cells(&files)["Certificate Status"], "Issued", "{dialect} {certificates}");
        }
        for counters in [r#"{\"completedCount\": 4}"#, "{completedCount: 4e+00}", "{'completedCount': 4.0}"] {
            let activity = format!("context_id,user_id,activity_id,aggregates\ncb:b,u,c,{counters}\n");
            let (row, files) = asked(&database, &[("user_activity_agg.csv", &activity)], dialect, BY_ID);
            assert_eq!(row.status, "COMPLETED", "{dialect} {counters}: {}", row.message);
            assert_eq!(cells(&files)["Course Progress"], "44", "{dialect} {counters}");
        }
    }
}

#[test]
fn words_for_nothing_in_typed_columns() {
    let database = TestDatabase::sqlite();
    for word in ["null", "NULL", "None", "NaN", "\\N"] {
        let enrolments = format!(
            "batchid,courseid,userid,active,enrolleddate,completedon,certificates\nb,c,u,True,2020-01-02,{word},{word}\n"
        );
        let activity =
            format!("context_id,user_id,activity_id,aggregates,agg\ncb:b,u,c,{word},{{'completedCount': 4}}\n");
        let batch = format!("courseid,batchid,name,startdate,enddate,status\nc,b,null,{word},{word},{word}\n");
        let user = format!("userid,firstname,lastname,userchannel\nu,{word},B,ch\n");
        let tables = [
            ("user_enrolments.csv", enrolments.as_str()),
            ("user_activity_agg.csv", &activity),
            ("course_batch.csv", &batch),
            ("user.csv", &user),
        ];
        let (row, files) = asked(&database, &tables, "", BY_FRAMEWORK);
        assert_eq!(row.status, "COMPLETED", "{word}: {}", row.message);
        let cells = cells(&files);
        assert_eq!((cells["Certificate Status"].as_str(), cells["Completion Date"].as_str()), ("", ""), "{word}");
        assert_eq!(cells["Course Progress"], "44", "{word}");
        // In text it is text.
        assert_eq!(cells["User Name"], format!("{word} B"));
    }
}

/// What the platform's own API puts into the row, and what other systems leave in the table.
#[test]
fn rows_of_the_platforms_own_api() {
    databases::each(|database| {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in TABLES {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let site = Site::new(database, Path::new(directory.path()), JOBS, "");
        site.insert(
            "t",
            "r",
            "course-report",
            r#"{"type": "on-demand", "dataset": "d", "channel": "ch", "tag": "t", "requestedBy": "u", "requestedChannel": "ch",
                "batchId": "b", "searchFilter": {"request": {"filters": {"identifier": ["c"]}}}}"#,
        );
        site.insert("t", "theirs", "course-report", BY_ID);
        assert!(site.run(&["migrate"]).status.success());
        database.execute("UPDATE job_request SET encryption_key = 'x' WHERE request_id = 'r'");
        database.execute(
            "UPDATE job_request SET status = 'SUCCESS', dt_job_completed = '2020-01-01 00:00:00' WHERE request_id = 'theirs'",
        );
        let output = site.run(&["run", "--once"]);
        let rows = site.rows();
        assert_eq!(rows["r"].status, "COMPLETED", "{}{}", rows["r"].message, told(&output));
        let is_protected = Path::new(&rows["r"].urls[0]).extension() == Some("zip".as_ref());
        assert!(is_protected, "{:?}", rows["r"].urls);
        assert_eq!(rows["theirs"].status, "SUCCESS", "it is only read");
        let shown = told(&site.run(&["status", "t", "theirs"]));
        assert!(shown.contains("COMPLETED") && !shown.contains("SUCCESS"), "{shown}");
        let listed = told(&site.run(&["status", "t"]));
        assert!(!listed.contains("SUCCESS"), "{listed}");
    });
}

/// The same made-up platform in today's columns and in those of 2020: the reports are the same to the byte.
#[test]
fn old_and_new_columns_give_the_same_reports() {
    let database = TestDatabase::sqlite();
    for format in [Format::Parquet, Format::Csv] {
        let reports = [Columns::Today, Columns::Of2020].map(|columns| {
            let room = tempfile::tempdir().unwrap();
            let data = room.path().join("data");
            let options = SampleOptions { format, columns, ..SampleOptions::small(&data) };
            sample_data::generate(&options, &|_, _| ()).unwrap();
            database.execute("DROP TABLE IF EXISTS job_request");
            let site = Site::new(&database, &data, JOBS, "");
            for job in ["course-report", "assessment-report"] {
                site.insert("t", job, job, BY_FRAMEWORK);
            }
            let output = site.run(&["run", "--once"]);
            let rows = site.rows();
            assert!(rows.values().all(|row| row.status == "COMPLETED"), "{}", told(&output));
            let name = |url: &String| url.rsplit('/').next().unwrap().to_owned();
            let files = |job: &str| rows[job].urls.iter().map(|url| (name(url), site.file(url))).collect::<Vec<_>>();
            [files("course-report"), files("assessment-report")]
        });
        assert!(reports[0].iter().all(|files| files.len() > 10), "{format:?}");
        assert!(reports[0] == reports[1], "{format:?}");
    }
}
