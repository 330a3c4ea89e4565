//! The four fenced statements that end a claim. Each changes its row only while that is PROCESSING under this very token; the
//! caller checks the number of changed rows.

use std::collections::HashSet;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text};

use super::super::encryption::wipe_password;
use super::super::prepared::prepared;
use super::super::stored::StoredKey;
use super::super::text::{can_exist, clean, clean_option, err_message, execution_time};
use super::super::times::{microseconds, postgres_text};
use super::super::types::{Completion, Failure, RequestKey, WriteBack};
use super::columns::now;

/// Rows are locked in the order of their keys, as a renewal locks them: two statements over the same rows could wait for
/// each other in a circle.
const COMPLETE_ALL: &str = concat!(
    "WITH held AS MATERIALIZED (
        SELECT j.tag, j.request_id, made.urls, made.created, made.took, made.stats
        FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::text[])
            AS made (tag, request_id, urls, created, took, stats)
        JOIN job_request AS j ON j.tag = made.tag AND j.request_id = made.request_id
        WHERE j.status = 'PROCESSING' AND j.lease_owner = $8
        ORDER BY j.tag, j.request_id
        FOR UPDATE OF j
    )
    UPDATE job_request AS j SET status = 'COMPLETED', dt_job_completed = ",
    now!(),
    ", download_urls = ARRAY(SELECT json_array_elements_text(held.urls::json)),
        dt_file_created = held.created::timestamp, execution_time = held.took, job_stats = held.stats::json,
        iteration = coalesce(j.iteration, 0) + 1, err_message = NULL, err_code = NULL, err_detail = NULL,
        next_attempt_at = NULL, lease_owner = NULL, lease_expires_at = NULL, ",
    wipe_password!(),
    "
    FROM held
    WHERE j.tag = held.tag AND j.request_id = held.request_id AND j.status = 'PROCESSING' AND j.lease_owner = $8
    RETURNING j.tag::text AS tag, j.request_id::text AS request_id"
);

/// A key that cannot exist is held under no token.
pub(super) fn complete_all(
    conn: &mut PgConnection,
    shift: i64,
    token: &str,
    rows: &[(RequestKey, Completion)],
) -> QueryResult<Vec<WriteBack>> {
    let asked: Vec<_> = rows.iter().filter(|(key, _)| can_exist(key)).collect();
    // unnest does not take lists of lists, so the list of each row is JSON.
    let urls = |made: &Completion| {
        serde_json::json!(made.download_urls.iter().map(|url| clean(url)).collect::<Vec<_>>()).to_string()
    };
    let values = (
        shift.into_sql::<BigInt>(),
        asked.iter().map(|(key, _)| key.tag.as_str()).collect::<Vec<_>>().into_sql::<Array<Text>>(),
        asked.iter().map(|(key, _)| key.request_id.as_str()).collect::<Vec<_>>().into_sql::<Array<Text>>(),
        asked.iter().map(|(_, made)| urls(made)).collect::<Vec<_>>().into_sql::<Array<Text>>(),
        asked.iter().map(|(_, made)| postgres_text(made.file_created)).collect::<Vec<_>>().into_sql::<Array<Text>>(),
        asked
            .iter()
            .map(|(_, made)| execution_time(made.execution_ms))
            .collect::<Vec<_>>()
            .into_sql::<Array<Integer>>(),
        asked.iter().map(|(_, made)| clean(&made.job_stats)).collect::<Vec<_>>().into_sql::<Array<Text>>(),
        clean(token).into_sql::<Text>(),
    );
    let done: Vec<StoredKey> = prepared(COMPLETE_ALL, values).load(conn)?;
    let mut done: HashSet<RequestKey> = done.into_iter().map(RequestKey::from).collect();
    // Removed, so that a row that was passed twice is written once.
    Ok(rows.iter().map(|(key, _)| if done.remove(key) { WriteBack::Done } else { WriteBack::Lost }).collect())
}

const RETRY_LATER: &str = concat!(
    "UPDATE job_request SET status = 'SUBMITTED', next_attempt_at = ",
    now!(),
    " + $5 * interval '1 microsecond', err_message = $6, err_detail = $7, err_code = $9, iteration = coalesce(iteration, 0) + 1,
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
        .bind::<Text, _>(failure.code.as_str())
        .execute(conn)
}

const FAIL: &str = concat!(
    "UPDATE job_request SET status = 'FAILED', dt_job_completed = ",
    now!(),
    ", err_message = $5, err_detail = $6, err_code = $9, execution_time = $7, job_stats = coalesce($8::json, job_stats),
        iteration = coalesce(iteration, 0) + 1, next_attempt_at = NULL, lease_owner = NULL, lease_expires_at = NULL, ",
    wipe_password!(),
    "
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
        .bind::<Text, _>(failure.code.as_str())
        .execute(conn)
}

/// Notifies the other daemons: the row is claimable at once.
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
