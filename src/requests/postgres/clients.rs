//! What clients and operators do with rows: put them in, look at them, cancel and resubmit them.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Nullable, Text};

use super::super::encryption::{self, Standing, StoredKeeping, columns_of, protected, still_has_its_key, wiped};
use super::super::prepared::prepared;
use super::super::reading::like_pattern;
use super::super::stored::{self, StoredCount, StoredRow, StoredTotal, Value, time};
use super::super::text::{URLS_OF_ONE, clean, clean_option, err_message, within};
use super::super::{Client, NewRequest, Overview, RequestKey, RequestRow, Retried, Submitted};
use super::{columns, now, rows};

/// The primary key decides which of a hundred at once makes the row.
const INSERT: &str = concat!(
    "INSERT INTO job_request (tag, request_id, job_id, status, request_data, requested_by, requested_channel,
        allowed_channels, encryption_key, encryption_key_sealed, encryption_mark, dt_job_submitted)
    VALUES ($2, $3, $4, 'SUBMITTED', $5::json, $6, $7, $8, $9, $10, $11, ",
    now!(),
    ") ON CONFLICT DO NOTHING"
);

pub(super) fn submit(
    conn: &mut PgConnection,
    shift: i64,
    request: &NewRequest,
    client: &Client,
) -> QueryResult<Submitted> {
    conn.transaction(|conn| {
        if let Some(Standing::Settled(answer)) = standing(conn, request, client)? {
            return Ok(answer);
        }
        if client.open_requests.is_some() {
            take_turn(conn)?;
            // Somebody else may have had the turn before, with the same submission.
            if let Some(Standing::Settled(answer)) = standing(conn, request, client)? {
                return Ok(answer);
            }
            if is_full(conn, client)? {
                return Ok(Submitted::TooMany);
            }
        }
        if insert(conn, shift, request)? {
            return Ok(Submitted::Created);
        }
        // Asked again before and after: somebody else may make the row, or resubmit it, in between.
        if let Some(Standing::Settled(answer)) = standing(conn, request, client)? {
            return Ok(answer);
        }
        if resubmit_anew(conn, shift, request)? {
            return Ok(Submitted::Resubmitted);
        }
        Ok(match standing(conn, request, client)? {
            Some(Standing::Settled(answer)) => answer,
            Some(Standing::Failed) | None => Submitted::Exists,
        })
    })
}

/// Until the end of the transaction nobody else whose open requests are limited opens one: what is counted now stays true
/// until it is acted on. One lock for all keys, since the tags of several may overlap. Submissions without a limit do not
/// wait for it.
fn take_turn(conn: &mut PgConnection) -> QueryResult<()> {
    sql_query("SELECT pg_advisory_xact_lock(hashtext('exhaust_open_requests'))").execute(conn).map(drop)
}

/// $1 patterns of tags, $2 how many are enough. No more are counted. Each part by an index of its own, as in `open_by_tag`.
const OPEN: &str = "SELECT NULL::text AS tag, count(*) AS total FROM (
        SELECT 1 FROM (
            SELECT tag FROM job_request WHERE status = 'SUBMITTED' AND tag >= ''
            UNION ALL
            SELECT tag FROM job_request WHERE status = 'PROCESSING' AND tag >= ''
        ) AS open WHERE tag LIKE ANY($1::text[]) LIMIT $2) AS counted";

/// Whether the client has as many requests open as they may.
pub(super) fn is_full(conn: &mut PgConnection, client: &Client) -> QueryResult<bool> {
    let Some(most) = client.open_requests else { return Ok(false) };
    let mut patterns: Vec<String> = client.reader.tags.iter().map(|glob| like_pattern(&clean(glob))).collect();
    if patterns.is_empty() {
        patterns.push("%".to_owned());
    }
    let values = (patterns.into_sql::<Array<Text>>(), i64::from(most).into_sql::<BigInt>());
    let open: StoredTotal = prepared(OPEN, values).get_result(conn)?;
    Ok(open.total() >= u64::from(most))
}

const KEEPING: &str = concat!(
    "SELECT j.status::text AS status, j.encryption_mark::text AS mark,
        j.requested_channel::text AS requested_channel, j.allowed_channels::text AS allowed_channels, ",
    protected!("j."),
    " FROM job_request AS j WHERE j.tag = $1 AND j.request_id = $2"
);

/// What the row that has a submission's key means for it; `None`: there is none. It is not locked: a claim would pass over
/// it.
fn standing(conn: &mut PgConnection, request: &NewRequest, client: &Client) -> QueryResult<Option<Standing>> {
    let key = &request.key;
    let values = (key.tag.as_str().into_sql::<Text>(), key.request_id.as_str().into_sql::<Text>());
    let row: Option<StoredKeeping> = prepared(KEEPING, values).get_result(conn).optional()?;
    Ok(row.map(|row| row.standing(request, client)))
}

const MARK: &str =
    "SELECT j.encryption_mark::text AS text FROM job_request AS j WHERE j.tag = $1 AND j.request_id = $2";

pub(super) fn mark_made(conn: &mut PgConnection, key: &RequestKey) -> QueryResult<Option<String>> {
    let values = (key.tag.as_str().into_sql::<Text>(), key.request_id.as_str().into_sql::<Text>());
    Ok(encryption::made(prepared(MARK, values).get_result(conn).optional()?))
}

/// Inserts the row and wakes the daemons when the transaction commits; `false` if the key is taken.
pub(super) fn insert(conn: &mut PgConnection, shift: i64, request: &NewRequest) -> QueryResult<bool> {
    let [plain, sealed, mark] = columns_of(request.encryption.as_ref());
    let inserted = sql_query(INSERT)
        .bind::<BigInt, _>(shift)
        .bind::<Text, _>(&request.key.tag)
        .bind::<Text, _>(&request.key.request_id)
        .bind::<Text, _>(clean(&request.job_id))
        .bind::<Text, _>(clean(&request.request_data))
        .bind::<Nullable<Text>, _>(clean_option(request.requested_by.as_deref()))
        .bind::<Nullable<Text>, _>(clean_option(request.requested_channel.as_deref()))
        .bind::<Nullable<Text>, _>(clean_option(request.allowed_channels.as_deref()))
        .bind::<Nullable<Text>, _>(plain)
        .bind::<Nullable<Text>, _>(sealed)
        .bind::<Nullable<Text>, _>(mark)
        .execute(conn)?;
    if inserted == 1 {
        wake(conn)?;
    }
    Ok(inserted == 1)
}

/// Delivered at commit.
fn wake(conn: &mut PgConnection) -> QueryResult<()> {
    sql_query("NOTIFY exhaust_job_request").execute(conn).map(drop)
}

const CANCEL: &str = concat!(
    "UPDATE job_request SET status = 'FAILED', dt_job_completed = ",
    now!(),
    ", err_message = $4, err_detail = NULL, next_attempt_at = NULL, lease_owner = NULL, lease_expires_at = NULL, ",
    wiped!(),
    "
    WHERE tag = $2 AND request_id = $3 AND status = 'SUBMITTED'"
);

pub(super) fn cancel(conn: &mut PgConnection, shift: i64, key: &RequestKey, by: &str) -> QueryResult<bool> {
    let changed = sql_query(CANCEL)
        .bind::<BigInt, _>(shift)
        .bind::<Text, _>(&key.tag)
        .bind::<Text, _>(&key.request_id)
        .bind::<Text, _>(err_message(&format!("cancelled by {by}")))
        .execute(conn)?;
    Ok(changed == 1)
}

/// As if it had just been submitted. A lease can only be left over from a row that somebody else marked FAILED.
macro_rules! resubmitted {
    () => {
        concat!(
            "UPDATE job_request SET status = 'SUBMITTED', dt_job_submitted = ",
            now!(),
            ", iteration = 0, crashes = 0, err_message = NULL, err_detail = NULL, processed_batches = NULL,
        next_attempt_at = NULL, dt_job_processing = NULL, dt_job_completed = NULL, dt_file_created = NULL,
        download_urls = NULL, execution_time = NULL, lease_owner = NULL, lease_expires_at = NULL"
        )
    };
}

const RESUBMIT: &str =
    concat!(resubmitted!(), " WHERE tag = $2 AND request_id = $3 AND status = 'FAILED' AND ", still_has_its_key!());

const CAN_BE_RETRIED: &str = concat!(
    "SELECT NULL::text AS tag, count(*) AS total FROM job_request WHERE tag = $1 AND request_id = $2
        AND status = 'FAILED' AND ",
    still_has_its_key!()
);

pub(super) fn resubmit(conn: &mut PgConnection, shift: i64, key: &RequestKey, client: &Client) -> QueryResult<Retried> {
    conn.transaction(|conn| {
        if client.open_requests.is_some() {
            take_turn(conn)?;
            let can: StoredTotal = sql_query(CAN_BE_RETRIED)
                .bind::<Text, _>(&key.tag)
                .bind::<Text, _>(&key.request_id)
                .get_result(conn)?;
            // What cannot be tried again is told as that, whatever else is open.
            if can.total() > 0 && is_full(conn, client)? {
                return Ok(Retried::TooMany);
            }
        }
        let changed = sql_query(RESUBMIT)
            .bind::<BigInt, _>(shift)
            .bind::<Text, _>(&key.tag)
            .bind::<Text, _>(&key.request_id)
            .execute(conn)?;
        if changed == 1 {
            wake(conn)?;
        }
        Ok(if changed == 1 { Retried::Done } else { Retried::NotFailed })
    })
}

const RESUBMIT_ANEW: &str = concat!(
    resubmitted!(),
    ", encryption_key = $4, encryption_key_sealed = $5, encryption_mark = $6
    WHERE tag = $2 AND request_id = $3 AND status = 'FAILED'"
);

/// As a submission that is the same; its password is put in again.
fn resubmit_anew(conn: &mut PgConnection, shift: i64, request: &NewRequest) -> QueryResult<bool> {
    let [plain, sealed, mark] = columns_of(request.encryption.as_ref());
    let changed = sql_query(RESUBMIT_ANEW)
        .bind::<BigInt, _>(shift)
        .bind::<Text, _>(&request.key.tag)
        .bind::<Text, _>(&request.key.request_id)
        .bind::<Nullable<Text>, _>(plain)
        .bind::<Nullable<Text>, _>(sealed)
        .bind::<Nullable<Text>, _>(mark)
        .execute(conn)?;
    if changed == 1 {
        wake(conn)?;
    }
    Ok(changed == 1)
}

const FIND: &str =
    concat!("SELECT ", columns!(), " FROM ", rows!("job_request AS j"), " WHERE j.tag = $1 AND j.request_id = $2");

pub(super) fn find(conn: &mut PgConnection, key: &RequestKey, most: u64) -> QueryResult<Option<RequestRow>> {
    let values = (key.tag.as_str().into_sql::<Text>(), key.request_id.as_str().into_sql::<Text>());
    let row: Option<StoredRow> = prepared(within(FIND, most, URLS_OF_ONE), values).get_result(conn).optional()?;
    Ok(row.map(RequestRow::from))
}

/// `None`: it does not read.
pub(super) fn now(conn: &mut PgConnection, shift: i64) -> QueryResult<Option<DateTime<Utc>>> {
    let now: Value =
        sql_query(concat!("SELECT ", now!(), "::text AS value")).bind::<BigInt, _>(shift).get_result(conn)?;
    Ok(time(now.value))
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

/// Names every column that is ever read or written.
pub(super) fn check(conn: &mut PgConnection) -> QueryResult<()> {
    const EVERY: &str = concat!(
        "SELECT ",
        columns!(),
        ", j.encryption_key, j.encryption_key_sealed, j.encryption_mark FROM ",
        rows!("job_request AS j"),
        " LIMIT 0"
    );
    sql_query(within(EVERY, 0, 0)).load::<StoredRow>(conn)?;
    sql_query("SELECT job_id, schedule, slot FROM exhaust_slot LIMIT 0").execute(conn).map(drop)
}
