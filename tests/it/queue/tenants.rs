//! Limits on tags and channels: many requests of one tenant do not delay the only one of another.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use exhaust::requests::{ClaimOptions, RequestKey, WriteBack};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::super::databases::{TestDatabase, each_way};
use super::{LEASE, believe_that_nothing_waits, claim_options, failure, ids, insert_outside, key, migrated, take};

/// Inserts a row of this tag and channel; `minute` is its age.
fn of_tenant(database: &TestDatabase, tag: &str, channel: &str, id: &str, minute: u32) {
    let at = format!("'2020-01-01 00:{:02}:{:02}'", minute / 60, minute % 60);
    insert_outside(database, tag, id, "course-report", &at);
    let channel = if channel.is_empty() { "NULL".to_owned() } else { format!("'{channel}'") };
    database.execute(&format!("UPDATE job_request SET requested_channel = {channel} WHERE request_id = '{id}'"));
}

#[test]
fn a_tenant_with_many_requests_does_not_make_another_wait_for_all_of_them() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        for n in 0..30 {
            of_tenant(database, "many", "", &format!("m{n:02}"), n);
        }
        of_tenant(database, "one", "", "o", 50);
        assert_eq!(queue.claim(&claim_options(10)).unwrap().requests.len(), 10, "without limits the oldest come first");
        clock.advance(LEASE * 2);
        database.execute("UPDATE job_request SET status = 'SUBMITTED', crashes = 0, lease_expires_at = NULL");
        let fair = ClaimOptions { per_tag: Some(4), ..claim_options(10) };
        let first = queue.claim(&fair).unwrap();
        assert_eq!(ids(&first), ["m00", "m01", "m02", "m03", "o"], "oldest first within a tenant");
        assert!(queue.claim(&fair).unwrap().requests.is_empty(), "what is in work counts");
        for id in ["m00", "m02"] {
            assert_eq!(queue.hand_back(&first.token, &key("many", id), None).unwrap(), WriteBack::Done);
        }
        let _ = queue.fail(&first.token, &key("many", "m01"), &failure()).unwrap();
        assert_eq!(ids(&queue.claim(&fair).unwrap()), ["m00", "m02", "m04"]);
        assert_eq!(ids(&queue.claim(&ClaimOptions { per_tag: Some(5), ..claim_options(10) }).unwrap()), ["m05"]);
        // Claims whose leases ran out do not count.
        clock.advance(LEASE * 2);
        let crashed = take(queue.as_ref(), &ClaimOptions { per_tag: Some(6), ..claim_options(80) });
        assert_eq!(ids(&crashed), ["m00", "m02", "m03", "m04", "m05", "o"], "an eighth of 80 is ten, six are allowed");
    });
}

#[test]
fn channels_and_tags_are_limited_together() {
    each_way(|database| {
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
        let limits = |per_tag, per_channel| ClaimOptions { per_tag, per_channel, ..claim_options(20) };
        // The second row of tag a does not count within channel x; rows without a channel are not limited by channel.
        assert_eq!(ids(&queue.claim(&limits(Some(1), Some(2))).unwrap()), ["ax1", "bx1", "d1", "e"]);
        assert_eq!(ids(&queue.claim(&limits(None, Some(3))).unwrap()), ["ax2", "ay", "d2"]);
        assert_eq!(ids(&queue.claim(&limits(None, Some(5))).unwrap()), ["bx2", "cx"]);
    });
}

/// With limits, claims at the same time count each other's rows.
#[test]
fn limits_hold_for_claimants_at_the_same_time() {
    each_way(|database| {
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
                        let fair = ClaimOptions { per_tag: Some(7), ..claim_options(3) };
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

/// A row of [`rows`]: tag, channel (the first is none), minute of submission, state.
type Row = (usize, usize, Option<u32>, usize);

const CHANNELS: [Option<&str>; 4] = [None, Some("x"), Some("y"), Some("z")];
/// Waiting; in work under a lease; in work under a lease that ran out; ended. PostgreSQL has its own clock.
const STATES: [(&str, &str); 4] = [
    ("SUBMITTED", "NULL"),
    ("PROCESSING", "'2999-01-01 00:00:00.000'"),
    ("PROCESSING", "'2020-01-01 00:00:00.000'"),
    ("COMPLETED", "NULL"),
];

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let state = prop_oneof![6 => Just(0usize), 2 => Just(1), 1 => Just(2), 1 => Just(3)];
    proptest::collection::vec((0..4usize, 0..CHANNELS.len(), proptest::option::weighted(0.9, 0..20u32), state), 1..40)
}

/// The line from its oldest row on: rows beyond the limit of their tag are left out, and of the others those beyond the limit of
/// their channel.
fn walked(rows: &[Row], claim_options: &ClaimOptions) -> Vec<RequestKey> {
    let (mut of_tag, mut of_channel) = (BTreeMap::new(), BTreeMap::new());
    for (tag, channel, _, state) in rows {
        if *state == 1 {
            *of_tag.entry(*tag).or_insert(0u32) += 1;
            *of_channel.entry(*channel).or_insert(0u32) += 1;
        }
    }
    let mut line: Vec<(Option<u32>, usize, String, usize)> = (0..)
        .zip(rows)
        .filter(|(_, row)| row.3 == 0)
        .map(|(n, (tag, channel, minute, _)): (usize, _)| (*minute, *tag, format!("{n:02}"), *channel))
        .collect();
    line.sort();
    let mut taken = Vec::new();
    for (_, tag, id, channel) in line {
        let nth_of_tag = of_tag.entry(tag).or_default();
        *nth_of_tag += 1;
        if claim_options.per_tag.is_some_and(|most| *nth_of_tag > most) {
            continue;
        }
        let nth_of_channel = of_channel.entry(channel).or_default();
        *nth_of_channel += 1;
        if channel == 0 || claim_options.per_channel.is_none_or(|most| *nth_of_channel <= most) {
            taken.push(key(&format!("tag-{tag}"), &id));
        }
    }
    taken.truncate(usize::try_from(claim_options.limit).unwrap());
    taken
}

#[test]
fn limits_take_what_a_walk_along_the_line_takes() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
        let limits = (proptest::option::of(1..5u32), proptest::option::of(1..7u32), 1..15u32);
        let ran = runner.run(&(rows(), limits), |(rows, (per_tag, per_channel, limit))| {
            let values: Vec<String> = (0..)
                .zip(&rows)
                .map(|(n, (tag, channel, minute, state)): (usize, _)| {
                    let quoted = |text: Option<String>| text.map_or("NULL".to_owned(), |text| format!("'{text}'"));
                    let channel = quoted(CHANNELS[*channel].map(str::to_owned));
                    let submitted = quoted(minute.map(|minute| format!("2026-01-01 00:{minute:02}:00.000")));
                    let (status, lease) = STATES[*state];
                    format!("('tag-{tag}', '{n:02}', 'course-report', {channel}, {submitted}, '{status}', {lease})")
                })
                .collect();
            database.execute(&format!(
                "DELETE FROM job_request;
                 INSERT INTO job_request (tag, request_id, job_id, requested_channel, dt_job_submitted, status,
                     lease_expires_at) VALUES {}",
                values.join(", ")
            ));
            let claim_options = ClaimOptions { per_tag, per_channel, ..claim_options(limit) };
            let claimed: Vec<RequestKey> =
                queue.claim(&claim_options).unwrap().requests.into_iter().map(|request| request.key).collect();
            prop_assert_eq!(claimed, walked(&rows, &claim_options));
            Ok(())
        });
        ran.unwrap();
    });
}

/// A claim that compared each with each took most of a minute.
#[test]
fn limits_hold_where_many_wait_whom_the_planner_does_not_know() {
    let Some(database) = TestDatabase::postgres() else { return };
    let (queue, _) = migrated(&database);
    believe_that_nothing_waits(&database);
    database.execute(
        "INSERT INTO job_request (tag, request_id, job_id, status, dt_job_submitted)
         SELECT 'tag-' || n % 1000, to_char(n, 'FM00000'), 'course-report', 'SUBMITTED',
             timestamp '2026-01-01' + n * interval '1 second'
         FROM generate_series(0, 59999) AS n",
    );
    let fair = ClaimOptions { per_tag: Some(3), ..claim_options(500) };
    let begin = Instant::now();
    for first in [0, 500, 1000, 1500, 2000, 2500] {
        let expected: Vec<String> = (first..first + 500).map(|n| format!("{n:05}")).collect();
        assert_eq!(ids(&queue.claim(&fair).unwrap()), expected);
    }
    assert!(queue.claim(&fair).unwrap().requests.is_empty(), "three of each tag are in work");
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}
