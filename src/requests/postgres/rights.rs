//! What the server and the role allow, read from the catalogue: no row is touched, no message in the language of the server is
//! parsed, and the answer names the missing GRANT.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Bool, Text};

use super::super::failures;
use super::super::types::QueueError;

#[derive(QueryableByName)]
struct Reason {
    #[diesel(sql_type = Text)]
    reason: String,
}

/// Why this session cannot write at all: a standby, or `default_transaction_read_only`, which may be set for a server, a database
/// or a role.
macro_rules! read_only {
    () => {
        "SELECT 0 AS place, CASE
            WHEN pg_is_in_recovery() THEN 'the server is a standby'
            WHEN current_setting('transaction_read_only') = 'on' THEN
                'transactions are read-only (default_transaction_read_only is on)'
            END AS reason"
    };
}

/// A right on one column is enough: grants by column are assumed to name the right columns. `$1`: rows are removed; parts are in any case.
const HINDRANCES: &str = concat!(
    "WITH wanted (place, name, privilege) AS (VALUES
        (1, 'job_request', 'SELECT'), (2, 'job_request', 'INSERT'), (3, 'job_request', 'UPDATE'),
        (4, 'job_request', 'DELETE'),
        (5, 'exhaust_slot', 'SELECT'), (6, 'exhaust_slot', 'INSERT'), (7, 'exhaust_slot', 'UPDATE'),
        (8, 'job_request_part', 'SELECT'), (9, 'job_request_part', 'INSERT'), (10, 'job_request_part', 'UPDATE'),
        (11, 'job_request_part', 'REMOVE'), (12, 'exhaust_pause', 'SELECT'),
        (13, 'exhaust_audit', 'SELECT'), (14, 'exhaust_audit', 'INSERT'), (15, 'exhaust_audit', 'REMOVE')
    ), lacking AS (
        SELECT place, name, privilege FROM wanted CROSS JOIN LATERAL to_regclass(name) AS id
        WHERE id IS NOT NULL AND NOT CASE privilege
            WHEN 'DELETE' THEN NOT $1 OR has_table_privilege(id, 'DELETE')
            WHEN 'REMOVE' THEN has_table_privilege(id, 'DELETE')
            ELSE has_any_column_privilege(id, privilege) END
    )
    SELECT reason FROM (",
    read_only!(),
    " UNION ALL
        SELECT min(place), format('missing right: GRANT %s ON %s TO %I',
            string_agg(replace(privilege, 'REMOVE', 'DELETE'), ', ' ORDER BY place), name, current_user)
        FROM lacking GROUP BY name
    ) AS hindrances WHERE reason IS NOT NULL ORDER BY place"
);

/// The reasons why this role cannot write what a daemon writes; empty where it can. `removes`: with DELETE, for retention.
pub(super) fn hindrances(conn: &mut PgConnection, removes: bool) -> QueryResult<Vec<String>> {
    reasons(sql_query(HINDRANCES).bind::<Bool, _>(removes).load(conn))
}

/// A new table needs the right to create in its schema. A new column and a new or removed index need the ownership of the table,
/// and an index also the right to create in the schema.
const TO_MIGRATE: &str = concat!(
    "WITH ours AS (
        SELECT c.oid, c.relname, c.relowner, c.relnamespace FROM pg_class AS c WHERE c.oid = to_regclass('job_request')
    ), schemas AS (
        SELECT n.oid, n.nspname FROM pg_namespace AS n
        WHERE $1 AND n.nspname = current_schema() OR $2 AND n.oid IN (SELECT relnamespace FROM ours)
    )
    SELECT reason FROM (",
    read_only!(),
    " UNION ALL
        SELECT 1, format('%I belongs to %I: run `exhaustd migrate` as %I, or GRANT %I TO %I',
            relname, pg_get_userbyid(relowner), pg_get_userbyid(relowner), pg_get_userbyid(relowner), current_user)
        FROM ours WHERE $2 AND NOT pg_has_role(relowner, 'USAGE')
    UNION ALL
        SELECT 2, format('missing right: GRANT CREATE ON SCHEMA %I TO %I', nspname, current_user)
        FROM schemas WHERE NOT has_schema_privilege(oid, 'CREATE')
    UNION ALL
        SELECT 3, format('no schema of the search path (%s) is there for %I', current_setting('search_path'), current_user)
        WHERE current_schema() IS NULL
    ) AS hindrances WHERE reason IS NOT NULL ORDER BY place"
);

/// Whether this connection's role may run these statements.
///
/// # Errors
/// [`QueueError::Unfit`] with what hinders it.
pub(super) fn may_migrate(conn: &mut PgConnection, statements: &[String]) -> Result<(), QueueError> {
    let hindrances = to_migrate(conn, statements).map_err(|error| failures::statement("look at rights", &error))?;
    if hindrances.is_empty() { Ok(()) } else { Err(QueueError::Unfit(hindrances.join("; "))) }
}

fn to_migrate(conn: &mut PgConnection, statements: &[String]) -> QueryResult<Vec<String>> {
    let is_table = |statement: &&String| statement.starts_with("CREATE TABLE");
    let new_tables = statements.iter().filter(is_table).count();
    // A table that is created now belongs to this role.
    let makes_requests = statements.iter().any(|statement| statement.contains("job_request ("));
    let changes = statements.len() > new_tables && !(makes_requests && is_absent(conn)?);
    reasons(sql_query(TO_MIGRATE).bind::<Bool, _>(new_tables > 0).bind::<Bool, _>(changes).load(conn))
}

fn is_absent(conn: &mut PgConnection) -> QueryResult<bool> {
    let names: Vec<Reason> =
        sql_query("SELECT 'job_request' AS reason WHERE to_regclass('job_request') IS NOT NULL").load(conn)?;
    Ok(names.is_empty())
}

fn reasons(rows: QueryResult<Vec<Reason>>) -> QueryResult<Vec<String>> {
    Ok(rows?.into_iter().map(|row| row.reason).collect())
}
