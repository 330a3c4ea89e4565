//! Makes the planned files, all cores busy, and says of each request when its own last file is stored.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::Progress;
use super::cpu::caught;
use super::ending::Reason;
use super::ledger::{Ledger, StoredBatch};
use super::plan::{Ready, Unit};
use super::points;
use super::stop::Stop;
use crate::config::checked::Job;
use crate::outputs::{Store, write_table};
use crate::reports::shared::Shared;
use crate::reports::{Counts, Report};

/// What the requests of a group are made from.
pub struct Workshop<'a> {
    /// The job.
    pub job: &'a Job,
    /// Its report.
    pub report: &'a dyn Report,
    /// The loaded data.
    pub shared: &'a Shared,
    /// Where files go.
    pub store: &'a Store,
    /// Once it can wait no longer no further file is begun.
    pub stop: &'a Stop,
    /// What is stored of each request, and whether the claim still holds it.
    pub ledger: &'a Ledger,
    /// Counts of this group.
    pub meter: &'a Meter,
    /// How far the work is, for whoever watches.
    pub progress: &'a Progress,
}

/// Running counts of a group, readable while it is at work.
#[derive(Debug, Default)]
pub struct Meter {
    /// Distinct files generated.
    pub generated: AtomicU64,
    /// Files delivered as copies.
    pub shared: AtomicU64,
    /// Files stored of each request.
    pub done: Vec<AtomicU64>,
    generate_nanos: AtomicU64,
    store_nanos: AtomicU64,
}

impl Meter {
    /// So many files of each request are stored already.
    #[must_use]
    pub fn new(done: impl Iterator<Item = u64>) -> Self {
        Self { done: done.map(AtomicU64::new).collect(), ..Self::default() }
    }

    /// Time spent generating and storing, added up over threads.
    pub fn spent(&self) -> (Duration, Duration) {
        let spent = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Ordering::Relaxed));
        (spent(&self.generate_nanos), spent(&self.store_nanos))
    }

    /// Milliseconds spent generating and storing, added up over threads.
    pub fn millis(&self) -> (u64, u64) {
        let millis = |spent: Duration| u64::try_from(spent.as_millis()).unwrap_or(u64::MAX);
        let (generate, store) = self.spent();
        (millis(generate), millis(store))
    }
}

/// How one request ended.
#[derive(Debug)]
pub struct Ended {
    /// Its index among the group's ready requests.
    pub request: usize,
    /// What was delivered, or why not.
    pub result: Result<Delivered, Reason>,
}

/// What one request got: every file is stored and will survive a loss of power.
#[derive(Clone, Debug, Default)]
pub struct Delivered {
    /// Bytes of all its files.
    pub bytes: u64,
    /// Rows of all its files, and where the other enrolments went.
    pub counts: Counts,
}

/// A request under way.
#[derive(Debug)]
struct Open {
    missing: usize,
    delivered: Delivered,
    failed: bool,
}

impl Open {
    fn new(request: &Ready) -> Self {
        let mut delivered = Delivered::default();
        for file in request.stored.iter().flatten() {
            delivered.bytes += file.bytes;
            delivered.counts.add(&file.counts);
        }
        Self { missing: request.missing().count(), delivered, failed: false }
    }
}

struct Desk<'a> {
    requests: &'a [Ready],
    open: Vec<Mutex<Open>>,
    ended: UnboundedSender<Ended>,
}

/// Makes `units` in their order, as many at a time as the pool has threads; each request's end goes to `ended` as soon
/// as it is known. Requests that a stop leaves unfinished are not reported.
pub fn all(workshop: &Workshop<'_>, requests: &[Ready], units: &[Unit], ended: UnboundedSender<Ended>) {
    let desk = Desk { requests, open: requests.iter().map(|one| Mutex::new(Open::new(one))).collect(), ended };
    for (request, one) in requests.iter().enumerate() {
        if one.missing().next().is_none() {
            desk.settle(workshop, request, desk.open(request).delivered.clone());
        }
    }
    workshop.progress.planned.fetch_add(units.len() as u64, Ordering::Relaxed);
    let next = AtomicUsize::new(0);
    rayon::broadcast(|_| {
        // Not a parallel iterator: that would split the list in halves, and the order is what keeps small requests
        // from waiting.
        while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
            if workshop.stop.is_halted() {
                return;
            }
            make(workshop, &desk, unit);
            workshop.progress.done.fetch_add(1, Ordering::Relaxed);
        }
    });
}

fn make(workshop: &Workshop<'_>, desk: &Desk<'_>, unit: &Unit) {
    let wanted: Vec<_> = unit.wanted.iter().copied().filter(|(request, _)| desk.wants(workshop, *request)).collect();
    let Some((&first, others)) = wanted.split_first() else {
        return;
    };
    let made =
        caught(|| generate(workshop, desk.requests, unit, first)).unwrap_or_else(|panic| Err(Reason::panicked(&panic)));
    let (bytes, counts) = match made {
        Ok(made) => made,
        Err(reason) => {
            let reason = reason.in_batch(&workshop.shared.catalog().batches()[unit.batch].id);
            return wanted.iter().for_each(|(request, _)| desk.fail(*request, reason.clone()));
        }
    };
    workshop.meter.generated.fetch_add(1, Ordering::Relaxed);
    desk.deliver(workshop, unit, first, bytes, &counts);
    let object = |(request, position): (usize, usize)| &desk.requests[request].objects[position];
    for &other in others {
        let (copied, spent) = timed(|| workshop.store.copy(object(first), object(other)));
        workshop.meter.add_store(spent);
        match copied {
            Ok(()) => {
                workshop.meter.shared.fetch_add(1, Ordering::Relaxed);
                desk.deliver(workshop, unit, other, bytes, &counts);
            }
            Err(error) => desk.fail(other.0, Reason::store(&error)),
        }
    }
}

/// Generates one file and stores it under its first owner's name.
fn generate(
    workshop: &Workshop<'_>,
    requests: &[Ready],
    unit: &Unit,
    (request, position): (usize, usize),
) -> Result<(u64, Counts), Reason> {
    let Workshop { job, report, shared, store, meter, .. } = workshop;
    points::reach("generating", &shared.catalog().batches()[unit.batch].id);
    let (generated, spent) = timed(|| report.generate(unit.batch, shared, &job.options));
    meter.add_generate(spent);
    let generated = generated.map_err(|error| Reason::report(&error))?;
    let mut file = store.create(&requests[request].objects[position]).map_err(|error| Reason::store(&error))?;
    let (written, spent) = timed(|| write_table(&generated.table, unit.shape, job.csv, &mut file));
    meter.add_generate(spent);
    match written {
        Ok(rows) if rows == generated.counts.rows => {}
        Ok(rows) => return Err(Reason::short_file(rows, generated.counts.rows)),
        Err(error) => return Err(Reason::store(&file.failed(error))),
    }
    let (finished, spent) = timed(|| file.finish());
    meter.add_store(spent);
    Ok((finished.map_err(|error| Reason::store(&error))?, generated.counts))
}

impl Meter {
    fn add_generate(&self, spent: Duration) {
        self.generate_nanos.fetch_add(nanos(spent), Ordering::Relaxed);
    }

    fn add_store(&self, spent: Duration) {
        self.store_nanos.fetch_add(nanos(spent), Ordering::Relaxed);
    }
}

fn nanos(spent: Duration) -> u64 {
    u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX)
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

impl Desk<'_> {
    fn open(&self, request: usize) -> std::sync::MutexGuard<'_, Open> {
        // Counters stay right whatever panicked while one was held.
        self.open[request].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Not once it has failed, and not once the claim is lost: somebody else works on it.
    fn wants(&self, workshop: &Workshop<'_>, request: usize) -> bool {
        !self.open(request).failed && workshop.ledger.holds(&self.requests[request].key)
    }

    /// One more file of a request is stored; with the last one the request has ended.
    fn deliver(
        &self,
        workshop: &Workshop<'_>,
        unit: &Unit,
        (request, position): (usize, usize),
        bytes: u64,
        counts: &Counts,
    ) {
        let batch = &workshop.shared.catalog().batches()[unit.batch].id;
        let Ready { key, objects, .. } = &self.requests[request];
        let stored = StoredBatch { batch: batch.clone(), key: objects[position].to_string(), bytes, counts: *counts };
        workshop.ledger.stored(key, stored);
        points::reach("stored", batch);
        let delivered = {
            let mut open = self.open(request);
            open.delivered.bytes += bytes;
            open.delivered.counts.add(counts);
            open.missing -= 1;
            workshop.meter.done[request].fetch_add(1, Ordering::Relaxed);
            if open.missing > 0 || open.failed {
                return;
            }
            open.delivered.clone()
        };
        self.settle(workshop, request, delivered);
    }

    /// Every file of a request is stored.
    fn settle(&self, workshop: &Workshop<'_>, request: usize, delivered: Delivered) {
        let (settled, spent) = timed(|| workshop.store.settle(&self.requests[request].objects));
        workshop.meter.add_store(spent);
        self.end(request, settled.map(|()| delivered).map_err(|error| Reason::store(&error)));
    }

    /// A request fails with the first of its batches that does.
    fn fail(&self, request: usize, reason: Reason) {
        if !std::mem::replace(&mut self.open(request).failed, true) {
            self.end(request, Err(reason));
        }
    }

    fn end(&self, request: usize, result: Result<Delivered, Reason>) {
        // The receiver lives until every sender is gone, so there is somebody to hear it.
        let _ = self.ended.send(Ended { request, result });
    }
}
