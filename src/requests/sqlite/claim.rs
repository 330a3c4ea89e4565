//! Taking rows and keeping them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use diesel::sqlite::SqliteConnection;

use super::super::stored::{Loose, StoredRow, Value, time};
use super::super::text::{can_exist, clean, clean_option};
use super::super::times::{later, sqlite_text};
use super::super::{ClaimWish, Progress, RequestKey};
use super::columns;

/// Every claimable row, few columns of it: which of them are oldest can only be said after their times, which others
/// wrote in any form, have been read. A key that is not text (SQLite lets a primary key be NULL) names no row, so such a
/// row is left alone. Names come as a JSON array.
pub(super) const CLAIMABLE: &str = "SELECT tag, request_id, dt_job_submitted AS submitted,
        CASE WHEN typeof(crashes) = 'integer' THEN crashes ELSE 0 END + (status = 'PROCESSING') AS crashes
    FROM job_request
    WHERE job_id IN (SELECT value FROM json_each(?1)) AND status IN ('SUBMITTED', 'PROCESSING')
        AND (status = 'SUBMITTED' AND (next_attempt_at IS NULL OR next_attempt_at <= ?2)
            OR status = 'PROCESSING' AND lease_expires_at <= ?2)
        AND typeof(tag) = 'text' AND typeof(request_id) = 'text'";

#[derive(QueryableByName)]
struct Claimable {
    #[diesel(sql_type = Binary)]
    tag: Vec<u8>,
    #[diesel(sql_type = Binary)]
    request_id: Vec<u8>,
    #[diesel(sql_type = Nullable<Binary>)]
    submitted: Option<Loose>,
    #[diesel(sql_type = BigInt)]
    crashes: i64,
}

/// In order of age.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    submitted: Option<DateTime<Utc>>,
    key: RequestKey,
    crashes: i64,
}

/// The keys come as a JSON array of pairs.
pub(super) const TAKE: &str = concat!(
    "UPDATE job_request SET crashes = CASE status WHEN 'PROCESSING'
            THEN CASE WHEN typeof(crashes) = 'integer' THEN crashes ELSE 0 END + 1 ELSE coalesce(crashes, 0) END,
        status = 'PROCESSING', dt_job_processing = ?1, lease_owner = ?2, lease_expires_at = ?3,
        job_stats = NULL
    WHERE (tag, request_id) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?4))
    RETURNING ",
    columns!()
);

pub(super) fn claim(
    conn: &mut SqliteConnection,
    now: DateTime<Utc>,
    wish: &ClaimWish,
    token: &str,
) -> QueryResult<Vec<StoredRow>> {
    conn.immediate_transaction(|conn| {
        let claimable: Vec<Claimable> = sql_query(CLAIMABLE)
            .bind::<Text, _>(serde_json::json!(wish.job_ids).to_string())
            .bind::<Text, _>(sqlite_text(now))
            .load(conn)?;
        let chosen = choose(claimable.into_iter().filter_map(waiting).collect(), wish.limit);
        if chosen.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<(&str, &str)> =
            chosen.iter().map(|row| (row.key.tag.as_str(), row.key.request_id.as_str())).collect();
        sql_query(TAKE)
            .bind::<Text, _>(sqlite_text(now))
            .bind::<Text, _>(token)
            .bind::<Text, _>(sqlite_text(later(now, wish.lease)))
            .bind::<Text, _>(serde_json::json!(keys).to_string())
            .load(conn)
    })
}

/// `None` for a key that is not UTF-8, which could not be named again.
fn waiting(row: Claimable) -> Option<Waiting> {
    let key = RequestKey { tag: String::from_utf8(row.tag).ok()?, request_id: String::from_utf8(row.request_id).ok()? };
    can_exist(&key).then_some(Waiting { submitted: time(row.submitted), key, crashes: row.crashes })
}

/// Of the `limit` oldest rows those like the oldest, up to the size of group that so many crashes are allowed: one crash
/// an eighth, two or more alone.
fn choose(mut rows: Vec<Waiting>, limit: u32) -> Vec<Waiting> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    rows.sort_unstable();
    rows.truncate(limit);
    let grade = |row: &Waiting| row.crashes.min(2);
    let Some(taken) = rows.first().map(grade) else { return rows };
    rows.retain(|row| grade(row) == taken);
    rows.truncate(match taken {
        0 => limit,
        1 => (limit / 8).max(1),
        _ => 1,
    });
    rows
}

const RENEW: &str = "UPDATE job_request SET lease_expires_at = ?1, processed_batches = coalesce(?2, processed_batches)
    WHERE tag = ?3 AND request_id = ?4 AND status = 'PROCESSING' AND lease_owner = ?5";

pub(super) fn renew(
    conn: &mut SqliteConnection,
    now: DateTime<Utc>,
    token: &str,
    rows: &[(RequestKey, Option<String>)],
    lease: Duration,
) -> QueryResult<Vec<RequestKey>> {
    let until = sqlite_text(later(now, lease));
    conn.immediate_transaction(|conn| {
        let mut held = Vec::new();
        for (key, batches) in rows.iter().filter(|(key, _)| can_exist(key)) {
            let changed = sql_query(RENEW)
                .bind::<Text, _>(&until)
                .bind::<Nullable<Text>, _>(clean_option(batches.as_deref()))
                .bind::<Text, _>(&key.tag)
                .bind::<Text, _>(&key.request_id)
                .bind::<Text, _>(clean(token))
                .execute(conn)?;
            if changed == 1 {
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
    rows: &[(RequestKey, Progress)],
) -> QueryResult<()> {
    conn.immediate_transaction(|conn| {
        for (key, progress) in rows.iter().filter(|(key, _)| can_exist(key)) {
            sql_query(NOTE)
                .bind::<Text, _>(progress.job_stats())
                .bind::<Text, _>(&key.tag)
                .bind::<Text, _>(&key.request_id)
                .bind::<Text, _>(clean(token))
                .execute(conn)?;
        }
        Ok(())
    })
}

/// Back-offs are ours alone, so they may be compared.
const NEXT_CLAIMABLE: &str = "SELECT min(coalesce(next_attempt_at, ?1)) AS value FROM job_request
    WHERE job_id IN (SELECT value FROM json_each(?2)) AND status IN ('SUBMITTED', 'PROCESSING')
        AND status = 'SUBMITTED'";

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
