//! Rows by their keys, and what is read of all rows: the line of waiting requests, counts, whether every column exists; and the
//! database's time.

use chrono::{DateTime, Utc};
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Text};

use super::super::encryption::protected;
use super::super::prepared::prepared;
use super::super::stored::{self, StoredCount, StoredNth, StoredRow, StoredText, StoredWaiting};
use super::super::text::{URLS_OF_MANY, URLS_OF_ONE, clean, within};
use super::super::types::{Overview, RequestKey, RequestRow};
use super::columns::{columns, now, rows};

const FIND: &str =
    concat!("SELECT ", columns!(), " FROM ", rows!("job_request AS j"), " WHERE j.tag = $1 AND j.request_id = $2");

pub(super) fn find(conn: &mut PgConnection, key: &RequestKey, most: u64) -> QueryResult<Option<RequestRow>> {
    let values = (key.tag.as_str().into_sql::<Text>(), key.request_id.as_str().into_sql::<Text>());
    let row: Option<StoredRow> = prepared(within(FIND, most, URLS_OF_ONE), values).get_result(conn).optional()?;
    Ok(row.map(RequestRow::from))
}

/// `None`: it cannot be read.
pub(super) fn now(conn: &mut PgConnection, shift: i64) -> QueryResult<Option<DateTime<Utc>>> {
    let now: StoredText =
        sql_query(concat!("SELECT ", now!(), "::text AS value")).bind::<BigInt, _>(shift).get_result(conn)?;
    Ok(now.into_time())
}

pub(super) fn overview(conn: &mut PgConnection) -> QueryResult<Overview> {
    let counts: Vec<StoredCount> = sql_query(
        "SELECT job_id::text AS job_id, status::text AS status, count(*) AS total,
            count(*) FILTER (WHERE status = 'PROCESSING' AND lease_expires_at IS NULL) AS without_lease
        FROM job_request GROUP BY 1, 2",
    )
    .load(conn)?;
    Ok(stored::overview(counts))
}

/// Names every column that is read or written.
pub(super) fn check(conn: &mut PgConnection) -> QueryResult<()> {
    const EVERY: &str = concat!(
        "SELECT ",
        columns!(),
        ", j.encryption_key, j.encryption_key_sealed, j.encryption_mark FROM ",
        rows!("job_request AS j"),
        " LIMIT 0"
    );
    sql_query(within(EVERY, 0, 0)).load::<StoredRow>(conn)?;
    sql_query("SELECT job_id, schedule, slot FROM exhaust_slot LIMIT 0").execute(conn)?;
    // Who only reads requests needs no right on these.
    sql_query("SELECT 'job_request_part'::regclass, 'exhaust_pause'::regclass").execute(conn).map(drop)
}

/// In the order of the keys. `$1` and `$2` are the keys, `$3` the number of bytes that may come before the last row.
const ROWS: &str = concat!(
    "SELECT ",
    columns!(),
    ", w.n FROM (
        SELECT w.n, w.tag, w.request_id, sum(w.bytes) OVER (ORDER BY w.n) - w.bytes AS before FROM (
            SELECT w.n, w.tag, w.request_id,
                1000 + CASE WHEN octet_length(l.data) <= {most} THEN octet_length(l.data) ELSE 0 END
                    + CASE WHEN octet_length(l.urls) <= {urls} THEN octet_length(l.urls) ELSE 0 END
                    + least(coalesce(octet_length(l.stats), 0), 2097152)
                    + least(coalesce(octet_length(j.err_detail), 0), 400000) AS bytes
            FROM ",
    rows!(
        "unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (tag, request_id, n)
                JOIN job_request AS j ON j.tag = w.tag AND j.request_id = w.request_id"
    ),
    ") AS w
    ) AS w JOIN ",
    rows!("job_request AS j ON j.tag = w.tag AND j.request_id = w.request_id"),
    " WHERE w.before < $3 ORDER BY w.n"
);

pub(super) fn rows(
    conn: &mut PgConnection,
    keys: &[RequestKey],
    most: u64,
    bytes: u64,
) -> QueryResult<Vec<(usize, RequestRow)>> {
    let found: Vec<StoredNth> = sql_query(within(ROWS, most, URLS_OF_MANY))
        .bind::<Array<Text>, _>(keys.iter().map(|key| key.tag.as_str()).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(keys.iter().map(|key| key.request_id.as_str()).collect::<Vec<_>>())
        .bind::<BigInt, _>(i64::try_from(bytes).unwrap_or(i64::MAX))
        .load(conn)?;
    Ok(found.into_iter().map(|row| row.nth(1)).collect())
}

/// A time that cannot be compared (`infinity`) is as old as none.
const WAITING: &str = concat!(
    "SELECT tag::text AS tag, request_id::text AS request_id,
        CASE WHEN isfinite(dt_job_submitted) THEN dt_job_submitted END::text AS submitted,
        CASE WHEN next_attempt_at > ",
    now!(),
    " THEN 1 ELSE 0 END::bigint AS backing_off, left(requested_channel::text, 200) AS channel
    FROM job_request
    WHERE job_id = ANY($2) AND status = 'SUBMITTED'"
);

pub(super) fn waiting(conn: &mut PgConnection, shift: i64, job_ids: &[String]) -> QueryResult<Vec<StoredWaiting>> {
    let job_ids: Vec<String> = job_ids.iter().map(|id| clean(id)).collect();
    sql_query(WAITING).bind::<BigInt, _>(shift).bind::<Array<Text>, _>(job_ids).load(conn)
}
