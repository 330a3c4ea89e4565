//! What goes wrong on the server or on the way to it, in words, and whether it may pass.
//!
//! Not here: which table it was.

use std::error::Error as _;
use std::time::Duration;

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

/// What went wrong on the server or on the way to it.
#[derive(Debug)]
pub(super) struct Failure {
    /// For the client: no host, no user.
    pub message: String,
    /// The whole chain, for the operator.
    pub detail: String,
    /// Whether it may pass.
    pub may_pass: bool,
    /// The server's own code, where it answered with an error.
    pub code: Option<SqlState>,
}

impl Failure {
    /// No connection. A wrong password may pass as well: passwords are changed, and not on both sides at once.
    pub(super) fn connecting(error: &Error) -> Self {
        Self::on_the_way("the PostgreSQL server cannot be reached", &chain(error))
    }

    /// Our own system refuses what a connection needs (threads, sockets).
    pub(super) fn preparing(error: &std::io::Error) -> Self {
        Self::on_the_way("the PostgreSQL server cannot be reached", &one_line(&error.to_string()))
    }

    /// The connection is there, and nothing came for this long while an answer was awaited.
    pub(super) fn silent(silence: Duration) -> Self {
        let message = format!("the PostgreSQL server has not answered for {} s", silence.as_secs_f64());
        Self { may_pass: true, ..Self::lasting(message) }
    }

    /// Nobody waits for the answer any more.
    pub(super) fn given_up() -> Self {
        Self { may_pass: true, ..Self::lasting("nobody waits for the statement any more".to_owned()) }
    }

    /// Something is not there, and will not be by itself.
    pub(super) fn lasting(message: String) -> Self {
        Self { detail: message.clone(), message, may_pass: false, code: None }
    }

    /// A statement failed.
    pub(super) fn statement(error: &Error) -> Self {
        let Some(told) = error.as_db_error() else {
            return Self::lost(&chain(error));
        };
        Self {
            message: format!("PostgreSQL: {}", one_line(told.message())),
            detail: format!("PostgreSQL: {} ({})", one_line(told.message()), told.code().code()),
            may_pass: passes(told.code()),
            code: Some(told.code().clone()),
        }
    }

    /// The connection ended.
    pub(super) fn lost(why: &str) -> Self {
        Self::on_the_way("the connection to the PostgreSQL server was lost", why)
    }

    fn on_the_way(message: &str, why: &str) -> Self {
        Self { message: message.to_owned(), detail: format!("{message}: {why}"), may_pass: true, code: None }
    }
}

/// Lost connections, conflicts, resources, an operator's hand, the server's own trouble.
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn passes(code: &SqlState) -> bool {
    ["08", "40", "53", "55", "57", "58", "XX"].contains(&code.code().get(..2).unwrap_or_default())
}

fn chain(error: &Error) -> String {
    let mut told = one_line(&error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = one_line(&error.to_string());
        // The crate writes its cause into its own message.
        if !told.contains(&next) {
            told = format!("{told}: {next}");
        }
        cause = error.source();
    }
    told
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass() {
        for code in ["08006", "40001", "40P01", "53300", "55P03", "57P01", "57014", "58030", "XX000"] {
            assert!(passes(&SqlState::from_code(code)), "{code}");
        }
        for code in ["42P01", "42703", "42501", "22021", "0A000"] {
            assert!(!passes(&SqlState::from_code(code)), "{code}");
        }
    }
}
