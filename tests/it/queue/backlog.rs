//! The backlog: what a fair claim counts.

use std::time::Duration;

use exhaust::requests::{Backlog, Queue};

use super::super::databases::each_way;
use super::{LEASE, claim_options, exclusive_claim, failure, insert_outside, key, migrated};

fn backlog(queue: &dyn Queue, up_to: u32) -> (u64, u64) {
    let Backlog { claimable, in_work } = queue.backlog(&claim_options(1).job_ids, up_to).unwrap();
    (claimable, in_work)
}

/// It counts what the claims of this suite take, and what they hold.
#[test]
fn claimable_rows_and_rows_in_work_are_counted() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        assert_eq!(backlog(queue.as_ref(), 100), (0, 0));
        for n in 0..12 {
            let job = if n % 3 == 0 { "course-alias" } else { "course-report" };
            // Two of them in a form of time that others write, one without any.
            let time = ["NULL", "'2026-01-01'"].get(n).map_or("'2026-01-01 00:00:07.000'", |odd| odd);
            insert_outside(database, "t", &format!("{n:02}"), job, time);
            insert_outside(database, "t", &format!("x{n}"), "another-job", "NULL");
        }
        assert_eq!(backlog(queue.as_ref(), 100), (12, 0));
        let first = queue.claim(&claim_options(5)).unwrap();
        assert_eq!(backlog(queue.as_ref(), 100), (7, 5));
        let _ = queue.retry_later(&first.token, &first.requests[0].key, &failure(), Duration::from_mins(1)).unwrap();
        let _ = queue.hand_back(&first.token, &first.requests[1].key, None).unwrap();
        let _ = queue.fail(&first.token, &first.requests[2].key, &failure()).unwrap();
        assert_eq!(backlog(queue.as_ref(), 100), (8, 2), "a row in its back-off is neither");
        clock.advance(LEASE + Duration::from_secs(1));
        assert_eq!(backlog(queue.as_ref(), 100), (9, 0), "a lease that ran out is nobody's work");
        database.execute("UPDATE job_request SET crashes = 2 WHERE request_id IN ('10', '11')");
        assert_eq!(backlog(queue.as_ref(), 100), (7, 0), "a suspect is no shared claim's");
        assert_eq!(queue.claim(&exclusive_claim()).unwrap().requests[0].key, key("t", "10"));
        assert_eq!(backlog(queue.as_ref(), 100), (7, 1));
        let rest = queue.claim(&claim_options(100)).unwrap().requests.len();
        assert_eq!((rest, backlog(queue.as_ref(), 100)), (7, (0, 8)));
    });
}

#[test]
fn it_counts_no_further_than_asked() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        for n in 0..9 {
            insert_outside(database, "t", &n.to_string(), "course-report", "'2026-01-01 00:00:07.000'");
        }
        assert_eq!(backlog(queue.as_ref(), 4), (4, 0));
        assert_eq!(queue.claim(&claim_options(6)).unwrap().requests.len(), 6);
        assert_eq!(backlog(queue.as_ref(), 4), (3, 4));
        assert_eq!(backlog(queue.as_ref(), 0), (0, 0));
        assert_eq!(queue.backlog(&["another-job".to_owned(), "a\0b".to_owned()], 9).unwrap(), Backlog::default());
        assert_eq!(queue.backlog(&[], 9).unwrap(), Backlog::default());
    });
}
