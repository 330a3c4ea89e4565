//! How claims end, and that only their holder can end them.

use std::thread;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use exhaust::requests::{Claim, Clock, Completion, ErrCode, Failure, ManualClock, Queue, WriteBack};

use super::super::databases::{TestDatabase, each_way};
use super::{Columns, LEASE, assert_changes, claim_options, columns, complete, failure, key, migrated, request, take};

pub(super) fn completion() -> Completion {
    Completion {
        download_urls: vec!["reports/t/1/c/reports-b1.csv".to_owned(), "reports/t/1/c/reports-b2.csv".to_owned()],
        file_created: "2026-03-01T11:59:58.765Z".parse::<DateTime<Utc>>().unwrap(),
        execution_ms: 4321,
        job_stats: r#"{"batches":2}"#.to_owned(),
    }
}

/// A row in its second attempt, with a value in every column that an end may change.
fn in_work(database: &TestDatabase, queue: &dyn Queue, clock: &ManualClock) -> (Claim, Columns) {
    queue.submit(&request("t", "1")).unwrap();
    let first = queue.claim(&claim_options(1)).unwrap();
    let earlier = Failure { code: ErrCode::Internal, message: "earlier".to_owned(), ..failure() };
    assert_eq!(queue.retry_later(&first.token, &key("t", "1"), &earlier, LEASE).unwrap(), WriteBack::Done);
    clock.advance(LEASE * 2);
    let claim = queue.claim(&claim_options(1)).unwrap();
    let held = queue.renew(&claim.token, &[(key("t", "1"), Some("[\"b1\"]".to_owned()))], LEASE).unwrap();
    assert_eq!(held.len(), 1);
    let before = columns(database, &key("t", "1"));
    assert_eq!(before["iteration"].as_deref(), Some("1"));
    assert_eq!(before["err_message"].as_deref(), Some("earlier"));
    assert!(before["next_attempt_at"].is_some() && before["lease_owner"].is_some());
    (claim, before)
}

#[test]
fn complete_sets_and_clears_exactly_what_the_specification_says() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        let (claim, before) = in_work(database, &*queue, &clock);
        assert_eq!(complete(&*queue, &claim.token, &key("t", "1"), &completion()).unwrap(), WriteBack::Done);
        let urls = if database.is_postgres() {
            "{reports/t/1/c/reports-b1.csv,reports/t/1/c/reports-b2.csv}"
        } else {
            r#"["reports/t/1/c/reports-b1.csv","reports/t/1/c/reports-b2.csv"]"#
        };
        assert_changes(
            &before,
            &columns(database, &key("t", "1")),
            &[
                ("status", "COMPLETED"),
                ("download_urls", urls),
                ("dt_file_created", "2026-03-01 11:59:58.765"),
                ("dt_job_completed", "?"),
                ("execution_time", "4321"),
                ("iteration", "2"),
                ("job_stats", r#"{"batches":2}"#),
                ("err_message", "-"),
                ("err_code", "-"),
                ("err_detail", "-"),
                ("next_attempt_at", "-"),
                ("lease_owner", "-"),
                ("lease_expires_at", "-"),
            ],
        );
        let row = queue.find(&key("t", "1")).unwrap().unwrap();
        assert_eq!((row.status.as_str(), row.download_urls), ("COMPLETED", completion().download_urls));
        assert_eq!((row.file_created, row.execution_ms), (Some(completion().file_created), Some(4321)));
        assert!(row.completed.unwrap() >= row.processing.unwrap());
    });
}

#[test]
fn retry_later_sets_and_clears_exactly_what_the_specification_says() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        let (claim, before) = in_work(database, &*queue, &clock);
        let delay = Duration::from_secs(45);
        assert_eq!(queue.retry_later(&claim.token, &key("t", "1"), &failure(), delay).unwrap(), WriteBack::Done);
        assert_changes(
            &before,
            &columns(database, &key("t", "1")),
            &[
                ("status", "SUBMITTED"),
                ("next_attempt_at", "?"),
                ("iteration", "2"),
                ("err_message", "the source cannot be reached"),
                ("err_code", "source_unavailable"),
                ("lease_owner", "-"),
                ("lease_expires_at", "-"),
            ],
        );
        let row = queue.find(&key("t", "1")).unwrap().unwrap();
        assert_eq!(row.err_detail.as_deref(), Some("the whole chain"));
        if !database.is_postgres() {
            assert_eq!(row.next_attempt, Some(clock.now() + TimeDelta::seconds(45)));
        }
    });
}

#[test]
fn fail_sets_and_clears_exactly_what_the_specification_says() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        let (claim, before) = in_work(database, &*queue, &clock);
        assert_eq!(queue.fail(&claim.token, &key("t", "1"), &failure()).unwrap(), WriteBack::Done);
        assert_changes(
            &before,
            &columns(database, &key("t", "1")),
            &[
                ("status", "FAILED"),
                ("dt_job_completed", "?"),
                ("execution_time", "1234"),
                ("iteration", "2"),
                ("err_message", "the source cannot be reached"),
                ("err_code", "source_unavailable"),
                ("job_stats", r#"{"rows":1}"#),
                ("next_attempt_at", "-"),
                ("lease_owner", "-"),
                ("lease_expires_at", "-"),
            ],
        );
        assert!(queue.claim(&claim_options(1)).unwrap().requests.is_empty());
    });
}

#[test]
fn hand_back_spends_nothing() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        let (claim, before) = in_work(database, &*queue, &clock);
        let released = [("status", "SUBMITTED"), ("lease_owner", "-"), ("lease_expires_at", "-")];
        assert_eq!(queue.hand_back(&claim.token, &key("t", "1"), None).unwrap(), WriteBack::Done);
        assert_changes(&before, &columns(database, &key("t", "1")), &released);
        let again = queue.claim(&claim_options(1)).unwrap();
        let stored = queue.hand_back(&again.token, &key("t", "1"), Some("[\"b1\",\"b2\"]")).unwrap();
        assert_eq!(stored, WriteBack::Done);
        let row = queue.find(&key("t", "1")).unwrap().unwrap();
        assert_eq!((row.iteration, row.crashes), (1, 0));
        assert_eq!(row.processed_batches.as_deref(), Some("[\"b1\",\"b2\"]"));
    });
}

#[test]
fn only_the_holder_of_the_token_writes() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        queue.submit(&request("t", "1")).unwrap();
        let lost = queue.claim(&claim_options(1)).unwrap().token;
        clock.advance(LEASE * 2);
        let holder = take(queue.as_ref(), &claim_options(1)).token;
        let key = key("t", "1");
        let every_write = |token: &str| {
            vec![
                complete(&*queue, token, &key, &completion()).unwrap(),
                queue.fail(token, &key, &failure()).unwrap(),
                queue.retry_later(token, &key, &failure(), LEASE).unwrap(),
                queue.hand_back(token, &key, Some("[]")).unwrap(),
            ]
        };
        let before = columns(database, &key);
        for token in [lost.as_str(), "", "host:7", "a\0b"] {
            assert_eq!(every_write(token), [WriteBack::Lost; 4], "{token:?}");
            assert_eq!(queue.renew(token, &[(key.clone(), Some("[]".to_owned()))], LEASE).unwrap(), []);
            assert_eq!(columns(database, &key), before);
        }
        // A lease that ran out and was not taken over still belongs to its holder.
        clock.advance(LEASE * 2);
        assert_eq!(complete(&*queue, &holder, &key, &completion()).unwrap(), WriteBack::Done);
        let completed = columns(database, &key);
        assert_eq!(every_write(&holder), [WriteBack::Lost; 4], "what is COMPLETED stays so");
        assert_eq!(columns(database, &key), completed);
        let nowhere = super::key("t\0", "1");
        assert_eq!(complete(&*queue, &holder, &nowhere, &completion()).unwrap(), WriteBack::Lost);
    });
}

/// A row has the same values whether it was written alone or with others.
#[test]
fn rows_that_are_completed_together_hold_what_each_would_hold_alone() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let ids = ["1", "2", "3", "4", "5"];
        for id in ids.iter().chain(&["alone"]) {
            queue.submit(&request("t", id)).unwrap();
        }
        let claim = queue.claim(&claim_options(10)).unwrap();
        let many = Completion { download_urls: odd_urls(), execution_ms: -1, ..completion() };
        let none = Completion { download_urls: Vec::new(), job_stats: "[1]".to_owned(), ..completion() };
        let made = [completion(), many.clone(), none, completion(), many];
        assert_eq!(queue.hand_back(&claim.token, &key("t", "4"), None).unwrap(), WriteBack::Done);
        let before = columns(database, &key("t", "4"));
        let mut rows: Vec<_> = ids.iter().zip(made).map(|(id, made)| (key("t", id), made)).collect();
        rows.reverse();
        // A row that is not held, a row that does not exist, and a row for the second time.
        rows.insert(2, (key("t", "missing"), completion()));
        rows.insert(0, (key("t\0", "1"), completion()));
        rows.push((key("t", "5"), completion()));
        let (done, lost) = (WriteBack::Done, WriteBack::Lost);
        let answers = queue.complete_all(&claim.token, &rows).unwrap();
        assert_eq!(answers, [lost, done, lost, lost, done, done, done, lost]);
        assert_eq!(columns(database, &key("t", "4")), before);
        assert_eq!(complete(&*queue, &claim.token, &key("t", "alone"), &completion()).unwrap(), done);
        let mut alone = columns(database, &key("t", "alone"));
        for (id, (_, made)) in ids.iter().zip(rows[1..7].iter().filter(|(key, _)| key.request_id != "missing").rev()) {
            if *id == "4" {
                continue;
            }
            let row = queue.find(&key("t", id)).unwrap().unwrap();
            assert_eq!((row.status.as_str(), row.iteration), ("COMPLETED", 1), "{id}");
            assert_eq!(row.download_urls, made.download_urls, "{id}");
            assert_eq!(row.job_stats.as_ref(), Some(&made.job_stats), "{id}");
            assert_eq!((row.file_created, row.execution_ms), (Some(made.file_created), Some(made.execution_ms.max(0))));
            assert!(row.completed.unwrap() >= row.processing.unwrap());
        }
        // The database's own spelling of the value counts as well.
        let mut together = columns(database, &key("t", "1"));
        for of_its_own in ["request_id", "dt_job_submitted", "dt_job_completed", "dt_job_processing"] {
            alone.remove(of_its_own);
            together.remove(of_its_own);
        }
        assert_eq!(together, alone);
        assert_eq!(queue.complete_all(&claim.token, &[]).unwrap(), []);
        assert_eq!(queue.complete_all("another:token", &rows).unwrap(), [lost; 8]);
    });
}

/// Both change many rows of one claim, each through its own connection.
#[test]
fn renewing_and_completing_never_wait_for_each_other_in_a_circle() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        for round in 0..10 {
            let keys: Vec<_> = (0..200).map(|n| key("t", &format!("{round}-{n:03}"))).collect();
            for key in &keys {
                queue.submit(&request(&key.tag, &key.request_id)).unwrap();
            }
            let token = queue.claim(&claim_options(300)).unwrap().token;
            let renewed: Vec<_> = keys.iter().map(|key| (key.clone(), None)).collect();
            let made: Vec<_> = keys.iter().rev().map(|key| (key.clone(), completion())).collect();
            thread::scope(|scope| {
                scope.spawn(|| {
                    for _ in 0..5 {
                        queue.renew(&token, &renewed, LEASE).unwrap();
                    }
                });
                let answers = queue.complete_all(&token, &made).unwrap();
                assert!(answers.iter().all(|answer| *answer == WriteBack::Done));
            });
        }
    });
}

#[test]
fn messages_are_cut_and_cleaned() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        queue.submit(&request("t", "1")).unwrap();
        let claim = queue.claim(&claim_options(1)).unwrap();
        let long = Failure {
            code: ErrCode::TooLarge,
            message: "é".repeat(98) + "\0漢字",
            detail: "a\0".to_owned() + &"漢".repeat(5000),
            execution_ms: i64::MAX,
            job_stats: None,
            processed_batches: Some("[\0]".to_owned()),
        };
        assert_eq!(queue.fail(&claim.token, &key("t", "1"), &long).unwrap(), WriteBack::Done);
        let row = queue.find(&key("t", "1")).unwrap().unwrap();
        assert_eq!(row.err_message, Some("é".repeat(98) + "\u{fffd}漢"));
        assert_eq!(row.err_detail, Some("a\u{fffd}".to_owned() + &"漢".repeat(5000)));
        assert_eq!((row.execution_ms, row.err_code.as_deref()), (Some(2_147_483_647), Some("too_large")));
        assert_eq!(row.job_stats, None);
    });
}

fn odd_urls() -> Vec<String> {
    let urls = [
        "plain/reports-1.csv",
        "comma,and;{braces}",
        "quote\"and'another",
        "back\\slash\\",
        "NULL",
        "null",
        "",
        " ",
        "ünïcode/漢字/🎓.csv",
        "line\nbreak",
        "[\"json\"]",
        "%2F:_-.",
    ];
    urls.iter().map(|url| (*url).to_owned()).collect()
}

#[test]
fn download_urls_come_back_as_they_went_in() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let many = odd_urls();
        for (id, urls) in [("many", many), ("none", Vec::new())] {
            queue.submit(&request("t", id)).unwrap();
            let claim = queue.claim(&claim_options(1)).unwrap();
            let written = Completion { download_urls: urls.clone(), ..completion() };
            assert_eq!(complete(&*queue, &claim.token, &key("t", id), &written).unwrap(), WriteBack::Done);
            assert_eq!(queue.find(&key("t", id)).unwrap().unwrap().download_urls, urls);
        }
        if database.is_postgres() {
            let length =
                database.query_text("SELECT array_length(download_urls, 1) FROM job_request WHERE request_id = 'many'");
            assert_eq!(length, [[Some("12".to_owned())]]);
        }
    });
}
