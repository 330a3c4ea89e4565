//! The daemon's work: [`scan`] is the way of a request on one page; around it stand the schedule that says when
//! ([`schedule`], [`wake`]), the lease that keeps claimed rows ours ([`lease`]), and start, stop and reload
//! ([`lifecycle`], [`reload`]).
//!
//! Not here: SQL, file formats, report rules.

mod carrying;
mod completing;
pub mod cpu;
pub mod dependencies;
pub mod desk;
pub mod ending;
pub mod generate;
mod group;
mod heartbeat;
pub mod lease;
pub mod ledger;
pub mod lifecycle;
pub mod load;
mod making;
pub mod memory;
pub mod open;
pub mod outcomes;
pub mod plan;
mod points;
pub mod reload;
pub mod retention;
pub mod scan;
pub mod schedule;
pub mod stats;
pub mod stop;
pub(crate) mod stretches;
mod supervisor;
mod table;
pub mod tenants;
pub mod verdict;
pub mod wake;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use tokio::sync::RwLock;

use crate::config::Live;
use crate::metrics::Metrics;
use crate::outputs::Store;
use crate::requests::{Clock, Queue, QueueError};
use crate::sources::Source;

/// Everything a scan works with.
#[derive(Clone)]
pub struct World {
    /// jobs.toml.
    pub config: Live,
    /// The `job_request` table.
    pub queue: Arc<dyn Queue>,
    /// The platform's tables.
    pub source: Arc<dyn Source>,
    /// Where files go.
    pub store: Store,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The cores.
    pub cpu: cpu::Cpu,
    /// The memory for loaded data, of which there is as much as `[worker] memory` says.
    pub memory: Arc<memory::Room>,
    /// Set when the daemon is told to stop.
    pub stop: stop::Stop,
    /// Scans read it; a request that may crash the process has it for itself.
    pub alone: Arc<RwLock<()>>,
    /// Dependencies that failed and were not seen well since.
    pub down: dependencies::Down,
    /// How the scans of each job end.
    pub scans: Arc<outcomes::Scans>,
    /// How far the work is, for whoever watches.
    pub progress: Arc<Progress>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether the database was reached and has what this program needs.
    pub prepared: Arc<AtomicBool>,
}

/// Files of the scans under way, counted since the start.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files that are planned.
    pub planned: AtomicU64,
    /// Files that were made, or given up.
    pub done: AtomicU64,
    /// Claims that are held.
    pub claims: AtomicU64,
}

/// How long the database may take to answer, at least and at most; in between half a lease, so that a renewal which is
/// not answered can be asked again in time. The database gives up a statement by itself after a minute; what takes longer
/// is a connection on which nobody speaks any more, and which nothing ends.
const ANSWER: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(75));

impl World {
    /// The one door for database calls: none of them blocks a tokio thread, and none of them is waited for in vain.
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
}
