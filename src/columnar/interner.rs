//! Texts that occur again and again, kept once and called by number.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{PoisonError, RwLock};

use hashbrown::hash_table::Entry as Place;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::columnar::text_block::TextBlock;

/// Distinct texts, numbered from 0 as they come.
#[derive(Debug)]
pub(crate) struct Interner {
    texts: TextBlock,
    numbers: StringIndex,
}

impl Default for Interner {
    fn default() -> Self {
        Self { texts: TextBlock::new(1), numbers: StringIndex::default() }
    }
}

impl Interner {
    /// The number of a text that is known.
    pub(crate) fn get(&self, text: &str) -> Option<u32> {
        self.numbers.get(text)
    }

    /// The number of a text, a new one if need be.
    pub(crate) fn intern(&mut self, text: &str) -> u32 {
        let known = self.numbers.len();
        let number = self.numbers.number(text);
        if self.numbers.len() > known {
            self.texts.push(text);
        }
        number
    }

    /// The text of a number given out by this interner.
    pub(crate) fn text(&self, number: u32) -> &str {
        self.texts.get(number as usize, 0)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.texts.rows()
    }

    /// Bytes of memory in use.
    pub(crate) fn memory(&self) -> usize {
        self.texts.memory() + self.numbers.memory()
    }
}

/// Texts of at most this many bytes stand in the table itself, so that looking one up goes to one place in memory: an id of
/// 36 bytes does.
const SHORT: usize = 39;

/// Texts that are looked up together: several places in memory are then waited for at once. Half of the
/// time of one by one, where a table has half a million ids.
pub(crate) const TOGETHER: usize = 64;

/// How texts are hashed, in one table or in several.
pub(crate) type TextHasher = DefaultHashBuilder;

/// Which number each text has.
#[derive(Debug, Default)]
pub(crate) struct StringIndex {
    short: HashTable<(Short, u32)>,
    long: HashMap<String, u32>,
    hasher: TextHasher,
}

/// A short text: its bytes, zeros, its length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Short([u8; SHORT + 1]);

impl Hash for Short {
    /// Word by word, which is quicker than as bytes.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (words, _) = self.0.as_chunks::<8>();
        for word in words {
            state.write_u64(u64::from_ne_bytes(*word));
        }
    }
}

impl PartialEq for Short {
    /// Word by word, without a branch or a call.
    fn eq(&self, other: &Self) -> bool {
        let (mine, _) = self.0.as_chunks::<8>();
        let (theirs, _) = other.0.as_chunks::<8>();
        let word = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes);
        mine.iter().zip(theirs).fold(0, |differ, (mine, theirs)| differ | (word(mine) ^ word(theirs))) == 0
    }
}

impl Short {
    fn of(text: &str) -> Option<Self> {
        let mut bytes = [0; SHORT + 1];
        bytes[SHORT] = u8::try_from(text.len()).ok().filter(|length| usize::from(*length) <= SHORT)?;
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self(bytes))
    }

    fn bytes(&self) -> &[u8] {
        &self.0[..self.0[SHORT].into()]
    }

    /// Something of its first and of its last byte, which may be in two lines of the cache.
    const fn ends(&self) -> u8 {
        self.0[0] ^ self.0[SHORT]
    }
}

impl StringIndex {
    /// None yet; `hasher` is that of other tables as well.
    pub(crate) fn hashed_by(hasher: &TextHasher) -> Self {
        Self { hasher: hasher.clone(), ..Self::default() }
    }

    /// The number of a text that is known.
    pub(crate) fn get(&self, text: &str) -> Option<u32> {
        match Short::of(text) {
            Some(short) => self.find(self.hasher.hash_one(short), &short),
            None => self.long.get(text).copied(),
        }
    }

    fn find(&self, hash: u64, short: &Short) -> Option<u32> {
        self.short.find(hash, |(known, _)| known == short).map(|(_, number)| *number)
    }

    /// The number of each text, `unknown` for those that are not known.
    pub(crate) fn all<'t>(&self, texts: impl Iterator<Item = &'t str>, unknown: u32) -> Vec<u32> {
        look_up(texts, unknown, &self.hasher, |_| self)
    }

    /// Asks memory for the entries that these hashes lead to.
    pub(crate) fn fetch(&self, hashes: impl Iterator<Item = u64>) {
        let likely = hashes.filter_map(|hash| self.short.find(hash, |_| true));
        std::hint::black_box(likely.fold(0, |sum, (short, _)| sum ^ short.ends()));
    }

    /// Which of these texts are known.
    pub(crate) fn contain<'t>(&self, texts: impl Iterator<Item = &'t str>) -> Vec<bool> {
        const UNKNOWN: u32 = u32::MAX;
        self.all(texts, UNKNOWN).into_iter().map(|number| number != UNKNOWN).collect()
    }

    /// The number of a text; of one that is new, how many there were before it.
    pub(crate) fn number(&mut self, text: &str) -> u32 {
        self.number_of(hash(text, &self.hasher), text)
    }

    /// The number of a text that has this [`hash`].
    pub(crate) fn number_of(&mut self, hash: u64, text: &str) -> u32 {
        #[allow(clippy::expect_used, reason = "four thousand million ids do not fit in memory")]
        let next = u32::try_from(self.len()).expect("fewer than 2^32 distinct texts");
        let Some(new) = Short::of(text) else {
            return *self.long.entry_ref(text).or_insert(next);
        };
        let Self { short, hasher, .. } = self;
        let known = |(known, _): &(Short, u32)| *known == new;
        match short.entry(hash, known, |(short, _)| hasher.hash_one(short)) {
            Place::Occupied(entry) => entry.get().1,
            Place::Vacant(entry) => entry.insert((new, next)).get().1,
        }
    }

    /// Each of these texts, numbered as they come.
    pub(crate) fn of<'t>(texts: impl Iterator<Item = &'t str>) -> Self {
        let mut numbers = Self::default();
        for text in texts {
            numbers.number(text);
        }
        numbers
    }

    /// Calls every text by another number.
    pub(crate) fn renumber(&mut self, new: impl Fn(u32) -> u32) {
        self.short.iter_mut().for_each(|(_, number)| *number = new(*number));
        self.long.values_mut().for_each(|number| *number = new(*number));
    }

    /// How many texts there are.
    pub(crate) fn len(&self) -> usize {
        self.short.len() + self.long.len()
    }

    /// Every text, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.entries().map(Entry::text)
    }

    /// Every text with its number, in no particular order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.short.iter().map(Entry::Short).chain(self.long.iter().map(|(text, number)| Entry::Long(text, *number)))
    }

    fn memory(&self) -> usize {
        let long: usize = self.long.keys().map(|text| text.capacity() + size_of::<(String, u32)>()).sum();
        self.short.capacity() * (size_of::<(Short, u32)>() + 1) + long
    }
}

/// A text and its number, where they are.
#[derive(Clone, Copy)]
pub(crate) enum Entry<'a> {
    Short(&'a (Short, u32)),
    Long(&'a String, u32),
}

impl<'a> Entry<'a> {
    pub(crate) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Short((short, _)) => short.bytes(),
            Self::Long(text, _) => text.as_bytes(),
        }
    }

    pub(crate) fn text(self) -> &'a str {
        // It was made of a text.
        std::str::from_utf8(self.bytes()).unwrap_or_default()
    }

    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Short((_, number)) => *number,
            Self::Long(_, number) => number,
        }
    }
}

/// The hash of a text.
pub(crate) fn hash(text: &str, hasher: &TextHasher) -> u64 {
    Short::of(text).map_or_else(|| hasher.hash_one(text), |short| hasher.hash_one(short))
}

/// The number of each text in the table that its hash leads to, `unknown` for those that are not known.
pub(crate) fn look_up<'t, 'n>(
    mut texts: impl Iterator<Item = &'t str>,
    unknown: u32,
    hasher: &TextHasher,
    table: impl Fn(u64) -> &'n StringIndex,
) -> Vec<u32> {
    let mut numbers = Vec::with_capacity(texts.size_hint().0);
    let mut block: Vec<(u64, Option<Short>, &str)> = Vec::with_capacity(TOGETHER);
    let mut likely: Vec<Option<&(Short, u32)>> = Vec::with_capacity(TOGETHER);
    loop {
        block.clear();
        block.extend(texts.by_ref().take(TOGETHER).map(|text| match Short::of(text) {
            Some(short) => (hasher.hash_one(short), Some(short), text),
            None => (hasher.hash_one(text), None, text),
        }));
        if block.is_empty() {
            return numbers;
        }
        // The first entry whose hash fits is nearly always the one, and is asked for before any is compared.
        likely.clear();
        likely.extend(block.iter().map(|(hash, ..)| table(*hash).short.find(*hash, |_| true)));
        std::hint::black_box(likely.iter().flatten().fold(0, |sum, (short, _)| sum ^ short.ends()));
        numbers.extend(block.iter().zip(&likely).map(|((hash, short, text), likely)| {
            let found = match (short, likely) {
                (Some(short), Some((known, number))) if known == short => Some(*number),
                (Some(short), Some(_)) => table(*hash).find(*hash, short),
                (Some(_), None) => None,
                (None, _) => table(*hash).long.get(*text).copied(),
            };
            found.unwrap_or(unknown)
        }));
    }
}

/// An interner that several threads feed.
#[derive(Debug, Default)]
pub(crate) struct SharedInterner(RwLock<Interner>);

impl SharedInterner {
    /// The numbers of these texts. Most are known already, so that looking up goes on side by side and only new ones
    /// wait for each other.
    pub(crate) fn numbers(&self, texts: &[&str]) -> Vec<u32> {
        const UNKNOWN: u32 = u32::MAX;
        let mut numbers = {
            let interner = self.0.read().unwrap_or_else(PoisonError::into_inner);
            interner.numbers.all(texts.iter().copied(), UNKNOWN)
        };
        if numbers.contains(&UNKNOWN) {
            let mut interner = self.0.write().unwrap_or_else(PoisonError::into_inner);
            for (number, text) in numbers.iter_mut().zip(texts).filter(|(number, _)| **number == UNKNOWN) {
                *number = interner.intern(text);
            }
        }
        numbers
    }

    /// The number of one text.
    pub(crate) fn number(&self, text: &str) -> u32 {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(text);
        known.unwrap_or_else(|| self.0.write().unwrap_or_else(PoisonError::into_inner).intern(text))
    }

    /// The interner, once all threads are done.
    pub(crate) fn into_inner(self) -> Interner {
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
    fn texts_of_every_length_are_told_apart() {
        let texts: Vec<String> = (0..90).flat_map(|length| ["a", "b"].map(|end| "x".repeat(length) + end)).collect();
        let mut interner = Interner::default();
        for (number, text) in (0..).zip(&texts) {
            assert_eq!(interner.get(text), None);
            assert_eq!(interner.intern(text), number);
        }
        assert_eq!(interner.get("xa\0"), None, "no padding");
        let mut numbers = interner.numbers;
        let asked = ["?"].into_iter().chain(texts.iter().map(String::as_str));
        let found: Vec<u32> = numbers.all(asked, 999);
        assert_eq!(found, [999].into_iter().chain(0..180).collect::<Vec<u32>>());
        numbers.renumber(|number| 1000 - number);
        for (number, text) in (0..).zip(&texts) {
            assert_eq!(numbers.get(text), Some(1000 - number));
        }
        let mut all: Vec<&str> = numbers.iter().collect();
        all.sort_unstable();
        let mut expected: Vec<&str> = texts.iter().map(String::as_str).collect();
        expected.sort_unstable();
        assert_eq!(all, expected);
        assert_eq!(numbers.len(), 180);
    }

    #[test]
    fn many_texts_survive_the_growth_of_the_table() {
        let mut interner = Interner::default();
        let numbers: Vec<u32> = (0..5_000).map(|n| interner.intern(&format!("user-{n}"))).collect();
        assert_eq!(numbers, (0..5_000).collect::<Vec<u32>>());
        assert_eq!(interner.get("user-4711"), Some(4711));
    }
}
