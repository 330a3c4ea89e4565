//! Rows of cells in the spelling of CSV: a row that many tables have is encoded once and then copied.
//!
//! Formats other than CSV take a row apart again ([`EncodedRow::cells`]), and so does the guard against formulas where a row
//! has something to guard. Not here: which columns there are.

use std::borrow::Cow;
use std::ops::Range;

use crate::columnar::spelling;

/// Rows of one piece: their numbers are the piece's place and 10 bits. A piece is a quarter of a megabyte: room that others
/// left is found again for it.
pub const PIECE: usize = 1 << 10;

/// How all rows are laid out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Cells of each row.
    pub cells: usize,
    /// Which of them everybody may see; those before and after are private.
    pub public: Range<usize>,
}

/// Encoded rows in memory, called by number.
#[derive(Debug, Default)]
pub struct RowBlock {
    layout: Layout,
    pieces: Vec<EncodedRows>,
}

/// Encoded rows one after the other, to be put into a block.
#[derive(Debug, Default)]
pub struct EncodedRows {
    layout: Layout,
    bytes: Vec<u8>,
    marks: Vec<Marks>,
    /// The row under way: its cells so far, and its marks.
    cells: usize,
    open: Marks,
}

/// Where a row ends and what it has. All places are counted in its piece.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    end: u32,
    /// The cells that everybody may see.
    public: (u32, u32),
    /// A cell is to be guarded, since a spreadsheet might run it as a formula.
    runs: bool,
}

impl EncodedRows {
    /// None yet.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        Self { layout: layout.clone(), ..Self::default() }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.marks.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Bytes of all of them.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Makes room for `rows` rows of `bytes` bytes together.
    pub fn reserve(&mut self, rows: usize, bytes: usize) {
        self.marks.reserve(rows);
        self.bytes.reserve(bytes);
    }

    /// Gives back room that is not needed.
    pub fn shrink_to_fit(&mut self) {
        self.marks.shrink_to_fit();
        self.bytes.shrink_to_fit();
    }

    /// Appends the next cell; with the last one of its layout the row is complete.
    ///
    /// # Panics
    /// If the rows exceed 4 GiB.
    pub fn push(&mut self, text: &str) {
        if self.cells > 0 {
            self.bytes.push(b',');
        }
        if self.cells == self.layout.public.start {
            self.open.public.0 = self.place();
        }
        self.open.runs |= spelling::cell(&mut self.bytes, text, false);
        self.cells += 1;
        if self.cells == self.layout.public.end {
            self.open.public.1 = self.place();
        }
        if self.cells == self.layout.cells {
            self.open.end = self.place();
            self.marks.push(std::mem::take(&mut self.open));
            self.cells = 0;
        }
    }

    #[allow(clippy::expect_used, reason = "1,024 rows of 4 MiB each are not to be expected")]
    fn place(&self) -> u32 {
        u32::try_from(self.bytes.len()).expect("a piece of rows is under 4 GiB")
    }

    fn append(&mut self, more: &Self) {
        let before = self.place();
        let moved = |marks: &Marks| Marks {
            end: marks.end + before,
            public: (marks.public.0 + before, marks.public.1 + before),
            runs: marks.runs,
        };
        self.bytes.extend_from_slice(&more.bytes);
        let _ = self.place();
        self.marks.extend(more.marks.iter().map(moved));
    }
}

impl RowBlock {
    /// None yet.
    #[must_use]
    pub const fn new(layout: Layout) -> Self {
        Self { layout, pieces: Vec::new() }
    }

    /// How they are laid out.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Takes rows of the same layout, at most [`PIECE`]; returns the number of the first, the others follow.
    ///
    /// # Panics
    /// If they are more, or if there are more than 2^22 pieces.
    pub fn append(&mut self, rows: EncodedRows) -> u32 {
        assert!(rows.len() <= PIECE, "a piece of {} rows", rows.len());
        let fits = |piece: &&mut EncodedRows| {
            piece.len() + rows.len() <= PIECE && u32::try_from(piece.bytes.len() + rows.bytes.len()).is_ok()
        };
        let mut first = 0;
        if let Some(piece) = self.pieces.last_mut().filter(fits) {
            first = piece.len();
            piece.append(&rows);
        } else {
            self.pieces.push(rows);
        }
        #[allow(clippy::expect_used, reason = "any two neighbouring pieces have 1,024 rows, together 2^31 of them")]
        let number = u32::try_from((self.pieces.len() - 1) * PIECE + first).expect("fewer than 2^32 rows");
        number
    }

    /// A row by its number.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn row(&self, number: u32) -> EncodedRow<'_> {
        let (piece, at) = (&self.pieces[number as usize / PIECE], number as usize % PIECE);
        let start = at.checked_sub(1).map_or(0, |before| piece.marks[before].end);
        let Marks { end, public, runs } = piece.marks[at];
        EncodedRow {
            bytes: &piece.bytes[start as usize..end as usize],
            public: (public.0 - start) as usize..(public.1 - start) as usize,
            runs,
            layout: &self.layout,
        }
    }

    /// Loads rows that will be copied soon into the cache: the rows of a table lie all over the block, and waiting for all of
    /// them together is shorter than for one after the other. First the marks that say where they are.
    pub fn fetch(&self, numbers: &[u32]) {
        /// Bytes that memory loads at once.
        const CACHE_LINE: usize = 64;
        let mark = |number: &u32| self.pieces[*number as usize / PIECE].marks[*number as usize % PIECE].end;
        std::hint::black_box(numbers.iter().fold(0, |sum, number| sum ^ mark(number)));
        let touched = |number: &u32| -> u8 {
            let bytes = self.row(*number).bytes;
            bytes.iter().step_by(CACHE_LINE).chain(bytes.last()).fold(0, |sum, byte| sum ^ byte)
        };
        std::hint::black_box(numbers.iter().fold(0, |sum, number| sum ^ touched(number)));
    }
}

/// One row.
#[derive(Clone, Debug)]
pub struct EncodedRow<'a> {
    bytes: &'a [u8],
    public: Range<usize>,
    /// Whether one of its cells is to be guarded, since a spreadsheet might run it as a formula.
    pub runs: bool,
    layout: &'a Layout,
}

impl<'a> EncodedRow<'a> {
    /// Bytes of its spelling: at least those of its texts.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a row is never asked whether it is empty")]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the row in the spelling of CSV, without guard; of a hidden one only the public cells.
    pub fn spell(&self, hidden: bool, out: &mut Vec<u8>) {
        if !hidden {
            out.extend_from_slice(self.bytes);
            return;
        }
        let Layout { cells, public } = self.layout;
        out.extend(std::iter::repeat_n(b',', public.start));
        out.extend_from_slice(&self.bytes[self.public.clone()]);
        out.extend(std::iter::repeat_n(b',', cells - public.end));
    }

    /// The texts of its cells; those of a hidden row that are private are empty.
    pub fn cells(&self, hidden: bool) -> impl Iterator<Item = Cow<'a, str>> {
        let public = self.layout.public.clone();
        let shown = move |(at, cell)| if hidden && !public.contains(&at) { Cow::Borrowed("") } else { cell };
        spelling::cells(self.bytes).enumerate().map(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(texts: &[[&str; 4]]) -> EncodedRows {
        let mut rows = EncodedRows::new(&Layout { cells: 4, public: 1..3 });
        texts.iter().flatten().for_each(|text| rows.push(text));
        rows
    }

    fn spelled(row: &EncodedRow<'_>, hidden: bool) -> String {
        let mut out = Vec::new();
        row.spell(hidden, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_spelled_whole_or_without_what_is_private() {
        let mut block = RowBlock::new(Layout { cells: 4, public: 1..3 });
        let first = block.append(rows(&[["a", "b,c", "", "d"]]));
        let second = block.append(rows(&[["", "", "", ""], ["=1", "x", "y", "\"z\""]]));
        assert_eq!((first, second), (0, 1));
        let expected = [("a,\"b,c\",,d", ",\"b,c\",,"), (",,,", ",,,"), ("=1,x,y,\"\"\"z\"\"\"", ",x,y,")];
        for (number, (whole, public)) in (0..).zip(expected) {
            let row = block.row(number);
            assert_eq!(spelled(&row, false), whole);
            assert_eq!(spelled(&row, true), public);
            assert_eq!(row.runs, number == 2);
        }
        assert_eq!(block.row(2).cells(false).collect::<Vec<_>>(), ["=1", "x", "y", "\"z\""]);
        assert_eq!(block.row(0).cells(true).collect::<Vec<_>>(), ["", "b,c", "", ""]);
    }

    #[test]
    fn numbers_go_on_over_pieces() {
        let mut block = RowBlock::new(Layout { cells: 1, public: 0..1 });
        let mut expected = Vec::new();
        for piece in 0..5 {
            let mut rows = EncodedRows::new(block.layout());
            (0..700).for_each(|row| rows.push(&format!("{piece}-{row}")));
            let first = block.append(rows);
            expected.push((first, format!("{piece}-0")));
            expected.push((first + 699, format!("{piece}-699")));
        }
        for (number, text) in expected {
            assert_eq!(spelled(&block.row(number), false), text);
        }
    }
}
