//! Opens what jobs.toml names: the queue, the source, the store. Nothing is reached here but local files.

use std::sync::Arc;

use super::dependencies::Down;
use super::stop::Stop;
use super::{World, cpu};
use crate::config::Live;
use crate::config::checked::{Config, DatabaseUrl, SourcePlace};
use crate::objects::Bucket;
use crate::outputs::{Links, Store, kept_link_key};
use crate::requests::{self, Clock, DAEMON_CONNECTIONS, Queue, QueueError};
use crate::sources::files::FilesSource;
use crate::sources::postgres::PostgresSource;
use crate::sources::{Settings, Source};

/// Why the program cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The queue's database.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The source's URL.
    #[error("[source] url: {0}")]
    Source(String),
    /// The threads.
    #[error("cannot start the worker threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// Everything a scan works with, from a checked configuration.
pub fn world(config: Config, clock: Arc<dyn Clock>) -> Result<World, OpenError> {
    Ok(World {
        queue: queue(&config, Arc::clone(&clock), DAEMON_CONNECTIONS)?,
        source: source(&config).map_err(OpenError::Source)?,
        store: store(&config),
        cpu: cpu::Cpu::new(config.worker.threads)?,
        stop: Stop::default(),
        alone: Arc::default(),
        down: Down::default(),
        progress: Arc::default(),
        memory: Arc::default(),
        metrics: Arc::default(),
        prepared: Arc::default(),
        clock,
        config: Live::new(config),
    })
}

/// The `job_request` table, by at most so many connections.
pub fn queue(config: &Config, clock: Arc<dyn Clock>, connections: u32) -> Result<Arc<dyn Queue>, QueueError> {
    Ok(match &config.database.url {
        DatabaseUrl::Sqlite(path) => Arc::new(requests::open_sqlite(path, clock, connections)?),
        DatabaseUrl::Postgres(url) => Arc::new(requests::open_postgres(url.reveal(), clock, connections)?),
    })
}

/// The platform's tables. The error says what is wrong with the URL, without showing it.
pub fn source(config: &Config) -> Result<Arc<dyn Source>, String> {
    let settings = Settings { timezone: config.timezone, max_bad_rows: config.source.max_bad_rows };
    Ok(match &config.source.place {
        SourcePlace::Files { directory, csv_dialect } => {
            Arc::new(FilesSource::new(directory.clone(), *csv_dialect, settings))
        }
        SourcePlace::Objects { place, csv_dialect } => {
            let bucket = Bucket::open(place).map_err(|error| error.to_string())?;
            Arc::new(FilesSource::stored(bucket, *csv_dialect, settings))
        }
        SourcePlace::Postgres { url, schema } => Arc::new(PostgresSource::new(url.reveal(), schema, settings)?),
    })
}

/// What makes download links under this URL. Their key is `[store] link_key`, or one that is made and kept in the store.
///
/// # Errors
/// It cannot be kept there.
pub fn links(config: &Config, public_url: &str) -> std::io::Result<Links> {
    let holds = config.store.signed_url_ttl;
    Ok(match &config.store.link_key {
        Some(key) => Links::new(key.reveal().as_bytes(), public_url, holds),
        None => Links::new(&kept_link_key(&config.store.directory)?, public_url, holds),
    })
}

/// Where files go.
#[must_use]
pub fn store(config: &Config) -> Store {
    Store::local(config.store.directory.clone())
}
