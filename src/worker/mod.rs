//! The daemon's work: [`scan`] is the way of a request on one page; around it stand the schedule that says when
//! ([`schedule`]), the lease that keeps claimed rows ours ([`lease`]) and start and stop ([`lifecycle`]).
//!
//! Not here: SQL, file formats, report rules.

pub mod cpu;
pub mod ending;
pub mod generate;
pub mod lease;
pub mod lifecycle;
pub mod load;
pub mod open;
pub mod plan;
pub mod retention;
pub mod scan;
pub mod schedule;
pub mod stats;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use crate::config::checked::Config;
use crate::metrics::Metrics;
use crate::outputs::Store;
use crate::requests::{Clock, Queue, QueueError};
use crate::sources::Source;

/// Everything a scan works with.
#[derive(Clone)]
pub struct World {
    /// jobs.toml.
    pub config: Arc<Config>,
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
    /// Set when the daemon is told to stop.
    pub stop: lifecycle::Stop,
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
}

impl World {
    /// The one door for database calls: none of them blocks a tokio thread.
    pub async fn ask<T, F>(&self, question: F) -> Result<T, QueueError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Queue) -> Result<T, QueueError> + Send + 'static,
    {
        let queue = Arc::clone(&self.queue);
        match tokio::task::spawn_blocking(move || question(queue.as_ref())).await {
            Ok(answer) => answer,
            Err(panic) => Err(QueueError::Refused(format!("the call broke off: {panic}"))),
        }
    }
}
