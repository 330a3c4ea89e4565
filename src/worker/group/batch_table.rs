//! The table of one file, made piece by piece: from loaded data, or from one range of learners after the other.

use super::context::GroupContext;
use crate::outputs::{StoreError, TablePieces, WriteError};
use crate::reports::{self, Counts, JobReport, ReportError};
use crate::sources::SourceError;
use crate::tables::catalog::{BatchIdx, Catalog};
use crate::tables::finished::Finished;
use crate::tables::loaded::LoadedBatches;
use crate::tables::quality::Quality;
use crate::tables::queried::{FileRows, QueriedRows};
use crate::worker::key_ranges::LearnerRanges;
use crate::worker::plan::Unit;
use crate::worker::request_error::RequestError;
use crate::worker::verdict;

/// What tables are made from.
pub(in crate::worker) enum BatchData<'a> {
    /// All of it is in memory.
    Loaded(&'a LoadedBatches),
    /// It is one batch that does not fit into memory.
    Ranges(&'a LearnerRanges<'a>),
    /// The rows that an engine returned for a report in SQL.
    Queried {
        /// Where the batches are.
        catalog: &'a Catalog,
        /// Their rows.
        rows: &'a QueriedRows,
    },
}

/// Makes the files of some units from the data that was loaded for them. Runs on the CPU pool.
pub(in crate::worker) type MakeUnits = dyn Fn(&BatchData<'_>, &[&Unit]) + Send + Sync;

impl BatchData<'_> {
    /// Where the batches are.
    pub(super) fn catalog(&self) -> &Catalog {
        match self {
            Self::Loaded(loaded) => loaded.catalog(),
            Self::Ranges(ranges) => ranges.catalog(),
            Self::Queried { catalog, .. } => catalog,
        }
    }
}

/// The table of one batch.
pub(super) struct BatchTable<'a> {
    group: &'a GroupContext,
    batch: BatchIdx,
    data: &'a BatchData<'a>,
    is_wanted: &'a dyn Fn() -> bool,
    /// What became of the enrolments so far.
    pub(super) counts: Counts,
    /// What was found of the batch so far.
    pub(super) quality: Quality,
    /// Why the table is not complete.
    pub(super) error: Option<FileError>,
}

/// Why a file is not made.
#[derive(Debug)]
pub(super) enum FileError {
    /// The requests that want it fail with this.
    Request(RequestError),
    /// Every row of one of the batch's tables is unusable.
    BrokenBatch(Quality, SourceError),
    /// No request wants it any more, or the daemon stops.
    NotWanted,
    /// It could not be written.
    Write(WriteError),
    /// The store did not take it.
    Store(StoreError),
}

impl FileError {
    /// With what the requests fail that want it.
    pub(super) fn for_request(self, file: &str) -> RequestError {
        match self {
            Self::Request(error) => error,
            Self::Store(error) => RequestError::store(&error),
            Self::Write(WriteError::DoesNotFit(limit)) => RequestError::over_limit(file, &limit),
            // What the store fails with is `Store`, and an incomplete table has an error of its own.
            Self::Write(error) => RequestError::unexplained(&error),
            Self::BrokenBatch(_, error) => RequestError::source(&error),
            Self::NotWanted => RequestError::unexplained(&WriteError::NotMade),
        }
    }
}

impl From<RequestError> for FileError {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

impl From<ReportError> for FileError {
    fn from(error: ReportError) -> Self {
        Self::Request(RequestError::report(&error))
    }
}

impl From<SourceError> for FileError {
    fn from(error: SourceError) -> Self {
        Self::Request(RequestError::source(&error))
    }
}

impl<'a> BatchTable<'a> {
    /// The table of the batch with this index in the catalogue. `is_wanted` says whether a request still wants it.
    pub(super) fn new(
        group: &'a GroupContext,
        batch: BatchIdx,
        data: &'a BatchData<'a>,
        is_wanted: &'a dyn Fn() -> bool,
    ) -> Self {
        Self { group, batch, data, is_wanted, counts: Counts::default(), quality: Quality::default(), error: None }
    }

    /// Makes the rows that are in memory. Whether the batch is broken shows in the first range where every range reads all
    /// rows of a table.
    fn make(
        &mut self,
        loaded: &LoadedBatches,
        take: &mut dyn FnMut(&Finished<'_>) -> Result<(), WriteError>,
    ) -> Result<(), FileError> {
        let quality = loaded.quality(self.batch);
        if let Some(error) = verdict::broken(&quality) {
            return Err(FileError::BrokenBatch(quality, error));
        }
        let job = &self.group.job;
        let JobReport::BuiltIn(report) = job.report else {
            return Err(ReportError::NotLoaded { batch: self.data.catalog().batch(self.batch).id.clone() }.into());
        };
        let take = |table: &Finished<'_>| take(table).map_err(FileError::Write);
        let counts = reports::generate(report, self.batch, loaded, &job.options, take)?;
        self.counts.add(&counts);
        self.quality.add_range(&quality);
        Ok(())
    }

    /// Makes the rows that an engine returned.
    fn make_queried(
        &mut self,
        batch: &str,
        rows: &QueriedRows,
        take: &mut dyn FnMut(&Finished<'_>) -> Result<(), WriteError>,
    ) -> Result<(), FileError> {
        let report = self.group.job.report.query().ok_or_else(|| ReportError::NotLoaded { batch: batch.to_owned() })?;
        self.counts = report.generate(batch, rows, |table| take(table).map_err(FileError::Write))?;
        Ok(())
    }

    fn make_all(&mut self, take: &mut dyn FnMut(&Finished<'_>) -> Result<(), WriteError>) -> Result<(), FileError> {
        match self.data {
            BatchData::Loaded(loaded) => self.make(loaded, take)?,
            BatchData::Ranges(ranges) => ranges.each(&mut |loaded| {
                if self.group.stop.is_halted() || !(self.is_wanted)() {
                    return Err(FileError::NotWanted);
                }
                self.make(loaded, take)
            })?,
            BatchData::Queried { catalog, rows } => self.make_queried(&catalog.batch(self.batch).id, rows, take)?,
        }
        self.quality.end_ranges();
        if let Some(error) = verdict::broken(&self.quality) {
            return Err(FileError::BrokenBatch(std::mem::take(&mut self.quality), error));
        }
        for (&table, columns) in &self.counts.cells {
            for (column, cells) in columns {
                let values = self.quality.values(table, column);
                (values.readable, values.unreadable) = (cells.readable, cells.unreadable);
            }
        }
        Ok(())
    }
}

impl TablePieces for BatchTable<'_> {
    fn most_rows(&self) -> usize {
        match self.data {
            BatchData::Loaded(loaded) => loaded.listed(self.batch),
            BatchData::Ranges(_) => usize::MAX,
            BatchData::Queried { catalog, rows } => rows.of(&catalog.batch(self.batch).id).map_or(0, FileRows::rows),
        }
    }

    fn each(&mut self, take: &mut dyn FnMut(&Finished<'_>) -> Result<(), WriteError>) -> Result<(), WriteError> {
        match self.make_all(take) {
            Ok(()) => Ok(()),
            Err(FileError::Write(error)) => Err(error),
            Err(error) => {
                self.error = Some(error);
                Err(WriteError::NotMade)
            }
        }
    }
}
