//! Clients and operators: submissions, lists, searches, counts.

use std::sync::atomic::Ordering;

use super::super::super::access::{Client, Reader};
use super::super::super::failures;
use super::super::super::paging::{Page, PageEntry};
use super::super::super::queue::ClientQueue;
use super::super::super::search::{Search, SearchResult};
use super::super::super::statement_timeout::StatementTimeout;
use super::super::super::stored;
use super::super::super::text::can_exist;
use super::super::super::types::{
    NewRequest, Overview, QueueError, RequestKey, RequestRow, Resubmitted, Submitted, WaitingRequest,
};
use super::super::{functions, list, page_start, rows, search, submit};
use super::SqliteQueue;

impl ClientQueue for SqliteQueue {
    fn submit_for(&self, request: &NewRequest, client: &Client) -> Result<Submitted, QueueError> {
        if !can_exist(&request.key) {
            return Err(QueueError::Refused("submit: a key with a NUL character".to_owned()));
        }
        self.run(format_args!("submit {}", request.key), |conn| submit::submit(conn, &self.now(), request, client))
    }

    fn mark_scheme(&self, key: &RequestKey) -> Result<Option<String>, QueueError> {
        if !can_exist(key) {
            return Ok(None);
        }
        self.run(format_args!("look at {key}"), |conn| submit::mark_scheme(conn, key))
    }

    fn has_reached_limit(&self, client: &Client) -> Result<bool, QueueError> {
        self.run("count open rows of job_request", |conn| submit::has_reached_limit(conn, client))
    }

    fn cancel(&self, key: &RequestKey, by: &str) -> Result<bool, QueueError> {
        let what = format!("cancel {key}");
        Ok(can_exist(key) && self.run(what, |conn| submit::cancel(conn, &self.now(), key, by))?)
    }

    fn resubmit_for(&self, key: &RequestKey, client: &Client) -> Result<Resubmitted, QueueError> {
        if !can_exist(key) {
            return Ok(Resubmitted::NotFailed);
        }
        self.run(format_args!("resubmit {key}"), |conn| submit::resubmit(conn, &self.now(), key, client))
    }

    fn find(&self, key: &RequestKey) -> Result<Option<RequestRow>, QueueError> {
        if !can_exist(key) {
            return Ok(None);
        }
        self.run(format_args!("find {key}"), |conn| rows::find(conn, key, self.shown_data()))
    }

    fn list(&self, tag: Option<&str>, reader: &Reader, page: &Page) -> Result<Vec<PageEntry>, QueueError> {
        let begin = page_start::begin(page.after.as_ref())?;
        if tag.is_some_and(|tag| tag.contains('\0')) {
            return Ok(Vec::new());
        }
        self.run("list job_request", |conn| list::list(conn, tag, reader, begin, page.limit))
    }

    fn search(
        &self,
        search: &Search,
        reader: &Reader,
        page: &Page,
        timeout: &StatementTimeout,
    ) -> Result<SearchResult, QueueError> {
        let begin = page_start::begin(page.after.as_ref())?;
        let mut conn = self.connection()?;
        let found = functions::with_timeout(timeout, || {
            let total = search::count(&mut conn, search, reader)?;
            let entries = search::search(&mut conn, search, reader, (begin, page.limit, total))?;
            Ok(SearchResult { total, entries })
        });
        found.map_err(|error| match failures::statement("search job_request", &error) {
            // The statement ended because its time-out is over; its error only shows how it was ended.
            _ if timeout.is_over() => QueueError::TimedOut,
            error => error,
        })
    }

    fn rows(&self, keys: &[RequestKey], bytes: u64) -> Result<Vec<(usize, RequestRow)>, QueueError> {
        self.run("read rows of job_request", |conn| rows::rows(conn, keys, self.shown_data(), bytes))
    }

    fn waiting(&self, job_ids: &[String]) -> Result<Vec<WaitingRequest>, QueueError> {
        let rows = self.run("read the line in job_request", |conn| rows::waiting(conn, &self.now(), job_ids))?;
        Ok(stored::waiting(rows))
    }

    fn overview(&self) -> Result<Overview, QueueError> {
        self.run("count job_request", rows::overview)
    }

    fn limit_request_data(&self, bytes: u64) {
        self.shown_data.store(bytes, Ordering::Relaxed);
    }
}
