//! Retry and cancel of all requests that match a filter.

use std::collections::BTreeSet;

use exhaust::requests::{
    Bulk, BulkAct, BulkError, BulkStep, Client, ErrCode, Failure, Filter, Queue, RequestKey, WriteBack,
};

use super::super::databases::{TestDatabase, each_way};
use super::encryption::protected_request;
use super::paging::a_minute;
use super::{claim_options, failure, insert_outside, key, migrated, request};

const JOBS: [&str; 2] = ["course-report", "course-alias"];

fn jobs() -> Vec<String> {
    JOBS.map(str::to_owned).into()
}

fn of_code(code: ErrCode) -> Filter {
    Filter { err_code: Some(code.as_str().to_owned()), ..Filter::default() }
}

/// Runs all steps.
fn all_steps(queue: &dyn Queue, bulk: &Bulk) -> BulkStep {
    let mut all = bulk.step(queue, None, &a_minute()).unwrap();
    while let Some(after) = all.next.take() {
        let step = bulk.step(queue, Some(after), &a_minute()).unwrap();
        all.changed.extend(step.changed);
        all.protected += step.protected;
        all.skipped += step.skipped;
        all.next = step.next;
    }
    all
}

fn status(queue: &dyn Queue, id: &str) -> String {
    queue.find(&key("t", id)).unwrap().unwrap().status
}

#[test]
fn what_means_everything_or_nothing_is_refused() {
    let bulk = |act, filter| Bulk::new(act, filter, &jobs(), Client::default()).map(drop);
    let cancel = || BulkAct::Cancel { by: "me".to_owned() };
    assert_eq!(bulk(BulkAct::Retry, Filter::default()), Err(BulkError::NoFilter));
    let in_state = |status: &str| Filter { statuses: Some(vec![status.to_owned()]), ..Filter::default() };
    assert_eq!(bulk(BulkAct::Retry, in_state("FAILED")), Ok(()));
    for (act, status) in [(BulkAct::Retry, "SUBMITTED"), (cancel(), "FAILED")] {
        let refused = BulkError::Status { act: act.name(), status: status.to_owned() };
        assert_eq!(bulk(act, in_state(status)), Err(refused));
    }
    let foreign = Filter { job_ids: Some(vec!["foreign".to_owned()]), ..Filter::default() };
    assert_eq!(bulk(cancel(), foreign), Err(BulkError::ForeignJob("foreign".to_owned())));
}

#[test]
fn all_that_match_are_changed_and_nothing_else() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let queue = queue.as_ref();
        for id in ["down", "down-too", "no-data", "done"] {
            queue.submit(&request("t", id)).unwrap();
        }
        queue.submit(&protected_request("t", "secret")).unwrap();
        let claim = queue.claim(&claim_options(9)).unwrap();
        for id in ["down", "down-too", "no-data", "secret"] {
            let code = if id == "no-data" { ErrCode::NoData } else { ErrCode::SourceUnavailable };
            let failure = Failure { code, ..failure() };
            assert_eq!(queue.fail(&claim.token, &key("t", id), &failure).unwrap(), WriteBack::Done);
        }
        insert_outside(database, "t", "theirs", "foreign", "'2026-01-01 00:00:00'");
        database.execute(
            "UPDATE job_request SET status = 'FAILED', err_message = 'm', err_code = 'source_unavailable'
                WHERE request_id = 'theirs'",
        );
        let filter = of_code(ErrCode::SourceUnavailable);
        let retry = Bulk::new(BulkAct::Retry, filter, &jobs(), Client::default()).unwrap();
        let preview = retry.preview(queue, &a_minute()).unwrap();
        let shown: BTreeSet<&str> = preview.first.iter().map(|row| row.request_id.as_str()).collect();
        assert_eq!((preview.total, preview.protected), (3, 1));
        assert_eq!(shown, BTreeSet::from(["down", "down-too", "secret"]));
        assert_eq!(status(queue, "down"), "FAILED", "a preview changes nothing");
        let step = all_steps(queue, &retry);
        assert_eq!((step.changed.len(), step.protected, step.skipped), (2, 1, 0));
        let states = ["down", "down-too", "no-data", "secret", "theirs", "done"].map(|id| status(queue, id));
        assert_eq!(states, ["SUBMITTED", "SUBMITTED", "FAILED", "FAILED", "FAILED", "PROCESSING"]);
        let again = all_steps(queue, &retry);
        assert_eq!((again.changed.len(), again.protected), (0, 1), "what is done is not done again");

        let of_tag = Filter { tag: Some("t".to_owned()), ..Filter::default() };
        let cancel = Bulk::new(BulkAct::Cancel { by: "me".to_owned() }, of_tag, &jobs(), Client::default()).unwrap();
        let cancelled: BTreeSet<RequestKey> = all_steps(queue, &cancel).changed.into_iter().collect();
        assert_eq!(cancelled, ["down", "down-too", "done"].map(|id| key("t", id)).into());
        let row = queue.find(&key("t", "done")).unwrap().unwrap();
        assert_eq!((row.status.as_str(), row.err_code.as_deref()), ("FAILED", Some("cancelled")));
    });
}

/// Some hundred rows of one time, so that only their keys order them.
fn many(database: &TestDatabase, rows: u32) {
    let numbers = if database.is_postgres() {
        format!("generate_series(1, {rows}) AS n (i)")
    } else {
        format!("(WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) SELECT i FROM n)")
    };
    database.execute(&format!(
        "INSERT INTO job_request (tag, request_id, job_id, status, dt_job_submitted, err_message, err_code)
        SELECT 't', 'r' || i, 'course-report', 'FAILED', '2026-01-01 00:00:00', 'm', 'no_data' FROM {numbers}"
    ));
}

#[test]
fn a_stop_in_the_middle_leaves_the_rest_to_the_next_call() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let queue = queue.as_ref();
        many(database, 125);
        let limited = Client { open_requests: Some(105), ..Client::default() };
        let retry = |client| Bulk::new(BulkAct::Retry, of_code(ErrCode::NoData), &jobs(), client).unwrap();
        let first = retry(limited.clone()).step(queue, None, &a_minute()).unwrap();
        assert_eq!((first.changed.len(), first.next.is_some()), (100, true));
        let second = retry(limited.clone()).step(queue, first.next, &a_minute()).unwrap();
        assert_eq!((second.changed.len(), second.too_many, second.next), (5, true, None));
        let left = retry(limited).preview(queue, &a_minute()).unwrap();
        assert_eq!((left.total, left.first.len()), (20, 10));
        let rest = all_steps(queue, &retry(Client::default()));
        assert_eq!((rest.changed.len(), rest.skipped), (20, 0));
        assert_eq!(queue.waiting(&jobs()).unwrap().len(), 125);
    });
}
