//! What the readers of one attempt at a row group share: its bounds, what they hold, and why they stopped.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::errors::ParquetError;

use super::super::allowance::{Allowance, Holding, Refused};

/// Why reading stopped, where the file itself is sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Others hold what this would take.
    Busy,
    /// This number of rows at a time would do.
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
    /// A reader that has the turn waits for what others hold.
    has_turn: bool,
    /// Bytes that these readers hold.
    held: Arc<AtomicUsize>,
    /// Counts the chunks.
    chunk: AtomicUsize,
    /// The longest text of any dictionary.
    longest: AtomicUsize,
    /// Pages that were read, and their bytes as they are stored.
    pages: AtomicU64,
    bytes: AtomicU64,
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
            pages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
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

    /// Notes why reading stops, and gives the error that stops the decoder.
    pub(super) fn stop(&self, why: Stop) -> ParquetError {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        ParquetError::General("stopped".to_owned())
    }

    /// Rows decoded at a time.
    pub(super) const fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of a page or a cell, at most.
    pub(super) const fn unit(&self) -> usize {
        self.unit
    }

    /// A page was read that has this number of bytes in the file.
    pub(super) fn read_page(&self, bytes: usize) {
        self.pages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Pages that were read, and their bytes.
    pub(super) fn taken(&self) -> (u64, u64) {
        (self.pages.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// The number of chunks decoded so far.
    pub(super) fn chunk(&self) -> usize {
        self.chunk.load(Ordering::Relaxed)
    }

    /// A dictionary has a text of this length.
    pub(super) fn found_text(&self, bytes: usize) {
        self.longest.fetch_max(bytes, Ordering::Relaxed);
    }

    /// The same bytes, counted with `extra` until they are dropped.
    pub(super) fn hold(&self, bytes: Bytes, extra: usize) -> Result<Bytes, Refused> {
        let counted = bytes.len().saturating_add(extra);
        let holding = if self.has_turn {
            self.allowance.take_in_turn(counted, self.held.load(Ordering::Relaxed))?
        } else {
            self.allowance.take(counted)?
        };
        self.held.fetch_add(counted, Ordering::Relaxed);
        Ok(Bytes::from_owner(Held { bytes, by: Arc::clone(&self.held), counted, _holding: holding }))
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
