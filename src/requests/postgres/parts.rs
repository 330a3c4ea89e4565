//! Parts of requests on PostgreSQL.

use std::time::Duration;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_query;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::super::parts::{
    PartConnection, SplitKey, StoredBackedOff, StoredPart, StoredPartCounts, Value, run_statements,
};
use super::super::pauses::StoredPause;
use super::super::stored::{StoredClaimed, StoredText};
use super::super::times::microseconds;
use super::super::types::{Completion, Failure, RequestKey, WriteBack};
use super::claim::COLUMNS;
use super::columns::now;
use super::write_back;

/// A connection, for one call.
pub(super) struct PostgresParts<'c> {
    pub(super) conn: &'c mut PgConnection,
    /// Of a test's clock, in microseconds.
    pub(super) shift: i64,
}

type Query<'q> = BoxedSqlQuery<'q, Pg, SqlQuery>;

fn query<'q>(sql: &str, values: &[Value]) -> Query<'q> {
    let mut query = sql_query(sql.replace('?', "$")).into_boxed::<Pg>();
    for value in values {
        query = match value {
            Value::Text(text) => query.bind::<Nullable<Text>, _>(text.clone()),
            Value::Number(number) => query.bind::<Nullable<BigInt>, _>(*number),
        };
    }
    query
}

const LOCK: &str = "SELECT lease_owner::text AS value FROM job_request
    WHERE tag = $1 AND request_id = $2 AND status = 'PROCESSING' FOR UPDATE";

const NOW: &str = concat!("SELECT floor(extract(epoch FROM ", now!(), ") * 1000)::bigint::text AS value");

const GIVE: &str = concat!(
    "UPDATE job_request SET lease_owner = $5, lease_expires_at = ",
    now!(),
    " + $6 * interval '1 microsecond'
    WHERE tag = $2 AND request_id = $3 AND status = 'PROCESSING' AND lease_owner = $4"
);

/// The conditions on status and tag are those of the index `job_request_newest_working`.
const EXPIRED: &str = concat!(
    "SELECT tag::text AS tag, request_id::text AS request_id FROM job_request
    WHERE status = 'PROCESSING' AND tag >= '' AND job_id = $2 AND lease_owner LIKE 'parts:%'
        AND lease_owner NOT LIKE 'parts:%:%' AND lease_expires_at <= ",
    now!()
);

const NOTE: &str = "UPDATE job_request SET job_stats = $4::json
    WHERE tag = $1 AND request_id = $2 AND status = 'PROCESSING' AND lease_owner = $3";

impl PartConnection for PostgresParts<'_> {
    run_statements!();

    fn now(&mut self) -> QueryResult<i64> {
        let now: StoredText = sql_query(NOW).bind::<BigInt, _>(self.shift).get_result(self.conn)?;
        Ok(now.into_text().and_then(|text| text.parse().ok()).unwrap_or_default())
    }

    fn give(&mut self, key: &RequestKey, from: &str, to: &str, lease: Duration) -> QueryResult<bool> {
        let given = sql_query(GIVE)
            .bind::<BigInt, _>(self.shift)
            .bind::<Text, _>(&key.tag)
            .bind::<Text, _>(&key.request_id)
            .bind::<Text, _>(from)
            .bind::<Text, _>(to)
            .bind::<BigInt, _>(microseconds(lease));
        Ok(given.execute(self.conn)? == 1)
    }

    fn expired(&mut self, job_id: &str) -> QueryResult<Vec<SplitKey>> {
        sql_query(EXPIRED).bind::<BigInt, _>(self.shift).bind::<Text, _>(job_id).load(self.conn)
    }

    fn claimed(&mut self, key: &RequestKey) -> QueryResult<Option<StoredClaimed>> {
        let sql = format!("SELECT {COLUMNS} FROM job_request AS j WHERE j.tag = $1 AND j.request_id = $2");
        let row = sql_query(sql).bind::<Text, _>(&key.tag).bind::<Text, _>(&key.request_id);
        row.get_result(self.conn).optional()
    }

    fn complete(&mut self, key: &RequestKey, token: &str, made: &Completion) -> QueryResult<WriteBack> {
        let written = write_back::complete_all(self.conn, self.shift, token, &[(key.clone(), made.clone())])?;
        Ok(written.first().copied().unwrap_or(WriteBack::Lost))
    }

    fn fail(&mut self, key: &RequestKey, token: &str, failure: &Failure) -> QueryResult<WriteBack> {
        write_back::fail(self.conn, self.shift, token, key, failure).map(WriteBack::of)
    }

    fn retry_later(
        &mut self,
        key: &RequestKey,
        token: &str,
        failure: &Failure,
        delay: Duration,
    ) -> QueryResult<WriteBack> {
        write_back::retry_later(self.conn, self.shift, token, key, failure, delay).map(WriteBack::of)
    }

    fn notify(&mut self) -> QueryResult<()> {
        sql_query("SELECT pg_notify('exhaust_job_request', '')").execute(self.conn).map(drop)
    }
}
