//! Databases that are down, that come back, and that have settings of their own.

use std::sync::Barrier;
use std::thread;

use chrono::{DateTime, Utc};
use exhaust::requests::{
    Completion, DAEMON_CONNECTIONS, Filter, PostgresOptions, Queue, Reader, WriteBack, open_postgres,
};

use super::super::databases::TestDatabase;
use super::{claim_options, complete, ids, insert_outside, key, migrated, request, start};

#[test]
fn a_database_that_is_down_is_said_to_be_so() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let clock = std::sync::Arc::new(super::ManualClock::new(start()));
    let url = format!("postgres://nobody:secret@127.0.0.1:{port}/x");
    let place = PostgresOptions { url: &url, pooling: None, direct_url: None };
    let queue = open_postgres(place, clock, DAEMON_CONNECTIONS).unwrap();
    let error = exhaust::requests::ClientQueue::overview(&queue).unwrap_err();
    assert!(error.may_pass(), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[test]
fn connections_that_were_cut_are_replaced_under_any_verb() {
    for database in [TestDatabase::postgres(), TestDatabase::pooled()].into_iter().flatten() {
        cut_before_each_verb(&database);
    }
}

fn cut_before_each_verb(database: &TestDatabase) {
    let (queue, _) = migrated(database);
    queue.submit(&request("t", "1")).unwrap();
    let everything = Reader::everything();
    // Before each verb all connections of the pool are closed, as by a restart of the server.
    let reads: [&dyn Fn() -> bool; 7] = [
        &|| queue.find(&key("t", "1")).unwrap().is_some(),
        &|| queue.newest(None, &everything, 10).unwrap().len() == 1,
        &|| super::found(queue.as_ref(), &Filter::default(), &everything, 10).total == 1,
        &|| queue.waiting(&claim_options(1).job_ids).unwrap().len() == 1,
        &|| queue.overview().unwrap().counts.len() == 1,
        &|| queue.next_claimable(&claim_options(1).job_ids).unwrap().is_some(),
        &|| queue.check().is_ok(),
    ];
    let writes: [&dyn Fn() -> bool; 3] =
        [&|| queue.cancel(&key("t", "1"), "me").unwrap(), &|| queue.resubmit(&key("t", "1")).unwrap(), &|| {
            ids(&queue.claim(&claim_options(1)).unwrap()) == ["1"]
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

/// Calls at the same time, so that the pool has several connections.
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

#[test]
fn settings_of_the_role_change_nothing() {
    for database in [TestDatabase::postgres(), TestDatabase::pooled()].into_iter().flatten() {
        with_settings_of_its_own(&database);
    }
}

fn with_settings_of_its_own(database: &TestDatabase) {
    let name = database.url().rsplit('/').next().unwrap().to_owned();
    database.execute(&format!(
        "ALTER DATABASE {name} SET timezone = 'Asia/Kolkata'; ALTER DATABASE {name} SET datestyle = 'SQL, DMY';
         ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'"
    ));
    let (queue, _) = migrated(database);
    insert_outside(database, "t", "1", "course-report", "'2026-02-01 00:00:00'");
    let claim = queue.claim(&claim_options(1)).unwrap();
    assert_eq!(claim.requests[0].submitted, "2026-02-01T00:00:00Z".parse::<DateTime<Utc>>().ok());
    let completion =
        Completion { download_urls: Vec::new(), file_created: start(), execution_ms: 1, job_stats: "{}".to_owned() };
    assert_eq!(complete(&*queue, &claim.token, &key("t", "1"), &completion).unwrap(), WriteBack::Done);
    assert_eq!(queue.find(&key("t", "1")).unwrap().unwrap().file_created, Some(start()));
}
