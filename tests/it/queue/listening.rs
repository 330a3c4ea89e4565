//! Notifications of changes, and the database's time.

use std::time::Duration;

use chrono::TimeDelta;

use super::super::daemon::PATIENCE;
use super::super::databases::each_way;
use super::{LEASE, claim_options, key, migrated, request, start};

/// A listener is notified of a submission and of a row that is handed back, and otherwise of nothing.
#[test]
fn submissions_are_heard() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let mut listener =
            database.queue(std::sync::Arc::new(super::ManualClock::new(start()))).listen().unwrap().unwrap();
        let short = Duration::from_millis(100);
        let long = PATIENCE;
        assert!(!listener.wait(short).unwrap());
        queue.submit(&request("t", "1")).unwrap();
        assert!(listener.wait(long).unwrap());
        assert!(!listener.wait(short).unwrap(), "once");
        let claim = queue.claim(&claim_options(1)).unwrap();
        while listener.wait(short).unwrap() {}
        let _ = queue.hand_back(&claim.token, &key("t", "1"), None).unwrap();
        assert!(listener.wait(long).unwrap());
        if database.is_postgres() {
            database.execute("NOTIFY exhaust_job_request, 'by somebody else'");
            assert!(listener.wait(long).unwrap());
            database.query_text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                 WHERE datname = current_database() AND query LIKE 'LISTEN%'",
            );
            assert!(listener.wait(long).is_err_and(|error| error.may_pass()), "a lost listener says so");
        }
    });
}

/// The clock of slots and leases.
#[test]
fn the_time_is_the_databases_where_daemons_share_one() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        let before = queue.now().unwrap();
        clock.advance(LEASE);
        let after = queue.now().unwrap() - before;
        assert!(after >= TimeDelta::from_std(LEASE).unwrap() && after < TimeDelta::from_std(LEASE * 2).unwrap());
        assert_eq!(before == start(), !database.is_postgres());
    });
}
