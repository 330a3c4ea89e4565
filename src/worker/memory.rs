//! The memory for loaded data, shared by all scans of the process: each load takes a share and gives it back with its
//! data. First come, first served, so that a large load is not passed over for ever.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as Turns, Notify};

/// A load of which the size is unknown waits for this part of the whole, and takes all that is left.
const LEAST: u64 = 8;

/// Bytes that the process takes beside `[worker] memory`; sources may hold them.
const BESIDE: u64 = 128 << 20;
/// The part of the whole that sources hold at most.
const OF_SOURCES: u64 = 8;

/// Bytes that a source may hold while it reads: pages of Parquet files, mostly. They are part of the memory, but for
/// what they have beside it.
#[must_use]
pub const fn for_sources(memory: u64) -> u64 {
    let share = memory / OF_SOURCES;
    if share > BESIDE { share } else { BESIDE }
}

/// What is left of the memory for loaded data: without what sources may hold, and without the catalogue.
#[must_use]
pub const fn for_loads(memory: u64, catalog: u64) -> u64 {
    memory.saturating_sub(for_sources(memory) - BESIDE).saturating_sub(catalog)
}

/// What a catalogue may be.
#[must_use]
pub const fn for_catalog(memory: u64) -> u64 {
    let half = memory / 2;
    if half > BESIDE { half } else { BESIDE }
}

/// What there is, and what is taken of it.
#[derive(Debug, Default)]
pub struct Room {
    used: Mutex<u64>,
    turns: Turns<()>,
    given_back: Notify,
}

/// Bytes that a load may take; given back when dropped.
#[derive(Debug)]
pub struct Share {
    room: Arc<Room>,
    bytes: Mutex<u64>,
}

impl Room {
    /// All that is left of `total` bytes, for a load whose size will be known later: not before there is an eighth.
    pub async fn share_of_unknown(self: &Arc<Self>, total: u64) -> Share {
        self.share(total / LEAST, total, |left| left).await
    }

    /// `bytes` of the `total`; all of them where `bytes` is more.
    pub async fn share_of(self: &Arc<Self>, bytes: u64, total: u64) -> Share {
        self.share(bytes, total, |_| bytes.min(total)).await
    }

    /// Bytes that are taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        *self.used()
    }

    async fn share(self: &Arc<Self>, least: u64, total: u64, take: impl Fn(u64) -> u64) -> Share {
        let _turn = self.turns.lock().await;
        loop {
            let given_back = self.given_back.notified();
            {
                let mut used = self.used();
                let left = total.saturating_sub(*used);
                if left >= least || *used == 0 {
                    let bytes = take(left);
                    *used += bytes;
                    return Share { room: Arc::clone(self), bytes: Mutex::new(bytes) };
                }
            }
            given_back.await;
        }
    }

    fn used(&self) -> MutexGuard<'_, u64> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, bytes: u64) {
        *self.used() -= bytes;
        self.given_back.notify_waiters();
    }
}

impl Share {
    /// How much it is.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives back what is not needed.
    pub fn shrink_to(&self, bytes: u64) {
        let mut mine = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let less = mine.saturating_sub(bytes);
        *mine -= less;
        self.room.give_back(less);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.give_back(self.bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn shares_never_exceed_the_whole_and_come_in_turn() {
        let room = Arc::new(Room::default());
        let first = room.share_of_unknown(80).await;
        assert_eq!(first.bytes(), 80);
        let wait = Duration::from_secs(1);
        assert!(tokio::time::timeout(wait, room.share_of_unknown(80)).await.is_err(), "nothing is left");
        first.shrink_to(75);
        assert!(tokio::time::timeout(wait, room.share_of_unknown(80)).await.is_err(), "5 are less than an eighth");
        first.shrink_to(60);
        first.shrink_to(70);
        assert_eq!(first.bytes(), 60, "a share does not grow");
        let second = room.share_of_unknown(80).await;
        assert_eq!(second.bytes(), 20);
        // A large one waits for all of it, and a small one that comes later waits behind it.
        let large = tokio::spawn({
            let room = Arc::clone(&room);
            async move { room.share_of(1000, 80).await.bytes() }
        });
        tokio::task::yield_now().await;
        drop(second);
        assert!(tokio::time::timeout(wait, room.share_of(1, 80)).await.is_err());
        drop(first);
        assert_eq!(large.await.unwrap(), 80);
        assert_eq!(room.share_of(1, 80).await.bytes(), 1);
    }
}
