//! Who gets which rows, in which order, and for how long.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use exhaust::requests::{
    ClaimWish, Clock, Completion, DAEMON_CONNECTIONS, EncryptionKey, Progress, Queue, Reader, Search, Status,
    WriteBack, open_postgres,
};

use super::super::databases::{TestDatabase, each};
use super::{
    LEASE, ORIGINAL, assert_changes, columns, failure, ids, insert_outside, key, migrated, request, start, suspect,
    take, wish,
};

#[test]
fn the_oldest_rows_come_first() {
    each(|database| {
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
        let first = queue.claim(&wish(3)).unwrap();
        assert_eq!(ids(&first), ["second-too", "second", "third"]);
        assert_eq!(ids(&queue.claim(&wish(3)).unwrap()), ["fourth", "later"]);
        assert_eq!(ids(&queue.claim(&wish(3)).unwrap()), Vec::<&str>::new());
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
    // One column type, so fewer ways to be odd.
    let postgres = [
        ("infinite", "'infinity'"),
        ("minus-infinite", "'-infinity'"),
        ("null", "NULL"),
        ("ancient", "'0044-03-15 BC'"),
        ("iso", "'2020-01-01T00:00:00Z'"),
        ("ours", "'2020-01-01 00:00:06.000'"),
        ("date", "'2020-01-02'"),
    ];
    each(|database| {
        let rows = if database.is_postgres() { &postgres[..] } else { &sqlite[..] };
        let tables = if database.is_postgres() { &[true][..] } else { &[true, false] };
        for &original in tables {
            // SQLite gives the original's TIMESTAMP column another affinity than our own table's TEXT.
            database.execute("DROP TABLE IF EXISTS job_request");
            if original {
                database.execute(ORIGINAL);
            }
            let (queue, _) = migrated(database);
            for (id, submitted) in rows.iter().rev() {
                insert_outside(database, "t", id, "course-report", submitted);
            }
            let claim = queue.claim(&wish(100)).unwrap();
            let mut expected: Vec<&str> = rows.iter().map(|(id, _)| *id).collect();
            let unreadable = expected.iter().position(|id| *id == "iso").unwrap();
            expected[..unreadable].sort_unstable();
            assert_eq!(ids(&claim), expected);
            assert!(claim.requests[..unreadable].iter().all(|row| row.submitted.is_none()));
            assert_eq!(claim.requests[unreadable].submitted, DateTime::from_timestamp(1_577_836_800, 0));
            let listed = |limit| -> Vec<String> {
                queue
                    .list(Some("t"), &Reader::everything(), limit)
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
    each(|database| {
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
        let claim = queue.claim(&wish(100)).unwrap();
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
    assert_eq!(ids(&queue.claim(&wish(100)).unwrap()), ["d"]);
    assert_eq!(queue.list(None, &Reader::everything(), 100).unwrap().len(), 4);
    assert_eq!(queue.overview().unwrap().counts[&("course-report".to_owned(), "SUBMITTED".to_owned())], 3);
}

#[test]
fn a_claim_sets_what_the_specification_says() {
    each(|database| {
        let (queue, clock) = migrated(database);
        insert_outside(database, "t", "1", "course-alias", "'2020-01-01 00:00:00'");
        database.execute("UPDATE job_request SET encryption_key_sealed = 'sealed', iteration = 2, crashes = NULL");
        let before = columns(database, &key("t", "1"));
        let claim = queue.claim(&wish(10)).unwrap();
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
    each(|database| {
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
        assert_eq!(ids(&queue.claim(&wish(100)).unwrap()), Vec::<&str>::new());
        assert_eq!(queue.next_claimable(&wish(1).job_ids).unwrap(), None);
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
    each(|database| {
        let (queue, _) = migrated(database);
        insert_outside(database, "t", "1", "course-report", "NULL");
        assert!(queue.claim(&wish(0)).unwrap().requests.is_empty());
        assert!(queue.claim(&ClaimWish { job_ids: Vec::new(), ..wish(5) }).unwrap().requests.is_empty());
        let odd = ClaimWish { job_ids: vec!["a\0b".to_owned(), "\"'".to_owned()], ..wish(5) };
        assert!(queue.claim(&odd).unwrap().requests.is_empty());
    });
}

#[test]
fn claimants_at_the_same_time_never_get_one_row_twice() {
    each(|database| {
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
                            let claim = own.claim(&wish(4)).unwrap();
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
fn a_lease_that_ran_out_is_taken_over_and_counts_a_crash() {
    each(|database| {
        let (queue, clock) = migrated(database);
        queue.submit(&request("t", "1")).unwrap();
        let first = take(queue.as_ref(), &wish(10));
        clock.advance(LEASE * 3 / 4);
        assert!(take(queue.as_ref(), &wish(10)).requests.is_empty(), "it is believed for two minutes");
        let held = queue.renew(&first.token, &[(key("t", "1"), Some("[1]".to_owned()))], LEASE).unwrap();
        assert_eq!(held, [key("t", "1")]);
        clock.advance(LEASE * 3 / 4);
        assert!(take(queue.as_ref(), &wish(10)).requests.is_empty(), "it was renewed");
        clock.advance(LEASE / 2);
        let second = take(queue.as_ref(), &wish(10));
        let row = &second.requests[0];
        assert_eq!((row.crashes, row.iteration, row.processed_batches.as_deref()), (1, 0, Some("[1]")));
        assert_ne!(first.token, second.token);
        assert_eq!(queue.renew(&first.token, &[(key("t", "1"), None)], LEASE).unwrap(), []);
        assert_eq!(queue.hand_back(&second.token, &row.key, None).unwrap(), WriteBack::Done);
        assert_eq!(take(queue.as_ref(), &wish(10)).requests[0].crashes, 1, "a row handed back lost no lease");
    });
}

#[test]
fn renewing_says_which_rows_are_still_held() {
    each(|database| {
        let (queue, _) = migrated(database);
        for id in ["1", "2", "3"] {
            queue.submit(&request("t", id)).unwrap();
        }
        let claim = queue.claim(&wish(10)).unwrap();
        let before = columns(database, &key("t", "3"));
        assert_eq!(queue.hand_back(&claim.token, &key("t", "2"), None).unwrap(), WriteBack::Done);
        let rows = ["1", "2", "3", "4"].map(|id| (key("t", id), None));
        let mut held = queue.renew(&claim.token, &rows, LEASE * 2).unwrap();
        held.sort();
        assert_eq!(held, [key("t", "1"), key("t", "3")]);
        assert_changes(&before, &columns(database, &key("t", "3")), &[("lease_expires_at", "?")]);
        assert_eq!(queue.renew(&claim.token, &[], LEASE).unwrap(), []);
    });
}

#[test]
fn rows_that_crashed_are_kept_apart() {
    each(|database| {
        let (queue, clock) = migrated(database);
        let crash = |tag: &str, id: &str, crashes: u32| {
            insert_outside(database, tag, id, "course-report", "'2020-01-01 00:00:00'");
            database.execute(&format!("UPDATE job_request SET crashes = {crashes} WHERE request_id = '{id}'"));
        };
        // In this order by tag.
        for (tag, id, crashes) in [("a", "p1", 2), ("b", "p2", 7), ("c", "s1", 1), ("d", "n1", 0), ("e", "n2", 0)] {
            crash(tag, id, crashes);
        }
        for id in ["s2", "s3"] {
            crash("f", id, 1);
        }
        let next = |limit| ids(&take(queue.as_ref(), &wish(limit))).join(" ");
        let alone = || ids(&queue.claim(&suspect()).unwrap()).join(" ");
        assert_eq!(next(16), "s1 s2", "an eighth of sixteen, and no suspect");
        assert_eq!(alone(), "p1", "one suspect at a time");
        assert_eq!(next(16), "n1 n2");
        assert_eq!(next(4), "s3", "an eighth, and at least one");
        assert_eq!((next(16), alone(), alone()), (String::new(), "p2".to_owned(), String::new()));
        // A crash just now counts before the group is made: n1 and n2 have one now, s1 to s3 two, p1 and p2 more.
        clock.advance(LEASE * 2);
        assert_eq!(next(16), "n1 n2");
        assert_eq!(next(16), "");
        assert_eq!([alone(), alone(), alone(), alone()].join(" "), "s1 s2 s3 ");
        // p1 waits one lease and p2 six: as many as they have crashed their daemon alone. By then everybody is gone again.
        clock.advance(LEASE * 11 / 10);
        assert_eq!(next(16), "");
        assert_eq!([alone(), alone(), alone(), alone()].join(" "), "p1 n1 n2 ");
        let crashes = database.query_text("SELECT crashes FROM job_request ORDER BY tag, request_id");
        let crashes: Vec<_> = crashes.into_iter().map(|row| row[0].clone().unwrap()).collect();
        assert_eq!(crashes, ["3", "8", "3", "2", "2", "3", "3"]);
    });
}

/// A long request on machines that come and go is no poison.
#[test]
fn a_row_that_gets_further_counts_its_crashes_alone_anew() {
    each(|database| {
        let (queue, clock) = migrated(database);
        queue.submit(&request("t", "1")).unwrap();
        database.execute("UPDATE job_request SET crashes = 5");
        let rows = |batches: Option<&str>| [(key("t", "1"), batches.map(str::to_owned))];
        let claim = queue.claim(&suspect()).unwrap();
        queue.renew(&claim.token, &rows(None), LEASE).unwrap();
        clock.advance(LEASE * 2);
        assert!(take(queue.as_ref(), &suspect()).requests.is_empty(), "it waits for four leases");
        clock.advance(LEASE * 5);
        let claim = queue.claim(&suspect()).unwrap();
        assert_eq!(claim.requests[0].crashes, 6, "it did not get anywhere");
        queue.renew(&claim.token, &rows(Some("[1]")), LEASE).unwrap();
        clock.advance(LEASE * 2);
        assert!(take(queue.as_ref(), &suspect()).requests.is_empty(), "it waits for one");
        clock.advance(LEASE * 2);
        let claim = queue.claim(&suspect()).unwrap();
        assert_eq!(claim.requests[0].crashes, 3, "still alone, and the first crash since");
        assert_eq!(queue.claim(&wish(1)).unwrap().requests.len(), 0);
    });
}

/// What a replaced system left behind is another's until `adopt_after` says how long it may lie there.
#[test]
fn rows_without_a_lease_are_taken_over_only_where_that_is_wanted() {
    each(|database| {
        let (queue, clock) = migrated(database);
        let left = |id: &str, submitted: &str| {
            insert_outside(database, "t", id, "course-report", submitted);
            database.execute(&format!("UPDATE job_request SET status = 'PROCESSING' WHERE request_id = '{id}'"));
        };
        left("old", "'2020-01-01T00:00:00'");
        left("undated", "NULL");
        left("new", "'2999-01-01 00:00:00'");
        insert_outside(database, "t", "theirs", "druid-report", "NULL");
        database.execute("UPDATE job_request SET status = 'PROCESSING' WHERE request_id = 'theirs'");
        let hour = Some(Duration::from_hours(1));
        let jobs = wish(1).job_ids;
        assert_eq!(queue.reclaim(&jobs, LEASE, None).unwrap(), []);
        let mut adopted = queue.reclaim(&jobs, LEASE, hour).unwrap();
        adopted.sort();
        assert_eq!(adopted, [key("t", "old"), key("t", "undated")]);
        let claim = queue.claim(&wish(10)).unwrap();
        assert_eq!(ids(&claim), ["undated", "old"]);
        assert!(claim.requests.iter().all(|row| row.crashes == 0), "no lease of ours was lost");
        assert_eq!(queue.reclaim(&jobs, LEASE, hour).unwrap(), [], "now they have a lease");
        clock.advance(LEASE * 2);
        assert_eq!(ids(&take(queue.as_ref(), &wish(16))), ["undated", "old"], "from now on they are ours");
    });
}

#[test]
fn the_next_attempt_is_known() {
    each(|database| {
        let (queue, clock) = migrated(database);
        let jobs = wish(1).job_ids;
        assert_eq!(queue.next_claimable(&jobs).unwrap(), None);
        queue.submit(&request("t", "1")).unwrap();
        let claim = queue.claim(&wish(10)).unwrap();
        assert_eq!(queue.next_claimable(&jobs).unwrap(), None, "it is in work");
        let delay = Duration::from_secs(90);
        let _ = queue.retry_later(&claim.token, &key("t", "1"), &failure(), delay).unwrap();
        let next = queue.next_claimable(&jobs).unwrap().unwrap();
        assert_eq!(queue.find(&key("t", "1")).unwrap().unwrap().next_attempt, Some(next));
        assert!(queue.claim(&wish(10)).unwrap().requests.is_empty(), "not before its back-off is over");
        queue.submit(&request("t", "2")).unwrap();
        assert!(queue.next_claimable(&jobs).unwrap().unwrap() < next, "another one can be had at once");
        clock.advance(delay + Duration::from_secs(1));
        assert_eq!(ids(&queue.claim(&wish(10)).unwrap()), ["1", "2"]);
    });
}

#[test]
fn a_database_that_is_down_is_said_to_be_so() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let clock = std::sync::Arc::new(super::ManualClock::new(start()));
    let queue =
        open_postgres(&format!("postgres://nobody:secret@127.0.0.1:{port}/x"), clock, DAEMON_CONNECTIONS).unwrap();
    let error = exhaust::requests::Queue::overview(&queue).unwrap_err();
    assert!(error.may_pass(), "{error}");
    assert!(!error.to_string().contains("secret") && !format!("{queue:?}").contains("secret"), "{error}");
}

#[test]
fn connections_that_were_cut_are_replaced_under_any_verb() {
    let Some(database) = TestDatabase::postgres() else { return };
    let (queue, _) = migrated(&database);
    queue.submit(&request("t", "1")).unwrap();
    let everything = Reader::everything();
    // Each verb meets a pool whose connections are all gone: as after a restart of the server.
    let reads: [&dyn Fn() -> bool; 8] = [
        &|| queue.find(&key("t", "1")).unwrap().is_some(),
        &|| queue.list(None, &everything, 10).unwrap().len() == 1,
        &|| queue.search(&Search::default(), &everything, 10).unwrap().total == 1,
        &|| queue.waiting(&wish(1).job_ids).unwrap().len() == 1,
        &|| queue.open_by_tag().unwrap().len() == 1,
        &|| queue.overview().unwrap().counts.len() == 1,
        &|| queue.next_claimable(&wish(1).job_ids).unwrap().is_some(),
        &|| queue.check().is_ok(),
    ];
    let writes: [&dyn Fn() -> bool; 3] =
        [&|| queue.cancel(&key("t", "1"), "me").unwrap(), &|| queue.resubmit(&key("t", "1")).unwrap(), &|| {
            ids(&queue.claim(&wish(1)).unwrap()) == ["1"]
        }];
    for (number, verb) in reads.into_iter().chain(writes).enumerate() {
        fill_the_pool(queue.as_ref());
        let cut = database.query_text(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'exhaustd'",
        );
        assert!(cut.len() > 1, "verb {number}: several connections were there");
        assert!(verb(), "verb {number}");
    }
}

/// Calls at the same time, so that there are connections to be cut.
fn fill_the_pool(queue: &dyn Queue) {
    let barrier = Barrier::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    barrier.wait();
                    queue.find(&key("t", "1")).unwrap();
                }
            });
        }
    });
}

/// Both change many rows of one claim, through connections of their own.
#[test]
fn renewing_and_noting_progress_never_wait_for_each_other_in_a_circle() {
    each(|database| {
        let (queue, _) = migrated(database);
        let keys: Vec<_> = (0..300).map(|n| key("t", &format!("{n:03}"))).collect();
        for key in &keys {
            insert_outside(database, &key.tag, &key.request_id, "course-report", "NULL");
        }
        let token = queue.claim(&wish(300)).unwrap().token;
        let rows: Vec<_> = keys.iter().map(|key| (key.clone(), None)).collect();
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..30 {
                    assert_eq!(queue.renew(&token, &rows, LEASE).unwrap().len(), 300);
                }
            });
            scope.spawn(|| {
                for batches_done in 0..30 {
                    let progress = Progress { batches_done, batches_total: 30 };
                    let backwards: Vec<_> = keys.iter().rev().map(|key| (key.clone(), progress)).collect();
                    queue.note_progress(&token, &backwards).unwrap();
                }
            });
        });
        // What was passed over because it was being renewed is noted the next time.
        let all: Vec<_> =
            keys.iter().map(|key| (key.clone(), Progress { batches_done: 30, batches_total: 30 })).collect();
        queue.note_progress(&token, &all).unwrap();
        let noted = database.query_text("SELECT count(*) FROM job_request WHERE job_stats IS NOT NULL");
        assert_eq!(noted, [[Some("300".to_owned())]]);
    });
}

#[test]
fn settings_of_the_role_change_nothing() {
    let Some(database) = TestDatabase::postgres() else { return };
    let name = database.url().rsplit('/').next().unwrap().to_owned();
    database.execute(&format!(
        "ALTER DATABASE {name} SET timezone = 'Asia/Kolkata'; ALTER DATABASE {name} SET datestyle = 'SQL, DMY';
         ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'"
    ));
    let (queue, _) = migrated(&database);
    insert_outside(&database, "t", "1", "course-report", "'2026-02-01 00:00:00'");
    let claim = queue.claim(&wish(1)).unwrap();
    assert_eq!(claim.requests[0].submitted, "2026-02-01T00:00:00Z".parse::<DateTime<Utc>>().ok());
    let completion =
        Completion { download_urls: Vec::new(), file_created: start(), execution_ms: 1, job_stats: "{}".to_owned() };
    assert_eq!(queue.complete(&claim.token, &key("t", "1"), &completion).unwrap(), WriteBack::Done);
    assert_eq!(queue.find(&key("t", "1")).unwrap().unwrap().file_created, Some(start()));
}
