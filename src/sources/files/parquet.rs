//! Parquet files: only the needed columns, only the row groups that can have wanted keys, and of those only the rows
//! that do. Row groups are read in parallel.
//!
//! A group's key column says whether few or many of its rows are `wanted`; few are jumped to, of many every row is decoded,
//! in types that suit (`types`), lists and maps by their `levels` where that is enough; `canonical` takes columns over. Not here: the many types that a column may have (`cells`).

mod batches;
mod canonical;
mod cells;
mod codec;
mod failure;
mod held;
mod input;
mod leaves;
mod levels;
mod merged;
mod pages;
mod sizes;
mod text;
mod thrift;
mod types;
mod wanted;
mod watch;

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::{ArrayRef, RecordBatch};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, RowSelection, RowSelector,
};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::basic::Type as Physical;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use rayon::prelude::*;

use self::batches::{Batches, Open, bearable};
use self::canonical::{Wish, constant, taken};
use self::failure::{Failure, fewer_rows};
use self::held::{Held, Origin};
use self::input::{Description, Input, Opened, has_index};
use self::leaves::only_leaf;
use self::levels::Levels;
use self::merged::{filled_up, without_value};
use self::pages::{Group as Pages, few_leaves};
use self::text::refused;
use self::types::Described;
use self::wanted::{are_few, may_have_row, selection, sorted, with_wanted_key};
use self::watch::{Stop, Watch};
use super::allowance::{Allowance, Turn};
use super::errors::FileContext;
use super::part::Part;
use super::sniff::not_parquet;
use super::{PartRead, check_columns, from_path, is_left_out};
use crate::sources::rows::typed::{Taken, Typed};
use crate::sources::rows::{Cell, Reading};
use crate::sources::{ScanStats, SourceError};
use crate::tables::chunk::DictionaryCache;
use crate::tables::keys::Keys;
use crate::tables::schema::Column;

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
pub(super) fn read(part: &Part, reading: &Reading<'_>, allowance: &Arc<Allowance>) -> Result<PartRead, SourceError> {
    let scan = reading.scan;
    let place = FileContext::of(scan.table, part);
    let file = Opened::new(&part.location).map_err(|error| place.io(&error))?;
    let input = file.description().map_err(|error| place.io(&error))?;
    let description = Description::new(&input);
    let options = ArrowReaderOptions::new();
    let metadata =
        ArrowReaderMetadata::load(&description, options.clone()).map_err(|error| match description.refused.get() {
            Some(what) => place.broken(what),
            None => undescribed(part, place, &error),
        })?;
    let metadata = with_index(&input, metadata, &options);
    let described = Described::new(&metadata, options).map_err(|error| place.parquet(&error))?;
    let metadata = described.checked();
    let names = || metadata.schema().fields().iter().map(|field| field.name().as_bytes());
    let spellings = reading.spellings();
    let places = spellings.among(names).map_err(|clash| place.broken(&clash.to_string()))?;
    let given = from_path(part, reading)?;
    let has = spellings.columns(|at| places[at].is_some() || given[at].is_some());
    check_columns(place, reading, &has)?;
    if is_left_out(reading, &places, &given) {
        return Ok(PartRead::of(ScanStats::default(), has));
    }
    let roots = places.iter().copied().flatten();
    if let Some(what) = refused(metadata, reading, &places).or_else(|| few_leaves(metadata, roots)) {
        return Err(place.broken(&what));
    }
    let columns = held::columns(spellings, &places, &given);
    let groups = groups(metadata, &columns, reading);
    let rows = AtomicUsize::new(BATCH);
    let table =
        FilePlan { part, file: &file, reading, metadata, described: &described, columns: &columns, allowance, rows };
    let all_stats: Vec<ScanStats> = groups.par_iter().map(|group| table.group(*group)).collect::<Result<_, _>>()?;
    let mut stats = ScanStats::default();
    for group in &all_stats {
        stats.add(group);
    }
    Ok(PartRead::of(stats, has))
}

/// The same with the index of pages, which lets the reader jump over pages of which no row is wanted. Of an encrypted column
/// it cannot be read.
fn with_index(input: &Input, metadata: ArrowReaderMetadata, options: &ArrowReaderOptions) -> ArrowReaderMetadata {
    if !has_index(metadata.metadata()) {
        return metadata;
    }
    let mut reader = ParquetMetaDataReader::new_with_metadata(metadata.metadata().as_ref().clone())
        .with_page_index_policy(PageIndexPolicy::Optional);
    let read = reader.read_page_indexes(input).and_then(|()| reader.finish());
    let with_index = read.and_then(|read| ArrowReaderMetadata::try_new(Arc::new(read), options.clone()));
    with_index.unwrap_or(metadata)
}

/// A file does not describe itself: perhaps it is something else than its name says.
fn undescribed(part: &Part, place: FileContext<'_>, error: &ParquetError) -> SourceError {
    const LOOKED_AT: u64 = 512;
    let told = place.parquet(error);
    if told.may_pass {
        return told;
    }
    let mut start = Vec::new();
    let read = part.location.stream().and_then(|file| file.take(LOOKED_AT).read_to_end(&mut start));
    match not_parquet(&start).filter(|_| read.is_ok()) {
        Some(what) => place.told(what, &format!("{what}: {error}")),
        None => told,
    }
}

/// A row group, and how many rows of the file come before it.
#[derive(Clone, Copy)]
struct Group {
    place: usize,
    before: u64,
}

/// The row groups that can have wanted rows, by the statistics of the key.
fn groups(metadata: &ArrowReaderMetadata, columns: &[Vec<Held<'_>>], reading: &Reading<'_>) -> Vec<Group> {
    let few = reading.scan.only().filter(|(_, keys)| keys.len() <= KEYS);
    let wanted = few.zip(reading.only()).map(|((_, keys), only)| (sorted(keys), &columns[only]));
    let mut before = 0;
    let mut groups = Vec::new();
    for (place, group) in metadata.metadata().row_groups().iter().enumerate() {
        if wanted.as_ref().is_none_or(|(keys, held)| may_have_row(metadata, group, held, keys)) {
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
    /// For each column of the scan, its spellings that the file has.
    columns: &'a [Vec<Held<'a>>],
    allowance: &'a Arc<Allowance>,
    /// Rows decoded at a time, at most, by what was found so far.
    rows: AtomicUsize,
}

impl<'a> FilePlan<'a> {
    fn group(&self, group: Group) -> Result<ScanStats, SourceError> {
        let place = FileContext::of(self.reading.scan.table, self.part);
        self.read(group).map_err(|failure| match (self.part.location.failure(), failure) {
            (Some(error), _) | (None, Failure::Io(error)) => place.io(&error),
            (None, Failure::Parquet(error)) => place.parquet(&error),
            (None, Failure::TooLarge(what)) => place.broken(&what),
        })
    }

    /// Reads with `read`, as often as it takes: where others hold what it needs, once more when it has the turn; where rows
    /// become too large, fewer at a time. `read` goes on where it was.
    fn attempt<T>(&self, rows: usize, mut read: impl FnMut(&Arc<Watch>) -> Result<T, Failure>) -> Result<T, Failure> {
        let mut rows = rows.min(self.rows.load(Ordering::Relaxed));
        let mut turn: Option<Turn<'_>> = None;
        loop {
            let watch = Watch::new(self.allowance, self.reading.settings.bounds.unit, rows, turn.is_some());
            let failure = match read(&watch) {
                Ok(read) => return Ok(read),
                Err(failure) => failure,
            };
            match watch.stopped() {
                None => return Err(failure),
                Some(Stop::TooLarge(what)) => return Err(Failure::TooLarge(what)),
                Some(Stop::Busy) => turn = turn.or_else(|| Some(self.allowance.turn())),
                Some(Stop::Fewer(fewer)) => {
                    rows = fewer.min(rows - 1).max(1);
                    self.rows.fetch_min(rows, Ordering::Relaxed);
                }
            }
        }
    }

    fn read(&self, group: Group) -> Result<ScanStats, Failure> {
        let columns = held::needed(self.metadata, group.place, &self.reading.scan.columns, self.columns);
        let mut known = DictionaryCache::default();
        match self.few(group, &columns, &mut known)? {
            Some(rows) => self.read_few(group, &columns, &rows),
            None => self.read_all(group, &columns, &mut known),
        }
    }

    /// How the key is spelled, if the scan is limited by one that the file has.
    fn key<'h>(&self, columns: &[&'h [Held<'a>]]) -> Option<(&'h [Held<'a>], &'a dyn Keys)> {
        let (_, keys) = self.reading.scan.only()?;
        let held = columns[self.reading.only()?];
        held.iter().any(|held| held.root().is_some()).then_some((held, keys.as_ref()))
    }

    /// The wanted rows of a group by its key column alone, counted from 0, if they are few. Where its first rows have
    /// many there is no need to look at the others beforehand.
    fn few(
        &self,
        group: Group,
        columns: &[&[Held<'a>]],
        known: &mut DictionaryCache<bool>,
    ) -> Result<Option<Vec<u32>>, Failure> {
        let Some((held, keys)) = self.key(columns) else { return Ok(None) };
        let roots = held::roots(&[held]);
        let all = self.rows_of(group);
        self.attempt(BATCH, |watch| {
            let (mut rows, mut before) = (Vec::new(), 0);
            for batch in self.batches(group, &roots, Rows::From(0), watch)? {
                for batch in bearable(&batch?, watch) {
                    let texts = self.keys_of(&batch, &roots, held)?;
                    rows.extend(with_wanted_key(&texts, keys, known)?.into_iter().map(|row| before + row));
                    before += length(&batch);
                }
                if !are_few(rows.len(), before as usize) {
                    return Ok(None);
                }
            }
            Ok(are_few(rows.len(), all).then_some(rows))
        })
    }

    /// The keys of the rows of a chunk that has these root columns.
    fn keys_of(&self, batch: &RecordBatch, roots: &[usize], held: &[Held<'a>]) -> Result<ArrayRef, Failure> {
        if let [Held { from: Origin::File(root), .. }] = held {
            return Ok(Arc::clone(batch.column(roots.binary_search(root).unwrap_or(0))));
        }
        let rows: Vec<u32> = (0..length(batch)).collect();
        let key = Column::key("");
        Ok(self.column(&key, held, batch, roots, &rows, &mut [])?.array)
    }

    fn rows_of(&self, group: Group) -> usize {
        usize::try_from(self.metadata.metadata().row_group(group.place).num_rows()).unwrap_or(0)
    }

    /// Decodes some rows only.
    fn read_few(&self, group: Group, held: &[&[Held<'a>]], rows: &[u32]) -> Result<ScanStats, Failure> {
        let mut typed = Typed::new(self.reading, &self.part.label);
        if rows.is_empty() {
            return Ok(typed.finish());
        }
        let roots = held::roots(held);
        let mut done = 0;
        self.attempt(self.batch_rows(group), |watch| {
            for batch in self.batches(group, &roots, Rows::These(&rows[done..]), watch)? {
                for batch in bearable(&batch?, watch) {
                    let these = rows.get(done..done + batch.num_rows()).ok_or_else(|| fewer_rows(done, rows.len()))?;
                    let all: Vec<u32> = (0..length(&batch)).collect();
                    let columns = self.columns(held, &batch, &roots, &all, &mut [])?;
                    typed.take(columns, all, |row| group.before + u64::from(these[row as usize]) + 1);
                    done += batch.num_rows();
                }
            }
            if done < rows.len() { Err(fewer_rows(done, rows.len())) } else { Ok(()) }
        })?;
        Ok(typed.finish())
    }

    /// Decodes every row, and says which of them are wanted.
    fn read_all(
        &self,
        group: Group,
        held: &[&[Held<'a>]],
        known: &mut DictionaryCache<bool>,
    ) -> Result<ScanStats, Failure> {
        let mut typed = Typed::new(self.reading, &self.part.label);
        let all = self.rows_of(group);
        let mut done = 0;
        self.attempt(self.batch_rows(group), |watch| {
            let mut levels = self.levels(group, held, done, watch)?;
            let mut roots = held::roots(held);
            roots.retain(|root| !levels.iter().any(|(by_levels, _)| by_levels == root));
            for batch in self.batches(group, &roots, Rows::From(done), watch)? {
                for batch in bearable(&batch?, watch) {
                    let rows = match self.key(held) {
                        Some((held, keys)) => with_wanted_key(&self.keys_of(&batch, &roots, held)?, keys, known)?,
                        None => (0..length(&batch)).collect(),
                    };
                    let columns = self.columns(held, &batch, &roots, &rows, &mut levels)?;
                    let first = group.before + done as u64 + 1;
                    typed.take(columns, rows, |row| first + u64::from(row));
                    done += batch.num_rows();
                }
            }
            if done < all { Err(fewer_rows(done, all)) } else { Ok(()) }
        })?;
        Ok(typed.finish())
    }

    /// The root columns that can be read by their levels. One column at least is read as a whole, since it says where a
    /// chunk ends.
    fn levels(
        &self,
        group: Group,
        held: &[&[Held<'a>]],
        from: usize,
        watch: &Arc<Watch>,
    ) -> Result<Vec<(usize, Levels)>, Failure> {
        let mut levels = Vec::new();
        let columns = self.reading.scan.columns.iter().zip(held);
        let all = columns.flat_map(|(column, held)| held.iter().map(move |held| (column, held)));
        let mut uses: Vec<(&Column, &Held<'_>, usize)> =
            all.filter_map(|(column, held)| Some((column, held, held.root()?))).collect();
        uses.sort_by_key(|(.., root)| *root);
        let used = uses.chunk_by(|(.., one), (.., other)| one == other);
        let mut whole = false;
        for uses in used {
            let by_levels = match uses {
                [(column, held, root)] => {
                    let wish = self.wish(column, held);
                    Levels::of(self.file, self.metadata, (group.place, *root, from), wish, watch)?
                }
                _ => None,
            };
            whole |= by_levels.is_none();
            levels.extend(by_levels.map(|by_levels| (uses[0].2, by_levels)));
        }
        Ok(if whole { levels } else { Vec::new() })
    }

    /// How a column of the file is taken for one of the scan.
    fn wish(&self, column: &Column, held: &Held<'_>) -> Wish<'a> {
        // The old type for instants is in UTC although it does not say so.
        let leaf = held.root().and_then(|root| only_leaf(self.metadata, root));
        let utc = leaf.is_some_and(|(leaf, _)| leaf == Physical::INT96);
        let flat = self.reading.spellings().all().get(held.spelling).is_some_and(|spelling| spelling.flat);
        Wish { kind: column.kind, utc, flat, spelling: held.spelling, settings: self.reading.settings }
    }

    fn batches(
        &self,
        group: Group,
        roots: &[usize],
        rows: Rows<'_>,
        watch: &Arc<Watch>,
    ) -> Result<Batches<impl Open>, Failure> {
        let open = move |text, from: usize| {
            // What its store failed with is no matter of text.
            if let Some(error) = self.part.location.failure() {
                return Err(Failure::Io(error));
            }
            let metadata = batches::of(self.described, text)?;
            let all = self.rows_of(group);
            let (lanes, selected) = match rows {
                Rows::From(start) if start + from == 0 => (None, None),
                Rows::From(start) => {
                    let skipped = start + from;
                    let rest = [RowSelector::skip(skipped), RowSelector::select(all.saturating_sub(skipped))];
                    (None, Some(RowSelection::from(rest.to_vec())))
                }
                Rows::These(rows) => {
                    let rows = &rows[from..];
                    let lanes = selection(rows, all);
                    // Where pages would have to be fetched, those without any of these rows must not be decoded: the
                    // reader's other way to select, which it does not take for long runs.
                    let far = if self.file.is_stored() { all + LONG_RUN * (2 * rows.len() + 1) } else { all };
                    (Some(lanes), Some(selection(rows, far)))
                }
            };
            let input = self.file.columns(metadata, group.place, roots, lanes.as_ref())?;
            let mask = ProjectionMask::roots(metadata.parquet_schema(), roots.iter().copied());
            let fields = Some(metadata.schema().fields());
            let levels = parquet_to_arrow_field_levels(metadata.parquet_schema(), mask, fields)?;
            let pages = Pages::new(input, metadata, group.place, watch);
            let rows = watch.rows().min(all.max(1));
            Ok(ParquetRecordBatchReader::try_new_with_row_groups(&levels, &pages, rows, selected)?)
        };
        Batches::new(open, watch)
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
        held: &[&[Held<'a>]],
        batch: &RecordBatch,
        roots: &[usize],
        rows: &[u32],
        levels: &mut [(usize, Levels)],
    ) -> Result<Vec<Taken>, Failure> {
        let columns = self.reading.scan.columns.iter().zip(held);
        columns.map(|(column, held)| self.column(column, held, batch, roots, rows, levels)).collect()
    }

    /// One column: in each row the first of its spellings that has a value.
    fn column(
        &self,
        column: &Column,
        held: &[Held<'a>],
        batch: &RecordBatch,
        roots: &[usize],
        rows: &[u32],
        levels: &mut [(usize, Levels)],
    ) -> Result<Taken, Failure> {
        let mut first = None;
        for held in held {
            // What earlier spellings have nothing for.
            let left = first.as_ref().map(|first| without_value(first, rows));
            let these = left.as_deref().unwrap_or(rows);
            let wish = self.wish(column, held);
            let next = match held.from {
                Origin::Path(cell) => constant(cell, batch.num_rows(), wish, these),
                Origin::File(root) => match levels.iter_mut().find(|(by_levels, _)| *by_levels == root) {
                    // Where nothing is left they must be gone through all the same.
                    Some((_, levels)) => levels.next(batch.num_rows(), these)?,
                    None if these.is_empty() => continue,
                    None => taken(batch.column(roots.binary_search(&root).unwrap_or(0)), wish, these)?,
                },
            };
            first = Some(match first {
                Some(first) => filled_up(first, next, these, rows),
                None => next,
            });
        }
        let nothing = Held { spelling: usize::MAX, from: Origin::Path(Cell::Null) };
        Ok(first.unwrap_or_else(|| constant(Cell::Null, batch.num_rows(), self.wish(column, &nothing), rows)))
    }
}

/// Runs of so many rows on average are selected by jumping, not by a mask (a choice of the crate's).
const LONG_RUN: usize = 64;

/// Rows of a group, by their numbers in it.
#[derive(Clone, Copy)]
enum Rows<'r> {
    /// From this one on.
    From(usize),
    /// These, ascending.
    These(&'r [u32]),
}

/// How many rows a chunk has.
fn length(batch: &RecordBatch) -> u32 {
    u32::try_from(batch.num_rows()).unwrap_or(u32::MAX)
}
