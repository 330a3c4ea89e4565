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
use crate::sources::{Sink, Source, SourceError};

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
        let table = scan.table;
        read(source, scan, &|chunk| builder.take(table, chunk), stats)?;
    }
    let catalog = builder.finish();
    stats.add_duplicates(catalog.duplicates());
    Ok(catalog)
}

/// Reads what `report` needs for `batches` (indexes into the catalog), table by table.
pub fn shared(
    source: &dyn Source,
    catalog: Arc<Catalog>,
    batches: &[usize],
    needs: &Needs,
    options: &Options,
    timezone: Tz,
    stats: &mut LoadStats,
) -> Result<Shared, SourceError> {
    let mut builder = SharedBuilder::new(catalog, batches, needs, options, timezone);
    while let Some(scan) = builder.next_scan() {
        read(source, scan, &|chunk| builder.take(chunk), stats)?;
    }
    let shared = builder.finish();
    stats.add_duplicates(shared.duplicates());
    stats.add_rows(Table::ContentHierarchy, "hierarchy is not a tree in JSON".to_owned(), shared.broken_hierarchies());
    Ok(shared)
}

fn read(source: &dyn Source, scan: Scan, sink: &Sink<'_>, stats: &mut LoadStats) -> Result<(), SourceError> {
    let started = Instant::now();
    let tally = source.read(&scan, sink)?;
    log::debug!("table read table={} rows={} ms={}", scan.table, tally.rows, started.elapsed().as_millis());
    stats.add(scan, tally);
    Ok(())
}
