//! Taking rows: who gets which, in which order.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Nullable, Text};

use super::super::prepared::prepared;
use super::super::stored::StoredClaimed;
use super::super::text::short_or_bytes;
use super::super::times::microseconds;
use super::super::types::{ClaimMode, ClaimOptions, EXCLUSIVE_CRASHES};
use super::columns::now;
use super::lease::without_nul;

/// A time that does not read (`infinity`) is as old as none at all.
const SINCE: &str = "CASE WHEN isfinite(dt_job_submitted) THEN dt_job_submitted END";

/// The order of [`SINCE`] and the keys. These are compared by bytes, whatever the database sorts by, so that both backends
/// agree.
const BY_AGE: &str = "since NULLS FIRST, tag COLLATE \"C\", request_id COLLATE \"C\"";

/// Not before its back-off is over. One that is infinite would never be.
const DUE: &str =
    "(next_attempt_at IS NULL OR next_attempt_at <= (SELECT now FROM clock) OR next_attempt_at = 'infinity')";

/// What a worker needs of a row. A list of channels that is cut is not JSON any more, and then allows none.
const COLUMNS: &str = concat!(
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

/// One statement, so that nothing is held when the daemon dies in between.
///
/// `locked` locks the oldest claimable rows, passing over those that another daemon is just claiming (SKIP LOCKED: no
/// one waits). A row that was taken between this statement's start and its lock is looked at again by PostgreSQL and
/// left out.
///
/// A locked row stays where it is, so that it is changed by its place (`ctid`), without a second look into the index of
/// keys. One that somebody changed after this statement had begun has a place that the statement does not see yet: it is
/// left to the next scan, which whoever changed it brings about.
///
/// `chosen` keeps rows that crashed a daemon apart: those like the oldest one are taken, up to the size of group that
/// so many crashes are allowed. Rows locked and not chosen are free again when the statement ends.
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
        WHERE crashes = taken AND nth <= CASE crashes WHEN 0 THEN $3 WHEN 1 THEN greatest($3 / 8, 1) ELSE 1 END
    )
    UPDATE job_request AS j SET status = 'PROCESSING', dt_job_processing = clock.now, lease_owner = $4,
        lease_expires_at = clock.now + $5 * interval '1 microsecond', crashes = chosen.crashes,
        job_stats = NULL
    FROM chosen, clock
    WHERE j.ctid = chosen.place
    RETURNING {COLUMNS}"
    )
}

/// What goes before the query that locks the oldest rows, and that query. How long either takes must not hang on how many
/// rows PostgreSQL believes to wait: after a hundred thousand have come it goes on believing in none for long.
fn locked(options: &ClaimOptions) -> (String, String) {
    let columns =
        format!("job_request.ctid AS place, tag, request_id, coalesce(crashes, 0) AS crashes, {SINCE} AS since");
    if is_plain(options) {
        // The first of each job, in the order of the index `job_request_line`, whose expressions are repeated. No other
        // index holds waiting rows for a statement that does not ask for it (migration 000010 says how): PostgreSQL would
        // read them all and sort them.
        let each = format!(
            "SELECT of_job.* FROM unnest($2) AS job (id), LATERAL (
            SELECT {columns} FROM job_request
            WHERE coalesce(job_id, '') = job.id AND status = 'SUBMITTED' AND {DUE} AND coalesce(crashes, 0) < {EXCLUSIVE_CRASHES}
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
    let claimable = format!("job_id = ANY($2) AND status = 'SUBMITTED' AND {DUE} AND {grade}");
    if !is_limited(options) {
        let all = format!(
            "SELECT {columns} FROM job_request WHERE {claimable}
            ORDER BY {BY_AGE}
            LIMIT $3
            FOR UPDATE SKIP LOCKED"
        );
        return (String::new(), all);
    }
    // The condition once more: PostgreSQL looks at it again where somebody changes a row before it is locked.
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

/// Claimable rows within the limits on tags (`$6`) and channels (`$7`), by age. Each row is counted among those of its
/// tag, and then of its channel: first those in work, then the oldest. Rows that a tag's limit leaves out take no place of
/// their channel. Nothing is joined: PostgreSQL would compare each with each where it believes that there are few.
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
    let limit = if options.mode == ClaimMode::Exclusive { 1 } else { i64::from(options.limit) };
    // A job that is named twice is one job.
    let mut jobs = without_nul(&options.job_ids);
    jobs.sort_unstable();
    jobs.dedup();
    let values = (
        shift.into_sql::<BigInt>(),
        jobs.into_sql::<Array<Text>>(),
        limit.into_sql::<BigInt>(),
        token.into_sql::<Text>(),
        microseconds(options.lease).into_sql::<BigInt>(),
        options.per_tag.map(i64::from).into_sql::<Nullable<BigInt>>(),
        options.per_channel.map(i64::from).into_sql::<Nullable<BigInt>>(),
    );
    let query = prepared(statement(options), values);
    if !is_limited(options) {
        return query.load(conn);
    }
    // Two claims at once would both count what is in work before either adds to it: with limits they take turns.
    conn.transaction(|conn| {
        sql_query("SELECT pg_advisory_xact_lock(hashtext('exhaust_claim'))").execute(conn)?;
        query.load(conn)
    })
}
