//! The seam between statements and the protocol by which an engine is reached.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use crate::sources::GivenUp;
use crate::tables::keys::Keys;

/// Reaches an engine. Calls block; they must not be made on a thread that drives futures.
pub(super) trait Transport: Send + Sync {
    /// Runs a statement and hands over its rows, batch by batch as they come. Of a statement without rows at least one batch comes, which has the
    /// columns. At most a few batches wait for `take`.
    ///
    /// # Errors
    /// The engine refuses or fails, or `take` does; or the statement was given up, also while it sends nothing.
    fn query(&self, statement: &Statement, given_up: &GivenUp, take: TakeBatch<'_>) -> Result<(), EngineError>;

    /// Lets the engine write the rows of a statement as Parquet into a place, as the engine calls it. When this comes back they
    /// are there, and nothing else is; how many the engine says that it has written.
    ///
    /// # Errors
    /// The engine refuses or fails, or does not say how many; or the statement was given up.
    fn write(&self, rows: &Statement, into: &str, given_up: &GivenUp) -> Result<u64, EngineError>;

    /// The columns of a relation, as it stands after `FROM`.
    ///
    /// # Errors
    /// There is no such relation, or the engine fails.
    fn schema(&self, relation: &str, given_up: &GivenUp) -> Result<SchemaRef, EngineError> {
        let text = format!("SELECT * FROM {relation} AS t WHERE 1 = 0");
        let statement = Statement { text, keys: Vec::new(), longest: LOOK };
        let mut schema = None;
        self.query(&statement, given_up, &mut |batch| {
            schema = Some(batch.schema());
            Ok(())
        })?;
        // Sail answers a path that is not there with no columns.
        let described = schema.filter(|schema: &SchemaRef| !schema.fields().is_empty());
        described.ok_or_else(|| EngineError {
            why: Why::Missing,
            ..EngineError::lasting("the engine has no such table", "")
        })
    }
}

/// Takes rows as they come.
pub(super) type TakeBatch<'a> = &'a mut dyn FnMut(RecordBatch) -> Result<(), EngineError>;

/// Somebody waits until the end.
pub(super) fn never() -> GivenUp {
    Arc::new(|| false)
}

/// A statement, and the rows of our own that its text selects from.
#[derive(Clone)]
pub(super) struct Statement {
    pub(super) text: String,
    pub(super) keys: Vec<KeyRelation>,
    /// How long it may take.
    pub(super) longest: Duration,
}

/// How long a statement may take of which no rows are wanted: an engine answers it without reading a table.
pub(super) const LOOK: Duration = Duration::from_mins(1);
/// How long a statement may take that reads tables.
pub(super) const LONGEST: Duration = Duration::from_hours(6);

/// Rows of our own as a relation under a name that stands nowhere else in the statement.
#[derive(Clone)]
pub(super) struct KeyRelation {
    pub(super) name: String,
    pub(super) rows: LocalRows,
}

/// Rows of text.
#[derive(Clone)]
pub(super) enum LocalRows {
    /// One column, `key`.
    Keys(Arc<dyn Keys>),
    /// Columns `batchid` and `courseid`.
    Batches(Vec<[String; 2]>),
}

/// Why an engine gives no rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EngineError {
    /// For the client. Has no text of the engine, which may quote data or places.
    pub(super) message: String,
    /// For the operator: with the engine's own text.
    pub(super) detail: String,
    /// Whether trying again later may help.
    pub(super) may_pass: bool,
    /// What it is, where that matters.
    pub(super) why: Why,
}

/// What an engine fails with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// There is no such relation.
    Missing,
    /// The engine does not know what it was asked to do, whatever it was asked it for.
    Unsupported,
    /// The result is more than the engine sends.
    TooLarge,
    /// The statement took longer than it may.
    TimeOver,
    /// Anything else.
    Other,
}

impl EngineError {
    /// Does not pass by itself. `told`: what the engine says.
    pub(super) fn lasting(message: &str, told: &str) -> Self {
        let detail = if told.is_empty() { message.to_owned() } else { format!("{message}: {told}") };
        Self { message: message.to_owned(), detail, may_pass: false, why: Why::Other }
    }

    /// May pass.
    pub(super) fn passing(message: &str, told: &str) -> Self {
        Self { may_pass: true, ..Self::lasting(message, told) }
    }
}
