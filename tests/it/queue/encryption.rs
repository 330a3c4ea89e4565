//! Passwords for the files of requests: kept while a request is open, wiped by every end, recognised by their mark.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use exhaust::requests::{
    Completion, EncryptionKey, NewEncryption, NewRequest, Protected, Queue, Reader, Submitted, WriteBack,
};

use super::super::databases::{TestDatabase, each_way};
use super::{assert_changes, claim_options, columns, complete, failure, key, migrated, request, take};

fn with(key: EncryptionKey, marks: &[&str]) -> NewRequest {
    let marks = marks.iter().map(|&mark| mark.to_owned()).collect();
    NewRequest { encryption: Some(NewEncryption { key, marks }), ..request("t", "1") }
}

fn plain(key: &str) -> NewRequest {
    with(EncryptionKey::Plain(key.to_owned()), &[&format!("salted:{key}'s")])
}

/// A request for protected files.
pub(super) fn protected_request(tag: &str, request_id: &str) -> NewRequest {
    NewRequest { encryption: plain("first key").encryption, ..request(tag, request_id) }
}

fn sealed() -> NewRequest {
    with(EncryptionKey::Sealed("v1:xyz".to_owned()), &["keyed:1:abc", "salted:first key's"])
}

fn completion() -> Completion {
    Completion {
        download_urls: vec!["reports/t/1/c/reports-b1.zip".to_owned()],
        file_created: super::start(),
        execution_ms: 1,
        job_stats: "{}".to_owned(),
    }
}

/// The columns of a row about a password: plain, sealed, mark.
fn kept(database: &TestDatabase) -> [Option<String>; 3] {
    let mut row = columns(database, &key("t", "1"));
    ["encryption_key", "encryption_key_sealed", "encryption_mark"].map(|name| row.remove(name).unwrap())
}

fn texts(texts: [Option<&str>; 3]) -> [Option<String>; 3] {
    texts.map(|text| text.map(str::to_owned))
}

fn protected(queue: &dyn Queue) -> Protected {
    queue.find(&key("t", "1")).unwrap().unwrap().protected
}

#[test]
fn a_claim_brings_the_password_and_debug_output_does_not() {
    each_way(|database| {
        for (new, key, row) in [
            (
                plain("first key"),
                EncryptionKey::Plain("first key".to_owned()),
                [Some("first key"), None, Some("salted:first key's")],
            ),
            (sealed(), EncryptionKey::Sealed("v1:xyz".to_owned()), [None, Some("v1:xyz"), Some("keyed:1:abc")]),
        ] {
            let (queue, _) = migrated(database);
            assert_eq!(queue.submit(&new).unwrap(), Submitted::Created);
            assert_eq!((kept(database), protected(&*queue)), (texts(row), Protected::Yes));
            let claim = queue.claim(&claim_options(10)).unwrap();
            assert_eq!(claim.requests[0].encryption_key, Some(key));
            let shown = format!("{new:?} {claim:?} {:?}", queue.newest(None, &Reader::everything(), 9).unwrap());
            assert!(
                !shown.contains("\"first key\"") && !shown.contains("v1:xyz") && shown.contains("(***)"),
                "{shown}"
            );
            database.execute("DELETE FROM job_request");
        }
    });
}

/// Every end of a request, and every return to SUBMITTED.
#[test]
fn whatever_ends_a_request_wipes_its_password_and_nothing_else_does() {
    type End = fn(&dyn Queue, &str) -> bool;
    let ends: [(&str, End); 3] = [
        ("complete", |queue, token| complete(queue, token, &key("t", "1"), &completion()).unwrap() == WriteBack::Done),
        ("fail", |queue, token| queue.fail(token, &key("t", "1"), &failure()).unwrap() == WriteBack::Done),
        ("cancel", |queue, token| {
            assert_eq!(queue.hand_back(token, &key("t", "1"), None).unwrap(), WriteBack::Done);
            queue.cancel(&key("t", "1"), "somebody").unwrap()
        }),
    ];
    each_way(|database| {
        for (name, end) in ends {
            for new in [plain("first key"), sealed()] {
                let (queue, clock) = migrated(database);
                queue.submit(&new).unwrap();
                let before = kept(database);
                // A crash, a transient failure, work handed back: the next attempt needs the password.
                take(&*queue, &claim_options(1));
                clock.advance(Duration::from_hours(1));
                let claim = take(&*queue, &claim_options(1));
                let later = queue.retry_later(&claim.token, &key("t", "1"), &failure(), Duration::from_secs(1));
                assert_eq!(later.unwrap(), WriteBack::Done);
                clock.advance(Duration::from_hours(1));
                let claim = take(&*queue, &claim_options(1));
                let noted = [(key("t", "1"), Some(r#"{"made_as":"x"}"#.to_owned()))];
                assert_eq!(queue.renew(&claim.token, &noted, super::LEASE).unwrap().len(), 1);
                assert_eq!(queue.fail("another's", &key("t", "1"), &failure()).unwrap(), WriteBack::Lost);
                assert_eq!(kept(database), before, "{name}: still open");
                assert!(end(&*queue, &claim.token), "{name}");
                let mark = before[2].as_deref();
                assert_eq!(
                    (kept(database), protected(&*queue)),
                    (texts([None, None, mark]), Protected::Wiped),
                    "{name}"
                );
                // The list of files that were made with a plain password must not outlive it; with a sealed one it reveals nothing.
                let noted = columns(database, &key("t", "1"))["processed_batches"].is_some();
                assert_eq!(noted, new.encryption.as_ref().unwrap().marks.len() == 2, "{name}");
                database.execute("DELETE FROM job_request");
            }
        }
    });
}

/// Rows of others have no mark: the row then keeps that there was a password, so that a resubmission never makes plain files.
#[test]
fn a_password_that_others_wrote_leaves_a_trace() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        super::insert_outside(database, "t", "1", "course-report", "NULL");
        database.execute("UPDATE job_request SET encryption_key = 'theirs'");
        let claim = queue.claim(&claim_options(1)).unwrap();
        assert_eq!(claim.requests[0].encryption_key, Some(EncryptionKey::Plain("theirs".to_owned())));
        assert_eq!(queue.submit(&plain("theirs")).unwrap(), Submitted::OtherKey, "nobody knows what it is known by");
        assert_eq!(queue.fail(&claim.token, &key("t", "1"), &failure()).unwrap(), WriteBack::Done);
        assert_eq!(kept(database), texts([None, None, Some("unknown")]));
        assert!(!queue.resubmit(&key("t", "1")).unwrap());
        // Resubmitted by an outside writer: the claim says that the password is missing.
        database.execute("UPDATE job_request SET status = 'SUBMITTED'");
        let claim = queue.claim(&claim_options(1)).unwrap();
        assert_eq!(claim.requests[0].encryption_key, Some(EncryptionKey::Wiped));
        assert_eq!(queue.fail(&claim.token, &key("t", "1"), &failure()).unwrap(), WriteBack::Done);
        assert_eq!(queue.submit(&request("t", "1")).unwrap(), Submitted::OtherKey, "not without any");
        assert_eq!(queue.submit(&plain("new key")).unwrap(), Submitted::Resubmitted);
        assert_eq!(kept(database), texts([Some("new key"), None, Some("salted:new key's")]));
    });
}

#[test]
fn a_row_without_a_password_ends_as_it_always_did() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        queue.submit(&request("t", "1")).unwrap();
        assert_eq!((kept(database), protected(&*queue)), (texts([None; 3]), Protected::No));
        let claim = queue.claim(&claim_options(1)).unwrap();
        assert_eq!(claim.requests[0].encryption_key, None);
        let before = columns(database, &key("t", "1"));
        assert_eq!(queue.hand_back(&claim.token, &key("t", "1"), Some("[]")).unwrap(), WriteBack::Done);
        assert!(queue.cancel(&key("t", "1"), "me").unwrap());
        assert_changes(
            &before,
            &columns(database, &key("t", "1")),
            &[
                ("status", "FAILED"),
                ("dt_job_completed", "?"),
                ("err_message", "cancelled by me"),
                ("err_code", "cancelled"),
                ("processed_batches", "[]"),
                ("lease_owner", "-"),
                ("lease_expires_at", "-"),
            ],
        );
        assert!(queue.resubmit(&key("t", "1")).unwrap());
    });
}

#[test]
fn a_submission_is_the_same_with_the_same_password_only() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        assert_eq!(queue.submit(&plain("first key")).unwrap(), Submitted::Created);
        let others = [
            plain("another key"),
            request("t", "1"),
            with(EncryptionKey::Sealed("v1:a".to_owned()), &["keyed:1:else", "salted:else"]),
        ];
        let ask = |when: &str, same: Submitted| {
            let before = columns(database, &key("t", "1"));
            for other in &others {
                assert_eq!(queue.submit(other).unwrap(), Submitted::OtherKey, "{when}: {other:?}");
            }
            assert_changes(&before, &columns(database, &key("t", "1")), &[]);
            assert_eq!(queue.submit(&plain("first key")).unwrap(), same, "{when}");
        };
        ask("SUBMITTED", Submitted::Exists);
        let claim = queue.claim(&claim_options(1)).unwrap();
        ask("PROCESSING", Submitted::Exists);
        assert_eq!(queue.fail(&claim.token, &key("t", "1"), &failure()).unwrap(), WriteBack::Done);
        assert!(!queue.resubmit(&key("t", "1")).unwrap(), "its password is wiped");
        ask("FAILED", Submitted::Resubmitted);
        assert_eq!(kept(database), texts([Some("first key"), None, Some("salted:first key's")]), "put in again");
        // `[secrets] key` has been configured meanwhile: the same password is recognised by its old mark.
        assert_eq!(queue.submit(&sealed()).unwrap(), Submitted::Exists);
        let claim = queue.claim(&claim_options(1)).unwrap();
        assert_eq!(complete(&*queue, &claim.token, &key("t", "1"), &completion()).unwrap(), WriteBack::Done);
        ask("COMPLETED", Submitted::Exists);
        assert_eq!(queue.submit(&sealed()).unwrap(), Submitted::Exists);

        // With another `[secrets] key` the passwords cannot be compared.
        database.execute("UPDATE job_request SET encryption_mark = 'keyed:1:abc'");
        let rotated = with(EncryptionKey::Sealed("v1:b".to_owned()), &["keyed:2:xyz", "salted:first key's"]);
        assert_eq!(queue.submit(&rotated).unwrap(), Submitted::OtherKey);
        database.execute("UPDATE job_request SET status = 'FAILED'");
        assert_eq!(queue.submit(&rotated).unwrap(), Submitted::Resubmitted);
        assert_eq!(kept(database), texts([None, Some("v1:b"), Some("keyed:2:xyz")]));

        database.execute("DELETE FROM job_request");
        assert_eq!(queue.submit(&request("t", "1")).unwrap(), Submitted::Created);
        assert_eq!(queue.submit(&plain("first key")).unwrap(), Submitted::OtherKey, "where the first had none");
        let claim = queue.claim(&claim_options(1)).unwrap();
        assert_eq!(queue.fail(&claim.token, &key("t", "1"), &failure()).unwrap(), WriteBack::Done);
        assert_eq!(queue.submit(&plain("first key")).unwrap(), Submitted::OtherKey, "nor once it has failed");
        assert_eq!(queue.submit(&request("t", "1")).unwrap(), Submitted::Resubmitted);
    });
}

/// Of many submissions at the same time with two passwords, those with the password of the first one get the row.
#[test]
fn many_submissions_at_once_make_one_row_with_one_password() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        for from_failed in [false, true] {
            let barrier = Barrier::new(20);
            let answers: Vec<(usize, Submitted)> = thread::scope(|scope| {
                let submit = |n: usize| {
                    let (queue, barrier) = (&queue, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        (n % 2, queue.submit(&plain(["first key", "other key"][n % 2])).unwrap())
                    })
                };
                let asked: Vec<_> = (0..20).map(submit).collect();
                asked.into_iter().map(|one| one.join().unwrap()).collect()
            });
            let made = if from_failed { Submitted::Resubmitted } else { Submitted::Created };
            let count = |what: Submitted| answers.iter().filter(|(_, answer)| *answer == what).count();
            assert_eq!((count(made), count(Submitted::Exists), count(Submitted::OtherKey)), (1, 9, 10), "{answers:?}");
            let winner = answers.iter().find(|(_, answer)| *answer == made).unwrap().0;
            assert_eq!(kept(database)[0].as_deref(), Some(["first key", "other key"][winner]));
            // The second time the row has a password without a mark, so either may replace it.
            database.execute(
                "UPDATE job_request SET status = 'FAILED', encryption_key = NULL, encryption_mark = 'unknown'",
            );
        }
    });
}
