//! The one bridge from tokio to rayon: CPU work never runs on a tokio thread, and a panic in it is an answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use tokio::sync::oneshot;

/// The threads for CPU work, shared by all scans of the process.
#[derive(Clone, Debug)]
pub struct Cpu(Arc<ThreadPool>);

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
