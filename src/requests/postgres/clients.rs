//! What clients and operators do with rows: put them in, look at them, cancel and resubmit them.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::super::encryption::{StoredKeeping, columns_of, protected, still_has_its_key, wiped};
use super::super::kept::kept;
use super::super::stored::{self, StoredCount, StoredRow, Value, time};
use super::super::text::{clean, clean_option, err_message};
use super::super::{NewRequest, Overview, RequestKey, RequestRow, Submitted};
use super::{columns, now};

/// The primary key decides which of a hundred at once makes the row.
const INSERT: &str = concat!(
    "INSERT INTO job_request (tag, request_id, job_id, status, request_data, requested_by, requested_channel,
        allowed_channels, encryption_key, encryption_key_sealed, encryption_mark, dt_job_submitted)
    VALUES ($2, $3, $4, 'SUBMITTED', $5::json, $6, $7, $8, $9, $10, $11, ",
    now!(),
    ") ON CONFLICT DO NOTHING"
);

pub(super) fn submit(conn: &mut PgConnection, shift: i64, request: &NewRequest) -> QueryResult<Submitted> {
    conn.transaction(|conn| {
        if insert(conn, shift, request)? {
            return Ok(Submitted::Created);
        }
        if !is_same(conn, request)? {
            return Ok(Submitted::OtherKey);
        }
        if resubmit_anew(conn, shift, request)? {
            return Ok(Submitted::Resubmitted);
        }
        // Somebody else may have resubmitted it in between, with a password of their own.
        Ok(if is_same(conn, request)? { Submitted::Exists } else { Submitted::OtherKey })
    })
}

const KEEPING: &str = concat!(
    "SELECT j.status::text AS status, j.encryption_mark::text AS mark, ",
    protected!("j."),
    " FROM job_request AS j WHERE j.tag = $1 AND j.request_id = $2"
);

/// Whether the row is this submission's, password and all. It is not locked: a claim would pass over it.
fn is_same(conn: &mut PgConnection, request: &NewRequest) -> QueryResult<bool> {
    let key = &request.key;
    let values = (key.tag.as_str().into_sql::<Text>(), key.request_id.as_str().into_sql::<Text>());
    let row: Option<StoredKeeping> = kept(KEEPING, values).get_result(conn).optional()?;
    Ok(row.is_none_or(|row| row.agrees_with(request.encryption.as_ref())))
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

pub(super) fn resubmit(conn: &mut PgConnection, shift: i64, key: &RequestKey) -> QueryResult<bool> {
    conn.transaction(|conn| {
        let changed = sql_query(RESUBMIT)
            .bind::<BigInt, _>(shift)
            .bind::<Text, _>(&key.tag)
            .bind::<Text, _>(&key.request_id)
            .execute(conn)?;
        if changed == 1 {
            wake(conn)?;
        }
        Ok(changed == 1)
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

const FIND: &str = concat!("SELECT ", columns!(), " FROM job_request AS j WHERE j.tag = $1 AND j.request_id = $2");

pub(super) fn find(conn: &mut PgConnection, key: &RequestKey) -> QueryResult<Option<RequestRow>> {
    let values = (key.tag.as_str().into_sql::<Text>(), key.request_id.as_str().into_sql::<Text>());
    let row: Option<StoredRow> = kept(FIND, values).get_result(conn).optional()?;
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
    sql_query(concat!(
        "SELECT ",
        columns!(),
        ", j.encryption_key, j.encryption_key_sealed, j.encryption_mark FROM job_request AS j LIMIT 0"
    ))
    .load::<StoredRow>(conn)?;
    sql_query("SELECT job_id, schedule, slot FROM exhaust_slot LIMIT 0").execute(conn).map(drop)
}
