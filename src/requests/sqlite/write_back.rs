//! The four fenced statements that end a claim. Each changes its row only while that is PROCESSING under this very token; the
//! caller checks the number of changed rows.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Integer, Nullable, Text};
use diesel::sqlite::SqliteConnection;

use super::super::encryption::wipe_password;
use super::super::prepared::prepared;
use super::super::text::{can_exist, clean, clean_option, err_message, execution_time};
use super::super::times::{later, sqlite_text};
use super::super::types::{Completion, Failure, RequestKey, WriteBack};

const COMPLETE: &str = concat!(
    "UPDATE job_request SET status = 'COMPLETED', dt_job_completed = ?1, download_urls = ?2,
        dt_file_created = ?3, execution_time = ?4, job_stats = ?5, iteration = coalesce(iteration, 0) + 1,
        err_message = NULL, err_code = NULL, err_detail = NULL, next_attempt_at = NULL, lease_owner = NULL, lease_expires_at = NULL, ",
    wipe_password!(),
    "
    WHERE tag = ?6 AND request_id = ?7 AND status = 'PROCESSING' AND lease_owner = ?8"
);

pub(super) fn complete_all(
    conn: &mut SqliteConnection,
    now: DateTime<Utc>,
    token: &str,
    rows: &[(RequestKey, Completion)],
) -> QueryResult<Vec<WriteBack>> {
    let now = sqlite_text(now);
    conn.immediate_transaction(|conn| rows.iter().map(|(key, made)| complete(conn, &now, token, key, made)).collect())
}

/// A key that cannot exist is held under no token.
pub(super) fn complete(
    conn: &mut SqliteConnection,
    now: &str,
    token: &str,
    key: &RequestKey,
    made: &Completion,
) -> QueryResult<WriteBack> {
    if !can_exist(key) {
        return Ok(WriteBack::Lost);
    }
    let (urls, token) = (serde_json::json!(made.download_urls).to_string(), clean(token));
    let values = (
        now.into_sql::<Text>(),
        urls.as_str().into_sql::<Text>(),
        sqlite_text(made.file_created).into_sql::<Text>(),
        execution_time(made.execution_ms).into_sql::<Integer>(),
        clean(&made.job_stats).into_sql::<Text>(),
        key.tag.as_str().into_sql::<Text>(),
        key.request_id.as_str().into_sql::<Text>(),
        token.as_str().into_sql::<Text>(),
    );
    prepared(COMPLETE, values).execute(conn).map(WriteBack::of)
}

const RETRY_LATER: &str = "UPDATE job_request SET status = 'SUBMITTED', next_attempt_at = ?1, err_message = ?2,
        err_detail = ?3, err_code = ?8, iteration = coalesce(iteration, 0) + 1,
        processed_batches = coalesce(?7, processed_batches), lease_owner = NULL, lease_expires_at = NULL
    WHERE tag = ?4 AND request_id = ?5 AND status = 'PROCESSING' AND lease_owner = ?6";

pub(super) fn retry_later(
    conn: &mut SqliteConnection,
    now: DateTime<Utc>,
    token: &str,
    key: &RequestKey,
    failure: &Failure,
    delay: Duration,
) -> QueryResult<usize> {
    sql_query(RETRY_LATER)
        .bind::<Text, _>(sqlite_text(later(now, delay)))
        .bind::<Text, _>(err_message(&failure.message))
        .bind::<Text, _>(clean(&failure.detail))
        .bind::<Text, _>(&key.tag)
        .bind::<Text, _>(&key.request_id)
        .bind::<Text, _>(clean(token))
        .bind::<Nullable<Text>, _>(clean_option(failure.processed_batches.as_deref()))
        .bind::<Text, _>(failure.code.as_str())
        .execute(conn)
}

const FAIL: &str = concat!(
    "UPDATE job_request SET status = 'FAILED', dt_job_completed = ?1, err_message = ?2, err_detail = ?3,
        err_code = ?9, execution_time = ?4, job_stats = coalesce(?5, job_stats), iteration = coalesce(iteration, 0) + 1,
        next_attempt_at = NULL, lease_owner = NULL, lease_expires_at = NULL, ",
    wipe_password!(),
    "
    WHERE tag = ?6 AND request_id = ?7 AND status = 'PROCESSING' AND lease_owner = ?8"
);

pub(super) fn fail(
    conn: &mut SqliteConnection,
    now: DateTime<Utc>,
    token: &str,
    key: &RequestKey,
    failure: &Failure,
) -> QueryResult<usize> {
    sql_query(FAIL)
        .bind::<Text, _>(sqlite_text(now))
        .bind::<Text, _>(err_message(&failure.message))
        .bind::<Text, _>(clean(&failure.detail))
        .bind::<Integer, _>(execution_time(failure.execution_ms))
        .bind::<Nullable<Text>, _>(clean_option(failure.job_stats.as_deref()))
        .bind::<Text, _>(&key.tag)
        .bind::<Text, _>(&key.request_id)
        .bind::<Text, _>(clean(token))
        .bind::<Text, _>(failure.code.as_str())
        .execute(conn)
}

const HAND_BACK: &str = "UPDATE job_request SET status = 'SUBMITTED',
        processed_batches = coalesce(?1, processed_batches), lease_owner = NULL, lease_expires_at = NULL
    WHERE tag = ?2 AND request_id = ?3 AND status = 'PROCESSING' AND lease_owner = ?4";

pub(super) fn hand_back(
    conn: &mut SqliteConnection,
    token: &str,
    key: &RequestKey,
    processed_batches: Option<&str>,
) -> QueryResult<usize> {
    sql_query(HAND_BACK)
        .bind::<Nullable<Text>, _>(clean_option(processed_batches))
        .bind::<Text, _>(&key.tag)
        .bind::<Text, _>(&key.request_id)
        .bind::<Text, _>(clean(token))
        .execute(conn)
}
