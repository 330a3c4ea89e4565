//! Notifications of submissions. Nothing depends on them: the next scheduled scan finds what was not notified.

use std::time::{Duration, Instant};

use super::types::QueueError;

/// Time between two checks for notifications. A check costs no round trip.
const INTERVAL: Duration = Duration::from_millis(20);

/// Tells when rows may have become claimable.
pub struct Listener {
    came: Box<dyn FnMut() -> Result<bool, QueueError> + Send>,
}

impl Listener {
    /// `came` returns whether a notification has come since its last call.
    pub(super) fn new(came: impl FnMut() -> Result<bool, QueueError> + Send + 'static) -> Self {
        Self { came: Box::new(came) }
    }

    /// Blocks until a notification comes, for at most `timeout`; returns whether one came.
    ///
    /// # Errors
    /// The connection is lost: no notification will come any more.
    pub fn wait(&mut self, timeout: Duration) -> Result<bool, QueueError> {
        let since = Instant::now();
        loop {
            if (self.came)()? {
                return Ok(true);
            }
            if since.elapsed() >= timeout {
                return Ok(false);
            }
            std::thread::sleep(INTERVAL.min(timeout));
        }
    }
}
