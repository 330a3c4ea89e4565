//! The learners of a batch that is too much to be loaded at once, divided by their ids: tables are in the order of ids, so
//! that stretch after stretch makes the same table.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::tables::catalog::Catalog;
use crate::tables::chunk::{Chunk, Named};
use crate::tables::schema::{Column, Scan, Table, keys};

/// Ids that are kept of all: as many learners of a batch as there are, stretches differ by a few in a hundred.
const SAMPLE: usize = 16_384;

/// Learners by their ids, in the order of bytes. The default is everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// Those after this one …
    pub after: Option<String>,
    /// … up to this one.
    pub up_to: Option<String>,
}

impl Stretch {
    /// Whether it is everybody.
    #[must_use]
    pub const fn is_everybody(&self) -> bool {
        self.after.is_none() && self.up_to.is_none()
    }

    /// Whether the learner of this id is among them.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.after.as_deref().is_none_or(|after| id > after) && self.up_to.as_deref().is_none_or(|up_to| id <= up_to)
    }
}

/// Looks at the ids of a batch's learners, to know where to divide them.
#[derive(Debug)]
pub struct Survey {
    columns: Vec<Column>,
    batch: String,
    sample: Mutex<Sample>,
}

/// The ids with the smallest hashes: a sample of the distinct ones in whatever order they come.
#[derive(Debug)]
struct Sample {
    ids: Vec<(u64, String)>,
    /// No hash beyond is among the smallest.
    most: u64,
}

impl Survey {
    /// Of a batch, by its index in [`Catalog::batches`].
    #[must_use]
    pub fn new(catalog: &Catalog, batch: usize) -> Self {
        let columns = vec![Column::key("batchid"), Column::key("userid")];
        let sample = Mutex::new(Sample { ids: Vec::new(), most: u64::MAX });
        Self { columns, batch: catalog.batches()[batch].id.clone(), sample }
    }

    /// What to read.
    #[must_use]
    pub fn scan(&self) -> Scan {
        let only = keys([self.batch.as_str()]);
        Scan { table: Table::UserEnrolments, columns: self.columns.clone(), only: Some(("batchid".into(), only)) }
    }

    /// Takes a chunk of that, from whatever thread.
    pub fn take(&self, chunk: &Chunk) {
        let chunk = Named::new(chunk, &self.columns);
        let (batches, ids) = (chunk.texts("batchid"), chunk.texts("userid"));
        let own = chunk.rows().filter(|row| batches.get(*row) == self.batch);
        let hashed: Vec<(u64, &str)> = own.map(|row| (hash(ids.get(row)), ids.get(row))).collect();
        let mut sample = self.sample.lock().unwrap_or_else(PoisonError::into_inner);
        for (hash, id) in hashed {
            sample.take(hash, id);
        }
    }

    /// Where the learners can be divided.
    #[must_use]
    pub fn finish(self) -> Borders {
        let mut sample = self.sample.into_inner().unwrap_or_else(PoisonError::into_inner);
        sample.settle();
        let mut ids: Vec<String> = sample.ids.into_iter().map(|(_, id)| id).collect();
        ids.sort_unstable();
        Borders(ids)
    }
}

impl Sample {
    fn take(&mut self, hash: u64, id: &str) {
        if hash <= self.most {
            self.ids.push((hash, id.to_owned()));
            if self.ids.len() >= 2 * SAMPLE {
                self.settle();
            }
        }
    }

    /// Leaves the smallest, each once.
    fn settle(&mut self) {
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

/// Ids between which there are about as many learners each.
#[derive(Debug)]
pub struct Borders(Vec<String>);

impl Borders {
    /// How many pieces they make, of which each stretch has one at least.
    #[must_use]
    pub const fn pieces(&self) -> usize {
        self.0.len() + 1
    }

    /// The learners of these pieces.
    #[must_use]
    pub fn stretch(&self, pieces: &Range<usize>) -> Stretch {
        let border = |piece: usize| self.0.get(piece).cloned();
        Stretch {
            after: pieces.start.checked_sub(1).and_then(border),
            up_to: pieces.end.checked_sub(1).and_then(border),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_have_everybody_once_and_about_as_many_each() {
        let ids: Vec<String> = (0..200_000).map(|n| format!("{n:06}")).collect();
        let mut sample = Sample { ids: Vec::new(), most: u64::MAX };
        // Everybody comes twice.
        ids.iter().chain(&ids).for_each(|id| sample.take(hash(id), id));
        sample.settle();
        let mut kept: Vec<String> = sample.ids.into_iter().map(|(_, id)| id).collect();
        assert_eq!(kept.len(), SAMPLE);
        kept.sort_unstable();
        let borders = Borders(kept);
        let all = borders.pieces();
        let stretches: Vec<Stretch> = (0..8).map(|n| borders.stretch(&(n * all / 8..(n + 1) * all / 8))).collect();
        assert_eq!((&stretches[0].after, &stretches[7].up_to), (&None, &None));
        let mut learners = [0; 8];
        for id in &ids {
            let of: Vec<usize> = (0..8).filter(|n| stretches[*n].has(id)).collect();
            assert_eq!(of.len(), 1, "{id}");
            learners[of[0]] += 1;
        }
        assert!(learners.iter().all(|count| (23_000..27_000).contains(count)), "{learners:?}");
        assert!(borders.stretch(&(0..all)).is_everybody());
    }

    #[test]
    fn of_few_learners_each_is_a_border() {
        let borders = Borders(vec!["a".to_owned(), "c".to_owned()]);
        let stretches: Vec<Stretch> = (0..3).map(|piece| borders.stretch(&(piece..piece + 1))).collect();
        for (id, at) in [("", 0), ("a", 0), ("b", 1), ("c", 1), ("ca", 2), ("z", 2)] {
            assert_eq!((0..3).filter(|n| stretches[*n].has(id)).collect::<Vec<_>>(), [at], "{id}");
        }
        assert!(Borders(Vec::new()).stretch(&(0..1)).is_everybody());
    }
}
