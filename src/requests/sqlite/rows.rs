//! Rows by their keys, and what is read of all rows: the line of waiting requests, counts, whether every column exists.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::SqliteConnection;
use serde_json::json;

use super::super::encryption::protected;
use super::super::prepared::prepared;
use super::super::status::open_statuses;
use super::super::stored::{self, StoredCount, StoredNth, StoredRow, StoredWaiting};
use super::super::text::{URLS_OF_MANY, URLS_OF_ONE, within};
use super::super::times::sqlite_text;
use super::super::types::{Overview, RequestKey, RequestRow};
use super::columns::columns;

const FIND: &str = concat!("SELECT ", columns!(), " FROM job_request WHERE tag = ?1 AND request_id = ?2");

pub(super) fn find(conn: &mut SqliteConnection, key: &RequestKey, most: u64) -> QueryResult<Option<RequestRow>> {
    let values = (key.tag.as_str().into_sql::<Text>(), key.request_id.as_str().into_sql::<Text>());
    let row: Option<StoredRow> = prepared(within(FIND, most, URLS_OF_ONE), values).get_result(conn).optional()?;
    Ok(row.map(RequestRow::from))
}

/// In the order of the index `job_request_counts`, which has all columns of the statement.
pub(super) const OVERVIEW: &str = "SELECT job_id, status, count(*) AS total,
        CASE WHEN status = 'PROCESSING' AND lease_expires_at IS NULL THEN count(*) ELSE 0 END AS without_lease
    FROM job_request GROUP BY status, lease_expires_at, job_id";

pub(super) fn overview(conn: &mut SqliteConnection) -> QueryResult<Overview> {
    let counts: Vec<StoredCount> = sql_query(OVERVIEW).load(conn)?;
    Ok(stored::overview(counts))
}

/// Names every column that is read or written.
pub(super) fn check(conn: &mut SqliteConnection) -> QueryResult<()> {
    const EVERY: &str = concat!(
        "SELECT ",
        columns!(),
        ", encryption_key, encryption_key_sealed, encryption_mark FROM job_request LIMIT 0"
    );
    sql_query(within(EVERY, 0, 0)).load::<StoredRow>(conn)?;
    sql_query("SELECT job_id, schedule, slot FROM exhaust_slot LIMIT 0").execute(conn)?;
    sql_query("SELECT tag, request_id, part FROM job_request_part LIMIT 0").execute(conn)?;
    sql_query("SELECT kind, name FROM exhaust_pause LIMIT 0").execute(conn).map(drop)
}

/// In the order of the keys, which come as a JSON array of pairs. ?2: the number of bytes that may come before the last row.
const ROWS: &str = concat!(
    "SELECT ",
    columns!(),
    ", n FROM (
        SELECT n, wanted_tag, wanted_id, sum(bytes) OVER (ORDER BY n) - bytes AS before FROM (
            SELECT wanted.key AS n, tag AS wanted_tag, request_id AS wanted_id,
                1000 + CASE WHEN octet_length(request_data) <= {most} THEN octet_length(request_data) ELSE 0 END
                    + CASE WHEN octet_length(download_urls) <= {urls} THEN octet_length(download_urls) ELSE 0 END
                    + min(coalesce(octet_length(job_stats), 0), 2097152)
                    + min(coalesce(octet_length(err_detail), 0), 400000) AS bytes
            FROM json_each(?1) AS wanted CROSS JOIN job_request
            WHERE tag = wanted.value ->> 0 AND request_id = wanted.value ->> 1
        )
    ) CROSS JOIN job_request
    WHERE before < ?2 AND tag = wanted_tag AND request_id = wanted_id
    ORDER BY n"
);

pub(super) fn rows(
    conn: &mut SqliteConnection,
    keys: &[RequestKey],
    most: u64,
    bytes: u64,
) -> QueryResult<Vec<(usize, RequestRow)>> {
    let keys: Vec<_> = keys.iter().map(|key| (&key.tag, &key.request_id)).collect();
    let found: Vec<StoredNth> = sql_query(within(ROWS, most, URLS_OF_MANY))
        .bind::<Text, _>(json!(keys).to_string())
        .bind::<BigInt, _>(i64::try_from(bytes).unwrap_or(i64::MAX))
        .load(conn)?;
    Ok(found.into_iter().map(|row| row.nth(0)).collect())
}

/// The condition on both states is that of the index; the claim has it too.
pub(super) const WAITING: &str = concat!(
    "SELECT tag, request_id, dt_job_submitted AS submitted,
        next_attempt_at IS NOT NULL AND next_attempt_at > ?2 AS backing_off, substr(requested_channel, 1, 200) AS channel
    FROM job_request
    WHERE job_id IN (SELECT value FROM json_each(?1)) AND status IN (",
    open_statuses!(),
    ")
        AND status = 'SUBMITTED' AND typeof(tag) = 'text' AND typeof(request_id) = 'text'"
);

pub(super) fn waiting(
    conn: &mut SqliteConnection,
    now: DateTime<Utc>,
    job_ids: &[String],
) -> QueryResult<Vec<StoredWaiting>> {
    sql_query(WAITING).bind::<Text, _>(json!(job_ids).to_string()).bind::<Text, _>(sqlite_text(now)).load(conn)
}
