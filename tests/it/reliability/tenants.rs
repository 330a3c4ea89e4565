//! One tenant's flood does not make another's one request wait for all of it.

use super::{count, place, sample};
use crate::daemon::{Daemon, wait_for};
use crate::databases::each;

#[test]
fn one_request_does_not_wait_for_another_tenants_flood() {
    let directory = tempfile::tempdir().unwrap();
    let requests = sample(directory.path(), 60);
    let batch = &requests[0].batches[0];
    each(|database| {
        let site = place(database, directory.path(), "per_tag = 5\nthreads = 1");
        for n in 0..200 {
            let request = &requests[n % requests.len()];
            site.insert("flood", &format!("f{n:03}"), request.job_id, &request.request_data);
        }
        // The youngest of all.
        site.insert("other", "one", "course-report", &format!(r#"{{"batchId": "{batch}"}}"#));
        database.execute("UPDATE job_request SET dt_job_submitted = '2026-02-02 00:00:00' WHERE tag = 'other'");
        let daemon = Daemon::start(&site, "generating:delay=20");
        let mut most = 0;
        wait_for("the other tenant's request", || {
            most = most.max(count(database, "tag = 'flood' AND status = 'PROCESSING'"));
            (site.rows()["one"].status == "COMPLETED").then_some(())
        });
        let waiting = count(database, "tag = 'flood' AND status = 'SUBMITTED'");
        println!("the one is done while {waiting} of 200 wait; at most {most} of them were in work at a time");
        assert!(waiting > 150 && most <= 5, "{}", daemon.log());
    });
}
