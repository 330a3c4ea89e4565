//! Puts a generated file in its place, under the key of each request that wants it.

use super::completion_tracker::CompletionTracker;
use super::context::GroupContext;
use super::generate::MadeFile;
use crate::outputs::{Content, FinishedFile, ObjectKey, StoreError};
use crate::worker::checkpoint::StoredBatch;
use crate::worker::cpu::{Panicked, caught};
use crate::worker::failpoints;
use crate::worker::group_metrics::timed;
use crate::worker::outcome::HandBack;
use crate::worker::plan::Wanted;
use crate::worker::request_error::RequestError;

/// Gives a file to every request that wants it, each under its own key. Where one key is refused only its request fails:
/// the file stays until the last request has been tried.
///
/// # Errors
/// Why nothing can be stored now. Requests that want the file and did not get it have failed.
pub(in crate::worker) fn store(
    group: &GroupContext,
    tracker: &CompletionTracker,
    made: MadeFile,
) -> Result<(), RequestError> {
    let MadeFile { batch, mut file, counts, quality, wanted } = made;
    let Content { bytes, crc32 } = file.content();
    let (mut is_copy, mut down) = (false, Ok(()));
    for (at, &Wanted { request, file: own }) in wanted.iter().enumerate() {
        if let Err(error) = &down {
            tracker.fail(request, RequestError::clone(error));
            continue;
        }
        if file.is_spent() {
            tracker.hand_back(request, HandBack::FileLost);
            continue;
        }
        let ready = group.request(request);
        let (key, object) = (&ready.key, ready.object(own));
        let stored = {
            let (batch, key) = (batch.clone(), object.to_string());
            let (counts, quality) = (counts.clone(), quality.clone());
            StoredBatch { batch, key, bytes, crc32, counts, quality }
        };
        let is_last = at + 1 == wanted.len();
        match group.checkpoint.place(key, stored, || publish(group, &batch, &mut file, object, is_last)) {
            // The request has ended meanwhile: the next one gets the file.
            None => {}
            Some(Ok(())) => {
                if !is_copy {
                    tracker.count_stored(bytes);
                }
                group.metrics.count_delivered(is_copy);
                is_copy = true;
                failpoints::hit("stored", &batch);
                tracker.deliver(request, bytes, &counts, &quality);
            }
            // The file was sent under another key and is lost. This request, which was to get a copy, is not at fault.
            Some(Err(PublishError::Store(error))) if error.is_of_one_file() && file.is_spent() => {
                log::warn!("a shared file is lost request={key} batch={batch} error={error}");
                tracker.hand_back(request, HandBack::FileLost);
            }
            Some(Err(PublishError::Store(error))) => {
                let reason = RequestError::store(&error).in_file(&group.label(&batch));
                tracker.fail(request, reason.clone());
                if group.store.fails_for_all(&error) {
                    down = Err(reason);
                }
            }
            Some(Err(PublishError::Panicked(panic))) => {
                tracker.fail(request, RequestError::panicked(&panic).in_file(&group.label(&batch)));
            }
        }
    }
    group.store.discard(file);
    down
}

/// Why a file is not in its place.
enum PublishError {
    Store(StoreError),
    Panicked(Panicked),
}

fn publish(
    group: &GroupContext,
    batch: &str,
    file: &mut FinishedFile,
    object: &ObjectKey,
    is_last: bool,
) -> Result<(), PublishError> {
    let (published, spent) = timed(|| caught(|| group.store.publish(file, object, is_last)));
    group.metrics.add_store(spent);
    failpoints::hit("placed", batch);
    match published {
        Ok(published) => published.map_err(PublishError::Store),
        Err(panic) => Err(PublishError::Panicked(panic)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::plan::{Ready, RequestIdx};
    use crate::worker::test_app::{BATCHES, TestApp, expected, group_context, made_files, request_of, tracker};

    #[tokio::test]
    async fn every_request_gets_the_file_under_its_own_key_and_a_key_that_is_refused_fails_its_own() {
        let test = TestApp::new();
        let (_lease, ready, catalog) = test.ready(&["1", "2", "3"].map(|id| (id, &BATCHES[1..]))).await;
        let requests: Vec<Ready> = ready.into_iter().map(|(_, ready)| ready).collect();
        let objects: Vec<String> = requests.iter().map(|one| one.objects[0].to_string()).collect();
        // A directory stands where the file of the second one goes.
        std::fs::create_dir_all(test.directory.path().join("store").join(&objects[1]).join("x")).unwrap();
        let group = group_context(requests, test.app.store.clone());
        let (tracker, stored, mut ended) = tracker(&group);
        for made in made_files(&test.app, &group, &catalog, &tracker).await {
            let _ = store(&group, &tracker, made);
        }
        assert_eq!([&objects[0], &objects[2]].map(|object| test.file(object)), [(); 2].map(|()| expected(BATCHES[1])));
        assert_eq!((group.metrics.generated(), group.metrics.shared()), (1, 1));
        let whole: Vec<usize> = stored.try_iter().filter_map(request_of).collect();
        assert_eq!(whole, [0, 2]);
        assert_eq!(ended.try_recv().unwrap().request, RequestIdx(1));
        for (request, is_noted) in [(0, true), (1, false), (2, true)] {
            assert_eq!(group.checkpoint.processed(&group.requests[request].key).is_some(), is_noted);
        }
    }
}
