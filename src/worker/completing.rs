//! Requests whose files are all stored, written back together: whatever has ended while the database was answering is one
//! question more. What `ending` promises holds for each of them.

use chrono::{DateTime, Utc};

use super::World;
use super::ending::{Ending, Summary, persist, tell, write_back};
use super::lease::Lease;
use super::points;
use crate::config::checked::Job;
use crate::requests::{ClaimedRequest, Completion, QueueError, RequestKey, WriteBack};

/// Requests that are written back together, at most.
pub(super) const TOGETHER: usize = 500;
/// Files that they have, at most, unless a single one has more: a statement should stay small enough to be sent at once.
const FILES: usize = 20_000;

/// Writes back what has ended by now: the completed ones together, all others one by one.
pub(super) async fn write_back_all(
    world: &World,
    lease: &Lease,
    job: &Job,
    ended: Vec<(ClaimedRequest, Ending)>,
    summary: &mut Summary,
) {
    let mut rest = Vec::new();
    let mut made = Made::new(world.clock.now());
    for (request, ending) in ended {
        let Ending::Completed { download_urls, job_stats } = ending else {
            rest.push((request, ending));
            continue;
        };
        if !made.has_room_for(&download_urls) {
            made.write_back(world, lease, job, summary).await;
            made = Made::new(world.clock.now());
        }
        made.add(lease, request, download_urls, job_stats);
    }
    made.write_back(world, lease, job, summary).await;
    for (request, ending) in rest {
        write_back(world, lease, job, &request, ending, summary).await;
    }
}

/// One question's requests.
struct Made {
    now: DateTime<Utc>,
    files: usize,
    requests: Vec<ClaimedRequest>,
    rows: Vec<(RequestKey, Completion)>,
}

impl Made {
    const fn new(now: DateTime<Utc>) -> Self {
        Self { now, files: 0, requests: Vec::new(), rows: Vec::new() }
    }

    const fn has_room_for(&self, download_urls: &[String]) -> bool {
        self.rows.is_empty() || self.files + download_urls.len() <= FILES
    }

    fn add(&mut self, lease: &Lease, request: ClaimedRequest, download_urls: Vec<String>, job_stats: String) {
        // From here on it is no surprise that the claim does not hold the request any more.
        points::reach("writing-back", &request.key.to_string());
        lease.ledger().ends(&request.key);
        self.files += download_urls.len();
        let (file_created, execution_ms) = (self.now, lease.age_ms());
        self.rows.push((request.key.clone(), Completion { download_urls, file_created, execution_ms, job_stats }));
        self.requests.push(request);
    }

    async fn write_back(self, world: &World, lease: &Lease, job: &Job, summary: &mut Summary) {
        let written = if self.rows.len() > 1 {
            match complete(world, lease, self.rows.clone()).await {
                // One row that the database does not take must not cost the others their reports.
                Err(
                    QueueError::Refused(_) | QueueError::Unfit(_) | QueueError::InvalidCursor | QueueError::TimedOut,
                ) => None,
                written => Some(written),
            }
        } else {
            None
        };
        match written {
            Some(Ok(written)) => {
                for ((request, (_, made)), written) in self.requests.iter().zip(&self.rows).zip(written) {
                    completed(world, lease, job, request, made, Ok(written), summary);
                }
            }
            Some(Err(error)) => {
                for (request, (_, made)) in self.requests.iter().zip(&self.rows) {
                    completed(world, lease, job, request, made, Err(&error), summary);
                }
            }
            None => {
                for (request, row) in self.requests.iter().zip(self.rows) {
                    let written = complete(world, lease, vec![row.clone()]).await;
                    let written = written.map(|written| written.first().copied().unwrap_or(WriteBack::Lost));
                    completed(world, lease, job, request, &row.1, written.as_ref().copied(), summary);
                }
            }
        }
    }
}

fn completed(
    world: &World,
    lease: &Lease,
    job: &Job,
    request: &ClaimedRequest,
    made: &Completion,
    written: Result<WriteBack, &QueueError>,
    summary: &mut Summary,
) {
    lease.ledger().release(&request.key);
    if let Some(summary) = tell(world, lease, job, &request.key, written, summary) {
        summary.completed += 1;
        world.metrics.request_ended(&job.id, "completed");
        let (key, files, execution_ms) = (&request.key, made.download_urls.len(), made.execution_ms);
        log::info!("request completed request={key} job={} files={files} execution_ms={execution_ms}", job.id);
    }
}

/// Asks until the database answers. An answer may have been lost on its way: then a row is no longer held because it was
/// written.
async fn complete(
    world: &World,
    lease: &Lease,
    rows: Vec<(RequestKey, Completion)>,
) -> Result<Vec<WriteBack>, QueueError> {
    let (token, asked) = (lease.token().to_owned(), rows.clone());
    let (written, asked_again) = persist(world, move |queue| queue.complete_all(&token, &asked)).await;
    let mut written = written?;
    if asked_again {
        for ((key, made), written) in rows.iter().zip(&mut written) {
            if *written == WriteBack::Lost && is_completed(world, key, made).await {
                *written = WriteBack::Done;
            }
        }
    }
    Ok(written)
}

/// Whether the row says COMPLETED with these very files, whose names no other claim can give.
async fn is_completed(world: &World, key: &RequestKey, made: &Completion) -> bool {
    let wanted = key.clone();
    let row = world.ask(move |queue| queue.find(&wanted)).await;
    row.is_ok_and(|row| {
        row.is_some_and(|row| {
            // Of a request with very many files the row does not tell which: then it counts that it has ended.
            let same = row.download_urls == made.download_urls || row.truncated && row.download_urls.is_empty();
            same && row.completed.is_some()
        })
    })
}
