//! Loading what the requests of one group need: the catalog first, to know which batches, then their data, once.
//! Both run on the CPU pool; sources read in parallel and the tables in memory take chunks from every thread.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use chrono_tz::Tz;

use super::stats::LoadStats;
use crate::reports::catalog::{Catalog, CatalogBuilder};
use crate::reports::schema::{Scan, Table};
use crate::reports::shared::{Shared, SharedBuilder};
use crate::reports::{Needs, Options};
use crate::sources::{Source, SourceError, Tally};

/// Reads batches and contents. `metadata` names further columns that content filters look at.
pub fn catalog(
    source: &dyn Source,
    metadata: &BTreeSet<String>,
    needs: &Needs,
    timezone: Tz,
    stats: &mut LoadStats,
) -> Result<Catalog, SourceError> {
    let builder = CatalogBuilder::new(metadata, timezone).needing(&needs.content);
    for scan in builder.scans() {
        let tally = timed(&scan, || source.read(&scan, &|chunk| builder.take(scan.table, chunk)))?;
        stats.add(scan.table, tally);
    }
    let catalog = builder.finish();
    stats.add_duplicates(catalog.duplicates());
    Ok(catalog)
}

/// Reads what `report` needs for `batches` (indexes into the catalog): first what is keyed by batch or course, then
/// the learners that those rows name.
pub fn shared(
    source: &dyn Source,
    catalog: Arc<Catalog>,
    batches: &[usize],
    needs: &Needs,
    options: &Options,
    timezone: Tz,
    stats: &mut LoadStats,
) -> Result<Shared, SourceError> {
    let builder = SharedBuilder::new(catalog, batches, needs, options, timezone);
    let mut read = |scan: &Scan| -> Result<(), SourceError> {
        let tally = timed(scan, || source.read(scan, &|chunk| builder.take(scan.table, chunk)))?;
        stats.add(scan.table, tally);
        Ok(())
    };
    for scan in builder.scans() {
        read(&scan)?;
    }
    if let Some(scan) = builder.learners_scan() {
        read(&scan)?;
    }
    let shared = builder.finish();
    stats.add_duplicates(shared.duplicates());
    stats.add_rows(Table::ContentHierarchy, "hierarchy is not a tree in JSON".to_owned(), shared.broken_hierarchies());
    Ok(shared)
}

/// Reads a table and logs how long it took: `scripts/bench-postgres` goes by this line.
fn timed(scan: &Scan, read: impl FnOnce() -> Result<Tally, SourceError>) -> Result<Tally, SourceError> {
    let start = Instant::now();
    let tally = read()?;
    log::debug!("table read table={} rows={} ms={}", scan.table.name(), tally.rows, start.elapsed().as_millis());
    Ok(tally)
}
