//! The queue of each job as it was read last: many clients ask for positions, and each queue is read at most once a second.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::Mutex;

use super::Api;
use super::envelope::ApiError;
use crate::config::checked::Job;
use crate::requests::{ClientQueue, Pauses, RequestKey, WaitingRequest};

/// How long a snapshot is used.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The requests of one job that were waiting when the table was read.
#[derive(Debug)]
pub(super) struct QueueSnapshot {
    positions: HashMap<RequestKey, u64>,
    /// The position of a row that was submitted later.
    end: u64,
    /// When the oldest was submitted.
    pub(super) oldest: Option<DateTime<Utc>>,
    /// How many wait for each channel, and since when the oldest does.
    pub(super) channels: BTreeMap<String, (usize, Option<DateTime<Utc>>)>,
    read: Instant,
}

impl QueueSnapshot {
    fn new(waiting: Vec<WaitingRequest>) -> Self {
        let ready = waiting.iter().filter(|one| !one.backing_off).count() as u64;
        let oldest = waiting.iter().filter_map(|one| one.submitted).min();
        let mut channels: BTreeMap<String, (usize, Option<DateTime<Utc>>)> = BTreeMap::new();
        for one in &waiting {
            let (depth, oldest) = channels.entry(one.channel.clone().unwrap_or_default()).or_default();
            *depth += 1;
            *oldest = [*oldest, one.submitted].into_iter().flatten().min();
        }
        let positions = (1..).zip(waiting).map(|(position, one)| (one.key, position)).collect();
        Self { positions, end: ready + 1, oldest, channels, read: Instant::now() }
    }

    /// 1 is the next of its job.
    pub(super) fn position(&self, key: &RequestKey) -> u64 {
        self.positions.get(key).copied().unwrap_or(self.end)
    }

    /// How many requests wait.
    pub(super) fn len(&self) -> usize {
        self.positions.len()
    }
}

/// The snapshot of each job, by its id.
#[derive(Debug, Default)]
pub(super) struct QueueSnapshots {
    of_jobs: Mutex<BTreeMap<String, Arc<Cell>>>,
    pauses: Mutex<Option<(Instant, Option<Arc<Pauses>>)>>,
}

type Cell = Mutex<Option<Arc<QueueSnapshot>>>;

impl QueueSnapshots {
    /// The queue of a job, at most [`MAX_AGE`] old.
    pub(super) async fn of(&self, api: &Api, job: &Job) -> Result<Arc<QueueSnapshot>, ApiError> {
        let cell = Arc::clone(self.of_jobs.lock().await.entry(job.id.clone()).or_default());
        // Calls that arrive while the queue is read wait here, and then find the new snapshot.
        let mut last = cell.lock().await;
        if let Some(snapshot) = last.as_ref().filter(|snapshot| snapshot.read.elapsed() < MAX_AGE) {
            return Ok(Arc::clone(snapshot));
        }
        let names: Vec<String> = job.names().map(str::to_owned).collect();
        let snapshot = Arc::new(QueueSnapshot::new(api.ask(move |queue| queue.waiting(&names)).await?));
        *last = Some(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    /// The pauses in force, at most [`MAX_AGE`] ago. `None`: this role may not read them.
    pub(super) async fn pauses(&self, api: &Api) -> Result<Option<Arc<Pauses>>, ApiError> {
        let mut last = self.pauses.lock().await;
        if let Some((_, pauses)) = last.as_ref().filter(|(read, _)| read.elapsed() < MAX_AGE) {
            return Ok(pauses.clone());
        }
        let read = |queue: &dyn ClientQueue| match queue.pauses() {
            Err(error) if !error.may_pass() => Ok(None),
            known => known.map(|pauses| Some(Arc::new(pauses))),
        };
        let pauses = api.ask(read).await?;
        *last = Some((Instant::now(), pauses.clone()));
        Ok(pauses)
    }
}
