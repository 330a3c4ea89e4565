//! One Parquet file, read row group by row group: few wanted rows are jumped to, of many every row is decoded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arrow_array::{ArrayRef, RecordBatch};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReader, RowSelection, RowSelector};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::basic::Type as Physical;

use super::super::allowance::{Allowance, Turn};
use super::super::errors::FileContext;
use super::super::part::Part;
use super::batches::{self, Batches, Open, bearable};
use super::failure::{Failure, fewer_rows};
use super::held::{self, Held, Origin};
use super::input::Opened;
use super::leaves::only_leaf;
use super::levels::Levels;
use super::pages::Group as Pages;
use super::types::Described;
use super::wanted::{are_few, selection, with_wanted_key};
use super::watch::{Stop, Watch};
use crate::sources::rows::canonical::{Wish, constant, taken};
use crate::sources::rows::merged::{filled_up, without_value};
use crate::sources::rows::typed::{Taken, Typed};
use crate::sources::rows::{Cell, Reading};
use crate::sources::{ReadCost, ScanStats, SourceError};
use crate::tables::chunk::DictionaryCache;
use crate::tables::keys::Keys;
use crate::tables::schema::Column;
/// Rows decoded at a time.
const BATCH: usize = 8_192;
/// Bytes decoded at a time, about, where rows are long.
const BATCH_BYTES: i64 = 16 << 20;

/// One file, ready to be read group by group.
pub(super) struct FilePlan<'a> {
    pub(super) part: &'a Part,
    pub(super) file: &'a Opened<'a>,
    pub(super) reading: &'a Reading<'a>,
    pub(super) metadata: &'a ArrowReaderMetadata,
    pub(super) described: &'a Described,
    /// For each column of the scan, its spellings that the file has.
    pub(super) columns: &'a [Vec<Held<'a>>],
    pub(super) allowance: &'a Arc<Allowance>,
    pub(super) progress: Progress,
}

/// A row group.
#[derive(Clone, Copy)]
pub(super) struct RowGroup {
    /// Its number in the file.
    pub(super) place: usize,
    /// Rows of the file before it.
    pub(super) before: u64,
}

/// What readers of all row groups of a file share.
pub(super) struct Progress {
    /// Rows decoded at a time, at most, by what was found so far.
    rows: AtomicUsize,
    /// Pages that were decoded, and their bytes as they are stored.
    pages: AtomicU64,
    bytes: AtomicU64,
}

impl Progress {
    pub(super) const fn new() -> Self {
        Self { rows: AtomicUsize::new(BATCH), pages: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    fn add(&self, watch: &Watch) {
        let (pages, bytes) = watch.taken();
        self.pages.fetch_add(pages, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What reading took, but for calls.
    pub(super) fn cost(&self) -> ReadCost {
        let (pages, bytes) = (self.pages.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        ReadCost { bytes, pages, calls: 0 }
    }
}

impl<'a> FilePlan<'a> {
    /// Reads a row group.
    pub(super) fn group(&self, group: RowGroup) -> Result<ScanStats, SourceError> {
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
        let mut rows = rows.min(self.progress.rows.load(Ordering::Relaxed));
        let mut turn: Option<Turn<'_>> = None;
        loop {
            let watch = Watch::new(self.allowance, self.reading.settings.bounds.unit, rows, turn.is_some());
            let done = read(&watch);
            self.progress.add(&watch);
            let failure = match done {
                Ok(read) => return Ok(read),
                Err(failure) => failure,
            };
            match watch.stopped() {
                None => return Err(failure),
                Some(Stop::TooLarge(what)) => return Err(Failure::TooLarge(what)),
                Some(Stop::Busy) => turn = turn.or_else(|| Some(self.allowance.turn())),
                Some(Stop::Fewer(fewer)) => {
                    rows = fewer.min(rows - 1).max(1);
                    self.progress.rows.fetch_min(rows, Ordering::Relaxed);
                }
            }
        }
    }

    fn read(&self, group: RowGroup) -> Result<ScanStats, Failure> {
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
        group: RowGroup,
        columns: &[&[Held<'a>]],
        known: &mut DictionaryCache<bool>,
    ) -> Result<Option<Vec<u32>>, Failure> {
        let Some((held, keys)) = self.key(columns) else { return Ok(None) };
        let roots = held::roots(&[held]);
        let all = self.rows_of(group);
        self.attempt(BATCH, |watch| {
            let (mut rows, mut before) = (Vec::new(), 0);
            for batch in self.batches(group, &roots, Rows::From(0), watch)? {
                self.reading.go_on()?;
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

    fn rows_of(&self, group: RowGroup) -> usize {
        usize::try_from(self.metadata.metadata().row_group(group.place).num_rows()).unwrap_or(0)
    }

    /// Decodes some rows only.
    fn read_few(&self, group: RowGroup, held: &[&[Held<'a>]], rows: &[u32]) -> Result<ScanStats, Failure> {
        let mut typed = Typed::new(self.reading, &self.part.label);
        if rows.is_empty() {
            return Ok(typed.finish());
        }
        let roots = held::roots(held);
        let mut done = 0;
        self.attempt(self.batch_rows(group), |watch| {
            for batch in self.batches(group, &roots, Rows::These(&rows[done..]), watch)? {
                self.reading.go_on()?;
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
        group: RowGroup,
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
                self.reading.go_on()?;
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
        group: RowGroup,
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
        group: RowGroup,
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
    fn batch_rows(&self, group: RowGroup) -> usize {
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

/// Runs of this number of rows on average are selected by jumping, not by a mask (a choice of the crate's).
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
