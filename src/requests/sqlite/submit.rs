//! Submission, cancellation and resubmission of requests, within a client's limit.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use serde_json::json;

use super::super::access::{Client, sqlite_glob};
use super::super::encryption::{columns_of, has_its_password, protected, wipe_password};
use super::super::existing::{Existing, StoredExisting};
use super::super::prepared::prepared;
use super::super::status::open_statuses;
use super::super::stored::{self, StoredTotal};
use super::super::text::{clean, clean_option, err_message};
use super::super::times::sqlite_text;
use super::super::types::{NewRequest, RequestKey, Resubmitted, Submitted};

/// Of many submissions at the same time, the primary key decides which one makes the row.
const INSERT: &str = "INSERT INTO job_request (tag, request_id, job_id, status, request_data, requested_by,
        requested_channel, dt_job_submitted, allowed_channels, encryption_key, encryption_key_sealed, encryption_mark)
    VALUES (?1, ?2, ?3, 'SUBMITTED', ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING";

pub(super) fn submit(
    conn: &mut SqliteConnection,
    now: DateTime<Utc>,
    request: &NewRequest,
    client: &Client,
) -> QueryResult<Submitted> {
    // Most often the request is there already, and then the call need not wait for another writer.
    if let Some(Existing::Answer(answer)) = existing(conn, request, client)? {
        return Ok(answer);
    }
    conn.immediate_transaction(|conn| {
        let found = existing(conn, request, client)?;
        if let Some(Existing::Answer(answer)) = found {
            return Ok(answer);
        }
        // Only one transaction writes at a time, so nothing is added to what is counted.
        if has_reached_limit(conn, client)? {
            return Ok(Submitted::TooMany);
        }
        if found.is_none() && insert(conn, now, request)? {
            return Ok(Submitted::Created);
        }
        Ok(if resubmit_anew(conn, now, request)? { Submitted::Resubmitted } else { Submitted::Exists })
    })
}

const EXISTING: &str = concat!(
    "SELECT status, encryption_mark AS mark, requested_channel, allowed_channels, ",
    protected!(""),
    " FROM job_request WHERE tag = ?1 AND request_id = ?2"
);

/// What the existing row with the key of the submission means for it; `None`: there is none.
fn existing(conn: &mut SqliteConnection, request: &NewRequest, client: &Client) -> QueryResult<Option<Existing>> {
    let key = &request.key;
    let values = (key.tag.as_str().into_sql::<Text>(), key.request_id.as_str().into_sql::<Text>());
    let row: Option<StoredExisting> = prepared(EXISTING, values).get_result(conn).optional()?;
    Ok(row.map(|row| row.existing(request, client)))
}

const MARK: &str = "SELECT encryption_mark AS value FROM job_request WHERE tag = ?1 AND request_id = ?2";

pub(super) fn mark_scheme(conn: &mut SqliteConnection, key: &RequestKey) -> QueryResult<Option<String>> {
    let values = (key.tag.as_str().into_sql::<Text>(), key.request_id.as_str().into_sql::<Text>());
    Ok(stored::mark_scheme(prepared(MARK, values).get_result(conn).optional()?))
}

/// ?1 globs of tags, ?2 the limit: no more rows are counted. The condition of the index `job_request_open`.
pub(super) const OPEN: &str = concat!(
    "SELECT count(*) AS total FROM (
        SELECT 1 FROM job_request WHERE status IN (",
    open_statuses!(),
    ")
            AND EXISTS (SELECT 1 FROM json_each(?1) WHERE job_request.tag GLOB value)
        LIMIT ?2)"
);

/// Whether the client has reached its limit of open requests.
pub(super) fn has_reached_limit(conn: &mut SqliteConnection, client: &Client) -> QueryResult<bool> {
    let Some(most) = client.open_requests else { return Ok(false) };
    let globs: Vec<String> = client.reader.tags.iter().map(|glob| sqlite_glob(glob)).collect();
    let globs = if globs.is_empty() { json!(["*"]) } else { json!(globs) };
    let open: StoredTotal =
        prepared(OPEN, (globs.to_string().into_sql::<Text>(), i64::from(most).into_sql::<BigInt>()))
            .get_result(conn)?;
    Ok(open.total() >= u64::from(most))
}

/// `false`: the key is taken.
pub(super) fn insert(conn: &mut SqliteConnection, now: DateTime<Utc>, request: &NewRequest) -> QueryResult<bool> {
    let [plain, sealed, mark] = columns_of(request.encryption.as_ref());
    let inserted = sql_query(INSERT)
        .bind::<Text, _>(&request.key.tag)
        .bind::<Text, _>(&request.key.request_id)
        .bind::<Text, _>(clean(&request.job_id))
        .bind::<Text, _>(clean(&request.request_data))
        .bind::<Nullable<Text>, _>(clean_option(request.requested_by.as_deref()))
        .bind::<Nullable<Text>, _>(clean_option(request.requested_channel.as_deref()))
        .bind::<Text, _>(sqlite_text(now))
        .bind::<Nullable<Text>, _>(clean_option(request.allowed_channels.as_deref()))
        .bind::<Nullable<Text>, _>(plain)
        .bind::<Nullable<Text>, _>(sealed)
        .bind::<Nullable<Text>, _>(mark)
        .execute(conn)?;
    Ok(inserted == 1)
}

/// Work of our own has a token. A row without one that is PROCESSING is another system's.
const CANCEL: &str = concat!(
    "UPDATE job_request SET status = 'FAILED', dt_job_completed = ?1, err_message = ?2,
        err_code = 'cancelled', err_detail = NULL, next_attempt_at = NULL, lease_owner = NULL, lease_expires_at = NULL, ",
    wipe_password!(),
    "
    WHERE tag = ?3 AND request_id = ?4 AND (status = 'SUBMITTED' OR status = 'PROCESSING' AND lease_owner IS NOT NULL)"
);

const REMOVE_PARTS: &str = "DELETE FROM job_request_part WHERE tag = ?1 AND request_id = ?2";

pub(super) fn cancel(conn: &mut SqliteConnection, now: DateTime<Utc>, key: &RequestKey, by: &str) -> QueryResult<bool> {
    conn.immediate_transaction(|conn| {
        let changed = sql_query(CANCEL)
            .bind::<Text, _>(sqlite_text(now))
            .bind::<Text, _>(err_message(&format!("cancelled by {by}")))
            .bind::<Text, _>(&key.tag)
            .bind::<Text, _>(&key.request_id)
            .execute(conn)?;
        if changed == 0 {
            return Ok(false);
        }
        // The row is locked, so nobody adds one.
        sql_query(REMOVE_PARTS).bind::<Text, _>(&key.tag).bind::<Text, _>(&key.request_id).execute(conn)?;
        Ok(true)
    })
}

/// The end, its time and its links stay to be seen.
const FILE_MISSING: &str = concat!(
    "UPDATE job_request SET status = 'FAILED', err_message = 'file missing', err_code = 'file_missing', err_detail = ?1
    WHERE tag = ?2 AND request_id = ?3 AND status IN ('COMPLETED', 'SUCCESS') AND ",
    has_its_password!()
);

pub(super) fn file_missing(conn: &mut SqliteConnection, key: &RequestKey, detail: &str) -> QueryResult<bool> {
    let statement = sql_query(FILE_MISSING).bind::<Text, _>(clean(detail));
    Ok(statement.bind::<Text, _>(&key.tag).bind::<Text, _>(&key.request_id).execute(conn)? == 1)
}

/// As a new submission. A row has a lease here only if somebody else marked it FAILED.
macro_rules! resubmitted {
    () => {
        "UPDATE job_request SET status = 'SUBMITTED', dt_job_submitted = ?1, iteration = 0, crashes = 0,
        err_message = NULL, err_code = NULL, err_detail = NULL, processed_batches = NULL, next_attempt_at = NULL,
        dt_job_processing = NULL, dt_job_completed = NULL, dt_file_created = NULL, download_urls = NULL,
        execution_time = NULL, lease_owner = NULL, lease_expires_at = NULL"
    };
}

const RESUBMIT: &str =
    concat!(resubmitted!(), " WHERE tag = ?2 AND request_id = ?3 AND status = 'FAILED' AND ", has_its_password!());

const CAN_BE_RETRIED: &str = concat!(
    "SELECT count(*) AS total FROM job_request WHERE tag = ?1 AND request_id = ?2 AND status = 'FAILED' AND ",
    has_its_password!()
);

pub(super) fn resubmit(
    conn: &mut SqliteConnection,
    now: DateTime<Utc>,
    key: &RequestKey,
    client: &Client,
) -> QueryResult<Resubmitted> {
    conn.immediate_transaction(|conn| {
        let can: StoredTotal =
            sql_query(CAN_BE_RETRIED).bind::<Text, _>(&key.tag).bind::<Text, _>(&key.request_id).get_result(conn)?;
        if can.total() == 0 {
            return Ok(Resubmitted::NotFailed);
        }
        if has_reached_limit(conn, client)? {
            return Ok(Resubmitted::TooMany);
        }
        let changed = sql_query(RESUBMIT)
            .bind::<Text, _>(sqlite_text(now))
            .bind::<Text, _>(&key.tag)
            .bind::<Text, _>(&key.request_id)
            .execute(conn)?;
        Ok(if changed == 1 { Resubmitted::Done } else { Resubmitted::NotFailed })
    })
}

const RESUBMIT_ANEW: &str = concat!(
    resubmitted!(),
    ", encryption_key = ?4, encryption_key_sealed = ?5, encryption_mark = ?6
    WHERE tag = ?2 AND request_id = ?3 AND status = 'FAILED'"
);

/// For a submission of the same request; it brings the password again.
fn resubmit_anew(conn: &mut SqliteConnection, now: DateTime<Utc>, request: &NewRequest) -> QueryResult<bool> {
    let [plain, sealed, mark] = columns_of(request.encryption.as_ref());
    let changed = sql_query(RESUBMIT_ANEW)
        .bind::<Text, _>(sqlite_text(now))
        .bind::<Text, _>(&request.key.tag)
        .bind::<Text, _>(&request.key.request_id)
        .bind::<Nullable<Text>, _>(plain)
        .bind::<Nullable<Text>, _>(sealed)
        .bind::<Nullable<Text>, _>(mark)
        .execute(conn)?;
    Ok(changed == 1)
}
