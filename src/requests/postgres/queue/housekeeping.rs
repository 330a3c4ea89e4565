//! Housekeeping: migrations, checks, leases that ran out, retention, heartbeats.

use std::sync::PoisonError;
use std::time::Duration;

use super::super::super::daemons::{self as heartbeats, Daemon, Heartbeat};
use super::super::super::failures;
use super::super::super::finished::{FinishedCursor, FinishedPage};
use super::super::super::queue::Housekeeping;
use super::super::super::text::can_exist;
use super::super::super::types::{Pooling, QueueError, RequestKey, Unclaimable};
use super::super::{daemons, finished, installation, lease, migrate, rights, rows};
use super::{PostgresQueue, TO_MIGRATE, open_pool};

impl Housekeeping for PostgresQueue {
    fn migrate(&self, dry_run: bool) -> Result<Vec<String>, QueueError> {
        // Any connection can read what is missing.
        let missing = self.read(migrate::LOOK, migrate::look)?;
        if dry_run || missing.is_empty() {
            return Ok(missing);
        }
        let mut session = self.session(TO_MIGRATE)?;
        rights::may_migrate(&mut session, &missing)?;
        let done = migrate::migrate(&mut session)?;
        match self.read(migrate::LOOK, migrate::look)?.first() {
            None => Ok(done),
            Some(left) => Err(QueueError::Unfit(format!(
                "migrate: ran by [database] direct_url, and [database] url still lacks this: {left}; do both lead to the \
                 same database?"
            ))),
        }
    }

    fn may_migrate(&self) -> Result<(), QueueError> {
        let missing = self.migrate(true)?;
        // On the connection that would run them: it may be another role's.
        if missing.is_empty() { Ok(()) } else { rights::may_migrate(&mut self.session(TO_MIGRATE)?, &missing) }
    }

    fn check(&self) -> Result<(), QueueError> {
        failures::or_missing(self.read("check job_request", rows::check), || self.migrate(true))
    }

    fn check_writable(&self, removes: bool) -> Result<(), QueueError> {
        failures::hindrances(&self.read("look at rights", |conn| rights::hindrances(conn, removes))?)
    }

    /// Calls that hang keep the old connections until they end.
    fn reconnect(&self) {
        let mut pool = self.pool.write().unwrap_or_else(PoisonError::into_inner);
        *pool = open_pool(&self.route, pool.max_size());
    }

    fn pooling(&self) -> Result<Pooling, QueueError> {
        self.route.pooling()
    }

    fn can_listen(&self) -> Result<bool, QueueError> {
        Ok(self.direct.as_ref().unwrap_or(&self.route).pooling()? != Pooling::Transaction)
    }

    fn reclaim(
        &self,
        job_ids: &[String],
        lease: Duration,
        adopt_after: Option<Duration>,
    ) -> Result<Vec<RequestKey>, QueueError> {
        let what = "take back rows of job_request";
        self.run(what, |conn| lease::reclaim(conn, self.shift(), job_ids, lease, adopt_after))
    }

    fn unclaimable(&self, job_ids: &[String]) -> Result<Unclaimable, QueueError> {
        self.read("look for rows that cannot be claimed", |conn| lease::unclaimable(conn, job_ids))
    }

    fn finished(
        &self,
        job_id: &str,
        older_than: Duration,
        after: Option<&FinishedCursor>,
        limit: u32,
    ) -> Result<FinishedPage, QueueError> {
        let what = format!("read finished rows of {job_id}");
        self.read(what, |conn| finished::finished(conn, self.shift(), job_id, older_than, after, limit))
    }

    fn remove_finished(&self, key: &RequestKey, older_than: Duration) -> Result<bool, QueueError> {
        let what = format!("remove {key}");
        Ok(can_exist(key) && self.run(what, |conn| finished::remove(conn, self.shift(), key, older_than))?)
    }

    fn installation(&self) -> Result<String, QueueError> {
        let fresh = uuid::Uuid::new_v4().simple().to_string();
        let read = self.run("read exhaust_installation", |conn| installation::installation(conn, &fresh));
        failures::or_missing(read, || self.migrate(true))
    }

    fn held_claims(&self) -> Result<Vec<String>, QueueError> {
        self.read("read the claims of job_request", installation::held_claims)
    }

    fn beat(&self, heartbeat: &Heartbeat) -> Result<(), QueueError> {
        self.run("note a heartbeat in exhaust_daemon", |conn| daemons::beat(conn, self.shift(), heartbeat))
    }

    fn leave(&self, id: &str) -> Result<(), QueueError> {
        self.run("leave exhaust_daemon", |conn| daemons::leave(conn, self.shift(), id))
    }

    fn daemons(&self) -> Result<Vec<Daemon>, QueueError> {
        let read = self.read("read exhaust_daemon", |conn| daemons::daemons(conn, self.shift()));
        Ok(heartbeats::daemons(failures::or_missing(read, || self.migrate(true))?))
    }
}
