//! A time-out for statements that can also be cancelled, when the client who waits for the answer has left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Until when the statements of one call may run. Clones share the cancellation.
#[derive(Clone)]
pub struct StatementTimeout {
    until: Instant,
    shared: Arc<Shared>,
}

struct Shared {
    is_cancelled: AtomicBool,
    /// Ends the statement that is running.
    cancel: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl StatementTimeout {
    /// Expires this long from now.
    #[must_use]
    pub fn after(duration: Duration) -> Self {
        let shared = Shared { is_cancelled: AtomicBool::new(false), cancel: Mutex::new(None) };
        Self { until: Instant::now() + duration, shared: Arc::new(shared) }
    }

    /// Ends the statement that is running, and lets no other one begin. It may ask the database for that, so it blocks.
    pub fn cancel(&self) {
        self.shared.is_cancelled.store(true, Ordering::SeqCst);
        // The lock is held meanwhile, so that the statement's connection is not given to another call.
        if let Some(cancel) = self.shared.cancel.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            cancel();
        }
    }

    /// Whether it has expired or was cancelled.
    #[must_use]
    pub(super) fn is_over(&self) -> bool {
        self.remaining().is_zero()
    }

    /// The time that is left; zero after a cancellation.
    pub(super) fn remaining(&self) -> Duration {
        if self.shared.is_cancelled.load(Ordering::SeqCst) {
            return Duration::ZERO;
        }
        self.until.saturating_duration_since(Instant::now())
    }

    /// Runs statements; while they run, [`cancel`](Self::cancel) calls `cancel` from its own thread.
    pub(super) fn while_running<T>(&self, cancel: impl Fn() + Send + 'static, statements: impl FnOnce() -> T) -> T {
        *self.shared.cancel.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(cancel));
        let answer = statements();
        *self.shared.cancel.lock().unwrap_or_else(PoisonError::into_inner) = None;
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn a_cancellation_ends_the_statement_that_runs_and_no_later_one() {
        let timeout = StatementTimeout::after(Duration::from_hours(1));
        assert!(!timeout.is_over() && timeout.remaining() > Duration::from_mins(59));
        let cancelled = Arc::new(AtomicU32::new(0));
        let (count, other) = (Arc::clone(&cancelled), timeout.clone());
        timeout.while_running(
            move || {
                count.fetch_add(1, Ordering::SeqCst);
            },
            || other.cancel(),
        );
        timeout.cancel();
        assert!(timeout.is_over() && timeout.remaining() == Duration::ZERO);
        assert_eq!(cancelled.load(Ordering::SeqCst), 1);
        assert!(StatementTimeout::after(Duration::ZERO).is_over());
    }
}
