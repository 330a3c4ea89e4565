//! The words of the queue: rows, states, what goes in and what comes back. No SQL and no behaviour.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;

use super::encryption::{EncryptionKey, NewEncryption, Protected};
use super::err_code::ErrCode;

/// Names a request: its table's primary key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestKey {
    /// The client's key.
    pub tag: String,
    /// Unique within the tag.
    pub request_id: String,
}

impl std::fmt::Display for RequestKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.tag, self.request_id)
    }
}

/// Which rows to claim, and for whom.
#[derive(Clone, Debug)]
pub struct ClaimOptions {
    /// Ids and aliases of the jobs that are due.
    pub job_ids: Vec<String>,
    /// At most this many rows.
    pub limit: u32,
    /// How long the claim holds unless it is renewed.
    pub lease: Duration,
    /// Who claims, `host:pid`; the queue appends a fresh random part for the token.
    pub owner: String,
    /// Whether to claim a row that has crashed its daemon twice, or all others.
    pub mode: ClaimMode,
    /// Most rows of one tag in work, over all daemons.
    pub per_tag: Option<u32>,
    /// Most rows of one `requested_channel` in work, over all daemons. Rows without a channel are not limited.
    pub per_channel: Option<u32>,
    /// Tags that are paused: none of their rows is taken.
    pub paused_tags: Vec<String>,
    /// Among how many daemons a request that is split is divided.
    pub daemons: u32,
}

/// A row that lost two leases may be what crashes its daemons, so no other request is worked on beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimMode {
    /// Rows with fewer crashes than [`EXCLUSIVE_CRASHES`](super::EXCLUSIVE_CRASHES).
    Shared,
    /// One row with [`EXCLUSIVE_CRASHES`](super::EXCLUSIVE_CRASHES) or more, the oldest.
    Exclusive,
}

/// Rows claimed at once, under one token.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// `host:pid:random`, new for each claim. Every later write names it and changes a row only if the row still has it.
    pub token: String,
    /// The rows, oldest first.
    pub requests: Vec<ClaimedRequest>,
}

/// A claimed row, read leniently: nothing in it has been checked yet.
#[derive(Clone, Debug)]
pub struct ClaimedRequest {
    /// Its key.
    pub key: RequestKey,
    /// Job id or alias as written in the row.
    pub job_id: String,
    /// The JSON text as stored, where it is short: see `unread_data`.
    pub request_data: Option<String>,
    /// Bytes of a `request_data` that did not come with the claim, because it is longer than 4,096 bytes:
    /// [`WorkQueue::deferred_text`](super::WorkQueue::deferred_text) reads it.
    pub unread_data: Option<u64>,
    /// Who asked.
    pub requested_by: Option<String>,
    /// For which channel.
    pub requested_channel: Option<String>,
    /// When it was submitted, where that reads.
    pub submitted: Option<DateTime<Utc>>,
    /// When it was claimed, by the clock that decides about leases.
    pub claimed: DateTime<Utc>,
    /// Attempts that ended so far.
    pub iteration: u32,
    /// Leases lost so far.
    pub crashes: u32,
    /// The password for its files, where it has or had one.
    pub encryption_key: Option<EncryptionKey>,
    /// JSON: batches stored by an earlier attempt, where it is short: see `unread_batches`.
    pub processed_batches: Option<String>,
    /// Bytes of a `processed_batches` that did not come with the claim, as for `unread_data`.
    pub unread_batches: Option<u64>,
    /// JSON list of globs: the channels that the API key which made the row covers. `None`: no limit.
    pub allowed_channels: Option<String>,
    /// Which part of the request is claimed. `None`: all of it.
    pub part: Option<ClaimedPart>,
}

/// A part that is claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedPart {
    /// Its number, from 1.
    pub number: u64,
    /// Ids of its batches.
    pub batches: Vec<String>,
}

/// A text of a claimed row that may be too long to come with the claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeferredText {
    /// `request_data`
    RequestData,
    /// `processed_batches`
    ProcessedBatches,
}

impl DeferredText {
    pub(super) const fn column(self) -> &'static str {
        match self {
            Self::RequestData => "request_data",
            Self::ProcessedBatches => "processed_batches",
        }
    }
}

/// What a completed request is written back with.
#[derive(Clone, Debug)]
pub struct Completion {
    /// Object keys, ordered by batch id.
    pub download_urls: Vec<String>,
    /// When the last file was stored.
    pub file_created: DateTime<Utc>,
    /// Milliseconds from claim to write-back.
    pub execution_ms: i64,
    /// JSON.
    pub job_stats: String,
}

/// Why an attempt ended without a report.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What kind of failure it is.
    pub code: ErrCode,
    /// For the client; cut at 100 characters when written.
    pub message: String,
    /// For operators: the whole chain of causes.
    pub detail: String,
    /// Milliseconds from claim to write-back.
    pub execution_ms: i64,
    /// JSON, where something is known.
    pub job_stats: Option<String>,
    /// JSON: the batches that were stored before the failure, for the next attempt. `None` leaves the column as it is.
    pub processed_batches: Option<String>,
}

/// Whether a fenced write changed its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum WriteBack {
    /// It did.
    Done,
    /// The row is no longer held under this token: nothing was changed.
    Lost,
}

impl WriteBack {
    /// After a fenced statement for one row that changed this number of rows.
    pub(super) const fn of(changed: usize) -> Self {
        if changed == 1 { Self::Done } else { Self::Lost }
    }
}

/// A request to be inserted.
#[derive(Clone, Debug)]
pub struct NewRequest {
    /// Its key.
    pub key: RequestKey,
    /// Job id.
    pub job_id: String,
    /// JSON object text.
    pub request_data: String,
    /// Who asks.
    pub requested_by: Option<String>,
    /// For which channel.
    pub requested_channel: Option<String>,
    /// JSON list of globs: the channels that the API key which makes the row covers. `None`: no limit.
    pub allowed_channels: Option<String>,
    /// The password for its files, where it has one.
    pub encryption: Option<NewEncryption>,
}

impl NewRequest {
    /// Of a standalone job: nobody's channel, no password.
    #[must_use]
    pub fn standalone(tag: &str, (request_id, request_data): (String, String), job_id: &str, by: &str) -> Self {
        Self {
            key: RequestKey { tag: tag.to_owned(), request_id },
            job_id: job_id.to_owned(),
            request_data,
            requested_by: Some(by.to_owned()),
            requested_channel: None,
            allowed_channels: None,
            encryption: None,
        }
    }
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// A row was inserted.
    Created,
    /// The row is there already, in this state; nothing changed.
    Exists,
    /// The row was FAILED and is SUBMITTED again.
    Resubmitted,
    /// The row is there already, with another password for its files or as the only one with any; nothing changed.
    OtherKey,
    /// The row is there already, and the client does not see it; nothing changed.
    Hidden,
    /// The client has reached its limit of open requests; nothing changed.
    TooMany,
}

/// What became of a resubmission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resubmitted {
    /// The row was FAILED and is SUBMITTED again.
    Done,
    /// The row is not FAILED (or not there), or the password for its files is wiped, so that they would be stored without
    /// protection; nothing changed.
    NotFailed,
    /// The client has reached its limit of open requests; nothing changed.
    TooMany,
}

/// A row as readers see it.
#[derive(Clone, Debug, Default)]
pub struct RequestRow {
    /// The client's key.
    pub tag: String,
    /// Unique within the tag.
    pub request_id: String,
    /// Job id or alias.
    pub job_id: String,
    /// As the row has it, whatever it is; but `SUCCESS` is shown as COMPLETED.
    pub status: String,
    /// JSON text, where it is within the bound: see `unread_data`.
    pub request_data: Option<String>,
    /// Bytes of a `request_data` that was not read, because it is longer than
    /// [`ClientQueue::limit_request_data`](super::ClientQueue::limit_request_data) allows.
    pub unread_data: Option<u64>,
    /// Who asked.
    pub requested_by: Option<String>,
    /// For which channel.
    pub requested_channel: Option<String>,
    /// Object keys.
    pub download_urls: Vec<String>,
    /// Whether `download_urls` or `job_stats` has more than is read, and is left out.
    pub truncated: bool,
    /// When the last file was stored.
    pub file_created: Option<DateTime<Utc>>,
    /// When it was submitted.
    pub submitted: Option<DateTime<Utc>>,
    /// When the current or last attempt was claimed.
    pub processing: Option<DateTime<Utc>>,
    /// When it ended.
    pub completed: Option<DateTime<Utc>>,
    /// Milliseconds of the attempt that ended it.
    pub execution_ms: Option<i64>,
    /// For the client.
    pub err_message: Option<String>,
    /// What kind of failure `err_message` tells of, as the row has it: one of [`ErrCode`], unless a later version wrote it.
    /// `None` where an earlier version wrote the message.
    pub err_code: Option<String>,
    /// For operators.
    pub err_detail: Option<String>,
    /// Attempts that ended.
    pub iteration: u32,
    /// Leases lost.
    pub crashes: u32,
    /// The claim token.
    pub lease_owner: Option<String>,
    /// Until when the claim holds.
    pub lease_expires: Option<DateTime<Utc>>,
    /// Not claimed before this.
    pub next_attempt: Option<DateTime<Utc>>,
    /// JSON: batches stored so far.
    pub processed_batches: Option<String>,
    /// JSON list of globs: the channels that the API key which made the row covers. `None`: no limit.
    pub allowed_channels: Option<String>,
    /// JSON.
    pub job_stats: Option<String>,
    /// Whether its files are, or were to be, under a password.
    pub protected: Protected,
}

/// Numbers of rows by job id and status as the rows have them, and PROCESSING rows without a lease of ours.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// Count of rows for (job id, status).
    pub counts: BTreeMap<(String, String), u64>,
    /// PROCESSING rows without any lease, by job id: another system's work, or left behind by it.
    pub without_lease: BTreeMap<String, u64>,
}

/// How connections to the database are pooled outside of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Nothing that pools: each connection has a session of its own.
    None,
    /// A pooler that gives each connection a session for as long as it lives.
    Session,
    /// A pooler that gives each transaction a session: no state of a session lasts.
    Transaction,
}

/// Why a queue operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The database cannot be reached, is busy or dropped the connection: may pass.
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    /// The database refused the statement: will not pass by itself.
    #[error("the database refused: {0}")]
    Refused(String),
    /// The database answers, but an operator has to change something before it can be used: a right, a read-only setting,
    /// a migration.
    #[error("{0}")]
    Unfit(String),
    /// The cursor of a page was not made by this kind of database.
    #[error("the cursor of the page is not valid")]
    InvalidCursor,
    /// The statement time-out of a search expired, or the search was cancelled.
    #[error("the search took too long")]
    TimedOut,
}

impl QueueError {
    /// Whether trying again later may help.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

/// Rows that can never be claimed: their keys are not text, so no statement can name them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unclaimable {
    /// How many there are.
    pub rows: u64,
    /// The first few: where they are in the table, and why.
    pub first: Vec<String>,
}

impl Unclaimable {
    /// Number of rows that are described.
    const DESCRIBED: usize = 5;

    pub(super) fn count(&mut self, describe: impl FnOnce() -> String) {
        self.rows += 1;
        if self.first.len() < Self::DESCRIBED {
            self.first.push(describe());
        }
    }
}

/// A row that waits for its job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingRequest {
    /// Its key.
    pub key: RequestKey,
    /// When it was submitted; `None` where the column is not a time.
    pub submitted: Option<DateTime<Utc>>,
    /// For which channel.
    pub channel: Option<String>,
    /// Whether its back-off is not over yet.
    pub backing_off: bool,
}

/// The progress of a PROCESSING request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestProgress {
    /// Number of files that are stored.
    pub batches_done: u64,
    /// Number of files that the request will have.
    pub batches_total: u64,
}

impl RequestProgress {
    /// The value of `job_stats` while the row is PROCESSING.
    pub(super) fn job_stats(self) -> String {
        json!({ "batches_done": self.batches_done, "batches_total": self.batches_total }).to_string()
    }
}
