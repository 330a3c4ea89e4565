//! Statements that each connection prepares once. diesel prepares a `sql_query` for every call, which costs a round trip and a
//! plan; that is saved for the statements that daemons and clients run all the time.

use std::borrow::Cow;

use diesel::backend::Backend;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::query_dsl::RunQueryDsl;
use diesel::result::QueryResult;
use diesel::sql_types::Untyped;

/// A statement with numbered places for its values (`$1`, `?1`), and a tuple of these values.
pub(super) struct Prepared<B> {
    sql: Cow<'static, str>,
    values: B,
}

/// `values` are expressions: `text.into_sql::<Text>()`. The number of different texts must be small: each stays prepared for
/// as long as its connection lives.
pub(super) fn prepared<B>(sql: impl Into<Cow<'static, str>>, values: B) -> Prepared<B> {
    Prepared { sql: sql.into(), values }
}

/// The cache of prepared statements knows it by its text.
impl<B> QueryId for Prepared<B> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<B, DB> QueryFragment<DB> for Prepared<B>
where
    DB: Backend,
    B: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql(&self.sql);
        // diesel binds a value only where it writes the value's place. The text has these places already, so diesel's are
        // written into a comment.
        out.push_sql(" -- ");
        self.values.walk_ast(out)
    }
}

impl<B> Query for Prepared<B> {
    type SqlType = Untyped;
}

impl<B, Conn> RunQueryDsl<Conn> for Prepared<B> {}
