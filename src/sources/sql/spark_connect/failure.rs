//! What an engine fails with, and whether it may pass: by SQLSTATE, exception class and gRPC code, never by text.

use prost::Message as _;
use tonic::{Code, Status};

use super::messages::{ErrorInfo, RpcStatus};
use crate::sources::sql::transport::{EngineError, Why};

/// Bytes of the engine's text that are kept.
const TOLD: usize = 2_048;

/// Exceptions of Spark, and of Java, that mean the same each time.
const REFUSED: [&str; 3] = ["ParseException", "IllegalArgumentException", "NumberFormatException"];
/// Of a plan of a kind that the engine does not know.
const UNSUPPORTED: &str = "UnsupportedOperationException";

/// What is said of an error that a call ends with.
pub(super) fn of_status(status: &Status) -> EngineError {
    let info = error_info(status.details());
    let told = told(status, &info);
    let state = info.sql_state.as_deref().filter(|state| state.len() == 5);
    let lasting = |what: &str| EngineError::lasting(&format!("{what}{}", info.shown()), &told);
    let passing = |what: &str| EngineError::passing(&format!("{what}{}", info.shown()), &told);
    match state.and_then(|state| state.get(..2)) {
        // 42P01 and 42704 in Spark: table, view, schema or catalogue not found. 42704 is a name of two meanings as well.
        Some("42") if matches!(state, Some("42P01" | "42704")) && !info.is_ambiguous() => {
            EngineError { why: Why::Missing, ..lasting("the engine has no such table") }
        }
        Some("42") if state == Some("42501") => lasting("the engine does not give the right to read it"),
        // P0001: the statement itself calls for an error.
        Some("42" | "22" | "0A" | "21" | "2B" | "3D" | "3F" | "07" | "P0") => {
            lasting("the engine refuses the statement")
        }
        // Sail tells no SQLSTATE. A name that is not there and a statement that is wrong have one class.
        None if info.is("AnalysisException") => {
            EngineError { why: Why::Missing, ..lasting("the engine does not find the table or refuses the statement") }
        }
        None if info.is(UNSUPPORTED) || status.code() == Code::Unimplemented => {
            EngineError { why: Why::Unsupported, ..lasting("the engine refuses the statement") }
        }
        None if REFUSED.iter().any(|class| info.is(class)) => lasting("the engine refuses the statement"),
        _ => match status.code() {
            Code::InvalidArgument | Code::NotFound | Code::Unimplemented | Code::OutOfRange => {
                lasting("the engine refuses the statement")
            }
            Code::PermissionDenied => lasting("the engine does not give the right to read it"),
            Code::Unauthenticated => passing("the engine does not know the token"),
            Code::ResourceExhausted => EngineError {
                why: Why::TooLarge,
                ..lasting("the result is too large to be streamed: use `mode = \"stage\"`")
            },
            Code::DeadlineExceeded => passing("the engine did not answer in time"),
            Code::Unavailable => passing("the engine cannot be reached"),
            Code::Cancelled | Code::Aborted => passing("the engine cancelled the statement"),
            _ => passing("the engine failed"),
        },
    }
}

/// The connection ended, or there is none.
pub(super) fn unreachable(told: &str) -> EngineError {
    EngineError::passing("the engine cannot be reached", &one_line(told))
}

/// An answer that does not read.
pub(super) fn unreadable(told: &str) -> EngineError {
    EngineError::passing("the engine's answer does not read", &one_line(told))
}

/// What an engine says of its error, for programs.
#[derive(Default)]
struct Info {
    sql_state: Option<String>,
    class: Option<String>,
    /// The exception, with its packages.
    exception: String,
}

impl Info {
    /// Whether the exception has this name.
    fn is(&self, name: &str) -> bool {
        self.exception.rsplit('.').next() == Some(name)
    }

    /// Whether a name in the statement has two meanings.
    fn is_ambiguous(&self) -> bool {
        self.class.as_ref().is_some_and(|class| class.starts_with("AMBIGUOUS"))
    }

    /// As it stands in a message; only what looks like a state and a class does.
    fn shown(&self) -> String {
        let is_word = |text: &&String| {
            !text.is_empty()
                && text.len() < 100
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte))
        };
        let parts: Vec<&str> =
            [&self.sql_state, &self.class].into_iter().flatten().filter(is_word).map(String::as_str).collect();
        if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
    }
}

fn error_info(details: &[u8]) -> Info {
    let Ok(status) = RpcStatus::decode(details) else { return Info::default() };
    let is_info = |url: &str| url.rsplit('/').next() == Some("google.rpc.ErrorInfo");
    let info = status.details.iter().find(|any| is_info(&any.type_url));
    let Some(mut info) = info.and_then(|any| ErrorInfo::decode(any.value.clone()).ok()) else { return Info::default() };
    Info {
        sql_state: info.metadata.remove("sqlState"),
        class: info.metadata.remove("errorClass"),
        exception: info.reason,
    }
}

/// The engine's own text, cut.
fn told(status: &Status, info: &Info) -> String {
    let text = one_line(status.message());
    let cut = text.floor_char_boundary(TOLD);
    format!("{:?}{}: {}", status.code(), info.shown(), &text[..cut])
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::messages::Any;
    use super::*;

    fn status(code: Code, state: Option<&str>) -> Status {
        thrown(code, state, "org.apache.spark.SparkException")
    }

    fn thrown(code: Code, state: Option<&str>, exception: &str) -> Status {
        let metadata =
            state.map(|state| ("sqlState".to_owned(), state.to_owned())).into_iter().collect::<HashMap<_, _>>();
        let info = ErrorInfo { reason: exception.to_owned(), metadata };
        let any =
            Any { type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(), value: info.encode_to_vec().into() };
        Status::with_details(code, "secret text", RpcStatus { details: vec![any] }.encode_to_vec().into())
    }

    #[test]
    fn what_may_pass_goes_by_state_then_by_code() {
        for (code, state, may_pass) in [
            (Code::Internal, Some("42P01"), false),
            (Code::Internal, Some("42501"), false),
            (Code::Internal, Some("22012"), false),
            (Code::Internal, Some("P0001"), false),
            (Code::Internal, Some("XX000"), true),
            (Code::Internal, None, true),
            (Code::Unavailable, None, true),
            (Code::Unauthenticated, None, true),
            (Code::PermissionDenied, None, false),
            (Code::InvalidArgument, None, false),
            (Code::ResourceExhausted, None, false),
        ] {
            let error = of_status(&status(code, state));
            assert_eq!(error.may_pass, may_pass, "{code:?} {state:?}");
            assert!(!error.message.contains("secret"), "{}", error.message);
            assert!(error.detail.contains("secret text"), "{}", error.detail);
        }
        assert_eq!(of_status(&status(Code::Internal, Some("42P01"))).why, Why::Missing);
        assert_eq!(of_status(&status(Code::Internal, Some("42P01"))).message, "the engine has no such table (42P01)");
    }

    /// As Sail tells its errors.
    #[test]
    fn without_a_state_the_exception_counts() {
        let error = |exception: &str| of_status(&thrown(Code::Internal, None, exception));
        assert_eq!(error("org.apache.spark.sql.AnalysisException").why, Why::Missing);
        assert!(!error("java.lang.IllegalArgumentException").may_pass);
        assert!(error("java.lang.OutOfMemoryError").may_pass);
        let unsupported = error("java.lang.UnsupportedOperationException");
        assert!(unsupported.why == Why::Unsupported && !unsupported.may_pass);
        assert!(of_status(&Status::unimplemented("x")).why == Why::Unsupported);
    }

    #[test]
    fn details_that_do_not_read_are_none() {
        let status = Status::with_details(Code::Internal, "x", vec![255, 255].into());
        assert_eq!(of_status(&status).message, "the engine failed");
    }
}
