//! Rows that come as whole columns of canonical types, judged by the rules of [`Rows`](super::Rows): columns are taken
//! over as they are, and a row that cannot be used is left out of those that count.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, StringArray};
use arrow_buffer::{ArrowNativeType, OffsetBuffer};
use arrow_schema::DataType;

use super::{NOT_UTF8, Reading, is_date, reason};
use crate::sources::ScanStats;
use crate::sources::values::Unreadable;
use crate::tables::chunk::{Chunk, Texts, is_same};
use crate::tables::quality::Fault;
use crate::tables::schema::Presence;

/// One column of a chunk in its canonical type.
#[derive(Debug)]
pub struct Taken {
    /// The cells; those of rows that are not wanted may hold anything.
    pub array: ArrayRef,
    /// Wanted rows whose cell does not read, ascending.
    pub unreadable: Vec<Unread>,
    /// Wanted rows whose text had to be mended, ascending.
    pub odd: Vec<u32>,
}

impl From<ArrayRef> for Taken {
    fn from(array: ArrayRef) -> Self {
        Self { array, unreadable: Vec::new(), odd: Vec::new() }
    }
}

/// A cell that does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Its row.
    pub row: u32,
    /// Its spelling, by its place among those of the scan.
    pub spelling: usize,
    /// Why.
    pub why: Unreadable,
}

/// Takes the chunks of one file (or of a part of it, on one thread) and hands them to the sink.
pub struct Typed<'a> {
    reading: &'a Reading<'a>,
    file: &'a str,
    stats: ScanStats,
    /// By column, the last dictionary that has no empty text: the chunks of a row group share one.
    full: Vec<Option<StringArray>>,
}

impl<'a> Typed<'a> {
    /// Begins with a file, named for log and messages.
    #[must_use]
    pub fn new(reading: &'a Reading<'a>, file: &'a str) -> Self {
        let full = reading.scan.columns.iter().map(|_| None).collect();
        Self { reading, file, stats: ScanStats::default(), full }
    }

    /// Takes a chunk: a column for each of the scan's, and the rows of them that are wanted, ascending; `line` says where
    /// in the file a row is.
    pub fn take(&mut self, columns: Vec<Taken>, mut rows: Vec<u32>, line: impl Fn(u32) -> u64) {
        let bad = self.bad(&columns, &rows);
        if !bad.is_empty() {
            rows.retain(|row| !bad.contains_key(row));
            for (row, reason) in &bad {
                let fault = Fault { file: self.file.to_owned(), line: line(*row), reason: reason.clone() };
                self.stats.unusable(self.reading, self.key(&columns, *row), fault, 1);
            }
        }
        let mut odd: Vec<u32> = Vec::new();
        for (column, taken) in self.reading.scan.columns.iter().zip(&columns) {
            let of_used = |row: &&u32| !bad.contains_key(*row);
            odd.extend(taken.odd.iter().filter(of_used));
            if is_date(column.kind) {
                for unread in taken.unreadable.iter().filter(|unread| of_used(&&unread.row)) {
                    let (key, name) = (self.key(&columns, unread.row), self.name(unread));
                    self.stats.unreadable(column, name, key, self.file, line(unread.row));
                }
            }
        }
        odd.sort_unstable();
        odd.dedup();
        if !odd.is_empty() {
            *self.stats.odd.entry(NOT_UTF8.to_owned()).or_default() += odd.len() as u64;
        }
        self.stats.rows += rows.len() as u64;
        if !rows.is_empty() {
            (self.reading.sink)(&Chunk::of(columns.into_iter().map(|taken| taken.array).collect(), rows));
        }
    }

    /// How the column of a cell that does not read is spelled.
    fn name(&self, unread: &Unread) -> &'a str {
        &self.reading.spellings().all()[unread.spelling].name
    }

    /// The key by which the faults of a row are counted; empty if there is none.
    fn key<'c>(&self, columns: &'c [Taken], row: u32) -> &'c str {
        self.reading.by.map_or("", |by| Texts::of(&columns[by].array).get(row as usize))
    }

    /// The wanted rows that cannot be used, each with its first reason.
    fn bad(&mut self, columns: &[Taken], rows: &[u32]) -> BTreeMap<u32, String> {
        let mut bad = BTreeMap::new();
        for ((column, taken), full) in self.reading.scan.columns.iter().zip(columns).zip(&mut self.full) {
            if column.presence == Presence::Key && may_be_empty(&taken.array, full) {
                let texts = Texts::of(&taken.array);
                for row in rows.iter().filter(|row| texts.get(**row as usize).is_empty()) {
                    bad.entry(*row).or_insert_with(|| format!("empty {}", column.name));
                }
            }
            if !is_date(column.kind) {
                for Unread { row, spelling, why } in &taken.unreadable {
                    let spelling = &self.reading.spellings().all()[*spelling];
                    bad.entry(*row).or_insert_with(|| reason(column, spelling, *why));
                }
            }
        }
        bad
    }

    /// What it all came to.
    #[must_use]
    pub fn finish(self) -> ScanStats {
        self.stats
    }
}

/// Whether any text of a column, of whatever row, has nothing in it: one look at all of them is quick, and at a dictionary
/// one is enough for all of its chunks.
fn may_be_empty(array: &ArrayRef, full: &mut Option<StringArray>) -> bool {
    fn any_empty<O: ArrowNativeType + PartialEq>(offsets: &OffsetBuffer<O>) -> bool {
        offsets.windows(2).any(|pair| pair[0] == pair[1])
    }
    if array.null_count() > 0 {
        return true;
    }
    match array.data_type() {
        DataType::Utf8 => any_empty(array.as_string::<i32>().offsets()),
        // The lower half of a view is the length of its text.
        DataType::Utf8View => array.as_string_view().views().iter().any(|view| *view & u128::from(u32::MAX) == 0),
        DataType::Dictionary(..) => {
            let texts = array.as_dictionary::<Int32Type>().values().as_string::<i32>();
            if full.as_ref().is_some_and(|full| is_same(full, texts)) {
                return false;
            }
            let may_be = texts.null_count() > 0 || any_empty(texts.offsets());
            *full = (!may_be).then(|| texts.clone());
            may_be
        }
        _ => true,
    }
}
