//! Many small files for a store each call to which takes a while.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant;

use super::*;
use crate::daemon::{Daemon, wait_for};
use crate::site::write_one_course;

/// So many batches of one course with three learners each; the request for all of them.
fn batches(count: usize, directory: &Path) -> String {
    let ids: Vec<String> = (0..count).map(|n| format!("b{n:05}")).collect();
    let mut batches = "batchid,courseid,name,startdate,enddate,status\n".to_owned();
    let mut enrolments = "batchid,userid,courseid,active,enrolleddate,completedon\n".to_owned();
    let mut users = "userid,firstname,lastname\n".to_owned();
    for id in &ids {
        writeln!(batches, "{id},do_1,Batch {id},2025-01-01,,1").unwrap();
        for n in 0..3 {
            writeln!(enrolments, "{id},u{id}-{n},do_1,true,2025-01-02,").unwrap();
            writeln!(users, "u{id}-{n},First {n},Last {id}").unwrap();
        }
    }
    write_one_course(directory, &batches, &users, &enrolments);
    serde_json::json!({ "batchFilter": ids }).to_string()
}

/// Makes all of them with these lines in jobs.toml; how long that takes.
fn spent(data: &Path, request: &str, remote: &Remote, files: usize, worker: &str) -> Duration {
    let database = TestDatabase::sqlite();
    let site = Site::new(&database, data, JOBS, "");
    site.insert("t", "r", "course-report", request);
    let text = fs::read_to_string(site.path("jobs.toml")).unwrap();
    fs::write(site.path("jobs.toml"), text.replace("file://reports", &remote.url) + worker).unwrap();
    let start = Instant::now();
    let log = run(&site, Some(remote));
    let spent = start.elapsed();
    let row = &site.rows()["r"];
    assert_eq!(row.urls.len(), files, "{log}");
    assert_eq!(row.stats["group"]["loads"].as_u64() > Some(1), !worker.is_empty(), "{}", row.stats);
    spent
}

/// 200 files at 200 ms a call. `EXHAUST_TEST_FILES=1000` measures as many files, at 20 and 100 ms a call: the figures of
/// docs/stores.md.
#[test]
fn many_small_files_go_to_a_slow_store_at_a_time() {
    let more = std::env::var("EXHAUST_TEST_FILES").ok().map(|files| files.parse::<usize>().unwrap());
    let (files, latencies) = more.map_or((200, vec![200]), |files| (files, vec![20, 100]));
    let directory = tempfile::tempdir().unwrap();
    let request = batches(files, directory.path());
    for remote in remotes("slow").iter().filter(|remote| remote.url.starts_with("s3")) {
        for latency in latencies.iter().copied().map(Duration::from_millis) {
            // All at once, and so little memory that they are loaded in many parts.
            for worker in ["", "[worker]\nmemory = \"60KiB\"\n"] {
                let (slow, calls) = remote.counted(Fault::Slow(latency));
                let spent = spent(directory.path(), &request, &slow, files, worker);
                eprintln!("{files} files at {latency:?} a call, {worker:?}: {spent:?} with all that belongs to a run");
                assert!(calls.most_at_once() >= 4, "{} at once", calls.most_at_once());
            }
        }
    }
}

/// Files that are on their way are noted or never appear; those that wait for a carrier do not hold up a stop.
#[test]
fn a_stop_does_not_wait_for_what_is_not_yet_on_its_way() {
    const FILES: usize = 900;
    let directory = tempfile::tempdir().unwrap();
    let request = batches(FILES, directory.path());
    for remote in remotes("stop").iter().filter(|remote| remote.url.starts_with("s3")) {
        let database = TestDatabase::sqlite();
        let jobs = JOBS.replace("report = \"course\"", "report = \"course\"\nschedule = \"* * * * * *\"");
        let site = Site::new(&database, directory.path(), &jobs, "");
        site.insert("t", "r", "course-report", &request);
        let text = fs::read_to_string(site.path("jobs.toml")).unwrap();
        // Half of it passes before the daemon hands back, the other half is there for that.
        let worker = "[worker]\nstop_timeout = \"20s\"\n";
        fs::write(site.path("jobs.toml"), text.replace("file://reports", &remote.url) + worker).unwrap();
        let stored = || Store::remote(remote.bucket()).reports().count();
        let (held, calls) = remote.counted(Fault::ReportsHeld);
        let mut command = site.command(&["run"]);
        let mut daemon = Daemon::spawn(command.envs(held.environment.iter().map(|(name, value)| (name, value))));
        wait_for("files on their way", || (calls.under_way() >= 16).then_some(()));
        daemon.signal("TERM");
        daemon.logs("handing back what is not finished");
        calls.release();
        assert!(daemon.wait().success(), "{}", daemon.log());
        let row = database.query_text("SELECT status, iteration, processed_batches FROM job_request").remove(0);
        assert_eq!(row[..2], [Some("SUBMITTED".to_owned()), Some("0".to_owned())], "{}", daemon.log());
        let noted: serde_json::Value = serde_json::from_str(row[2].as_ref().unwrap()).unwrap();
        let noted = noted["batches"].as_array().unwrap().len();
        assert!((16..FILES).contains(&noted) && noted == stored(), "{noted} noted, {} there", stored());
        let log = run(&site, Some(remote));
        let row = &site.rows()["r"];
        assert_eq!(row.status, "COMPLETED", "{log}");
        assert_eq!(row.stats["group"]["batches_generated"].as_u64(), Some((FILES - noted) as u64));
        assert_eq!(stored(), FILES, "nothing was made twice");
    }
}
