//! `exhaustd serve`: the API alone; and the API beside the daemon, for `run`.

use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::signals::{reload, signals, stop_on_signals};
use super::{CommandError, block_on, load_config, open_app};
use crate::api::{self, DaemonHealth, Parts};
use crate::config::checked;
use crate::requests::SystemClock;
use crate::worker::daemon_state::DaemonState;
use crate::worker::scan_health::ScanHealth;
use crate::worker::{AppContext, lifecycle, open};

/// Connections of the API to the database, beside those of the daemon: clients cannot starve a scan.
const CONNECTIONS: u32 = 8;

/// The HTTP API alone, without scans: several may run beside several daemons on one PostgreSQL.
///
/// It needs `[api] listen` in jobs.toml. Everything about the calls: GET /docs on the running API, or docs/api.md.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

pub(super) fn run(config: &Path) -> Result<(), CommandError> {
    let config = load_config(config)?;
    let Some(settings) = config.api.clone() else {
        return Err(CommandError::Usage("nothing to serve: set `[api] listen` in jobs.toml".to_owned()));
    };
    let app = open_app(config)?;
    block_on(async {
        tokio::spawn(stop_on_signals(signals()?, app.stop.clone()));
        tokio::spawn(reload(&app)?);
        let serving = serve(&app, settings, false).await?;
        // The API answers while the database is waited for: /health says so.
        let prepared = lifecycle::prepare(&app).await;
        if prepared.is_err() {
            app.stop.set();
        }
        ended(serving).await?;
        Ok(prepared?)
    })
}

/// Binds the API's address and serves until the process is told to stop. `scans`: this process scans, so /health shows its
/// source and its scans.
pub(super) async fn serve(
    app: &AppContext,
    settings: checked::Api,
    scans: bool,
) -> Result<JoinHandle<()>, CommandError> {
    let config = app.config.get();
    let bound = api::bind(&settings).await.map_err(|error| CommandError::Usage(error.to_string()))?;
    let links = open::links(&config, &settings.links_begin_with(bound.address()))?;
    let parts = Parts {
        config: app.config.clone(),
        queue: open::queue(&config, Arc::new(SystemClock), CONNECTIONS)?,
        store: app.store.clone(),
        source: scans.then(|| Arc::clone(&app.source)),
        daemon: scans.then(|| {
            Arc::new(RunningDaemon { scans: Arc::clone(&app.scans), state: app.state.clone() }) as Arc<dyn DaemonHealth>
        }),
        clock: Arc::clone(&app.clock),
        metrics: Arc::clone(&app.metrics),
        links,
        prepared: Arc::clone(&app.prepared),
    };
    let (stop, patience) = (app.stop.clone(), config.worker.stop_timeout);
    Ok(tokio::spawn(async move { bound.serve(parts, settings, async move { stop.requested().await }, patience).await }))
}

/// The daemon in this process, as the API's health checks ask it.
struct RunningDaemon {
    scans: Arc<ScanHealth>,
    state: DaemonState,
}

impl DaemonHealth for RunningDaemon {
    fn scheduler(&self) -> Option<String> {
        self.state.scheduler()
    }

    fn heartbeat(&self) -> Option<String> {
        self.state.heartbeat()
    }

    fn scans(&self, job: &str) -> Option<String> {
        self.scans.trouble(job)
    }
}

/// Waits until the API has ended.
pub(super) async fn ended(serving: JoinHandle<()>) -> Result<(), CommandError> {
    serving.await.map_err(|error| CommandError::Failed(format!("the API broke off: {error}")))
}
