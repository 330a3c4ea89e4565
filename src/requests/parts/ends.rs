//! How parts are lost, and how a split request ends.

use std::time::Duration;

use chrono::DateTime;
use diesel::result::QueryResult;

use super::connection::{
    PartConnection, StoredPart, Value, columns, is_split, lock_split, of_row, remove_parts, states_of,
};
use super::{MadeRequest, PartRow};
use crate::requests::crashes::leases_to_wait;
use crate::requests::daemons::milliseconds;
use crate::requests::text::can_exist;
use crate::requests::types::{ClaimedRequest, Completion, Failure, RequestKey, WriteBack};

/// Parts of a job whose lease ran out. `?2`: now.
const LOST: &str = concat!(
    "SELECT DISTINCT p.tag, p.request_id FROM job_request_part AS p
        JOIN job_request AS j ON j.tag = p.tag AND j.request_id = p.request_id
    WHERE j.job_id = ?1 AND ",
    is_split!(),
    " AND p.result IS NULL AND p.token IS NOT NULL AND p.lease_until <= ?2"
);

const FREE: &str = "UPDATE job_request_part SET token = NULL, lease_until = NULL, crashes = ?4, next_attempt = ?5
    WHERE tag = ?1 AND request_id = ?2 AND part = ?3";

const REMOVE_ENDED: &str = concat!(
    "DELETE FROM job_request_part WHERE NOT EXISTS (SELECT 1 FROM job_request AS j
        WHERE j.tag = job_request_part.tag AND j.request_id = job_request_part.request_id AND ",
    is_split!(),
    ")"
);

/// Whether any request is split, or was until now.
pub(super) fn has_parts(conn: &mut dyn PartConnection) -> QueryResult<bool> {
    Ok(!conn.load_keys("SELECT tag, request_id FROM job_request_part LIMIT 1", &[])?.is_empty())
}

/// Requests of a job with a part whose lease ran out.
pub(super) fn lost(conn: &mut dyn PartConnection, job_id: &str) -> QueryResult<Vec<RequestKey>> {
    let now = conn.now()?;
    Ok(conn.load_keys(LOST, &[job_id.into(), now.into()])?.into_iter().map(RequestKey::from).collect())
}

/// Frees the parts of a request whose lease ran out. Returns their numbers.
pub(super) fn free(conn: &mut dyn PartConnection, key: &RequestKey, lease: Duration) -> QueryResult<Vec<u64>> {
    let mut freed = Vec::new();
    if lock_split(conn, key)?.is_none() {
        return Ok(freed);
    }
    let now = conn.now()?;
    let is_lost = |part: &StoredPart| part.result.is_none() && part.lease_until.is_some_and(|until| until <= now);
    for part in states_of(conn, key)?.into_iter().filter(is_lost) {
        let crashes = part.crashes.saturating_add(1);
        let wait = leases_to_wait(crashes).map_or(0, |leases| milliseconds(lease.saturating_mul(leases)));
        let next = now.saturating_add(wait);
        let free: Vec<Value> = of_row(key).into_iter().chain([part.part, crashes, next].map(Value::from)).collect();
        conn.execute(FREE, &free)?;
        freed.push(u64::try_from(part.part).unwrap_or_default());
    }
    Ok(freed)
}

/// Gives a split row whose lease ran out a new token: nobody held a part of it for so long.
pub(super) fn keep_split(
    conn: &mut dyn PartConnection,
    (key, fresh): (&RequestKey, &str),
    lease: Duration,
) -> QueryResult<()> {
    let Some(owner) = lock_split(conn, key)? else { return Ok(()) };
    // Without parts it is a lost row like any other.
    if !states_of(conn, key)?.is_empty() {
        conn.give(key, &owner, fresh, lease)?;
    }
    Ok(())
}

/// Removes parts of rows that are not split any more.
pub(super) fn remove_ended(conn: &mut dyn PartConnection) -> QueryResult<()> {
    conn.execute(REMOVE_ENDED, &[]).map(drop)
}

/// A split row of a job of which every part is made.
const MADE: &str = concat!(
    "SELECT p.tag, p.request_id FROM job_request_part AS p
        JOIN job_request AS j ON j.tag = p.tag AND j.request_id = p.request_id
    WHERE j.job_id = ?1 AND ",
    is_split!(),
    " GROUP BY p.tag, p.request_id HAVING count(*) = count(p.result) LIMIT 1"
);

const PARTS: &str =
    concat!("SELECT ", columns!(), " FROM job_request_part AS p WHERE tag = ?1 AND request_id = ?2 ORDER BY part");

/// Requests of a job of which every part is made.
pub(super) fn all_made(conn: &mut dyn PartConnection, job_id: &str) -> QueryResult<Vec<RequestKey>> {
    Ok(conn.load_keys(MADE, &[job_id.into()])?.into_iter().map(RequestKey::from).collect())
}

/// What its parts came to. `None`: another daemon has ended it meanwhile.
pub(super) fn made(conn: &mut dyn PartConnection, key: &RequestKey) -> QueryResult<Option<MadeRequest>> {
    let Some(token) = lock_split(conn, key)? else { return Ok(None) };
    let parts = conn.load_parts(PARTS, &of_row(key))?;
    let Some(row) = conn.claimed(key)?.map(ClaimedRequest::from) else { return Ok(None) };
    let left_out = parts.iter().find_map(|part| part.left_out.clone());
    let files = parts.iter().map(|part| u64::try_from(part.files).unwrap_or_default()).sum();
    let results: Option<Vec<String>> = parts.into_iter().map(|part| part.result).collect();
    let Some(results) = results.filter(|results| !results.is_empty()) else { return Ok(None) };
    let ClaimedRequest { key, job_id, submitted, claimed, iteration, .. } = row;
    Ok(Some(MadeRequest { key, token, job_id, submitted, claimed, iteration, files, results, left_out }))
}

pub(super) fn complete_split(
    conn: &mut dyn PartConnection,
    key: &RequestKey,
    token: &str,
    made: &Completion,
) -> QueryResult<WriteBack> {
    // The last look before the row says so; the row is locked from here on.
    if lock_split(conn, key)?.is_none() {
        return Ok(WriteBack::Lost);
    }
    let parts = states_of(conn, key)?;
    if parts.is_empty() || parts.iter().any(|part| part.result.is_none()) {
        return Ok(WriteBack::Lost);
    }
    end_split(conn, key, token, |conn| conn.complete(key, token, made))
}

pub(super) fn fail_split(
    conn: &mut dyn PartConnection,
    key: &RequestKey,
    token: &str,
    failure: &Failure,
) -> QueryResult<WriteBack> {
    end_split(conn, key, token, |conn| conn.fail(key, token, failure))
}

pub(super) fn retry_split_later(
    conn: &mut dyn PartConnection,
    key: &RequestKey,
    token: &str,
    failure: &Failure,
    delay: Duration,
) -> QueryResult<WriteBack> {
    end_split(conn, key, token, |conn| conn.retry_later(key, token, failure, delay))
}

/// Removes the parts and writes how the request ends; fenced by the token of the split.
fn end_split(
    conn: &mut dyn PartConnection,
    key: &RequestKey,
    token: &str,
    write: impl FnOnce(&mut dyn PartConnection) -> QueryResult<WriteBack>,
) -> QueryResult<WriteBack> {
    if lock_split(conn, key)?.is_none_or(|owner| owner != token) {
        return Ok(WriteBack::Lost);
    }
    remove_parts(conn, key)?;
    write(conn)
}

pub(super) fn shown(conn: &mut dyn PartConnection, key: &RequestKey) -> QueryResult<Vec<PartRow>> {
    if !can_exist(key) {
        return Ok(Vec::new());
    }
    let number = |number: i64| u64::try_from(number).unwrap_or_default();
    let row = |part: StoredPart| PartRow {
        number: number(part.part),
        files: number(part.files),
        files_done: number(part.files_done),
        is_done: part.result.is_some(),
        token: part.token,
        lease_expires: part.lease_until.and_then(DateTime::from_timestamp_millis),
        next_attempt: DateTime::from_timestamp_millis(part.next_attempt).filter(|_| part.next_attempt > 0),
        iteration: u32::try_from(part.iteration).unwrap_or(u32::MAX),
        crashes: u32::try_from(part.crashes).unwrap_or(u32::MAX),
    };
    Ok(states_of(conn, key)?.into_iter().map(row).collect())
}
