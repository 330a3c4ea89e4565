//! Limits hold over all processes, and marks of encryption keys hold up nobody else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use exhaust::requests::{Client, NewRequest, Reader, RequestKey, Resubmitted, Submitted};

use super::*;
use crate::daemon::wait_for;
use crate::databases::each_way;
use crate::queue::{key as row_key, migrated, request};

const MOST: u32 = 5;

/// Two queues stand for two processes: they share nothing but the database. New requests, failed ones that are submitted or
/// tried again, and cancelled ones that make room, all at once.
#[test]
fn no_more_requests_are_open_than_a_key_may_have() {
    const THREADS: u64 = 8;
    const ATTEMPTS: u32 = 130;
    each_way(|database| {
        let (one, _) = migrated(database);
        let (other, _) = migrated(database);
        let reader = Reader { tags: vec!["t-*".to_owned()], channels: None };
        let client = Client { reader, open_requests: Some(MOST) };
        let open = || -> u32 {
            let count =
                "SELECT count(*) FROM job_request WHERE tag LIKE 't-%' AND status IN ('SUBMITTED', 'PROCESSING')";
            database.query_text(count)[0][0].as_ref().unwrap().parse().unwrap()
        };
        let (is_over, answers) = (AtomicBool::new(false), std::sync::Mutex::new(BTreeMap::<String, u32>::new()));
        let most_seen = AtomicU32::new(0);
        thread::scope(|scope| {
            let attackers: Vec<_> = (0..THREADS)
                .map(|seed| {
                    let (queue, client, answers) = (if seed % 2 == 0 { &one } else { &other }, &client, &answers);
                    scope.spawn(move || {
                        let mut rng = Rng::with_seed(seed);
                        for _ in 0..ATTEMPTS {
                            // Few keys, so that threads meet: in each state, on each way.
                            let (tag, id) = (format!("t-{}", rng.u8(..3)), rng.u8(..12).to_string());
                            let answer = match rng.u8(..5) {
                                0 | 1 => format!("{:?}", queue.submit_for(&request(&tag, &id), client).unwrap()),
                                2 | 3 => format!("{:?}", queue.resubmit_for(&row_key(&tag, &id), client).unwrap()),
                                _ => format!("cancelled {}", queue.cancel(&row_key(&tag, &id), "them").unwrap()),
                            };
                            *answers.lock().unwrap().entry(answer).or_default() += 1;
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    most_seen.fetch_max(open(), Ordering::SeqCst);
                    thread::sleep(std::time::Duration::from_millis(2));
                }
            });
            let ended: Vec<_> = attackers.into_iter().map(thread::ScopedJoinHandle::join).collect();
            is_over.store(true, Ordering::SeqCst);
            assert!(ended.iter().all(Result::is_ok));
        });
        let answers = answers.into_inner().unwrap();
        for answer in ["Created", "Exists", "Resubmitted", "Done", "NotFailed", "TooMany", "cancelled true"] {
            assert!(answers.contains_key(answer), "no {answer} among {answers:?}");
        }
        assert!(most_seen.into_inner() <= MOST && open() <= MOST, "{answers:?}");
        // And no fewer.
        for n in open()..MOST {
            assert_eq!(one.submit_for(&request("t-9", &n.to_string()), &client).unwrap(), Submitted::Created);
        }
        assert_eq!(other.submit_for(&request("t-9", "more"), &client).unwrap(), Submitted::TooMany);
        assert_eq!(
            other.resubmit_for(&RequestKey { tag: "t-9".to_owned(), request_id: "none".to_owned() }, &client).unwrap(),
            Resubmitted::NotFailed
        );
        let opened = "SELECT tag, request_id FROM job_request WHERE status = 'SUBMITTED' AND tag LIKE 't-%'";
        let [tag, id] = database.query_text(opened).remove(0).try_into().unwrap();
        let again = request(&tag.unwrap(), &id.unwrap());
        assert_eq!(other.submit_for(&again, &client).unwrap(), Submitted::Exists, "what is open already is none more");
        let without = Client { open_requests: None, ..client.clone() };
        assert_eq!(one.submit_for(&request("t-9", "more"), &without).unwrap(), Submitted::Created);
        let elsewhere =
            Client { reader: Reader { tags: vec!["u".to_owned()], channels: None }, open_requests: Some(1) };
        assert_eq!(
            one.submit_for(&request("u", "1"), &elsewhere).unwrap(),
            Submitted::Created,
            "others' are not counted"
        );
    });
}

/// Its tag is covered, its channels are not: nothing of it is changed, not even where it has failed.
#[test]
fn a_row_that_the_client_does_not_see_stays_as_it_is() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let client = |channels: &[&str]| Client {
            reader: Reader { tags: Vec::new(), channels: Some(channels.iter().map(|&c| c.to_owned()).collect()) },
            open_requests: Some(1),
        };
        let mine = |allowed: &str| NewRequest { allowed_channels: Some(allowed.to_owned()), ..request("t", "1") };
        assert_eq!(queue.submit(&mine("[\"channel-1\"]")).unwrap(), Submitted::Created);
        for status in ["SUBMITTED", "PROCESSING", "COMPLETED", "FAILED"] {
            database.execute(&format!("UPDATE job_request SET status = '{status}'"));
            let before = table(database);
            for channels in [&["channel-1", "channel-2"][..], &["channel-2"]] {
                let hidden = queue.submit_for(&mine("[\"channel-1\"]"), &client(channels)).unwrap();
                assert_eq!((hidden, table(database) == before), (Submitted::Hidden, true), "{status} {channels:?}");
            }
        }
        let own = queue.submit_for(&mine("[\"channel-1\"]"), &client(&["channel-1"])).unwrap();
        assert_eq!(own, Submitted::Resubmitted);
    });
}

/// The same through the API, in two processes.
#[test]
fn two_processes_open_no_more_than_one_may() {
    each(|database| {
        let site = site(database, &key("k", "tags = [\"t\"]\nopen_requests = 3"));
        let servers = [Server::start(&site, "serve"), Server::start(&site, "serve")];
        let at_once = |path: &(dyn Fn(usize) -> (String, Value) + Sync)| -> Vec<Answer> {
            thread::scope(|scope| {
                let ask = |n: usize| {
                    let client = servers[n % 2].client();
                    scope.spawn(move || {
                        let (path, body) = path(n);
                        let headers = [("x-api-key", "k-key"), ("content-type", "application/json")];
                        client.call("POST", &path, &headers, body.to_string().as_bytes())
                    })
                };
                let asked: Vec<_> = (0..24).map(ask).collect();
                asked.into_iter().map(|one| one.join().unwrap()).collect()
            })
        };
        let count = |answers: &[Answer], status: u16| answers.iter().filter(|answer| answer.status == status).count();
        let submit = |n: usize| (SUBMIT.to_owned(), submission("t", &n.to_string()));
        let answers = at_once(&submit);
        assert_eq!((count(&answers, 200), count(&answers, 429), rows(database)), (3, 21, 3));
        let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
        assert_eq!(refused.errmsg(), "3 requests of this key are open, 3 are allowed");
        // Room for one: failed ones that are tried again, and new ones, go for it.
        database.execute("UPDATE job_request SET status = 'FAILED'");
        let ids: Vec<String> = site.rows().into_keys().collect();
        for open in ["1", "2"] {
            assert_eq!(call(&servers[0], "k", SUBMIT, &submission("t", &format!("another {open}"))).status, 200);
        }
        let answers = at_once(&|n| match n % 4 {
            0 => (SUBMIT.to_owned(), submission("t", &format!("new {n}"))),
            one => (format!("/job/request/retry/t/{}", ids[one - 1]), json!({})),
        });
        // Once it is taken, whoever tried the same row again finds it SUBMITTED.
        assert_eq!(count(&answers, 200), 1, "{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>());
        assert_eq!(count(&answers, 429) + count(&answers, 409), 23);
        assert_eq!(site.rows().values().filter(|row| row.status == "SUBMITTED").count(), 3);
    });
}

/// None has to come again: the mark is made once, before the database is asked.
#[test]
fn the_same_protected_submission_many_times_at_once() {
    each(|database| {
        let site = site(database, "");
        let server = Server::start(&site, "serve");
        let mut body = submission("t", BATCH);
        body["request"]["encryptionKey"] = json!("hush, hush");
        let asked: Vec<u16> = thread::scope(|scope| {
            let ask = |_| {
                let (client, body) = (server.client(), &body);
                scope.spawn(move || client.post(SUBMIT, body).status)
            };
            let asked: Vec<_> = (0..60).map(ask).collect();
            asked.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!((asked, rows(database)), (vec![200; 60], 1));
    });
}

/// Who submits many different keys waits behind themselves; others, and calls without keys for files, do not.
#[test]
fn marks_of_one_client_hold_up_no_other() {
    const MANY: usize = 8;
    let database = TestDatabase::sqlite();
    let site = site(&database, &[key("flood", ""), key("other", "")].concat());
    let server = Server::start(&site, "serve");
    let protected = |batch: &str| {
        let mut body = submission("t", batch);
        body["request"]["encryptionKey"] = json!(format!("the password of {batch}"));
        body
    };
    let marked = AtomicU32::new(0);
    let seen = thread::scope(|scope| {
        let flood = |n: usize| {
            let (client, body, marked) = (server.client(), protected(&n.to_string()), &marked);
            scope.spawn(move || {
                let headers = [("x-api-key", "flood-key"), ("content-type", "application/json")];
                let answer = client.call("POST", SUBMIT, &headers, body.to_string().as_bytes());
                marked.fetch_add(1, Ordering::SeqCst);
                answer.status
            })
        };
        let flooding: Vec<_> = (0..MANY).map(flood).collect();
        wait_for("the first of many", || (marked.load(Ordering::SeqCst) > 0).then_some(()));
        assert_eq!(call(&server, "other", "/job/list", &Value::Null).status, 200);
        assert_eq!(call(&server, "other", SUBMIT, &protected("one")).status, 200);
        let seen = marked.load(Ordering::SeqCst);
        // On a machine with much other work the last of them are told to come again.
        assert!(flooding.into_iter().all(|one| [200, 503].contains(&one.join().unwrap())));
        seen
    });
    assert!(seen < u32::try_from(MANY).unwrap(), "the other client was answered after all of the first");
}
