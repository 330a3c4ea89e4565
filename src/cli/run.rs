//! `exhaustd run`: the daemon.

use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::print::outln;
use super::progress::Progress;
use super::{Ended, block_on, load_config, open_world, serve};
use crate::config::Environment;
use crate::worker::lifecycle::{self, RunError};
use crate::worker::reload::Reload;
use crate::worker::stop::Stop;
use crate::worker::{self, AppContext};

/// The daemon: take requests on the schedules of jobs.toml, make their reports, write them back; and serve the HTTP
/// API, if `[api] listen` is set.
///
/// Dependencies that are down are waited for. The first SIGTERM or Ctrl-C takes no new work and ends or hands back
/// what is in progress within `stop_timeout`; a second one, 200 ms later or more, ends at once. A change of jobs.toml is seen at once, or on
/// SIGHUP: jobs, limits of [worker] and [[api.keys]] take effect without a restart.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Work until nothing claimable is left, whatever the schedules, then exit: for cron and Kubernetes Jobs. Exit
    /// code 0 only if no request failed or was left to be tried again.
    #[arg(long)]
    pub(super) once: bool,
}

pub(super) fn run(arguments: &Arguments, config: &Path) -> Result<(), Ended> {
    let app = open_world(load_config(config)?)?;
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
            return Err(Ended::Failed("stop_timeout is over: what is unfinished is taken over later".to_owned()));
        };
        outln!(
            "{} requests: {} completed, {} failed, {} to be tried again, {} handed back, {} lost",
            summary.requests(),
            summary.completed,
            summary.failed,
            summary.backing_off,
            summary.handed_back,
            summary.lost
        );
        if summary.is_all_completed() && summary.backing_off == 0 {
            Ok(())
        } else {
            Err(Ended::Failed("not every request was completed; see `exhaustd status`".to_owned()))
        }
    })
}

/// The schedules, and the API where it is on. Whichever ends first ends the other.
async fn daemon(app: &AppContext) -> Result<(), Ended> {
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

/// Shows how many files are made, until it is aborted.
async fn watch(progress: Arc<worker::Progress>) {
    let shown = Progress::bar();
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        shown.show("files", progress.done.load(Ordering::Relaxed), progress.planned.load(Ordering::Relaxed));
    }
}

impl From<RunError> for Ended {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Queue(error) => error.into(),
            RunError::Scheduler(_) => Self::Failed(error.to_string()),
        }
    }
}

/// Follows jobs.toml.
pub(super) fn reload(app: &AppContext) -> Result<impl Future<Output = ()> + Send + use<>, Ended> {
    let hangup = signal(SignalKind::hangup());
    let hangup = hangup.map_err(|error| Ended::Failed(format!("cannot listen for signals: {error}")))?;
    Ok(Reload::new(app.config.clone(), Environment::process()).watch(hangup))
}

pub(super) fn signals() -> Result<[Signal; 2], Ended> {
    let listen = |kind| signal(kind).map_err(|error| Ended::Failed(format!("cannot listen for signals: {error}")));
    Ok([listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?])
}

/// Signals within this time of the first one are the same wish to stop: `timeout` signals the process and then its
/// group, and a terminal's Ctrl-C reaches a wrapper that passes it on.
const ONE_WISH: Duration = Duration::from_millis(200);

/// Tells `stop` at the first signal; ends the process at a later second one.
pub(super) async fn stop_on_signals([mut terminate, mut interrupt]: [Signal; 2], stop: Stop) {
    let poll = move |context: &mut Context<'_>| {
        let ready = terminate.poll_recv(context).is_ready() || interrupt.poll_recv(context).is_ready();
        if ready { Poll::Ready(()) } else { Poll::Pending }
    };
    second_wish(poll, stop).await;
    log::warn!("second signal: ending at once; claims run out by themselves");
    std::process::exit(1);
}

/// Tells `stop` at the first signal, and returns at the next one that is no echo of it.
async fn second_wish(mut poll: impl FnMut(&mut Context<'_>) -> Poll<()>, stop: Stop) {
    poll_fn(&mut poll).await;
    log::info!("signal: taking no new work");
    stop.set();
    tokio::time::sleep(ONE_WISH).await;
    // What has arrived until now is taken out, also where this task got its turn late.
    while tokio::time::timeout(Duration::ZERO, poll_fn(&mut poll)).await.is_ok() {}
    log::info!("a second signal ends at once");
    poll_fn(&mut poll).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn signals_within_200_ms_are_one_wish() {
        for (at, ends) in [
            (vec![0, 1], None),
            (vec![0, 1, 2, 199], None),
            (vec![0, 201], Some(201)),
            (vec![5, 5, 300, 301], Some(300)),
        ] {
            let (send, mut sent) = tokio::sync::mpsc::unbounded_channel();
            let began = tokio::time::Instant::now();
            tokio::spawn(async move {
                for at in at {
                    tokio::time::sleep_until(began + Duration::from_millis(at)).await;
                    let _ = send.send(());
                }
                std::future::pending::<()>().await;
            });
            let stop = Stop::default();
            let wish = second_wish(move |context| sent.poll_recv(context).map(drop), stop.clone());
            let ended = tokio::time::timeout(Duration::from_mins(1), wish).await.is_ok();
            assert_eq!(ended.then(|| began.elapsed()), ends.map(Duration::from_millis));
            assert!(stop.is_set());
        }
    }
}
