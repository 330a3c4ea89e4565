//! Reads jobs.toml again: when it has changed, and when somebody asks for it (SIGHUP).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::Signal;

use crate::config::{self, Environment, Live};
use crate::metrics::Metrics;
use crate::reports;

/// How often the file is looked at. Not told by the file system: a ConfigMap is replaced by switching a link somewhere
/// above, and network file systems tell nothing.
const LOOK: Duration = Duration::from_secs(1);

/// The file behind a configuration in force.
#[derive(Debug)]
pub struct Reload {
    file: PathBuf,
    environment: Environment,
    live: Live,
    metrics: Arc<Metrics>,
}

/// What tells one state of the file from the next; `None`: it is not there.
type Stamp = Option<(SystemTime, u64, u64)>;

impl Reload {
    /// Reads the file of `live`, with the same environment as it was made from.
    #[must_use]
    pub fn new(live: Live, environment: Environment, metrics: Arc<Metrics>) -> Self {
        Self { file: live.get().file.clone(), environment, live, metrics }
    }

    /// Watches the file and listens for `hangup`, for ever.
    pub async fn watch(self, mut hangup: Signal) {
        let (mut read, mut before) = (self.stamp(), self.stamp());
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {
                    let stamp = self.stamp();
                    // Only once it has stood still for a look: half of a file may be valid.
                    if stamp != before || stamp == read {
                        before = stamp;
                        continue;
                    }
                    read = stamp;
                }
                _ = hangup.recv() => (read, before) = (self.stamp(), self.stamp()),
            }
            self.read();
        }
    }

    /// Of the file, and of the queries of its reports in SQL.
    fn stamp(&self) -> Vec<Stamp> {
        let queries = self.live.get().query_files();
        std::iter::once(&self.file).chain(&queries).map(|file| stamp(file)).collect()
    }

    /// Reads it now. Work in progress goes on with what it began with.
    fn read(&self) {
        let file = self.file.display();
        match config::load(&self.file, &self.environment, reports::registry()) {
            Err(errors) => {
                self.metrics.reloaded("refused");
                log::error!("{file} is not valid, the old one goes on: {errors}");
            }
            Ok(config) => {
                let changes = self.live.replace(&config);
                for section in changes.need_restart {
                    log::warn!("{file} was read again: a change of {section} needs a restart");
                }
                let config = self.live.get();
                let (what, outcome) =
                    if changes.in_force { ("in force", "in_force") } else { ("nothing new", "unchanged") };
                self.metrics.reloaded(outcome);
                log::info!("{file} was read again: {what} jobs={}", config.jobs.len());
            }
        }
    }
}

fn stamp(file: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}
