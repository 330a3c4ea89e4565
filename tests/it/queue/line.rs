//! The line: the order in which rows are claimed, whatever else waits beside them.

use std::time::Duration;

use exhaust::requests::{ClaimOptions, Queue, RequestKey, read_time};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::super::databases::{TestDatabase, each_way};
use super::{believe_that_nothing_waits, claim_options, failure, ids, index_reads, insert_outside, key, migrated};

/// All waiting rows, claimed a few at a time.
fn all_in_order(queue: &dyn Queue, limit: u32) -> Vec<RequestKey> {
    let mut keys = Vec::new();
    loop {
        let claim = queue.claim(&claim_options(limit)).unwrap();
        if claim.requests.is_empty() {
            return keys;
        }
        keys.extend(claim.requests.into_iter().map(|request| request.key));
    }
}

#[test]
fn rows_of_several_jobs_stand_in_one_line() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        for n in 0..12 {
            let job = if n % 3 == 0 { "course-alias" } else { "course-report" };
            insert_outside(database, "t", &format!("{n:02}"), job, &format!("'2026-01-01 00:00:{n:02}.000'"));
            insert_outside(database, "t", &format!("x{n}"), "another-job", "'2025-01-01 00:00:00.000'");
        }
        let expected: Vec<String> = (0..12).map(|n| format!("{n:02}")).collect();
        assert_eq!(ids(&queue.claim(&claim_options(5)).unwrap()), expected[..5]);
        let twice = ClaimOptions {
            job_ids: ["course-report", "course-alias", "course-report"].map(str::to_owned).into(),
            ..claim_options(4)
        };
        assert_eq!(ids(&queue.claim(&twice).unwrap()), expected[5..9], "a job that is named twice is one job");
        assert_eq!(ids(&queue.claim(&claim_options(500)).unwrap()), expected[9..]);
    });
}

#[test]
fn rows_of_one_time_stand_in_the_order_of_their_keys_bytes() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let mut keys = Vec::new();
        for tag in ["b", "B", "a", "é", "_", "Z", "a b", "ab", "漢", "10", "9"] {
            for id in ["2", "10", "z", "Z", "ä"] {
                insert_outside(database, tag, id, "course-report", "'2026-01-01 00:00:00.000'");
                keys.push(key(tag, id));
            }
        }
        keys.sort();
        assert_eq!(all_in_order(queue.as_ref(), 7), keys);
    });
}

/// The order that a client expects, in whatever form times are written: by the time that is read, then by key.
#[test]
fn times_in_any_form_stand_in_one_line() {
    let ours = || {
        (2020..2029u32, 1..13u32, 1..32u32, 0..25u32, 0..60u32).prop_map(|(year, month, day, hour, minute)| {
            // Among them days and hours that do not exist.
            format!("'{year}-{month:02}-{day:02} {hour:02}:{minute:02}:07.250'")
        })
    };
    let time = prop_oneof![
        6 => ours(),
        1 => ours().prop_map(|time| time.replace(' ', "T")),
        1 => ours().prop_map(|time| time.replace(".250'", "'")),
        1 => ours().prop_map(|time| time.replace("'20", "'")),
        1 => (1_577_836_800..1_861_920_000u64).prop_map(|seconds| seconds.to_string()),
        1 => (1_577_836_800..1_861_920_000u64).prop_map(|seconds| format!("'{seconds}250'")),
        1 => Just("'2024-02-29 10:00:00.000'".to_owned()),
        1 => Just("'2023-02-29 10:00:00.000'".to_owned()),
        1 => Just("'2024-04-31 10:00:00.000'".to_owned()),
        1 => Just("'2024-00-10 10:00:00.000'".to_owned()),
        1 => Just("'2024-01-00 10:00:00.000'".to_owned()),
        1 => Just("'2024-01-10 10:00:00.00x'".to_owned()),
        1 => Just("X'323032302d30312d30312030303a30303a30302e303030'".to_owned()),
        1 => Just("NULL".to_owned()),
        1 => Just("'soon'".to_owned()),
    ];
    let database = TestDatabase::sqlite();
    let (queue, _) = migrated(&database);
    let rows = (proptest::collection::vec(time, 1..40), 1..9u32);
    let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&rows, |(times, limit)| {
        database.execute("DELETE FROM job_request");
        let mut expected = Vec::new();
        for (n, time) in times.iter().enumerate() {
            let job = if n % 4 == 0 { "course-alias" } else { "course-report" };
            insert_outside(&database, "t", &n.to_string(), job, time);
            let text = if time.starts_with('X') { "2020-01-01 00:00:00.000" } else { time.trim_matches('\'') };
            expected.push((read_time(text), key("t", &n.to_string())));
        }
        expected.sort();
        let expected: Vec<RequestKey> = expected.into_iter().map(|(_, key)| key).collect();
        assert_eq!(all_in_order(queue.as_ref(), limit), expected, "{times:?}");
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn rows_that_are_not_to_be_had_hold_nobody_up() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        for n in 0..9 {
            insert_outside(database, "t", &n.to_string(), "course-report", &format!("'2026-01-01 00:00:0{n}.000'"));
        }
        // The oldest three back off, the next three are claimed exclusively.
        let claim = queue.claim(&claim_options(3)).unwrap();
        for id in ["0", "1", "2"] {
            let _ = queue.retry_later(&claim.token, &key("t", id), &failure(), Duration::from_mins(1)).unwrap();
        }
        database.execute("UPDATE job_request SET crashes = 2 WHERE request_id IN ('3', '4', '5')");
        assert_eq!(ids(&queue.claim(&claim_options(2)).unwrap()), ["6", "7"]);
        clock.advance(Duration::from_mins(2));
        assert_eq!(ids(&queue.claim(&claim_options(2)).unwrap()), ["0", "1"], "as old as ever");
        assert_eq!(ids(&queue.claim(&claim_options(2)).unwrap()), ["2", "8"]);
        assert_eq!(ids(&queue.claim(&super::exclusive_claim()).unwrap()), ["3"]);
    });
}

/// SQLite lets a key be anything. Rows that cannot be named are skipped, whatever their number.
#[test]
fn rows_that_cannot_be_named_hold_nobody_up() {
    let database = TestDatabase::sqlite();
    let (queue, _) = migrated(&database);
    for n in 0..7 {
        database.execute(&format!(
            "INSERT INTO job_request (tag, request_id, job_id, status, dt_job_submitted)
             VALUES (CAST(x'ff' AS TEXT), '{n}', 'course-report', 'SUBMITTED', '2026-01-01 00:00:00.000')"
        ));
    }
    for id in ["1", "2", "3"] {
        insert_outside(&database, "t", id, "course-report", "'2026-01-02 00:00:00.000'");
    }
    assert_eq!(ids(&queue.claim(&claim_options(2)).unwrap()), ["1", "2"]);
    assert_eq!(ids(&queue.claim(&claim_options(2)).unwrap()), ["3"]);
}

/// Where many rows wait, PostgreSQL must not read and sort all of them for each claim.
#[test]
fn postgres_reads_the_line_in_its_order() {
    let Some(database) = TestDatabase::postgres() else { return };
    let (queue, _) = migrated(&database);
    believe_that_nothing_waits(&database);
    database.execute(
        "INSERT INTO job_request (tag, request_id, job_id, status, dt_job_submitted)
         SELECT 't', n::text, 'course-report', 'SUBMITTED', timestamp '2026-01-01' + n * interval '1 second'
         FROM generate_series(1, 20000) AS n",
    );
    assert_eq!(ids(&queue.claim(&claim_options(3)).unwrap()), ["1", "2", "3"]);
    let (scans, rows) = index_reads(&database, "job_request_line");
    assert!(scans > 0 && rows < 100, "{scans} scans read {rows} rows");
}
