//! Parquet files: only the needed columns, only the row groups that can have wanted keys, and of those only the rows
//! that do. Row groups are read in parallel.
//!
//! A group's key column says whether few or many of its rows are `wanted`; few are jumped to, of many every row is decoded,
//! in types that suit (`types`), lists and maps by their `levels` where that is enough; `canonical` takes columns over. Not here: the many types that a column may have (`cells`).

mod batches;
mod canonical;
mod cells;
mod input;
mod levels;
mod text;
mod types;
mod wanted;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelectionPolicy,
};
use parquet::basic::Type as Physical;
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use rayon::prelude::*;

use self::batches::{Batches, Open};
use self::canonical::{Wish, constant, taken};
use self::input::Opened;
use self::levels::Levels;
use self::text::{is_uuid, refused};
use self::types::{Described, only_leaf};
use self::wanted::{are_few, may_have, selection, sorted, with_wanted_key};
use super::errors::Place;
use super::layout::Part;
use super::{PartRead, from_path, no_column};
use crate::reports::columns::Meanings;
use crate::reports::schema::{Column, Keys, Presence};
use crate::sources::rows::typed::{Taken, Typed};
use crate::sources::rows::{Cell, Located, Reading};
use crate::sources::{SourceError, Tally};

/// Rows decoded at a time.
const BATCH: usize = 8_192;
/// Bytes decoded at a time, about, where rows are long.
const BATCH_BYTES: i64 = 16 << 20;

/// So many keys are compared with statistics; more are in every row group anyhow.
const KEYS: usize = 10_000;

/// Reads a file.
///
/// # Errors
/// It cannot be read or lacks a column that must be there.
pub(super) fn read(part: &Part, reading: &Reading<'_>) -> Result<PartRead, SourceError> {
    let scan = reading.scan;
    let place = Place::of(scan.table, part);
    let file = Opened::new(&part.spot).map_err(|error| place.io(&error))?;
    let description = file.description().map_err(|error| place.io(&error))?;
    // The page index lets the reader jump over pages of which no row is wanted. Of an encrypted column it cannot be read.
    let mut options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let mut metadata = ArrowReaderMetadata::load(&description, options.clone());
    if metadata.is_err() {
        options = options.with_page_index_policy(PageIndexPolicy::Skip);
        metadata = ArrowReaderMetadata::load(&description, options.clone());
    }
    let metadata = metadata.map_err(|error| place.parquet(&error))?;
    let described = Described::new(&metadata, options).map_err(|error| place.parquet(&error))?;
    let metadata = described.checked();
    let names = || metadata.schema().fields().iter().map(|field| field.name().as_bytes());
    let located = Located::among(scan, names);
    let given = from_path(part, scan);
    let has: Vec<bool> =
        located.places.iter().zip(&given).map(|(place, given)| place.is_some() || given.is_some()).collect();
    let mut columns = scan.columns.iter().zip(&has);
    if let Some((column, _)) = columns.find(|(column, has)| !**has && column.presence != Presence::Optional) {
        return Err(no_column(scan, part, column));
    }
    if let Some(what) = refused(metadata, &located, scan) {
        return Err(place.broken(&what));
    }
    let groups = groups(metadata, &located, reading);
    let table =
        FilePlan { part, file: &file, reading, metadata, described: &described, located: &located, given: &given };
    let tallies: Vec<Tally> = groups.par_iter().map(|group| table.group(*group)).collect::<Result<_, _>>()?;
    let mut tally = Tally::default();
    for group in &tallies {
        tally.add(group);
    }
    Ok(PartRead { tally, has: Some(has) })
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
        Some((Physical::BYTE_ARRAY, leaf)) => Some((leaf, false)),
        Some((Physical::FIXED_LEN_BYTE_ARRAY, leaf)) if is_uuid(metadata, leaf) => Some((leaf, true)),
        _ => None,
    });
    let few = |keys: &Arc<dyn Keys>| leaf.is_some() && keys.len() <= KEYS;
    let wanted = reading.scan.only.as_ref().filter(|(_, keys)| few(keys)).map(|(_, keys)| sorted(keys));
    let mut before = 0;
    let mut groups = Vec::new();
    for (place, group) in metadata.metadata().row_groups().iter().enumerate() {
        let statistics = leaf.and_then(|(leaf, uuid)| Some((group.column(leaf).statistics()?, uuid)));
        let skip =
            statistics.zip(wanted.as_ref()).is_some_and(|((statistics, uuid), keys)| !may_have(statistics, keys, uuid));
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
    file: &'a Opened<'a>,
    reading: &'a Reading<'a>,
    metadata: &'a ArrowReaderMetadata,
    described: &'a Described,
    located: &'a Located,
    given: &'a [Option<Cell<'a>>],
}

impl FilePlan<'_> {
    fn group(&self, group: Group) -> Result<Tally, SourceError> {
        let place = Place::of(self.reading.scan.table, self.part);
        self.read(group).map_err(|failure| match (self.part.spot.failure(), failure) {
            (Some(error), _) | (None, Failure::Io(error)) => place.io(&error),
            (None, Failure::Parquet(error)) => place.parquet(&error),
        })
    }

    fn read(&self, group: Group) -> Result<Tally, Failure> {
        let mut known = Meanings::default();
        match self.few(group, &mut known)? {
            Some(rows) => self.read_few(group, &rows),
            None => self.read_all(group, &mut known),
        }
    }

    /// The key column, if the scan is limited by one that the file has.
    fn key(&self) -> Option<(usize, &dyn Keys)> {
        let root = self.reading.only().and_then(|only| self.located.places[only])?;
        self.reading.scan.only.as_ref().map(|(_, keys)| (root, keys.as_ref()))
    }

    /// The wanted rows of a group by its key column alone, counted from 0, if they are few. Where its first rows have
    /// many there is no need to look at the others beforehand.
    fn few(&self, group: Group, known: &mut Meanings<bool>) -> Result<Option<Vec<u32>>, Failure> {
        let Some((root, keys)) = self.key() else { return Ok(None) };
        let all = self.rows_of(group);
        let (mut rows, mut before) = (Vec::new(), 0);
        for batch in self.batches(group, &[root], BATCH, None)? {
            let batch = batch?;
            rows.extend(with_wanted_key(batch.column(0), keys, known)?.into_iter().map(|row| before + row));
            before += length(&batch);
            if !are_few(rows.len(), before as usize) {
                return Ok(None);
            }
        }
        Ok(are_few(rows.len(), all).then_some(rows))
    }

    fn rows_of(&self, group: Group) -> usize {
        usize::try_from(self.metadata.metadata().row_group(group.place).num_rows()).unwrap_or(0)
    }

    /// The roots of the scan's columns, ascending.
    fn roots(&self) -> Vec<usize> {
        let mut roots: Vec<usize> = self.located.places.iter().flatten().copied().collect();
        roots.sort_unstable();
        roots.dedup();
        roots
    }

    /// Decodes some rows only.
    fn read_few(&self, group: Group, rows: &[u32]) -> Result<Tally, Failure> {
        let mut typed = Typed::new(self.reading, &self.part.label, self.located.flat);
        if rows.is_empty() {
            return Ok(typed.finish());
        }
        let (roots, selection) = (self.roots(), selection(rows, self.rows_of(group)));
        let mut rest = rows;
        for batch in self.batches(group, &roots, self.batch_rows(group), Some(&selection))? {
            let batch = batch?;
            let all: Vec<u32> = (0..length(&batch)).collect();
            let (these, others) = rest.split_at_checked(all.len()).unwrap_or((rest, &[]));
            rest = others;
            let columns = self.columns(&batch, &roots, &all, &mut [])?;
            typed.take(columns, all, |row| {
                let in_group = these.get(row as usize).copied().unwrap_or_default();
                group.before + u64::from(in_group) + 1
            });
        }
        Ok(typed.finish())
    }

    /// Decodes every row, and says which of them are wanted.
    fn read_all(&self, group: Group, known: &mut Meanings<bool>) -> Result<Tally, Failure> {
        let mut typed = Typed::new(self.reading, &self.part.label, self.located.flat);
        let mut levels = self.levels(group)?;
        let by_levels: Vec<usize> = self
            .located
            .places
            .iter()
            .zip(&levels)
            .filter(|(_, levels)| levels.is_some())
            .filter_map(|(p, _)| *p)
            .collect();
        let mut roots = self.roots();
        roots.retain(|root| !by_levels.contains(root));
        let mut before = 0;
        for batch in self.batches(group, &roots, self.batch_rows(group), None)? {
            let batch = batch?;
            let rows = match self.key() {
                Some((root, keys)) => {
                    with_wanted_key(batch.column(roots.binary_search(&root).unwrap_or(0)), keys, known)?
                }
                None => (0..length(&batch)).collect(),
            };
            let columns = self.columns(&batch, &roots, &rows, &mut levels)?;
            let first = group.before + u64::from(before) + 1;
            typed.take(columns, rows, |row| first + u64::from(row));
            before += length(&batch);
        }
        Ok(typed.finish())
    }

    /// For each column of the scan, how to read it by its levels, if that can be done. One column at least is read as a
    /// whole, since it says where a chunk ends.
    fn levels(&self, group: Group) -> Result<Vec<Option<Levels>>, Failure> {
        let places = &self.located.places;
        let columns = self.reading.scan.columns.iter().zip(places);
        let levels = columns.map(|(column, place)| {
            let Some(root) = place.filter(|root| places.iter().flatten().filter(|other| *other == root).count() == 1)
            else {
                return Ok(None);
            };
            Levels::of(self.file, self.metadata, (group.place, root), self.wish(column, root))
        });
        let levels: Vec<Option<Levels>> = levels.collect::<Result<_, ParquetError>>()?;
        let all = places.iter().zip(&levels).all(|(place, levels)| place.is_none() || levels.is_some());
        Ok(if all { levels.into_iter().map(|_| None).collect() } else { levels })
    }

    /// How a column of the file is taken for one of the scan.
    fn wish(&self, column: &Column, root: usize) -> Wish<'_> {
        // The old type for instants is in UTC although it does not say so.
        let utc = only_leaf(self.metadata, root).is_some_and(|(leaf, _)| leaf == Physical::INT96);
        Wish { kind: column.kind, utc, flat: self.located.flat, settings: self.reading.settings }
    }

    fn batches(
        &self,
        group: Group,
        roots: &[usize],
        batch: usize,
        selection: Option<&RowSelection>,
    ) -> Result<Batches<impl Open>, Failure> {
        Batches::new(move |text, from| {
            let metadata = batches::of(self.described, text)?;
            let file = self.file.columns(metadata, group.place, roots, selection)?;
            let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone())
                .with_row_groups(vec![group.place])
                .with_batch_size(batch)
                .with_projection(ProjectionMask::roots(metadata.parquet_schema(), roots.iter().copied()));
            if from > 0 {
                builder = builder.with_offset(from);
            }
            if let Some(selection) = selection {
                builder = builder.with_row_selection(selection.clone());
                if self.file.is_stored() {
                    // The other policy decodes pages without any of these rows; they would have to be fetched.
                    builder = builder.with_row_selection_policy(RowSelectionPolicy::Selectors);
                }
            }
            Ok(builder.build()?)
        })
    }

    /// As many rows at a time as keep a chunk small: a course's tree may be a megabyte of text.
    fn batch_rows(&self, group: Group) -> usize {
        let group = self.metadata.metadata().row_group(group.place);
        let bytes = group.total_byte_size().max(1) / group.num_rows().max(1) + 1;
        usize::try_from(BATCH_BYTES / bytes).unwrap_or(BATCH).clamp(1, BATCH)
    }

    /// The columns of the scan in a chunk that has these root columns; the others come by their levels.
    fn columns(
        &self,
        batch: &RecordBatch,
        roots: &[usize],
        rows: &[u32],
        levels: &mut [Option<Levels>],
    ) -> Result<Vec<Taken>, Failure> {
        let mut columns = Vec::with_capacity(self.given.len());
        for (at, column) in self.reading.scan.columns.iter().enumerate() {
            if let Some(Some(levels)) = levels.get_mut(at) {
                columns.push(levels.next(batch.num_rows())?.into());
                continue;
            }
            let place = self.located.places[at].and_then(|root| Some((root, roots.binary_search(&root).ok()?)));
            columns.push(if let Some((root, place)) = place {
                taken(batch.column(place), self.wish(column, root), rows)?
            } else {
                let settings = self.reading.settings;
                let wish = Wish { kind: column.kind, utc: false, flat: self.located.flat, settings };
                constant(self.given[at].unwrap_or(Cell::Null), batch.num_rows(), wish, rows)
            });
        }
        Ok(columns)
    }
}

/// How many rows a chunk has.
fn length(batch: &RecordBatch) -> u32 {
    u32::try_from(batch.num_rows()).unwrap_or(u32::MAX)
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
