//! Statements that end when nobody waits for them any more: by a time-out of their own, and by being cancelled.

use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Integer, Text};

use super::super::patience::Patience;

#[derive(QueryableByName)]
struct Process {
    #[diesel(sql_type = Integer)]
    process: i32,
}

/// Runs statements in one transaction, for as long as somebody waits. `cancel` ends what a server process is doing; it is
/// called only while that process is in this very transaction, so it meets no other client's statement behind a pooler.
pub(super) fn bounded<T>(
    conn: &mut PgConnection,
    patience: &Patience,
    cancel: impl Fn(i32) + Send + 'static,
    statements: impl FnOnce(&mut PgConnection) -> QueryResult<T>,
) -> QueryResult<T> {
    conn.transaction(|conn| {
        time_out(conn, patience)?;
        let Process { process } = sql_query("SELECT pg_backend_pid() AS process").get_result(conn)?;
        patience.cancelled_by(move || cancel(process), || statements(conn))
    })
}

/// The statements that follow have as long as the patience lasts.
pub(super) fn time_out(conn: &mut PgConnection, patience: &Patience) -> QueryResult<()> {
    if patience.is_over() {
        return Err(diesel::result::Error::RollbackTransaction);
    }
    // 0 would be no bound at all.
    let left = patience.left().as_millis().max(1);
    sql_query("SELECT set_config('statement_timeout', $1, true)")
        .bind::<Text, _>(left.to_string())
        .execute(conn)
        .map(drop)
}

pub(super) fn cancel(conn: &mut PgConnection, process: i32) -> QueryResult<()> {
    sql_query("SELECT pg_cancel_backend($1)").bind::<Integer, _>(process).execute(conn).map(drop)
}
