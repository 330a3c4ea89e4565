//! Keeps claimed rows while they are worked on: the claim is renewed three times per lease, in the background, and what is
//! stored by then is noted with it. How long a report takes plays no part.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::checkpoint::Checkpoint;
use super::{AppContext, Progress};
use crate::requests::{Claim, Hold, RequestKey};

/// A renewal that the database did not answer is tried again after this long, or sooner with a short lease. While the
/// database was away no other daemon could take the rows, so the first one to come back has them.
const RETRY: Duration = Duration::from_secs(1);

/// How long a write-back waits for the store to give a file its name.
const PLACE_TIMEOUT: Duration = Duration::from_secs(5);

/// A claim that is being renewed, until it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    hold: Hold,
    since: Instant,
    checkpoint: Arc<Checkpoint>,
    renewal: JoinHandle<()>,
    progress: Arc<Progress>,
}

impl Lease {
    /// Starts renewing a fresh claim.
    #[must_use]
    pub(super) fn keep(app: &AppContext, claim: &Claim, duration: Duration) -> Self {
        let checkpoint = Arc::new(Checkpoint::new(claim.requests.iter().map(|request| request.key.clone())));
        let hold = Hold::of(claim);
        let renewal = tokio::spawn(renew(app.clone(), hold.clone(), Arc::clone(&checkpoint), duration));
        let progress = Arc::clone(&app.progress);
        progress.claims.fetch_add(1, Ordering::Relaxed);
        Self { hold, since: Instant::now(), checkpoint, renewal, progress }
    }

    /// What it holds: the fenced writes.
    #[must_use]
    pub(super) const fn hold(&self) -> &Hold {
        &self.hold
    }

    /// The claim's token, which fences every write.
    #[must_use]
    pub(super) fn token(&self) -> &str {
        self.hold.token()
    }

    /// What is stored of the requests that it holds.
    #[must_use]
    pub(super) const fn checkpoint(&self) -> &Arc<Checkpoint> {
        &self.checkpoint
    }

    /// To be called before these requests are written back: from here on no file of them gets its name, and the checkpoint
    /// knows every one that has, so that a later attempt makes only what is missing.
    pub(super) async fn close(&self, keys: &[RequestKey]) {
        let mut busy = keys.to_vec();
        busy.retain(|key| self.checkpoint.ends(key));
        if busy.is_empty() {
            return;
        }
        let checkpoint = Arc::clone(&self.checkpoint);
        let waiting = tokio::task::spawn_blocking(move || checkpoint.wait_for_placed(&busy, PLACE_TIMEOUT));
        if !waiting.await.unwrap_or(false) {
            log::warn!("the store does not answer, a file that appears later is an orphan claim={}", self.token());
        }
    }

    /// Milliseconds since the claim.
    #[must_use]
    pub(super) fn age_ms(&self) -> i64 {
        i64::try_from(self.since.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// The claim in object keys: the random end of its token, which no other claim shares.
    #[must_use]
    pub(super) fn short_name(&self) -> &str {
        self.token().rsplit(':').next().unwrap_or(self.token())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
        self.progress.claims.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn renew(app: AppContext, hold: Hold, checkpoint: Arc<Checkpoint>, duration: Duration) {
    let mut wait = duration / 3;
    loop {
        tokio::time::sleep(wait).await;
        let entries = checkpoint.entries();
        if entries.is_empty() {
            continue;
        }
        let rows: Vec<_> = entries.iter().map(|entry| (entry.key.clone(), entry.processed.clone())).collect();
        let (token, held) = (hold.token(), hold.clone());
        match app.ask(move |queue| held.renew(queue, &rows, duration)).await {
            Ok(kept) => {
                wait = duration / 3;
                let kept: BTreeSet<RequestKey> = kept.into_iter().collect();
                for entry in &entries {
                    if kept.contains(&entry.key) {
                        checkpoint.noted(entry);
                    } else if checkpoint.release(&entry.key) {
                        log::warn!("claim lost request={} claim={token}", entry.key);
                    }
                }
            }
            Err(error) => {
                wait = RETRY.min(duration / 10);
                log::warn!("claim could not be renewed claim={token} rows={} error={error}", entries.len());
            }
        }
    }
}
