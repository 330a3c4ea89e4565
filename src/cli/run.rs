//! `exhaustd run`: the daemon.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::print::outln;
use super::progress::Progress;
use super::signals::{reload, signals, stop_on_signals};
use super::{CommandError, block_on, load_config, open_app, serve};
use crate::worker::lifecycle::{self, RunError};
use crate::worker::{self, AppContext};

/// The daemon: take requests on the schedules of jobs.toml, make their reports, write them back; and serve the HTTP
/// API, if `[api] listen` is set.
///
/// Dependencies that are down are waited for. After the first SIGTERM or Ctrl-C no new work is taken, and what is in
/// progress ends or is handed back within `stop_timeout`; a second one, 200 ms later or more, ends the process at once.
/// A change of jobs.toml is seen within seconds, or on SIGHUP: jobs, limits of [worker] and [[api.keys]] take effect
/// without a restart.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Work until nothing claimable is left, whatever the schedules, then exit: for cron and Kubernetes Jobs. Exit
    /// code 0 only if no request failed or was left to be tried again.
    #[arg(long)]
    pub(super) once: bool,
}

pub(super) fn run(arguments: &Arguments, config: &Path) -> Result<(), CommandError> {
    let app = open_app(load_config(config)?)?;
    let once = arguments.once;
    block_on(async {
        tokio::spawn(stop_on_signals(signals()?, app.stop.clone()));
        if !once {
            tokio::spawn(reload(&app)?);
            return daemon(&app).await;
        }
        let watching = tokio::spawn(watch(Arc::clone(&app.progress)));
        let summary = lifecycle::run_once(&app).await;
        watching.abort();
        let Some(summary) = summary? else {
            return Err(CommandError::Failed(
                "stop_timeout is over: what is unfinished is taken over later".to_owned(),
            ));
        };
        outln!(
            "{} requests: {} completed, {} failed, {} to be tried again, {} handed back, {} lost, {} cancelled",
            summary.requests(),
            summary.completed,
            summary.failed,
            summary.backing_off,
            summary.handed_back,
            summary.lost,
            summary.cancelled
        );
        if summary.is_all_completed() && summary.backing_off == 0 {
            Ok(())
        } else {
            Err(CommandError::Failed("not every request was completed; see `exhaustd status`".to_owned()))
        }
    })
}

/// The schedules, and the API where it is on. When one ends, so does the other.
async fn daemon(app: &AppContext) -> Result<(), CommandError> {
    let serving = match app.config.get().api.clone() {
        None => None,
        Some(settings) => Some(serve::serve(app, settings, true).await?),
    };
    let ran = lifecycle::run(app).await;
    app.stop.set();
    if let Some(serving) = serving {
        serve::ended(serving).await?;
    }
    Ok(ran?)
}

/// Shows how many files have been made, until it is aborted.
async fn watch(progress: Arc<worker::Progress>) {
    let shown = Progress::bar();
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        shown.show("files", progress.done.load(Ordering::Relaxed), progress.planned.load(Ordering::Relaxed));
    }
}

impl From<RunError> for CommandError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Queue(error) => error.into(),
            RunError::Scheduler(_) => Self::Failed(error.to_string()),
        }
    }
}
