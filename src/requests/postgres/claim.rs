//! The claim: which rows are taken, and in which order.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Nullable, Text};

use super::super::crashes::{EXCLUSIVE_CRASHES, group_size};
use super::super::deferred::short_or_bytes;
use super::super::prepared::prepared;
use super::super::stored::StoredClaimed;
use super::super::times::microseconds;
use super::super::types::{ClaimMode, ClaimOptions};
use super::columns::now;
use super::lease::without_nul;

/// A time that cannot be compared (`infinity`) is as old as none.
pub(super) const SINCE: &str = "CASE WHEN isfinite(dt_job_submitted) THEN dt_job_submitted END";

/// The order of [`SINCE`] and the keys. Keys are compared by bytes, whatever the collation of the database, so that both
/// backends agree.
pub(super) const BY_AGE: &str = "since NULLS FIRST, tag COLLATE \"C\", request_id COLLATE \"C\"";

/// The back-off is over. An infinite one would never be, so it counts as over.
pub(super) const DUE: &str =
    "(next_attempt_at IS NULL OR next_attempt_at <= (SELECT now FROM clock) OR next_attempt_at = 'infinity')";

/// What a worker needs of a row. A list of channels that is cut is not JSON any more, and then allows none.
pub(super) const COLUMNS: &str = concat!(
    "j.tag::text AS tag, j.request_id::text AS request_id, j.job_id::text AS job_id,
        ",
    short_or_bytes!("j.request_data::text", "request_data", "unread_data", "::text"),
    ",
        j.requested_by::text AS requested_by,
        j.requested_channel::text AS requested_channel, j.dt_job_submitted::text AS dt_job_submitted,
        j.dt_job_processing::text AS dt_job_processing, j.iteration::text AS iteration, j.crashes::text AS crashes,
        ",
    short_or_bytes!("j.processed_batches", "processed_batches", "unread_batches", "::text"),
    ",
        left(j.allowed_channels, 65536) AS allowed_channels,
        j.encryption_key::text AS encryption_key, j.encryption_key_sealed::text AS encryption_key_sealed,
        j.encryption_mark::text AS encryption_mark"
);

/// One statement, so that nothing stays locked when the daemon dies in between.
///
/// `locked` locks the oldest claimable rows and skips those that another daemon is claiming at the same time (SKIP LOCKED: no
/// daemon waits). PostgreSQL checks a row again that was taken between the start of this statement and its lock, and leaves it
/// out.
///
/// A locked row does not move, so it is updated by its location (`ctid`), without a second look-up in the index of keys. A row
/// that was changed after this statement began has a location that the statement does not see yet: it is left to the next
/// scan, which that change triggers.
///
/// `chosen` separates rows that crashed a daemon: it takes rows with as many crashes as the oldest one, up to the size of a
/// group with that number of crashes. Rows that are locked and not chosen are unlocked when the statement ends.
fn statement(options: &ClaimOptions) -> String {
    let (allowed, locked) = locked(options);
    let now = now!();
    format!(
        "WITH clock AS MATERIALIZED (SELECT {now} AS now),
    {allowed}
    oldest AS MATERIALIZED (
        SELECT place, crashes, row_number() OVER (ORDER BY {BY_AGE}) AS age FROM ({locked}) AS locked
    ),
    graded AS (
        SELECT place, crashes,
            first_value(crashes) OVER (ORDER BY age) AS taken,
            row_number() OVER (PARTITION BY crashes ORDER BY age) AS nth
        FROM oldest WHERE age <= $3
    ),
    chosen AS (
        SELECT place, crashes FROM graded
        WHERE crashes = taken AND nth <= CASE crashes WHEN 0 THEN $3 WHEN 1 THEN $8 ELSE 1 END
    )
    UPDATE job_request AS j SET status = 'PROCESSING', dt_job_processing = clock.now, lease_owner = $4,
        lease_expires_at = clock.now + $5 * interval '1 microsecond', crashes = chosen.crashes,
        job_stats = NULL
    FROM chosen, clock
    WHERE j.ctid = chosen.place
    RETURNING {COLUMNS}"
    )
}

/// The parts of the statement before the query that locks the oldest rows, and that query. Their cost must not depend on
/// PostgreSQL's estimate of how many rows wait: after a hundred thousand have come it expects none for a long time.
fn locked(options: &ClaimOptions) -> (String, String) {
    let columns =
        format!("job_request.ctid AS place, tag, request_id, coalesce(crashes, 0) AS crashes, {SINCE} AS since");
    let unpaused = if options.paused_tags.is_empty() { "" } else { " AND tag <> ALL($9)" };
    if is_plain(options) {
        // The first rows of each job, in the order of the index `job_request_line`, whose expressions are repeated. No other
        // index has waiting rows unless the statement asks for it (migration 000010 says how): PostgreSQL would read all rows of
        // that index and sort them.
        let each = format!(
            "SELECT of_job.* FROM unnest($2) AS job (id), LATERAL (
            SELECT {columns} FROM job_request
            WHERE coalesce(job_id, '') = job.id AND status = 'SUBMITTED' AND {DUE} AND coalesce(crashes, 0) < {EXCLUSIVE_CRASHES}{unpaused}
            ORDER BY {BY_AGE}
            LIMIT $3
            FOR UPDATE SKIP LOCKED) AS of_job"
        );
        return (String::new(), each);
    }
    let grade = match options.mode {
        ClaimMode::Shared => format!("coalesce(crashes, 0) < {EXCLUSIVE_CRASHES}"),
        ClaimMode::Exclusive => format!("coalesce(crashes, 0) >= {EXCLUSIVE_CRASHES}"),
    };
    let claimable = format!("job_id = ANY($2) AND status = 'SUBMITTED' AND {DUE} AND {grade}{unpaused}");
    if !is_limited(options) {
        let all = format!(
            "SELECT {columns} FROM job_request WHERE {claimable}
            ORDER BY {BY_AGE}
            LIMIT $3
            FOR UPDATE SKIP LOCKED"
        );
        return (String::new(), all);
    }
    // The condition again: PostgreSQL checks it once more for a row that is changed before it is locked.
    let among = format!(
        "SELECT {columns} FROM (SELECT place, nth FROM allowed ORDER BY nth OFFSET 0) AS allowed
            JOIN job_request ON job_request.ctid = allowed.place
            WHERE {claimable}
            ORDER BY allowed.nth
            LIMIT $3
            FOR UPDATE OF job_request SKIP LOCKED"
    );
    (allowed(&claimable), among)
}

/// Whether the first rows of the line are the ones to take. Rows with crashes may be anywhere in the line, and limits look at
/// all rows that wait.
const fn is_plain(options: &ClaimOptions) -> bool {
    matches!(options.mode, ClaimMode::Shared) && !is_limited(options)
}

const fn is_limited(options: &ClaimOptions) -> bool {
    options.per_tag.is_some() || options.per_channel.is_some()
}

/// Claimable rows within the limits on tags (`$6`) and channels (`$7`), by age. Each row is counted within its tag and then
/// within its channel: first the rows under a lease, then the oldest. Rows beyond the limit of their tag do not count within
/// their channel. Nothing is joined: where PostgreSQL expects few rows it would compare each with each.
fn allowed(claimable: &str) -> String {
    format!(
        "held_or_waiting AS (
        SELECT NULL::tid AS place, tag, request_id, requested_channel, NULL::timestamp AS since, FALSE AS waits
        FROM job_request
        WHERE status = 'PROCESSING' AND tag >= '' AND lease_expires_at > (SELECT now FROM clock)
        UNION ALL
        SELECT ctid, tag, request_id, requested_channel, {SINCE}, TRUE FROM job_request WHERE {claimable}
    ),
    by_tag AS (
        SELECT *, row_number() OVER (PARTITION BY tag ORDER BY waits, {BY_AGE}) AS nth_of_tag FROM held_or_waiting
    ),
    by_channel AS (
        SELECT *, row_number() OVER (PARTITION BY requested_channel ORDER BY waits, {BY_AGE}) AS nth_of_channel
        FROM by_tag WHERE NOT waits OR $6 IS NULL OR nth_of_tag <= $6
    ),
    allowed AS MATERIALIZED (
        SELECT place, row_number() OVER (ORDER BY {BY_AGE}) AS nth FROM by_channel
        WHERE waits AND ($7 IS NULL OR requested_channel IS NULL OR nth_of_channel <= $7)
    ),"
    )
}

pub(super) fn claim(
    conn: &mut PgConnection,
    shift: i64,
    options: &ClaimOptions,
    token: &str,
) -> QueryResult<Vec<StoredClaimed>> {
    if options.limit == 0 {
        return Ok(Vec::new());
    }
    let limit = if options.mode == ClaimMode::Exclusive { 1 } else { options.limit };
    // A job that is named twice is one job.
    let mut jobs = without_nul(&options.job_ids);
    jobs.sort_unstable();
    jobs.dedup();
    let values = (
        shift.into_sql::<BigInt>(),
        jobs.into_sql::<Array<Text>>(),
        i64::from(limit).into_sql::<BigInt>(),
        token.into_sql::<Text>(),
        microseconds(options.lease).into_sql::<BigInt>(),
        options.per_tag.map(i64::from).into_sql::<Nullable<BigInt>>(),
        options.per_channel.map(i64::from).into_sql::<Nullable<BigInt>>(),
        i64::from(group_size(1, limit)).into_sql::<BigInt>(),
        without_nul(&options.paused_tags).into_sql::<Array<Text>>(),
    );
    let query = prepared(statement(options), values);
    if !is_limited(options) {
        return query.load(conn);
    }
    // Two claims at the same time would both count the rows under a lease before either adds to them. With limits they wait
    // for each other.
    conn.transaction(|conn| {
        sql_query("SELECT pg_advisory_xact_lock(hashtext('exhaust_claim'))").execute(conn)?;
        query.load(conn)
    })
}
