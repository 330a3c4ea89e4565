//! What the threads that make the files of a group share.

use std::sync::Arc;

use crate::config::checked::{Job, MaxBadRows};
use crate::outputs::Store;
use crate::reports::query::Split;
use crate::tables::queried::QueriedRows;
use crate::worker::Progress;
use crate::worker::checkpoint::Checkpoint;
use crate::worker::group_metrics::GroupMetrics;
use crate::worker::plan::{Ready, RequestIdx};
use crate::worker::stop::Stop;

/// What the files of a group are made with.
pub(in crate::worker) struct GroupContext {
    /// The job.
    pub(in crate::worker) job: Arc<Job>,
    /// The requests whose files are made.
    pub(in crate::worker) requests: Vec<Ready>,
    /// What an engine returned for all of them, where the rows say which files there are.
    pub(in crate::worker) rows: Option<Arc<QueriedRows>>,
    /// Where files go.
    pub(in crate::worker) store: Store,
    /// Once it is halted no further file is begun.
    pub(in crate::worker) stop: Stop,
    /// The token of the claim.
    pub(in crate::worker) claim: String,
    /// What is stored of each request, and whether the claim still holds it.
    pub(in crate::worker) checkpoint: Arc<Checkpoint>,
    /// Counts of this group.
    pub(in crate::worker) metrics: GroupMetrics,
    /// How many unusable rows a request may have.
    pub(in crate::worker) max_bad_rows: MaxBadRows,
    /// How far the work is, for a progress display.
    pub(in crate::worker) progress: Arc<Progress>,
}

impl GroupContext {
    /// One of its files, for messages: by the id of its batch, or what else it is called.
    pub(in crate::worker) fn label(&self, file: &str) -> String {
        let split = self.job.report.query().map_or(&Split::Batch, |report| &report.split);
        split.label(file)
    }

    /// One of its requests.
    pub(in crate::worker) fn request(&self, request: RequestIdx) -> &Ready {
        &self.requests[request.0]
    }
}
