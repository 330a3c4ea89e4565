//! An engine that answers an operator's query: a source that is asked for a report in SQL.
//!
//! No character that a client chose is part of a statement: the engine gets batches as values.

pub(super) mod spelling;

use std::time::{Duration, Instant};

use super::GivenUp;
use crate::tables::queried::ValueKind;

/// What stands in a query where the batches of the request are.
pub const BATCHES: &str = "{batches}";
/// What a statement calls them.
pub(super) const RELATION: &str = "exhaust_batches";

/// A query and the batches that it is asked for.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The operator's query, one row set, in which [`BATCHES`] is a relation of `batchid` and `courseid`.
    pub query: &'a str,
    /// The columns of its result that are delivered, as text.
    pub columns: &'a [&'a str],
    /// Each batch with its course.
    pub batches: &'a [(&'a str, &'a str)],
    /// What stands in the query where a value of the request is, and the value; only what the query has.
    pub values: &'a [(&'a str, Option<&'a str>)],
    /// How long it may take, from the question to the last row.
    pub time: Duration,
    /// Whether it is to be ended before that.
    pub given_up: &'a GivenUp,
}

impl Question<'_> {
    /// The query as it stands in a statement: between parentheses, on lines of its own, since its last one may end in a comment.
    /// `written`: how each of the values is written, which must not have placeholders in it.
    pub(super) fn subquery(&self, written: impl Fn(usize, Option<&str>) -> String) -> String {
        let mut query = self.query.trim_end().trim_end_matches(';').replace(BATCHES, RELATION);
        for (at, (text, value)) in self.values.iter().enumerate() {
            query = query.replace(text, &written(at, *value));
        }
        format!("(\n{query}\n) AS exhaust_query")
    }

    /// Fails once the time for it is over.
    ///
    /// # Errors
    /// [`QueryError::timeout`]
    pub(super) fn in_time(&self, asked: Instant) -> Result<(), QueryError> {
        if asked.elapsed() < self.time { Ok(()) } else { Err(QueryError::timeout(self.time)) }
    }
}

/// Why a query has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct QueryError {
    /// For the client, the telling part first; no host, no user.
    pub message: String,
    /// For the operator.
    pub detail: String,
    /// Whether trying again later may help.
    pub may_pass: bool,
    /// It is about the batches that were asked for: the same query may succeed for others.
    pub is_of_batches: bool,
    /// What kind of failure it is.
    pub kind: QueryErrorKind,
}

/// What kind of failure of a query it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueryErrorKind {
    /// It took too long.
    TimeOver,
    /// It returned more than a report may have.
    TooLarge,
    /// It returned more than there was memory for when it was asked.
    MoreThanMemory,
    /// It returned no row.
    NoRows,
    /// Any other.
    #[default]
    Other,
}

impl QueryError {
    /// It took too long.
    #[must_use]
    pub fn timeout(time: Duration) -> Self {
        let message = format!("timeout: the query took more than {} s", time.as_secs());
        Self { kind: QueryErrorKind::TimeOver, ..Self::of_batches(message) }
    }

    /// The engine refuses it for good.
    #[must_use]
    pub fn lasting(message: String) -> Self {
        Self { is_of_batches: false, ..Self::of_batches(message) }
    }

    /// It returned what the request may not have.
    #[must_use]
    pub fn of_batches(message: String) -> Self {
        Self { detail: message.clone(), message, may_pass: false, is_of_batches: true, kind: QueryErrorKind::default() }
    }

    /// It returned more than a report may have: `what`, as a sentence.
    #[must_use]
    pub fn too_large(what: &str) -> Self {
        Self { kind: QueryErrorKind::TooLarge, ..Self::of_batches(format!("too_large: {what}")) }
    }

    /// Its rows take more than these bytes, which was all the memory that there was for them.
    #[must_use]
    pub fn more_than_memory(bytes: u64) -> Self {
        let error = Self::too_large(&format!("the query's rows take more than {bytes} bytes"));
        let detail = format!("{}, which [worker] memory has for them", error.message);
        Self { kind: QueryErrorKind::MoreThanMemory, detail, ..error }
    }

    /// It returned no row.
    #[must_use]
    pub fn no_rows() -> Self {
        let message = "No data found: the query returned no rows".to_owned();
        Self { kind: QueryErrorKind::NoRows, ..Self::of_batches(message) }
    }
}

/// How an engine would run a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// What it would be asked.
    pub statement: String,
    /// Its own plan, line by line.
    pub plan: Vec<String>,
}

/// Takes the cells of a row in the order of [`Question::columns`].
pub type TakeRow<'a> = dyn FnMut(&[Option<&str>]) -> Result<(), QueryError> + 'a;

/// An engine that runs queries. Calls block.
pub trait QueryEngine: Send + Sync {
    /// Prepares a query without running it. Returns the kind of each column of [`Question::columns`].
    ///
    /// # Errors
    /// The query is wrong, its result lacks a column, or the engine cannot be reached, which may pass.
    fn prepare(&self, question: &Question<'_>) -> Result<Vec<ValueKind>, QueryError>;

    /// How the engine would run a query.
    ///
    /// # Errors
    /// As [`QueryEngine::prepare`].
    fn explain(&self, question: &Question<'_>) -> Result<Explained, QueryError>;

    /// Runs a query and hands over its rows as they come, in no particular order. Returns as [`QueryEngine::prepare`].
    ///
    /// # Errors
    /// As [`QueryEngine::prepare`], those of `take`, and [`QueryError::timeout`].
    fn run(&self, question: &Question<'_>, take: &mut TakeRow<'_>) -> Result<Vec<ValueKind>, QueryError>;
}
