//! Which failures of the database are transient. diesel passes on neither SQLSTATE nor SQLite's error code beyond a few
//! kinds, so the others are recognised by their messages. If PostgreSQL is set to another language, a lost connection is
//! still recognised (it is a kind), and the rarer transient failures count as refused.

use diesel::result::{DatabaseErrorKind, Error};

use super::types::QueueError;

/// Parts of messages of statements whose failure is transient.
const TRANSIENT: [&str; 23] = [
    // PostgreSQL
    "deadlock detected",
    "could not serialize access",
    "canceling statement due to",
    "terminating connection",
    "the database system is",
    "too many connections",
    "too many clients",
    "remaining connection slots",
    "No space left on device",
    "out of shared memory",
    "out of memory",
    // PgBouncer
    "query_wait_timeout",
    "server login has been failing",
    "server conn crashed",
    "pgbouncer cannot connect to server",
    "no more connections allowed",
    "server connections dropped",
    // SQLite
    "is locked",
    "database or disk is full",
    "disk I/O error",
    "unable to open database file",
    "locking protocol",
    "interrupted",
];

/// Parts of messages of connections that are refused until a setting is changed.
const REFUSED_CONNECTION: [&str; 10] = [
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "permission denied for database",
    "SSL support is not compiled in",
    "invalid connection option",
    "invalid URI",
    "invalid URL",
    "file is not a database",
];

/// Parts of messages of statements that were refused because a right is missing.
const MISSING_RIGHT: [&str; 3] = ["permission denied for", "must be owner of", "attempt to write a readonly database"];

/// A statement that failed; `what` names the operation and its object.
pub(super) fn statement(what: &str, error: &Error) -> QueueError {
    let (is_transient, message) = match error {
        Error::DatabaseError(kind, information) => {
            let lost = matches!(
                kind,
                DatabaseErrorKind::ClosedConnection
                    | DatabaseErrorKind::UnableToSendCommand
                    | DatabaseErrorKind::SerializationFailure
                    // The server was demoted under us: the next connection may reach the new primary.
                    | DatabaseErrorKind::ReadOnlyTransaction
            );
            let message = one_line(information.message());
            let message = information.details().map_or(message.clone(), |d| format!("{message} ({})", one_line(d)));
            (lost || TRANSIENT.iter().any(|part| message.contains(part)), message)
        }
        // The pool drops such a connection; the next one is fine.
        Error::BrokenTransactionManager | Error::RollbackErrorOnCommit { .. } => (true, one_line(&error.to_string())),
        other => (false, one_line(&other.to_string())),
    };
    classified(is_transient, format!("{what}: {message}"))
}

/// The reasons why rows cannot be written, as one error; `Ok` where there are none.
pub(super) fn hindrances(found: &[String]) -> Result<(), QueueError> {
    if found.is_empty() { Ok(()) } else { Err(not_writable(&found.join("; "))) }
}

/// The database takes no rows until an operator changes that.
pub(super) fn not_writable(why: &str) -> QueueError {
    QueueError::Unfit(format!("database not writable: {}", one_line(why)))
}

/// The answer of a statement. Where it was refused, and the tables lack something (`missing` returns the statements that would
/// add it), that is the error instead.
pub(super) fn or_missing<T>(
    answer: Result<T, QueueError>,
    missing: impl FnOnce() -> Result<Vec<String>, QueueError>,
) -> Result<T, QueueError> {
    match answer {
        Err(error) if !error.may_pass() => match missing()?.as_slice() {
            [] => Err(error),
            missing => Err(older(missing)),
        },
        answer => answer,
    }
}

/// The tables lack columns or indexes that this program needs.
fn older(missing: &[String]) -> QueueError {
    let what = missing.first().map(|statement| one_line(statement)).unwrap_or_default();
    let more = if missing.len() > 1 { format!(" and {} more", missing.len() - 1) } else { String::new() };
    QueueError::Unfit(format!("the tables are older than this program: run `exhaustd migrate` (missing: {what}{more})"))
}

/// The pool has no connection.
pub(super) fn connection(error: &diesel::r2d2::PoolError) -> QueueError {
    connecting(&error.to_string())
}

/// A connection that could not be opened, with this message.
pub(super) fn connecting(message: &str) -> QueueError {
    let message = one_line(message);
    classified(
        ![&REFUSED_CONNECTION[..], &MISSING_RIGHT[..]].concat().iter().any(|part| message.contains(part)),
        message,
    )
}

fn classified(is_transient: bool, message: String) -> QueueError {
    if is_transient {
        QueueError::Unreachable(message)
    } else if MISSING_RIGHT.iter().any(|part| message.contains(part)) {
        not_writable(&message)
    } else {
        QueueError::Refused(message)
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: DatabaseErrorKind, message: &str) -> QueueError {
        statement("claim", &Error::DatabaseError(kind, Box::new(message.to_owned())))
    }

    #[test]
    fn transient_failures_are_recognised() {
        use DatabaseErrorKind::{ClosedConnection, SerializationFailure, UniqueViolation, Unknown};
        for (kind, message, is_transient) in [
            (Unknown, "deadlock detected", true),
            (Unknown, "database is locked", true),
            (Unknown, "database or disk is full", true),
            (Unknown, "could not extend file \"base/1/2\": No space left on device", true),
            (Unknown, "terminating connection due to administrator command", true),
            (Unknown, "sorry, too many clients already", true),
            (Unknown, "canceling statement due to lock timeout", true),
            (SerializationFailure, "in any language", true),
            (ClosedConnection, "in any language", true),
            (UniqueViolation, "duplicate key", false),
            (Unknown, "no such table: job_request", false),
            (Unknown, "value too long for type character varying(50)", false),
        ] {
            assert_eq!(failed(kind, message).may_pass(), is_transient, "{message}");
        }
        assert!(statement("claim", &Error::BrokenTransactionManager).may_pass());
        assert!(!statement("claim", &Error::NotFound).may_pass());
        let forbidden = failed(Unknown, "permission denied for table job_request");
        assert_eq!(forbidden.to_string(), "database not writable: claim: permission denied for table job_request");
    }

    #[test]
    fn the_message_names_the_operation_in_one_line() {
        let error = failed(DatabaseErrorKind::Unknown, "no such\n\ttable: x");
        assert_eq!(error.to_string(), "the database refused: claim: no such table: x");
    }
}
