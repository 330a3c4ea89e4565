//! Places for what is large or slow: searches, answers that are made, and answers that are held until their clients have read
//! them. There are few, and of those that clients may keep for long no key has more than half.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::envelope::{Fault, Kind};

/// Searches at one time. They have places of their own: each may look at a whole table, and no other call waits for them.
const SEARCHES: usize = 4;
/// Lists and searches whose answers are made at one time; and status objects of requests with very many files.
const BUILDING: usize = 8;
/// Answers that are held, in parts of [`PART`] bytes.
const PARTS: usize = 1024;
/// Smaller answers are not counted.
const PART: usize = 64 << 10;
/// How long a call waits for a place.
const TURN: Duration = Duration::from_secs(10);

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    all: Share,
    building: Arc<Semaphore>,
    of_keys: Mutex<HashMap<String, Share>>,
}

#[derive(Clone, Debug)]
struct Share {
    searches: Arc<Semaphore>,
    answers: Arc<Semaphore>,
}

impl Share {
    /// One part of all places.
    fn of(part: usize) -> Self {
        let places = |all: usize| Arc::new(Semaphore::new(all / part));
        Self { searches: places(SEARCHES), answers: places(PARTS) }
    }
}

/// A place, free when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _own: Option<OwnedSemaphorePermit>,
    _all: OwnedSemaphorePermit,
}

impl Default for Places {
    fn default() -> Self {
        Self { all: Share::of(1), building: Arc::new(Semaphore::new(BUILDING)), of_keys: Mutex::default() }
    }
}

impl Places {
    /// A search's place. `key`: the name of the caller's key; `None` where no keys are configured.
    pub(super) async fn search(&self, key: Option<&str>) -> Result<Place, Fault> {
        self.place(key, |share| &share.searches, 1, "too many searches wait").await
    }

    /// A place for an answer while it is made.
    pub(super) async fn building(&self) -> Result<OwnedSemaphorePermit, Fault> {
        turn(&self.building).await.ok_or_else(|| busy("too many large answers are being made"))
    }

    /// A place for an answer of this many bytes until it has left; `None`: it is a small one.
    pub(super) async fn answer(&self, key: Option<&str>, bytes: usize) -> Result<Option<Place>, Fault> {
        // The largest is within what one key has.
        let parts = u32::try_from((bytes / PART).min(PARTS / 2)).unwrap_or(u32::MAX);
        if parts == 0 {
            return Ok(None);
        }
        self.place(key, |share| &share.answers, parts, "too many large answers are being read").await.map(Some)
    }

    async fn place(
        &self,
        key: Option<&str>,
        which: impl Fn(&Share) -> &Arc<Semaphore>,
        parts: u32,
        full: &str,
    ) -> Result<Place, Fault> {
        let own = key.map(|key| Arc::clone(which(&self.of(key))));
        let all = Arc::clone(which(&self.all));
        let taking = async {
            // Its own first: a call that waits for that holds nothing of the others'.
            let own = match own {
                Some(own) => Some(own.acquire_many_owned(parts).await.ok()?),
                None => None,
            };
            Some(Place { _own: own, _all: all.acquire_many_owned(parts).await.ok()? })
        };
        tokio::time::timeout(TURN, taking).await.ok().flatten().ok_or_else(|| busy(full))
    }

    /// The share of a key. There are as many as keys are configured.
    fn of(&self, key: &str) -> Share {
        let mut of_keys = self.of_keys.lock().unwrap_or_else(PoisonError::into_inner);
        of_keys.entry(key.to_owned()).or_insert_with(|| Share::of(2)).clone()
    }
}

/// A place among these, within [`TURN`].
pub(super) async fn turn(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    tokio::time::timeout(TURN, Arc::clone(places).acquire_owned()).await.ok()?.ok()
}

fn busy(why: &str) -> Fault {
    Fault::new(Kind::Unavailable, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_key_leaves_half_of_the_places_to_the_others() {
        let places = Places::default();
        let mut held = Vec::new();
        for _ in 0..SEARCHES / 2 {
            held.push(places.search(Some("a")).await.unwrap());
        }
        assert_eq!(places.search(Some("a")).await.unwrap_err().kind, Kind::Unavailable);
        held.push(places.search(Some("b")).await.unwrap());
        let large = places.answer(Some("a"), 32 << 20).await.unwrap();
        assert!(large.is_some() && places.answer(Some("a"), PART).await.is_err());
        assert!(places.answer(Some("a"), PART - 1).await.unwrap().is_none(), "small ones wait for nothing");
        let other = places.answer(Some("b"), usize::MAX).await.unwrap();
        drop(large);
        assert!(places.answer(Some("a"), 4 << 20).await.unwrap().is_some());
        drop((held, other));
        for _ in 0..SEARCHES {
            std::mem::forget(places.search(None).await.unwrap());
        }
    }
}
