//! What tells the daemons of this table from others, and which claims they hold.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Text;

#[derive(QueryableByName)]
struct Word {
    #[diesel(sql_type = Text)]
    word: String,
}

/// The id in force; `fresh` if there was none.
pub(super) fn installation(conn: &mut PgConnection, fresh: &str) -> QueryResult<String> {
    let insert = "INSERT INTO exhaust_installation (one, id) VALUES (1, $1) ON CONFLICT (one) DO NOTHING";
    sql_query(insert).bind::<Text, _>(fresh).execute(conn)?;
    sql_query("SELECT id::text AS word FROM exhaust_installation").get_result(conn).map(|row: Word| row.word)
}

/// Of rows that were written by others too: what is no text of ours is no token.
pub(super) fn held_claims(conn: &mut PgConnection) -> QueryResult<Vec<String>> {
    let held = "SELECT DISTINCT lease_owner::text AS word FROM job_request
        WHERE status = 'PROCESSING' AND tag >= '' AND lease_owner IS NOT NULL
        UNION SELECT token FROM job_request_part WHERE result IS NULL AND token IS NOT NULL";
    sql_query(held).load(conn).map(|rows: Vec<Word>| rows.into_iter().map(|row| row.word).collect())
}
