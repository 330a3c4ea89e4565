//! Lists and maps by their levels alone: how many entries there are, or the value of the only entry that there ever is.
//! Putting whole lists and maps together only to count them, or to look for one key among keys that are all the same,
//! takes several times as long.
//!
//! On levels: <https://parquet.apache.org/docs/file-format/nestedencoding/>

use std::sync::Arc;

use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, PrimitiveArray};
use arrow_buffer::NullBufferBuilder;
use arrow_schema::{DataType, TimeUnit};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::basic::{Repetition, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type as Long};
use parquet::errors::ParquetError;
use parquet::schema::types::Type;

use super::input::Opened;
use super::leaves::leaves;
use super::pages::Group;
use super::watch::Watch;
use crate::sources::rows::canonical::{Wish, whole_numbers};
use crate::sources::rows::typed::Taken;
use crate::sources::spellings::COMPLETED_COUNT;
use crate::sources::values::Unreadable;
use crate::tables::schema::Kind;

/// A column of a row group that can be read so.
pub(super) struct Levels {
    leaf: Leaf,
    /// At this definition level the list or map is there.
    there: i16,
    /// At this one it has an entry.
    entry: i16,
    /// At this one the entry has a value.
    value: i16,
    what: What,
    /// The place of the column's spelling among those of the scan.
    spelling: usize,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// How many entries there are.
    Length,
    /// The value of the last entry.
    Number,
    /// The same, a whole number in floating point.
    Float,
    /// The same, an instant, in microseconds after multiplying by this.
    Instant(i64),
}

enum Leaf {
    Bytes(Box<ColumnReaderImpl<ByteArrayType>>, Vec<ByteArray>),
    Long(Box<ColumnReaderImpl<Long>>, Vec<i64>),
    Double(Box<ColumnReaderImpl<DoubleType>>, Vec<f64>),
}

impl Levels {
    /// For a root column of a row group, from this row on; `None` if it cannot be read so, or not rightly.
    pub(super) fn of(
        file: &Opened<'_>,
        metadata: &ArrowReaderMetadata,
        (group, root, from): (usize, usize, usize),
        wish: Wish<'_>,
        watch: &Arc<Watch>,
    ) -> Result<Option<Self>, ParquetError> {
        let schema = metadata.parquet_schema();
        let field = &schema.root_schema().get_fields()[root];
        let data_type = metadata.schema().field(root).data_type();
        let Some((leaf, what)) = leaf(metadata, group, root, data_type, wish) else { return Ok(None) };
        // A group of one repeated field, which has the entries.
        let Type::GroupType { fields, .. } = field.as_ref() else { return Ok(None) };
        let [entries] = &fields[..] else { return Ok(None) };
        let info = entries.get_basic_info();
        if !info.has_repetition() || info.repetition() != Repetition::REPEATED {
            return Ok(None);
        }
        let there = i16::from(field.is_optional());
        let input = file.leaf(metadata, group, leaf)?;
        let pages = Group::new(input, metadata, group, watch).pages(leaf)?;
        let description = schema.column(leaf);
        let value = description.max_def_level();
        let mut leaf = match get_column_reader(description, Box::new(pages)) {
            ColumnReader::ByteArrayColumnReader(reader) => Leaf::Bytes(Box::new(reader), Vec::new()),
            ColumnReader::Int64ColumnReader(reader) => Leaf::Long(Box::new(reader), Vec::new()),
            ColumnReader::DoubleColumnReader(reader) => Leaf::Double(Box::new(reader), Vec::new()),
            _ => return Ok(None),
        };
        if from > 0 {
            let skipped = match &mut leaf {
                Leaf::Bytes(reader, _) => reader.skip_records(from)?,
                Leaf::Long(reader, _) => reader.skip_records(from)?,
                Leaf::Double(reader, _) => reader.skip_records(from)?,
            };
            if skipped != from {
                return Err(ParquetError::EOF(format!("{skipped} rows of {from}")));
            }
        }
        let (definitions, repetitions) = (Vec::new(), Vec::new());
        let (entry, spelling) = (there + 1, wish.spelling);
        Ok(Some(Self { leaf, there, entry, value, what, spelling, definitions, repetitions }))
    }

    /// The next `rows` rows, in the canonical type of the wish; only cells of `wanted` (ascending) are needed.
    pub(super) fn next(&mut self, rows: usize, wanted: &[u32]) -> Result<Taken, ParquetError> {
        self.definitions.clear();
        self.repetitions.clear();
        let mut read = 0;
        match &mut self.leaf {
            Leaf::Bytes(_, values) => values.clear(),
            Leaf::Long(_, values) => values.clear(),
            Leaf::Double(_, values) => values.clear(),
        }
        while read < rows {
            let (definitions, repetitions) = (Some(&mut self.definitions), Some(&mut self.repetitions));
            let (records, ..) = match &mut self.leaf {
                Leaf::Bytes(reader, values) => reader.read_records(rows - read, definitions, repetitions, values)?,
                Leaf::Long(reader, values) => reader.read_records(rows - read, definitions, repetitions, values)?,
                Leaf::Double(reader, values) => reader.read_records(rows - read, definitions, repetitions, values)?,
            };
            if records == 0 {
                return Err(ParquetError::EOF(format!("{read} rows of {rows}")));
            }
            read += records;
        }
        let array: ArrayRef = match (self.what, &self.leaf) {
            (What::Length, _) => Arc::new(self.lengths(rows)),
            (What::Float, Leaf::Double(_, found)) => {
                let last = self.last(rows, found);
                let value = |row: u32| last[row as usize];
                return Ok(whole_numbers(rows, wanted, (self.spelling, Unreadable::Entry), value));
            }
            (What::Number, Leaf::Long(_, found)) => {
                Arc::new(self.last(rows, found).into_iter().collect::<PrimitiveArray<Int64Type>>())
            }
            (What::Instant(factor), Leaf::Long(_, found)) => {
                let micros =
                    self.last(rows, found).into_iter().map(|value| value.and_then(|value| value.checked_mul(factor)));
                Arc::new(micros.collect::<PrimitiveArray<TimestampMicrosecondType>>())
            }
            // Leaves are chosen by what is asked of them.
            (What::Number | What::Instant(_) | What::Float, _) => Arc::new(PrimitiveArray::<Int64Type>::new_null(rows)),
        };
        Ok(array.into())
    }

    fn lengths(&self, rows: usize) -> PrimitiveArray<Int64Type> {
        let (mut lengths, mut there) = (Vec::with_capacity(rows), NullBufferBuilder::new(rows));
        for (definition, repetition) in self.definitions.iter().zip(&self.repetitions) {
            if *repetition == 0 {
                lengths.push(0);
                there.append(*definition >= self.there);
            }
            // Deeper levels repeat what is within an entry.
            if *repetition <= 1
                && *definition >= self.entry
                && let Some(length) = lengths.last_mut()
            {
                *length += 1;
            }
        }
        PrimitiveArray::new(lengths.into(), there.finish())
    }

    /// The value of the last entry of each row, of all values that were found.
    fn last<T: Copy>(&self, rows: usize, found: &[T]) -> Vec<Option<T>> {
        let mut found = found.iter();
        let mut values: Vec<Option<T>> = Vec::with_capacity(rows);
        for (definition, repetition) in self.definitions.iter().zip(&self.repetitions) {
            if *repetition == 0 {
                values.push(None);
            }
            if *definition >= self.entry {
                let value = if *definition == self.value { found.next() } else { None };
                if let Some(last) = values.last_mut() {
                    *last = value.copied();
                }
            }
        }
        values
    }
}

/// The leaf that tells it, and what it tells.
fn leaf(
    metadata: &ArrowReaderMetadata,
    group: usize,
    root: usize,
    data_type: &DataType,
    wish: Wish<'_>,
) -> Option<(usize, What)> {
    let schema = metadata.parquet_schema();
    let leaves: Vec<usize> = leaves(metadata, root).collect();
    match (wish.kind, data_type) {
        (Kind::Entries, DataType::List(_) | DataType::LargeList(_) | DataType::Map(..)) => {
            let readable =
                |leaf: &&usize| matches!(schema.column(**leaf).physical_type(), Physical::BYTE_ARRAY | Physical::INT64);
            Some((*leaves.iter().find(readable)?, What::Length))
        }
        (Kind::CompletedCount | Kind::LastUpdated, DataType::Map(entries, _)) => {
            let ([key, value], DataType::Struct(fields)) = (&leaves[..], entries.data_type()) else { return None };
            if !is_only_key(metadata, group, *key) {
                return None;
            }
            match (wish.kind, schema.column(*value).physical_type(), fields.get(1)?.data_type()) {
                (Kind::CompletedCount, Physical::INT64, DataType::Int64) => Some((*value, What::Number)),
                (Kind::CompletedCount, Physical::DOUBLE, DataType::Float64) => Some((*value, What::Float)),
                (Kind::LastUpdated, Physical::INT64, DataType::Timestamp(unit, zone)) if zone.is_some() || wish.utc => {
                    let factor = match unit {
                        TimeUnit::Millisecond => 1_000,
                        TimeUnit::Microsecond => 1,
                        TimeUnit::Second | TimeUnit::Nanosecond => return None,
                    };
                    Some((*value, What::Instant(factor)))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// Whether every key of a row group's maps is the one that counts: its statistics say that none is smaller and none
/// greater.
fn is_only_key(metadata: &ArrowReaderMetadata, group: usize, leaf: usize) -> bool {
    let statistics = metadata.metadata().row_group(group).column(leaf).statistics();
    statistics.is_some_and(|statistics| {
        let bounds = [statistics.min_bytes_opt(), statistics.max_bytes_opt()];
        !statistics.is_min_max_deprecated() && bounds == [Some(COMPLETED_COUNT.as_bytes()); 2]
    })
}
