//! What clients and operators do with rows: put them in, look at them, cancel and resubmit them.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Nullable, Text};
use diesel::sqlite::SqliteConnection;

use super::super::encryption::{StoredKeeping, columns_of, protected, still_has_its_key, wiped};
use super::super::kept::kept;
use super::super::stored::{self, StoredCount, StoredRow};
use super::super::text::{clean, clean_option, err_message};
use super::super::{NewRequest, Overview, RequestKey, RequestRow, Submitted};
use super::columns;

/// The primary key decides which of a hundred at once makes the row.
const INSERT: &str = "INSERT INTO job_request (tag, request_id, job_id, status, request_data, requested_by,
        requested_channel, dt_job_submitted, allowed_channels, encryption_key, encryption_key_sealed, encryption_mark)
    VALUES (?1, ?2, ?3, 'SUBMITTED', ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING";

pub(super) fn submit(conn: &mut SqliteConnection, now: &str, request: &NewRequest) -> QueryResult<Submitted> {
    conn.immediate_transaction(|conn| {
        if insert(conn, now, request)? {
            return Ok(Submitted::Created);
        }
        if !is_same(conn, request)? {
            return Ok(Submitted::OtherKey);
        }
        Ok(if resubmit_anew(conn, now, request)? { Submitted::Resubmitted } else { Submitted::Exists })
    })
}

const KEEPING: &str = concat!(
    "SELECT status, encryption_mark AS mark, ",
    protected!(""),
    " FROM job_request WHERE tag = ?1 AND request_id = ?2"
);

/// Whether the row is this submission's, password and all.
fn is_same(conn: &mut SqliteConnection, request: &NewRequest) -> QueryResult<bool> {
    let key = &request.key;
    let values = (key.tag.as_str().into_sql::<Text>(), key.request_id.as_str().into_sql::<Text>());
    let row: Option<StoredKeeping> = kept(KEEPING, values).get_result(conn).optional()?;
    Ok(row.is_none_or(|row| row.agrees_with(request.encryption.as_ref())))
}

/// `false` if the key is taken.
pub(super) fn insert(conn: &mut SqliteConnection, now: &str, request: &NewRequest) -> QueryResult<bool> {
    let [plain, sealed, mark] = columns_of(request.encryption.as_ref());
    let inserted = sql_query(INSERT)
        .bind::<Text, _>(&request.key.tag)
        .bind::<Text, _>(&request.key.request_id)
        .bind::<Text, _>(clean(&request.job_id))
        .bind::<Text, _>(clean(&request.request_data))
        .bind::<Nullable<Text>, _>(clean_option(request.requested_by.as_deref()))
        .bind::<Nullable<Text>, _>(clean_option(request.requested_channel.as_deref()))
        .bind::<Text, _>(now)
        .bind::<Nullable<Text>, _>(clean_option(request.allowed_channels.as_deref()))
        .bind::<Nullable<Text>, _>(plain)
        .bind::<Nullable<Text>, _>(sealed)
        .bind::<Nullable<Text>, _>(mark)
        .execute(conn)?;
    Ok(inserted == 1)
}

const CANCEL: &str = concat!(
    "UPDATE job_request SET status = 'FAILED', dt_job_completed = ?1, err_message = ?2,
        err_detail = NULL, next_attempt_at = NULL, lease_owner = NULL, lease_expires_at = NULL, ",
    wiped!(),
    "
    WHERE tag = ?3 AND request_id = ?4 AND status = 'SUBMITTED'"
);

pub(super) fn cancel(conn: &mut SqliteConnection, now: &str, key: &RequestKey, by: &str) -> QueryResult<bool> {
    let changed = sql_query(CANCEL)
        .bind::<Text, _>(now)
        .bind::<Text, _>(err_message(&format!("cancelled by {by}")))
        .bind::<Text, _>(&key.tag)
        .bind::<Text, _>(&key.request_id)
        .execute(conn)?;
    Ok(changed == 1)
}

/// As if it had just been submitted. A lease can only be left over from a row that somebody else marked FAILED.
macro_rules! resubmitted {
    () => {
        "UPDATE job_request SET status = 'SUBMITTED', dt_job_submitted = ?1, iteration = 0, crashes = 0,
        err_message = NULL, err_detail = NULL, processed_batches = NULL, next_attempt_at = NULL,
        dt_job_processing = NULL, dt_job_completed = NULL, dt_file_created = NULL, download_urls = NULL,
        execution_time = NULL, lease_owner = NULL, lease_expires_at = NULL"
    };
}

const RESUBMIT: &str =
    concat!(resubmitted!(), " WHERE tag = ?2 AND request_id = ?3 AND status = 'FAILED' AND ", still_has_its_key!());

pub(super) fn resubmit(conn: &mut SqliteConnection, now: &str, key: &RequestKey) -> QueryResult<bool> {
    let changed = sql_query(RESUBMIT)
        .bind::<Text, _>(now)
        .bind::<Text, _>(&key.tag)
        .bind::<Text, _>(&key.request_id)
        .execute(conn)?;
    Ok(changed == 1)
}

const RESUBMIT_ANEW: &str = concat!(
    resubmitted!(),
    ", encryption_key = ?4, encryption_key_sealed = ?5, encryption_mark = ?6
    WHERE tag = ?2 AND request_id = ?3 AND status = 'FAILED'"
);

/// As a submission that is the same; its password is put in again.
fn resubmit_anew(conn: &mut SqliteConnection, now: &str, request: &NewRequest) -> QueryResult<bool> {
    let [plain, sealed, mark] = columns_of(request.encryption.as_ref());
    let changed = sql_query(RESUBMIT_ANEW)
        .bind::<Text, _>(now)
        .bind::<Text, _>(&request.key.tag)
        .bind::<Text, _>(&request.key.request_id)
        .bind::<Nullable<Text>, _>(plain)
        .bind::<Nullable<Text>, _>(sealed)
        .bind::<Nullable<Text>, _>(mark)
        .execute(conn)?;
    Ok(changed == 1)
}

const FIND: &str = concat!("SELECT ", columns!(), " FROM job_request WHERE tag = ?1 AND request_id = ?2");

pub(super) fn find(conn: &mut SqliteConnection, key: &RequestKey) -> QueryResult<Option<RequestRow>> {
    let values = (key.tag.as_str().into_sql::<Text>(), key.request_id.as_str().into_sql::<Text>());
    let row: Option<StoredRow> = kept(FIND, values).get_result(conn).optional()?;
    Ok(row.map(RequestRow::from))
}

/// In the order of the index `job_request_counts`, which has everything that is asked for.
pub(super) const OVERVIEW: &str = "SELECT job_id, status, count(*) AS total,
        CASE WHEN status = 'PROCESSING' AND lease_expires_at IS NULL THEN count(*) ELSE 0 END AS without_lease
    FROM job_request GROUP BY status, lease_expires_at, job_id";

pub(super) fn overview(conn: &mut SqliteConnection) -> QueryResult<Overview> {
    let counts: Vec<StoredCount> = sql_query(OVERVIEW).load(conn)?;
    Ok(stored::overview(counts))
}

/// Names every column that is ever read or written.
pub(super) fn check(conn: &mut SqliteConnection) -> QueryResult<()> {
    sql_query(concat!(
        "SELECT ",
        columns!(),
        ", encryption_key, encryption_key_sealed, encryption_mark FROM job_request LIMIT 0"
    ))
    .load::<StoredRow>(conn)?;
    sql_query("SELECT job_id, schedule, slot FROM exhaust_slot LIMIT 0").execute(conn).map(drop)
}
