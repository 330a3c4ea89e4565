//! Keeping rows: leases that ran out, that are prolonged, and what is noted with them. `claim` takes them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::connection::DefaultLoadingMode;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Bool, Nullable, Text};
use diesel::sqlite::SqliteConnection;

use super::super::prepared::prepared;
use super::super::reading::RequestProgress;
use super::super::status::open_statuses;
use super::super::stored::{LenientText, Value, text, time};
use super::super::text::{can_exist, clean, clean_option};
use super::super::times::{later, sqlite_text};
use super::super::types::{DeferredText, EXCLUSIVE_CRASHES, RequestKey, Unclaimable};
use super::columns::is_time;

/// PROCESSING rows that nobody works on, as far as SQL can tell: a lease that ran out, or whose end is no
/// time, or none at all. Names come as a JSON array. A key that is not text (SQLite lets a primary key be NULL) names no row,
/// so such a row is left alone.
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
    /// Only of rows without a lease, which are another system's work.
    #[diesel(sql_type = Nullable<Binary>)]
    left_since: Option<LenientText>,
}

/// Keys, crashes and, for suspects, the next attempt come as a JSON array of arrays.
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
        // A time that others wrote is judged after reading; one that does not read is older than any other.
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
            let alone = u32::try_from(row.crashes - i64::from(EXCLUSIVE_CRASHES)).ok().filter(|&alone| alone > 0);
            let next = alone.map(|alone| sqlite_text(later(now, lease.saturating_mul(alone))));
            taken_back.push(serde_json::json!([key.tag, key.request_id, row.crashes, next]));
            keys.push(key);
        }
        if !keys.is_empty() {
            sql_query(RECLAIM).bind::<Text, _>(serde_json::Value::Array(taken_back).to_string()).execute(conn)?;
        }
        Ok(keys)
    })
}

/// `None` for a key that is not UTF-8, which could not be named again.
pub(super) fn named(tag: Vec<u8>, request_id: Vec<u8>) -> Option<RequestKey> {
    let key = RequestKey { tag: String::from_utf8(tag).ok()?, request_id: String::from_utf8(request_id).ok()? };
    can_exist(&key).then_some(key)
}

/// A row that got further counts its crashes alone anew: what is killed again and again and gets on is no poison.
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

pub(super) fn text_of(
    conn: &mut SqliteConnection,
    key: &RequestKey,
    which: DeferredText,
    most: u64,
) -> QueryResult<Option<String>> {
    let sql = match which {
        DeferredText::RequestData => {
            "SELECT CASE WHEN octet_length(request_data) <= ?3 THEN request_data END AS value
            FROM job_request WHERE tag = ?1 AND request_id = ?2"
        }
        DeferredText::ProcessedBatches => {
            "SELECT CASE WHEN octet_length(processed_batches) <= ?3 THEN processed_batches END AS value
            FROM job_request WHERE tag = ?1 AND request_id = ?2"
        }
    };
    let values = (
        key.tag.as_str().into_sql::<Text>(),
        key.request_id.as_str().into_sql::<Text>(),
        i64::try_from(most).unwrap_or(i64::MAX).into_sql::<BigInt>(),
    );
    let row: Option<Value> = prepared(sql, values).get_result(conn).optional()?;
    Ok(row.and_then(|row| text(row.value)))
}

/// Back-offs are ours alone, so they may be compared; one that somebody made no time is over.
const NEXT_CLAIMABLE: &str = concat!(
    "SELECT min(CASE WHEN ",
    is_time!("next_attempt_at"),
    " THEN next_attempt_at ELSE ?1 END) AS value FROM job_request
    WHERE job_id IN (SELECT value FROM json_each(?2)) AND status IN (",
    open_statuses!(),
    ")
        AND status = 'SUBMITTED'"
);

pub(super) fn next_claimable(
    conn: &mut SqliteConnection,
    now: &str,
    job_ids: &[String],
) -> QueryResult<Option<DateTime<Utc>>> {
    let next: Value = sql_query(NEXT_CLAIMABLE)
        .bind::<Text, _>(now)
        .bind::<Text, _>(serde_json::json!(job_ids).to_string())
        .get_result(conn)?;
    Ok(time(next.value))
}

/// Rows of these jobs that wait or are in work, with the kinds of their keys.
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

/// Rows whose key names no row: it is no text, or text that no statement can hold.
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
