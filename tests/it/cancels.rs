//! A request that is cancelled, or takes too long, while a daemon works on it: its row ends at once, the work on it soon, and
//! nothing else changes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::daemon::{Daemon, wait_for};
use crate::databases::{TestDatabase, each};
use crate::reliability::{files, jobs, sample};
use crate::site::{Site, told, write_one_course};

const BATCHES: &str =
    "batchid,courseid,createdfor,startdate,enddate,name,status\nb1,do_1,\"['c']\",2026-01-01,,Batch,1\n";
const ENROLMENT: &str = "b1,u1,True,2026-01-01,,50,do_1\n";

fn cancel(site: &Site<'_>, id: &str) {
    let cancelled = site.run(&["cancel", "t", id, "--by", "me"]);
    assert!(cancelled.status.success(), "{}", told(&cancelled));
    let seen = site.rows().remove(id).unwrap();
    assert_eq!((seen.status.as_str(), seen.message.as_str()), ("FAILED", "cancelled by me"), "at once");
}

/// A table that never ends, as long as somebody reads it. Counts its rows.
fn endless(path: &Path) -> (Arc<AtomicU64>, std::thread::JoinHandle<()>) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    let (rows, path) = (Arc::new(AtomicU64::new(0)), path.to_owned());
    let counted = Arc::clone(&rows);
    let writing = std::thread::spawn(move || {
        let mut table = File::options().write(true).open(path).unwrap();
        table.write_all(b"batchid,userid,active,enrolleddate,completedon,completionpercentage,courseid\n").unwrap();
        let block = ENROLMENT.repeat(1000);
        // Ends with an error once nobody reads it any more.
        while table.write_all(block.as_bytes()).is_ok() {
            counted.fetch_add(1000, Ordering::SeqCst);
        }
    });
    (rows, writing)
}

#[test]
fn a_load_ends_when_its_request_is_cancelled() {
    each(|database| {
        let data = tempfile::tempdir().unwrap();
        write_one_course(data.path(), BATCHES, "userid\nu1\n", "");
        let table = data.path().join("user_enrolments.csv");
        fs::remove_file(&table).unwrap();
        let (rows, writing) = endless(&table);
        let site = Site::new(database, data.path(), &jobs("lease = \"1h\""), "");
        assert!(site.run(&["migrate"]).status.success());
        site.insert("t", "endless", "course-report", r#"{"batchId": "b1"}"#);
        let daemon = Daemon::start(&site, "");
        wait_for("the load", || (rows.load(Ordering::SeqCst) > 10_000).then_some(()));
        cancel(&site, "endless");
        daemon.logs("request cancelled, the work on it ends request=t/endless");
        daemon.logs("work ended without a report request=t/endless job=course-report outcome=cancelled");
        // The daemon has closed the table.
        writing.join().unwrap();
        assert_eq!(site.rows()["endless"].message, "cancelled by me");
    });
}

/// A load for one request alone counts as work on it.
#[test]
fn a_load_ends_when_its_request_has_taken_too_long() {
    let data = tempfile::tempdir().unwrap();
    write_one_course(data.path(), BATCHES, "userid\nu1\n", "");
    let table = data.path().join("user_enrolments.csv");
    fs::remove_file(&table).unwrap();
    let (_, writing) = endless(&table);
    let database = TestDatabase::sqlite();
    let jobs = jobs("lease = \"1h\"").replace("report = \"course\"", "report = \"course\"\nmax_runtime = \"1s\"");
    let site = Site::new(&database, data.path(), &jobs, "");
    site.insert("t", "endless", "course-report", r#"{"batchId": "b1"}"#);
    let daemon = Daemon::start(&site, "");
    daemon.logs("request failed request=t/endless");
    writing.join().unwrap();
    let row = &site.rows()["endless"];
    assert_eq!((row.status.as_str(), row.message.as_str()), ("FAILED", "timeout: it was worked on for more than 1 s"));
}

/// One of two requests of a group is cancelled between two files. The other has the same bytes as alone, and no further file
/// of the cancelled one is made. Tried again it is whole.
#[test]
fn a_group_goes_on_without_the_request_that_is_cancelled() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    sample(&data, 1);
    let [small, large] = [r#"{"batchFilters": ["NCFCOPY"]}"#, r#"{"batchFilters": ["TPD", "NCFCOPY"]}"#];
    let expected = {
        let database = TestDatabase::sqlite();
        let site = Site::new(&database, &data, &jobs(""), "");
        site.insert("t", "small", "course-report", small);
        site.insert("t", "large", "course-report", large);
        assert!(site.run(&["run", "--once"]).status.success());
        files(&site)
    };
    let small_files = expected["small"].len();
    assert!(expected["large"].len() > small_files + 1, "{expected:?}");
    each(|database| {
        let site = Site::new(database, &data, &jobs("threads = 1\nlease = \"1h\""), "");
        assert!(site.run(&["migrate"]).status.success());
        site.insert("t", "small", "course-report", small);
        site.insert("t", "large", "course-report", large);
        // The first file that only the large one wants.
        let go = site.path("go");
        let daemon = Daemon::start(&site, &format!("generating#{}:until={}", small_files + 1, go.display()));
        daemon.logs("paused at=generating");
        cancel(&site, "large");
        daemon.logs("request cancelled, the work on it ends request=t/large");
        fs::write(&go, "").unwrap();
        daemon.logs("request completed request=t/small");
        daemon.logs("work ended without a report request=t/large job=course-report outcome=cancelled");
        assert!(files(&site)["small"] == expected["small"], "other files");
        // Those that both want were stored for both before.
        let of_large = site.stored().into_iter().filter(|key| key.contains("/large/")).count();
        assert!(of_large <= small_files, "{:?}", site.stored());
        let row = &site.rows()["large"];
        assert_eq!((row.status.as_str(), row.message.as_str(), row.urls.len()), ("FAILED", "cancelled by me", 0));
        assert!(site.run(&["retry", "t", "large"]).status.success());
        daemon.logs("request completed request=t/large");
        assert!(files(&site)["large"] == expected["large"], "other files");
    });
}
