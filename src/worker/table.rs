//! The table of one file on its way into it, piece by piece: of what is loaded, or of stretch after stretch.

use super::ending::Reason;
use super::generate::Workshop;
use super::stretches::Stretches;
use super::verdict;
use crate::outputs::{StoreError, TablePieces, WriteError};
use crate::reports::{self, Counts, ReportError};
use crate::sources::SourceError;
use crate::tables::catalog::Catalog;
use crate::tables::finished::Finished;
use crate::tables::loaded::Shared;
use crate::tables::quality::Quality;
use crate::tables::schema::Table;

/// The column of scores that the assessment report shows.
const GRAND_TOTAL: &str = "grand_total";

/// What tables are made of.
pub(super) enum Data<'a> {
    /// All of it is in memory.
    Loaded(&'a Shared),
    /// It is one batch that does not fit there.
    Stretches(&'a Stretches<'a>),
}

impl Data<'_> {
    pub(super) fn catalog(&self) -> &Catalog {
        match self {
            Self::Loaded(shared) => shared.catalog(),
            Self::Stretches(stretches) => stretches.catalog(),
        }
    }
}

/// The table of one batch.
pub(super) struct Making<'a> {
    pub(super) workshop: &'a Workshop,
    pub(super) batch: usize,
    pub(super) data: &'a Data<'a>,
    /// Whether anybody still wants it.
    pub(super) is_wanted: &'a dyn Fn() -> bool,
    /// What became of the enrolments so far.
    pub(super) counts: Counts,
    /// What was found of the batch so far.
    pub(super) quality: Quality,
    /// Why it did not come to its end.
    pub(super) broken: Option<Broken>,
}

/// Why a table did not come to its end.
#[derive(Debug)]
pub(super) enum Broken {
    /// For a reason that is told.
    Failed(Reason),
    /// Every row of one of the batch's tables is unusable.
    Unusable(Quality, SourceError),
    /// Nobody wants it any more, or the daemon stops.
    GivenUp,
    /// It could not be written.
    Write(WriteError),
    /// The store did not take it.
    Store(StoreError),
}

impl Broken {
    /// What those are told who wanted it.
    pub(super) fn reason(self, batch: &str) -> Reason {
        match self {
            Self::Failed(reason) => reason,
            Self::Store(error) => Reason::store(&error),
            Self::Write(WriteError::DoesNotFit(limit)) => Reason::does_not_fit(batch, &limit),
            // The store's own failure is told before, and who gives up tells nobody.
            Self::Write(error) => Reason::unexplained(&error),
            Self::Unusable(_, error) => Reason::source(&error),
            Self::GivenUp => Reason::unexplained(&WriteError::NotMade),
        }
    }
}

impl From<Reason> for Broken {
    fn from(reason: Reason) -> Self {
        Self::Failed(reason)
    }
}

impl From<ReportError> for Broken {
    fn from(error: ReportError) -> Self {
        Self::Failed(Reason::report(&error))
    }
}

impl From<SourceError> for Broken {
    fn from(error: SourceError) -> Self {
        Self::Failed(Reason::source(&error))
    }
}

impl Making<'_> {
    /// Makes what is in memory. Whether the batch is broken shows at once: every range has all of its rows, except those of
    /// learners.
    fn of(
        &mut self,
        shared: &Shared,
        take: &mut dyn FnMut(&Finished<'_>) -> Result<(), WriteError>,
    ) -> Result<(), Broken> {
        let quality = shared.quality(self.batch);
        if let Some(error) = verdict::broken(&quality) {
            return Err(Broken::Unusable(quality, error));
        }
        let Workshop { report, job, .. } = self.workshop;
        let counts =
            reports::generate(*report, self.batch, shared, &job.options, |table| take(table).map_err(Broken::Write))?;
        self.counts.add(&counts);
        self.quality.add_range(&quality);
        Ok(())
    }

    fn all(&mut self, take: &mut dyn FnMut(&Finished<'_>) -> Result<(), WriteError>) -> Result<(), Broken> {
        match self.data {
            Data::Loaded(shared) => self.of(shared, take)?,
            Data::Stretches(stretches) => stretches.each(&mut |shared| {
                if self.workshop.stop.is_halted() || !(self.is_wanted)() {
                    return Err(Broken::GivenUp);
                }
                self.of(shared, take)
            })?,
        }
        let Counts { readable_scores, unreadable_scores, .. } = self.counts;
        if readable_scores + unreadable_scores > 0 {
            let scores = self.quality.values(Table::AssessmentAggregator, GRAND_TOTAL);
            (scores.readable, scores.unreadable) = (readable_scores, unreadable_scores);
        }
        Ok(())
    }
}

impl TablePieces for Making<'_> {
    fn most_rows(&self) -> usize {
        match self.data {
            Data::Loaded(shared) => shared.listed(self.batch),
            Data::Stretches(_) => usize::MAX,
        }
    }

    fn each(&mut self, take: &mut dyn FnMut(&Finished<'_>) -> Result<(), WriteError>) -> Result<(), WriteError> {
        match self.all(take) {
            Ok(()) => Ok(()),
            Err(Broken::Write(error)) => Err(error),
            Err(broken) => {
                self.broken = Some(broken);
                Err(WriteError::NotMade)
            }
        }
    }
}
