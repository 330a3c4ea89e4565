//! Calls of the API, and what clients do through it.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use super::{Metrics, Registrar};

/// What clients and operators do through the API, as the audit log names it.
const ACTS: [&str; 8] = ["submit", "read", "cancel", "retry", "download", "pause", "resume", "run"];
/// Statuses of refusals.
const REFUSALS: [u16; 3] = [401, 403, 429];
/// Seconds of the histogram's buckets: from a status read of a warm database to a search through a large table.
const BUCKETS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallStatus {
    call: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ActLabel {
    act: &'static str,
}

#[derive(Debug)]
pub(super) struct CallMetrics {
    answers: Family<CallStatus, Histogram>,
    acts: Family<ActLabel, Counter>,
    refusals: Family<CallStatus, Counter>,
    displaced: Counter,
    audit_dropped: Counter,
}

impl CallMetrics {
    pub(super) fn new(registrar: &mut Registrar) -> Self {
        let answers = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let metrics = Self {
            answers: registrar.register_with_unit("http_request", Unit::Seconds, "Time to answer API calls", answers),
            acts: registrar.metric(
                "acts",
                "Submissions, links read, cancellations, retries, downloads, pauses and their ends through the API",
            ),
            refusals: registrar.metric("refusals", "Calls answered 401, 403 or 429"),
            audit_dropped: registrar
                .metric("audit_dropped", "Records of the audit that had no room and are in the log alone"),
            displaced: registrar.metric("connections_displaced", "Idle connections that were closed for new ones"),
        };
        for act in ACTS {
            drop(metrics.acts.get_or_create(&ActLabel { act }));
        }
        metrics
    }
}

impl Metrics {
    /// Makes the series of refusals of these calls, at zero.
    pub fn know_calls(&self, calls: impl IntoIterator<Item = &'static str>) {
        for call in calls {
            for status in REFUSALS {
                drop(self.calls.refusals.get_or_create(&CallStatus { call, status }));
            }
        }
    }

    /// An API call was answered.
    pub fn answered(&self, call: &'static str, status: u16, spent: Duration) {
        self.calls.answers.get_or_create(&CallStatus { call, status }).observe(spent.as_secs_f64());
    }

    /// Something was done through the API: `submit`, `read`, `cancel`, `retry` or `download`.
    pub fn acted(&self, act: &'static str) {
        self.calls.acts.get_or_create(&ActLabel { act }).inc();
    }

    /// A call was answered 401, 403 or 429.
    pub fn refused(&self, call: &'static str, status: u16) {
        self.calls.refusals.get_or_create(&CallStatus { call, status }).inc();
    }

    /// Records of the audit were dropped.
    pub fn audit_dropped(&self, records: usize) {
        self.calls.audit_dropped.inc_by(records as u64);
    }

    /// An idle connection was closed for a new one.
    pub fn connection_displaced(&self) {
        self.calls.displaced.inc();
    }
}
