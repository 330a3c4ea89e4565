//! The queue in domain verbs, as three traits: for those who work on requests, for clients, and for what keeps the table
//! in order. A user takes the one that it needs; a backend has all three.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::daemons::{Daemon, Heartbeat};
use super::finished::{FinishedCursor, FinishedPage};
use super::listener::Listener;
use super::paging::{self, Page, PageEntry, READ_BYTES, ReadSteps};
use super::reading::{Client, Reader, RequestProgress, Search, SearchResult, WaitingRequest};
use super::statement_timeout::StatementTimeout;
use super::types::{
    Claim, ClaimOptions, Completion, DeferredText, Failure, NewRequest, Overview, Pooling, QueueError, RequestKey,
    RequestRow, Retried, Submitted, Unclaimable, WriteBack,
};

/// A backend: all verbs. All calls block; the worker and the API make them from threads that may.
pub trait Queue: WorkQueue + ClientQueue + Housekeeping {}

impl<T: WorkQueue + ClientQueue + Housekeeping> Queue for T {}

/// What a worker does with requests: claims them, keeps its claim, writes back what became of them; and the schedule that
/// makes requests of standalone jobs.
pub trait WorkQueue: Send + Sync {
    /// Now, by the clock that leases and slots are judged by: the database's, where daemons share one.
    fn now(&self) -> Result<DateTime<Utc>, QueueError>;

    /// Begins to hear of changes that others make to the table. `None`: a pooler is in the way, and nothing will ever be
    /// heard.
    fn listen(&self) -> Result<Option<Listener>, QueueError>;

    /// Takes SUBMITTED rows whose back-off is over, atomically, oldest first.
    fn claim(&self, options: &ClaimOptions) -> Result<Claim, QueueError>;

    /// A text of a claimed row that did not come with the claim; `None`: there is none, it has more than so many bytes, or
    /// the row is not there any more.
    fn deferred_text(&self, key: &RequestKey, which: DeferredText, most: u64) -> Result<Option<String>, QueueError>;

    /// Prolongs the claim on these rows, noting what was stored (`processed_batches` JSON, where given). Returns the
    /// keys still held.
    fn renew(
        &self,
        token: &str,
        rows: &[(RequestKey, Option<String>)],
        lease: Duration,
    ) -> Result<Vec<RequestKey>, QueueError>;

    /// Notes in `job_stats` how far requests are, for those who wait for them; fenced: rows that are not held under this
    /// token are left alone.
    fn note_progress(&self, token: &str, rows: &[(RequestKey, RequestProgress)]) -> Result<(), QueueError>;

    /// This and whatever else ends a request wipes the password for its files.
    ///
    /// PROCESSING → COMPLETED for rows of one claim at once, fenced by the token: all of them are asked for in one
    /// transaction, and either all that are held are written or none. Answers in the order of the rows.
    fn complete_all(&self, token: &str, rows: &[(RequestKey, Completion)]) -> Result<Vec<WriteBack>, QueueError>;

    /// PROCESSING → SUBMITTED with iteration + 1, not to be claimed before `delay` is over; fenced.
    fn retry_later(
        &self,
        token: &str,
        key: &RequestKey,
        failure: &Failure,
        delay: Duration,
    ) -> Result<WriteBack, QueueError>;

    /// PROCESSING → FAILED with iteration + 1; fenced.
    fn fail(&self, token: &str, key: &RequestKey, failure: &Failure) -> Result<WriteBack, QueueError>;

    /// PROCESSING → SUBMITTED as it was, no attempt spent; fenced.
    fn hand_back(
        &self,
        token: &str,
        key: &RequestKey,
        processed_batches: Option<&str>,
    ) -> Result<WriteBack, QueueError>;

    /// When the next row of these jobs that is SUBMITTED may be claimed: `None` if there is none at all.
    fn next_claimable(&self, job_ids: &[String]) -> Result<Option<DateTime<Utc>>, QueueError>;

    /// The last slot of a standalone job that was made into a row, for this very schedule. At first sight of the job
    /// or of a changed schedule `now` is remembered and returned: counting starts then.
    fn last_slot(&self, job_id: &str, schedule: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, QueueError>;

    /// Remembers `slot` as made and inserts its row, in one transaction; `false` if the row was there already.
    fn make_slot(&self, job_id: &str, slot: DateTime<Utc>, request: &NewRequest) -> Result<bool, QueueError>;
}

/// What clients and operators do with requests.
pub trait ClientQueue: Send + Sync {
    /// Inserts a SUBMITTED row, or finds the one that has the key. A row with another password for its files, or where
    /// only one of the two has any, is not the same, and stays as it is. A FAILED one that is tried again gets its
    /// password anew. What is refused changes nothing; and however many submissions come at once, to however many
    /// processes, none opens a request beyond its client's limit.
    fn submit_for(&self, request: &NewRequest, client: &Client) -> Result<Submitted, QueueError>;

    /// The same for somebody who may everything.
    fn submit(&self, request: &NewRequest) -> Result<Submitted, QueueError> {
        self.submit_for(request, &Client::default())
    }

    /// How the mark of a row's password was made, what comes before its last colon; `None`: the row has none, or is not
    /// there.
    fn mark_scheme(&self, key: &RequestKey) -> Result<Option<String>, QueueError>;

    /// Whether a client has as many requests open as they may. Another submission may change that at once: what counts
    /// is `submit_for`.
    fn has_reached_limit(&self, client: &Client) -> Result<bool, QueueError>;

    /// SUBMITTED → FAILED, "cancelled by …". `false`: the row is not SUBMITTED (or not there).
    fn cancel(&self, key: &RequestKey, by: &str) -> Result<bool, QueueError>;

    /// FAILED → SUBMITTED with everything of earlier attempts cleared, within the client's limit as `submit_for`. Which
    /// rows they see is for the caller to know.
    fn resubmit_for(&self, key: &RequestKey, client: &Client) -> Result<Retried, QueueError>;

    /// The same for somebody who may everything. `false`: nothing changed.
    fn resubmit(&self, key: &RequestKey) -> Result<bool, QueueError> {
        Ok(self.resubmit_for(key, &Client::default())? == Retried::Done)
    }

    /// One row.
    fn find(&self, key: &RequestKey) -> Result<Option<RequestRow>, QueueError>;

    /// Which rows the reader may see, newest submission first, of one tag or of all: a page of them.
    /// [`QueueError::InvalidCursor`] where the page begins nowhere.
    fn list(&self, tag: Option<&str>, reader: &Reader, page: &Page) -> Result<Vec<PageEntry>, QueueError>;

    /// Which rows match and may be seen by the reader: how many there are, and a page of them. [`QueueError::TimedOut`] when
    /// the timeout is over; [`QueueError::InvalidCursor`] as for `list`.
    fn search(
        &self,
        search: &Search,
        reader: &Reader,
        page: &Page,
        timeout: &StatementTimeout,
    ) -> Result<SearchResult, QueueError>;

    /// The rows with these keys, each with its place among them, until they are about so many bytes: at least the first that
    /// is there. What is missing after the last one may be asked for again.
    fn rows(&self, keys: &[RequestKey], bytes: u64) -> Result<Vec<(usize, RequestRow)>, QueueError>;

    /// The newest rows that the reader may see, of one tag or of all.
    fn newest(&self, tag: Option<&str>, reader: &Reader, limit: u32) -> Result<Vec<RequestRow>, QueueError> {
        let entries = self.list(tag, reader, &Page::first(limit))?;
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
        paging::newest_first(&mut rows);
        Ok(rows)
    }

    /// SUBMITTED rows of these jobs in the order in which they are claimed; those that back off after all others.
    fn waiting(&self, job_ids: &[String]) -> Result<Vec<WaitingRequest>, QueueError>;

    /// Counts by job and status.
    fn overview(&self) -> Result<Overview, QueueError>;

    /// From now on rows are read with a `request_data` of at most so many bytes; a longer one is not read from the
    /// database at all. 64 KiB until this is called.
    fn limit_request_data(&self, most: u64);
}

/// What keeps the table in order: migrations, leases that ran out, retention, heartbeats, and whether the database can be
/// used.
pub trait Housekeeping: Send + Sync {
    /// Brings the table to what this program needs, adding only; several daemons may start at once. With `dry_run`
    /// nothing is changed. Returns the SQL statements that were (or would be) run.
    fn migrate(&self, dry_run: bool) -> Result<Vec<String>, QueueError>;

    /// Whether this role may run what `migrate` would: [`QueueError::Unfit`] names what hinders it.
    fn may_migrate(&self) -> Result<(), QueueError>;

    /// Whether the database answers and has every column this program needs: [`QueueError::Unfit`] where a migration is
    /// missing.
    fn check(&self) -> Result<(), QueueError>;

    /// Whether rows can be written now, and with `removes` removed as well: [`QueueError::Unfit`] says what hinders it. It
    /// changes nothing and leaves nothing behind, so it may be asked every few seconds.
    fn check_writable(&self, removes: bool) -> Result<(), QueueError>;

    /// Gives up the connections that calls may hang on: the next call opens its own.
    fn reconnect(&self);

    /// How the connections to the database are pooled.
    fn pooling(&self) -> Result<Pooling, QueueError>;

    /// Whether changes that others make can be heard: `listen` gives a listener.
    fn can_listen(&self) -> Result<bool, QueueError>;

    /// PROCESSING → SUBMITTED for rows whose lease of ours ran out (that counts a crash), and with `adopt_after` for rows
    /// without any lease that are older than that: what a replaced system left behind. A suspect waits for so many leases
    /// as it has crashed its daemon alone: whatever kills daemons may be over by then. Returns their keys.
    fn reclaim(
        &self,
        job_ids: &[String],
        lease: Duration,
        adopt_after: Option<Duration>,
    ) -> Result<Vec<RequestKey>, QueueError>;

    /// Rows of these jobs that wait or are in work and can never be claimed, since nothing can name them.
    fn unclaimable(&self, job_ids: &[String]) -> Result<Unclaimable, QueueError>;

    /// COMPLETED and FAILED rows of one job (an id as rows have it; an alias is another one) that ended longer ago than
    /// `older_than`, after the last row of the page before: at most `limit`, the oldest first. On SQLite that order holds
    /// within one form of time; numbers come before text. A row whose end is absent or does not read is never among them.
    ///
    /// One job, because an index then gives them in order, however many finished rows there are.
    fn finished(
        &self,
        job_id: &str,
        older_than: Duration,
        after: Option<&FinishedCursor>,
        limit: u32,
    ) -> Result<FinishedPage, QueueError>;

    /// Removes a row for good, if it still is COMPLETED or FAILED and ended longer ago than `older_than`. `false`: it is
    /// not (resubmitted meanwhile, or its end does not read), or it is not there.
    fn remove_finished(&self, key: &RequestKey, older_than: Duration) -> Result<bool, QueueError>;

    /// Notes that a daemon lives, by the clock that judges leases, and removes what is left of those that have been gone for
    /// a day.
    fn beat(&self, heartbeat: &Heartbeat) -> Result<(), QueueError>;

    /// Removes the note: the daemon has stopped.
    fn leave(&self, id: &str) -> Result<(), QueueError>;

    /// The daemons that have left a note, those that live first, then by when they were last seen. At most 1,000.
    fn daemons(&self) -> Result<Vec<Daemon>, QueueError>;
}
