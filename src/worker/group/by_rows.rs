//! Reports in SQL whose files are not one for each batch. Which files there are is known from the rows alone, so the rows come
//! first: once for all requests that want the same ones.

use std::sync::Arc;
use std::time::Duration;

use super::claimed::ClaimedGroup;
use super::query_rows::{RowsQuestion, apart, in_memory, is_more_than_memory};
use super::resolve::{Selected, ready};
use crate::reports::filters::Selection;
use crate::reports::query::{FileShape, QueryReport, Split};
use crate::requests::ClaimedRequest;
use crate::sources::GivenUp;
use crate::sources::query_engine::QueryError;
use crate::tables::catalog::{BatchIdx, Catalog};
use crate::tables::queried::QueriedRows;
use crate::worker::cpu::Panicked;
use crate::worker::group_metrics::timed;
use crate::worker::memory::{self, Share};
use crate::worker::outcome::{HandBack, Outcome};
use crate::worker::plan::Ready;
use crate::worker::request_error::RequestError;

/// Requests that want the same rows.
pub(in crate::worker) struct SameRows {
    shape: FileShape,
    pub(in crate::worker) requests: Vec<Selected>,
}

/// Puts together requests that want the same rows, in the order of the first of them.
pub(in crate::worker) fn same_rows(report: &QueryReport, catalog: &Catalog, all: Vec<Selected>) -> Vec<SameRows> {
    let mut groups: Vec<SameRows> = Vec::new();
    for one in all {
        let shape = one.shape(report, catalog);
        match groups.iter_mut().find(|group| group.shape == shape) {
            Some(group) => group.requests.push(one),
            None => groups.push(SameRows { shape, requests: vec![one] }),
        }
    }
    groups
}

/// What the engine returned, and the files that it becomes.
pub(in crate::worker) struct Answer {
    pub(in crate::worker) rows: Arc<QueriedRows>,
    /// In place of the catalogue of batches: one entry for each file.
    pub(in crate::worker) files: Arc<Catalog>,
    /// How long the engine took.
    pub(in crate::worker) spent: Duration,
    /// The memory of the rows, until they are dropped.
    _share: Share,
}

/// Why there are no rows: how the requests end, and whether the others of their job end in the same way.
pub(in crate::worker) struct NoRows {
    pub(in crate::worker) outcome: Outcome,
    pub(in crate::worker) is_of_all: bool,
}

impl From<QueryError> for NoRows {
    fn from(error: QueryError) -> Self {
        Self { outcome: Outcome::Failed(RequestError::query(&error)), is_of_all: !error.is_of_batches }
    }
}

/// What came of a question, and how long the engine took; `None`: the process ends or can wait no longer.
type Asked = Option<Result<(Result<QueriedRows, QueryError>, Duration), Panicked>>;

/// Asks the engine for the rows of these requests.
pub(in crate::worker) async fn ask(
    group: ClaimedGroup<'_>,
    report: &Arc<QueryReport>,
    catalog: &Arc<Catalog>,
    wanted: &SameRows,
) -> Result<Answer, NoRows> {
    let ClaimedGroup { app, config, lease, job } = group;
    let keys: Vec<_> = wanted.requests.iter().map(|one| one.request.key.clone()).collect();
    let (stop, checkpoint) = (app.stop.clone(), Arc::clone(lease.checkpoint()));
    let given_up: GivenUp = Arc::new(move || stop.is_halted() || !keys.iter().any(|key| checkpoint.wants(key)));
    let left = || NoRows { outcome: Outcome::HandedBack(HandBack::Unfinished), is_of_all: false };
    if given_up() {
        return Err(left());
    }
    let question = Arc::new(RowsQuestion {
        source: Arc::clone(&app.source),
        report: Arc::clone(report),
        catalog: Arc::clone(catalog),
        batches: wanted.requests.first().map(|one| one.selection.batches.clone()).unwrap_or_default(),
        shape: wanted.shape.clone(),
        most_files: job.max_batches,
        given_up: Arc::clone(&given_up),
    });
    let ask = |bytes| {
        let question = Arc::clone(&question);
        let asked = apart(job.id.clone(), move || timed(|| question.ask(bytes)));
        async { app.stop.unless_halted(asked).await.flatten() }
    };
    let lacks_memory = |answer: &Asked| matches!(answer, Some(Ok((rows, _))) if is_more_than_memory(rows));
    let total = memory::for_loads(config.worker.memory, catalog.memory() as u64);
    let (asked, share) = in_memory(&app.memory, (total, report.limits.bytes), ask, lacks_memory).await;
    let (rows, spent) = match asked {
        None => return Err(left()),
        Some(Err(panic)) => {
            return Err(NoRows { outcome: Outcome::Failed(RequestError::panicked(&panic)), is_of_all: false });
        }
        Some(Ok((Err(_), _))) if given_up() => return Err(left()),
        Some(Ok((rows, spent))) => (rows?, spent),
    };
    let files = Catalog::of_names(rows.files().map(str::to_owned));
    if files.batches().is_empty() {
        return Err(QueryError::no_rows().into());
    }
    Ok(Answer { rows: Arc::new(rows), files: Arc::new(files), spent, _share: share })
}

/// The same requests with their files by name, or why they fail.
pub(in crate::worker) fn named(
    split: &Split,
    wanted: SameRows,
    files: &Catalog,
    claim: &str,
) -> Vec<(Arc<ClaimedRequest>, Result<Ready, RequestError>)> {
    let SameRows { shape, requests } = wanted;
    let named = |one: Selected| {
        let unnamed = files.batches().iter().find(|file| !file.id.is_empty() && !one.order.can_name(&file.id));
        if let (Some(_), Some(column)) = (unnamed, split.column()) {
            let what = format!("a value of {column} is too long for a file to be called after it");
            return (one.request, Err(RequestError::query(&QueryError::of_batches(what))));
        }
        let all = (0..files.batches().len()).map(BatchIdx).collect();
        let selection = Selection { batches: all, left_out: one.selection.left_out };
        ready(Selected { selection, ..one }, shape.clone(), files, claim)
    };
    requests.into_iter().map(named).collect()
}
