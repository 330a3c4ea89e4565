//! Answers made of rows: their links, their status objects, their positions in the queue.

use chrono::{DateTime, Utc};

use super::Api;
use super::call::CallResult;
use super::envelope::{ApiError, ErrorKind, ResultJson};
use super::keys::Caller;
use super::status::{self, Cut, SignedLinks, StatusContext, status_object};
use crate::requests::{RequestKey, RequestRow, Status};

/// The most links that are signed on a thread that answers calls.
const FEW_LINKS: usize = 500;
/// Files of a request from which on its status object counts as a large answer while it is made.
const MANY_FILES: usize = 2000;
/// Bytes of the status object of one request that is asked for by its key.
const LONGEST_STATUS: usize = 32 << 20;

impl Api {
    /// The result of a call, with its permit if it is a large one.
    pub(super) async fn result(&self, key: Option<&str>, text: String) -> CallResult {
        let permit = self.limits.held_answer(key, text.len()).await?;
        Ok(ResultJson { text, permit })
    }

    /// The status object of a row, as the result of a call.
    pub(super) async fn status(&self, caller: &Caller, row: &RequestRow, now: DateTime<Utc>) -> CallResult {
        let is_large = row.download_urls.len() > MANY_FILES;
        let _permit = if is_large { Some(self.limits.large_answer().await?) } else { None };
        let text = self.status_text(caller, row, now, LONGEST_STATUS).await?;
        self.result(None, text).await
    }

    /// The status object of a row as JSON, of about `most` bytes at most: where it would be longer it lacks its links, and
    /// then what else may be long.
    pub(super) async fn status_text(
        &self,
        caller: &Caller,
        row: &RequestRow,
        now: DateTime<Utc>,
        most: usize,
    ) -> Result<String, ApiError> {
        let links = if caller.sees_files() { self.links(row, now).await? } else { SignedLinks::none(now) };
        let (queue_position, reason) = match Status::parse(&row.status) {
            Some(Status::Submitted) => (self.queue_position(row).await?, self.pause_of(row).await?),
            _ => (None, None),
        };
        let context = StatusContext { links: &links, now, queue_position, reason: reason.as_deref() };
        let mut object = status_object(row, &context);
        if !caller.sees_files() {
            object.hide_from_viewers();
        }
        for cut in [None, Some(Cut::Files), Some(Cut::LeftOut), Some(Cut::Request)] {
            if let Some(cut) = cut {
                object.cut(cut);
            }
            let text = serde_json::to_string(&object)
                .map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string()))?;
            if text.len() <= most || cut == Some(Cut::Request) {
                return Ok(text);
            }
        }
        Err(ApiError::new(ErrorKind::Internal, "a status object that cannot be shortened"))
    }

    /// The links of all files of a row, by their keys.
    async fn links(&self, row: &RequestRow, now: DateTime<Utc>) -> Result<SignedLinks, ApiError> {
        let keys = status::keys(row);
        // Thousands of signatures take a thread for as long as others would wait for an answer.
        let signed = if self.links.may_wait() || keys.len() > FEW_LINKS {
            let (links, keys) = (self.links.clone(), keys.clone());
            let signing = tokio::task::spawn_blocking(move || links.sign(&keys, now)).await;
            signing.map_err(|panic| ApiError::panicked(&panic))?
        } else {
            self.links.sign(&keys, now)
        };
        let signed = signed.map_err(|error| ApiError::new(ErrorKind::Unavailable, error.to_string()))?;
        let expires = self.links.expires(now);
        let hosts = self.config.get().api.as_ref().map(|api| api.link_hosts.clone()).unwrap_or_default();
        self.withheld.log(row, &hosts);
        let links = keys.iter().map(|own| own.key().to_string()).zip(signed).collect();
        Ok(SignedLinks { links, expires, hosts })
    }

    /// The queue position of a row that is SUBMITTED; `None` for jobs that are not configured.
    async fn queue_position(&self, row: &RequestRow) -> Result<Option<u64>, ApiError> {
        let Some(job) = self.job(&row.job_id) else { return Ok(None) };
        let queue = self.queue_snapshots.of(self, &job).await?;
        let key = RequestKey { tag: row.tag.clone(), request_id: row.request_id.clone() };
        Ok(Some(queue.position(&key)))
    }
}
