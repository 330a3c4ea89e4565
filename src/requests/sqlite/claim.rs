//! Taking rows and keeping them.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Bool, Nullable, Text};
use diesel::sqlite::SqliteConnection;

use super::super::stored::{Loose, StoredRow, Value, text, time};
use super::super::text::{can_exist, clean, clean_option};
use super::super::times::{later, sqlite_text};
use super::super::{ClaimWish, Progress, RequestKey, SUSPECT, Suspects};
use super::columns;

/// PROCESSING rows that nobody works on, as far as SQL can tell: a lease that ran out, or none at all. Names come as a
/// JSON array. A key that is not text (SQLite lets a primary key be NULL) names no row, so such a row is left alone.
const LOST: &str = "SELECT tag, request_id,
        CASE WHEN typeof(crashes) = 'integer' THEN crashes ELSE 0 END + (lease_expires_at IS NOT NULL) AS crashes,
        CASE WHEN lease_expires_at IS NULL THEN coalesce(dt_job_processing, dt_job_submitted, 0) END AS left_since
    FROM job_request
    WHERE job_id IN (SELECT value FROM json_each(?1)) AND status IN ('SUBMITTED', 'PROCESSING') AND status = 'PROCESSING'
        AND (lease_expires_at <= ?2 OR lease_expires_at IS NULL AND lease_owner IS NULL AND ?3)
        AND typeof(tag) = 'text' AND typeof(request_id) = 'text'";

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
    left_since: Option<Loose>,
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
        let lost: Vec<Lost> = sql_query(LOST)
            .bind::<Text, _>(serde_json::json!(job_ids).to_string())
            .bind::<Text, _>(sqlite_text(now))
            .bind::<Bool, _>(adopt_after.is_some())
            .load(conn)?;
        // A time that others wrote is judged after reading; one that does not read is older than any other.
        let is_new = |since: Option<Loose>| match (time(since), adopt_after) {
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
            let alone = u32::try_from(row.crashes - i64::from(SUSPECT)).ok().filter(|&alone| alone > 0);
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
fn named(tag: Vec<u8>, request_id: Vec<u8>) -> Option<RequestKey> {
    let key = RequestKey { tag: String::from_utf8(tag).ok()?, request_id: String::from_utf8(request_id).ok()? };
    can_exist(&key).then_some(key)
}

/// Every claimable row, few columns of it: which of them are oldest can only be said after their times, which others
/// wrote in any form, have been read.
pub(super) const CLAIMABLE: &str =
    "SELECT tag, request_id, requested_channel AS channel, dt_job_submitted AS submitted,
        CASE WHEN typeof(crashes) = 'integer' THEN crashes ELSE 0 END AS crashes
    FROM job_request
    WHERE job_id IN (SELECT value FROM json_each(?1)) AND status IN ('SUBMITTED', 'PROCESSING') AND status = 'SUBMITTED'
        AND (next_attempt_at IS NULL OR next_attempt_at <= ?2)
        AND typeof(tag) = 'text' AND typeof(request_id) = 'text'";

#[derive(QueryableByName)]
struct Claimable {
    #[diesel(sql_type = Binary)]
    tag: Vec<u8>,
    #[diesel(sql_type = Binary)]
    request_id: Vec<u8>,
    #[diesel(sql_type = Nullable<Binary>)]
    channel: Option<Loose>,
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
    channel: Option<String>,
}

/// Rows in work, over all jobs.
const HELD: &str = "SELECT tag, requested_channel AS channel FROM job_request
    WHERE status IN ('SUBMITTED', 'PROCESSING') AND status = 'PROCESSING' AND lease_expires_at > ?1";

#[derive(QueryableByName)]
struct Held {
    #[diesel(sql_type = Nullable<Binary>)]
    tag: Option<Loose>,
    #[diesel(sql_type = Nullable<Binary>)]
    channel: Option<Loose>,
}

/// The keys come as a JSON array of pairs.
pub(super) const TAKE: &str = concat!(
    "UPDATE job_request SET crashes = CASE WHEN typeof(crashes) = 'integer' THEN crashes ELSE 0 END,
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
        let held: Vec<Held> = if wish.per_tag.is_some() || wish.per_channel.is_some() {
            sql_query(HELD).bind::<Text, _>(sqlite_text(now)).load(conn)?
        } else {
            Vec::new()
        };
        let chosen = choose(claimable.into_iter().filter_map(|row| waiting(row, wish)).collect(), held, wish);
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

/// `None` for a row that this wish does not mean.
fn waiting(row: Claimable, wish: &ClaimWish) -> Option<Waiting> {
    if (row.crashes >= i64::from(SUSPECT)) != (wish.suspects == Suspects::One) {
        return None;
    }
    let key = named(row.tag, row.request_id)?;
    Some(Waiting { submitted: time(row.submitted), key, crashes: row.crashes, channel: text(row.channel) })
}

/// Of the oldest rows within the limits on tags and channels those like the oldest, up to the size of group that so many
/// crashes are allowed: one crash an eighth, more alone.
fn choose(mut rows: Vec<Waiting>, held: Vec<Held>, wish: &ClaimWish) -> Vec<Waiting> {
    let limit = usize::try_from(wish.limit).unwrap_or(usize::MAX);
    rows.sort_unstable();
    let (tags, channels): (Vec<_>, Vec<_>) = held.into_iter().map(|row| (text(row.tag), text(row.channel))).unzip();
    within(&mut rows, wish.per_tag, tags, |row| Some(&row.key.tag));
    within(&mut rows, wish.per_channel, channels, |row| row.channel.as_ref());
    rows.truncate(limit);
    let Some(taken) = rows.first().map(|row| row.crashes) else { return rows };
    rows.retain(|row| row.crashes == taken);
    rows.truncate(match taken {
        0 => limit,
        1 => (limit / 8).max(1),
        _ => 1,
    });
    rows
}

/// Keeps of each tenant as many of the oldest rows as its limit leaves room for beside those in work. A row without a
/// tenant is not limited.
fn within(
    rows: &mut Vec<Waiting>,
    limit: Option<u32>,
    in_work: Vec<Option<String>>,
    tenant: impl Fn(&Waiting) -> Option<&String>,
) {
    let Some(limit) = limit else { return };
    let mut taken: HashMap<String, u32> = HashMap::new();
    for tenant in in_work.into_iter().flatten() {
        *taken.entry(tenant).or_default() += 1;
    }
    rows.retain(|row| {
        let Some(tenant) = tenant(row) else { return true };
        let taken = taken.entry(tenant.clone()).or_default();
        *taken += 1;
        *taken <= limit
    });
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
                .bind::<BigInt, _>(i64::from(SUSPECT))
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
