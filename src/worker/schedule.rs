//! When to scan which jobs. The only user of tokio-cron-scheduler, which only ticks once a second. What is due is computed from each job's cron expression in its time zone, because the crate freezes the
//! zone's offset when a job is added, lets runs overlap and may lose ticks.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job as Alarm, JobScheduler, JobSchedulerError};

use crate::config::checked::{Job, Mode};
use crate::config::cron::Cron;

/// Rows of standalone jobs are scanned at this rhythm: their own schedule makes rows, and a row that failed for a
/// reason that passes must not wait for the next night.
const STANDALONE_SCAN: &str = "*/30 * * * * *";

/// Ticks once a second, until it is stopped.
pub(super) struct Ticker {
    scheduler: JobScheduler,
}

impl Ticker {
    /// Starts to tick on the returned channel. One tick that waits is enough.
    pub(super) async fn start() -> Result<(Self, mpsc::Receiver<()>), JobSchedulerError> {
        let (sender, ticks) = mpsc::channel(1);
        let scheduler = JobScheduler::new().await?;
        scheduler
            .add(Alarm::new("* * * * * *", move |_, _| {
                // Full: a tick waits already.
                let _ = sender.try_send(());
            })?)
            .await?;
        scheduler.start().await?;
        Ok((Self { scheduler }, ticks))
    }

    /// Stops.
    pub(super) async fn stop(mut self) -> Result<(), JobSchedulerError> {
        self.scheduler.shutdown().await
    }
}

/// Which jobs are due. Each job remembers up to when its slots were considered: ticks missed while the machine slept,
/// or while its last scan was still running, are made up by one.
#[derive(Debug)]
pub(super) struct Timetable {
    rows: Vec<Row>,
    timezone: Tz,
    busy: Arc<Mutex<BTreeSet<String>>>,
}

#[derive(Debug)]
struct Row {
    job: Arc<Job>,
    scans: Cron,
    considered: DateTime<Utc>,
    /// A request was submitted since its last scan began.
    woken: bool,
}

/// Jobs being scanned; dropping it frees them for their next tick.
#[derive(Debug)]
pub(super) struct Busy {
    /// The jobs.
    pub jobs: Vec<Arc<Job>>,
    busy: Arc<Mutex<BTreeSet<String>>>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        for job in &self.jobs {
            busy.remove(&job.id);
        }
    }
}

impl Timetable {
    /// A timetable that counts from `now`.
    #[must_use]
    pub(super) fn new(jobs: &[Arc<Job>], timezone: Tz, now: DateTime<Utc>) -> Self {
        let mut timetable = Self { rows: Vec::new(), timezone, busy: Arc::default() };
        timetable.replace(jobs, now);
        timetable
    }

    /// Goes on with these jobs. What is new, or has another schedule, counts from `now`; scans under way go on.
    pub(super) fn replace(&mut self, jobs: &[Arc<Job>], now: DateTime<Utc>) {
        let row = |job: &Arc<Job>| {
            let scans = scans(job);
            let known = self.rows.iter().find(|row| row.job.id == job.id);
            let same = known.filter(|row| row.scans == scans);
            Row {
                considered: same.map_or(now, |row| row.considered),
                woken: known.is_some_and(|row| row.woken),
                job: Arc::clone(job),
                scans,
            }
        };
        self.rows = jobs.iter().map(row).collect();
    }

    /// A request was submitted: jobs with `on_submit` are due.
    pub(super) fn wake(&mut self) {
        for row in &mut self.rows {
            row.woken |= row.job.on_submit;
        }
    }

    /// The jobs with a tick in (last look, `now`], or woken, that are not being scanned; they are busy until the result
    /// is dropped. A job that is woken while it is scanned is due again afterwards: that scan may have looked before.
    pub(super) fn due(&mut self, now: DateTime<Utc>) -> Busy {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let mut jobs = Vec::new();
        for row in &mut self.rows {
            // A clock that was set back: wait until it has caught up would be silence, so count from the new time.
            row.considered = row.considered.min(now);
            if busy.contains(&row.job.id) {
                continue;
            }
            if row.woken || row.scans.latest_between(row.considered, now, self.timezone).is_some() {
                row.considered = now;
                row.woken = false;
                busy.insert(row.job.id.clone());
                jobs.push(Arc::clone(&row.job));
            }
        }
        Busy { jobs, busy: Arc::clone(&self.busy) }
    }
}

/// When a job's rows are scanned.
fn scans(job: &Job) -> Cron {
    match job.mode {
        Mode::Request => job.schedule.clone(),
        Mode::Standalone(_) => Cron::parse(STANDALONE_SCAN).unwrap_or_else(|_| job.schedule.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::lifecycle::tests::job;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn ids(busy: &Busy) -> Vec<&str> {
        busy.jobs.iter().map(|job| job.id.as_str()).collect()
    }

    #[test]
    fn only_jobs_with_a_tick_are_due_and_missed_ticks_are_made_up_by_one() {
        let jobs = [job("minute", "0 * * * * *"), job("night", "0 0 2 * * *")];
        let mut table = Timetable::new(&jobs, chrono_tz::Asia::Kolkata, at("2026-01-01T00:00:30Z"));
        assert!(ids(&table.due(at("2026-01-01T00:00:59Z"))).is_empty());
        assert_eq!(ids(&table.due(at("2026-01-01T00:01:00Z"))), ["minute"]);
        assert!(ids(&table.due(at("2026-01-01T00:01:01Z"))).is_empty());
        // The machine slept over two nights: 02:00 in India is 20:30 UTC.
        assert_eq!(ids(&table.due(at("2026-01-02T20:30:00Z"))), ["minute", "night"]);
        assert!(ids(&table.due(at("2026-01-02T20:30:01Z"))).is_empty(), "made up once");
    }

    #[test]
    fn a_job_that_is_being_scanned_is_not_started_twice() {
        let mut table = Timetable::new(&[job("a", "* * * * * *")], chrono_tz::UTC, at("2026-01-01T00:00:00Z"));
        let running = table.due(at("2026-01-01T00:00:01Z"));
        assert_eq!(ids(&running), ["a"]);
        assert!(ids(&table.due(at("2026-01-01T00:00:05Z"))).is_empty());
        drop(running);
        assert_eq!(ids(&table.due(at("2026-01-01T00:00:05Z"))), ["a"], "the tick it missed is made up");
    }

    #[test]
    fn a_woken_job_is_due_at_once_and_again_if_it_was_being_scanned() {
        let start = at("2026-01-01T00:00:00Z");
        let mut table = Timetable::new(&[job("a", "0 0 2 * * *")], chrono_tz::UTC, start);
        table.wake();
        let running = table.due(start);
        assert_eq!(ids(&running), ["a"]);
        table.wake();
        assert!(ids(&table.due(start)).is_empty(), "not started twice");
        drop(running);
        assert_eq!(ids(&table.due(start)), ["a"], "what came after it looked is not left to the schedule");
        assert!(ids(&table.due(start)).is_empty());
    }

    #[test]
    fn another_schedule_counts_from_now_and_the_rest_goes_on() {
        let start = at("2026-01-01T00:00:30Z");
        let mut table = Timetable::new(&[job("a", "0 * * * * *"), job("b", "0 * * * * *")], chrono_tz::UTC, start);
        let running = table.due(at("2026-01-01T00:01:00Z"));
        assert_eq!(ids(&running), ["a", "b"]);
        let jobs = [job("a", "0 * * * * *"), job("b", "30 * * * * *"), job("c", "0 * * * * *")];
        table.replace(&jobs, at("2026-01-01T00:01:40Z"));
        assert!(ids(&table.due(at("2026-01-01T00:01:59Z"))).is_empty(), "no tick before the change is made up");
        assert_eq!(ids(&table.due(at("2026-01-01T00:02:00Z"))), ["c"], "the others are still being scanned");
        drop(running);
        assert_eq!(ids(&table.due(at("2026-01-01T00:02:30Z"))), ["a", "b"]);
        table.replace(&[], at("2026-01-01T00:02:31Z"));
        assert!(ids(&table.due(at("2026-01-01T00:05:00Z"))).is_empty());
    }

    #[test]
    fn a_clock_set_back_does_not_silence_a_job() {
        let mut table = Timetable::new(&[job("a", "0 * * * * *")], chrono_tz::UTC, at("2026-01-01T12:00:00Z"));
        assert!(ids(&table.due(at("2026-01-01T11:00:00Z"))).is_empty());
        assert_eq!(ids(&table.due(at("2026-01-01T11:01:00Z"))), ["a"]);
    }

    #[tokio::test]
    async fn it_ticks() {
        let (ticker, mut ticks) = Ticker::start().await.unwrap();
        ticks.recv().await.unwrap();
        ticker.stop().await.unwrap();
    }
}
