//! Hearing of submissions at once. Nothing depends on it: what is not heard is found by the next scheduled scan.

use std::time::{Duration, Instant};

use super::types::QueueError;

/// How often it is looked whether something has come. Looking costs no round trip.
const APART: Duration = Duration::from_millis(20);

/// Hears that rows may have become claimable.
pub struct Listener {
    came: Box<dyn FnMut() -> Result<bool, QueueError> + Send>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

impl Listener {
    /// `came` says whether anything has come since it was asked last.
    pub(super) fn new(came: impl FnMut() -> Result<bool, QueueError> + Send + 'static) -> Self {
        Self { came: Box::new(came) }
    }

    /// Blocks until something comes, for at most `timeout`; says whether it did.
    ///
    /// # Errors
    /// The connection is lost: this listener hears nothing any more.
    pub fn wait(&mut self, timeout: Duration) -> Result<bool, QueueError> {
        let since = Instant::now();
        loop {
            if (self.came)()? {
                return Ok(true);
            }
            if since.elapsed() >= timeout {
                return Ok(false);
            }
            std::thread::sleep(APART.min(timeout));
        }
    }
}
