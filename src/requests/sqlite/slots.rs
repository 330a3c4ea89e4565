//! The slots of standalone jobs.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;

use super::super::stored::StoredText;
use super::super::times::sqlite_text;
use super::super::types::NewRequest;
use super::submit::insert;

/// A changed schedule starts the count anew; the same one leaves the row as it is.
const BEGIN: &str = "INSERT INTO exhaust_slot (job_id, schedule, slot) VALUES (?1, ?2, ?3)
    ON CONFLICT (job_id) DO UPDATE SET schedule = excluded.schedule, slot = excluded.slot
    WHERE exhaust_slot.schedule <> excluded.schedule";

const READ: &str = "SELECT slot AS value FROM exhaust_slot WHERE job_id = ?1";

/// `None`: the stored value is not a time.
pub(super) fn last_slot(
    conn: &mut SqliteConnection,
    job_id: &str,
    schedule: &str,
    now: DateTime<Utc>,
) -> QueryResult<Option<DateTime<Utc>>> {
    conn.immediate_transaction(|conn| {
        sql_query(BEGIN)
            .bind::<Text, _>(job_id)
            .bind::<Text, _>(schedule)
            .bind::<Text, _>(sqlite_text(now))
            .execute(conn)?;
        let slot: StoredText = sql_query(READ).bind::<Text, _>(job_id).get_result(conn)?;
        Ok(slot.into_time())
    })
}

/// Makes each slot once, even after retention has removed the request that was made for it. `None`: the job has no row.
pub(super) fn make_slot(
    conn: &mut SqliteConnection,
    now: DateTime<Utc>,
    job_id: &str,
    slot: DateTime<Utc>,
    request: &NewRequest,
) -> QueryResult<Option<bool>> {
    conn.immediate_transaction(|conn| {
        let moved = sql_query("UPDATE exhaust_slot SET slot = ?1 WHERE job_id = ?2 AND slot < ?1")
            .bind::<Text, _>(sqlite_text(slot))
            .bind::<Text, _>(job_id)
            .execute(conn)?;
        if moved == 1 {
            return insert(conn, now, request).map(Some);
        }
        let there: Option<StoredText> = sql_query(READ).bind::<Text, _>(job_id).get_result(conn).optional()?;
        Ok(there.map(|_| false))
    })
}
