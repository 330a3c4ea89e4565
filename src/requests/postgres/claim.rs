//! Taking rows and keeping them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Nullable, Text};

use super::super::stored::{StoredKey, StoredRow, Value, time};
use super::super::text::{can_exist, clean_option};
use super::super::times::microseconds;
use super::super::{ClaimWish, Progress, RequestKey};
use super::{columns, now};

/// One statement, so that nothing is held when the daemon dies in between.
///
/// `oldest` locks the oldest claimable rows, passing over those that another daemon is just claiming (SKIP LOCKED: no
/// one waits). A row that was taken between this statement's start and its lock is looked at again by PostgreSQL and
/// left out. Status and condition repeat the index' own, so that finished rows are never looked at.
///
/// `chosen` keeps rows that crashed a daemon apart: those like the oldest one are taken, up to the size of group that
/// so many crashes are allowed. Rows locked and not chosen are free again when the statement ends.
///
/// A time that does not read (`infinity`) is as old as none at all. Keys are compared by bytes, whatever the database
/// sorts by, so that both backends agree.
const CLAIM: &str = concat!(
    "WITH clock AS MATERIALIZED (SELECT ",
    now!(),
    " AS now),
    oldest AS MATERIALIZED (
        SELECT tag, request_id,
            CASE WHEN isfinite(dt_job_submitted) THEN dt_job_submitted END AS submitted,
            coalesce(crashes, 0) + CASE WHEN status = 'PROCESSING' THEN 1 ELSE 0 END AS crashes
        FROM job_request
        WHERE job_id = ANY($2) AND status IN ('SUBMITTED', 'PROCESSING')
            AND (status = 'SUBMITTED' AND (next_attempt_at IS NULL OR next_attempt_at <= (SELECT now FROM clock))
                OR status = 'PROCESSING' AND lease_expires_at <= (SELECT now FROM clock))
        ORDER BY CASE WHEN isfinite(dt_job_submitted) THEN dt_job_submitted END NULLS FIRST,
            tag COLLATE \"C\", request_id COLLATE \"C\"
        LIMIT $3
        FOR UPDATE SKIP LOCKED
    ),
    graded AS (
        SELECT tag, request_id, crashes, least(crashes, 2) AS grade,
            first_value(least(crashes, 2)) OVER (
                ORDER BY submitted NULLS FIRST, tag COLLATE \"C\", request_id COLLATE \"C\") AS taken,
            row_number() OVER (PARTITION BY least(crashes, 2)
                ORDER BY submitted NULLS FIRST, tag COLLATE \"C\", request_id COLLATE \"C\") AS place
        FROM oldest
    ),
    chosen AS (
        SELECT tag, request_id, crashes FROM graded
        WHERE grade = taken AND place <= CASE grade WHEN 0 THEN $3 WHEN 1 THEN greatest($3 / 8, 1) ELSE 1 END
    )
    UPDATE job_request AS j SET status = 'PROCESSING', dt_job_processing = clock.now, lease_owner = $4,
        lease_expires_at = clock.now + $5 * interval '1 microsecond', crashes = chosen.crashes,
        job_stats = NULL
    FROM chosen, clock
    WHERE j.tag = chosen.tag AND j.request_id = chosen.request_id
    RETURNING ",
    columns!()
);

pub(super) fn claim(conn: &mut PgConnection, shift: i64, wish: &ClaimWish, token: &str) -> QueryResult<Vec<StoredRow>> {
    if wish.limit == 0 {
        return Ok(Vec::new());
    }
    sql_query(CLAIM)
        .bind::<BigInt, _>(shift)
        .bind::<Array<Text>, _>(without_nul(&wish.job_ids))
        .bind::<BigInt, _>(i64::from(wish.limit))
        .bind::<Text, _>(token)
        .bind::<BigInt, _>(microseconds(wish.lease))
        .load(conn)
}

/// All rows in one statement. Only the holder of the token ever changes them, so it waits for nobody.
const RENEW: &str = concat!(
    "UPDATE job_request AS j SET lease_expires_at = ",
    now!(),
    " + $2 * interval '1 microsecond', processed_batches = coalesce(held.batches, j.processed_batches)
    FROM unnest($3::text[], $4::text[], $5::text[]) AS held (tag, request_id, batches)
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
        .load(conn)?;
    Ok(held.into_iter().map(RequestKey::from).collect())
}

/// Passes over rows that are being renewed: two statements over the same rows could wait for each other in a circle, and
/// progress is not worth a renewal.
const NOTE: &str = "WITH noted AS (
        SELECT j.tag, j.request_id, told.stats
        FROM unnest($1::text[], $2::text[], $3::text[]) AS told (tag, request_id, stats)
        JOIN job_request AS j ON j.tag = told.tag AND j.request_id = told.request_id
        WHERE j.status = 'PROCESSING' AND j.lease_owner = $4
        FOR UPDATE OF j SKIP LOCKED
    )
    UPDATE job_request AS j SET job_stats = noted.stats::json
    FROM noted WHERE j.tag = noted.tag AND j.request_id = noted.request_id";

pub(super) fn note_progress(conn: &mut PgConnection, token: &str, rows: &[(RequestKey, Progress)]) -> QueryResult<()> {
    let rows: Vec<_> = rows.iter().filter(|(key, _)| can_exist(key)).collect();
    sql_query(NOTE)
        .bind::<Array<Text>, _>(rows.iter().map(|(key, _)| key.tag.as_str()).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(rows.iter().map(|(key, _)| key.request_id.as_str()).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(rows.iter().map(|(_, progress)| progress.job_stats()).collect::<Vec<_>>())
        .bind::<Text, _>(super::super::text::clean(token))
        .execute(conn)
        .map(drop)
}

/// Back-offs are ours alone, so they may be compared and are never infinite.
const NEXT_CLAIMABLE: &str = concat!(
    "SELECT min(coalesce(next_attempt_at, ",
    now!(),
    "))::text AS value FROM job_request
    WHERE job_id = ANY($2) AND status IN ('SUBMITTED', 'PROCESSING') AND status = 'SUBMITTED'"
);

pub(super) fn next_claimable(
    conn: &mut PgConnection,
    shift: i64,
    job_ids: &[String],
) -> QueryResult<Option<DateTime<Utc>>> {
    let next: Value = sql_query(NEXT_CLAIMABLE)
        .bind::<BigInt, _>(shift)
        .bind::<Array<Text>, _>(without_nul(job_ids))
        .get_result(conn)?;
    Ok(time(next.value))
}

fn without_nul(job_ids: &[String]) -> Vec<&str> {
    job_ids.iter().map(String::as_str).filter(|id| !id.contains('\0')).collect()
}
