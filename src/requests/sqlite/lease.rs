//! Leases: rows whose lease ran out, renewals, and what is written with them. `claim` begins them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::connection::DefaultLoadingMode;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Bool, Nullable, Text};
use diesel::sqlite::SqliteConnection;

use super::super::crashes::{EXCLUSIVE_CRASHES, leases_to_wait};
use super::super::deferred::select_text;
use super::super::prepared::prepared;
use super::super::status::open_statuses;
use super::super::stored::{LenientText, StoredText, time};
use super::super::text::{can_exist, clean, clean_option};
use super::super::times::{later, sqlite_text};
use super::super::types::{DeferredText, RequestKey, RequestProgress, Unclaimable};
use super::columns::is_time;

/// PROCESSING rows without a valid lease, as far as SQL can tell: it ran out, its end is not a time, or there is none. Job ids
/// come as a JSON array. A key that is not text (SQLite lets a primary key be NULL) names no row, and is left out.
/// A row with parts stays split (`parts`).
const LOST: &str = concat!(
    "SELECT tag, request_id,
        CASE WHEN typeof(crashes) = 'integer' THEN crashes ELSE 0 END + (lease_expires_at IS NOT NULL) AS crashes,
        CASE WHEN lease_expires_at IS NULL THEN coalesce(dt_job_processing, dt_job_submitted, 0) END AS left_since
    FROM job_request
    WHERE job_id IN (SELECT value FROM json_each(?1)) AND status IN (",
    open_statuses!(),
    ") AND status = 'PROCESSING'
        AND (lease_expires_at <= ?2 OR lease_expires_at IS NOT NULL AND NOT ",
    is_time!("lease_expires_at"),
    " OR lease_expires_at IS NULL AND lease_owner IS NULL AND ?3)
        AND NOT (coalesce(lease_owner LIKE 'parts:%' AND lease_owner NOT LIKE 'parts:%:%', 0)
            AND EXISTS (SELECT 1 FROM job_request_part AS p
                WHERE p.tag = job_request.tag AND p.request_id = job_request.request_id))
        AND typeof(tag) = 'text' AND typeof(request_id) = 'text'"
);

#[derive(QueryableByName)]
struct Lost {
    #[diesel(sql_type = Binary)]
    tag: Vec<u8>,
    #[diesel(sql_type = Binary)]
    request_id: Vec<u8>,
    #[diesel(sql_type = BigInt)]
    crashes: i64,
    /// Set for rows without a lease, which are another system's work.
    #[diesel(sql_type = Nullable<Binary>)]
    left_since: Option<LenientText>,
}

/// Keys, crashes and, for rows that have to wait, the next attempt come as a JSON array of arrays.
const RECLAIM: &str = "UPDATE job_request SET status = 'SUBMITTED', lease_owner = NULL, lease_expires_at = NULL,
        crashes = lost.value ->> 2, next_attempt_at = coalesce(lost.value ->> 3, next_attempt_at)
    FROM json_each(?1) AS lost WHERE tag = lost.value ->> 0 AND request_id = lost.value ->> 1";

pub(super) fn reclaim(
    conn: &mut SqliteConnection,
    now: DateTime<Utc>,
    job_ids: &[String],
    lease: Duration,
    adopt_after: Option<Duration>,
) -> QueryResult<Vec<RequestKey>> {
    conn.immediate_transaction(|conn| {
        let values = (
            serde_json::json!(job_ids).to_string().into_sql::<Text>(),
            sqlite_text(now).into_sql::<Text>(),
            adopt_after.is_some().into_sql::<Bool>(),
        );
        let lost: Vec<Lost> = prepared(LOST, values).load(conn)?;
        // Others write times in any form, so they are compared after reading. What is not a time counts as older than any time.
        let is_new = |since: Option<LenientText>| match (time(since), adopt_after) {
            (Some(since), Some(after)) => later(since, after) > now,
            _ => false,
        };
        let mut keys = Vec::new();
        let mut taken_back = Vec::new();
        for row in lost {
            if is_new(row.left_since) {
                continue;
            }
            let Some(key) = named(row.tag, row.request_id) else { continue };
            let leases = leases_to_wait(row.crashes);
            let next = leases.map(|leases| sqlite_text(later(now, lease.saturating_mul(leases))));
            taken_back.push(serde_json::json!([key.tag, key.request_id, row.crashes, next]));
            keys.push(key);
        }
        if !keys.is_empty() {
            sql_query(RECLAIM).bind::<Text, _>(serde_json::Value::Array(taken_back).to_string()).execute(conn)?;
        }
        Ok(keys)
    })
}

/// The key; `None` where it is not UTF-8, so that no statement can name it.
pub(super) fn named(tag: Vec<u8>, request_id: Vec<u8>) -> Option<RequestKey> {
    let key = RequestKey { tag: String::from_utf8(tag).ok()?, request_id: String::from_utf8(request_id).ok()? };
    can_exist(&key).then_some(key)
}

/// A row that has made progress starts to count the crashes of its own anew: a request that gets on is not poison.
const RENEW: &str = "UPDATE job_request SET lease_expires_at = ?1, processed_batches = coalesce(?2, processed_batches),
        crashes = CASE WHEN ?2 IS NULL THEN crashes ELSE min(coalesce(crashes, 0), ?6) END
    WHERE tag = ?3 AND request_id = ?4 AND status = 'PROCESSING' AND lease_owner = ?5";

pub(super) fn renew(
    conn: &mut SqliteConnection,
    now: DateTime<Utc>,
    token: &str,
    rows: &[(RequestKey, Option<String>)],
    lease: Duration,
) -> QueryResult<Vec<RequestKey>> {
    let (until, token) = (sqlite_text(later(now, lease)), clean(token));
    conn.immediate_transaction(|conn| {
        let mut held = Vec::new();
        for (key, batches) in rows.iter().filter(|(key, _)| can_exist(key)) {
            let values = (
                until.as_str().into_sql::<Text>(),
                clean_option(batches.as_deref()).into_sql::<Nullable<Text>>(),
                key.tag.as_str().into_sql::<Text>(),
                key.request_id.as_str().into_sql::<Text>(),
                token.as_str().into_sql::<Text>(),
                i64::from(EXCLUSIVE_CRASHES).into_sql::<BigInt>(),
            );
            if prepared(RENEW, values).execute(conn)? == 1 {
                held.push(key.clone());
            }
        }
        Ok(held)
    })
}

const STILL_HELD: &str = "SELECT 1 AS held FROM job_request
    WHERE tag = ?1 AND request_id = ?2 AND status = 'PROCESSING' AND lease_owner = ?3";

pub(super) fn still_held(
    conn: &mut SqliteConnection,
    token: &str,
    keys: &[RequestKey],
) -> QueryResult<Vec<RequestKey>> {
    let token = clean(token);
    let mut held = Vec::new();
    for key in keys.iter().filter(|key| can_exist(key)) {
        let values = (
            key.tag.as_str().into_sql::<Text>(),
            key.request_id.as_str().into_sql::<Text>(),
            token.as_str().into_sql::<Text>(),
        );
        if !prepared(STILL_HELD, values).load::<Found>(conn)?.is_empty() {
            held.push(key.clone());
        }
    }
    Ok(held)
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = BigInt)]
    #[allow(dead_code, reason = "that there is a row is the answer")]
    held: i64,
}

const NOTE: &str = "UPDATE job_request SET job_stats = ?1
    WHERE tag = ?2 AND request_id = ?3 AND status = 'PROCESSING' AND lease_owner = ?4";

pub(super) fn note_progress(
    conn: &mut SqliteConnection,
    token: &str,
    rows: &[(RequestKey, RequestProgress)],
) -> QueryResult<()> {
    let token = clean(token);
    conn.immediate_transaction(|conn| {
        for (key, progress) in rows.iter().filter(|(key, _)| can_exist(key)) {
            let values = (
                progress.job_stats().into_sql::<Text>(),
                key.tag.as_str().into_sql::<Text>(),
                key.request_id.as_str().into_sql::<Text>(),
                token.as_str().into_sql::<Text>(),
            );
            prepared(NOTE, values).execute(conn)?;
        }
        Ok(())
    })
}

/// The statement for [`deferred::read`](super::super::deferred::read).
pub(super) const fn select_deferred(which: DeferredText) -> &'static str {
    match which {
        DeferredText::RequestData => select_text!("request_data", "?"),
        DeferredText::ProcessedBatches => select_text!("processed_batches", "?"),
    }
}

/// Only we write back-offs, so SQL may compare them. One that others made something else than a time is over.
const NEXT_CLAIMABLE: &str = concat!(
    "SELECT min(CASE WHEN ",
    is_time!("next_attempt_at"),
    " THEN next_attempt_at ELSE ?1 END) AS value FROM job_request
    WHERE job_id IN (SELECT value FROM json_each(?2)) AND status IN (",
    open_statuses!(),
    ")
        AND status = 'SUBMITTED'
        AND tag NOT IN (SELECT name FROM exhaust_pause WHERE kind = 'tenant')"
);

pub(super) fn next_claimable(
    conn: &mut SqliteConnection,
    now: DateTime<Utc>,
    job_ids: &[String],
) -> QueryResult<Option<DateTime<Utc>>> {
    let next: StoredText = sql_query(NEXT_CLAIMABLE)
        .bind::<Text, _>(sqlite_text(now))
        .bind::<Text, _>(serde_json::json!(job_ids).to_string())
        .get_result(conn)?;
    Ok(next.into_time())
}

/// Open rows of these jobs, with the types of their keys.
const OPEN: &str = concat!(
    "SELECT rowid AS place, CAST(tag AS BLOB) AS tag, CAST(request_id AS BLOB) AS request_id,
        typeof(tag) AS kind_of_tag, typeof(request_id) AS kind_of_id
    FROM job_request
    WHERE job_id IN (SELECT value FROM json_each(?1)) AND status IN (",
    open_statuses!(),
    ")
    ORDER BY rowid"
);

#[derive(QueryableByName)]
struct Open {
    #[diesel(sql_type = BigInt)]
    place: i64,
    #[diesel(sql_type = Nullable<Binary>)]
    tag: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    request_id: Option<Vec<u8>>,
    #[diesel(sql_type = Text)]
    kind_of_tag: String,
    #[diesel(sql_type = Text)]
    kind_of_id: String,
}

/// Rows that no statement can name: their key is not text, or text that cannot be bound.
pub(super) fn unclaimable(conn: &mut SqliteConnection, job_ids: &[String]) -> QueryResult<Unclaimable> {
    let rows = sql_query(OPEN)
        .bind::<Text, _>(serde_json::json!(job_ids).to_string())
        .load_iter::<Open, DefaultLoadingMode>(conn)?;
    let mut found = Unclaimable::default();
    for row in rows {
        let Open { place, tag, request_id, kind_of_tag, kind_of_id } = row?;
        if kind_of_tag != "text" || kind_of_id != "text" {
            let (name, kind) = if kind_of_tag == "text" { ("request_id", kind_of_id) } else { ("tag", kind_of_tag) };
            found.count(|| format!("rowid {place}: {name} is {kind}, not text"));
        } else if named(tag.unwrap_or_default(), request_id.unwrap_or_default()).is_none() {
            found.count(|| format!("rowid {place}: its key is not UTF-8, or has NUL"));
        }
    }
    Ok(found)
}
