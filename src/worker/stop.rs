//! Stops the daemon in two stages: first it takes no new work and finishes what it has; after half of the time for that it
//! hands back what is left.

use std::time::Duration;

use tokio::sync::watch;

/// How far a stop is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// No stop was requested.
    #[default]
    Working,
    /// No new work.
    Finishing,
    /// What is not finished is handed back.
    Halted,
}

/// Says that the daemon is to stop; clones share it.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<Stage>);

impl Default for Stop {
    fn default() -> Self {
        Self(watch::Sender::new(Stage::default()))
    }
}

impl Stop {
    /// Requests a stop: no new work is taken.
    pub fn set(&self) {
        self.advance(Stage::Finishing);
    }

    /// Whether a stop was requested.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self.0.borrow() >= Stage::Finishing
    }

    /// Waits until a stop is requested.
    pub async fn requested(&self) {
        self.reached(Stage::Finishing).await;
    }

    /// Whether what is unfinished is to be handed back.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        *self.0.borrow() >= Stage::Halted
    }

    /// Waits until it is.
    pub async fn halted(&self) {
        self.reached(Stage::Halted).await;
    }

    /// As when a stop can wait no longer.
    #[cfg(test)]
    pub(super) fn halt(&self) {
        self.advance(Stage::Halted);
    }

    /// Waits for `work`, but not once what is unfinished is to be handed back. `None`: it was not waited for.
    pub(super) async fn unless_halted<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.halted() => None,
        }
    }

    /// Lets `work` go on until it ends by itself; after a stop was requested, for at most `patience`: half of it to finish,
    /// half to hand back. `None`: it has not ended by then.
    pub async fn bound<T>(&self, patience: impl Fn() -> Duration, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        tokio::select! {
            done = &mut work => return Some(done),
            () = self.requested() => {}
        }
        let half = patience() / 2;
        if let Ok(done) = tokio::time::timeout(half, &mut work).await {
            return Some(done);
        }
        log::info!("handing back what is not finished");
        self.advance(Stage::Halted);
        tokio::time::timeout(half.max(LEAST), work).await.ok()
    }

    fn advance(&self, to: Stage) {
        self.0.send_if_modified(|stage| {
            let further = *stage < to;
            *stage = to.max(*stage);
            further
        });
    }

    async fn reached(&self, wanted: Stage) {
        // The sender is this very stop, so it is never gone.
        let _ = self.0.subscribe().wait_for(|stage| *stage >= wanted).await;
    }
}

/// Handing back takes a moment, whatever `stop_timeout` says.
const LEAST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_is_heard_whether_it_comes_before_or_after_the_wait() {
        let stop = Stop::default();
        let waiting = tokio::spawn({
            let stop = stop.clone();
            async move { stop.requested().await }
        });
        tokio::task::yield_now().await;
        stop.set();
        waiting.await.unwrap();
        stop.requested().await;
        assert!(stop.is_set() && !stop.is_halted());
    }

    #[tokio::test(start_paused = true)]
    async fn work_may_finish_then_it_is_handed_back_then_it_is_left() {
        let patience = || Duration::from_secs(30);
        let stop = Stop::default();
        stop.set();
        let quick = tokio::time::sleep(Duration::from_secs(14));
        assert!(stop.bound(patience, quick).await.is_some() && !stop.is_halted());
        let handed_back = {
            let stop = stop.clone();
            async move { stop.halted().await }
        };
        assert!(stop.bound(patience, handed_back).await.is_some() && stop.is_halted());
        assert!(stop.bound(patience, std::future::pending::<()>()).await.is_none());
    }
}
