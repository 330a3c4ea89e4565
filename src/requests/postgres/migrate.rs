//! Adds to the tables what this program needs, while others use them.
//!
//! What is missing is read from the catalogue, which takes no lock on the table and needs no ownership: a role that may
//! only read and write rows can start where an administrator has migrated. Starts at the same time are serialised by an
//! advisory lock that is *polled*: a session that blocks in `pg_advisory_lock` holds a snapshot, `CREATE INDEX
//! CONCURRENTLY` waits for all snapshots, and the two would wait for each other.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Bool, Text};

use super::super::failures;
use super::super::migrations::{Change, Object, Step, missing, steps};
use super::super::types::QueueError;
use super::connect::SESSION;

/// The files under `migrations/`, in order.
pub(in crate::requests) const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/postgres/2026-11-24-000001_original_table/up.sql"),
    include_str!("../../../migrations/postgres/2026-11-24-000002_our_columns/up.sql"),
    include_str!("../../../migrations/postgres/2026-11-24-000003_indexes/up.sql"),
    include_str!("../../../migrations/postgres/2026-11-24-000004_slots/up.sql"),
    include_str!("../../../migrations/postgres/2026-11-24-000005_allowed_channels/up.sql"),
    include_str!("../../../migrations/postgres/2026-11-24-000006_finished/up.sql"),
    include_str!("../../../migrations/postgres/2026-11-28-000007_line/up.sql"),
    include_str!("../../../migrations/postgres/2026-11-28-000008_encryption_mark/up.sql"),
    include_str!("../../../migrations/postgres/2026-11-28-000009_room/up.sql"),
    include_str!("../../../migrations/postgres/2026-11-28-000010_newest_by_state/up.sql"),
    include_str!("../../../migrations/postgres/2026-11-30-000011_daemons/up.sql"),
    include_str!("../../../migrations/postgres/2026-11-30-000012_finished_elsewhere/up.sql"),
    include_str!("../../../migrations/postgres/2026-12-01-000013_installation/up.sql"),
    include_str!("../../../migrations/postgres/2026-12-01-000015_parts/up.sql"),
    include_str!("../../../migrations/postgres/2026-12-01-000016_filter/up.sql"),
    include_str!("../../../migrations/postgres/2026-12-01-000017_pauses/up.sql"),
    include_str!("../../../migrations/postgres/2026-12-01-000018_audit/up.sql"),
];

/// "exhaust" in ASCII: the advisory lock's number, one per database.
const LOCK: i64 = 0x0065_7868_6175_7374;
/// How often the lock is tried, and the time in between: a minute, then the caller may try again.
const TRIES: u32 = 600;
const APART: Duration = Duration::from_millis(100);
/// Building an index on a large table takes long, and waits for earlier transactions. It blocks nobody meanwhile, but a
/// forgotten transaction must not keep the daemon from starting for ever.
const FOR_INDEXES: &str = "SET statement_timeout = 0; SET lock_timeout = '60s'";

/// The name of [`look`] in error messages.
pub(super) const LOOK: &str = "look at job_request";

/// Runs the missing statements on a connection with a session of its own: the lock belongs to the session, and an index cannot
/// be built concurrently within a transaction.
pub(super) fn migrate(conn: &mut PgConnection) -> Result<Vec<String>, QueueError> {
    lock(conn)?;
    let done = run_missing(conn);
    // In any case, because a pooler of sessions may give the session to others.
    let tidied = conn
        .batch_execute(SESSION)
        .and_then(|()| sql_query("SELECT pg_advisory_unlock($1)").bind::<BigInt, _>(LOCK).execute(conn))
        .map_err(|e| failed("unlock", &e));
    done.and_then(|done| tidied.map(|_| done))
}

/// Under the lock: another daemon may have run everything meanwhile.
fn run_missing(conn: &mut PgConnection) -> Result<Vec<String>, QueueError> {
    let statements = missing_statements(conn)?;
    for statement in &statements {
        let session = if statement.contains("CONCURRENTLY") { FOR_INDEXES } else { SESSION };
        conn.batch_execute(session)
            .and_then(|()| conn.batch_execute(statement))
            .map_err(|e| failed(&format!("migrate: {statement}"), &e))?;
    }
    match missing_statements(conn)?.first() {
        None => Ok(statements),
        Some(left) => Err(QueueError::Refused(format!("migrate: ran, and did not do what it says: {left}"))),
    }
}

fn lock(conn: &mut PgConnection) -> Result<(), QueueError> {
    #[derive(QueryableByName)]
    struct Locked {
        #[diesel(sql_type = Bool)]
        locked: bool,
    }
    for _ in 0..TRIES {
        let got: Locked = sql_query("SELECT pg_try_advisory_lock($1) AS locked")
            .bind::<BigInt, _>(LOCK)
            .get_result(conn)
            .map_err(|e| failed("lock", &e))?;
        if got.locked {
            return Ok(());
        }
        thread::sleep(APART);
    }
    Err(QueueError::Unreachable("migrate: another daemon has been migrating for a minute".to_owned()))
}

#[derive(QueryableByName)]
struct CatalogueRow {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    of: String,
    #[diesel(sql_type = Text)]
    name: String,
}

/// `to_regclass` finds the tables where our statements find them, through the search path.
const CATALOGUE: &str = "WITH ours AS (
        SELECT name, to_regclass(name) AS id FROM (VALUES ('job_request'), ('exhaust_slot'), ('exhaust_daemon'), ('exhaust_installation'), ('job_request_part'),
            ('exhaust_pause'), ('exhaust_audit')) AS t (name)
    )
    SELECT 'table' AS kind, '' AS of, name FROM ours WHERE id IS NOT NULL
    UNION ALL
    SELECT 'column', ours.name, a.attname::text FROM ours JOIN pg_attribute AS a ON a.attrelid = ours.id
        WHERE a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT CASE WHEN i.indisvalid THEN 'index' ELSE 'broken index' END, format('%I', n.nspname), c.relname::text
        FROM ours JOIN pg_index AS i ON i.indrelid = ours.id JOIN pg_class AS c ON c.oid = i.indexrelid
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
    UNION ALL
    SELECT 'parameter', ours.name, split_part(option, '=', 1)
        FROM ours JOIN pg_class AS c ON c.oid = ours.id CROSS JOIN unnest(c.reloptions) AS option";

/// The statements that are missing. Invalid remains of an interrupted index build are dropped first.
pub(super) fn look(conn: &mut PgConnection) -> QueryResult<Vec<String>> {
    let found: Vec<CatalogueRow> = sql_query(CATALOGUE).load(conn)?;
    let there: BTreeSet<Object> = found.iter().filter_map(object).collect();
    let mut statements = Vec::new();
    for Step { change, sql } in missing(steps(MIGRATIONS), &there) {
        let remains =
            |f: &&CatalogueRow| f.kind == "broken index" && change == Change::Adds(Object::Index(f.name.clone()));
        if let Some(remains) = found.iter().find(remains) {
            statements.push(format!("DROP INDEX CONCURRENTLY IF EXISTS {}.{}", remains.of, remains.name));
        }
        statements.push(sql);
    }
    Ok(statements)
}

fn object(found: &CatalogueRow) -> Option<Object> {
    match found.kind.as_str() {
        "table" => Some(Object::Table(found.name.clone())),
        "column" => Some(Object::Column(found.of.clone(), found.name.clone())),
        "index" => Some(Object::Index(found.name.clone())),
        "broken index" => Some(Object::Remains(found.name.clone())),
        "parameter" => Some(Object::Parameter(found.of.clone(), found.name.clone())),
        _ => None,
    }
}

fn missing_statements(conn: &mut PgConnection) -> Result<Vec<String>, QueueError> {
    look(conn).map_err(|e| failed(LOOK, &e))
}

fn failed(what: &str, error: &diesel::result::Error) -> QueueError {
    failures::statement(what, error)
}
