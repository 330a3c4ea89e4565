//! jobs.toml is changed under a running daemon, and submissions are heard at once.

use std::fs;
use std::time::Instant;

use super::{place, sample, wait_until_done};
use crate::daemon::{Daemon, wait_for};
use crate::databases::each;
use crate::site::Site;

fn rewrite(site: &Site<'_>, change: impl Fn(&str) -> String) {
    let file = site.path("jobs.toml");
    let text = change(&fs::read_to_string(&file).unwrap());
    // As an editor does it: written beside, then put in its place.
    fs::write(site.path("jobs.new"), text).unwrap();
    fs::rename(site.path("jobs.new"), file).unwrap();
}

#[test]
fn a_changed_file_is_taken_over_and_a_wrong_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let requests = sample(&data, 3);
    each(|database| {
        let site = place(database, &data, "");
        let daemon = Daemon::start(&site, "generating:delay=1500");
        daemon.logs("daemon ready jobs=2");
        // In work while the file changes: it is made as it was begun.
        site.insert("t", "r", "course-report", &requests[0].request_data);
        wait_for("a claim", || (site.rows()["r"].status == "PROCESSING").then_some(()));
        let new = "[[job]]\nid = \"another-name\"\nreport = \"course\"\nschedule = \"* * * * * *\"\noptions = { crlf = \
                   true }\n";
        rewrite(&site, |text| format!("{new}{}", text.replacen("id = \"course-report\"", "id = \"gone\"", 1)));
        daemon.logs("in force jobs=3");
        wait_until_done(database);
        let first = site.rows()["r"].clone();
        assert_eq!(first.status, "COMPLETED", "{}", daemon.log());
        assert!(first.urls.iter().all(|url| !site.file(url).contains("\r\n")));
        site.insert("t", "new", "another-name", &requests[0].request_data);
        site.insert("t", "old", "course-report", &requests[0].request_data);
        wait_for("the new job's request", || (site.rows()["new"].status == "COMPLETED").then_some(()));
        assert!(site.file(&site.rows()["new"].urls[0]).contains("\r\n"));
        assert_eq!(site.rows()["old"].status, "SUBMITTED", "its job is not configured any more");

        rewrite(&site, |text| format!("timezonee = \"Asia/Kolkata\"\n{text}"));
        daemon.logs("is not valid, the old one goes on");
        assert!(daemon.log().contains("timezonee") && daemon.log().contains("jobs.toml:1:1"), "{}", daemon.log());
        site.insert("t", "still", "another-name", &requests[0].request_data);
        wait_for("the old file's job", || (site.rows()["still"].status == "COMPLETED").then_some(()));

        rewrite(&site, |text| {
            text.replacen("timezonee", "timezone", 1).replace("id = \"gone\"", "id = \"course-report\"")
        });
        daemon.logs("a change of timezone needs a restart");
        wait_until_done(database);
        assert_eq!(site.rows()["old"].status, "COMPLETED");
    });
}

#[test]
fn a_hangup_reads_the_file_at_once() {
    each(|database| {
        let directory = tempfile::tempdir().unwrap();
        sample(directory.path(), 1);
        let site = place(database, directory.path(), "");
        let daemon = Daemon::start(&site, "");
        daemon.logs("daemon ready");
        daemon.signal("HUP");
        daemon.logs("was read again: nothing new");
    });
}

/// The schedule is the longest wait, not the usual one.
#[test]
fn a_submission_is_worked_on_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let requests = sample(&data, 1);
    each(|database| {
        let site = place(database, &data, "");
        // Once a year; the other job does not want to know.
        rewrite(&site, |text| {
            let yearly = text.replace("* * * * * *", "0 0 0 1 1 *");
            yearly.replacen("report = \"assessment\"", "report = \"assessment\"\non_submit = false", 1)
        });
        let daemon = Daemon::start(&site, "");
        daemon.logs("daemon ready");
        for id in ["1", "2", "3"] {
            let since = Instant::now();
            let batch = &requests[0].batches[0];
            let submitted = site.run(&["submit", "course-report", "--batch", batch, "--tag", "t", "--request-id", id]);
            assert!(submitted.status.success());
            // Nothing else would wake it before the year is over.
            wait_for("the report", || (site.rows()[id].status == "COMPLETED").then_some(()));
            println!("submitted and completed within {:?}", since.elapsed());
        }
        site.run(&["submit", "assessment-report", "--batch", &requests[0].batches[0], "--request-id", "quiet"]);
        // It is heard before the next one, which is worked on.
        let batch = &requests[0].batches[0];
        site.run(&["submit", "course-report", "--batch", batch, "--tag", "t", "--request-id", "after"]);
        wait_for("the one after it", || (site.rows()["after"].status == "COMPLETED").then_some(()));
        assert_eq!(site.rows()["quiet"].status, "SUBMITTED", "on_submit = false");
        // Whoever loses the connection for it listens anew.
        if database.is_postgres() {
            database.query_text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                 WHERE datname = current_database() AND query LIKE 'LISTEN%' OR query = 'SELECT 1'",
            );
            daemon.logs("cannot listen for submissions");
            let submitted = site.run(&[
                "submit",
                "course-report",
                "--batch",
                &requests[0].batches[0],
                "--tag",
                "t",
                "--request-id",
                "4",
            ]);
            assert!(submitted.status.success());
            wait_for("the report", || (site.rows()["4"].status == "COMPLETED").then_some(()));
        }
    });
}
