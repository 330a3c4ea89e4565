//! What the daemon and the API count, in Prometheus' text format and as OpenMetrics. The label of a job is `exhaust_job`:
//! Prometheus gives its own label `job` to each target.
//!
//! Numbers that the database knows (requests by status, the queue's depth and age) are put in when they are asked for;
//! everything else is counted where it happens. Names follow <https://prometheus.io/docs/practices/naming/>.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Seconds, as counters and gauges add them up.
type Seconds = Counter<f64, AtomicU64>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct JobStatus {
    exhaust_job: String,
    status: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfJob {
    exhaust_job: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct JobOutcome {
    exhaust_job: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfDependency {
    dependency: &'static str,
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

/// States of rows that are counted from the start.
const STATUSES: [&str; 4] = ["SUBMITTED", "PROCESSING", "COMPLETED", "FAILED"];
/// How a request ends, as far as this daemon goes.
const ENDS: [&str; 5] = ["completed", "failed", "retried", "handed_back", "lost"];
const PHASES: [&str; 3] = ["load", "generate", "store"];
const FILES: [&str; 2] = ["generated", "shared"];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct JobPhase {
    exhaust_job: String,
    phase: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfAct {
    act: &'static str,
}

/// What clients and operators do through the API, as the audit log names it.
const ACTS: [&str; 4] = ["submit", "cancel", "retry", "download"];
/// Statuses of refusals.
const REFUSALS: [u16; 3] = [401, 403, 429];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answer {
    call: &'static str,
    status: u16,
}

/// The counters of this process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<JobStatus, Gauge>,
    depth: Family<OfJob, Gauge>,
    oldest: Family<OfJob, Gauge<f64, AtomicU64>>,
    ended: Family<JobOutcome, Counter>,
    phases: Family<JobPhase, Seconds>,
    groups: Family<OfJob, Counter>,
    files: Family<JobOutcome, Counter>,
    rows: Family<OfJob, Counter>,
    bytes: Family<OfJob, Counter>,
    answers: Family<Answer, Histogram>,
    acts: Family<OfAct, Counter>,
    refusals: Family<Answer, Counter>,
    displaced: Counter,
    last_runs: Family<OfJob, Gauge>,
    scans: Family<JobOutcome, Counter>,
    usable: Family<OfDependency, Gauge>,
    failures: Family<OfDependency, Counter>,
    known: Mutex<Known>,
}

/// Which series there are that may have to go again.
#[derive(Debug, Default)]
struct Known {
    jobs: BTreeSet<String>,
    requests: HashSet<JobStatus>,
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

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("exhaustd");
        let mut metrics = Self {
            requests: Family::default(),
            depth: Family::default(),
            oldest: Family::default(),
            ended: Family::default(),
            phases: Family::default(),
            groups: Family::default(),
            files: Family::default(),
            rows: Family::default(),
            bytes: Family::default(),
            last_runs: Family::default(),
            scans: Family::default(),
            usable: Family::default(),
            failures: Family::default(),
            acts: Family::default(),
            refusals: Family::default(),
            displaced: Counter::default(),
            known: Mutex::default(),
            // From a status read of a warm database to a search through a large table.
            answers: Family::new_with_constructor(|| {
                Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0])
            }),
            registry: Registry::default(),
        };
        registry.register("requests", "Rows of job_request by job and status", metrics.requests.clone());
        registry.register("queue_depth", "Requests that wait", metrics.depth.clone());
        registry.register_with_unit(
            "queue_oldest_age",
            "Age of the oldest that waits",
            Unit::Seconds,
            metrics.oldest.clone(),
        );
        registry.register("requests_ended", "Requests that this daemon ended, by outcome", metrics.ended.clone());
        registry.register_with_unit(
            "phase",
            "Time spent by phase: load is wall time, generate and store are added up over threads",
            Unit::Seconds,
            metrics.phases.clone(),
        );
        registry.register("groups", "Groups of requests that this daemon worked on", metrics.groups.clone());
        registry.register("files", "Files delivered: generated, or shared as copies", metrics.files.clone());
        registry.register("rows_written", "Rows of the files of completed requests", metrics.rows.clone());
        registry.register_with_unit(
            "written",
            "Bytes of the files of completed requests",
            Unit::Bytes,
            metrics.bytes.clone(),
        );
        registry.register_with_unit("http_request", "Time to answer API calls", Unit::Seconds, metrics.answers.clone());
        registry.register(
            "acts",
            "Submissions taken, requests cancelled and tried again, and downloads, through the API",
            metrics.acts.clone(),
        );
        registry.register("refusals", "Calls answered 401, 403 or 429", metrics.refusals.clone());
        registry.register(
            "connections_displaced",
            "Waiting connections that were closed because another one needed the place",
            metrics.displaced.clone(),
        );
        for act in ACTS {
            drop(metrics.acts.get_or_create(&OfAct { act }));
        }
        registry.register(
            "job_last_run_timestamp_seconds",
            "When a scan of this process last ended well for a job, or last made a standalone job's request; 0 before the first",
            metrics.last_runs.clone(),
        );
        registry.register("scans", "Scans of a job by outcome: done, broke_off, held_back", metrics.scans.clone());
        registry.register(
            "dependency_usable",
            "Whether a dependency could be used when it was last looked at (1) or not (0)",
            metrics.usable.clone(),
        );
        registry.register(
            "dependency_failures",
            "Looks at a dependency that found it not usable",
            metrics.failures.clone(),
        );
        metrics.registry = registry;
        metrics
    }
}

impl Metrics {
    /// Makes every series of these jobs, at zero where nothing was counted. Of jobs that are not configured any more those
    /// series go that say how things are; what was counted stays.
    pub fn know_jobs<'a>(&self, jobs: impl IntoIterator<Item = &'a str>) {
        let mut guard = self.known();
        let known = &mut *guard;
        let jobs: BTreeSet<String> = jobs.into_iter().map(str::to_owned).collect();
        for gone in known.jobs.difference(&jobs) {
            let job = OfJob { exhaust_job: gone.clone() };
            self.depth.remove(&job);
            self.oldest.remove(&job);
            self.last_runs.remove(&job);
        }
        for name in jobs.difference(&known.jobs) {
            let job = OfJob { exhaust_job: name.clone() };
            for family in [&self.depth, &self.last_runs] {
                drop(family.get_or_create(&job));
            }
            drop(self.oldest.get_or_create(&job));
            for family in [&self.groups, &self.rows, &self.bytes] {
                drop(family.get_or_create(&job));
            }
            let outcome = |outcome| JobOutcome { exhaust_job: name.clone(), outcome };
            for (family, outcomes) in [(&self.ended, &ENDS[..]), (&self.files, &FILES[..])] {
                for one in outcomes {
                    drop(family.get_or_create(&outcome(one)));
                }
            }
            for one in ScanOutcome::ALL {
                drop(self.scans.get_or_create(&outcome(one.as_str())));
            }
            for phase in PHASES {
                drop(self.phases.get_or_create(&JobPhase { exhaust_job: name.clone(), phase }));
            }
            for status in STATUSES {
                let series = JobStatus { exhaust_job: name.clone(), status: status.to_owned() };
                drop(self.requests.get_or_create(&series));
                known.requests.insert(series);
            }
        }
        known.jobs = jobs;
    }

    /// Replaces the number of rows by job and status; what is not counted any more is zero for configured jobs, and gone for
    /// others.
    pub fn set_requests(&self, counts: impl IntoIterator<Item = (String, String, u64)>) {
        let mut known = self.known();
        let zeros = known.jobs.iter().flat_map(|job| {
            STATUSES.map(|status| (JobStatus { exhaust_job: job.clone(), status: status.to_owned() }, 0))
        });
        let mut now: HashMap<JobStatus, u64> = zeros.collect();
        now.extend(counts.into_iter().map(|(exhaust_job, status, n)| (JobStatus { exhaust_job, status }, n)));
        for (series, n) in &now {
            self.requests.get_or_create(series).set(i64::try_from(*n).unwrap_or(i64::MAX));
        }
        for gone in known.requests.iter().filter(|series| !now.contains_key(series)) {
            self.requests.remove(gone);
        }
        known.requests = now.into_keys().collect();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A scan of a job ended.
    pub fn scanned(&self, job: &str, outcome: ScanOutcome) {
        self.scans.get_or_create(&JobOutcome { exhaust_job: job.to_owned(), outcome: outcome.as_str() }).inc();
    }

    /// A dependency was looked at.
    pub fn looked_at(&self, dependency: &'static str, is_usable: bool) {
        let dependency = OfDependency { dependency };
        self.usable.get_or_create(&dependency).set(i64::from(is_usable));
        let failures = self.failures.get_or_create(&dependency);
        if !is_usable {
            failures.inc();
        }
    }

    /// Sets how many requests of a job wait, and for how long the oldest has.
    pub fn set_queue(&self, job: &str, depth: usize, oldest: Duration) {
        let job = OfJob { exhaust_job: job.to_owned() };
        self.depth.get_or_create(&job).set(i64::try_from(depth).unwrap_or(i64::MAX));
        self.oldest.get_or_create(&job).set(oldest.as_secs_f64());
    }

    /// A request ended: `completed`, `failed`, `retried`, `handed_back` or `lost`.
    pub fn request_ended(&self, job: &str, outcome: &'static str) {
        self.ended.get_or_create(&JobOutcome { exhaust_job: job.to_owned(), outcome }).inc();
    }

    /// Rows and bytes of a completed request.
    pub fn delivered(&self, job: &str, rows: u64, bytes: u64) {
        let job = OfJob { exhaust_job: job.to_owned() };
        self.rows.get_or_create(&job).inc_by(rows);
        self.bytes.get_or_create(&job).inc_by(bytes);
    }

    /// A group has been worked on.
    pub fn group(&self, job: &str, work: &GroupWork) {
        self.groups.get_or_create(&OfJob { exhaust_job: job.to_owned() }).inc();
        for (phase, spent) in PHASES.into_iter().zip([work.load, work.generate, work.store]) {
            self.phases.get_or_create(&JobPhase { exhaust_job: job.to_owned(), phase }).inc_by(spent.as_secs_f64());
        }
        for (outcome, n) in FILES.into_iter().zip([work.generated, work.shared]) {
            self.files.get_or_create(&JobOutcome { exhaust_job: job.to_owned(), outcome }).inc_by(n);
        }
    }

    /// A scan of a job ended well, or a standalone job's request was made.
    pub fn set_last_run(&self, job: &str, at: DateTime<Utc>) {
        self.last_runs.get_or_create(&OfJob { exhaust_job: job.to_owned() }).set(at.timestamp());
    }

    /// When that was last, since the process began.
    #[must_use]
    pub fn last_run(&self, job: &str) -> Option<DateTime<Utc>> {
        let gauge = self.last_runs.get(&OfJob { exhaust_job: job.to_owned() })?;
        Some(gauge.get()).filter(|at| *at > 0).and_then(|at| DateTime::from_timestamp(at, 0))
    }

    /// An API call was answered.
    pub fn answered(&self, call: &'static str, status: u16, spent: Duration) {
        self.answers.get_or_create(&Answer { call, status }).observe(spent.as_secs_f64());
    }

    /// Makes the series of refusals of these calls, at zero.
    pub fn know_calls(&self, calls: impl IntoIterator<Item = &'static str>) {
        for call in calls {
            for status in REFUSALS {
                drop(self.refusals.get_or_create(&Answer { call, status }));
            }
        }
    }

    /// Something was done through the API: `submit`, `cancel`, `retry` or `download`.
    pub fn acted(&self, act: &'static str) {
        self.acts.get_or_create(&OfAct { act }).inc();
    }

    /// A call was answered 401, 403 or 429.
    pub fn refused(&self, call: &'static str, status: u16) {
        self.refusals.get_or_create(&Answer { call, status }).inc();
    }

    /// A waiting connection was closed for another one.
    pub fn connection_displaced(&self) {
        self.displaced.inc();
    }

    /// Everything in Prometheus' own text format (0.0.4), which every scraper reads.
    #[must_use]
    pub fn text(&self) -> String {
        as_prometheus(&self.openmetrics())
    }

    /// Everything as OpenMetrics 1.0, for those who ask for it.
    #[must_use]
    pub fn openmetrics(&self) -> String {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            // Writing to a String does not fail; a scraper that sees this knows that the rest is missing.
            let _ = write!(text, "# {error}");
        }
        text
    }
}

/// OpenMetrics as the older format has it: there a counter is described under the name that its samples have, and neither
/// units nor an end are known.
fn as_prometheus(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut help = None;
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            if let Some((_, help)) = help.take() {
                let _ = writeln!(text, "# HELP {name} {help}");
            }
            let _ = writeln!(text, "# TYPE {name} {kind}");
        } else if !line.starts_with("# UNIT ") && line != "# EOF" {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_in_the_text_under_conventional_names() {
        let metrics = Metrics::default();
        metrics.set_requests([("course-report".to_owned(), "FAILED".to_owned(), 3)]);
        metrics.set_requests([("course-report".to_owned(), "COMPLETED".to_owned(), 7)]);
        metrics.set_queue("course-report", 2, Duration::from_millis(1500));
        metrics.request_ended("course-report", "completed");
        metrics.delivered("course-report", 9, 100);
        metrics
            .group("course-report", &GroupWork { load: Duration::from_secs(2), generated: 4, ..GroupWork::default() });
        metrics.answered("read", 200, Duration::from_millis(2));
        let text = metrics.text();
        for line in [
            "exhaustd_requests{exhaust_job=\"course-report\",status=\"COMPLETED\"} 7",
            "exhaustd_queue_depth{exhaust_job=\"course-report\"} 2",
            "exhaustd_queue_oldest_age_seconds{exhaust_job=\"course-report\"} 1.5",
            "exhaustd_requests_ended_total{exhaust_job=\"course-report\",outcome=\"completed\"} 1",
            "exhaustd_rows_written_total{exhaust_job=\"course-report\"} 9",
            "exhaustd_written_bytes_total{exhaust_job=\"course-report\"} 100",
            "exhaustd_phase_seconds_total{exhaust_job=\"course-report\",phase=\"load\"} 2.0",
            "exhaustd_files_total{exhaust_job=\"course-report\",outcome=\"generated\"} 4",
            "exhaustd_http_request_seconds_bucket{le=\"0.0025\",call=\"read\",status=\"200\"} 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("FAILED"), "counts are replaced, not added to");
    }

    #[test]
    fn configured_jobs_are_there_from_the_start() {
        let metrics = Metrics::default();
        metrics.know_jobs(["a"]);
        metrics.set_requests([("b".to_owned(), "FAILED".to_owned(), 3)]);
        metrics.request_ended("a", "completed");
        metrics.know_jobs(["a", "c"]);
        let text = metrics.text();
        for job in ["a", "c"] {
            for line in [
                format!("exhaustd_requests{{exhaust_job=\"{job}\",status=\"SUBMITTED\"}} 0"),
                format!("exhaustd_requests_ended_total{{exhaust_job=\"{job}\",outcome=\"failed\"}} 0"),
                format!("exhaustd_scans_total{{exhaust_job=\"{job}\",outcome=\"broke_off\"}} 0"),
                format!("exhaustd_job_last_run_timestamp_seconds{{exhaust_job=\"{job}\"}} 0"),
                format!("exhaustd_queue_oldest_age_seconds{{exhaust_job=\"{job}\"}} 0.0"),
            ] {
                assert!(text.lines().any(|known| known == line), "{line}\n{text}");
            }
        }
        assert!(text.contains("exhaustd_requests_ended_total{exhaust_job=\"a\",outcome=\"completed\"} 1"), "{text}");
        assert_eq!(metrics.last_run("a"), None, "not yet");
        metrics.know_jobs(["c"]);
        metrics.set_requests([]);
        let text = metrics.text();
        assert!(
            !text.contains("timestamp_seconds{exhaust_job=\"a\"}") && !text.contains("exhaust_job=\"b\""),
            "{text}"
        );
        assert!(text.contains("exhaustd_requests_ended_total{exhaust_job=\"a\",outcome=\"completed\"} 1"), "{text}");
    }

    #[test]
    fn each_format_describes_counters_in_its_own_way() {
        let metrics = Metrics::default();
        metrics.know_jobs(["a"]);
        let (text, openmetrics) = (metrics.text(), metrics.openmetrics());
        assert!(text.contains("# TYPE exhaustd_phase_seconds_total counter\nexhaustd_phase_seconds_total{"), "{text}");
        assert!(text.contains("# HELP exhaustd_phase_seconds_total Time spent"), "{text}");
        assert!(!text.contains("# UNIT") && !text.contains("# EOF"), "{text}");
        assert!(openmetrics.contains("# TYPE exhaustd_phase_seconds counter\n"), "{openmetrics}");
        assert!(openmetrics.ends_with("# EOF\n"), "{openmetrics}");
    }
}
