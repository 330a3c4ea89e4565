//! How much of a job there is to do.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text};

use super::super::backlog::{Backlog, StoredBacklog};
use super::super::crashes::EXCLUSIVE_CRASHES;
use super::super::prepared::prepared;
use super::claim::{BY_AGE, DUE, SINCE};
use super::columns::now;
use super::lease::without_nul;

/// Both counts stop at `$3`. Waiting rows are read from `job_request_line` in its order, as a claim reads them, so that
/// PostgreSQL takes no other index; rows in work from `job_request_newest_working`.
fn statement() -> String {
    let now = now!();
    format!(
        "WITH clock AS MATERIALIZED (SELECT {now} AS now)
    SELECT
        (SELECT count(*) FROM unnest($2) AS job (id), LATERAL (
            SELECT tag, request_id, {SINCE} AS since FROM job_request
            WHERE coalesce(job_id, '') = job.id AND status = 'SUBMITTED' AND {DUE}
                AND coalesce(crashes, 0) < {EXCLUSIVE_CRASHES}
            ORDER BY {BY_AGE}
            LIMIT $3) AS of_job) AS claimable,
        (SELECT count(*) FROM (
            SELECT 1 FROM job_request
            WHERE status = 'PROCESSING' AND tag >= '' AND job_id = ANY($2)
                AND lease_expires_at > (SELECT now FROM clock) AND isfinite(lease_expires_at)
            LIMIT $3) AS held) AS in_work"
    )
}

pub(super) fn backlog(conn: &mut PgConnection, shift: i64, job_ids: &[String], up_to: u32) -> QueryResult<Backlog> {
    let values = (
        shift.into_sql::<BigInt>(),
        without_nul(job_ids).into_sql::<Array<Text>>(),
        i64::from(up_to).into_sql::<BigInt>(),
    );
    prepared(statement(), values).get_result(conn).map(|stored: StoredBacklog| stored.into())
}
