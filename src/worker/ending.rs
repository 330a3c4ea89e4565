//! How an attempt ends: the reasons in a client's words, and the fenced write-back.

use std::time::Duration;

use super::World;
use super::completing::write_back_all;
use super::cpu::Panicked;
use super::dependencies::Dependency;
use super::lease::Lease;
use super::points;
use super::tenants::Exceeded;
use crate::config::checked::Job;
use crate::intake::Refusal;
use crate::intake::encryption::SealError;
use crate::outputs::{DoesNotFit, KeyError, StoreError, WriteError};
use crate::reports::ReportError;
use crate::reports::filters::ResolveError;
use crate::requests::{ClaimedRequest, Failure, Queue, QueueError, RequestKey, WriteBack};
use crate::sources::SourceError;

/// The first wait after a failure that may pass; it doubles with each attempt.
const FIRST_BACK_OFF: Duration = Duration::from_secs(10);
const LONGEST_BACK_OFF: Duration = Duration::from_hours(1);

/// Why an attempt ended without a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// For the client, the most telling part first.
    pub message: String,
    /// For operators: the whole chain.
    pub detail: String,
    /// Whether trying again later may help.
    pub may_pass: bool,
    /// Where it arose.
    pub origin: Origin,
}

/// Where a failure arose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the request, which is no error to whoever runs the daemon.
    Request,
    /// In something that the daemon depends on.
    Dependency(Dependency),
    /// In the program, or in what it was given to work on.
    Program,
}

impl Reason {
    fn new(error: &(dyn std::error::Error + 'static), origin: Origin, may_pass: bool) -> Self {
        let mut detail = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            detail = format!("{detail}: {error}");
            cause = error.source();
        }
        Self { message: error.to_string(), detail, may_pass, origin }
    }

    /// The row itself is wrong.
    #[must_use]
    pub fn refused(error: &Refusal) -> Self {
        Self::new(error, Origin::Request, false)
    }

    /// The password for its files is not to be had: no plain one is made in their place.
    #[must_use]
    pub fn sealed(error: SealError) -> Self {
        Self::new(&error, if error.may_pass() { Origin::Program } else { Origin::Request }, error.may_pass())
    }

    /// No batch, or too many.
    #[must_use]
    pub fn resolve(error: &ResolveError) -> Self {
        Self::new(error, Origin::Request, false)
    }

    /// Its files have no keys: its tag or request id, or all of a key, is too long.
    #[must_use]
    pub fn key(error: &KeyError) -> Self {
        Self::new(error, Origin::Request, false)
    }

    /// The report's rules forbid it.
    #[must_use]
    pub fn report(error: &ReportError) -> Self {
        Self::new(error, Origin::Program, false)
    }

    /// A table could not be read.
    #[must_use]
    pub fn source(error: &SourceError) -> Self {
        Self {
            message: error.message.clone(),
            detail: error.detail.clone(),
            may_pass: error.may_pass,
            origin: Origin::Dependency(Dependency::Source),
        }
    }

    /// A file could not be stored.
    #[must_use]
    pub fn store(error: &StoreError) -> Self {
        let origin = Origin::Dependency(Dependency::Store);
        Self { detail: format!("{error} ({})", error.place), ..Self::new(error, origin, error.may_pass()) }
    }

    /// The format that the request names cannot hold the report of this batch.
    #[must_use]
    pub fn does_not_fit(batch: &str, limit: &DoesNotFit) -> Self {
        Self { message: format!("{limit}: batch {batch}"), ..Self::new(limit, Origin::Request, false) }
    }

    /// The program itself is wrong; the client learns that it is not their request.
    #[must_use]
    pub fn panicked(error: &Panicked) -> Self {
        Self::internal("internal error, please report it".to_owned(), error.to_string())
    }

    /// The process ended while it worked on this request and on nothing else, so many times.
    #[must_use]
    pub fn crashes(times: u32) -> Self {
        let message = format!("the report crashed the worker {times} times");
        Self::internal(message.clone(), format!("{message} while it worked on nothing else"))
    }

    const fn internal(message: String, detail: String) -> Self {
        Self { message, detail, may_pass: false, origin: Origin::Program }
    }

    /// Fewer or more rows written than the report has: never delivered.
    #[must_use]
    pub fn short_file(written: u64, expected: u64) -> Self {
        let detail = format!("{written} rows written of {expected}");
        Self::internal(format!("internal error: {detail}"), detail)
    }

    /// A file was not written, and nothing says why: a defect.
    #[must_use]
    pub fn unexplained(error: &WriteError) -> Self {
        Self::internal("internal error, please report it".to_owned(), error.to_string())
    }

    /// Says which batch it was, for operators.
    #[must_use]
    pub fn in_batch(self, batch: &str) -> Self {
        Self { detail: format!("batch {batch}: {}", self.detail), ..self }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum Ending {
    /// Every file is stored.
    Completed {
        /// Object keys, ordered by batch id.
        download_urls: Vec<String>,
        /// JSON.
        job_stats: String,
    },
    /// No report.
    Failed(Reason),
    /// Unfinished because the daemon stops: the row goes back as it was.
    HandedBack,
    /// The row goes back as it was, for one of the next scans.
    Postponed(Postponed),
}

/// Why a request is left to one of the next scans, which costs it no attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Postponed {
    /// Its tenant has enough in work.
    Tenant(Exceeded),
    /// A file that it shares with others was lost on its way to the store, and not by its doing.
    FileLost,
}

impl std::fmt::Display for Postponed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tenant(_) => f.write_str("its tenant has enough in work"),
            Self::FileLost => f.write_str("a file that it shares was lost on its way to the store"),
        }
    }
}

/// What became of the rows of one or several scans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows claimed.
    pub claimed: u64,
    /// … COMPLETED.
    pub completed: u64,
    /// … FAILED.
    pub failed: u64,
    /// … SUBMITTED again, to be tried later.
    pub backing_off: u64,
    /// … handed back because of a stop.
    pub handed_back: u64,
    /// … handed back because their tenants had enough in work, or a shared file was lost; the next scans claim them again.
    pub postponed: u64,
    /// … whose claim was lost before they could be written back.
    pub lost: u64,
}

impl Summary {
    /// Adds the counts of another scan.
    pub fn add(&mut self, other: Self) {
        self.claimed += other.claimed;
        self.completed += other.completed;
        self.failed += other.failed;
        self.backing_off += other.backing_off;
        self.handed_back += other.handed_back;
        self.postponed += other.postponed;
        self.lost += other.lost;
    }

    /// Requests that were claimed: one that was postponed counts when it is claimed again.
    #[must_use]
    pub const fn requests(&self) -> u64 {
        self.claimed - self.postponed
    }

    /// Whether every one of them was completed.
    #[must_use]
    pub const fn all_well(&self) -> bool {
        self.requests() == self.completed
    }
}

/// Writes one request back that was not completed (those go together, `completing`), fenced by its claim, and logs the one
/// line that says how it ended. While the database cannot be reached it tries again, until a stop can wait no longer: the
/// fence decides whether it came too late.
pub async fn write_back(
    world: &World,
    lease: &Lease,
    job: &Job,
    request: &ClaimedRequest,
    ending: Ending,
    summary: &mut Summary,
) {
    let (reason, postponed) = match ending {
        Ending::Completed { .. } => {
            return Box::pin(write_back_all(world, lease, job, vec![(request.clone(), ending)], summary)).await;
        }
        Ending::Failed(reason) => (Some(reason), None),
        Ending::HandedBack => (None, None),
        Ending::Postponed(why) => (None, Some(why)),
    };
    let execution_ms = lease.age_ms();
    let attempt = request.iteration.saturating_add(1);
    let retries = attempt < job.max_attempts;
    let key = &request.key;
    points::reach("writing-back", &key.to_string());
    lease.close(std::slice::from_ref(key)).await;
    let processed_batches = lease.ledger().processed(key);
    if let Some(Reason { may_pass: true, origin: Origin::Dependency(dependency), .. }) = &reason {
        world.down.report(*dependency);
    }
    let (written, _) = persist(world, {
        let (token, key, reason) = (lease.token().to_owned(), key.clone(), reason.clone());
        let back_off = back_off(attempt);
        move |queue: &dyn Queue| {
            let Some(Reason { message, detail, may_pass, .. }) = reason.clone() else {
                return queue.hand_back(&token, &key, processed_batches.as_deref());
            };
            let processed_batches = processed_batches.clone();
            let failure = Failure { message, detail, execution_ms, job_stats: None, processed_batches };
            if may_pass && retries {
                queue.retry_later(&token, &key, &failure, back_off)
            } else {
                queue.fail(&token, &key, &failure)
            }
        }
    })
    .await;
    lease.ledger().release(key);
    let job_id = &job.id;
    let Some(summary) = tell(world, lease, job, key, written.as_ref().copied(), summary) else { return };
    match reason {
        Some(reason) if reason.may_pass && retries => {
            summary.backing_off += 1;
            world.metrics.request_ended(job_id, "retried");
            log::warn!(
                "request will be tried again request={key} job={job_id} attempt={attempt} error={:?}",
                reason.detail
            );
        }
        Some(reason) => {
            summary.failed += 1;
            world.metrics.request_ended(job_id, "failed");
            let level = if reason.origin == Origin::Request { log::Level::Warn } else { log::Level::Error };
            log::log!(level, "request failed request={key} job={job_id} attempt={attempt} error={:?}", reason.detail);
        }
        None => {
            world.metrics.request_ended(job_id, "handed_back");
            if let Some(why) = postponed {
                summary.postponed += 1;
                let limit = if let Postponed::Tenant(exceeded) = &why { format!(" {exceeded}") } else { String::new() };
                log::info!("request handed back, {why} request={key} job={job_id}{limit}");
            } else {
                summary.handed_back += 1;
                log::info!("request handed back request={key} job={job_id}");
            }
        }
    }
}

/// Counts and logs what was not written. `Some`: it was, and the caller says how the request ended.
pub(super) fn tell<'a>(
    world: &World,
    lease: &Lease,
    job: &Job,
    key: &RequestKey,
    written: Result<WriteBack, &QueueError>,
    summary: &'a mut Summary,
) -> Option<&'a mut Summary> {
    let job_id = &job.id;
    match written {
        Ok(WriteBack::Done) => return Some(summary),
        Ok(WriteBack::Lost) => log::warn!(
            "claim lost before write-back, nothing changed request={key} job={job_id} claim={}",
            lease.token()
        ),
        Err(error) => log::error!("request could not be written back request={key} job={job_id} error={error:?}"),
    }
    summary.lost += 1;
    world.metrics.request_ended(job_id, "lost");
    None
}

/// Asks the database until it answers. With the answer: whether an earlier one may have been lost on its way.
pub(super) async fn persist<T, F>(world: &World, question: F) -> (Result<T, QueueError>, bool)
where
    T: Send + 'static,
    F: Fn(&dyn Queue) -> Result<T, QueueError> + Clone + Send + 'static,
{
    let mut wait = Duration::from_millis(100);
    let mut unanswered = false;
    loop {
        match world.ask(question.clone()).await {
            Err(error) if error.may_pass() && !world.stop.is_halted() => {
                unanswered = true;
                log::warn!("database not reachable, waiting wait_ms={} error={error}", wait.as_millis());
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(2));
            }
            answer => return (answer, unanswered),
        }
    }
}

/// Doubles with each attempt; up to a quarter more by chance, so that requests that failed together do not come back
/// together.
fn back_off(attempt: u32) -> Duration {
    let doubled = FIRST_BACK_OFF.saturating_mul(1u32.checked_shl(attempt - 1).unwrap_or(u32::MAX));
    doubled.min(LONGEST_BACK_OFF).mul_f64(1.0 + fastrand::f64() / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_with_jitter_and_is_bounded() {
        for (attempt, base) in [(1, 10), (2, 20), (3, 40), (20, 3600), (40, 3600)] {
            let wait = back_off(attempt);
            let base = Duration::from_secs(base);
            assert!(wait >= base && wait <= base.mul_f64(1.25), "attempt {attempt}: {wait:?}");
        }
    }
}
