//! What is held in memory for calls, and how many calls of one key are under way: bounded together, and for each key, so that
//! none takes what the others need.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::clients::Group;
use super::envelope::{Fault, Kind};

/// Calls of one key at a time.
const CALLS: usize = 128;
/// What bodies may take of memory together, as they came and as they were read, in KiB; and those of one key.
const BODIES: u32 = 96 << 10;
const OF_ONE: u32 = BODIES / 4;
/// How long a body waits for its share.
const TURN: Duration = Duration::from_secs(5);
/// Large answers that need no key (files, the page to try the API out) at a time, and to one address.
const DOWNLOADS: usize = 384;
const OF_ADDRESS: usize = 64;
/// Why a body is not read now.
const FULL: &str = "too many bodies are held";

/// All shares.
#[derive(Debug)]
pub(super) struct Shares {
    bodies: Arc<Semaphore>,
    keys: Mutex<HashMap<Option<String>, Share>>,
    downloads: Arc<Semaphore>,
    addresses: Mutex<HashMap<Group, Arc<Semaphore>>>,
}

/// What one key has.
#[derive(Clone, Debug)]
struct Share {
    calls: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
}

/// A place among the calls of its key; kept until its answer has left.
#[derive(Debug)]
pub(super) struct Turn {
    share: Share,
    bodies: Arc<Semaphore>,
    /// `None`: without keys there is nobody to be protected from another.
    _call: Option<OwnedSemaphorePermit>,
}

/// Memory that a body takes.
#[derive(Debug)]
pub(super) struct Held {
    all: OwnedSemaphorePermit,
    own: OwnedSemaphorePermit,
}

/// A place among the large answers.
#[derive(Debug)]
pub(super) struct Download {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            bodies: Arc::new(Semaphore::new(BODIES as usize)),
            keys: Mutex::default(),
            downloads: Arc::new(Semaphore::new(DOWNLOADS)),
            addresses: Mutex::default(),
        }
    }
}

impl Shares {
    /// A place among the calls of a key; `None`: no keys are configured.
    ///
    /// # Errors
    /// 429: the most that may be under way are.
    pub(super) fn turn(&self, key: Option<&str>) -> Result<Turn, Fault> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        // As many as there are keys in jobs.toml; those that were removed are not worth looking for.
        let share = keys.entry(key.map(str::to_owned)).or_insert_with(|| Share {
            calls: Arc::new(Semaphore::new(CALLS)),
            bodies: Arc::new(Semaphore::new(OF_ONE as usize)),
        });
        let share = share.clone();
        drop(keys);
        let call = if key.is_some() {
            let call = Arc::clone(&share.calls).try_acquire_owned();
            Some(call.map_err(|_| Fault::too_many(format!("{CALLS} calls of this key are under way"), 1))?)
        } else {
            None
        };
        Ok(Turn { share, bodies: Arc::clone(&self.bodies), _call: call })
    }

    /// A place among the large answers that need no key.
    ///
    /// # Errors
    /// 429: the address has its share; 503: all are taken.
    pub(super) fn download(&self, address: IpAddr) -> Result<Download, Fault> {
        let own = {
            let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            // There are never more of them than downloads.
            if addresses.len() > DOWNLOADS {
                addresses.retain(|_, places| places.available_permits() < OF_ADDRESS);
            }
            let places = addresses.entry(Group::of(address)).or_insert_with(|| Arc::new(Semaphore::new(OF_ADDRESS)));
            Arc::clone(places).try_acquire_owned()
        };
        let own =
            own.map_err(|_| Fault::too_many(format!("{OF_ADDRESS} downloads of this address are under way"), 5))?;
        let all = Arc::clone(&self.downloads).try_acquire_owned();
        let all = all.map_err(|_| Fault::new(Kind::Unavailable, "too many downloads are under way"))?;
        Ok(Download { _all: all, _own: own })
    }
}

impl Turn {
    /// Memory for a body; waits a while for it.
    ///
    /// # Errors
    /// 503: there was none.
    pub(super) async fn hold(&self, bytes: usize) -> Result<Held, Fault> {
        let units = units(bytes);
        let taking = async {
            // Its own share first: a call that waits for that holds nothing of the others'.
            let own = Arc::clone(&self.share.bodies).acquire_many_owned(units).await.ok()?;
            let all = Arc::clone(&self.bodies).acquire_many_owned(units).await.ok()?;
            Some(Held { all, own })
        };
        let taken = tokio::time::timeout(TURN, taking).await.ok().flatten();
        taken.ok_or_else(|| Fault::new(Kind::Unavailable, FULL))
    }

    /// Makes what is held `bytes`, more or less.
    ///
    /// # Errors
    /// 503: there was no more.
    pub(super) async fn resize(&self, mut held: Held, bytes: usize) -> Result<Held, Fault> {
        let (before, after) = (held.own.num_permits(), units(bytes) as usize);
        if after > before {
            let more = self.hold((after - before) << 10).await?;
            held.all.merge(more.all);
            held.own.merge(more.own);
        } else {
            drop(held.all.split(before - after));
            drop(held.own.split(before - after));
        }
        Ok(held)
    }
}

/// In KiB, at least one; what is more than a key's whole share takes that.
fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10)).map_or(OF_ONE, |units| units.clamp(1, OF_ONE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bodies_are_bounded_for_each_key_and_together() {
        let shares = Shares::default();
        let turn = |name: &str| shares.turn(Some(name)).unwrap();
        let (a, b) = (turn("a"), turn("b"));
        let whole = a.hold(usize::MAX).await.unwrap();
        assert_eq!(a.hold(1).await.unwrap_err().kind, Kind::Unavailable, "one key's share");
        assert!(b.hold(1).await.is_ok(), "another key has its own");
        let small = a.resize(whole, 10).await.unwrap();
        assert!(a.hold(1 << 20).await.is_ok());
        drop(small);
        let mut all = Vec::new();
        for name in ["a", "b", "c", "d"] {
            all.push(turn(name).hold(usize::MAX).await.unwrap());
        }
        assert!(turn("e").hold(1).await.is_err(), "all of it");
        all.pop();
        assert!(turn("e").hold(1).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_its_share_gets_it() {
        let shares = Arc::new(Shares::default());
        let turn = shares.turn(None).unwrap();
        let first = turn.hold(usize::MAX).await.unwrap();
        let other = shares.turn(None).unwrap();
        let waiting = tokio::spawn(async move { other.hold(5 << 20).await.is_ok() });
        tokio::task::yield_now().await;
        drop(first);
        assert!(waiting.await.unwrap());
    }

    #[test]
    fn calls_of_a_key_and_downloads_of_an_address_are_bounded() {
        let shares = Shares::default();
        let calls: Vec<Turn> = (0..CALLS).map(|_| shares.turn(Some("a")).unwrap()).collect();
        assert_eq!(shares.turn(Some("a")).unwrap_err().kind, Kind::TooMany);
        assert!(shares.turn(Some("b")).is_ok() && shares.turn(None).is_ok());
        drop(calls);
        assert!(shares.turn(Some("a")).is_ok());
        let address = |n: u8| IpAddr::from([192, 0, 2, n]);
        let mut downloads: Vec<Download> = (0..OF_ADDRESS).map(|_| shares.download(address(0)).unwrap()).collect();
        assert_eq!(shares.download(address(0)).unwrap_err().kind, Kind::TooMany);
        for n in 1..6 {
            downloads.extend((0..OF_ADDRESS).map(|_| shares.download(address(n)).unwrap()));
        }
        assert_eq!(shares.download(address(9)).unwrap_err().kind, Kind::Unavailable);
        downloads.pop();
        assert!(shares.download(address(9)).is_ok());
        drop(downloads);
        for n in 0..10_000_u32 {
            drop(shares.download(IpAddr::from(n.to_be_bytes())).unwrap());
        }
        assert!(shares.addresses.lock().unwrap().len() <= DOWNLOADS + 1);
    }
}
