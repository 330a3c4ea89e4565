//! How long to wait before something is tried again. The only file that says so for requests and for calls to the database.

use std::time::Duration;

/// The first wait of a request after a failure that may pass. It doubles with each attempt.
const FIRST_OF_REQUEST: Duration = Duration::from_secs(10);
/// The longest wait of a request.
const LONGEST_OF_REQUEST: Duration = Duration::from_hours(1);

/// How long a request waits after its attempt number `attempt` (from 1) failed. A random part of up to a quarter is added,
/// so that requests which failed together are not tried again together.
pub(super) fn of_request(attempt: u32) -> Duration {
    let doubled = FIRST_OF_REQUEST.saturating_mul(1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(LONGEST_OF_REQUEST).mul_f64(1.0 + fastrand::f64() / 4.0)
}

/// Waits that double from the first to the longest.
#[derive(Clone, Copy, Debug)]
pub(super) struct BackOff {
    wait: Duration,
    longest: Duration,
}

impl BackOff {
    /// Before the daemon looks for its database again when it starts.
    pub(super) const AT_START: Self = Self { wait: Duration::from_millis(500), longest: Duration::from_secs(30) };
    /// Before the result of a request is written to the database again.
    pub(super) const OF_WRITE_BACK: Self = Self { wait: Duration::from_millis(100), longest: Duration::from_secs(2) };

    /// The next wait.
    pub(super) fn next_wait(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(self.longest);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_of_a_request_doubles_with_jitter_and_is_bounded() {
        for (attempt, base) in [(1, 10), (2, 20), (3, 40), (20, 3600), (40, 3600), (u32::MAX, 3600)] {
            let wait = of_request(attempt);
            let base = Duration::from_secs(base);
            assert!(wait >= base && wait <= base.mul_f64(1.25), "attempt {attempt}: {wait:?}");
        }
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut back_off = BackOff::OF_WRITE_BACK;
        let waits: Vec<u128> = (0..7).map(|_| back_off.next_wait().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 2000, 2000]);
    }
}
