//! Parquet files: only the needed columns, only the row groups that can have wanted keys, and of those only the rows
//! that do. Row groups are read in parallel.
//!
//! Not here: the many types that a column may have (`cells`).

mod cells;

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::{ArrowError, DataType, FieldRef, Schema, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowFilter,
};
use parquet::basic::Type as Physical;
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::statistics::Statistics;
use rayon::prelude::*;

use self::cells::Cells;
use super::errors::Place;
use super::layout::Part;
use super::{PartRead, from_path, no_column};
use crate::reports::schema::{KeySet, Presence};
use crate::sources::SourceError;
use crate::sources::rows::{Cell, Located, Outcome, Reading, Rows, key_of};

/// Rows decoded at a time.
const BATCH: usize = 8192;
/// Bytes decoded at a time, about, where rows are long.
const BATCH_BYTES: i64 = 16 << 20;

/// Reads a file.
///
/// # Errors
/// It cannot be read or lacks a column that must be there.
pub(super) fn read(part: &Part, reading: &Reading<'_>) -> Result<PartRead, SourceError> {
    let scan = reading.scan;
    let place = Place::of(scan.table, part);
    let file = File::open(&part.path).map_err(|error| place.io(&error))?;
    // The page index lets the reader jump over pages of which no row is wanted.
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let metadata = ArrowReaderMetadata::load(&file, options.clone()).map_err(|error| place.parquet(&error))?;
    let metadata = micros(metadata, options).map_err(|error| place.parquet(&error))?;
    let names = || metadata.schema().fields().iter().map(|field| field.name().as_bytes());
    let located = Located::among(scan, names);
    let given = from_path(part, scan);
    let has: Vec<bool> =
        located.places.iter().zip(&given).map(|(place, given)| place.is_some() || given.is_some()).collect();
    let mut columns = scan.columns.iter().zip(&has);
    if let Some((column, _)) = columns.find(|(column, has)| !**has && column.presence != Presence::Optional) {
        return Err(no_column(scan, part, column));
    }
    let groups = groups(&metadata, &located, reading);
    let table = FilePlan { part, reading, metadata: &metadata, located: &located, given: &given };
    let outcomes: Result<Vec<_>, _> = groups.par_iter().map(|group| table.group(*group)).collect();
    let outcome = outcomes?.into_iter().fold(Outcome::default(), Outcome::and);
    Ok(PartRead { outcome, has: Some(has) })
}

/// Reads the old type for instants in microseconds: in nanoseconds, the reader's own choice, years beyond 2262 would wrap
/// and "9999-12-31" be long past.
fn micros(metadata: ArrowReaderMetadata, options: ArrowReaderOptions) -> Result<ArrowReaderMetadata, ParquetError> {
    let schema = metadata.parquet_schema();
    let is_int96 = |root: usize| {
        let field = &schema.root_schema().get_fields()[root];
        field.is_primitive() && field.get_physical_type() == Physical::INT96
    };
    let fields = metadata.schema().fields();
    if !(0..fields.len()).any(is_int96) {
        return Ok(metadata);
    }
    let in_micros = |(root, field): (usize, &FieldRef)| {
        let data_type = DataType::Timestamp(TimeUnit::Microsecond, None);
        if is_int96(root) { Arc::new(field.as_ref().clone().with_data_type(data_type)) } else { Arc::clone(field) }
    };
    let fields: Vec<FieldRef> = fields.iter().enumerate().map(in_micros).collect();
    let options = options.with_schema(Arc::new(Schema::new(fields)));
    ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)
}

/// A row group, and how many rows of the file come before it.
#[derive(Clone, Copy)]
struct Group {
    place: usize,
    before: u64,
}

/// The row groups that can have wanted rows, by the statistics of the key.
fn groups(metadata: &ArrowReaderMetadata, located: &Located, reading: &Reading<'_>) -> Vec<Group> {
    let leaf = reading.only().and_then(|only| located.places[only]).and_then(|root| leaf(metadata, root));
    let wanted = reading.scan.only.as_ref().map(|(_, keys)| sorted(keys));
    let mut before = 0;
    let mut groups = Vec::new();
    for (place, group) in metadata.metadata().row_groups().iter().enumerate() {
        let statistics = leaf.and_then(|leaf| group.column(leaf).statistics());
        let skip = statistics.zip(wanted.as_ref()).is_some_and(|(statistics, keys)| !may_have(statistics, keys));
        if !skip {
            groups.push(Group { place, before });
        }
        before += u64::try_from(group.num_rows()).unwrap_or(0);
    }
    groups
}

/// The only leaf of a root column, if it is text.
fn leaf(metadata: &ArrowReaderMetadata, root: usize) -> Option<usize> {
    let schema = metadata.parquet_schema();
    let mut leaves = (0..schema.num_columns()).filter(|leaf| schema.get_column_root_idx(*leaf) == root);
    let leaf = leaves.next()?;
    (leaves.next().is_none() && schema.column(leaf).physical_type() == Physical::BYTE_ARRAY).then_some(leaf)
}

fn sorted(keys: &KeySet) -> Vec<&[u8]> {
    let mut keys: Vec<_> = keys.iter().map(String::as_bytes).collect();
    keys.sort_unstable();
    keys
}

/// Whether a row group may have a wanted key, or a row without key (which is unusable, and counted).
fn may_have(statistics: &Statistics, keys: &[&[u8]]) -> bool {
    let (Some(least), Some(greatest), Some(0)) =
        (statistics.min_bytes_opt(), statistics.max_bytes_opt(), statistics.null_count_opt())
    else {
        return true;
    };
    // Old files compare bytes as signed numbers.
    if statistics.is_min_max_deprecated() || least.is_empty() {
        return true;
    }
    let first = keys.partition_point(|key| *key < least);
    keys.get(first).is_some_and(|key| *key <= greatest)
}

/// One file, ready to be read group by group.
struct FilePlan<'a> {
    part: &'a Part,
    reading: &'a Reading<'a>,
    metadata: &'a ArrowReaderMetadata,
    located: &'a Located,
    given: &'a [Option<Cell<'a>>],
}

impl FilePlan<'_> {
    fn group(&self, group: Group) -> Result<Outcome, SourceError> {
        let place = Place::of(self.reading.scan.table, self.part);
        let file = File::open(&self.part.path).map_err(|error| place.io(&error))?;
        let mut roots: Vec<usize> = self.located.places.iter().flatten().copied().collect();
        roots.sort_unstable();
        roots.dedup();
        let schema = self.metadata.parquet_schema();
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_row_groups(vec![group.place])
            .with_batch_size(self.batch_rows(group))
            .with_projection(ProjectionMask::roots(schema, roots.iter().copied()));
        let kept = Arc::new(Mutex::new(Kept::default()));
        let filtered = self.filter(&kept);
        let all_rows = filtered.is_none();
        if let Some(filter) = filtered {
            builder = builder.with_row_filter(filter);
        }
        let reader = builder.build().map_err(|error| place.parquet(&error))?;
        let mut rows = Rows::new(self.reading, &self.part.label);
        rows.flat(self.located.flat);
        let mut read = 0;
        for batch in reader {
            let batch = batch.map_err(|error| place.parquet(&error))?;
            let cells = self.cells(&batch, &roots).map_err(|error| place.parquet(&error))?;
            rows.entry(cells.iter().flatten().any(Cells::is_entry));
            let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            for row in 0..batch.num_rows() {
                let in_group = if all_rows { read as u64 } else { kept.rows.get(read).copied().unwrap_or(0) };
                read += 1;
                rows.push(group.before + in_group + 1, |column| match &cells[column] {
                    Some(cells) => cells.at(row),
                    None => self.given[column].unwrap_or(Cell::Null),
                });
            }
        }
        Ok(rows.finish())
    }

    /// As many rows at a time as keep a chunk small: a course's tree may be a megabyte of text.
    fn batch_rows(&self, group: Group) -> usize {
        let group = self.metadata.metadata().row_group(group.place);
        let bytes = group.total_byte_size().max(1) / group.num_rows().max(1) + 1;
        usize::try_from(BATCH_BYTES / bytes).unwrap_or(BATCH).clamp(1, BATCH)
    }

    /// The cells of each column of the scan in a chunk that has these root columns.
    fn cells(&self, batch: &RecordBatch, roots: &[usize]) -> Result<Vec<Option<Cells>>, ArrowError> {
        let columns = self.reading.scan.columns.iter().zip(&self.located.places);
        columns
            .map(|(column, place)| {
                let Some(root) = place else { return Ok(None) };
                let Ok(at) = roots.binary_search(root) else { return Ok(None) };
                let utc = self.is_int96(*root);
                Cells::new(batch.column(at), column.kind, utc, self.reading.settings.timezone).map(Some)
            })
            .collect()
    }

    /// Whether a column has the old type for instants, which is in UTC although it does not say so.
    fn is_int96(&self, root: usize) -> bool {
        let schema = self.metadata.parquet_schema();
        (0..schema.num_columns()).any(|leaf| {
            schema.get_column_root_idx(leaf) == root && schema.column(leaf).physical_type() == Physical::INT96
        })
    }

    /// Decodes the key first, and the rest only where it is wanted or empty.
    fn filter(&self, kept: &Arc<Mutex<Kept>>) -> Option<RowFilter> {
        let only = self.reading.only()?;
        let root = self.located.places[only]?;
        let kind = self.reading.scan.columns[only].kind;
        let keys = Arc::clone(&self.reading.scan.only.as_ref()?.1);
        let (kept, tz) = (Arc::clone(kept), self.reading.settings.timezone);
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), [root]);
        let predicate = ArrowPredicateFn::new(mask, move |batch: RecordBatch| {
            let cells = Cells::new(batch.column(0), kind, false, tz)?;
            let wanted: Vec<bool> =
                (0..batch.num_rows()).map(|row| key_of(cells.at(row)).is_none_or(|key| keys.contains(&*key))).collect();
            kept.lock().unwrap_or_else(PoisonError::into_inner).add(&wanted);
            Ok(BooleanArray::from(wanted))
        });
        Some(RowFilter::new(vec![Box::new(predicate)]))
    }
}

/// Which rows of a group passed its filter, so that a fault can name its row.
#[derive(Default)]
struct Kept {
    seen: u64,
    rows: Vec<u64>,
}

impl Kept {
    fn add(&mut self, wanted: &[bool]) {
        let seen = self.seen;
        self.rows.extend((seen..).zip(wanted).filter(|(_, wanted)| **wanted).map(|(row, _)| row));
        self.seen += wanted.len() as u64;
    }
}
