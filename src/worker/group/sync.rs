//! The sync before a request is completed: its files must survive a loss of power, contents and names.
//!
//! It has a thread of its own, so that no thread that makes files waits for a disk. Requests that have all of their files
//! within a moment of each other are synced together.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

use super::context::GroupContext;
use crate::reports::Counts;
use crate::tables::quality::Quality;
use crate::worker::cpu::caught;
use crate::worker::group_metrics::timed;
use crate::worker::outcome::HandBack;
use crate::worker::plan::{FileIdx, RequestIdx};
use crate::worker::request_error::RequestError;

/// That one request has ended.
#[derive(Debug)]
pub(in crate::worker) struct RequestDone {
    /// The request.
    pub(in crate::worker) request: RequestIdx,
    /// How.
    pub(in crate::worker) outcome: FilesOutcome,
}

/// What came of the files of one request.
#[derive(Debug)]
pub(in crate::worker) enum FilesOutcome {
    /// All of them are stored and synced.
    Delivered(Delivered),
    /// The request fails.
    Failed(RequestError),
    /// A later scan goes on with it.
    HandedBack(HandBack),
}

/// What one request got: every file is stored and will survive a loss of power.
#[derive(Clone, Debug, Default)]
pub(in crate::worker) struct Delivered {
    /// Bytes of all its files.
    pub(in crate::worker) bytes: u64,
    /// Rows of all its files, and where the other enrolments went.
    pub(in crate::worker) counts: Counts,
    /// What was found of all its batches.
    pub(in crate::worker) quality: Quality,
    /// Files that are left out: of one of their batches' tables every row is unusable.
    pub(in crate::worker) broken: BTreeSet<FileIdx>,
    /// What is wrong with the first of them.
    pub(in crate::worker) first_broken: Option<Box<RequestError>>,
}

/// What there is to sync.
pub(in crate::worker) enum ToSync {
    /// Bytes of unfinished requests from which on the disk begins to write them.
    Ahead,
    /// A request whose files are all stored.
    Request(StoredRequest),
}

/// A request whose files are all stored.
pub(in crate::worker) struct StoredRequest {
    /// The request.
    pub(in crate::worker) request: RequestIdx,
    /// What it gets once its files are synced.
    pub(super) delivered: Delivered,
}

/// How long a request with all of its files waits for others of its group, so that they are synced and written back
/// together. Each sync has to wait for the disk, and a thread that makes a file meanwhile may have to wait with it.
const GATHERING: Duration = Duration::from_millis(50);

/// Starts the thread. It ends when the returned sender and its clones are dropped.
pub(in crate::worker) fn start_sync(
    group: &Arc<GroupContext>,
    ended: UnboundedSender<RequestDone>,
) -> (Sender<ToSync>, JoinHandle<()>) {
    let (to_sync, stored) = std::sync::mpsc::channel();
    let group = Arc::clone(group);
    let syncing = tokio::task::spawn_blocking(move || Syncer { group: &group, ended }.run(&stored));
    (to_sync, syncing)
}

/// Syncs requests that have all of their files, and says that they have ended.
struct Syncer<'a> {
    group: &'a GroupContext,
    ended: UnboundedSender<RequestDone>,
}

impl Syncer<'_> {
    /// Goes on until no further request can get all of its files.
    fn run(&self, stored: &Receiver<ToSync>) {
        let mut missing = self.group.requests.len();
        while let Ok(first) = stored.recv() {
            let together = gather(first, stored, missing, GATHERING);
            // A stop that cannot wait hands back what has not ended.
            if self.group.stop.is_halted() {
                return;
            }
            if together.is_empty() {
                self.group.store.start_sync();
            } else {
                missing = missing.saturating_sub(together.len());
                self.sync_and_report(together);
            }
        }
    }

    fn sync_and_report(&self, together: Vec<StoredRequest>) {
        let mut synced = self.sync(&together);
        // A file is not there any more. That concerns its own request only, so each is synced by itself, until a disk fails.
        let one_by_one = together.len() > 1 && matches!(synced, Err((_, Extent::OneFile)));
        for stored in together {
            if one_by_one && !matches!(synced, Err((_, Extent::All))) {
                synced = self.sync(std::slice::from_ref(&stored));
            }
            let StoredRequest { request, delivered } = stored;
            let outcome = match &synced {
                Ok(()) => FilesOutcome::Delivered(delivered),
                Err((error, _)) => {
                    // Which file it was cannot be asked again: the system has reported the failure once, and would now
                    // report that all is well.
                    self.group.checkpoint.forget(&self.group.request(request).key);
                    FilesOutcome::Failed(error.clone())
                }
            };
            send(&self.ended, request, outcome);
        }
    }

    fn sync(&self, together: &[StoredRequest]) -> Result<(), (RequestError, Extent)> {
        let objects = together.iter().flat_map(|one| {
            let objects = self.group.request(one.request).objects.iter().enumerate();
            objects.filter(|(file, _)| !one.delivered.broken.contains(&FileIdx(*file))).map(|(_, object)| object)
        });
        let (synced, spent) = timed(|| caught(|| self.group.store.sync(objects)));
        self.group.metrics.add_store(spent);
        match synced {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let extent = if error.is_of_one_file() { Extent::OneFile } else { Extent::All };
                Err((RequestError::store(&error), extent))
            }
            Err(panic) => Err((RequestError::panicked(&panic), Extent::All)),
        }
    }
}

/// Which requests a failed sync concerns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// The request of a file that is not there any more.
    OneFile,
    /// All that were to be synced.
    All,
}

/// The requests that have all of their files by now, and if there are any, those that get them `within` a time; not more
/// than the `missing` ones.
fn gather(first: ToSync, stored: &Receiver<ToSync>, missing: usize, within: Duration) -> Vec<StoredRequest> {
    let request = |stored| if let ToSync::Request(request) = stored { Some(request) } else { None };
    let mut together: Vec<StoredRequest> =
        std::iter::once(first).chain(stored.try_iter()).filter_map(request).collect();
    let until = Instant::now() + within;
    while !together.is_empty() && together.len() < missing {
        let Ok(next) = stored.recv_timeout(until.saturating_duration_since(Instant::now())) else { break };
        together.extend(request(next));
    }
    together
}

/// Says that a request has ended.
pub(super) fn send(ended: &UnboundedSender<RequestDone>, request: RequestIdx, outcome: FilesOutcome) {
    // The receiver is gone only after a stop that hands back everything that has not ended.
    let _ = ended.send(RequestDone { request, outcome });
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::outputs::{Compress, ObjectKey, Store};
    use crate::worker::checkpoint::{Processed, StoredBatch};
    use crate::worker::plan::Ready;
    use crate::worker::plan::tests::ready;
    use crate::worker::test_app::group_context;

    fn stored(request: usize) -> StoredRequest {
        StoredRequest { request: RequestIdx(request), delivered: Delivered::default() }
    }

    #[test]
    fn a_stored_request_waits_for_others_only_while_there_can_be_any() {
        let to_sync = |request| ToSync::Request(stored(request));
        let requests = |together: Vec<StoredRequest>| together.iter().map(|one| one.request.0).collect::<Vec<_>>();
        let forever = Duration::from_hours(1);
        let (sender, receiver) = std::sync::mpsc::channel();
        assert!(gather(ToSync::Ahead, &receiver, 3, forever).is_empty(), "no request waits for the disk to begin");
        sender.send(ToSync::Ahead).unwrap();
        sender.send(to_sync(2)).unwrap();
        assert_eq!(requests(gather(to_sync(1), &receiver, 2, forever)), [1, 2]);
        assert_eq!(requests(gather(to_sync(1), &receiver, 2, Duration::ZERO)), [1], "others may take long");
        let later = std::thread::spawn(move || {
            sender.send(to_sync(4)).unwrap();
            sender.send(ToSync::Ahead).unwrap();
            sender.send(to_sync(5)).unwrap();
        });
        assert_eq!(requests(gather(to_sync(3), &receiver, 9, forever)), [3, 4, 5], "the sender is gone");
        later.join().unwrap();
    }

    #[test]
    fn requests_that_end_together_are_synced_together_and_a_file_that_is_gone_fails_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let requests: Vec<Ready> = (0..3)
            .map(|n| {
                let mut one = ready(&[n], Compress::None);
                one.key.request_id = n.to_string();
                one.objects.push(ObjectKey::parse(&format!("r/{n}.csv")).unwrap());
                one
            })
            .collect();
        let group = group_context(requests, Store::local(directory.path().to_owned()));
        for one in &group.requests {
            let mut file = group.store.create(&one.objects[0]).unwrap();
            file.write_all(b"content").unwrap();
            group.store.publish(&mut file.finish().unwrap(), &one.objects[0], true).unwrap();
            let counts = Counts::default();
            let (key, quality) = (one.objects[0].to_string(), Quality::default());
            let batch = StoredBatch { batch: "b".to_owned(), key, bytes: 7, crc32: 1, counts, quality };
            group.checkpoint.resume(&one.key, Processed { fingerprint: "x".to_owned(), batches: vec![batch] });
        }
        let (ended, mut received) = tokio::sync::mpsc::unbounded_channel();
        let syncer = Syncer { group: &group, ended };
        // A file that is gone concerns its own request only.
        std::fs::remove_file(group.store.path(&group.requests[1].objects[0]).unwrap()).unwrap();
        let mut sync = |these: &[usize]| -> Vec<(usize, bool)> {
            syncer.sync_and_report(these.iter().copied().map(stored).collect());
            let ended = these.iter().map(|_| received.try_recv().unwrap());
            ended.map(|one| (one.request.0, matches!(one.outcome, FilesOutcome::Delivered(_)))).collect()
        };
        assert_eq!(sync(&[0]), [(0, true)]);
        assert_eq!(sync(&[1, 2, 0]), [(1, false), (2, true), (0, true)]);
        for (request, is_relied_on) in [(0, true), (1, false), (2, true)] {
            let processed = group.checkpoint.processed(&group.requests[request].key);
            assert_eq!(processed.is_none(), is_relied_on, "the row forgets what cannot be relied on");
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        sender.send(ToSync::Ahead).unwrap();
        sender.send(ToSync::Request(stored(0))).unwrap();
        drop(sender);
        syncer.run(&receiver);
        assert!(matches!(received.try_recv().unwrap().outcome, FilesOutcome::Delivered(_)));
    }
}
