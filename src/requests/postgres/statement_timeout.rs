//! Statements with a time-out: the server ends them when it expires, and another connection when it is cancelled.

use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Integer, Text};

use super::super::statement_timeout::StatementTimeout;

#[derive(QueryableByName)]
struct Process {
    #[diesel(sql_type = Integer)]
    process: i32,
}

/// Runs statements in one transaction until the time-out. `cancel` ends what a server process is doing; it is called only
/// while that process is in this very transaction, so behind a pooler it never ends another client's statement.
pub(super) fn bounded<T>(
    conn: &mut PgConnection,
    timeout: &StatementTimeout,
    cancel: impl Fn(i32) + Send + 'static,
    statements: impl FnOnce(&mut PgConnection) -> QueryResult<T>,
) -> QueryResult<T> {
    conn.transaction(|conn| {
        set(conn, timeout)?;
        let Process { process } = sql_query("SELECT pg_backend_pid() AS process").get_result(conn)?;
        timeout.while_running(move || cancel(process), || statements(conn))
    })
}

/// Gives the statements that follow the time that is left.
pub(super) fn set(conn: &mut PgConnection, timeout: &StatementTimeout) -> QueryResult<()> {
    if timeout.is_over() {
        return Err(diesel::result::Error::RollbackTransaction);
    }
    // 0 would mean no time-out at all.
    let left = timeout.remaining().as_millis().max(1);
    sql_query("SELECT set_config('statement_timeout', $1, true)")
        .bind::<Text, _>(left.to_string())
        .execute(conn)
        .map(drop)
}

/// Ends the statement that a server process is running.
pub(super) fn cancel(conn: &mut PgConnection, process: i32) -> QueryResult<()> {
    sql_query("SELECT pg_cancel_backend($1)").bind::<Integer, _>(process).execute(conn).map(drop)
}
