//! Object stores by URL: S3 and compatible servers, Azure Blob, Google Cloud Storage.
//!
//! [`Location`] is what a URL names, [`Settings`] what the environment says of credentials and endpoints, [`Bucket`] both
//! of them opened. Calls block: a runtime of this room drives them, so a caller on tokio uses `spawn_blocking`. Not here:
//! what is stored or read (`outputs`, `sources`).

mod bucket;
mod errors;
mod location;
mod open;
mod profile;
mod sas;
mod settings;

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

pub use bucket::fetch::{Fetch, Fetched, Named};
pub use bucket::{Bucket, Headers, Listing, Object, Upload};
pub use errors::{Cause, ObjectError};
pub use location::{Location, LocationError};
pub use settings::{Settings, odd_character};

/// An object store as the configuration names it: where, and with what the environment says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketConfig {
    /// Where.
    pub location: Location,
    /// Credentials, endpoints, regions.
    pub settings: Settings,
}

impl BucketConfig {
    /// The variables of its cloud that are no single line of text, and what is odd about each.
    #[must_use]
    pub fn odd_variables(&self) -> Vec<(String, String)> {
        self.settings.odd(self.location.variables())
    }
}

/// Enough for signing and TLS; nothing else computes there.
const THREADS: usize = 2;

/// Waits for a future of an object store. Must not be called on a thread that drives futures itself.
fn wait<T>(future: impl Future<Output = T>) -> T {
    match runtime() {
        Some(runtime) => runtime.block_on(future),
        // Nothing of a store can be driven without its threads.
        None => panic!("the threads for object stores cannot be started"),
    }
}

/// Runs a future beside the caller, who gets its result.
fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    match runtime() {
        Some(runtime) => runtime.spawn(future),
        // As `wait`.
        None => panic!("the threads for object stores cannot be started"),
    }
}

/// Runs a future beside the caller.
fn beside(future: impl Future<Output = ()> + Send + 'static) {
    if let Some(runtime) = runtime() {
        runtime.spawn(future);
    }
}

/// One for the process, never dropped: its connections are used again by later callers.
fn runtime() -> Option<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            let built = Builder::new_multi_thread().worker_threads(THREADS).thread_name("objects").enable_all().build();
            built.inspect_err(|error| log::error!("the threads for object stores cannot be started error={error}")).ok()
        })
        .as_ref()
}
