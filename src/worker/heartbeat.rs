//! Writes three times per lease that this daemon lives, to a row of its own, and notes there when it stops. By it
//! operators see which daemons work, and the others count how many share a job (`fair_share`). A daemon that is not seen
//! claims all the same.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::AppContext;
use crate::requests::{Heartbeat, QueueError};

/// How long a stop waits until its end is noted.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The heartbeat of this daemon, until it is ended.
#[derive(Debug)]
pub(super) struct HeartbeatTask {
    id: String,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl HeartbeatTask {
    /// Starts, with a first heartbeat at once.
    pub(super) fn start(app: &AppContext) -> Self {
        let (name, pid) = (gethostname::gethostname().to_string_lossy().into_owned(), std::process::id());
        // Containers share names and process numbers. Without a random number two of them might share a row.
        let random = getrandom::u64().unwrap_or_default();
        let id = format!("{random:016x}:{name}:{pid}");
        let (end, ended) = oneshot::channel();
        let task = tokio::spawn(beat(app.clone(), id.clone(), name, pid, ended));
        Self { id, end, task }
    }

    /// Stops, and notes the end, so that this daemon does not look like one that has died.
    pub(super) async fn end(self, app: &AppContext) {
        drop(self.end);
        let noted = async {
            // A beat under way would write the row again.
            let _ = self.task.await;
            let id = self.id;
            app.ask(move |queue| queue.leave(&id)).await
        };
        match tokio::time::timeout(LEAVE_TIMEOUT, noted).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::debug!("the end of this daemon is not noted error={error}"),
            Err(_) => log::debug!("the end of this daemon is not noted: no answer"),
        }
    }
}

async fn beat(app: AppContext, id: String, name: String, pid: u32, mut ended: oneshot::Receiver<()>) {
    loop {
        let heartbeat = of(&app, id.clone(), name.clone(), pid);
        let interval = heartbeat.lease / 3;
        let written: Result<(), QueueError> = app.ask(move |queue| queue.beat(&heartbeat)).await;
        let changed = app.state.heartbeat_written(written.as_ref().err().map(ToString::to_string));
        match &written {
            Ok(()) if changed => log::info!("the heartbeat is written again"),
            Err(error) if changed => {
                log::warn!("the heartbeat is not written, others take this daemon for dead error={error}");
            }
            Ok(()) | Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            _ = &mut ended => return,
        }
    }
}

fn of(app: &AppContext, id: String, name: String, pid: u32) -> Heartbeat {
    let config = app.config.get();
    Heartbeat {
        id,
        name,
        pid,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        lease: config.worker.lease,
        claims: app.progress.claims.load(Ordering::Relaxed),
        memory_used: app.memory.taken(),
        memory_allowed: config.worker.memory,
        jobs: config.enabled_jobs().iter().map(|job| job.id.clone()).collect(),
        config_hash: config.fingerprint(),
    }
}
