//! Finished rows: which are old, page by page, and their removal.

use std::collections::BTreeSet;
use std::time::Duration;

use exhaust::requests::{Completion, Finished, Queue, Submitted, WriteBack};

use super::super::daemon::wait_for;
use super::super::databases::{TestDatabase, each_way};
use super::{claim_options, columns, complete, failure, key, migrated, request, start};

const DAY: Duration = Duration::from_hours(24);
const JOB: &str = "course-report";

/// All pages; the largest of them must not exceed `limit`.
fn finished(queue: &dyn Queue, job: &str, older_than: Duration, limit: u32) -> Vec<Finished> {
    let (mut all, mut after) = (Vec::new(), None);
    for _ in 0..1000 {
        let page = queue.finished(job, older_than, after.as_ref(), limit).unwrap();
        assert!(page.rows.len() <= limit as usize);
        all.extend(page.rows);
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
    panic!("pages without end");
}

fn ids(rows: &[Finished]) -> Vec<&str> {
    rows.iter().map(|row| row.key.request_id.as_str()).collect()
}

/// A row as others write it. `completed` is an SQL expression.
fn insert(database: &TestDatabase, request_id: &str, job: &str, status: &str, completed: &str) {
    database.execute(&format!(
        "INSERT INTO job_request (tag, request_id, job_id, status, dt_job_submitted, dt_job_completed)
         VALUES ('t', '{request_id}', '{job}', '{status}', '2000-01-01 00:00:00', {completed})"
    ));
}

fn count(database: &TestDatabase) -> String {
    database.query_text("SELECT count(*) FROM job_request")[0][0].clone().unwrap()
}

#[test]
fn rows_grow_old_by_the_clock_that_judges_leases() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        for id in ["done", "failed", "cancelled"] {
            queue.submit(&request("t", id)).unwrap();
        }
        queue.cancel(&key("t", "cancelled"), "me").unwrap();
        let claim = queue.claim(&claim_options(10)).unwrap();
        let completion = Completion {
            download_urls: vec!["r/t/done/c/reports-1.csv".to_owned(), "b,\"c".to_owned()],
            file_created: start(),
            execution_ms: 1,
            job_stats: "{}".to_owned(),
        };
        assert_eq!(complete(&*queue, &claim.token, &key("t", "done"), &completion).unwrap(), WriteBack::Done);
        assert_eq!(queue.fail(&claim.token, &key("t", "failed"), &failure()).unwrap(), WriteBack::Done);
        queue.submit(&request("t", "open")).unwrap();

        clock.advance(Duration::from_mins(23 * 60 + 59));
        assert!(finished(queue.as_ref(), JOB, DAY, 10).is_empty(), "not yet");
        assert!(!queue.remove_finished(&key("t", "done"), DAY).unwrap(), "not yet");
        clock.advance(Duration::from_mins(2));
        let rows = finished(queue.as_ref(), JOB, DAY, 10);
        assert_eq!(ids(&rows).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(["cancelled", "done", "failed"]));
        let done = rows.iter().find(|row| row.key.request_id == "done").unwrap();
        assert_eq!(done.download_urls, completion.download_urls);
        assert_eq!(Some(done.completed), queue.find(&key("t", "done")).unwrap().unwrap().completed);

        for row in &rows {
            assert!(queue.remove_finished(&row.key, DAY).unwrap());
            assert!(!queue.remove_finished(&row.key, DAY).unwrap(), "twice");
        }
        assert!(!queue.remove_finished(&key("t", "open"), DAY).unwrap());
        assert!(!queue.remove_finished(&key("t", "nul\0"), DAY).unwrap());
        assert_eq!(count(database), "1");
    });
}

#[test]
fn a_row_that_was_resubmitted_in_between_stays() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        queue.submit(&request("t", "1")).unwrap();
        queue.cancel(&key("t", "1"), "me").unwrap();
        clock.advance(2 * DAY);
        assert_eq!(ids(&finished(queue.as_ref(), JOB, DAY, 10)), ["1"]);
        assert!(queue.resubmit(&key("t", "1")).unwrap());
        let before = columns(database, &key("t", "1"));
        assert!(!queue.remove_finished(&key("t", "1"), DAY).unwrap());
        assert_eq!(columns(database, &key("t", "1")), before);
        // It has just failed again, so it is young again.
        queue.cancel(&key("t", "1"), "me").unwrap();
        assert!(!queue.remove_finished(&key("t", "1"), DAY).unwrap());
        assert!(finished(queue.as_ref(), JOB, DAY, 10).is_empty());
    });
}

/// Other systems mark completed rows as SUCCESS.
#[test]
fn success_is_completed_wherever_it_is_read() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        for (id, status, completed) in [
            ("c1", "COMPLETED", "'2020-01-01 00:00:00'"),
            ("s1", "SUCCESS", "'2020-01-02 00:00:00'"),
            ("f1", "FAILED", "'2020-01-03 00:00:00'"),
            ("s2", "SUCCESS", "'2020-01-04 00:00:00'"),
            ("c2", "COMPLETED", "'2020-01-05 00:00:00'"),
            ("odd", "success", "'2020-01-01 00:00:00'"),
        ] {
            insert(database, id, JOB, status, completed);
        }
        for limit in [1, 2, 3, 10] {
            assert_eq!(ids(&finished(queue.as_ref(), JOB, DAY, limit)), ["c1", "s1", "f1", "s2", "c2"], "{limit}");
        }
        assert_eq!(queue.find(&key("t", "s1")).unwrap().unwrap().status, "COMPLETED");
        assert_eq!(queue.find(&key("t", "odd")).unwrap().unwrap().status, "success");
        let counts = queue.overview().unwrap().counts;
        assert_eq!(counts.get(&(JOB.to_owned(), "COMPLETED".to_owned())), Some(&4));
        // The same submission finds the row and changes nothing.
        let before = columns(database, &key("t", "s1"));
        assert_eq!(queue.submit(&request("t", "s1")).unwrap(), Submitted::Exists);
        assert!(!queue.resubmit(&key("t", "s1")).unwrap());
        assert!(!queue.cancel(&key("t", "s1"), "me").unwrap());
        assert_eq!(columns(database, &key("t", "s1")), before);
        assert!(queue.remove_finished(&key("t", "s1"), DAY).unwrap());
        assert!(!queue.remove_finished(&key("t", "odd"), DAY).unwrap());
        assert_eq!(count(database), "5");
    });
}

#[test]
fn other_jobs_other_states_and_times_that_do_not_read_are_left_alone() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        insert(database, "old", JOB, "COMPLETED", "'2020-01-02 00:00:00'");
        insert(database, "older", JOB, "FAILED", "'2020-01-01 00:00:00'");
        for (id, job, status, completed) in [
            ("foreign", "theirs", "COMPLETED", "'2020-01-01'"),
            ("no-job", "", "COMPLETED", "'2020-01-01'"),
            ("open", JOB, "SUBMITTED", "'2020-01-01'"),
            ("held", JOB, "PROCESSING", "'2020-01-01'"),
            ("word", JOB, "DONE", "'2020-01-01'"),
            ("case", JOB, "completed", "'2020-01-01'"),
            ("no-end", JOB, "COMPLETED", "NULL"),
            ("future", JOB, "COMPLETED", "'9999-01-01 00:00:00'"),
        ] {
            insert(database, id, job, status, completed);
        }
        let odd: &[&str] = if database.is_postgres() {
            &["'infinity'", "'-infinity'", "'0044-03-15 00:00:00 BC'", "'20000-01-01'"]
        } else {
            &["'infinity'", "''", "'soon'", "'2020-13-45'", "'{}'", "x'32303230'", "1e300", "-1e300", "'0044-03-15 BC'"]
        };
        for (n, odd) in odd.iter().enumerate() {
            insert(database, &format!("odd-{n}"), JOB, "COMPLETED", odd);
        }
        let before = count(database);
        for limit in [1, 2, 100] {
            assert_eq!(ids(&finished(queue.as_ref(), JOB, DAY, limit)), ["older", "old"], "{limit}");
        }
        for (n, _) in odd.iter().enumerate() {
            assert!(!queue.remove_finished(&key("t", &format!("odd-{n}")), DAY).unwrap(), "{}", odd[n]);
        }
        for id in ["open", "held", "word", "case", "no-end", "future"] {
            assert!(!queue.remove_finished(&key("t", id), DAY).unwrap(), "{id}");
        }
        assert_eq!(count(database), before);
        assert_eq!(ids(&finished(queue.as_ref(), "theirs", DAY, 10)), ["foreign"], "who asks by their name gets them");
    });
}

/// Rows that ended at the same time are distinguished by their keys, and none comes twice though none is removed.
#[test]
fn pages_go_on_whether_rows_are_removed_or_not() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let mut expected = Vec::new();
        for day in 1..=3 {
            for n in 0..7 {
                let id = format!("{day}-{n}");
                insert(database, &id, JOB, "COMPLETED", &format!("'2020-01-0{day} 00:00:00'"));
                expected.push(id);
            }
        }
        for limit in [1, 3, 7, 21, 100] {
            assert_eq!(ids(&finished(queue.as_ref(), JOB, DAY, limit)), expected, "{limit}");
        }
        let first = queue.finished(JOB, DAY, None, 5).unwrap();
        for row in first.rows.iter().skip(1) {
            assert!(queue.remove_finished(&row.key, DAY).unwrap());
        }
        let second = queue.finished(JOB, DAY, first.next.as_ref(), 5).unwrap();
        assert_eq!(ids(&second.rows), expected[5..10], "behind what stayed and what went");
        assert!(queue.finished(JOB, DAY, None, 0).unwrap().rows.is_empty());
    });
}

/// Every form of time that others write, in a column of each kind.
#[test]
fn sqlite_reads_every_form_of_time_once() {
    // 2026-03-01 12:00:00 is now, `start`.
    let old = [
        "'2026-02-28 11:59:59'",
        "'2026-02-28T11:59:59Z'",
        "'2026-03-01 01:29:59+14:00'",
        "'2026-02-28 00:00:00-11:59'",
        "' 2020-01-01'",
        "'2020-01-01 10:00'",
        "1606176000",
        "1606176000.123456",
        "1606176000250",
        "'1606176000'",
        "'1606176000250'",
        "0",
    ];
    let young = [
        "'2026-02-28 12:00:01'",
        "'2026-02-28T12:00:01Z'",
        "'2026-02-28 11:00:00-05:00'",
        "'2026-03-01'",
        "1772366399",
        "1772366399000",
        "'1772366399'",
        "'1772366399000'",
        "'1999999999'",
    ];
    for column in ["TEXT", "TIMESTAMP", "VARCHAR(50)", ""] {
        let database = TestDatabase::sqlite();
        database.execute(&super::ORIGINAL.replace("dt_job_completed TIMESTAMP", &format!("dt_job_completed {column}")));
        let (queue, _) = migrated(&database);
        for (form, values) in [("old", &old[..]), ("young", &young[..])] {
            for (n, value) in values.iter().enumerate() {
                insert(&database, &format!("{form}-{n:02}"), JOB, "FAILED", value);
            }
        }
        let expected: Vec<String> = (0..old.len()).map(|n| format!("old-{n:02}")).collect();
        for limit in [1, 2, 5, 100] {
            let rows = finished(queue.as_ref(), JOB, DAY, limit);
            let mut found = ids(&rows);
            found.sort_unstable();
            assert_eq!(found, expected, "{column} {limit}");
        }
        for (n, value) in young.iter().enumerate() {
            assert!(!queue.remove_finished(&key("t", &format!("young-{n:02}")), DAY).unwrap(), "{column} {value}");
        }
        for id in &expected {
            assert!(queue.remove_finished(&key("t", id), DAY).unwrap(), "{column} {id}");
        }
    }
}

/// Ten million finished rows must not make a page expensive: the plan reads one range of one index.
#[test]
fn postgres_plans_a_step_on_its_index() {
    let Some(database) = TestDatabase::postgres() else { return };
    let (queue, _) = migrated(&database);
    database.execute(
        "INSERT INTO job_request (tag, request_id, job_id, status, dt_job_completed)
         SELECT 't', n::text, CASE WHEN n % 2 = 0 THEN 'course-report' ELSE 'theirs' END, 'COMPLETED',
            timestamp '2020-01-01' + n % 10 * interval '1 day' FROM generate_series(1, 2000) AS n;
         INSERT INTO job_request (tag, request_id, job_id, status, dt_job_completed)
         SELECT 't', n::text, 'course-report', 'COMPLETED', timestamp '9000-01-01' FROM generate_series(2001, 20000) AS n;
         ANALYZE job_request",
    );
    let scans = || {
        let rows = database.query_text(
            "SELECT idx_scan, idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'job_request_finished'",
        );
        let number = |n: usize| rows[0][n].as_ref().unwrap().parse::<u64>().unwrap();
        (number(0), number(1))
    };
    let before = scans();
    let mut after = None;
    for rows in [[100; 10].as_slice(), &[0]].concat() {
        let page = queue.finished(JOB, DAY, after.as_ref(), 100).unwrap();
        assert_eq!(page.rows.len(), rows, "old rows, then none");
        after = page.next;
    }
    drop(queue);
    // Statistics arrive after the sessions that made them have ended.
    let now = wait_for("statistics", || Some(scans()).filter(|now| now.0 >= before.0 + 11));
    assert_eq!(now.0 - before.0, 11, "each page asks the index once");
    assert!(now.1 - before.1 <= 2000, "a page reads little more than its rows: {}", now.1 - before.1);
}
