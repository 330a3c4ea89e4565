//! Keeps claimed rows while they are worked on: the claim is renewed three times per lease, in the background, and what is
//! stored by then is noted with it. How long a report takes plays no part.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::checkpoint::Checkpoint;
use super::{AppContext, Progress};
use crate::requests::{Claim, ErrCode, Hold, RequestKey};

/// A renewal that the database did not answer is tried again after this long, or sooner with a short lease. While the
/// database was away no other daemon could take the rows, so the first one to come back has them.
const RETRY: Duration = Duration::from_secs(1);

/// How often a daemon looks whether its rows are still held, between two renewals. Not by a notification: SQLite and poolers
/// have none.
const LOOK: Duration = Duration::from_secs(1);

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
    let mut due = tokio::time::Instant::now() + duration / 3;
    loop {
        tokio::time::sleep_until(due.min(tokio::time::Instant::now() + LOOK)).await;
        if tokio::time::Instant::now() < due {
            look(&app, &hold, &checkpoint).await;
            continue;
        }
        let entries = checkpoint.entries();
        let mut wait = duration / 3;
        if !entries.is_empty() {
            let rows: Vec<_> = entries.iter().map(|entry| (entry.key.clone(), entry.processed.clone())).collect();
            let held = hold.clone();
            match app.ask(move |queue| held.renew(queue, &rows, duration)).await {
                Ok(kept) => {
                    let kept: BTreeSet<RequestKey> = kept.into_iter().collect();
                    for entry in &entries {
                        if kept.contains(&entry.key) {
                            checkpoint.noted(entry);
                        } else {
                            lose(&app, &checkpoint, &entry.key, hold.token()).await;
                        }
                    }
                }
                Err(error) => {
                    wait = RETRY.min(duration / 10);
                    let (token, rows) = (hold.token(), entries.len());
                    log::warn!("claim could not be renewed claim={token} rows={rows} error={error}");
                }
            }
        }
        due = tokio::time::Instant::now() + wait;
    }
}

/// Looks whether the rows are still held: one that was cancelled is not, and its work is to end now.
async fn look(app: &AppContext, hold: &Hold, checkpoint: &Checkpoint) {
    let keys = checkpoint.in_work();
    if keys.is_empty() {
        return;
    }
    let (held, asked) = (hold.clone(), keys.clone());
    // A database that does not answer is the renewal's to report.
    let Ok(kept) = app.ask(move |queue| held.still_held(queue, &asked)).await else { return };
    let kept: BTreeSet<RequestKey> = kept.into_iter().collect();
    for key in keys.iter().filter(|key| !kept.contains(key)) {
        lose(app, checkpoint, key, hold.token()).await;
    }
}

/// The row is not held any more: no further file of it is made.
async fn lose(app: &AppContext, checkpoint: &Checkpoint, key: &RequestKey, token: &str) {
    if !checkpoint.wants(key) {
        // It is being written back, which is why.
        checkpoint.release(key);
        return;
    }
    let asked = key.clone();
    let row = app.ask(move |queue| queue.find(&asked)).await.ok().flatten();
    let is_cancelled = row.is_some_and(|row| row.err_code.as_deref() == Some(ErrCode::Cancelled.as_str()));
    if is_cancelled {
        // Before it is released: who sees that the claim does not hold it asks why.
        checkpoint.cancel(key);
    }
    if !checkpoint.release(key) {
        return;
    }
    if is_cancelled {
        log::info!("request cancelled, the work on it ends request={key} claim={token}");
    } else {
        log::warn!("claim lost request={key} claim={token}");
    }
}
