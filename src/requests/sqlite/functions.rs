//! SQL functions of ours that each connection has: SQLite reads only some of the forms of time that others write, and diesel
//! has no way to interrupt a statement.

use std::cell::RefCell;

use diesel::prelude::*;
use diesel::sql_types::{Binary, Nullable};
use diesel::sqlite::SqliteConnection;

use super::super::statement_timeout::StatementTimeout;
use super::super::times::read_time;

#[declare_sql_function]
extern "SQL" {
    /// The day (UTC) of a time as others write it, as `2026-01-31`; NULL where it is none.
    fn exhaust_day(time: Nullable<Binary>) -> Nullable<Text>;
    /// Whether nobody waits any more for the statement that this thread runs.
    fn exhaust_is_over() -> diesel::sql_types::Bool;
}

thread_local! {
    /// Who waits for the statement that this thread runs, and how often it has asked.
    static WAITS: RefCell<Option<(StatementTimeout, u32)>> = const { RefCell::new(None) };
}

/// Each how many rows a statement looks whether anybody still waits for it.
const LOOK: u32 = 256;

/// Gives a connection the functions: no SQL reads all the forms of time that others write, and diesel has no way to
/// interrupt a statement.
pub(super) fn know_functions(conn: &mut SqliteConnection) -> QueryResult<()> {
    exhaust_day_utils::register_impl(conn, |time: Option<Vec<u8>>| {
        read_time(&String::from_utf8_lossy(&time?)).map(|time| time.date_naive().to_string())
    })?;
    exhaust_is_over_utils::register_nondeterministic_impl(conn, || {
        WAITS.with_borrow_mut(|waits| {
            let Some((timeout, asked)) = waits else { return false };
            *asked = asked.wrapping_add(1);
            *asked % LOOK == 0 && timeout.is_over()
        })
    })
}

/// Runs statements that end with an error once nobody waits for them: those that ask [`go_on`] for each row.
pub(super) fn while_waiting<T>(timeout: &StatementTimeout, statements: impl FnOnce() -> T) -> T {
    WAITS.set(Some((timeout.clone(), 0)));
    let answer = statements();
    WAITS.set(None);
    answer
}

/// A condition that is looked at first, row by row, and breaks the statement off when nobody waits for it any more: no text
/// is empty JSON.
pub(super) fn go_on(condition: &str) -> String {
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
        know_functions(&mut conn).unwrap();
        let endless = |rows: &str, conn: &mut SqliteConnection| {
            let sql = format!(
                "SELECT count(*) AS total FROM (WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
                SELECT i FROM n {rows}) WHERE {}",
                go_on("i % 2 = 0")
            );
            let mut statement = Statement::default();
            statement.sql = sql;
            statement.load::<StoredTotal>(conn).map(|totals| totals[0].total())
        };
        let timeout = StatementTimeout::after(Duration::from_hours(1));
        let cancelling = timeout.clone();
        let other = std::thread::spawn(move || cancelling.cancel());
        assert!(while_waiting(&timeout, || endless("", &mut conn)).is_err());
        other.join().unwrap();
        let over = StatementTimeout::after(Duration::ZERO);
        assert!(while_waiting(&over, || endless("", &mut conn)).is_err());
        // Neither the connection nor the thread remembers it.
        assert_eq!(endless("LIMIT 1000", &mut conn), Ok(500));
        let waits = StatementTimeout::after(Duration::from_hours(1));
        assert_eq!(while_waiting(&waits, || endless("LIMIT 1000", &mut conn)), Ok(500));
    }
}
