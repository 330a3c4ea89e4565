//! SQL functions that each connection gets: SQL reads only some of the forms of time that others write, and diesel has no way
//! to interrupt a statement.

use std::cell::RefCell;

use diesel::prelude::*;
use diesel::sql_types::{Binary, Nullable};
use diesel::sqlite::SqliteConnection;

use super::super::statement_timeout::StatementTimeout;
use super::super::times::read_time;

#[declare_sql_function]
extern "SQL" {
    /// Milliseconds since 1970 of a time in any form; NULL where it is not a time.
    fn exhaust_millis(time: Nullable<Binary>) -> Nullable<BigInt>;
    /// Whether the time-out of the statement on this thread is over.
    fn exhaust_is_over() -> diesel::sql_types::Bool;
}

thread_local! {
    /// The time-out of the statement that runs on this thread, and how often it was asked for.
    static TIMEOUT: RefCell<Option<(StatementTimeout, u32)>> = const { RefCell::new(None) };
}

/// Number of rows after which a statement checks its time-out.
const CHECK_ROWS: u32 = 256;

/// Registers the functions on a connection.
pub(super) fn register(conn: &mut SqliteConnection) -> QueryResult<()> {
    exhaust_millis_utils::register_impl(conn, |time: Option<Vec<u8>>| {
        read_time(&String::from_utf8_lossy(&time?)).map(|time| time.timestamp_millis())
    })?;
    exhaust_is_over_utils::register_nondeterministic_impl(conn, || {
        TIMEOUT.with_borrow_mut(|current| {
            let Some((timeout, asked)) = current else { return false };
            *asked = asked.wrapping_add(1);
            *asked % CHECK_ROWS == 0 && timeout.is_over()
        })
    })
}

/// Runs statements that end with an error once the time-out is over: those with a condition of [`unless_over`].
pub(super) fn with_timeout<T>(timeout: &StatementTimeout, statements: impl FnOnce() -> T) -> T {
    TIMEOUT.set(Some((timeout.clone(), 0)));
    let answer = statements();
    TIMEOUT.set(None);
    answer
}

/// A condition that is checked for each row, and that ends the statement with an error when its time-out is over: an empty text
/// is not JSON.
pub(super) fn unless_over(condition: &str) -> String {
    format!("CASE WHEN exhaust_is_over() THEN json('') ELSE ({condition}) END")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::stored::StoredTotal;
    use super::super::statement::Statement;
    use super::*;

    #[test]
    fn a_statement_ends_when_nobody_waits_for_it() {
        let mut conn = SqliteConnection::establish(":memory:").unwrap();
        register(&mut conn).unwrap();
        let endless = |rows: &str, conn: &mut SqliteConnection| {
            let sql = format!(
                "SELECT count(*) AS total FROM (WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
                SELECT i FROM n {rows}) WHERE {}",
                unless_over("i % 2 = 0")
            );
            let mut statement = Statement::default();
            statement.sql = sql;
            statement.load::<StoredTotal>(conn).map(|totals| totals[0].total())
        };
        let timeout = StatementTimeout::after(Duration::from_hours(1));
        let cancelling = timeout.clone();
        let other = std::thread::spawn(move || cancelling.cancel());
        assert!(with_timeout(&timeout, || endless("", &mut conn)).is_err());
        other.join().unwrap();
        let over = StatementTimeout::after(Duration::ZERO);
        assert!(with_timeout(&over, || endless("", &mut conn)).is_err());
        // Neither the connection nor the thread keeps the time-out.
        assert_eq!(endless("LIMIT 1000", &mut conn), Ok(500));
        let waits = StatementTimeout::after(Duration::from_hours(1));
        assert_eq!(with_timeout(&waits, || endless("LIMIT 1000", &mut conn)), Ok(500));
    }
}
