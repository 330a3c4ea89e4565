//! The people of the requested batches, in the order of their ids: from here on each is called by rank, so that sorting a
//! batch is sorting numbers.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use rayon::prelude::*;

use crate::reports::interner::Interner;
use crate::reports::schema::Keys;
use crate::reports::table::TextBlock;

/// Ids by rank, and ranks by id.
#[derive(Debug)]
pub(super) struct People {
    /// Row = rank.
    ids: TextBlock,
    ranks: HashTable<Entry>,
    hasher: DefaultHashBuilder,
}

/// A rank with some bits of its id's hash, so that looking up somebody who is not there rarely looks at an id.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u32,
    rank: u32,
}

impl Default for People {
    fn default() -> Self {
        Self { ids: TextBlock::new(1), ranks: HashTable::new(), hasher: DefaultHashBuilder::default() }
    }
}

impl People {
    /// Puts ids in the order of their bytes; also gives their ranks by number.
    pub(super) fn of(interner: &Interner) -> (Self, Vec<u32>) {
        // Most comparisons are over after eight bytes, which then stand side by side.
        let number = |number: u32| (first_bytes(interner.text(number)), number);
        #[allow(clippy::cast_possible_truncation, reason = "an interner gives out 32-bit numbers")]
        let mut order: Vec<(u64, u32)> = (0..interner.len() as u32).into_par_iter().map(number).collect();
        order.par_sort_unstable_by(|left, right| {
            let text = |(_, number): &(u64, u32)| interner.text(*number);
            left.0.cmp(&right.0).then_with(|| text(left).cmp(text(right)))
        });
        let mut ranks = vec![0; order.len()];
        let mut people = Self { ids: TextBlock::new(1), ..Self::default() };
        people.ranks.reserve(order.len(), |entry| entry.hash.into());
        for (rank, (_, number)) in (0..).zip(order) {
            ranks[number as usize] = rank;
            let id = interner.text(number);
            people.ids.push(id);
            let hash = short(people.hasher.hash_one(id));
            people.ranks.insert_unique(spread(hash), Entry { hash, rank }, |entry| spread(entry.hash));
        }
        (people, ranks)
    }

    /// Who has this id.
    pub(super) fn rank(&self, id: &str) -> Option<u32> {
        let hash = short(self.hasher.hash_one(id));
        let is_it = |entry: &Entry| entry.hash == hash && self.ids.get(entry.rank as usize, 0) == id;
        self.ranks.find(spread(hash), is_it).map(|entry| entry.rank)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.ids.rows()
    }
}

/// 32 bits of a hash are kept.
fn short(hash: u64) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "as said")]
    let short = (hash >> 32) as u32;
    short
}

/// And made 64 again for the table, which takes its places from the lower bits and its tags from the upper ones.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The first eight bytes, as a number that is ordered as they are; zeros where there are fewer.
fn first_bytes(text: &str) -> u64 {
    let mut first = [0; 8];
    for (to, from) in first.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    u64::from_be_bytes(first)
}

impl Keys for People {
    fn contains(&self, key: &str) -> bool {
        self.rank(key).is_some()
    }

    fn len(&self) -> usize {
        self.count()
    }

    fn iter(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new((0..self.count()).map(|rank| self.ids.get(rank, 0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_in_the_order_of_bytes() {
        let mut interner = Interner::default();
        let ids = ["b", "a", "aaaaaaaab", "aaaaaaaaa", "", "aaaaaaaa", "\u{e9}", "aaaaaaaa\0"];
        let numbers = ids.map(|id| interner.intern(id));
        let (people, ranks) = People::of(&interner);
        let mut sorted = ids;
        sorted.sort_unstable();
        for (id, number) in ids.iter().zip(numbers) {
            let rank = ranks[number as usize];
            assert_eq!(people.rank(id), Some(rank));
            assert_eq!(sorted[rank as usize], *id);
        }
        assert_eq!(Keys::iter(&people).collect::<Vec<_>>(), sorted);
        assert!(people.contains("a") && !people.contains("c"));
        assert_eq!(people.count(), 8);
    }
}
