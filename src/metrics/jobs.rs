//! Requests, groups and scans, by job.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;

use super::{Metrics, Registrar, Seconds};
use crate::requests::{ErrCode, PartCounts, Status};

/// How this daemon's work on a request ends.
const OUTCOMES: [&str; 6] = ["completed", "failed", "retried", "handed_back", "lost", "cancelled"];
const PHASES: [&str; 3] = ["load", "generate", "store"];
/// States of a part of a large request.
const PARTS: [&str; 4] = ["waiting", "in_work", "back_off", "made"];
const FILES: [&str; 2] = ["generated", "shared"];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct JobLabel {
    exhaust_job: String,
}

impl JobLabel {
    pub(super) fn new(job: &str) -> Self {
        Self { exhaust_job: job.to_owned() }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct JobStatus {
    exhaust_job: String,
    status: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct JobOutcome {
    exhaust_job: String,
    outcome: &'static str,
}

impl JobOutcome {
    fn new(job: &str, outcome: &'static str) -> Self {
        Self { exhaust_job: job.to_owned(), outcome }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct JobErrCode {
    exhaust_job: String,
    err_code: &'static str,
}

impl JobErrCode {
    fn new(job: &str, code: ErrCode) -> Self {
        Self { exhaust_job: job.to_owned(), err_code: code.as_str() }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct JobPhase {
    exhaust_job: String,
    phase: &'static str,
}

impl JobPhase {
    pub(super) fn new(job: &str, phase: &'static str) -> Self {
        Self { exhaust_job: job.to_owned(), phase }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PartState {
    exhaust_job: String,
    state: &'static str,
}

/// The series of the parts of a job.
fn part_states(job: &str) -> [PartState; 4] {
    PARTS.map(|state| PartState { exhaust_job: job.to_owned(), state })
}

/// How a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanOutcome {
    /// Nothing claimable was left, or the daemon was told to stop.
    Done,
    /// It failed in the middle; the next tick tries again.
    BrokeOff,
    /// Nothing was claimed, because the source or the store is down.
    HeldBack,
}

impl ScanOutcome {
    const ALL: [Self; 3] = [Self::Done, Self::BrokeOff, Self::HeldBack];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::BrokeOff => "broke_off",
            Self::HeldBack => "held_back",
        }
    }
}

/// What one group of requests took, as its job counts it.
#[derive(Clone, Copy, Debug, Default)]
pub struct GroupWork {
    /// Wall time of loading.
    pub load: Duration,
    /// Generating and encoding, added up over threads.
    pub generate: Duration,
    /// Storing, added up over threads.
    pub store: Duration,
    /// Files generated.
    pub generated: u64,
    /// Files delivered as copies.
    pub shared: u64,
}

#[derive(Debug)]
pub(super) struct JobMetrics {
    requests: Family<JobStatus, Gauge>,
    depth: Family<JobLabel, Gauge>,
    oldest: Family<JobLabel, Gauge<f64, AtomicU64>>,
    ended: Family<JobOutcome, Counter>,
    failed: Family<JobErrCode, Counter>,
    phases: Family<JobPhase, Seconds>,
    groups: Family<JobLabel, Counter>,
    files: Family<JobOutcome, Counter>,
    rows: Family<JobLabel, Counter>,
    bytes: Family<JobLabel, Counter>,
    last_runs: Family<JobLabel, Gauge>,
    degraded: Family<JobLabel, Gauge>,
    scans: Family<JobOutcome, Counter>,
    parts: Family<PartState, Gauge>,
    known: Mutex<KnownSeries>,
}

/// The series that are removed when their job is.
#[derive(Debug, Default)]
struct KnownSeries {
    jobs: BTreeSet<String>,
    requests: HashSet<JobStatus>,
}

impl JobMetrics {
    pub(super) fn new(registrar: &mut Registrar) -> Self {
        Self {
            requests: registrar.metric("requests", "Rows of job_request by job and status"),
            depth: registrar.metric("queue_depth", "Requests that wait"),
            oldest: registrar.with_unit("queue_oldest_age", Unit::Seconds, "Age of the oldest request that waits"),
            ended: registrar.metric("requests_ended", "Requests that this daemon ended, by outcome"),
            failed: registrar.metric("requests_failed", "Requests that this daemon failed, by kind of failure"),
            phases: registrar.with_unit(
                "phase",
                Unit::Seconds,
                "Time spent by phase: load is wall time, generate and store are added up over threads",
            ),
            groups: registrar.metric("groups", "Groups of requests that this daemon worked on"),
            files: registrar.metric("files", "Files delivered: generated, or shared as copies"),
            rows: registrar.metric("rows_written", "Rows of the files of completed requests"),
            bytes: registrar.with_unit("written", Unit::Bytes, "Bytes of the files of completed requests"),
            last_runs: registrar.metric(
                "job_last_run_timestamp_seconds",
                "When a scan of this process last ended well for a job, or last made a standalone job's request; 0 before the first",
            ),
            degraded: registrar.metric("job_degraded", "Whether the last scan of a job did not end well: 1 or 0"),
            scans: registrar.metric("scans", "Scans of a job by outcome: done, broke_off, held_back"),
            parts: registrar.metric(
                "parts",
                "Parts of requests that several daemons work on, by state: waiting, in_work, back_off, made",
            ),
            known: Mutex::default(),
        }
    }

    /// Makes every series of a job, at zero.
    fn make_series(&self, job: &str) {
        let label = JobLabel::new(job);
        for family in [&self.depth, &self.last_runs, &self.degraded] {
            drop(family.get_or_create(&label));
        }
        drop(self.oldest.get_or_create(&label));
        for family in [&self.groups, &self.rows, &self.bytes] {
            drop(family.get_or_create(&label));
        }
        let scans = ScanOutcome::ALL.map(ScanOutcome::as_str);
        for (family, outcomes) in [(&self.ended, &OUTCOMES[..]), (&self.files, &FILES[..]), (&self.scans, &scans[..])] {
            for outcome in outcomes {
                drop(family.get_or_create(&JobOutcome::new(job, outcome)));
            }
        }
        for code in ErrCode::ALL {
            drop(self.failed.get_or_create(&JobErrCode::new(job, *code)));
        }
        for part in part_states(job) {
            drop(self.parts.get_or_create(&part));
        }
        for phase in PHASES {
            drop(self.phases.get_or_create(&JobPhase::new(job, phase)));
        }
    }

    /// Removes the series of a job that say how things are. Its counters stay.
    fn remove_gauges(&self, job: &str) {
        let label = JobLabel::new(job);
        self.depth.remove(&label);
        self.oldest.remove(&label);
        self.last_runs.remove(&label);
        self.degraded.remove(&label);
        for part in part_states(job) {
            self.parts.remove(&part);
        }
    }

    fn known(&self) -> MutexGuard<'_, KnownSeries> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every status of a job; each has a series from the start.
fn statuses(job: &str) -> impl Iterator<Item = JobStatus> {
    let names = Status::ALL.iter().map(|status| status.as_str());
    names.map(move |status| JobStatus { exhaust_job: job.to_owned(), status: status.to_owned() })
}

impl Metrics {
    /// Makes every series of these jobs, at zero where nothing was counted. Of jobs that are not configured any more the
    /// gauges are removed; counters stay.
    pub fn know_jobs<'a>(&self, jobs: impl IntoIterator<Item = &'a str>) {
        let mut guard = self.jobs.known();
        let known = &mut *guard;
        let jobs: BTreeSet<String> = jobs.into_iter().map(str::to_owned).collect();
        for removed in known.jobs.difference(&jobs) {
            self.jobs.remove_gauges(removed);
            self.ends.remove_gauges(removed);
        }
        for added in jobs.difference(&known.jobs) {
            self.jobs.make_series(added);
            self.ends.make_series(added);
            for series in statuses(added) {
                drop(self.jobs.requests.get_or_create(&series));
                known.requests.insert(series);
            }
        }
        known.jobs = jobs;
    }

    /// Replaces the number of rows by job and status. A series that is not among these is zero for configured jobs, and removed
    /// for others.
    pub fn set_requests(&self, counts: impl IntoIterator<Item = (String, String, u64)>) {
        let mut known = self.jobs.known();
        let mut now: HashMap<JobStatus, u64> =
            known.jobs.iter().flat_map(|job| statuses(job)).map(|series| (series, 0)).collect();
        now.extend(counts.into_iter().map(|(exhaust_job, status, n)| (JobStatus { exhaust_job, status }, n)));
        for (series, n) in &now {
            self.jobs.requests.get_or_create(series).set(i64::try_from(*n).unwrap_or(i64::MAX));
        }
        for removed in known.requests.iter().filter(|series| !now.contains_key(series)) {
            self.jobs.requests.remove(removed);
        }
        known.requests = now.into_keys().collect();
    }

    /// A scan of a job ended.
    pub fn scanned(&self, job: &str, outcome: ScanOutcome) {
        self.jobs.scans.get_or_create(&JobOutcome::new(job, outcome.as_str())).inc();
    }

    /// Sets how many requests of a job wait, and for how long the oldest has.
    pub fn set_queue(&self, job: &str, depth: usize, oldest: Duration) {
        let job = JobLabel::new(job);
        self.jobs.depth.get_or_create(&job).set(i64::try_from(depth).unwrap_or(i64::MAX));
        self.jobs.oldest.get_or_create(&job).set(oldest.as_secs_f64());
    }

    /// Replaces the number of parts by job and state. Of configured jobs that are not among these there are none.
    pub fn set_parts(&self, counts: &BTreeMap<String, PartCounts>) {
        for job in &self.jobs.known().jobs {
            let PartCounts { waiting, in_work, back_off, made } = counts.get(job).copied().unwrap_or_default();
            for (part, n) in part_states(job).iter().zip([waiting, in_work, back_off, made]) {
                self.jobs.parts.get_or_create(part).set(i64::try_from(n).unwrap_or(i64::MAX));
            }
        }
    }

    /// A request ended: `completed`, `failed`, `retried`, `handed_back`, `lost` or `cancelled`.
    pub fn request_ended(&self, job: &str, outcome: &'static str) {
        self.jobs.ended.get_or_create(&JobOutcome::new(job, outcome)).inc();
    }

    /// A request ended FAILED, for this kind of reason.
    pub fn request_failed(&self, job: &str, code: ErrCode) {
        self.jobs.failed.get_or_create(&JobErrCode::new(job, code)).inc();
    }

    /// Rows and bytes of a completed request.
    pub fn delivered(&self, job: &str, rows: u64, bytes: u64) {
        let job = JobLabel::new(job);
        self.jobs.rows.get_or_create(&job).inc_by(rows);
        self.jobs.bytes.get_or_create(&job).inc_by(bytes);
    }

    /// A group has been worked on.
    pub fn group(&self, job: &str, work: &GroupWork) {
        self.jobs.groups.get_or_create(&JobLabel::new(job)).inc();
        for (phase, spent) in PHASES.into_iter().zip([work.load, work.generate, work.store]) {
            self.jobs.phases.get_or_create(&JobPhase::new(job, phase)).inc_by(spent.as_secs_f64());
        }
        for (outcome, n) in FILES.into_iter().zip([work.generated, work.shared]) {
            self.jobs.files.get_or_create(&JobOutcome::new(job, outcome)).inc_by(n);
        }
    }

    /// A scan of a job ended well, or a standalone job's request was made.
    pub fn set_last_run(&self, job: &str, at: DateTime<Utc>) {
        self.jobs.last_runs.get_or_create(&JobLabel::new(job)).set(at.timestamp());
    }

    /// Sets whether the last scan of a job did not end well.
    pub fn set_degraded(&self, job: &str, is_degraded: bool) {
        self.jobs.degraded.get_or_create(&JobLabel::new(job)).set(i64::from(is_degraded));
    }

    /// When that was last, since the process began.
    #[must_use]
    pub fn last_run(&self, job: &str) -> Option<DateTime<Utc>> {
        let gauge = self.jobs.last_runs.get(&JobLabel::new(job))?;
        Some(gauge.get()).filter(|at| *at > 0).and_then(|at| DateTime::from_timestamp(at, 0))
    }
}
