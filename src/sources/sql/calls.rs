//! Which calls of an engine have not come back, so that a process that ends can wait until those that it gave up are ended there.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How many calls are open.
#[derive(Default)]
pub(super) struct Calls {
    open: Mutex<usize>,
    ended: Condvar,
}

/// A call, until it is dropped.
pub(super) struct Call<'a>(&'a Calls);

impl Calls {
    pub(super) fn begin(&self) -> Call<'_> {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Call(self)
    }

    /// Waits until none is open, for at most this long.
    pub(super) fn wait(&self, patience: Duration) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that take longer are left.
        drop(self.ended.wait_timeout_while(open, patience, |open| *open > 0));
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        *self.0.open.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.ended.notify_all();
    }
}
