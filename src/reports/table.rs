//! A finished report: columns with headings, ready for any output format.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::NaiveDate;

/// Texts laid out row after row in one piece of memory: `fields` texts for each row.
#[derive(Debug, Default)]
pub struct TextBlock {
    fields: usize,
    /// End of each text in `bytes`; text `i` begins where text `i - 1` ends.
    ends: Vec<u64>,
    bytes: String,
}

impl TextBlock {
    /// An empty block of rows with this many texts each.
    #[must_use]
    pub fn new(fields: usize) -> Self {
        Self { fields, ends: Vec::new(), bytes: String::new() }
    }

    /// Appends the next text of the current row.
    pub fn push(&mut self, text: &str) {
        self.bytes.push_str(text);
        self.ends.push(self.bytes.len() as u64);
    }

    /// The text of a row, empty where there is nothing. Panics if there is no such row or field.
    #[must_use]
    pub fn get(&self, row: usize, field: usize) -> &str {
        let at = row * self.fields + field;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        #[allow(clippy::cast_possible_truncation, reason = "offsets into memory that is allocated")]
        &self.bytes[start as usize..self.ends[at] as usize]
    }

    /// How many whole rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.ends.len().checked_div(self.fields).unwrap_or(0)
    }

    /// Bytes of memory in use.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<u64>()
    }
}

/// The values of one column, one per row of the table.
#[derive(Debug)]
pub enum Values<'a> {
    /// Text that many tables share: field `field` of row `keys[i]`, except where `hidden` says so: there it is empty.
    Shared {
        /// The shared texts.
        texts: &'a TextBlock,
        /// Which of a row's texts.
        field: usize,
        /// The row of `texts` for each row of the table.
        keys: Arc<[u32]>,
        /// Rows of the table whose cell is empty. `None`: no such rows.
        hidden: Option<Arc<[bool]>>,
    },
    /// The same text in every row.
    Constant(&'a str),
    /// Text of its own.
    Text(Vec<Cow<'a, str>>),
    /// A calendar day.
    Date(Vec<Option<NaiveDate>>),
    /// A whole number.
    Int(Vec<Option<i64>>),
    /// Whole per cent: with the sign in text formats, a number elsewhere.
    Percent(Vec<Option<i64>>),
}

/// A column of a finished report.
#[derive(Debug)]
pub struct TableColumn<'a> {
    /// Its heading; no two columns of a table share one.
    pub heading: Cow<'a, str>,
    /// Whether the heading was made from data (and so may try to be a spreadsheet formula).
    pub from_data: bool,
    /// The cells.
    pub values: Values<'a>,
}

/// A finished report of one batch.
#[derive(Debug)]
pub struct Finished<'a> {
    /// How many rows it has.
    pub rows: usize,
    /// Its columns in order.
    pub columns: Vec<TableColumn<'a>>,
}
