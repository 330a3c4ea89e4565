//! The people of the requested batches, in the order of their ids: from here on each is called by rank, so that sorting a
//! batch is sorting numbers.

use rayon::prelude::*;

use super::NONE;
use crate::reports::interner::{Interner, Numbers};
use crate::reports::schema::Keys;

/// Ranks by id.
#[derive(Debug, Default)]
pub(super) struct People(Numbers);

impl People {
    /// Puts ids in the order of their bytes; also gives their ranks by number.
    pub(super) fn of(interner: Interner) -> (Self, Vec<u32>) {
        // Most comparisons are over after eight bytes, which then stand side by side.
        let number = |number: u32| (first_bytes(interner.text(number)), number);
        #[allow(clippy::cast_possible_truncation, reason = "an interner gives out 32-bit numbers")]
        let mut order: Vec<(u64, u32)> = (0..interner.len() as u32).into_par_iter().map(number).collect();
        order.par_sort_unstable_by(|left, right| {
            let text = |(_, number): &(u64, u32)| interner.text(*number);
            left.0.cmp(&right.0).then_with(|| text(left).cmp(text(right)))
        });
        let mut ranks = vec![0; order.len()];
        for (rank, (_, number)) in (0..).zip(order) {
            ranks[number as usize] = rank;
        }
        let mut numbers = interner.into_numbers();
        numbers.renumber(|number| ranks[number as usize]);
        (Self(numbers), ranks)
    }

    /// Who has each of these ids; [`NONE`]: nobody.
    pub(super) fn ranks<'i>(&self, ids: impl Iterator<Item = &'i str>) -> Vec<u32> {
        self.0.all(ids, NONE)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
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
        self.0.get(key).is_some()
    }

    fn contain(&self, keys: &mut dyn Iterator<Item = &str>) -> Vec<bool> {
        self.0.contain(keys)
    }

    fn len(&self) -> usize {
        self.count()
    }

    fn iter(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.0.iter())
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
        let (people, ranks) = People::of(interner);
        let mut sorted = ids;
        sorted.sort_unstable();
        for (id, number) in ids.iter().zip(numbers) {
            let rank = ranks[number as usize];
            assert_eq!(people.ranks([*id].into_iter()), [rank]);
            assert_eq!(sorted[rank as usize], *id);
        }
        let mut keys: Vec<&str> = Keys::iter(&people).collect();
        keys.sort_unstable();
        assert_eq!(keys, sorted);
        assert!(people.contains("a") && !people.contains("c"));
        assert_eq!(people.count(), 8);
    }
}
