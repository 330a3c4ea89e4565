//! A batch that is too much to be loaded at once, worked on stretch by stretch: learners by their ids, in the order in which
//! the table has them. Each stretch reads the tables anew; what is in memory is bounded, whatever the batch.
//!
//! Not here: what fits (`making`), and batches that only are too much together (`plan`).

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono_tz::Tz;

use super::failpoints;
use super::group_metrics::GroupMetrics;
use super::load::{self, Bounds, Learners, Wish};
use super::stats::LoadStats;
use crate::reports::{Needs, Options};
use crate::sources::{Source, SourceError};
use crate::tables::catalog::Catalog;
use crate::tables::key_range::SplitPoints;
use crate::tables::loaded::Shared;
use crate::tables::schema::Table;

/// No stretch is made smaller than about so many bytes, whatever the memory: each reads all tables anew.
pub(crate) const LEAST: u64 = 64 << 10;

/// What cannot be divided any more may weigh so many bytes.
const INDIVISIBLE: u64 = 64 << 20;

/// A batch, and what its report needs.
#[derive(Clone, Copy)]
pub(crate) struct Large<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) catalog: &'a Arc<Catalog>,
    /// Index in the catalogue.
    pub(crate) batch: usize,
    pub(crate) needs: &'a Needs,
    pub(crate) options: &'a Options,
    pub(crate) timezone: Tz,
    /// What it weighs, about.
    pub(crate) weight: u64,
    /// What a stretch may weigh.
    pub(crate) bytes: u64,
}

/// The same, once it is known where to divide its learners.
pub(crate) struct Stretches<'a> {
    large: Large<'a>,
    metrics: &'a GroupMetrics,
    borders: SplitPoints,
    /// The assessments that its report shows: those with an attempt of anybody, in whatever stretch.
    assessments: Option<Vec<u32>>,
    /// Whether what loading comes across was counted.
    counted: AtomicBool,
}

impl<'a> Stretches<'a> {
    /// Looks at the batch's learners, and at its attempts if its report needs any.
    pub(crate) fn survey(large: Large<'a>, metrics: &'a GroupMetrics) -> Result<Self, SourceError> {
        let large = Large { bytes: large.bytes.max(LEAST), ..large };
        let borders = load::survey(large.source, large.catalog, large.batch)?;
        let mut stretches = Self { large, metrics, borders, assessments: None, counted: AtomicBool::new(true) };
        let attempts = Needs { attempts: large.needs.attempts.clone(), ..Needs::default() };
        if !attempts.attempts.is_empty() {
            let mut found = BTreeSet::new();
            stretches.each_with(&attempts, &mut |shared| {
                found.extend(shared.assessments(large.batch));
                Ok::<(), SourceError>(())
            })?;
            stretches.assessments = Some(found.into_iter().collect());
        }
        stretches.counted = AtomicBool::new(false);
        Ok(stretches)
    }

    /// Where the batch is.
    pub(crate) fn catalog(&self) -> &Catalog {
        self.large.catalog
    }

    /// Gives stretch after stretch to `take`, one of them in memory at a time.
    pub(crate) fn each<E: From<SourceError>>(&self, take: &mut dyn FnMut(&Shared) -> Result<(), E>) -> Result<(), E> {
        self.each_with(self.large.needs, take)?;
        self.counted.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn each_with<E: From<SourceError>>(
        &self,
        needs: &Needs,
        take: &mut dyn FnMut(&Shared) -> Result<(), E>,
    ) -> Result<(), E> {
        let Large { source, catalog, batch, options, timezone, weight, bytes, .. } = self.large;
        let mut waiting = VecDeque::from(divide(&(0..self.borders.pieces()), weight.div_ceil(bytes).max(2)));
        let mut is_first = true;
        while let Some(pieces) = waiting.pop_front() {
            failpoints::hit("stretch", &catalog.batches()[batch].id);
            let stretch = self.borders.range(&pieces);
            let learners = Learners::Some { stretch: &stretch, assessments: self.assessments.as_deref() };
            let wish = Wish { batches: &[batch], needs, options, timezone, learners };
            // What cannot be divided any more is loaded although it weighs more, but not whatever it weighs.
            let most = if pieces.len() == 1 { bytes.max(INDIVISIBLE) } else { bytes };
            let bounds = Bounds { bytes: most, weighed: &|_| (), agrees: None };
            let loaded = self.metrics.loading(|stats| {
                let loaded = load::shared(source, catalog, &wish, bounds, stats);
                self.leave_new(stats, is_first);
                loaded
            });
            match loaded? {
                Ok(shared) => take(&shared)?,
                Err(_) if pieces.len() == 1 => return Err(too_heavy(&catalog.batches()[batch].id).into()),
                Err(heavy) => {
                    let parts = divide(&pieces, heavy.of(&[batch]).div_ceil(bytes).max(2));
                    parts.into_iter().rev().for_each(|part| waiting.push_front(part));
                    continue;
                }
            }
            is_first = false;
        }
        Ok(())
    }

    /// Leaves of what a load came across what none before it has: each reads the same rows, except for those of learners.
    fn leave_new(&self, stats: &mut LoadStats, is_first: bool) {
        if self.counted.load(Ordering::Relaxed) {
            *stats = LoadStats::default();
        } else if !is_first {
            stats.leave_tables(|table, is_duplicate| match table {
                Table::User => true,
                Table::UserActivityAgg | Table::AssessmentAggregator => is_duplicate,
                _ => false,
            });
        }
    }
}

/// A few learners have more text than memory is there for.
fn too_heavy(batch: &str) -> SourceError {
    let table = Table::UserEnrolments;
    let message = format!("table {table}: a few learners of one batch, or its course, are more than [worker] memory");
    let detail = format!("{message}: batch {batch}, which cannot be divided any further");
    SourceError { table, message, detail, may_pass: false }
}

/// So many ranges of about the same length, fewer where there is not enough.
fn divide(pieces: &Range<usize>, parts: u64) -> Vec<Range<usize>> {
    let (all, parts) = (pieces.len(), usize::try_from(parts).unwrap_or(usize::MAX).clamp(1, pieces.len().max(1)));
    let border = |part: usize| pieces.start + all * part / parts;
    (0..parts).map(|part| border(part)..border(part + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_join_and_none_is_empty() {
        assert_eq!(divide(&(3..10), 3), [3..5, 5..7, 7..10]);
        assert_eq!(divide(&(3..5), 9), [3..4, 4..5]);
        assert_eq!(divide(&(4..5), 2), divide(&(4..5), 1));
    }
}
