//! Whether this daemon works, as health checks read it: when its loop took the last tick of the scheduler, and whether its
//! heartbeat is written.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Ticks come once a second. A loop that has taken none for this long is stopped.
const BOUND: Duration = Duration::from_secs(7);

/// What the daemon's tasks report of themselves; clones share it.
#[derive(Clone, Debug, Default)]
pub struct DaemonState(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    ticked: Option<Instant>,
    heartbeat_error: Option<String>,
}

impl DaemonState {
    /// The loop took a tick.
    pub(super) fn ticked(&self) {
        self.seen().ticked = Some(Instant::now());
    }

    /// The heartbeat was written, or not for this reason. Returns whether that is a change.
    pub(super) fn heartbeat_written(&self, error: Option<String>) -> bool {
        let mut seen = self.seen();
        let changed = seen.heartbeat_error.is_some() != error.is_some();
        seen.heartbeat_error = error;
        changed
    }

    /// What is wrong with the scheduler; `None` while the loop takes its ticks.
    #[must_use]
    pub fn scheduler(&self) -> Option<String> {
        self.scheduler_at(Instant::now())
    }

    /// Why the heartbeat is not written; `None` while it is.
    #[must_use]
    pub fn heartbeat(&self) -> Option<String> {
        let error = self.seen().heartbeat_error.clone()?;
        Some(format!("the heartbeat is not written, others take this daemon for dead: {error}"))
    }

    fn scheduler_at(&self, now: Instant) -> Option<String> {
        let Some(last) = self.seen().ticked else { return Some("the scheduler has not ticked yet".to_owned()) };
        let silent = now.saturating_duration_since(last);
        (silent >= BOUND).then(|| format!("the scheduler has not ticked for {} s: no job is started", silent.as_secs()))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_takes_no_tick_is_stopped() {
        let state = DaemonState::default();
        assert_eq!(state.scheduler().as_deref(), Some("the scheduler has not ticked yet"));
        state.ticked();
        let now = Instant::now();
        assert_eq!(state.scheduler_at(now), None);
        let told = state.scheduler_at(now + BOUND + Duration::from_secs(1)).unwrap();
        assert!(told.starts_with("the scheduler has not ticked for "), "{told}");
        state.ticked();
        assert_eq!(state.scheduler(), None);
    }

    #[test]
    fn a_heartbeat_that_is_not_written_is_told_once() {
        let state = DaemonState::default();
        let lost = || Some("disk full".to_owned());
        assert!(!state.heartbeat_written(None) && state.heartbeat_written(lost()) && !state.heartbeat_written(lost()));
        assert!(state.heartbeat().unwrap().ends_with(": disk full"));
        assert!(state.heartbeat_written(None) && state.heartbeat().is_none());
    }
}
