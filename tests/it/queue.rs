//! The conformance suite of the queue: what each backend does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod audit;
mod backlog;
mod bulk;
mod cancels;
mod claims;
mod clients;
mod daemons;
mod encryption;
mod ends;
mod filters;
mod leases;
mod line;
mod listening;
mod migrations;
mod outages;
mod paging;
mod parts;
mod parts_properties;
mod pauses;
mod properties;
mod reading;
mod retention;
mod slots;
mod tenants;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use exhaust::requests::{
    Claim, ClaimMode, ClaimOptions, Completion, ErrCode, Failure, Filter, ManualClock, NewRequest, Page, Queue,
    QueueError, Reader, RequestKey, RequestRow, SearchResult, StatementTimeout, WriteBack,
};

use super::daemon::wait_for;
use super::databases::TestDatabase;

/// The table as the platform's design page prints it.
pub(crate) const ORIGINAL: &str = "CREATE TABLE IF NOT EXISTS job_request (
    tag VARCHAR(50),
    request_id VARCHAR(50),
    job_id VARCHAR(50),
    status VARCHAR(50),
    request_data json,
    requested_by VARCHAR(50),
    requested_channel VARCHAR(50),
    download_urls text[],
    dt_file_created TIMESTAMP,
    dt_job_submitted TIMESTAMP,
    dt_job_completed TIMESTAMP,
    execution_time INTEGER,
    err_message VARCHAR(100),
    PRIMARY KEY (tag, request_id)
)";

pub(crate) const ORIGINAL_COLUMNS: [&str; 13] = [
    "tag",
    "request_id",
    "job_id",
    "status",
    "request_data",
    "requested_by",
    "requested_channel",
    "download_urls",
    "dt_file_created",
    "dt_job_submitted",
    "dt_job_completed",
    "execution_time",
    "err_message",
];

pub(crate) const OUR_COLUMNS: [&str; 14] = [
    "err_code",
    "encryption_key",
    "encryption_key_sealed",
    "iteration",
    "crashes",
    "processed_batches",
    "err_detail",
    "dt_job_processing",
    "lease_owner",
    "lease_expires_at",
    "next_attempt_at",
    "job_stats",
    "allowed_channels",
    "encryption_mark",
];

pub(crate) const LEASE: Duration = Duration::from_mins(2);

/// 2026-03-01 12:00:00, where the clocks of these tests begin.
pub(crate) fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_772_366_400, 0).unwrap()
}

/// A migrated queue, with a clock that the test moves.
pub(crate) fn migrated(database: &TestDatabase) -> (Arc<dyn Queue>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(start()));
    let queue = database.queue(clock.clone());
    queue.migrate(false).unwrap();
    (queue, clock)
}

pub(crate) fn key(tag: &str, request_id: &str) -> RequestKey {
    RequestKey { tag: tag.to_owned(), request_id: request_id.to_owned() }
}

pub(crate) fn request(tag: &str, request_id: &str) -> NewRequest {
    NewRequest {
        key: key(tag, request_id),
        job_id: "course-report".to_owned(),
        request_data: r#"{"batchFilters":["TPD"]}"#.to_owned(),
        requested_by: Some("somebody".to_owned()),
        requested_channel: Some("channel-1".to_owned()),
        allowed_channels: None,
        encryption: None,
    }
}

pub(crate) fn claim_options(limit: u32) -> ClaimOptions {
    ClaimOptions {
        job_ids: vec!["course-report".to_owned(), "course-alias".to_owned()],
        limit,
        lease: LEASE,
        owner: "host:7".to_owned(),
        mode: ClaimMode::Shared,
        per_tag: None,
        per_channel: None,
        paused_tags: Vec::new(),
        daemons: u32::MAX,
    }
}

/// The result of a search, with its rows.
pub(crate) struct FoundRows {
    pub(crate) total: u64,
    pub(crate) rows: Vec<RequestRow>,
}

/// A search with its rows, the newest first.
pub(crate) fn found(queue: &dyn Queue, search: &Filter, reader: &Reader, limit: u32) -> FoundRows {
    let timeout = StatementTimeout::after(Duration::from_mins(1));
    let SearchResult { total, entries } = queue.search(search, reader, &Page::first(limit), &timeout).unwrap();
    let keys: Vec<RequestKey> = entries.into_iter().map(|entry| entry.key).collect();
    let rows = queue.rows(&keys, u64::MAX).unwrap();
    assert_eq!(rows.iter().map(|(at, _)| *at).collect::<Vec<_>>(), (0..keys.len()).collect::<Vec<_>>());
    FoundRows { total, rows: rows.into_iter().map(|(_, row)| row).collect() }
}

/// Completes one row.
pub(crate) fn complete(
    queue: &dyn Queue,
    token: &str,
    key: &RequestKey,
    completion: &Completion,
) -> Result<WriteBack, QueueError> {
    let answers = queue.complete_all(token, &[(key.clone(), completion.clone())])?;
    Ok(answers[0])
}

/// Takes back rows whose lease ran out, and then claims, as daemons do.
pub(crate) fn take(queue: &dyn Queue, claim_options: &ClaimOptions) -> Claim {
    queue.reclaim(&claim_options.job_ids, claim_options.lease, None).unwrap();
    queue.claim(claim_options).unwrap()
}

/// One row that has crashed its daemons.
pub(crate) fn exclusive_claim() -> ClaimOptions {
    ClaimOptions { mode: ClaimMode::Exclusive, ..claim_options(500) }
}

pub(crate) fn failure() -> Failure {
    Failure {
        code: ErrCode::SourceUnavailable,
        message: "the source cannot be reached".to_owned(),
        detail: "the whole chain".to_owned(),
        execution_ms: 1234,
        job_stats: Some(r#"{"rows":1}"#.to_owned()),
        processed_batches: None,
    }
}

/// Request ids in the order of the claim.
pub(crate) fn ids(claim: &Claim) -> Vec<&str> {
    claim.requests.iter().map(|request| request.key.request_id.as_str()).collect()
}

/// Every column of a row, by name, as the database writes it.
pub(crate) type Columns = BTreeMap<&'static str, Option<String>>;

pub(crate) fn columns(database: &TestDatabase, key: &RequestKey) -> Columns {
    let names: Vec<&'static str> = ORIGINAL_COLUMNS.into_iter().chain(OUR_COLUMNS).collect();
    let sql = format!(
        "SELECT {} FROM job_request WHERE tag = '{}' AND request_id = '{}'",
        names.join(", "),
        key.tag,
        key.request_id
    );
    let mut rows = database.query_text(&sql);
    assert_eq!(rows.len(), 1, "{key}");
    names.into_iter().zip(rows.remove(0)).collect()
}

/// The columns that differ, with their new values.
pub(crate) fn changes(before: &Columns, after: &Columns) -> Columns {
    after.iter().filter(|(name, value)| before[*name] != **value).map(|(name, value)| (*name, value.clone())).collect()
}

/// Expected [`changes`]: `-` for NULL; `?` for a time or token of any value.
#[track_caller]
pub(crate) fn assert_changes(before: &Columns, after: &Columns, expected: &[(&'static str, &str)]) {
    let found: BTreeMap<&str, String> = changes(before, after)
        .into_iter()
        .map(|(name, value)| {
            let any = expected.contains(&(name, "?"));
            (name, value.map_or("-".to_owned(), |value| if any { "?".to_owned() } else { value }))
        })
        .collect();
    let expected: BTreeMap<&str, String> = expected.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    assert_eq!(found, expected);
}

/// Inserts a row with original columns only, as the platform's own API does. `submitted` is an SQL expression.
pub(crate) fn insert_outside(database: &TestDatabase, tag: &str, request_id: &str, job_id: &str, submitted: &str) {
    database.execute(&format!(
        "INSERT INTO job_request (tag, request_id, job_id, status, request_data, dt_job_submitted)
         VALUES ('{tag}', '{request_id}', '{job_id}', 'SUBMITTED', '{{}}', {submitted})"
    ));
}

/// How often PostgreSQL scanned an index, and how many entries it read. Waits for the first scan: the statistics arrive with
/// some delay.
pub(crate) fn index_reads(database: &TestDatabase, index: &str) -> (u64, u64) {
    let read = || {
        let rows = database.query_text(&format!(
            "SELECT idx_scan, idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = '{index}'"
        ));
        let number = |n: usize| rows[0][n].as_ref().unwrap().parse::<u64>().unwrap();
        (number(0), number(1))
    };
    wait_for("counts", || Some(read()).filter(|(looks, _)| *looks > 0))
}

/// The planner's view of a table with many finished rows: they are analysed only after a tenth of them has changed.
pub(crate) fn believe_that_nothing_waits(database: &TestDatabase) {
    database.execute(
        "ALTER TABLE job_request SET (autovacuum_enabled = false);
         INSERT INTO job_request (tag, request_id, job_id, status, dt_job_submitted)
         SELECT 'old', n::text, 'course-report', 'COMPLETED', timestamp '2025-01-01' + n * interval '1 second'
         FROM generate_series(1, 20000) AS n; ANALYZE job_request",
    );
}
