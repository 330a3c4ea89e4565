//! Limits on tags and channels: one tenant's many requests do not make another's one wait.

use std::sync::Barrier;
use std::thread;

use exhaust::requests::{ClaimWish, WriteBack};

use super::super::databases::{TestDatabase, each};
use super::{LEASE, failure, ids, insert_outside, key, migrated, take, wish};

/// Inserts a row of this tag and channel; `minute` is its age.
fn of_tenant(database: &TestDatabase, tag: &str, channel: &str, id: &str, minute: u32) {
    let at = format!("'2020-01-01 00:{:02}:{:02}'", minute / 60, minute % 60);
    insert_outside(database, tag, id, "course-report", &at);
    let channel = if channel.is_empty() { "NULL".to_owned() } else { format!("'{channel}'") };
    database.execute(&format!("UPDATE job_request SET requested_channel = {channel} WHERE request_id = '{id}'"));
}

#[test]
fn a_tenant_with_many_requests_does_not_make_another_wait_for_all_of_them() {
    each(|database| {
        let (queue, clock) = migrated(database);
        for n in 0..30 {
            of_tenant(database, "many", "", &format!("m{n:02}"), n);
        }
        of_tenant(database, "one", "", "o", 50);
        assert_eq!(queue.claim(&wish(10)).unwrap().requests.len(), 10, "without limits the oldest come first");
        clock.advance(LEASE * 2);
        database.execute("UPDATE job_request SET status = 'SUBMITTED', crashes = 0, lease_expires_at = NULL");
        let fair = ClaimWish { per_tag: Some(4), ..wish(10) };
        let first = queue.claim(&fair).unwrap();
        assert_eq!(ids(&first), ["m00", "m01", "m02", "m03", "o"], "oldest first within a tenant");
        assert!(queue.claim(&fair).unwrap().requests.is_empty(), "what is in work counts");
        for id in ["m00", "m02"] {
            assert_eq!(queue.hand_back(&first.token, &key("many", id), None).unwrap(), WriteBack::Done);
        }
        let _ = queue.fail(&first.token, &key("many", "m01"), &failure()).unwrap();
        assert_eq!(ids(&queue.claim(&fair).unwrap()), ["m00", "m02", "m04"]);
        assert_eq!(ids(&queue.claim(&ClaimWish { per_tag: Some(5), ..wish(10) }).unwrap()), ["m05"]);
        // The claims whose leases ran out are in nobody's work.
        clock.advance(LEASE * 2);
        let crashed = take(queue.as_ref(), &ClaimWish { per_tag: Some(6), ..wish(80) });
        assert_eq!(ids(&crashed), ["m00", "m02", "m03", "m04", "m05", "o"], "an eighth of 80 is ten, six are allowed");
    });
}

#[test]
fn channels_and_tags_are_limited_together() {
    each(|database| {
        let (queue, _) = migrated(database);
        for (n, (tag, channel, id)) in [
            ("a", "x", "ax1"),
            ("a", "x", "ax2"),
            ("a", "y", "ay"),
            ("b", "x", "bx1"),
            ("b", "x", "bx2"),
            ("c", "x", "cx"),
            ("d", "", "d1"),
            ("d", "", "d2"),
            ("e", "", "e"),
        ]
        .into_iter()
        .enumerate()
        {
            of_tenant(database, tag, channel, id, u32::try_from(n).unwrap());
        }
        let limits = |per_tag, per_channel| ClaimWish { per_tag, per_channel, ..wish(20) };
        // The second of tag a takes no place of channel x; rows without a channel are not limited by it.
        assert_eq!(ids(&queue.claim(&limits(Some(1), Some(2))).unwrap()), ["ax1", "bx1", "d1", "e"]);
        assert_eq!(ids(&queue.claim(&limits(None, Some(3))).unwrap()), ["ax2", "ay", "d2"]);
        assert_eq!(ids(&queue.claim(&limits(None, Some(5))).unwrap()), ["bx2", "cx"]);
    });
}

/// With limits, claims at the same time count each other's rows.
#[test]
fn limits_hold_for_claimants_at_the_same_time() {
    each(|database| {
        let (queue, clock) = migrated(database);
        for n in 0..60 {
            of_tenant(database, "many", "", &format!("m{n:02}"), n);
        }
        let barrier = Barrier::new(6);
        let taken: usize = thread::scope(|scope| {
            let claimants: Vec<_> = (0..6)
                .map(|_| {
                    let (own, barrier) = (database.queue(clock.clone()), &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        let fair = ClaimWish { per_tag: Some(7), ..wish(3) };
                        (0..5).map(|_| own.claim(&fair).unwrap().requests.len()).sum::<usize>()
                    })
                })
                .collect();
            claimants.into_iter().map(|claimant| claimant.join().unwrap()).sum()
        });
        assert_eq!(taken, 7);
        drop(queue);
    });
}
