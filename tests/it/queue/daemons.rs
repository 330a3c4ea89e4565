//! Heartbeats: which daemons live, by the clock that decides about leases.

use std::time::Duration;

use chrono::TimeDelta;
use exhaust::requests::{Heartbeat, Queue};

use super::super::databases::each_way;
use super::{LEASE, migrated};

fn heartbeat(id: &str) -> Heartbeat {
    Heartbeat {
        id: id.to_owned(),
        name: "host".to_owned(),
        pid: u32::MAX,
        version: "0.1.0".to_owned(),
        lease: LEASE,
        claims: 0,
        memory_used: 0,
        memory_allowed: 1 << 40,
        jobs: vec!["course-report".to_owned(), "an \"odd\" one".to_owned()],
        config_hash: "0123456789abcdef".to_owned(),
    }
}

/// Ids in their order, with whether the daemon lives.
fn seen(queue: &dyn Queue) -> Vec<(String, bool)> {
    queue.daemons().unwrap().into_iter().map(|daemon| (daemon.heartbeat.id, daemon.alive)).collect()
}

fn alive(id: &str) -> (String, bool) {
    (id.to_owned(), true)
}

fn gone(id: &str) -> (String, bool) {
    (id.to_owned(), false)
}

#[test]
fn a_daemon_says_what_it_does_and_that_it_ends() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        assert_eq!(queue.daemons().unwrap(), []);
        let first = heartbeat("a");
        queue.beat(&first).unwrap();
        let before = queue.daemons().unwrap().remove(0);
        assert_eq!((&before.heartbeat, before.started, before.alive), (&first, before.seen, true));
        clock.advance(LEASE / 3);
        let second = Heartbeat {
            lease: LEASE * 2,
            claims: 3,
            memory_used: 1 << 33,
            memory_allowed: 1 << 34,
            jobs: Vec::new(),
            config_hash: "f".repeat(16),
            ..first
        };
        queue.beat(&second).unwrap();
        let after = queue.daemons().unwrap().remove(0);
        assert_eq!((&after.heartbeat, after.started, after.alive), (&second, before.started, true));
        let apart = after.seen - before.seen;
        let third = TimeDelta::from_std(LEASE / 3).unwrap();
        assert!(apart >= third && apart < third + TimeDelta::seconds(30), "{apart}");
        queue.leave("another").unwrap();
        assert_eq!(seen(queue.as_ref()), [alive("a")]);
        clock.advance(LEASE / 3);
        queue.leave("a").unwrap();
        let ended = queue.daemons().unwrap().remove(0);
        assert_eq!((ended.ended, ended.alive, ended.claims_now), (true, false, false));
        let Heartbeat { lease, claims, memory_used, .. } = ended.heartbeat;
        assert_eq!((lease, claims, memory_used), (Duration::ZERO, 0, 0));
        assert!(ended.seen - after.seen >= third, "it was seen last when it ended");
    });
}

#[test]
fn of_those_that_have_ended_the_last_one_is_kept() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        for id in ["killed", "works", "b", "a"] {
            queue.beat(&heartbeat(id)).unwrap();
        }
        clock.advance(Duration::from_secs(30));
        queue.leave("a").unwrap();
        queue.leave("b").unwrap();
        let mut known = seen(queue.as_ref());
        known.sort();
        assert_eq!(known, [gone("b"), alive("killed"), alive("works")]);
        clock.advance(LEASE * 3);
        queue.beat(&heartbeat("works")).unwrap();
        assert_eq!(seen(queue.as_ref()), [alive("works"), gone("b"), gone("killed")]);
        clock.advance(Duration::from_hours(24));
        queue.beat(&heartbeat("works")).unwrap();
        assert_eq!(seen(queue.as_ref()), [alive("works")], "after a day nobody asks any more");
    });
}

/// Three of its own leases: each daemon may have another length of lease.
#[test]
fn silence_for_three_leases_is_the_end() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        queue.beat(&heartbeat("short")).unwrap();
        queue.beat(&Heartbeat { lease: LEASE * 10, ..heartbeat("long") }).unwrap();
        let nearly = (LEASE * 3).checked_sub(Duration::from_secs(20)).unwrap();
        clock.advance(nearly);
        let mut both = seen(queue.as_ref());
        both.sort();
        assert_eq!(both, [alive("long"), alive("short")]);
        clock.advance(Duration::from_secs(20));
        assert_eq!(seen(queue.as_ref()), [alive("long"), gone("short")], "who lives comes first");
        clock.advance(LEASE * 27);
        assert_eq!(seen(queue.as_ref()), [gone("long"), gone("short")], "then the last one seen");
        queue.beat(&heartbeat("short")).unwrap();
        assert_eq!(seen(queue.as_ref()), [alive("short"), gone("long")], "it had only slept");
    });
}

/// A daemon that was silent for one lease is given no share of the rows, although it does not count as gone yet.
#[test]
fn silence_for_one_lease_ends_the_share() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        queue.beat(&heartbeat("short")).unwrap();
        queue.beat(&Heartbeat { lease: LEASE * 2, ..heartbeat("long") }).unwrap();
        let claiming = || -> Vec<(String, bool)> {
            let mut all: Vec<_> =
                queue.daemons().unwrap().into_iter().map(|daemon| (daemon.heartbeat.id, daemon.claims_now)).collect();
            all.sort();
            all
        };
        clock.advance(LEASE.checked_sub(Duration::from_secs(20)).unwrap());
        assert_eq!(claiming(), [alive("long"), alive("short")]);
        clock.advance(Duration::from_secs(20));
        assert_eq!(claiming(), [alive("long"), gone("short")]);
        assert!(queue.daemons().unwrap().iter().all(|daemon| daemon.alive));
    });
}

#[test]
fn rows_of_the_dead_are_cleaned_up_after_a_day() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        queue.beat(&heartbeat("old")).unwrap();
        clock.advance(Duration::from_hours(23));
        queue.beat(&heartbeat("other")).unwrap();
        assert_eq!(seen(queue.as_ref()), [alive("other"), gone("old")], "it can be said when it was last seen");
        clock.advance(Duration::from_mins(61));
        queue.beat(&heartbeat("other")).unwrap();
        assert_eq!(seen(queue.as_ref()), [alive("other")]);
    });
}

/// Many daemons at the same time, each with its own connection, and rows of dead ones between them.
#[test]
fn daemons_do_not_disturb_each_other() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        for n in 0..20 {
            queue.beat(&heartbeat(&format!("dead{n}"))).unwrap();
        }
        clock.advance(Duration::from_hours(25));
        std::thread::scope(|scope| {
            for n in 0..8 {
                let queue = database.queue(clock.clone());
                scope.spawn(move || {
                    for _ in 0..10 {
                        queue.beat(&heartbeat(&format!("d{n}"))).unwrap();
                    }
                });
            }
        });
        let mut living = seen(queue.as_ref());
        living.sort();
        assert_eq!(living, (0..8).map(|n| alive(&format!("d{n}"))).collect::<Vec<_>>());
    });
}

/// A heartbeat changes no row of a request, and it fails with the reason where a migration is missing.
#[test]
fn an_older_table_is_named() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        database.execute("DROP TABLE exhaust_daemon");
        queue.check().unwrap();
        queue.check_writable(true).unwrap();
        for refused in [queue.beat(&heartbeat("a")).unwrap_err(), queue.daemons().unwrap_err()] {
            assert!(!refused.may_pass() && refused.to_string().contains("exhaust_daemon"), "{refused}");
        }
        let said = queue.daemons().unwrap_err().to_string();
        assert!(said.starts_with("the tables are older than this program: run `exhaustd migrate`"), "{said}");
        // The table, and the column that a later migration adds.
        assert_eq!(queue.migrate(false).unwrap().len(), 2);
        queue.beat(&heartbeat("a")).unwrap();
    });
}
