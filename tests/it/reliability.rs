//! Nothing is lost: kills, poison, zombies, faults, stops and reloads, with the built program from outside. Each prints
//! its counts; `docs/reliability.md` says what was seen.
//!
//! `EXHAUST_TEST_KILLS` sets how many kills the kill test makes (`scripts/test` leaves it at 210).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod faults;
mod key_ranges;
mod kills;
mod poison;
mod reloads;
mod resumption;
mod slots;
mod stops;
mod tenants;
mod zombies;

use std::collections::BTreeMap;
use std::path::Path;

use exhaust::sample_data::{self, Format, SampleOptions};

use crate::daemon::wait_for;
use crate::databases::TestDatabase;
use crate::sample_requests::{self, SampleRequest};
use crate::site::{JOBS, Site};

/// A made-up platform in `directory`, and requests over its 25 largest batches.
pub(crate) fn sample(directory: &Path, requests: usize) -> Vec<SampleRequest> {
    let options = SampleOptions { format: Format::Parquet, ..SampleOptions::small(directory) };
    sample_data::generate(&options, &|_, _| ()).unwrap();
    sample_requests::requests(0.001, requests, 25)
}

/// Both jobs, scanned every second, with these lines of `[worker]`.
pub(crate) fn jobs(worker: &str) -> String {
    let jobs = JOBS.replace("\nreport =", "\nschedule = \"* * * * * *\"\nreport =");
    format!("{jobs}\n[worker]\n{worker}\n")
}

/// A place with both jobs on this database, whose table is there.
pub(crate) fn place<'a>(database: &'a TestDatabase, data: &Path, worker: &str) -> Site<'a> {
    let site = Site::new(database, data, &jobs(worker), "");
    assert!(site.run(&["migrate"]).status.success());
    site
}

/// The name and content of every file of a request.
pub(crate) type Files = BTreeMap<String, String>;

/// What each request's files hold, by request id.
pub(crate) fn files(site: &Site<'_>) -> BTreeMap<String, Files> {
    let name = |url: &String| (url.rsplit('/').next().unwrap().to_owned(), site.file(url));
    site.rows().into_iter().map(|(id, seen)| (id, seen.urls.iter().map(name).collect())).collect()
}

/// What these requests give on a machine where nothing goes wrong, by `request_data` and job.
pub(crate) fn undisturbed(data: &Path, requests: &[SampleRequest]) -> BTreeMap<String, Files> {
    let database = TestDatabase::sqlite();
    let site = Site::new(&database, data, JOBS, "");
    let mut ids = BTreeMap::new();
    for (n, request) in requests.iter().enumerate() {
        ids.entry(format!("{} {}", request.job_id, request.request_data)).or_insert_with(|| {
            let id = format!("r{n}");
            site.insert("t", &id, request.job_id, &request.request_data);
            id
        });
    }
    assert!(site.run(&["run", "--once"]).status.success());
    let mut files = files(&site);
    ids.into_iter().map(|(what, id)| (what, files.remove(&id).unwrap())).collect()
}

/// Inserts these requests as r00, r01, …
pub(crate) fn insert_all(site: &Site<'_>, requests: &[SampleRequest]) {
    for (n, request) in requests.iter().enumerate() {
        site.insert("t", &format!("r{n:02}"), request.job_id, &request.request_data);
    }
}

/// Waits until no row is open.
pub(crate) fn wait_until_done(database: &TestDatabase) {
    wait_for("every request to end", || (open_rows(database) == 0).then_some(()));
}

/// How many rows are SUBMITTED or PROCESSING.
pub(crate) fn open_rows(database: &TestDatabase) -> usize {
    count(database, "status IN ('SUBMITTED', 'PROCESSING')")
}

/// How many rows are so.
pub(crate) fn count(database: &TestDatabase, condition: &str) -> usize {
    let rows = database.query_text(&format!("SELECT count(*) FROM job_request WHERE {condition}"));
    rows[0][0].as_ref().unwrap().parse().unwrap()
}

/// Each gets the other's name, in one step: a daemon finds no gap in which it makes a new store where the old one was.
pub(crate) fn exchange(one: &Path, other: &Path) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
}

/// Every regular file below a directory that is no temporary one.
pub(crate) fn stored_files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(directory) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with(".incoming") {
                found.extend(stored_files(&path));
            }
        } else {
            found.push(path);
        }
    }
    found
}
