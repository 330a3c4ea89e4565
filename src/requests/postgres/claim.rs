//! Taking rows and keeping them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Nullable, Text};

use super::super::stored::{StoredKey, StoredRow, Value, time};
use super::super::text::{can_exist, clean_option};
use super::super::times::microseconds;
use super::super::{ClaimWish, Progress, RequestKey, SUSPECT, Suspects};
use super::{columns, now};

/// Rows that may be claimed. Status and condition repeat the index' own, so that finished rows are never looked at.
const CLAIMABLE: &str = "job_id = ANY($2) AND status IN ('SUBMITTED', 'PROCESSING') AND status = 'SUBMITTED'
            AND (next_attempt_at IS NULL OR next_attempt_at <= (SELECT now FROM clock))";

/// PROCESSING without any lease is another system's work, taken over only where `$3` says after how long. Rows that another
/// daemon is just taking back are passed over.
const RECLAIM: &str = concat!(
    "WITH clock AS MATERIALIZED (SELECT ",
    now!(),
    " AS now),
    lost AS MATERIALIZED (
        SELECT tag, request_id,
            coalesce(crashes, 0) + CASE WHEN lease_expires_at IS NULL THEN 0 ELSE 1 END AS crashes
        FROM job_request
        WHERE job_id = ANY($2) AND status IN ('SUBMITTED', 'PROCESSING') AND status = 'PROCESSING'
            AND (lease_expires_at <= (SELECT now FROM clock)
                OR lease_expires_at IS NULL AND lease_owner IS NULL
                    AND coalesce(dt_job_processing, dt_job_submitted, '-infinity')
                        <= (SELECT now FROM clock) - $3 * interval '1 microsecond')
        FOR UPDATE SKIP LOCKED
    )
    UPDATE job_request AS j SET status = 'SUBMITTED', lease_owner = NULL, lease_expires_at = NULL,
        crashes = lost.crashes, next_attempt_at = CASE WHEN lost.crashes > $4
            THEN clock.now + (lost.crashes - $4) * $5 * interval '1 microsecond' ELSE j.next_attempt_at END
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
    let lost: Vec<StoredKey> = sql_query(RECLAIM)
        .bind::<BigInt, _>(shift)
        .bind::<Array<Text>, _>(without_nul(job_ids))
        .bind::<Nullable<BigInt>, _>(adopt_after.map(microseconds))
        .bind::<BigInt, _>(i64::from(SUSPECT))
        .bind::<BigInt, _>(microseconds(lease))
        .load(conn)?;
    Ok(lost.into_iter().map(RequestKey::from).collect())
}

/// A time that does not read (`infinity`) is as old as none at all. Keys are compared by bytes, whatever the database
/// sorts by, so that both backends agree.
const BY_AGE: &str = "CASE WHEN isfinite(dt_job_submitted) THEN dt_job_submitted END NULLS FIRST,
            tag COLLATE \"C\", request_id COLLATE \"C\"";

/// One statement, so that nothing is held when the daemon dies in between.
///
/// `oldest` locks the oldest claimable rows, passing over those that another daemon is just claiming (SKIP LOCKED: no
/// one waits). A row that was taken between this statement's start and its lock is looked at again by PostgreSQL and
/// left out.
///
/// `chosen` keeps rows that crashed a daemon apart: those like the oldest one are taken, up to the size of group that
/// so many crashes are allowed. Rows locked and not chosen are free again when the statement ends.
fn statement(wish: &ClaimWish) -> String {
    let grade = match wish.suspects {
        Suspects::Leave => format!("coalesce(crashes, 0) < {SUSPECT}"),
        Suspects::One => format!("coalesce(crashes, 0) >= {SUSPECT}"),
    };
    let claimable = format!("{CLAIMABLE} AND {grade}");
    let (allowed, among) = match (wish.per_tag, wish.per_channel) {
        (None, None) => (String::new(), String::new()),
        _ => (allowed(&claimable), "AND (tag, request_id) IN (SELECT tag, request_id FROM allowed)".to_owned()),
    };
    let (now, columns) = (now!(), columns!());
    format!(
        "WITH clock AS MATERIALIZED (SELECT {now} AS now),
    {allowed}
    oldest AS MATERIALIZED (
        SELECT tag, request_id, crashes, row_number() OVER (ORDER BY {BY_AGE}) AS age FROM (
            SELECT tag, request_id, dt_job_submitted, coalesce(crashes, 0) AS crashes FROM job_request
            WHERE {claimable} {among}
            ORDER BY {BY_AGE}
            LIMIT $3
            FOR UPDATE SKIP LOCKED
        ) AS locked
    ),
    graded AS (
        SELECT tag, request_id, crashes,
            first_value(crashes) OVER (ORDER BY age) AS taken,
            row_number() OVER (PARTITION BY crashes ORDER BY age) AS place
        FROM oldest
    ),
    chosen AS (
        SELECT tag, request_id, crashes FROM graded
        WHERE crashes = taken AND place <= CASE crashes WHEN 0 THEN $3 WHEN 1 THEN greatest($3 / 8, 1) ELSE 1 END
    )
    UPDATE job_request AS j SET status = 'PROCESSING', dt_job_processing = clock.now, lease_owner = $4,
        lease_expires_at = clock.now + $5 * interval '1 microsecond', crashes = chosen.crashes,
        job_stats = NULL
    FROM chosen, clock
    WHERE j.tag = chosen.tag AND j.request_id = chosen.request_id
    RETURNING {columns}"
    )
}

/// Claimable rows within the limits on tags (`$6`) and channels (`$7`): those in work come first, then the oldest. Rows
/// that a tag's limit leaves out take no place of their channel.
fn allowed(claimable: &str) -> String {
    format!(
        "held AS MATERIALIZED (
        SELECT tag, requested_channel FROM job_request
        WHERE status IN ('SUBMITTED', 'PROCESSING') AND status = 'PROCESSING'
            AND lease_expires_at > (SELECT now FROM clock)
    ),
    by_tag AS (
        SELECT tag, request_id, requested_channel, dt_job_submitted,
            row_number() OVER (PARTITION BY tag ORDER BY {BY_AGE})
                + coalesce((SELECT n FROM (SELECT tag, count(*) AS n FROM held GROUP BY tag) AS h
                    WHERE h.tag = job_request.tag), 0) AS place
        FROM job_request WHERE {claimable}
    ),
    allowed AS MATERIALIZED (
        SELECT tag, request_id FROM (
            SELECT tag, request_id, requested_channel,
                row_number() OVER (PARTITION BY requested_channel ORDER BY {BY_AGE})
                    + coalesce((SELECT n FROM (SELECT requested_channel, count(*) AS n FROM held GROUP BY 1) AS h
                        WHERE h.requested_channel = by_tag.requested_channel), 0) AS place
            FROM by_tag WHERE $6 IS NULL OR place <= $6
        ) AS by_channel
        WHERE $7 IS NULL OR requested_channel IS NULL OR place <= $7
    ),"
    )
}

pub(super) fn claim(conn: &mut PgConnection, shift: i64, wish: &ClaimWish, token: &str) -> QueryResult<Vec<StoredRow>> {
    if wish.limit == 0 {
        return Ok(Vec::new());
    }
    let limit = if wish.suspects == Suspects::One { 1 } else { i64::from(wish.limit) };
    let query = sql_query(statement(wish))
        .bind::<BigInt, _>(shift)
        .bind::<Array<Text>, _>(without_nul(&wish.job_ids))
        .bind::<BigInt, _>(limit)
        .bind::<Text, _>(token)
        .bind::<BigInt, _>(microseconds(wish.lease))
        .bind::<Nullable<BigInt>, _>(wish.per_tag.map(i64::from))
        .bind::<Nullable<BigInt>, _>(wish.per_channel.map(i64::from));
    if wish.per_tag.is_none() && wish.per_channel.is_none() {
        return query.load(conn);
    }
    // Two claims at once would both count what is in work before either adds to it: with limits they take turns.
    conn.transaction(|conn| {
        sql_query("SELECT pg_advisory_xact_lock(hashtext('exhaust_claim'))").execute(conn)?;
        query.load(conn)
    })
}

/// All rows in one statement, locked in the order of their keys as ends lock them (`ends::COMPLETE_ALL`). Only the holder
/// of the token ever changes them, so it waits for no other daemon. A row that got further counts its crashes alone anew:
/// what is killed again and again and gets on is no poison.
const RENEW: &str = concat!(
    "WITH held AS MATERIALIZED (
        SELECT j.tag, j.request_id, told.batches
        FROM unnest($3::text[], $4::text[], $5::text[]) AS told (tag, request_id, batches)
        JOIN job_request AS j ON j.tag = told.tag AND j.request_id = told.request_id
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
        .bind::<BigInt, _>(i64::from(SUSPECT))
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
