//! How requests end and how long they took, how many wait for each channel, and the program and its configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use super::jobs::{JobLabel, JobPhase};
use super::{Metrics, Registrar};

/// Seconds of the buckets: from one small file to a night's work.
const BUCKETS: [f64; 11] = [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0];
const PHASES: [&str; 4] = ["wait", "load", "generate", "store"];
/// Channels that have series of their own: those with the most requests that wait. All others are one.
const CHANNELS: usize = 50;
const OTHER_CHANNELS: &str = "(other)";
const RELOADS: [&str; 3] = ["in_force", "unchanged", "refused"];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ChannelLabel {
    channel: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BuildLabel {
    version: &'static str,
}

/// How long a completed request took.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestTimes {
    /// From its submission to its end.
    pub total: Duration,
    /// From its submission to its claim.
    pub wait: Duration,
    /// Loading for its group.
    pub load: Duration,
    /// Generating for its group, added up over threads.
    pub generate: Duration,
    /// Storing for its group, added up over threads.
    pub store: Duration,
}

#[derive(Debug)]
pub(super) struct EndMetrics {
    total: Family<JobLabel, Histogram>,
    phases: Family<JobPhase, Histogram>,
    last_success: Family<JobLabel, Gauge>,
    channel_depth: Family<ChannelLabel, Gauge>,
    channel_oldest: Family<ChannelLabel, Gauge<f64, AtomicU64>>,
    channels: Mutex<BTreeSet<String>>,
    reloads: Family<OutcomeLabel, Counter>,
}

impl EndMetrics {
    pub(super) fn new(registrar: &mut Registrar) -> Self {
        let histogram = (|| Histogram::new(BUCKETS)) as fn() -> Histogram;
        let build: Family<BuildLabel, Gauge> = registrar.metric("build_info", "The program that runs: always 1");
        build.get_or_create(&BuildLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
        let total = Family::new_with_constructor(histogram);
        let phases = Family::new_with_constructor(histogram);
        let metrics = Self {
            total: registrar.register_with_unit(
                "request",
                Unit::Seconds,
                "Completed requests: from submission to the end",
                total,
            ),
            phases: registrar.register_with_unit(
                "request_phase",
                Unit::Seconds,
                "Completed requests by phase; load, generate and store are those of the group, the last two added up over threads",
                phases,
            ),
            last_success: registrar.metric(
                "job_last_success_timestamp_seconds",
                "When this process last completed a request of the job; 0 before the first",
            ),
            channel_depth: registrar.metric("channel_queue_depth", "Requests that wait, by channel; at most 50 channels"),
            channel_oldest: registrar.with_unit(
                "channel_queue_oldest_age",
                Unit::Seconds,
                "Age of the oldest request that waits, by channel",
            ),
            channels: Mutex::default(),
            reloads: registrar.metric("config_reloads", "How often jobs.toml was read again, by outcome"),
        };
        for outcome in RELOADS {
            drop(metrics.reloads.get_or_create(&OutcomeLabel { outcome }));
        }
        metrics
    }

    /// Makes every series of a job, at zero.
    pub(super) fn make_series(&self, job: &str) {
        drop(self.total.get_or_create(&JobLabel::new(job)));
        drop(self.last_success.get_or_create(&JobLabel::new(job)));
        for phase in PHASES {
            drop(self.phases.get_or_create(&JobPhase::new(job, phase)));
        }
    }

    /// Removes the series of a job that say how things are.
    pub(super) fn remove_gauges(&self, job: &str) {
        self.last_success.remove(&JobLabel::new(job));
    }
}

impl Metrics {
    /// A request was completed, and took this long.
    pub fn completed(&self, job: &str, at: DateTime<Utc>, times: &RequestTimes) {
        let label = JobLabel::new(job);
        self.ends.total.get_or_create(&label).observe(times.total.as_secs_f64());
        self.ends.last_success.get_or_create(&label).set(at.timestamp());
        for (phase, spent) in PHASES.into_iter().zip([times.wait, times.load, times.generate, times.store]) {
            self.ends.phases.get_or_create(&JobPhase::new(job, phase)).observe(spent.as_secs_f64());
        }
    }

    /// Replaces what is told of channels: how many requests wait for each, and the age of the oldest.
    pub fn set_channels(&self, waiting: BTreeMap<String, (usize, Duration)>) {
        let mut all: Vec<(String, (usize, Duration))> = waiting.into_iter().collect();
        all.sort_by_key(|(_, (depth, _))| std::cmp::Reverse(*depth));
        let mut now: BTreeMap<String, (usize, Duration)> = BTreeMap::new();
        for (at, (channel, (depth, age))) in all.into_iter().enumerate() {
            let name = if at < CHANNELS { channel } else { OTHER_CHANNELS.to_owned() };
            let (known, oldest) = now.entry(name).or_default();
            *known += depth;
            *oldest = age.max(*oldest);
        }
        let mut known = self.ends.channels.lock().unwrap_or_else(PoisonError::into_inner);
        for channel in known.iter().filter(|channel| !now.contains_key(*channel)) {
            let label = ChannelLabel { channel: channel.clone() };
            self.ends.channel_depth.remove(&label);
            self.ends.channel_oldest.remove(&label);
        }
        for (channel, (depth, age)) in &now {
            let label = ChannelLabel { channel: channel.clone() };
            self.ends.channel_depth.get_or_create(&label).set(i64::try_from(*depth).unwrap_or(i64::MAX));
            self.ends.channel_oldest.get_or_create(&label).set(age.as_secs_f64());
        }
        *known = now.into_keys().collect();
    }

    /// jobs.toml was read again: `in_force`, `unchanged` or `refused`.
    pub fn reloaded(&self, outcome: &'static str) {
        self.ends.reloads.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_bounded_and_replaced() {
        let metrics = Metrics::default();
        let waiting = (0..80).map(|n| (format!("c{n}"), (n + 1, Duration::from_secs(n as u64)))).collect();
        metrics.set_channels(waiting);
        let series = |text: &str| text.lines().filter(|line| line.starts_with("exhaustd_channel_queue_depth{")).count();
        let text = metrics.text();
        assert_eq!(series(&text), CHANNELS + 1);
        assert!(text.contains("exhaustd_channel_queue_depth{channel=\"c79\"} 80"), "{text}");
        // c0 to c29 wait with 1 + 2 + … + 30 requests.
        assert!(text.contains("exhaustd_channel_queue_depth{channel=\"(other)\"} 465"), "{text}");
        assert!(text.contains("exhaustd_channel_queue_oldest_age_seconds{channel=\"(other)\"} 29.0"), "{text}");
        metrics.set_channels(BTreeMap::new());
        assert_eq!(series(&metrics.text()), 0);
    }
}
