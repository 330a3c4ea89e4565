//! Which keys a semi join brought.
//!
//! Where the two tables of a join are read at different moments, rows of the other table may be gone by now. The keys that
//! were kept and did not come are asked for once more, by themselves: so a join brings more rows than the keys would, never
//! fewer.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use super::ScanStats;
use crate::tables::chunk::{Chunk, Texts};
use crate::tables::keys::{Keys, keys};

/// The keys that came, by two independent hashes: 16 bytes a key.
pub(super) struct SeenKeys {
    /// The place of the key among the scan's columns.
    column: usize,
    hashers: (RandomState, RandomState),
    seen: Mutex<HashSet<(u64, u64)>>,
}

impl SeenKeys {
    pub(super) fn new(column: usize) -> Self {
        Self { column, hashers: (RandomState::new(), RandomState::new()), seen: Mutex::default() }
    }

    fn hash(&self, key: &str) -> (u64, u64) {
        (self.hashers.0.hash_one(key), self.hashers.1.hash_one(key))
    }

    /// Notes the keys of a chunk.
    pub(super) fn take(&self, chunk: &Chunk) {
        let texts = Texts::of(&chunk.columns()[self.column]);
        let hashes: Vec<(u64, u64)> = chunk.rows().map(|row| self.hash(texts.get(row))).collect();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).extend(hashes);
    }

    /// The keys that did not come, neither with a row that was delivered nor with one that could not be used.
    pub(super) fn missing(&self, wanted: &dyn Keys, stats: &ScanStats) -> Arc<dyn Keys> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.extend(stats.faults.iter().map(|(key, _)| self.hash(key)));
        keys(wanted.iter().filter(|key| !seen.contains(&self.hash(key))))
    }
}
