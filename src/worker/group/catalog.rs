//! Reads the batches and contents that the requests of a group choose from.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::accept::Accepted;
use crate::config::Config;
use crate::config::checked::Job;
use crate::tables::catalog::Catalog;
use crate::worker::outcome::Outcome;
use crate::worker::request_error::RequestError;
use crate::worker::stats::LoadStats;
use crate::worker::{AppContext, load, memory};

/// The catalogue of a group.
pub(in crate::worker) struct LoadedCatalog {
    /// Batches and contents.
    pub(in crate::worker) catalog: Arc<Catalog>,
    /// What was read for it.
    pub(in crate::worker) stats: LoadStats,
    /// How long that took.
    pub(in crate::worker) spent: Duration,
}

/// Reads the catalogue, with the metadata fields that the filters of these requests name.
///
/// # Errors
/// How all of these requests end.
pub(in crate::worker) async fn load_catalog(
    app: &AppContext,
    config: &Config,
    job: &Job,
    accepted: &[Accepted],
) -> Result<LoadedCatalog, Outcome> {
    let metadata: BTreeSet<String> =
        accepted.iter().flat_map(|one| one.order.config.metadata_fields()).map(str::to_owned).collect();
    let source = Arc::clone(&app.source);
    let bytes = memory::for_catalog(config.worker.memory);
    let rules = (config.timezone, config.source.max_bad_rows, bytes);
    let needs = job.report.needs(&job.options);
    let started = Instant::now();
    let loaded = app.run_on_cpu(move || {
        let mut stats = LoadStats::default();
        load::catalog(source.as_ref(), &metadata, &needs, rules, &mut stats).map(|catalog| (Arc::new(catalog), stats))
    });
    let (catalog, stats) = loaded.await?.map_err(|error| Outcome::Failed(RequestError::source(&error)))?;
    Ok(LoadedCatalog { catalog, stats, spent: started.elapsed() })
}
