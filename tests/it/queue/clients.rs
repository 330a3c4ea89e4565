//! Submit, cancel, resubmit, find and list.

use std::sync::Barrier;
use std::thread;

use exhaust::requests::{NewRequest, Reader, Submitted, WriteBack};

use super::super::daemon::PATIENCE;
use super::super::databases::{TestDatabase, each_way};
use super::{LEASE, assert_changes, claim_options, columns, failure, ids, key, migrated, request, start};

#[test]
fn a_submission_is_a_row_of_original_columns() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        assert_eq!(queue.submit(&request("t", "1")).unwrap(), Submitted::Created);
        let row = columns(database, &key("t", "1"));
        let set: Vec<(&str, Option<&str>)> = row
            .iter()
            .filter(|(name, value)| value.is_some() && **name != "dt_job_submitted")
            .map(|(name, value)| (*name, value.as_deref()))
            .collect();
        assert_eq!(
            set,
            [
                ("crashes", Some("0")),
                ("iteration", Some("0")),
                ("job_id", Some("course-report")),
                ("request_data", Some(r#"{"batchFilters":["TPD"]}"#)),
                ("request_id", Some("1")),
                ("requested_by", Some("somebody")),
                ("requested_channel", Some("channel-1")),
                ("status", Some("SUBMITTED")),
                ("tag", Some("t")),
            ]
        );
        if !database.is_postgres() {
            assert_eq!(row["dt_job_submitted"].as_deref(), Some("2026-03-01 12:00:00.000"));
            assert_eq!(queue.find(&key("t", "1")).unwrap().unwrap().submitted, Some(start()));
        }
    });
}

#[test]
fn the_same_submission_finds_its_row_and_wakes_a_failed_one() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        assert_eq!(queue.submit(&request("t", "1")).unwrap(), Submitted::Created);
        let before = columns(database, &key("t", "1"));
        let other = NewRequest { request_data: "{}".to_owned(), ..request("t", "1") };
        assert_eq!(queue.submit(&other).unwrap(), Submitted::Exists);
        assert_eq!(columns(database, &key("t", "1")), before);
        let claim = queue.claim(&claim_options(1)).unwrap();
        assert_eq!(queue.submit(&other).unwrap(), Submitted::Exists, "in work");
        assert_eq!(queue.fail(&claim.token, &key("t", "1"), &failure()).unwrap(), WriteBack::Done);
        assert_eq!(queue.submit(&other).unwrap(), Submitted::Resubmitted);
        assert_eq!(ids(&queue.claim(&claim_options(1)).unwrap()), ["1"]);
    });
}

#[test]
fn a_hundred_at_once_make_one_row() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let barrier = Barrier::new(10);
        let created: usize = thread::scope(|scope| {
            let clients: Vec<_> = (0..10)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        let submit = || queue.submit(&request("t", "1")).unwrap();
                        (0..10).filter(|_| submit() == Submitted::Created).count()
                    })
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap()).sum()
        });
        assert_eq!(created, 1);
        assert_eq!(queue.newest(Some("t"), &Reader::everything(), 10).unwrap().len(), 1);
    });
}

#[test]
fn text_with_nul_breaks_nothing() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let odd = NewRequest { requested_by: Some("a\0b".to_owned()), ..request("t", "1") };
        assert_eq!(queue.submit(&odd).unwrap(), Submitted::Created);
        assert_eq!(queue.find(&key("t", "1")).unwrap().unwrap().requested_by.as_deref(), Some("a\u{fffd}b"));
        assert!(queue.submit(&request("t\0", "1")).is_err_and(|e| !e.may_pass()));
        // The key of another row is never found.
        assert!(queue.find(&key("t\0", "1")).unwrap().is_none());
        assert!(!queue.cancel(&key("t", "1\0"), "me").unwrap() && !queue.resubmit(&key("t", "1\0")).unwrap());
        assert!(queue.newest(Some("t\0"), &Reader::everything(), 10).unwrap().is_empty());
    });
}

#[test]
fn cancel_ends_a_row_that_waits_once() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        queue.submit(&request("t", "1")).unwrap();
        let claim = queue.claim(&claim_options(1)).unwrap();
        assert_eq!(queue.retry_later(&claim.token, &key("t", "1"), &failure(), LEASE).unwrap(), WriteBack::Done);
        let before = columns(database, &key("t", "1"));
        let by = "é".repeat(200);
        assert!(queue.cancel(&key("t", "1"), &by).unwrap());
        let message = "cancelled by ".to_owned() + &"é".repeat(87);
        assert_changes(
            &before,
            &columns(database, &key("t", "1")),
            &[
                ("status", "FAILED"),
                ("err_message", message.as_str()),
                ("err_code", "cancelled"),
                ("err_detail", "-"),
                ("dt_job_completed", "?"),
                ("next_attempt_at", "-"),
            ],
        );
        assert!(!queue.cancel(&key("t", "1"), "again").unwrap());
        assert!(!queue.cancel(&key("t", "nowhere"), "me").unwrap());
        clock.advance(LEASE * 10);
        assert!(queue.claim(&claim_options(1)).unwrap().requests.is_empty());
    });
}

#[test]
fn resubmit_clears_earlier_attempts_and_only_of_a_failed_row() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        queue.submit(&request("t", "1")).unwrap();
        let submitted = columns(database, &key("t", "1"));
        assert!(!queue.resubmit(&key("t", "1")).unwrap(), "it waits");
        let claim = queue.claim(&claim_options(1)).unwrap();
        assert!(!queue.resubmit(&key("t", "1")).unwrap(), "it is in work");
        assert_eq!(queue.fail(&claim.token, &key("t", "1"), &failure()).unwrap(), WriteBack::Done);
        // Every column that a row can have by now, also the lease of a row that somebody else marked FAILED.
        let urls = if database.is_postgres() { "ARRAY['a']" } else { "'[\"a\"]'" };
        database.execute(&format!(
            "UPDATE job_request SET iteration = 3, crashes = 2, processed_batches = '[1]', download_urls = {urls},
                dt_file_created = '2026-01-01 00:00:00', next_attempt_at = '2099-01-01 00:00:00', lease_owner = 'x',
                lease_expires_at = '2099-01-01 00:00:00'"
        ));
        clock.advance(LEASE);
        assert!(queue.resubmit(&key("t", "1")).unwrap());
        // As it was submitted, except for the time; what operators need to know of the attempts stays.
        assert_changes(
            &submitted,
            &columns(database, &key("t", "1")),
            &[("dt_job_submitted", "?"), ("job_stats", r#"{"rows":1}"#)],
        );
        assert!(!queue.resubmit(&key("t", "nowhere")).unwrap());
        let again = queue.claim(&claim_options(1)).unwrap();
        assert_eq!((again.requests[0].iteration, again.requests[0].crashes), (0, 0));
    });
}

#[test]
fn a_list_has_its_tags_newest_rows_first() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        for (tag, id, day) in [("t", "1", 1), ("t", "2", 3), ("u", "3", 4), ("t", "4", 2), ("t", "5", 3)] {
            super::insert_outside(database, tag, id, "theirs", &format!("'2026-01-0{day} 00:00:00'"));
        }
        let list = |tag, limit| -> String {
            queue
                .newest(tag, &Reader::everything(), limit)
                .unwrap()
                .into_iter()
                .map(|row| row.request_id)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(list(Some("t"), 100), "2 5 4 1");
        assert_eq!(list(Some("t"), 3), "2 5 4");
        assert_eq!(list(None, 2), "3 2");
        assert_eq!(list(Some("nobody"), 100), "");
        assert_eq!(list(Some("t"), 0), "");
        // A list has one order, whatever the states of the rows.
        for (n, status) in
            ["'PROCESSING'", "'COMPLETED'", "NULL", "'SUCCESS'", "'FAILED'", "'SUBMITTED'"].iter().enumerate()
        {
            for (m, submitted) in ["NULL", "'2026-02-02 00:00:00'"].iter().enumerate() {
                super::insert_outside(database, "mixed", &format!("{n}{m}"), "theirs", submitted);
                database.execute(&format!(
                    "UPDATE job_request SET status = {status} WHERE tag = 'mixed' AND request_id = '{n}{m}'"
                ));
            }
        }
        assert_eq!(list(Some("mixed"), 100), "01 11 21 31 41 51 00 10 20 30 40 50");
        assert_eq!(list(Some("mixed"), 8), "01 11 21 31 41 51 00 10");
    });
}

#[test]
fn what_was_stored_oddly_is_read_leniently() {
    let database = TestDatabase::sqlite();
    let (queue, _) = migrated(&database);
    database.execute(
        "INSERT INTO job_request (tag, request_id, status, download_urls, execution_time, iteration, dt_job_completed)
         VALUES ('t', '1', 5, 'no array', 'long', -1, 1577836800), ('t', '2', NULL, '[\"a\", 7, null]', 2.0, NULL, x'00')",
    );
    let one = queue.find(&key("t", "1")).unwrap().unwrap();
    assert_eq!((one.status.as_str(), one.job_id.as_str(), one.execution_ms, one.iteration), ("5", "", None, 0));
    assert_eq!(one.download_urls, Vec::<String>::new());
    assert_eq!(one.completed.map(|t| t.timestamp()), Some(1_577_836_800));
    let two = queue.find(&key("t", "2")).unwrap().unwrap();
    assert_eq!((two.download_urls, two.completed), (vec!["a".to_owned()], None));
}

#[test]
fn a_submit_wakes_the_daemons() {
    let Some(database) = TestDatabase::postgres() else { return };
    let (queue, _) = migrated(&database);
    let mut listener = postgres::Client::connect(&database.url(), postgres::NoTls).unwrap();
    listener.batch_execute("LISTEN exhaust_job_request").unwrap();
    queue.submit(&request("t", "1")).unwrap();
    queue.submit(&request("t", "1")).unwrap();
    database.execute("NOTIFY exhaust_job_request, 'what is heard before is all'");
    let mut notifications = listener.notifications();
    let mut waiting = notifications.timeout_iter(PATIENCE);
    let mut hear = || postgres::fallible_iterator::FallibleIterator::next(&mut waiting).unwrap().unwrap();
    let first = hear();
    assert_eq!((first.channel(), first.payload()), ("exhaust_job_request", ""));
    assert_eq!(hear().payload(), "what is heard before is all", "once: the second found its row");
}
