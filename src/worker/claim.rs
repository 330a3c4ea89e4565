//! What a scan claims: rows, or a part of a request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::AppContext;
use super::fair_share::FairShare;
use crate::config::Config;
use crate::config::checked::Job;
use crate::requests::{Claim, ClaimMode, ClaimOptions, Queue, QueueError};

/// What a claim takes.
#[derive(Clone, Copy)]
pub(super) enum Wish {
    /// Rows; this daemon's share of them, where it has one.
    Rows(ClaimMode, Option<FairShare>),
    /// Open parts of one request, up to the share of this daemon. The number is that of the daemons that run the jobs.
    Part(ClaimMode, u32),
}

/// The claim, limited by this daemon's share where it has one, and how long the database took for it.
pub(super) async fn claim(
    app: &AppContext,
    config: &Config,
    jobs: &[Arc<Job>],
    wish: Wish,
) -> Result<(Claim, Duration), QueueError> {
    let worker = &config.worker;
    let (Wish::Rows(mode, _) | Wish::Part(mode, _)) = wish;
    let mut options = ClaimOptions {
        job_ids: jobs.iter().flat_map(|job| job.names()).map(str::to_owned).collect(),
        limit: worker.claim,
        lease: worker.lease,
        owner: format!("{}:{}", gethostname::gethostname().to_string_lossy(), std::process::id()),
        mode,
        per_tag: worker.per_tag.requests,
        per_channel: worker.per_channel.requests,
        paused_tags: Vec::new(),
        daemons: 1,
    };
    let adopt_after = worker.adopt_after;
    let jobs = jobs.to_vec();
    app.ask(move |queue| match wish {
        Wish::Rows(_, share) => {
            for key in queue.reclaim(&options.job_ids, options.lease, adopt_after)? {
                log::warn!("the daemon that worked on it is gone, it will be worked on again request={key}");
            }
            let asked = Instant::now();
            leave_out_paused(queue, &jobs, &mut options)?;
            if let Some(share) = share {
                let backlog = queue.backlog(&options.job_ids, share.count_up_to(options.limit))?;
                options.limit = share.rows(backlog, options.limit);
            }
            queue.claim(&options).map(|claim| (claim, asked.elapsed()))
        }
        Wish::Part(_, daemons) => {
            options.daemons = daemons;
            for (key, part) in queue.reclaim_parts(&options.job_ids, options.lease)? {
                log::warn!(
                    "the daemon that worked on it is gone, it will be worked on again request={key} part={part}"
                );
            }
            let asked = Instant::now();
            leave_out_paused(queue, &jobs, &mut options)?;
            queue.claim_part(&options).map(|claim| (claim.unwrap_or_default(), asked.elapsed()))
        }
    })
    .await
}

/// Asked before each claim, so that a pause holds from then on. Rows whose daemon is gone were taken back before: while they
/// wait their status says so.
fn leave_out_paused(queue: &dyn Queue, jobs: &[Arc<Job>], options: &mut ClaimOptions) -> Result<(), QueueError> {
    let pauses = queue.pauses()?;
    if !pauses.all().is_empty() {
        let unpaused = jobs.iter().filter(|job| pauses.of_job(job.names()).is_none());
        options.job_ids = unpaused.flat_map(|job| job.names()).map(str::to_owned).collect();
        options.paused_tags = pauses.tags().map(str::to_owned).collect();
    }
    Ok(())
}
