//! Jobs and tenants that are paused, with the built program.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use serde_json::Value;

use crate::daemon::Daemon;
use crate::databases::{TestDatabase, each};
use crate::reliability::{jobs, place, sample};
use crate::site::{Site, told};

fn status(site: &Site<'_>) -> Value {
    serde_json::from_slice(&site.run(&["status", "--json"]).stdout).unwrap()
}

#[track_caller]
fn says(site: &Site<'_>, arguments: &[&str], code: i32, text: &str) {
    let output = site.run(arguments);
    assert_eq!(output.status.code(), Some(code), "{}", told(&output));
    assert!(told(&output).contains(text), "{}", told(&output));
}

/// A pause holds for daemons that run, is told to whoever waits, and ends with all that waited. The other job and the other
/// tenant go on.
#[test]
fn what_is_paused_waits_and_the_rest_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let requests = sample(&data, 1);
    let request = requests[0].request_data.as_str();
    each(|database| {
        let site = place(database, &data, "");
        let daemon = Daemon::start(&site, "");
        says(&site, &["pause", "job", "nothing"], 1, "nothing");
        // By an alias.
        says(
            &site,
            &["pause", "job", "assessment-score-report", "--why", "it is wrong"],
            0,
            "job assessment-report is paused",
        );
        says(&site, &["pause", "job", "assessment-report"], 0, "nothing changed");
        says(&site, &["pause", "tenant", "stopped", "--by", "somebody"], 0, "tenant stopped is paused by somebody");
        for (tag, id, job) in [
            ("t", "a1", "assessment-report"),
            ("t", "a2", "assessment-score-report"),
            ("stopped", "s1", "course-report"),
            ("t", "c1", "course-report"),
        ] {
            site.insert(tag, id, job, request);
        }
        daemon.logs("request completed request=t/c1");
        let paused = |id: &str| site.rows()[id].status == "SUBMITTED";
        assert!(paused("a1") && paused("a2") && paused("s1"), "{}", daemon.log());
        says(&site, &["status", "t", "a2"], 0, "it waits: job assessment-report is paused by operator since ");
        says(&site, &["status", "stopped", "s1"], 0, "it waits: tenant stopped is paused by somebody");
        says(&site, &["status"], 0, "it is wrong");
        let pauses = status(&site)["pauses"].clone();
        assert_eq!((&pauses[0]["name"], &pauses[0]["why"]), (&"assessment-report".into(), &"it is wrong".into()));
        assert_eq!(
            (&pauses[1]["kind"], &pauses[1]["by"], &pauses[1]["why"]),
            (&"tenant".into(), &"somebody".into(), &Value::Null)
        );
        // It lasts: this is another process, and nothing is left for it.
        says(&site, &["run", "--once"], 0, "0 requests");
        says(&site, &["resume", "tenant", "stopped"], 0, "tenant stopped is resumed");
        daemon.logs("request completed request=stopped/s1");
        assert!(paused("a1") && paused("a2"));
        says(&site, &["resume", "job", "assessment-report"], 0, "job assessment-report is resumed");
        says(&site, &["resume", "job", "assessment-report"], 1, "is not paused");
        for id in ["a1", "a2"] {
            daemon.logs(&format!("request=t/{id} job=assessment-report"));
        }
        assert_eq!(status(&site)["pauses"], serde_json::json!([]));
    });
}

/// No row is made while a standalone job is paused, and one for all slots that have come meanwhile.
#[test]
fn a_standalone_job_makes_up_its_slots_by_one() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let requests = sample(&data, 1);
    let config: Value = serde_json::from_str(&requests[0].request_data).unwrap();
    let batches =
        config["batchFilters"].as_array().map_or_else(|| "TPD".to_owned(), |all| all[0].as_str().unwrap().to_owned());
    let database = TestDatabase::sqlite();
    let nightly = format!(
        "{}\n[[job]]\nid = \"nightly\"\nreport = \"course\"\nmode = \"standalone\"\nschedule = \"0 0 2 * * *\"\n\
         config = {{ batchFilters = [\"{batches}\"] }}\n",
        jobs("")
    );
    let site = Site::new(&database, &data, &nightly, "");
    assert!(site.run(&["run", "--once"]).status.success());
    says(&site, &["pause", "job", "nightly"], 0, "job nightly is paused");
    // Many nights ago.
    database.execute("UPDATE exhaust_slot SET slot = '2026-01-01 00:00:00.000'");
    says(&site, &["run", "--once"], 0, "0 requests");
    assert!(site.rows().is_empty());
    says(&site, &["resume", "job", "nightly"], 0, "resumed");
    says(&site, &["run", "--once"], 0, "1 requests: 1 completed");
    assert_eq!(site.rows().len(), 1);
}

/// `enabled = false` and back, and a standalone job outside its schedule.
#[test]
fn a_job_is_switched_off_and_run_now() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let requests = sample(&data, 1);
    let request = requests[0].request_data.as_str();
    let database = TestDatabase::sqlite();
    let text = format!(
        "{}\n[[job]]\nid = \"yearly\"\nreport = \"course\"\nmode = \"standalone\"\nschedule = \"0 0 2 1 1 *\"\n\
         config = {{ batchFilters = [\"TPD\"] }}\n",
        jobs("").replacen("report = \"course\"", "report = \"course\"\nenabled = false", 1)
    );
    let site = Site::new(&database, &data, &text, "");
    says(
        &site,
        &["submit", "course-report", "--tag", "t", "--job-config", request],
        2,
        "job course-report is switched off",
    );
    site.insert("t", "r", "course-report", request);
    says(&site, &["run-now", "course-report"], 1, "only a standalone job can be run now");
    says(&site, &["run-now", "yearly", "--by", "me"], 0, "exhaustd/");
    says(&site, &["run", "--once"], 0, "1 requests: 1 completed");
    let made = database.query_text("SELECT tag, requested_by, status FROM job_request WHERE job_id = 'yearly'");
    assert_eq!(made, [["exhaustd", "me", "COMPLETED"].map(|text| Some(text.to_owned()))]);
    assert_eq!(site.rows()["r"].status, "SUBMITTED");
    says(&site, &["status", "t", "r"], 0, "it waits: job course-report is switched off");
    says(&site, &["check"], 0, "switched off");
    let daemon = Daemon::start(&site, "");
    daemon.logs("daemon ready");
    let file = site.path("jobs.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("enabled = false", "enabled = true")).unwrap();
    daemon.logs("request completed request=t/r");
}
