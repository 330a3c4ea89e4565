//! Files on their way to an object store, beside the threads that make them. Each call there costs a round trip and next
//! to no processor time: two threads that made a thousand small files and waited for each of them would be idle. The way
//! is a group's, not a part's: while the last files of one part are carried, the next one is loaded.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::cpu::caught;
use super::desk::Desk;
use super::ending::Reason;
use super::generate::{Made, Workshop, place};

/// Calls to the store at a time: at 100 ms a call 640 files a second.
const CARRIERS: usize = 64;
/// Bytes of files that are made and not yet stored. Whoever makes more waits; one file may be larger than all of it.
const HELD: u64 = 64 << 20;
/// Files that are made and not yet stored.
const WAITING: usize = 1_000;

/// Those who carry the files of a group. Dropped, they end with what was given to them.
pub(super) struct Carriers(Arc<Way>);

/// What is on the way to the store.
pub(super) struct Way {
    workshop: Arc<Workshop>,
    desk: Arc<Desk>,
    load: Mutex<Load>,
    /// There is more to carry, or nothing more will come.
    more: Condvar,
    /// Something was carried.
    less: Condvar,
}

struct Load {
    waiting: VecDeque<Made>,
    /// Bytes of those that wait and of those under way.
    held: u64,
    /// Nothing more will come.
    ended: bool,
    /// The store failed, for as long as a call is tried again. What else waits fails at once: each would try for as long.
    down: Option<Reason>,
    /// Started when they are needed: most requests have few files.
    carriers: Vec<JoinHandle<()>>,
    /// How many there may be.
    most: usize,
    /// How many of them have nothing to carry.
    idle: usize,
}

impl Carriers {
    pub(super) fn new(workshop: &Arc<Workshop>, desk: &Arc<Desk>) -> Self {
        let load = Load {
            waiting: VecDeque::new(),
            held: 0,
            ended: false,
            down: None,
            carriers: Vec::new(),
            most: CARRIERS,
            idle: 0,
        };
        Self(Arc::new(Way {
            workshop: Arc::clone(workshop),
            desk: Arc::clone(desk),
            load: Mutex::new(load),
            more: Condvar::new(),
            less: Condvar::new(),
        }))
    }

    /// For whoever makes files.
    pub(super) fn way(&self) -> Arc<Way> {
        Arc::clone(&self.0)
    }

    /// Returns when all that was given to them is placed or has failed. Blocks.
    pub(super) fn finish(self) {
        self.0.end();
        let carriers = std::mem::take(&mut self.0.lock().carriers);
        for carrier in carriers {
            // What panicked in it was told to those who wanted the file.
            drop(carrier.join());
        }
    }
}

impl Drop for Carriers {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Way {
    /// Takes a file on its way, once there is room for it. It comes back if nobody can be had to carry it.
    pub(super) fn take(self: &Arc<Self>, made: Made) -> Option<Made> {
        let is_full = |load: &mut Load| {
            load.waiting.len() >= WAITING || (load.held > 0 && load.held.saturating_add(made.held()) > HELD)
        };
        let mut load = self.less.wait_while(self.lock(), is_full).unwrap_or_else(PoisonError::into_inner);
        if load.idle <= load.waiting.len() && load.carriers.len() < load.most {
            self.start(&mut load);
        }
        if load.carriers.is_empty() {
            return Some(made);
        }
        load.held += made.held();
        load.waiting.push_back(made);
        drop(load);
        self.more.notify_one();
        None
    }

    /// Starts one more carrier.
    fn start(self: &Arc<Self>, load: &mut Load) {
        let way = Arc::clone(self);
        let name = format!("carrier-{}", load.carriers.len());
        match thread::Builder::new().name(name).spawn(move || way.carry()) {
            Ok(carrier) => load.carriers.push(carrier),
            Err(error) => {
                log::warn!("a carrier could not be started carriers={} error={error}", load.carriers.len());
                load.most = load.carriers.len();
            }
        }
    }

    /// Carries one after the other until nothing more will come.
    fn carry(&self) {
        while let Some(made) = self.next() {
            let (held, owners) = (made.held(), made.owners());
            let down = self.lock().down.clone();
            let placed =
                down.map_or_else(|| caught(|| place(&self.workshop, &self.desk, made)), |reason| Ok(Err(reason)));
            let failed = placed.unwrap_or_else(|panic| Err(Reason::panicked(&panic)));
            if let Err(reason) = failed {
                for request in owners {
                    self.desk.fail(request, reason.clone());
                }
                // What one key failed with says nothing of other files: this is told where nothing can be stored.
                if reason.may_pass {
                    self.lock().down.get_or_insert(reason);
                }
            }
            self.lock().held -= held;
            self.less.notify_all();
        }
    }

    fn next(&self) -> Option<Made> {
        let nothing = |load: &mut Load| load.waiting.is_empty() && !load.ended;
        let mut load = self.lock();
        load.idle += 1;
        let mut load = self.more.wait_while(load, nothing).unwrap_or_else(PoisonError::into_inner);
        load.idle -= 1;
        load.waiting.pop_front()
    }

    /// Nothing more will come.
    fn end(&self) {
        self.lock().ended = true;
        self.more.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
