//! The verbs, each in a transaction of its own. Those that look for requests lock one after the other: a transaction never
//! holds two rows. Where no request is split each of them is one statement.

use std::time::Duration;

use super::connection::{PartDatabase, SPLIT};
use super::{MadeRequest, NewPart, PartQueue, PartRow, ends, work};
use crate::requests::text::token;
use crate::requests::types::{
    Claim, ClaimOptions, Completion, Failure, QueueError, RequestKey, RequestProgress, WriteBack,
};

impl<D: PartDatabase> PartQueue for D {
    fn split(
        &self,
        claim: &str,
        key: &RequestKey,
        parts: &[NewPart],
        lease: Duration,
    ) -> Result<WriteBack, QueueError> {
        let fresh = token(SPLIT)?;
        self.transaction(&format!("split {key}"), |conn| work::split(conn, claim, (key, &fresh), parts, lease))
    }

    fn claim_part(&self, options: &ClaimOptions) -> Result<Option<Claim>, QueueError> {
        let what = "claim from job_request_part";
        if !self.read_parts(what, ends::has_parts)? {
            return Ok(None);
        }
        for key in self.read_parts(what, |conn| work::claimable(conn, options))? {
            let token = token(&options.owner)?;
            if let Some(row) = self.transaction(what, |conn| work::claim(conn, &key, options, &token))? {
                return Ok(Some(Claim { token, requests: vec![row] }));
            }
        }
        Ok(None)
    }

    fn renew_part(
        &self,
        token: &str,
        key: &RequestKey,
        batches: Option<&str>,
        lease: Duration,
    ) -> Result<WriteBack, QueueError> {
        self.transaction(&format!("renew a part of {key}"), |conn| work::renew(conn, key, token, batches, lease))
    }

    fn holds_part(&self, token: &str, key: &RequestKey) -> Result<bool, QueueError> {
        self.read_parts(&format!("look at a part of {key}"), |conn| work::is_held(conn, key, token))
    }

    fn note_part(&self, token: &str, key: &RequestKey, progress: RequestProgress) -> Result<(), QueueError> {
        self.transaction(&format!("note progress of {key}"), |conn| work::note(conn, key, token, progress))
    }

    fn complete_part(&self, token: &str, key: &RequestKey, result: &str) -> Result<WriteBack, QueueError> {
        self.transaction(&format!("complete a part of {key}"), |conn| work::complete(conn, key, token, result))
    }

    fn retry_part_later(
        &self,
        token: &str,
        key: &RequestKey,
        failure: &Failure,
        delay: Duration,
    ) -> Result<WriteBack, QueueError> {
        self.transaction(&format!("put back a part of {key}"), |conn| {
            work::retry_later(conn, key, token, failure, delay)
        })
    }

    fn fail_part(&self, token: &str, key: &RequestKey, failure: &Failure) -> Result<WriteBack, QueueError> {
        self.transaction(&format!("fail {key}"), |conn| work::fail(conn, key, token, failure))
    }

    fn hand_back_part(&self, token: &str, key: &RequestKey, batches: Option<&str>) -> Result<WriteBack, QueueError> {
        self.transaction(&format!("hand back a part of {key}"), |conn| work::hand_back(conn, key, token, batches))
    }

    fn reclaim_parts(&self, job_ids: &[String], lease: Duration) -> Result<Vec<(RequestKey, u64)>, QueueError> {
        let what = "take back parts of job_request_part";
        let mut freed = Vec::new();
        if !self.read_parts(what, ends::has_parts)? {
            return Ok(freed);
        }
        for job_id in job_ids.iter().filter(|id| !id.contains('\0')) {
            for key in self.read_parts(what, |conn| ends::lost(conn, job_id))? {
                let parts = self.transaction(what, |conn| ends::free(conn, &key, lease))?;
                freed.extend(parts.into_iter().map(|part| (key.clone(), part)));
            }
            for key in self.read_parts(what, |conn| conn.expired(job_id))?.into_iter().map(RequestKey::from) {
                let fresh = token(SPLIT)?;
                self.transaction(what, |conn| ends::keep_split(conn, (&key, &fresh), lease))?;
            }
        }
        self.transaction(what, ends::remove_ended)?;
        Ok(freed)
    }

    fn made_request(&self, job_ids: &[String]) -> Result<Option<MadeRequest>, QueueError> {
        let what = "look for requests whose parts are made";
        if !self.read_parts(what, ends::has_parts)? {
            return Ok(None);
        }
        for job_id in job_ids.iter().filter(|id| !id.contains('\0')) {
            for key in self.read_parts(what, |conn| ends::all_made(conn, job_id))? {
                if let Some(made) = self.transaction(what, |conn| ends::made(conn, &key))? {
                    return Ok(Some(made));
                }
            }
        }
        Ok(None)
    }

    fn complete_split(&self, token: &str, key: &RequestKey, made: &Completion) -> Result<WriteBack, QueueError> {
        self.transaction(&format!("complete {key}"), |conn| ends::complete_split(conn, key, token, made))
    }

    fn fail_split(&self, token: &str, key: &RequestKey, failure: &Failure) -> Result<WriteBack, QueueError> {
        self.transaction(&format!("fail {key}"), |conn| ends::fail_split(conn, key, token, failure))
    }

    fn retry_split_later(
        &self,
        token: &str,
        key: &RequestKey,
        failure: &Failure,
        delay: Duration,
    ) -> Result<WriteBack, QueueError> {
        self.transaction(&format!("put back {key}"), |conn| ends::retry_split_later(conn, key, token, failure, delay))
    }

    fn parts(&self, key: &RequestKey) -> Result<Vec<PartRow>, QueueError> {
        self.read_parts(&format!("read the parts of {key}"), |conn| ends::shown(conn, key))
    }
}
