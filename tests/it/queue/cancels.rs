//! A cancel of a row that is in work: it is the end of the row, and no write of its daemon comes after it.

use std::sync::{Arc, Barrier};
use std::thread;

use exhaust::requests::WriteBack;

use super::super::databases::{each, each_way};
use super::parts::{completion, jobs, parts};
use super::{LEASE, assert_changes, claim_options, columns, complete, failure, key, migrated, request};

#[test]
fn a_row_in_work_is_nobodys_after_a_cancel() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let t = key("t", "1");
        for id in ["1", "2"] {
            queue.submit(&request("t", id)).unwrap();
        }
        let claim = queue.claim(&claim_options(2)).unwrap();
        let both = [t.clone(), key("t", "2")];
        let asked: Vec<_> = both.iter().cloned().chain([key("t", "nowhere"), key("t", "\0")]).collect();
        assert_eq!(queue.still_held(&claim.token, &asked).unwrap(), both);
        let before = columns(database, &t);
        assert!(queue.cancel(&t, "me").unwrap());
        let cancelled = columns(database, &t);
        assert_changes(
            &before,
            &cancelled,
            &[
                ("status", "FAILED"),
                ("err_message", "cancelled by me"),
                ("err_code", "cancelled"),
                ("dt_job_completed", "?"),
                ("lease_owner", "-"),
                ("lease_expires_at", "-"),
            ],
        );
        assert_eq!(queue.still_held(&claim.token, &both).unwrap(), [key("t", "2")], "the other goes on");
        // Its daemon may be of any version: each of its writes is fenced.
        let token = &claim.token;
        assert_eq!(complete(queue.as_ref(), token, &t, &completion()).unwrap(), WriteBack::Lost);
        assert_eq!(queue.fail(token, &t, &failure()).unwrap(), WriteBack::Lost);
        assert_eq!(queue.retry_later(token, &t, &failure(), LEASE).unwrap(), WriteBack::Lost);
        assert_eq!(queue.hand_back(token, &t, None).unwrap(), WriteBack::Lost);
        assert_eq!(queue.split(token, &t, &parts(2), LEASE).unwrap(), WriteBack::Lost);
        assert!(queue.renew(token, &[(t.clone(), None)], LEASE).unwrap().is_empty());
        assert_eq!(columns(database, &t), cancelled);
        assert!(!queue.cancel(&t, "again").unwrap());
        // Another system works on this one.
        database.execute("UPDATE job_request SET lease_owner = NULL, lease_expires_at = NULL WHERE request_id = '2'");
        assert!(!queue.cancel(&key("t", "2"), "me").unwrap());
    });
}

#[test]
fn a_completed_request_whose_files_are_gone_becomes_failed() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let t = key("t", "1");
        queue.submit(&request("t", "1")).unwrap();
        assert!(!queue.file_missing(&t, "x").unwrap(), "it waits");
        let token = queue.claim(&claim_options(1)).unwrap().token;
        assert!(!queue.file_missing(&t, "x").unwrap(), "it is in work");
        assert_eq!(complete(queue.as_ref(), &token, &t, &completion()).unwrap(), WriteBack::Done);
        let before = columns(database, &t);
        assert!(queue.file_missing(&t, "1 of 2, 'a'").unwrap());
        let failed = [
            ("status", "FAILED"),
            ("err_message", "file missing"),
            ("err_code", "file_missing"),
            ("err_detail", "1 of 2, 'a'"),
        ];
        assert_changes(&before, &columns(database, &t), &failed);
        assert!(!queue.file_missing(&t, "x").unwrap() && !queue.file_missing(&key("t", "\0"), "x").unwrap());
        assert!(queue.resubmit(&t).unwrap());
        // Another system's word for COMPLETED; and files under a password, which is wiped.
        database.execute("UPDATE job_request SET status = 'SUCCESS'");
        assert!(queue.file_missing(&t, "x").unwrap());
        database.execute("UPDATE job_request SET status = 'COMPLETED', encryption_mark = 'a:b'");
        assert!(!queue.file_missing(&t, "x").unwrap());
    });
}

#[test]
fn a_cancel_ends_all_parts() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let t = key("t", "1");
        queue.submit(&request("t", "1")).unwrap();
        let claim = queue.claim(&claim_options(1)).unwrap();
        assert_eq!(queue.split(&claim.token, &t, &parts(3), LEASE).unwrap(), WriteBack::Done);
        let [one, two] = [(); 2].map(|()| queue.claim_part(&claim_options(1)).unwrap().unwrap().token);
        assert_eq!(queue.complete_part(&two, &t, "{}").unwrap(), WriteBack::Done);
        assert!(queue.holds_part(&one, &t).unwrap() && !queue.holds_part(&two, &t).unwrap());
        assert!(queue.cancel(&t, "me").unwrap());
        assert!(!queue.holds_part(&one, &t).unwrap());
        assert!(queue.parts(&t).unwrap().is_empty());
        assert_eq!(queue.renew_part(&one, &t, Some("[1]"), LEASE).unwrap(), WriteBack::Lost);
        assert_eq!(queue.complete_part(&one, &t, "{}").unwrap(), WriteBack::Lost);
        assert_eq!(queue.fail_part(&one, &t, &failure()).unwrap(), WriteBack::Lost);
        assert!(queue.claim_part(&claim_options(1)).unwrap().is_none());
        assert!(queue.made_request(&jobs()).unwrap().is_none());
        let row = queue.find(&t).unwrap().unwrap();
        assert_eq!((row.status.as_str(), row.err_message.as_deref()), ("FAILED", Some("cancelled by me")));
    });
}

/// A cancel and an end of the row at the same time, of a whole row and of one with parts: exactly one of them wins, and the row
/// says which.
#[test]
fn of_a_cancel_and_an_end_exactly_one_wins() {
    const ROUNDS: usize = 60;
    each(|database| {
        let (queue, _) = migrated(database);
        let mut cancelled = 0;
        for round in 0..ROUNDS {
            let t = key("t", &round.to_string());
            queue.submit(&request("t", &t.request_id)).unwrap();
            let mut token = queue.claim(&claim_options(1)).unwrap().token;
            let is_split = round % 2 == 0;
            if is_split {
                assert_eq!(queue.split(&token, &t, &parts(1), LEASE).unwrap(), WriteBack::Done);
                let part = queue.claim_part(&claim_options(1)).unwrap().unwrap().token;
                assert_eq!(queue.complete_part(&part, &t, "{}").unwrap(), WriteBack::Done);
                token = queue.made_request(&jobs()).unwrap().unwrap().token;
            }
            let barrier = Arc::new(Barrier::new(2));
            let ending = {
                let (queue, barrier, t) = (Arc::clone(&queue), Arc::clone(&barrier), t.clone());
                thread::spawn(move || {
                    barrier.wait();
                    if is_split {
                        queue.complete_split(&token, &t, &completion()).unwrap()
                    } else {
                        complete(queue.as_ref(), &token, &t, &completion()).unwrap()
                    }
                })
            };
            barrier.wait();
            let is_cancelled = queue.cancel(&t, "me").unwrap();
            let ended = ending.join().unwrap();
            assert_eq!(ended, if is_cancelled { WriteBack::Lost } else { WriteBack::Done });
            let row = queue.find(&t).unwrap().unwrap();
            assert_eq!(row.status, if is_cancelled { "FAILED" } else { "COMPLETED" });
            assert_eq!(row.download_urls.is_empty(), is_cancelled);
            assert!(queue.parts(&t).unwrap().is_empty());
            cancelled += usize::from(is_cancelled);
        }
        println!("{cancelled} of {ROUNDS} were cancelled");
    });
}
