//! Rows that could never be claimed: those that can be are, and the others are said.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::time::Duration;

use crate::daemon::Daemon;
use crate::databases::{TestDatabase, each};
use crate::queue::{claim_options, migrated, request, take};
use crate::site::{JOBS, Site, fixture, told};

/// A back-off, or the end of a lease, that is no time.
#[test]
fn a_time_that_is_none_keeps_no_row_for_ever() {
    each(|database| {
        let (queue, _) = migrated(database);
        let odd: &[&str] = if database.is_postgres() {
            &["'infinity'", "'-infinity'"]
        } else {
            &[
                "x'66'",
                "'never'",
                "'infinity'",
                "'9999-99-99 00:00:00.000'",
                "'~'",
                "''",
                "'2026-02-30x'",
                "x'ff'",
                "1e300",
                "7",
            ]
        };
        for (at, time) in odd.iter().enumerate() {
            for (name, set) in [
                ("waits", format!("next_attempt_at = {time}")),
                ("held", format!("status = 'PROCESSING', lease_owner = 'gone:1:f', lease_expires_at = {time}")),
            ] {
                let id = format!("{name}-{at}");
                queue.submit(&request("t", &id)).unwrap();
                database.execute(&format!("UPDATE job_request SET {set} WHERE request_id = '{id}'"));
                assert!(queue.next_claimable(&claim_options(1).job_ids).unwrap().is_some() || name == "held", "{time}");
                let mut taken = take(queue.as_ref(), &claim_options(9)).requests;
                // One that was held has crashed its daemon once.
                assert_eq!(taken.len(), 1, "{id} {time}");
                let row = taken.remove(0);
                assert_eq!(
                    (row.key.request_id.as_str(), row.crashes),
                    (id.as_str(), u32::from(name == "held")),
                    "{time}"
                );
                database.execute(&format!("DELETE FROM job_request WHERE request_id = '{id}'"));
            }
        }
    });
}

/// Keys that no statement can name, each beside a row that is sound.
#[test]
fn a_row_that_cannot_be_named_is_in_the_log_once_and_in_check() {
    let database = TestDatabase::sqlite();
    let site = Site::new(&database, &fixture("odd"), JOBS, "");
    site.run(&["migrate"]);
    site.insert("t", "sound", "course-report", "{\"batchFilters\":[\"nothing\"]}");
    assert!(!told(&site.run(&["check"])).contains("can never be claimed"));
    for keys in [
        "x'6162', 'r1'",
        "'t', x'ff00'",
        "NULL, 'r2'",
        "'t', NULL",
        "CAST(x'ff' AS TEXT), 'r3'",
        "'t' || char(0), 'r4'",
    ] {
        for status in ["SUBMITTED", "PROCESSING", "COMPLETED"] {
            database.execute(&format!(
                "INSERT INTO job_request (tag, request_id, job_id, status, request_data) VALUES ({keys}, 'course-report', \
                 '{status}', '{{}}') ON CONFLICT DO NOTHING"
            ));
        }
    }
    // Of keys that are not NULL there is one row each; NULL is like nothing, so of those all three are there.
    let check = told(&site.run(&["check"]));
    assert!(check.contains("warning: 8 rows of job_request can never be claimed: rowid "), "{check}");
    assert!(check.contains("tag is blob, not text") && check.contains("request_id is blob, not text"), "{check}");
    let daemon = Daemon::start(&site, "");
    assert!(
        daemon.logs_within("rows can never be claimed rows=8 first=[\"rowid ", Duration::from_mins(5)),
        "it is said"
    );
}

/// On PostgreSQL a key is NULL only where somebody made the table without its primary key.
#[test]
fn a_row_without_key_is_found_on_postgresql() {
    let Some(database) = TestDatabase::postgres() else { return };
    let (queue, _) = migrated(&database);
    database.execute(
        "ALTER TABLE job_request DROP CONSTRAINT job_request_pkey; ALTER TABLE job_request ALTER tag DROP NOT NULL, \
         ALTER request_id DROP NOT NULL; INSERT INTO job_request (request_id, job_id, status) VALUES ('r', \
         'course-report', 'SUBMITTED')",
    );
    let found = queue.unclaimable(&claim_options(1).job_ids).unwrap();
    assert_eq!((found.rows, found.first.len()), (1, 1));
    assert!(found.first[0].starts_with("ctid (") && found.first[0].ends_with("its key is NULL"), "{found:?}");
    assert_eq!(queue.unclaimable(&["another".to_owned()]).unwrap().rows, 0);
}
