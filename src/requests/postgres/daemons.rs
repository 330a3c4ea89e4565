//! Heartbeats: one row for each daemon.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};

use super::super::daemons::{Heartbeat, KEEP_HEARTBEAT, KNOWS, StoredDaemon, list, milliseconds, whole};
use super::super::text::clean;
use super::super::times::microseconds;
use super::columns::now;

const BEAT: &str = concat!(
    "INSERT INTO exhaust_daemon (id, name, pid, version, started, seen, lease_ms, claims, memory_used, memory_allowed, jobs,
        config_hash, knows)
    SELECT left($2, 150), $3, $4, $5, at, at, $6, $7, $8, $9, $10, $11, $12 FROM (SELECT ",
    now!(),
    " AS at) AS now
    ON CONFLICT (id) DO UPDATE SET seen = excluded.seen, lease_ms = excluded.lease_ms, claims = excluded.claims,
        memory_used = excluded.memory_used, memory_allowed = excluded.memory_allowed, jobs = excluded.jobs,
        config_hash = excluded.config_hash, knows = excluded.knows"
);

/// Two daemons that remove old heartbeats at the same time do not wait for each other.
const CLEAN: &str = concat!(
    "DELETE FROM exhaust_daemon WHERE id IN (SELECT id FROM exhaust_daemon WHERE seen < ",
    now!(),
    " - $2::bigint * interval '1 microsecond' FOR UPDATE SKIP LOCKED)"
);

/// The other daemons that have ended: only the last one is of interest.
const FORGET: &str = "DELETE FROM exhaust_daemon WHERE id IN
    (SELECT id FROM exhaust_daemon WHERE lease_ms = 0 AND id <> left($1, 150) FOR UPDATE SKIP LOCKED)";

/// A lease of nothing stands for the end: to daemons of any version such a row is one of the dead.
const LEAVE: &str = concat!(
    "UPDATE exhaust_daemon SET seen = ",
    now!(),
    ", lease_ms = 0, claims = 0, memory_used = 0 WHERE id = left($2, 150)"
);

const DAEMONS: &str = concat!(
    "SELECT id::text, name::text, pid::text, version::text, started::text, seen::text, lease_ms::text, claims::text,
        memory_used::text, memory_allowed::text, jobs::text, config_hash::text, knows::text, ",
    now!(),
    "::text AS read FROM exhaust_daemon ORDER BY seen DESC LIMIT 1000"
);

pub(super) fn beat(conn: &mut PgConnection, shift: i64, heartbeat: &Heartbeat) -> QueryResult<()> {
    sql_query(BEAT)
        .bind::<BigInt, _>(shift)
        .bind::<Text, _>(clean(&heartbeat.id))
        .bind::<Text, _>(clean(&heartbeat.name))
        .bind::<BigInt, _>(i64::from(heartbeat.pid))
        .bind::<Text, _>(clean(&heartbeat.version))
        .bind::<BigInt, _>(milliseconds(heartbeat.lease))
        .bind::<BigInt, _>(whole(heartbeat.claims))
        .bind::<BigInt, _>(whole(heartbeat.memory_used))
        .bind::<BigInt, _>(whole(heartbeat.memory_allowed))
        .bind::<Text, _>(list(&heartbeat.jobs))
        .bind::<Text, _>(clean(&heartbeat.config_hash))
        .bind::<Text, _>(KNOWS)
        .execute(conn)?;
    sql_query(CLEAN).bind::<BigInt, _>(shift).bind::<BigInt, _>(microseconds(KEEP_HEARTBEAT)).execute(conn).map(drop)
}

pub(super) fn leave(conn: &mut PgConnection, shift: i64, id: &str) -> QueryResult<()> {
    sql_query(FORGET).bind::<Text, _>(clean(id)).execute(conn)?;
    sql_query(LEAVE).bind::<BigInt, _>(shift).bind::<Text, _>(clean(id)).execute(conn).map(drop)
}

pub(super) fn daemons(conn: &mut PgConnection, shift: i64) -> QueryResult<Vec<StoredDaemon>> {
    sql_query(DAEMONS).bind::<BigInt, _>(shift).load(conn)
}
