//! Signals: SIGTERM and SIGINT stop the process, SIGHUP reads jobs.toml again.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::CommandError;
use crate::config::Environment;
use crate::worker::AppContext;
use crate::worker::reload::Reload;
use crate::worker::stop::Stop;

/// Takes over changes of jobs.toml, as long as it is polled.
pub(super) fn reload(app: &AppContext) -> Result<impl Future<Output = ()> + Send + use<>, CommandError> {
    Ok(Reload::new(app.config.clone(), Environment::process(), Arc::clone(&app.metrics))
        .watch(listen(SignalKind::hangup())?))
}

/// The signals that stop the process.
pub(super) fn signals() -> Result<[Signal; 2], CommandError> {
    Ok([listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?])
}

fn listen(kind: SignalKind) -> Result<Signal, CommandError> {
    signal(kind).map_err(|error| CommandError::Failed(format!("cannot listen for signals: {error}")))
}

/// Signals within this time of the first one count as one: `timeout` signals the process and then its group, and a
/// terminal's Ctrl-C reaches a wrapper that passes it on.
const REPEATED: Duration = Duration::from_millis(200);

/// Sets `stop` at the first signal; ends the process at a later second one.
pub(super) async fn stop_on_signals([mut terminate, mut interrupt]: [Signal; 2], stop: Stop) {
    let poll = move |context: &mut Context<'_>| {
        let ready = terminate.poll_recv(context).is_ready() || interrupt.poll_recv(context).is_ready();
        if ready { Poll::Ready(()) } else { Poll::Pending }
    };
    second_signal(poll, stop).await;
    log::warn!("second signal: ending at once; claims run out by themselves");
    std::process::exit(1);
}

/// Sets `stop` at the first signal, and returns at the next one that does not count as the same.
async fn second_signal(mut poll: impl FnMut(&mut Context<'_>) -> Poll<()>, stop: Stop) {
    poll_fn(&mut poll).await;
    log::info!("signal: taking no new work");
    stop.set();
    tokio::time::sleep(REPEATED).await;
    // Drops the signals that have arrived until now, also where this task ran late.
    while tokio::time::timeout(Duration::ZERO, poll_fn(&mut poll)).await.is_ok() {}
    log::info!("a second signal ends at once");
    poll_fn(&mut poll).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn signals_within_200_ms_count_as_one() {
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
            let second = second_signal(move |context| sent.poll_recv(context).map(drop), stop.clone());
            let ended = tokio::time::timeout(Duration::from_mins(1), second).await.is_ok();
            assert_eq!(ended.then(|| began.elapsed()), ends.map(Duration::from_millis));
            assert!(stop.is_set());
        }
    }
}
