//! The HTTP API: requests in and out as JSON, files by signed link, and what operators watch.
//!
//! One file per call, one list that names them ([`CALLS`]): routes and the OpenAPI description are both made from it.
//! Not here: what a request means (`intake`), rows (`requests`), links (`outputs`). Database calls go through
//! [`Api::ask`], never on a tokio thread.

mod audit;
mod body;
mod call;
mod clients;
mod describe;
mod docs;
mod envelope;
mod files;
mod guard;
mod health;
mod jobs;
mod keys;
mod list;
mod marks;
mod operate;
mod paging;
mod parse;
mod places;
mod ranges;
mod rate;
mod read;
mod search;
mod server;
mod shares;
mod status;
mod submit;
mod watch;
mod withheld;

use std::future::Ready;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Response};
use axum::routing::{MethodFilter, get, on};
use chrono::{DateTime, Utc};
use tokio::sync::Semaphore;

use self::call::{Answer, Call, Method};
use self::envelope::{Envelope, Fault, Kind, OUTSIDE, Told};
use self::keys::{Caller, Keys};
use self::status::{Around, Cut, SignedLinks, status_object};
use crate::config::Live;
use crate::config::checked::{self, Job};
use crate::intake;
use crate::metrics::Metrics;
use crate::outputs::{Links, Store};
use crate::requests::{
    ClientQueue, Clock, Page, Queue, QueueError, Reader, RequestKey, RequestRow, Search, SearchResult,
    StatementTimeout, Status,
};
use crate::sources::Source;

pub use audit::{AUDIT, fields as audit_fields};
pub use health::Troubles;
pub use server::{Bound, ServeError, bind};

/// Every call of `/job/…`.
const CALLS: [Call; 7] =
    [submit::CALL, read::CALL, list::CALL, search::CALL, operate::CANCEL, operate::RETRY, jobs::CALL];
/// They answer under this prefix too.
const PREFIX: &str = "/data/v3";
/// Database calls of the API at one time; more wait for their turn. Each needs a thread while it lasts.
const DATABASE_CALLS: usize = 32;
/// The most links that are signed on a thread that answers calls.
const FEW_LINKS: usize = 500;
/// How long the database may look for what a search asks for.
const SEARCHING: Duration = Duration::from_secs(5);
/// Files of a request from which on its status object takes a place among the large answers that are made.
const MANY_FILES: usize = 2000;
/// Bytes of the status object of one request that is asked for by its key.
const LONGEST_STATUS: usize = 32 << 20;

/// What the API works with.
#[derive(Clone)]
pub struct Parts {
    /// jobs.toml.
    pub config: Live,
    /// The `job_request` table, by connections that the daemon does not use.
    pub queue: Arc<dyn Queue>,
    /// Where files are.
    pub store: Store,
    /// The platform's tables, where this process reads them.
    pub source: Option<Arc<dyn Source>>,
    /// What is wrong with the scans of a job, by its id, where this process scans.
    pub scans: Option<Troubles>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Makes and checks download links.
    pub links: Links,
    /// Set when the database has been brought to what this program needs; calls before that are told to come again.
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
    marks: marks::Marks,
    shares: shares::Shares,
    strangers: clients::Strangers,
    audit: audit::Audit,
    turns: Arc<Semaphore>,
    places: places::Places,
    waiting: watch::Waiting,
    counts: watch::Counts,
    described: describe::Described,
    withheld: withheld::Told,
    health: health::Health,
}

impl Api {
    fn new(parts: Parts, settings: checked::Api) -> Self {
        parts.metrics.know_calls(CALLS.iter().map(|call| call.name).chain(["download", "metrics", "other"]));
        Self {
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
            shares: shares::Shares::default(),
            strangers: clients::Strangers::default(),
            audit: audit::Audit::new(Arc::clone(&parts.metrics)),
            metrics: parts.metrics,
            turns: Arc::new(Semaphore::new(DATABASE_CALLS)),
            places: places::Places::default(),
            waiting: watch::Waiting::default(),
            counts: watch::Counts::default(),
            described: describe::Described::default(),
            withheld: withheld::Told::default(),
        }
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// The jobs of this moment.
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

    /// Who calls from there. One address hears only so often that its key is not valid.
    fn caller(&self, headers: &HeaderMap, address: IpAddr) -> Result<Caller, Fault> {
        self.keys.caller(headers).map_err(|fault| {
            if fault.kind != Kind::Unauthorized {
                return fault;
            }
            self.strangers
                .count(address, Instant::now())
                .err()
                .map_or(fault, |wait| Fault::too_many("too many calls without a valid key", wait.as_secs() + 1))
        })
    }

    /// The name of a caller's key; `None` where no keys are configured.
    fn key_name<'c>(&self, caller: &'c Caller) -> Option<&'c str> {
        self.keys.needed().then(|| caller.name())
    }

    /// The name of the key of a call that was refused, if it is a valid one.
    fn refused_key(&self, headers: &HeaderMap) -> Option<String> {
        self.keys.known_caller(headers).ok().and_then(|caller| self.key_name(&caller).map(str::to_owned))
    }

    /// Whether a call may see what is wrong inside: who has a key, and everybody where none is needed.
    fn is_known(&self, headers: &HeaderMap) -> bool {
        self.keys.known_caller(headers).is_ok()
    }

    /// The API's one door to the database.
    async fn ask<T, F>(&self, question: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: FnOnce(&dyn ClientQueue) -> Result<T, QueueError> + Send + 'static,
    {
        let turn = places::turn(&self.turns).await;
        let turn = turn.ok_or_else(|| Fault::new(Kind::Unavailable, "too many calls wait for the database"))?;
        self.ask_in(turn, question).await
    }

    /// The same in this place. It is free again when the database has answered, whether the caller still waits or not.
    async fn ask_in<T, F>(&self, place: impl Send + 'static, question: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: FnOnce(&dyn ClientQueue) -> Result<T, QueueError> + Send + 'static,
    {
        if !self.prepared.load(Ordering::SeqCst) {
            return Err(Fault::new(Kind::Unavailable, "the database is not ready yet"));
        }
        let (queue, most) = (Arc::clone(&self.queue), self.config.get().worker.max_request_data);
        let asked = tokio::task::spawn_blocking(move || {
            let _place = place;
            queue.limit_request_data(most);
            question(queue.as_ref())
        });
        match asked.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(paging::fault(&error).unwrap_or_else(|| {
                let kind = if error.may_pass() { Kind::Unavailable } else { Kind::Internal };
                match error {
                    QueueError::TimedOut => Fault::new(Kind::TooSlow, "the search takes too long: give more filters"),
                    error => Fault::new(kind, error.to_string()),
                }
            })),
            Err(panic) => Err(Fault::new(Kind::Internal, format!("the call broke off: {panic}"))),
        }
    }

    /// A search. It ends when its client leaves, and after a while.
    async fn search(
        &self,
        key: Option<&str>,
        search: Search,
        reader: Reader,
        page: Page,
    ) -> Result<SearchResult, Fault> {
        let place = self.places.search(key).await?;
        let timeout = StatementTimeout::after(SEARCHING);
        let _leaves = Leaves(timeout.clone());
        self.ask_in(place, move |queue| queue.search(&search, &reader, &page, &timeout)).await
    }

    /// An answer with its place among those that are held, if it is a large one.
    async fn held(&self, key: Option<&str>, told: Told) -> Answer {
        let place = self.places.answer(key, told.len()).await?;
        Ok(told.holding(place))
    }

    /// The links of all files of these rows, by their keys.
    async fn links(&self, rows: &[RequestRow], now: DateTime<Utc>) -> Result<SignedLinks, Fault> {
        let keys = status::keys(rows);
        // Thousands of signatures take a thread for as long as others would wait for an answer.
        let signed = if self.links.may_wait() || keys.len() > FEW_LINKS {
            let (links, keys) = (self.links.clone(), keys.clone());
            let signing = tokio::task::spawn_blocking(move || links.sign(&keys, now)).await;
            signing.map_err(|panic| Fault::new(Kind::Internal, format!("the call broke off: {panic}")))?
        } else {
            self.links.sign(&keys, now)
        };
        let signed = signed.map_err(|error| Fault::new(Kind::Unavailable, error.to_string()))?;
        let expires = self.links.expires(now);
        let hosts = self.config.get().api.as_ref().map(|api| api.link_hosts.clone()).unwrap_or_default();
        for row in rows {
            self.withheld.tell(row, &hosts);
        }
        let links = keys.iter().map(|own| own.key().to_string()).zip(signed).collect();
        Ok(SignedLinks { links, expires, hosts })
    }

    /// The status object of a row, as it is answered.
    async fn status(&self, row: &RequestRow, now: DateTime<Utc>) -> Answer {
        let many = row.download_urls.len() > MANY_FILES;
        let _building = if many { Some(self.places.building().await?) } else { None };
        let text = self.text(row, now, LONGEST_STATUS, Cut::Files).await?;
        self.held(None, Told::text(text)).await
    }

    /// The status object of a row as JSON, of about `most` bytes at most: beyond it lacks what is cut first, and then what
    /// else may be long.
    async fn text(&self, row: &RequestRow, now: DateTime<Utc>, most: usize, first: Cut) -> Result<String, Fault> {
        let links = self.links(std::slice::from_ref(row), now).await?;
        let queue_position = match Status::parse(&row.status) {
            Some(Status::Submitted) => self.position(row).await?,
            _ => None,
        };
        let mut object = status_object(row, &Around { links: &links, now, queue_position });
        for cut in [None, Some(first), Some(Cut::LeftOut), Some(Cut::Request)] {
            if let Some(cut) = cut {
                object.cut(cut);
            }
            let text = serde_json::to_string(&object).map_err(|error| Fault::new(Kind::Internal, error.to_string()))?;
            if text.len() <= most || cut == Some(Cut::Request) {
                return Ok(text);
            }
        }
        Err(Fault::new(Kind::Internal, "a status object that cannot be shortened"))
    }

    /// The place of a row that waits; `None` for jobs that are not ours.
    async fn position(&self, row: &RequestRow) -> Result<Option<u64>, Fault> {
        let Some(job) = self.job(&row.job_id) else { return Ok(None) };
        let line = self.waiting.line(self, &job).await?;
        let key = RequestKey { tag: row.tag.clone(), request_id: row.request_id.clone() };
        Ok(Some(line.position(&key)))
    }
}

/// Ends a search when it is dropped: its client has left, or has got its answer, which it does no harm to.
struct Leaves(StatementTimeout);

impl Drop for Leaves {
    fn drop(&mut self) {
        let timeout = self.0.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // It may ask the database to cancel the statement.
            drop(runtime.spawn_blocking(move || timeout.cancel()));
        }
    }
}

/// Everything there is to call.
fn router(api: &Arc<Api>) -> Router {
    let mut router = Router::new();
    for call in &CALLS {
        let (method, allowed) = match call.method {
            Method::Get => (MethodFilter::GET, "GET,HEAD"),
            Method::Post | Method::Act => (MethodFilter::POST, "POST"),
        };
        for path in [call.path.to_owned(), format!("{PREFIX}{}", call.path)] {
            let own = Arc::clone(api);
            let answer = move |request: Request| call::run(Arc::clone(&own), call, request);
            router = router.route(&path, on(method, answer).fallback(other_method(api, allowed)));
        }
    }
    let get_only = || other_method(api, "GET,HEAD");
    if !api.store.is_remote() {
        router = router.route("/files/{*key}", get(files::file).fallback(get_only()));
    }
    router
        .route("/health", get(health::health).fallback(get_only()))
        .route("/metrics", get(watch::metrics).fallback(get_only()))
        .route("/openapi.json", get(describe::openapi).fallback(get_only()))
        .route("/docs", get(docs::page).fallback(get_only()))
        .route("/docs/", get(docs::start).fallback(get_only()))
        .route("/docs/{file}", get(docs::file).fallback(get_only()))
        .fallback(faulty(api, Fault::new(Kind::NotFound, "there is no such path")))
        .with_state(Arc::clone(api))
}

fn other_method(api: &Arc<Api>, allowed: &'static str) -> impl Fn() -> Ready<Response<Body>> + Clone + Send + 'static {
    faulty(api, Fault::method_not_allowed(allowed))
}

/// Answers everything with this error.
fn faulty(api: &Arc<Api>, with: Fault) -> impl Fn() -> Ready<Response<Body>> + Clone + Send + 'static {
    let api = Arc::clone(api);
    move || std::future::ready(fault(&api, &with))
}

/// An error outside `/job/…`.
fn fault(api: &Api, fault: &Fault) -> Response<Body> {
    let envelope = Envelope::new(OUTSIDE);
    if matches!(fault.kind, Kind::Internal | Kind::Unavailable) {
        log::error!("call failed resmsgid={} error={:?}", envelope.resmsgid, fault.message);
    }
    let mut response = envelope.fault(fault, api.now());
    let about = audit::About { reason: fault.message.clone(), ..audit::About::default() };
    response.extensions_mut().insert(about);
    response
}
