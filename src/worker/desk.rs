//! Where the making of a group keeps its accounts: which request still misses files, and which has ended. A request
//! whose last file is stored is settled on a thread of its own, so that nobody who makes files waits for a disk; those
//! that become whole within a moment of each other are settled together.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::cpu::caught;
use super::ending::{Postponed, Reason};
use super::generate::{Meter, Workshop, timed};
use super::ledger::Ledger;
use super::plan::Ready;
use super::stop::Stop;
use super::verdict;
use crate::config::checked::MaxBadRows;
use crate::outputs::Store;
use crate::reports::Counts;
use crate::tables::quality::Quality;

/// How one request ended.
#[derive(Debug)]
pub struct Ended {
    /// Its index among the group's ready requests.
    pub request: usize,
    /// How.
    pub outcome: Outcome,
}

/// What came of one request.
#[derive(Debug)]
pub enum Outcome {
    /// All of it.
    Delivered(Delivered),
    /// No report.
    Failed(Reason),
    /// Nothing yet: a later scan goes on with it.
    Postponed(Postponed),
}

/// What one request got: every file is stored and will survive a loss of power.
#[derive(Clone, Debug, Default)]
pub struct Delivered {
    /// Bytes of all its files.
    pub bytes: u64,
    /// Rows of all its files, and where the other enrolments went.
    pub counts: Counts,
    /// What was found of all its batches.
    pub quality: Quality,
    /// Batches that have no file, by their place among the request's: every row of one of their tables is unusable.
    pub broken: BTreeSet<usize>,
}

/// What there is to be settled.
pub(super) enum Stored {
    /// So much of requests under way that the disk should begin with it.
    Much,
    /// A request whose files are all stored.
    Whole(Whole),
}

/// A request whose files are all stored.
pub(super) struct Whole {
    request: usize,
    delivered: Delivered,
}

/// Bytes that are stored before the disk is told to begin with them.
const MUCH: u64 = 32 << 20;

/// A request that is whole waits so long for others of its group, to be settled and written back with them: each time, a disk
/// has to answer, and whoever makes a file in between may have to wait for it.
const GATHERING: Duration = Duration::from_millis(50);

/// A request under way.
#[derive(Debug)]
struct Open {
    missing: usize,
    delivered: Delivered,
    /// Why the first of the broken batches is.
    broken: Option<(usize, Reason)>,
    /// It has ended without being whole.
    given_up: bool,
}

impl Open {
    fn new(request: &Ready) -> Self {
        let mut delivered = Delivered::default();
        for file in request.stored.iter().flatten() {
            delivered.bytes += file.bytes;
            delivered.counts.add(&file.counts);
            delivered.quality.add_batch(&file.quality);
        }
        Self { missing: request.missing().count(), delivered, broken: None, given_up: false }
    }

    /// What the request comes to, once none of its files is missing; `None` before, and if it has ended already.
    fn whole(&self, batches: usize, max_bad_rows: MaxBadRows) -> Option<Result<Delivered, Reason>> {
        if self.missing > 0 || self.given_up {
            return None;
        }
        Some(match &self.broken {
            Some((_, reason)) if self.delivered.broken.len() == batches => Err(reason.clone()),
            _ => match verdict::request(&self.delivered.quality, max_bad_rows) {
                Ok(()) => Ok(self.delivered.clone()),
                Err(error) => Err(Reason::source(&error)),
            },
        })
    }
}

/// The accounts. Once it is dropped no further request becomes whole, and the [`Settler`] comes to its end.
pub(super) struct Desk {
    workshop: Arc<Workshop>,
    open: Vec<Mutex<Open>>,
    stored: Sender<Stored>,
    /// Bytes of all files so far.
    bytes: AtomicU64,
    ended: UnboundedSender<Ended>,
}

impl Desk {
    /// Those of the workshop's requests; the ones that an earlier attempt has finished are whole at once.
    pub(super) fn new(workshop: Arc<Workshop>, stored: Sender<Stored>, ended: UnboundedSender<Ended>) -> Self {
        let open: Vec<_> = workshop.requests.iter().map(|one| Mutex::new(Open::new(one))).collect();
        let desk = Self { workshop, open, stored, bytes: AtomicU64::new(0), ended };
        for request in 0..desk.open.len() {
            desk.account(request, |_| ());
        }
        desk
    }

    fn open(&self, request: usize) -> MutexGuard<'_, Open> {
        // Counters stay right whatever panicked while one was held.
        self.open[request].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a request's account; where none of its files is missing then, it is whole or fails.
    fn account(&self, request: usize, change: impl FnOnce(&mut Open)) {
        let Workshop { requests, max_bad_rows, .. } = &*self.workshop;
        let whole = {
            let mut open = self.open(request);
            change(&mut open);
            open.whole(requests[request].objects.len(), *max_bad_rows)
        };
        match whole {
            None => {}
            // The receiver goes on for as long as somebody may send.
            Some(Ok(delivered)) => drop(self.stored.send(Stored::Whole(Whole { request, delivered }))),
            Some(Err(reason)) => self.fail(request, reason),
        }
    }

    /// Not once it has failed or is handed back, and not once the claim is lost: somebody else works on it.
    pub(super) fn wants(&self, request: usize) -> bool {
        !self.open(request).given_up && self.workshop.ledger.wants(&self.workshop.requests[request].key)
    }

    /// One more file is stored, for whomever.
    pub(super) fn stored(&self, bytes: u64) {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before / MUCH < (before + bytes) / MUCH {
            let _ = self.stored.send(Stored::Much);
        }
    }

    /// One more file of a request is delivered; with the last one it is whole.
    pub(super) fn deliver(&self, request: usize, bytes: u64, counts: &Counts, quality: &Quality) {
        self.workshop.meter.done[request].fetch_add(1, Ordering::Relaxed);
        self.account(request, |open| {
            open.delivered.bytes += bytes;
            open.delivered.counts.add(counts);
            open.delivered.quality.add_batch(quality);
            open.missing -= 1;
        });
    }

    /// A batch of a request, given by its place among the request's, has no file: it is broken.
    pub(super) fn leave_out(&self, (request, position): (usize, usize), quality: &Quality, reason: &Reason) {
        self.workshop.meter.done[request].fetch_add(1, Ordering::Relaxed);
        self.account(request, |open| {
            if open.broken.as_ref().is_none_or(|(first, _)| position < *first) {
                open.broken = Some((position, reason.clone()));
            }
            open.delivered.broken.insert(position);
            open.delivered.quality.add_batch(quality);
            open.missing -= 1;
        });
    }

    /// A request fails with the first of its batches that does.
    pub(super) fn fail(&self, request: usize, reason: Reason) {
        self.give_up(request, Outcome::Failed(reason));
    }

    /// A later scan goes on with it.
    pub(super) fn hand_back(&self, request: usize, why: Postponed) {
        self.give_up(request, Outcome::Postponed(why));
    }

    fn give_up(&self, request: usize, outcome: Outcome) {
        if !std::mem::replace(&mut self.open(request).given_up, true) {
            end(&self.ended, request, outcome);
        }
    }
}

/// Settles requests that are whole, and says that they have ended.
pub(super) struct Settler<'a> {
    pub(super) requests: &'a [Ready],
    pub(super) store: &'a Store,
    pub(super) ledger: &'a Ledger,
    pub(super) stop: &'a Stop,
    pub(super) meter: &'a Meter,
    pub(super) ended: UnboundedSender<Ended>,
}

impl Settler<'_> {
    /// Goes on until no further request can become whole.
    pub(super) fn run(&self, stored: &Receiver<Stored>) {
        let mut missing = self.requests.len();
        while let Ok(first) = stored.recv() {
            let together = gather(first, stored, missing, GATHERING);
            // A stop that cannot wait hands back what has not ended.
            if self.stop.is_halted() {
                return;
            }
            if together.is_empty() {
                self.store.start_sync();
            } else {
                missing = missing.saturating_sub(together.len());
                self.settle(together);
            }
        }
    }

    fn settle(&self, together: Vec<Whole>) {
        let mut settled = self.settled(&together);
        // A file is not there any more. That is its own request's matter: each is asked for by itself, until a disk fails.
        let one_by_one = together.len() > 1 && matches!(settled, Err((_, Extent::OneFile)));
        for whole in together {
            if one_by_one && !matches!(settled, Err((_, Extent::All))) {
                settled = self.settled(std::slice::from_ref(&whole));
            }
            let Whole { request, delivered } = whole;
            let outcome = match &settled {
                Ok(()) => Outcome::Delivered(delivered),
                Err((reason, _)) => {
                    // Whose file it was nobody can ask again: the system has told its failure, and would now say that
                    // all is well.
                    self.ledger.forget(&self.requests[request].key);
                    Outcome::Failed(reason.clone())
                }
            };
            end(&self.ended, request, outcome);
        }
    }

    fn settled(&self, together: &[Whole]) -> Result<(), (Reason, Extent)> {
        let objects = together.iter().flat_map(|one| {
            let objects = self.requests[one.request].objects.iter().enumerate();
            objects.filter(|(position, _)| !one.delivered.broken.contains(position)).map(|(_, object)| object)
        });
        let (settled, spent) = timed(|| caught(|| self.store.sync(objects)));
        self.meter.add_store(spent);
        match settled {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let extent = if error.is_of_one_file() { Extent::OneFile } else { Extent::All };
                Err((Reason::store(&error), extent))
            }
            Err(panic) => Err((Reason::panicked(&panic), Extent::All)),
        }
    }
}

/// Whom a failure to settle concerns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// The request of a file that is not there any more.
    OneFile,
    /// All that were to be settled.
    All,
}

/// The requests that are whole by now, and if there are any, what becomes whole `within` a time; no more than are `missing`
/// can.
fn gather(first: Stored, stored: &Receiver<Stored>, missing: usize, within: Duration) -> Vec<Whole> {
    let whole = |stored| if let Stored::Whole(whole) = stored { Some(whole) } else { None };
    let mut together: Vec<Whole> = std::iter::once(first).chain(stored.try_iter()).filter_map(whole).collect();
    let until = Instant::now() + within;
    while !together.is_empty() && together.len() < missing {
        let Ok(next) = stored.recv_timeout(until.saturating_duration_since(Instant::now())) else { break };
        together.extend(whole(next));
    }
    together
}

fn end(ended: &UnboundedSender<Ended>, request: usize, outcome: Outcome) {
    // The receiver is gone only after a stop that hands back whatever has not ended.
    let _ = ended.send(Ended { request, outcome });
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::outputs::{Compress, ObjectKey};
    use crate::worker::ledger::{Processed, StoredBatch};
    use crate::worker::plan::tests::ready;

    #[test]
    fn what_is_whole_waits_for_others_only_while_there_can_be_any() {
        let whole = |request| Stored::Whole(Whole { request, delivered: Delivered::default() });
        let requests = |together: Vec<Whole>| together.iter().map(|one| one.request).collect::<Vec<_>>();
        let ever = Duration::from_hours(1);
        let (stored, settled) = std::sync::mpsc::channel();
        assert!(gather(Stored::Much, &settled, 3, ever).is_empty(), "nobody waits for the disk to begin");
        stored.send(Stored::Much).unwrap();
        stored.send(whole(2)).unwrap();
        assert_eq!(requests(gather(whole(1), &settled, 2, ever)), [1, 2]);
        assert_eq!(requests(gather(whole(1), &settled, 2, Duration::ZERO)), [1], "others may take long");
        let later = std::thread::spawn(move || {
            stored.send(whole(4)).unwrap();
            stored.send(Stored::Much).unwrap();
            stored.send(whole(5)).unwrap();
        });
        assert_eq!(requests(gather(whole(3), &settled, 9, ever)), [3, 4, 5], "nobody is left to become whole");
        later.join().unwrap();
    }

    #[test]
    fn requests_that_end_together_are_settled_together_and_a_file_that_is_gone_fails_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::local(directory.path().to_owned());
        let requests: Vec<Ready> = (0..3)
            .map(|n| {
                let mut one = ready(&[n], Compress::None);
                one.key.request_id = n.to_string();
                one.objects.push(ObjectKey::parse(&format!("r/{n}.csv")).unwrap());
                one
            })
            .collect();
        let ledger = Ledger::new(requests.iter().map(|one| one.key.clone()));
        for one in &requests {
            let mut file = store.create(&one.objects[0]).unwrap();
            file.write_all(b"content").unwrap();
            store.publish(&mut file.finish().unwrap(), &one.objects[0], true).unwrap();
            let counts = Counts::default();
            let (key, quality) = (one.objects[0].to_string(), Quality::default());
            let batch = StoredBatch { batch: "b".to_owned(), key, bytes: 7, crc32: 1, counts, quality };
            ledger.resume(&one.key, Processed { made_as: "x".to_owned(), batches: vec![batch] });
        }
        let (stop, meter) = (Stop::default(), Meter::default());
        let (ended, mut told) = tokio::sync::mpsc::unbounded_channel();
        let (stored, settled) = std::sync::mpsc::channel();
        let settler =
            Settler { requests: &requests, store: &store, ledger: &ledger, stop: &stop, meter: &meter, ended };
        // A file that is gone concerns its own request only.
        std::fs::remove_file(store.path(&requests[1].objects[0]).unwrap()).unwrap();
        let mut settle = |these: &[usize]| -> Vec<(usize, bool)> {
            settler.settle(these.iter().map(|&request| Whole { request, delivered: Delivered::default() }).collect());
            let ended = these.iter().map(|_| told.try_recv().unwrap());
            ended.map(|one| (one.request, matches!(one.outcome, Outcome::Delivered(_)))).collect()
        };
        assert_eq!(settle(&[0]), [(0, true)]);
        assert_eq!(settle(&[1, 2, 0]), [(1, false), (2, true), (0, true)]);
        for (request, is_relied_on) in [(0, true), (1, false), (2, true)] {
            let processed = ledger.processed(&requests[request].key);
            assert_eq!(processed.is_none(), is_relied_on, "what cannot be relied on the row is told to forget");
        }
        stored.send(Stored::Much).unwrap();
        stored.send(Stored::Whole(Whole { request: 0, delivered: Delivered::default() })).unwrap();
        drop(stored);
        settler.run(&settled);
        assert!(matches!(told.try_recv().unwrap().outcome, Outcome::Delivered(_)));
    }
}
