//! The queue in domain verbs, as three traits: work on requests, clients, and housekeeping. A caller takes the one that it
//! needs; each backend has all three.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::access::{Client, Reader};
use super::audit::AuditQueue;
use super::backlog::Backlog;
use super::daemons::{Daemon, Heartbeat};
use super::filter::{Filter, SearchResult};
use super::finished::{FinishedCursor, FinishedPage};
use super::listener::Listener;
use super::paging::{self, Page, PageEntry, READ_BYTES, ReadSteps};
use super::parts::{PartQueue, PartsOverview};
use super::pauses::PauseQueue;
use super::statement_timeout::StatementTimeout;
use super::types::{
    Claim, ClaimOptions, Completion, DeferredText, Failure, NewRequest, Overview, Pooling, QueueError, RequestKey,
    RequestProgress, RequestRow, Resubmitted, Submitted, Unclaimable, WaitingRequest, WriteBack,
};

/// A backend with all verbs. All calls block: the worker and the API make them on threads that may block.
pub trait Queue: WorkQueue + ClientQueue + Housekeeping {}

impl<T: WorkQueue + ClientQueue + Housekeeping> Queue for T {}

/// What a worker does with requests: it claims them, renews its leases and writes back the results; and it makes the
/// requests of standalone jobs from their schedules.
///
/// A fenced write names the token of its claim, and changes a row only while that is PROCESSING under this very token.
/// Requests that several daemons work on together are in [`PartQueue`]; [`Hold`](super::Hold) has the fenced writes of both.
pub trait WorkQueue: PartQueue + PauseQueue {
    /// The time by the clock that decides about leases and slots: the database's, where daemons share one.
    fn now(&self) -> Result<DateTime<Utc>, QueueError>;

    /// A listener for changes to the table. `None`: a pooler is in between, and notifications never arrive.
    fn listen(&self) -> Result<Option<Listener>, QueueError>;

    /// SUBMITTED → PROCESSING for rows whose back-off is over, atomically, the oldest first.
    fn claim(&self, options: &ClaimOptions) -> Result<Claim, QueueError>;

    /// How many rows of these jobs a shared claim may take, and how many are in work. Each is counted up to `up_to`, so that
    /// the answer costs the same however many rows wait.
    fn backlog(&self, job_ids: &[String], up_to: u32) -> Result<Backlog, QueueError>;

    /// A text of a claimed row that did not come with the claim. `None`: there is none, it has more than `limit` bytes, or
    /// the row is not there any more.
    fn deferred_text(&self, key: &RequestKey, which: DeferredText, limit: u64) -> Result<Option<String>, QueueError>;

    /// Renews the leases of these rows and writes which batches are stored (`processed_batches`, JSON, where given); fenced.
    /// Returns the keys of the rows that are still held.
    fn renew(
        &self,
        token: &str,
        rows: &[(RequestKey, Option<String>)],
        lease: Duration,
    ) -> Result<Vec<RequestKey>, QueueError>;

    /// Which of these rows are PROCESSING under the token. A row that somebody cancelled is not: its daemon ends its work on it.
    fn still_held(&self, token: &str, keys: &[RequestKey]) -> Result<Vec<RequestKey>, QueueError>;

    /// Writes into `job_stats` how far requests are, for clients who poll them; fenced.
    fn note_progress(&self, token: &str, rows: &[(RequestKey, RequestProgress)]) -> Result<(), QueueError>;

    /// PROCESSING → COMPLETED for rows of one claim, in one transaction; fenced: either all rows that are held are written or
    /// none. Answers in the order of the rows. As every end of a request, it wipes the password for its files.
    fn complete_all(&self, token: &str, rows: &[(RequestKey, Completion)]) -> Result<Vec<WriteBack>, QueueError>;

    /// PROCESSING → SUBMITTED with iteration + 1, not claimable before `delay` is over; fenced.
    fn retry_later(
        &self,
        token: &str,
        key: &RequestKey,
        failure: &Failure,
        delay: Duration,
    ) -> Result<WriteBack, QueueError>;

    /// PROCESSING → FAILED with iteration + 1; fenced.
    fn fail(&self, token: &str, key: &RequestKey, failure: &Failure) -> Result<WriteBack, QueueError>;

    /// PROCESSING → SUBMITTED without counting an attempt; fenced. `batches`: as for `renew`.
    fn hand_back(&self, token: &str, key: &RequestKey, batches: Option<&str>) -> Result<WriteBack, QueueError>;

    /// When the next SUBMITTED row of these jobs becomes claimable; rows of paused tags do not. `None`: there is none.
    fn next_claimable(&self, job_ids: &[String]) -> Result<Option<DateTime<Utc>>, QueueError>;

    /// The last slot of a standalone job for which a row was made under this schedule. For a new job or a changed schedule
    /// `now` is stored and returned: slots count from then on.
    fn last_slot(&self, job_id: &str, schedule: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, QueueError>;

    /// Stores `slot` as the job's last one and inserts its row, in one transaction. `false`: it was made before.
    fn make_slot(&self, job_id: &str, slot: DateTime<Utc>, request: &NewRequest) -> Result<bool, QueueError>;
}

/// What clients and operators do with requests.
pub trait ClientQueue: AuditQueue + PauseQueue {
    /// Inserts a SUBMITTED row, or finds the one that has the key. A FAILED row becomes SUBMITTED again, with the password of
    /// this submission. A row with another password, or where only one of the two has a password, is not the same request
    /// and stays as it is. A refused submission changes nothing. The client's limit of open requests holds for any number of
    /// submissions at a time, over all processes.
    fn submit_for(&self, request: &NewRequest, client: &Client) -> Result<Submitted, QueueError>;

    /// The same without limits, for operators.
    fn submit(&self, request: &NewRequest) -> Result<Submitted, QueueError> {
        self.submit_for(request, &Client::default())
    }

    /// How the mark of a row's password was made: what stands before its last colon. `None`: the row has none, or is not
    /// there.
    fn mark_scheme(&self, key: &RequestKey) -> Result<Option<String>, QueueError>;

    /// Whether a client has reached its limit of open requests. Another submission may change that at any time: only
    /// `submit_for` decides.
    fn has_reached_limit(&self, client: &Client) -> Result<bool, QueueError>;

    /// SUBMITTED or PROCESSING → FAILED, "cancelled by …", with all parts of the request. The row has no token then, so that
    /// no write of the daemon that works on it changes it any more. `false`: the row has ended, is another system's work
    /// (PROCESSING under no token) or is not there.
    fn cancel(&self, key: &RequestKey, by: &str) -> Result<bool, QueueError>;

    /// COMPLETED → FAILED, "file missing": files of it are not in the store any more. `false`: the row is not COMPLETED (or not
    /// there), or its files are under a password, without which they cannot be made again.
    fn file_missing(&self, key: &RequestKey, detail: &str) -> Result<bool, QueueError>;

    /// FAILED → SUBMITTED with all columns of earlier attempts cleared, within the client's limit as `submit_for`. The caller
    /// has checked that the client may see the row.
    fn resubmit_for(&self, key: &RequestKey, client: &Client) -> Result<Resubmitted, QueueError>;

    /// The same without limits, for operators. `false`: nothing changed.
    fn resubmit(&self, key: &RequestKey) -> Result<bool, QueueError> {
        Ok(self.resubmit_for(key, &Client::default())? == Resubmitted::Done)
    }

    /// One row.
    fn find(&self, key: &RequestKey) -> Result<Option<RequestRow>, QueueError>;

    /// A page of the rows that the reader may see, of one tag or of all, the newest submission first.
    ///
    /// # Errors
    /// [`QueueError::InvalidCursor`] where the page's cursor is not one of this database's.
    fn list(&self, tag: Option<&str>, reader: &Reader, page: &Page) -> Result<Vec<PageEntry>, QueueError>;

    /// The rows that match and that the reader may see: their number, and a page of them.
    ///
    /// # Errors
    /// [`QueueError::TimedOut`] when the time-out is over; [`QueueError::InvalidCursor`] as for `list`.
    fn search(
        &self,
        search: &Filter,
        reader: &Reader,
        page: &Page,
        timeout: &StatementTimeout,
    ) -> Result<SearchResult, QueueError>;

    /// The rows with these keys, each with its index among the keys, until they have about `bytes` bytes; at least the first
    /// one that exists. Keys after the last row of the answer may be asked for again.
    fn rows(&self, keys: &[RequestKey], bytes: u64) -> Result<Vec<(usize, RequestRow)>, QueueError>;

    /// The newest rows that the reader may see, of one tag or of all.
    fn newest(&self, tag: Option<&str>, reader: &Reader, limit: u32) -> Result<Vec<RequestRow>, QueueError> {
        let mut rows = self.rows_of(self.list(tag, reader, &Page::first(limit))?)?;
        paging::newest_first(&mut rows);
        Ok(rows)
    }

    /// The rows of a page, in its order, however many bytes they have.
    fn rows_of(&self, entries: Vec<PageEntry>) -> Result<Vec<RequestRow>, QueueError> {
        let keys: Vec<RequestKey> = entries.into_iter().map(|entry| entry.key).collect();
        let mut rows = Vec::with_capacity(keys.len());
        let (mut begin, mut steps) = (0, ReadSteps::default());
        while begin < keys.len() {
            let end = steps.end(begin, keys.len());
            let found = self.rows(&keys[begin..end], READ_BYTES)?;
            let through = found.last().map_or(end - begin, |(at, _)| at + 1);
            steps.record(end - begin, through);
            begin += through;
            rows.extend(found.into_iter().map(|(_, row)| row));
        }
        Ok(rows)
    }

    /// SUBMITTED rows of these jobs in the order in which they are claimed; rows that back off come last.
    fn waiting(&self, job_ids: &[String]) -> Result<Vec<WaitingRequest>, QueueError>;

    /// Numbers of rows by job and status.
    fn overview(&self) -> Result<Overview, QueueError>;

    /// Numbers of the parts of split requests, by job and state, and the split requests that nobody can work on now.
    fn parts_overview(&self) -> Result<PartsOverview, QueueError>;

    /// Sets the number of bytes above which the `request_data` of a row is not read from the database; 64 KiB until this is
    /// called.
    fn limit_request_data(&self, bytes: u64);
}

/// What keeps the table in order (migrations, leases that ran out, retention, heartbeats), and whether the database is usable.
pub trait Housekeeping: Send + Sync {
    /// Adds to the tables what this program needs; several daemons may start at once. With `dry_run` nothing is changed.
    /// Returns the SQL statements that were (or would be) run.
    fn migrate(&self, dry_run: bool) -> Result<Vec<String>, QueueError>;

    /// Whether this role may run what `migrate` would: [`QueueError::Unfit`] names the missing right.
    fn may_migrate(&self) -> Result<(), QueueError>;

    /// Whether the database answers and has every column this program needs: [`QueueError::Unfit`] where a migration is
    /// missing.
    fn check(&self) -> Result<(), QueueError>;

    /// Whether rows can be written now, and with `removes` also removed: [`QueueError::Unfit`] gives the reason why not. It
    /// changes nothing, so it may be called every few seconds.
    fn check_writable(&self, removes: bool) -> Result<(), QueueError>;

    /// Drops the connections of the pool, since calls may hang on them: the next call opens a new one.
    fn reconnect(&self);

    /// How the connections to the database are pooled.
    fn pooling(&self) -> Result<Pooling, QueueError>;

    /// Whether `listen` gives a listener.
    fn can_listen(&self) -> Result<bool, QueueError>;

    /// PROCESSING → SUBMITTED for rows whose lease of ours ran out, which counts as a crash; and with `adopt_after` for rows
    /// without any lease that are older than that, left behind by the system that we replace. A row that crashed its daemon
    /// while it was worked on alone waits one lease for each such crash. Returns the keys.
    fn reclaim(
        &self,
        job_ids: &[String],
        lease: Duration,
        adopt_after: Option<Duration>,
    ) -> Result<Vec<RequestKey>, QueueError>;

    /// Open rows of these jobs that can never be claimed, since no statement can name them.
    fn unclaimable(&self, job_ids: &[String]) -> Result<Unclaimable, QueueError>;

    /// A page of at most `limit` COMPLETED and FAILED rows of one job (an id as rows have it; an alias is another one) that
    /// ended longer ago than `older_than`, the oldest first. On SQLite that order holds within one form of time; numbers come
    /// before text. A row whose end is absent or is not a time is never among them.
    ///
    /// One job at a time, because an index then gives the rows in order, however many there are.
    fn finished(
        &self,
        job_id: &str,
        older_than: Duration,
        after: Option<&FinishedCursor>,
        limit: u32,
    ) -> Result<FinishedPage, QueueError>;

    /// Deletes a row if it is still COMPLETED or FAILED and ended longer ago than `older_than`. `false`: it did not (it was
    /// resubmitted, or its end is not a time), or it is not there.
    fn remove_finished(&self, key: &RequestKey, older_than: Duration) -> Result<bool, QueueError>;

    /// The id of this table's installation: made with the first call, and the same for all of its daemons.
    fn installation(&self) -> Result<String, QueueError>;

    /// The tokens of the claims that hold a row.
    fn held_claims(&self) -> Result<Vec<String>, QueueError>;

    /// Stores a daemon's heartbeat, by the clock that decides about leases, and removes heartbeats that are a day old.
    fn beat(&self, heartbeat: &Heartbeat) -> Result<(), QueueError>;

    /// Notes that a daemon has ended. Its row stays until the next one ends, or for a day.
    fn leave(&self, id: &str) -> Result<(), QueueError>;

    /// The daemons with a heartbeat, those that live first, then by when they were last seen. At most 1,000.
    fn daemons(&self) -> Result<Vec<Daemon>, QueueError>;
}
