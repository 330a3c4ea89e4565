//! Housekeeping: migrations, checks, leases that ran out, retention, heartbeats.

use std::time::Duration;

use diesel::connection::SimpleConnection;

use super::super::super::daemons::{self as heartbeats, Daemon, Heartbeat};
use super::super::super::failures;
use super::super::super::finished::{FinishedCursor, FinishedPage};
use super::super::super::queue::Housekeeping;
use super::super::super::text::can_exist;
use super::super::super::types::{Pooling, QueueError, RequestKey, Unclaimable};
use super::super::{daemons, finished, installation, lease, migrate, rows};
use super::SqliteQueue;

impl Housekeeping for SqliteQueue {
    fn migrate(&self, dry_run: bool) -> Result<Vec<String>, QueueError> {
        if !dry_run {
            self.may_migrate()?;
        }
        migrate::migrate(&mut *self.connection()?, dry_run)
    }

    fn may_migrate(&self) -> Result<(), QueueError> {
        if self.migrate(true)?.is_empty() {
            return Ok(());
        }
        let mut conn = self.connection()?;
        let tried = conn.batch_execute("BEGIN IMMEDIATE; CREATE TABLE exhaust_probe (x); ROLLBACK");
        if tried.is_err() {
            // Where the transaction has not begun there is nothing to roll back.
            let _ = conn.batch_execute("ROLLBACK");
        }
        self.written(tried)
    }

    fn check(&self) -> Result<(), QueueError> {
        failures::or_missing(self.run("check job_request", rows::check), || self.migrate(true))
    }

    /// Takes the write lock and changes no row: no page is written. Waits for another writer up to the busy time-out.
    fn check_writable(&self, _removes: bool) -> Result<(), QueueError> {
        self.written(self.connection()?.batch_execute("UPDATE job_request SET tag = tag WHERE 0"))
    }

    /// A file answers or fails: no call hangs.
    fn reconnect(&self) {}

    fn pooling(&self) -> Result<Pooling, QueueError> {
        Ok(Pooling::None)
    }

    fn can_listen(&self) -> Result<bool, QueueError> {
        Ok(true)
    }

    fn reclaim(
        &self,
        job_ids: &[String],
        lease: Duration,
        adopt_after: Option<Duration>,
    ) -> Result<Vec<RequestKey>, QueueError> {
        let what = "take back rows of job_request";
        self.run(what, |conn| lease::reclaim(conn, self.clock.now(), job_ids, lease, adopt_after))
    }

    fn unclaimable(&self, job_ids: &[String]) -> Result<Unclaimable, QueueError> {
        self.run("look for rows that cannot be claimed", |conn| lease::unclaimable(conn, job_ids))
    }

    fn finished(
        &self,
        job_id: &str,
        older_than: Duration,
        after: Option<&FinishedCursor>,
        limit: u32,
    ) -> Result<FinishedPage, QueueError> {
        let what = format!("read finished rows of {job_id}");
        self.run(what, |conn| finished::finished(conn, self.clock.now(), job_id, older_than, after, limit))
    }

    fn remove_finished(&self, key: &RequestKey, older_than: Duration) -> Result<bool, QueueError> {
        let what = format!("remove {key}");
        Ok(can_exist(key) && self.run(what, |conn| finished::remove(conn, self.clock.now(), key, older_than))?)
    }

    fn installation(&self) -> Result<String, QueueError> {
        let fresh = uuid::Uuid::new_v4().simple().to_string();
        let read = self.run("read exhaust_installation", |conn| installation::installation(conn, &fresh));
        failures::or_missing(read, || self.migrate(true))
    }

    fn held_claims(&self) -> Result<Vec<String>, QueueError> {
        self.run("read the claims of job_request", installation::held_claims)
    }

    fn beat(&self, heartbeat: &Heartbeat) -> Result<(), QueueError> {
        self.run("note a heartbeat in exhaust_daemon", |conn| daemons::beat(conn, self.clock.now(), heartbeat))
    }

    fn leave(&self, id: &str) -> Result<(), QueueError> {
        self.run("leave exhaust_daemon", |conn| daemons::leave(conn, self.clock.now(), id))
    }

    fn daemons(&self) -> Result<Vec<Daemon>, QueueError> {
        let read = self.run("read exhaust_daemon", |conn| daemons::daemons(conn, self.clock.now()));
        Ok(heartbeats::daemons(failures::or_missing(read, || self.migrate(true))?))
    }
}
