//! Bytes that all readers of a source hold at a time: pages of Parquet files, lines that are long, windows of zstd.
//!
//! No reader waits for bytes while it holds some: one that does not get them releases everything and begins again when it
//! has the turn. One reader at a time has the turn, and may wait for what the others release.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What there is, and how much of it is held.
#[derive(Debug)]
pub(super) struct Allowance {
    most: usize,
    held: Mutex<usize>,
    released: Condvar,
    turn: Mutex<()>,
}

/// Bytes that are held; released when dropped.
#[derive(Debug)]
pub(super) struct Holding {
    of: Arc<Allowance>,
    bytes: usize,
}

/// The right to wait. Others get it when it is dropped.
pub(super) type Turn<'a> = MutexGuard<'a, ()>;

/// Why somebody does not get bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Others hold them.
    Busy,
    /// They are more than there are, even if all others release theirs.
    TooMuch,
}

impl Allowance {
    /// Of this number of bytes.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, held: Mutex::new(0), released: Condvar::new(), turn: Mutex::new(()) })
    }

    /// Waits for the turn. The caller must not hold anything.
    pub(super) fn turn(&self) -> Turn<'_> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes bytes if they are there.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Result<Holding, Refused> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if *held + bytes > self.most {
            return Err(Refused::Busy);
        }
        *held += bytes;
        Ok(Holding { of: Arc::clone(self), bytes })
    }

    /// Takes bytes for who has the turn and holds `mine` by now: waits until the others have let go.
    pub(super) fn take_in_turn(self: &Arc<Self>, bytes: usize, mine: usize) -> Result<Holding, Refused> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        while *held + bytes > self.most {
            if *held <= mine {
                return Err(Refused::TooMuch);
            }
            held = self.released.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        *held += bytes;
        Ok(Holding { of: Arc::clone(self), bytes })
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        *self.of.held.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.of.released.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_turn_gets_what_others_let_go_of_and_no_more() {
        let all = Allowance::new(100);
        let other = all.take(60).unwrap();
        assert_eq!(all.take(41).unwrap_err(), Refused::Busy);
        let turn = all.turn();
        let mine = all.take_in_turn(40, 0).unwrap();
        std::thread::scope(|scope| {
            let more = scope.spawn(|| all.take_in_turn(50, mine.bytes).map(|holding| holding.bytes));
            drop(other);
            assert_eq!(more.join().unwrap().unwrap(), 50);
        });
        assert_eq!(all.take_in_turn(61, mine.bytes).unwrap_err(), Refused::TooMuch);
        drop((turn, mine));
        assert_eq!(all.take(100).unwrap().bytes, 100);
    }
}
