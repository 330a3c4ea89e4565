//! That statements are planned on the indexes that were made for them.

use std::sync::Arc;

use chrono::DateTime;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Text;

use super::super::{ManualClock, Queue as _, Reader, Search};
use super::{clients, finished, open_sqlite, reading, taking};

#[derive(QueryableByName)]
struct Plan {
    #[diesel(sql_type = Text)]
    detail: String,
}

/// SQLite uses a partial index only where it can prove that it may, and plans without a word where it cannot.
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
    assert_eq!(plan(taking::ALL), ["SEARCH job_request USING INDEX job_request_open (job_id=? AND status=?)"]);
    assert_eq!(plan(taking::LINE), ["SEARCH job_request USING INDEX job_request_line (job_id=?)"]);
    assert_eq!(plan(taking::ODD), ["SEARCH job_request USING INDEX job_request_odd (job_id=? AND status=?)"]);
    let counts = "SCAN job_request USING COVERING INDEX job_request_counts";
    assert_eq!(plan(clients::OVERVIEW), [counts]);
    assert_eq!(plan(reading::WAITING), ["SEARCH job_request USING INDEX job_request_open (job_id=? AND status=?)"]);
    let place = "(job_id=? AND (dt_job_completed,tag,request_id)>(?,?,?) AND dt_job_completed<?)";
    let finished = ["job_request_finished", "job_request_finished_elsewhere"];
    let finished = finished.map(|index| format!("SEARCH job_request USING INDEX {index} {place}"));
    assert_eq!(plan(finished::FINISHED), finished);
    let take = plan(taking::TAKE);
    assert!(take.len() == 1 && take[0].ends_with("(tag=? AND request_id=?)"), "{take:?}");
    let steps_on = |sql: String, step: &str| {
        let steps = plan(&sql);
        assert_eq!(steps.len(), 6, "{steps:?}");
        assert!(steps.iter().all(|found| found.starts_with(step)), "{steps:?}");
    };
    let everything = Reader::everything();
    // Rows without a time it takes from either of the two.
    steps_on(reading::of_tag(&everything), "SEARCH job_request USING INDEX job_request_newest");
    assert!(plan(&reading::of_tag(&everything)).iter().all(|step| step.contains("tag=?")));
    let newest = "SEARCH job_request USING INDEX job_request_newest_of_all (dt_job_submitted";
    steps_on(reading::of_all(&everything), newest);
    let mut search = Search::default();
    steps_on(reading::of_search(&search, &everything).1, newest);
    search.job_ids = Some(Vec::new());
    search.statuses = Some(vec!["FAILED".to_owned()]);
    steps_on(reading::of_search(&search, &everything).1, newest);
    let of_status = ["SEARCH job_request USING COVERING INDEX job_request_counts (status=?)"];
    assert_eq!(plan(&reading::of_search(&search, &everything).0), of_status);
    search.statuses = Some(vec!["SUBMITTED".to_owned()]);
    steps_on(reading::of_search(&search, &everything).1, "SEARCH job_request USING INDEX job_request_open (job_id=?");
}
