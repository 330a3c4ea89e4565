//! Makes planned files from what was loaded for them, all cores busy.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Progress;
use super::carrying::Way;
use super::cpu::{Panicked, caught};
use super::desk::Desk;
use super::ending::{Postponed, Reason};
use super::ledger::{Ledger, StoredBatch};
use super::load::Loaded;
use super::plan::{Ready, Unit};
use super::points;
use super::stats::LoadStats;
use super::stop::Stop;
use super::table::{Broken, Data, Making};
use crate::config::checked::{Job, MaxBadRows};
use crate::outputs::{Content, FinishedFile, Store, StoreError, WriteError, report_name, write_protected, write_table};
use crate::reports::{Counts, Report};
use crate::tables::quality::Quality;

/// What the files of a group are made with.
pub struct Workshop {
    /// The job.
    pub job: Arc<Job>,
    /// Its report.
    pub report: &'static dyn Report,
    /// What is wanted.
    pub requests: Vec<Ready>,
    /// Where files go.
    pub store: Store,
    /// Once it can wait no longer no further file is begun.
    pub stop: Stop,
    /// What is stored of each request, and whether the claim still holds it.
    pub ledger: Arc<Ledger>,
    /// Counts of this group.
    pub meter: Meter,
    /// How many unusable rows a request may have.
    pub max_bad_rows: MaxBadRows,
    /// How far the work is, for whoever watches.
    pub progress: Arc<Progress>,
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
    /// How often shared data was loaded.
    pub loads: AtomicU32,
    /// What loading came across.
    load: Mutex<LoadStats>,
    load_nanos: AtomicU64,
    generate_nanos: AtomicU64,
    store_nanos: AtomicU64,
}

impl Meter {
    /// Of requests some of whose files are stored already, after loading the catalogue came across this.
    #[must_use]
    pub fn new(requests: &[Ready], load: LoadStats) -> Self {
        let done = |one: &Ready| AtomicU64::new(one.stored.iter().flatten().count() as u64);
        Self { done: requests.iter().map(done).collect(), load: Mutex::new(load), ..Self::default() }
    }

    /// Loads something and counts it. What was let go of again is not counted.
    pub(super) fn loading(&self, load: impl FnOnce(&mut LoadStats) -> Loaded) -> Loaded {
        let mut stats = LoadStats::default();
        let (loaded, spent) = timed(|| load(&mut stats));
        self.load_nanos.fetch_add(nanos(spent), Ordering::Relaxed);
        if matches!(loaded, Ok(Ok(_))) {
            self.loads.fetch_add(1, Ordering::Relaxed);
            self.load.lock().unwrap_or_else(PoisonError::into_inner).merge(stats);
        }
        loaded
    }

    /// What loading came across so far.
    pub fn load(&self) -> LoadStats {
        self.load.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Time spent loading.
    pub fn spent_loading(&self) -> Duration {
        Duration::from_nanos(self.load_nanos.load(Ordering::Relaxed))
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

/// Makes `units` in their order, as many at a time as the pool has threads. Where there is a way to the store, files may
/// still be on it in the end. Requests that a stop leaves unfinished are not reported.
pub(super) fn all(workshop: &Workshop, desk: &Desk, data: &Data<'_>, units: &[&Unit], way: Option<&Arc<Way>>) {
    let next = AtomicUsize::new(0);
    let one_by_one = || {
        // Not a parallel iterator: that would split the list in halves, and the order is what keeps small requests
        // from waiting.
        while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
            if workshop.stop.is_halted() {
                return;
            }
            let made = make(workshop, desk, data, unit);
            let stays = match way {
                Some(way) => made.and_then(|made| way.take(made)),
                None => made,
            };
            if let Some(made) = stays {
                // Whoever wanted it was told.
                drop(place(workshop, desk, made));
            }
            workshop.progress.done.fetch_add(1, Ordering::Relaxed);
        }
    };
    match data {
        Data::Loaded(_) => drop(rayon::broadcast(|_| one_by_one())),
        // Each loads as much as there is room for, on all cores.
        Data::Stretches(_) => one_by_one(),
    }
}

/// A file that is made, and who wants it.
pub(super) struct Made {
    /// Its batch's id.
    batch: String,
    /// The file, which has no name yet.
    file: FinishedFile,
    counts: Counts,
    quality: Quality,
    /// Requests, and the place among their files; never empty.
    wanted: Vec<(usize, usize)>,
}

impl Made {
    /// Bytes of it that are in memory.
    pub(super) fn held(&self) -> u64 {
        self.file.held()
    }

    /// The requests that want it.
    pub(super) fn owners(&self) -> Vec<usize> {
        self.wanted.iter().map(|(request, _)| *request).collect()
    }
}

/// Makes one file for everybody who still wants it. `None`: nobody does, or it failed.
///
/// A file for an object store may be sent while it is made, under the key of the first who wants it. Where that fails and
/// may be this key's doing, only this one fails, and the file is made for the next.
fn make(workshop: &Workshop, desk: &Desk, data: &Data<'_>, unit: &Unit) -> Option<Made> {
    let mut wanted = unit.wanted.clone();
    let batch = &data.catalog().batches()[unit.batch].id;
    loop {
        wanted.retain(|(request, _)| desk.wants(*request));
        let first = *wanted.first()?;
        let is_wanted = || wanted.iter().any(|(request, _)| desk.wants(*request));
        let made = caught(|| {
            let (mut file, counts, quality) = generate(workshop, data, unit, first, &is_wanted)?;
            if wanted.len() > 1 {
                file.arrived().map_err(Broken::Store)?;
            }
            Ok((file, counts, quality))
        });
        match made.unwrap_or_else(|panic| Err(Broken::Failed(Reason::panicked(&panic)))) {
            Ok((file, counts, quality)) => return Some(Made { batch: batch.clone(), file, counts, quality, wanted }),
            Err(Broken::GivenUp) => return None,
            Err(Broken::Unusable(quality, error)) => {
                log::warn!("batch left out, it is broken batch={batch} error={:?}", error.detail);
                let reason = Reason::source(&error).in_batch(batch);
                for owner in wanted {
                    desk.leave_out(owner, &quality, &reason);
                }
                return None;
            }
            Err(Broken::Store(error)) if wanted.len() > 1 && !workshop.store.fails_for_all(&error) => {
                desk.fail(first.0, Reason::store(&error).in_batch(batch));
                wanted.remove(0);
            }
            Err(broken) => {
                let reason = broken.reason(batch).in_batch(batch);
                for (request, _) in wanted {
                    desk.fail(request, reason.clone());
                }
                return None;
            }
        }
    }
}

/// Gives a file to everybody who wants it, each under its own key. Where one key cannot be, only its request fails: the
/// file is there until the last of them was tried.
///
/// # Errors
/// Why nothing can be stored now. Those who want the file and have not got it were told.
pub(super) fn place(workshop: &Workshop, desk: &Desk, made: Made) -> Result<(), Reason> {
    let Workshop { requests, store, meter, .. } = workshop;
    let Made { batch, mut file, counts, quality, wanted } = made;
    let Content { bytes, crc32 } = file.content();
    let (mut is_copy, mut down) = (false, Ok(()));
    for (at, &(request, position)) in wanted.iter().enumerate() {
        if let Err(reason) = &down {
            desk.fail(request, Reason::clone(reason));
            continue;
        }
        if file.is_spent() {
            desk.hand_back(request, Postponed::FileLost);
            continue;
        }
        let Ready { key, objects, .. } = &requests[request];
        let object = &objects[position];
        let (batch_id, object_key) = (batch.clone(), object.to_string());
        let stored = StoredBatch { batch: batch_id, key: object_key, bytes, crc32, counts, quality: quality.clone() };
        let is_last = at + 1 == wanted.len();
        let place = || {
            let (placed, spent) = timed(|| caught(|| store.publish(&mut file, object, is_last)));
            meter.add_store(spent);
            points::reach("placed", &batch);
            placed.map_or_else(|panic| Err(Unplaced::Panicked(panic)), |placed| placed.map_err(Unplaced::Store))
        };
        match workshop.ledger.place(key, stored, place) {
            // The request has ended meanwhile: the next one gets the file.
            None => {}
            Some(Ok(())) => {
                if !is_copy {
                    desk.stored(bytes);
                }
                let counter = if is_copy { &meter.shared } else { &meter.generated };
                counter.fetch_add(1, Ordering::Relaxed);
                is_copy = true;
                points::reach("stored", &batch);
                desk.deliver(request, bytes, &counts, &quality);
            }
            // The file was sent under another key and is lost, which is not the doing of whoever was to get a copy.
            Some(Err(Unplaced::Store(error))) if error.is_of_one_file() && file.is_spent() => {
                log::warn!("a shared file is lost request={key} batch={batch} error={error}");
                desk.hand_back(request, Postponed::FileLost);
            }
            Some(Err(Unplaced::Store(error))) => {
                let reason = Reason::store(&error).in_batch(&batch);
                desk.fail(request, reason.clone());
                if store.fails_for_all(&error) {
                    down = Err(reason);
                }
            }
            Some(Err(Unplaced::Panicked(panic))) => desk.fail(request, Reason::panicked(&panic).in_batch(&batch)),
        }
    }
    store.discard(file);
    down
}

/// Why a file is not in its place.
enum Unplaced {
    Store(StoreError),
    Panicked(Panicked),
}

/// Generates one file, which has no name yet, for whom it is named first: a protected one is under their password, and
/// they are the only ones.
fn generate(
    workshop: &Workshop,
    data: &Data<'_>,
    unit: &Unit,
    (request, position): (usize, usize),
    is_wanted: &dyn Fn() -> bool,
) -> Result<(FinishedFile, Counts, Quality), Broken> {
    let Workshop { job, store, meter, requests, .. } = workshop;
    let Ready { objects, order, .. } = &requests[request];
    let batch = &data.catalog().batches()[unit.batch].id;
    points::reach("generating", batch);
    let mut file = store.create(&objects[position]).map_err(Broken::Store)?;
    let (counts, quality) = (Counts::default(), Quality::default());
    let mut table = Making { workshop, batch: unit.batch, data, is_wanted, counts, quality, broken: None };
    let before = meter.spent_loading();
    let (written, spent) = timed(|| match &order.protection {
        None => write_table(&mut table, unit.encoding, job.csv, &mut file),
        Some(protection) => {
            let entry = report_name(batch, unit.encoding.extension());
            write_protected(&mut table, unit.encoding, job.csv, &entry, protection, &mut file)
        }
    });
    let loading =
        if let Data::Stretches(_) = data { meter.spent_loading().saturating_sub(before) } else { Duration::ZERO };
    meter.add_generate(spent.saturating_sub(loading));
    points::reach("written", batch);
    let Making { counts, quality, broken, .. } = table;
    match (written, broken) {
        (Ok(rows), _) if rows == counts.rows => {}
        (Ok(rows), _) => return Err(Reason::short_file(rows, counts.rows).into()),
        (Err(WriteError::NotMade), Some(broken)) => return Err(broken),
        (Err(WriteError::Store(error)), _) => return Err(Broken::Store(file.failed(error))),
        (Err(error), _) => return Err(Broken::Write(error)),
    }
    let (finished, spent) = timed(|| file.finish());
    meter.add_store(spent);
    Ok((finished.map_err(Broken::Store)?, counts, quality))
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
