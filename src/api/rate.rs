//! How many calls a key has made: no minute, whenever it begins, holds more than are allowed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_mins(1);

/// The times of the calls of the last minute, in order. A counter per minute would allow twice as many around its end, and a
/// token bucket almost twice as many in its first minute.
#[derive(Debug, Default)]
pub(super) struct RecentCalls(VecDeque<Instant>);

impl RecentCalls {
    /// Notes a call at this instant, if the 60 seconds up to it hold no more than `most` calls then.
    ///
    /// # Errors
    /// How long to wait for the next one. A call that is refused is not noted.
    pub(super) fn take(&mut self, most: u32, now: Instant) -> Result<(), Duration> {
        let is_over = |call: &Instant| now.saturating_duration_since(*call) >= MINUTE;
        while self.0.front().is_some_and(is_over) {
            self.0.pop_front();
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        // More than are allowed where the limit was lowered meanwhile.
        match self.0.len().checked_sub(most).and_then(|over| self.0.get(over)) {
            None if most > 0 => {
                self.0.push_back(now);
                Ok(())
            }
            blocking => {
                let since = blocking.map_or(Duration::ZERO, |call| now.saturating_duration_since(*call));
                Err(MINUTE.saturating_sub(since))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_caller_that_waits_as_long_as_told_is_accepted() {
        let (mut calls, begin) = (RecentCalls::default(), Instant::now());
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        assert_eq!([0, 10, 59].map(|second| calls.take(3, at(second))), [Ok(()); 3]);
        assert_eq!(calls.take(3, at(59)), Err(Duration::from_secs(1)));
        assert_eq!(calls.take(3, at(60)), Ok(()), "the call at 0 s was a minute ago");
        assert_eq!(calls.take(3, at(61)), Err(Duration::from_secs(9)));
        assert_eq!(calls.take(1, at(61)), Err(Duration::from_secs(59)), "lowered");
        assert_eq!(calls.take(4, at(61)), Ok(()), "raised");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

        /// Compared with counting over every minute that ends with an accepted call: a call is refused exactly where the minute
        /// before it is full.
        #[test]
        fn no_minute_holds_more(most in 1_u32..6, gaps in prop::collection::vec(0_u64..40_000, 1..60)) {
            let (mut calls, begin) = (RecentCalls::default(), Instant::now());
            let (mut at, mut let_in) = (begin, Vec::<Instant>::new());
            for gap in gaps {
                at += Duration::from_millis(gap);
                let within = let_in.iter().filter(|call| at - **call < MINUTE).count();
                let allowed = within < usize::try_from(most).unwrap();
                prop_assert_eq!(calls.take(most, at).is_ok(), allowed);
                if allowed {
                    let_in.push(at);
                }
            }
        }
    }
}
