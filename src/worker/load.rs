//! Loading what the requests of one group need: the catalog first, to know which batches, then their data, once.
//! Both run on the CPU pool; sources read in parallel and the tables in memory take chunks from every thread.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use chrono_tz::Tz;

use super::stats::LoadStats;
use super::verdict;
use crate::config::checked::MaxBadRows;
use crate::reports::{Needs, Options};
use crate::sources::{ScanStats, Sink, Source, SourceError};
use crate::tables::catalog::{Catalog, CatalogBuilder, TooMuch};
use crate::tables::key_range::{KeyRange, SplitPoints};
use crate::tables::key_sampler::KeySampler;
use crate::tables::loaded::{BROKEN_HIERARCHY, Heavy, Shared, SharedBuilder};
use crate::tables::plan::Scan;
use crate::tables::schema::Table;

/// Reads batches and contents, which are the same for all requests. `metadata` names further columns that content filters
/// look at; `bytes` is what the catalogue may be.
pub fn catalog(
    source: &dyn Source,
    metadata: &BTreeSet<String>,
    needs: &Needs,
    (timezone, max_bad_rows, bytes): (Tz, MaxBadRows, u64),
    stats: &mut LoadStats,
) -> Result<Catalog, SourceError> {
    let mut builder = CatalogBuilder::new(metadata, timezone).needing(&needs.content).within(bytes);
    for scan in builder.scans() {
        let table = scan.table;
        let tally = read(source, scan, &|chunk| builder.take(table, chunk), stats)?;
        if let Some(too_much) = builder.too_much() {
            let what = match too_much {
                TooMuch::All => "has more text than half of [worker] memory",
                TooMuch::Value => "has a metadata value of more than 1 MiB",
            };
            let message = format!("table {table}: {what}");
            return Err(SourceError { table, detail: message.clone(), message, may_pass: false });
        }
        verdict::whole_table(table, &tally, max_bad_rows)?;
        builder.add_faults(table, &tally.faults);
    }
    let catalog = builder.finish();
    stats.add_duplicates(catalog.duplicates());
    Ok(catalog)
}

/// What came of a load: what was wished, or what it would weigh; or why there is nothing.
pub type Loaded = Result<Result<Shared, Heavy>, SourceError>;

/// What is to be loaded.
#[derive(Clone, Copy)]
pub struct Wish<'a> {
    /// Indexes into the catalogue.
    pub batches: &'a [usize],
    /// What the report needs for them.
    pub needs: &'a Needs,
    /// The job's.
    pub options: &'a Options,
    /// Dates are days there.
    pub timezone: Tz,
    /// Of whom.
    pub learners: Learners<'a>,
}

/// Whose rows are wished.
#[derive(Clone, Copy)]
pub enum Learners<'a> {
    /// All of the batches.
    All,
    /// Some of one batch, which is too much to be loaded at once, …
    Some {
        /// … those,
        stretch: &'a KeyRange,
        /// and the assessments that its report shows, if that is known by now.
        assessments: Option<&'a [u32]>,
    },
}

/// How much a load may be.
#[derive(Clone, Copy)]
pub struct Bounds<'a> {
    /// About so many bytes.
    pub bytes: u64,
    /// Told how many they are, as soon as that is known.
    pub weighed: &'a dyn Fn(u64),
    /// Asked whether all of it shall be loaded, as soon as the weight of each batch is known.
    pub agrees: Option<&'a dyn Fn(&Heavy) -> bool>,
}

/// Reads what is wished, table by table. What is too much, or not agreed to, is let go of, and comes back as the weight of
/// each batch.
pub fn shared(
    source: &dyn Source,
    catalog: &Arc<Catalog>,
    wish: &Wish<'_>,
    bounds: Bounds<'_>,
    stats: &mut LoadStats,
) -> Loaded {
    let Wish { batches, needs, options, timezone, learners } = wish;
    let Bounds { bytes, weighed, mut agrees } = bounds;
    let mut builder = SharedBuilder::new(Arc::clone(catalog), batches, needs, options, *timezone).within(bytes);
    if let Learners::Some { stretch, assessments } = learners {
        builder = builder.of(stretch);
        if let Some(assessments) = assessments {
            builder = builder.showing(assessments);
        }
    }
    while let Some(scan) = builder.next_scan() {
        let table = scan.table;
        let is_first = table == Table::UserEnrolments;
        if !is_first && let Some(agrees) = agrees.take() {
            let weights = builder.weights();
            if !agrees(&weights) {
                return Ok(Err(weights));
            }
        }
        let tally = read(source, scan, &|chunk| builder.take(chunk), stats)?;
        builder.add_faults(table, &tally.faults);
        if is_first {
            weighed(builder.weight());
        }
    }
    let shared = match builder.finish() {
        Ok(shared) => shared,
        Err(heavy) => return Ok(Err(heavy)),
    };
    stats.add_duplicates(shared.duplicates());
    stats.add_rows(Table::ContentHierarchy, BROKEN_HIERARCHY.to_owned(), shared.broken_hierarchies());
    Ok(Ok(shared))
}

/// Finds out where the learners of a batch can be divided.
pub fn survey(source: &dyn Source, catalog: &Catalog, batch: usize) -> Result<SplitPoints, SourceError> {
    let survey = KeySampler::new(catalog, batch);
    // What it comes across is counted when all columns are read.
    read(source, survey.scan(), &|chunk| survey.take(chunk), &mut LoadStats::default())?;
    Ok(survey.finish())
}

fn read(source: &dyn Source, scan: Scan, sink: &Sink<'_>, stats: &mut LoadStats) -> Result<ScanStats, SourceError> {
    let started = Instant::now();
    let tally = source.read(&scan, sink)?;
    log::debug!("table read table={} rows={} ms={}", scan.table, tally.rows, started.elapsed().as_millis());
    stats.add(scan, &tally);
    Ok(tally)
}
