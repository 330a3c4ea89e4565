//! Stores files in an object store beside the threads that make them. Each call there costs a round trip and next to no
//! processor time: two threads that made a thousand small files and waited for each of them would be idle. The queue
//! belongs to the group and not to a part of it: while the last files of one part are uploaded, the next part is loaded.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::completion_tracker::CompletionTracker;
use super::context::GroupContext;
use super::generate::MadeFile;
use super::store::store;
use crate::worker::cpu::caught;
use crate::worker::request_error::RequestError;

/// Calls to the store at a time: at 100 ms a call 640 files a second.
const THREADS: usize = 64;
/// Bytes of files that are made and not yet stored. A thread that makes more has to wait; one file may be larger than all
/// of it.
const HELD: u64 = 64 << 20;
/// Files that are made and not yet stored.
const WAITING: usize = 1_000;

/// Uploads the files of a group. Dropped, its threads end after the files that they were given.
pub(in crate::worker) struct Uploader(Arc<Shared>);

struct Shared {
    group: Arc<GroupContext>,
    tracker: Arc<CompletionTracker>,
    queue: Mutex<Queue>,
    /// There is a file to upload, or none will come any more.
    added: Condvar,
    /// A file was uploaded.
    removed: Condvar,
}

struct Queue {
    waiting: VecDeque<MadeFile>,
    /// Bytes of the files that wait or are being uploaded.
    held: u64,
    /// No file will come any more.
    ended: bool,
    /// The store failed although each call is tried again for a while. All other files fail at once: each would be tried
    /// again for as long.
    down: Option<RequestError>,
    /// Started when they are needed: most requests have few files.
    threads: Vec<JoinHandle<()>>,
    /// How many threads there may be.
    most_threads: usize,
    /// How many of them have nothing to upload.
    idle: usize,
}

impl Uploader {
    /// Starts no thread yet.
    pub(in crate::worker) fn new(group: &Arc<GroupContext>, tracker: &Arc<CompletionTracker>) -> Self {
        let queue = Queue {
            waiting: VecDeque::new(),
            held: 0,
            ended: false,
            down: None,
            threads: Vec::new(),
            most_threads: THREADS,
            idle: 0,
        };
        Self(Arc::new(Shared {
            group: Arc::clone(group),
            tracker: Arc::clone(tracker),
            queue: Mutex::new(queue),
            added: Condvar::new(),
            removed: Condvar::new(),
        }))
    }

    /// Takes a file to upload, once there is room for it. Where no thread can be started it is stored at once.
    pub(in crate::worker) fn upload(&self, made: MadeFile) {
        if let Some(made) = self.0.add(made) {
            self.0.store(made);
        }
    }

    /// Returns when all files that it was given are stored or have failed. Blocks.
    pub(in crate::worker) fn finish(&self) {
        self.0.end();
        let threads = std::mem::take(&mut self.0.lock().threads);
        for thread in threads {
            // A panic in it has failed the requests that wanted the file.
            drop(thread.join());
        }
    }
}

impl Drop for Uploader {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Shared {
    /// Adds a file, once there is room for it. It comes back if no thread can be started.
    fn add(self: &Arc<Self>, made: MadeFile) -> Option<MadeFile> {
        let is_full = |queue: &mut Queue| {
            queue.waiting.len() >= WAITING || (queue.held > 0 && queue.held.saturating_add(made.held()) > HELD)
        };
        let mut queue = self.removed.wait_while(self.lock(), is_full).unwrap_or_else(PoisonError::into_inner);
        if queue.idle <= queue.waiting.len() && queue.threads.len() < queue.most_threads {
            self.start(&mut queue);
        }
        if queue.threads.is_empty() {
            return Some(made);
        }
        queue.held += made.held();
        queue.waiting.push_back(made);
        drop(queue);
        self.added.notify_one();
        None
    }

    /// Starts one more thread.
    fn start(self: &Arc<Self>, queue: &mut Queue) {
        let shared = Arc::clone(self);
        let name = format!("upload-{}", queue.threads.len());
        match thread::Builder::new().name(name).spawn(move || shared.run()) {
            Ok(thread) => queue.threads.push(thread),
            Err(error) => {
                log::warn!("an upload thread could not be started threads={} error={error}", queue.threads.len());
                queue.most_threads = queue.threads.len();
            }
        }
    }

    /// Uploads one file after the other until none will come any more.
    fn run(&self) {
        while let Some(made) = self.next() {
            let held = made.held();
            self.store(made);
            self.lock().held -= held;
            self.removed.notify_all();
        }
    }

    fn store(&self, made: MadeFile) {
        let owners = made.owners();
        let down = self.lock().down.clone();
        let stored = down.map_or_else(|| caught(|| store(&self.group, &self.tracker, made)), |error| Ok(Err(error)));
        let failed = stored.unwrap_or_else(|panic| Err(RequestError::panicked(&panic)));
        if let Err(error) = failed {
            for request in owners {
                self.tracker.fail(request, error.clone());
            }
            // A permanent error concerns this file alone; one that may pass means that nothing can be stored now.
            if error.may_pass {
                self.lock().down.get_or_insert(error);
            }
        }
    }

    fn next(&self) -> Option<MadeFile> {
        let is_idle = |queue: &mut Queue| queue.waiting.is_empty() && !queue.ended;
        let mut queue = self.lock();
        queue.idle += 1;
        let mut queue = self.added.wait_while(queue, is_idle).unwrap_or_else(PoisonError::into_inner);
        queue.idle -= 1;
        queue.waiting.pop_front()
    }

    /// No file will come any more.
    fn end(&self) {
        self.lock().ended = true;
        self.added.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::test_app::{BATCHES, TestApp, group_context, made_files, request_of, tracker};

    #[tokio::test]
    async fn all_files_are_stored_when_it_is_finished() {
        let test = TestApp::new();
        let ids: Vec<String> = (0..40).map(|n| n.to_string()).collect();
        let wanted: Vec<(&str, &[&str])> = ids.iter().map(|id| (id.as_str(), &BATCHES[..])).collect();
        let (_lease, ready, catalog) = test.ready(&wanted).await;
        let requests = ready.into_iter().map(|(_, ready)| ready).collect();
        let group = group_context(requests, test.app.store.clone());
        let (tracker, stored, _ended) = tracker(&group);
        let uploader = Uploader::new(&group, &tracker);
        for made in made_files(&test.app, &group, &catalog, &tracker).await {
            uploader.upload(made);
        }
        uploader.finish();
        assert_eq!((group.metrics.generated(), group.metrics.shared()), (2, 78));
        assert_eq!(stored.try_iter().filter_map(request_of).count(), 40);
    }
}
