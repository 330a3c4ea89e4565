//! What the daemon and the API count, in Prometheus' text format.
//!
//! Numbers that the database knows (requests by status, the queue's depth and age) are put in when they are asked for;
//! everything else is counted where it happens. Names follow <https://prometheus.io/docs/practices/naming/>.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
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
    job: String,
    status: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfJob {
    job: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct JobOutcome {
    job: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct JobPhase {
    job: String,
    phase: &'static str,
}

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
    last_runs: Family<OfJob, Gauge>,
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
            "job_last_run_timestamp_seconds",
            "When this process last looked for a job's requests, or made a standalone job's",
            metrics.last_runs.clone(),
        );
        metrics.registry = registry;
        metrics
    }
}

impl Metrics {
    /// Replaces the number of rows by job and status.
    pub fn set_requests(&self, counts: impl IntoIterator<Item = (String, String, u64)>) {
        self.requests.clear();
        for (job, status, n) in counts {
            self.requests.get_or_create(&JobStatus { job, status }).set(i64::try_from(n).unwrap_or(i64::MAX));
        }
    }

    /// Sets how many requests of a job wait, and for how long the oldest has.
    pub fn set_queue(&self, job: &str, depth: usize, oldest: Duration) {
        let job = OfJob { job: job.to_owned() };
        self.depth.get_or_create(&job).set(i64::try_from(depth).unwrap_or(i64::MAX));
        self.oldest.get_or_create(&job).set(oldest.as_secs_f64());
    }

    /// A request ended: `completed`, `failed`, `retried`, `handed_back` or `lost`.
    pub fn request_ended(&self, job: &str, outcome: &'static str) {
        self.ended.get_or_create(&JobOutcome { job: job.to_owned(), outcome }).inc();
    }

    /// Rows and bytes of a completed request.
    pub fn delivered(&self, job: &str, rows: u64, bytes: u64) {
        let job = OfJob { job: job.to_owned() };
        self.rows.get_or_create(&job).inc_by(rows);
        self.bytes.get_or_create(&job).inc_by(bytes);
    }

    /// A group has been worked on.
    pub fn group(&self, job: &str, work: &GroupWork) {
        self.groups.get_or_create(&OfJob { job: job.to_owned() }).inc();
        for (phase, spent) in [("load", work.load), ("generate", work.generate), ("store", work.store)] {
            self.phases.get_or_create(&JobPhase { job: job.to_owned(), phase }).inc_by(spent.as_secs_f64());
        }
        for (outcome, n) in [("generated", work.generated), ("shared", work.shared)] {
            self.files.get_or_create(&JobOutcome { job: job.to_owned(), outcome }).inc_by(n);
        }
    }

    /// A job's requests were looked for, or a standalone job's was made.
    pub fn set_last_run(&self, job: &str, at: DateTime<Utc>) {
        self.last_runs.get_or_create(&OfJob { job: job.to_owned() }).set(at.timestamp());
    }

    /// When that was last, since the process began.
    #[must_use]
    pub fn last_run(&self, job: &str) -> Option<DateTime<Utc>> {
        let gauge = self.last_runs.get(&OfJob { job: job.to_owned() })?;
        DateTime::from_timestamp(gauge.get(), 0)
    }

    /// An API call was answered.
    pub fn answered(&self, call: &'static str, status: u16, spent: Duration) {
        self.answers.get_or_create(&Answer { call, status }).observe(spent.as_secs_f64());
    }

    /// Everything as text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            // Writing to a String does not fail; a scraper that sees this knows that the rest is missing.
            let _ = write!(text, "# {error}");
        }
        text
    }
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
            "exhaustd_requests{job=\"course-report\",status=\"COMPLETED\"} 7",
            "exhaustd_queue_depth{job=\"course-report\"} 2",
            "exhaustd_queue_oldest_age_seconds{job=\"course-report\"} 1.5",
            "exhaustd_requests_ended_total{job=\"course-report\",outcome=\"completed\"} 1",
            "exhaustd_rows_written_total{job=\"course-report\"} 9",
            "exhaustd_written_bytes_total{job=\"course-report\"} 100",
            "exhaustd_phase_seconds_total{job=\"course-report\",phase=\"load\"} 2.0",
            "exhaustd_files_total{job=\"course-report\",outcome=\"generated\"} 4",
            "exhaustd_http_request_seconds_bucket{le=\"0.0025\",call=\"read\",status=\"200\"} 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("FAILED"), "counts are replaced, not added to");
    }
}
