//! PostgreSQL as the engine of reports in SQL: the operator's query as a subquery, in a read-only transaction.
//!
//! Batches are bound as two arrays; columns come as text, which gets the spelling that every engine's values have.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row, Statement};

use super::PostgresSource;
use super::connect::BEGIN;
use super::connection::Connection;
use super::copy::quoted;
use super::failure::Failure;
use crate::sources::query_engine::{Explained, QueryEngine, QueryError, Question, RELATION, TakeRow, spelling};
use crate::tables::queried::ValueKind;

/// How much longer than a query may take its answer is awaited: the server ends it by itself.
const GRACE: Duration = Duration::from_secs(10);

impl QueryEngine for PostgresSource {
    fn prepare(&self, question: &Question<'_>) -> Result<Vec<ValueKind>, QueryError> {
        self.with_query(question, |_, Prepared { columns, .. }| Ok(kinds(&columns)))
    }

    fn explain(&self, question: &Question<'_>) -> Result<Explained, QueryError> {
        let batches = Batches::of(question);
        self.with_query(question, |connection, Prepared { text, .. }| {
            let plan = connection.query(&format!("EXPLAIN {text}"), &batches.parameters(question))?;
            let plan = plan.iter().map(|line| line.try_get(0).unwrap_or_default()).collect();
            Ok(Explained { statement: text, plan })
        })
    }

    fn run(&self, question: &Question<'_>, take: &mut TakeRow<'_>) -> Result<Vec<ValueKind>, QueryError> {
        let asked = Instant::now();
        let batches = Batches::of(question);
        self.with_query(question, |connection, Prepared { statement, columns, .. }| {
            let parameters = batches.parameters(question);
            connection.interrupt_when(Arc::clone(question.given_up));
            connection
                .rows(&statement, &parameters, &mut |row| {
                    question.in_time(asked)?;
                    let cells = columns.iter().enumerate().map(|(at, of)| cell(row, at, of, question));
                    let cells = cells.collect::<Result<Vec<_>, _>>()?;
                    let texts: Vec<Option<&str>> = cells.iter().map(Option::as_deref).collect();
                    take(&texts).map_err(EngineFailure::Result)
                })
                // It was prepared: what the server refuses for these batches is in their data.
                .map_err(|failure| match failure {
                    EngineFailure::Server(failure) => EngineFailure::Rows(failure),
                    other => other,
                })?;
            Ok(kinds(&columns))
        })
    }
}

impl PostgresSource {
    /// Runs `work` with the prepared statement, in a transaction of its own.
    fn with_query<T>(
        &self,
        question: &Question<'_>,
        work: impl FnOnce(&mut Connection, Prepared) -> Result<T, EngineFailure>,
    ) -> Result<T, QueryError> {
        let mut connection = self.server.connect().map_err(|failure| query_error(failure.into(), question))?;
        // While it runs a query sends nothing.
        connection.set_silence(question.time + GRACE);
        let begin = format!(
            "{BEGIN}; SET LOCAL transaction_read_only = on; SET LOCAL statement_timeout = {}",
            question.time.as_millis().clamp(1, i32::MAX as u128)
        );
        let outcome = connection.execute(&begin).map_err(EngineFailure::from).and_then(|()| {
            let columns = columns(&connection.prepare(&statement(question, "*"))?, question)?;
            let list: Vec<String> = question.columns.iter().map(|name| format!("{}::text", quoted(name))).collect();
            let text = statement(question, &list.join(", "));
            let statement = connection.prepare(&text)?;
            if statement.params().len() != question.values.len() + 2 {
                let what = "a placeholder of the query stands where no value can: in quotes or in a comment";
                return Err(Failure::lasting(what.to_owned()).into());
            }
            work(&mut connection, Prepared { text, statement, columns })
        });
        connection.close(outcome.is_ok());
        outcome.map_err(|failure| query_error(failure, question))
    }
}

/// A query that the server has looked at.
struct Prepared {
    text: String,
    statement: Statement,
    /// What the types of its columns are.
    columns: Vec<Type>,
}

/// The batches of a question as two arrays.
struct Batches<'a> {
    ids: Vec<&'a str>,
    courses: Vec<&'a str>,
}

impl<'a> Batches<'a> {
    fn of(question: &Question<'a>) -> Self {
        let (ids, courses) = question.batches.iter().copied().unzip();
        Self { ids, courses }
    }

    /// What stands for them, then for the values of the request.
    fn parameters<'p>(&'p self, question: &'p Question<'_>) -> Vec<&'p (dyn ToSql + Sync)> {
        let values = question.values.iter().map(|(_, value)| value as &(dyn ToSql + Sync));
        [&self.ids as &(dyn ToSql + Sync), &self.courses].into_iter().chain(values).collect()
    }
}

/// What a query fails with: on the way, while it ran, or by what it returned.
enum EngineFailure {
    Server(Failure),
    Rows(Failure),
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

impl EngineFailure {
    /// What the server said.
    fn server(&self) -> Option<&Failure> {
        match self {
            Self::Server(failure) | Self::Rows(failure) => Some(failure),
            Self::Result(_) => None,
        }
    }
}

fn query_error(failure: EngineFailure, question: &Question<'_>) -> QueryError {
    let is_cancelled = |failure: &Failure| failure.code == Some(SqlState::QUERY_CANCELED);
    if failure.server().is_some_and(is_cancelled) && !(question.given_up)() {
        return QueryError::timeout(question.time);
    }
    match failure {
        EngineFailure::Result(error) => error,
        EngineFailure::Server(Failure { message, detail, may_pass, .. }) => {
            QueryError { detail, may_pass, ..QueryError::lasting(message) }
        }
        EngineFailure::Rows(Failure { message, detail, may_pass, .. }) => {
            QueryError { detail, may_pass, is_of_batches: !may_pass, ..QueryError::of_batches(message) }
        }
    }
}

/// The query as a subquery.
fn statement(question: &Question<'_>, columns: &str) -> String {
    format!(
        "WITH {RELATION} (batchid, courseid) AS (SELECT * FROM unnest($1::text[], $2::text[])) SELECT {columns} FROM {}",
        question.subquery(|at, _| format!("${}::text", at + 3))
    )
}

/// The types of the columns that are asked for.
fn columns(statement: &Statement, question: &Question<'_>) -> Result<Vec<Type>, Failure> {
    let of = |name: &&str| {
        let mut found = statement.columns().iter().filter(|column| column.name() == *name);
        match (found.next(), found.next()) {
            (Some(column), None) => Ok(column.type_().clone()),
            (None, _) => Err(Failure::lasting(format!("the query's result has no column {name}"))),
            (Some(_), Some(_)) => Err(Failure::lasting(format!("the query's result has two columns {name}"))),
        }
    };
    question.columns.iter().map(of).collect()
}

fn kinds(columns: &[Type]) -> Vec<ValueKind> {
    columns.iter().map(kind_of).collect()
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

fn cell<'r>(row: &'r Row, at: usize, of: &Type, question: &Question<'_>) -> Result<Option<Cow<'r, str>>, QueryError> {
    let text: Result<Option<&str>, _> = row.try_get(at);
    let text = text.map_err(|error| QueryError {
        detail: format!("column {}: {error}", question.columns[at]),
        ..QueryError::of_batches(format!("a value of column {} is not UTF-8", question.columns[at]))
    })?;
    Ok(text.map(|text| spelled(text, of)))
}

/// Floats are read and written again: of the shortest spellings of one, PostgreSQL does not always choose the same as others.
fn spelled<'t>(text: &'t str, of: &Type) -> Cow<'t, str> {
    match *of {
        Type::NUMERIC => spelling::decimal(text).into(),
        Type::FLOAT4 => text.parse::<f32>().map_or(text.into(), |value| spelling::float(value).into()),
        Type::FLOAT8 => text.parse::<f64>().map_or(text.into(), |value| spelling::float(value).into()),
        Type::TIMESTAMPTZ => spelling::time(text).into(),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::GivenUp;

    #[test]
    fn spellings() {
        let spelled = |text, of| spelled(text, &of).into_owned();
        assert_eq!(spelled("1.50", Type::NUMERIC), "1.5");
        assert_eq!(spelled("9.999999999999999e+22", Type::FLOAT8), "100000000000000000000000");
        assert_eq!(spelled("1e+23", Type::FLOAT8), "100000000000000000000000");
        assert_eq!(spelled("0.1", Type::FLOAT4), "0.1");
        assert_eq!(spelled("NaN", Type::FLOAT8), "NaN");
        assert_eq!(spelled("-Infinity", Type::FLOAT4), "-Infinity");
        assert_eq!(spelled("2020-02-05 10:00:00+00", Type::TIMESTAMPTZ), "2020-02-05 10:00:00");
        assert_eq!(spelled("1.50", Type::TEXT), "1.50");
    }

    #[test]
    fn the_query_stands_in_the_statement_as_it_is_and_batches_are_parameters() {
        let given_up: GivenUp = Arc::new(|| false);
        let question = Question {
            query: "SELECT {request.tag} FROM {batches} -- all of them;\n ; \n",
            columns: &[],
            batches: &[],
            values: &[("{request.tag}", Some("t"))],
            time: GRACE,
            given_up: &given_up,
        };
        assert_eq!(
            statement(&question, "\"a\"::text"),
            "WITH exhaust_batches (batchid, courseid) AS (SELECT * FROM unnest($1::text[], $2::text[])) SELECT \
             \"a\"::text FROM (\nSELECT $3::text FROM exhaust_batches -- all of them;\n \n) AS exhaust_query"
        );
    }
}
