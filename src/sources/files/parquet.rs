//! Parquet files: only the needed columns, only the row groups that can have wanted keys, and of those only the rows
//! that do. Row groups are read in parallel.
//!
//! A group's key column is read first (`wanted`); then the needed columns, whole or by selection, in types that suit
//! (`types`); `canonical` takes them over. Not here: the many types that a column may have (`cells`).

mod canonical;
mod cells;
mod types;
mod wanted;

use std::fs::File;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::basic::Type as Physical;
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use rayon::prelude::*;

use self::canonical::{Wish, constant, taken};
use self::types::only_leaf;
use self::wanted::{Wanted, may_have, sorted};
use super::errors::Place;
use super::layout::Part;
use super::{PartRead, from_path, no_column};
use crate::reports::schema::Presence;
use crate::sources::SourceError;
use crate::sources::rows::typed::{Taken, Typed};
use crate::sources::rows::{Cell, Located, Outcome, Reading};

/// Rows decoded at a time.
const BATCH: usize = 32_768;
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
    let metadata = types::chosen(&metadata, options).map_err(|error| place.parquet(&error))?;
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

/// A row group, and how many rows of the file come before it.
#[derive(Clone, Copy)]
struct Group {
    place: usize,
    before: u64,
}

/// The row groups that can have wanted rows, by the statistics of the key.
fn groups(metadata: &ArrowReaderMetadata, located: &Located, reading: &Reading<'_>) -> Vec<Group> {
    let leaf = reading.only().and_then(|only| located.places[only]).and_then(|root| match only_leaf(metadata, root) {
        Some((Physical::BYTE_ARRAY, leaf)) => Some(leaf),
        _ => None,
    });
    let wanted = reading.scan.only.as_ref().filter(|_| leaf.is_some()).map(|(_, keys)| sorted(keys));
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
        self.read(group).map_err(|failure| match failure {
            Failure::Io(error) => place.io(&error),
            Failure::Parquet(error) => place.parquet(&error),
        })
    }

    fn read(&self, group: Group) -> Result<Outcome, Failure> {
        let wanted = self.wanted(group)?;
        let mut typed = Typed::new(self.reading, &self.part.label, self.located.flat);
        if wanted.is_empty() {
            return Ok(typed.finish());
        }
        let mut roots: Vec<usize> = self.located.places.iter().flatten().copied().collect();
        roots.sort_unstable();
        roots.dedup();
        let selection = wanted.selection();
        let selected = selection.is_some();
        let mut before = 0;
        for batch in self.reader(group, &roots, self.batch_rows(group), selection)? {
            let batch = batch?;
            let length = u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
            let (rows, in_group) = wanted.among(selected, before, length);
            before += length;
            typed.take(self.columns(&batch, &roots, &rows)?, rows, |row| group.before + u64::from(in_group(row)) + 1);
        }
        Ok(typed.finish())
    }

    fn wanted(&self, group: Group) -> Result<Wanted, Failure> {
        let rows = self.metadata.metadata().row_group(group.place).num_rows();
        let rows = usize::try_from(rows).unwrap_or(0);
        let only = self.reading.only().and_then(|only| self.located.places[only]);
        let (Some(root), Some((_, keys))) = (only, &self.reading.scan.only) else { return Ok(Wanted::all(rows)) };
        let mut wanted = Wanted::none(rows);
        let mut before = 0;
        for batch in self.reader(group, &[root], BATCH, None)? {
            let batch = batch?;
            wanted.add(batch.column(0), before, keys.as_ref())?;
            before += u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
        }
        Ok(wanted)
    }

    fn reader(
        &self,
        group: Group,
        roots: &[usize],
        batch: usize,
        selection: Option<RowSelection>,
    ) -> Result<ParquetRecordBatchReader, Failure> {
        let schema = self.metadata.parquet_schema();
        let file = File::open(&self.part.path)?;
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_row_groups(vec![group.place])
            .with_batch_size(batch)
            .with_projection(ProjectionMask::roots(schema, roots.iter().copied()));
        if let Some(selection) = selection {
            builder = builder.with_row_selection(selection);
        }
        Ok(builder.build()?)
    }

    /// As many rows at a time as keep a chunk small: a course's tree may be a megabyte of text.
    fn batch_rows(&self, group: Group) -> usize {
        let group = self.metadata.metadata().row_group(group.place);
        let bytes = group.total_byte_size().max(1) / group.num_rows().max(1) + 1;
        usize::try_from(BATCH_BYTES / bytes).unwrap_or(BATCH).clamp(1, BATCH)
    }

    /// The columns of the scan in a chunk that has these root columns.
    fn columns(&self, batch: &RecordBatch, roots: &[usize], rows: &[u32]) -> Result<Vec<Taken>, ArrowError> {
        let columns = self.reading.scan.columns.iter().zip(&self.located.places).zip(self.given);
        columns
            .map(|((column, place), given)| {
                let settings = self.reading.settings;
                let mut wish = Wish { kind: column.kind, utc: false, flat: self.located.flat, settings };
                let Some(at) = place.and_then(|root| roots.binary_search(&root).ok()) else {
                    return Ok(constant(given.unwrap_or(Cell::Null), batch.num_rows(), wish, rows));
                };
                // The old type for instants is in UTC although it does not say so.
                wish.utc = only_leaf(self.metadata, roots[at]).is_some_and(|(leaf, _)| leaf == Physical::INT96);
                taken(batch.column(at), wish, rows)
            })
            .collect()
    }
}

/// Why a row group could not be read.
enum Failure {
    Io(std::io::Error),
    Parquet(ParquetError),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ParquetError> for Failure {
    fn from(error: ParquetError) -> Self {
        Self::Parquet(error)
    }
}

impl From<ArrowError> for Failure {
    fn from(error: ArrowError) -> Self {
        Self::Parquet(error.into())
    }
}
