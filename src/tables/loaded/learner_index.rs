//! The learners of the requested batches, in the order of their ids: from here on each is called by rank, so that sorting a
//! batch is sorting numbers.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::slots::NONE;
use crate::columnar::interner::{self, StringIndex, TOGETHER, TextHasher, hash};
use crate::columnar::radix_partitions::{PARTITIONS, by_partition};
use crate::tables::keys::Keys;

/// A learner, by their place among all learners of a load: in the order of ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(pub(super) u32);

impl Rank {
    /// Stands for "no enrolment of this learner was kept".
    pub(super) const NONE: Self = Self(NONE);

    /// To index with.
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The ids of learners as they come, from several threads: each gets a number, the same whenever it comes.
///
/// They stand in many tables, by their hashes. A table is locked by itself while a new id is put into it, and is small
/// enough to stay in the cache when it grows.
#[derive(Debug)]
pub(super) struct LearnerIndexBuilder {
    tables: Vec<Mutex<StringIndex>>,
    hasher: TextHasher,
}

impl Default for LearnerIndexBuilder {
    fn default() -> Self {
        let hasher = TextHasher::default();
        Self { tables: (0..PARTITIONS).map(|_| Mutex::new(StringIndex::hashed_by(&hasher))).collect(), hasher }
    }
}

/// The table for a hash. Tables use its first and last bits themselves.
#[allow(clippy::cast_possible_truncation, reason = "there are few tables")]
const fn table(hash: u64) -> u32 {
    ((hash >> 32) % PARTITIONS as u64) as u32
}

impl LearnerIndexBuilder {
    /// The numbers of these ids; they do not follow one after the other.
    pub(super) fn numbers(&self, ids: &[&str]) -> Vec<u32> {
        let hashes: Vec<u64> = ids.iter().map(|id| hash(id, &self.hasher)).collect();
        let order = by_partition(hashes.iter().map(|hash| table(*hash)));
        let mut numbers = vec![0; ids.len()];
        for place in order.partitions() {
            let mut table = self.tables[place].lock().unwrap_or_else(PoisonError::into_inner);
            for some in order.of(place).chunks(TOGETHER) {
                table.fetch(some.iter().map(|at| hashes[*at as usize]));
                for at in some.iter().map(|at| *at as usize) {
                    numbers[at] = number(table.number_of(hashes[at], ids[at]), place);
                }
            }
        }
        numbers
    }
}

/// The number of an id, from its number in a table.
#[allow(clippy::cast_possible_truncation, reason = "there are few tables")]
const fn number(in_table: u32, table: usize) -> u32 {
    in_table * PARTITIONS as u32 + table as u32
}

/// Ranks by id.
#[derive(Debug, Default)]
pub(super) struct LearnerIndex {
    /// By hash.
    tables: Vec<StringIndex>,
    hasher: TextHasher,
}

impl LearnerIndex {
    /// Puts ids in the order of their bytes; also gives their ranks by number.
    pub(super) fn of(builder: LearnerIndexBuilder) -> (Self, Vec<Rank>) {
        let LearnerIndexBuilder { tables, hasher } = builder;
        let into_inner = |table: Mutex<StringIndex>| table.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut tables: Vec<StringIndex> = tables.into_iter().map(into_inner).collect();
        let mut order: Vec<(u64, &[u8], u32)> = tables.par_iter().enumerate().flat_map_iter(ids).collect();
        order.par_sort_unstable_by(|left, right| left.0.cmp(&right.0).then_with(|| left.1.cmp(right.1)));
        let mut ranks = vec![0; tables.iter().map(StringIndex::len).max().unwrap_or(0) * PARTITIONS];
        for (rank, (.., number)) in (0..).zip(&order) {
            ranks[*number as usize] = rank;
        }
        drop(order);
        let ranked = |(place, table): (usize, &mut StringIndex)| {
            table.renumber(|in_table| ranks[number(in_table, place) as usize]);
        };
        tables.par_iter_mut().enumerate().for_each(ranked);
        (Self { tables, hasher }, ranks.into_iter().map(Rank).collect())
    }

    /// The rank of each of these ids, [`Rank::NONE`] for one that is not known.
    pub(super) fn ranks<'i>(&self, ids: impl Iterator<Item = &'i str>) -> Vec<Rank> {
        if self.tables.is_empty() {
            return ids.map(|_| Rank::NONE).collect();
        }
        let ranks = interner::look_up(ids, NONE, &self.hasher, |hash| &self.tables[table(hash) as usize]);
        ranks.into_iter().map(Rank).collect()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.tables.iter().map(StringIndex::len).sum()
    }
}

/// The ids of a table with what putting them in order takes: most comparisons are over after eight bytes, which then stand
/// side by side, and numbers are not looked for all over the tables afterwards.
fn ids((place, table): (usize, &StringIndex)) -> impl Iterator<Item = (u64, &[u8], u32)> {
    table.entries().map(move |entry| (first_bytes(entry.bytes()), entry.bytes(), number(entry.number(), place)))
}

/// The first eight bytes, as a number that is ordered as they are; zeros where there are fewer.
fn first_bytes(text: &[u8]) -> u64 {
    let mut first = [0; 8];
    for (to, from) in first.iter_mut().zip(text) {
        *to = *from;
    }
    u64::from_be_bytes(first)
}

impl Keys for LearnerIndex {
    fn contains(&self, key: &str) -> bool {
        self.ranks([key].into_iter()) != [Rank::NONE]
    }

    fn contain(&self, keys: &mut dyn Iterator<Item = &str>) -> Vec<bool> {
        self.ranks(keys).into_iter().map(|rank| rank != Rank::NONE).collect()
    }

    fn len(&self) -> usize {
        self.count()
    }

    fn iter(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.tables.iter().flat_map(StringIndex::iter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_in_the_order_of_bytes() {
        let long = "x".repeat(50);
        let ids = ["b", "a", "aaaaaaaab", "aaaaaaaaa", "", "aaaaaaaa", "\u{e9}", "aaaaaaaa\0", &long, "x"];
        let builder = LearnerIndexBuilder::default();
        let numbers = builder.numbers(&ids);
        assert_eq!(builder.numbers(&[ids[3], ids[8]]), [numbers[3], numbers[8]]);
        let (index, ranks) = LearnerIndex::of(builder);
        let mut sorted = ids;
        sorted.sort_unstable();
        for (id, number) in ids.iter().zip(numbers) {
            let rank = ranks[number as usize];
            assert_eq!(index.ranks([*id].into_iter()), [rank]);
            assert_eq!(sorted[rank.index()], *id);
        }
        let mut keys: Vec<&str> = Keys::iter(&index).collect();
        keys.sort_unstable();
        assert_eq!(keys, sorted);
        assert!(
            index.contains("a")
                && index.contains(&long)
                && !index.contains("c")
                && !LearnerIndex::default().contains("a")
        );
        assert_eq!(index.count(), 10);
    }

    #[test]
    fn an_id_has_one_number_in_every_thread() {
        let ids: Vec<String> = (0..20_000).map(|n| format!("{:032x}", n * 7 % 10_000)).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let builder = LearnerIndexBuilder::default();
        let numbers: Vec<Vec<u32>> = ids.par_chunks(999).map(|some| builder.numbers(some)).collect();
        let numbers = numbers.concat();
        assert_eq!(numbers[..10_000], numbers[10_000..]);
        let mut distinct = numbers;
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 10_000);
        let (index, ranks) = LearnerIndex::of(builder);
        assert!(distinct.iter().all(|number| (*number as usize) < ranks.len()));
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(index.ranks(sorted.into_iter()), (0..10_000).map(Rank).collect::<Vec<Rank>>());
    }
}
