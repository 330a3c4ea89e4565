//! Completed requests are written back together: those that end while the database answers make one more statement.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::claimed::ClaimedGroup;
use super::fenced_write::{is_written, persist};
use crate::requests::{ClaimedRequest, Completion, QueueError, RequestKey, WriteBack};
use crate::worker::end_log::log_completed;
use crate::worker::figures::times;
use crate::worker::lease::Lease;
use crate::worker::outcome::Completed;
use crate::worker::summary::Summary;
use crate::worker::{AppContext, failpoints};

/// Most files of one statement, unless a single request has more: it stays small enough to be sent at once.
const FILES: usize = 20_000;

/// The requests of one statement.
pub(super) struct CompletedRows {
    now: DateTime<Utc>,
    files: usize,
    requests: Vec<Arc<ClaimedRequest>>,
    rows: Vec<(RequestKey, Completion)>,
}

impl CompletedRows {
    pub(super) const fn new(now: DateTime<Utc>) -> Self {
        Self { now, files: 0, requests: Vec::new(), rows: Vec::new() }
    }

    pub(super) const fn has_room_for(&self, completed: &Completed) -> bool {
        self.rows.is_empty() || self.files + completed.download_urls.len() <= FILES
    }

    pub(super) fn add(&mut self, lease: &Lease, request: Arc<ClaimedRequest>, completed: Completed) {
        failpoints::hit("writing-back", &request.key.to_string());
        // From here on a renewal may find that the claim does not hold the request any more.
        lease.checkpoint().ends(&request.key);
        let Completed { download_urls, job_stats } = completed;
        self.files += download_urls.len();
        let (file_created, execution_ms) = (self.now, lease.age_ms());
        self.rows.push((request.key.clone(), Completion { download_urls, file_created, execution_ms, job_stats }));
        self.requests.push(request);
    }

    pub(super) async fn write_back(self, group: ClaimedGroup<'_>, summary: &mut Summary) {
        let written = if self.rows.len() > 1 {
            match complete(group, self.rows.clone()).await {
                // One row that the database does not take must not cost the others their reports.
                Err(error) if !error.may_pass() => None,
                written => Some(written),
            }
        } else {
            None
        };
        match written {
            Some(Ok(written)) => {
                for ((request, (_, made)), written) in self.requests.iter().zip(&self.rows).zip(written) {
                    ended(group, request, made, Ok(written), summary);
                }
            }
            Some(Err(error)) => {
                for (request, (_, made)) in self.requests.iter().zip(&self.rows) {
                    ended(group, request, made, Err(&error), summary);
                }
            }
            None => {
                for (request, row) in self.requests.iter().zip(self.rows) {
                    let written = complete(group, vec![row.clone()]).await;
                    let written = written.map(|written| written.first().copied().unwrap_or(WriteBack::Lost));
                    ended(group, request, &row.1, written.as_ref().copied(), summary);
                }
            }
        }
    }
}

fn ended(
    group: ClaimedGroup<'_>,
    request: &ClaimedRequest,
    made: &Completion,
    written: Result<WriteBack, &QueueError>,
    summary: &mut Summary,
) {
    group.lease.checkpoint().release(&request.key);
    if is_written(group, &request.key, written, summary) {
        summary.completed += 1;
        let job_id = &group.job.id;
        group.app.metrics.request_ended(job_id, "completed");
        let times = times(made, request.submitted, request.claimed);
        group.app.metrics.completed(job_id, group.app.clock.now(), &times);
        log_completed(&request.key, job_id, made);
    }
}

/// Asks until the database answers. An answer may have been lost on its way: then a row that the claim does not hold any
/// more may be one that was written.
async fn complete(group: ClaimedGroup<'_>, rows: Vec<(RequestKey, Completion)>) -> Result<Vec<WriteBack>, QueueError> {
    let (token, asked) = (group.lease.token().to_owned(), rows.clone());
    let (written, asked_again) = persist(group.app, move |queue| queue.complete_all(&token, &asked)).await;
    let mut written = written?;
    if asked_again {
        for ((key, made), written) in rows.iter().zip(&mut written) {
            if *written == WriteBack::Lost && is_completed(group.app, key, made).await {
                *written = WriteBack::Done;
            }
        }
    }
    Ok(written)
}

/// Whether the row says COMPLETED with these very files, whose names no other claim can give.
async fn is_completed(app: &AppContext, key: &RequestKey, made: &Completion) -> bool {
    let wanted = key.clone();
    let row = app.ask(move |queue| queue.find(&wanted)).await;
    row.is_ok_and(|row| {
        row.is_some_and(|row| {
            // The row of a request with very many files does not say which. Then it is enough that the request has ended.
            let same = row.download_urls == made.download_urls || row.truncated && row.download_urls.is_empty();
            same && row.completed.is_some()
        })
    })
}
