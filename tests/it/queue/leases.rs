//! How long a row stays claimed, and what happens to rows whose daemon is gone.

use std::thread;
use std::time::Duration;

use exhaust::requests::{RequestProgress, WriteBack};

use super::super::databases::each_way;
use super::{
    LEASE, assert_changes, claim_options, columns, exclusive_claim, ids, insert_outside, key, migrated, request, take,
};

#[test]
fn a_lease_that_ran_out_is_taken_over_and_counts_a_crash() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        queue.submit(&request("t", "1")).unwrap();
        let first = take(queue.as_ref(), &claim_options(10));
        clock.advance(LEASE * 3 / 4);
        assert!(take(queue.as_ref(), &claim_options(10)).requests.is_empty(), "it is believed for two minutes");
        let held = queue.renew(&first.token, &[(key("t", "1"), Some("[1]".to_owned()))], LEASE).unwrap();
        assert_eq!(held, [key("t", "1")]);
        clock.advance(LEASE * 3 / 4);
        assert!(take(queue.as_ref(), &claim_options(10)).requests.is_empty(), "it was renewed");
        clock.advance(LEASE / 2);
        let second = take(queue.as_ref(), &claim_options(10));
        let row = &second.requests[0];
        assert_eq!((row.crashes, row.iteration, row.processed_batches.as_deref()), (1, 0, Some("[1]")));
        assert_ne!(first.token, second.token);
        assert_eq!(queue.renew(&first.token, &[(key("t", "1"), None)], LEASE).unwrap(), []);
        assert_eq!(queue.hand_back(&second.token, &row.key, None).unwrap(), WriteBack::Done);
        assert_eq!(take(queue.as_ref(), &claim_options(10)).requests[0].crashes, 1, "a row handed back lost no lease");
    });
}

#[test]
fn renewing_says_which_rows_are_still_held() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        for id in ["1", "2", "3"] {
            queue.submit(&request("t", id)).unwrap();
        }
        let claim = queue.claim(&claim_options(10)).unwrap();
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
    each_way(|database| {
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
        let next = |limit| ids(&take(queue.as_ref(), &claim_options(limit))).join(" ");
        let alone = || ids(&queue.claim(&exclusive_claim()).unwrap()).join(" ");
        assert_eq!(next(16), "s1 s2", "an eighth of sixteen, and no suspect");
        assert_eq!(alone(), "p1", "one suspect at a time");
        assert_eq!(next(16), "n1 n2");
        assert_eq!(next(4), "s3", "an eighth, and at least one");
        assert_eq!((next(16), alone(), alone()), (String::new(), "p2".to_owned(), String::new()));
        // A crash counts before the group is made: n1 and n2 have one now, s1 to s3 two, p1 and p2 more.
        clock.advance(LEASE * 2);
        assert_eq!(next(16), "n1 n2");
        assert_eq!(next(16), "");
        assert_eq!([alone(), alone(), alone(), alone()].join(" "), "s1 s2 s3 ");
        // p1 waits one lease and p2 six, one for each crash while it was worked on alone. By then all daemons are gone again.
        clock.advance(LEASE * 11 / 10);
        assert_eq!(next(16), "");
        assert_eq!([alone(), alone(), alone(), alone()].join(" "), "p1 n1 n2 ");
        let crashes = database.query_text("SELECT crashes FROM job_request ORDER BY tag, request_id");
        let crashes: Vec<_> = crashes.into_iter().map(|row| row[0].clone().unwrap()).collect();
        assert_eq!(crashes, ["3", "8", "3", "2", "2", "3", "3"]);
    });
}

/// A long request on machines that are often stopped is not poison.
#[test]
fn a_row_that_gets_further_counts_its_crashes_alone_anew() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        queue.submit(&request("t", "1")).unwrap();
        database.execute("UPDATE job_request SET crashes = 5");
        let rows = |batches: Option<&str>| [(key("t", "1"), batches.map(str::to_owned))];
        let claim = queue.claim(&exclusive_claim()).unwrap();
        queue.renew(&claim.token, &rows(None), LEASE).unwrap();
        clock.advance(LEASE * 2);
        assert!(take(queue.as_ref(), &exclusive_claim()).requests.is_empty(), "it waits for four leases");
        clock.advance(LEASE * 5);
        let claim = queue.claim(&exclusive_claim()).unwrap();
        assert_eq!(claim.requests[0].crashes, 6, "it did not get anywhere");
        queue.renew(&claim.token, &rows(Some("[1]")), LEASE).unwrap();
        clock.advance(LEASE * 2);
        assert!(take(queue.as_ref(), &exclusive_claim()).requests.is_empty(), "it waits for one");
        clock.advance(LEASE * 2);
        let claim = queue.claim(&exclusive_claim()).unwrap();
        assert_eq!(claim.requests[0].crashes, 3, "still alone, and the first crash since");
        assert_eq!(queue.claim(&claim_options(1)).unwrap().requests.len(), 0);
    });
}

/// Rows that the replaced system left behind are not ours before `adopt_after` is over.
#[test]
fn rows_without_a_lease_are_taken_over_only_where_that_is_wanted() {
    each_way(|database| {
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
        let jobs = claim_options(1).job_ids;
        assert_eq!(queue.reclaim(&jobs, LEASE, None).unwrap(), []);
        let mut adopted = queue.reclaim(&jobs, LEASE, hour).unwrap();
        adopted.sort();
        assert_eq!(adopted, [key("t", "old"), key("t", "undated")]);
        let claim = queue.claim(&claim_options(10)).unwrap();
        assert_eq!(ids(&claim), ["undated", "old"]);
        assert!(claim.requests.iter().all(|row| row.crashes == 0), "no lease of ours was lost");
        assert_eq!(queue.reclaim(&jobs, LEASE, hour).unwrap(), [], "now they have a lease");
        clock.advance(LEASE * 2);
        assert_eq!(ids(&take(queue.as_ref(), &claim_options(16))), ["undated", "old"], "from now on they are ours");
    });
}

/// Both change many rows of one claim, each through its own connection.
#[test]
fn renewing_and_noting_progress_never_wait_for_each_other_in_a_circle() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let keys: Vec<_> = (0..300).map(|n| key("t", &format!("{n:03}"))).collect();
        for key in &keys {
            insert_outside(database, &key.tag, &key.request_id, "course-report", "NULL");
        }
        let token = queue.claim(&claim_options(300)).unwrap().token;
        let rows: Vec<_> = keys.iter().map(|key| (key.clone(), None)).collect();
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..30 {
                    assert_eq!(queue.renew(&token, &rows, LEASE).unwrap().len(), 300);
                }
            });
            scope.spawn(|| {
                for batches_done in 0..30 {
                    let progress = RequestProgress { batches_done, batches_total: 30 };
                    let backwards: Vec<_> = keys.iter().rev().map(|key| (key.clone(), progress)).collect();
                    queue.note_progress(&token, &backwards).unwrap();
                }
            });
        });
        // A row that was skipped because it was being renewed is written the next time.
        let all: Vec<_> =
            keys.iter().map(|key| (key.clone(), RequestProgress { batches_done: 30, batches_total: 30 })).collect();
        queue.note_progress(&token, &all).unwrap();
        let noted = database.query_text("SELECT count(*) FROM job_request WHERE job_stats IS NOT NULL");
        assert_eq!(noted, [[Some("300".to_owned())]]);
    });
}
