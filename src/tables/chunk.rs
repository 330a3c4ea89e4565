//! What a source delivers: some rows of some columns, in the canonical types of [`Kind`](crate::tables::schema::Kind).
//!
//! A reader of Parquet hands over whole columns as it decoded them and says which of their rows count: copying the
//! wanted cells out of millions of others would be most of the work. Not here: where the columns come from.

use std::iter::repeat_n;
use std::sync::{Mutex, PoisonError};

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, BooleanArray, Int32Array, StringArray, StringViewArray};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;

use crate::tables::schema::{
    Bool, Column, ColumnType, CompletedCount, Count, Decimal, Entries, Instant, Json, LastUpdated, Text, TypedColumn,
};

/// Some rows of a table: one array for each column of the scan, all of one length, and which of their rows count.
///
/// Text (kinds text and JSON) is `Utf8`, `Utf8View` or a dictionary of `Utf8` with 32-bit keys; null and empty text are
/// the same. Whole numbers are `Int64`, truths `Boolean`, instants `Timestamp(Microsecond, None)`.
#[derive(Clone, Debug)]
pub struct Chunk {
    columns: Vec<ArrayRef>,
    rows: Rows,
}

/// Which rows of a chunk count.
#[derive(Clone, Debug)]
enum Rows {
    All(usize),
    These(Vec<u32>),
}

impl Chunk {
    /// Every row of columns of this length.
    #[must_use]
    pub const fn all(columns: Vec<ArrayRef>, length: usize) -> Self {
        Self { columns, rows: Rows::All(length) }
    }

    /// Only these rows, each of them in every column.
    #[must_use]
    pub const fn of(columns: Vec<ArrayRef>, rows: Vec<u32>) -> Self {
        Self { columns, rows: Rows::These(rows) }
    }

    /// Where in the columns the rows are that count, ascending.
    pub fn rows(&self) -> impl Iterator<Item = usize> + Clone + '_ {
        let (all, these) = match &self.rows {
            Rows::All(length) => (0..*length, &[][..]),
            Rows::These(rows) => (0..0, &rows[..]),
        };
        all.chain(these.iter().map(|row| *row as usize))
    }

    /// The columns, in the order of the scan; they may have further rows than those that count.
    #[must_use]
    pub fn columns(&self) -> &[ArrayRef] {
        &self.columns
    }
}

/// A chunk with the names of its columns.
#[derive(Clone, Copy)]
pub(crate) struct ChunkView<'a> {
    chunk: &'a Chunk,
    columns: &'a [Column],
}

impl<'a> ChunkView<'a> {
    pub(crate) const fn new(chunk: &'a Chunk, columns: &'a [Column]) -> Self {
        Self { chunk, columns }
    }

    /// Where the rows are that count.
    pub(crate) fn rows(self) -> impl Iterator<Item = usize> + Clone + 'a {
        self.chunk.rows()
    }

    /// The cells of a column; one that was not asked for has nothing in it.
    pub(crate) fn cells<T: ReadCells>(self, column: TypedColumn<T>) -> T::Cells<'a> {
        T::cells(self.array(column.name()))
    }

    fn array(self, name: &str) -> Option<&'a ArrayRef> {
        let at = self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))?;
        Some(&self.chunk.columns[at])
    }

    /// A column of kind text or JSON whose name is only known at run time.
    pub(crate) fn texts(self, name: &str) -> Texts<'a> {
        Text::cells(self.array(name))
    }

    /// A column of instants whose name is only known at run time.
    pub(crate) fn instants(self, name: &str) -> Integers<'a> {
        Instant::cells(self.array(name))
    }
}

/// What the cells of a column are in memory.
pub(crate) trait ReadCells: ColumnType {
    /// The cells, to be asked row by row.
    type Cells<'a>;

    /// Those of an array, which has the type of the column's kind; `None`: nothing in any row.
    fn cells(array: Option<&ArrayRef>) -> Self::Cells<'_>;
}

macro_rules! read_cells {
    ($($column:ty),* => $cells:ident, $read:expr) => {$(
        impl ReadCells for $column {
            type Cells<'a> = $cells<'a>;

            fn cells(array: Option<&ArrayRef>) -> $cells<'_> {
                $read(array)
            }
        }
    )*};
}

read_cells!(Text, Json => Texts, Texts::of_column);
read_cells!(Count, Decimal, Entries, CompletedCount => Integers, Integers::of::<Int64Type>);
read_cells!(Instant, LastUpdated => Integers, Integers::of::<TimestampMicrosecondType>);
read_cells!(Bool => Booleans, Booleans::of);

/// Texts of a column; nothing there is the empty text.
#[derive(Clone, Copy, Debug)]
pub enum Texts<'a> {
    /// There is no such column.
    Nothing,
    /// Text by text.
    Plain(&'a StringArray),
    /// Views.
    View(&'a StringViewArray),
    /// For each row the place of its text among the distinct ones.
    Coded(&'a Int32Array, &'a StringArray),
}

impl<'a> Texts<'a> {
    /// Those of an array that has one of the types of text, see [`Chunk`].
    ///
    /// # Panics
    /// If it has another type.
    #[must_use]
    pub fn of(array: &'a ArrayRef) -> Self {
        match array.data_type() {
            DataType::Utf8View => Self::View(array.as_string_view()),
            DataType::Dictionary(..) => {
                let coded = array.as_dictionary::<Int32Type>();
                Self::Coded(coded.keys(), coded.values().as_string())
            }
            _ => Self::Plain(array.as_string()),
        }
    }

    fn of_column(array: Option<&'a ArrayRef>) -> Self {
        array.map_or(Self::Nothing, Self::of)
    }

    /// The text of a row.
    #[must_use]
    pub fn get(self, row: usize) -> &'a str {
        match self {
            Self::Plain(array) if array.is_valid(row) => array.value(row),
            Self::View(array) if array.is_valid(row) => array.value(row),
            Self::Coded(..) => self.code(row).map_or("", |code| self.distinct(code)),
            _ => "",
        }
    }

    #[allow(clippy::cast_sign_loss, reason = "keys of a dictionary are places in it")]
    fn code(self, row: usize) -> Option<usize> {
        match self {
            Self::Coded(keys, distinct) if keys.is_valid(row) => {
                Some(keys.value(row) as usize).filter(|code| distinct.is_valid(*code))
            }
            _ => None,
        }
    }

    fn distinct(self, code: usize) -> &'a str {
        if let Self::Coded(_, distinct) = self { distinct.value(code) } else { "" }
    }
}

/// Bytes of a dictionary that is kept. Writers give theirs up where they exceed a megabyte or two.
const KEPT: usize = 8 << 20;

/// What texts mean, remembered from chunk to chunk: the chunks of a row group share one dictionary, and each of its texts
/// is looked at once. Of texts that come otherwise, neighbours tend to be alike.
#[derive(Debug, Default)]
pub struct DictionaryCache<T> {
    dictionary: Option<StringArray>,
    /// By place in the dictionary, and at the end what nothing there means.
    known: Vec<T>,
}

impl<T: Copy> DictionaryCache<T> {
    /// What each text means, in the order of `rows`. `meanings` is asked for many texts at a time, since finding one may
    /// have to wait for memory: for all of a dictionary, those that no row has included. The meaning of a text must not
    /// change.
    pub fn each<'a>(
        &mut self,
        texts: Texts<'a>,
        rows: impl Iterator<Item = usize>,
        meanings: impl FnOnce(&[&'a str]) -> Vec<T>,
    ) -> Vec<T> {
        let Texts::Coded(keys, dictionary) = texts else { return of_runs(texts, rows, meanings) };
        // What is kept from chunk to chunk is counted nowhere.
        if dictionary.value_data().len() > KEPT {
            return of_runs(texts, rows, meanings);
        }
        if !self.is_of(dictionary) {
            // A reader that reads a row group twice has its dictionary twice.
            if self.dictionary.as_ref() != Some(dictionary) {
                let distinct =
                    (0..dictionary.len()).map(|code| if dictionary.is_valid(code) { texts.distinct(code) } else { "" });
                self.known = meanings(&distinct.chain([""]).collect::<Vec<_>>());
            }
            // It is kept, so that nothing else can come to be at its address.
            self.dictionary = Some(dictionary.clone());
        }
        #[allow(clippy::cast_sign_loss, reason = "keys of a dictionary are places in it")]
        let at = |row: usize| keys.values()[row] as usize;
        match keys.nulls() {
            None => rows.map(|row| self.known[at(row)]).collect(),
            Some(nulls) => {
                let place = |row: usize| if nulls.is_valid(row) { at(row) } else { dictionary.len() };
                rows.map(|row| self.known[place(row)]).collect()
            }
        }
    }

    /// Whether it is the dictionary of the chunk before.
    fn is_of(&self, dictionary: &StringArray) -> bool {
        self.dictionary.as_ref().is_some_and(|mine| is_same(mine, dictionary))
    }
}

/// Whether two arrays are one and the same in memory.
#[must_use]
pub fn is_same(one: &StringArray, other: &StringArray) -> bool {
    one.len() == other.len() && one.values().ptr_eq(other.values()) && one.offsets().ptr_eq(other.offsets())
}

/// What each text means, where neighbours that are alike are asked for once.
fn of_runs<'a, T: Copy>(
    texts: Texts<'a>,
    rows: impl Iterator<Item = usize>,
    meanings: impl FnOnce(&[&'a str]) -> Vec<T>,
) -> Vec<T> {
    let (mut asked, mut lengths): (Vec<&str>, Vec<usize>) = (Vec::new(), Vec::new());
    for text in rows.map(|row| texts.get(row)) {
        match (asked.last(), lengths.last_mut()) {
            (Some(last), Some(length)) if *last == text => *length += 1,
            _ => {
                asked.push(text);
                lengths.push(1);
            }
        }
    }
    meanings(&asked).into_iter().zip(lengths).flat_map(|(meaning, length)| repeat_n(meaning, length)).collect()
}

/// The same for what several threads look at, each with its own row group at hand.
#[derive(Debug)]
pub(crate) struct SharedDictionaryCache<T>(Vec<Mutex<DictionaryCache<T>>>);

impl<T: Copy> SharedDictionaryCache<T> {
    /// For the threads of the current pool.
    pub(crate) fn new() -> Self {
        Self(
            (0..=rayon::current_num_threads())
                .map(|_| Mutex::new(DictionaryCache { dictionary: None, known: Vec::new() }))
                .collect(),
        )
    }

    /// See [`DictionaryCache::each`].
    pub(crate) fn each<'a>(
        &self,
        texts: Texts<'a>,
        rows: impl Iterator<Item = usize>,
        meanings: impl FnOnce(&[&'a str]) -> Vec<T>,
    ) -> Vec<T> {
        // Any other thread takes the first one's place, in turn.
        let thread = rayon::current_thread_index().map_or(0, |thread| (thread + 1) % self.0.len());
        self.0[thread].lock().unwrap_or_else(PoisonError::into_inner).each(texts, rows, meanings)
    }
}

/// Whole numbers or instants.
#[derive(Clone, Copy)]
pub(crate) struct Integers<'a>(Option<(&'a [i64], Option<&'a NullBuffer>)>);

impl<'a> Integers<'a> {
    fn of<T: ArrowPrimitiveType<Native = i64>>(array: Option<&'a ArrayRef>) -> Self {
        Self(array.map(|array| {
            let array = array.as_primitive::<T>();
            (&array.values()[..], array.nulls())
        }))
    }

    pub(crate) fn get(self, row: usize) -> Option<i64> {
        let (values, nulls) = self.0?;
        nulls.is_none_or(|nulls| nulls.is_valid(row)).then(|| values[row])
    }
}

/// Booleans; nothing there is false.
#[derive(Clone, Copy)]
pub(crate) struct Booleans<'a>(Option<&'a BooleanArray>);

impl<'a> Booleans<'a> {
    fn of(array: Option<&'a ArrayRef>) -> Self {
        Self(array.map(AsArray::as_boolean))
    }

    pub(crate) fn get(self, row: usize) -> bool {
        self.0.is_some_and(|array| array.is_valid(row) && array.value(row))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::DictionaryArray;

    use super::*;

    /// Built anew each time, so that no two share memory.
    fn coded(distinct: &[Option<&str>], codes: &[Option<i32>]) -> ArrayRef {
        let distinct: StringArray = distinct.iter().copied().collect();
        Arc::new(DictionaryArray::new(codes.iter().copied().collect::<Int32Array>(), Arc::new(distinct)))
    }

    #[test]
    fn each_text_of_a_dictionary_is_asked_for_once_though_it_comes_twice() {
        let mut known = DictionaryCache::default();
        let mut asked = Vec::new();
        let mut lengths = |array: &ArrayRef| {
            known.each(Texts::of(array), 0..array.len(), |texts| {
                asked.extend(texts.iter().map(|text| (*text).to_owned()));
                texts.iter().map(|text| text.len()).collect()
            })
        };
        assert_eq!(lengths(&coded(&[Some("abc"), None, Some("d")], &[Some(2), Some(0), None, Some(1)])), [1, 3, 0, 0]);
        assert_eq!(lengths(&coded(&[Some("abc"), None, Some("d")], &[Some(0), Some(2)])), [3, 1]);
        assert_eq!(lengths(&coded(&[Some("abc"), None, Some("dd")], &[Some(0), Some(2)])), [3, 2]);
        assert_eq!(asked, ["abc", "", "d", "", "abc", "", "dd", ""]);
    }
}
