//! Statements that a connection prepares once. diesel prepares a `sql_query` anew each time, which is a round trip and a
//! plan more; what daemons and clients ask all the time is worth keeping.

use std::borrow::Cow;

use diesel::backend::Backend;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::query_dsl::RunQueryDsl;
use diesel::result::QueryResult;
use diesel::sql_types::Untyped;

/// A statement whose text says by number where its values go (`$1`, `?1`), and a tuple of them.
pub(super) struct Prepared<B> {
    sql: Cow<'static, str>,
    values: B,
}

/// `values` are expressions: `text.into_sql::<Text>()`. There must be few texts: each is kept for as long as the
/// connection is.
pub(super) fn prepared<B>(sql: impl Into<Cow<'static, str>>, values: B) -> Prepared<B> {
    Prepared { sql: sql.into(), values }
}

/// None of its own: it is known by its text.
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
        // diesel hands values over only where it writes their place; the text has places already, so these are in a
        // comment.
        out.push_sql(" -- ");
        self.values.walk_ast(out)
    }
}

impl<B> Query for Prepared<B> {
    type SqlType = Untyped;
}

impl<B, Conn> RunQueryDsl<Conn> for Prepared<B> {}
