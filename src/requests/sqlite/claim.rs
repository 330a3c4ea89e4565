//! The claim: which rows are taken, and in which order.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use diesel::sqlite::SqliteConnection;

use super::super::crashes::{EXCLUSIVE_CRASHES, group_size};
use super::super::deferred::short_or_bytes;
use super::super::prepared::prepared;
use super::super::status::open_statuses;
use super::super::stored::{LenientText, StoredClaimed, text, time};
use super::super::times::{later, sqlite_text};
use super::super::types::{ClaimMode, ClaimOptions, RequestKey};
use super::columns::is_time;
use super::lease::named;

/// The columns by which a row is chosen. A key that is not text names no row. A back-off that is not a time is over.
macro_rules! claimable {
    () => {
        concat!(
            "SELECT tag, request_id, requested_channel AS channel, dt_job_submitted AS submitted,
        CASE WHEN typeof(crashes) = 'integer' THEN crashes ELSE 0 END AS crashes
    FROM job_request
    WHERE (next_attempt_at IS NULL OR next_attempt_at <= ?2 OR NOT ",
            is_time!("next_attempt_at"),
            ")
        AND typeof(tag) = 'text' AND typeof(request_id) = 'text' AND "
        )
    };
}

/// A time in the form that we write, which sorts as text: word by word the condition of the index `job_request_line`.
macro_rules! our_time {
    () => {
        "typeof(dt_job_submitted) = 'text'
    AND dt_job_submitted GLOB
        '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]'
    AND substr(dt_job_submitted, 6, 2) BETWEEN '01' AND '12'
    AND (substr(dt_job_submitted, 9, 2) BETWEEN '01' AND '28'
        OR substr(dt_job_submitted, 9, 2) IN ('29', '30') AND substr(dt_job_submitted, 6, 2) <> '02'
        OR substr(dt_job_submitted, 9, 2) = '31'
            AND substr(dt_job_submitted, 6, 2) IN ('01', '03', '05', '07', '08', '10', '12'))
    AND substr(dt_job_submitted, 12, 2) < '24'"
    };
}

/// Every row that waits, for claims that have to look at all of them. The condition on both statuses is that of the index
/// `job_request_open`.
pub(super) const ALL: &str = concat!(
    claimable!(),
    "job_id IN (SELECT value FROM json_each(?1)) AND status IN (",
    open_statuses!(),
    ") AND status = 'SUBMITTED'"
);

/// The first rows of the line of one job. ?3: rows with this number of crashes or more are left out.
pub(super) const LINE: &str = concat!(
    claimable!(),
    "job_id = ?1 AND status = 'SUBMITTED' AND CASE WHEN typeof(crashes) = 'integer' THEN crashes ELSE 0 END < ?3
        AND ",
    our_time!(),
    " ORDER BY dt_job_submitted, tag, request_id LIMIT ?4 OFFSET ?5"
);

/// Rows outside of the line: others wrote their times in any form, so they are sorted after they have been read.
pub(super) const ODD: &str = concat!(
    claimable!(),
    "job_id IN (SELECT value FROM json_each(?1)) AND status = 'SUBMITTED' AND NOT (",
    our_time!(),
    ")"
);

#[derive(QueryableByName)]
struct Claimable {
    #[diesel(sql_type = Binary)]
    tag: Vec<u8>,
    #[diesel(sql_type = Binary)]
    request_id: Vec<u8>,
    #[diesel(sql_type = Nullable<Binary>)]
    channel: Option<LenientText>,
    #[diesel(sql_type = Nullable<Binary>)]
    submitted: Option<LenientText>,
    #[diesel(sql_type = BigInt)]
    crashes: i64,
}

/// A claimable row; ordered by age.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    submitted: Option<DateTime<Utc>>,
    key: RequestKey,
    crashes: i64,
    channel: Option<String>,
}

/// Rows under a lease, of all jobs.
const HELD: &str = concat!(
    "SELECT tag, requested_channel AS channel FROM job_request
    WHERE status IN (",
    open_statuses!(),
    ") AND status = 'PROCESSING' AND lease_expires_at > ?1"
);

#[derive(QueryableByName)]
struct Held {
    #[diesel(sql_type = Nullable<Binary>)]
    tag: Option<LenientText>,
    #[diesel(sql_type = Nullable<Binary>)]
    channel: Option<LenientText>,
}

/// What a worker needs of a row. A list of channels that is cut is not JSON any more, and then allows none.
macro_rules! claimed_columns {
    () => {
        concat!(
            "tag, request_id, substr(job_id, 1, 1000) AS job_id,
        ",
            short_or_bytes!("request_data", "request_data", "unread_data", ""),
            ",
        substr(requested_by, 1, 1000) AS requested_by, substr(requested_channel, 1, 1000) AS requested_channel,
        substr(dt_job_submitted, 1, 1000) AS dt_job_submitted, dt_job_processing,
        substr(iteration, 1, 1000) AS iteration, crashes,
        ",
            short_or_bytes!("processed_batches", "processed_batches", "unread_batches", ""),
            ",
        substr(allowed_channels, 1, 65536) AS allowed_channels,
        encryption_key, encryption_key_sealed, substr(encryption_mark, 1, 1000) AS encryption_mark"
        )
    };
}

pub(super) const COLUMNS: &str = claimed_columns!();

/// The keys come as a JSON array of pairs.
pub(super) const TAKE: &str = concat!(
    "UPDATE job_request
    SET crashes = CASE WHEN typeof(crashes) = 'integer' THEN crashes ELSE 0 END,
        status = 'PROCESSING', dt_job_processing = ?1, lease_owner = ?2, lease_expires_at = ?3, job_stats = NULL
    WHERE (tag, request_id) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?4))
    RETURNING ",
    claimed_columns!()
);

pub(super) fn claim(
    conn: &mut SqliteConnection,
    now: DateTime<Utc>,
    options: &ClaimOptions,
    token: &str,
) -> QueryResult<Vec<StoredClaimed>> {
    conn.immediate_transaction(|conn| {
        let limited = options.per_tag.is_some() || options.per_channel.is_some();
        // Rows with crashes may be anywhere in the line, and limits look at all rows that wait.
        let waiting = if limited || options.mode == ClaimMode::Exclusive {
            all(conn, ALL, now, options)?
        } else {
            first(conn, now, options)?
        };
        let held: Vec<Held> =
            if limited { sql_query(HELD).bind::<Text, _>(sqlite_text(now)).load(conn)? } else { Vec::new() };
        let chosen = choose(waiting, held, options);
        if chosen.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<(&str, &str)> =
            chosen.iter().map(|row| (row.key.tag.as_str(), row.key.request_id.as_str())).collect();
        let values = (
            sqlite_text(now).into_sql::<Text>(),
            token.into_sql::<Text>(),
            sqlite_text(later(now, options.lease)).into_sql::<Text>(),
            serde_json::json!(keys).to_string().into_sql::<Text>(),
        );
        prepared(TAKE, values).load(conn)
    })
}

fn all(
    conn: &mut SqliteConnection,
    sql: &'static str,
    now: DateTime<Utc>,
    options: &ClaimOptions,
) -> QueryResult<Vec<Candidate>> {
    let values =
        (serde_json::json!(options.job_ids).to_string().into_sql::<Text>(), sqlite_text(now).into_sql::<Text>());
    let rows: Vec<Claimable> = prepared(sql, values).load(conn)?;
    Ok(rows.into_iter().filter_map(|row| waiting(row, options)).collect())
}

/// The first rows of the line of each job, as many as one claim takes, and all rows outside of the line. The oldest rows are
/// among them.
fn first(conn: &mut SqliteConnection, now: DateTime<Utc>, options: &ClaimOptions) -> QueryResult<Vec<Candidate>> {
    let mut found = all(conn, ODD, now, options)?;
    let limit = usize::try_from(options.limit).unwrap_or(usize::MAX);
    let mut jobs: Vec<&String> = options.job_ids.iter().collect();
    jobs.sort_unstable();
    jobs.dedup();
    for job in jobs {
        let (mut of_job, mut read) = (Vec::new(), 0);
        // A row that cannot be named takes up room on its page, and must not block the rows behind it.
        while of_job.len() < limit {
            let values = (
                job.as_str().into_sql::<Text>(),
                sqlite_text(now).into_sql::<Text>(),
                i64::from(EXCLUSIVE_CRASHES).into_sql::<BigInt>(),
                i64::from(options.limit).into_sql::<BigInt>(),
                read.into_sql::<BigInt>(),
            );
            let page: Vec<Claimable> = prepared(LINE, values).load(conn)?;
            let is_last = page.len() < limit;
            of_job.extend(page.into_iter().filter_map(|row| waiting(row, options)));
            if is_last {
                break;
            }
            read += i64::from(options.limit);
        }
        found.append(&mut of_job);
    }
    Ok(found)
}

/// `None` for a row that these options exclude.
fn waiting(row: Claimable, options: &ClaimOptions) -> Option<Candidate> {
    if (row.crashes >= i64::from(EXCLUSIVE_CRASHES)) != (options.mode == ClaimMode::Exclusive) {
        return None;
    }
    let key = named(row.tag, row.request_id)?;
    if options.paused_tags.contains(&key.tag) {
        return None;
    }
    Some(Candidate { submitted: time(row.submitted), key, crashes: row.crashes, channel: text(row.channel) })
}

/// The oldest rows within the limits on tags and channels that have as many crashes as the very oldest, up to the size of a
/// group with that number of crashes.
fn choose(mut rows: Vec<Candidate>, held: Vec<Held>, options: &ClaimOptions) -> Vec<Candidate> {
    let limit = usize::try_from(options.limit).unwrap_or(usize::MAX);
    rows.sort_unstable();
    let (tags, channels): (Vec<_>, Vec<_>) = held.into_iter().map(|row| (text(row.tag), text(row.channel))).unzip();
    within(&mut rows, options.per_tag, tags, |row| Some(&row.key.tag));
    within(&mut rows, options.per_channel, channels, |row| row.channel.as_ref());
    rows.truncate(limit);
    let Some(taken) = rows.first().map(|row| row.crashes) else { return rows };
    rows.retain(|row| row.crashes == taken);
    rows.truncate(usize::try_from(group_size(taken, options.limit)).unwrap_or(usize::MAX));
    rows
}

/// Keeps the oldest rows of each tenant, as many as its limit leaves room for beside those in work. A row without a tenant
/// is not limited.
fn within(
    rows: &mut Vec<Candidate>,
    limit: Option<u32>,
    in_work: Vec<Option<String>>,
    tenant: impl Fn(&Candidate) -> Option<&String>,
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
