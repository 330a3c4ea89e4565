//! Makes the planned files, all cores busy, and says of each request when its own last file is stored.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::Progress;
use super::cpu::caught;
pub use super::desk::{Delivered, Ended};
use super::desk::{Desk, Settler};
use super::ending::Reason;
use super::ledger::{Ledger, StoredBatch};
use super::plan::{Ready, Unit};
use super::points;
use super::stop::Stop;
use crate::config::checked::Job;
use crate::outputs::{Content, FinishedFile, ObjectKey, Store, write_table};
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

/// Makes `units` in their order, as many at a time as the pool has threads; each request's end goes to `ended` as soon
/// as it is known. Requests that a stop leaves unfinished are not reported.
pub fn all(workshop: &Workshop<'_>, requests: &[Ready], units: &[Unit], ended: UnboundedSender<Ended>) {
    std::thread::scope(|scope| {
        let (whole, settled) = std::sync::mpsc::channel();
        let Workshop { store, ledger, stop, meter, .. } = *workshop;
        let settler = Settler { requests, store, ledger, stop, meter, ended: ended.clone() };
        scope.spawn(move || settler.run(&settled));
        let desk = Desk::new(workshop, requests, whole, ended);
        workshop.progress.planned.fetch_add(units.len() as u64, Ordering::Relaxed);
        let next = AtomicUsize::new(0);
        rayon::broadcast(|_| {
            // Not a parallel iterator: that would split the list in halves, and the order is what keeps small requests
            // from waiting.
            while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
                if workshop.stop.is_halted() {
                    return;
                }
                make(workshop, &desk, requests, unit);
                workshop.progress.done.fetch_add(1, Ordering::Relaxed);
            }
        });
    });
}

/// Makes one file and gives it to everybody who wants it.
fn make(workshop: &Workshop<'_>, desk: &Desk<'_>, requests: &[Ready], unit: &Unit) {
    let Workshop { shared, store, meter, .. } = workshop;
    let wanted: Vec<_> = unit.wanted.iter().copied().filter(|(request, _)| desk.wants(*request)).collect();
    let object = |(request, position): (usize, usize)| &requests[request].objects[position];
    let Some(first) = wanted.first() else { return };
    let batch = &shared.catalog().batches()[unit.batch].id;
    let made = caught(|| generate(workshop, unit, object(*first)));
    let (file, counts) = match made.unwrap_or_else(|panic| Err(Reason::panicked(&panic))) {
        Ok(made) => made,
        Err(reason) => {
            let reason = reason.in_batch(batch);
            return wanted.iter().for_each(|(request, _)| desk.fail(*request, reason.clone()));
        }
    };
    let content = file.content();
    let (mut file, mut original) = (Some(file), object(*first));
    for (at, &owner) in wanted.iter().enumerate() {
        let (key, object) = (&requests[owner.0].key, object(owner));
        let Content { bytes, crc32 } = content;
        let stored = StoredBatch { batch: batch.clone(), key: object.to_string(), bytes, crc32, counts };
        let is_copy = file.is_none();
        let place = || {
            let (placed, spent) = timed(|| match file.take() {
                Some(file) => store.publish(file, object),
                None => store.copy(original, object),
            });
            meter.add_store(spent);
            points::reach("placed", batch);
            placed
        };
        match workshop.ledger.place(key, stored, place) {
            // The request has ended meanwhile: the next one gets the file.
            None => {}
            Some(Ok(())) => {
                if !is_copy {
                    original = object;
                }
                let counter = if is_copy { &meter.shared } else { &meter.generated };
                counter.fetch_add(1, Ordering::Relaxed);
                points::reach("stored", batch);
                desk.deliver(owner.0, bytes, &counts);
            }
            Some(Err(error)) if is_copy => desk.fail(owner.0, Reason::store(&error)),
            Some(Err(error)) => {
                let reason = Reason::store(&error).in_batch(batch);
                return wanted[at..].iter().for_each(|(request, _)| desk.fail(*request, reason.clone()));
            }
        }
    }
}

/// Generates one file, which has no name yet.
fn generate(workshop: &Workshop<'_>, unit: &Unit, object: &ObjectKey) -> Result<(FinishedFile, Counts), Reason> {
    let Workshop { job, report, shared, store, meter, .. } = workshop;
    points::reach("generating", &shared.catalog().batches()[unit.batch].id);
    let (generated, spent) = timed(|| report.generate(unit.batch, shared, &job.options));
    meter.add_generate(spent);
    let generated = generated.map_err(|error| Reason::report(&error))?;
    let mut file = store.create(object).map_err(|error| Reason::store(&error))?;
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

    pub(super) fn add_store(&self, spent: Duration) {
        self.store_nanos.fetch_add(nanos(spent), Ordering::Relaxed);
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
