//! While the files of a group are made: each request is written back as soon as its own last file is stored and synced, and
//! clients see how far the others are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;

use super::claimed::ClaimedGroup;
use super::context::GroupContext;
use super::sync::{Delivered, FilesOutcome, RequestDone};
use super::write_back::write_back;
use crate::metrics::GroupWork;
use crate::reports::filters::LeftOut;
use crate::requests::{ClaimedRequest, RequestKey, RequestProgress};
use crate::tables::catalog::Catalog;
use crate::worker::outcome::{Completed, Outcome};
use crate::worker::part_result::PartResult;
use crate::worker::plan::{FileIdx, Ready, RequestIdx};
use crate::worker::request_error::RequestError;
use crate::worker::stats::{GroupStats, RequestStats, job_stats};
use crate::worker::summary::Summary;

/// Most requests that are written back together.
const AT_ONCE: usize = 500;

/// How often a request's progress is noted in its row.
const NOTE_PROGRESS: Duration = Duration::from_secs(2);

/// Writes the requests of a group back as they end, until no further one can. `rows` are theirs, in the order of the
/// group's requests; `stats` is known of the group by now. Returns the rows of those that have not ended, after a stop that
/// cannot wait or a failure.
pub(in crate::worker) async fn deliver(
    claimed: ClaimedGroup<'_>,
    group: &GroupContext,
    catalog: &Catalog,
    stats: &GroupStats,
    rows: Vec<Arc<ClaimedRequest>>,
    mut ended: UnboundedReceiver<RequestDone>,
    summary: &mut Summary,
) -> Vec<Arc<ClaimedRequest>> {
    let mut open: Vec<Option<Arc<ClaimedRequest>>> = rows.into_iter().map(Some).collect();
    let mut noted = BTreeMap::new();
    let mut clock = tokio::time::interval_at((Instant::now() + NOTE_PROGRESS).into(), NOTE_PROGRESS);
    loop {
        let first = tokio::select! {
            one = ended.recv() => match one {
                Some(one) => one,
                None => break,
            },
            () = claimed.app.stop.halted() => return open.into_iter().flatten().collect(),
            _ = clock.tick() => {
                let over = over_time(group, &mut open);
                write_back(claimed, over, summary).await;
                note_progress(claimed, group, &open, &mut noted).await;
                continue;
            }
        };
        let mut ends = Vec::new();
        let mut next = Some(first);
        while let Some(RequestDone { request, outcome }) = next {
            let outcome = match outcome {
                FilesOutcome::Delivered(delivered) => {
                    claimed.app.metrics.delivered(&group.job.id, delivered.counts.rows, delivered.bytes);
                    completed(group.request(request), &delivered, group, stats, catalog)
                }
                FilesOutcome::Failed(error) => Outcome::Failed(error),
                FilesOutcome::HandedBack(why) => Outcome::HandedBack(why),
            };
            ends.extend(open[request.0].take().map(|row| (row, outcome)));
            // What else has ended by now.
            next = if ends.len() < AT_ONCE { ended.try_recv().ok() } else { None };
        }
        write_back(claimed, ends, summary).await;
    }
    count(claimed, group, stats);
    open.into_iter().flatten().collect()
}

/// The requests on which this attempt has worked for longer than it may. What is still made of them nobody wants.
fn over_time(group: &GroupContext, open: &mut [Option<Arc<ClaimedRequest>>]) -> Vec<(Arc<ClaimedRequest>, Outcome)> {
    let Some(most) = group.job.max_runtime else { return Vec::new() };
    let over = |request: usize| group.metrics.worked(RequestIdx(request)) >= most;
    let rows = open.iter_mut().enumerate().filter(|(request, _)| over(*request)).filter_map(|(_, row)| row.take());
    rows.map(|row| (row, Outcome::Failed(RequestError::over_time(most)))).collect()
}

/// Notes in the rows how far each request is. Nothing depends on it: a failure is only logged.
async fn note_progress(
    claimed: ClaimedGroup<'_>,
    group: &GroupContext,
    open: &[Option<Arc<ClaimedRequest>>],
    noted: &mut BTreeMap<RequestKey, RequestProgress>,
) {
    let of_open = group.requests.iter().enumerate().filter(|(request, _)| open[*request].is_some());
    let progress: Vec<_> = of_open
        .map(|(request, ready)| {
            let batches_total = ready.objects.len() as u64;
            (
                ready.key.clone(),
                RequestProgress { batches_done: group.metrics.done(RequestIdx(request)), batches_total },
            )
        })
        .filter(|(key, progress)| noted.get(key) != Some(progress))
        .collect();
    if progress.is_empty() {
        return;
    }
    let (hold, written) = (claimed.lease.hold().clone(), progress.clone());
    match claimed.app.ask(move |queue| hold.note_progress(queue, &progress)).await {
        Ok(()) => noted.extend(written),
        Err(error) => log::warn!("progress could not be noted claim={} error={error}", claimed.lease.token()),
    }
}

fn count(claimed: ClaimedGroup<'_>, group: &GroupContext, stats: &GroupStats) {
    let metrics = &group.metrics;
    let work = GroupWork {
        load: Duration::from_millis(stats.load_ms) + metrics.load_time(),
        generate: metrics.generate_time(),
        store: metrics.store_time(),
        generated: metrics.generated(),
        shared: metrics.shared(),
    };
    claimed.app.metrics.group(&group.job.id, &work);
}

/// How a request ends whose files are all stored. Batches that are broken have none.
fn completed(
    ready: &Ready,
    delivered: &Delivered,
    group: &GroupContext,
    stats: &GroupStats,
    catalog: &Catalog,
) -> Outcome {
    let metrics = &group.metrics;
    let stats = GroupStats {
        loads: metrics.loads(),
        batches_generated: metrics.generated(),
        batches_shared: metrics.shared(),
        load_ms: stats.load_ms + millis(metrics.load_time()),
        generate_ms: millis(metrics.generate_time()),
        store_ms: millis(metrics.store_time()),
        ..stats.clone()
    };
    let of_batches = || ready.objects.iter().zip(&ready.selection.batches).enumerate();
    let is_broken = |file: usize| delivered.broken.contains(&FileIdx(file));
    let broken = of_batches().filter(|(file, _)| is_broken(*file));
    let broken: Vec<String> = broken.map(|(_, (_, batch))| catalog.batch(*batch).id.clone()).collect();
    let files = of_batches().filter(|(file, _)| !is_broken(*file)).map(|(_, (object, _))| object.to_string());
    let download_urls: Vec<String> = files.collect();
    if ready.is_part {
        return Outcome::PartMade(Box::new(PartResult {
            fingerprint: group.checkpoint.fingerprint(&ready.key),
            files: download_urls,
            broken,
            first_broken: delivered.first_broken.as_deref().map(Into::into),
            bytes: delivered.bytes,
            counts: delivered.counts.clone(),
            quality: delivered.quality.clone(),
            group: stats,
            load: metrics.load_stats(),
        }));
    }
    let request = RequestStats {
        batches: download_urls.len(),
        bytes: delivered.bytes,
        counts: delivered.counts.clone(),
        left_out: LeftOut { broken, ..ready.selection.left_out.clone() },
        parts: 0,
    };
    let job_stats = job_stats(&stats, &metrics.load_stats(), &request).to_string();
    Outcome::Completed(Completed { download_urls, job_stats })
}

/// Milliseconds of a duration.
pub(in crate::worker) fn millis(spent: Duration) -> u64 {
    u64::try_from(spent.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::test_app::{BATCHES, TestApp, group_context, key};

    #[tokio::test]
    async fn requests_are_written_back_as_they_end_and_the_others_come_back() {
        let test = TestApp::new();
        let (lease, ready, catalog) = test.ready(&["1", "2", "3"].map(|id| (id, &BATCHES[..]))).await;
        let (rows, requests): (Vec<_>, Vec<_>) = ready.into_iter().unzip();
        let group = group_context(requests, test.app.store.clone());
        let (config, job) = (test.config(), test.job());
        let claimed = ClaimedGroup { app: &test.app, config: &config, lease: &lease, job: &job };
        let (sender, ended) = tokio::sync::mpsc::unbounded_channel();
        let delivered = Delivered { bytes: 7, broken: [FileIdx(0)].into(), ..Delivered::default() };
        sender.send(RequestDone { request: RequestIdx(2), outcome: FilesOutcome::Delivered(delivered) }).unwrap();
        sender
            .send(RequestDone { request: RequestIdx(0), outcome: FilesOutcome::Failed(RequestError::crashes(5)) })
            .unwrap();
        drop(sender);
        let mut summary = Summary::default();
        let stats = GroupStats { load_ms: 5, ..GroupStats::default() };
        let left = deliver(claimed, &group, &catalog, &stats, rows, ended, &mut summary).await;
        assert_eq!(left.iter().map(|row| row.key.request_id.as_str()).collect::<Vec<_>>(), ["2"]);
        assert_eq!((summary.completed, summary.failed), (1, 1));
        assert_eq!((test.row("1").status.as_str(), test.row("2").status.as_str()), ("FAILED", "PROCESSING"));
        let row = test.row("3");
        assert_eq!(
            (row.status.as_str(), row.download_urls),
            ("COMPLETED", vec![group.requests[2].objects[1].to_string()])
        );
        let stats: serde_json::Value = serde_json::from_str(&row.job_stats.unwrap()).unwrap();
        assert_eq!((&stats["bytes"], &stats["batches"], &stats["group"]["load_ms"]), (&7.into(), &1.into(), &5.into()));
        assert_eq!(stats["batches_left_out"]["broken"][0], BATCHES[0]);
    }

    /// Hours pass while the first is worked on. The second waits all the time, and is not at fault.
    #[tokio::test(start_paused = true)]
    async fn a_request_that_takes_too_long_fails_and_one_that_waits_behind_it_does_not() {
        let test = TestApp::new();
        let (lease, ready, catalog) = test.ready(&["1", "2"].map(|id| (id, &BATCHES[..]))).await;
        let (rows, requests): (Vec<_>, Vec<_>) = ready.into_iter().unzip();
        let mut group = Arc::into_inner(group_context(requests, test.app.store.clone())).unwrap();
        let mut job = crate::config::checked::Job::clone(&group.job);
        job.max_runtime = Some(Duration::from_hours(5));
        (group.job, group.checkpoint) = (Arc::new(job), Arc::clone(lease.checkpoint()));
        let (config, job) = (test.config(), test.job());
        let claimed = ClaimedGroup { app: &test.app, config: &config, lease: &lease, job: &job };
        let (sender, ended) = tokio::sync::mpsc::unbounded_channel();
        group.metrics.begin(RequestIdx(0));
        let row = |id: &str| test.row(id);
        let passing = async {
            while row("1").status != "FAILED" {
                tokio::time::sleep(Duration::from_secs(30)).await;
            }
            assert!(group.metrics.worked(RequestIdx(0)) >= Duration::from_hours(5));
            assert!(!group.checkpoint.wants(&key("1")) && group.checkpoint.wants(&key("2")));
            drop(sender);
        };
        let (stats, mut summary) = (GroupStats::default(), Summary::default());
        let delivering = deliver(claimed, &group, &catalog, &stats, rows, ended, &mut summary);
        let (left, ()) = tokio::join!(delivering, passing);
        assert_eq!(left.iter().map(|row| row.key.request_id.as_str()).collect::<Vec<_>>(), ["2"]);
        let failed = row("1");
        assert_eq!(failed.err_message.as_deref(), Some("timeout: it was worked on for more than 18000 s"));
        assert_eq!((failed.err_code.as_deref(), summary.failed, summary.backing_off), (Some("timeout"), 1, 0));
    }

    #[tokio::test]
    async fn a_stop_that_cannot_wait_leaves_all_that_have_not_ended() {
        let test = TestApp::new();
        let (lease, ready, catalog) = test.ready(&[("1", &BATCHES)]).await;
        let (rows, requests): (Vec<_>, Vec<_>) = ready.into_iter().unzip();
        let group = group_context(requests, test.app.store.clone());
        let (config, job) = (test.config(), test.job());
        let claimed = ClaimedGroup { app: &test.app, config: &config, lease: &lease, job: &job };
        let (_sender, ended) = tokio::sync::mpsc::unbounded_channel();
        test.app.stop.halt();
        let stats = GroupStats::default();
        let left = deliver(claimed, &group, &catalog, &stats, rows, ended, &mut Summary::default()).await;
        assert_eq!(left.len(), 1);
    }
}
