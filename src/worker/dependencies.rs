//! What a daemon needs besides its database: the source and the store. While one of them is known to be down nothing is
//! claimed, so that an outage costs the requests that met it one attempt, and all others none.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::outputs::Store;
use crate::sources::Source as _;
use crate::sources::routed::Routed;

/// A dependency of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dependency {
    /// Where the platform's tables are.
    Source,
    /// Where files go.
    Store,
}

impl std::fmt::Display for Dependency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Store => "store",
        })
    }
}

/// How long a dependency may take to show that it is well.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which dependencies have failed and were not seen well since; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Down(Arc<Mutex<BTreeSet<Dependency>>>);

impl Down {
    /// It failed, in a way that may pass.
    pub fn report(&self, dependency: Dependency) {
        self.lock().insert(dependency);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Dependency>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is still down of what failed before, as a sentence; `None` if nothing is. Costs nothing while nothing has failed.
pub(super) async fn still_down(down: &Down, store: &Store, source: &Arc<Routed>) -> Option<String> {
    let suspected = down.lock().clone();
    for dependency in suspected {
        let (store, source) = (store.clone(), Arc::clone(source));
        let looking = tokio::task::spawn_blocking(move || match dependency {
            Dependency::Store => store.check().map_err(|error| error.to_string()),
            Dependency::Source => source.tables().map(drop),
        });
        let seen = match tokio::time::timeout(PATIENCE, looking).await {
            Ok(Ok(seen)) => seen,
            Ok(Err(panic)) => Err(panic.to_string()),
            Err(_) => Err(format!("no answer for {} s", PATIENCE.as_secs())),
        };
        if let Err(why) = seen {
            let what = format!("nothing is claimed while the {dependency} is down");
            log::warn!("{what} error={why:?}");
            return Some(format!("{what}: {why}"));
        }
        down.lock().remove(&dependency);
        log::info!("the {dependency} is well again");
    }
    None
}
