//! A source for each table: reports are the same bytes wherever the tables are, and a source that is down is named.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use exhaust::sample_data::{self, Format, SampleOptions};
use serde_json::Value;

use crate::daemon::wait_for;
use crate::databases::TestDatabase;
use crate::http::Server;
use crate::site::{JOBS, Site, told};

/// Files of all requests: request id → name → content.
fn files(site: &Site<'_>) -> BTreeMap<String, BTreeMap<String, String>> {
    let name = |url: &String| (url.rsplit('/').next().unwrap().to_owned(), site.file(url));
    site.rows().into_iter().map(|(id, seen)| (id, seen.urls.iter().map(name).collect())).collect()
}

fn insert_requests(site: &Site<'_>) {
    site.insert("t", "course", "course-report", r#"{"batchFilters": ["TPD"]}"#);
    site.insert("t", "assessment", "assessment-report", r#"{"batchFilters": ["TPD"]}"#);
}

/// Puts a CSV file into a table of text columns.
pub(crate) fn load(database: &TestDatabase, file: &Path, schema: &str, table: &str) {
    let mut records = csv::Reader::from_path(file).unwrap();
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let names: Vec<String> = records.headers().unwrap().iter().map(|name| format!("\"{name}\" text")).collect();
    let row = |record: csv::StringRecord| format!("({})", record.iter().map(quoted).collect::<Vec<_>>().join(", "));
    let rows: Vec<String> = records.records().map(|record| row(record.unwrap())).collect();
    assert!(!rows.is_empty());
    database.execute(&format!(
        "CREATE SCHEMA IF NOT EXISTS {schema}; CREATE TABLE {schema}.\"{table}\" ({}); INSERT INTO {schema}.\"{table}\" VALUES \
         {}",
        names.join(", "),
        rows.join(", ")
    ));
}

/// Contents in a directory of their own, one of them under another name, learners in PostgreSQL under another name, everything else in a third place.
#[test]
fn tables_in_three_places_give_the_same_files() {
    let Some(users) = TestDatabase::postgres() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (all, contents) = (directory.path().join("all"), directory.path().join("contents"));
    let options = SampleOptions { format: Format::Csv, ..SampleOptions::small(&all) };
    sample_data::generate(&options, &|_, _| ()).unwrap();
    let database = TestDatabase::sqlite();
    let expected = {
        let site = Site::new(&database, &all, JOBS, "");
        insert_requests(&site);
        let output = site.run(&["run", "--once"]);
        assert!(told(&output).contains("2 requests: 2 completed, 0 failed"), "{}", told(&output));
        files(&site)
    };
    assert!(expected.values().all(|files| files.len() > 1));

    load(&users, &all.join("user.csv"), "accounts", "learner");
    fs::remove_file(all.join("user.csv")).unwrap();
    fs::create_dir(&contents).unwrap();
    for entry in fs::read_dir(&all).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("content") {
            let there = if name == "content.csv" { "material.csv" } else { &name };
            fs::rename(all.join(&name), contents.join(there)).unwrap();
        }
    }
    let sources = format!(
        "[source.contents]\nkind = \"files\"\nurl = \"{}\"\n[source.users]\nkind = \"postgres\"\nurl = \"{}\"\n\
         [source.unused]\nkind = \"files\"\nurl = \"nowhere\"\n[source.tables]\ncontent = {{ from = \"contents\", table = \"material\" }}\n\
         content_hierarchy = {{ from = \"contents\" }}\n\
         user = {{ from = \"users\", schema = \"accounts\", table = \"learner\" }}\n",
        contents.display(),
        users.url()
    );
    let database = TestDatabase::sqlite();
    let site = Site::new(&database, &all, JOBS, &sources);
    insert_requests(&site);
    let output = site.run(&["run", "--once"]);
    assert!(told(&output).contains("2 requests: 2 completed, 0 failed"), "{}", told(&output));
    assert!(files(&site) == expected, "other bytes");

    let output = site.run(&["check"]);
    assert!(output.status.success(), "{}", told(&output));
    let text = told(&output);
    for line in [
        format!("source           4 of 4 tables in {}", all.display()),
        format!("source.contents  2 of 2 tables in {}", contents.display()),
        format!("source.contents  {}/material", contents.display()),
        "source.users     1 of 1 tables in schema public".to_owned(),
        "source.users     \"accounts\".\"learner\"".to_owned(),
        "warning: no table comes from [source.unused]: name it in [source.tables], or remove it".to_owned(),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }
    let json: Value = serde_json::from_slice(&site.run(&["check", "--json"]).stdout).unwrap();
    assert_eq!(json["tables"]["content"]["source"], "source.contents", "{json}");
    assert_eq!(json["tables"]["user_enrolments"]["source"], "source", "{json}");
}

/// A source that is down delays requests and is named; the others stay usable.
#[test]
fn a_source_that_is_down_delays_and_is_named() {
    let directory = tempfile::tempdir().unwrap();
    sample_data::generate(&SampleOptions::small(directory.path()), &|_, _| ()).unwrap();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let sources = format!(
        "[source.users]\nkind = \"postgres\"\nurl = \"postgres://u@127.0.0.1:{port}/d\"\n[source.tables]\nuser = {{ from = \
         \"users\" }}\n"
    );
    let database = TestDatabase::sqlite();
    let jobs = format!("{JOBS}\n[api]\nlisten = \"127.0.0.1:0\"\n");
    let site = Site::new(&database, directory.path(), &jobs, &sources);
    insert_requests(&site);
    let log = told(&site.run(&["run", "--once"]));
    for row in site.rows().values() {
        assert_eq!(row.status, "SUBMITTED", "{log}");
        assert!(row.message.starts_with("source.users: table user: the PostgreSQL server"), "{}", row.message);
    }
    let output = site.run(&["check"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(told(&output).contains("not usable: source.users"), "{}", told(&output));

    let server = Server::listening(site.command(&["run"]));
    let report = wait_for("the fault of one source", || {
        let report = server.get("/health").json();
        let looked = ["source", "source.users"]
            .iter()
            .all(|name| report["dependencies"][*name]["message"] != "not looked at yet");
        (looked && report["ready"] == true).then_some(report)
    });
    assert_eq!(report["dependencies"]["source"]["ok"], true, "{report}");
    assert_eq!(report["dependencies"]["source.users"]["ok"], false, "{report}");
    assert!(report["degraded"]["source.users"].is_string() && report["degraded"]["source"].is_null(), "{report}");
}
