//! How much of each thing the API does or holds at one time, in all and for one client: [`Pool`]s, with the answer that a
//! client gets where one is exhausted. Rates over time are elsewhere ([`super::rate`], [`super::clients`]).

use std::net::IpAddr;
use std::time::Duration;

use super::clients::AddressGroup;
use super::envelope::{ApiError, ErrorKind};
use super::pool::{Full, Owner, Permit, Pool};

/// Calls of one key.
const CALLS: usize = 128;
/// Database calls; each needs a thread while it lasts.
const DATABASE_CALLS: usize = 32;
/// Memory of bodies, as they came and as they were parsed, in KiB; and that of one key's.
const BODIES: u32 = 96 << 10;
const BODIES_OF_KEY: u32 = BODIES / 4;
/// Searches. Each may look at a whole table, and no other call waits for them.
const SEARCHES: usize = 4;
/// Lists and searches whose answers are being made; and status objects of requests with thousands of files.
const LARGE_ANSWERS: usize = 8;
/// Bytes of large answers that are held until their clients have read them, in units of [`UNIT`]; half of them for one key.
const HELD_UNITS: usize = 1024;
const UNIT: usize = 64 << 10;
/// Large answers that need no key (files, the page to try the API out), and those to one address.
const DOWNLOADS: usize = 384;
const DOWNLOADS_OF_ADDRESS: usize = 64;
/// Marks of encryption keys that are made: the other processors have other work. One of each key.
const MARKS: usize = 2;

/// How long a call waits for its permit.
const WAIT: Duration = Duration::from_secs(10);
/// How long a body waits for memory.
const BODY_WAIT: Duration = Duration::from_secs(5);

/// Every pool but that of connections.
#[derive(Debug)]
pub(super) struct Limits {
    calls: Pool,
    database_calls: Pool,
    bodies: Pool,
    searches: Pool,
    large_answers: Pool,
    held_answers: Pool,
    downloads: Pool,
    marks: Pool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: Pool::of_shares(CALLS),
            database_calls: Pool::new(DATABASE_CALLS, DATABASE_CALLS),
            bodies: Pool::new(BODIES as usize, BODIES_OF_KEY as usize),
            searches: Pool::new(SEARCHES, SEARCHES / 2),
            large_answers: Pool::new(LARGE_ANSWERS, LARGE_ANSWERS),
            held_answers: Pool::new(HELD_UNITS, HELD_UNITS / 2),
            downloads: Pool::new(DOWNLOADS, DOWNLOADS_OF_ADDRESS),
            marks: Pool::new(MARKS, 1),
        }
    }
}

/// `key`, here and below: the name of the caller's key; `None` where no keys are configured, and clients have no shares.
impl Limits {
    /// A permit for a call, until its answer has been sent.
    ///
    /// # Errors
    /// 429: as many calls of the key are under way as may be.
    pub(super) fn call(&self, key: Option<&str>) -> Result<Option<Permit>, ApiError> {
        let Some(owner) = owner(key) else { return Ok(None) };
        let permit = self.calls.try_acquire(Some(&owner));
        permit.map(Some).map_err(|_| ApiError::too_many(format!("{CALLS} calls of this key are under way"), 1))
    }

    /// A permit for a call to the database.
    ///
    /// # Errors
    /// 503: none was free in time.
    pub(super) async fn database_call(&self) -> Result<Permit, ApiError> {
        self.database_calls.acquire(None, 1, WAIT).await.ok_or_else(|| busy("too many calls wait for the database"))
    }

    /// A permit for a search.
    ///
    /// # Errors
    /// 503: none was free in time.
    pub(super) async fn search(&self, key: Option<&str>) -> Result<Permit, ApiError> {
        let permit = self.searches.acquire(owner(key).as_ref(), 1, WAIT).await;
        permit.ok_or_else(|| busy("too many searches wait"))
    }

    /// A permit for a large answer, while it is made.
    ///
    /// # Errors
    /// 503: none was free in time.
    pub(super) async fn large_answer(&self) -> Result<Permit, ApiError> {
        let permit = self.large_answers.acquire(None, 1, WAIT).await;
        permit.ok_or_else(|| busy("too many large answers are being made"))
    }

    /// A permit for an answer of this size, until it has been sent; `None`: it is a small one.
    ///
    /// # Errors
    /// 503: none was free in time.
    pub(super) async fn held_answer(&self, key: Option<&str>, bytes: usize) -> Result<Option<Permit>, ApiError> {
        // The largest answer is counted as one key's share.
        let units = u32::try_from((bytes / UNIT).min(HELD_UNITS / 2)).unwrap_or(u32::MAX);
        if units == 0 {
            return Ok(None);
        }
        let permit = self.held_answers.acquire(owner(key).as_ref(), units, WAIT).await;
        permit.map(Some).ok_or_else(|| busy("too many large answers are being read"))
    }

    /// A permit for a large answer that needs no key, until it has been sent.
    ///
    /// # Errors
    /// 429: the address has its share; 503: all are taken.
    pub(super) fn download(&self, address: IpAddr) -> Result<Permit, ApiError> {
        let owner = Owner::Address(AddressGroup::of(address));
        self.downloads.try_acquire(Some(&owner)).map_err(|full| match full {
            Full::Share => {
                ApiError::too_many(format!("{DOWNLOADS_OF_ADDRESS} downloads of this address are under way"), 5)
            }
            Full::All => busy("too many downloads are under way"),
        })
    }

    /// A permit to make a mark: the key's own marks wait for each other first. Waits until `within` is over.
    ///
    /// # Errors
    /// 503: none was free in time.
    pub(super) async fn mark(&self, key: Option<&str>, within: Duration) -> Result<Permit, ApiError> {
        let permit = self.marks.acquire(owner(key).as_ref(), 1, within).await;
        permit.ok_or_else(|| busy("too many encryption keys wait to be marked"))
    }

    /// The memory of bodies, for a caller.
    pub(super) fn body_memory(&self, key: Option<&str>) -> BodyMemory<'_> {
        BodyMemory { pool: &self.bodies, owner: owner(key).unwrap_or(Owner::Everyone) }
    }
}

/// The memory of bodies, for one caller. Callers without keys have one share together.
#[derive(Debug)]
pub(super) struct BodyMemory<'l> {
    pool: &'l Pool,
    owner: Owner,
}

impl BodyMemory<'_> {
    /// Memory for a body; waits a while for it.
    ///
    /// # Errors
    /// 503: there was not enough in time.
    pub(super) async fn acquire(&self, bytes: usize) -> Result<Permit, ApiError> {
        let permit = self.pool.acquire(Some(&self.owner), kibibytes(bytes), BODY_WAIT).await;
        permit.ok_or_else(|| busy("too many bodies are held"))
    }

    /// Makes what is held `bytes`, rounded up.
    ///
    /// # Errors
    /// 503: there was not enough in time.
    pub(super) async fn resize(&self, mut held: Permit, bytes: usize) -> Result<Permit, ApiError> {
        let (before, after) = (held.permits(), kibibytes(bytes) as usize);
        if after > before {
            held.merge(self.acquire((after - before) << 10).await?);
        } else {
            held.release(before - after);
        }
        Ok(held)
    }
}

/// In KiB, at least one; what is more than one key's share counts as that share.
fn kibibytes(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10)).map_or(BODIES_OF_KEY, |units| units.clamp(1, BODIES_OF_KEY))
}

fn owner(key: Option<&str>) -> Option<Owner> {
    key.map(|key| Owner::Key(key.to_owned()))
}

fn busy(reason: &str) -> ApiError {
    ApiError::new(ErrorKind::Unavailable, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn searches_and_large_answers_of_one_key_leave_half_to_the_others() {
        let limits = Limits::default();
        let mut held = Vec::new();
        for _ in 0..SEARCHES / 2 {
            held.push(limits.search(Some("a")).await.unwrap());
        }
        assert_eq!(limits.search(Some("a")).await.unwrap_err().kind, ErrorKind::Unavailable);
        held.push(limits.search(Some("b")).await.unwrap());
        let large = limits.held_answer(Some("a"), 32 << 20).await.unwrap();
        assert!(large.is_some() && limits.held_answer(Some("a"), UNIT).await.is_err());
        assert!(limits.held_answer(Some("a"), UNIT - 1).await.unwrap().is_none(), "small ones wait for nothing");
        let other = limits.held_answer(Some("b"), usize::MAX).await.unwrap();
        drop(large);
        assert!(limits.held_answer(Some("a"), 4 << 20).await.unwrap().is_some());
        drop((held, other));
        for _ in 0..SEARCHES {
            std::mem::forget(limits.search(None).await.unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_are_bounded_for_each_key_and_together() {
        let limits = Limits::default();
        let (a, b) = (limits.body_memory(Some("a")), limits.body_memory(Some("b")));
        let whole = a.acquire(usize::MAX).await.unwrap();
        assert_eq!(a.acquire(1).await.unwrap_err().kind, ErrorKind::Unavailable, "one key's share");
        assert!(b.acquire(1).await.is_ok(), "another key has its own");
        let small = a.resize(whole, 10).await.unwrap();
        assert!(a.acquire(1 << 20).await.is_ok());
        drop(small);
        let mut all = Vec::new();
        for name in ["a", "b", "c", "d"] {
            all.push(limits.body_memory(Some(name)).acquire(usize::MAX).await.unwrap());
        }
        assert!(limits.body_memory(Some("e")).acquire(1).await.is_err(), "all of it");
        all.pop();
        assert!(limits.body_memory(Some("e")).acquire(1).await.is_ok());
        let without_keys = limits.body_memory(None).acquire(usize::MAX).await.unwrap();
        assert!(limits.body_memory(None).acquire(1).await.is_err(), "one share for all of them");
        drop(without_keys);
    }

    #[test]
    fn calls_of_a_key_and_downloads_of_an_address_are_bounded() {
        let limits = Limits::default();
        let calls: Vec<_> = (0..CALLS).map(|_| limits.call(Some("a")).unwrap()).collect();
        assert_eq!(limits.call(Some("a")).unwrap_err().kind, ErrorKind::TooMany);
        assert!(limits.call(Some("b")).is_ok() && limits.call(None).is_ok());
        drop(calls);
        assert!(limits.call(Some("a")).is_ok());
        let address = |n: u8| IpAddr::from([192, 0, 2, n]);
        let mut downloads: Vec<Permit> =
            (0..DOWNLOADS_OF_ADDRESS).map(|_| limits.download(address(0)).unwrap()).collect();
        assert_eq!(limits.download(address(0)).unwrap_err().kind, ErrorKind::TooMany);
        for n in 1..6 {
            downloads.extend((0..DOWNLOADS_OF_ADDRESS).map(|_| limits.download(address(n)).unwrap()));
        }
        assert_eq!(limits.download(address(9)).unwrap_err().kind, ErrorKind::Unavailable);
        downloads.pop();
        assert!(limits.download(address(9)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_mark_of_each_key_is_made_at_a_time() {
        let limits = Limits::default();
        let first = limits.mark(Some("a"), WAIT).await.unwrap();
        assert_eq!(limits.mark(Some("a"), WAIT).await.unwrap_err().kind, ErrorKind::Unavailable);
        let second = limits.mark(Some("b"), WAIT).await.unwrap();
        assert!(limits.mark(Some("c"), WAIT).await.is_err(), "two in all");
        drop((first, second));
        let all = (limits.mark(None, WAIT).await.unwrap(), limits.mark(None, WAIT).await.unwrap());
        assert!(limits.mark(None, WAIT).await.is_err());
        drop(all);
    }
}
