//! Standalone jobs make each slot once.

use std::sync::Barrier;
use std::thread;

use chrono::TimeDelta;

use exhaust::requests::Reader;

use super::super::databases::each_way;
use super::{claim_options, ids, key, migrated, request, start};

const SCHEDULE: &str = "0 0 2 * * *";

#[test]
fn counting_starts_at_first_sight_and_anew_with_another_schedule() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let later = |hours| start() + TimeDelta::hours(hours);
        assert_eq!(queue.last_slot("nightly", SCHEDULE, start()).unwrap(), start());
        assert_eq!(queue.last_slot("nightly", SCHEDULE, later(1)).unwrap(), start(), "remembered");
        assert_eq!(queue.last_slot("weekly", SCHEDULE, later(1)).unwrap(), later(1), "each job has its own");
        assert_eq!(queue.last_slot("nightly", "0 0 3 * * *", later(2)).unwrap(), later(2), "changed");
        assert_eq!(queue.last_slot("nightly", "0 0 3 * * *", later(3)).unwrap(), later(2));
    });
}

#[test]
fn a_slot_becomes_a_row_once() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let at = |hours| start() + TimeDelta::hours(hours);
        assert!(queue.make_slot("nightly", at(1), &request("exhaustd", "0")).is_err_and(|e| !e.may_pass()));
        assert!(
            queue.newest(None, &Reader::everything(), 10).unwrap().is_empty(),
            "nothing is made of a job that was never seen"
        );
        queue.last_slot("nightly", SCHEDULE, start()).unwrap();
        assert!(queue.make_slot("nightly", at(1), &request("exhaustd", "1")).unwrap());
        assert!(!queue.make_slot("nightly", at(1), &request("exhaustd", "1")).unwrap());
        assert_eq!(queue.last_slot("nightly", SCHEDULE, at(5)).unwrap(), at(1));
        assert_eq!(ids(&queue.claim(&claim_options(5)).unwrap()), ["1"]);
        // Retention has removed the row: neither this slot nor an earlier one is made again.
        database.execute("DELETE FROM job_request");
        assert!(!queue.make_slot("nightly", at(1), &request("exhaustd", "1")).unwrap());
        assert!(!queue.make_slot("nightly", at(0), &request("exhaustd", "0")).unwrap());
        assert!(queue.make_slot("nightly", at(2), &request("exhaustd", "2")).unwrap());
        assert!(queue.find(&key("exhaustd", "2")).unwrap().is_some());
    });
}

#[test]
fn daemons_at_the_same_time_make_a_slot_once() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        queue.last_slot("nightly", SCHEDULE, start()).unwrap();
        let barrier = Barrier::new(6);
        let made: usize = thread::scope(|scope| {
            let daemons: Vec<_> = (0..6)
                .map(|_| {
                    let (own, barrier) = (database.queue(clock.clone()), &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        (1..=5)
                            .filter(|hours| {
                                let slot = start() + TimeDelta::hours(*hours);
                                own.make_slot("nightly", slot, &request("exhaustd", &hours.to_string())).unwrap()
                            })
                            .count()
                    })
                })
                .collect();
            daemons.into_iter().map(|daemon| daemon.join().unwrap()).sum()
        });
        let rows = queue.newest(Some("exhaustd"), &Reader::everything(), 100).unwrap().len();
        assert_eq!(made, rows, "each row was made by one of them");
        assert_eq!(queue.last_slot("nightly", SCHEDULE, start()).unwrap(), start() + TimeDelta::hours(5));
        assert!((1..=5).contains(&rows));
    });
}
