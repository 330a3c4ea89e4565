//! One tenant's flood does not make another's one request wait for all of it.

use std::collections::BTreeMap;
use std::path::Path;

use crate::sample_requests::SampleRequest;

use super::{count, files, place, sample, stored_files};
use crate::daemon::{Daemon, wait_for};
use crate::databases::{TestDatabase, each};
use crate::site::{Site, told};

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

/// Twenty requests of one tenant, and the youngest of all: another's, which wants more batches than any of them.
fn flood_and_one<'a>(database: &'a TestDatabase, data: &Path, requests: &[SampleRequest], worker: &str) -> Site<'a> {
    database.execute("DROP TABLE IF EXISTS job_request");
    let site = place(database, data, worker);
    for (n, request) in requests.iter().enumerate() {
        let data = request.request_data.replace("assessment-report", "course-report");
        site.insert("flood", &format!("f{n:02}"), "course-report", &data);
        let second = format!("'2026-01-01 00:00:{n:02}'");
        database.execute(&format!("UPDATE job_request SET dt_job_submitted = {second} WHERE request_id = 'f{n:02}'"));
    }
    let mut batches: Vec<&String> = requests.iter().flat_map(|request| &request.batches).collect();
    batches.sort_unstable();
    batches.dedup();
    let batches = serde_json::to_string(&batches[..12]).unwrap();
    site.insert("other", "one", "course-report", &format!(r#"{{"batchFilter": {batches}}}"#));
    database.execute(
        "UPDATE job_request SET dt_job_submitted = '2026-02-02 00:00:00', requested_channel = 'another' WHERE tag = 'other'",
    );
    site
}

/// A limit on bytes hands back what is too much, and nothing comes of it but another order.
#[test]
fn a_tenant_beyond_its_bytes_waits_and_the_other_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let requests = sample(directory.path(), 20);
    each(|database| {
        let run = |worker: &str| {
            let site = flood_and_one(database, directory.path(), &requests, worker);
            let log = told(&site.run(&["-vv", "run", "--once"]));
            assert!(
                log.contains("21 requests: 21 completed, 0 failed, 0 to be tried again, 0 handed back, 0 lost"),
                "{log}"
            );
            assert_eq!(count(database, "status = 'COMPLETED' AND iteration = 1 AND crashes = 0"), 21, "{log}");
            let files = files(&site);
            assert_eq!(stored_files(&site.path("reports")).len(), files.values().map(BTreeMap::len).sum::<usize>());
            (files, log)
        };
        let loads = |log: &str| log.matches("table read table=user_enrolments ").count();
        let handed_back = |log: &str, limit: &str| {
            log.lines().filter(|line| line.contains("request handed back, its tenant has enough in work")).for_each(
                |line| {
                    assert!(line.contains("request=flood/f") && line.contains(limit), "{line}");
                },
            );
            log.matches("request handed back").count()
        };
        // How many of the flood the scan makes that makes the other's, which is the first.
        let beside_the_other = |log: &str| {
            let first = log.split("claimed rows=").nth(1).unwrap();
            assert!(first.contains("request completed request=other/one "), "{log}");
            first.matches("request completed request=flood/").count()
        };
        let (undisturbed, log) = run("");
        assert_eq!((loads(&log), handed_back(&log, ""), beside_the_other(&log)), (1, 0, 20), "{log}");
        // Nothing is read twice where nobody is handed back.
        let (files, log) = run("per_tag = { bytes = \"1GiB\" }\nper_channel = { bytes = \"1GiB\" }");
        assert_eq!((loads(&log), handed_back(&log, "")), (1, 0), "{log}");
        assert!(files == undisturbed);
        for (tenant, memory) in [("per_tag", "2GiB"), ("per_channel", "64KiB")] {
            let (files, log) = run(&format!("{tenant} = {{ bytes = \"256KiB\" }}\nmemory = \"{memory}\""));
            let (back, beside) = (handed_back(&log, &format!("limit={tenant} bytes=262144 ")), beside_the_other(&log));
            let scans = log.matches("claimed rows=").count();
            println!(
                "{tenant}, memory {memory}: {scans} scans, {back} handed back; {beside} of 20 made beside the other's one"
            );
            assert!(scans > 3 && scans <= 20 && back > 20 && beside < 10, "{log}");
            assert!(files == undisturbed, "{tenant}: other bytes");
        }
        // The least that there is: one after the other, and it comes to an end.
        let (files, log) = run("per_tag = { bytes = 1 }");
        let scans = log.matches("claimed rows=").count();
        println!("one byte: {scans} scans, {} handed back", handed_back(&log, "limit=per_tag bytes=1 "));
        assert!(scans > 3 && scans <= 20 && files == undisturbed);
    });
}
