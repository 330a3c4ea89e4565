//! Which rows a claim takes, in which order, and for how long.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use exhaust::requests::{ClaimOptions, Clock, EncryptionKey, Reader, Status};

use super::super::databases::{TestDatabase, each_way};
use super::{
    LEASE, ORIGINAL, assert_changes, claim_options, columns, failure, ids, insert_outside, key, migrated, request,
};

#[test]
fn the_oldest_rows_come_first() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        for (tag, id, submitted) in [
            ("b", "third", "'2026-01-02 00:00:00'"),
            ("a", "fourth", "'2026-01-02 00:00:00.5'"),
            ("b", "second", "NULL"),
            ("a", "second-too", "NULL"),
            ("a", "later", "'2026-02-01 00:00:00'"),
        ] {
            insert_outside(database, tag, id, "course-report", submitted);
        }
        let first = queue.claim(&claim_options(3)).unwrap();
        assert_eq!(ids(&first), ["second-too", "second", "third"]);
        assert_eq!(ids(&queue.claim(&claim_options(3)).unwrap()), ["fourth", "later"]);
        assert_eq!(ids(&queue.claim(&claim_options(3)).unwrap()), Vec::<&str>::new());
    });
}

#[test]
fn times_of_outside_writers_are_read_and_those_that_do_not_read_are_oldest() {
    // 2020-01-01 00:00:00 UTC is 1577836800.
    let sqlite = [
        ("garbage", "'soon'"),
        ("infinite", "'infinity'"),
        ("null", "NULL"),
        ("iso", "'2020-01-01T00:00:00Z'"),
        ("seconds", "1577836801"),
        ("seconds-text", "'1577836802'"),
        ("millis", "1577836803000"),
        ("millis-text", "'1577836804000'"),
        ("offset", "'2020-01-01T05:30:05+05:30'"),
        ("ours", "'2020-01-01 00:00:06.000'"),
        ("date", "'2020-01-02'"),
    ];
    // One type for the columns, which leaves fewer odd values.
    let postgres = [
        ("infinite", "'infinity'"),
        ("minus-infinite", "'-infinity'"),
        ("null", "NULL"),
        ("ancient", "'0044-03-15 BC'"),
        ("iso", "'2020-01-01T00:00:00Z'"),
        ("ours", "'2020-01-01 00:00:06.000'"),
        ("date", "'2020-01-02'"),
    ];
    each_way(|database| {
        let rows = if database.is_postgres() { &postgres[..] } else { &sqlite[..] };
        let tables = if database.is_postgres() { &[true][..] } else { &[true, false] };
        for &original in tables {
            // SQLite gives the original TIMESTAMP column another affinity than the TEXT of our own table.
            database.execute("DROP TABLE IF EXISTS job_request");
            if original {
                database.execute(ORIGINAL);
            }
            let (queue, _) = migrated(database);
            for (id, submitted) in rows.iter().rev() {
                insert_outside(database, "t", id, "course-report", submitted);
            }
            let claim = queue.claim(&claim_options(100)).unwrap();
            let mut expected: Vec<&str> = rows.iter().map(|(id, _)| *id).collect();
            let unreadable = expected.iter().position(|id| *id == "iso").unwrap();
            expected[..unreadable].sort_unstable();
            assert_eq!(ids(&claim), expected);
            assert!(claim.requests[..unreadable].iter().all(|row| row.submitted.is_none()));
            assert_eq!(claim.requests[unreadable].submitted, DateTime::from_timestamp(1_577_836_800, 0));
            let listed = |limit| -> Vec<String> {
                queue
                    .newest(Some("t"), &Reader::everything(), limit)
                    .unwrap()
                    .into_iter()
                    .map(|row| row.request_id)
                    .collect()
            };
            let (unread, read) = expected.split_at(unreadable);
            let newest: Vec<&str> = read.iter().rev().chain(unread).copied().collect();
            assert_eq!(listed(100), newest);
            if !database.is_postgres() {
                assert_eq!(listed(1), ["date"]);
            }
        }
    });
}

#[test]
fn odd_rows_are_claimed_like_others() {
    each_way(|database| {
        database.execute(ORIGINAL);
        let (queue, _) = migrated(database);
        let odd: &[(&str, &str, Option<&str>)] = if database.is_postgres() {
            &[
                ("seven", "'7'", Some("7")),
                ("null", "NULL", None),
                ("twice", "'{\"a\":1,\"a\":2}'", Some("{\"a\":1,\"a\":2}")),
            ]
        } else {
            &[
                ("seven", "'7'", Some("7")),
                ("null", "NULL", None),
                ("none", "'no JSON'", Some("no JSON")),
                ("blob", "x'7bff7d'", Some("{\u{fffd}}")),
                ("real", "1.5", Some("1.5")),
                ("empty", "''", Some("")),
            ]
        };
        for (id, data, _) in odd {
            database.execute(&format!(
                "INSERT INTO job_request (tag, request_id, job_id, status, request_data)
                 VALUES ('t', '{id}', 'course-report', 'SUBMITTED', {data})"
            ));
        }
        if !database.is_postgres() {
            // Odd values where we expect our own.
            database.execute(
                "UPDATE job_request SET iteration = 'many', crashes = 'few', requested_by = 5, processed_batches = x'ff'
                 WHERE request_id = 'seven'",
            );
        }
        let claim = queue.claim(&claim_options(100)).unwrap();
        assert_eq!(claim.requests.len(), odd.len());
        for (id, _, data) in odd {
            let row = claim.requests.iter().find(|row| row.key.request_id == *id).unwrap();
            assert_eq!((row.request_data.as_deref(), row.iteration, row.crashes), (*data, 0, 0), "{id}");
        }
    });
}

#[test]
fn a_key_that_names_no_row_is_left_alone() {
    let database = TestDatabase::sqlite();
    let (queue, _) = migrated(&database);
    database.execute(
        "INSERT INTO job_request (tag, request_id, job_id, status) VALUES (NULL, 'a', 'course-report', 'SUBMITTED'),
         (x'ff', 'b', 'course-report', 'SUBMITTED'), (CAST(x'ff' AS TEXT), 'c', 'course-report', 'SUBMITTED'),
         ('t', 'd', 'course-report', 'SUBMITTED')",
    );
    assert_eq!(ids(&queue.claim(&claim_options(100)).unwrap()), ["d"]);
    assert_eq!(queue.newest(None, &Reader::everything(), 100).unwrap().len(), 1, "the others cannot be asked for");
    assert_eq!(queue.overview().unwrap().counts[&("course-report".to_owned(), "SUBMITTED".to_owned())], 3);
}

#[test]
fn a_claim_sets_what_the_specification_says() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        insert_outside(database, "t", "1", "course-alias", "'2020-01-01 00:00:00'");
        database.execute("UPDATE job_request SET encryption_key_sealed = 'sealed', iteration = 2, crashes = NULL");
        let before = columns(database, &key("t", "1"));
        let claim = queue.claim(&claim_options(10)).unwrap();
        let after = columns(database, &key("t", "1"));
        let token = claim.token.as_str();
        assert!(token.starts_with("host:7:"), "{token}");
        assert_changes(
            &before,
            &after,
            &[
                ("status", "PROCESSING"),
                ("dt_job_processing", "?"),
                ("lease_owner", token),
                ("lease_expires_at", "?"),
                ("crashes", "0"),
            ],
        );
        let row = &claim.requests[0];
        assert_eq!((row.key.clone(), row.job_id.as_str()), (key("t", "1"), "course-alias"));
        assert_eq!((row.request_data.as_deref(), row.iteration, row.crashes), (Some("{}"), 2, 0));
        assert_eq!(row.encryption_key, Some(EncryptionKey::Sealed("sealed".to_owned())));
        let stored = queue.find(&key("t", "1")).unwrap().unwrap();
        assert_eq!(Status::parse(&stored.status), Some(Status::Processing));
        assert_eq!(stored.processing, Some(row.claimed));
        assert_eq!(stored.lease_expires.unwrap() - row.claimed, TimeDelta::from_std(LEASE).unwrap());
        if !database.is_postgres() {
            assert_eq!(row.claimed, clock.now());
            assert_eq!(after["dt_job_processing"].as_deref(), Some("2026-03-01 12:00:00.000"));
            assert_eq!(after["lease_expires_at"].as_deref(), Some("2026-03-01 12:02:00.000"));
        }
    });
}

#[test]
fn rows_of_others_are_never_touched() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        insert_outside(database, "t", "theirs", "druid-report", "NULL");
        database.execute(
            "INSERT INTO job_request (tag, request_id, job_id, status) VALUES ('t', 'nobody', NULL, 'SUBMITTED'),
             ('t', 'no-lease', 'course-report', 'PROCESSING'), ('t', 'done', 'course-report', 'COMPLETED'),
             ('t', 'word', 'course-report', 'submitted')",
        );
        let all = || database.query_text("SELECT * FROM job_request ORDER BY request_id");
        let before = all();
        clock.advance(Duration::from_secs(1_000_000));
        assert_eq!(ids(&queue.claim(&claim_options(100)).unwrap()), Vec::<&str>::new());
        assert_eq!(queue.next_claimable(&claim_options(1).job_ids).unwrap(), None);
        assert_eq!(all(), before);
        let overview = queue.overview().unwrap();
        assert_eq!(overview.without_lease.into_iter().collect::<Vec<_>>(), [("course-report".to_owned(), 1)]);
        let counts: Vec<(&str, &str, u64)> =
            overview.counts.iter().map(|((job, status), n)| (job.as_str(), status.as_str(), *n)).collect();
        assert_eq!(
            counts,
            [
                ("", "SUBMITTED", 1),
                ("course-report", "COMPLETED", 1),
                ("course-report", "PROCESSING", 1),
                ("course-report", "submitted", 1),
                ("druid-report", "SUBMITTED", 1),
            ]
        );
    });
}

#[test]
fn an_empty_wish_takes_nothing() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        insert_outside(database, "t", "1", "course-report", "NULL");
        assert!(queue.claim(&claim_options(0)).unwrap().requests.is_empty());
        assert!(queue.claim(&ClaimOptions { job_ids: Vec::new(), ..claim_options(5) }).unwrap().requests.is_empty());
        let odd = ClaimOptions { job_ids: vec!["a\0b".to_owned(), "\"'".to_owned()], ..claim_options(5) };
        assert!(queue.claim(&odd).unwrap().requests.is_empty());
    });
}

#[test]
fn claimants_at_the_same_time_never_get_one_row_twice() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        for id in 0..60 {
            insert_outside(database, "t", &format!("{id:02}"), "course-report", "'2020-01-01 00:00:00'");
        }
        let barrier = Barrier::new(6);
        let taken: Vec<(String, String)> = thread::scope(|scope| {
            let claimants: Vec<_> = (0..6)
                .map(|number| {
                    // Half of them share a pool, as threads of one daemon do.
                    let own = if number % 2 == 0 { queue.clone() } else { database.queue(clock.clone()) };
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        let mut taken = Vec::new();
                        for _ in 0..20 {
                            let claim = own.claim(&claim_options(4)).unwrap();
                            taken
                                .extend(claim.requests.iter().map(|r| (r.key.request_id.clone(), claim.token.clone())));
                        }
                        taken
                    })
                })
                .collect();
            claimants.into_iter().flat_map(|claimant| claimant.join().unwrap()).collect()
        });
        assert_eq!(taken.len(), 60);
        assert_eq!(taken.iter().map(|(id, _)| id).collect::<BTreeSet<_>>().len(), 60);
        let held = database.query_text("SELECT request_id, lease_owner FROM job_request");
        let held: BTreeSet<(String, String)> =
            held.into_iter().map(|row| (row[0].clone().unwrap(), row[1].clone().unwrap())).collect();
        assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), held);
    });
}

#[test]
fn the_next_attempt_is_known() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        let jobs = claim_options(1).job_ids;
        assert_eq!(queue.next_claimable(&jobs).unwrap(), None);
        queue.submit(&request("t", "1")).unwrap();
        let claim = queue.claim(&claim_options(10)).unwrap();
        assert_eq!(queue.next_claimable(&jobs).unwrap(), None, "it is in work");
        let delay = Duration::from_secs(90);
        let _ = queue.retry_later(&claim.token, &key("t", "1"), &failure(), delay).unwrap();
        let next = queue.next_claimable(&jobs).unwrap().unwrap();
        assert_eq!(queue.find(&key("t", "1")).unwrap().unwrap().next_attempt, Some(next));
        assert!(queue.claim(&claim_options(10)).unwrap().requests.is_empty(), "not before its back-off is over");
        queue.submit(&request("t", "2")).unwrap();
        assert!(queue.next_claimable(&jobs).unwrap().unwrap() < next, "another one can be had at once");
        clock.advance(delay + Duration::from_secs(1));
        assert_eq!(ids(&queue.claim(&claim_options(10)).unwrap()), ["1", "2"]);
    });
}
