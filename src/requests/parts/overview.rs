//! What operators see of all split requests: how many parts are in which state, and which requests nobody can work on now.

use std::collections::BTreeMap;

use chrono::DateTime;
use diesel::result::QueryResult;

use super::connection::{PartConnection, PartDatabase, StoredBackedOff, StoredPartCounts, is_split};
use super::ends::has_parts;
use super::{BackedOff, PartCounts, PartsOverview};
use crate::requests::stored::text;
use crate::requests::types::{QueueError, RequestKey};

/// Most requests that are named; the others are like them.
const NAMED: i64 = 100;

/// `?1`: now.
const COUNTS: &str = concat!(
    "SELECT CAST(j.job_id AS TEXT) AS job_id, count(*) AS parts, count(p.result) AS made,
        count(CASE WHEN p.result IS NULL THEN p.token END) AS in_work,
        count(CASE WHEN p.result IS NULL AND p.token IS NULL AND p.next_attempt > ?1 THEN 1 END) AS back_off
    FROM job_request_part AS p JOIN job_request AS j ON j.tag = p.tag AND j.request_id = p.request_id
    WHERE ",
    is_split!(),
    " GROUP BY j.job_id"
);

/// Split requests of which no part is in work or can be claimed before a time that is yet to come. `?1`: now. `?2`: how many.
const BACKED_OFF: &str = concat!(
    "SELECT p.tag, p.request_id, CAST(j.job_id AS TEXT) AS job_id, CAST(j.err_message AS TEXT) AS err_message,
        count(*) AS parts, min(p.next_attempt) AS next_attempt
    FROM job_request_part AS p JOIN job_request AS j ON j.tag = p.tag AND j.request_id = p.request_id
    WHERE ",
    is_split!(),
    " AND p.result IS NULL
    GROUP BY p.tag, p.request_id, j.job_id, j.err_message
    HAVING count(p.token) = 0 AND min(p.next_attempt) > ?1
    ORDER BY min(p.next_attempt), p.tag, p.request_id
    LIMIT ?2"
);

/// All parts in numbers, and the requests that nobody can work on now. Where no request is split this is one statement.
pub(in crate::requests) fn parts_overview(database: &impl PartDatabase) -> Result<PartsOverview, QueueError> {
    let what = "count job_request_part";
    if !database.read_parts(what, has_parts)? {
        return Ok(PartsOverview::default());
    }
    database.read_parts(what, overview)
}

fn overview(conn: &mut dyn PartConnection) -> QueryResult<PartsOverview> {
    let now = conn.now()?;
    let mut counts: BTreeMap<String, PartCounts> = BTreeMap::new();
    for StoredPartCounts { job_id, parts, made, in_work, back_off } in conn.load_counts(COUNTS, &[now.into()])? {
        let [made, in_work, back_off, waiting] =
            [made, in_work, back_off, parts - made - in_work - back_off].map(whole);
        counts.insert(text(job_id).unwrap_or_default(), PartCounts { waiting, in_work, back_off, made });
    }
    let backed_off = conn.load_backed_off(BACKED_OFF, &[now.into(), NAMED.into()])?.into_iter().map(BackedOff::from);
    Ok(PartsOverview { counts, backed_off: backed_off.collect() })
}

fn whole(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

impl From<StoredBackedOff> for BackedOff {
    fn from(row: StoredBackedOff) -> Self {
        Self {
            key: RequestKey { tag: row.tag, request_id: row.request_id },
            job_id: text(row.job_id).unwrap_or_default(),
            parts: whole(row.parts),
            next_attempt: DateTime::from_timestamp_millis(row.next_attempt).unwrap_or_default(),
            message: text(row.err_message),
        }
    }
}
