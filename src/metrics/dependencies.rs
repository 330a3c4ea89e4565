//! Probes of dependencies: database, store, source.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::{Metrics, Registrar};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DependencyLabel {
    dependency: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SourceLabel {
    source: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StoreLabel {
    call: &'static str,
    outcome: &'static str,
}

/// How a call of a source or store may end: `unavailable` may pass, `failed` does not.
const OUTCOMES: [&str; 3] = ["ok", "unavailable", "failed"];

#[derive(Debug)]
pub(super) struct DependencyMetrics {
    usable: Family<DependencyLabel, Gauge>,
    failures: Family<DependencyLabel, Counter>,
    ready: Gauge,
    source_reads: Family<SourceLabel, Counter>,
    store_calls: Family<StoreLabel, Counter>,
}

impl DependencyMetrics {
    pub(super) fn new(registrar: &mut Registrar) -> Self {
        Self {
            usable: registrar.metric("dependency_usable", "Whether a dependency was usable at its last probe: 1 or 0"),
            ready: registrar.metric("ready", "Whether /readyz answers 200: 1 or 0"),
            source_reads: registrar.metric("source_reads", "Readings of a table, by source and outcome"),
            store_calls: registrar.metric("store_calls", "Calls of the store for files, by call and outcome"),
            failures: registrar.metric("dependency_failures", "Probes that found a dependency not usable"),
        }
    }
}

impl Metrics {
    /// A dependency was probed.
    pub fn probed(&self, dependency: &str, is_usable: bool) {
        self.set_usable(dependency, is_usable);
        let label = DependencyLabel { dependency: dependency.to_owned() };
        let failures = self.dependencies.failures.get_or_create(&label);
        if !is_usable {
            failures.inc();
        }
    }

    /// Makes the series of a source, at zero.
    pub fn know_source(&self, source: &str) {
        for outcome in OUTCOMES {
            let label = SourceLabel { source: source.to_owned(), outcome };
            drop(self.dependencies.source_reads.get_or_create(&label));
        }
    }

    /// Makes the series of a call of the store, at zero.
    pub fn know_store_call(&self, call: &'static str) {
        for outcome in OUTCOMES {
            drop(self.dependencies.store_calls.get_or_create(&StoreLabel { call, outcome }));
        }
    }

    /// A table was read from a source: `may_pass` of its error, where there is one.
    pub fn source_read(&self, source: &str, error: Option<bool>) {
        let label = SourceLabel { source: source.to_owned(), outcome: outcome(error) };
        self.dependencies.source_reads.get_or_create(&label).inc();
    }

    /// The store was called, as [`Metrics::source_read`].
    pub fn store_called(&self, call: &'static str, error: Option<bool>) {
        self.dependencies.store_calls.get_or_create(&StoreLabel { call, outcome: outcome(error) }).inc();
    }

    /// Sets whether a dependency is usable now.
    pub fn set_usable(&self, dependency: &str, is_usable: bool) {
        let label = DependencyLabel { dependency: dependency.to_owned() };
        self.dependencies.usable.get_or_create(&label).set(i64::from(is_usable));
    }

    /// Sets whether the process is ready for its work.
    pub fn set_ready(&self, is_ready: bool) {
        self.dependencies.ready.set(i64::from(is_ready));
    }
}

const fn outcome(error: Option<bool>) -> &'static str {
    match error {
        None => "ok",
        Some(true) => "unavailable",
        Some(false) => "failed",
    }
}
