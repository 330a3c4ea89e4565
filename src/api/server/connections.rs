//! The pool of connections: how many there are, and which is closed when a new one finds no place.
//!
//! A connection is idle until the head of a request is whole, and again once its answer has left. When a new connection
//! finds no permit, the one that has been idle longest is closed for it; one with a request under way never is. Some permits
//! are reserved for health checks, so that these are answered even where every other connection has a request under way.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::api::clients::AddressGroup;
use crate::api::pool::{Full, Owner, Permit, Pool};

/// Permits for health checks alone, beside the general ones.
pub(super) const RESERVED: usize = 16;

/// Every connection.
#[derive(Debug)]
pub(super) struct Connections {
    /// For requests of all kinds; each address has a share.
    general: Pool,
    /// For health checks.
    reserved: Pool,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    open: HashMap<u64, Open>,
    /// Numbers connections, and the moments from which they are idle.
    next: u64,
}

#[derive(Debug)]
struct Open {
    /// Whose share of the general permits it is part of; `None`: it counts in no share, as for proxies.
    owner: Option<Owner>,
    is_reserved: bool,
    /// Since when it is idle, in the order of [`Table::next`]; `None`: a request is under way.
    idle_since: Option<u64>,
    /// Tells its task to end.
    close: oneshot::Sender<()>,
    _permit: Permit,
}

/// What a connection that was admitted has.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) connection: Connection,
    /// Resolves when the connection has to be closed.
    pub(super) closed: oneshot::Receiver<()>,
    /// Whether another connection was closed for this one.
    pub(super) displaced: bool,
}

/// One connection; its permit returns to the pool when this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    all: Arc<Connections>,
    id: u64,
    /// Where the connection comes from.
    pub(super) peer: IpAddr,
    /// Whether it may only ask for health.
    pub(super) is_reserved: bool,
    /// How far its answer is: [`NONE`], [`BEING_MADE`] or [`BUFFERED`].
    answer: AtomicU8,
    /// A part of the request's body has not been read.
    unread: AtomicBool,
}

/// No answer is under way.
const NONE: u8 = 0;
/// A request is being answered.
const BEING_MADE: u8 = 1;
/// All of the answer is in the connection's buffer; it has left with the next flush.
const BUFFERED: u8 = 2;

impl Connections {
    /// `general` permits, of which one address has at most `per_address`, and [`RESERVED`] ones.
    pub(super) fn new(general: usize, per_address: usize) -> Arc<Self> {
        let (general, reserved) = (Pool::new(general, per_address), Pool::new(RESERVED, RESERVED));
        Arc::new(Self { general, reserved, table: Mutex::default() })
    }

    /// Admits a connection from there. `None`: all permits are taken by requests under way, the reserved ones too.
    /// `limited`: the address may have no more than its share.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr, limited: bool) -> Option<Admitted> {
        let owner = limited.then(|| Owner::Address(AddressGroup::of(peer)));
        let mut table = self.table();
        let general = self.general_permit(&mut table, owner.as_ref());
        let is_reserved = general.is_none();
        let (permit, displaced) = general.or_else(|| self.reserved_permit(&mut table))?;
        let (close, closed) = oneshot::channel();
        let id = table.number();
        table.open.insert(id, Open { owner, is_reserved, idle_since: Some(id), close, _permit: permit });
        drop(table);
        let (answer, unread) = (AtomicU8::new(NONE), AtomicBool::new(false));
        let connection = Connection { all: Arc::clone(self), id, peer, is_reserved, answer, unread };
        Some(Admitted { connection, closed, displaced })
    }

    /// A general permit, and whether another connection was closed for it.
    fn general_permit(&self, table: &mut Table, owner: Option<&Owner>) -> Option<(Permit, bool)> {
        let full = match self.general.try_acquire(owner) {
            Ok(permit) => return Some((permit, false)),
            Err(full) => full,
        };
        // An address that has its share gives up one of its own.
        let gives_up = |open: &Open| !open.is_reserved && (full == Full::All || open.owner.as_ref() == owner);
        let displaced = table.close_longest_idle(gives_up);
        displaced.then(|| self.general.try_acquire(owner).ok()).flatten().map(|permit| (permit, true))
    }

    /// The same for a reserved one.
    fn reserved_permit(&self, table: &mut Table) -> Option<(Permit, bool)> {
        if let Ok(permit) = self.reserved.try_acquire(None) {
            return Some((permit, false));
        }
        let displaced = table.close_longest_idle(|open| open.is_reserved);
        displaced.then(|| self.reserved.try_acquire(None).ok()).flatten().map(|permit| (permit, true))
    }

    /// Closes the connection that has been idle longest, of any address. `false`: none is idle.
    pub(super) fn make_room(&self) -> bool {
        self.table().close_longest_idle(|_| true)
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

    /// Closes one of these connections, whose permit is free then. `false`: none of them is idle.
    fn close_longest_idle(&mut self, is_candidate: impl Fn(&Open) -> bool) -> bool {
        let candidates = self.open.iter().filter(|(_, open)| is_candidate(open));
        let longest = candidates.filter_map(|(id, open)| Some((open.idle_since?, *id))).min();
        let Some(closed) = longest.and_then(|(_, id)| self.open.remove(&id)) else { return false };
        // It may have ended by itself just now.
        let _ = closed.close.send(());
        true
    }
}

impl Connection {
    /// The head of a request is whole. `false`: the connection is being closed already.
    pub(super) fn request_came(&self) -> bool {
        let mut table = self.all.table();
        let Some(open) = table.open.get_mut(&self.id) else { return false };
        open.idle_since = None;
        drop(table);
        self.unread.store(false, Ordering::SeqCst);
        self.answer.store(BEING_MADE, Ordering::SeqCst);
        true
    }

    /// Whether an answer is being made or sent.
    pub(super) fn is_answering(&self) -> bool {
        self.answer.load(Ordering::SeqCst) != NONE
    }

    /// The request's body was dropped before its end.
    pub(super) fn body_left_unread(&self) {
        self.unread.store(true, Ordering::SeqCst);
    }

    /// All of the answer has been handed to the connection.
    pub(super) fn answer_is_buffered(&self) {
        // A connection that breaks off drops its answer, too; it is not idle again then.
        let _ = self.answer.compare_exchange(BEING_MADE, BUFFERED, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// All that was buffered has left. `true`: with it a whole answer, and nothing of its request is unread.
    pub(super) fn flushed(&self) -> bool {
        let left = self.answer.compare_exchange(BUFFERED, NONE, Ordering::SeqCst, Ordering::SeqCst);
        if left.is_err() {
            return false;
        }
        self.becomes_idle();
        !self.unread.load(Ordering::SeqCst)
    }

    /// From now on the connection may be closed for another.
    pub(super) fn becomes_idle(&self) {
        let mut table = self.all.table();
        let since = table.number();
        if let Some(open) = table.open.get_mut(&self.id) {
            open.idle_since = Some(since);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.all.table().open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn is_closed(admitted: &mut Admitted) -> bool {
        admitted.closed.try_recv().is_ok()
    }

    #[test]
    fn the_longest_idle_makes_room_and_requests_never_do() {
        let connections = Connections::new(3, 100);
        let mut all: Vec<Admitted> = (0..3).filter_map(|n| connections.admit(address(n), true)).collect();
        assert!(all[0].connection.request_came());
        let next = connections.admit(address(9), true).unwrap();
        assert!(next.displaced && !next.connection.is_reserved);
        assert_eq!([0, 1, 2].map(|n| is_closed(&mut all[n])), [false, true, false]);
        assert!(!all[1].connection.request_came(), "it came too late");
        // Its answer left: it is idle again, but not for as long as the others.
        all[0].connection.answer_is_buffered();
        assert!(all[0].connection.flushed());
        assert!(connections.admit(address(9), true).is_some());
        assert!(is_closed(&mut all[2]) && !is_closed(&mut all[0]));
    }

    #[test]
    fn health_has_permits_where_all_others_have_requests() {
        let connections = Connections::new(2, 100);
        let busy: Vec<Admitted> = (0..2).filter_map(|n| connections.admit(address(n), true)).collect();
        assert!(busy.iter().all(|one| one.connection.request_came()));
        let mut reserved: Vec<Admitted> = (0..RESERVED).filter_map(|_| connections.admit(address(7), true)).collect();
        assert!(reserved.len() == RESERVED && reserved.iter().all(|one| one.connection.is_reserved && !one.displaced));
        // Silent ones among them go, too.
        let more = connections.admit(address(8), true).unwrap();
        assert!(more.connection.is_reserved && more.displaced && is_closed(&mut reserved[0]));
        assert!(reserved.iter().skip(1).all(|one| one.connection.request_came()) && more.connection.request_came());
        assert!(connections.admit(address(8), true).is_none());
        drop(busy);
        assert!(!connections.admit(address(8), true).unwrap().connection.is_reserved);
    }

    #[test]
    fn an_address_has_its_share_and_a_proxy_all() {
        let connections = Connections::new(10, 3);
        let mut quiet = connections.admit(address(1), true).unwrap();
        let mut flood: Vec<Admitted> = (0..4).filter_map(|_| connections.admit(address(2), true)).collect();
        assert!(is_closed(&mut flood[0]) && !is_closed(&mut quiet), "it gives up one of its own");
        assert!(flood.iter().skip(1).all(|one| one.connection.request_came()));
        assert!(connections.admit(address(2), true).unwrap().connection.is_reserved, "all of its share are requests");
        let proxied: Vec<Admitted> = (0..6).filter_map(|_| connections.admit(address(3), false)).collect();
        assert!(proxied.iter().all(|one| !one.connection.is_reserved && !one.displaced));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

        /// Whatever comes and goes: no more connections than permits, no request closed, no new one refused while one is idle.
        #[test]
        fn bounds_hold(steps in prop::collection::vec((0..4_u8, 0..6_u8, 0..20_usize), 1..200)) {
            let connections = Connections::new(6, 4);
            let mut open: Vec<(Admitted, bool)> = Vec::new();
            for (what, from, at) in steps {
                match what {
                    0 | 1 => {
                        // Every permit may be a request's, the reserved ones too.
                        if let Some(admitted) = connections.admit(address(from), true) {
                            open.push((admitted, false));
                        } else {
                            let reserved = open.iter().filter(|(one, busy)| *busy && one.connection.is_reserved).count();
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
                            one.connection.answer_is_buffered();
                            one.connection.flushed();
                            *busy = false;
                        } else {
                            prop_assert!(one.connection.request_came());
                            *busy = true;
                        }
                    },
                    _ => if at < open.len() {
                        open.swap_remove(at);
                    },
                }
                let general = open.iter().filter(|(one, _)| !one.connection.is_reserved).count();
                prop_assert!(general <= 6 && open.len() <= 6 + RESERVED);
                for from in 0..6 {
                    let of = open.iter().filter(|(one, _)| !one.connection.is_reserved && one.connection.peer == address(from)).count();
                    prop_assert!(of <= 4);
                }
                prop_assert_eq!(connections.table().open.len(), open.len());
            }
        }
    }
}
