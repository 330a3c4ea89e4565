//! Why a request gets no report: in words for its client, and in full for operators.

use std::time::Duration;

use super::cpu::Panicked;
use super::dependencies::Dependency;
use crate::intake::Refusal;
use crate::intake::encryption::SealError;
use crate::outputs::{KeyError, StoreError, WriteError};
use crate::reports::ReportError;
use crate::reports::filters::ResolveError;
use crate::requests::ErrCode;
use crate::sources::SourceError;
use crate::sources::query_engine::{QueryError, QueryErrorKind};

/// Why an attempt ended without a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestError {
    /// What kind of failure it is.
    pub(super) code: ErrCode,
    /// For the client, the most important part first.
    pub(super) message: String,
    /// For operators: the whole chain of causes.
    pub(super) detail: String,
    /// Whether another attempt may succeed.
    pub(super) may_pass: bool,
    /// Where it arose.
    pub(super) origin: Origin,
}

/// Where an error arose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// In the request: the operator has nothing to mend.
    Request,
    /// In something that the daemon depends on.
    Dependency(Dependency),
    /// In the program, or in the data.
    Program,
}

/// The kind of a failure of a source.
const fn of_source(may_pass: bool) -> ErrCode {
    if may_pass { ErrCode::SourceUnavailable } else { ErrCode::SourceBroken }
}

impl RequestError {
    fn new(error: &(dyn std::error::Error + 'static), code: ErrCode, origin: Origin, may_pass: bool) -> Self {
        let mut detail = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            detail = format!("{detail}: {error}");
            cause = error.source();
        }
        Self { code, message: error.to_string(), detail, may_pass, origin }
    }

    const fn internal(message: String, detail: String) -> Self {
        Self { code: ErrCode::Internal, message, detail, may_pass: false, origin: Origin::Program }
    }

    /// The row itself is wrong.
    pub(super) fn refused(error: &Refusal) -> Self {
        let code = match error {
            Refusal::TooLarge { .. } => ErrCode::TooLarge,
            Refusal::NoData | Refusal::JobConfig(_) | Refusal::Format(_) | Refusal::Path(_) => ErrCode::BadRequest,
            Refusal::KeyLength | Refusal::KeyCharacters | Refusal::KeyRequired => ErrCode::Protection,
            Refusal::AllRows => ErrCode::Forbidden,
        };
        Self::new(error, code, Origin::Request, false)
    }

    /// The password for the files cannot be read from the row. No unprotected file is made instead.
    pub(super) fn sealed(error: SealError) -> Self {
        let origin = if error.may_pass() { Origin::Program } else { Origin::Request };
        Self::new(&error, ErrCode::Protection, origin, error.may_pass())
    }

    /// The filters give no batch, or too many.
    pub(super) fn resolve(error: &ResolveError) -> Self {
        let code = match error {
            ResolveError::NoData { .. } | ResolveError::Gone { .. } => ErrCode::NoData,
            ResolveError::TooMany { .. } => ErrCode::TooLarge,
            ResolveError::NoList => ErrCode::Internal,
        };
        Self::new(error, code, Origin::Request, false)
    }

    /// The files cannot be named: the tag, the request id or the whole key is too long.
    pub(super) fn key(error: &KeyError) -> Self {
        Self::new(error, ErrCode::BadRequest, Origin::Request, false)
    }

    /// The report's rules forbid it.
    pub(super) fn report(error: &ReportError) -> Self {
        let code = match error {
            ReportError::NoCourse { .. } | ReportError::OrderNotTotal { .. } | ReportError::UnreadableResult { .. } => {
                ErrCode::SourceBroken
            }
            ReportError::NotLoaded { .. }
            | ReportError::NotNeeded { .. }
            | ReportError::NotReconciled { .. }
            | ReportError::Ragged { .. }
            | ReportError::HeadingTwice { .. } => ErrCode::Internal,
        };
        Self::new(error, code, Origin::Program, false)
    }

    /// A table could not be read.
    pub(super) fn source(error: &SourceError) -> Self {
        Self {
            code: match error {
                SourceError { is_too_large: true, .. } => ErrCode::TooLarge,
                SourceError { may_pass, .. } => of_source(*may_pass),
            },
            message: error.message.clone(),
            detail: error.detail.clone(),
            may_pass: error.may_pass,
            origin: Origin::Dependency(Dependency::Source),
        }
    }

    /// The query of a report in SQL has no result.
    pub(super) fn query(error: &QueryError) -> Self {
        let QueryError { message, detail, may_pass, is_of_batches, kind } = error.clone();
        let code = match kind {
            QueryErrorKind::TimeOver => ErrCode::Timeout,
            QueryErrorKind::TooLarge | QueryErrorKind::MoreThanMemory => ErrCode::TooLarge,
            QueryErrorKind::NoRows => ErrCode::NoData,
            QueryErrorKind::Other => of_source(may_pass),
        };
        let origin = match (is_of_batches, may_pass) {
            (true, _) => Origin::Request,
            (false, true) => Origin::Dependency(Dependency::Source),
            (false, false) => Origin::Program,
        };
        Self { code, message, detail, may_pass, origin }
    }

    /// A file could not be stored.
    pub(super) fn store(error: &StoreError) -> Self {
        let origin = Origin::Dependency(Dependency::Store);
        let code = if error.is_refusal() { ErrCode::StoreRefused } else { ErrCode::StoreUnavailable };
        Self { detail: format!("{error} ({})", error.place), ..Self::new(error, code, origin, error.may_pass()) }
    }

    /// This file is more than a limit, which is named to the client.
    pub(super) fn over_limit(file: &str, limit: &dyn std::fmt::Display) -> Self {
        let detail = limit.to_string();
        let message = format!("{detail}: {file}");
        Self { code: ErrCode::TooLarge, message, detail, may_pass: false, origin: Origin::Request }
    }

    /// The program panicked. The client learns that the request is not at fault.
    pub(super) fn panicked(error: &Panicked) -> Self {
        Self::internal("internal error, please report it".to_owned(), error.to_string())
    }

    /// The process ended this many times while it worked on this request and on nothing else.
    pub(super) fn crashes(times: u32) -> Self {
        let message = format!("the report crashed the worker {times} times");
        let detail = format!("{message} while it worked on nothing else");
        Self { code: ErrCode::Crashed, ..Self::internal(message, detail) }
    }

    /// The file has fewer or more rows than the report. It is never delivered.
    pub(super) fn short_file(written: u64, expected: u64) -> Self {
        let detail = format!("{written} rows written of {expected}");
        Self::internal(format!("internal error: {detail}"), detail)
    }

    /// A file was not written for a reason that is not known: a defect of the program.
    pub(super) fn unexplained(error: &WriteError) -> Self {
        Self::internal("internal error, please report it".to_owned(), error.to_string())
    }

    /// A batch is broken, as the daemon found that made its part.
    pub(super) const fn broken(message: String, detail: String) -> Self {
        let origin = Origin::Dependency(Dependency::Source);
        Self { code: ErrCode::SourceBroken, message, detail, may_pass: false, origin }
    }

    /// One attempt has worked on it for longer than `[[job]] max_runtime`. Another would as well.
    pub(super) fn over_time(most: Duration) -> Self {
        let message = format!("timeout: it was worked on for more than {} s", most.as_secs_f64());
        Self { code: ErrCode::Timeout, detail: message.clone(), message, may_pass: false, origin: Origin::Request }
    }

    /// What a daemon noted of a part cannot be read.
    pub(super) fn unreadable_part(error: &serde_json::Error) -> Self {
        let message = "internal error, please report it".to_owned();
        Self::internal(message, format!("what is noted of a part does not read: {error}"))
    }

    /// The parts of a request have fewer or more files than it was split into. It is never delivered.
    pub(super) fn short_parts(files: u64, expected: u64) -> Self {
        let detail = format!("its parts have {files} files of {expected}");
        Self::internal(format!("internal error: {detail}"), detail)
    }

    /// Daemons made parts of one request in different ways.
    pub(super) fn parts_differ() -> Self {
        let message = "the report's configuration was changed while it was made".to_owned();
        Self { may_pass: true, ..Self::internal(message.clone(), message) }
    }

    /// Adds the file to the detail.
    pub(super) fn in_file(self, file: &str) -> Self {
        Self { detail: format!("{file}: {}", self.detail), ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::tables::schema::Table;

    #[test]
    fn each_failure_is_of_the_kind_that_it_arose_as() {
        let source = |may_pass, is_too_large| {
            let (table, message, detail) = (Table::User, "m".to_owned(), "d".to_owned());
            RequestError::source(&SourceError { table, message, detail, may_pass, is_too_large })
        };
        let query = |error: &QueryError| RequestError::query(error);
        let down = QueryError { may_pass: true, ..QueryError::lasting("m".to_owned()) };
        let not_loaded = ReportError::NotLoaded { batch: "b".to_owned() };
        for (error, code) in [
            (RequestError::refused(&Refusal::NoData), ErrCode::BadRequest),
            (RequestError::refused(&Refusal::TooLarge { bytes: 2, most: 1 }), ErrCode::TooLarge),
            (RequestError::refused(&Refusal::AllRows), ErrCode::Forbidden),
            (RequestError::refused(&Refusal::KeyRequired), ErrCode::Protection),
            (RequestError::sealed(SealError::NoSecret), ErrCode::Protection),
            (RequestError::resolve(&ResolveError::TooMany { found: 2, most: 1 }), ErrCode::TooLarge),
            (RequestError::resolve(&ResolveError::Gone { batch: "b".to_owned() }), ErrCode::NoData),
            (RequestError::key(&KeyError::LongKey(2000)), ErrCode::BadRequest),
            (RequestError::report(&not_loaded), ErrCode::Internal),
            (source(true, false), ErrCode::SourceUnavailable),
            (source(false, false), ErrCode::SourceBroken),
            (source(false, true), ErrCode::TooLarge),
            (query(&QueryError::timeout(std::time::Duration::from_secs(1))), ErrCode::Timeout),
            (query(&QueryError::too_large("m")), ErrCode::TooLarge),
            (query(&QueryError::no_rows()), ErrCode::NoData),
            (query(&QueryError::of_batches("m".to_owned())), ErrCode::SourceBroken),
            (query(&down), ErrCode::SourceUnavailable),
            (RequestError::over_limit("f", &"m"), ErrCode::TooLarge),
            (RequestError::crashes(5), ErrCode::Crashed),
            (RequestError::short_file(1, 2), ErrCode::Internal),
            (RequestError::parts_differ(), ErrCode::Internal),
            (RequestError::broken("m".to_owned(), "d".to_owned()), ErrCode::SourceBroken),
            (RequestError::unexplained(&WriteError::Store(io::ErrorKind::Other.into())), ErrCode::Internal),
        ] {
            assert_eq!(error.code, code, "{}", error.detail);
        }
    }
}
