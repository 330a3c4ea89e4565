//! What the daemon and the API count, in Prometheus' text format and as OpenMetrics. The label of a job is `exhaust_job`:
//! Prometheus gives its own label `job` to each target.
//!
//! A metric is a field and a line of its group ([`jobs`], [`calls`], [`dependencies`]) and a method there that counts. Numbers
//! that the database knows (requests by status, the queue's depth and age) are set when they are asked for. Names follow
//! <https://prometheus.io/docs/practices/naming/>.

mod calls;
mod dependencies;
mod jobs;
mod process;
mod requests;
mod text;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::{Metric, Registry, Unit};

pub use jobs::{GroupWork, ScanOutcome};
pub use requests::RequestTimes;

/// A counter of seconds.
type Seconds = Counter<f64, AtomicU64>;

/// The metrics of this process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    jobs: jobs::JobMetrics,
    calls: calls::CallMetrics,
    dependencies: dependencies::DependencyMetrics,
    ends: requests::EndMetrics,
    started: AtomicI64,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registrar = Registrar(Registry::with_prefix("exhaustd"));
        Self {
            jobs: jobs::JobMetrics::new(&mut registrar),
            calls: calls::CallMetrics::new(&mut registrar),
            dependencies: dependencies::DependencyMetrics::new(&mut registrar),
            ends: requests::EndMetrics::new(&mut registrar),
            started: AtomicI64::new(0),
            registry: registrar.0,
        }
    }
}

impl Metrics {
    /// Everything in Prometheus' own text format (0.0.4), which every scraper reads.
    #[must_use]
    pub fn text(&self) -> String {
        text::as_prometheus(&self.openmetrics())
    }

    /// Notes when the process was started.
    pub fn set_started(&self, at: DateTime<Utc>) {
        self.started.store(at.timestamp(), Ordering::Relaxed);
    }

    /// Everything as OpenMetrics 1.0, for scrapers that ask for it.
    #[must_use]
    pub fn openmetrics(&self) -> String {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            // Writing to a String does not fail; a scraper that sees this knows that the rest is missing.
            let _ = write!(text, "# {error}");
        }
        // The end mark stays the last line.
        let end = text.rfind("# EOF").unwrap_or(text.len());
        text.insert_str(end, &process::text(Some(self.started.load(Ordering::Relaxed)).filter(|at| *at > 0)));
        text
    }
}

/// Registers metrics as they are made.
struct Registrar(Registry);

impl Registrar {
    fn metric<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }

    /// The unit becomes the end of the name.
    fn with_unit<M: Metric + Clone + Default>(&mut self, name: &str, unit: Unit, help: &str) -> M {
        self.register_with_unit(name, unit, help, M::default())
    }

    fn register_with_unit<M: Metric + Clone>(&mut self, name: &str, unit: Unit, help: &str, metric: M) -> M {
        self.0.register_with_unit(name, help, unit, metric.clone());
        metric
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::requests::ErrCode;

    #[test]
    fn what_is_counted_is_in_the_text_under_conventional_names() {
        let metrics = Metrics::default();
        metrics.set_requests([("course-report".to_owned(), "FAILED".to_owned(), 3)]);
        metrics.set_requests([("course-report".to_owned(), "COMPLETED".to_owned(), 7)]);
        metrics.set_queue("course-report", 2, Duration::from_millis(1500));
        metrics.request_ended("course-report", "completed");
        metrics.request_failed("course-report", ErrCode::NoData);
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
            "exhaustd_requests_failed_total{exhaust_job=\"course-report\",err_code=\"no_data\"} 1",
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
                format!("exhaustd_requests_failed_total{{exhaust_job=\"{job}\",err_code=\"internal\"}} 0"),
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
