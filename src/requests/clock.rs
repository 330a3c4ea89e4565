//! The clock that decides about leases and back-offs. Nothing else in this module reads a clock.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// The time, passed in from outside so that tests can move it.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> DateTime<Utc>;
    /// How far this clock has been moved ahead of the machine's. Backends that take the database's time add it.
    fn shift(&self) -> Duration;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place where the time comes in")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn shift(&self) -> Duration {
        Duration::ZERO
    }
}

/// A clock that stands still until it is advanced: for tests, which move time instead of sleeping.
#[derive(Debug)]
pub struct ManualClock {
    start: DateTime<Utc>,
    advanced: Mutex<Duration>,
}

impl ManualClock {
    /// Stands at `start`. PostgreSQL has its own time: there only the duration counts by which the clock was advanced.
    #[must_use]
    pub const fn new(start: DateTime<Utc>) -> Self {
        Self { start, advanced: Mutex::new(Duration::ZERO) }
    }

    /// Moves it ahead.
    pub fn advance(&self, by: Duration) {
        *self.advanced.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        self.start + TimeDelta::from_std(self.shift()).unwrap_or(TimeDelta::MAX)
    }

    fn shift(&self) -> Duration {
        *self.advanced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
