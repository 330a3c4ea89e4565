//! Finds the files that earlier attempts have stored.

use std::sync::Arc;

use crate::config::checked::Job;
use crate::outputs::ObjectKey;
use crate::requests::{ClaimedRequest, DeferredText};
use crate::tables::catalog::Catalog;
use crate::worker::AppContext;
use crate::worker::checkpoint::{Checkpoint, Processed, StoredBatch, fingerprint};
use crate::worker::plan::Ready;

/// Bytes of a `processed_batches` that is read: of some ten thousand batches.
const MOST_NOTED: u64 = 16 << 20;

/// Files that a row notes, with their keys.
type NotedFiles = Vec<(ObjectKey, StoredBatch)>;

/// Marks what earlier attempts have stored of these requests, and tells the checkpoint. A file is made
/// again if it is not there any more, if it has other bytes (it was noted before it was synced, and a loss of power may have
/// spoilt it), or if it was made in another way. Where a stop does not wait for the store, every file is made again.
pub(in crate::worker) async fn resume(
    app: &AppContext,
    checkpoint: &Checkpoint,
    job: &Job,
    requests: &mut [(Arc<ClaimedRequest>, Ready)],
    catalog: &Catalog,
) {
    let mut noted = Vec::new();
    for (row, ready) in &*requests {
        noted.push(own_files(processed_batches(app, row).await.as_deref(), &fingerprint_of(job, row, ready), ready));
    }
    let stored = stored(app, noted).await;
    for ((row, ready), files) in requests.iter_mut().zip(stored) {
        ready.resume(files, catalog);
        let batches: Vec<StoredBatch> = ready.stored.iter().flatten().cloned().collect();
        if !batches.is_empty() {
            log::info!("request resumed request={} stored={} of={}", ready.key, batches.len(), ready.objects.len());
        }
        checkpoint.resume(&ready.key, Processed { fingerprint: fingerprint_of(job, row, ready), batches });
    }
}

fn fingerprint_of(job: &Job, row: &ClaimedRequest, ready: &Ready) -> String {
    fingerprint(job, ready.order.encoding, row.encryption_key.as_ref(), &ready.shape)
}

/// What the row says of files that are stored. `None` if it says nothing or cannot be read: those files are made again.
async fn processed_batches(app: &AppContext, row: &ClaimedRequest) -> Option<String> {
    if row.unread_batches.is_none_or(|bytes| bytes > MOST_NOTED) {
        return row.processed_batches.clone();
    }
    let asked = row.key.clone();
    let which = DeferredText::ProcessedBatches;
    let read = app.ask(move |queue| queue.deferred_text(&asked, which, MOST_NOTED)).await;
    read.unwrap_or_else(|error| {
        log::warn!("processed_batches cannot be read, its files are made again request={} error={error}", row.key);
        None
    })
}

/// The files that the row notes and that this request may take over. Anybody may have written the row: only keys of this
/// very request count. Hidden keys, of earlier versions, are never given out, so those files are made again.
fn own_files(processed_batches: Option<&str>, fingerprint: &str, ready: &Ready) -> NotedFiles {
    let processed = processed_batches.and_then(Processed::parse).unwrap_or_default();
    if processed.fingerprint != fingerprint {
        return Vec::new();
    }
    let is_own = |object: &ObjectKey| object.is_of(&ready.key.tag, &ready.key.request_id) && !object.is_hidden();
    let own = |file: StoredBatch| Some((ObjectKey::parse(&file.key).ok().filter(is_own)?, file));
    processed.batches.into_iter().filter_map(own).collect()
}

/// Those of the noted files that the store has with the noted content.
async fn stored(app: &AppContext, mut noted: Vec<NotedFiles>) -> Vec<NotedFiles> {
    if noted.iter().all(Vec::is_empty) {
        return noted;
    }
    let (store, requests) = (app.store.clone(), noted.len());
    let looking = tokio::task::spawn_blocking(move || {
        let all: Vec<_> = noted.iter().flatten().map(|(object, file)| (object, file.content())).collect();
        let mut has = store.has(&all).into_iter();
        for files in &mut noted {
            files.retain(|_| has.next() == Some(true));
        }
        noted
    });
    app.stop.unless_halted(looking).await.and_then(Result::ok).unwrap_or_else(|| vec![Vec::new(); requests])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Write as _;
    use std::time::Duration;

    use super::*;
    use crate::outputs::{Compress, Content, FileEncoding, Format};
    use crate::reports::query::{FileShape, QueryLimits, QueryReport, Split};
    use crate::reports::{Counts, JobReport};
    use crate::tables::quality::Quality;
    use crate::worker::test_app::{BATCHES, TestApp};

    /// Stores a file under the key and notes it.
    fn stored(test: &TestApp, object: &ObjectKey, batch: &str) -> StoredBatch {
        let mut file = test.app.store.create(object).unwrap();
        file.write_all(b"content").unwrap();
        let mut finished = file.finish().unwrap();
        let Content { bytes, crc32 } = finished.content();
        test.app.store.publish(&mut finished, object, true).unwrap();
        let (counts, quality) = (Counts::default(), Quality::default());
        StoredBatch { batch: batch.to_owned(), key: object.to_string(), bytes, crc32, counts, quality }
    }

    #[tokio::test]
    async fn files_that_are_there_as_they_were_noted_are_not_made_again() {
        let test = TestApp::new();
        let wanted: Vec<(&str, &[&str])> = ["1", "2", "3", "4", "5"].map(|id| (id, &BATCHES[..])).to_vec();
        let (lease, mut ready, catalog) = test.ready(&wanted).await;
        let (job, others) = (test.job(), ready[4].1.objects[0].clone());
        for (at, (row, one)) in ready.iter_mut().enumerate() {
            let mut file = stored(&test, &one.objects[0], BATCHES[0]);
            let mut fingerprint = fingerprint_of(&job, row, one);
            match at {
                1 => std::fs::write(test.directory.path().join("store").join(&file.key), "CONTENT").unwrap(),
                2 => fingerprint.push('x'),
                3 => file.key = others.to_string(),
                _ => {}
            }
            let noted = serde_json::to_string(&Processed { fingerprint, batches: vec![file] }).unwrap();
            let mut noted_row = ClaimedRequest::clone(row);
            noted_row.processed_batches = Some(noted);
            *row = Arc::new(noted_row);
        }
        resume(&test.app, lease.checkpoint(), &job, &mut ready, &catalog).await;
        let taken: Vec<[bool; 2]> = ready.iter().map(|(_, one)| [0, 1].map(|at| one.stored[at].is_some())).collect();
        let nothing = [false, false];
        assert_eq!(
            taken,
            [[true, false], nothing, nothing, nothing, [true, false]],
            "other bytes, another way, not its own"
        );
        // The row knows the file that was taken over; what is stored from here on is noted with it.
        assert_eq!(lease.checkpoint().processed(&ready[0].1.key), None);
    }

    /// What a request gives to a query is part of how its files are made.
    #[test]
    fn another_query_or_other_values_are_another_way() {
        let test = TestApp::new();
        let report = QueryReport {
            engine: "source".to_owned(),
            file: "query.sql".to_owned(),
            query: "SELECT 1".to_owned(),
            split: Split::Whole,
            all_rows: true,
            order_by: Vec::new(),
            columns: Vec::new(),
            limits: QueryLimits { rows: 1, bytes: 1, time: Duration::ZERO },
        };
        let shape = FileShape {
            values: vec![("{request.tag}", Some("t".to_owned()))],
            batches: Some(vec!["1".to_owned(), "2".to_owned()]),
        };
        let made = |report: &QueryReport, shape: &FileShape| {
            let mut job = Job::clone(&test.job());
            job.report = JobReport::Query(Arc::new(report.clone()));
            let encoding = FileEncoding { format: Format::DEFAULT, compress: Compress::None };
            fingerprint(&job, encoding, None, shape)
        };
        let ways = [
            made(&report, &shape),
            made(&QueryReport { query: "SELECT 2".to_owned(), ..report.clone() }, &shape),
            made(&QueryReport { split: Split::Batch, ..report.clone() }, &shape),
            made(&report, &FileShape { values: vec![("{request.tag}", None)], ..shape.clone() }),
            made(&report, &FileShape { batches: Some(vec!["1".to_owned()]), ..shape.clone() }),
        ];
        assert_eq!(ways[0], made(&report, &shape));
        assert_eq!(ways.iter().collect::<BTreeSet<_>>().len(), ways.len(), "{ways:?}");
    }
}
