//! What clients and operators do with rows: put them in, look at them, cancel and resubmit them.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use serde_json::json;

use super::super::encryption::{self, Standing, StoredKeeping, columns_of, protected, still_has_its_key, wiped};
use super::super::prepared::prepared;
use super::super::reading::sqlite_glob;
use super::super::stored::{self, StoredCount, StoredRow, StoredTotal};
use super::super::text::{URLS_OF_ONE, clean, clean_option, err_message, within};
use super::super::{Client, NewRequest, Overview, RequestKey, RequestRow, Retried, Submitted};
use super::columns;

/// The primary key decides which of a hundred at once makes the row.
const INSERT: &str = "INSERT INTO job_request (tag, request_id, job_id, status, request_data, requested_by,
        requested_channel, dt_job_submitted, allowed_channels, encryption_key, encryption_key_sealed, encryption_mark)
    VALUES (?1, ?2, ?3, 'SUBMITTED', ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING";

pub(super) fn submit(
    conn: &mut SqliteConnection,
    now: &str,
    request: &NewRequest,
    client: &Client,
) -> QueryResult<Submitted> {
    // What is there already is most often asked for again, and then nobody has to wait for the writer's place.
    if let Some(Standing::Settled(answer)) = standing(conn, request, client)? {
        return Ok(answer);
    }
    conn.immediate_transaction(|conn| {
        let found = standing(conn, request, client)?;
        if let Some(Standing::Settled(answer)) = found {
            return Ok(answer);
        }
        // Only one transaction writes at a time: nothing is counted that another one adds to.
        if is_full(conn, client)? {
            return Ok(Submitted::TooMany);
        }
        if found.is_none() && insert(conn, now, request)? {
            return Ok(Submitted::Created);
        }
        Ok(if resubmit_anew(conn, now, request)? { Submitted::Resubmitted } else { Submitted::Exists })
    })
}

const KEEPING: &str = concat!(
    "SELECT status, encryption_mark AS mark, requested_channel, allowed_channels, ",
    protected!(""),
    " FROM job_request WHERE tag = ?1 AND request_id = ?2"
);

/// What the row that has a submission's key means for it; `None`: there is none.
fn standing(conn: &mut SqliteConnection, request: &NewRequest, client: &Client) -> QueryResult<Option<Standing>> {
    let key = &request.key;
    let values = (key.tag.as_str().into_sql::<Text>(), key.request_id.as_str().into_sql::<Text>());
    let row: Option<StoredKeeping> = prepared(KEEPING, values).get_result(conn).optional()?;
    Ok(row.map(|row| row.standing(request, client)))
}

const MARK: &str = "SELECT encryption_mark AS text FROM job_request WHERE tag = ?1 AND request_id = ?2";

pub(super) fn mark_made(conn: &mut SqliteConnection, key: &RequestKey) -> QueryResult<Option<String>> {
    let values = (key.tag.as_str().into_sql::<Text>(), key.request_id.as_str().into_sql::<Text>());
    Ok(encryption::made(prepared(MARK, values).get_result(conn).optional()?))
}

/// ?1 globs of tags, ?2 how many are enough. No more are counted. The condition of the index `job_request_open`.
pub(super) const OPEN: &str = "SELECT NULL AS tag, count(*) AS total FROM (
        SELECT 1 FROM job_request WHERE status IN ('SUBMITTED', 'PROCESSING')
            AND EXISTS (SELECT 1 FROM json_each(?1) WHERE job_request.tag GLOB value)
        LIMIT ?2)";

/// Whether the client has as many requests open as they may.
pub(super) fn is_full(conn: &mut SqliteConnection, client: &Client) -> QueryResult<bool> {
    let Some(most) = client.open_requests else { return Ok(false) };
    let globs: Vec<String> = client.reader.tags.iter().map(|glob| sqlite_glob(glob)).collect();
    let globs = if globs.is_empty() { json!(["*"]) } else { json!(globs) };
    let open: StoredTotal =
        prepared(OPEN, (globs.to_string().into_sql::<Text>(), i64::from(most).into_sql::<BigInt>()))
            .get_result(conn)?;
    Ok(open.total() >= u64::from(most))
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

const CAN_BE_RETRIED: &str = concat!(
    "SELECT NULL AS tag, count(*) AS total FROM job_request WHERE tag = ?1 AND request_id = ?2 AND status = 'FAILED' AND ",
    still_has_its_key!()
);

pub(super) fn resubmit(
    conn: &mut SqliteConnection,
    now: &str,
    key: &RequestKey,
    client: &Client,
) -> QueryResult<Retried> {
    conn.immediate_transaction(|conn| {
        let can: StoredTotal =
            sql_query(CAN_BE_RETRIED).bind::<Text, _>(&key.tag).bind::<Text, _>(&key.request_id).get_result(conn)?;
        if can.total() == 0 {
            return Ok(Retried::NotFailed);
        }
        if is_full(conn, client)? {
            return Ok(Retried::TooMany);
        }
        let changed = sql_query(RESUBMIT)
            .bind::<Text, _>(now)
            .bind::<Text, _>(&key.tag)
            .bind::<Text, _>(&key.request_id)
            .execute(conn)?;
        Ok(if changed == 1 { Retried::Done } else { Retried::NotFailed })
    })
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

pub(super) fn find(conn: &mut SqliteConnection, key: &RequestKey, most: u64) -> QueryResult<Option<RequestRow>> {
    let values = (key.tag.as_str().into_sql::<Text>(), key.request_id.as_str().into_sql::<Text>());
    let row: Option<StoredRow> = prepared(within(FIND, most, URLS_OF_ONE), values).get_result(conn).optional()?;
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
    const EVERY: &str = concat!(
        "SELECT ",
        columns!(),
        ", encryption_key, encryption_key_sealed, encryption_mark FROM job_request LIMIT 0"
    );
    sql_query(within(EVERY, 0, 0)).load::<StoredRow>(conn)?;
    sql_query("SELECT job_id, schedule, slot FROM exhaust_slot LIMIT 0").execute(conn).map(drop)
}
