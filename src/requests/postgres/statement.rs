//! Statements whose conditions are put together at run time, with the values that they bind.

use diesel::pg::Pg;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, Text};

use super::super::text::clean;

/// A value of a statement.
enum Value {
    Text(String),
    Texts(Vec<String>),
}

/// The values of a statement, by number.
#[derive(Default)]
pub(super) struct Values(Vec<Value>);

impl Values {
    pub(super) fn text(&mut self, text: &str) -> String {
        self.0.push(Value::Text(clean(text)));
        format!("${}::text", self.0.len())
    }

    pub(super) fn texts(&mut self, texts: impl IntoIterator<Item = String>) -> String {
        self.0.push(Value::Texts(texts.into_iter().map(|text| clean(&text)).collect()));
        format!("${}::text[]", self.0.len())
    }
}

/// A statement and its values.
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) values: Values,
}

impl Statement {
    pub(super) fn load<T>(self, conn: &mut PgConnection) -> QueryResult<Vec<T>>
    where
        T: QueryableByName<Pg> + 'static,
    {
        let mut query = sql_query(self.sql).into_boxed::<Pg>();
        for value in self.values.0 {
            query = match value {
                Value::Text(text) => query.bind::<Text, _>(text),
                Value::Texts(texts) => query.bind::<Array<Text>, _>(texts),
            };
        }
        query.load(conn)
    }
}
