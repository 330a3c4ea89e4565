//! Loading what the requests of one group need: the catalogue first, to know which batches, then their data, once. Of both
//! there is a plan before any row is read. Both run on the CPU pool; sources read in parallel and the tables in memory take
//! chunks from every thread.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use chrono_tz::Tz;

use super::stats::LoadStats;
use super::verdict;
use crate::config::checked::MaxBadRows;
use crate::sources::{ScanStats, Sink, Source, SourceError};
use crate::tables::catalog::{BatchIdx, Catalog, CatalogBuilder, TooMuch};
use crate::tables::key_range::{KeyRange, SplitPoints};
use crate::tables::key_sampler::KeySampler;
use crate::tables::loaded::{BatchWeights, FoundColumns, LoadedBatches, Loading, Needs};
use crate::tables::plan::{LoadPlan, Scan, ScanReach};
use crate::tables::quality::RowsRead;
use crate::tables::schema::Table;

/// What is read for the catalogue, which is the same for all requests. `metadata` names further columns that content
/// filters look at.
#[must_use]
pub fn catalog_plan(metadata: &BTreeSet<String>, needs: &Needs, timezone: Tz) -> LoadPlan {
    catalog_builder(metadata, needs, timezone).plan()
}

fn catalog_builder(metadata: &BTreeSet<String>, needs: &Needs, timezone: Tz) -> CatalogBuilder {
    CatalogBuilder::new(metadata, timezone).needing(needs.columns(Table::Content))
}

/// Reads batches and contents. `bytes` is how large the catalogue may be.
///
/// # Errors
/// A table cannot be read, too many of its rows are unusable, or the catalogue is larger than it may be.
pub fn catalog(
    source: &dyn Source,
    metadata: &BTreeSet<String>,
    needs: &Needs,
    (timezone, max_bad_rows, bytes): (Tz, MaxBadRows, u64),
    stats: &mut LoadStats,
) -> Result<Catalog, SourceError> {
    let mut builder = catalog_builder(metadata, needs, timezone).within(bytes);
    for scan in builder.plan().scans {
        let table = scan.table;
        let scanned = read(source, &scan, &|chunk| builder.take(table, chunk), stats)?;
        if let Some(too_much) = builder.too_much() {
            let what = match too_much {
                TooMuch::All => "has more text than half of [worker] memory",
                TooMuch::Value => "has a metadata value of more than 1 MiB",
            };
            let message = format!("table {table}: {what}");
            return Err(SourceError { table, detail: message.clone(), message, may_pass: false, is_too_large: true });
        }
        verdict::whole_table(table, &scanned, max_bad_rows)?;
        builder.add_faults(table, &scanned.faults);
    }
    let catalog = builder.finish();
    stats.add_duplicates(catalog.duplicates());
    Ok(catalog)
}

/// What came of a load.
#[derive(Debug)]
pub enum Loaded {
    /// Everything that was asked for.
    Batches(Box<LoadedBatches>),
    /// Nothing: it would be too much, or was not agreed to. What each batch takes.
    TooMuch(BatchWeights),
}

/// What is to be loaded.
#[derive(Clone, Copy)]
pub struct LoadRequest<'a> {
    /// Indexes into the catalogue.
    pub batches: &'a [BatchIdx],
    /// What the report needs for them.
    pub needs: &'a Needs,
    /// Dates are days there.
    pub timezone: Tz,
    /// Of which learners.
    pub learners: Learners<'a>,
}

/// Whose rows are loaded.
#[derive(Clone, Copy)]
pub enum Learners<'a> {
    /// All of the batches.
    All,
    /// Some of one batch, which is too large to be loaded at once.
    Range {
        /// Which of them.
        range: &'a KeyRange,
        /// The columns of its report that follow from the rows of all learners, once they are known.
        columns: Option<&'a FoundColumns>,
    },
}

/// How much a load may be.
#[derive(Clone, Copy)]
pub struct LoadLimits<'a> {
    /// Bytes, about.
    pub bytes: u64,
    /// Told how many they are, as soon as that is known.
    pub weighed: &'a dyn Fn(u64),
    /// Asked whether all of it shall be loaded, as soon as the weight of each batch is known.
    pub agrees: Option<&'a dyn Fn(&BatchWeights) -> bool>,
}

/// Reads what was asked for, table by table. Where that is too much, or not agreed to, everything is dropped.
///
/// # Errors
/// A table cannot be read.
pub fn batches(
    source: &dyn Source,
    catalog: &Arc<Catalog>,
    request: &LoadRequest<'_>,
    limits: LoadLimits<'_>,
    stats: &mut LoadStats,
) -> Result<Loaded, SourceError> {
    let LoadRequest { batches, needs, timezone, learners } = request;
    let LoadLimits { bytes, weighed, mut agrees } = limits;
    let snapshot = source.snapshot();
    let source = snapshot.as_deref().unwrap_or(source);
    let mut loading = Loading::new(Arc::clone(catalog), batches, needs, *timezone).within(bytes);
    if let Learners::Range { range, columns } = learners {
        loading = loading.of(range);
        if let Some(columns) = columns {
            loading = loading.showing(columns);
        }
    }
    let mut is_first = true;
    while let Some(scan) = loading.next_scan() {
        // The enrolments have been read by now, and everything else is weighed by them.
        if !is_first && let Some(agrees) = agrees.take() {
            let weights = loading.weights();
            if !agrees(&weights) {
                return Ok(Loaded::TooMuch(weights));
            }
        }
        let scanned = read(source, &scan, &|chunk| loading.take(chunk), stats)?;
        loading.add_faults(scan.table, &scanned.faults, rows_read(&scan, &scanned));
        if is_first {
            weighed(loading.weight());
        }
        is_first = false;
    }
    let loaded = match loading.finish() {
        Ok(loaded) => loaded,
        Err(weights) => return Ok(Loaded::TooMuch(weights)),
    };
    stats.add_duplicates(loaded.duplicates());
    stats.add_unusable(loaded.unusable());
    Ok(Loaded::Batches(Box::new(loaded)))
}

/// Which rows were read where only those of one range of learners are wanted: the source says so, or was given the learners.
const fn rows_read(scan: &Scan, scanned: &ScanStats) -> RowsRead {
    match (&scan.learners, &scan.reach) {
        (None, _) => RowsRead::All,
        (Some(_), ScanReach::Semi { .. }) => RowsRead::OfLearners,
        (Some(_), ScanReach::Everything | ScanReach::Keys { .. }) if scanned.of_range => RowsRead::OfRange,
        (Some(_), ScanReach::Everything | ScanReach::Keys { .. }) => RowsRead::All,
    }
}

/// Finds out where the learners of a batch can be divided.
///
/// # Errors
/// The enrolments cannot be read.
pub fn split_points(source: &dyn Source, catalog: &Catalog, batch: BatchIdx) -> Result<SplitPoints, SourceError> {
    let sampler = KeySampler::new(catalog, batch);
    // What it comes across is counted when all columns are read.
    read(source, &sampler.scan(), &|chunk| sampler.take(chunk), &mut LoadStats::default())?;
    Ok(sampler.finish())
}

fn read(source: &dyn Source, scan: &Scan, sink: &Sink<'_>, stats: &mut LoadStats) -> Result<ScanStats, SourceError> {
    let started = Instant::now();
    let scanned = source.read(scan, sink)?;
    log::debug!("table read table={} rows={} ms={}", scan.table, scanned.rows, started.elapsed().as_millis());
    stats.add(scan.table, &scanned, rows_read(scan, &scanned));
    Ok(scanned)
}
