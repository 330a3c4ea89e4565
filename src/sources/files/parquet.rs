//! Parquet files: only the needed columns and row groups, the key's filter applied while decoding.
//!
//! Not here: what the values mean (`arrays` turns them into cells).

use std::fs::File;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::RowNumber;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowFilter,
};
use parquet::basic::Type as Physical;
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use rayon::prelude::*;

use super::arrays::Column;
use super::errors::Place;
use super::layout::Part;
use super::{PartRead, from_path, no_column};
use crate::reports::schema::{KeySet, Presence};
use crate::sources::SourceError;
use crate::sources::rows::{Cell, Located, Outcome, Reading, Rows};

/// Rows decoded at a time.
const BATCH_ROWS: usize = 8192;
/// Row groups are pruned by their statistics for at most this many keys; more would hardly prune any.
const PRUNING_KEYS: usize = 10_000;

/// Reads a file, its row groups in parallel.
///
/// # Errors
/// It cannot be read or lacks a column that must be there.
pub(super) fn read(part: &Part, reading: &Reading<'_>) -> Result<PartRead, SourceError> {
    let place = Place::of(reading.scan.table, part);
    let file = File::open(&part.path).map_err(|error| place.io(&error))?;
    let wide = Wide::open(&file, part, reading).map_err(|error| place.parquet(&error))?;
    let columns = reading.scan.columns.iter().zip(&wide.has);
    if let Some((column, _)) = columns.clone().find(|(c, has)| !**has && c.presence != Presence::Optional) {
        return Err(no_column(reading.scan, part, column));
    }
    let outcome = wide
        .row_groups()
        .into_par_iter()
        .map(|group| wide.row_group(group).map_err(|error| place.parquet(&error)))
        .try_reduce(Outcome::default, |one, other| Ok(one.and(other)))?;
    Ok(PartRead { outcome, has: Some(wide.has) })
}

/// An open file and where the scan's columns are in it.
struct Wide<'a> {
    part: &'a Part,
    reading: &'a Reading<'a>,
    metadata: ArrowReaderMetadata,
    located: Located,
    given: Vec<Option<Cell<'a>>>,
    has: Vec<bool>,
}

impl<'a> Wide<'a> {
    fn open(file: &File, part: &'a Part, reading: &'a Reading<'a>) -> Result<Self, ParquetError> {
        let row_number: FieldRef =
            Arc::new(Field::new("\u{0}row", DataType::Int64, false).with_extension_type(RowNumber));
        let options = ArrowReaderOptions::new().with_virtual_columns(vec![row_number])?;
        let metadata = ArrowReaderMetadata::load(file, options)?;
        let fields = metadata.parquet_schema().root_schema().get_fields().to_vec();
        let located = Located::among(reading.scan, || fields.iter().map(|field| field.name().as_bytes()));
        let given = from_path(part, reading.scan);
        let has = located.places.iter().zip(&given).map(|(place, given)| place.is_some() || given.is_some()).collect();
        Ok(Self { part, reading, metadata, located, given, has })
    }

    /// Where the column that `only` is about is in the file, and the keys.
    fn key(&self) -> Option<(usize, &'a KeySet)> {
        let (_, keys) = self.reading.scan.only.as_ref()?;
        Some((self.located.places[self.reading.only()?]?, keys.as_ref()))
    }

    /// The row groups that may have rows for the scan, by their statistics.
    fn row_groups(&self) -> Vec<usize> {
        let groups = self.metadata.metadata().row_groups();
        let all = 0..groups.len();
        match self.key() {
            Some((root, keys)) if keys.len() <= PRUNING_KEYS => {
                let mut sorted: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
                sorted.sort_unstable();
                all.filter(|&group| self.may_have(&groups[group], root, &sorted)).collect()
            }
            _ => all.collect(),
        }
    }

    /// Whether one of the keys lies between the least and the greatest of a row group. Rows without a key are kept
    /// where there are any: they are unusable, and counted.
    fn may_have(&self, group: &RowGroupMetaData, root: usize, sorted: &[&[u8]]) -> bool {
        let schema = self.metadata.parquet_schema();
        let Some(leaf) = (0..schema.num_columns()).find(|&leaf| schema.get_column_root_idx(leaf) == root) else {
            return true;
        };
        let column = group.column(leaf);
        let (Physical::BYTE_ARRAY, Some(statistics)) = (column.column_type(), column.statistics()) else { return true };
        let bounds = (statistics.min_bytes_opt(), statistics.max_bytes_opt(), statistics.null_count_opt());
        let (Some(least), Some(greatest), Some(0)) = bounds else { return true };
        if least.is_empty() || statistics.is_min_max_deprecated() {
            return true;
        }
        let first = sorted.partition_point(|key| *key < least);
        sorted.get(first).is_some_and(|key| *key <= greatest)
    }

    fn row_group(&self, group: usize) -> Result<Outcome, ParquetError> {
        let schema = self.metadata.parquet_schema();
        let file = File::open(&self.part.path)?;
        let roots = self.located.places.iter().flatten().copied();
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_row_groups(vec![group])
            .with_batch_size(BATCH_ROWS)
            .with_projection(ProjectionMask::roots(schema, roots));
        if let Some((root, keys)) = self.key() {
            let mask = ProjectionMask::roots(schema, [root]);
            let keys = keys.clone();
            let predicate = ArrowPredicateFn::new(mask, move |batch| among(&batch, &keys));
            builder = builder.with_row_filter(RowFilter::new(vec![Box::new(predicate)]));
        }
        let mut rows = Rows::new(self.reading, &self.part.label);
        rows.flat(true);
        for batch in builder.build()? {
            self.push(&mut rows, &batch?)?;
        }
        Ok(rows.finish())
    }

    fn push(&self, rows: &mut Rows<'_>, batch: &RecordBatch) -> Result<(), ParquetError> {
        let numbers = batch.column(batch.num_columns() - 1).as_primitive::<Int64Type>();
        let mut roots: Vec<usize> = self.located.places.iter().flatten().copied().collect();
        roots.sort_unstable();
        roots.dedup();
        let mut columns = Vec::with_capacity(self.located.places.len());
        for (wanted, place) in self.reading.scan.columns.iter().zip(&self.located.places) {
            columns.push(match place.and_then(|place| roots.binary_search(&place).ok()) {
                Some(at) => {
                    Some(Column::new(batch.column(at), wanted.kind, self.located.flat, self.is_int96(roots[at]))?)
                }
                None => None,
            });
        }
        for row in 0..batch.num_rows() {
            let line = u64::try_from(numbers.value(row) + 1).unwrap_or(0);
            rows.push(line, |column| match &columns[column] {
                Some(values) => values.cell(row),
                None => self.given[column].unwrap_or(Cell::Null),
            });
        }
        Ok(())
    }

    /// The old way of writing instants: arrow sees no zone in it, but it is UTC.
    fn is_int96(&self, root: usize) -> bool {
        let fields = self.metadata.parquet_schema().root_schema().get_fields();
        fields[root].is_primitive() && fields[root].get_physical_type() == Physical::INT96
    }
}

/// Which rows have one of the keys, or none at all: those are unusable, and counted.
fn among(batch: &RecordBatch, keys: &KeySet) -> Result<BooleanArray, ArrowError> {
    let texts = cast(batch.column(0), &DataType::Utf8)?;
    let texts = texts.as_string::<i32>();
    Ok(texts.iter().map(|text| Some(text.is_none_or(|text| text.is_empty() || keys.contains(text)))).collect())
}
