//! Opens what jobs.toml names: the queue, the source, the store. Nothing is reached here but local files.

use std::sync::Arc;

use super::daemon_state::DaemonState;
use super::dependencies::Down;
use super::stop::Stop;
use super::{AppContext, cpu, memory};
use crate::config::Live;
use crate::config::checked::{Config, DatabaseUrl, NamedSource, Pooler, Secret, StorePlace};
use crate::metrics::Metrics;
use crate::objects::{Bucket, ObjectError};
use crate::outputs::{Links, STORE_CALLS, Store, kept_link_key};
use crate::requests::{self, Clock, DAEMON_CONNECTIONS, Pooling, PostgresOptions, Queue, QueueError};
use crate::sources::routed::{Member, Routed};
use crate::sources::{Bounds, Settings};

/// Why the program cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The queue's database.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The URL of a source, which is named.
    #[error("{0}")]
    Source(String),
    /// The store's URL, or what the environment says of it: also where links are needed and its credentials sign none.
    #[error("[store] url: {0}")]
    Store(#[from] ObjectError),
    /// The key of download links cannot be kept in the store.
    #[error("cannot keep the key of download links in the store: {0}")]
    LinkKey(#[from] std::io::Error),
    /// The threads.
    #[error("cannot start the worker threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// Everything a scan works with, from a checked configuration.
pub fn app_context(config: Config, clock: Arc<dyn Clock>) -> Result<AppContext, OpenError> {
    let metrics = Arc::<Metrics>::default();
    metrics.set_started(clock.now());
    let cpu = cpu::Cpu::new(config.worker.threads)?;
    Ok(AppContext {
        queue: queue(&config, Arc::clone(&clock), DAEMON_CONNECTIONS)?,
        source: Arc::new(Routed::new(counted(members(&config).map_err(OpenError::Source)?, &metrics))),
        store: counted_store(store(&config)?, &metrics),
        lanes: Arc::new(cpu::Lanes::new(&cpu, config.worker.threads)?),
        cpu,
        stop: Stop::default(),
        exclusive: Arc::default(),
        down: Down::default(),
        scans: Arc::default(),
        state: DaemonState::default(),
        progress: Arc::default(),
        memory: Arc::default(),
        metrics,
        prepared: Arc::default(),
        installation: Arc::default(),
        clock,
        config: Live::new(config),
    })
}

/// The `job_request` table, by at most this many connections.
pub fn queue(config: &Config, clock: Arc<dyn Clock>, connections: u32) -> Result<Arc<dyn Queue>, QueueError> {
    let queue: Arc<dyn Queue> = match &config.database.url {
        DatabaseUrl::Sqlite(path) => Arc::new(requests::open_sqlite(path, clock, connections)?),
        DatabaseUrl::Postgres(url) => {
            let place = PostgresOptions {
                url: url.reveal(),
                pooling: config.database.pooler.map(|pooler| match pooler {
                    Pooler::None => Pooling::None,
                    Pooler::Session => Pooling::Session,
                    Pooler::Transaction => Pooling::Transaction,
                }),
                direct_url: config.database.direct_url.as_ref().map(Secret::reveal),
            };
            Arc::new(requests::open_postgres(place, clock, connections)?)
        }
    };
    queue.limit_request_data(config.worker.max_request_data);
    Ok(queue)
}

/// The platform's tables, each from its source. The error says what is wrong with a URL, without showing it.
pub fn source(config: &Config) -> Result<Arc<Routed>, String> {
    Ok(Arc::new(Routed::new(members(config)?)))
}

fn members(config: &Config) -> Result<Vec<Member>, String> {
    config.sources.used.iter().map(|source| member(config, source)).collect()
}

/// The same, where each reading is counted.
fn counted(mut members: Vec<Member>, metrics: &Arc<Metrics>) -> Vec<Member> {
    for member in &mut members {
        metrics.know_source(&member.name);
        let metrics = Arc::clone(metrics);
        member.observer = Some(Arc::new(move |name, error| metrics.source_read(name, error)));
    }
    members
}

/// The same, where each call is counted.
fn counted_store(store: Store, metrics: &Arc<Metrics>) -> Store {
    for call in STORE_CALLS {
        metrics.know_store_call(call);
    }
    let metrics = Arc::clone(metrics);
    store.observed(Arc::new(move |call, error| metrics.store_called(call, error)))
}

/// One of the sources. The error is that of [`source`].
pub fn member(config: &Config, source: &NamedSource) -> Result<Member, String> {
    let held = usize::try_from(memory::for_sources(config.worker.memory)).unwrap_or(usize::MAX);
    // Several may read at once. Less than two pages is too little for one.
    let held = (held / config.sources.used.len().max(1)).max(2 * Bounds::DEFAULT.unit);
    let settings = Settings { timezone: config.timezone, bounds: Bounds { held, ..Bounds::DEFAULT } };
    let NamedSource { name, tables, config } = source;
    let source = config.open(settings).map_err(|error| format!("[{name}] url: {error}"))?;
    Ok(Member { name: name.clone(), tables: tables.clone(), source, observer: None })
}

/// What makes download links: under this URL for a local store, by the store's own scheme for an object store. The key of
/// the former is `[store] link_key`, or one that is made and kept in the store.
///
/// # Errors
/// [`OpenError::LinkKey`], [`OpenError::Store`].
pub fn links(config: &Config, public_url: &str) -> Result<Links, OpenError> {
    let holds = config.store.signed_url_ttl;
    Ok(match (&config.store.place, &config.store.link_key) {
        (StorePlace::Objects(place), _) => {
            check_links(config)?;
            Links::remote(Bucket::open(place)?, holds)
        }
        (_, Some(key)) => Links::local(key.reveal().as_bytes(), public_url, holds),
        (StorePlace::Directory(directory), None) => Links::local(&kept_link_key(directory)?, public_url, holds),
    })
}

/// Whether links to files in the store can be made, as far as that is known without reaching it.
///
/// # Errors
/// As [`links`], for an object store: its credentials are of a kind that signs nothing.
pub fn check_links(config: &Config) -> Result<(), ObjectError> {
    match &config.store.place {
        StorePlace::Directory(_) => Ok(()),
        StorePlace::Objects(place) => Bucket::open(place)?.can_sign(),
    }
}

/// Where files go.
///
/// # Errors
/// [`OpenError::Store`].
pub fn store(config: &Config) -> Result<Store, OpenError> {
    Ok(match &config.store.place {
        StorePlace::Directory(directory) => Store::local(directory.clone()),
        StorePlace::Objects(place) => Store::remote(Bucket::open(place)?),
    })
}
