//! PostgreSQL as the engine of reports in SQL: the operator's query as a subquery, in a read-only transaction.
//!
//! Batches are bound as two arrays; columns come as text, which the session's settings spell in one way.

use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row, Statement};

use super::PostgresSource;
use super::connect::BEGIN;
use super::connection::Connection;
use super::copy::quoted;
use super::failure::Failure;
use crate::sources::query_engine::{BATCHES, QueryEngine, QueryError, Question, TakeRow};
use crate::tables::queried::ValueKind;

/// The batches of the request, as a statement calls them.
const RELATION: &str = "exhaust_batches";
/// How much longer than a query may take its answer is awaited: the server ends it by itself.
const GRACE: Duration = Duration::from_secs(10);

impl QueryEngine for PostgresSource {
    fn prepare(&self, question: &Question<'_>) -> Result<Vec<ValueKind>, QueryError> {
        self.with_query(question, |_, _, kinds| Ok(kinds))
    }

    fn run(&self, question: &Question<'_>, take: &mut TakeRow<'_>) -> Result<Vec<ValueKind>, QueryError> {
        let asked = Instant::now();
        let (ids, courses): (Vec<&str>, Vec<&str>) = question.batches.iter().copied().unzip();
        self.with_query(question, |connection, statement, kinds| {
            let parameters: [&(dyn ToSql + Sync); 2] = [&ids, &courses];
            connection.rows(&statement, &parameters, &mut |row| {
                question.in_time(asked)?;
                let cells = (0..row.len()).map(|at| cell(row, at, question)).collect::<Result<Vec<_>, _>>()?;
                take(&cells).map_err(EngineFailure::from)
            })?;
            Ok(kinds)
        })
    }
}

impl PostgresSource {
    /// Runs `work` with the prepared statement and the kinds of its columns, in a transaction of its own.
    fn with_query<T>(
        &self,
        question: &Question<'_>,
        work: impl FnOnce(&mut Connection, Statement, Vec<ValueKind>) -> Result<T, EngineFailure>,
    ) -> Result<T, QueryError> {
        let mut connection = self.server.connect().map_err(|failure| query_error(failure.into(), question))?;
        // While it runs a query sends nothing.
        connection.set_silence(question.time + GRACE);
        let begin = format!(
            "{BEGIN}; SET LOCAL transaction_read_only = on; SET LOCAL statement_timeout = {}",
            question.time.as_millis().clamp(1, i32::MAX as u128)
        );
        let outcome = connection.execute(&begin).map_err(EngineFailure::from).and_then(|()| {
            let kinds = kinds(&connection.prepare(&statement(question.query, "*"))?, question)?;
            let list: Vec<String> = question.columns.iter().map(|name| format!("{}::text", quoted(name))).collect();
            let prepared = connection.prepare(&statement(question.query, &list.join(", ")))?;
            work(&mut connection, prepared, kinds)
        });
        connection.close(outcome.is_ok());
        outcome.map_err(|failure| query_error(failure, question))
    }
}

/// What a query fails with: on the way, or by what it returned.
enum EngineFailure {
    Server(Failure),
    Result(QueryError),
}

impl From<Failure> for EngineFailure {
    fn from(failure: Failure) -> Self {
        Self::Server(failure)
    }
}

impl From<QueryError> for EngineFailure {
    fn from(error: QueryError) -> Self {
        Self::Result(error)
    }
}

fn query_error(failure: EngineFailure, question: &Question<'_>) -> QueryError {
    match failure {
        EngineFailure::Result(error) => error,
        EngineFailure::Server(Failure { code: Some(code), .. }) if code == SqlState::QUERY_CANCELED => {
            QueryError::timeout(question.time)
        }
        EngineFailure::Server(Failure { message, detail, may_pass, .. }) => {
            QueryError { message, detail, may_pass, is_of_batches: false }
        }
    }
}

/// The query as a subquery. It stands on lines of its own: its last one may end in a comment.
fn statement(query: &str, columns: &str) -> String {
    let query = query.trim_end().trim_end_matches(';').replace(BATCHES, RELATION);
    format!(
        "WITH {RELATION} (batchid, courseid) AS (SELECT * FROM unnest($1::text[], $2::text[])) SELECT {columns} FROM \
         (\n{query}\n) AS exhaust_query"
    )
}

/// The kinds of the columns that are asked for.
fn kinds(statement: &Statement, question: &Question<'_>) -> Result<Vec<ValueKind>, Failure> {
    let kind = |name: &&str| {
        let mut found = statement.columns().iter().filter(|column| column.name() == *name);
        match (found.next(), found.next()) {
            (Some(column), None) => Ok(kind_of(column.type_())),
            (None, _) => Err(Failure::lasting(format!("the query's result has no column {name}"))),
            (Some(_), Some(_)) => Err(Failure::lasting(format!("the query's result has two columns {name}"))),
        }
    };
    question.columns.iter().map(kind).collect()
}

/// <https://www.postgresql.org/docs/current/datatype.html>
fn kind_of(of: &Type) -> ValueKind {
    match *of {
        Type::INT2 | Type::INT4 | Type::INT8 => ValueKind::Int,
        Type::NUMERIC | Type::FLOAT4 | Type::FLOAT8 => ValueKind::Number,
        Type::DATE => ValueKind::Date,
        Type::TIMESTAMP | Type::TIMESTAMPTZ => ValueKind::Time,
        _ => ValueKind::Text,
    }
}

fn cell<'r>(row: &'r Row, at: usize, question: &Question<'_>) -> Result<Option<&'r str>, QueryError> {
    row.try_get(at).map_err(|error| QueryError {
        detail: format!("column {}: {error}", question.columns[at]),
        ..QueryError::of_batches(format!("a value of column {} is not UTF-8", question.columns[at]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_stands_in_the_statement_as_it_is_and_batches_are_parameters() {
        assert_eq!(
            statement("SELECT * FROM {batches} -- all of them;\n ; \n", "\"a\"::text"),
            "WITH exhaust_batches (batchid, courseid) AS (SELECT * FROM unnest($1::text[], $2::text[])) SELECT \
             \"a\"::text FROM (\nSELECT * FROM exhaust_batches -- all of them;\n \n) AS exhaust_query"
        );
    }
}
