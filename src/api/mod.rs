//! The HTTP API: requests as JSON, files by signed link, health and metrics.
//!
//! One file per call, and one list of them ([`CALLS`]): routes and the OpenAPI description are both made from it. Not here: what a request means (`intake`), rows (`requests`), links (`outputs`). Database calls go through
//! [`Api::ask`], never on a tokio thread.

mod answers;
mod audit;
mod audit_records;
mod body;
mod bulk;
mod call;
mod clients;
mod describe;
mod docs;
mod envelope;
mod files;
mod filtered;
mod guard;
mod health;
mod jobs;
mod keys;
mod limits;
mod list;
mod marks;
mod metrics;
mod operate;
mod paging;
mod parse;
mod pause;
mod pool;
mod queue_snapshot;
mod ranges;
mod rate;
mod read;
mod roles;
mod router;
mod run_now;
mod schemas;
mod search;
mod server;
mod split_requests;
mod status;
mod submit;
mod until_sent;
mod withheld;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, Response};
use chrono::{DateTime, Utc};

use self::audit::CallContext;
use self::call::Call;
use self::envelope::{ApiError, Envelope, ErrorKind, OUTSIDE};
use self::keys::{Caller, Keys};
use self::pool::Permit;
use crate::config::Live;
use crate::config::checked::{self, Job};
use crate::intake;
use crate::metrics::Metrics;
use crate::outputs::{Links, Store};
use crate::requests::{ClientQueue, Clock, Filter, Page, Queue, QueueError, Reader, SearchResult, StatementTimeout};
use crate::sources::routed::Routed;

pub use audit::{AUDIT, fields as audit_fields};
pub use health::DaemonHealth;
pub use server::{BoundListener, ServeError, bind};

/// Every call of `/job/…` and `/tenant/…`.
static CALLS: &[Call] = &[
    submit::CALL,
    read::CALL,
    list::CALL,
    search::CALL,
    filtered::CALL,
    bulk::RETRY,
    bulk::CANCEL,
    operate::CANCEL,
    operate::RETRY,
    jobs::CALL,
    run_now::CALL,
    pause::PAUSE_JOB,
    pause::RESUME_JOB,
    pause::PAUSE_TENANT,
    pause::RESUME_TENANT,
];
/// They are answered under this prefix too.
const PREFIX: &str = "/data/v3";
/// How long the database may work on a search.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(5);

/// What the API works with.
#[derive(Clone)]
pub struct Parts {
    /// jobs.toml.
    pub config: Live,
    /// The `job_request` table, through connections of the API's own.
    pub queue: Arc<dyn Queue>,
    /// The reports.
    pub store: Store,
    /// The platform's tables, where this process reads them.
    pub source: Option<Arc<Routed>>,
    /// The daemon of this process, where it is one.
    pub daemon: Option<Arc<dyn DaemonHealth>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The metrics of this process.
    pub metrics: Arc<Metrics>,
    /// Makes and checks download links.
    pub links: Links,
    /// Set when the database has been migrated; calls before that are answered 503.
    pub prepared: Arc<AtomicBool>,
}

/// The API of one process.
struct Api {
    config: Live,
    settings: checked::Api,
    queue: Arc<dyn ClientQueue>,
    store: Store,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    links: Links,
    prepared: Arc<AtomicBool>,
    keys: Keys,
    limits: limits::Limits,
    marks: marks::Marks,
    unauthorized_calls: clients::UnauthorizedCalls,
    audit: audit::Audit,
    queue_snapshots: queue_snapshot::QueueSnapshots,
    row_counts: metrics::RowCounts,
    description: describe::DescriptionCache,
    withheld: withheld::WithheldLog,
    health: health::Health,
    split_requests: split_requests::SplitRequests,
}

impl Api {
    fn new(parts: Parts, settings: checked::Api) -> Self {
        parts.metrics.know_calls(CALLS.iter().map(|call| call.name).chain(["download", "metrics", "other"]));
        Self {
            limits: limits::Limits::default(),
            marks: marks::Marks::default(),
            keys: Keys::new(parts.config.clone(), Arc::clone(&parts.clock)),
            health: health::Health::new(&parts),
            config: parts.config,
            settings,
            queue: parts.queue,
            store: parts.store,
            clock: parts.clock,
            links: parts.links,
            prepared: parts.prepared,
            unauthorized_calls: clients::UnauthorizedCalls::default(),
            audit: audit::Audit::new(Arc::clone(&parts.metrics)),
            metrics: parts.metrics,
            queue_snapshots: queue_snapshot::QueueSnapshots::default(),
            row_counts: metrics::RowCounts::default(),
            description: describe::DescriptionCache::default(),
            withheld: withheld::WithheldLog::default(),
            split_requests: split_requests::SplitRequests::default(),
        }
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// The jobs of the configuration in force.
    fn jobs(&self) -> Vec<Arc<Job>> {
        self.config.get().jobs.clone()
    }

    /// The configured job of this id or alias; `None` for jobs of other systems.
    fn job(&self, name: &str) -> Option<Arc<Job>> {
        intake::find_job(&self.config.get().jobs, name).ok().cloned()
    }

    /// Ids and aliases of all jobs.
    fn job_names(&self) -> Vec<String> {
        self.jobs().iter().flat_map(|job| job.names()).map(str::to_owned).collect()
    }

    /// Who calls from there. An address that called too often without a valid key is answered 429.
    fn caller(&self, headers: &HeaderMap, address: IpAddr) -> Result<Caller, ApiError> {
        self.keys.caller(headers).map_err(|error| {
            if error.kind != ErrorKind::Unauthorized {
                return error;
            }
            self.unauthorized_calls
                .count(address, Instant::now())
                .err()
                .map_or(error, |wait| ApiError::too_many("too many calls without a valid key", wait.as_secs() + 1))
        })
    }

    /// The name of a caller's key; `None` where no keys are configured.
    fn key_name<'c>(&self, caller: &'c Caller) -> Option<&'c str> {
        self.keys.needed().then(|| caller.name())
    }

    /// The name of the key of a call that was refused, if it is a valid one.
    fn refused_key(&self, headers: &HeaderMap) -> Option<String> {
        self.keys.identify(headers).ok().and_then(|caller| self.key_name(&caller).map(str::to_owned))
    }

    /// Whether a call may see internal messages: with a valid key, or where none is needed.
    fn has_valid_key(&self, headers: &HeaderMap) -> bool {
        self.keys.identify(headers).is_ok()
    }

    /// Runs a call to the database off tokio's threads: the only way from the API to the database.
    async fn ask<T, F>(&self, question: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn ClientQueue) -> Result<T, QueueError> + Send + 'static,
    {
        let permit = self.limits.database_call().await?;
        self.ask_with(permit, question).await
    }

    /// The same with this permit. It is held until the database has answered, whether the caller still waits or not.
    async fn ask_with<T, F>(&self, permit: Permit, question: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn ClientQueue) -> Result<T, QueueError> + Send + 'static,
    {
        if !self.prepared.load(Ordering::SeqCst) {
            return Err(ApiError::new(ErrorKind::Unavailable, "the database is not ready yet"));
        }
        let (queue, most) = (Arc::clone(&self.queue), self.config.get().worker.max_request_data);
        let asked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            queue.limit_request_data(most);
            question(queue.as_ref())
        });
        match asked.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(paging::error(&error).unwrap_or_else(|| {
                let kind = if error.may_pass() { ErrorKind::Unavailable } else { ErrorKind::Internal };
                match error {
                    QueueError::TimedOut => {
                        ApiError::new(ErrorKind::TooSlow, "the search takes too long: give more filters")
                    }
                    error => ApiError::new(kind, error.to_string()),
                }
            })),
            Err(panic) => Err(ApiError::panicked(&panic)),
        }
    }

    /// A search. It ends when its client leaves, and after [`SEARCH_TIMEOUT`].
    async fn search(
        &self,
        key: Option<&str>,
        search: Filter,
        reader: Reader,
        page: Page,
    ) -> Result<SearchResult, ApiError> {
        let permit = self.limits.search(key).await?;
        let timeout = StatementTimeout::after(SEARCH_TIMEOUT);
        let _cancel = CancelOnDrop(timeout.clone());
        self.ask_with(permit, move |queue| queue.search(&search, &reader, &page, &timeout)).await
    }
}

/// Cancels a search when it is dropped: its client has left, or the search is over and there is nothing to cancel.
struct CancelOnDrop(StatementTimeout);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let timeout = self.0.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // It may ask the database to cancel the statement.
            drop(runtime.spawn_blocking(move || timeout.cancel()));
        }
    }
}

/// The answer of a path outside `/job/…` that cannot be answered.
fn error_response(api: &Api, error: &ApiError) -> Response<Body> {
    let envelope = Envelope::new(OUTSIDE);
    if error.is_ours() {
        log::error!("call failed resmsgid={} error={:?}", envelope.resmsgid, error.message);
    }
    let mut response = envelope.error(error, api.now());
    response.extensions_mut().insert(CallContext { reason: error.message.clone(), ..CallContext::default() });
    response
}
