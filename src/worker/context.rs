//! What the daemon works with: configuration, database, source, store, clock, threads, memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use tokio::sync::{OnceCell, RwLock};

use super::outcome::{HandBack, Outcome};
use super::request_error::RequestError;
use super::{cpu, daemon_state, dependencies, memory, scan_health, stop};
use crate::config::Live;
use crate::metrics::Metrics;
use crate::outputs::Store;
use crate::requests::{Clock, Queue, QueueError};
use crate::sources::routed::Routed;

/// Everything that a scan works with. Clones share it.
#[derive(Clone)]
pub struct AppContext {
    /// jobs.toml.
    pub config: Live,
    /// The `job_request` table.
    pub queue: Arc<dyn Queue>,
    /// The platform's tables.
    pub source: Arc<Routed>,
    /// Where files go.
    pub store: Store,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The threads for CPU work; in a scan those of its lane.
    pub cpu: cpu::Cpu,
    /// The threads of scans.
    pub lanes: Arc<cpu::Lanes>,
    /// The memory for loaded data, `[worker] memory` bytes of it.
    pub memory: Arc<memory::Room>,
    /// Set when the daemon is told to stop.
    pub stop: stop::Stop,
    /// Scans hold it for reading. The scan of a request that may crash the process holds it for writing, so that no other
    /// request is in work then.
    pub exclusive: Arc<RwLock<()>>,
    /// Dependencies that failed and have not been seen working since.
    pub down: dependencies::Down,
    /// How the scans of each job end.
    pub scans: Arc<scan_health::ScanHealth>,
    /// Whether the scheduler ticks and the heartbeat is written.
    pub state: daemon_state::DaemonState,
    /// How far the work is, for a progress display.
    pub progress: Arc<Progress>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Whether the database was reached and has the tables and columns that this program needs.
    pub prepared: Arc<AtomicBool>,
    /// The id of the table's installation, once it was asked for.
    pub installation: Arc<OnceCell<String>>,
}

/// Files of the scans in progress, counted since the start.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files that are planned.
    pub planned: AtomicU64,
    /// Files that were made or given up.
    pub done: AtomicU64,
    /// Claims that are held.
    pub claims: AtomicU64,
}

/// How long the database may take to answer, at least and at most. In between it is half a lease, so that an unanswered
/// renewal can be sent again in time. The database ends a statement by itself after a minute; a call that takes longer
/// waits on a dead connection that nothing else would close.
const ANSWER: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(75));

impl AppContext {
    /// Runs a database call on a thread that may block, for a bounded time. All database calls of the worker go through
    /// it.
    ///
    /// # Errors
    /// Those of the call; `Unreachable` if there is no answer in time, `Refused` if the call panics.
    pub async fn ask<T, F>(&self, question: F) -> Result<T, QueueError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Queue) -> Result<T, QueueError> + Send + 'static,
    {
        let queue = Arc::clone(&self.queue);
        let bound = (self.config.get().worker.lease / 2).clamp(ANSWER.0, ANSWER.1);
        let asked = tokio::task::spawn_blocking(move || question(queue.as_ref()));
        match tokio::time::timeout(bound, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(panic)) => Err(QueueError::Refused(format!("the call broke off: {panic}"))),
            Err(_) => {
                self.queue.reconnect();
                Err(QueueError::Unreachable(format!("no answer for {} s", bound.as_secs())))
            }
        }
    }

    /// Runs CPU work of a group on the threads for it, unless a stop can wait no longer.
    ///
    /// # Errors
    /// How the requests end that need the result: they fail if the work panics, and are handed back after a stop.
    pub(super) async fn run_on_cpu<T, F>(&self, work: F) -> Result<T, Outcome>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        match self.stop.unless_halted(self.cpu.run(work)).await {
            Some(Ok(done)) => Ok(done),
            Some(Err(panic)) => Err(Outcome::Failed(RequestError::panicked(&panic))),
            None => Err(Outcome::HandedBack(HandBack::Unfinished)),
        }
    }
}
