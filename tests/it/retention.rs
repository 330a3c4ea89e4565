//! Retention from outside: what goes, and everything that must stay as it is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Output;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::databases::{TestDatabase, each};
use crate::site::{JOBS, ORIGINAL_TABLE, Site, fixture, told};

const BATCH: &str = "0130000000000000001";
const CLAIM: &str = "0123456789abcdef";
const KEEP_30_DAYS: &str = "[worker]\nretention = \"30d\"\n";

fn site<'a>(database: &'a TestDatabase, worker: &str) -> Site<'a> {
    Site::new(database, &fixture("odd"), &format!("{JOBS}{worker}"), "")
}

/// Requests that are COMPLETED, each with one file.
fn completed(site: &Site<'_>, ids: &[&str]) {
    for id in ids {
        site.insert("t", id, "course-report", &format!(r#"{{"batchId": "{BATCH}"}}"#));
    }
    let output = site.run(&["run", "--once"]);
    assert!(output.status.success(), "{}", told(&output));
}

/// The daemon removes by itself what jobs.toml calls old, from its start on.
#[test]
fn the_daemon_sweeps_by_itself() {
    crate::site::each(|database, store| {
        let site = site(database, KEEP_30_DAYS).storing_in(store);
        completed(&site, &["old", "new"]);
        age(&site, &["old"]);
        let daemon = crate::daemon::Daemon::start(&site, "");
        daemon.logs("retention rows=1 files=1");
        assert_eq!(site.rows().into_keys().collect::<Vec<_>>(), ["new"]);
        assert_eq!(site.stored().into_iter().collect::<Vec<_>>(), site.rows()["new"].urls);
    });
}

/// As if they had ended years ago.
fn age(site: &Site<'_>, ids: &[&str]) {
    let ids = ids.join("', '");
    let sql = format!("UPDATE job_request SET dt_job_completed = '2020-01-01 00:00:00' WHERE request_id IN ('{ids}')");
    site.database.execute(&sql);
}

/// A file in the store, written years ago.
fn old_file(site: &Site<'_>, name: &str) {
    let path = site.path("reports").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, name).unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_hours(400_000);
    File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
}

fn urls(site: &Site<'_>, list: &[&str]) -> String {
    let quoted: Vec<String> = list.iter().map(|url| format!("'{url}'")).collect();
    if site.database.is_postgres() {
        format!("ARRAY[{}]::text[]", quoted.join(", "))
    } else {
        format!("'{}'", serde_json::json!(list))
    }
}

/// Every file below the store: name → content.
fn files(site: &Site<'_>) -> BTreeMap<String, Vec<u8>> {
    fn below(directory: &Path, name: &str, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{name}/{}", path.file_name().unwrap().to_str().unwrap());
            if path.is_dir() {
                below(&path, &name, found);
            } else {
                found.insert(name.trim_start_matches('/').to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    below(&site.path("reports"), "", &mut found);
    found
}

/// Every row, all columns.
fn rows(site: &Site<'_>) -> Vec<Vec<Option<String>>> {
    site.database.query_text("SELECT * FROM job_request ORDER BY tag, request_id")
}

fn swept(output: &Output) -> (u64, u64, u64, u64) {
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", told(output)));
    let count = |name: &str| answer[name].as_u64().unwrap();
    (count("rows"), count("files"), count("orphans"), count("kept"))
}

#[test]
fn what_is_over_goes_and_everything_else_stays_byte_for_byte() {
    each(|database| {
        let site = site(database, KEEP_30_DAYS);
        completed(&site, &["old", "fresh", "old-alias"]);
        site.insert("t", "open", "course-report", "{}");
        site.insert("t", "held", "course-report", "{}");
        for id in ["foreign", "word"] {
            site.insert("t", id, if id == "foreign" { "theirs" } else { "course-report" }, "{}");
        }
        let foreign = format!("reports/t/foreign/{CLAIM}/reports-named.csv");
        database.execute(&format!(
            "UPDATE job_request SET job_id = 'assessment-score-report' WHERE request_id = 'old-alias';
             UPDATE job_request SET status = 'PROCESSING' WHERE request_id = 'held';
             UPDATE job_request SET status = 'DONE' WHERE request_id = 'word';
             UPDATE job_request SET status = 'COMPLETED', download_urls = {} WHERE request_id = 'foreign'",
            urls(&site, &[&foreign])
        ));
        let seen = site.rows();
        let (old, fresh) = (seen["old"].urls[0].clone(), seen["fresh"].urls[0].clone());
        let alias = seen["old-alias"].urls[0].clone();
        age(&site, &["old", "old-alias", "foreign", "word", "open", "held"]);

        let gone = [
            format!("reports/t/nobody/{CLAIM}/reports-1.csv"),
            format!("elsewhere/deep/t/nobody/{CLAIM}/reports-1.csv.gz"),
            // A daemon that lost its claim wrote this one.
            format!("reports/t/fresh/{CLAIM}/reports-{BATCH}.csv"),
            ".incoming/.tmpAbCd12".to_owned(),
        ];
        let stay = [
            format!("reports/t/open/{CLAIM}/reports-1.csv"),
            format!("reports/t/held/{CLAIM}/reports-1.csv"),
            format!("reports/t/word/{CLAIM}/reports-1.csv"),
            format!("reports/t/foreign/{CLAIM}/reports-not-named.csv"),
            foreign,
            ".link-key".to_owned(),
            ".incoming/notes.txt".to_owned(),
            "reports-2019.csv".to_owned(),
            "their/own/reports/reports-2019.csv".to_owned(),
            format!("reports/t/nobody/{CLAIM}/notes.txt"),
        ];
        for name in gone.iter().chain(&stay) {
            old_file(&site, name);
        }
        // Nobody's, but somebody may just have written it.
        let young = format!("reports/t/nobody/{CLAIM}/reports-young.csv");
        fs::write(site.path("reports").join(&young), "young").unwrap();

        let (mut rows_before, mut files_before) = (rows(&site), files(&site));
        let output = site.run(&["retention", "--dry-run", "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        assert_eq!(swept(&output), (2, 2, 4, 0), "{}", told(&output));
        assert_eq!((rows(&site), files(&site)), (rows_before.clone(), files_before.clone()), "a dry run");
        let shown = told(&site.run(&["retention", "--dry-run"]));
        assert!(shown.contains("would be removed: 2 requests with 2 files, 4 files that no request names"), "{shown}");

        let output = site.run(&["retention", "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        assert_eq!(swept(&output), (2, 2, 4, 0), "{}", told(&output));
        rows_before.retain(|row| !["old", "old-alias"].contains(&row[1].as_deref().unwrap()));
        assert_eq!(rows(&site), rows_before);
        for name in gone.iter().chain([&old, &alias]) {
            assert!(files_before.remove(name).is_some(), "{name}");
        }
        assert_eq!(files(&site), files_before);
        assert!(files_before.contains_key(&fresh));
        for name in [&stay[..], &[young]].concat() {
            assert!(files_before.contains_key(&name), "{name}");
        }
        assert!(!site.path("reports/elsewhere").exists(), "empty directories go");
        assert!(site.path("reports/reports/t/nobody").exists(), "others do not");

        let output = site.run(&["retention", "--json"]);
        assert_eq!(swept(&output), (0, 0, 0, 0), "a second time: {}", told(&output));
        assert_eq!(site.run(&["run", "--once"]).status.code(), Some(1), "the open request is worked on as ever");
    });
}

/// Killed after the files and before the row.
#[test]
fn a_sweep_that_was_killed_half_way_is_ended_by_the_next() {
    each(|database| {
        let site = site(database, KEEP_30_DAYS);
        completed(&site, &["half", "fresh"]);
        age(&site, &["half"]);
        fs::remove_file(site.path("reports").join(&site.rows()["half"].urls[0])).unwrap();
        let output = site.run(&["retention", "--json"]);
        assert_eq!((output.status.code(), swept(&output)), (Some(0), (1, 0, 0, 0)), "{}", told(&output));
        assert_eq!(site.rows().keys().collect::<Vec<_>>(), ["fresh"]);
        assert!(!site.path("reports/reports/t/half").exists(), "its directories go as well");
        assert_eq!(files(&site).len(), 1);
    });
}

#[test]
fn a_file_that_cannot_be_removed_keeps_its_row_for_the_next_sweep() {
    each(|database| {
        let site = site(database, KEEP_30_DAYS);
        completed(&site, &["stuck", "other"]);
        age(&site, &["stuck", "other"]);
        let path = site.path("reports").join(&site.rows()["stuck"].urls[0]);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let output = site.run(&["retention", "--json"]);
        assert_eq!((output.status.code(), swept(&output)), (Some(1), (1, 1, 0, 1)), "{}", told(&output));
        assert!(told(&output).contains("1 rows or files are kept"), "{}", told(&output));
        assert_eq!(site.rows().keys().collect::<Vec<_>>(), ["stuck"]);
        fs::remove_dir(&path).unwrap();
        let output = site.run(&["retention", "--json"]);
        assert_eq!((output.status.code(), swept(&output)), (Some(0), (1, 0, 0, 0)), "{}", told(&output));
        assert!(site.rows().is_empty());
    });
}

#[test]
fn a_request_that_is_tried_again_stays() {
    each(|database| {
        let site = site(database, KEEP_30_DAYS);
        site.insert("t", "again", "course-report", r#"{"batchId": "nowhere"}"#);
        site.insert("t", "over", "course-report", r#"{"batchId": "nowhere"}"#);
        assert_eq!(site.run(&["run", "--once"]).status.code(), Some(1));
        age(&site, &["again", "over"]);
        assert!(site.run(&["retry", "t", "again"]).status.success());
        let before = rows(&site);
        let output = site.run(&["retention"]);
        assert!(output.status.success(), "{}", told(&output));
        assert!(told(&output).contains("removed: 1 requests with 0 files"), "{}", told(&output));
        assert_eq!(rows(&site), before[..1]);
    });
}

/// A row can name anything; only its own files go with it.
#[test]
fn a_row_takes_no_other_request_s_file_with_it() {
    each(|database| {
        let site = site(database, KEEP_30_DAYS);
        completed(&site, &["old", "fresh"]);
        let (old, fresh) = (site.rows()["old"].urls[0].clone(), site.rows()["fresh"].urls[0].clone());
        old_file(&site, "their/own.csv");
        let outside = site.path("jobs.toml").display().to_string();
        let named = [fresh.as_str(), "their/own.csv", "../jobs.toml", &outside, "https://example.org/x.csv", "", &old];
        let sql = format!("UPDATE job_request SET download_urls = {} WHERE request_id = 'old'", urls(&site, &named));
        database.execute(&sql);
        age(&site, &["old"]);
        let output = site.run(&["retention", "--json"]);
        assert_eq!((output.status.code(), swept(&output)), (Some(0), (1, 1, 0, 0)), "{}", told(&output));
        assert_eq!(files(&site).into_keys().collect::<Vec<_>>(), [fresh, "their/own.csv".to_owned()]);
        assert!(site.path("jobs.toml").exists());
    });
}

/// More rows than a step takes, two sweeps at a time.
#[test]
fn sweeps_at_the_same_time_do_not_disturb_each_other() {
    each(|database| {
        let site = site(database, "");
        let values: Vec<String> = (0..350)
            .map(|n| format!("('t', '{n}', 'course-report', 'FAILED', '2020-01-01 00:00:00')"))
            .chain([format!("('t', 'fresh', 'course-report', 'FAILED', '{}')", "9999-01-01 00:00:00")])
            .collect();
        database.execute(&format!(
            "{ORIGINAL_TABLE}; INSERT INTO job_request (tag, request_id, job_id, status, dt_job_completed) VALUES {}",
            values.join(", ")
        ));
        assert!(site.run(&["migrate"]).status.success());
        let begin = || {
            let mut command = site.command(&["retention", "--older-than", "30d", "--json"]);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
        };
        let sweeps = [begin(), begin()].map(|sweep| sweep.wait_with_output().unwrap());
        let mut removed = 0;
        for output in &sweeps {
            assert!(output.status.success(), "{}", told(output));
            removed += swept(output).0;
        }
        assert_eq!(removed, 350, "each row once");
        assert_eq!(site.rows().keys().collect::<Vec<_>>(), ["fresh"]);
    });
}

#[test]
fn without_an_age_it_is_a_usage_error_that_says_what_to_do() {
    let database = TestDatabase::sqlite();
    let site = site(&database, "");
    for (arguments, message) in [
        (vec!["retention"], "say --older-than 30d"),
        (vec!["retention", "--dry-run"], "`[worker] retention` is off"),
        (vec!["retention", "--older-than", "soon"], "--older-than is a whole number and a unit"),
        (vec!["retention", "--older-than", "0s"], "--older-than must be longer than nothing"),
    ] {
        let output = site.run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", told(&output));
        assert!(told(&output).contains(message), "{arguments:?}: {}", told(&output));
    }
    // A dry run does not even make the table.
    let output = site.run(&["retention", "--older-than", "30d", "--dry-run"]);
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    assert!(told(&output).contains("run `exhaustd migrate`"), "{}", told(&output));
    let output = site.run(&["retention", "--older-than", "30d"]);
    assert!(output.status.success(), "nothing there is fine: {}", told(&output));
    assert!(!site.path("reports").exists(), "no store is made");
}

/// Without `DATABASE_URL`, say, an empty file is opened: every file in the store would be nobody's.
#[test]
fn an_empty_table_does_not_make_every_file_an_orphan() {
    each(|database| {
        let site = site(database, KEEP_30_DAYS);
        site.insert("t", "theirs", "their-job", "{}");
        let file = format!("reports/t/1/{CLAIM}/reports-1.csv");
        old_file(&site, &file);
        let output = site.run(&["retention", "--json"]);
        assert_eq!((output.status.code(), swept(&output)), (Some(0), (0, 0, 0, 0)), "{}", told(&output));
        assert!(told(&output).contains("is it the right one?"), "{}", told(&output));
        site.insert("t", "ours", "course-report", "{}");
        assert_eq!(swept(&site.run(&["retention", "--json"])), (0, 0, 1, 0));
        assert!(files(&site).is_empty());
    });
}

/// Files go first: a database user that may not delete rows must not get as far as that.
#[test]
fn who_may_not_delete_rows_removes_no_file() {
    let Some(database) = TestDatabase::postgres() else { return };
    let site = site(&database, KEEP_30_DAYS);
    completed(&site, &["old"]);
    age(&site, &["old"]);
    let role = format!("reader_{}", std::process::id());
    database.execute(&format!(
        "DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN;
         GRANT SELECT, INSERT, UPDATE ON job_request, exhaust_slot TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON job_request_part, exhaust_audit TO {role};
         GRANT SELECT ON exhaust_pause TO {role}"
    ));
    let url = database.url().replacen("postgres://postgres@", &format!("postgres://{role}@"), 1);
    let before = (rows(&site), files(&site));
    let output = site.command(&["retention"]).env("EXHAUST__DATABASE__URL", url).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    assert!(told(&output).contains("missing right: GRANT DELETE ON job_request TO reader_"), "{}", told(&output));
    assert_eq!((rows(&site), files(&site)), before);
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}
