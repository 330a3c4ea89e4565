//! `GET /health`: is the process alive, and can it do its work? Each dependency is looked at in the background, so that
//! asking costs nothing and a dependency that hangs holds up nobody.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use super::envelope::respond;
use super::{Api, Parts};

/// How long between two looks at what is well.
const APART: Duration = Duration::from_secs(5);
/// And at what is not: its end is waited for.
const SOON: Duration = Duration::from_millis(200);
/// An answer older than this is none.
const STALE: Duration = Duration::from_secs(20);

/// The one that has connections to give up.
const DATABASE: &str = "database";

type Look = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What was seen of each dependency.
pub(super) struct Health {
    looks: Vec<(&'static str, Look)>,
    seen: Mutex<BTreeMap<&'static str, Seen>>,
}

/// When, and what.
type Seen = (Instant, Result<(), String>);

/// What `/health` answers.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct HealthReport {
    /// The process answers.
    live: bool,
    /// Every dependency can be used.
    ready: bool,
    /// database, store, and where reports are made, source.
    dependencies: BTreeMap<&'static str, Dependency>,
}

/// One dependency.
#[derive(Debug, Serialize, JsonSchema)]
struct Dependency {
    /// Whether it can be used.
    ok: bool,
    /// Why not.
    message: String,
}

impl Health {
    pub(super) fn new(parts: &Parts) -> Self {
        let (queue, store, prepared) = (Arc::clone(&parts.queue), parts.store.clone(), Arc::clone(&parts.prepared));
        let config = parts.config.clone();
        let mut looks: Vec<(&'static str, Look)> = vec![
            (
                DATABASE,
                Arc::new(move || {
                    queue.check().map_err(|error| error.to_string())?;
                    let removes = config.get().worker.retention.is_some();
                    queue.writable(removes).map_err(|error| error.to_string())?;
                    if prepared.load(Ordering::SeqCst) { Ok(()) } else { Err("not ready yet".to_owned()) }
                }),
            ),
            ("store", Arc::new(move || store.check().map_err(|error| error.to_string()))),
        ];
        if let Some(source) = parts.source.clone() {
            looks.push(("source", Arc::new(move || source.tables().map(drop))));
        }
        Self { looks, seen: Mutex::default() }
    }

    /// Keeps what was seen; tells the log when it gets worse.
    fn saw(&self, name: &'static str, seen: Result<(), String>) {
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let was_well = all.get(name).is_none_or(|(_, seen)| seen.is_ok());
        if let (Err(why), true) = (&seen, was_well) {
            log::warn!("dependency not usable name={name} error={why:?}");
        }
        all.insert(name, (Instant::now(), seen));
    }

    fn report(&self) -> HealthReport {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let dependency = |name| match seen.get(name) {
            None => Dependency { ok: false, message: "not looked at yet".to_owned() },
            Some((at, _)) if at.elapsed() > STALE => {
                Dependency { ok: false, message: format!("no answer for {} s", at.elapsed().as_secs()) }
            }
            Some((_, Ok(()))) => Dependency { ok: true, message: "ok".to_owned() },
            Some((_, Err(why))) => Dependency { ok: false, message: why.clone() },
        };
        let dependencies: BTreeMap<_, _> = self.looks.iter().map(|(name, _)| (*name, dependency(*name))).collect();
        HealthReport { live: true, ready: dependencies.values().all(|one| one.ok), dependencies }
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
                        api.queue.reconnect();
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
pub(super) async fn health(State(api): State<Arc<Api>>) -> Response<Body> {
    let report = api.health.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    respond(status, &serde_json::to_value(report).unwrap_or_default())
}
