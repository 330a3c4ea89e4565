//! The daemon's life: wait for the database, scan when due, stop in order. And `run --once`, its life in one breath.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::World;
use super::ending::Summary;
use super::scan::scan;
use super::schedule::{AlarmClock, Busy, Timetable};
use crate::config::checked::{Job, Mode};
use crate::intake;
use crate::requests::{NewRequest, Queue, QueueError, RequestKey};

/// The tag of rows that standalone jobs make for themselves.
pub const STANDALONE_TAG: &str = "exhaustd";

/// Says that the daemon is to stop; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    set: Arc<AtomicBool>,
    wake: Arc<Notify>,
}

impl Stop {
    /// Tells everybody to stop.
    pub fn set(&self) {
        self.set.store(true, Ordering::SeqCst);
        self.wake.notify_waiters();
    }

    /// Whether it was told.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::SeqCst)
    }

    /// Waits until it is told.
    pub async fn told(&self) {
        loop {
            let wake = self.wake.notified();
            if self.is_set() {
                return;
            }
            wake.await;
        }
    }
}

/// Why the daemon ended although nobody told it to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The database refuses, or (with `--once`) cannot be reached.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The alarm clock.
    #[error("the scheduler cannot start: {0}")]
    Scheduler(#[from] tokio_cron_scheduler::JobSchedulerError),
}

/// Applies migrations, unless jobs.toml says not to; waits with back-off while the database cannot be reached.
pub async fn prepare(world: &World) -> Result<(), QueueError> {
    let mut wait = Duration::from_millis(500);
    loop {
        let migrate = world.config.database.migrate;
        let asked = world.ask(move |queue| if migrate { queue.migrate(false).map(drop) } else { queue.check() });
        match asked.await {
            Err(error) if error.may_pass() && !world.stop.is_set() => {
                log::warn!("database not reachable, waiting wait_ms={} error={error}", wait.as_millis());
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = world.stop.told() => {}
                }
                wait = (wait * 2).min(Duration::from_secs(30));
            }
            answer => {
                world.prepared.store(answer.is_ok(), Ordering::SeqCst);
                return answer;
            }
        }
    }
}

/// The daemon: scans due jobs until it is told to stop, then gives work in progress `stop_timeout` to end or to be
/// handed back.
pub async fn run(world: &World) -> Result<(), RunError> {
    prepare(world).await?;
    let config = &world.config;
    let mut timetable = Timetable::new(&config.jobs, config.timezone, world.clock.now());
    let (alarm, mut rung) = AlarmClock::start().await?;
    let mut scans = JoinSet::new();
    log::info!("daemon ready jobs={} threads={}", config.jobs.len(), config.worker.threads);
    while !world.stop.is_set() {
        tokio::select! {
            () = world.stop.told() => break,
            _ = rung.recv() => {}
            Some(_) = scans.join_next() => continue,
        }
        let now = world.clock.now();
        let due = timetable.due(now);
        if !due.jobs.is_empty() {
            scans.spawn(tick(world.clone(), due, now));
        }
    }
    log::info!("stopping scans={}", scans.len());
    alarm.stop().await?;
    let ended = tokio::time::timeout(config.worker.stop_timeout, async { while scans.join_next().await.is_some() {} });
    if ended.await.is_err() {
        log::warn!("stop_timeout is over, scans={} are left: their claims run out by themselves", scans.len());
    }
    Ok(())
}

/// Everything that one tick means for its jobs. A failure is logged; the next tick tries again.
async fn tick(world: World, due: Busy, now: DateTime<Utc>) {
    if let Err(error) = drain(&world, &due.jobs, now).await {
        log::error!("scan broke off, the next tick tries again error={error}");
    }
}

/// Makes the rows of standalone jobs whose slots have come, then scans until nothing is claimable.
async fn drain(world: &World, jobs: &[Arc<Job>], now: DateTime<Utc>) -> Result<Summary, QueueError> {
    for job in jobs {
        if job.mode == Mode::Request {
            world.metrics.set_last_run(&job.id, now);
        }
        make_slots(world, job, now).await?;
    }
    let mut all = Summary::default();
    loop {
        let summary = scan(world, jobs).await?;
        all.add(summary);
        // Not "fewer than asked for": rows that crashed a worker are claimed in small groups.
        if summary.claimed == 0 || world.stop.is_set() {
            return Ok(all);
        }
    }
}

/// `run --once`: works until nothing claimable is left.
pub async fn run_once(world: &World) -> Result<Summary, RunError> {
    prepare(world).await?;
    let mut all = Summary::default();
    let jobs = &world.config.jobs;
    loop {
        let summary = drain(world, jobs, world.clock.now()).await?;
        all.add(summary);
        if summary.claimed == 0 || world.stop.is_set() {
            break;
        }
    }
    let mut names = Vec::new();
    for job in jobs {
        names.extend(job.names().map(str::to_owned));
    }
    // Rows that an earlier run left in back-off count as well: not everything is done.
    if let Some(at) = world.ask(move |queue| queue.next_claimable(&names)).await? {
        log::warn!("requests are left in back-off, the next may be claimed at={at}");
        all.backing_off = all.backing_off.max(1);
    }
    Ok(all)
}

/// Makes the row of a standalone job's latest slot that has come since the last one it made.
async fn make_slots(world: &World, job: &Arc<Job>, now: DateTime<Utc>) -> Result<(), QueueError> {
    let Mode::Standalone(config) = &job.mode else { return Ok(()) };
    let (job, timezone) = (Arc::clone(job), world.config.timezone);
    let request_data = standalone_request(&job, config);
    let metrics = Arc::clone(&world.metrics);
    world
        .ask(move |queue: &dyn Queue| {
            let schedule = format!("{} {timezone}", job.schedule.as_str());
            let last = queue.last_slot(&job.id, &schedule, now)?;
            let Some(slot) = job.schedule.latest_between(last, now, timezone) else { return Ok(()) };
            let request_id = intake::slot_request_id(&job.id, slot);
            let key = RequestKey { tag: STANDALONE_TAG.to_owned(), request_id };
            let request = NewRequest {
                key,
                job_id: job.id.clone(),
                request_data,
                requested_by: Some(STANDALONE_TAG.to_owned()),
                requested_channel: None,
                allowed_channels: None,
            };
            metrics.set_last_run(&job.id, slot);
            if queue.make_slot(&job.id, slot, &request)? {
                log::info!("standalone slot made job={} slot={slot} request={}", job.id, request.key);
            }
            Ok(())
        })
        .await
}

fn standalone_request(job: &Job, config: &Value) -> String {
    serde_json::json!({ "jobId": job.id, "jobConfig": config }).to_string()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::{self, Environment};

    /// A request job as jobs.toml would give it.
    pub(in crate::worker) fn job(id: &str, schedule: &str) -> Arc<Job> {
        let text = format!("[[job]]\nid = \"{id}\"\nreport = \"course\"\nschedule = \"{schedule}\"\n");
        let nothing: Environment = std::iter::empty::<(String, String)>().collect();
        let config = config::check(&text, std::path::Path::new("jobs.toml"), &nothing, &["course"]);
        Arc::clone(&config.unwrap().jobs[0])
    }

    #[tokio::test]
    async fn a_stop_is_heard_whether_it_comes_before_or_after_the_wait() {
        let stop = Stop::default();
        let waiting = tokio::spawn({
            let stop = stop.clone();
            async move { stop.told().await }
        });
        tokio::task::yield_now().await;
        stop.set();
        waiting.await.unwrap();
        stop.told().await;
        assert!(stop.is_set());
    }
}
