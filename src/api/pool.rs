//! A pool of permits: a number in all, and a share of them for each owner, so that no client takes what the others need.
//!
//! Every bound on what runs or is held at one time is a pool: connections ([`super::server`]), calls, bodies, searches, large
//! answers, downloads ([`super::limits`]). A permit of the owner's share is acquired before one of all: a caller that waits for
//! its share holds nothing that the others need.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::clients::AddressGroup;

/// Shares that are kept before unused ones are dropped.
const IDLE_SHARES: usize = 1024;

/// Who has a share of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// An API key, by its name.
    Key(String),
    /// The addresses of one client.
    Address(AddressGroup),
    /// All clients together, where no keys are configured.
    Everyone,
}

/// Permits that are shared by owners.
#[derive(Debug)]
pub(super) struct Pool {
    all: Arc<Semaphore>,
    /// The permits of each share.
    share: usize,
    shares: Mutex<HashMap<Owner, Arc<Semaphore>>>,
}

/// Some permits of a pool; they return to it when this is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    /// `None`: acquired without an owner.
    own: Option<OwnedSemaphorePermit>,
    all: OwnedSemaphorePermit,
}

/// Why there is no permit now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The owner has its whole share.
    Share,
    /// All permits are taken.
    All,
}

impl Pool {
    /// `permits` in all, and at most `share` of them for each owner.
    pub(super) fn new(permits: usize, share: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(permits)), share, shares: Mutex::default() }
    }

    /// Without a bound for all owners together.
    pub(super) fn of_shares(share: usize) -> Self {
        Self::new(Semaphore::MAX_PERMITS, share)
    }

    /// One permit, if there is one now. `owner`: whose share it is taken from; `None`: it counts in no share.
    ///
    /// # Errors
    /// Which bound is reached.
    pub(super) fn try_acquire(&self, owner: Option<&Owner>) -> Result<Permit, Full> {
        let own = owner.map(|owner| self.share(owner).try_acquire_owned()).transpose().map_err(|_| Full::Share)?;
        let all = Arc::clone(&self.all).try_acquire_owned().map_err(|_| Full::All)?;
        Ok(Permit { own, all })
    }

    /// This number of permits, as soon as they are there; `None`: not within this time. `owner` as for
    /// [`Pool::try_acquire`].
    pub(super) async fn acquire(&self, owner: Option<&Owner>, permits: u32, within: Duration) -> Option<Permit> {
        let share = owner.map(|owner| self.share(owner));
        let acquiring = async {
            let own = match share {
                Some(share) => Some(share.acquire_many_owned(permits).await.ok()?),
                None => None,
            };
            Some(Permit { own, all: Arc::clone(&self.all).acquire_many_owned(permits).await.ok()? })
        };
        tokio::time::timeout(within, acquiring).await.ok()?
    }

    fn share(&self, owner: &Owner) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(owner) {
            return Arc::clone(share);
        }
        if shares.len() >= IDLE_SHARES {
            // Permits and those who wait for one hold their share.
            shares.retain(|_, share| Arc::strong_count(share) > 1);
        }
        Arc::clone(shares.entry(owner.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.share))))
    }
}

impl Permit {
    /// How many permits these are.
    pub(super) fn permits(&self) -> usize {
        self.all.num_permits()
    }

    /// Adds permits of the same pool and owner.
    pub(super) fn merge(&mut self, more: Self) {
        self.all.merge(more.all);
        if let (Some(own), Some(more)) = (&mut self.own, more.own) {
            own.merge(more);
        }
    }

    /// Returns this number of them, or all if there are fewer.
    pub(super) fn release(&mut self, permits: usize) {
        for part in self.own.iter_mut().chain([&mut self.all]) {
            drop(part.split(permits.min(part.num_permits())));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    const SHORT: Duration = Duration::from_secs(1);

    fn key(name: &str) -> Owner {
        Owner::Key(name.to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_leaves_the_rest_to_the_others() {
        let pool = Pool::new(4, 2);
        let (a, b) = (key("a"), key("b"));
        let first = pool.acquire(Some(&a), 2, SHORT).await.unwrap();
        assert_eq!(pool.try_acquire(Some(&a)).unwrap_err(), Full::Share);
        assert!(pool.acquire(Some(&a), 1, SHORT).await.is_none());
        let second = pool.acquire(Some(&b), 2, SHORT).await.unwrap();
        assert_eq!(pool.try_acquire(Some(&key("c"))).unwrap_err(), Full::All);
        assert_eq!(pool.try_acquire(None).unwrap_err(), Full::All);
        drop(first);
        let all: Vec<Permit> = (0..2).map(|_| pool.try_acquire(None).unwrap()).collect();
        assert!(pool.acquire(Some(&a), 1, SHORT).await.is_none());
        drop((second, all));
        assert!(pool.acquire(None, 4, SHORT).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_waits_gets_the_next_permit() {
        let pool = Arc::new(Pool::new(2, 1));
        let first = pool.try_acquire(Some(&key("a"))).unwrap();
        let other = Arc::clone(&pool);
        let waiting = tokio::spawn(async move { other.acquire(Some(&key("a")), 1, SHORT).await.is_some() });
        tokio::task::yield_now().await;
        drop(first);
        assert!(waiting.await.unwrap());
    }

    #[test]
    fn shares_without_permits_are_dropped() {
        let pool = Pool::new(10, 2);
        let address = |n: u32| Owner::Address(AddressGroup::of(IpAddr::from(n.to_be_bytes())));
        let held = [0, 1].map(|n| pool.try_acquire(Some(&address(n))).unwrap());
        for n in 2..20_000 {
            drop(pool.try_acquire(Some(&address(n))).unwrap());
        }
        let shares = pool.shares.lock().unwrap();
        assert!(shares.len() <= IDLE_SHARES && [0, 1].iter().all(|n| shares.contains_key(&address(*n))));
        drop((held, shares));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

        /// Compared with counting: a permit is refused exactly where a bound is reached, and the bound is named.
        #[test]
        fn bounds_hold(steps in prop::collection::vec((0..4_u8, any::<prop::sample::Index>()), 1..200)) {
            let pool = Pool::new(5, 2);
            let mut held: Vec<(u8, Permit)> = Vec::new();
            for (owner, at) in steps {
                if owner == 3 {
                    if !held.is_empty() {
                        held.swap_remove(at.index(held.len()));
                    }
                    continue;
                }
                let own = held.iter().filter(|(of, _)| *of == owner).count();
                let expected = if own == 2 { Err(Full::Share) } else if held.len() == 5 { Err(Full::All) } else { Ok(()) };
                let permit = pool.try_acquire(Some(&key(&owner.to_string())));
                prop_assert_eq!(permit.as_ref().map(drop).map_err(|full| *full), expected);
                held.extend(permit.ok().map(|permit| (owner, permit)));
            }
        }
    }
}
