//! `GET /health`, `/readyz` and `/livez`: is the process alive, and can it do its work? Each dependency is probed in the
//! background, so that an answer costs nothing and does not wait for a dependency that hangs.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::envelope::respond;
use super::{Api, Parts};
use crate::config::Live;
use crate::metrics::Metrics;
use crate::requests::Housekeeping;

/// How long between two probes of a dependency that is usable.
const INTERVAL: Duration = Duration::from_secs(5);
/// And of one that is not.
const INTERVAL_WHILE_DOWN: Duration = Duration::from_millis(200);
/// How long a probe may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How old the result of a probe may be. Databases and stores are seen within 10 s; an engine may take longer to answer.
const OLDEST: Duration = Duration::from_secs(10);
const OLDEST_OF_SOURCE: Duration = Duration::from_secs(25);
/// How long a dependency may be unusable before the log warns of it: a start or a restart is no alarm.
const GRACE: Duration = Duration::from_secs(5);
/// How long no thread may be free for blocking calls before the process counts as hung.
const HUNG: Duration = Duration::from_secs(30);

/// The dependency whose connections are opened anew when it does not answer.
const DATABASE: &str = "database";
const STORE: &str = "store";
/// What starts jobs, where this process is a daemon.
const SCHEDULER: &str = "scheduler";
const HEARTBEAT: &str = "heartbeat";
/// What the names of sources begin with. Without a source the process is ready all the same: requests are taken, and wait.
const SOURCE: &str = "source";

/// What is wrong with the daemon of this process; each answer is `None` where nothing is.
pub trait DaemonHealth: Send + Sync {
    /// Its scheduler does not tick: no job is started.
    fn scheduler(&self) -> Option<String>;
    /// Its heartbeat is not written.
    fn heartbeat(&self) -> Option<String>;
    /// The scans of the job with this id do not end well.
    fn scans(&self, job: &str) -> Option<String>;
}

type Probe = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The last result of each probe.
pub(super) struct Health {
    database: Arc<dyn Housekeeping>,
    probes: Vec<(String, Probe)>,
    results: Mutex<BTreeMap<String, ProbeResult>>,
    metrics: Arc<Metrics>,
    config: Live,
    daemon: Option<Arc<dyn DaemonHealth>>,
    /// When a thread for blocking calls was last free.
    thread_free: Mutex<Instant>,
}

/// The last probe of a dependency.
struct ProbeResult {
    ended: Instant,
    result: Result<(), String>,
    /// Since when it has been unusable.
    unusable_since: Option<Instant>,
    warned: bool,
}

/// What `/health` and `/readyz` answer.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct HealthReport {
    /// The process answers.
    live: bool,
    /// The database takes rows, the store takes files, and where this process is a daemon, its scheduler ticks.
    ready: bool,
    /// `database`, `store`, and where reports are made, `scheduler`, `source` and the further sources, `source.NAME`. Without a
    /// key, where keys are configured, all sources are one: `source`.
    dependencies: BTreeMap<String, Dependency>,
    /// What does not work although the process is ready, and why: `source`, `source.NAME`, `heartbeat`, or `job ID` where the
    /// scans of a job do not end well or nobody can work on a request that several daemons work on. Without a key, where keys
    /// are configured, only that something is `degraded`: `source`, `heartbeat`, `jobs`. Absent where there is nothing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    degraded: BTreeMap<String, String>,
}

/// One dependency.
#[derive(Debug, Serialize, JsonSchema)]
struct Dependency {
    /// Whether it is usable.
    ok: bool,
    /// Why not. Only told to callers with a key, where keys are configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl Dependency {
    fn new(result: Result<(), String>) -> Self {
        Self { ok: result.is_ok(), message: Some(result.err().unwrap_or_else(|| "ok".to_owned())) }
    }
}

impl Health {
    pub(super) fn new(parts: &Parts) -> Self {
        let database: Arc<dyn Housekeeping> = parts.queue.clone();
        let (queue, store, prepared) = (Arc::clone(&database), parts.store.clone(), Arc::clone(&parts.prepared));
        let config = parts.config.clone();
        let mut probes: Vec<(String, Probe)> = vec![
            (
                DATABASE.to_owned(),
                Arc::new(move || {
                    queue.check().map_err(|error| error.to_string())?;
                    let removes = config.get().worker.retention.is_some();
                    queue.check_writable(removes).map_err(|error| error.to_string())?;
                    if prepared.load(Ordering::SeqCst) { Ok(()) } else { Err("not ready yet".to_owned()) }
                }),
            ),
            (STORE.to_owned(), Arc::new(move || store.check().map_err(|error| error.to_string()))),
        ];
        for member in parts.source.iter().flat_map(|source| source.members()).cloned() {
            probes.push((member.name.clone(), Arc::new(move || member.found().map(drop))));
        }
        Self {
            database,
            probes,
            results: Mutex::default(),
            metrics: Arc::clone(&parts.metrics),
            config: parts.config.clone(),
            daemon: parts.daemon.clone(),
            thread_free: Mutex::new(Instant::now()),
        }
    }

    /// Stores the result of a probe that began then. Logs it when a dependency has been unusable for some time, and when it is
    /// usable again.
    fn store(&self, name: &str, began: Instant, result: Result<(), String>) {
        let mut all = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, warned) = all.get(name).map_or((None, false), |last| (last.unusable_since, last.warned));
        let unusable_since = result.is_err().then(|| since.unwrap_or(began));
        let is_long = unusable_since.is_some_and(|since| since.elapsed() >= GRACE);
        match &result {
            Err(why) if is_long && !warned => log::warn!("dependency not usable name={name} error={why:?}"),
            Ok(()) if warned => log::info!("dependency usable again name={name}"),
            Ok(()) | Err(_) => {}
        }
        self.metrics.probed(name, result.is_ok());
        let warned = result.is_err() && (warned || is_long);
        all.insert(name.to_owned(), ProbeResult { ended: Instant::now(), result, unusable_since, warned });
    }

    fn report(&self) -> HealthReport {
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let dependency = |name: &String| {
            let oldest = if is_source(name) { OLDEST_OF_SOURCE } else { OLDEST };
            Dependency::new(match results.get(name) {
                None => Err("not looked at yet".to_owned()),
                Some(ProbeResult { result: Ok(()), ended, .. }) if ended.elapsed() > oldest => {
                    Err(format!("no answer for {} s", ended.elapsed().as_secs()))
                }
                Some(last) => last.result.clone(),
            })
        };
        let mut dependencies: BTreeMap<_, _> =
            self.probes.iter().map(|(name, _)| (name.clone(), dependency(name))).collect();
        // A source that was never probed may be anything.
        let is_needed = |name: &String| !is_source(name) || !results.contains_key(name);
        let mut degraded = BTreeMap::new();
        for (name, source) in dependencies.iter().filter(|(name, one)| !one.ok && !is_needed(name)) {
            degraded.insert(name.clone(), source.message.clone().unwrap_or_default());
        }
        if let Some(daemon) = &self.daemon {
            dependencies.insert(SCHEDULER.to_owned(), Dependency::new(daemon.scheduler().map_or(Ok(()), Err)));
            degraded.extend(daemon.heartbeat().map(|why| (HEARTBEAT.to_owned(), why)));
            for job in &self.config.get().jobs {
                degraded.extend(daemon.scans(&job.id).map(|why| (format!("job {}", job.id), why)));
            }
        }
        let ready = dependencies.iter().all(|(name, one)| one.ok || !is_needed(name));
        HealthReport { live: true, ready, dependencies, degraded }
    }

    /// Sets the metrics to what is reported now.
    pub(super) fn publish(&self) {
        let report = self.report();
        self.metrics.set_ready(report.ready);
        for (name, one) in &report.dependencies {
            self.metrics.set_usable(name, one.ok);
        }
        if let Some(daemon) = &self.daemon {
            self.metrics.set_usable(HEARTBEAT, daemon.heartbeat().is_none());
            for job in &self.config.get().jobs {
                self.metrics.set_degraded(&job.id, daemon.scans(&job.id).is_some());
            }
        }
    }

    /// Why the process counts as hung, although this is answered.
    fn hung(&self) -> Option<String> {
        let free = self.thread_free.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        (free > HUNG).then(|| format!("no thread for blocking calls has been free for {} s", free.as_secs()))
    }
}

/// Whether a dependency is a source.
fn is_source(name: &str) -> bool {
    name.split('.').next() == Some(SOURCE)
}

impl HealthReport {
    /// Names and states only: messages name hosts, files and jobs.
    fn without_messages(mut self) -> Self {
        let mut dependencies: BTreeMap<String, Dependency> = BTreeMap::new();
        for (name, one) in self.dependencies {
            let kind = if is_source(&name) { SOURCE.to_owned() } else { name };
            dependencies.entry(kind).or_insert(Dependency { ok: true, message: None }).ok &= one.ok;
        }
        self.dependencies = dependencies;
        let kind = |name: String| match name.as_str() {
            name if is_source(name) => SOURCE.to_owned(),
            HEARTBEAT => name,
            _ => "jobs".to_owned(),
        };
        self.degraded = self.degraded.into_keys().map(|name| (kind(name), "degraded".to_owned())).collect();
        self
    }
}

/// Probes every dependency again and again, until it is aborted. Each at its own pace.
pub(super) async fn probe(api: Arc<Api>) {
    let mut probing = tokio::task::JoinSet::new();
    for (name, probe) in api.health.probes.clone() {
        let api = Arc::clone(&api);
        probing.spawn(async move {
            loop {
                let (probe, began) = (Arc::clone(&probe), Instant::now());
                let running = tokio::task::spawn_blocking(move || probe());
                let result = if let Ok(result) = tokio::time::timeout(TIMEOUT, running).await {
                    result.unwrap_or_else(|panic| Err(format!("looking at it broke off: {panic}")))
                } else {
                    // Calls hang on the same connections, and nothing else ends them.
                    if name == DATABASE {
                        api.health.database.reconnect();
                    }
                    Err(format!("no answer for {} s", TIMEOUT.as_secs()))
                };
                let interval = if result.is_ok() { INTERVAL } else { INTERVAL_WHILE_DOWN };
                api.health.store(&name, began, result);
                tokio::time::sleep(interval).await;
            }
        });
    }
    probing.spawn(async move {
        loop {
            if tokio::task::spawn_blocking(|| ()).await.is_ok() {
                *api.health.thread_free.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            }
            tokio::time::sleep(INTERVAL).await;
        }
    });
    while probing.join_next().await.is_some() {}
}

/// `GET /health` and `/readyz`
pub(super) async fn health(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response<Body> {
    let mut report = api.health.report();
    for (job, why) in api.split_requests.trouble(&api) {
        let degraded = report.degraded.entry(format!("job {job}")).or_default();
        *degraded = if degraded.is_empty() { why } else { format!("{degraded}; {why}") };
    }
    let report = if api.has_valid_key(&headers) { report } else { report.without_messages() };
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    respond(status, &serde_json::to_value(report).unwrap_or_default())
}

/// `GET /livez`: the process turns. It says nothing of what it depends on: a restart would not mend that.
pub(super) async fn live(State(api): State<Arc<Api>>) -> Response<Body> {
    match api.health.hung() {
        None => respond(StatusCode::OK, &json!({ "live": true })),
        Some(why) => respond(StatusCode::SERVICE_UNAVAILABLE, &json!({ "live": false, "message": why })),
    }
}
