//! Requests do not wait for a large one: neither those of another job nor those of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::fs;

use crate::daemon::Daemon;
use crate::databases::each;
use crate::reliability::{files, place, sample};

/// One request holds the only thread of its scan, for as long as the others take: they end all the same.
#[test]
fn small_requests_end_while_a_large_one_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let requests = sample(&data, 20);
    let mut batches: Vec<&String> = requests.iter().flat_map(|request| &request.batches).collect();
    batches.sort_unstable();
    batches.dedup();
    let [slow, quick] = [batches[0], batches[1]].map(|batch| format!(r#"{{"batchId": "{batch}"}}"#));
    each(|database| {
        let site = place(database, &data, "threads = 1\nlease = \"1h\"");
        let go = site.path("go");
        let daemon = Daemon::start(&site, &format!("generating={}:until={}", batches[0], go.display()));
        site.insert("t", "large", "course-report", &slow);
        daemon.logs("paused at=generating");
        site.insert("t", "other-job", "assessment-report", &quick);
        site.insert("t", "same-job", "course-report", &quick);
        daemon.logs("request=t/other-job job=assessment-report");
        daemon.logs("request completed request=t/same-job job=course-report");
        assert_eq!(site.rows()["large"].status, "PROCESSING", "{}", daemon.log());
        fs::write(&go, "").unwrap();
        daemon.logs("request completed request=t/large");
        assert_eq!(files(&site)["large"].len(), 1);
    });
}
