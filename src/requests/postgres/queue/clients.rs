//! Clients and operators: submissions, lists, searches, counts.

use std::sync::atomic::Ordering;

use super::super::super::access::{Client, Reader};
use super::super::super::paging::{Page, PageEntry};
use super::super::super::queue::ClientQueue;
use super::super::super::search::{Search, SearchResult};
use super::super::super::statement_timeout::StatementTimeout;
use super::super::super::stored;
use super::super::super::text::can_exist;
use super::super::super::types::{
    NewRequest, Overview, QueueError, RequestKey, RequestRow, Resubmitted, Submitted, WaitingRequest,
};
use super::super::{list, page_start, rows, search, statement_timeout, submit};
use super::PostgresQueue;

impl ClientQueue for PostgresQueue {
    fn submit_for(&self, request: &NewRequest, client: &Client) -> Result<Submitted, QueueError> {
        if !can_exist(&request.key) {
            return Err(QueueError::Refused("submit: a key with a NUL character".to_owned()));
        }
        self.run(format_args!("submit {}", request.key), |conn| submit::submit(conn, self.shift(), request, client))
    }

    fn mark_scheme(&self, key: &RequestKey) -> Result<Option<String>, QueueError> {
        if !can_exist(key) {
            return Ok(None);
        }
        self.read(format_args!("look at {key}"), |conn| submit::mark_scheme(conn, key))
    }

    fn has_reached_limit(&self, client: &Client) -> Result<bool, QueueError> {
        self.read("count open rows of job_request", |conn| submit::has_reached_limit(conn, client))
    }

    fn cancel(&self, key: &RequestKey, by: &str) -> Result<bool, QueueError> {
        let what = format!("cancel {key}");
        Ok(can_exist(key) && self.run(what, |conn| submit::cancel(conn, self.shift(), key, by))?)
    }

    fn resubmit_for(&self, key: &RequestKey, client: &Client) -> Result<Resubmitted, QueueError> {
        if !can_exist(key) {
            return Ok(Resubmitted::NotFailed);
        }
        self.run(format_args!("resubmit {key}"), |conn| submit::resubmit(conn, self.shift(), key, client))
    }

    fn find(&self, key: &RequestKey) -> Result<Option<RequestRow>, QueueError> {
        if !can_exist(key) {
            return Ok(None);
        }
        self.read(format_args!("find {key}"), |conn| rows::find(conn, key, self.shown_data()))
    }

    fn list(&self, tag: Option<&str>, reader: &Reader, page: &Page) -> Result<Vec<PageEntry>, QueueError> {
        let begin = page_start::begin(page.after.as_ref())?;
        if tag.is_some_and(|tag| tag.contains('\0')) {
            return Ok(Vec::new());
        }
        self.read("list job_request", |conn| list::list(conn, tag, reader, &begin, page.limit))
    }

    fn search(
        &self,
        search: &Search,
        reader: &Reader,
        page: &Page,
        timeout: &StatementTimeout,
    ) -> Result<SearchResult, QueueError> {
        let begin = page_start::begin(page.after.as_ref())?;
        let found = self.read("search job_request", |conn| {
            statement_timeout::bounded(conn, timeout, self.canceller(), |conn| {
                let total = search::count(conn, search, reader)?;
                statement_timeout::set(conn, timeout)?;
                let entries = search::search(conn, search, reader, (&begin, page.limit, total))?;
                Ok(SearchResult { total, entries })
            })
        });
        found.map_err(|error| if timeout.is_over() { QueueError::TimedOut } else { error })
    }

    fn rows(&self, keys: &[RequestKey], bytes: u64) -> Result<Vec<(usize, RequestRow)>, QueueError> {
        if !keys.iter().all(can_exist) {
            return Err(QueueError::Refused("read rows: a key with a NUL character".to_owned()));
        }
        self.read("read rows of job_request", |conn| rows::rows(conn, keys, self.shown_data(), bytes))
    }

    fn waiting(&self, job_ids: &[String]) -> Result<Vec<WaitingRequest>, QueueError> {
        let rows = self.read("read the line in job_request", |conn| rows::waiting(conn, self.shift(), job_ids))?;
        Ok(stored::waiting(rows))
    }

    fn overview(&self) -> Result<Overview, QueueError> {
        self.read("count job_request", rows::overview)
    }

    fn limit_request_data(&self, bytes: u64) {
        self.shown_data.store(bytes, Ordering::Relaxed);
    }
}
