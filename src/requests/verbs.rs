//! The verbs that both backends answer alike: which statement answers which verb, and under which name a failure is reported.
//!
//! A backend puts these methods into its implementations of the three traits, with the verbs that it answers in its own way
//! beside them. The statements are functions of its own under the same names. It brings `run`, for statements that change
//! rows; `read`, for those that do not; `write_back`, for fenced ones; and `at`, the time as its statements take it.

/// Methods of [`WorkQueue`](super::queue::WorkQueue).
macro_rules! work_verbs {
    () => {
        fn claim(&self, options: &ClaimOptions) -> Result<Claim, QueueError> {
            let token = token(&options.owner)?;
            let rows = self.run("claim from job_request", |conn| claim::claim(conn, self.at(), options, &token))?;
            Ok(stored::claim(token, rows))
        }

        fn backlog(&self, job_ids: &[String], up_to: u32) -> Result<Backlog, QueueError> {
            self.read("count open rows of job_request", |conn| backlog::backlog(conn, self.at(), job_ids, up_to))
        }

        fn deferred_text(
            &self,
            key: &RequestKey,
            which: DeferredText,
            limit: u64,
        ) -> Result<Option<String>, QueueError> {
            if !can_exist(key) {
                return Ok(None);
            }
            let what = format!("read {} of {key}", which.column());
            self.read(what, |conn| deferred::read(conn, lease::select_deferred(which), key, limit))
        }

        fn renew(
            &self,
            token: &str,
            rows: &[(RequestKey, Option<String>)],
            lease: Duration,
        ) -> Result<Vec<RequestKey>, QueueError> {
            self.run("renew leases in job_request", |conn| lease::renew(conn, self.at(), token, rows, lease))
        }

        fn still_held(&self, token: &str, keys: &[RequestKey]) -> Result<Vec<RequestKey>, QueueError> {
            self.read("look at claimed rows of job_request", |conn| lease::still_held(conn, token, keys))
        }

        fn note_progress(&self, token: &str, rows: &[(RequestKey, RequestProgress)]) -> Result<(), QueueError> {
            self.run("note progress in job_request", |conn| lease::note_progress(conn, token, rows))
        }

        fn complete_all(&self, token: &str, rows: &[(RequestKey, Completion)]) -> Result<Vec<WriteBack>, QueueError> {
            self.run(stored::completing(rows), |conn| write_back::complete_all(conn, self.at(), token, rows))
        }

        fn retry_later(
            &self,
            token: &str,
            key: &RequestKey,
            failure: &Failure,
            delay: Duration,
        ) -> Result<WriteBack, QueueError> {
            self.write_back("put back", key, |conn| {
                write_back::retry_later(conn, self.at(), token, key, failure, delay)
            })
        }

        fn fail(&self, token: &str, key: &RequestKey, failure: &Failure) -> Result<WriteBack, QueueError> {
            self.write_back("fail", key, |conn| write_back::fail(conn, self.at(), token, key, failure))
        }

        fn hand_back(&self, token: &str, key: &RequestKey, batches: Option<&str>) -> Result<WriteBack, QueueError> {
            self.write_back("hand back", key, |conn| write_back::hand_back(conn, token, key, batches))
        }

        fn next_claimable(&self, job_ids: &[String]) -> Result<Option<DateTime<Utc>>, QueueError> {
            self.read("look for work in job_request", |conn| lease::next_claimable(conn, self.at(), job_ids))
        }

        fn last_slot(&self, job_id: &str, schedule: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, QueueError> {
            let what = format!("read the last slot of {job_id}");
            self.run(&what, |conn| slots::last_slot(conn, job_id, schedule, now))?
                .ok_or_else(|| QueueError::Refused(format!("{what}: it is not a time")))
        }

        fn make_slot(&self, job_id: &str, slot: DateTime<Utc>, request: &NewRequest) -> Result<bool, QueueError> {
            let what = format!("make a slot of {job_id}");
            self.run(&what, |conn| slots::make_slot(conn, self.at(), job_id, slot, request))?
                .ok_or_else(|| QueueError::Refused(format!("{what}: last_slot was never asked")))
        }
    };
}

/// Methods of [`ClientQueue`](super::queue::ClientQueue).
macro_rules! client_verbs {
    () => {
        fn submit_for(&self, request: &NewRequest, client: &Client) -> Result<Submitted, QueueError> {
            if !can_exist(&request.key) {
                return Err(QueueError::Refused("submit: a key with a NUL character".to_owned()));
            }
            self.run(format_args!("submit {}", request.key), |conn| submit::submit(conn, self.at(), request, client))
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
            Ok(can_exist(key) && self.run(what, |conn| submit::cancel(conn, self.at(), key, by))?)
        }

        fn file_missing(&self, key: &RequestKey, detail: &str) -> Result<bool, QueueError> {
            Ok(can_exist(key) && self.run(format!("fail {key}"), |conn| submit::file_missing(conn, key, detail))?)
        }

        fn resubmit_for(&self, key: &RequestKey, client: &Client) -> Result<Resubmitted, QueueError> {
            if !can_exist(key) {
                return Ok(Resubmitted::NotFailed);
            }
            self.run(format_args!("resubmit {key}"), |conn| submit::resubmit(conn, self.at(), key, client))
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

        fn rows(&self, keys: &[RequestKey], bytes: u64) -> Result<Vec<(usize, RequestRow)>, QueueError> {
            if !keys.iter().all(can_exist) {
                return Err(QueueError::Refused("read rows: a key with a NUL character".to_owned()));
            }
            self.read("read rows of job_request", |conn| rows::rows(conn, keys, self.shown_data(), bytes))
        }

        fn waiting(&self, job_ids: &[String]) -> Result<Vec<WaitingRequest>, QueueError> {
            let rows = self.read("read the line in job_request", |conn| rows::waiting(conn, self.at(), job_ids))?;
            Ok(stored::waiting(rows))
        }

        fn overview(&self) -> Result<Overview, QueueError> {
            self.read("count job_request", rows::overview)
        }

        fn parts_overview(&self) -> Result<PartsOverview, QueueError> {
            parts_overview(self)
        }

        fn limit_request_data(&self, bytes: u64) {
            self.shown_data.store(bytes, Ordering::Relaxed);
        }
    };
}

/// Methods of [`Housekeeping`](super::queue::Housekeeping).
macro_rules! housekeeping_verbs {
    () => {
        fn check(&self) -> Result<(), QueueError> {
            failures::or_missing(self.read("check job_request", rows::check), || self.migrate(true))
        }

        fn reclaim(
            &self,
            job_ids: &[String],
            lease: Duration,
            adopt_after: Option<Duration>,
        ) -> Result<Vec<RequestKey>, QueueError> {
            let what = "take back rows of job_request";
            self.run(what, |conn| lease::reclaim(conn, self.at(), job_ids, lease, adopt_after))
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
            self.read(what, |conn| finished::finished(conn, self.at(), job_id, older_than, after, limit))
        }

        fn remove_finished(&self, key: &RequestKey, older_than: Duration) -> Result<bool, QueueError> {
            let what = format!("remove {key}");
            Ok(can_exist(key) && self.run(what, |conn| finished::remove(conn, self.at(), key, older_than))?)
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
            self.run("note a heartbeat in exhaust_daemon", |conn| daemons::beat(conn, self.at(), heartbeat))
        }

        fn leave(&self, id: &str) -> Result<(), QueueError> {
            self.run("leave exhaust_daemon", |conn| daemons::leave(conn, self.at(), id))
        }

        fn daemons(&self) -> Result<Vec<Daemon>, QueueError> {
            let read = self.read("read exhaust_daemon", |conn| daemons::daemons(conn, self.at()));
            Ok(heartbeats::daemons(failures::or_missing(read, || self.migrate(true))?))
        }
    };
}

pub(super) use {client_verbs, housekeeping_verbs, work_verbs};
