//! Work on requests: claims, leases, write-backs, slots.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::r2d2::{ConnectionManager, ManageConnection};
use diesel::sqlite::SqliteConnection;

use super::super::super::backlog::Backlog;
use super::super::super::deferred;
use super::super::super::listener::Listener;
use super::super::super::queue::WorkQueue;
use super::super::super::stored;
use super::super::super::text::{can_exist, token};
use super::super::super::types::{
    Claim, ClaimOptions, Completion, DeferredText, Failure, NewRequest, QueueError, RequestKey, RequestProgress,
    WriteBack,
};
use super::super::{backlog, claim, lease, listen, slots, write_back};
use super::SqliteQueue;

impl WorkQueue for SqliteQueue {
    fn now(&self) -> Result<DateTime<Utc>, QueueError> {
        Ok(self.clock.now())
    }

    fn listen(&self) -> Result<Option<Listener>, QueueError> {
        let connection = ManageConnection::connect(&ConnectionManager::<SqliteConnection>::new(self.name.as_str()));
        listen::listen(connection).map(Some)
    }

    fn claim(&self, options: &ClaimOptions) -> Result<Claim, QueueError> {
        let token = token(&options.owner)?;
        let rows = self.run("claim from job_request", |conn| claim::claim(conn, self.clock.now(), options, &token))?;
        Ok(stored::claim(token, rows))
    }

    fn backlog(&self, job_ids: &[String], up_to: u32) -> Result<Backlog, QueueError> {
        self.run("count open rows of job_request", |conn| backlog::backlog(conn, &self.now(), job_ids, up_to))
    }

    fn deferred_text(&self, key: &RequestKey, which: DeferredText, limit: u64) -> Result<Option<String>, QueueError> {
        if !can_exist(key) {
            return Ok(None);
        }
        let what = format!("read {} of {key}", which.column());
        self.run(what, |conn| deferred::read(conn, lease::select_deferred(which), key, limit))
    }

    fn renew(
        &self,
        token: &str,
        rows: &[(RequestKey, Option<String>)],
        lease: Duration,
    ) -> Result<Vec<RequestKey>, QueueError> {
        self.run("renew leases in job_request", |conn| lease::renew(conn, self.clock.now(), token, rows, lease))
    }

    fn note_progress(&self, token: &str, rows: &[(RequestKey, RequestProgress)]) -> Result<(), QueueError> {
        self.run("note progress in job_request", |conn| lease::note_progress(conn, token, rows))
    }

    fn complete_all(&self, token: &str, rows: &[(RequestKey, Completion)]) -> Result<Vec<WriteBack>, QueueError> {
        self.run(stored::completing(rows), |conn| write_back::complete_all(conn, &self.now(), token, rows))
    }

    fn retry_later(
        &self,
        token: &str,
        key: &RequestKey,
        failure: &Failure,
        delay: Duration,
    ) -> Result<WriteBack, QueueError> {
        self.write_back("put back", key, |conn| {
            write_back::retry_later(conn, self.clock.now(), token, key, failure, delay)
        })
    }

    fn fail(&self, token: &str, key: &RequestKey, failure: &Failure) -> Result<WriteBack, QueueError> {
        self.write_back("fail", key, |conn| write_back::fail(conn, &self.now(), token, key, failure))
    }

    fn hand_back(&self, token: &str, key: &RequestKey, batches: Option<&str>) -> Result<WriteBack, QueueError> {
        self.write_back("hand back", key, |conn| write_back::hand_back(conn, token, key, batches))
    }

    fn next_claimable(&self, job_ids: &[String]) -> Result<Option<DateTime<Utc>>, QueueError> {
        self.run("look for work in job_request", |conn| lease::next_claimable(conn, &self.now(), job_ids))
    }

    fn last_slot(&self, job_id: &str, schedule: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, QueueError> {
        let what = format!("read the last slot of {job_id}");
        self.run(&what, |conn| slots::last_slot(conn, job_id, schedule, now))?
            .ok_or_else(|| QueueError::Refused(format!("{what}: it is not a time")))
    }

    fn make_slot(&self, job_id: &str, slot: DateTime<Utc>, request: &NewRequest) -> Result<bool, QueueError> {
        let what = format!("make a slot of {job_id}");
        self.run(&what, |conn| slots::make_slot(conn, &self.now(), job_id, slot, request))?
            .ok_or_else(|| QueueError::Refused(format!("{what}: last_slot was never asked")))
    }
}
