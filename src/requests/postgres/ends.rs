//! How a claim ends: four fenced statements. Each changes its row only while that is PROCESSING under this very token;
//! the caller looks at how many rows that were.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text};

use super::super::text::{clean, clean_option, err_message, execution_time};
use super::super::times::{microseconds, postgres_text};
use super::super::{Completion, Failure, RequestKey};
use super::now;

const COMPLETE: &str = concat!(
    "UPDATE job_request SET status = 'COMPLETED', dt_job_completed = ",
    now!(),
    ", download_urls = $5, dt_file_created = $6::timestamp, execution_time = $7, job_stats = $8::json,
        iteration = coalesce(iteration, 0) + 1, err_message = NULL, err_detail = NULL, next_attempt_at = NULL,
        lease_owner = NULL, lease_expires_at = NULL
    WHERE tag = $2 AND request_id = $3 AND status = 'PROCESSING' AND lease_owner = $4"
);

pub(super) fn complete(
    conn: &mut PgConnection,
    shift: i64,
    token: &str,
    key: &RequestKey,
    completion: &Completion,
) -> QueryResult<usize> {
    sql_query(COMPLETE)
        .bind::<BigInt, _>(shift)
        .bind::<Text, _>(&key.tag)
        .bind::<Text, _>(&key.request_id)
        .bind::<Text, _>(clean(token))
        .bind::<Array<Text>, _>(completion.download_urls.iter().map(|url| clean(url)).collect::<Vec<_>>())
        .bind::<Text, _>(postgres_text(completion.file_created))
        .bind::<Integer, _>(execution_time(completion.execution_ms))
        .bind::<Text, _>(clean(&completion.job_stats))
        .execute(conn)
}

const RETRY_LATER: &str = concat!(
    "UPDATE job_request SET status = 'SUBMITTED', next_attempt_at = ",
    now!(),
    " + $5 * interval '1 microsecond', err_message = $6, err_detail = $7, iteration = coalesce(iteration, 0) + 1,
        processed_batches = coalesce($8, processed_batches), lease_owner = NULL, lease_expires_at = NULL
    WHERE tag = $2 AND request_id = $3 AND status = 'PROCESSING' AND lease_owner = $4"
);

pub(super) fn retry_later(
    conn: &mut PgConnection,
    shift: i64,
    token: &str,
    key: &RequestKey,
    failure: &Failure,
    delay: Duration,
) -> QueryResult<usize> {
    sql_query(RETRY_LATER)
        .bind::<BigInt, _>(shift)
        .bind::<Text, _>(&key.tag)
        .bind::<Text, _>(&key.request_id)
        .bind::<Text, _>(clean(token))
        .bind::<BigInt, _>(microseconds(delay))
        .bind::<Text, _>(err_message(&failure.message))
        .bind::<Text, _>(clean(&failure.detail))
        .bind::<Nullable<Text>, _>(clean_option(failure.processed_batches.as_deref()))
        .execute(conn)
}

const FAIL: &str = concat!(
    "UPDATE job_request SET status = 'FAILED', dt_job_completed = ",
    now!(),
    ", err_message = $5, err_detail = $6, execution_time = $7, job_stats = coalesce($8::json, job_stats),
        iteration = coalesce(iteration, 0) + 1, next_attempt_at = NULL, lease_owner = NULL, lease_expires_at = NULL
    WHERE tag = $2 AND request_id = $3 AND status = 'PROCESSING' AND lease_owner = $4"
);

pub(super) fn fail(
    conn: &mut PgConnection,
    shift: i64,
    token: &str,
    key: &RequestKey,
    failure: &Failure,
) -> QueryResult<usize> {
    sql_query(FAIL)
        .bind::<BigInt, _>(shift)
        .bind::<Text, _>(&key.tag)
        .bind::<Text, _>(&key.request_id)
        .bind::<Text, _>(clean(token))
        .bind::<Text, _>(err_message(&failure.message))
        .bind::<Text, _>(clean(&failure.detail))
        .bind::<Integer, _>(execution_time(failure.execution_ms))
        .bind::<Nullable<Text>, _>(clean_option(failure.job_stats.as_deref()))
        .execute(conn)
}

/// Wakes the other daemons: the row may be claimed at once.
const HAND_BACK: &str = "WITH back AS (
        UPDATE job_request SET status = 'SUBMITTED', processed_batches = coalesce($4, processed_batches),
            lease_owner = NULL, lease_expires_at = NULL
        WHERE tag = $1 AND request_id = $2 AND status = 'PROCESSING' AND lease_owner = $3
        RETURNING 1
    )
    SELECT pg_notify('exhaust_job_request', '') FROM back";

pub(super) fn hand_back(
    conn: &mut PgConnection,
    token: &str,
    key: &RequestKey,
    processed_batches: Option<&str>,
) -> QueryResult<usize> {
    sql_query(HAND_BACK)
        .bind::<Text, _>(&key.tag)
        .bind::<Text, _>(&key.request_id)
        .bind::<Text, _>(clean(token))
        .bind::<Nullable<Text>, _>(clean_option(processed_batches))
        .execute(conn)
}
