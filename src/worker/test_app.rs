//! What unit tests of a group's steps need: a real SQLite database, the platform of the fixtures, a store in a directory.

use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedReceiver;

use super::checkpoint::Checkpoint;
use super::group::accept::{Accepted, accept};
use super::group::batch_table::MakeUnits;
use super::group::catalog::load_catalog;
use super::group::completion_tracker::CompletionTracker;
use super::group::context::GroupContext;
use super::group::generate::{MadeFile, for_each_unit, generate};
use super::group::load_parts::load_parts;
use super::group::resolve::resolve;
use super::group::sync::{RequestDone, ToSync};
use super::group_metrics::GroupMetrics;
use super::lease::Lease;
use super::plan::Ready;
use super::stats::LoadStats;
use super::stop::Stop;
use super::{AppContext, open};
use crate::config::checked::{Config, Job, MaxBadRows};
use crate::config::{self, Environment};
use crate::outputs::Store;
use crate::reports;
use crate::requests::{
    Claim, ClaimMode, ClaimOptions, ClaimedRequest, NewRequest, RequestKey, RequestRow, SystemClock,
};
use crate::tables::catalog::Catalog;

/// Batches of the fixtures whose reports are not empty.
pub(super) const BATCHES: [&str; 2] = ["0130293763489873929", "01303150537737011211"];

/// A daemon's context with one job, `course-report`.
pub(super) struct TestApp {
    pub(super) app: AppContext,
    /// Has the database and the store.
    pub(super) directory: TempDir,
}

impl TestApp {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let app = open::app_context(config(directory.path()), Arc::new(SystemClock)).unwrap();
        app.queue.migrate(false).unwrap();
        Self { app, directory }
    }

    /// The configuration in force.
    pub(super) fn config(&self) -> Arc<Config> {
        self.app.config.get()
    }

    /// Its one job.
    pub(super) fn job(&self) -> Arc<Job> {
        Arc::clone(&self.config().jobs[0])
    }

    /// Submits a request of the tag `t`.
    pub(super) fn submit(&self, id: &str, request_data: &str) {
        let request = NewRequest {
            key: key(id),
            job_id: self.job().id.clone(),
            request_data: request_data.to_owned(),
            requested_by: None,
            requested_channel: None,
            allowed_channels: None,
            encryption: None,
        };
        self.app.queue.submit(&request).unwrap();
    }

    /// Submits requests of the tag `t`, given as id and `request_data`, and claims them.
    pub(super) fn claim(&self, requests: &[(&str, &str)]) -> (Claim, Lease) {
        for (id, request_data) in requests {
            self.submit(id, request_data);
        }
        let wish = ClaimOptions {
            job_ids: vec![self.job().id.clone()],
            limit: 100,
            lease: Duration::from_hours(1),
            owner: "test".to_owned(),
            mode: ClaimMode::Shared,
            per_tag: None,
            per_channel: None,
            paused_tags: Vec::new(),
            daemons: 1,
        };
        let claim = self.app.queue.claim(&wish).unwrap();
        assert_eq!(claim.requests.len(), requests.len());
        let lease = Lease::keep(&self.app, &claim, wish.lease);
        (claim, lease)
    }

    /// Judges claimed rows, all of which are in order.
    pub(super) async fn accept(&self, claim: Claim) -> Vec<Accepted> {
        let mut accepted = Vec::new();
        for mut request in claim.requests {
            let order = accept(&self.app, &self.config(), &self.job(), &mut request).await.unwrap();
            accepted.push(Accepted { request: Arc::new(request), order });
        }
        accepted
    }

    /// Rows with their files by name, for requests each of which wants these batches. Nothing is stored.
    pub(super) async fn ready(
        &self,
        requests: &[(&str, &[&str])],
    ) -> (Lease, Vec<(Arc<ClaimedRequest>, Ready)>, Arc<Catalog>) {
        let wanted: Vec<(&str, String)> = requests
            .iter()
            .map(|(id, batches)| (*id, serde_json::json!({ "batchFilter": batches }).to_string()))
            .collect();
        let wanted: Vec<(&str, &str)> = wanted.iter().map(|(id, text)| (*id, text.as_str())).collect();
        let (claim, lease) = self.claim(&wanted);
        let accepted = self.accept(claim).await;
        let (config, job) = (self.config(), self.job());
        let catalog = load_catalog(&self.app, &config, &job, &accepted, &lease).await.unwrap().catalog;
        let resolved = resolve(&self.app, &config, &job, lease.short_name(), accepted, &catalog).await.unwrap();
        (lease, resolved.into_iter().map(|(row, ready)| (row, ready.unwrap())).collect(), catalog)
    }

    /// The row of a request.
    pub(super) fn row(&self, id: &str) -> RequestRow {
        self.app.queue.find(&key(id)).unwrap().unwrap()
    }

    /// The text of a stored file.
    pub(super) fn file(&self, key: &str) -> String {
        std::fs::read_to_string(self.directory.path().join("store").join(key)).unwrap()
    }
}

/// The key of a request of the tag `t`.
pub(super) fn key(id: &str) -> RequestKey {
    RequestKey { tag: "t".to_owned(), request_id: id.to_owned() }
}

/// The report of a batch of the fixtures.
pub(super) fn expected(batch: &str) -> String {
    std::fs::read_to_string(fixtures().join(format!("expected/course-{batch}.csv"))).unwrap()
}

/// What the files of these requests are made with. A claim holds all of them, and nothing of them is noted.
pub(super) fn group_context(requests: Vec<Ready>, store: Store) -> Arc<GroupContext> {
    Arc::new(GroupContext {
        job: Arc::clone(&config(Path::new("")).jobs[0]),
        checkpoint: Arc::new(Checkpoint::new(requests.iter().map(|one| one.key.clone()))),
        metrics: GroupMetrics::new(&requests, LoadStats::default()),
        requests,
        rows: None,
        store,
        stop: Stop::default(),
        max_bad_rows: MaxBadRows { share: 0.0, at_least: 0 },
        claim: "claim".to_owned(),
        progress: Arc::default(),
    })
}

/// A tracker, what it sends to be synced, and which requests have ended.
pub(super) fn tracker(
    group: &Arc<GroupContext>,
) -> (Arc<CompletionTracker>, Receiver<ToSync>, UnboundedReceiver<RequestDone>) {
    let (to_sync, stored) = std::sync::mpsc::channel();
    let (sender, ended) = tokio::sync::mpsc::unbounded_channel();
    (Arc::new(CompletionTracker::new(Arc::clone(group), to_sync, sender)), stored, ended)
}

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sunbird/course")
}

fn config(directory: &Path) -> Config {
    let text = format!(
        "[database]\nurl = \"sqlite://db.sqlite\"\n[source]\nurl = \"{}\"\n[store]\nurl = \"file://store\"\n\
         [worker]\nthreads = 1\n[[job]]\nid = \"course-report\"\nreport = \"course\"\n",
        fixtures().display()
    );
    let nothing: Environment = std::iter::empty::<(String, String)>().collect();
    config::check(&text, &directory.join("jobs.toml"), &nothing, reports::registry()).unwrap()
}

/// The request that is to be synced, by its place in the group.
#[allow(clippy::needless_pass_by_value, reason = "as `filter_map` has it")]
pub(super) fn request_of(to_sync: ToSync) -> Option<usize> {
    if let ToSync::Request(stored) = to_sync { Some(stored.request.0) } else { None }
}

/// Loads what the requests of a group need and generates their files, which are stored nowhere yet.
pub(super) async fn made_files(
    app: &AppContext,
    group: &Arc<GroupContext>,
    catalog: &Arc<Catalog>,
    tracker: &Arc<CompletionTracker>,
) -> Vec<MadeFile> {
    let made = Arc::new(Mutex::new(Vec::new()));
    let make: Arc<MakeUnits> = {
        let (group, tracker, made) = (Arc::clone(group), Arc::clone(tracker), Arc::clone(&made));
        Arc::new(move |data, units| {
            for_each_unit(&group, data, units, |unit| {
                made.lock().unwrap().extend(generate(&group, &tracker, data, unit));
            });
        })
    };
    load_parts(app, group, catalog, tracker, make).await.unwrap();
    std::mem::take(&mut made.lock().unwrap())
}
