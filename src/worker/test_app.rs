//! What unit tests of the steps of a group need.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::Checkpoint;
use super::group::context::GroupContext;
use super::group_metrics::GroupMetrics;
use super::plan::Ready;
use super::stats::LoadStats;
use super::stop::Stop;
use crate::config::checked::{Config, MaxBadRows};
use crate::config::{self, Environment};
use crate::outputs::Store;
use crate::reports;

/// What the files of these requests are made with: nothing of them is stored, and a claim holds all of them.
pub(super) fn group_context(requests: Vec<Ready>, store: Store) -> Arc<GroupContext> {
    let directory = tempfile::tempdir().unwrap();
    Arc::new(GroupContext {
        job: Arc::clone(&config(directory.path()).jobs[0]),
        checkpoint: Arc::new(Checkpoint::new(requests.iter().map(|one| one.key.clone()))),
        metrics: GroupMetrics::new(&requests, LoadStats::default()),
        requests,
        store,
        stop: Stop::default(),
        max_bad_rows: MaxBadRows { share: 0.0, at_least: 0 },
        progress: Arc::default(),
    })
}

fn config(directory: &Path) -> Config {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sunbird/course");
    let text = format!(
        "[database]\nurl = \"sqlite://db.sqlite\"\n[source]\nurl = \"{}\"\n[store]\nurl = \"file://store\"\n\
         [worker]\nthreads = 1\n[[job]]\nid = \"course-report\"\nreport = \"course\"\n",
        fixtures.display()
    );
    let nothing: Environment = std::iter::empty::<(String, String)>().collect();
    config::check(&text, &directory.join("jobs.toml"), &nothing, reports::registry()).unwrap()
}
