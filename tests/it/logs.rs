//! The log as other programs read it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;

use serde_json::{Value, json};

use crate::databases::TestDatabase;

use crate::site::{JOBS, Site, fixture};

/// Each line is an object with the level in front, as the journal reads it; the end of a request says what its row says.
#[test]
fn the_journal_is_given_json() {
    let database = TestDatabase::sqlite();
    let site = Site::new(&database, &fixture("sunbird/course"), JOBS, "");
    site.insert("t", "good", "course-report", r#"{"batchFilters": ["TPD"]}"#);
    site.insert("t", "bad", "course-report", r#"{"batchFilters": ["NOBODY \"=\n"]}"#);
    let log = site.path("log");
    let file = File::create(&log).unwrap();
    let stream = file.metadata().unwrap();
    let mut run = site.command(&["run", "--once", "-v"]);
    run.env("EXHAUST__LOG__FORMAT", "json").env("JOURNAL_STREAM", format!("{}:{}", stream.dev(), stream.ino()));
    run.env_remove("RUST_LOG").stderr(file).status().unwrap();
    let log = fs::read_to_string(log).unwrap();
    let events: Vec<(&str, Value)> = log
        .lines()
        // What the command itself says at its end is no event.
        .filter(|line| !line.starts_with("error: "))
        .map(|line| {
            let (priority, event) = line.split_at_checked(3).unwrap();
            (priority, serde_json::from_str(event).unwrap_or_else(|error| panic!("{error}: {line}")))
        })
        .collect();
    let one = |message: &str| {
        let found: Vec<_> = events.iter().filter(|(_, event)| event["message"] == message).collect();
        let [(priority, event)] = found[..] else { panic!("{message}: {log}") };
        (*priority, event.clone())
    };
    let rows = site.rows();
    let stats = &rows["good"].stats;
    let (priority, completed) = one("request completed");
    assert_eq!((priority, &completed["level"]), ("<6>", &json!("INFO")));
    let group = ["wait_ms", "load_ms", "generate_ms", "store_ms"].map(|name| (name, &stats["group"][name]));
    let of_request = ["rows", "bytes"].map(|name| (name, &stats[name]));
    for (name, value) in group.into_iter().chain(of_request) {
        assert!(value.is_number(), "{name}: {stats}");
        assert_eq!(&completed[name], value, "{name}");
    }
    assert_eq!((&completed["request"], &completed["files"]), (&json!("t/good"), &json!(rows["good"].urls.len())));
    let (priority, failed) = one("request failed");
    assert_eq!((priority, &failed["request"], &failed["code"]), ("<4>", &json!("t/bad"), &json!("no_data")));
    assert!(failed["error"].as_str().unwrap().starts_with(&rows["bad"].message), "{failed}");
}
