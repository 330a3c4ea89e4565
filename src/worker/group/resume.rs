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
    fingerprint(job, ready.order.encoding, row.encryption_key.as_ref())
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
