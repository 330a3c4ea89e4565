//! What statements about parts are run on: the two databases as one.

use std::time::Duration;

use diesel::QueryableByName;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};

use super::super::pauses::StoredPause;
use super::super::stored::{LenientText, StoredClaimed};
use super::super::text::{can_exist, clean, clean_option};
use super::super::types::{Completion, Failure, QueueError, RequestKey, WriteBack};

/// The owner in the token of a split: `parts:<random>`. A claim's token has the number of a process in the middle, so that of a
/// daemon on a host of this name, `parts:7:<random>`, is another one.
pub(super) const SPLIT: &str = "parts";

/// Whether a `lease_owner` is the token of a split. [`is_split`] is the same in SQL.
pub(in crate::requests) fn is_of_split(owner: &str) -> bool {
    owner.strip_prefix(SPLIT).and_then(|rest| rest.strip_prefix(':')).is_some_and(|random| !random.contains(':'))
}

/// A value of a statement.
#[derive(Clone, Debug)]
pub(in crate::requests) enum Value {
    Text(Option<String>),
    Number(Option<i64>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(clean(text)))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(clean_option(text))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

/// A row of `job_request_part`.
#[derive(Clone, Debug, QueryableByName)]
pub(in crate::requests) struct StoredPart {
    #[diesel(sql_type = BigInt)]
    pub(super) part: i64,
    #[diesel(sql_type = Text)]
    pub(super) batches: String,
    #[diesel(sql_type = BigInt)]
    pub(super) files: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) files_done: i64,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) left_out: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) token: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub(super) lease_until: Option<i64>,
    #[diesel(sql_type = BigInt)]
    pub(super) next_attempt: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) iteration: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) crashes: i64,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) processed_batches: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) result: Option<String>,
}

/// Names a split row.
#[derive(Clone, Debug, QueryableByName)]
pub(in crate::requests) struct SplitKey {
    #[diesel(sql_type = Text)]
    tag: String,
    #[diesel(sql_type = Text)]
    request_id: String,
}

impl From<SplitKey> for RequestKey {
    fn from(SplitKey { tag, request_id }: SplitKey) -> Self {
        Self { tag, request_id }
    }
}

/// The parts of one job.
#[derive(Debug, QueryableByName)]
pub(in crate::requests) struct StoredPartCounts {
    #[diesel(sql_type = Nullable<Binary>)]
    pub(super) job_id: Option<LenientText>,
    #[diesel(sql_type = BigInt)]
    pub(super) parts: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) made: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) in_work: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) back_off: i64,
}

/// A request that nobody can work on now.
#[derive(Debug, QueryableByName)]
pub(in crate::requests) struct StoredBackedOff {
    #[diesel(sql_type = Text)]
    pub(super) tag: String,
    #[diesel(sql_type = Text)]
    pub(super) request_id: String,
    #[diesel(sql_type = Nullable<Binary>)]
    pub(super) job_id: Option<LenientText>,
    #[diesel(sql_type = Nullable<Binary>)]
    pub(super) err_message: Option<LenientText>,
    #[diesel(sql_type = BigInt)]
    pub(super) parts: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) next_attempt: i64,
}

/// A connection in a transaction: what the two databases do each in their own way. Statements number the places of their
/// values `?1`, `?2`, ….
pub(in crate::requests) trait PartConnection {
    fn execute(&mut self, sql: &str, values: &[Value]) -> QueryResult<usize>;
    fn load_parts(&mut self, sql: &str, values: &[Value]) -> QueryResult<Vec<StoredPart>>;
    fn load_keys(&mut self, sql: &str, values: &[Value]) -> QueryResult<Vec<SplitKey>>;
    fn load_counts(&mut self, sql: &str, values: &[Value]) -> QueryResult<Vec<StoredPartCounts>>;
    fn load_backed_off(&mut self, sql: &str, values: &[Value]) -> QueryResult<Vec<StoredBackedOff>>;

    fn load_pauses(&mut self, sql: &str) -> QueryResult<Vec<StoredPause>>;

    /// Milliseconds since 1970, by the clock that decides about leases.
    fn now(&mut self) -> QueryResult<i64>;

    /// Locks a row until the transaction ends. Returns its `lease_owner` if it is PROCESSING.
    fn lock(&mut self, key: &RequestKey) -> QueryResult<Option<String>>;

    /// Gives a row that is PROCESSING under `from` to `to`, with a new lease. `false`: it is not.
    fn give(&mut self, key: &RequestKey, from: &str, to: &str, lease: Duration) -> QueryResult<bool>;

    /// Keys of PROCESSING rows of a job under a split token whose lease ran out.
    fn expired(&mut self, job_id: &str) -> QueryResult<Vec<SplitKey>>;

    /// Writes `job_stats`, as JSON, of a row that is PROCESSING under the token.
    fn note(&mut self, key: &RequestKey, token: &str, stats: &str) -> QueryResult<()>;

    /// The row as a claim returns it.
    fn claimed(&mut self, key: &RequestKey) -> QueryResult<Option<StoredClaimed>>;

    fn complete(&mut self, key: &RequestKey, token: &str, made: &Completion) -> QueryResult<WriteBack>;
    fn fail(&mut self, key: &RequestKey, token: &str, failure: &Failure) -> QueryResult<WriteBack>;

    fn retry_later(
        &mut self,
        key: &RequestKey,
        token: &str,
        failure: &Failure,
        delay: Duration,
    ) -> QueryResult<WriteBack>;

    /// Wakes the daemons when the transaction is committed.
    fn notify(&mut self) -> QueryResult<()>;
}

/// Methods of [`PartConnection`] that both databases have, by statements of their own under the same names.
macro_rules! run_statements {
    () => {
        fn execute(&mut self, sql: &str, values: &[Value]) -> QueryResult<usize> {
            query(sql, values).execute(self.conn)
        }

        fn load_parts(&mut self, sql: &str, values: &[Value]) -> QueryResult<Vec<StoredPart>> {
            query(sql, values).load(self.conn)
        }

        fn load_keys(&mut self, sql: &str, values: &[Value]) -> QueryResult<Vec<SplitKey>> {
            query(sql, values).load(self.conn)
        }

        fn load_counts(&mut self, sql: &str, values: &[Value]) -> QueryResult<Vec<StoredPartCounts>> {
            query(sql, values).load(self.conn)
        }

        fn load_backed_off(&mut self, sql: &str, values: &[Value]) -> QueryResult<Vec<StoredBackedOff>> {
            query(sql, values).load(self.conn)
        }

        fn load_pauses(&mut self, sql: &str) -> QueryResult<Vec<StoredPause>> {
            query(sql, &[]).load(self.conn)
        }

        fn lock(&mut self, key: &RequestKey) -> QueryResult<Option<String>> {
            let row = sql_query(LOCK).bind::<Text, _>(&key.tag).bind::<Text, _>(&key.request_id);
            Ok(row.get_result::<StoredText>(self.conn).optional()?.and_then(StoredText::into_text))
        }

        fn note(&mut self, key: &RequestKey, token: &str, stats: &str) -> QueryResult<()> {
            let values = [&key.tag, &key.request_id, token, stats].map(Value::from);
            query(NOTE, &values).execute(self.conn).map(drop)
        }
    };
}

/// A database that has parts of requests.
pub(in crate::requests) trait PartDatabase: Send + Sync {
    /// Runs statements in one transaction. `what` names them in error messages.
    fn transaction<T>(
        &self,
        what: &str,
        statements: impl FnOnce(&mut dyn PartConnection) -> QueryResult<T>,
    ) -> Result<T, QueueError>;

    /// Runs statements that only read. They may be run twice.
    fn read_parts<T>(
        &self,
        what: &str,
        statements: impl Fn(&mut dyn PartConnection) -> QueryResult<T>,
    ) -> Result<T, QueueError>;
}

/// The columns of [`StoredPart`]. `p` is `job_request_part`.
macro_rules! columns {
    () => {
        "p.part, p.batches, p.files, p.files_done, p.left_out, p.token, p.lease_until, \
         p.next_attempt, p.iteration, p.crashes, p.processed_batches, p.result"
    };
}

/// The same for who looks at states and counts alone: the long texts are left out. A result and `processed_batches` that are
/// there are empty.
macro_rules! states {
    () => {
        "p.part, '' AS batches, p.files, p.files_done, NULL AS left_out, p.token, p.lease_until, \
         p.next_attempt, p.iteration, p.crashes, CASE WHEN p.processed_batches IS NOT NULL THEN '' END AS processed_batches, \
         CASE WHEN p.result IS NOT NULL THEN '' END AS result"
    };
}

/// A part by its row and its token: places 1 to 3 of the values.
macro_rules! held {
    () => {
        " WHERE tag = ?1 AND request_id = ?2 AND token = ?3 AND result IS NULL"
    };
}

/// Rows that are split. `j` is `job_request`.
macro_rules! is_split {
    () => {
        "j.status = 'PROCESSING' AND j.lease_owner LIKE 'parts:%' AND j.lease_owner NOT LIKE 'parts:%:%'"
    };
}

pub(in crate::requests) use {columns, held, is_split, run_statements};

pub(super) fn of_row(key: &RequestKey) -> [Value; 2] {
    [key.tag.as_str().into(), key.request_id.as_str().into()]
}

pub(super) fn values(key: &RequestKey, token: &str, more: impl IntoIterator<Item = Value>) -> Vec<Value> {
    of_row(key).into_iter().chain([token.into()]).chain(more).collect()
}

/// Locks a row. Returns the token of its split; `None`: it is not split.
pub(super) fn lock_split(conn: &mut dyn PartConnection, key: &RequestKey) -> QueryResult<Option<String>> {
    if !can_exist(key) {
        return Ok(None);
    }
    Ok(conn.lock(key)?.filter(|owner| is_of_split(owner)))
}

/// The parts of a request in their order, without their long texts.
pub(super) fn states_of(conn: &mut dyn PartConnection, key: &RequestKey) -> QueryResult<Vec<StoredPart>> {
    let sql =
        concat!("SELECT ", states!(), " FROM job_request_part AS p WHERE tag = ?1 AND request_id = ?2 ORDER BY part");
    conn.load_parts(sql, &of_row(key))
}

pub(super) fn remove_parts(conn: &mut dyn PartConnection, key: &RequestKey) -> QueryResult<usize> {
    conn.execute("DELETE FROM job_request_part WHERE tag = ?1 AND request_id = ?2", &of_row(key))
}
