//! Protected files from outside: others open them with the key and not without, nothing plain is ever on a disk, and the
//! key is nowhere but where it has to be.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod submitting;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::sample_requests::SampleRequest;
use serde_json::{Value, json};

use crate::api::BATCH;
use crate::daemon::{Daemon, wait_for};
use crate::databases::{TestDatabase, each};
use crate::reliability::{Files, place, sample, undisturbed, wait_until_done};
use crate::site::{self, JOBS, Site, fixture, told};

const KEY: &str = "EXHAUST_ENCRYPTION_KEY";
const SECRET: &str = "EXHAUST__SECRETS__KEY";

/// The modules that `scripts/test` installs.
fn python() -> Command {
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-python"));
    python.env("LC_ALL", "C.UTF-8");
    python
}

/// 7-Zip's program, where there is one and pyzipper too.
fn readers() -> Option<&'static str> {
    let runs = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    let seven_zip = ["7zz", "7z"].into_iter().find(|name| runs(&mut Command::new(name)));
    let missing = match seven_zip {
        Some(_) if runs(python().args(["-c", "import pyzipper"])) => return seven_zip,
        Some(_) => "pyzipper",
        None => "7-Zip",
    };
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{missing} is not installed");
    eprintln!("skipped: opening protected files with other programs: {missing} is not installed (see scripts/test)");
    None
}

/// Everything in a directory, temporary files included.
fn all_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(directory) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(all_files(&path)) } else { found.push(path) }
    }
    found
}

/// Runs a command with input and these variables.
fn run(site: &Site<'_>, arguments: &[&str], variables: &[(&str, &str)], input: &str) -> Output {
    let mut command = site.command(arguments);
    command.envs(variables.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Nobody may be reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn once(site: &Site<'_>, variables: &[(&str, &str)]) -> String {
    told(&run(site, &["run", "--once"], variables, ""))
}

/// What a row has of a password: plain, sealed, mark.
fn kept(database: &TestDatabase) -> [Option<String>; 3] {
    let columns = "SELECT encryption_key, encryption_key_sealed, encryption_mark FROM job_request";
    database.query_text(columns).remove(0).try_into().unwrap()
}

/// One request for the 25 largest batches of a made-up platform, and what it gives without a key.
fn large(data: &Path, job_id: &'static str) -> (String, Files) {
    let batches: std::collections::BTreeSet<String> =
        crate::sample_requests::requests(0.001, 60, 25).into_iter().flat_map(|one| one.batches).collect();
    let request_data = json!({ "batchFilter": batches }).to_string();
    let wanted = SampleRequest { job_id, request_data: request_data.clone(), batches: Vec::new() };
    (request_data, undisturbed(data, &[wanted]).into_values().next().unwrap())
}

/// For `protected.py`: each archive beside what must be in it.
fn to_open(site: &Site<'_>, id: &str, key: &str, method: &str, plain: &Files) -> Vec<Value> {
    let row = &site.rows()[id];
    assert_eq!((row.status.as_str(), row.urls.len()), ("COMPLETED", plain.len()), "{}", row.message);
    let one = |url: &String| {
        let zip = site.on_disk(url);
        let entry = zip.file_name().unwrap().to_str().unwrap().replace(".zip", ".csv");
        let expected = site.path(&format!("{id}-{entry}"));
        fs::write(&expected, plain.get(&entry).unwrap_or_else(|| panic!("{url}"))).unwrap();
        json!({ "zip": zip, "entry": entry, "plain": expected, "key": key, "method": method })
    };
    row.urls.iter().map(one).collect()
}

fn open(seven_zip: &str, files: &[Value]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/protected.py");
    let mut python = python();
    let mut child = python
        .arg(script)
        .arg(seven_zip)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(Value::from(files).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    told(&output)
}

/// Both ways to zip, from our own submit and from rows that others wrote. Requests with other keys and with none for the
/// same batches are in the same scan: each gets its own.
#[test]
fn other_programs_open_protected_files_with_the_key_and_not_without() {
    let Some(seven_zip) = readers() else { return };
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    sample(&data, 60);
    let (course, course_files) = large(&data, "course-report");
    let (assessment, assessment_files) = large(&data, "assessment-report");
    site::each(|database, store| {
        // That text is to be compressed has no effect on what is in an archive.
        let jobs = JOBS.replace("report = \"course\"", "report = \"course\"\ncompress = \"gzip\"");
        let jobs = jobs.replace("report = \"assessment\"", "report = \"assessment\"\nzip = \"legacy\"");
        let site = Site::new(database, &data, &jobs, "").storing_in(store);
        let foreign = [
            ("theirs", "course-report", &course, "their own key"),
            ("umlauts", "course-report", &course, "schlüssel · 漢字"),
            ("old", "assessment-report", &assessment, "an old friend"),
        ];
        assert!(site.run(&["migrate"]).status.success());
        for (id, job, request, key) in foreign {
            site.insert("t", id, job, request);
            database.execute(&format!("UPDATE job_request SET encryption_key = '{key}' WHERE request_id = '{id}'"));
        }
        site.insert("t", "plain", "course-report", &course);
        for (id, key) in [("ours", "our first key"), ("ours-2", "our second key")] {
            let submit = ["submit", "course-report", "--job-config", &course, "--request-id", id];
            let output = run(&site, &submit, &[(KEY, key)], "");
            assert!(output.status.success(), "{}", told(&output));
        }
        let log = once(&site, &[]);
        let mut files = Vec::new();
        for (id, key) in [("theirs", "their own key"), ("ours", "our first key"), ("ours-2", "our second key")] {
            files.extend(to_open(&site, id, key, "aes", &course_files));
        }
        files.extend(to_open(&site, "old", "an old friend", "legacy", &assessment_files));
        if store.is_some() {
            // The stream is the same whatever the store; a few of them show that it got there whole.
            files = files.into_iter().step_by(8).collect();
        }
        println!("{}", open(seven_zip, &files));
        let plain = &site.rows()["plain"];
        assert!(plain.urls.iter().all(|url| url.ends_with(".csv.gz")), "{:?}", plain.urls);
        // What pyzipper takes as bytes; 7-Zip would take the letters through a locale.
        let umlauts = to_open(&site, "umlauts", "schlüssel · 漢字", "aes", &course_files);
        let read = "import json, sys, pyzipper\nfor f in json.load(sys.stdin):\n    \
            assert pyzipper.AESZipFile(f['zip']).read(f['entry'], f['key'].encode()) == open(f['plain'], 'rb').read()";
        let mut child = python().args(["-c", read]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(Value::from(umlauts).to_string().as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        for (key, _) in [("their own key", 0), ("umlauts key", 0), ("our first key", 0), ("an old friend", 0)] {
            assert!(!log.contains(key), "{log}");
        }
        let left = database.query_text(
            "SELECT count(*) FROM job_request WHERE encryption_key IS NOT NULL OR encryption_key_sealed IS NOT NULL",
        );
        assert_eq!(left[0][0].as_deref(), Some("0"), "wiped");
    });
}

/// A daemon is stopped and killed while it writes, with every file of the request begun and with some in their place; then
/// another goes on, and makes only what is missing.
#[test]
fn nothing_plain_is_ever_on_a_disk() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    sample(&data, 60);
    let (request, plain) = large(&data, "course-report");
    let lines: Vec<&str> =
        plain.values().flat_map(|file| file.lines().take(5)).filter(|line| line.len() > 40).collect();
    assert!(lines.len() > 50);
    let is_plain = |file: &PathBuf| {
        let bytes = fs::read(file).unwrap();
        let bytes = String::from_utf8_lossy(&bytes);
        lines.iter().any(|line| bytes.contains(line)) || bytes.contains("User Name")
    };
    each(|database| {
        let site = place(database, &data, "lease = \"1500ms\"\nthreads = 2");
        site.insert("t", "r", "course-report", &request);
        database.execute("UPDATE job_request SET encryption_key = 'hush, hush'");
        let look = |when: &str| {
            let files = all_files(&site.path("reports"));
            let found: Vec<_> = files.iter().filter(|file| is_plain(file)).collect();
            assert!(found.is_empty(), "{when}: {found:?}");
            files
        };
        let first = Daemon::start(&site, "written:pause");
        first.logs("paused at=written");
        let incoming = look("while it is written");
        assert!(incoming.iter().any(|file| file.to_string_lossy().contains(".incoming")), "{incoming:?}");
        first.kill();
        look("after a kill");
        let second = Daemon::start(&site, "generating:delay=150;written#12:pause");
        let noted = wait_for("files to be noted", || {
            let row = database.query_text("SELECT processed_batches FROM job_request").remove(0).remove(0)?;
            let noted: Value = serde_json::from_str(&row).unwrap();
            assert!(!row.contains("hush"), "{row}");
            Some(noted["batches"].as_array().unwrap().len()).filter(|&noted| noted >= 4)
        });
        second.kill();
        look("after another kill");
        let third = Daemon::start(&site, "");
        wait_until_done(database);
        look("at the end");
        let row = &site.rows()["r"];
        assert_eq!(row.status, "COMPLETED", "{}", third.log());
        let made = row.stats["group"]["batches_generated"].as_u64().unwrap();
        assert!(made <= 25 - noted as u64, "{made} made of 25, {noted} were noted");
        assert!(!third.log().contains("hush"), "{}", third.log());
        let [key, sealed, mark] = kept(database);
        assert_eq!((key, sealed, mark.as_deref()), (None, None, Some("unknown")));
        let left = database.query_text("SELECT processed_batches FROM job_request");
        assert_eq!(left, [[None]], "nothing that was made of the key stays");
        if let Some(seven_zip) = readers() {
            println!("{}", open(seven_zip, &to_open(&site, "r", "hush, hush", "aes", &plain)));
        }
    });
}

/// Another key in the row: what was made with the first is no part of it.
#[test]
fn files_under_another_key_are_made_again() {
    let Some(seven_zip) = readers() else { return };
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    sample(&data, 60);
    let (request, plain) = large(&data, "course-report");
    let database = TestDatabase::sqlite();
    let site = place(&database, &data, "lease = \"1500ms\"\nthreads = 1");
    site.insert("t", "r", "course-report", &request);
    database.execute("UPDATE job_request SET encryption_key = 'the first key'");
    let first = Daemon::start(&site, "generating:delay=150;generating#12:pause");
    wait_for("files to be noted", || {
        database.query_text("SELECT processed_batches FROM job_request").remove(0).remove(0)
    });
    first.kill();
    database.execute("UPDATE job_request SET encryption_key = 'the second key'");
    let second = Daemon::start(&site, "");
    wait_until_done(&database);
    let made = site.rows()["r"].stats["group"]["batches_generated"].as_u64();
    assert_eq!(made, Some(25), "{}", second.log());
    open(seven_zip, &to_open(&site, "r", "the second key", "aes", &plain));
}

/// A store that fails, and keys that cannot protect anything: the request fails, and there is no file.
#[test]
fn protection_fails_rather_than_falls_away() {
    each(|database| {
        let jobs =
            JOBS.replace("report = \"course\"", "report = \"course\"\nrequire_encryption = true\nmax_attempts = 1");
        let site = Site::new(database, &fixture("odd"), &jobs, "");
        assert!(site.run(&["migrate"]).status.success());
        let request = json!({ "batchId": BATCH }).to_string();
        let rows = [
            ("none", "NULL", "NULL", "NULL", "encryptionKey is missing: this job makes protected files only"),
            ("empty", "''", "NULL", "NULL", "encryptionKey is missing: this job makes protected files only"),
            (
                "odd",
                "'with a' || chr(9) || 'tab'",
                "NULL",
                "NULL",
                "encryptionKey must be text without control characters",
            ),
            (
                "gone",
                "NULL",
                "NULL",
                "'unknown'",
                "encryptionKey was wiped when the request ended: submit it again with the key",
            ),
            (
                "sealed",
                "NULL",
                "'v1:AAAA'",
                "NULL",
                "encryptionKey is sealed, and this daemon has no [secrets] key to open it",
            ),
            (
                "both",
                "'good enough'",
                "'v1:AAAA'",
                "NULL",
                "encryptionKey is sealed, and this daemon has no [secrets] key to open it",
            ),
        ];
        for (id, key, sealed, mark, _) in rows {
            let key = if database.is_postgres() { key.to_owned() } else { key.replace("chr(", "char(") };
            site.insert("t", id, "course-report", &request);
            database.execute(&format!(
                "UPDATE job_request SET encryption_key = {key}, encryption_key_sealed = {sealed}, encryption_mark = {mark}
                WHERE request_id = '{id}'"
            ));
        }
        let log = once(&site, &[]);
        for (id, _, _, _, message) in rows {
            let row = &site.rows()[id];
            assert_eq!((row.status.as_str(), row.message.as_str()), ("FAILED", message), "{id}");
        }
        assert_eq!(all_files(&site.path("reports")), Vec::<PathBuf>::new(), "{log}");
        assert!(!log.contains("with a") && !log.contains("good enough"), "{log}");
        // With a secret: one that is another, and a sealed key that was moved here from another row.
        let sealed = |id: &str, secret: &str| {
            let submit = ["submit", "course-report", "--batch", BATCH, "--tag", "t", "--request-id", id];
            let output = run(&site, &submit, &[(KEY, "good enough"), (SECRET, secret)], "");
            assert!(output.status.success(), "{}", told(&output));
        };
        database.execute("DELETE FROM job_request");
        sealed("a", "another secret of theirs");
        sealed("b", "the secret of this place");
        sealed("c", "the secret of this place");
        database.execute(
            "UPDATE job_request SET encryption_key_sealed =
                (SELECT encryption_key_sealed FROM job_request WHERE request_id = 'c') WHERE request_id = 'b'",
        );
        let plain = database.query_text("SELECT count(*) FROM job_request WHERE encryption_key IS NOT NULL");
        assert_eq!(plain[0][0].as_deref(), Some("0"), "sealed keys are not plain as well");
        let log = once(&site, &[(SECRET, "the secret of this place")]);
        let rows = site.rows();
        for id in ["a", "b"] {
            assert_eq!(rows[id].status, "FAILED", "{id}");
            let message =
                "encryptionKey does not open: sealed under another [secrets] key, or altered; submit it again";
            assert_eq!(rows[id].message, message, "{id}");
        }
        assert_eq!(rows["c"].status, "COMPLETED", "{log}");
        assert_eq!(all_files(&site.path("reports")).len(), 1);
        // As the message says.
        sealed("a", "the secret of this place");
        once(&site, &[(SECRET, "the secret of this place")]);
        assert_eq!(site.rows()["a"].status, "COMPLETED");
        assert!(!log.contains("good enough") && !log.contains("secret of this place"), "{log}");
    });
}

/// While nothing says otherwise the operator may still configure the secret: the request waits for it.
#[test]
fn a_sealed_request_waits_for_a_daemon_that_has_the_secret() {
    let database = TestDatabase::sqlite();
    let site = Site::new(&database, &fixture("odd"), JOBS, "");
    let secret = (SECRET, "sixteen characters");
    let submit = ["submit", "course-report", "--batch", BATCH, "--request-id", "r"];
    assert!(run(&site, &submit, &[(KEY, "good enough"), secret], "").status.success());
    once(&site, &[]);
    let row = &site.rows()["r"];
    assert_eq!(row.status, "SUBMITTED");
    assert_eq!(row.message, "encryptionKey is sealed, and this daemon has no [secrets] key to open it");
    database.execute("UPDATE job_request SET next_attempt_at = NULL");
    once(&site, &[secret]);
    assert_eq!(site.rows()["r"].status, "COMPLETED");
    let [key, sealed, mark] = kept(&database);
    assert_eq!((key, sealed), (None, None));
    assert!(mark.unwrap().starts_with("hmac1:"));
}
