//! Keys on their way in: by command line and HTTP, and what refuses or warns where they are missing.

use std::fs;
use std::process::Output;
use std::thread;

use serde_json::{Value, json};

use super::{KEY, SECRET, kept, once, run};
use crate::api::{BATCH, SUBMIT, rows, site, submission};
use crate::daemon::wait_for;
use crate::databases::{TestDatabase, each};
use crate::http::Server;
use crate::reliability::jobs;
use crate::site::{JOBS, Site, fixture, told};

fn with<'a>(arguments: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [arguments, more].concat()
}

#[test]
fn submit_takes_a_key_from_where_no_list_of_processes_shows_it() {
    each(|database| {
        let jobs = JOBS.replace("report = \"course\"", "report = \"course\"\nrequire_encryption = true");
        let site = Site::new(database, &fixture("odd"), &jobs, "");
        let submit = ["submit", "course-report", "--batch", BATCH, "--json"];
        let refused = |output: Output, code: i32, part: &str| {
            assert!(output.status.code() == Some(code) && told(&output).contains(part), "{}", told(&output));
        };
        fs::write(site.path("key"), "the key of a file\r\n").unwrap();
        let how =
            "encryptionKey is missing: this job makes protected files only; give one with --encryption-key-file or";
        refused(run(&site, &submit, &[], ""), 2, how);
        refused(run(&site, &submit, &[(KEY, "")], ""), 2, "encryptionKey must have 8 to 50 characters");
        refused(run(&site, &submit, &[(KEY, &"x".repeat(51))], ""), 2, "encryptionKey must have 8 to 50 characters");
        refused(
            run(&site, &with(&submit, &["--encryption-key-file", "nowhere"]), &[], ""),
            2,
            "--encryption-key-file nowhere: ",
        );
        refused(
            run(&site, &with(&submit, &["--encryption-key-file", "-"]), &[], "two\nlines of it"),
            2,
            "without control characters",
        );
        let by_file = run(&site, &with(&submit, &["--encryption-key-file", "key"]), &[(KEY, "not this one")], "");
        assert!(by_file.status.success() && told(&by_file).contains("\"created\""), "{}", told(&by_file));
        let [key, sealed, mark] = kept(database);
        assert_eq!((key.as_deref(), sealed), (Some("the key of a file"), None));
        assert!(mark.unwrap().starts_with("pbkdf2-2:"));
        let by_stdin = run(&site, &with(&submit, &["--encryption-key-file", "-"]), &[], "the key of a file");
        assert!(told(&by_stdin).contains("\"exists\""), "{}", told(&by_stdin));
        let other = run(&site, &submit, &[(KEY, "another key")], "");
        refused(other, 1, "already submitted with another encryptionKey");
        // Cancelled, its key is gone: only a submission with the key brings it back.
        let id = site.rows().into_keys().next().unwrap();
        assert!(site.run(&["cancel", "cli", &id]).status.success());
        assert_eq!(kept(database)[0], None);
        refused(site.run(&["retry", "cli", &id]), 1, "encryptionKey was wiped when the request ended");
        let again = run(&site, &submit, &[(KEY, "the key of a file")], "");
        assert!(told(&again).contains("\"resubmitted\""), "{}", told(&again));
        once(&site, &[]);
        assert_eq!(site.rows()[&id].status, "COMPLETED");
        // A dry run says what there would be, whoever has the key.
        let explained = site.run(&["explain", "--request", "cli", &id]);
        assert!(explained.status.success() && !told(&explained).contains("the key of"), "{}", told(&explained));
    });
}

#[test]
fn check_warns_of_what_protects_badly() {
    let database = TestDatabase::sqlite();
    let jobs = JOBS.replace("report = \"course\"", "report = \"course\"\nzip = \"legacy\"\nrequire_encryption = true");
    let site = Site::new(&database, &fixture("odd"), &jobs, "");
    let legacy = "job course-report: zip = \"legacy\" protects files with ZipCrypto, which is easily broken";
    let checked = told(&site.run(&["check"]));
    assert!(checked.contains(&format!("warning: {legacy}")), "{checked}");
    assert!(checked.contains("warning: job course-report: without [secrets] key"), "{checked}");
    let output = run(&site, &["check", "--json"], &[(SECRET, "sixteen characters")], "");
    let warnings = serde_json::from_slice::<Value>(&output.stdout).unwrap()["warnings"].clone();
    assert_eq!(warnings.as_array().unwrap().len(), 1, "{warnings}");
    assert!(warnings[0].as_str().unwrap().starts_with(legacy), "{warnings}");
}

fn with_key(key: &Value) -> Value {
    let mut body = submission("t", BATCH);
    body["request"]["encryptionKey"] = key.clone();
    body
}

/// The same submission: with the same key the same request, with another one 409, at any time. The key is in no answer and
/// in no log.
#[test]
fn a_submission_over_http_is_the_same_with_the_same_key_only() {
    const CONFLICT: (u16, &str) = (409, "already submitted with another encryptionKey");
    each(|database| {
        let site = site(database, "");
        let server = Server::start(&site, "serve");
        let client = server.client();
        let ask = |key: Value| {
            let answer = client.post(SUBMIT, &with_key(&key));
            assert!(!String::from_utf8_lossy(&answer.body).contains("hush"), "{}", answer.errmsg());
            answer
        };
        let first = json!("hush, hush");
        // Marks are made one after the other, which a machine with other work takes long for: 503 says to ask again.
        let answered = || wait_for("an answer", || Some(ask(first.clone()).status).filter(|status| *status != 503));
        let asked: Vec<u16> = thread::scope(|scope| {
            let asked: Vec<_> = (0..20).map(|_| scope.spawn(answered)).collect();
            asked.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!((asked, rows(database)), (vec![200; 20], 1));
        let id = site.rows().into_keys().next().unwrap();
        let others = |when: &str| {
            for other in [json!("hush, hash"), Value::Null] {
                let answer = ask(other.clone());
                assert_eq!((answer.status, answer.errmsg().as_str()), CONFLICT, "{when}: {other}");
            }
            let same = ask(first.clone());
            assert_eq!((same.status, &same.json()["result"]["request_id"]), (200, &json!(id)), "{when}");
        };
        others("SUBMITTED");
        assert_eq!(server.post(&format!("/job/request/cancel/t/{id}"), &json!({})).status, 200);
        let retry = server.post(&format!("/job/request/retry/t/{id}"), &json!({}));
        let wiped = "encryptionKey was wiped when the request ended: submit it again with the key";
        assert_eq!((retry.status, retry.errmsg().as_str()), (409, wiped));
        others("FAILED");
        assert_eq!(site.rows()[&id].status, "SUBMITTED", "the last of these brought it back");
        once(&site, &[]);
        let status = server.ended("t", &id, &[]);
        others("COMPLETED");
        let link = status["downloadURLs"][0].as_str().unwrap();
        let file = server.fetch(link);
        assert_eq!((file.status, file.header("content-type")), (200, Some("application/zip")));
        let name = format!("attachment; filename=\"reports-{BATCH}.zip\"");
        assert_eq!((&file.body[..4], file.header("content-disposition")), (&b"PK\x03\x04"[..], Some(name.as_str())));
        for path in ["/job/request/list/t", "/openapi.json", "/metrics"] {
            assert!(!String::from_utf8_lossy(&server.get(path).body).contains("hush"), "{path}");
        }
        let (_, log) = server.stop();
        assert!(!log.contains("hush"), "{log}");
        let table = database.query_text("SELECT * FROM job_request");
        assert!(!format!("{table:?}").contains("hush"), "{table:?}");
    });
}

#[test]
fn a_job_that_demands_protection_refuses_what_brings_no_key() {
    let database = TestDatabase::sqlite();
    let jobs = jobs("").replace("report = \"course\"", "report = \"course\"\nrequire_encryption = true");
    let site = Site::new(&database, &fixture("odd"), &format!("{jobs}[api]\nlisten = \"127.0.0.1:0\"\n"), "");
    let server = Server::spawn({
        let mut command = site.command(&["serve"]);
        command.env(SECRET, "a secret of this place");
        command
    });
    let answer = server.post(SUBMIT, &submission("t", BATCH));
    assert_eq!(
        (answer.status, answer.errmsg().as_str()),
        (400, "encryptionKey is missing: this job makes protected files only")
    );
    assert_eq!(server.post(SUBMIT, &with_key(&json!("hush, hush"))).status, 200);
    let [key, sealed, mark] = kept(&database);
    assert_eq!(key, None);
    assert!(sealed.unwrap().starts_with("v1:") && mark.unwrap().starts_with("hmac1:"));
}
