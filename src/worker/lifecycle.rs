//! The daemon's life: it waits for the database, scans the jobs that are due, and stops in order. And `run --once`, which
//! scans until nothing is left.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::back_off::BackOff;
use super::dependencies::still_down;
use super::heartbeat::HeartbeatTask;
use super::scan::{scan, scan_beside, scan_suspect};
use super::schedule::{Busy, Ticker, Timetable};
use super::summary::Summary;
use super::{AppContext, failpoints, retention, stage, supervisor, wake};
use crate::config::checked::{Job, Mode};
use crate::intake;
use crate::metrics::ScanOutcome;
use crate::requests::{NewRequest, Queue, QueueError};

/// How often retention removes old rows and files.
const SWEEP: Duration = Duration::from_hours(1);

/// Why the daemon ended although it was not told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The database refuses, or (with `--once`) cannot be reached.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The clock that wakes it.
    #[error("the scheduler cannot start: {0}")]
    Scheduler(#[from] tokio_cron_scheduler::JobSchedulerError),
}

/// Applies migrations, unless jobs.toml says not to. Waits with back-off while the database cannot be reached.
pub async fn prepare(app: &AppContext) -> Result<(), QueueError> {
    let mut back_off = BackOff::AT_START;
    loop {
        match migrate_or_check(app).await {
            Err(error) if error.may_pass() && !app.stop.is_set() => {
                let wait = back_off.next_wait();
                log::warn!("database not reachable, waiting wait_ms={} error={error}", wait.as_millis());
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = app.stop.requested() => {}
                }
            }
            answer => {
                app.prepared.store(answer.is_ok(), Ordering::SeqCst);
                return answer;
            }
        }
    }
}

/// Applies the migrations, or checks that none is missing. An index on a large table takes its time, so only the first
/// call has a time-out.
async fn migrate_or_check(app: &AppContext) -> Result<(), QueueError> {
    app.ask(|queue| queue.now()).await?;
    let (queue, migrate) = (Arc::clone(&app.queue), app.config.get().database.migrate);
    let asked =
        tokio::task::spawn_blocking(move || if migrate { queue.migrate(false).map(drop) } else { queue.check() });
    asked.await.unwrap_or_else(|panic| Err(QueueError::Refused(format!("the migration broke off: {panic}"))))
}

/// The daemon: scans due jobs until it is told to stop, then gives work in progress `stop_timeout` to end or to be
/// handed back.
pub async fn run(app: &AppContext) -> Result<(), RunError> {
    let (ticker, mut ticks) = Ticker::start().await?;
    app.state.ticked();
    prepare_while_ticking(app, &mut ticks).await?;
    let heartbeat = HeartbeatTask::start(app);
    let mut config = app.config.get();
    let mut timetable = Timetable::new(&config.enabled_jobs(), config.timezone, app.clock.now());
    let mut woken = wake::listen(app.queue.clone());
    let mut scans = JoinSet::new();
    let mut sweep_from = Instant::now();
    log::info!("daemon ready jobs={} threads={}", config.jobs.len(), config.worker.threads);
    supervisor::status("working");
    tokio::spawn(log_rows_left_alone(app.clone()));
    tokio::spawn(log_unclaimable_rows(app.clone()));
    tokio::spawn(stage::keep_clean(app.clone()));
    while !app.stop.is_set() {
        tokio::select! {
            () = app.stop.requested() => break,
            // A ticker that has ended is silent, and so is what watches it.
            Some(()) = ticks.recv() => ticked(app),
            Some(()) = woken.recv() => timetable.wake(),
            Some(_) = scans.join_next() => {}
        }
        let now = app.clock.now();
        let newest = app.config.get();
        if !Arc::ptr_eq(&newest, &config) {
            config = newest;
            timetable.replace(&config.enabled_jobs(), now);
        }
        if let Some(retention) = config.worker.retention
            && Instant::now() >= sweep_from
        {
            sweep_from = Instant::now() + SWEEP;
            scans.spawn(sweep(app.clone(), retention));
        }
        // Each job by itself: none waits for another one's large request.
        for due in timetable.due(now) {
            scans.spawn(tick(app.clone(), due, now));
        }
    }
    supervisor::stopping();
    log::info!("stopping scans={}", scans.len());
    ticker.stop().await?;
    let ended = app.stop.bound(patience(app), async { while scans.join_next().await.is_some() {} }).await;
    stage::wait_for_cancelled(app).await;
    heartbeat.end(app).await;
    if ended.is_none() {
        log::warn!("stop_timeout is over, scans={} are left: their claims run out by themselves", scans.len());
    }
    Ok(())
}

/// A supervisor must not kill a daemon that waits for its database.
async fn prepare_while_ticking(app: &AppContext, ticks: &mut mpsc::Receiver<()>) -> Result<(), QueueError> {
    supervisor::ready("waiting for the database");
    let prepared = prepare(app);
    tokio::pin!(prepared);
    loop {
        tokio::select! {
            prepared = &mut prepared => return prepared,
            Some(()) = ticks.recv() => ticked(app),
        }
    }
}

/// The loop turns: tells it to the supervisor and to the health checks.
fn ticked(app: &AppContext) {
    failpoints::hit("ticked", "");
    app.state.ticked();
    supervisor::alive();
}

/// Logs once which rows this daemon leaves alone, so that no operator waits for them.
async fn log_rows_left_alone(app: AppContext) {
    // Over ten million rows this takes seconds, and nothing waits for it.
    let overview = match app.ask(|queue| queue.overview()).await {
        Ok(overview) => overview,
        Err(error) => return log::debug!("the table was not looked over error={error}"),
    };
    let config = app.config.get();
    let ours = |name: &str| config.jobs.iter().any(|job| job.names().any(|known| known == name));
    let others: Vec<_> = overview.counts.iter().filter(|((job, _), _)| !ours(job)).collect();
    if !others.is_empty() {
        let jobs: BTreeSet<&str> = others.iter().map(|((job, _), _)| job.as_str()).collect();
        let rows: u64 = others.iter().map(|(_, rows)| **rows).sum();
        log::info!("rows of jobs that are not configured are left alone rows={rows} jobs={jobs:?}");
    }
    for (job, rows) in overview.without_lease.iter().filter(|(job, _)| ours(job)) {
        let what = if config.worker.adopt_after.is_some() { "adopt_after takes them over" } else { "left alone" };
        log::warn!("rows are PROCESSING without a claim of ours: {what} job={job} rows={rows}");
    }
}

/// Logs that there are rows which can never be claimed: at the start, and again when there are more of them.
async fn log_unclaimable_rows(app: AppContext) {
    /// How often the table is looked over.
    const EVERY: Duration = Duration::from_mins(10);
    let mut logged = 0;
    loop {
        let names: Vec<String> = app.config.get().jobs.iter().flat_map(|job| job.names().map(str::to_owned)).collect();
        match app.ask(move |queue| queue.unclaimable(&names)).await {
            Ok(found) if found.rows > logged => {
                log::warn!("rows can never be claimed rows={} first={:?}", found.rows, found.first);
                logged = found.rows;
            }
            Ok(_) => {}
            Err(error) => log::debug!("the table was not looked over error={error}"),
        }
        tokio::select! {
            () = app.stop.requested() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Removes old rows and files. A failure is logged; the next sweep tries again.
async fn sweep(app: AppContext, retention: Duration) {
    if let Err(error) = retention::sweep(&app, retention, false).await {
        log::error!("retention broke off, it is tried again later error={error}");
    }
}

/// Everything that one tick means for a job. A failure is logged; the next tick tries again.
async fn tick(app: AppContext, due: Busy, now: DateTime<Utc>) {
    let lane = tokio::select! {
        lane = app.lanes.lane() => lane,
        () = app.stop.requested() => return,
    };
    // A task of its own: a panic in it is an outcome too.
    let drained = tokio::spawn({
        let (app, job) = (AppContext { cpu: lane.cpu(), ..app.clone() }, Arc::clone(&due.job));
        let is_beside = due.is_beside;
        async move { if is_beside { drain_beside(&app, &job).await } else { drain(&app, &[job]).await } }
    });
    let trouble = match drained.await {
        Ok(Ok(Drained { held_back, .. })) => held_back.map(|why| (ScanOutcome::HeldBack, why)),
        Ok(Err(error)) => Some((ScanOutcome::BrokeOff, format!("a scan broke off: {error}"))),
        Err(panic) => Some((ScanOutcome::BrokeOff, format!("a scan broke off: {panic}"))),
    };
    let job = &due.job;
    match &trouble {
        None if job.mode == Mode::Request => app.metrics.set_last_run(&job.id, now),
        Some((ScanOutcome::BrokeOff, why)) => log::error!("{why}, the next tick tries again job={}", job.id),
        // `dependencies` has logged it.
        Some(_) | None => {}
    }
    app.scans.ended(&app.metrics, std::slice::from_ref(job), trouble, app.clock.now());
}

/// What came of scanning until nothing was claimable.
struct Drained {
    summary: Summary,
    /// What keeps the daemon from claiming, where something does.
    held_back: Option<String>,
}

/// Makes the rows of standalone jobs whose slots have come, then scans until nothing is claimable.
async fn drain(app: &AppContext, jobs: &[Arc<Job>]) -> Result<Drained, QueueError> {
    for job in jobs {
        make_slots(app, job).await?;
    }
    let mut all = Summary::default();
    while !app.stop.is_set() {
        if let Some(why) = still_down(&app.down, &app.store, &app.source).await {
            return Ok(Drained { summary: all, held_back: Some(why) });
        }
        let mut summary = scan(app, jobs).await?;
        // Not "fewer than asked for": rows that crashed a worker are claimed in small groups.
        if summary.claimed == 0 {
            summary = scan_suspect(app, jobs).await?;
        }
        all.add(summary);
        if summary.claimed == 0 {
            break;
        }
    }
    Ok(Drained { summary: all, held_back: None })
}

/// Scans beside another scan of the job, for rows that it has not taken, until nothing is claimable.
async fn drain_beside(app: &AppContext, job: &Arc<Job>) -> Result<Drained, QueueError> {
    let mut all = Summary::default();
    while !app.stop.is_set() {
        if let Some(why) = still_down(&app.down, &app.store, &app.source).await {
            return Ok(Drained { summary: all, held_back: Some(why) });
        }
        let summary = scan_beside(app, job).await?;
        all.add(summary);
        if summary.claimed == 0 {
            break;
        }
    }
    Ok(Drained { summary: all, held_back: None })
}

/// `run --once`: works until nothing claimable is left, or until it is told to stop. `None`: a stop could not wait for
/// the end.
pub async fn run_once(app: &AppContext) -> Result<Option<Summary>, RunError> {
    let worked = app.stop.bound(patience(app), prepare_and_scan(app)).await;
    stage::wait_for_cancelled(app).await;
    worked.transpose()
}

/// How long a stop may take, by the configuration of that moment.
fn patience(app: &AppContext) -> impl Fn() -> Duration {
    || app.config.get().worker.stop_timeout
}

async fn prepare_and_scan(app: &AppContext) -> Result<Summary, RunError> {
    prepare(app).await?;
    let heartbeat = HeartbeatTask::start(app);
    stage::clean_up(app).await;
    let worked = scan_all(app).await;
    heartbeat.end(app).await;
    worked
}

async fn scan_all(app: &AppContext) -> Result<Summary, RunError> {
    let mut all = Summary::default();
    let config = app.config.get();
    loop {
        let Drained { summary, .. } = drain(app, &config.enabled_jobs()).await?;
        all.add(summary);
        if summary.claimed == 0 || app.stop.is_set() {
            break;
        }
    }
    // Rows that an earlier run left in back-off count as well: not everything is done. Paused ones wait for somebody.
    let jobs = config.enabled_jobs();
    let next = move |queue: &dyn Queue| {
        let pauses = queue.pauses()?;
        let unpaused = jobs.iter().filter(|job| pauses.of_job(job.names()).is_none());
        let names: Vec<String> = unpaused.flat_map(|job| job.names()).map(str::to_owned).collect();
        queue.next_claimable(&names)
    };
    if let Some(at) = app.ask(next).await? {
        log::warn!("requests are left in back-off, the next may be claimed at={at}");
        all.backing_off = all.backing_off.max(1);
    }
    Ok(all)
}

/// Makes the row of a standalone job's latest slot that has come since the last one it made.
/// Every daemon on one database judges that by the database's time.
async fn make_slots(app: &AppContext, job: &Arc<Job>) -> Result<(), QueueError> {
    let Mode::Standalone(config) = &job.mode else { return Ok(()) };
    let (job, timezone) = (Arc::clone(job), app.config.get().timezone);
    let config = config.clone();
    let metrics = Arc::clone(&app.metrics);
    app.ask(move |queue: &dyn Queue| {
        if queue.pauses()?.of_job(job.names()).is_some() {
            // Once it is resumed, one row is made for all slots that have come meanwhile.
            return Ok(());
        }
        let schedule = format!("{} {timezone}", job.schedule.as_str());
        let now = queue.now()?;
        let last = queue.last_slot(&job.id, &schedule, now)?;
        let Some(slot) = job.schedule.latest_between(last, now, timezone) else { return Ok(()) };
        let intake::StandaloneRow { request_id, request_data } = intake::standalone_row(&job, &config, slot);
        let tag = intake::STANDALONE_TAG;
        let request = NewRequest::standalone(tag, (request_id, request_data), &job.id, tag);
        if queue.make_slot(&job.id, slot, &request)? {
            log::info!("standalone slot made job={} slot={slot} request={}", job.id, request.key);
        }
        metrics.set_last_run(&job.id, slot);
        Ok(())
    })
    .await
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::{self, Environment};

    /// A request job as jobs.toml would give it.
    pub(in crate::worker) fn job(id: &str, schedule: &str) -> Arc<Job> {
        let text = format!("[[job]]\nid = \"{id}\"\nreport = \"course\"\nschedule = \"{schedule}\"\n");
        let nothing: Environment = std::iter::empty::<(String, String)>().collect();
        let config = config::check(&text, std::path::Path::new("jobs.toml"), &nothing, crate::reports::registry());
        Arc::clone(&config.unwrap().jobs[0])
    }
}
