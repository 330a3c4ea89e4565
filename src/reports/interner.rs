//! Texts that occur again and again, kept once and called by number.

use std::hash::BuildHasher;
use std::sync::{PoisonError, RwLock};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::table::TextBlock;

/// Distinct texts, numbered from 0 as they come.
#[derive(Debug)]
pub(super) struct Interner {
    texts: TextBlock,
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Default for Interner {
    fn default() -> Self {
        Self { texts: TextBlock::new(1), numbers: HashTable::new(), hasher: DefaultHashBuilder::default() }
    }
}

impl Interner {
    /// The number of a text that is known.
    pub(super) fn get(&self, text: &str) -> Option<u32> {
        let found = self.numbers.find(self.hasher.hash_one(text), |number| self.texts.get(*number as usize, 0) == text);
        found.copied()
    }

    /// The number of a text, a new one if need be.
    pub(super) fn intern(&mut self, text: &str) -> u32 {
        let Self { texts, numbers, hasher } = self;
        let hash = hasher.hash_one(text);
        if let Some(number) = numbers.find(hash, |number| texts.get(*number as usize, 0) == text) {
            return *number;
        }
        #[allow(clippy::expect_used, reason = "four thousand million ids do not fit in memory")]
        let number = u32::try_from(texts.rows()).expect("fewer than 2^32 distinct texts");
        texts.push(text);
        numbers.insert_unique(hash, number, |number| hasher.hash_one(texts.get(*number as usize, 0)));
        number
    }

    /// The text of a number given out by this interner.
    pub(super) fn text(&self, number: u32) -> &str {
        self.texts.get(number as usize, 0)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.texts.rows()
    }

    /// Bytes of memory in use.
    pub(super) fn memory(&self) -> usize {
        self.texts.memory() + self.numbers.capacity() * (size_of::<u32>() + 1)
    }
}

/// An interner that several threads feed.
#[derive(Debug, Default)]
pub(super) struct SharedInterner(RwLock<Interner>);

impl SharedInterner {
    /// The numbers of these texts. Most are known already, so that looking up goes on side by side and only new ones
    /// wait for each other.
    pub(super) fn numbers(&self, texts: &[&str]) -> Vec<u32> {
        let known: Vec<Option<u32>> = {
            let interner = self.0.read().unwrap_or_else(PoisonError::into_inner);
            texts.iter().map(|text| interner.get(text)).collect()
        };
        if let Some(numbers) = known.iter().copied().collect() {
            return numbers;
        }
        let mut interner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.into_iter().zip(texts).map(|(number, text)| number.unwrap_or_else(|| interner.intern(text))).collect()
    }

    /// The number of one text.
    pub(super) fn number(&self, text: &str) -> u32 {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(text);
        known.unwrap_or_else(|| self.0.write().unwrap_or_else(PoisonError::into_inner).intern(text))
    }

    /// The interner, once all threads are done.
    pub(super) fn into_inner(self) -> Interner {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_keeps_its_number() {
        let shared = SharedInterner::default();
        assert_eq!(shared.numbers(&["b", "a", "b"]), [0, 1, 0]);
        assert_eq!(shared.numbers(&["c", "a"]), [2, 1]);
        let interner = shared.into_inner();
        assert_eq!(interner.get("c"), Some(2));
        assert_eq!(interner.get("d"), None);
        assert_eq!(interner.text(1), "a");
        assert_eq!(interner.len(), 3);
    }

    #[test]
    fn many_texts_survive_the_growth_of_the_table() {
        let mut interner = Interner::default();
        let numbers: Vec<u32> = (0..5_000).map(|n| interner.intern(&format!("user-{n}"))).collect();
        assert_eq!(numbers, (0..5_000).collect::<Vec<u32>>());
        assert_eq!(interner.get("user-4711"), Some(4711));
    }
}
