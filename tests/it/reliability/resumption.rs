//! Who goes on with a request makes only what is missing.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::{Files, exchange, files, place, sample, stored_files, undisturbed, wait_until_done};
use crate::buckets;
use crate::daemon::{Daemon, wait_for};
use crate::databases::{TestDatabase, each};
use crate::site;

/// A request for all 25 batches.
fn all_batches(requests: &[crate::sample_requests::SampleRequest]) -> String {
    let batches: BTreeSet<&String> = requests.iter().flat_map(|request| &request.batches).collect();
    assert_eq!(batches.len(), 25);
    serde_json::json!({ "batchFilter": batches }).to_string()
}

/// Keys of the batches that the row knows to be stored.
fn noted(database: &TestDatabase) -> Vec<String> {
    let row = database.query_text("SELECT processed_batches FROM job_request");
    let Some(text) = row[0][0].as_ref() else { return Vec::new() };
    let noted: Value = serde_json::from_str(text).unwrap();
    let keys = noted["batches"].as_array().unwrap().iter();
    keys.map(|batch| {
        assert!(batch["rows"].is_u64() && batch["bytes"].is_u64() && batch["batch"].is_string(), "{batch}");
        batch["key"].as_str().unwrap().to_owned()
    })
    .collect()
}

/// Slow enough for a test to see it at work, and it never finishes, however late the test looks.
const UNHURRIED: &str = "generating:delay=100;generating#20:pause";

#[test]
fn a_killed_daemon_costs_at_most_the_batches_of_one_renewal_period() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let request = all_batches(&sample(&data, 60));
    let wanted = crate::sample_requests::SampleRequest {
        job_id: "course-report",
        request_data: request.clone(),
        batches: Vec::new(),
    };
    let expected = undisturbed(&data, &[wanted]).into_values().next().unwrap();
    site::each(|database, store| {
        let site = place(database, &data, "lease = \"1500ms\"\nthreads = 1").storing_in(store);
        site.insert("t", "r", "course-report", &request);
        let first = Daemon::start(&site, UNHURRIED);
        let before = wait_for("five batches to be noted", || Some(noted(database)).filter(|keys| keys.len() >= 5));
        assert!(before.len() < 25);
        first.kill();
        let noted = noted(database);
        let stored = site.stored().len();
        // A renewal notes everything that is stored by then; the next comes after 500 ms, in which 5 files are made.
        let lost = stored - noted.len();
        let second = Daemon::start(&site, "");
        wait_until_done(database);
        let row = &site.rows()["r"];
        assert_eq!(row.status, "COMPLETED", "{}", second.log());
        let made = row.stats["group"]["batches_generated"].as_u64().unwrap();
        println!("stored {stored}, noted {}, made again {lost}, made by the second daemon {made}", noted.len());
        assert_eq!(made, 25 - noted.len() as u64, "what the row knew is not made again");
        assert!(noted.iter().all(|key| row.urls.contains(key)), "and is delivered");
        assert_eq!(files(&site)["r"], expected);
        let counts = |name: &str| row.stats[name].as_u64().unwrap();
        assert_eq!(counts("batches"), 25);
        let rows: usize =
            expected.values().map(|text| csv::Reader::from_reader(text.as_bytes()).records().count()).sum();
        let bytes: usize = expected.values().map(String::len).sum();
        assert_eq!((counts("rows"), counts("bytes")), (rows as u64, bytes as u64), "resumed batches are counted too");
    });
}

/// Files that are gone, cut off or made by other options are made again.
#[test]
fn what_cannot_be_trusted_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let request = all_batches(&sample(&data, 60));
    site::each(|database, store| {
        let site = place(database, &data, "lease = \"1500ms\"\nthreads = 1").storing_in(store);
        site.insert("t", "r", "course-report", &request);
        let first = Daemon::start(&site, UNHURRIED);
        wait_for("five batches to be noted", || Some(noted(database)).filter(|keys| keys.len() >= 5));
        first.kill();
        let known = noted(database);
        site.remove(&known[0]);
        site.overwrite(&known[1], b"half");
        // A whole file of the right size, but another request's.
        let foreign = known[2].replace("/t/r/", "/t/another/");
        site.overwrite(&foreign, &site.bytes(&known[2]));
        let mut untrusted = vec![&known[0], &known[1], &known[2]];
        // What a loss of power may leave of a file in a directory: its name, its size, and no content.
        if store.is_none() {
            site.overwrite(&known[3], &vec![0; site.bytes(&known[3]).len()]);
            untrusted.push(&known[3]);
        }
        database.execute(&format!(
            "UPDATE job_request SET processed_batches = replace(processed_batches, '{}', '{foreign}')",
            known[2]
        ));
        let second = Daemon::start(&site, "");
        wait_until_done(database);
        let row = &site.rows()["r"];
        let made = 25 - known.len() + untrusted.len();
        assert_eq!(row.stats["group"]["batches_generated"].as_u64(), Some(made as u64), "{}", second.log());
        assert!(known.iter().all(|key| row.urls.contains(key) != untrusted.contains(&key)), "{untrusted:?}");
        assert!(!row.urls.contains(&foreign));
        second.kill();

        // Another option: other bytes, so nothing of the first attempt is part of this one.
        database.execute(
            "UPDATE job_request SET status = 'SUBMITTED', download_urls = NULL, job_stats = NULL, iteration = 0",
        );
        let text = fs::read_to_string(site.path("jobs.toml")).unwrap();
        fs::write(
            site.path("jobs.toml"),
            text.replacen("report = \"course\"", "report = \"course\"\noptions = { crlf = true }", 1),
        )
        .unwrap();
        let third = Daemon::start(&site, "");
        wait_until_done(database);
        let row = &site.rows()["r"];
        assert_eq!(row.stats["group"]["batches_generated"].as_u64(), Some(25), "{}", third.log());
        assert!(row.urls.iter().all(|url| site.file(url).contains("\r\n")));
    });
}

/// The same in an object store, into which others may write.
#[test]
fn an_object_that_is_gone_or_has_other_bytes_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let request = all_batches(&sample(&data, 60));
    let wanted = crate::sample_requests::SampleRequest {
        job_id: "course-report",
        request_data: request.clone(),
        batches: Vec::new(),
    };
    let expected = undisturbed(&data, &[wanted]).into_values().next().unwrap();
    buckets::each(|bucket| {
        let database = TestDatabase::sqlite();
        let site = place(&database, &data, "lease = \"1500ms\"\nthreads = 1");
        let text = fs::read_to_string(site.path("jobs.toml")).unwrap();
        fs::write(site.path("jobs.toml"), text.replace("file://reports", &bucket.url)).unwrap();
        site.insert("t", "r", "course-report", &request);
        let start = |points: &str| {
            let mut command = site.command(&["run"]);
            Daemon::spawn(command.envs(bucket.environment()).env("EXHAUST_TEST_POINT", points))
        };
        let first = start(UNHURRIED);
        wait_for("five batches to be noted", || Some(noted(&database)).filter(|keys| keys.len() >= 5));
        first.kill();
        let (known, store) = (noted(&database), bucket.open());
        let bytes = |key: &str| store.read(key, 0..store.look(key).unwrap().unwrap().bytes).unwrap();
        store.remove(&known[0]).unwrap();
        let mut other = bytes(&known[1]).to_vec();
        *other.last_mut().unwrap() ^= 1;
        buckets::put(&store, &known[1], other);
        let second = start("");
        wait_until_done(&database);
        let row = &site.rows()["r"];
        assert_eq!(row.status, "COMPLETED", "{}", second.log());
        assert_eq!(row.stats["group"]["batches_generated"].as_u64(), Some(27 - known.len() as u64), "{}", second.log());
        assert!(known[..2].iter().all(|key| !row.urls.contains(key)));
        assert!(known[2..].iter().all(|key| row.urls.contains(key)));
        let name = |url: &String| url.rsplit('/').next().unwrap().to_owned();
        let text = |url: &String| String::from_utf8(bytes(url).to_vec()).unwrap();
        let made: Files = row.urls.iter().map(|url| (name(url), text(url))).collect();
        assert!(made == expected, "{:?}", bucket.server);
    });
}

/// A failure that may pass keeps what was stored before it, too.
#[test]
fn a_retry_makes_only_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let request = all_batches(&sample(&data, 60));
    each(|database| {
        let site = place(database, &data, "threads = 1");
        site.insert("t", "r", "course-report", &request);
        let daemon = Daemon::start(&site, "generating:delay=200");
        wait_for("some files", || (stored_files(&site.path("reports")).len() >= 5).then_some(()));
        // The store refuses from here on.
        fs::write(site.path("away"), "in the way").unwrap();
        exchange(&site.path("reports"), &site.path("away"));
        daemon.logs("request will be tried again");
        let known = noted(database);
        assert!(known.len() >= 5, "noted with the failure, long before a renewal");
        exchange(&site.path("reports"), &site.path("away"));
        database.execute("UPDATE job_request SET next_attempt_at = NULL");
        wait_until_done(database);
        let row = &site.rows()["r"];
        assert_eq!(row.status, "COMPLETED", "{}", daemon.log());
        assert_eq!(row.stats["group"]["batches_generated"].as_u64(), Some(25 - known.len() as u64));
    });
}
