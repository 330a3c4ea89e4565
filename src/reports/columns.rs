//! The canonical arrow columns of a chunk, by name.
//!
//! A source delivers the columns of a scan in its order and in the types of [`Kind`](super::schema::Kind); anything
//! else is a defect of the source, and taking such a chunk panics.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow_buffer::NullBuffer;

use super::schema::Column;

/// A chunk with the names of its columns.
pub(super) struct Chunk<'a> {
    batch: &'a RecordBatch,
    columns: &'a [Column],
}

impl<'a> Chunk<'a> {
    pub(super) const fn new(batch: &'a RecordBatch, columns: &'a [Column]) -> Self {
        Self { batch, columns }
    }

    /// How many rows it has.
    pub(super) fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    fn array(&self, name: &str) -> Option<&'a ArrayRef> {
        let at = self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))?;
        Some(self.batch.column(at))
    }

    /// A column of kind text or JSON; one that was not asked for has nothing in it.
    pub(super) fn texts(&self, name: &str) -> Texts<'a> {
        Texts(self.array(name).map(AsArray::as_string::<i32>))
    }

    /// A column of whole numbers, counts or decimals.
    pub(super) fn integers(&self, name: &str) -> Integers<'a> {
        Integers(self.array(name).map(|array| {
            let array = array.as_primitive::<Int64Type>();
            (&array.values()[..], array.nulls())
        }))
    }

    /// A column of instants.
    pub(super) fn instants(&self, name: &str) -> Integers<'a> {
        Integers(self.array(name).map(|array| {
            let array = array.as_primitive::<TimestampMicrosecondType>();
            (&array.values()[..], array.nulls())
        }))
    }

    /// A column of booleans.
    pub(super) fn booleans(&self, name: &str) -> Booleans<'a> {
        Booleans(self.array(name).map(AsArray::as_boolean))
    }
}

/// Texts; nothing there is the empty text.
#[derive(Clone, Copy)]
pub(super) struct Texts<'a>(Option<&'a StringArray>);

impl<'a> Texts<'a> {
    pub(super) fn get(self, row: usize) -> &'a str {
        match self.0 {
            Some(array) if array.is_valid(row) => array.value(row),
            _ => "",
        }
    }
}

/// Whole numbers or instants.
#[derive(Clone, Copy)]
pub(super) struct Integers<'a>(Option<(&'a [i64], Option<&'a NullBuffer>)>);

impl Integers<'_> {
    pub(super) fn get(self, row: usize) -> Option<i64> {
        let (values, nulls) = self.0?;
        nulls.is_none_or(|nulls| nulls.is_valid(row)).then(|| values[row])
    }
}

/// Booleans; nothing there is false.
#[derive(Clone, Copy)]
pub(super) struct Booleans<'a>(Option<&'a BooleanArray>);

impl Booleans<'_> {
    pub(super) fn get(self, row: usize) -> bool {
        self.0.is_some_and(|array| array.is_valid(row) && array.value(row))
    }
}
