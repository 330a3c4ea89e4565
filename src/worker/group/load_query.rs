//! Asks the engine for the rows of a report in SQL: one query for each request that still misses files, the smaller requests
//! first. So what a request is too large for, or takes too long for, ends no other.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::batch_table::{BatchData, MakeUnits};
use super::completion_tracker::CompletionTracker;
use super::context::GroupContext;
use super::query_rows::{RowsQuestion, apart, in_memory, is_more_than_memory};
use crate::reports::query::QueryReport;
use crate::sources::GivenUp;
use crate::sources::query_engine::QueryError;
use crate::tables::catalog::Catalog;
use crate::tables::queried::QueriedRows;
use crate::worker::cpu::Panicked;
use crate::worker::plan::{self, RequestIdx, Unit};
use crate::worker::request_error::RequestError;
use crate::worker::{AppContext, memory};

/// Makes the files of all requests of the group. A file that several want is made with the first of them.
pub(super) async fn load_query(
    app: &AppContext,
    group: &Arc<GroupContext>,
    catalog: &Arc<Catalog>,
    tracker: &Arc<CompletionTracker>,
    make: &Arc<MakeUnits>,
    report: &Arc<QueryReport>,
) -> Result<(), Panicked> {
    let mut units = plan::units(&group.requests, |_| true);
    app.progress.planned.fetch_add(units.len() as u64, Ordering::Relaxed);
    if let Some(rows) = &group.rows {
        return make_from(app, catalog, make, rows, units).await;
    }
    while let Some(owner) = units.first().and_then(|unit| unit.wanted.first()).map(|wanted| wanted.request) {
        if group.stop.is_halted() {
            break;
        }
        let (part, rest): (Vec<Unit>, Vec<Unit>) =
            units.into_iter().partition(|unit| unit.wanted.first().is_some_and(|wanted| wanted.request == owner));
        units = rest;
        if !tracker.wants(owner) {
            units.extend(without(owner, part));
            continue;
        }
        let total = memory::for_loads(app.config.get().worker.memory, catalog.memory() as u64);
        let question = Arc::new(RowsQuestion {
            source: Arc::clone(&app.source),
            report: Arc::clone(report),
            catalog: Arc::clone(catalog),
            batches: part.iter().map(|unit| unit.batch).collect(),
            shape: group.request(owner).shape.clone(),
            most_files: usize::MAX,
            given_up: given_up(group, tracker, owner),
        });
        let ask = |bytes| {
            group.metrics.begin(owner);
            ask(Arc::clone(group), Arc::clone(&question), bytes)
        };
        let lacks_memory = |answer: &Asked| matches!(answer, Some(Ok(rows)) if is_more_than_memory(rows));
        let (answered, _share) = in_memory(&app.memory, (total, report.limits.bytes), ask, lacks_memory).await;
        let Some(answered) = answered else { break };
        match answered? {
            Ok(rows) => make_from(app, catalog, make, &Arc::new(rows), part).await?,
            Err(_) if group.stop.is_halted() => break,
            Err(_) if !tracker.wants(owner) => units.extend(without(owner, part)),
            Err(error) if error.is_of_batches => {
                tracker.fail(owner, RequestError::query(&error));
                units.extend(without(owner, part));
            }
            Err(error) => {
                for wanted in part.iter().chain(&units).flat_map(|unit| &unit.wanted) {
                    tracker.fail(wanted.request, RequestError::query(&error));
                }
                break;
            }
        }
    }
    Ok(())
}

/// Makes the files whose rows have come.
async fn make_from(
    app: &AppContext,
    catalog: &Arc<Catalog>,
    make: &Arc<MakeUnits>,
    rows: &Arc<QueriedRows>,
    units: Vec<Unit>,
) -> Result<(), Panicked> {
    let (make, catalog, rows) = (Arc::clone(make), Arc::clone(catalog), Arc::clone(rows));
    let made = move || {
        let data = BatchData::Queried { catalog: &catalog, rows: &rows };
        make(&data, &units.iter().collect::<Vec<_>>());
    };
    app.cpu.run(made).await
}

/// Whether nobody waits for the rows of this request any more.
fn given_up(group: &Arc<GroupContext>, tracker: &Arc<CompletionTracker>, owner: RequestIdx) -> GivenUp {
    let (stop, tracker) = (group.stop.clone(), Arc::clone(tracker));
    Arc::new(move || stop.is_halted() || !tracker.wants(owner))
}

/// What came of a question; `None`: the process ends.
type Asked = Option<Result<Result<QueriedRows, QueryError>, Panicked>>;

async fn ask(group: Arc<GroupContext>, question: Arc<RowsQuestion>, bytes: u64) -> Asked {
    apart(group.job.id.clone(), move || group.metrics.querying(|| question.ask(bytes))).await
}

/// The units that other requests want as well.
fn without(owner: RequestIdx, units: Vec<Unit>) -> impl Iterator<Item = Unit> {
    units.into_iter().filter_map(move |mut unit| {
        unit.wanted.retain(|wanted| wanted.request != owner);
        (!unit.wanted.is_empty()).then_some(unit)
    })
}
