//! Which requests of a group still miss files, and which have ended.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::UnboundedSender;

use super::context::GroupContext;
use super::sync::{Delivered, FilesOutcome, RequestDone, StoredRequest, ToSync, send};
use crate::config::checked::MaxBadRows;
use crate::reports::Counts;
use crate::tables::quality::Quality;
use crate::worker::outcome::HandBack;
use crate::worker::plan::{FileIdx, Ready, RequestIdx, Wanted};
use crate::worker::request_error::RequestError;
use crate::worker::verdict;

/// Bytes that are stored before the disk is told to begin to write them.
const SYNC_AHEAD: u64 = 32 << 20;

/// A request in work.
#[derive(Debug)]
struct Open {
    missing: usize,
    delivered: Delivered,
    /// The first of the broken batches, and what is wrong with it.
    broken: Option<(FileIdx, RequestError)>,
    /// It has ended without all of its files.
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

    /// What the request comes to, once none of its files is missing. `None` before that, and if it has ended already. A part
    /// is not judged: its request is, when all parts are made.
    fn verdict(&self, request: &Ready, max_bad_rows: MaxBadRows) -> Option<Result<Delivered, RequestError>> {
        if self.missing > 0 || self.given_up {
            return None;
        }
        let first_broken = self.broken.as_ref().map(|(_, error)| Box::new(error.clone()));
        let delivered = Delivered { first_broken, ..self.delivered.clone() };
        Some(if request.is_part { Ok(delivered) } else { delivered.judged(request.objects.len(), max_bad_rows) })
    }
}

impl Delivered {
    /// Judges what was delivered as one request of `batches` batches.
    ///
    /// # Errors
    /// Every batch is broken, or too many rows of all batches together are unusable.
    pub(in crate::worker) fn judged(self, batches: usize, max_bad_rows: MaxBadRows) -> Result<Self, RequestError> {
        match &self.first_broken {
            Some(error) if self.broken.len() == batches => Err(RequestError::clone(error)),
            _ => match verdict::request(&self.quality, max_bad_rows) {
                Ok(()) => Ok(self),
                Err(error) => Err(RequestError::source(&error)),
            },
        }
    }
}

/// Keeps count of every request's files. Once it is dropped no further request can get all of its files, and the thread
/// that syncs ends.
pub(in crate::worker) struct CompletionTracker {
    group: Arc<GroupContext>,
    open: Vec<Mutex<Open>>,
    to_sync: Sender<ToSync>,
    /// Bytes of all files stored so far.
    bytes: AtomicU64,
    ended: UnboundedSender<RequestDone>,
}

impl CompletionTracker {
    /// Of the group's requests. Those that an earlier attempt has stored all files of are synced at once.
    pub(in crate::worker) fn new(
        group: Arc<GroupContext>,
        to_sync: Sender<ToSync>,
        ended: UnboundedSender<RequestDone>,
    ) -> Self {
        let open: Vec<_> = group.requests.iter().map(|one| Mutex::new(Open::new(one))).collect();
        let tracker = Self { group, open, to_sync, bytes: AtomicU64::new(0), ended };
        for request in 0..tracker.open.len() {
            tracker.update(RequestIdx(request), |_| ());
        }
        tracker
    }

    fn open(&self, request: RequestIdx) -> MutexGuard<'_, Open> {
        // The counts stay right, whatever panicked while the lock was held.
        self.open[request.0].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the counts of a request. If none of its files is missing then, it is synced or fails.
    fn update(&self, request: RequestIdx, change: impl FnOnce(&mut Open)) {
        let verdict = {
            let mut open = self.open(request);
            change(&mut open);
            open.verdict(self.group.request(request), self.group.max_bad_rows)
        };
        match verdict {
            None => {}
            // The receiver lives as long as this sender.
            Some(Ok(delivered)) => drop(self.to_sync.send(ToSync::Request(StoredRequest { request, delivered }))),
            Some(Err(error)) => self.fail(request, error),
        }
    }

    /// Whether more files of a request are wanted: it has not failed and is not handed back, and the claim still holds it.
    pub(super) fn wants(&self, request: RequestIdx) -> bool {
        !self.open(request).given_up && self.group.checkpoint.wants(&self.group.request(request).key)
    }

    /// A file of this many bytes is stored, for one request or several.
    pub(super) fn count_stored(&self, bytes: u64) {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before / SYNC_AHEAD < (before + bytes) / SYNC_AHEAD {
            let _ = self.to_sync.send(ToSync::Ahead);
        }
    }

    /// One more file of a request is delivered. With the last one the request is synced.
    pub(super) fn deliver(&self, request: RequestIdx, bytes: u64, counts: &Counts, quality: &Quality) {
        self.group.metrics.count_done(request);
        self.update(request, |open| {
            open.delivered.bytes += bytes;
            open.delivered.counts.add(counts);
            open.delivered.quality.add_batch(quality);
            open.missing -= 1;
        });
    }

    /// A file of a request is left out because its batch is broken.
    pub(super) fn leave_out(&self, Wanted { request, file }: Wanted, quality: &Quality, error: &RequestError) {
        self.group.metrics.count_done(request);
        self.update(request, |open| {
            if open.broken.as_ref().is_none_or(|(first, _)| file < *first) {
                open.broken = Some((file, error.clone()));
            }
            open.delivered.broken.insert(file);
            open.delivered.quality.add_batch(quality);
            open.missing -= 1;
        });
    }

    /// A request fails. Of several failures of its batches the first one counts.
    pub(super) fn fail(&self, request: RequestIdx, error: RequestError) {
        self.give_up(request, FilesOutcome::Failed(error));
    }

    /// A later scan goes on with a request.
    pub(super) fn hand_back(&self, request: RequestIdx, why: HandBack) {
        self.give_up(request, FilesOutcome::HandedBack(why));
    }

    fn give_up(&self, request: RequestIdx, outcome: FilesOutcome) {
        if !std::mem::replace(&mut self.open(request).given_up, true) {
            send(&self.ended, request, outcome);
        }
    }
}
