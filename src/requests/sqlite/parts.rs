//! Parts of requests in SQLite.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_query;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::sqlite::{Sqlite, SqliteConnection};

use super::super::parts::{
    PartConnection, SplitKey, StoredBackedOff, StoredPart, StoredPartCounts, Value, run_statements,
};
use super::super::pauses::StoredPause;
use super::super::status::open_statuses;
use super::super::stored::{StoredClaimed, StoredText};
use super::super::times::{later, sqlite_text};
use super::super::types::{Completion, Failure, RequestKey, WriteBack};
use super::claim::COLUMNS;
use super::write_back;

/// A connection, for one call.
pub(super) struct SqliteParts<'c> {
    pub(super) conn: &'c mut SqliteConnection,
    pub(super) now: DateTime<Utc>,
}

type Query<'q> = BoxedSqlQuery<'q, Sqlite, SqlQuery>;

fn query<'q>(sql: &str, values: &[Value]) -> Query<'q> {
    let mut query = sql_query(sql).into_boxed::<Sqlite>();
    for value in values {
        query = match value {
            Value::Text(text) => query.bind::<Nullable<Text>, _>(text.clone()),
            Value::Number(number) => query.bind::<Nullable<BigInt>, _>(*number),
        };
    }
    query
}

/// The transaction has the lock.
const LOCK: &str = "SELECT CAST(lease_owner AS TEXT) AS value FROM job_request
    WHERE tag = ?1 AND request_id = ?2 AND status = 'PROCESSING'";

const GIVE: &str = "UPDATE job_request SET lease_owner = ?4, lease_expires_at = ?5
    WHERE tag = ?1 AND request_id = ?2 AND status = 'PROCESSING' AND lease_owner = ?3";

/// A lease whose end others made something else than text ran out.
const EXPIRED: &str = concat!(
    "SELECT tag, request_id FROM job_request WHERE job_id = ?1 AND status IN (",
    open_statuses!(),
    ") AND status = 'PROCESSING' AND lease_owner LIKE 'parts:%' AND lease_owner NOT LIKE 'parts:%:%'
        AND (lease_expires_at <= ?2 OR typeof(lease_expires_at) <> 'text')"
);

const NOTE: &str = "UPDATE job_request SET job_stats = ?4
    WHERE tag = ?1 AND request_id = ?2 AND status = 'PROCESSING' AND lease_owner = ?3";

impl PartConnection for SqliteParts<'_> {
    run_statements!();

    fn now(&mut self) -> QueryResult<i64> {
        Ok(self.now.timestamp_millis())
    }

    fn give(&mut self, key: &RequestKey, from: &str, to: &str, lease: Duration) -> QueryResult<bool> {
        let until = sqlite_text(later(self.now, lease));
        let values = [&key.tag, &key.request_id, from, to, until.as_str()].map(Value::from);
        Ok(query(GIVE, &values).execute(self.conn)? == 1)
    }

    fn expired(&mut self, job_id: &str) -> QueryResult<Vec<SplitKey>> {
        let now = sqlite_text(self.now);
        query(EXPIRED, &[job_id, now.as_str()].map(Value::from)).load(self.conn)
    }

    fn claimed(&mut self, key: &RequestKey) -> QueryResult<Option<StoredClaimed>> {
        let sql = format!("SELECT {COLUMNS} FROM job_request WHERE tag = ?1 AND request_id = ?2");
        let row = sql_query(sql).bind::<Text, _>(&key.tag).bind::<Text, _>(&key.request_id);
        row.get_result(self.conn).optional()
    }

    fn complete(&mut self, key: &RequestKey, token: &str, made: &Completion) -> QueryResult<WriteBack> {
        write_back::complete(self.conn, &sqlite_text(self.now), token, key, made)
    }

    fn fail(&mut self, key: &RequestKey, token: &str, failure: &Failure) -> QueryResult<WriteBack> {
        write_back::fail(self.conn, self.now, token, key, failure).map(WriteBack::of)
    }

    fn retry_later(
        &mut self,
        key: &RequestKey,
        token: &str,
        failure: &Failure,
        delay: Duration,
    ) -> QueryResult<WriteBack> {
        write_back::retry_later(self.conn, self.now, token, key, failure, delay).map(WriteBack::of)
    }

    /// Listeners look at the file.
    fn notify(&mut self) -> QueryResult<()> {
        Ok(())
    }
}
