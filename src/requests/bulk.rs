//! What is done to all requests that match a filter: step by step, request by request. Each request is a transaction of its own,
//! the same as for a single one, so no lock is held for longer than that takes; where it is stopped, each request is either as it
//! was or done, and the same call goes on with the others.

use super::access::{Client, Reader};
use super::encryption::Protected;
use super::filter::Filter;
use super::paging::{Page, PageCursor};
use super::queue::ClientQueue;
use super::statement_timeout::StatementTimeout;
use super::status::Status;
use super::types::{QueueError, RequestKey, RequestRow, Resubmitted};

/// Requests of one step.
const STEP: u32 = 100;
/// Requests that a preview shows.
const SHOWN: u32 = 10;

/// What is done to each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BulkAct {
    /// FAILED → SUBMITTED.
    Retry,
    /// What waits or is in work → FAILED.
    Cancel {
        /// Who cancels it, for the clients to read.
        by: String,
    },
}

impl BulkAct {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel { .. } => "cancel",
        }
    }

    /// The states in which it changes a request.
    const fn states(&self) -> &'static [Status] {
        match self {
            Self::Retry => &[Status::Failed],
            Self::Cancel { .. } => &[Status::Submitted, Status::Processing],
        }
    }
}

/// Why nothing is done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BulkError {
    /// All requests there are would be meant.
    #[error("without a filter nothing is done: give a job, a tag, a time, …")]
    NoFilter,
    /// Requests in this state do not change.
    #[error("{act} does nothing to requests that are {status}")]
    Status {
        /// What is asked for.
        act: &'static str,
        /// As the filter has it.
        status: String,
    },
    /// Another system's requests.
    #[error("job '{0}' is not configured here: its requests are another system's")]
    ForeignJob(String),
}

/// What is done to which requests.
#[derive(Clone, Debug)]
pub struct Bulk {
    act: BulkAct,
    filter: Filter,
    reader: Reader,
    client: Client,
}

/// What would be done.
#[derive(Clone, Debug, Default)]
pub struct BulkPreview {
    /// How many requests match. A number above [`COUNT_LIMIT`](super::COUNT_LIMIT) is a lower bound.
    pub total: u64,
    /// How many of them cannot be tried again, because the password for their files is wiped; a lower bound as `total`.
    pub protected: u64,
    /// The newest of them.
    pub first: Vec<RequestRow>,
}

/// What one step has done.
#[derive(Clone, Debug, Default)]
pub struct BulkStep {
    /// These are changed.
    pub changed: Vec<RequestKey>,
    /// How many were left as they are, because the password for their files is wiped.
    pub protected: u64,
    /// How many had changed meanwhile, and were left as they are.
    pub skipped: u64,
    /// The client has reached its limit of open requests: this is the last step.
    pub too_many: bool,
    /// Where the next step begins. `None`: all is done.
    pub next: Option<PageCursor>,
}

impl Bulk {
    /// `jobs`: the names of all configured jobs. Requests of others are another system's.
    ///
    /// # Errors
    /// The filter is empty, or finds nothing that this changes.
    pub fn new(act: BulkAct, mut filter: Filter, jobs: &[String], client: Client) -> Result<Self, BulkError> {
        if filter.is_empty() {
            return Err(BulkError::NoFilter);
        }
        let states = act.states().iter().map(|status| status.as_str());
        match &filter.statuses {
            None => filter.statuses = Some(states.map(str::to_owned).collect()),
            Some(given) => {
                if let Some(status) = given.iter().find(|status| !states.clone().any(|state| state == *status)) {
                    return Err(BulkError::Status { act: act.name(), status: status.clone() });
                }
            }
        }
        match &filter.job_ids {
            None => filter.job_ids = Some(jobs.to_vec()),
            Some(given) => {
                if let Some(foreign) = given.iter().find(|job| !jobs.contains(job)) {
                    return Err(BulkError::ForeignJob(foreign.clone()));
                }
            }
        }
        Ok(Self { act, filter, reader: client.reader.clone(), client })
    }

    /// What would be done; nothing is.
    ///
    /// # Errors
    /// As [`ClientQueue::search`].
    pub fn preview(&self, queue: &dyn ClientQueue, timeout: &StatementTimeout) -> Result<BulkPreview, QueueError> {
        let found = queue.search(&self.filter, &self.reader, &Page::first(SHOWN), timeout)?;
        let wiped = Filter { is_wiped: self.act == BulkAct::Retry, ..self.filter.clone() };
        let protected = match self.act {
            BulkAct::Retry => queue.search(&wiped, &self.reader, &Page::first(1), timeout)?.total,
            BulkAct::Cancel { .. } => 0,
        };
        Ok(BulkPreview { total: found.total, protected, first: queue.rows_of(found.entries)? })
    }

    /// Changes the next requests, the newest first.
    ///
    /// # Errors
    /// As [`ClientQueue::search`]. What was changed before stays changed.
    pub fn step(
        &self,
        queue: &dyn ClientQueue,
        after: Option<PageCursor>,
        timeout: &StatementTimeout,
    ) -> Result<BulkStep, QueueError> {
        let found = queue.search(&self.filter, &self.reader, &Page { limit: STEP, after }, timeout)?;
        let mut step = BulkStep::default();
        if found.entries.len() == usize::try_from(STEP).unwrap_or(usize::MAX) {
            step.next = found.entries.last().map(|entry| entry.cursor.clone());
        }
        for entry in found.entries {
            self.change(queue, entry.key, &mut step)?;
            if step.too_many {
                step.next = None;
                break;
            }
        }
        Ok(step)
    }

    fn change(&self, queue: &dyn ClientQueue, key: RequestKey, step: &mut BulkStep) -> Result<(), QueueError> {
        let is_done = match &self.act {
            BulkAct::Cancel { by } => queue.cancel(&key, by)?,
            BulkAct::Retry => match queue.resubmit_for(&key, &self.client)? {
                Resubmitted::Done => true,
                Resubmitted::NotFailed => false,
                Resubmitted::TooMany => {
                    step.too_many = true;
                    return Ok(());
                }
            },
        };
        if is_done {
            step.changed.push(key);
        } else if queue.find(&key)?.is_some_and(|row| self.is_kept_by_its_password(&row)) {
            step.protected += 1;
        } else {
            step.skipped += 1;
        }
        Ok(())
    }

    fn is_kept_by_its_password(&self, row: &RequestRow) -> bool {
        self.act == BulkAct::Retry
            && Status::parse(&row.status) == Some(Status::Failed)
            && row.protected == Protected::Wiped
    }
}
