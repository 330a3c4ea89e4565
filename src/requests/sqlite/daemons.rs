//! Heartbeats: one row for each daemon.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::SqliteConnection;

use super::super::daemons::{Heartbeat, KEEP_HEARTBEAT, KNOWS, StoredDaemon, list, milliseconds, whole};
use super::super::times::sqlite_text;

const BEAT: &str = "INSERT INTO exhaust_daemon (id, name, pid, version, started, seen, lease_ms, claims, memory_used,
        memory_allowed, jobs, config_hash, knows)
    VALUES (substr(?2, 1, 150), ?3, ?4, ?5, ?1, ?1, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
    ON CONFLICT (id) DO UPDATE SET seen = excluded.seen, lease_ms = excluded.lease_ms, claims = excluded.claims,
        memory_used = excluded.memory_used, memory_allowed = excluded.memory_allowed, jobs = excluded.jobs,
        config_hash = excluded.config_hash, knows = excluded.knows";

/// The other daemons that have ended: only the last one is of interest.
const FORGET: &str = "DELETE FROM exhaust_daemon WHERE lease_ms = 0 AND id <> substr(?1, 1, 150)";

/// A lease of nothing stands for the end: to daemons of any version such a row is one of the dead.
const LEAVE: &str = "UPDATE exhaust_daemon SET seen = ?1, lease_ms = 0, claims = 0, memory_used = 0
    WHERE id = substr(?2, 1, 150)";

const DAEMONS: &str =
    "SELECT id, name, pid, version, started, seen, lease_ms, claims, memory_used, memory_allowed, jobs,
        config_hash, knows, ?1 AS read FROM exhaust_daemon ORDER BY seen DESC LIMIT 1000";

pub(super) fn beat(conn: &mut SqliteConnection, now: DateTime<Utc>, heartbeat: &Heartbeat) -> QueryResult<()> {
    let gone = now - TimeDelta::from_std(KEEP_HEARTBEAT).unwrap_or(TimeDelta::MAX);
    conn.immediate_transaction(|conn| {
        sql_query(BEAT)
            .bind::<Text, _>(sqlite_text(now))
            .bind::<Text, _>(&heartbeat.id)
            .bind::<Text, _>(&heartbeat.name)
            .bind::<BigInt, _>(i64::from(heartbeat.pid))
            .bind::<Text, _>(&heartbeat.version)
            .bind::<BigInt, _>(milliseconds(heartbeat.lease))
            .bind::<BigInt, _>(whole(heartbeat.claims))
            .bind::<BigInt, _>(whole(heartbeat.memory_used))
            .bind::<BigInt, _>(whole(heartbeat.memory_allowed))
            .bind::<Text, _>(list(&heartbeat.jobs))
            .bind::<Text, _>(&heartbeat.config_hash)
            .bind::<Text, _>(KNOWS)
            .execute(conn)?;
        sql_query("DELETE FROM exhaust_daemon WHERE seen < ?1")
            .bind::<Text, _>(sqlite_text(gone))
            .execute(conn)
            .map(drop)
    })
}

pub(super) fn leave(conn: &mut SqliteConnection, now: DateTime<Utc>, id: &str) -> QueryResult<()> {
    conn.immediate_transaction(|conn| {
        sql_query(FORGET).bind::<Text, _>(id).execute(conn)?;
        sql_query(LEAVE).bind::<Text, _>(sqlite_text(now)).bind::<Text, _>(id).execute(conn).map(drop)
    })
}

pub(super) fn daemons(conn: &mut SqliteConnection, now: DateTime<Utc>) -> QueryResult<Vec<StoredDaemon>> {
    sql_query(DAEMONS).bind::<Text, _>(sqlite_text(now)).load(conn)
}
