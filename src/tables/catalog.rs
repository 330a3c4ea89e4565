//! The batches there are and the contents there are: `course_batch` and `content` in memory.
//!
//! Not here: which of them a request wants ([`filters`](crate::reports::filters)).

mod contents;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use chrono::NaiveDate;
use chrono_tz::Tz;
use hashbrown::{HashMap, HashSet};

pub use contents::Contents;
use contents::ContentsBuilder;
pub(crate) use contents::Metadata;

use crate::tables::chunk::{Chunk, ChunkView};
use crate::tables::dates;
use crate::tables::plan::{LoadPlan, Scan};
use crate::tables::quality::Faults;
use crate::tables::schema::course_batch;
use crate::tables::schema::{Column, Kind, Table};

/// A batch of learners who take a course together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// `batchid`
    pub id: String,
    /// `courseid`, empty if there is none.
    pub course_id: String,
    /// `name`, empty if there is none.
    pub name: String,
    /// The day of `enddate` in the configured zone.
    pub end_date: Option<NaiveDate>,
    /// Its end is text that does not read, so it is unknown whether it has ended.
    pub unreadable_end: bool,
    /// Its course in [`Catalog::contents`], where it is there.
    pub course: Option<usize>,
}

/// A batch, by its place in [`Catalog::batches`]: in the order of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchIdx(pub usize);

/// All batches and all contents.
#[derive(Debug)]
pub struct Catalog {
    batches: Vec<Batch>,
    contents: Contents,
    duplicates: BTreeMap<Table, u64>,
}

impl Catalog {
    /// An entry for each of these names, and nothing else: for files that are none of a batch.
    #[must_use]
    pub fn of_names(names: impl IntoIterator<Item = String>) -> Self {
        let entry = |id: String| Batch {
            id,
            course_id: String::new(),
            name: String::new(),
            end_date: None,
            unreadable_end: false,
            course: None,
        };
        let mut batches: Vec<Batch> = names.into_iter().map(entry).collect();
        batches.sort_unstable_by(|left, right| left.id.cmp(&right.id));
        Self { batches, ..CatalogBuilder::new(&BTreeSet::new(), Tz::UTC).finish() }
    }

    /// The batches, ordered by the bytes of their ids.
    #[must_use]
    pub fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// One of them.
    ///
    /// # Panics
    /// If it is another catalogue's.
    #[must_use]
    pub fn batch(&self, batch: BatchIdx) -> &Batch {
        &self.batches[batch.0]
    }

    /// The batch of this id.
    #[must_use]
    pub fn find_batch(&self, id: &str) -> Option<BatchIdx> {
        self.batches.binary_search_by(|batch| batch.id.as_str().cmp(id)).ok().map(BatchIdx)
    }

    /// Bytes of memory in use, nearly.
    #[must_use]
    pub fn memory(&self) -> usize {
        let batch = |batch: &Batch| batch.id.capacity() + batch.course_id.capacity() + batch.name.capacity();
        let batches: usize = self.batches.iter().map(batch).sum();
        batches + self.batches.capacity() * size_of::<Batch>() + self.contents.memory()
    }

    /// The contents.
    #[must_use]
    pub const fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Rows that were not used because another one has their key, by table; tables without any are not named.
    #[must_use]
    pub const fn duplicates(&self) -> &BTreeMap<Table, u64> {
        &self.duplicates
    }
}

/// Takes the rows of `course_batch` and `content`, from several threads and in any order.
#[derive(Debug)]
pub struct CatalogBuilder {
    tz: Tz,
    batch_columns: Vec<Column>,
    content_columns: Vec<Column>,
    batches: Mutex<Batches>,
    contents: Mutex<ContentsBuilder>,
    /// Batches of which an end does not read.
    unreadable_ends: HashSet<String>,
    /// Bytes of text that may be kept, and those that were asked for.
    limit: u64,
    bytes: AtomicU64,
    /// A metadata value is too large.
    large: AtomicBool,
}

/// Bytes of a metadata value, at most: filters take it apart, into many times its bytes.
const VALUE: usize = 1 << 20;

/// Why there is no catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMuch {
    /// All of it is more than it may be.
    All,
    /// A metadata value of a content has more than 1 MiB.
    Value,
}

#[derive(Debug, Default)]
struct Batches {
    by_id: HashMap<String, RawBatch>,
    duplicates: u64,
}

/// The used columns of a batch in the table's order: of two rows with one id the greater is used.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct RawBatch {
    course_id: String,
    name: String,
    end: Option<i64>,
}

impl CatalogBuilder {
    /// For requests whose content filters name these metadata fields. Dates are days in `tz`.
    #[must_use]
    pub fn new(metadata: &BTreeSet<String>, tz: Tz) -> Self {
        let content_columns = contents::columns(metadata);
        Self {
            tz,
            batch_columns: vec![
                course_batch::COURSEID.required(),
                course_batch::BATCHID.key(),
                course_batch::NAME.optional(),
                course_batch::ENDDATE.optional(),
            ],
            contents: Mutex::new(ContentsBuilder::new(&content_columns)),
            content_columns,
            batches: Mutex::default(),
            unreadable_ends: HashSet::new(),
            limit: u64::MAX,
            bytes: AtomicU64::new(0),
            large: AtomicBool::new(false),
        }
    }

    /// Keeps at most this many bytes of text.
    #[must_use]
    pub const fn within(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }

    /// Whether something was too much. What was taken is then not all.
    pub fn too_much(&self) -> Option<TooMuch> {
        if self.large.load(Ordering::Relaxed) {
            return Some(TooMuch::Value);
        }
        (self.bytes.load(Ordering::Relaxed) > self.limit).then_some(TooMuch::All)
    }

    /// Counts the texts of a chunk; whether there is room for them.
    fn has_room(&self, chunk: ChunkView<'_>, columns: &[Column]) -> bool {
        let mut bytes = 0;
        for column in columns.iter().filter(|column| matches!(column.kind, Kind::Text | Kind::Json)) {
            let texts = chunk.texts(&column.name);
            for length in chunk.rows().map(|row| texts.get(row).len()) {
                bytes += length as u64;
                if column.kind == Kind::Json && length > VALUE {
                    self.large.store(true, Ordering::Relaxed);
                }
            }
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.too_much().is_none()
    }

    /// Makes columns of `content` as strictly required as a report's needs say,
    /// so that a table without them stops the load.
    #[must_use]
    pub fn needing(mut self, columns: &[Column]) -> Self {
        for wanted in columns {
            let same = |column: &&mut Column| column.name.eq_ignore_ascii_case(&wanted.name);
            if let Some(column) = self.content_columns.iter_mut().find(same) {
                column.presence = wanted.presence;
            }
        }
        self
    }

    /// What to read.
    #[must_use]
    pub fn plan(&self) -> LoadPlan {
        let batches = Scan::everything(Table::CourseBatch, self.batch_columns.clone());
        let contents = Scan::everything(Table::Content, self.content_columns.clone());
        LoadPlan { scans: vec![batches, contents] }
    }

    /// Takes a chunk of one of the two tables; chunks of other tables are ignored.
    ///
    /// # Panics
    /// If the columns are not those of the scan.
    pub fn take(&self, table: Table, chunk: &Chunk) {
        match table {
            Table::CourseBatch => {
                let chunk = ChunkView::new(chunk, &self.batch_columns);
                if self.has_room(chunk, &self.batch_columns) {
                    self.take_batches(chunk);
                }
            }
            Table::Content if !self.has_room(ChunkView::new(chunk, &self.content_columns), &self.content_columns) => {}
            Table::Content => {
                let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
                contents.take(ChunkView::new(chunk, &self.content_columns));
            }
            _ => {}
        }
    }

    /// Adds the faults of a table, once all of it was taken.
    pub fn add_faults(&mut self, table: Table, faults: &Faults) {
        if table == Table::CourseBatch {
            let unreadable = faults.iter().filter(|(_, faults)| !faults.unreadable.is_empty());
            self.unreadable_ends.extend(unreadable.map(|(batch, _)| batch.to_owned()));
        }
    }

    fn take_batches(&self, chunk: ChunkView<'_>) {
        let (ids, courses) = (chunk.cells(course_batch::BATCHID), chunk.cells(course_batch::COURSEID));
        let (names, ends) = (chunk.cells(course_batch::NAME), chunk.cells(course_batch::ENDDATE));
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        for row in chunk.rows() {
            let (course_id, name) = (courses.get(row).to_owned(), names.get(row).to_owned());
            let found = RawBatch { course_id, name, end: ends.get(row) };
            match batches.by_id.get_mut(ids.get(row)) {
                None => drop(batches.by_id.insert(ids.get(row).to_owned(), found)),
                Some(known) => {
                    *known = found.max(std::mem::take(known));
                    batches.duplicates += 1;
                }
            }
        }
    }

    /// Everything that was taken, in order.
    #[must_use]
    pub fn finish(self) -> Catalog {
        let (contents, duplicate_contents) =
            self.contents.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
        let raw = self.batches.into_inner().unwrap_or_else(PoisonError::into_inner);
        let unreadable_ends = self.unreadable_ends;
        let batch = |(id, raw): (String, RawBatch)| Batch {
            course: contents.position(&raw.course_id),
            course_id: raw.course_id,
            name: raw.name,
            end_date: raw.end.and_then(|end| dates::day(end, self.tz)),
            unreadable_end: raw.end.is_none() && unreadable_ends.contains(&id),
            id,
        };
        let mut batches: Vec<Batch> = raw.by_id.into_iter().map(batch).collect();
        batches.sort_unstable_by(|left, right| left.id.cmp(&right.id));
        let duplicates = [(Table::CourseBatch, raw.duplicates), (Table::Content, duplicate_contents)];
        let duplicates = duplicates.into_iter().filter(|(_, count)| *count > 0).collect();
        Catalog { batches, contents, duplicates }
    }
}

#[cfg(test)]
mod tests;
