//! The HTTP API from outside: the built program, called over the network as clients do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod bodies;
mod client;
mod connections;
mod files;
mod keys;
mod operators;
mod roles;
mod status;
mod stores;

use serde_json::{Value, json};

use crate::databases::TestDatabase;
use crate::site::{JOBS, Site, fixture};

pub(crate) const BATCH: &str = "0130000000000000001";
/// Course and channel of [`BATCH`] in the fixture.
pub(crate) const SUBMIT: &str = "/job/request/submit";

/// A place with the API on, whose jobs are scanned every second; `api` are further lines of `[api]`.
pub(crate) fn site<'a>(database: &'a TestDatabase, api: &str) -> Site<'a> {
    let jobs = JOBS.replace("\nreport =", "\nschedule = \"* * * * * *\"\nreport =");
    let jobs = format!("{jobs}\n[api]\nlisten = \"127.0.0.1:0\"\n{api}\n");
    Site::new(database, &fixture("odd"), &jobs, "")
}

/// A submission of the course report for one batch.
pub(crate) fn submission(tag: &str, batch: &str) -> Value {
    json!({ "request": { "tag": tag, "jobId": "course-report", "jobConfig": { "batchId": batch } } })
}

/// How many rows the table has.
pub(crate) fn rows(database: &TestDatabase) -> usize {
    database.query_text("SELECT count(*) FROM job_request")[0][0].as_ref().unwrap().parse().unwrap()
}

/// Every call answers under both prefixes, and says who it is.
#[test]
fn every_call_has_its_envelope_under_both_prefixes() {
    let database = TestDatabase::sqlite();
    let site = site(&database, "");
    let server = crate::http::Server::start(&site, "serve");
    for prefix in ["", "/data/v3"] {
        for (answer, id) in [
            (server.get(&format!("{prefix}/job/list")), "ekstep.analytics.job.list"),
            (server.get(&format!("{prefix}/job/request/list/t")), "ekstep.analytics.job.request.list"),
            (server.post(&format!("{prefix}{SUBMIT}"), &submission("t", BATCH)), "ekstep.analytics.job.request.submit"),
            (
                server.post(
                    &format!("{prefix}/job/request/search"),
                    &json!({ "params": { "msgid": "m" }, "request": { "filters": { "status": "FAILED" } } }),
                ),
                "ekstep.analytics.job.request.search",
            ),
        ] {
            let envelope = answer.json();
            assert_eq!((answer.status, &envelope["id"], &envelope["ver"]), (200, &json!(id), &json!("1.0")));
            assert_eq!(envelope["responseCode"], "OK");
            assert_eq!(envelope["params"]["status"], "successful");
            let msgid = envelope["params"].get("msgid");
            assert_eq!(msgid.is_some(), id.ends_with("search"), "echoed if given");
        }
    }
    let unknown = server.get("/nowhere");
    assert_eq!((unknown.status, &unknown.json()["responseCode"]), (404, &json!("RESOURCE_NOT_FOUND")));
    let other = server.call("DELETE", "/job/list", &[], b"");
    assert_eq!((other.status, other.header("allow")), (405, Some("GET,HEAD")));
}
