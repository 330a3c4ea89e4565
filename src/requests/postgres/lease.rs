//! Leases: rows whose lease ran out, renewals, and what is written with them. `claim` begins them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Nullable, Text};

use super::super::crashes::{EXCLUSIVE_CRASHES, sql_leases_to_wait};
use super::super::deferred::select_text;
use super::super::prepared::prepared;
use super::super::status::open_statuses;
use super::super::stored::{StoredKey, StoredText};
use super::super::text::{can_exist, clean_option};
use super::super::times::microseconds;
use super::super::types::{DeferredText, RequestKey, RequestProgress, Unclaimable};
use super::columns::now;

/// By the primary key, so that it costs the same however many rows are in work.
const STILL_HELD: &str = "SELECT j.tag::text AS tag, j.request_id::text AS request_id
    FROM unnest($1::text[], $2::text[]) AS asked (tag, request_id)
    JOIN job_request AS j ON j.tag = asked.tag AND j.request_id = asked.request_id
    WHERE j.status = 'PROCESSING' AND j.lease_owner = $3";

pub(super) fn still_held(conn: &mut PgConnection, token: &str, keys: &[RequestKey]) -> QueryResult<Vec<RequestKey>> {
    let asked: Vec<_> = keys.iter().filter(|key| can_exist(key)).collect();
    let values = (
        asked.iter().map(|key| key.tag.as_str()).collect::<Vec<_>>().into_sql::<Array<Text>>(),
        asked.iter().map(|key| key.request_id.as_str()).collect::<Vec<_>>().into_sql::<Array<Text>>(),
        super::super::text::clean(token).into_sql::<Text>(),
    );
    let held: Vec<StoredKey> = prepared(STILL_HELD, values).load(conn)?;
    Ok(held.into_iter().map(RequestKey::from).collect())
}

/// A lease that never ends was not written by us, and counts as one that ran out. PROCESSING without any lease is another
/// system's work: it is taken over only after `$3`, where that is set. Rows that another daemon is taking back at the same
/// time are skipped. A row with parts stays split (`parts`). The conditions on status and tag are those of the index
/// `job_request_newest_working`.
const RECLAIM: &str = concat!(
    "WITH clock AS MATERIALIZED (SELECT ",
    now!(),
    " AS now),
    lost AS MATERIALIZED (
        SELECT tag, request_id,
            coalesce(crashes, 0) + CASE WHEN lease_expires_at IS NULL THEN 0 ELSE 1 END AS crashes
        FROM job_request
        WHERE status = 'PROCESSING' AND tag >= '' AND job_id = ANY($2)
            AND (lease_expires_at <= (SELECT now FROM clock) OR lease_expires_at = 'infinity'
                OR lease_expires_at IS NULL AND lease_owner IS NULL
                    AND coalesce(dt_job_processing, dt_job_submitted, '-infinity')
                        <= (SELECT now FROM clock) - $3 * interval '1 microsecond')
            AND NOT (coalesce(lease_owner LIKE 'parts:%' AND lease_owner NOT LIKE 'parts:%:%', FALSE)
                AND EXISTS (SELECT 1 FROM job_request_part AS p
                    WHERE p.tag = job_request.tag AND p.request_id = job_request.request_id))
        FOR UPDATE SKIP LOCKED
    )
    UPDATE job_request AS j SET status = 'SUBMITTED', lease_owner = NULL, lease_expires_at = NULL,
        crashes = lost.crashes, next_attempt_at = coalesce(
            clock.now + (",
    sql_leases_to_wait!("lost.crashes", "$4"),
    ") * $5 * interval '1 microsecond', j.next_attempt_at)
    FROM lost, clock WHERE j.tag = lost.tag AND j.request_id = lost.request_id
    RETURNING j.tag::text AS tag, j.request_id::text AS request_id"
);

pub(super) fn reclaim(
    conn: &mut PgConnection,
    shift: i64,
    job_ids: &[String],
    lease: Duration,
    adopt_after: Option<Duration>,
) -> QueryResult<Vec<RequestKey>> {
    let values = (
        shift.into_sql::<BigInt>(),
        without_nul(job_ids).into_sql::<Array<Text>>(),
        adopt_after.map(microseconds).into_sql::<Nullable<BigInt>>(),
        i64::from(EXCLUSIVE_CRASHES).into_sql::<BigInt>(),
        microseconds(lease).into_sql::<BigInt>(),
    );
    let lost: Vec<StoredKey> = prepared(RECLAIM, values).load(conn)?;
    Ok(lost.into_iter().map(RequestKey::from).collect())
}

/// All rows in one statement, locked in the order of their keys as write-backs lock them (`write_back::COMPLETE_ALL`). Only the
/// holder of the token changes them, so the statement waits for no other daemon. A row that has made progress starts to count
/// the crashes of its own anew: a request that gets on is not poison.
const RENEW: &str = concat!(
    "WITH held AS MATERIALIZED (
        SELECT j.tag, j.request_id, given.batches
        FROM unnest($3::text[], $4::text[], $5::text[]) AS given (tag, request_id, batches)
        JOIN job_request AS j ON j.tag = given.tag AND j.request_id = given.request_id
        WHERE j.status = 'PROCESSING' AND j.lease_owner = $6
        ORDER BY j.tag, j.request_id
        FOR UPDATE OF j
    )
    UPDATE job_request AS j SET lease_expires_at = ",
    now!(),
    " + $2 * interval '1 microsecond', processed_batches = coalesce(held.batches, j.processed_batches),
        crashes = CASE WHEN held.batches IS NULL THEN j.crashes ELSE least(coalesce(j.crashes, 0), $7) END
    FROM held
    WHERE j.tag = held.tag AND j.request_id = held.request_id AND j.status = 'PROCESSING' AND j.lease_owner = $6
    RETURNING j.tag::text AS tag, j.request_id::text AS request_id"
);

pub(super) fn renew(
    conn: &mut PgConnection,
    shift: i64,
    token: &str,
    rows: &[(RequestKey, Option<String>)],
    lease: Duration,
) -> QueryResult<Vec<RequestKey>> {
    let rows = rows.iter().filter(|(key, _)| can_exist(key));
    let (keys, batches): (Vec<&RequestKey>, Vec<Option<String>>) =
        rows.map(|(key, batches)| (key, clean_option(batches.as_deref()))).unzip();
    let held: Vec<StoredKey> = sql_query(RENEW)
        .bind::<BigInt, _>(shift)
        .bind::<BigInt, _>(microseconds(lease))
        .bind::<Array<Text>, _>(keys.iter().map(|key| key.tag.as_str()).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(keys.iter().map(|key| key.request_id.as_str()).collect::<Vec<_>>())
        .bind::<Array<Nullable<Text>>, _>(batches)
        .bind::<Text, _>(super::super::text::clean(token))
        .bind::<BigInt, _>(i64::from(EXCLUSIVE_CRASHES))
        .load(conn)?;
    Ok(held.into_iter().map(RequestKey::from).collect())
}

/// Skips rows that are being renewed: two statements over the same rows could wait for each other in a circle, and progress is
/// less important than a renewal.
const NOTE: &str = "WITH noted AS (
        SELECT j.tag, j.request_id, given.stats
        FROM unnest($1::text[], $2::text[], $3::text[]) AS given (tag, request_id, stats)
        JOIN job_request AS j ON j.tag = given.tag AND j.request_id = given.request_id
        WHERE j.status = 'PROCESSING' AND j.lease_owner = $4
        FOR UPDATE OF j SKIP LOCKED
    )
    UPDATE job_request AS j SET job_stats = noted.stats::json
    FROM noted WHERE j.tag = noted.tag AND j.request_id = noted.request_id";

pub(super) fn note_progress(
    conn: &mut PgConnection,
    token: &str,
    rows: &[(RequestKey, RequestProgress)],
) -> QueryResult<()> {
    let rows: Vec<_> = rows.iter().filter(|(key, _)| can_exist(key)).collect();
    sql_query(NOTE)
        .bind::<Array<Text>, _>(rows.iter().map(|(key, _)| key.tag.as_str()).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(rows.iter().map(|(key, _)| key.request_id.as_str()).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(rows.iter().map(|(_, progress)| progress.job_stats()).collect::<Vec<_>>())
        .bind::<Text, _>(super::super::text::clean(token))
        .execute(conn)
        .map(drop)
}

/// The statement for [`deferred::read`](super::super::deferred::read).
pub(super) const fn select_deferred(which: DeferredText) -> &'static str {
    match which {
        DeferredText::RequestData => select_text!("request_data::text", "$"),
        DeferredText::ProcessedBatches => select_text!("processed_batches", "$"),
    }
}

/// Only we write back-offs, so SQL may compare them. One that others made infinite is over.
const NEXT_CLAIMABLE: &str = concat!(
    "SELECT min(CASE WHEN isfinite(next_attempt_at) THEN next_attempt_at ELSE ",
    now!(),
    " END)::text AS value FROM job_request
    WHERE job_id = ANY($2) AND status = 'SUBMITTED'
        AND tag NOT IN (SELECT name FROM exhaust_pause WHERE kind = 'tenant')"
);

pub(super) fn next_claimable(
    conn: &mut PgConnection,
    shift: i64,
    job_ids: &[String],
) -> QueryResult<Option<DateTime<Utc>>> {
    let next: StoredText = sql_query(NEXT_CLAIMABLE)
        .bind::<BigInt, _>(shift)
        .bind::<Array<Text>, _>(without_nul(job_ids))
        .get_result(conn)?;
    Ok(next.into_time())
}

pub(super) fn without_nul(job_ids: &[String]) -> Vec<&str> {
    job_ids.iter().map(String::as_str).filter(|id| !id.contains('\0')).collect()
}

/// A key is NULL only where the table was made without its primary key.
const WITHOUT_KEY: &str = concat!(
    "SELECT ctid::text AS value FROM job_request
    WHERE job_id = ANY($1) AND status IN (",
    open_statuses!(),
    ") AND (tag IS NULL OR request_id IS NULL)
    ORDER BY ctid"
);

pub(super) fn unclaimable(conn: &mut PgConnection, job_ids: &[String]) -> QueryResult<Unclaimable> {
    let rows: Vec<StoredText> = sql_query(WITHOUT_KEY).bind::<Array<Text>, _>(without_nul(job_ids)).load(conn)?;
    let mut found = Unclaimable::default();
    for row in rows {
        found.count(|| format!("ctid {}: its key is NULL", row.into_text().unwrap_or_default()));
    }
    Ok(found)
}
