//! Keeps claimed rows ours while they are worked on: the claim is renewed three times per lease, in the background.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::World;
use crate::requests::{Claim, RequestKey};

/// A claim that is being renewed, until it is dropped.
#[derive(Debug)]
pub struct Lease {
    token: String,
    duration: Duration,
    since: Instant,
    held: Arc<Mutex<BTreeSet<RequestKey>>>,
    renewal: JoinHandle<()>,
}

impl Lease {
    /// Starts renewing a fresh claim.
    #[must_use]
    pub fn keep(world: &World, claim: &Claim, duration: Duration) -> Self {
        let held: Arc<Mutex<BTreeSet<RequestKey>>> =
            Arc::new(Mutex::new(claim.requests.iter().map(|request| request.key.clone()).collect()));
        let renewal = tokio::spawn(renew(world.clone(), claim.token.clone(), Arc::clone(&held), duration));
        Self { token: claim.token.clone(), duration, since: Instant::now(), held, renewal }
    }

    /// What fences the write-back.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// How long the claim is believed without renewal.
    #[must_use]
    pub const fn duration(&self) -> Duration {
        self.duration
    }

    /// Milliseconds since the claim.
    #[must_use]
    pub fn age_ms(&self) -> i64 {
        i64::try_from(self.since.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// The claim in object keys: the random end of its token, which no other claim shares.
    #[must_use]
    pub fn short_name(&self) -> &str {
        self.token.rsplit(':').next().unwrap_or(&self.token)
    }

    /// Stops renewing a row, because it was written back.
    pub fn release(&self, key: &RequestKey) {
        lock(&self.held).remove(key);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

async fn renew(world: World, token: String, held: Arc<Mutex<BTreeSet<RequestKey>>>, duration: Duration) {
    loop {
        tokio::time::sleep(duration / 3).await;
        let rows: Vec<_> = lock(&held).iter().map(|key| (key.clone(), None)).collect();
        if rows.is_empty() {
            continue;
        }
        let asked: Vec<RequestKey> = rows.iter().map(|(key, _)| key.clone()).collect();
        let claim = token.clone();
        match world.ask(move |queue| queue.renew(&claim, &rows, duration)).await {
            Ok(kept) => {
                let kept: BTreeSet<RequestKey> = kept.into_iter().collect();
                for lost in asked.iter().filter(|key| !kept.contains(*key)) {
                    // A row that was written back meanwhile is not held any more, and nothing is lost with it.
                    if lock(&held).remove(lost) {
                        log::warn!("claim lost request={lost} claim={token}");
                    }
                }
            }
            Err(error) => log::warn!("claim could not be renewed claim={token} rows={} error={error}", asked.len()),
        }
    }
}

fn lock(held: &Mutex<BTreeSet<RequestKey>>) -> std::sync::MutexGuard<'_, BTreeSet<RequestKey>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
