//! All files of a group, from loading to storing.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use super::batch_table::MakeUnits;
use super::completion_tracker::CompletionTracker;
use super::context::GroupContext;
use super::generate::{for_each_unit, generate};
use super::load_parts::load_parts;
use super::store::store;
use super::sync::{RequestDone, start_sync};
use super::upload::Uploader;
use crate::tables::catalog::Catalog;
use crate::worker::AppContext;
use crate::worker::cpu::Panicked;

/// Makes the files of a group: loads what they need, part by part, generates each file on all cores, and stores it. Says of
/// each request when all of its files are stored and synced, or why it fails.
pub(in crate::worker) async fn make_files(
    app: AppContext,
    group: Arc<GroupContext>,
    catalog: Arc<Catalog>,
    ended: UnboundedSender<RequestDone>,
) -> Result<(), Panicked> {
    let (to_sync, syncing) = start_sync(&group, ended.clone());
    let tracker = Arc::new(CompletionTracker::new(Arc::clone(&group), to_sync, ended));
    let uploader = group.store.is_remote().then(|| Arc::new(Uploader::new(&group, &tracker)));
    let make: Arc<MakeUnits> = {
        let (group, tracker, uploader) = (Arc::clone(&group), Arc::clone(&tracker), uploader.clone());
        Arc::new(move |data, units| {
            for_each_unit(&group, data, units, |unit| match (generate(&group, &tracker, data, unit), &uploader) {
                (Some(file), Some(uploader)) => uploader.upload(file),
                // If it fails, the requests that want the file have failed with it.
                (Some(file), None) => drop(store(&group, &tracker, file)),
                (None, _) => {}
            });
        })
    };
    let made = load_parts(&app, &group, &catalog, &tracker, make).await;
    if let Some(uploader) = uploader
        && let Err(error) = tokio::task::spawn_blocking(move || uploader.finish()).await
    {
        log::error!("uploading broke off error={error}");
    }
    drop(tracker);
    // It ends by itself when no further request can get all of its files.
    if let Err(error) = syncing.await {
        log::error!("the sync broke off error={error}");
    }
    made
}
