//! Requests that several daemons work on together: a large one is split into parts, each with some of its batches, and each
//! part is claimed, leased, fenced and resumed like a row. `docs/state-machine.md` draws the states of a part.
//!
//! Meanwhile the row is PROCESSING, and its `lease_owner` is a token of the split, which no daemon holds: `parts:` and a
//! random number. Its lease is renewed with every claim and renewal of a part.
//!
//! Every statement that changes a part locks the row of its request first, so two of them never wait for each other in a
//! circle, and nobody sees a part of a row that another claim has taken.

mod connection;
mod ends;
mod overview;
mod verbs;
mod work;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

pub(super) use self::connection::{
    PartConnection, PartDatabase, SplitKey, StoredBackedOff, StoredPart, StoredPartCounts, Value, is_of_split,
    run_statements,
};
pub(super) use self::overview::parts_overview;
use super::types::{Claim, ClaimOptions, Completion, Failure, QueueError, RequestKey, RequestProgress, WriteBack};

/// A part of a request that is being split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewPart {
    /// Ids of its batches, in the order of the request.
    pub batches: Vec<String>,
    /// How many of its files an earlier attempt has stored.
    pub files_done: u64,
    /// `processed_batches` for its first claim: what an earlier attempt has stored of it.
    pub processed_batches: Option<String>,
    /// JSON: what the request leaves out, on its first part.
    pub left_out: Option<String>,
}

/// A part as readers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRow {
    /// Its number, from 1.
    pub number: u64,
    /// How many files it has.
    pub files: u64,
    /// How many of them are stored, as far as that is noted.
    pub files_done: u64,
    /// Whether all of it is made.
    pub is_done: bool,
    /// The token of the claim that holds it, or that made it.
    pub token: Option<String>,
    /// Until when the claim holds.
    pub lease_expires: Option<DateTime<Utc>>,
    /// When it may be claimed again. `None`: it was never put back.
    pub next_attempt: Option<DateTime<Utc>>,
    /// Attempts that ended without its files.
    pub iteration: u32,
    /// Leases lost.
    pub crashes: u32,
}

/// All parts of split requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartsOverview {
    /// Their numbers, by the job id of the request as rows have it.
    pub counts: BTreeMap<String, PartCounts>,
    /// Requests that nobody can work on now, the one first that is tried again first. At most 100.
    pub backed_off: Vec<BackedOff>,
}

/// How many parts are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartCounts {
    /// Can be claimed.
    pub waiting: u64,
    /// A claim holds them.
    pub in_work: u64,
    /// Cannot be claimed before a time that is yet to come.
    pub back_off: u64,
    /// Are made, of requests that have not ended.
    pub made: u64,
}

impl PartCounts {
    /// Counts these as well.
    pub const fn add(&mut self, other: &Self) {
        self.waiting += other.waiting;
        self.in_work += other.in_work;
        self.back_off += other.back_off;
        self.made += other.made;
    }
}

/// A split request of which every part that is not made is in back-off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackedOff {
    /// Which one.
    pub key: RequestKey,
    /// Job id or alias.
    pub job_id: String,
    /// How many parts are not made.
    pub parts: u64,
    /// When the first of them may be claimed again.
    pub next_attempt: DateTime<Utc>,
    /// `err_message` of the row: why a part was put back.
    pub message: Option<String>,
}

/// A request of which every part is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeRequest {
    /// Which one.
    pub key: RequestKey,
    /// The token of the split, which fences its end.
    pub token: String,
    /// Job id or alias.
    pub job_id: String,
    /// When it was submitted, where that reads.
    pub submitted: Option<DateTime<Utc>>,
    /// When it was claimed.
    pub claimed: DateTime<Utc>,
    /// Attempts that ended so far.
    pub iteration: u32,
    /// How many files its parts have, with those that are left out.
    pub files: u64,
    /// What [`PartQueue::complete_part`] was given, in the order of the parts.
    pub results: Vec<String>,
    /// JSON: what the request leaves out.
    pub left_out: Option<String>,
}

/// What daemons do with parts of requests. A fenced write names the token of its claim, and changes a part only while the
/// row of its request is split and the part is held under this very token.
pub trait PartQueue: Send + Sync {
    /// Splits a claimed row: it gets these parts, and this claim does not hold it any more. Fenced by the claim's token.
    fn split(&self, token: &str, key: &RequestKey, parts: &[NewPart], lease: Duration)
    -> Result<WriteBack, QueueError>;

    /// Claims one part that nobody holds and whose back-off is over: of the request with the fewest parts in work, among these
    /// the oldest. Parts after it that nobody has worked on are put together with it, up to the share of one
    /// of `options.daemons`. As for a row, [`ClaimMode`] says whether it may have crashed its daemons before. `None`: there is none.
    ///
    /// The claim has the row of the request, with the crashes, the iteration and the `processed_batches` of the part.
    fn claim_part(&self, options: &ClaimOptions) -> Result<Option<Claim>, QueueError>;

    /// As [`WorkQueue::renew`](super::WorkQueue::renew).
    fn renew_part(
        &self,
        token: &str,
        key: &RequestKey,
        batches: Option<&str>,
        lease: Duration,
    ) -> Result<WriteBack, QueueError>;

    /// Whether the part is held under the token.
    fn holds_part(&self, token: &str, key: &RequestKey) -> Result<bool, QueueError>;

    /// Notes how many files of the part are stored, and in the row how many of all; fenced.
    fn note_part(&self, token: &str, key: &RequestKey, progress: RequestProgress) -> Result<(), QueueError>;

    /// Every file of the part is stored; `result` is kept until all parts are made. Fenced; a repetition is [`WriteBack::Done`].
    fn complete_part(&self, token: &str, key: &RequestKey, result: &str) -> Result<WriteBack, QueueError>;

    /// As [`WorkQueue::retry_later`](super::WorkQueue::retry_later): the part waits, the others go on.
    fn retry_part_later(
        &self,
        token: &str,
        key: &RequestKey,
        failure: &Failure,
        delay: Duration,
    ) -> Result<WriteBack, QueueError>;

    /// The request is FAILED, and its other parts end with it; fenced.
    fn fail_part(&self, token: &str, key: &RequestKey, failure: &Failure) -> Result<WriteBack, QueueError>;

    /// As [`WorkQueue::hand_back`](super::WorkQueue::hand_back).
    fn hand_back_part(&self, token: &str, key: &RequestKey, batches: Option<&str>) -> Result<WriteBack, QueueError>;

    /// Frees parts whose lease ran out, which counts as a crash of the part. A split row whose own lease ran out stays split,
    /// under a new token. Removes parts of rows that are not split any more. Returns what was freed.
    fn reclaim_parts(&self, job_ids: &[String], lease: Duration) -> Result<Vec<(RequestKey, u64)>, QueueError>;

    /// A request of these jobs of which every part is made. `None`: there is none.
    fn made_request(&self, job_ids: &[String]) -> Result<Option<MadeRequest>, QueueError>;

    /// The end of a split request: COMPLETED; fenced by the token of the split.
    fn complete_split(&self, token: &str, key: &RequestKey, made: &Completion) -> Result<WriteBack, QueueError>;

    /// The end of a split request: FAILED; fenced by the token of the split.
    fn fail_split(&self, token: &str, key: &RequestKey, failure: &Failure) -> Result<WriteBack, QueueError>;

    /// The end of a split: the request is SUBMITTED again, as by [`WorkQueue::retry_later`](super::WorkQueue::retry_later);
    /// fenced by the token of the split.
    fn retry_split_later(
        &self,
        token: &str,
        key: &RequestKey,
        failure: &Failure,
        delay: Duration,
    ) -> Result<WriteBack, QueueError>;

    /// The parts of a request, by number; none where it is not split.
    fn parts(&self, key: &RequestKey) -> Result<Vec<PartRow>, QueueError>;
}
