//! Adds to the file's tables what this program needs.

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;

use super::super::failures;
use super::super::migrations::{Object, Step, missing, steps};
use super::super::types::QueueError;

/// The files under `migrations/`, in order.
pub(in crate::requests) const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/sqlite/2026-11-24-000001_original_table/up.sql"),
    include_str!("../../../migrations/sqlite/2026-11-24-000002_our_columns/up.sql"),
    include_str!("../../../migrations/sqlite/2026-11-24-000003_indexes/up.sql"),
    include_str!("../../../migrations/sqlite/2026-11-24-000004_slots/up.sql"),
    include_str!("../../../migrations/sqlite/2026-11-24-000005_allowed_channels/up.sql"),
    include_str!("../../../migrations/sqlite/2026-11-24-000006_finished/up.sql"),
    include_str!("../../../migrations/sqlite/2026-11-28-000007_line/up.sql"),
    include_str!("../../../migrations/sqlite/2026-11-28-000008_encryption_mark/up.sql"),
    include_str!("../../../migrations/sqlite/2026-11-30-000011_daemons/up.sql"),
    include_str!("../../../migrations/sqlite/2026-11-30-000012_finished_elsewhere/up.sql"),
    include_str!("../../../migrations/sqlite/2026-12-01-000013_installation/up.sql"),
    include_str!("../../../migrations/sqlite/2026-12-01-000015_parts/up.sql"),
    include_str!("../../../migrations/sqlite/2026-12-01-000016_filter/up.sql"),
    include_str!("../../../migrations/sqlite/2026-12-01-000017_pauses/up.sql"),
    include_str!("../../../migrations/sqlite/2026-12-01-000018_audit/up.sql"),
];

/// What is missing is read first, so that a second start does not wait for a writer. The immediate transaction lets only one
/// start at a time change the file, completely or not at all.
pub(super) fn migrate(conn: &mut SqliteConnection, dry_run: bool) -> Result<Vec<String>, QueueError> {
    let failed = |error: diesel::result::Error| failures::statement("migrate job_request", &error);
    let steps = look(conn).map_err(failed)?;
    if dry_run || steps.is_empty() {
        return Ok(steps);
    }
    conn.immediate_transaction(|conn| {
        let steps = look(conn)?;
        for sql in &steps {
            sql_query(sql).execute(conn)?;
        }
        Ok(steps)
    })
    .map_err(failed)
}

#[derive(QueryableByName)]
struct CatalogueRow {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    kind: String,
    /// Of a column.
    #[diesel(sql_type = Text)]
    of_table: String,
}

/// Names are compared in lower case, as SQLite does.
const CATALOGUE: &str =
    "SELECT type AS kind, '' AS of_table, lower(name) AS name FROM sqlite_schema WHERE type IN ('table', 'index')
    UNION ALL SELECT 'column', lower(made.name), lower(c.name)
        FROM sqlite_schema AS made, pragma_table_info(made.name) AS c WHERE made.type = 'table'";

fn look(conn: &mut SqliteConnection) -> QueryResult<Vec<String>> {
    let found: Vec<CatalogueRow> = sql_query(CATALOGUE).load(conn)?;
    let there: BTreeSet<Object> = found.into_iter().filter_map(object).collect();
    Ok(missing(steps(MIGRATIONS), &there).into_iter().map(|Step { sql, .. }| sql).collect())
}

fn object(found: CatalogueRow) -> Option<Object> {
    match found.kind.as_str() {
        "table" => Some(Object::Table(found.name)),
        "index" => Some(Object::Index(found.name)),
        "column" => Some(Object::Column(found.of_table, found.name)),
        _ => None,
    }
}
