//! Makes the planned files from the loaded data, on all cores.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::batch_table::{BatchData, BatchTable, FileError};
use super::completion_tracker::CompletionTracker;
use super::context::GroupContext;
use crate::outputs::{FinishedFile, WriteError, report_name, write_protected, write_table};
use crate::reports::Counts;
use crate::tables::quality::Quality;
use crate::worker::cpu::caught;
use crate::worker::failpoints;
use crate::worker::group_metrics::timed;
use crate::worker::plan::{RequestIdx, Unit, Wanted};
use crate::worker::request_error::RequestError;

/// Calls `make` for each unit in order, for as many at a time as the pool has threads. A stop that cannot wait leaves out
/// the units that have not begun.
pub(in crate::worker) fn for_each_unit(
    group: &GroupContext,
    data: &BatchData<'_>,
    units: &[&Unit],
    make: impl Fn(&Unit) + Sync,
) {
    let next = AtomicUsize::new(0);
    let one_by_one = || {
        // Not a parallel iterator: that would split the list in halves, and the order is what keeps small requests from
        // waiting.
        while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
            if group.stop.is_halted() {
                return;
            }
            make(unit);
            group.progress.done.fetch_add(1, Ordering::Relaxed);
        }
    };
    match data {
        BatchData::Loaded(_) | BatchData::Queried { .. } => drop(rayon::broadcast(|_| one_by_one())),
        // Each unit loads as much as there is room for, on all cores.
        BatchData::Ranges(_) => one_by_one(),
    }
}

/// A file that is made, and who wants it.
pub(in crate::worker) struct MadeFile {
    /// Its batch's id.
    pub(super) batch: String,
    /// The file, which has no name yet.
    pub(super) file: FinishedFile,
    /// Its rows, and where the other enrolments went.
    pub(super) counts: Counts,
    /// What was found of the batch.
    pub(super) quality: Quality,
    /// The requests that want it. Never empty.
    pub(super) wanted: Vec<Wanted>,
}

impl MadeFile {
    /// Bytes of it that are in memory.
    pub(super) fn held(&self) -> u64 {
        self.file.held()
    }

    /// The requests that want it.
    pub(super) fn owners(&self) -> Vec<RequestIdx> {
        self.wanted.iter().map(|one| one.request).collect()
    }
}

/// Generates one file for all requests that still want it. `None`: none does, or the file failed and they with it.
///
/// A file for an object store may be sent while it is made, under the key of the first request. If that fails in a way that
/// may be due to this key, only this request fails, and the file is made again for the next one.
pub(in crate::worker) fn generate(
    group: &GroupContext,
    tracker: &CompletionTracker,
    data: &BatchData<'_>,
    unit: &Unit,
) -> Option<MadeFile> {
    let mut wanted = unit.wanted.clone();
    let batch = &data.catalog().batch(unit.batch).id;
    loop {
        wanted.retain(|one| tracker.wants(one.request));
        let first = *wanted.first()?;
        group.metrics.begin(first.request);
        let is_wanted = || wanted.iter().any(|one| tracker.wants(one.request));
        let made = caught(|| {
            let (mut file, counts, quality) = write(group, data, unit, first, &is_wanted)?;
            if wanted.len() > 1 {
                file.arrived().map_err(FileError::Store)?;
            }
            Ok((file, counts, quality))
        });
        match made.unwrap_or_else(|panic| Err(FileError::Request(RequestError::panicked(&panic)))) {
            Ok((file, counts, quality)) => {
                return Some(MadeFile { batch: batch.clone(), file, counts, quality, wanted });
            }
            Err(FileError::NotWanted) => return None,
            Err(FileError::BrokenBatch(quality, error)) => {
                log::warn!("batch left out, it is broken batch={batch} error={:?}", error.detail);
                let reason = RequestError::source(&error).in_file(&group.label(batch));
                for owner in wanted {
                    tracker.leave_out(owner, &quality, &reason);
                }
                return None;
            }
            Err(FileError::Store(error)) if wanted.len() > 1 && !group.store.fails_for_all(&error) => {
                tracker.fail(first.request, RequestError::store(&error).in_file(&group.label(batch)));
                wanted.remove(0);
            }
            Err(error) => {
                let reason = error.for_request(&group.label(batch)).in_file(&group.label(batch));
                for one in wanted {
                    tracker.fail(one.request, reason.clone());
                }
                return None;
            }
        }
    }
}

/// Writes one file, which has no name yet, for one request: a protected file gets this request's password, and no other
/// request shares it.
fn write(
    group: &GroupContext,
    data: &BatchData<'_>,
    unit: &Unit,
    Wanted { request, file }: Wanted,
    is_wanted: &dyn Fn() -> bool,
) -> Result<(FinishedFile, Counts, Quality), FileError> {
    let GroupContext { job, store, metrics, .. } = group;
    let ready = group.request(request);
    let batch = &data.catalog().batch(unit.batch).id;
    failpoints::hit("generating", batch);
    let mut file = store.create(ready.object(file)).map_err(FileError::Store)?;
    let mut table = BatchTable::new(group, unit.batch, data, is_wanted);
    let before = metrics.load_time();
    let (written, spent) = timed(|| match &ready.order.protection {
        None => write_table(&mut table, unit.encoding, job.csv, &mut file),
        Some(protection) => {
            let entry = report_name(batch, unit.encoding.extension());
            write_protected(&mut table, unit.encoding, job.csv, &entry, protection, &mut file)
        }
    });
    let loading =
        if let BatchData::Ranges(_) = data { metrics.load_time().saturating_sub(before) } else { Duration::ZERO };
    metrics.add_generate(spent.saturating_sub(loading));
    failpoints::hit("written", batch);
    let BatchTable { counts, quality, error, .. } = table;
    match (written, error) {
        (Ok(rows), _) if rows == counts.rows => {}
        (Ok(rows), _) => return Err(RequestError::short_file(rows, counts.rows).into()),
        (Err(WriteError::NotMade), Some(error)) => return Err(error),
        (Err(WriteError::Store(error)), _) => return Err(FileError::Store(file.failed(error))),
        (Err(error), _) => return Err(FileError::Write(error)),
    }
    let (finished, spent) = timed(|| file.finish());
    metrics.add_store(spent);
    Ok((finished.map_err(FileError::Store)?, counts, quality))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::test_app::{BATCHES, TestApp, group_context, made_files, tracker};

    #[tokio::test]
    async fn each_file_is_made_once_for_all_that_still_want_it() {
        let test = TestApp::new();
        let wanted: [(&str, &[&str]); 3] = [("1", &BATCHES), ("2", &BATCHES[..1]), ("3", &BATCHES[1..])];
        let (_lease, ready, catalog) = test.ready(&wanted).await;
        let requests = ready.into_iter().map(|(_, ready)| ready).collect();
        let group = group_context(requests, test.app.store.clone());
        let (tracker, _stored, mut ended) = tracker(&group);
        tracker.fail(RequestIdx(2), RequestError::crashes(5));
        let mut made = made_files(&test.app, &group, &catalog, &tracker).await;
        made.sort_by(|one, other| one.batch.cmp(&other.batch));
        let files: Vec<_> = made.iter().map(|one| (one.batch.as_str(), one.owners(), one.counts.rows)).collect();
        assert_eq!(
            files,
            [(BATCHES[0], vec![RequestIdx(1), RequestIdx(0)], 0), (BATCHES[1], vec![RequestIdx(0)], 1)],
            "not for the one that failed"
        );
        assert_eq!(ended.try_recv().unwrap().request, RequestIdx(2));
        assert!(ended.try_recv().is_err(), "no other request has ended");
        tracker.fail(RequestIdx(0), RequestError::crashes(5));
        tracker.fail(RequestIdx(1), RequestError::crashes(5));
        assert!(made_files(&test.app, &group, &catalog, &tracker).await.is_empty());
    }
}
