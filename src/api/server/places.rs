//! The places for connections: how many there are, who has one, and who has to go when all are taken.
//!
//! A connection waits until the head of a request is whole, and again once its answer has left. When a new connection
//! finds no place, the one that has waited longest is closed for it; one with a request under way never is. Some places
//! are kept for health checks, so that these are answered even where every other place has a request under way.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::api::clients::Group;

/// Places for health checks alone, beside the others.
pub(super) const RESERVED: usize = 16;

/// Every place.
#[derive(Debug)]
pub(super) struct Places {
    /// For connections of all kinds.
    general: usize,
    /// The most of these for one address.
    per_address: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    open: HashMap<u64, Open>,
    /// Numbers connections, and the moments from which they wait.
    next: u64,
}

#[derive(Debug)]
struct Open {
    /// Whose share of the places it counts in; `None`: nobody's, as for proxies.
    group: Option<Group>,
    is_reserved: bool,
    /// Since when it waits, in the order of [`Table::next`]; `None`: a request is under way.
    waits_since: Option<u64>,
    /// Tells its task to end.
    close: oneshot::Sender<()>,
}

/// What a connection that was let in has.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) place: Place,
    /// Resolves when the connection has to go.
    pub(super) closed: oneshot::Receiver<()>,
    /// Whether another connection was closed for this one.
    pub(super) displaced: bool,
}

/// One connection's place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    id: u64,
    /// Where the connection comes from.
    pub(super) peer: IpAddr,
    /// Whether it may only ask for health.
    pub(super) is_reserved: bool,
    /// Where its answer is, see below.
    answer: AtomicU8,
    /// A part of the request's body has not been read.
    unread: AtomicBool,
}

/// No answer is under way.
const NONE: u8 = 0;
/// A request is being answered.
const MADE: u8 = 1;
/// All of the answer is in the connection's buffer; it has left with the next flush.
const BUFFERED: u8 = 2;

impl Places {
    pub(super) fn new(general: usize, per_address: usize) -> Arc<Self> {
        Arc::new(Self { general, per_address, table: Mutex::default() })
    }

    /// A place for a connection from there. `None`: all are taken by requests under way, the reserved ones too. `limited`:
    /// the address may have a share of the places only.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr, limited: bool) -> Option<Entered> {
        let group = limited.then(|| Group::of(peer));
        let mut table = self.table();
        let mut displaced = false;
        // An address that has its share gives up one of its own.
        let of_address = |open: &Open| !open.is_reserved && open.group.is_some() && open.group == group;
        let within = table.count(of_address) < self.per_address || {
            displaced = table.close_longest(of_address);
            displaced
        };
        let of_all = |open: &Open| !open.is_reserved;
        let general = within
            && (table.count(of_all) < self.general || {
                displaced = table.close_longest(of_all);
                displaced
            });
        let is_reserved = !general;
        if is_reserved {
            let reserved = |open: &Open| open.is_reserved;
            if table.count(reserved) >= RESERVED {
                displaced = table.close_longest(reserved);
                if !displaced {
                    return None;
                }
            }
        }
        let (close, closed) = oneshot::channel();
        let id = table.number();
        table.open.insert(id, Open { group, is_reserved, waits_since: Some(id), close });
        drop(table);
        let (answer, unread) = (AtomicU8::new(NONE), AtomicBool::new(false));
        let place = Place { places: Arc::clone(self), id, peer, is_reserved, answer, unread };
        Some(Entered { place, closed, displaced })
    }

    /// Closes the connection that has waited longest, whosever it is; whether there was one.
    pub(super) fn make_room(&self) -> bool {
        self.table().close_longest(|_| true)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn count(&self, is_meant: impl Fn(&Open) -> bool) -> usize {
        self.open.values().filter(|open| is_meant(open)).count()
    }

    fn close_longest(&mut self, is_meant: impl Fn(&Open) -> bool) -> bool {
        let waiting = self.open.iter().filter(|(_, open)| is_meant(open));
        let longest = waiting.filter_map(|(id, open)| Some((open.waits_since?, *id))).min();
        let Some(gone) = longest.and_then(|(_, id)| self.open.remove(&id)) else { return false };
        // It may have ended by itself just now.
        let _ = gone.close.send(());
        true
    }
}

impl Place {
    /// The head of a request is whole. `false`: the connection is being closed already.
    pub(super) fn request_came(&self) -> bool {
        let mut table = self.places.table();
        let Some(open) = table.open.get_mut(&self.id) else { return false };
        open.waits_since = None;
        drop(table);
        self.unread.store(false, Ordering::SeqCst);
        self.answer.store(MADE, Ordering::SeqCst);
        true
    }

    /// Whether an answer is being made or sent.
    pub(super) fn is_answering(&self) -> bool {
        self.answer.load(Ordering::SeqCst) != NONE
    }

    /// The request's body was given up before its end.
    pub(super) fn body_left_unread(&self) {
        self.unread.store(true, Ordering::SeqCst);
    }

    /// All of the answer has been handed to the connection.
    pub(super) fn answer_is_buffered(&self) {
        // A connection that breaks off drops its answer, too; it has no place to come back to then.
        let _ = self.answer.compare_exchange(MADE, BUFFERED, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// All that was buffered has left. `true`: with it a whole answer, and nothing of its request is unread.
    pub(super) fn flushed(&self) -> bool {
        let left = self.answer.compare_exchange(BUFFERED, NONE, Ordering::SeqCst, Ordering::SeqCst);
        if left.is_err() {
            return false;
        }
        self.waits();
        !self.unread.load(Ordering::SeqCst)
    }

    /// From now on the connection may be closed for another.
    pub(super) fn waits(&self) {
        let mut table = self.places.table();
        let since = table.number();
        if let Some(open) = table.open.get_mut(&self.id) {
            open.waits_since = Some(since);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.table().open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn is_closed(entered: &mut Entered) -> bool {
        entered.closed.try_recv().is_ok()
    }

    #[test]
    fn the_longest_waiting_makes_room_and_requests_never_do() {
        let places = Places::new(3, 100);
        let mut all: Vec<Entered> = (0..3).filter_map(|n| places.enter(address(n), true)).collect();
        assert!(all[0].place.request_came());
        let next = places.enter(address(9), true).unwrap();
        assert!(next.displaced && !next.place.is_reserved);
        assert_eq!([0, 1, 2].map(|n| is_closed(&mut all[n])), [false, true, false]);
        assert!(!all[1].place.request_came(), "it came too late");
        // Its answer left: it waits again, but not for as long as the others.
        all[0].place.answer_is_buffered();
        assert!(all[0].place.flushed());
        assert!(places.enter(address(9), true).is_some());
        assert!(is_closed(&mut all[2]) && !is_closed(&mut all[0]));
    }

    #[test]
    fn health_has_places_where_all_others_have_requests() {
        let places = Places::new(2, 100);
        let busy: Vec<Entered> = (0..2).filter_map(|n| places.enter(address(n), true)).collect();
        assert!(busy.iter().all(|one| one.place.request_came()));
        let mut reserved: Vec<Entered> = (0..RESERVED).filter_map(|_| places.enter(address(7), true)).collect();
        assert!(reserved.len() == RESERVED && reserved.iter().all(|one| one.place.is_reserved && !one.displaced));
        // Silent ones among them go, too.
        let more = places.enter(address(8), true).unwrap();
        assert!(more.place.is_reserved && more.displaced && is_closed(&mut reserved[0]));
        assert!(reserved.iter().skip(1).all(|one| one.place.request_came()) && more.place.request_came());
        assert!(places.enter(address(8), true).is_none());
        drop(busy);
        assert!(!places.enter(address(8), true).unwrap().place.is_reserved);
    }

    #[test]
    fn an_address_has_its_share_and_a_proxy_all() {
        let places = Places::new(10, 3);
        let mut quiet = places.enter(address(1), true).unwrap();
        let mut flood: Vec<Entered> = (0..4).filter_map(|_| places.enter(address(2), true)).collect();
        assert!(is_closed(&mut flood[0]) && !is_closed(&mut quiet), "it gives up one of its own");
        assert!(flood.iter().skip(1).all(|one| one.place.request_came()));
        assert!(places.enter(address(2), true).unwrap().place.is_reserved, "all of its share are requests");
        let proxied: Vec<Entered> = (0..6).filter_map(|_| places.enter(address(3), false)).collect();
        assert!(proxied.iter().all(|one| !one.place.is_reserved && !one.displaced));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

        /// Whatever comes and goes: no more places than there are, no request closed, no new one refused while one waits.
        #[test]
        fn places_hold(steps in prop::collection::vec((0..4_u8, 0..6_u8, 0..20_usize), 1..200)) {
            let places = Places::new(6, 4);
            let mut open: Vec<(Entered, bool)> = Vec::new();
            for (what, from, at) in steps {
                match what {
                    0 | 1 => {
                        // All places may be taken by requests, the reserved ones by those that are reserved.
                        if let Some(entered) = places.enter(address(from), true) {
                            open.push((entered, false));
                        } else {
                            let reserved = open.iter().filter(|(one, busy)| *busy && one.place.is_reserved).count();
                            prop_assert_eq!(reserved, RESERVED);
                        }
                        open.retain_mut(|(one, busy)| {
                            let closed = is_closed(one);
                            assert!(!(closed && *busy), "a request under way was closed");
                            !closed
                        });
                    }
                    2 => if let Some((one, busy)) = open.get_mut(at) {
                        if *busy {
                            one.place.answer_is_buffered();
                            one.place.flushed();
                            *busy = false;
                        } else {
                            prop_assert!(one.place.request_came());
                            *busy = true;
                        }
                    },
                    _ => if at < open.len() {
                        open.swap_remove(at);
                    },
                }
                let general = open.iter().filter(|(one, _)| !one.place.is_reserved).count();
                prop_assert!(general <= 6 && open.len() <= 6 + RESERVED);
                for from in 0..6 {
                    let of = open.iter().filter(|(one, _)| !one.place.is_reserved && one.place.peer == address(from)).count();
                    prop_assert!(of <= 4);
                }
                prop_assert_eq!(places.table().open.len(), open.len());
            }
        }
    }
}
