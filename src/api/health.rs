//! `GET /health`: is the process alive, and can it do its work? Each dependency is looked at in the background, so that
//! asking costs nothing and a dependency that hangs holds up nobody.

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

/// How long between two looks at what is well.
const APART: Duration = Duration::from_secs(5);
/// And at what is not: its end is waited for.
const SOON: Duration = Duration::from_millis(200);
/// An answer older than this is none.
const STALE: Duration = Duration::from_secs(20);

/// The one that has connections to give up.
const DATABASE: &str = "database";
/// The one without which the process is ready all the same.
const SOURCE: &str = "source";

/// Says what is wrong with the scans of the job with an id.
pub type Troubles = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

type Look = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What was seen of each dependency.
pub(super) struct Health {
    database: Arc<dyn Housekeeping>,
    looks: Vec<(&'static str, Look)>,
    seen: Mutex<BTreeMap<&'static str, Seen>>,
    metrics: Arc<Metrics>,
    config: Live,
    scans: Option<Troubles>,
}

/// When, and what.
type Seen = (Instant, Result<(), String>);

/// What `/health` answers.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct HealthReport {
    /// The process answers.
    live: bool,
    /// The database takes rows and the store takes files.
    ready: bool,
    /// database, store, and where reports are made, source.
    dependencies: BTreeMap<&'static str, Dependency>,
    /// What does not work as it should although the process is ready, and why: `source`, or `job ID` where the scans of a
    /// job do not end well. Without a key, where keys are configured, only that something is `degraded`: `source`, `jobs`.
    /// Absent where there is nothing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    degraded: BTreeMap<String, String>,
}

/// One dependency.
#[derive(Debug, Serialize, JsonSchema)]
struct Dependency {
    /// Whether it can be used.
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
        let mut looks: Vec<(&'static str, Look)> = vec![
            (
                DATABASE,
                Arc::new(move || {
                    queue.check().map_err(|error| error.to_string())?;
                    let removes = config.get().worker.retention.is_some();
                    queue.check_writable(removes).map_err(|error| error.to_string())?;
                    if prepared.load(Ordering::SeqCst) { Ok(()) } else { Err("not ready yet".to_owned()) }
                }),
            ),
            ("store", Arc::new(move || store.check().map_err(|error| error.to_string()))),
        ];
        if let Some(source) = parts.source.clone() {
            looks.push((SOURCE, Arc::new(move || source.tables().map(drop))));
        }
        Self {
            database,
            looks,
            seen: Mutex::default(),
            metrics: Arc::clone(&parts.metrics),
            config: parts.config.clone(),
            scans: parts.scans.clone(),
        }
    }

    /// Keeps what was seen; logs it when it gets worse and when it is well again.
    fn saw(&self, name: &'static str, seen: Result<(), String>) {
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let was_well = all.get(name).is_none_or(|(_, seen)| seen.is_ok());
        match &seen {
            Err(why) if was_well => log::warn!("dependency not usable name={name} error={why:?}"),
            Ok(()) if !was_well => log::info!("dependency usable again name={name}"),
            Ok(()) | Err(_) => {}
        }
        self.metrics.probed(name, seen.is_ok());
        all.insert(name, (Instant::now(), seen));
    }

    fn report(&self) -> HealthReport {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let dependency = |name| match seen.get(name) {
            None => (false, "not looked at yet".to_owned()),
            Some((at, _)) if at.elapsed() > STALE => (false, format!("no answer for {} s", at.elapsed().as_secs())),
            Some((_, Ok(()))) => (true, "ok".to_owned()),
            Some((_, Err(why))) => (false, why.clone()),
        };
        let dependency = |name| {
            let (ok, message) = dependency(name);
            Dependency { ok, message: Some(message) }
        };
        let dependencies: BTreeMap<_, _> = self.looks.iter().map(|(name, _)| (*name, dependency(*name))).collect();
        // Without the source requests are still taken, and wait. What was never looked at may be anything.
        let is_needed = |name: &str| name != SOURCE || !seen.contains_key(SOURCE);
        let ready = dependencies.iter().all(|(name, one)| one.ok || !is_needed(name));
        let mut degraded = BTreeMap::new();
        if let Some(source) = dependencies.get(SOURCE).filter(|one| !one.ok && !is_needed(SOURCE)) {
            degraded.insert(SOURCE.to_owned(), source.message.clone().unwrap_or_default());
        }
        if let Some(trouble) = &self.scans {
            for job in &self.config.get().jobs {
                degraded.extend(trouble(&job.id).map(|why| (format!("job {}", job.id), why)));
            }
        }
        HealthReport { live: true, ready, dependencies, degraded }
    }
}

impl HealthReport {
    /// Names and states only: messages name hosts, files and jobs.
    fn without_messages(mut self) -> Self {
        for dependency in self.dependencies.values_mut() {
            dependency.message = None;
        }
        let kind = |name: String| if name == SOURCE { name } else { "jobs".to_owned() };
        self.degraded = self.degraded.into_keys().map(|name| (kind(name), "degraded".to_owned())).collect();
        self
    }
}

/// Looks at every dependency again and again, until it is aborted. Each at its own pace.
pub(super) async fn look(api: Arc<Api>) {
    let mut looking = tokio::task::JoinSet::new();
    for (name, look) in api.health.looks.clone() {
        let api = Arc::clone(&api);
        looking.spawn(async move {
            loop {
                let look = Arc::clone(&look);
                let looking = tokio::task::spawn_blocking(move || look());
                let seen = if let Ok(seen) = tokio::time::timeout(STALE, looking).await {
                    seen.unwrap_or_else(|panic| Err(format!("looking at it broke off: {panic}")))
                } else {
                    // Calls hang on the same connections, and nothing else ends them.
                    if name == DATABASE {
                        api.health.database.reconnect();
                    }
                    Err(format!("no answer for {} s", STALE.as_secs()))
                };
                let apart = if seen.is_ok() { APART } else { SOON };
                api.health.saw(name, seen);
                tokio::time::sleep(apart).await;
            }
        });
    }
    while looking.join_next().await.is_some() {}
}

/// `GET /health`
pub(super) async fn health(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response<Body> {
    let report = api.health.report();
    let report = if api.is_known(&headers) { report } else { report.without_messages() };
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    respond(status, &serde_json::to_value(report).unwrap_or_default())
}
