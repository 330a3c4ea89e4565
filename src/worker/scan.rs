//! One scan, the way of a request on one page: claim, group by job, resolve batches, load once, generate per batch,
//! store, write back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::World;
use super::ending::Summary;
use super::group::{Accepted, Group};
use super::lease::Lease;
use super::points;
use crate::config::Config;
use crate::config::checked::Job;
use crate::requests::{Claim, ClaimMode, ClaimOptions, ClaimedRequest, QueueError};

/// Works on what is claimable of `jobs`, once, and says what became of it. Claims at most `[worker] claim` rows: as
/// long as a scan finds that many there may be more.
pub async fn scan(world: &World, jobs: &[Arc<Job>]) -> Result<Summary, QueueError> {
    let _among_others = world.alone.read().await;
    claim_and_work(world, jobs, ClaimMode::Shared).await
}

/// Works on one row that crashed its daemons, if there is one and nothing else is in work here: what crashes now crashes
/// nobody else, and is known to have done it.
pub async fn scan_suspect(world: &World, jobs: &[Arc<Job>]) -> Result<Summary, QueueError> {
    let Ok(_alone) = world.alone.try_write() else { return Ok(Summary::default()) };
    claim_and_work(world, jobs, ClaimMode::Exclusive).await
}

async fn claim_and_work(world: &World, jobs: &[Arc<Job>], mode: ClaimMode) -> Result<Summary, QueueError> {
    // It may have been told while this scan waited for its turn.
    if world.stop.is_set() {
        return Ok(Summary::default());
    }
    let config = world.config.get();
    let (claim, took) = claim(world, &config, jobs, mode).await?;
    let mut summary = Summary { claimed: claim.requests.len() as u64, ..Summary::default() };
    if claim.requests.is_empty() {
        return Ok(summary);
    }
    points::reach("claimed", &claim.token);
    let lease = Lease::keep(world, &claim, config.worker.lease);
    let claim_ms = took.as_secs_f64() * 1000.0;
    log::info!("claimed rows={} claim={} claim_ms={claim_ms:.1}", claim.requests.len(), lease.token());
    for (job, requests) in group_by_job(jobs, claim.requests) {
        work(Group::new(world, &config, &lease, &job, requests), &mut summary).await;
    }
    Ok(summary)
}

/// The claim, and how long the database took for it.
async fn claim(
    world: &World,
    config: &Config,
    jobs: &[Arc<Job>],
    mode: ClaimMode,
) -> Result<(Claim, Duration), QueueError> {
    let worker = &config.worker;
    let wish = ClaimOptions {
        job_ids: jobs.iter().flat_map(|job| job.names()).map(str::to_owned).collect(),
        limit: worker.claim,
        lease: worker.lease,
        owner: format!("{}:{}", gethostname::gethostname().to_string_lossy(), std::process::id()),
        mode,
        per_tag: worker.per_tag.requests,
        per_channel: worker.per_channel.requests,
    };
    let adopt_after = worker.adopt_after;
    world
        .ask(move |queue| {
            for key in queue.reclaim(&wish.job_ids, wish.lease, adopt_after)? {
                log::warn!("whoever worked on it is gone, it will be worked on again request={key}");
            }
            let asked = Instant::now();
            queue.claim(&wish).map(|claim| (claim, asked.elapsed()))
        })
        .await
}

/// Rows of one job together, aliases resolved, oldest first within a job.
fn group_by_job(jobs: &[Arc<Job>], requests: Vec<ClaimedRequest>) -> Vec<(Arc<Job>, Vec<ClaimedRequest>)> {
    let by_name: BTreeMap<&str, usize> =
        jobs.iter().enumerate().flat_map(|(at, job)| job.names().map(move |name| (name, at))).collect();
    let mut groups: Vec<(Arc<Job>, Vec<ClaimedRequest>)> = jobs.iter().map(|job| (Arc::clone(job), vec![])).collect();
    for request in requests {
        // Only rows of these names were claimed; on PostgreSQL and SQLite alike text compares by its bytes.
        if let Some(&at) = by_name.get(request.job_id.as_str()) {
            groups[at].1.push(request);
        }
    }
    groups.retain(|(_, requests)| !requests.is_empty());
    groups
}

/// One group from claimed rows to written-back rows. Whatever goes wrong ends the requests that it concerns, with a
/// reason, and no others; a stop that cannot wait hands back what is left.
async fn work(mut group: Group<'_>, summary: &mut Summary) {
    let accepted = group.accept(summary).await;
    for (part, accepted) in group.parts(accepted) {
        work_on(part, accepted, summary).await;
    }
}

/// Requests that are loaded for together, from orders to written-back rows.
async fn work_on(mut group: Group<'_>, accepted: Vec<Accepted>, summary: &mut Summary) {
    let Some(catalog) = group.load_catalog(&accepted, summary).await else { return };
    let ready = group.resolve(accepted, &catalog, summary).await;
    let ready = group.resume(ready, &catalog).await;
    if ready.is_empty() {
        return;
    }
    group.deliver(ready, catalog, summary).await;
}
