//! Reads the batches and contents that the requests of a group choose from.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::accept::Accepted;
use crate::config::Config;
use crate::config::checked::Job;
use crate::requests::RequestKey;
use crate::sources::{GivenUp, Source, SourceError};
use crate::tables::catalog::Catalog;
use crate::worker::lease::Lease;
use crate::worker::outcome::{HandBack, Outcome};
use crate::worker::request_error::RequestError;
use crate::worker::stats::LoadStats;
use crate::worker::{AppContext, load, memory, stage};

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
    lease: &Lease,
) -> Result<LoadedCatalog, Outcome> {
    let metadata: BTreeSet<String> =
        accepted.iter().flat_map(|one| one.order.config.metadata_fields()).map(str::to_owned).collect();
    let bytes = memory::for_catalog(config.worker.memory);
    let rules = (config.timezone, config.sources.max_bad_rows, bytes);
    let needs = job.report.needs(&job.options);
    let started = Instant::now();
    let plan = load::catalog_plan(&metadata, &needs, config.timezone);
    let (stop, checkpoint) = (app.stop.clone(), Arc::clone(lease.checkpoint()));
    let keys: Vec<RequestKey> = accepted.iter().map(|one| one.request.key.clone()).collect();
    let given_up: GivenUp = Arc::new(move || stop.is_halted() || !keys.iter().any(|key| checkpoint.wants(key)));
    // Reading ends with an error where nobody waits for it any more.
    let ended = |error: &SourceError| {
        let unfinished = Outcome::HandedBack(HandBack::Unfinished);
        if given_up() { unfinished } else { Outcome::Failed(RequestError::source(error)) }
    };
    let preparing = stage::prepare(app, plan, lease.token(), Arc::clone(&given_up));
    let Some(prepared) = app.stop.unless_halted(preparing).await else {
        return Err(Outcome::HandedBack(HandBack::Unfinished));
    };
    let prepared = prepared.map_err(|error| ended(&error))?;
    let source: Arc<dyn Source> = prepared.unwrap_or_else(|| Arc::clone(&app.source) as _);
    // What was prepared is dropped on the threads that may block.
    let loaded = app.run_on_cpu(move || {
        let mut stats = LoadStats::default();
        load::catalog(source.as_ref(), &metadata, &needs, rules, &mut stats).map(|catalog| (Arc::new(catalog), stats))
    });
    let (catalog, stats) = loaded.await?.map_err(|error| ended(&error))?;
    Ok(LoadedCatalog { catalog, stats, spent: started.elapsed() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::configured::SourceConfig;
    use crate::sources::files::{self, CsvDialect, FilesLocation};
    use crate::worker::open;
    use crate::worker::test_app::TestApp;

    #[tokio::test]
    async fn all_batches_are_there_and_a_source_that_is_gone_fails_the_requests() {
        let test = TestApp::new();
        let (claim, lease) = test.claim(&[("1", r#"{"batchId": "b"}"#)]);
        let accepted = test.accept(claim).await;
        let (config, job) = (test.config(), test.job());
        let loaded = load_catalog(&test.app, &config, &job, &accepted, &lease).await.unwrap();
        assert_eq!(loaded.catalog.batches().len(), 4);
        assert_eq!(loaded.stats.tables().count(), 2, "course_batch and content");
        let mut app = test.app.clone();
        let mut elsewhere = Config::clone(&config);
        let location = FilesLocation::Directory(test.directory.path().join("nowhere"));
        let files = files::Config { location, tables: CsvDialect::Rfc4180.into() };
        elsewhere.sources.used[0].config = SourceConfig::Files(files);
        app.source = open::source(&elsewhere).unwrap();
        let Err(Outcome::Failed(error)) = load_catalog(&app, &config, &job, &accepted, &lease).await else { panic!() };
        assert!(error.detail.starts_with("table course_batch: "), "{}", error.detail);
    }
}
