//! Files on their way to an object store, beside the threads that make them. Each call there costs a round trip and next
//! to no processor time: two threads that made a thousand small files and waited for each of them would be idle.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::cpu::caught;
use super::desk::Desk;
use super::ending::Reason;
use super::generate::{Made, Workshop, place};

/// Calls to the store at a time.
const CARRIERS: usize = 32;
/// Bytes of files that are made and not yet stored. Whoever makes more waits; one file may be larger than all of it.
const HELD: u64 = 64 << 20;
/// Files that are made and not yet stored.
const WAITING: usize = 1_000;

/// Takes files that are made to the store.
pub(super) struct Carriers {
    load: Mutex<Load>,
    /// There is more to carry, or nothing more will come.
    more: Condvar,
    /// Something was carried.
    less: Condvar,
}

#[derive(Default)]
struct Load {
    waiting: VecDeque<Made>,
    /// Bytes of those that wait and of those under way.
    held: u64,
    /// Nothing more will come.
    ended: bool,
    /// The store failed, for as long as a call is tried again. What else waits fails at once: each would try for as long.
    down: Option<Reason>,
}

/// Runs `make` with carriers beside it; with none, if no thread can be started. Returns when all that was given to them is
/// placed or has failed.
pub(super) fn beside(workshop: &Workshop, desk: &Desk, make: impl FnOnce(Option<&Carriers>)) {
    let carriers = Carriers { load: Mutex::default(), more: Condvar::new(), less: Condvar::new() };
    thread::scope(|scope| {
        // Ends them whatever becomes of `make`: the scope waits for all of them.
        let _ending = Ending(&carriers);
        let started = (0..CARRIERS).take_while(|number| {
            let carrier = thread::Builder::new().name(format!("carrier-{number}"));
            let started = carrier.spawn_scoped(scope, || carriers.carry(workshop, desk));
            started.inspect_err(|error| log::warn!("a carrier could not be started error={error}")).is_ok()
        });
        make((started.count() > 0).then_some(&carriers));
    });
}

impl Carriers {
    /// Takes a file on its way, once there is room for it.
    pub(super) fn take(&self, made: Made) {
        let is_full = |load: &mut Load| {
            load.waiting.len() >= WAITING || (load.held > 0 && load.held.saturating_add(made.held()) > HELD)
        };
        let mut load = self.less.wait_while(self.lock(), is_full).unwrap_or_else(PoisonError::into_inner);
        load.held += made.held();
        load.waiting.push_back(made);
        drop(load);
        self.more.notify_one();
    }

    /// Carries one after the other until nothing more will come.
    fn carry(&self, workshop: &Workshop, desk: &Desk) {
        while let Some(made) = self.next() {
            let (held, owners) = (made.held(), made.owners());
            let down = self.lock().down.clone();
            let placed = down.map_or_else(|| caught(|| place(workshop, desk, made)), |reason| Ok(Err(reason)));
            let failed = placed.unwrap_or_else(|panic| Err(Reason::panicked(&panic)));
            if let Err(reason) = failed {
                for request in owners {
                    desk.fail(request, reason.clone());
                }
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
        let mut load = self.more.wait_while(self.lock(), nothing).unwrap_or_else(PoisonError::into_inner);
        load.waiting.pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Ending<'c>(&'c Carriers);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.more.notify_all();
    }
}
