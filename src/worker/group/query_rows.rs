//! The rows of a report in SQL: one question to its engine, and how what comes is bounded and sorted into files.

use std::collections::HashSet;
use std::sync::Arc;

use crate::reports::query::{ALL, FileShape, NULL, QueryReport, Split};
use crate::sources::GivenUp;
use crate::sources::query_engine::{QueryError, QueryErrorKind, Question, TakeRow};
use crate::sources::routed::Routed;
use crate::tables::catalog::{BatchIdx, Catalog};
use crate::tables::queried::QueriedRows;
use crate::worker::cpu::{Panicked, caught};
use crate::worker::failpoints;
use crate::worker::key_ranges::LEAST;
use crate::worker::memory::{Room, Share};

/// What the engine is asked for.
pub(super) struct RowsQuestion {
    pub(super) source: Arc<Routed>,
    pub(super) report: Arc<QueryReport>,
    pub(super) catalog: Arc<Catalog>,
    /// The batches whose rows are wanted.
    pub(super) batches: Vec<BatchIdx>,
    /// What the request gives to the query.
    pub(super) shape: FileShape,
    /// How many files there may be.
    pub(super) most_files: usize,
    /// Whether nobody waits for them any more.
    pub(super) given_up: GivenUp,
}

/// Runs `ask` on a thread that may block, so that the threads for CPU work stay free. `None`: the process ends.
pub(super) async fn apart<T: Send + 'static>(
    job: String,
    ask: impl FnOnce() -> T + Send + 'static,
) -> Option<Result<T, Panicked>> {
    let ask = move || {
        failpoints::hit("loading", &job);
        ask()
    };
    tokio::task::spawn_blocking(move || caught(ask)).await.ok()
}

/// Asks for rows in what is left of `total` bytes, of which they may have `most`; the rest is for others meanwhile. Where they are
/// more than what is left, asks once more when enough is free: what others hold at this moment decides about no request. `ask` is
/// given how many bytes the rows may take.
pub(super) async fn in_memory<F: Future>(
    memory: &Arc<Room>,
    (total, most): (u64, u64),
    mut ask: impl FnMut(u64) -> F,
    lacks_memory: impl Fn(&F::Output) -> bool,
) -> (F::Output, Share) {
    let whole = total.min(most);
    let share = memory.share_of_unknown(total).await;
    share.shrink_to(whole);
    let answer = ask(share.bytes().max(LEAST)).await;
    if share.bytes() >= whole || !lacks_memory(&answer) {
        return (answer, share);
    }
    drop((answer, share));
    let share = memory.share_of(whole, total).await;
    (ask(whole.max(LEAST)).await, share)
}

/// Whether a query returned more than there was memory for.
pub(super) fn is_more_than_memory<T>(answer: &Result<T, QueryError>) -> bool {
    answer.as_ref().is_err_and(|error| error.kind == QueryErrorKind::MoreThanMemory)
}

impl RowsQuestion {
    /// The rows, by file. Where files are named by batches, one that has no rows is there as well; the file of all rows is always
    /// there. They may take these bytes.
    pub(super) fn ask(&self, bytes: u64) -> Result<QueriedRows, QueryError> {
        let Self { source, report, catalog, batches, shape, given_up, .. } = self;
        let engine = source
            .engine(&report.engine)
            .ok_or_else(|| QueryError::lasting(format!("there is no engine [{}]", report.engine)))?;
        let ids: HashSet<BatchIdx> = batches.iter().copied().collect();
        let batches: Vec<(&str, &str)> = ids
            .into_iter()
            .map(|batch| (catalog.batch(batch).id.as_str(), catalog.batch(batch).course_id.as_str()))
            .collect();
        let mut rows = QueriedRows::default();
        match report.split {
            Split::Batch => batches.iter().for_each(|(batch, _)| rows.expect(batch)),
            Split::Whole => rows.expect(ALL),
            Split::Column(_) => {}
        }
        let (columns, values) = (report.question_columns(), shape.question_values());
        let question = Question {
            query: &report.query,
            columns: &columns,
            batches: &batches,
            values: &values,
            time: report.limits.time,
            given_up,
        };
        let kinds = engine.run(&question, &mut *self.take(&mut rows, bytes))?;
        rows.kinds = kinds[usize::from(report.split.column().is_some())..].to_vec();
        Ok(rows)
    }

    /// Takes rows until they are too many.
    fn take<'t>(&'t self, rows: &'t mut QueriedRows, bytes: u64) -> Box<TakeRow<'t>> {
        let limits = self.report.limits;
        let (mut taken, mut held) = (0, 0);
        Box::new(move |cells| {
            taken += 1;
            held += self.take_row(rows, cells)? + self.report.sort_bytes();
            if taken > limits.rows {
                return Err(QueryError::too_large(&format!("the query returned more than {} rows", limits.rows)));
            }
            if held > limits.bytes {
                return Err(QueryError::too_large(&format!("the query's rows take more than {} bytes", limits.bytes)));
            }
            if held > bytes {
                return Err(QueryError::more_than_memory(bytes));
            }
            Ok(())
        })
    }

    /// Takes one row; returns its bytes in memory.
    fn take_row(&self, rows: &mut QueriedRows, cells: &[Option<&str>]) -> Result<u64, QueryError> {
        let Some(column) = self.report.split.column() else {
            return Ok(rows.push(ALL, cells).unwrap_or_default());
        };
        let is_batch = self.report.split == Split::Batch;
        let file = match cells.first().copied().flatten() {
            None if is_batch => {
                return Err(QueryError::of_batches(format!("the query returned a row whose {column} is null")));
            }
            Some(NULL) if !is_batch => {
                return Err(QueryError::of_batches(format!(
                    "the query returned a row whose {column} is empty text, after which no file can be called"
                )));
            }
            file => file.unwrap_or(NULL),
        };
        let cells = cells.get(1..).unwrap_or_default();
        if let Some(bytes) = rows.push(file, cells) {
            return Ok(bytes);
        }
        if is_batch {
            let message = format!("the query returned a row whose {column} is none of the request's");
            return Err(QueryError { detail: format!("{message}: {file:?}"), ..QueryError::of_batches(message) });
        }
        let most = self.most_files;
        if rows.files().count() >= most {
            let what = format!("the query returned more than {most} values of {column}: a file for each is too many");
            return Err(QueryError::too_large(&what));
        }
        rows.expect(file);
        Ok(file.len() as u64 + rows.push(file, cells).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much the rows of a query may take, one after the other, where `held` of `total` bytes are taken until they are given back.
    async fn asked((total, most): (u64, u64), held: u64, needed: u64) -> (Vec<u64>, bool) {
        let memory = Arc::new(Room::default());
        let mut others = Some(memory.share_of(held, total).await).filter(|_| held > 0);
        let mut given = Vec::new();
        let ask = |bytes| {
            given.push(bytes);
            // Others end meanwhile.
            others.take();
            std::future::ready(if needed > bytes { Err(QueryError::more_than_memory(bytes)) } else { Ok(()) })
        };
        let (answer, share) = in_memory(&memory, (total, most), ask, is_more_than_memory).await;
        assert_eq!((share.bytes(), memory.taken()), (*given.last().unwrap(), share.bytes()));
        (given, answer.is_ok())
    }

    #[tokio::test]
    async fn what_others_hold_fails_no_request() {
        const MIB: u64 = 1 << 20;
        let all = (8 * MIB, 99 * MIB);
        assert_eq!(asked(all, 4 * MIB, 3 * MIB).await, (vec![4 * MIB], true));
        assert_eq!(asked(all, 4 * MIB, 8 * MIB).await, (vec![4 * MIB, 8 * MIB], true));
        assert_eq!(asked(all, 4 * MIB, 9 * MIB).await, (vec![4 * MIB, 8 * MIB], false), "it is never there");
        assert_eq!(asked(all, 0, 9 * MIB).await, (vec![8 * MIB], false), "not asked in vain");
        let some = (8 * MIB, 2 * MIB);
        assert_eq!(asked(some, 0, MIB).await, (vec![2 * MIB], true), "the rest is for others");
        assert_eq!(asked(some, 7 * MIB, 2 * MIB).await, (vec![MIB, 2 * MIB], true));
        assert_eq!(asked(some, 4 * MIB, 3 * MIB).await, (vec![2 * MIB], false));
    }
}
