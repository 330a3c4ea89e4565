//! When to scan which jobs. The only user of tokio-cron-scheduler, which only ticks once a second. What is due is computed from each job's cron expression in its time zone, because the crate freezes the
//! zone's offset when a job is added, lets runs overlap and may lose ticks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job as Alarm, JobScheduler, JobSchedulerError};

use crate::config::checked::{Job, Mode};
use crate::config::cron::Cron;

/// Rows of standalone jobs are scanned at this rhythm: their own schedule makes rows, and a row that failed for a
/// reason that passes must not wait for the next night.
const STANDALONE_SCAN: &str = "*/30 * * * * *";

/// A scan that has been at work for this long gets another one beside it. Most end before, and what they have in common is loaded
/// once.
const BESIDE_AFTER: TimeDelta = TimeDelta::seconds(2);

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
    running: Running,
}

#[derive(Debug)]
struct Row {
    job: Arc<Job>,
    scans: Cron,
    considered: DateTime<Utc>,
    /// A request was submitted since its last scan began.
    woken: bool,
}

/// The scans of each job: when each began, and whether it began beside another.
type Running = Arc<Mutex<BTreeMap<String, Vec<(DateTime<Utc>, bool)>>>>;

/// A job being scanned; dropping it frees the job for its next tick.
#[derive(Debug)]
pub(super) struct Busy {
    /// The job.
    pub job: Arc<Job>,
    /// Another scan of it is at work.
    pub is_beside: bool,
    began: DateTime<Utc>,
    running: Running,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scans) = running.get_mut(&self.job.id)
            && let Some(at) = scans.iter().position(|scan| *scan == (self.began, self.is_beside))
        {
            scans.remove(at);
        }
    }
}

impl Timetable {
    /// A timetable that counts from `now`.
    #[must_use]
    pub(super) fn new(jobs: &[Arc<Job>], timezone: Tz, now: DateTime<Utc>) -> Self {
        let mut timetable = Self { rows: Vec::new(), timezone, running: Arc::default() };
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

    /// The jobs with a tick in (last look, `now`], or woken, that may be scanned; each is busy until its entry is dropped. A job
    /// that is woken while it is scanned is due again afterwards: that scan may have looked before. Where a scan takes long, one
    /// more is due beside it, for what has come meanwhile.
    pub(super) fn due(&mut self, now: DateTime<Utc>) -> Vec<Busy> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        for row in &mut self.rows {
            // A clock that was set back: wait until it has caught up would be silence, so count from the new time.
            row.considered = row.considered.min(now);
            let scans = running.entry(row.job.id.clone()).or_default();
            let is_beside = match scans[..] {
                [] | [(_, true)] => false,
                [(began, false)] if now - began >= BESIDE_AFTER => true,
                _ => continue,
            };
            if row.woken || row.scans.latest_between(row.considered, now, self.timezone).is_some() {
                row.considered = now;
                row.woken = false;
                scans.push((now, is_beside));
                let (job, running) = (Arc::clone(&row.job), Arc::clone(&self.running));
                due.push(Busy { job, is_beside, began: now, running });
            }
        }
        due
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

    fn ids(due: &[Busy]) -> Vec<&str> {
        due.iter().map(|busy| busy.job.id.as_str()).collect()
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
        assert!(ids(&table.due(at("2026-01-01T00:00:02Z"))).is_empty());
        drop(running);
        assert_eq!(ids(&table.due(at("2026-01-01T00:00:02Z"))), ["a"], "the tick it missed is made up");
    }

    #[test]
    fn beside_a_scan_that_takes_long_there_is_one_more() {
        let mut table = Timetable::new(&[job("a", "* * * * * *")], chrono_tz::UTC, at("2026-01-01T00:00:00Z"));
        let first = table.due(at("2026-01-01T00:00:01Z"));
        let second = table.due(at("2026-01-01T00:00:03Z"));
        assert_eq!((first[0].is_beside, second[0].is_beside), (false, true));
        assert!(table.due(at("2026-01-01T00:01:00Z")).is_empty(), "two at most");
        drop(first);
        let third = table.due(at("2026-01-01T00:01:00Z"));
        assert!(!third[0].is_beside, "the one that is left took only what came later");
        drop(second);
        assert!(table.due(at("2026-01-01T00:01:01Z")).is_empty());
        assert!(table.due(at("2026-01-01T00:01:02Z"))[0].is_beside);
        drop(third);
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
        let later = table.due(at("2026-01-01T00:02:00Z"));
        assert_eq!(ids(&later), ["a", "c"]);
        assert_eq!([later[0].is_beside, later[1].is_beside], [true, false], "the others are still being scanned");
        drop((running, later));
        assert_eq!(ids(&table.due(at("2026-01-01T00:02:30Z"))), ["b"]);
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
