//! How long somebody waits for an answer: until a time, and no longer than until they have left.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The patience of whoever waits for an answer; clones share it.
#[derive(Clone)]
pub struct Patience {
    until: Instant,
    shared: Arc<Shared>,
}

struct Shared {
    has_left: AtomicBool,
    /// What ends the statement that is being waited for.
    cancel: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patience")
            .field("until", &self.until)
            .field("has_left", &self.shared.has_left)
            .finish_non_exhaustive()
    }
}

impl Patience {
    /// For so long from now on.
    #[must_use]
    pub fn of(long: Duration) -> Self {
        let shared = Shared { has_left: AtomicBool::new(false), cancel: Mutex::new(None) };
        Self { until: Instant::now() + long, shared: Arc::new(shared) }
    }

    /// Whoever waits has left: the statement ends. It may ask the database for that, so it blocks.
    pub fn leave(&self) {
        self.shared.has_left.store(true, Ordering::SeqCst);
        // While the lock is held the statement's connection goes to nobody else.
        if let Some(cancel) = self.shared.cancel.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            cancel();
        }
    }

    /// Whether nobody waits any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.shared.has_left.load(Ordering::SeqCst) || Instant::now() >= self.until
    }

    /// How long is left.
    pub(super) fn left(&self) -> Duration {
        if self.shared.has_left.load(Ordering::SeqCst) {
            return Duration::ZERO;
        }
        self.until.saturating_duration_since(Instant::now())
    }

    /// Runs statements that `cancel` ends from another thread.
    pub(super) fn cancelled_by<T>(&self, cancel: impl Fn() + Send + 'static, statements: impl FnOnce() -> T) -> T {
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
    fn whoever_leaves_ends_the_statement_that_runs_and_no_later_one() {
        let patience = Patience::of(Duration::from_hours(1));
        assert!(!patience.is_over() && patience.left() > Duration::from_mins(59));
        let cancelled = Arc::new(AtomicU32::new(0));
        let (count, other) = (Arc::clone(&cancelled), patience.clone());
        patience.cancelled_by(
            move || {
                count.fetch_add(1, Ordering::SeqCst);
            },
            || other.leave(),
        );
        patience.leave();
        assert!(patience.is_over() && patience.left() == Duration::ZERO);
        assert_eq!(cancelled.load(Ordering::SeqCst), 1);
        assert!(Patience::of(Duration::ZERO).is_over());
    }
}
