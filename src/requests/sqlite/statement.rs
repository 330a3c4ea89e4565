//! Statements whose conditions are put together at run time, with the values that they bind.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Double, Text};
use diesel::sqlite::{Sqlite, SqliteConnection};
use serde_json::json;

/// A value of a statement.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Blob(Vec<u8>),
    Integer(i64),
    Real(f64),
}

/// A statement and its values.
#[derive(Clone, Debug, Default)]
pub(super) struct Statement {
    pub(super) sql: String,
    values: Vec<Value>,
}

impl Statement {
    /// The place of a value in the text.
    pub(super) fn value(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("?{}", self.values.len())
    }

    pub(super) fn list(&mut self, list: impl serde::Serialize) -> String {
        let json = self.value(Value::Text(json!(list).to_string()));
        format!("(SELECT value FROM json_each({json}))")
    }

    pub(super) fn load<T>(self, conn: &mut SqliteConnection) -> QueryResult<Vec<T>>
    where
        T: QueryableByName<Sqlite> + 'static,
    {
        let mut query = sql_query(self.sql).into_boxed::<Sqlite>();
        for value in self.values {
            query = match value {
                Value::Text(text) => query.bind::<Text, _>(text),
                Value::Blob(bytes) => query.bind::<Binary, _>(bytes),
                Value::Integer(number) => query.bind::<BigInt, _>(number),
                Value::Real(number) => query.bind::<Double, _>(number),
            };
        }
        query.load(conn)
    }
}
