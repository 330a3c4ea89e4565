//! Lists that grow piece by piece: many of them grow side by side, and none is moved or leaves half of its room empty.

use crate::columnar::text_block::TextBlock;

/// Rows of the largest piece.
const MOST: usize = 4096;
/// Rows of the first one.
const FIRST: usize = 16;

/// Rows as they come.
#[derive(Debug)]
pub(crate) struct Pieces<T> {
    /// The piece that grows.
    last: Vec<T>,
    full: Vec<Vec<T>>,
}

impl<T> Default for Pieces<T> {
    fn default() -> Self {
        Self { last: Vec::new(), full: Vec::new() }
    }
}

impl<T> Pieces<T> {
    pub(crate) fn push(&mut self, row: T) {
        if self.last.len() == self.last.capacity() {
            self.begin();
        }
        self.last.push(row);
    }

    /// Begins a piece, twice as large as the one before.
    #[cold]
    fn begin(&mut self) {
        let rows = (2 * self.last.len()).clamp(FIRST, MOST);
        let full = std::mem::replace(&mut self.last, Vec::with_capacity(rows));
        if !full.is_empty() {
            self.full.push(full);
        }
    }

    /// Hands each of them over, in their order.
    pub(crate) fn into_each(self, mut take: impl FnMut(T)) {
        self.full.into_iter().chain([self.last]).for_each(|piece| piece.into_iter().for_each(&mut take));
    }
}

/// Texts of one piece of [`TextPieces`]: their numbers are the piece's place and 15 bits.
pub(crate) const TEXTS: usize = 1 << 15;

/// Texts that are called by number.
#[derive(Debug, Default)]
pub(crate) struct TextPieces(Vec<TextBlock>);

impl TextPieces {
    /// Takes texts, one a row, at most [`TEXTS`]; returns the number of the first, the others follow.
    pub(crate) fn append(&mut self, texts: TextBlock) -> u32 {
        let mut first = 0;
        match self.0.last_mut() {
            Some(last) if last.rows() + texts.rows() <= TEXTS => {
                first = last.rows();
                (0..texts.rows()).for_each(|row| last.push(texts.get(row, 0)));
            }
            _ => self.0.push(texts),
        }
        #[allow(clippy::expect_used, reason = "any two neighbouring pieces have 32,768 texts, together 2^31 of them")]
        let number = u32::try_from((self.0.len() - 1) * TEXTS + first).expect("fewer than 2^32 texts");
        number
    }

    pub(crate) fn get(&self, number: u32) -> &str {
        self.0[number as usize / TEXTS].get(number as usize % TEXTS, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stay_in_order_over_pieces() {
        let mut pieces = Pieces::default();
        (0..20_000).for_each(|row| pieces.push(row));
        let mut rows = Vec::new();
        pieces.into_each(|row| rows.push(row));
        assert_eq!(rows, (0..20_000).collect::<Vec<_>>());
        Pieces::<u32>::default().into_each(|_| unreachable!("there is none"));
    }

    #[test]
    fn texts_are_called_by_numbers_over_pieces() {
        let mut pieces = TextPieces::default();
        let mut expected = Vec::new();
        for (piece, rows) in [(0, 3), (1, 20_000), (2, 20_000), (3, TEXTS), (4, 1)] {
            let mut texts = TextBlock::new(1);
            (0..rows).for_each(|row| texts.push(&format!("{piece}-{row}")));
            let first = pieces.append(texts);
            let last = u32::try_from(rows - 1).unwrap();
            expected.extend([(first, format!("{piece}-0")), (first + last, format!("{piece}-{last}"))]);
        }
        for (number, text) in expected {
            assert_eq!(pieces.get(number), text);
        }
    }
}
