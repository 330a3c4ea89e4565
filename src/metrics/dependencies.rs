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

#[derive(Debug)]
pub(super) struct DependencyMetrics {
    usable: Family<DependencyLabel, Gauge>,
    failures: Family<DependencyLabel, Counter>,
    ready: Gauge,
}

impl DependencyMetrics {
    pub(super) fn new(registrar: &mut Registrar) -> Self {
        Self {
            usable: registrar.metric("dependency_usable", "Whether a dependency was usable at its last probe: 1 or 0"),
            ready: registrar.metric("ready", "Whether /readyz answers 200: 1 or 0"),
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
