//! The one bridge from tokio to rayon: CPU work never runs on a tokio thread, and a panic in it is an answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// The threads for CPU work, shared by all scans of the process.
#[derive(Clone, Debug)]
pub struct Cpu(Arc<ThreadPool>);

/// How many scans are at work at the same time, at most.
const SCANS_AT_ONCE: usize = 4;

/// Threads for each scan by itself. A pool gives its threads to what came first, as long as that lasts; between pools the
/// machine's scheduler divides the cores, so that a small request does not wait for a large one of another scan.
#[derive(Debug)]
pub struct Lanes {
    first: Cpu,
    free: Mutex<Vec<Cpu>>,
    permits: Arc<Semaphore>,
}

/// The threads of one scan, until it is dropped.
#[derive(Debug)]
pub struct Lane {
    cpu: Cpu,
    lanes: Arc<Lanes>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Lanes {
    /// As many pools of this many threads as scans may be at work; `first` is one of them.
    pub fn new(first: &Cpu, threads: usize) -> Result<Self, ThreadPoolBuildError> {
        let mut free = (1..SCANS_AT_ONCE).map(|_| Cpu::new(threads)).collect::<Result<Vec<_>, _>>()?;
        free.push(first.clone());
        let permits = Arc::new(Semaphore::new(free.len()));
        Ok(Self { first: first.clone(), free: Mutex::new(free), permits })
    }

    /// The threads for one more scan, once one of those at work has ended; first come, first served.
    pub async fn lane(self: &Arc<Self>) -> Lane {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        // With a permit one is free.
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Lane { cpu: free.unwrap_or_else(|| self.first.clone()), lanes: Arc::clone(self), _permit: permit }
    }
}

impl Lane {
    /// Its threads.
    #[must_use]
    pub fn cpu(&self) -> Cpu {
        self.cpu.clone()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.lanes.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.cpu.clone());
    }
}

/// The work panicked; the message is the panic's.
#[derive(Debug, thiserror::Error)]
#[error("internal error: {0}")]
pub struct Panicked(pub String);

impl Cpu {
    /// A pool of this many threads.
    pub fn new(threads: usize) -> Result<Self, ThreadPoolBuildError> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("cpu-{i}")).build()?;
        Ok(Self(Arc::new(pool)))
    }

    /// Runs `work` on the pool and waits for it without blocking. Parallel iterators inside use the same pool.
    pub async fn run<T, F>(&self, work: F) -> Result<T, Panicked>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (answer, asked) = oneshot::channel();
        // The receiver is gone only if the caller was dropped; then the answer is not needed.
        self.0.spawn(move || drop(answer.send(caught(work))));
        asked.await.unwrap_or_else(|_| Err(Panicked("the worker thread ended".to_owned())))
    }
}

/// Runs `work` and makes a panic in it an error.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Panicked(text.unwrap_or_else(|| "a panic without a message".to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_answer_and_the_pool_goes_on() {
        let cpu = Cpu::new(1).unwrap();
        let error = cpu.run(|| -> u32 { panic!("batch {}", 7) }).await.unwrap_err();
        assert_eq!(error.to_string(), "internal error: batch 7");
        assert_eq!(cpu.run(|| 1 + 1).await.unwrap(), 2);
    }
}
