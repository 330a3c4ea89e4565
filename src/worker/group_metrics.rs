//! What a group counts while its files are made.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::load::Loaded;
use super::plan::{Ready, RequestIdx};
use super::stats::LoadStats;
use crate::sources::SourceError;

/// Running counts of a group. They can be read while it is at work.
#[derive(Debug, Default)]
pub struct GroupMetrics {
    /// Distinct files generated.
    generated: AtomicU64,
    /// Files delivered as copies.
    shared: AtomicU64,
    /// Files stored of each request.
    done: Vec<AtomicU64>,
    /// When the work on each request began.
    begun: Vec<OnceLock<Instant>>,
    /// How often data was loaded for several requests.
    loads: AtomicU32,
    /// What was read.
    load: Mutex<LoadStats>,
    load_nanos: AtomicU64,
    generate_nanos: AtomicU64,
    store_nanos: AtomicU64,
}

impl GroupMetrics {
    /// Of requests some of whose files are stored already. `load` is what was read for the catalogue.
    pub(super) fn new(requests: &[Ready], load: LoadStats) -> Self {
        let done = |one: &Ready| AtomicU64::new(one.stored.iter().flatten().count() as u64);
        let begun = requests.iter().map(|_| OnceLock::new()).collect();
        Self { done: requests.iter().map(done).collect(), begun, load: Mutex::new(load), ..Self::default() }
    }

    /// Loads something and counts it. A load whose data was dropped, because it was too much, is not counted.
    pub(super) fn loading(
        &self,
        load: impl FnOnce(&mut LoadStats) -> Result<Loaded, SourceError>,
    ) -> Result<Loaded, SourceError> {
        let mut stats = LoadStats::default();
        let (loaded, spent) = timed(|| load(&mut stats));
        self.load_nanos.fetch_add(nanos(spent), Ordering::Relaxed);
        if matches!(loaded, Ok(Loaded::Batches(_))) {
            self.loads.fetch_add(1, Ordering::Relaxed);
            self.load.lock().unwrap_or_else(PoisonError::into_inner).merge(&stats);
        }
        loaded
    }

    /// Asks an engine and counts it as a load.
    pub(super) fn querying<T>(&self, ask: impl FnOnce() -> T) -> T {
        let (answer, spent) = timed(ask);
        self.add_query(spent);
        answer
    }

    /// An engine was asked, which counts as a load.
    pub(super) fn add_query(&self, spent: Duration) {
        self.load_nanos.fetch_add(nanos(spent), Ordering::Relaxed);
        self.loads.fetch_add(1, Ordering::Relaxed);
    }

    /// From now on it is worked on for this request: a load or a query for it alone, or a file that it wants before others do.
    pub(super) fn begin(&self, request: RequestIdx) {
        self.begun[request.0].get_or_init(Instant::now);
    }

    /// How long it has been worked on for this request.
    pub(super) fn worked(&self, request: RequestIdx) -> Duration {
        self.begun[request.0].get().map_or(Duration::ZERO, Instant::elapsed)
    }

    /// One more file of a request is stored or given up.
    pub(super) fn count_done(&self, request: RequestIdx) {
        self.done[request.0].fetch_add(1, Ordering::Relaxed);
    }

    /// One more file is delivered, as a copy or not.
    pub(super) fn count_delivered(&self, is_copy: bool) {
        let counter = if is_copy { &self.shared } else { &self.generated };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_generate(&self, spent: Duration) {
        self.generate_nanos.fetch_add(nanos(spent), Ordering::Relaxed);
    }

    pub(super) fn add_store(&self, spent: Duration) {
        self.store_nanos.fetch_add(nanos(spent), Ordering::Relaxed);
    }

    /// Files of a request that are stored or given up.
    pub(super) fn done(&self, request: RequestIdx) -> u64 {
        self.done[request.0].load(Ordering::Relaxed)
    }

    /// Distinct files generated.
    pub(super) fn generated(&self) -> u64 {
        self.generated.load(Ordering::Relaxed)
    }

    /// Files delivered as copies.
    pub(super) fn shared(&self) -> u64 {
        self.shared.load(Ordering::Relaxed)
    }

    /// How often data was loaded.
    pub(super) fn loads(&self) -> u32 {
        self.loads.load(Ordering::Relaxed)
    }

    /// What was read so far.
    pub fn load_stats(&self) -> LoadStats {
        self.load.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Time spent loading.
    pub(super) fn load_time(&self) -> Duration {
        Duration::from_nanos(self.load_nanos.load(Ordering::Relaxed))
    }

    /// Time spent generating, added up over threads.
    pub(super) fn generate_time(&self) -> Duration {
        Duration::from_nanos(self.generate_nanos.load(Ordering::Relaxed))
    }

    /// Time spent storing, added up over threads.
    pub(super) fn store_time(&self) -> Duration {
        Duration::from_nanos(self.store_nanos.load(Ordering::Relaxed))
    }
}

fn nanos(spent: Duration) -> u64 {
    u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX)
}

/// Does `work`, and says how long it took.
pub(super) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}
