//! Where the making of a group keeps its accounts: which request still misses files, and which has ended. A request
//! whose last file is stored is settled on a thread of its own, so that nobody who makes files waits for a disk; those
//! that have come meanwhile are settled together.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::UnboundedSender;

use super::cpu::caught;
use super::ending::Reason;
use super::generate::{Workshop, timed};
use super::plan::Ready;
use crate::reports::Counts;

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

/// A request whose files are all stored.
pub(super) struct Whole {
    request: usize,
    delivered: Delivered,
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

/// The accounts. Once it is dropped no further request becomes whole, and [`settle`] comes to its end.
pub(super) struct Desk {
    workshop: Arc<Workshop>,
    open: Vec<Mutex<Open>>,
    whole: Sender<Whole>,
    ended: UnboundedSender<Ended>,
}

impl Desk {
    /// Those of the workshop's requests; the ones that an earlier attempt has finished are whole at once.
    pub(super) fn new(workshop: Arc<Workshop>, whole: Sender<Whole>, ended: UnboundedSender<Ended>) -> Self {
        let open: Vec<_> = workshop.requests.iter().map(|one| Mutex::new(Open::new(one))).collect();
        let desk = Self { workshop, open, whole, ended };
        for request in 0..desk.open.len() {
            let delivered = {
                let open = desk.open(request);
                (open.missing == 0).then(|| open.delivered.clone())
            };
            desk.is_whole(request, delivered);
        }
        desk
    }

    fn open(&self, request: usize) -> MutexGuard<'_, Open> {
        // Counters stay right whatever panicked while one was held.
        self.open[request].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_whole(&self, request: usize, delivered: Option<Delivered>) {
        if let Some(delivered) = delivered {
            // Whoever settles goes on for as long as somebody may send.
            let _ = self.whole.send(Whole { request, delivered });
        }
    }

    /// Not once it has failed or is being handed back, and not once the claim is lost: somebody else works on it.
    pub(super) fn wants(&self, request: usize) -> bool {
        !self.open(request).failed && self.workshop.ledger.wants(&self.workshop.requests[request].key)
    }

    /// One more file of a request is stored; with the last one it is whole.
    pub(super) fn deliver(&self, request: usize, bytes: u64, counts: &Counts) {
        let delivered = {
            let mut open = self.open(request);
            open.delivered.bytes += bytes;
            open.delivered.counts.add(counts);
            open.missing -= 1;
            self.workshop.meter.done[request].fetch_add(1, Ordering::Relaxed);
            (open.missing == 0 && !open.failed).then(|| open.delivered.clone())
        };
        self.is_whole(request, delivered);
    }

    /// A request fails with the first of its batches that does.
    pub(super) fn fail(&self, request: usize, reason: Reason) {
        if !std::mem::replace(&mut self.open(request).failed, true) {
            end(&self.ended, request, Err(reason));
        }
    }
}

/// Settles requests that are whole, and says that they have ended, until there can be no more of them.
pub(super) fn settle(workshop: &Workshop, whole: &Receiver<Whole>, ended: &UnboundedSender<Ended>) {
    let requests = &workshop.requests;
    while let Ok(first) = whole.recv() {
        // A stop that cannot wait hands back what has not ended.
        if workshop.stop.is_halted() {
            return;
        }
        let together: Vec<Whole> = std::iter::once(first).chain(whole.try_iter()).collect();
        let objects = together.iter().flat_map(|one| &requests[one.request].objects);
        let (settled, spent) = timed(|| caught(|| workshop.store.settle(objects)));
        workshop.meter.add_store(spent);
        let failure = match settled {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Reason::store(&error)),
            Err(panic) => Some(Reason::panicked(&panic)),
        };
        for Whole { request, delivered } in together {
            let result = match &failure {
                None => Ok(delivered),
                Some(reason) => {
                    // Whose file it was nobody can ask again: the system has told its failure, and would now say that
                    // all is well.
                    workshop.ledger.forget(&requests[request].key);
                    Err(reason.clone())
                }
            };
            end(ended, request, result);
        }
    }
}

fn end(ended: &UnboundedSender<Ended>, request: usize, result: Result<Delivered, Reason>) {
    // The receiver is gone only after a stop that hands back whatever has not ended.
    let _ = ended.send(Ended { request, result });
}
