//! Asks the engine for the rows of a report in SQL: one query for each request that still misses files, the smaller requests
//! first. So what a request is too large for, or takes too long for, ends no other.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::batch_table::{BatchData, MakeUnits};
use super::completion_tracker::CompletionTracker;
use super::context::GroupContext;
use crate::reports::query::{QueryReport, SPLIT_BY};
use crate::sources::GivenUp;
use crate::sources::query_engine::{QueryError, Question};
use crate::sources::routed::Routed;
use crate::tables::catalog::Catalog;
use crate::tables::queried::QueriedRows;
use crate::worker::cpu::{Panicked, caught};
use crate::worker::key_ranges::LEAST;
use crate::worker::plan::{self, RequestIdx, Unit};
use crate::worker::request_error::RequestError;
use crate::worker::{AppContext, failpoints, memory};

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
        let share = app.memory.share_of_unknown(total).await;
        let question = Asked {
            source: Arc::clone(&app.source),
            report: Arc::clone(report),
            catalog: Arc::clone(catalog),
            units: part,
            bytes: share.bytes().max(LEAST),
            given_up: given_up(group, tracker, owner),
        };
        let Some(answered) = ask(group, question).await else { break };
        match answered? {
            (Ok(rows), part) => {
                let (make, catalog) = (Arc::clone(make), Arc::clone(catalog));
                let made = move || {
                    let data = BatchData::Queried { catalog: &catalog, rows: &rows };
                    make(&data, &part.iter().collect::<Vec<_>>());
                };
                app.cpu.run(made).await?;
            }
            (Err(_), _) if group.stop.is_halted() => break,
            (Err(_), part) if !tracker.wants(owner) => units.extend(without(owner, part)),
            (Err(error), part) if error.is_of_batches => {
                tracker.fail(owner, RequestError::query(&error));
                units.extend(without(owner, part));
            }
            (Err(error), part) => {
                for wanted in part.iter().chain(&units).flat_map(|unit| &unit.wanted) {
                    tracker.fail(wanted.request, RequestError::query(&error));
                }
                break;
            }
        }
    }
    Ok(())
}

/// Whether nobody waits for the rows of this request any more.
fn given_up(group: &Arc<GroupContext>, tracker: &Arc<CompletionTracker>, owner: RequestIdx) -> GivenUp {
    let (stop, tracker) = (group.stop.clone(), Arc::clone(tracker));
    Arc::new(move || stop.is_halted() || !tracker.wants(owner))
}

/// What the engine answered, and the units that it was asked for.
type Answered = (Result<QueriedRows, QueryError>, Vec<Unit>);

/// Asks on a thread that may block: the threads for CPU work stay free. `None`: the process ends.
async fn ask(group: &Arc<GroupContext>, question: Asked) -> Option<Result<Answered, Panicked>> {
    let group = Arc::clone(group);
    let ask = move || {
        failpoints::hit("loading", &group.job.id);
        (group.metrics.querying(|| question.ask()), question.units)
    };
    tokio::task::spawn_blocking(move || caught(ask)).await.ok()
}

/// The units that other requests want as well.
fn without(owner: RequestIdx, units: Vec<Unit>) -> impl Iterator<Item = Unit> {
    units.into_iter().filter_map(move |mut unit| {
        unit.wanted.retain(|wanted| wanted.request != owner);
        (!unit.wanted.is_empty()).then_some(unit)
    })
}

/// What the engine is asked for.
struct Asked {
    source: Arc<Routed>,
    report: Arc<QueryReport>,
    catalog: Arc<Catalog>,
    units: Vec<Unit>,
    /// How much the rows may be.
    bytes: u64,
    /// Whether nobody waits for them any more.
    given_up: GivenUp,
}

impl Asked {
    /// The rows of all batches of these units. A batch that has none is there as well.
    fn ask(&self) -> Result<QueriedRows, QueryError> {
        let Self { source, report, catalog, units, bytes, given_up } = self;
        let engine = source
            .engine(&report.engine)
            .ok_or_else(|| QueryError::lasting(format!("there is no engine [{}]", report.engine)))?;
        let mut rows = QueriedRows::default();
        let ids: HashSet<_> = units.iter().map(|unit| unit.batch).collect();
        let batches: Vec<(&str, &str)> = ids
            .into_iter()
            .map(|batch| (catalog.batch(batch).id.as_str(), catalog.batch(batch).course_id.as_str()))
            .collect();
        for (batch, _) in &batches {
            rows.expect(batch);
        }
        let columns: Vec<&str> = std::iter::once(SPLIT_BY).chain(report.asked_columns()).collect();
        let (limits, most) = (report.limits, report.limits.bytes.min(*bytes));
        let (mut taken, mut held) = (0, 0);
        let question =
            Question { query: &report.query, columns: &columns, batches: &batches, time: limits.time, given_up };
        let kinds = engine.run(&question, &mut |cells| {
            let Some((Some(batch), cells)) = cells.split_first() else {
                return Err(QueryError::of_batches(format!("the query returned a row whose {SPLIT_BY} is null")));
            };
            let Some(bytes) = rows.push(batch, cells) else {
                let message = format!("the query returned a row whose {SPLIT_BY} is none of the request's");
                return Err(QueryError { detail: format!("{message}: {batch:?}"), ..QueryError::of_batches(message) });
            };
            (taken, held) = (taken + 1, held + bytes);
            if taken > limits.rows {
                let what = format!("too_large: the query returned more than {} rows", limits.rows);
                return Err(QueryError::of_batches(what));
            }
            if held > most {
                return Err(QueryError::of_batches(format!("too_large: the query's rows take more than {most} bytes")));
            }
            Ok(())
        })?;
        rows.kinds = kinds[1..].to_vec();
        Ok(rows)
    }
}
