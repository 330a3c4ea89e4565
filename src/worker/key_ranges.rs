//! A batch that is too large to be loaded at once, made range by range: learners by their ids, in the order in which the
//! table has them. Each range reads the tables anew; what is in memory is bounded, however large the batch is.
//!
//! Not here: what fits (`load_parts`), and batches that only are too much together (`plan`).

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono_tz::Tz;

use super::failpoints;
use super::group_metrics::GroupMetrics;
use super::load::{self, Learners, LoadLimits, LoadRequest, Loaded};
use super::stats::LoadStats;
use crate::sources::{Source, SourceError};
use crate::tables::catalog::{BatchIdx, Catalog};
use crate::tables::key_range::SplitPoints;
use crate::tables::loaded::{FoundColumns, LoadedBatches, Needs};
use crate::tables::schema::Table;

/// Bytes that a range has at least, about, however little memory there is: each reads all tables anew.
pub(crate) const LEAST: u64 = 64 << 10;

/// Bytes that may be taken by what cannot be divided any more.
const INDIVISIBLE: u64 = 64 << 20;

/// A batch, and what its report needs.
#[derive(Clone, Copy)]
pub(crate) struct LargeBatch<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) catalog: &'a Arc<Catalog>,
    /// Index in the catalogue.
    pub(crate) batch: BatchIdx,
    pub(crate) needs: &'a Needs,
    pub(crate) timezone: Tz,
    /// What it takes, about.
    pub(crate) weight: u64,
    /// What a range may take.
    pub(crate) bytes: u64,
}

/// The same, once it is known where to divide its learners.
pub(crate) struct LearnerRanges<'a> {
    large: LargeBatch<'a>,
    metrics: &'a GroupMetrics,
    points: SplitPoints,
    /// The columns of its report that follow from the rows of all learners, in any range.
    columns: Option<FoundColumns>,
    /// Whether what loading comes across was counted.
    counted: AtomicBool,
}

impl<'a> LearnerRanges<'a> {
    /// Samples the batch's learners, and looks for the columns of its report where they follow from all learners.
    pub(crate) fn find(large: LargeBatch<'a>, metrics: &'a GroupMetrics) -> Result<Self, SourceError> {
        let large = LargeBatch { bytes: large.bytes.max(LEAST), ..large };
        let points = load::split_points(large.source, large.catalog, large.batch)?;
        let mut ranges = Self { large, metrics, points, columns: None, counted: AtomicBool::new(true) };
        let needs = large.needs.that_find_columns();
        if !needs.tables.is_empty() {
            let mut columns = FoundColumns::default();
            ranges.each_with(&needs, &mut |loaded| {
                loaded.find_columns(large.batch, &mut columns);
                Ok::<(), SourceError>(())
            })?;
            ranges.columns = Some(columns);
        }
        ranges.counted = AtomicBool::new(false);
        Ok(ranges)
    }

    /// Where the batch is.
    pub(crate) fn catalog(&self) -> &Catalog {
        self.large.catalog
    }

    /// Gives range after range to `take`, one of them in memory at a time.
    pub(crate) fn each<E: From<SourceError>>(
        &self,
        take: &mut dyn FnMut(&LoadedBatches) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each_with(self.large.needs, take)?;
        self.counted.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn each_with<E: From<SourceError>>(
        &self,
        needs: &Needs,
        take: &mut dyn FnMut(&LoadedBatches) -> Result<(), E>,
    ) -> Result<(), E> {
        let LargeBatch { source, catalog, batch, timezone, weight, bytes, .. } = self.large;
        let mut waiting = VecDeque::from(divide(&(0..self.points.pieces()), weight.div_ceil(bytes).max(2)));
        let is_counted = self.counted.load(Ordering::Relaxed);
        let mut known = BTreeSet::new();
        while let Some(pieces) = waiting.pop_front() {
            failpoints::hit("key_range", &catalog.batch(batch).id);
            let range = self.points.range(&pieces);
            let learners = Learners::Range { range: &range, columns: self.columns.as_ref() };
            let request = LoadRequest { batches: &[batch], needs, timezone, learners };
            // What cannot be divided any more is loaded although it takes more, but not without a limit.
            let most = if pieces.len() == 1 { bytes.max(INDIVISIBLE) } else { bytes };
            let limits = LoadLimits { bytes: most, weighed: &|_| (), agrees: None };
            let loaded = self.metrics.loading(|stats| {
                let loaded = load::batches(source, catalog, &request, limits, stats);
                match loaded {
                    Ok(Loaded::Batches(_)) if is_counted => *stats = LoadStats::default(),
                    Ok(Loaded::Batches(_)) => stats.leave_new(&mut known),
                    Ok(Loaded::TooMuch(_)) | Err(_) => (),
                }
                loaded
            });
            match loaded? {
                Loaded::Batches(loaded) => take(&loaded)?,
                Loaded::TooMuch(_) if pieces.len() == 1 => {
                    return Err(too_large(&catalog.batch(batch).id).into());
                }
                Loaded::TooMuch(weights) => {
                    let parts = divide(&pieces, weights.of(&[batch]).div_ceil(bytes).max(2));
                    parts.into_iter().rev().for_each(|part| waiting.push_front(part));
                }
            }
        }
        Ok(())
    }
}

/// A few learners have more text than there is memory.
fn too_large(batch: &str) -> SourceError {
    let table = Table::UserEnrolments;
    let message = format!("table {table}: a few learners of one batch, or its course, are more than [worker] memory");
    let detail = format!("{message}: batch {batch}, which cannot be divided any further");
    SourceError { table, message, detail, may_pass: false, is_too_large: true }
}

/// Divides pieces into `parts` of about the same length; into fewer where there are not enough.
fn divide(pieces: &Range<usize>, parts: u64) -> Vec<Range<usize>> {
    let (all, parts) = (pieces.len(), usize::try_from(parts).unwrap_or(usize::MAX).clamp(1, pieces.len().max(1)));
    let point = |part: usize| pieces.start + all * part / parts;
    (0..parts).map(|part| point(part)..point(part + 1)).collect()
}

#[cfg(test)]
mod tests;
