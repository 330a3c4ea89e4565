//! What a claim holds: rows, or a part of one. Its fenced writes are the same for both.

use std::time::Duration;

use super::queue::WorkQueue;
use super::types::{Claim, Failure, QueueError, RequestKey, RequestProgress, WriteBack};

/// What a claim holds, and the token that fences its writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Whole requests.
    Rows(String),
    /// One part of a request.
    Part(String),
}

impl Hold {
    /// Of a fresh claim.
    #[must_use]
    pub fn of(claim: &Claim) -> Self {
        let has_part = claim.requests.iter().any(|request| request.part.is_some());
        let token = claim.token.clone();
        if has_part { Self::Part(token) } else { Self::Rows(token) }
    }

    /// The claim's token.
    #[must_use]
    pub fn token(&self) -> &str {
        match self {
            Self::Rows(token) | Self::Part(token) => token,
        }
    }

    /// As [`WorkQueue::renew`].
    ///
    /// # Errors
    /// The database does not answer, or refuses.
    pub fn renew(
        &self,
        queue: &dyn WorkQueue,
        rows: &[(RequestKey, Option<String>)],
        lease: Duration,
    ) -> Result<Vec<RequestKey>, QueueError> {
        match self {
            Self::Rows(token) => queue.renew(token, rows, lease),
            Self::Part(token) => {
                let mut held = Vec::new();
                for (key, batches) in rows {
                    if queue.renew_part(token, key, batches.as_deref(), lease)? == WriteBack::Done {
                        held.push(key.clone());
                    }
                }
                Ok(held)
            }
        }
    }

    /// As [`WorkQueue::still_held`].
    ///
    /// # Errors
    /// As [`Hold::renew`].
    pub fn still_held(&self, queue: &dyn WorkQueue, keys: &[RequestKey]) -> Result<Vec<RequestKey>, QueueError> {
        match self {
            Self::Rows(token) => queue.still_held(token, keys),
            Self::Part(token) => {
                let mut held = Vec::new();
                for key in keys {
                    if queue.holds_part(token, key)? {
                        held.push(key.clone());
                    }
                }
                Ok(held)
            }
        }
    }

    /// As [`WorkQueue::note_progress`].
    ///
    /// # Errors
    /// As [`Hold::renew`].
    pub fn note_progress(
        &self,
        queue: &dyn WorkQueue,
        rows: &[(RequestKey, RequestProgress)],
    ) -> Result<(), QueueError> {
        match self {
            Self::Rows(token) => queue.note_progress(token, rows),
            Self::Part(token) => rows.iter().try_for_each(|(key, progress)| queue.note_part(token, key, *progress)),
        }
    }

    /// As [`WorkQueue::retry_later`].
    ///
    /// # Errors
    /// As [`Hold::renew`].
    pub fn retry_later(
        &self,
        queue: &dyn WorkQueue,
        key: &RequestKey,
        failure: &Failure,
        delay: Duration,
    ) -> Result<WriteBack, QueueError> {
        match self {
            Self::Rows(token) => queue.retry_later(token, key, failure, delay),
            Self::Part(token) => queue.retry_part_later(token, key, failure, delay),
        }
    }

    /// As [`WorkQueue::fail`].
    ///
    /// # Errors
    /// As [`Hold::renew`].
    pub fn fail(&self, queue: &dyn WorkQueue, key: &RequestKey, failure: &Failure) -> Result<WriteBack, QueueError> {
        match self {
            Self::Rows(token) => queue.fail(token, key, failure),
            Self::Part(token) => queue.fail_part(token, key, failure),
        }
    }

    /// As [`WorkQueue::hand_back`].
    ///
    /// # Errors
    /// As [`Hold::renew`].
    pub fn hand_back(
        &self,
        queue: &dyn WorkQueue,
        key: &RequestKey,
        batches: Option<&str>,
    ) -> Result<WriteBack, QueueError> {
        match self {
            Self::Rows(token) => queue.hand_back(token, key, batches),
            Self::Part(token) => queue.hand_back_part(token, key, batches),
        }
    }
}
