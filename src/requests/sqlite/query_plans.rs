//! Tests that statements use the indexes that were made for them.

use std::sync::Arc;

use chrono::DateTime;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Text;

use super::super::access::Reader;
use super::super::clock::ManualClock;
use super::super::filter::{Filter, TimeRange};
use super::super::paging::PageCursor;
use super::super::queue::Housekeeping as _;
use super::page_start::{self, Begin};
use super::{backlog, claim, finished, list, open_sqlite, rows, search};

#[derive(QueryableByName)]
struct Plan {
    #[diesel(sql_type = Text)]
    detail: String,
}

/// SQLite uses a partial index only where it can prove that the statement implies its condition, and gives no warning
/// otherwise.
#[test]
fn claims_lists_and_retention_are_planned_on_their_indexes() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(DateTime::UNIX_EPOCH));
    let queue = open_sqlite(&directory.path().join("deep/er/exhaust.db"), clock, 1).unwrap();
    queue.migrate(false).unwrap();
    let plan = |sql: &str| -> Vec<String> {
        let plan: Vec<Plan> =
            sql_query(format!("EXPLAIN QUERY PLAN {sql}")).load(&mut queue.connection().unwrap()).unwrap();
        plan.into_iter().map(|step| step.detail).filter(|step| step.contains("job_request")).collect()
    };
    assert_eq!(plan(claim::ALL), ["SEARCH job_request USING INDEX job_request_open (job_id=? AND status=?)"]);
    assert_eq!(plan(claim::LINE), ["SEARCH job_request USING INDEX job_request_line (job_id=?)"]);
    assert_eq!(plan(claim::ODD), ["SEARCH job_request USING INDEX job_request_odd (job_id=? AND status=?)"]);
    let backlog = plan(backlog::BACKLOG);
    assert!(
        backlog.len() == 2 && backlog.iter().all(|step| step.starts_with("SEARCH job_request USING ")),
        "{backlog:?}"
    );
    let counts = "SCAN job_request USING COVERING INDEX job_request_counts";
    assert_eq!(plan(rows::OVERVIEW), [counts]);
    assert_eq!(plan(rows::WAITING), ["SEARCH job_request USING INDEX job_request_open (job_id=? AND status=?)"]);
    let place = "(job_id=? AND (dt_job_completed,tag,request_id)>(?,?,?) AND dt_job_completed<?)";
    let finished = ["job_request_finished", "job_request_finished_elsewhere"];
    let finished = finished.map(|index| format!("SEARCH job_request USING INDEX {index} {place}"));
    assert_eq!(plan(finished::FINISHED), finished);
    let take = plan(claim::TAKE);
    assert!(take.len() == 1 && take[0].ends_with("(tag=? AND request_id=?)"), "{take:?}");
    let steps_on = |sql: String, step: &str| {
        // Keys may come from the index alone.
        let steps: Vec<String> = plan(&sql).iter().map(|step| step.replace("COVERING INDEX", "INDEX")).collect();
        assert_eq!(steps.len(), 6, "{steps:?}");
        assert!(steps.iter().all(|found| found.starts_with(step)), "{steps:?}");
    };
    let everything = Reader::everything();
    // Rows without a time may come from either index.
    let first = Begin::default();
    // A later page begins in the middle of the same indexes.
    let later = || {
        let place = r#"[[["t","2026-01-01 00:00:00.000"],"t","r"],null,null,null,null,[null,"t","r"]]"#.to_owned();
        page_start::begin(Some(&PageCursor(place))).unwrap()
    };
    for begin in [&first, &later()] {
        let of_tag = list::of_tag("t", &everything, begin, 9).sql;
        assert!(plan(&of_tag).iter().all(|step| step.contains("tag=?")));
        steps_on(of_tag, "SEARCH job_request USING INDEX job_request_newest");
        let newest = "SEARCH job_request USING INDEX job_request_newest_of_all (dt_job_submitted";
        steps_on(list::of_all(&everything, begin, 9).sql, newest);
        let mut search = Filter::default();
        steps_on(search::of_search(&search, &everything, begin, 9, 10_001).sql, newest);
        let (from, until) = (DateTime::from_timestamp(86_400, 0), DateTime::from_timestamp(172_800, 0));
        search.submitted = TimeRange { from, until };
        steps_on(search::of_search(&search, &everything, begin, 9, 10_001).sql, newest);
        let [all, day] =
            [Filter::default(), search.clone()].map(|search| plan(&search::count_of(&search, &everything).sql));
        assert!(all.len() == 1 && day.len() == 6, "{all:?} {day:?}");
        assert!(day[0].contains("job_request_newest_of_all (dt_job_submitted>? AND dt_job_submitted<?)"), "{day:?}");
        search.submitted = TimeRange::default();
        search.job_ids = Some(Vec::new());
        search.statuses = Some(vec!["FAILED".to_owned()]);
        search.job_ids = None;
        search.statuses = Some(vec!["SUBMITTED".to_owned()]);
        let open = search::of_search(&search, &everything, begin, 9, 10_001).sql;
        steps_on(open, "SEARCH job_request USING INDEX job_request_counts (status=?");
        let (from, until) = (DateTime::from_timestamp(86_400, 0), DateTime::from_timestamp(172_800, 0));
        let ended = Filter { completed: TimeRange { from, until }, ..Filter::default() };
        let ended = plan(&search::count_of(&ended, &everything).sql);
        let step =
            "SEARCH job_request USING COVERING INDEX job_request_ended_at (dt_job_completed>? AND dt_job_completed<?)";
        assert!(ended.iter().any(|found| found == step), "{ended:?}");
        assert!(!ended.iter().any(|found| found.starts_with("SCAN job_request")), "{ended:?}");
        for (filter, index) in filters() {
            let few = plan(&search::of_search(&filter, &everything, begin, 9, 7).sql);
            let count = plan(&search::count_of(&filter, &everything).sql);
            // Rows without a time may come from another index.
            for step in few[..5].iter().chain(&count) {
                assert!(step.replace("COVERING INDEX", "INDEX").starts_with(&index), "{step}, not {index}");
            }
        }
    }
}

/// Filters, each with how its rows are found.
fn filters() -> Vec<(Filter, String)> {
    let (one, list) = (|text: &str| Some(text.to_owned()), |text: &str| Some(vec![text.to_owned()]));
    let all = Filter::default;
    [
        (Filter { id_prefix: one("a"), tag: one("t"), ..all() }, "by_id (request_id>? AND request_id<?)"),
        (Filter { err_code: one("no_data"), statuses: list("FAILED"), ..all() }, "of_err_code (err_code=?"),
        (Filter { requested_by: one("b"), ..all() }, "of_requester (requested_by=?"),
        (Filter { channels: list("c"), job_ids: list("j"), ..all() }, "of_channel (requested_channel=?"),
        (Filter { job_ids: list("j"), statuses: list("COMPLETED"), ..all() }, "of_job (job_id=?"),
        (Filter { statuses: list("FAILED"), job_ids: list("j"), ..all() }, "failed (status=?"),
    ]
    .map(|(filter, index)| (filter, format!("SEARCH job_request USING INDEX job_request_{index}")))
    .into()
}
