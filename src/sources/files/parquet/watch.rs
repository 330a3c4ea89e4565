//! What the readers of one attempt at a row group share: its bounds, what they hold, and why they stopped.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::errors::ParquetError;

use super::super::allowance::{Allowance, Holding};

/// Why reading stopped, where the file itself is sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Others hold what this would take.
    Busy,
    /// So many rows at a time would do.
    Fewer(usize),
    /// Something is larger than anything may be; as it follows the file's name.
    TooLarge(String),
}

/// What all readers of one attempt at a row group share.
pub(super) struct Watch {
    allowance: Arc<Allowance>,
    /// Bytes of a page or a cell, at most.
    unit: usize,
    /// Rows decoded at a time.
    rows: usize,
    /// Whoever has the turn waits for what others hold.
    has_turn: bool,
    /// Bytes that these readers hold.
    held: Arc<AtomicUsize>,
    /// Counts the chunks.
    chunk: AtomicUsize,
    /// The longest text of any dictionary.
    longest: AtomicUsize,
    stop: Mutex<Option<Stop>>,
}

impl Watch {
    pub(super) fn new(allowance: &Arc<Allowance>, unit: usize, rows: usize, has_turn: bool) -> Arc<Self> {
        Arc::new(Self {
            allowance: Arc::clone(allowance),
            unit,
            rows,
            has_turn,
            held: Arc::default(),
            chunk: AtomicUsize::new(0),
            longest: AtomicUsize::new(0),
            stop: Mutex::new(None),
        })
    }

    /// A chunk was decoded.
    pub(super) fn next_chunk(&self) {
        self.chunk.fetch_add(1, Ordering::Relaxed);
    }

    /// Why a reader failed, where it was stopped.
    pub(super) fn stopped(&self) -> Option<Stop> {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stop(&self, why: Stop) -> ParquetError {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        ParquetError::General("stopped".to_owned())
    }

    /// Rows decoded at a time.
    pub(super) const fn rows(&self) -> usize {
        self.rows
    }

    /// The longest text of any dictionary so far.
    pub(super) fn longest(&self) -> usize {
        self.longest.load(Ordering::Relaxed)
    }

    /// Bytes that decoding a chunk may take, of each column.
    pub(super) const fn bearable(&self) -> usize {
        self.unit / 2
    }
}

/// Bytes of a page, counted until nobody has them any more.
struct Held {
    bytes: Bytes,
    by: Arc<AtomicUsize>,
    counted: usize,
    _holding: Holding,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.by.fetch_sub(self.counted, Ordering::Relaxed);
    }
}
