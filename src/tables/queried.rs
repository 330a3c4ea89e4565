//! Rows that an engine's query returned for a report in SQL, by file. Every value is text; what kind it is decides its order.

use std::collections::HashMap;

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// Whole numbers of at most 64 bits.
    Int,
    /// Decimal numbers and floats without exponent, infinities, not a number.
    Number,
    /// Calendar days, `2020-02-05`.
    Date,
    /// Times in UTC, `2020-02-05 10:00:00.5`.
    Time,
    /// Anything else.
    Text,
}

/// Rows of a query, by what their files are called.
#[derive(Debug, Default)]
pub struct QueriedRows {
    /// The kind of each column.
    pub kinds: Vec<ValueKind>,
    files: HashMap<String, FileRows>,
}

/// The rows of one file, in the order in which they came.
#[derive(Debug, Default)]
pub struct FileRows {
    rows: usize,
    text: String,
    /// Where each cell ends in `text`, row by row; it begins where the one before ends.
    ends: Vec<usize>,
    nulls: Vec<bool>,
}

impl QueriedRows {
    /// Makes room for rows of this file; others are refused.
    pub fn expect(&mut self, file: &str) {
        self.files.insert(file.to_owned(), FileRows::default());
    }

    /// Adds a row of a file. Returns the bytes that it takes in memory, about; `None`: no row of this file is expected.
    pub fn push(&mut self, file: &str, cells: &[Option<&str>]) -> Option<u64> {
        Some(self.files.get_mut(file)?.push(cells))
    }

    /// The rows of a file; `None`: there is no such file.
    #[must_use]
    pub fn of(&self, file: &str) -> Option<&FileRows> {
        self.files.get(file)
    }

    /// What the files are called, in no particular order.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }
}

impl FileRows {
    fn push(&mut self, cells: &[Option<&str>]) -> u64 {
        let before = self.text.len();
        for cell in cells {
            self.text.push_str(cell.unwrap_or_default());
            self.ends.push(self.text.len());
            self.nulls.push(cell.is_none());
        }
        self.rows += 1;
        // A vector may have twice the room that it needs.
        2 * (self.text.len() - before + cells.len() * (size_of::<usize>() + size_of::<bool>())) as u64
    }

    /// How many there are.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// A cell; `None` for null.
    #[must_use]
    pub fn cell(&self, row: usize, column: usize) -> Option<&str> {
        let at = row * (self.ends.len() / self.rows) + column;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        (!self.nulls[at]).then(|| &self.text[start..self.ends[at]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_by_file_and_those_of_a_foreign_file_are_refused() {
        let mut rows = QueriedRows::default();
        rows.expect("a");
        rows.expect("b");
        assert!(rows.push("a", &[Some("x"), None]) < rows.push("a", &[Some("long text"), Some("")]));
        assert_eq!(rows.push("c", &[None, None]), None);
        let of = rows.of("a").unwrap();
        let cells: Vec<_> = (0..of.rows()).map(|row| (of.cell(row, 0), of.cell(row, 1))).collect();
        assert_eq!(cells, [(Some("x"), None), (Some("long text"), Some(""))]);
        assert_eq!((rows.of("b").map(FileRows::rows), rows.of("c").map(FileRows::rows)), (Some(0), None));
    }
}
