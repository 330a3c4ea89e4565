//! Why a request gets no report: in words for its client, and in full for operators.

use super::cpu::Panicked;
use super::dependencies::Dependency;
use crate::intake::Refusal;
use crate::intake::encryption::SealError;
use crate::outputs::{KeyError, StoreError, WriteError};
use crate::reports::ReportError;
use crate::reports::filters::ResolveError;
use crate::sources::SourceError;
use crate::sources::query_engine::QueryError;

/// Why an attempt ended without a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestError {
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

impl RequestError {
    fn new(error: &(dyn std::error::Error + 'static), origin: Origin, may_pass: bool) -> Self {
        let mut detail = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            detail = format!("{detail}: {error}");
            cause = error.source();
        }
        Self { message: error.to_string(), detail, may_pass, origin }
    }

    const fn internal(message: String, detail: String) -> Self {
        Self { message, detail, may_pass: false, origin: Origin::Program }
    }

    /// The row itself is wrong.
    pub(super) fn refused(error: &Refusal) -> Self {
        Self::new(error, Origin::Request, false)
    }

    /// The password for the files cannot be read from the row. No unprotected file is made instead.
    pub(super) fn sealed(error: SealError) -> Self {
        Self::new(&error, if error.may_pass() { Origin::Program } else { Origin::Request }, error.may_pass())
    }

    /// The filters give no batch, or too many.
    pub(super) fn resolve(error: &ResolveError) -> Self {
        Self::new(error, Origin::Request, false)
    }

    /// The files cannot be named: the tag, the request id or the whole key is too long.
    pub(super) fn key(error: &KeyError) -> Self {
        Self::new(error, Origin::Request, false)
    }

    /// The report's rules forbid it.
    pub(super) fn report(error: &ReportError) -> Self {
        Self::new(error, Origin::Program, false)
    }

    /// A table could not be read.
    pub(super) fn source(error: &SourceError) -> Self {
        Self {
            message: error.message.clone(),
            detail: error.detail.clone(),
            may_pass: error.may_pass,
            origin: Origin::Dependency(Dependency::Source),
        }
    }

    /// The query of a report in SQL has no result.
    pub(super) fn query(error: &QueryError) -> Self {
        let QueryError { message, detail, may_pass, is_of_batches } = error.clone();
        let origin = match (is_of_batches, may_pass) {
            (true, _) => Origin::Request,
            (false, true) => Origin::Dependency(Dependency::Source),
            (false, false) => Origin::Program,
        };
        Self { message, detail, may_pass, origin }
    }

    /// A file could not be stored.
    pub(super) fn store(error: &StoreError) -> Self {
        let origin = Origin::Dependency(Dependency::Store);
        Self { detail: format!("{error} ({})", error.place), ..Self::new(error, origin, error.may_pass()) }
    }

    /// This file is more than a limit, which is named to the client.
    pub(super) fn over_limit(file: &str, limit: &dyn std::fmt::Display) -> Self {
        let detail = limit.to_string();
        Self { message: format!("{detail}: {file}"), detail, may_pass: false, origin: Origin::Request }
    }

    /// The program panicked. The client learns that the request is not at fault.
    pub(super) fn panicked(error: &Panicked) -> Self {
        Self::internal("internal error, please report it".to_owned(), error.to_string())
    }

    /// The process ended this many times while it worked on this request and on nothing else.
    pub(super) fn crashes(times: u32) -> Self {
        let message = format!("the report crashed the worker {times} times");
        Self::internal(message.clone(), format!("{message} while it worked on nothing else"))
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
        Self { message, detail, may_pass: false, origin: Origin::Dependency(Dependency::Source) }
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
