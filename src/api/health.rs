//! `GET /health`: is the process alive, and can it do its work? Each dependency is probed in the background, so that an
//! answer costs nothing and does not wait for a dependency that hangs.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use super::envelope::respond;
use super::{Api, Parts};
use crate::config::Live;
use crate::metrics::Metrics;
use crate::requests::Housekeeping;

/// How long between two probes of a dependency that is usable.
const INTERVAL: Duration = Duration::from_secs(5);
/// And of one that is not.
const INTERVAL_WHILE_DOWN: Duration = Duration::from_millis(200);
/// How long a probe may take, and how old its result may be.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The dependency whose connections are opened anew when it does not answer.
const DATABASE: &str = "database";
/// What the names of sources begin with. Without a source the process is ready all the same: requests are taken, and wait.
const SOURCE: &str = "source";

/// What is wrong with the scans of the job with an id, if anything is.
pub type ScanProblems = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

type Probe = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The last result of each probe.
pub(super) struct Health {
    database: Arc<dyn Housekeeping>,
    probes: Vec<(String, Probe)>,
    results: Mutex<BTreeMap<String, ProbeResult>>,
    metrics: Arc<Metrics>,
    config: Live,
    scans: Option<ScanProblems>,
}

/// When it was probed, and with which result.
type ProbeResult = (Instant, Result<(), String>);

/// What `/health` answers.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct HealthReport {
    /// The process answers.
    live: bool,
    /// The database takes rows and the store takes files.
    ready: bool,
    /// `database`, `store`, and where reports are made, `source` and the further sources, `source.NAME`. Without a key,
    /// where keys are configured, all sources are one: `source`.
    dependencies: BTreeMap<String, Dependency>,
    /// What does not work although the process is ready, and why: `source`, `source.NAME`, or `job ID` where the scans of
    /// a job do not end well. Without a key, where keys are configured, only that something is `degraded`: `source`, `jobs`.
    /// Absent where there is nothing.
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
            ("store".to_owned(), Arc::new(move || store.check().map_err(|error| error.to_string()))),
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
            scans: parts.scans.clone(),
        }
    }

    /// Stores the result of a probe; logs it when a dependency becomes unusable and when it is usable again.
    fn store(&self, name: &str, result: Result<(), String>) {
        let mut all = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let was_usable = all.get(name).is_none_or(|(_, result)| result.is_ok());
        match &result {
            Err(why) if was_usable => log::warn!("dependency not usable name={name} error={why:?}"),
            Ok(()) if !was_usable => log::info!("dependency usable again name={name}"),
            Ok(()) | Err(_) => {}
        }
        self.metrics.probed(name, result.is_ok());
        all.insert(name.to_owned(), (Instant::now(), result));
    }

    fn report(&self) -> HealthReport {
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let dependency = |name: &String| match results.get(name) {
            None => (false, "not looked at yet".to_owned()),
            Some((at, _)) if at.elapsed() > TIMEOUT => (false, format!("no answer for {} s", at.elapsed().as_secs())),
            Some((_, Ok(()))) => (true, "ok".to_owned()),
            Some((_, Err(why))) => (false, why.clone()),
        };
        let dependency = |name: &String| {
            let (ok, message) = dependency(name);
            Dependency { ok, message: Some(message) }
        };
        let dependencies: BTreeMap<_, _> =
            self.probes.iter().map(|(name, _)| (name.clone(), dependency(name))).collect();
        // A source that was never probed may be anything.
        let is_needed = |name: &String| !is_source(name) || !results.contains_key(name);
        let ready = dependencies.iter().all(|(name, one)| one.ok || !is_needed(name));
        let mut degraded = BTreeMap::new();
        for (name, source) in dependencies.iter().filter(|(name, one)| !one.ok && !is_needed(name)) {
            degraded.insert(name.clone(), source.message.clone().unwrap_or_default());
        }
        if let Some(trouble) = &self.scans {
            for job in &self.config.get().jobs {
                degraded.extend(trouble(&job.id).map(|why| (format!("job {}", job.id), why)));
            }
        }
        HealthReport { live: true, ready, dependencies, degraded }
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
        let kind = |name: String| if is_source(&name) { SOURCE } else { "jobs" }.to_owned();
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
                let probe = Arc::clone(&probe);
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
                api.health.store(&name, result);
                tokio::time::sleep(interval).await;
            }
        });
    }
    while probing.join_next().await.is_some() {}
}

/// `GET /health`
pub(super) async fn health(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response<Body> {
    let report = api.health.report();
    let report = if api.has_valid_key(&headers) { report } else { report.without_messages() };
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    respond(status, &serde_json::to_value(report).unwrap_or_default())
}
