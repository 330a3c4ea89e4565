//! A batch that is more than memory, and what happens in the middle of it: nothing half appears, and it is made whole
//! afterwards.

use std::fs;
use std::path::PathBuf;

use exhaust::sample_data::{self, Format, SampleOptions};

use super::{Files, count, files, place, undisturbed, wait_until_done};
use crate::daemon::Daemon;
use crate::databases::TestDatabase;
use crate::sample_requests::{self, SampleRequest};
use crate::site::{self, Site};

/// Of the made-up platform's largest batch there are several key ranges in this memory.
const WORKER: &str = "memory = \"64KiB\"\nlease = \"1500ms\"\nstop_timeout = \"4s\"\nthreads = 2";

/// A platform, a request for its largest batch, and what that shall get.
struct Large {
    directory: tempfile::TempDir,
    request: SampleRequest,
    expected: Files,
}

impl Large {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let options = SampleOptions { scale: 0.002, format: Format::Parquet, ..SampleOptions::small(&data) };
        sample_data::generate(&options, &|_, _| ()).unwrap();
        let batches = sample_requests::requests(0.002, 60, 25).into_iter().flat_map(|request| request.batches);
        // They are numbered at the end, from the largest on.
        let largest = batches.min_by_key(|batch| batch[batch.len() - 6..].to_owned()).unwrap();
        let request = SampleRequest {
            job_id: "course-report",
            request_data: format!(r#"{{"batchId": "{largest}"}}"#),
            batches: vec![largest],
        };
        let expected = undisturbed(&data, std::slice::from_ref(&request)).into_values().next().unwrap();
        Self { directory, request, expected }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A site with the request.
    fn site<'a>(&self, database: &'a TestDatabase) -> Site<'a> {
        let site = place(database, &self.data(), WORKER);
        site.insert("t", "r", self.request.job_id, &self.request.request_data);
        site
    }
}

#[test]
fn a_daemon_that_ends_between_two_key_ranges_leaves_nothing_half() {
    let large = Large::new();
    site::each(|database, store| {
        for kills in [true, false] {
            database.execute("DROP TABLE IF EXISTS job_request");
            let site = large.site(database).storing_in(store);
            // A bucket has what the time before has left there.
            let before = site.stored();
            let mut first = Daemon::start(&site, "key_range#3:pause");
            first.logs("paused at=key_range");
            assert_eq!(site.stored(), before, "{}", first.log());
            if kills {
                first.kill();
            } else {
                // The key range that is loaded never ends.
                first.signal("TERM");
                assert!(first.wait().success(), "{}", first.log());
                assert_eq!(count(database, "status = 'SUBMITTED' AND iteration = 0 AND crashes = 0"), 1);
            }
            let second = Daemon::start(&site, "");
            wait_until_done(database);
            assert_eq!(site.rows()["r"].status, "COMPLETED", "{}", second.log());
            assert!(second.log().contains("worked on in learner ranges"), "{}", second.log());
            assert!(files(&site)["r"] == large.expected, "other bytes");
            assert_eq!(site.stored().len(), before.len() + 1);
        }
    });
}

#[test]
fn a_table_that_vanishes_between_two_key_ranges_fails_the_request() {
    let database = TestDatabase::sqlite();
    let large = Large::new();
    let site = large.site(&database);
    let gone = site.path("gone");
    let daemon = Daemon::start(&site, &format!("key_range#3:until={}", gone.display()));
    daemon.logs("paused at=key_range");
    fs::remove_file(large.data().join("user.parquet")).unwrap();
    fs::write(gone, "").unwrap();
    wait_until_done(&database);
    let row = &site.rows()["r"];
    assert_eq!(row.status, "FAILED", "{}", daemon.log());
    assert!(row.message.starts_with("table user: not in "), "{}", row.message);
    assert_eq!(site.stored().len(), 0);
}
