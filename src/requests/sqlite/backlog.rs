//! How much of a job there is to do.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::SqliteConnection;

use super::super::backlog::{Backlog, StoredBacklog};
use super::super::crashes::EXCLUSIVE_CRASHES;
use super::super::prepared::prepared;
use super::super::status::open_statuses;
use super::super::times::sqlite_text;
use super::columns::is_time;

/// Rows of the jobs `?1` with one of the open statuses, from the index `job_request_open`.
macro_rules! open_rows {
    () => {
        concat!(
            "SELECT 1 FROM job_request WHERE job_id IN (SELECT value FROM json_each(?1)) AND status IN (",
            open_statuses!(),
            ") AND "
        )
    };
}

/// Both counts stop at ?4. ?3: rows with this number of crashes or more are not claimable.
pub(super) const BACKLOG: &str = concat!(
    "SELECT
    (SELECT count(*) FROM (",
    open_rows!(),
    "status = 'SUBMITTED' AND (next_attempt_at IS NULL OR next_attempt_at <= ?2 OR NOT ",
    is_time!("next_attempt_at"),
    ") AND CASE WHEN typeof(crashes) = 'integer' THEN crashes ELSE 0 END < ?3 LIMIT ?4)) AS claimable,
    (SELECT count(*) FROM (",
    open_rows!(),
    "status = 'PROCESSING' AND lease_expires_at > ?2 LIMIT ?4)) AS in_work"
);

pub(super) fn backlog(
    conn: &mut SqliteConnection,
    now: DateTime<Utc>,
    job_ids: &[String],
    up_to: u32,
) -> QueryResult<Backlog> {
    let values = (
        serde_json::json!(job_ids).to_string().into_sql::<Text>(),
        sqlite_text(now).into_sql::<Text>(),
        i64::from(EXCLUSIVE_CRASHES).into_sql::<BigInt>(),
        i64::from(up_to).into_sql::<BigInt>(),
    );
    prepared(BACKLOG, values).get_result(conn).map(|stored: StoredBacklog| stored.into())
}
