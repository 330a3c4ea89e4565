//! Where the learners of a batch can be divided: a sample of their ids.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};

use super::catalog::{BatchIdx, Catalog};
use super::chunk::{Chunk, ChunkView};
use super::key_range::SplitPoints;
use super::keys::keys;
use super::plan::Scan;
use super::schema::user_enrolments::{BATCHID, USERID};
use super::schema::{Column, Table};

/// Ids that are kept of all: as many learners of a batch as there are, ranges differ by a few in a hundred.
const SAMPLE: usize = 16_384;

/// Samples the ids of a batch's learners, to know where to divide them.
#[derive(Debug)]
pub struct KeySampler {
    columns: Vec<Column>,
    batch: String,
    sample: Mutex<Sample>,
}

/// The ids with the smallest hashes: a sample of the distinct ones in any order.
#[derive(Debug)]
struct Sample {
    ids: Vec<(u64, String)>,
    /// No hash beyond is among the smallest.
    most: u64,
}

impl KeySampler {
    /// Of a batch, by its index in [`Catalog::batches`].
    #[must_use]
    pub fn new(catalog: &Catalog, batch: BatchIdx) -> Self {
        let columns = vec![BATCHID.key(), USERID.key()];
        let sample = Mutex::new(Sample { ids: Vec::new(), most: u64::MAX });
        Self { columns, batch: catalog.batch(batch).id.clone(), sample }
    }

    /// What to read.
    #[must_use]
    pub fn scan(&self) -> Scan {
        let keys = keys([self.batch.as_str()]);
        Scan::of_keys(Table::UserEnrolments, self.columns.clone(), BATCHID.name(), keys)
    }

    /// Takes a chunk of that, from any thread.
    pub fn take(&self, chunk: &Chunk) {
        let chunk = ChunkView::new(chunk, &self.columns);
        let (batches, ids) = (chunk.cells(BATCHID), chunk.cells(USERID));
        let own = chunk.rows().filter(|row| batches.get(*row) == self.batch);
        let hashed: Vec<(u64, &str)> = own.map(|row| (hash(ids.get(row)), ids.get(row))).collect();
        let mut sample = self.sample.lock().unwrap_or_else(PoisonError::into_inner);
        for (hash, id) in hashed {
            sample.take(hash, id);
        }
    }

    /// Where the learners can be divided.
    #[must_use]
    pub fn finish(self) -> SplitPoints {
        let mut sample = self.sample.into_inner().unwrap_or_else(PoisonError::into_inner);
        sample.truncate();
        let mut ids: Vec<String> = sample.ids.into_iter().map(|(_, id)| id).collect();
        ids.sort_unstable();
        SplitPoints(ids)
    }
}

impl Sample {
    fn take(&mut self, hash: u64, id: &str) {
        if hash <= self.most {
            self.ids.push((hash, id.to_owned()));
            if self.ids.len() >= 2 * SAMPLE {
                self.truncate();
            }
        }
    }

    /// Leaves the smallest, each once.
    fn truncate(&mut self) {
        self.ids.sort_unstable();
        self.ids.dedup();
        self.ids.truncate(SAMPLE);
        if self.ids.len() == SAMPLE {
            self.most = self.ids.last().map_or(u64::MAX, |(hash, _)| *hash);
        }
    }
}

/// The same for the same id at any time.
fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::key_range::KeyRange;

    #[test]
    fn ranges_have_everybody_once_and_about_as_many_each() {
        let ids: Vec<String> = (0..200_000).map(|n| format!("{n:06}")).collect();
        let mut sample = Sample { ids: Vec::new(), most: u64::MAX };
        // Everybody comes twice.
        ids.iter().chain(&ids).for_each(|id| sample.take(hash(id), id));
        sample.truncate();
        let mut kept: Vec<String> = sample.ids.into_iter().map(|(_, id)| id).collect();
        assert_eq!(kept.len(), SAMPLE);
        kept.sort_unstable();
        let points = SplitPoints(kept);
        let all = points.pieces();
        let ranges: Vec<KeyRange> = (0..8).map(|n| points.range(&(n * all / 8..(n + 1) * all / 8))).collect();
        assert_eq!((&ranges[0].after, &ranges[7].up_to), (&None, &None));
        let mut learners = [0; 8];
        for id in &ids {
            let of: Vec<usize> = (0..8).filter(|n| ranges[*n].has(id)).collect();
            assert_eq!(of.len(), 1, "{id}");
            learners[of[0]] += 1;
        }
        assert!(learners.iter().all(|count| (23_000..27_000).contains(count)), "{learners:?}");
        assert!(points.range(&(0..all)).is_everybody());
    }
}
